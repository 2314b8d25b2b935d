"""The generator `scenes`: the same picture for the same words and seed, and pictures that show what the words say."""

import numpy as np
import pytest
from PIL import Image

from beholder.errors import BeholderError
from beholder.steering.generators.scene_words import CHOICES, SHIFTS, SUBJECTS, mentions
from beholder.steering.generators.scenes import SMALL, Scene, SceneGenerator, attributes, render, scene_of

SEEDS = range(6)


def pixels(prompt, seed=0, **options):
    return np.asarray(SceneGenerator(**options).generate(prompt, seed=seed), dtype=float)


def luma(picture):
    return float((picture @ [0.299, 0.587, 0.114]).mean())


def saturation(picture):
    return float((picture.max(axis=-1) - picture.min(axis=-1)).mean())


def warmth(picture):
    return float((picture[..., 0] - picture[..., 2]).mean())


def greenness(picture):
    """Below the horizon, where the ground is."""
    ground = picture[picture.shape[0] * 2 // 3 :]
    return float((ground[..., 1] - (ground[..., 0] + ground[..., 2]) / 2).mean())


def test_the_same_prompt_and_seed_give_the_same_pixels_and_other_seeds_others():
    assert np.array_equal(pixels("a harbour at dawn", 3), pixels("a harbour at dawn", 3))
    first, second = pixels("a harbour at dawn", 3), pixels("a harbour at dawn", 4)
    assert np.abs(first - second).mean() > 5


def test_pictures_are_rgb_of_the_asked_size():
    image = SceneGenerator().generate("the sea", seed=0)
    assert (image.mode, image.size) == ("RGB", (320, 240))
    assert SceneGenerator(size=(128, 96)).generate("the sea", seed=0).size == (128, 96)
    assert SceneGenerator(size=(128, 96)).version != SceneGenerator().version


@pytest.mark.parametrize("size", [(20, 240), (320, 9000)])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(BeholderError, match="48 to 2048"):
        SceneGenerator(size=size)


@pytest.mark.parametrize("size", [(48, 48), (97, 61), (64, 200)])
def test_every_value_of_every_property_can_be_drawn_at_odd_sizes(size):
    for number, prompt in enumerate(
        f"{phrases[0]}, {SUBJECTS['boats'][0][2]}" for values in CHOICES.values() for phrases in values.values()
    ):
        image = SceneGenerator(size=size).generate(prompt, seed=number)
        assert image.size == size
        assert np.asarray(image).std() > 1  # something is to be seen


def test_unknown_words_are_ignored():
    for seed in SEEDS:
        assert np.array_equal(pixels("zxqv blorb", seed), pixels("", seed))
        assert np.array_equal(pixels("at noon, by the sea", seed), pixels("an utterly zxqv thing, AT NOON,  by   the Sea", seed))


@pytest.mark.parametrize(
    "more, less, measure",
    [
        ("at noon", "at night", luma),
        ("bright and airy", "dark and moody", luma),
        ("in a forest, in summer, at noon, natural colours", "in the desert, in summer, at noon, natural colours", greenness),
        ("vivid colours", "pastel colours", saturation),
        ("vivid colours", "black and white", saturation),
        ("warm colours", "cold colours", warmth),
        ("at sunset, clear sky, natural colours", "at noon, clear sky, natural colours", warmth),
        ("high contrast, at noon", "low contrast, at noon", lambda picture: float(picture.std())),
    ],
)
def test_words_change_what_they_say(more, less, measure):
    differences = [measure(pixels(more, seed)) - measure(pixels(less, seed)) for seed in SEEDS]
    assert min(differences) > 0


def test_naming_one_property_leaves_the_others_as_the_seed_has_them():
    for seed in SEEDS:
        plain, named = scene_of("", seed), scene_of("at night", seed)
        assert named == Scene(**{**vars(plain), "time": "night"})


def test_without_words_seeds_differ_in_every_property():
    scenes = [scene_of("", seed) for seed in range(60)]
    for name in (*CHOICES, *SUBJECTS):
        assert len({getattr(scene, name) for scene in scenes}) > 1, name


def test_every_phrase_means_what_its_place_in_the_vocabulary_says():
    for name, values in CHOICES.items():
        for value, phrases in values.items():
            for phrase in phrases:
                assert (name, value) in list(mentions(phrase)), phrase
                assert getattr(scene_of(phrase, 1), name) == value, phrase
    for name, (phrases, nouns) in SUBJECTS.items():
        assert all(found == name for phrase in (*phrases, *nouns) for found, _ in mentions(phrase)), name
    for name, sides in SHIFTS.items():
        for sign, phrases in zip("+-", sides, strict=True):
            assert all(next(mentions(phrase)) == (name, sign) for phrase in phrases)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("three old boats", ("boats", 3)),
        ("a boat", ("boats", 1)),
        ("boats", ("boats", 4)),
        ("no people", ("people", 0)),
        ("a crowd of people", ("people", 8)),
        ("a couple", ("people", 2)),
        ("two trees. birds", ("trees", 2)),
        ("without a tree", ("trees", 0)),
    ],
)
def test_subjects_are_counted(text, expected):
    assert next(mentions(text)) == expected


def test_parts_of_words_are_no_words():
    assert list(mentions("a seat for a mantis, nightly warmish treeline")) == []
    assert dict(mentions("watercolour"))["style"] == "painting"  # and not water


def test_the_first_mention_counts():
    assert scene_of("at noon, by the sea, at night, in the desert", 5).time == "noon"
    assert scene_of("at noon, by the sea, at night, in the desert", 5).ground == "sea"


def test_a_longer_phrase_wins_over_the_words_in_it():
    assert scene_of("early morning light", 0).time == "dawn"
    assert dict(mentions("black and white"))["palette"] == "monochrome"
    assert dict(mentions("snowy peaks")) == {"ground": "mountains"}


@pytest.mark.parametrize(
    "prompt", ["at noon, by the sea", "in the city at night", "forest in fog", "oil painting of a desert", "poster, mountains", ""]
)
def test_attributes_are_those_of_the_picture(prompt):
    for seed in (1, 2):
        known, picture = attributes(scene_of(prompt, seed)), pixels(prompt, seed)
        assert known["brightness"] == pytest.approx(luma(picture) / 255, abs=0.04)
        assert known["saturation"] == pytest.approx(saturation(picture) / 255, abs=0.05)
        assert known["warmth"] == pytest.approx(0.5 + warmth(picture) / 510, abs=0.03)
        assert known["contrast"] == pytest.approx(min(1.0, 2 * (picture @ [0.299, 0.587, 0.114]).std() / 255), abs=0.08)
        assert all(0 <= value <= 1 for value in known.values())


def test_attributes_tell_what_is_in_the_scene():
    empty = attributes(scene_of("no trees, no boats, no houses, no people, no birds, desert, no tower, no sun", 3))
    full = attributes(scene_of("many trees, two boats, three cottages, a crowd of people, in fog, symmetric, big sky", 3))
    assert (empty["subjects"], empty["water"], empty["built"], empty["sun"]) == (0, 0, 0, 0)
    assert (full["subjects"], full["water"], full["built"], full["fog"], full["symmetry"]) == (1, 1, 1, 1, 1)
    assert full["people"] == pytest.approx(8 / 9)
    assert full["sky"] > attributes(scene_of("high horizon", 3))["sky"]


def test_more_subjects_make_a_busier_picture():
    def edges(prompt, seed):
        return np.abs(np.diff(pixels(prompt, seed).mean(axis=-1), axis=1)).mean()

    bare = "clear sky, noon, desert, poster, no people, no trees, no houses, no birds, no tower, no boats"
    busy = "clear sky, noon, desert, poster, many people, many trees, many houses, no birds, no tower, no boats"
    assert np.mean([edges(busy, seed) - edges(bare, seed) for seed in SEEDS]) > 0.3


def test_a_symmetric_city_is_its_own_mirror_image_in_the_sky_line():
    scene = scene_of(
        "city, symmetric composition, noon, clear sky, no sun, no people, no trees, no houses, no birds, no boats, no tower, poster", 2
    )
    picture = np.asarray(render(scene, size=SMALL), dtype=float)
    other = np.asarray(render(Scene(**{**vars(scene), "composition": "wide"}), size=SMALL), dtype=float)
    assert np.abs(picture - picture[:, ::-1]).mean() < 0.7 * np.abs(other - other[:, ::-1]).mean()


def test_pictures_can_be_kept_as_png(tmp_path):
    SceneGenerator().generate("the sea", seed=1).save(tmp_path / "one.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), pixels("the sea", 1))
