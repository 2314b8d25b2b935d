"""`linear-hidden` is the published recipe, to the digit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder.errors import BeholderError
from beholder.rater import Rater
from beholder.ratings import Choices, Ratings
from beholder.scale import Scale
from beholder.scorers import make
from beholder.scorers.linear_hidden.scorer import LinearHiddenScorer
from taste_worlds import images_of, person, world


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
