"""`population` against scikit-learn and against planted profile effects."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers import make
from beholder.scorers.baselines.scorer import PopulationScorer
from beholder.scorers.baselines.training import ALPHAS
from beholder.scorers.effects import image_effects
from taste_worlds import images_of, part, person, rows_of, world


@pytest.fixture(scope="module")
def scorer():
    simulation = world("profile")
    return PopulationScorer(features=simulation.features).fit(part(simulation, range(50)))


@pytest.fixture(scope="module")
def with_profile():
    simulation = world("profile")
    return PopulationScorer(features=simulation.features, use_profile=True).fit(part(simulation, range(50)))


def test_effects_solve_the_additive_table():
    rng = np.random.default_rng(0)
    rater, image = (a.ravel() for a in np.meshgrid(np.arange(12), np.arange(20), indexing="ij"))
    keep = rng.random(len(rater)) < 0.5
    rater, image = rater[keep], image[keep]
    value = rng.standard_normal(12)[rater] + rng.standard_normal(20)[image]
    raters, images = image_effects(rater, image, value, n_raters=13, n_images=21)
    assert np.abs(raters[rater] + images[image] - value).max() < 1e-4
    assert np.isnan(raters[12]) and np.isnan(images[20])  # nobody, nothing
    assert abs(images[image].sum()) < 1e-6


def test_equals_ridge_on_image_effects_in_scikit_learn(scorer):
    simulation = world("profile")
    train = part(simulation, range(50))
    unit = train.scale.to_unit(train.rating_score)
    means, effects = image_effects(train.rating_rater, train.rating_image, unit, n_raters=50, n_images=len(train.images))
    used, x = train.used_images, simulation.features(images_of(simulation)).astype(np.float64)
    reference = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x[used], effects[used])
    expected = np.clip(train.scale.from_unit(means.mean() + reference.predict(x)), 1, 5)
    assert np.abs(scorer.predict(images_of(simulation), Rater()).score - expected).max() < 1e-5
    assert scorer.model.alpha == reference[-1].alpha_


def test_the_same_answer_for_everybody(scorer):
    simulation = world("profile")
    images = images_of(simulation)
    somebody, other = (scorer.predict(images, person(simulation, u, n)) for u, n in ((60, 0), (61, 30)))
    assert np.array_equal(somebody.score, other.score)
    assert not scorer.uses_profile and not scorer.uses_ratings
    assert np.corrcoef(somebody.score, simulation.shared_taste)[0, 1] > 0.9


def test_the_planted_effect_of_the_profile_is_found(with_profile, scorer):
    simulation = world("profile")
    images = images_of(simulation)
    assert with_profile.uses_profile
    high, low = (with_profile.predict(images, Rater(profile=Profile(openness=o))).score for o in (10, 1))
    raters = [u for u in range(50) if simulation.dataset.profiles[u].openness >= 9]
    truth = simulation.personal_taste[raters].mean(axis=0)
    assert np.corrcoef(high - low, truth)[0, 1] > 0.8
    gains = []
    for u in range(50, 80):
        rows = rows_of(simulation, u)
        asked, given = [images[i] for i in simulation.dataset.rating_image[rows]], simulation.dataset.rating_score[rows]
        own, all_alike = (np.corrcoef(s.predict(asked, person(simulation, u, 0)).score, given)[0, 1] for s in (with_profile, scorer))
        gains.append(own - all_alike)
    assert np.mean(gains) > 0.02
    assert np.allclose(with_profile.predict(images, Rater()).score, scorer.predict(images, Rater()).score)  # nothing known of the rater


def test_interval_covers_ratings_of_new_raters(scorer):
    simulation = world("profile")
    inside = []
    for u in range(50, 80):
        rater = person(simulation, u)
        predictions = scorer.predict(rater.ratings.images, Rater())
        inside.append(((rater.ratings.scores >= predictions.low) & (rater.ratings.scores <= predictions.high)).mean())
    assert 0.8 < np.mean(inside) < 0.97


def test_another_scale_and_no_images(scorer):
    images = images_of(world("profile"))
    stars, hundred = (scorer.predict(images, Rater(ratings=Ratings(scale=scale))) for scale in (Scale(1, 5), Scale(0, 100)))
    assert np.allclose(Scale(1, 5).convert(stars.score, to=Scale(0, 100)), hundred.score)
    assert hundred.low.min() >= 0 and hundred.high.max() <= 100
    assert len(scorer.predict([], Rater())) == 0


@pytest.mark.parametrize("which", ["scorer", "with_profile"])
def test_saved_and_read_again(which, request, tmp_path):
    saved = request.getfixturevalue(which)
    simulation = world("profile")
    images, rater = images_of(simulation), person(simulation, 60, 0)
    folder = saved.save_pretrained(tmp_path / "new" / "weights")
    again = make("population", features=simulation.features, weights=folder)
    assert np.abs(again.predict(images, rater).score - saved.predict(images, rater).score).max() < 1e-6
    assert again.version == saved.version and again.uses_profile == saved.uses_profile
    assert again.trained_on([*images[:7], "elsewhere.jpg"]) == 7
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "3000 ratings by 50 raters of 90 images" in (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["scorer"] == "population"


def test_refuses_what_it_cannot_do():
    simulation = world("profile")
    unfitted = PopulationScorer(features=simulation.features)
    with pytest.raises(BeholderError, match="not learned"):
        unfitted.predict(images_of(simulation), Rater())
    with pytest.raises(BeholderError, match="nothing trained to save"):
        unfitted.save_pretrained("nowhere")
    with pytest.raises(BeholderError, match="1 raters"):
        unfitted.fit(part(simulation, range(1)))
    with pytest.raises(BeholderError, match="needs at least 2 and 5"):
        unfitted.fit(simulation.dataset.rows(np.flatnonzero(simulation.dataset.rating_image < 3)))


def test_images_all_of_one_group():
    simulation = world("profile")
    train = part(simulation, range(10))
    one = replace(train, groups=("all",) * len(train.images))
    fitted = PopulationScorer(features=simulation.features).fit(one)
    assert 0 < fitted.model.half_width < 1
