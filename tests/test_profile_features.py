"""Profiles as numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from beholder.profile import Profile
from beholder.scorers.profile_features import MAX_CATEGORIES, MIN_RATERS, ProfileEncoder

PROFILES = [
    Profile(age=20 + i, gender="female" if i % 2 else "male", openness=1 + i % 10, art_experience="expert" if i % 3 else "beginner")
    for i in range(30)
]


@pytest.fixture
def encoder():
    return ProfileEncoder.learn(PROFILES)


def column(encoder, field, category=""):
    return [(c.field, c.category) for c in encoder.columns].index((field, category))


def test_columns_have_mean_0_and_deviation_1_over_the_raters_learned_from(encoder):
    codes = np.stack([encoder(profile) for profile in PROFILES])
    assert encoder.dim == codes.shape[1] >= 5
    assert np.allclose(codes.mean(axis=0), 0, atol=1e-12) and np.allclose(codes.std(axis=0), 1)


def test_missing_and_unknown_fields_are_0(encoder):
    assert np.all(encoder(Profile()) == 0)
    assert np.all(encoder(Profile(free={"shoe_size": 44})) == 0)
    code = encoder(Profile(age=60))
    assert code[column(encoder, "age")] > 2
    assert np.count_nonzero(code) == 1


def test_levels_of_experience_are_numbers_and_age_bands_their_middle(encoder):
    levels = [encoder(Profile(art_experience=level))[column(encoder, "art_experience")] for level in ("beginner", "competent", "expert")]
    assert levels == sorted(levels) and len(set(levels)) == 3
    assert np.allclose(encoder(Profile(age="30-40")), encoder(Profile(age=35)))


def test_an_unheard_of_word_is_none_of_the_categories(encoder):
    code = encoder(Profile(gender="non-binary"))
    assert code[column(encoder, "gender", "female")] < 0 and code[column(encoder, "gender", "male")] < 0


def test_outliers_are_limited(encoder):
    assert np.abs(encoder(Profile(age=120))).max() <= 4


def test_rare_words_many_words_and_constants_give_no_column():
    profiles = [Profile(gender="female" if i else "male", nationality=f"country {i}", openness=5, education="school") for i in range(30)]
    fields = {(c.field, c.category) for c in ProfileEncoder.learn(profiles).columns}
    assert fields == {("gender", "female")}  # one "male" is fewer than MIN_RATERS; 30 countries are too many; the rest is constant
    assert MIN_RATERS > 1 and MAX_CATEGORIES < 30
    few = [Profile(openness=i + 1) for i in range(MIN_RATERS - 1)]
    assert ProfileEncoder.learn(few).dim == 0
    assert ProfileEncoder.learn([]).dim == 0


def test_free_fields_numbers_as_text_and_truth_values():
    profiles = [Profile(free={"score": str(i), "owns_camera": i % 2 == 0}) for i in range(20)]
    encoder = ProfileEncoder.learn(profiles)
    assert encoder(Profile(free={"score": 19}))[column(encoder, "score")] == pytest.approx(9.5 / np.std(np.arange(20)))
    assert encoder(Profile(free={"owns_camera": True}))[column(encoder, "owns_camera", "true")] == pytest.approx(1)
    assert np.all(np.isfinite(encoder(Profile(free={"score": "many"}))))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("inf")])
def test_values_that_are_no_finite_numbers_do_no_harm(value):
    profiles = [Profile(free={"score": i}) for i in range(20)] + [Profile(free={"score": value})]
    encoder = ProfileEncoder.learn(profiles)
    codes = np.stack([encoder(profile) for profile in profiles])
    assert np.isfinite(codes).all()
    assert codes[0, column(encoder, "score")] < -1
    assert np.all(ProfileEncoder.learn(profiles[:20])(profiles[20]) == 0)


def test_the_order_of_raters_does_not_matter_and_json_keeps_everything(encoder):
    turned = ProfileEncoder.learn(PROFILES[::-1])
    assert [(c.field, c.category) for c in turned.columns] == [(c.field, c.category) for c in encoder.columns]
    assert np.allclose(turned(PROFILES[3]), encoder(PROFILES[3]))
    assert ProfileEncoder.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder
