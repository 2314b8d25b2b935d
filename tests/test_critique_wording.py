"""Which numbers may be put in which words: made-up findings, so that every limit can be seen from both sides."""

import dataclasses
import math

import pytest

from beholder.critique.measured import probes, suggestion, wording
from beholder.critique.measured.statistics import ATTRIBUTES, Where, reference


def made_up(values=(), *, colourfulness=40.0, x=0.5, y=0.5, tilt=math.nan, strength=0.0):
    """Findings that are average but for what is given."""
    average = {name: reference()["attributes"][name]["quantiles"][50] for name in ATTRIBUTES} | {"colourfulness": colourfulness} | dict(values)
    return wording.Findings(average, Where(x, y, (0.4, 0.4, 0.6, 0.6), tilt, 0.5, strength), None)


def test_an_average_picture_has_no_faults_and_no_adjectives():
    found = made_up()
    assert suggestion.suggestion(found).startswith("None of the faults")
    assert [wording.called(found, name) for name in wording.WORDS] == [""] * len(wording.WORDS)


def test_grey_is_neither_warm_nor_cool():
    grey = made_up({"warmth": 0.0}, colourfulness=0.0)
    assert "without colour" in wording.feeling(grey) and "cool" not in wording.feeling(grey)
    assert wording.called(made_up({"warmth": -0.5}), "warmth") == ""
    assert "cool" in wording.called(made_up({"warmth": -15.0}), "warmth") and "warm" in wording.called(made_up({"warmth": 30.0}), "warmth")
    assert wording.called(made_up({"warmth": -15.0}, colourfulness=5.0), "warmth") == ""


def test_crisp_lines_on_an_even_ground_are_not_called_soft():
    blurred = {"blur": 0.7}
    assert made_up(blurred).percentile("blur") >= wording.SOFT
    assert "softer" not in wording.focus(made_up(blurred)) and "focus" not in suggestion.suggestion(made_up(blurred))
    soft = made_up(blurred | {"sharpness": 0.0})
    assert "softer than 99 %" in wording.focus(soft) and "focus at full size" in suggestion.suggestion(soft)


@pytest.mark.parametrize(("strength", "sure"), [(0.75, False), (0.95, True)])
def test_only_a_clear_line_is_to_be_levelled(strength, sure):
    found = made_up(tilt=-4.0, strength=strength)
    assert ("A horizon was found" in wording.composition(found)) == sure
    assert ("What may be a horizon was found" in wording.composition(found)) != sure
    assert ("Level the horizon" in suggestion.suggestion(found)) == sure
    assert "4.0 degrees anticlockwise" in wording.composition(found)


@pytest.mark.parametrize(("x", "said"), [(0.45, False), (0.8, True), (0.2, True)])
def test_what_stands_out_in_the_middle_does_not_weigh_on_one_side(x, said):
    assert ("heavier on one side" in wording.composition(made_up({"balance": 0.1}, x=x))) == said
    assert "very heavier" not in wording.composition(made_up({"balance": 0.0}, x=x))
    assert "evenly weighted" in wording.composition(made_up({"balance": 0.99}, x=x))


def test_percentiles_are_never_all_photographs():
    dark = made_up({"brightness": 0.5, "highlights": 0.0})
    assert "darker than 99 % of photographs" in suggestion.suggestion(dark)


@pytest.mark.parametrize(("animal", "both"), [(0.7, False), (0.4, True)])
def test_the_kind_is_named_with_its_rival_where_it_is_not_clear(animal, both):
    seen = probes.Seen({"Object": 0.3, "Animal": animal}, (("tench", 0.5), ("eel", 0.1)), 0.5, 50, 0.2, 50)
    found = wording.Findings({}, made_up().where, seen)
    assert wording.subject(found) == f"It looks like a picture of an animal{' or an object' if both else ''}."


def seen_as(liked=50.0, disputed=50.0, kinds=(("Object", 0.3), ("Animal", 0.7))):
    return probes.Seen(dict(kinds), (("tench", 0.5), ("eel", 0.1)), 0.5, liked, 0.2, disputed)


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        *((0.1, 0.1, "upper left"), (0.9, 0.2, "upper right"), (0.5, 0.2, "upper middle"), (0.2, 0.5, "left middle"), (0.5, 0.5, "middle")),
        *((0.8, 0.5, "right middle"), (0.1, 0.9, "lower left"), (0.5, 1.0, "lower middle"), (1.0, 1.0, "lower right")),
    ],
)
def test_places_count_from_the_upper_left(x, y, place):
    assert wording.spot(x, y) == place
    assert f"lies in the {place} of the frame" in wording.composition(made_up(x=x, y=y))


def test_how_liked_and_how_disputed():
    assert "rate it higher than 80 of 100" in wording.overall(seen_as(liked=80)) and wording.overall(seen_as(liked=80)).endswith("photographs.")
    assert "they differ" in wording.overall(seen_as(disputed=80)) and "mostly agree" in wording.overall(seen_as(disputed=20))
    assert "higher than 99 of 100" in wording.overall(seen_as(liked=100)) and "higher than 1 of 100" in wording.overall(seen_as(liked=0))
    assert "not known" in wording.overall(None)


def test_the_lines_of_thirds_are_named_only_close_to_a_crossing():
    assert "lines of thirds" in wording.composition(made_up({"thirds": 0.97}, x=0.3, y=0.3))
    assert "lines of thirds" not in wording.composition(made_up({"thirds": 0.97})), "in the middle of the frame"
    assert "lines of thirds" not in wording.composition(made_up()) and "lines of thirds" not in wording.composition(made_up({"thirds": 0.5}))


def test_the_gravest_fault_is_suggested():
    assert "Level the horizon" in suggestion.suggestion(made_up({"contrast": 5.0}, tilt=6.0, strength=0.95))
    assert "Raise the contrast" in suggestion.suggestion(made_up({"contrast": 5.0}))
    assert "Raise the contrast" not in suggestion.suggestion(made_up({"contrast": 40.0}))
    assert "as good as" not in suggestion.suggestion(made_up({"highlights": 0.02})) and "highlights" in suggestion.suggestion(made_up({"highlights": 0.5}))
    assert "50 % of the pixels are" in suggestion.suggestion(made_up({"shadows": 0.5}))


@pytest.mark.parametrize(("x", "y", "place"), [(0.05, 0.5, "left middle"), (0.5, 0.95, "lower middle")])
def test_what_stands_out_at_the_edge_is_to_get_room(x, y, place):
    assert f"what stands out in the {place} more room" in suggestion.suggestion(made_up(x=x, y=y))
    assert "more room" not in suggestion.suggestion(made_up(x=0.3, y=0.7))


def test_nothing_is_said_of_what_could_not_be_measured():
    nothing = dataclasses.replace(made_up(), values=dict.fromkeys(ATTRIBUTES, math.nan) | {"colourfulness": 40.0})
    assert [wording.called(nothing, name) for name in wording.WORDS if name != "colourfulness"] == [""] * (len(wording.WORDS) - 1)
    assert suggestion.suggestion(nothing).startswith("None of the faults")
    for section in ("light", "focus", "colour", "composition"):
        assert all(one.percentile is None for one in wording.evidence(nothing, section) if math.isnan(one.value))
