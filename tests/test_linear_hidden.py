"""`linear-hidden` is the published recipe, to the digit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder import ridge
from beholder.errors import BeholderError
from beholder.rater import Rater
from beholder.ratings import Choices, Ratings
from beholder.scale import Scale
from beholder.scorers import make
from beholder.scorers.linear_hidden import per_rater
from beholder.scorers.linear_hidden.options import LinearHiddenOptions
from beholder.scorers.linear_hidden.scorer import LinearHiddenScorer
from taste_worlds import images_of, part, person, world


@pytest.fixture(scope="module")
def simulation():
    return world("nothing shared")


@pytest.fixture
def scorer(simulation):
    return LinearHiddenScorer(features=simulation.features)


@pytest.mark.parametrize("n", [3, 10, 100])
def test_equals_the_recipe_in_scikit_learn(scorer, simulation, n):
    rater, images = person(simulation, 0, n), images_of(simulation)
    reference = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
    reference.fit(simulation.features(rater.ratings.images).astype(np.float64), rater.ratings.scores)
    expected = np.clip(reference.predict(simulation.features(images).astype(np.float64)), 1, 5)
    assert np.abs(scorer.predict(images, rater).score - expected).max() < 1e-12


def test_without_ratings_the_middle_and_the_whole_scale(scorer, simulation):
    predictions = scorer.predict(images_of(simulation)[:5], Rater(ratings=Ratings(scale=Scale(1, 7))))
    assert predictions.score.tolist() == [4.0] * 5
    assert predictions.low.tolist() == [1.0] * 5 and predictions.high.tolist() == [7.0] * 5


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_ratings(scorer, simulation, n):
    rater, images = person(simulation, 0, n), images_of(simulation)
    predictions = scorer.predict(images, rater)
    assert np.isfinite(predictions.score).all()
    assert predictions.low.min() >= 1 and predictions.high.max() <= 5
    if n == 1:  # the best guess for every image
        assert np.allclose(predictions.score, rater.ratings.scores[0])
    assert np.all(predictions.low == 1) and np.all(predictions.high == 5)  # two ratings say little


def test_constant_ratings_are_repeated(scorer, simulation):
    images = images_of(simulation)
    predictions = scorer.predict(images, Rater(ratings=Ratings([(image, 4) for image in images[:20]])))
    assert (
        np.allclose(predictions.score, 4) and np.all(predictions.low <= predictions.score) and np.all(predictions.score <= predictions.high)
    )


def test_interval_covers_new_ratings(scorer, simulation):
    inside = []
    for u in range(10):
        rater, every = person(simulation, u, 100), person(simulation, u).ratings[100:]
        predictions = scorer.predict(every.images, rater)
        inside.append((every.scores >= predictions.low) & (every.scores <= predictions.high))
    assert 0.8 < np.mean(inside) < 0.98


def test_neither_choices_nor_other_raters_matter(scorer, simulation):
    images, rater = images_of(simulation), person(simulation, 0, 20)
    chosen = Rater(ratings=rater.ratings, choices=Choices(((images[0], images[1]),)))
    assert np.array_equal(scorer.predict(images, chosen).score, scorer.predict(images, rater).score)
    assert scorer.fit(simulation.dataset) is scorer
    assert np.abs(scorer.predict(images, rater).score - scorer.predict(images[::-1], rater).score[::-1]).max() < 1e-12


def test_made_by_name_and_nothing_to_save(simulation, tmp_path):
    assert isinstance(make("linear_hidden", features=simulation.features), LinearHiddenScorer)
    with pytest.raises((BeholderError, TypeError), match="nothing trained"):
        make("linear-hidden", features=simulation.features).save_pretrained(tmp_path)
    assert len(make("linear-hidden", features=simulation.features).predict([], person(simulation, 0, 5))) == 0


def test_raters_together_equal_each_alone(scorer, simulation):
    images = images_of(simulation)
    requests = [(images[u : u + 40], person(simulation, u, n)) for u, n in enumerate((0, 1, 2, 5, 30, 30, 100))]
    requests.append((images, Rater(ratings=Ratings([(images[3], 70), (images[9], 10)], scale=Scale(0, 100, 0)))))
    for (asked, rater), together in zip(requests, scorer.predict_many(requests), strict=True):
        alone = scorer.predict(asked, rater)
        for name in ("score", "low", "high"):
            assert np.abs(getattr(together, name) - getattr(alone, name)).max() < 1e-9 * rater.scale.width
        assert together.images == tuple(asked) and together.scale == rater.scale


def trained(simulation, **options):
    """A variant that has learned from the first 40 raters."""
    scorer = LinearHiddenScorer(features=simulation.features, options=LinearHiddenOptions(**options))
    return scorer.fit(part(simulation, range(40)))


def image_means(simulation):
    dataset = part(simulation, range(40))
    n = len(dataset.images)
    return np.bincount(dataset.rating_image, dataset.rating_score, minlength=n) / np.bincount(dataset.rating_image, minlength=n)


def test_giaa_labels_replace_the_ratings(simulation):
    scorer, images, rater = trained(simulation, labels="giaa"), images_of(simulation), person(simulation, 45, 60)
    means = dict(zip(images, image_means(simulation), strict=True))
    replaced = Rater(ratings=Ratings([(image, means[image]) for image in rater.ratings.images], scale=simulation.dataset.scale))
    expected = LinearHiddenScorer(features=simulation.features).predict(images, replaced)
    assert np.abs(scorer.predict(images, rater).score - expected.score).max() < 1e-5  # labels are kept as float32
    backwards = Ratings(
        [(image, 6 - score) for image, score in zip(rater.ratings.images, rater.ratings.scores, strict=True)], scale=rater.scale
    )
    assert np.array_equal(
        scorer.predict(images, Rater(ratings=backwards)).score, scorer.predict(images, rater).score
    )  # what was said does not count


def test_giaa_labels_come_on_the_raters_scale(simulation):
    scorer, images, rater = trained(simulation, labels="giaa"), images_of(simulation), person(simulation, 45, 60)
    wide = Rater(ratings=rater.ratings.to_scale(Scale(0, 100, 0)))
    assert np.allclose(scorer.predict(images, wide).score, 25 * (scorer.predict(images, rater).score - 1), atol=1e-6)


def test_images_that_nobody_else_rated_are_left_out_and_counted(simulation):
    images, rater = images_of(simulation), person(simulation, 45, 60)
    known = part(simulation, range(40))
    alone = [image for image in rater.ratings.images if int(np.flatnonzero(np.array(images) == image)[0]) % 3 == 0]
    kept = known.rows(known.rating_image % 3 != 0)
    scorer = LinearHiddenScorer(features=simulation.features, options=LinearHiddenOptions(labels="giaa")).fit(kept)
    assert scorer.notes() == []
    found = scorer.predict(images, rater)
    assert 0 < len(alone) < 60 and len(scorer.notes()) == 1 and f"{len(alone)} rated images were left out" in scorer.notes()[0]
    assert "image_disjoint=no" in scorer.notes()[0] and "had no other" not in scorer.notes()[0]
    rest = Ratings([(r.image, r.score) for r in rater.ratings if r.image not in set(alone)], scale=rater.scale)
    assert np.array_equal(found.score, scorer.predict(images, Rater(ratings=rest)).score)
    none_left = Ratings([(r.image, r.score) for r in rater.ratings if r.image in set(alone)], scale=rater.scale)
    assert np.allclose(scorer.predict(images, Rater(ratings=none_left)).score, kept.rating_score.mean())
    assert "1 raters had no other" in scorer.notes()[0]


def test_residuals_start_from_the_general_score():
    simulation = world("mixed")  # a taste that all share, and one of each
    images, residual, dataset = images_of(simulation), trained(simulation, target="residual"), simulation.dataset
    means = image_means(simulation)
    seen = np.flatnonzero(np.isfinite(means))
    table = simulation.features(images).astype(np.float64)
    recipe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(table[seen], means[seen])
    general = recipe.predict(table)
    nobody = residual.predict(images, Rater(ratings=Ratings(scale=dataset.scale)))
    assert np.abs(nobody.score - np.clip(general, 1, 5)).max() < 1e-5
    rater = person(simulation, 60, 20)
    places = [images.index(image) for image in rater.ratings.images]
    # The rated images were learned from with the ratings of others: what their general score would be without them counts.
    left_out = {}
    for place in places:
        rest = seen[seen != place]
        fitted = make_pipeline(StandardScaler(), RidgeCV([recipe[-1].alpha_])).fit(table[rest], means[rest])
        left_out[place] = fitted.predict(table[[place]])[0]
    starts = np.array([left_out[place] for place in places])
    assert np.abs(starts - general[places]).max() > 1e-3
    own = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(table[places], rater.ratings.scores - starts)
    assert np.abs(residual.predict(images, rater).score - np.clip(general + own.predict(table), 1, 5)).max() < 1e-4


def test_residuals_need_few_ratings_where_all_share_a_taste():
    simulation = world("one taste")
    scorers = LinearHiddenScorer(features=simulation.features), trained(simulation, target="residual")
    errors = []
    for u in range(40, 50):
        few, rest = person(simulation, u, 3), person(simulation, u).ratings[3:]
        errors.append([np.mean((scorer.predict(rest.images, few).score - rest.scores) ** 2) for scorer in scorers])
    plain, residual = np.mean(errors, axis=0)
    assert residual < 0.6 * plain


def test_without_ratings_variants_give_what_they_learned(simulation):
    images, mean = images_of(simulation), part(simulation, range(40)).rating_score.mean()
    for scale, expected in ((simulation.dataset.scale, mean), (Scale(0, 10), 2.5 * (mean - 1))):
        predictions = trained(simulation, labels="giaa").predict(images[:4], Rater(ratings=Ratings(scale=scale)))
        assert (
            np.allclose(predictions.score, expected)
            and np.all(predictions.low < predictions.score)
            and np.all(predictions.high <= scale.high)
        )


def test_variants_are_kept_and_read_again(simulation, tmp_path):
    images, rater = images_of(simulation), person(simulation, 45, 30)
    options = LinearHiddenOptions(labels="giaa", target="residual")
    before = trained(simulation, labels="giaa", target="residual")
    before.save_pretrained(tmp_path)
    after = make("linear-hidden[labels=giaa,target=residual]", features=simulation.features, weights=tmp_path)
    assert (
        after.options == options
        and after.version == before.version != LinearHiddenScorer(features=simulation.features, options=options).version
    )
    assert np.abs(after.predict(images, rater).score - before.predict(images, rater).score).max() < 1e-6
    assert after.trained_on(images[:7]) == 7 and after.trained_on(["/nowhere/else.jpg"]) == 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000
    one = tmp_path / "labels"
    trained(simulation, labels="giaa").save_pretrained(one)
    with pytest.raises(BeholderError, match=r"target=residual\] has not learned"):
        make("linear-hidden[target=residual]", features=simulation.features, weights=one)


@pytest.mark.parametrize("variant", ["labels=giaa", "target=residual"])
def test_variants_that_learned_nothing_say_so(simulation, variant):
    scorer = make(f"linear-hidden[{variant}]", features=simulation.features)
    with pytest.raises(BeholderError, match=r"has not learned.*--fit.*--weights"):
        scorer.predict(images_of(simulation), person(simulation, 0, 5))
    few = simulation.dataset.rows(np.flatnonzero(simulation.dataset.rating_image < 3))
    with pytest.raises(BeholderError, match="at least 5"):
        scorer.fit(few)


def test_every_variant_has_its_own_version(simulation):
    names = ["", "[head=mlp]", "[labels=giaa]", "[target=residual]", "[labels=giaa,target=residual,head=mlp]"]
    versions = [make(f"linear-hidden{name}", features=simulation.features).version for name in names]
    assert len(set(versions)) == len(names) and versions[0] == "1"
    with pytest.raises(BeholderError, match="labels = 'mine' is not one of"):
        make("linear-hidden[labels=mine]", features=simulation.features)


def test_the_network_learns_and_is_repeatable(simulation):
    torch = pytest.importorskip("torch")
    images = images_of(simulation)
    scorer = LinearHiddenScorer(features=simulation.features, options=LinearHiddenOptions(head="mlp"))
    rater, rest = person(simulation, 1, 100), person(simulation, 1).ratings[100:]
    state = torch.random.get_rng_state()
    predictions = scorer.predict(rest.images, rater)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.corrcoef(predictions.score, rest.scores)[0, 1] > 0.7
    assert np.mean((predictions.score - rest.scores) ** 2) < 0.6 * np.var(rest.scores)
    again = scorer.predict_many([(images, person(simulation, 2, 40)), (rest.images, rater)])[1]
    assert np.abs(again.score - predictions.score).max() < 1e-9
    assert np.all(predictions.low < predictions.high)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_the_network_leaves_few_or_constant_ratings_to_the_ridge(simulation, n):
    images, network = images_of(simulation), LinearHiddenScorer(features=simulation.features, options=LinearHiddenOptions(head="mlp"))
    plain = LinearHiddenScorer(features=simulation.features)
    assert np.array_equal(network.predict(images, person(simulation, 0, n)).score, plain.predict(images, person(simulation, 0, n)).score)
    constant = Rater(ratings=Ratings([(image, 4) for image in images[:30]]))
    assert np.allclose(network.predict(images, constant).score, 4)


def test_many_images_are_predicted_in_parts(scorer, simulation, monkeypatch):
    images, rater = images_of(simulation), person(simulation, 0, 20)
    whole = scorer.predict(images, rater).score
    monkeypatch.setattr(per_rater, "CHUNK", 7)
    monkeypatch.setattr(ridge, "ROWS", 3)
    assert np.abs(scorer.predict(images, rater).score - whole).max() < 1e-12


def test_answers_without_ratings_are_said_to_say_nothing(scorer, simulation):
    images = images_of(simulation)[:3]
    scorer.predict(images, person(simulation, 0, 5))
    assert scorer.notes() == []
    scorer.predict(images, Rater())
    (note,) = scorer.notes()
    assert "so every image got the middle of the scale" in note
