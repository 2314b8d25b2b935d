"""Profiles: validation, and TOML there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.errors import BeholderError
from beholder.profile import BIG_FIVE, EXPERIENCE_LEVELS, Profile

KNOWN = set(Profile.__dataclass_fields__)
WORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12).map(str.strip).filter(bool)
TENS = st.integers(1, 10) | st.floats(1, 10)
AGES = st.integers(1, 120) | st.tuples(st.integers(1, 60), st.integers(60, 120)).map("{0[0]}-{0[1]}".format)
PROFILES = st.builds(
    Profile,
    age=st.none() | AGES,
    gender=st.none() | WORDS,
    education=st.none() | WORDS,
    nationality=st.none() | WORDS,
    art_experience=st.none() | st.sampled_from(EXPERIENCE_LEVELS),
    photography_interest=st.none() | TENS,
    **{trait: st.none() | TENS for trait in BIG_FIVE},
    free=st.dictionaries(WORDS.filter(lambda name: name.lower() not in KNOWN), WORDS | st.integers(-(10**9), 10**9) | st.booleans(), max_size=3),
)


@given(PROFILES)
def test_toml_round_trip(tmp_path_factory, profile):
    path = tmp_path_factory.getbasetemp() / "profile.toml"
    profile.to_toml(path)
    assert Profile.from_toml(path) == profile


@given(PROFILES)
def test_dictionary_round_trip_and_truth(profile):
    assert Profile.from_dict(profile.known() | {"free": profile.free}) == profile
    assert bool(profile) == bool(profile.known())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"age": "old"}, "age = 'old' is not an age: give years from 1 to 120, or a band such as \"25-34\""),
        ({"age": 0}, "age = 0 is not an age"),
        ({"age": 121}, "age = 121"),
        ({"age": True}, "age = True"),
        ({"age": "40-30"}, "age = '40-30'"),
        ({"openness": 11}, "openness = 11 is not a number from 1 to 10"),
        ({"openness": "very"}, "openness = 'very'"),
        ({"art_interest": 0}, "art_interest = 0"),
        ({"art_experience": "guru"}, "art_experience = 'guru' is not one of beginner, competent, proficient, expert"),
        ({"gender": 3}, "gender = 3 is not text"),
        ({"free": {"Art Interest": 4}}, "the free field 'Art Interest' is the known field art_interest: set it there"),
    ],
)
def test_wrong_values_are_named_with_the_allowed_ones(values, sentence):
    with pytest.raises(BeholderError) as refused:
        Profile.from_dict(values)
    assert sentence in str(refused.value)


def test_several_wrong_values_are_all_named(tmp_path):
    path = tmp_path / "me.toml"
    path.write_text('age = "old"\nopenness = 11\ngender = "female"\nart_experience = "guru"\n')
    with pytest.raises(BeholderError) as refused:
        Profile.from_toml(path)
    assert str(refused.value) == (
        f"profile {path}: age = 'old' is not an age: give years from 1 to 120, or a band such as \"25-34\"; "
        "art_experience = 'guru' is not one of beginner, competent, proficient, expert; openness = 11 is not a number from 1 to 10"
    )


def test_spellings():
    profile = Profile.from_dict({"Art Experience": "Expert", "AGE": "25 to 34", "Photography-Interest": "7", "gender": " F ", "shoe": 43})
    assert profile == Profile(art_experience="expert", age="25-34", photography_interest=7, gender="f", free={"shoe": 43})
    assert profile.age_years == 29.5 and Profile(age=40).age_years == 40 and Profile().age_years is None


def test_missing_values_are_no_values():
    assert not Profile(age=None, gender="  ", openness=float("nan"), free={"a": "", "b": None})


def test_files(tmp_path):
    path = tmp_path / "me.toml"
    path.write_text("[profile]\nage = 34\n", encoding="utf-8-sig")
    assert Profile.from_toml(path) == Profile(age=34)
    for text, sentence in ((b"age = old", "not valid TOML"), (b"gender = '\xe9'", "not UTF-8"), (b"age = 'old'", "me.toml: age = 'old'")):
        path.write_bytes(text)
        with pytest.raises(BeholderError, match=sentence):
            Profile.from_toml(path)
    with pytest.raises(BeholderError, match="cannot be read"):
        Profile.from_toml(tmp_path / "nowhere.toml")


def test_a_slip_in_a_field_name_is_noticed():
    assert Profile.from_dict({"agee": 34, "opennes": 8, "shoe size": 41, "hometown": "Porto"}).probable_slips() == {
        "agee": "age",
        "opennes": "openness",
    }
    assert Profile.from_dict({"age": 34, "Art Experience": "expert"}).probable_slips() == {}
