"""`pamela`: what it learns of profiles, prompts and persons, whom it answers by whose token, and that its parts do what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from beholder.about import About
from beholder.errors import BeholderError
from beholder.evaluation.simulate import SimulatedFeatures
from beholder.options import from_texts
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Choice, Choices, Ratings
from beholder.scale import Scale
from beholder.scorers.baselines.scorer import PopulationScorer
from beholder.scorers.pamela.loss import pairwise_loss, rating_loss
from beholder.scorers.pamela.neighbours import context_weights, nearest, rater_vector
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.scorer import PamelaScorer
from beholder.scorers.pamela.texts import learn_fields, profile_texts
from pamela_worlds import (
    FAST,
    N_IMAGES,
    N_NEW_IMAGES,
    N_RATERS,
    N_TRAINING,
    QUICK,
    SCALE,
    HashEncoder,
    correlation,
    fitted,
    names,
    new_images,
    person,
    planted,
    training_part,
    using,
)

NEW = range(N_TRAINING, N_RATERS)
WITH_PROFILE = [u for u in NEW if planted()[0].profiles[u]]


@pytest.fixture(autouse=True)
def hash_encoder(monkeypatch):
    monkeypatch.setattr("beholder.scorers.pamela.texts.TextEncoder", HashEncoder)


def gap(a, b):
    return max(np.abs(getattr(a, name) - getattr(b, name)).max() for name in ("score", "low", "high")) / a.scale.width


# --- what is learned


def test_a_planted_taste_is_found_from_15_ratings():
    population = PopulationScorer(features=planted()[1]).fit(training_part())
    with_ratings = correlation(fitted(), NEW, 15)
    assert with_ratings > correlation(population, NEW) + 0.15
    assert with_ratings > correlation(using(fitted(), unseen="demographics"), NEW, 15) + 0.1
    assert with_ratings > 0.7


def test_a_planted_effect_of_the_profile_is_found_without_ratings_and_lost_without_demographics():
    blind = fitted(replace(FAST, demographics=False))
    assert correlation(fitted(), WITH_PROFILE) > correlation(blind, WITH_PROFILE) + 0.1
    woman, man = (Rater(profile=Profile(gender=gender)) for gender in ("female", "male"))
    liking = planted()[1](names())[:, 1]

    def leaning(scorer):
        return np.corrcoef(scorer.predict(names(), woman).score - scorer.predict(names(), man).score + 1e-9 * liking, liking)[0, 1]

    assert leaning(fitted()) > 0.8
    np.testing.assert_array_equal(blind.predict(names(), woman).score, blind.predict(names(), man).score)


def test_training_raters_are_answered_by_their_own_token():
    some = range(12)
    own = correlation(fitted(), some, known=True)
    assert own > correlation(fitted(), some) + 0.15
    named = using(fitted(), rater="planted/r3")
    assert gap(named.predict(new_images(), person(3)), fitted().predict(new_images(), person(3, known=True))) < 1e-6
    stranger = replace(person(3), known_as="elsewhere/r3")
    assert gap(fitted().predict(new_images(), stranger), fitted().predict(new_images(), person(3))) == 0
    always = using(fitted(), unseen="demographics")
    assert gap(always.predict(new_images(), person(3, known=True)), always.predict(new_images(), person(3))) == 0


def test_prompts_and_metadata_are_read_when_told():
    alone = fitted(replace(FAST, base="none"))  # without a ridge the transformer itself has to learn main effects
    told, untold = using(alone), using(alone)
    told.tell(planted()[0].about())
    oil = np.array(["oil" in prompt for prompt in planted()[0].prompts[-N_NEW_IMAGES:]])
    difference = told.predict(new_images(), person(0)).score - untold.predict(new_images(), person(0)).score
    assert difference[oil].mean() > difference[~oil].mean() + 0.1
    deaf = fitted(replace(QUICK, prompts=False, metadata=False))
    before = deaf.predict(new_images(), person(0))
    deaf.tell(planted()[0].about())
    assert gap(before, deaf.predict(new_images(), person(0))) == 0


def test_joint_training_maps_scales_and_carries_over_what_is_shared():
    """Another dataset on 0 to 100 has many images on which the same taste can be learned; this one has 12."""
    dataset, features, _ = planted()
    few = dataset.rows((dataset.rating_rater < 14) & (dataset.rating_image < 12))
    scale = Scale(0, 100, 0)
    more = training_part()
    other = replace(more, name="other", scale=scale, rating_score=SCALE.convert(more.rating_score, to=scale))
    options = replace(QUICK, holdout_raters=0.0)
    alone = PamelaScorer(features=features, options=options).fit(few)
    joint = PamelaScorer(features=features, options=options).fit(few, others=[other])
    assert correlation(joint, NEW) > correlation(alone, NEW) + 0.05
    assert joint.trained["others"][0]["dataset"] == "other"
    found = joint.predict(new_images(), person(55))
    assert np.abs(found.score - planted()[2][55, -N_NEW_IMAGES:]).mean() < 1.5  # on 1 to 7, not on 0 to 100
    separate = PamelaScorer(features=features, options=replace(options, joint=False)).fit(few, others=[other])
    assert gap(separate.predict(new_images(), person(55)), alone.predict(new_images(), person(55))) < 1e-6
    with pytest.raises(BeholderError, match="two of the datasets are called planted"):
        PamelaScorer(features=features, options=options).fit(few, others=[replace(other, name="planted")])


@pytest.mark.parametrize("changes", [{"base": "none", "loss": "huber"}, {"product": 0, "pairwise": 0.0}, {"rater_id": False}])
def test_the_plain_readings_work(changes):
    scorer = fitted(replace(QUICK, **changes))
    found = scorer.predict(names(), person(55, 15))
    assert np.isfinite(found.score).all() and np.ptp(found.score) > 0
    if changes.get("rater_id") is False:  # nobody to be like, but the level
        shift = found.score - scorer.predict(names(), person(55)).score
        inside = (found.score > 1) & (found.score < 7)
        np.testing.assert_allclose(shift[inside], shift[inside][0], atol=1e-5)


def test_level_shifts_all_scores_alike_and_believes_more_ratings_more():
    without, level = using(fitted(), level=False), fitted()
    shifts = []
    for n in (3, 40):
        high = Rater(ratings=Ratings([(name, 6.5 + 0.01 * i) for i, name in enumerate(names()[:n])], scale=SCALE))
        one = using(level, context=3)
        a, b = one.predict(new_images(), high).score, using(without, context=3).predict(new_images(), high).score
        inside = (a < 6.99) & (b > 1.01)
        shifts.append(np.mean((a - b)[inside]))
        np.testing.assert_allclose((a - b)[inside], shifts[-1], atol=1e-5)
    assert 0 < shifts[0] < shifts[1]


def test_choices_tell_taste_too():
    features = planted()[1](names())
    order = np.argsort(features[: N_IMAGES - N_NEW_IMAGES, 2])
    pairs = [Choice(names()[a], names()[b]) for a, b in zip(order[::-1][:10], order[:10], strict=True)]
    found = fitted().predict(new_images(), Rater(choices=Choices(tuple(pairs))))
    nobody = fitted().predict(new_images(), Rater())
    assert np.corrcoef(found.score - nobody.score, features[-N_NEW_IMAGES:, 2])[0, 1] > 0.6


# --- nothing known, and everything at once


@pytest.mark.parametrize(
    "rater",
    [
        Rater(),
        Rater(ratings=Ratings([(names()[0], 7)], scale=SCALE)),
        Rater(ratings=Ratings([(name, 4) for name in names()[:6]], scale=SCALE)),
        Rater(profile=Profile(free={"unheard": "of"})),
        Rater(profile=Profile(age="25-34", gender="other")),
        Rater(choices=Choices((Choice(names()[0], names()[1]),))),
    ],
)
@pytest.mark.parametrize("changes", [{}, {"weights": "raw", "combine": "predictions"}, {"context": 0, "weights": "centred"}])
def test_whatever_is_missing_there_is_an_answer(rater, changes):
    found = using(fitted(), **changes).predict(names(), rater)
    assert np.isfinite([found.score, found.low, found.high]).all()
    assert (found.low <= found.score).all() and (found.score <= found.high).all()
    assert found.score.min() >= rater.scale.low and found.score.max() <= rater.scale.high


def test_equal_ratings_say_no_taste():
    equal = Rater(ratings=Ratings([(name, 4) for name in names()[:6]], scale=SCALE))
    still = using(fitted(), level=False)
    assert gap(still.predict(names(), equal), still.predict(names(), Rater(ratings=Ratings(scale=SCALE)))) < 0.2  # widths differ
    np.testing.assert_array_equal(still.predict(names(), equal).score, still.predict(names(), Rater(ratings=Ratings(scale=SCALE))).score)


@pytest.mark.parametrize("combine", ["embeddings", "predictions"])
def test_alone_or_together_the_answers_are_the_same(combine):
    scorer = using(fitted(), combine=combine)
    scorer.tell(planted()[0].about())
    requests = [
        (names()[:40], person(55, 12)),
        (names()[30:], person(56)),
        ([], person(57, 4)),
        (names(), person(2, known=True)),
        (names()[5:6], person(58, 30, scale=Scale(0, 100, 0))),
    ]
    together = scorer.predict_many(requests)
    assert [len(found) for found in together] == [40, 90, 0, 120, 1]
    for i in (0, 1, 3, 4):
        assert gap(together[i], scorer.predict(*requests[i])) < 1e-5
    singles = [scorer.predict([name], person(55, 12)).score[0] for name in names()[:5]]
    np.testing.assert_allclose(singles, together[0].score[:5], atol=1e-5 * SCALE.width)


def test_scales_of_raters_only_change_the_units():
    a, b = (fitted().predict(new_images(), person(55, 15, scale=scale)) for scale in (SCALE, Scale(0, 100, 0)))
    np.testing.assert_allclose(SCALE.to_unit(a.score), Scale(0, 100, 0).to_unit(b.score), atol=1e-5)


def test_only_the_first_ratings_of_the_context_judge_similarity():
    long, short = person(55, 40), person(55, 15)
    still = using(fitted(), level=False)
    np.testing.assert_allclose(still.predict(names(), long).score, still.predict(names(), short).score, atol=1e-6)
    every = using(still, context=0)
    assert np.abs(every.predict(names(), long).score - still.predict(names(), long).score).max() > 1e-3


def test_intervals_cover_new_raters():
    truth, covered = planted()[2], []
    for u in NEW:
        found = fitted().predict(new_images(), person(u, 15))
        covered.append(np.mean((found.low <= truth[u, -N_NEW_IMAGES:]) & (truth[u, -N_NEW_IMAGES:] <= found.high)))
    assert 0.8 < np.mean(covered) <= 1
    assert fitted().model.half_width(50) < fitted().model.half_width(0)


# --- the parts


def test_rater_vectors_and_neighbours_by_hand():
    features = np.array([[3.0, 0.0], [0.0, 4.0]])
    np.testing.assert_allclose(rater_vector(features, np.array([1.0, -1.0])), [0.6, -0.8])
    assert not rater_vector(features, np.zeros(2)).any()
    assert not rater_vector(features[:0], np.zeros(0)).any()
    ratings, expected = np.array([0.2, 0.6]), np.array([0.5, 0.3])
    np.testing.assert_allclose(context_weights(ratings, expected, how="raw"), ratings)
    np.testing.assert_allclose(context_weights(ratings, expected, how="centred"), [-0.2, 0.2])
    np.testing.assert_allclose(context_weights(ratings, expected, how="residual"), [-0.3, 0.3])
    known = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]])
    best, shares = nearest(np.array([1.0, 0.0]), known, k=2, tau=0.1)
    assert best.tolist() == [0, 2]
    np.testing.assert_allclose(shares, np.exp([0, -2]) / np.exp([0, -2]).sum())
    assert nearest(np.array([1.0, 0.0]), known, k=9, tau=0.1)[0].tolist() == [0, 2, 1, 3]


def test_losses_by_hand():
    scores, ratings = torch.tensor([[0.5, 0.4, 0.4]]), torch.tensor([[0.9, 0.5, 0.45]])
    two = torch.nn.functional.softplus(torch.tensor([-1.0, -1.0])).mean()  # 0.9 > 0.5 and 0.9 > 0.45; 0.5 and 0.45 are a tie
    torch.testing.assert_close(pairwise_loss(scores, ratings, margin=0.1), two)
    third = torch.nn.functional.softplus(torch.tensor([-1.0, -1.0, 0.0])).mean()
    torch.testing.assert_close(pairwise_loss(scores, ratings, margin=0.0), third)
    assert float(pairwise_loss(scores, torch.full((1, 3), 0.5), margin=0.0)) == 0
    assert float(pairwise_loss(scores, torch.tensor([[0.6, 0.5, 0.5]]), margin=0.1)) == 0  # exactly the margin is a tie
    assert float(rating_loss(torch.tensor([0.0]), torch.tensor([1.0]), kind="mse")) == 1
    assert float(rating_loss(torch.tensor([0.0]), torch.tensor([1.0]), kind="huber")) == pytest.approx(0.2 * (1 - 0.1))


def test_profiles_become_sentences_and_numbers():
    profiles = [Profile(age=20 + i, gender="female", free={"city": "Ulm"} if i % 2 else {}) for i in range(6)]
    fields = learn_fields(profiles)
    assert [field.name for field in fields] == ["age", "city", "gender"]
    texts, numbers = profile_texts(Profile(age=25, art_interest=3, free={"city": "Bonn"}), fields)
    assert texts == ["age: 25", "city: Bonn", ""]
    assert numbers[0] == pytest.approx(2.5 / np.std(range(6))) and numbers[1] == numbers[2] == 0


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"width": "30"}, "no multiple of heads"),
        ({"tau": "0"}, "tau = 0"),
        ({"k": "0"}, "k = 0"),
        ({"context": "-1"}, "context = -1"),
        ({"rater_dropout": "1"}, "rater_dropout = 1"),
        ({"weights": "best"}, "not one of residual, centred, raw"),
        ({"neighbors": "5"}, "has no option 'neighbors'"),
        ({"per_rater": "1"}, "per_rater = 1"),
    ],
)
def test_bad_options_are_refused(given, complaint):
    with pytest.raises(BeholderError, match=complaint):
        from_texts(PamelaOptions, given, of="the scorer pamela")


def test_a_rater_nobody_knows_is_refused():
    with pytest.raises(BeholderError, match="planted/nobody is no training rater"):
        using(fitted(), rater="planted/nobody").predict(names(), Rater())


def test_too_little_and_nothing_learned():
    dataset, features, _ = planted()
    with pytest.raises(BeholderError, match="needs at least 2, 5 and 20"):
        PamelaScorer(features=features, options=QUICK).fit(dataset.rows(dataset.rating_rater < 1))
    with pytest.raises(BeholderError, match="has not learned"):
        PamelaScorer(features=features).predict(names(), Rater())


# --- keeping


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    folder = fitted().save_pretrained(tmp_path / "w")
    again = PamelaScorer.from_pretrained(folder, features=planted()[1])
    assert again.version == fitted().version
    for rater in (person(55, 15), person(56), person(3, known=True)):
        assert gap(again.predict(names(), rater), fitted().predict(names(), rater)) < 1e-6
    assert again.trained_on(names()[:5]) == 5 and again.trained_on(["elsewhere.png"]) == 0
    card = (folder / "README.md").read_text()
    assert "planted" in card and "gender" in card
    kept = b"".join(file.read_bytes() for file in Path(folder).iterdir())
    assert b"planted/r3" not in kept
    assert sum(file.stat().st_size for file in Path(folder).iterdir()) < 6e6


def test_weights_that_do_not_suit_are_refused(tmp_path, monkeypatch):
    folder = fitted(QUICK).save_pretrained(tmp_path / "w")
    _, features, _ = planted()
    with pytest.raises(BeholderError, match="trained on features planted-6"):
        PamelaScorer.from_pretrained(folder, features=SimulatedFeatures(features.table, dim=6, key="other"))
    with pytest.warns(UserWarning, match="width: settled when pamela was trained"):
        PamelaScorer.from_pretrained(folder, features=features, options=replace(QUICK, width=24))
    monkeypatch.setattr(HashEncoder, "revision", "2")
    with pytest.raises(BeholderError, match="text encoder"):
        PamelaScorer.from_pretrained(folder, features=features)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BeholderError, match="cannot be read"):
        PamelaScorer.from_pretrained(folder, features=features)


def test_the_version_names_what_was_changed_in_use():
    assert using(fitted(), unseen="demographics", k=3).version == f"{fitted().version}-unseen=demographics-k=3"
    assert fitted().version != fitted(QUICK).version


def test_fits_are_shared_by_scorers_that_would_learn_the_same():
    def key(**changes):
        return PamelaScorer(features=planted()[1], options=replace(FAST, **changes)).fit_key()

    assert key(context=0, k=3, unseen="demographics", device="auto") == key()
    assert len({key(), key(seed=1), key(demographics=False), key(width=32)}) == 4


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path):
    class Killed(Exception):
        pass

    def killing(done, total, what):
        if "epoch 1" in what:
            raise Killed

    options = replace(QUICK, epochs=3)
    with pytest.raises(Killed):
        PamelaScorer(features=planted()[1], options=options).fit(training_part(), progress=killing, checkpoints=tmp_path)
    said = []
    resumed = PamelaScorer(features=planted()[1], options=options).fit(
        training_part(), progress=lambda done, total, what: said.append(what), checkpoints=tmp_path
    )
    assert any("going on after epoch 1" in what for what in said)
    whole, torn = fitted(options).model.tensors(), resumed.model.tensors()
    assert whole.keys() == torn.keys() and all(np.array_equal(whole[name], torn[name]) for name in whole)
    assert resumed.version == fitted(options).version
    with pytest.raises(BeholderError, match="another training"):
        PamelaScorer(features=planted()[1], options=replace(options, seed=1)).fit(training_part(), checkpoints=tmp_path)
    (tmp_path / "pamela.pt").write_bytes(b"broken")
    with pytest.raises(BeholderError, match=r"is damaged \(\w+\): remove it to begin anew$"):
        PamelaScorer(features=planted()[1], options=options).fit(training_part(), checkpoints=tmp_path)


def test_without_demographics_no_profile_is_looked_at():
    def untrained(**changes):
        return PamelaScorer(features=planted()[1], options=replace(QUICK, **changes))

    assert untrained().uses_profile and not untrained(demographics=False).uses_profile
    assert fitted().uses_profile and not fitted(replace(QUICK, demographics=False)).uses_profile


def test_how_many_raters_have_a_token():
    scorer, data = fitted(), training_part()
    names = [f"{data.name}/{data.raters[rater]}" for rater in data.used_raters]
    assert scorer.trained_for([*names, "elsewhere/nobody", ""]) == len(scorer.model.names) > 0
    assert scorer.trained_for(["nobody"]) == 0


def test_training_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    PamelaScorer(features=planted()[1], options=replace(QUICK, epochs=1)).fit(training_part())
    torch.testing.assert_close(torch.rand(3), expected)


def test_many_images_with_wide_features_are_reduced_before_the_ridge_and_give_nearly_the_same(monkeypatch):
    """Joint training with PARA and LAPIS means tens of thousands of images; the whole ridge on 6,000 features of each would take hours."""
    from beholder.scorers.pamela import preparing

    rng = np.random.default_rng(0)
    low = rng.normal(size=(600, 12))
    x = (low @ rng.normal(size=(12, 80)) + 0.1 * rng.normal(size=(600, 80))).astype(np.float32)
    y = 0.1 * low[:, 0] - 0.2 * low[:, 1] + 0.02 * rng.normal(size=600)
    whole, start = preparing._ridge([x[:400]], [y[:400]])
    monkeypatch.setattr(preparing, "MANY_IMAGES", 100)
    monkeypatch.setattr(preparing, "FEW_AXES", 20)
    reduced, begin = preparing._ridge([x[:400]], [y[:400]])
    assert np.linalg.matrix_rank(np.stack([whole, reduced])) == 2  # another way, not the same one
    first, second = x[400:] @ whole + start, x[400:] @ reduced + begin
    assert np.corrcoef(first, y[400:])[0, 1] > 0.98 and np.corrcoef(second, y[400:])[0, 1] > 0.98
    assert np.abs(first - second).max() < 0.1 * y.std()


def test_weights_without_prompts_say_that_prompts_change_nothing():
    scorer = fitted(replace(QUICK, prompts=False))
    images = new_images()[:3]
    before = scorer.predict(images, person(NEW[0], 3))
    assert scorer.notes() == []
    scorer.tell({images[0]: About(prompt="a boat")})
    assert "without prompts" in " ".join(scorer.notes())
    assert gap(scorer.predict(images, person(NEW[0], 3)), before) == 0
