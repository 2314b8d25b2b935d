"""`ici`: what each phase learns, that nothing but the rater's own copy changes, and that a training goes on where it stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers.ici.backbone import cropped
from beholder.scorers.ici.model import WIDTH, InteractionGraph, PairMLP, heads_loss
from beholder.scorers.ici.nodes import ProfileNodes
from beholder.scorers.ici.options import ICIOptions
from beholder.scorers.ici.scorer import ICIScorer
from beholder.scorers.ici.targets import Targets, bin_scores, n_bins
from example_worlds import make_dataset
from ici_worlds import FAST, N_RATERS, N_TRAINING, QUICK, SCALE, fitted, names, opposite, person, planted, training_part, using

NEW = range(N_TRAINING, N_RATERS)
SAME = 1e-5  # of the scale's width


def correlation(scorer, raters=NEW):
    """Mean over new raters of the correlation of zero-shot scores with the true ratings."""
    truth = planted()[2]
    found = scorer.predict_many([(names(), person(u)) for u in raters])
    return float(np.mean([np.corrcoef(p.score, truth[u])[0, 1] if np.ptp(p.score) else 0.0 for u, p in zip(raters, found, strict=True)]))


def gap(a, b):
    return max(np.abs(getattr(a, name) - getattr(b, name)).max() for name in ("score", "low", "high")) / a.scale.width


def state(scorer):
    return {name: tensor.copy() for name, tensor in scorer.model.tensors().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# --- what is learned


def test_taste_that_follows_from_profile_and_attribute_is_found():
    full, reduced = correlation(fitted()), correlation(fitted(replace(FAST, mode="reduced")))
    assert full > 0.75
    assert full > reduced + 0.2


def test_the_profile_beats_the_mean_of_all_raters():
    truth = planted()[2]
    crowd = truth[:N_TRAINING].mean(0)
    everybody = float(np.mean([np.corrcoef(crowd, truth[u])[0, 1] for u in NEW]))
    assert correlation(fitted()) > everybody + 0.2


def test_attributes_are_predicted_the_score_first():
    model = fitted().model
    assert model.attributes == ("score", "light", "sharpness")
    looks = fitted()._look(names())
    features = planted()[1](names())
    assert np.corrcoef(looks[:, 1], features[:, 0])[0, 1] > 0.9
    assert np.corrcoef(looks[:, 2], features[:, 1])[0, 1] > 0.9
    np.testing.assert_allclose(looks[:, 3:].sum(1), 1, atol=1e-5)


def test_ratings_bring_out_what_the_profile_hides():
    gains = []
    for u in list(NEW)[:6]:
        rater, asked, truth = opposite(u, 30)
        before = fitted().predict(asked, Rater(profile=rater.profile, ratings=Ratings(scale=SCALE)))
        after = fitted().predict(asked, rater)
        gains.append(np.abs(before.score - truth).mean() - np.abs(after.score - truth).mean())
    assert np.mean(gains) > 0.15
    assert min(gains) > 0


def test_the_published_rate_moves_little_but_moves():
    rater, asked, _ = opposite(50, 30)
    published = using(fitted(), adapt_learning_rate=1e-5, adapt_epochs=50)
    before = published.predict(asked, Rater(profile=rater.profile, ratings=Ratings(scale=SCALE)))
    change = np.abs(published.predict(asked, rater).score - before.score)
    assert 0 < change.max() < np.abs(fitted().predict(asked, rater).score - before.score).max()


def test_early_stopping_and_the_best_epoch():
    options = replace(QUICK, generic_epochs=40, patience=2, generic_learning_rate=0.05)
    facts = fitted(options).trained["generic"]
    assert facts["epochs"] == facts["best_epoch"] + 2 < 40


# --- what adapting changes


@pytest.mark.parametrize("mode", ["full", "reduced"])
@pytest.mark.parametrize("scope", ["all", "user_only", "user_plus_head"])
def test_each_scope_changes_the_answer_and_only_its_own_part(mode, scope):
    scorer = using(fitted(replace(QUICK, mode=mode)), scope=scope)
    before, rater = state(scorer), person(50, 20)
    nothing = scorer.predict(names(), Rater(profile=rater.profile, ratings=Ratings(scale=SCALE)))
    assert np.abs(scorer.predict(names(), rater).score - nothing.score).max() > 1e-4
    assert equal(before, state(scorer))  # to the bit

    graph = scorer.model.graph_for(rater.profile, options=scorer.options)
    looks = scorer.model.split(scorer._look(rater.ratings.images))
    graph.adapt(looks, torch.tensor(SCALE.to_unit(rater.ratings.scores), dtype=torch.float32), options=scorer.options)
    changed = {name.split(".")[0] for name in graph.changed}
    assert changed == {"user_only": set(), "user_plus_head": {"bias", "from_bins"}}.get(scope, changed)
    if scope == "all":
        assert {"within_image", "fusion", "rater_cell", "attribute_weight"} <= changed
    assert not torch.equal(graph.id, scorer.model.id_mean)


def test_raters_are_adapted_to_alone():
    scorer = fitted(QUICK)
    requests = [(names()[:30], person(50, 12)), (names()[20:50], person(51, 0)), ([], person(52, 3)), (names()[:5], person(53, 40))]
    together = scorer.predict_many(requests)
    turned = scorer.predict_many(requests[::-1])[::-1]
    assert [len(found) for found in together] == [30, 30, 0, 5]
    for i in (0, 1, 3):
        alone = scorer.predict(*requests[i])
        assert gap(together[i], alone) < SAME and gap(turned[i], alone) < SAME


def test_an_image_gets_its_score_whatever_is_asked_with_it():
    scorer, rater = fitted(QUICK), person(50, 12)
    many = names() * 8  # more than are computed at once
    whole = scorer.predict(many, rater)
    singles = [scorer.predict([name], rater)[0].score for name in names()[:4]]
    np.testing.assert_allclose(whole.score[:4], singles, atol=SAME * 4)
    np.testing.assert_allclose(whole.score[-90:], whole.score[:90], atol=SAME * 4)


def test_the_order_of_ratings_does_not_matter():
    rater = person(50, 20)
    turned = Rater(profile=rater.profile, ratings=Ratings(list(rater.ratings)[::-1], scale=SCALE))
    found = [fitted(QUICK).predict(names(), one) for one in (rater, turned)]
    assert gap(*found) < 1e-3  # sums in another order, 20 steps of Adam


@pytest.mark.parametrize("n", [1, 2, 25])
def test_constant_ratings_give_finite_scores_nearer_to_them(n):
    asked = names()[40:]
    rater = Rater(ratings=Ratings([(name, 5.0) for name in names()[:n]], scale=SCALE))
    before, after = fitted().predict(asked, Rater(ratings=Ratings(scale=SCALE))), fitted().predict(asked, rater)
    assert np.isfinite(after.score).all() and np.isfinite(after.low).all()
    assert after.score.mean() > before.score.mean()


@pytest.mark.parametrize("scale", [Scale(0, 100, 0), Scale(1, 7), Scale(-1, 1, 0)])
def test_raters_of_another_scale_are_served_on_theirs(scale):
    here = fitted(QUICK).predict(names(), person(50, 15))
    there = fitted(QUICK).predict(names(), person(50, 15, scale=scale))
    np.testing.assert_allclose(scale.to_unit(there.score), SCALE.to_unit(here.score), atol=1e-4)
    assert there.low.min() >= scale.low and there.high.max() <= scale.high


def test_intervals_are_honest_and_lie_in_the_scale():
    dataset, inside = planted()[0], []
    for n in (0, 20):
        for u in list(NEW)[::2]:
            rows = np.flatnonzero(dataset.rating_rater == u)[20:]
            found = fitted().predict([names()[i] for i in dataset.rating_image[rows]], person(u, n))
            assert np.all((found.low <= found.score) & (found.score <= found.high)) and found.low.min() >= 1 and found.high.max() <= 5
            inside.append(np.mean((found.low <= dataset.rating_score[rows]) & (dataset.rating_score[rows] <= found.high)))
    assert 0.78 < np.mean(inside) < 0.99


def test_a_new_rater_starts_at_the_mean_or_at_random():
    scorer = fitted(QUICK)
    drawn = [using(scorer, new_rater="random", seed=seed).predict(names(), person(50)).score for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], scorer.predict(names(), person(50)).score)


# --- profiles


def test_profiles_that_lack_fields_are_understood():
    scorer, images = fitted(), names()
    known = Profile(openness=9, gender="male", age="18-24")
    profiles = (known, Profile(openness=9), Profile(gender="male"), Profile())
    said = [scorer.predict(images, Rater(profile=profile)).score for profile in profiles]
    assert all(np.isfinite(scores).all() for scores in said)
    light = planted()[1](images)[:, 0]
    slopes = [np.polyfit(light, scores, 1)[0] for scores in said]
    assert slopes[1] > slopes[2] + 0.2 and slopes[1] > slopes[3] + 0.2  # what is told of openness counts without the rest
    odd = scorer.predict(images, Rater(profile=Profile(gender="something else", free={"shoe": 44}))).score
    np.testing.assert_array_equal(odd, said[3])  # a word nobody had is an unknown one


def test_nodes_of_profiles():
    free = [{"same": "x", "rare": 1} if i < 4 else {"same": "x"} for i in range(1, 11)]
    profiles = [Profile(age="18-24" if i % 2 else "25-34", openness=i, free=free[i - 1]) for i in range(1, 11)]
    nodes = ProfileNodes.learn(profiles)
    assert [field.name for field in nodes.fields] == ["age", "openness"]
    words, numbers = nodes([*profiles, Profile(age=24), Profile(age=90, openness=4), Profile()])
    assert words[:, 0].tolist() == [1, 2] * 5 + [1, 0, 0]
    assert numbers[:10].mean() == pytest.approx(0, abs=1e-6) and numbers[:10].std() == pytest.approx(1, abs=1e-6)
    assert np.isnan(numbers[[10, 12], 0]).all() and numbers[11, 0] < 0
    again = ProfileNodes.from_json(json.loads(json.dumps(nodes.to_json())))
    assert again == nodes
    years = ProfileNodes.learn([Profile(age=20 + i) for i in range(8)])
    assert years([Profile(age="20-27")])[1][0, 0] == pytest.approx(0)


def test_without_profiles_auto_is_reduced():
    part = training_part()
    bare = replace(part, profiles=tuple(Profile() for _ in part.profiles))
    scorer = ICIScorer(features=planted()[1], options=QUICK).fit(bare)
    assert not scorer.model.graph.full and fitted(QUICK).model.graph.full
    assert np.isfinite(scorer.predict(names(), person(50, 5)).score).all()


# --- the networks


def graph_of(*, full=True, k=4, bins=5):
    torch.manual_seed(0)
    scale = torch.stack([torch.rand(k), 0.5 + torch.rand(k)])
    return InteractionGraph(attributes=scale, words=[2, 3], numbers=2, bins=torch.linspace(0, 1, bins), full=full).eval()


def inputs_of(n, k=4, bins=5):
    random = torch.Generator().manual_seed(1)
    shares = torch.rand(n, bins, generator=random)
    words = torch.stack([torch.randint(0, 3, (n,), generator=random), torch.randint(0, 4, (n,), generator=random)], dim=1)
    numbers = torch.randn(n, 2, generator=random)
    numbers[0, 0] = torch.nan
    ids = torch.randn(n, WIDTH, generator=random)
    return [torch.rand(n, k, generator=random), shares / shares.sum(1, keepdim=True), ids, words, numbers]


def test_pairs_are_summed_as_written():
    torch.manual_seed(0)
    pairs, nodes = PairMLP(), torch.randn(2, 3, WIDTH)
    written = torch.zeros(2, 3, WIDTH)
    for i in range(3):
        for j in range(3):  # the pair with itself counts
            written[:, i] += pairs.second(torch.relu(pairs.first(torch.cat([nodes[:, i], nodes[:, j]], dim=1))))
    torch.testing.assert_close(pairs(nodes), written, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("full", [True, False])
def test_the_graph_is_what_its_formulas_say(full):
    graph, (attributes, shares, ids, words, numbers) = graph_of(full=full), inputs_of(1)
    image, rater = graph.image_nodes(attributes)[0], graph.rater_nodes(ids, words, numbers)[0]
    pooled = []
    sides = ((rater, image, graph.within_rater, graph.rater_cell), (image, rater, graph.within_image, graph.image_cell))
    for own, other, pairs, cell in sides:
        total = torch.zeros(WIDTH)
        for i, node in enumerate(own):
            outside = graph.across(sum(node * one for one in other)) if full else torch.zeros(WIDTH)
            message = graph.fusion(torch.cat([outside, pairs(own[None])[0, i]]))
            total = total + cell(message[None], node[None])[0]
        pooled.append(total)
    written = graph.bias(torch.cat(pooled)) + graph.from_bins(shares[0])
    torch.testing.assert_close(graph(attributes, shares, ids, words, numbers), written, atol=1e-4, rtol=1e-5)


def test_the_order_of_attributes_is_only_a_name():
    graph, inputs = graph_of(), inputs_of(6)
    before = graph(*inputs)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        graph.attribute_scale.copy_(graph.attribute_scale[:, order])
        graph.attribute_weight.copy_(graph.attribute_weight[order])
        graph.attribute_bias.copy_(graph.attribute_bias[order])
    torch.testing.assert_close(graph(inputs[0][:, order], *inputs[1:]), before, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(graph(*inputs), before, atol=1e-3)


def test_one_rater_for_all_images_is_that_rater_for_each():
    graph, (attributes, shares, *rater) = graph_of(), inputs_of(6)
    each = graph(attributes, shares, *(x[:1].expand(6, -1) for x in rater))
    torch.testing.assert_close(graph(attributes, shares, *(x[:1] for x in rater)), each, atol=1e-5, rtol=1e-5)


def test_reduced_graphs_do_not_look_at_each_other():
    graph, inputs = graph_of(full=False), inputs_of(6)
    before = graph(*inputs)
    with torch.no_grad():
        graph.across.weight.add_(1)
    assert torch.equal(graph(*inputs), before)
    full = graph_of(full=True)
    before = full(*inputs)
    with torch.no_grad():
        full.across.weight.add_(1)
    assert not torch.equal(full(*inputs), before)


def test_loss_of_phase_1_by_hand():
    wanted = torch.tensor([[0.5, torch.nan], [0.25, 1.0]])
    made = torch.tensor([[0.7, 9.0], [0.25, 0.6]])
    shares, probabilities = torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[0.0, 0, 1], [0, 1, 0]])
    # squares (0.04 + 0 + 0.16) / 3; cumulative distances 1, 1, 0 and 0, 0, 0
    assert float(heads_loss(made, probabilities, wanted=wanted, shares=shares)) == pytest.approx(0.2 / 3 + 0.1 * 2 / 6)


@pytest.mark.parametrize(
    ("scale", "n", "first"),
    [(Scale(1, 5, 0.5), 9, 0.0), (Scale(1, 5), 5, 0.0), (Scale(1, 10), 10, 0.0), (Scale(0, 100), 10, 0.05), (Scale(0, 1, 0), 10, 0.05)],
)
def test_bins_follow_the_scale(scale, n, first):
    assert n_bins(scale) == n and bin_scores(scale)[0] == pytest.approx(first)


def test_targets_are_means_over_raters(tmp_path):
    dataset = make_dataset(tmp_path, scale=Scale(1, 5, 0.5))
    found = Targets.of(dataset)
    assert found.names == ("score", "composition", "light", "content") and found.shares.shape == (30, 9)
    for image in (0, 17):
        rows = dataset.rating_image == image
        place = list(dataset.used_images).index(image)
        assert found.wanted[place, 0] == pytest.approx((dataset.rating_score[rows].mean() - 1) / 4)
        assert found.wanted[place, 2] == pytest.approx((np.nanmean(dataset.attributes["light"][rows]) - 1) / 4)
        mean_of_bins = found.shares[place] @ bin_scores(dataset.scale)
        assert mean_of_bins == pytest.approx(found.wanted[place, 0], abs=1e-6)
    dataset = make_dataset(tmp_path, attributes=())
    alone = Targets.of(dataset)
    assert alone.names == ("score", "spread")
    rows = dataset.rating_image == 3
    assert alone.wanted[3, 1] == pytest.approx(((dataset.rating_score[rows] - 1) / 4).std(), abs=1e-5)


# --- interruptions


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("after", [2, 3, 4])  # in phase 1, between the phases, in phase 2
def test_a_training_that_is_interrupted_takes_the_same_steps(tmp_path, after):
    whole = fitted(QUICK)

    def interrupt(done, total, what):
        if done >= after:
            raise Stop

    def begin(progress=None):
        return ICIScorer(features=planted()[1], options=QUICK).fit(training_part(), checkpoints=tmp_path, progress=progress)

    with pytest.raises(Stop):
        begin(interrupt)
    seen = []
    resumed = begin(lambda done, total, what: seen.append(what))
    assert equal(state(resumed), state(whole)) and resumed.version == whole.version
    assert any("going on" in what for what in seen)
    assert resumed.model.widths.tolist() == whole.model.widths.tolist()
    if after == 4:
        with pytest.raises(BeholderError, match="another training"):
            ICIScorer(features=planted()[1], options=replace(QUICK, seed=3)).fit(training_part(), checkpoints=tmp_path)
        (tmp_path / "images.pt").write_bytes(b"half a checkpoint")
        with pytest.raises(BeholderError, match="damaged"):
            begin()


def test_the_seed_decides_and_nothing_else():
    again = ICIScorer(features=planted()[1], options=QUICK)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again.fit(training_part())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(state(again), state(fitted(QUICK)))
    assert not equal(state(fitted(replace(QUICK, seed=1))), state(again))


def test_progress_counts_to_the_end():
    said = []
    ICIScorer(features=planted()[1], options=QUICK).fit(training_part(), progress=lambda *one: said.append(one))
    assert said[-1][0] == said[-1][1] == 3 + 2 + 1
    assert [done for done, _, _ in said] == sorted(done for done, _, _ in said)


# --- keeping


def test_saved_and_read_again(tmp_path):
    scorer = fitted(QUICK)
    scorer.save_pretrained(tmp_path)
    again = ICIScorer.from_pretrained(tmp_path, features=planted()[1], options=replace(QUICK, seed=0))
    assert again.version == scorer.version and again.trained == scorer.trained
    for n in (0, 15):
        assert gap(again.predict(names(), person(50, n)), scorer.predict(names(), person(50, n))) < 1e-6
    assert again.trained_on(names()) == len(training_part().used_images) and again.trained_on(["other.png"]) == 0
    card = (tmp_path / "README.md").read_text()
    assert "planted" in card and "light" in card and "nan" not in card.lower()
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["mode"] == "full" and "r3" not in json.dumps(stored)
    with pytest.warns(UserWarning, match="prior_epochs"):
        ICIScorer.from_pretrained(tmp_path, features=planted()[1], options=ICIOptions(prior_epochs=7))


def test_weights_that_do_not_suit_are_refused(tmp_path):
    fitted(QUICK).save_pretrained(tmp_path)
    with pytest.raises(BeholderError, match="planted-5"):
        ICIScorer.from_pretrained(tmp_path, features=replace(planted()[1], key="others"))
    with pytest.raises(BeholderError, match="no weights of ici"):
        ICIScorer.from_pretrained(features=planted()[1])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"attributes": ["score"]}))
    with pytest.raises(BeholderError, match="damaged or of another version"):
        ICIScorer.from_pretrained(tmp_path, features=planted()[1])


def test_options_of_use_change_the_version_those_of_training_do_not():
    scorer = fitted(QUICK)
    plain = using(scorer, adapt_learning_rate=1e-5, adapt_epochs=50)
    assert plain.version == using(plain, prior_epochs=9, device="cpu").version
    assert len({plain.version, using(plain, scope="user_only").version, using(plain, adapt_epochs=3).version}) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"adapt_learning_rate": 0.0}, "adapt_learning_rate"),
        ({"generic_epochs": 0}, "generic_epochs"),
        ({"holdout": 0.9}, "holdout"),
        ({"id_dropout": 1.0}, "id_dropout"),
        ({"backbone": " "}, "backbone"),
    ],
)
def test_options_out_of_range(change, says):
    with pytest.raises(BeholderError, match=says):
        ICIOptions(**change)


def test_too_little_to_learn_from():
    dataset = planted()[0]
    with pytest.raises(BeholderError, match="at least 2, 5 and 20"):
        ICIScorer(features=planted()[1]).fit(dataset.rows(dataset.rating_rater == 0))
    with pytest.raises(BeholderError, match="fit"):
        ICIScorer(features=planted()[1]).predict(names(), person(50))


def test_very_few_raters_and_images_are_enough():
    dataset = planted()[0]
    some = dataset.rows((dataset.rating_rater < 4) & (dataset.rating_image < 12))
    scorer = ICIScorer(features=planted()[1], options=QUICK).fit(some)
    assert "training ratings" in scorer.trained["width_from"] and scorer.trained["prior"]["validation"] is None
    assert np.isfinite(scorer.predict(names(), person(50, 3)).score).all()


# --- on pixels


def save_resnet(folder: Path) -> Path:
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
        ).save_pretrained(folder)
    return folder


PIXELS = replace(QUICK, generic_epochs=2, generic_batch=8, prior_epochs=1)


def test_a_resnet_is_trained_end_to_end(tmp_path):
    from safetensors.numpy import load_file

    dataset = make_dataset(tmp_path)
    folder = save_resnet(tmp_path / "resnet")
    options = replace(PIXELS, backbone=str(folder))
    no_features = planted()[1]  # knows none of these images: they must not be asked for
    scorer = ICIScorer(features=no_features, options=options).fit(dataset)
    stem = "embedder.embedder.convolution.weight"
    moved = np.abs(scorer.model.tensors()[f"heads.body.network.{stem}"] - load_file(folder / "model.safetensors")[stem])
    assert moved.max() > 1e-4
    images = [str(path) for path in dataset.images]
    rater = Rater(profile=dataset.profiles[0], ratings=Ratings([(images[0], 2.0), (images[4], 4.5)], scale=dataset.scale))
    found = scorer.predict(images, rater)
    assert np.isfinite(found.score).all() and np.ptp(scorer._look(images)[:, 0]) > 0

    scorer.save_pretrained(tmp_path / "weights")
    for path in folder.iterdir():
        path.unlink()  # the weights are complete without the folder they began with
    again = ICIScorer.from_pretrained(tmp_path / "weights", features=no_features, options=options)
    assert gap(again.predict(images, rater), found) < 1e-6
    assert gap(again.predict(images[3:5], rater), scorer.predict(images[3:5], rater)) < 1e-5


def test_an_interrupted_training_on_pixels_takes_the_same_steps(tmp_path):
    dataset = make_dataset(tmp_path)
    options = replace(PIXELS, backbone=str(save_resnet(tmp_path / "resnet")))

    def begin(folder, progress=None):
        return ICIScorer(features=planted()[1], options=options).fit(dataset, checkpoints=folder, progress=progress)

    def interrupt(done, total, what):
        if done == 1:
            raise Stop

    with pytest.raises(Stop):
        begin(tmp_path / "out", interrupt)
    assert equal(state(begin(tmp_path / "out")), state(begin(None)))


def test_efficientnet_is_trained_end_to_end(tmp_path):
    dataset = make_dataset(tmp_path)
    some = dataset.rows((dataset.rating_image < 6) & (dataset.rating_rater < 8))
    options = replace(PIXELS, backbone="efficientnet-lite0", generic_epochs=1, generic_batch=3)
    scorer = ICIScorer(features=planted()[1], options=options).fit(some)
    from beholder.backbones.weights import resolve

    published = torch.load(resolve("efficientnet-lite0").path, weights_only=True)["_conv_stem.weight"].numpy()
    assert np.abs(scorer.model.tensors()["heads.body.network._conv_stem.weight"] - published).max() > 1e-5
    assert np.isfinite(scorer.predict([str(dataset.images[8])], Rater()).score).all()


def test_what_is_no_resnet_is_refused(tmp_path):
    dataset = make_dataset(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "vit"}))
    for backbone in (tmp_path / "model", tmp_path / "nothing"):
        with pytest.raises(BeholderError):
            ICIScorer(features=planted()[1], options=replace(PIXELS, backbone=str(backbone))).fit(dataset)


def test_pixels_are_the_middle_of_the_image(tmp_path):
    from PIL import Image

    picture = np.zeros((300, 600, 3), dtype=np.uint8)
    picture[:, 200:400] = (10, 200, 90)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    found = cropped(tmp_path / "wide.png")
    assert found.shape == (3, 224, 224) and found.dtype == np.uint8
    assert found[:, 112, 112].tolist() == [10, 200, 90] and found[:, 112, 2].tolist() == [0, 0, 0]
    Image.fromarray(np.full((3, 4000, 3), 7, dtype=np.uint8)).save(tmp_path / "strip.png")
    assert cropped(tmp_path / "strip.png").shape == (3, 224, 224)


def test_naming_the_scorer_loads_no_torch():
    code = "import sys, beholder.scorers.ici.scorer; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
