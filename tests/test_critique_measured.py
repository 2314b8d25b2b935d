"""The critique without a model that sees: planted faults are named, numbers stand beside every sentence, nothing is claimed that was not measured."""

import json
import math

import numpy as np
import pytest
from PIL import Image

import image_files
from beholder.critique.base import SECTIONS
from beholder.critique.measured import critique as measured
from beholder.critique.measured import probes, projected, suggestion, wording
from beholder.critique.measured.answer import answer, sections
from beholder.critique.measured.statistics import measure_and_locate
from beholder.errors import BeholderError, MissingExtra, UnreadableImage
from beholder.scorers.linear_hidden.projection import Projection


def photograph(tmp_path, pixels, name="photo.png"):
    path = tmp_path / name
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


def findings(path):
    return wording.Findings(*measure_and_locate(path), None)


def scene(width=600, height=400, *, tilt=0.0, horizon=0.45):
    """Sky and sea with some texture; the sea's edge turned clockwise by `tilt` degrees."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    line = height * horizon + math.tan(math.radians(tilt)) * (x - width / 2)
    sky = np.stack([120 + 0.1 * y, 160 + 0.1 * y, 215 + 0 * y], axis=-1)
    sea = np.stack([30 + 0 * y, 70 + 0 * y, 90 + 0 * y], axis=-1)
    mixed = np.where((y < line)[..., None], sky, sea)
    return mixed + np.random.default_rng(0).normal(0, 2, mixed.shape)


@pytest.mark.parametrize("tilt", [4.0, -3.0])
def test_a_tilted_horizon_is_found_and_to_be_levelled(tmp_path, tilt):
    text = suggestion.suggestion(findings(photograph(tmp_path, scene(tilt=tilt))))
    assert "Level the horizon" in text
    assert ("anticlockwise" in text) == (tilt > 0)
    degrees = float(text.split("by ")[1].split(" ")[0])
    assert degrees == pytest.approx(abs(tilt), abs=0.5)


def test_a_level_horizon_is_called_level(tmp_path):
    found = findings(photograph(tmp_path, scene()))
    assert "it is level" in wording.composition(found)
    assert "Level the horizon" not in suggestion.suggestion(found)


def test_burnt_highlights_are_named_with_their_share(tmp_path):
    pixels = np.array(image_files.picture(400, 300)).astype(float)
    pixels[:150] = 255
    found = findings(photograph(tmp_path, pixels))
    assert "50 % of the pixels are as good as white" in wording.light(found)
    assert "highlights" in suggestion.suggestion(found)


def test_a_dark_picture_is_called_dark(tmp_path):
    found = findings(photograph(tmp_path, np.array(image_files.picture(400, 300)) * 0.15))
    assert "very dark" in wording.light(found)


def test_grey_has_no_colour(tmp_path):
    grey = np.array(image_files.picture(400, 300).convert("L").convert("RGB"))
    assert wording.colour(findings(photograph(tmp_path, grey))) == "It is as good as without colour."


def test_a_blurred_picture_is_called_soft(tmp_path):
    noise = np.random.default_rng(0).normal(128, 40, (300, 400, 3))
    from scipy.ndimage import gaussian_filter

    soft = gaussian_filter(noise, (12, 12, 0)) * 6 - 5 * 128
    assert "softer than" in wording.focus(findings(photograph(tmp_path, soft)))


def test_a_large_even_picture_is_not_called_small(tmp_path):
    assert "or too even," in wording.focus(findings(photograph(tmp_path, np.full((600, 800, 3), 128))))


def test_two_colours_are_not_called_many(tmp_path):
    pixels = np.zeros((300, 400, 3))
    pixels[:, :200], pixels[:, 200:] = (240, 150, 40), (40, 130, 220)
    text = wording.colour(findings(photograph(tmp_path, pixels)))
    assert "hues far apart" in text and "many" not in text


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A critique of a made-up landscape, with the shipped probes."""
    return measured.critique(photograph(tmp_path_factory.mktemp("one"), scene(tilt=3)))


def test_all_sections_are_given_with_evidence(one):
    assert tuple(one.sections) == SECTIONS
    assert all(section.text.endswith(".") for section in one.sections.values())
    for name in ("overall", "composition", "colour", "light", "focus"):
        assert one.sections[name].evidence, name
        for proof in one.sections[name].evidence:
            assert proof.how.endswith(".")
            assert proof.percentile is None or 0 <= proof.percentile <= 100


def test_it_says_that_no_model_sees(one):
    assert one.by == "measured"
    assert any("no vision-language model is loaded" in note for note in one.notes)
    assert "cannot be measured" in one.sections["feeling"].text


def test_a_photograph_that_the_probes_learned_from_is_said_to_be_known(tmp_path, monkeypatch):
    import dataclasses

    from beholder.scorers import provenance

    path = photograph(tmp_path, scene())
    assert measured.KNOWN not in measured.critique(path).notes
    plain = probes.Probes.load
    monkeypatch.setattr(probes.Probes, "load", lambda: dataclasses.replace(plain(), seen=provenance.fingerprints([path])))
    assert measured.KNOWN in measured.critique(path).notes


def test_json_has_no_nan_and_the_same_numbers(one):
    made = json.loads(json.dumps(one.to_json(), allow_nan=False))
    horizon = {proof["name"]: proof for proof in made["sections"]["composition"]["evidence"]}["horizon tilt"]
    assert horizon["value"] == pytest.approx(3, abs=0.5)
    assert horizon["unit"] == "degrees"


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (3000, 8)])
def test_odd_sizes_are_no_reason_to_fail(tmp_path, size):
    found = findings(photograph(tmp_path, np.full((size[1], size[0], 3), 90)))
    for text in (wording.composition, wording.colour, wording.light, wording.focus, suggestion.suggestion):
        assert text(found).endswith(".")


def test_a_missing_image_is_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="does not exist"):
        measured.critique(tmp_path / "nothing.jpg")


def test_without_the_encoder_what_needs_none_is_measured(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise MissingExtra("torch", extra="local", purpose="looking at images")

    monkeypatch.setattr(probes, "look", missing)
    found = measured.critique(photograph(tmp_path, scene()))
    assert "not installed" in found.sections["overall"].text
    assert any("pip install" in note for note in found.notes)
    assert found.sections["light"].evidence


# The probes


def test_probes_that_ship(tmp_path):
    images = [photograph(tmp_path, scene(), "sea.png"), photograph(tmp_path, np.array(image_files.picture()), "flat.png")]
    both = probes.look(images)
    alone = probes.look(images[:1])[0]
    assert both[0].kind == pytest.approx(alone.kind, abs=1e-9)
    assert (both[0].liked, both[0].disputed) == pytest.approx((alone.liked, alone.disputed), abs=1e-6)
    for seen in both:
        assert sum(seen.kind.values()) == pytest.approx(1)
        assert set(seen.kind) == {"Animal", "Object", "Person", "Scene"}
        assert 0 <= seen.liked_percentile <= 100 and 0 <= seen.disputed_percentile <= 100
        assert seen.classes[0][1] >= seen.classes[1][1]
    assert max(both[0].kind, key=both[0].kind.get) == "Scene"


def test_class_names_are_those_of_imagenet():
    names = probes.class_names()
    assert len(set(names)) == len(names) == 1000
    assert (names[0], names[207], names[980], names[999]) == ("tench", "golden retriever", "volcano", "toilet tissue")


def test_probes_survive_saving(tmp_path):
    probe = probes.Probes.load()
    again = probes.Probes.load(probe.save(tmp_path / "probes", trained={"dataset": "d", "licence": "CC0"}))
    assert again.version == probe.version
    assert "CC0" in (tmp_path / "probes" / "README.md").read_text()


def test_probes_of_another_encoder_are_refused(tmp_path):
    import dataclasses

    other = dataclasses.replace(probes.Probes.load(), feature_key="clip")
    with pytest.raises(BeholderError, match="trained on features clip"):
        probes.look([photograph(tmp_path, scene())], probes=other)


# Attributes that `beholder probe` learned


def test_attributes_of_a_projection_are_shown_where_they_belong(tmp_path):
    from beholder.backbones import load_encoder
    from beholder.engine.source import Features

    path = photograph(tmp_path, scene())
    source = Features(load_encoder("efficientnet-lite0", layers=["pool"]), layers=["pool"])
    coef = np.zeros((3, source.dim), dtype=np.float32)
    made = Projection(
        ("RuleOfThirds", "VividColor", "score of fun"), coef, np.array([0.25, 0.5, 0.75]), source.key, layer="pool", scores={"VividColor test rho": 0.61}
    )
    made.save(tmp_path / "projection")
    found = measured.critique(path, projection=tmp_path / "projection")
    assert found.sections["composition"].evidence[-1].value == pytest.approx(0.25)
    assert "0.61" in found.sections["colour"].evidence[-1].how
    assert found.sections["overall"].evidence[-1].name == "score of fun"


def test_a_projection_of_other_features_is_refused(tmp_path):
    Projection(("a",), np.zeros((1, 4), dtype=np.float32), np.zeros(1), "clip/LT3", layer="LT3").save(tmp_path / "p")
    with pytest.raises(BeholderError, match="learned from features clip/LT3"):
        projected.projected(photograph(tmp_path, scene()), tmp_path / "p")


# Questions


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is the horizon straight?", ["composition"]),
        ("Is it sharp enough, and are the colours too warm?", ["colour", "focus"]),
        ("Do people like it?", ["overall"]),
        ("How could I improve the light?", ["light", "suggestion"]),
        ("Who painted this?", []),
        ("Is the sky overexposed, or blown out?", ["light"]),
        ("Is the white balance right?", ["colour"]),
        ("Is it crooked or cluttered?", ["composition"]),
        ("Where is the subject?", ["composition"]),
        ("Where was this taken?", []),
        ("What was it like to be there?", []),
        ("Does it look like the sea?", []),
        ("Is this a likely fake?", []),
        ("Is this lightning?", []),
        ("What do you think?", ["overall"]),
    ],
)
def test_which_section_answers(question, expected):
    assert sections(question) == expected


def test_an_answer_is_said_to_be_measured(tmp_path):
    text = answer(photograph(tmp_path, scene(tilt=3)), "Is the horizon level?")
    assert text.startswith("Measured, not seen")
    assert "tilted by" in text and "clockwise" in text


def test_a_question_about_a_horizon_that_was_not_found_says_so(tmp_path):
    path = photograph(tmp_path, np.array(image_files.picture(400, 300)))
    assert "No clear horizon was found" in answer(path, "Is the horizon straight?")
    assert "horizon" not in answer(path, "Is it in balance?")
    assert "No clear horizon" not in answer(photograph(tmp_path, scene()), "Is it level?")


def test_what_is_not_measured_is_refused(tmp_path):
    with pytest.raises(BeholderError, match="no vision-language model is loaded"):
        answer(photograph(tmp_path, scene()), "Who is the man on the left?")


@pytest.mark.parametrize(
    ("question", "number"),
    [
        ("Does it follow the rule of thirds?", "Thirds"),
        ("Is the subject in the middle?", "Centring"),
        ("How noisy is it?", "Noise"),
        ("Is it too dark?", "Brightness is"),
    ],
)
def test_a_question_that_names_an_attribute_gets_its_number(tmp_path, question, number):
    text = answer(photograph(tmp_path, np.array(image_files.picture(400, 300))), question)
    assert number in text and "picture of" not in text


@pytest.mark.parametrize("question", ["How old is the person in the light?", "What is in the background?", "Why does the light work?"])
def test_words_that_are_measured_do_not_make_a_question_measurable(question):
    assert sections(question) == []


def test_tones_that_reach_black_are_not_called_narrow(tmp_path):
    text = wording.light(findings(photograph(tmp_path, np.where(np.arange(400)[:, None, None] < 390, 0, 40) + np.zeros((400, 300, 3)))))
    assert "97 % of the pixels are as good as black" in text or "98 % of the pixels are as good as black" in text
    assert "without full blacks" not in text
