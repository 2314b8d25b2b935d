"""Accuracy: counted by hand, unparsable answers counted as wrong and shown, intervals that cover, position bias and chance found."""

from __future__ import annotations

import random

import numpy as np
import pytest

from beholder.critique.aesbench import estimates as estimating
from beholder.critique.aesbench.accuracy import accuracies, intervals
from beholder.critique.aesbench.compare import Answered, compare
from beholder.critique.aesbench.estimates import Key, differences, estimates
from beholder.critique.aesbench.questions import Benchmark, Question
from command_line import refused

FOUR = (("A", "the light"), ("B", "the colour"), ("C", "the frame"), ("D", "the blur"))
GRADES = (("A", "High"), ("B", "Medium"), ("C", "Low"))


def question(i, *, part="AesP", answer="A", options=FOUR, **more):
    return Question(f"{i}.jpg", part, "What is good?", options=options, answer=answer, id=f"{part}/{i}", **more)


def test_groups_and_counts_are_those_of_a_hand_count():
    rows = [  # answer, right, dimension, source, type
        ("A", "A", "composition", "NI", "what"),
        ("B) the colour", "A", "composition", "NI", "what"),
        ("It is the frame.", "C", "content", "AI", "why"),
        ("A or B, who knows", "B", "content", "AI", "why"),
        ("I cannot help with that image.", "D", "content", "AGI", "why"),
        ("", "D", "", "", ""),
        (None, "D", "", "", ""),
    ]
    benchmark = Benchmark(
        "b", tuple(question(i, answer=right, dimension=d, source=s, qtype=t) for i, (_, right, d, s, t) in enumerate(rows))
    )
    answers = {"AesP": {f"{i}.jpg": said for i, (said, *_) in enumerate(rows) if said is not None}}
    found = accuracies(benchmark, answers)["AesP"]
    whole = found.whole
    assert (whole.n, whole.right, whole.unparsable, whole.unanswered) == (7, 2, 2, 2)
    assert whole.accuracy == pytest.approx(200 / 7) and whole.chance == 25
    assert (whole.one_letter, whole.one_letter_right) == ("D", pytest.approx(300 / 7))
    counts = {str(key): (group.right, group.n) for key, group in found.groups.items()}
    assert counts == {
        "AesP": (2, 7),
        "AesP/dimension/composition": (1, 2),
        "AesP/dimension/content": (1, 3),
        "AesP/source/NI": (1, 2),
        "AesP/source/AI": (1, 2),
        "AesP/source/AGI": (0, 1),
        "AesP/type/what": (1, 2),
        "AesP/type/why": (1, 3),
    }
    assert found.given == {"A": 1, "B": 1, "C": 1, "none": 4} and found.right_letters == {"A": 2, "B": 1, "C": 1, "D": 3}
    assert sum(found.how.values()) == 7 and found.how["unanswered"] == 2 and found.how["refused"] == 1
    said = " ".join(found.remarks(intervals({"AesP": found})))
    assert "2 of 7 answers give no single option" in said and "2 of 7 questions have no answer" in said


def test_an_answer_that_repeats_all_options_counts_as_unparsable():
    benchmark = Benchmark("b", (question(0),))
    found = accuracies(benchmark, {"AesP": {"0.jpg": "A) the light B) the colour C) the frame D) the blur"}})["AesP"].whole
    assert (found.right, found.unparsable) == (0, 1)


def test_questions_without_a_published_answer_do_not_count():
    benchmark = Benchmark("b", (question(0), question(1, answer=""), question(2, part="AesE", answer="")))
    found = accuracies(benchmark, {"AesP": {"0.jpg": "A", "1.jpg": "A"}, "AesE": {"2.jpg": "A"}})
    assert list(found) == ["AesP"] and found["AesP"].whole.n == 1 and found["AesP"].n_unknown == 1
    assert accuracies(benchmark, {}) == {}


def test_chance_follows_the_number_of_options():
    benchmark = Benchmark("b", (question(0), question(1, options=FOUR[:2])))
    assert accuracies(benchmark, {"AesP": {}})["AesP"].whole.chance == pytest.approx(37.5)


def test_confusion_and_macro_average_of_the_assessment():
    right = ["A"] * 6 + ["B"] * 2 + ["C"] * 2
    given = ["A"] * 6 + ["A", "B"] + ["A", "?"]
    benchmark = Benchmark("b", tuple(question(i, part="AesA", answer=letter, options=GRADES) for i, letter in enumerate(right)))
    found = accuracies(benchmark, {"AesA": {f"{i}.jpg": said for i, said in enumerate(given)}})["AesA"]
    assert found.confusion == {
        "High": {"High": 6, "Medium": 0, "Low": 0, "none": 0},
        "Medium": {"High": 1, "Medium": 1, "Low": 0, "none": 0},
        "Low": {"High": 1, "Medium": 0, "Low": 0, "none": 1},
    }
    values = intervals({"AesA": found})
    assert values[Key("AesA")].value == pytest.approx(70)
    assert values[Key("AesA", "macro")].value == pytest.approx((100 + 50 + 0) / 3)  # three grades, however frequent


def test_always_answering_one_letter_is_said():
    draw = random.Random(0)
    benchmark = Benchmark("b", tuple(question(i, answer=draw.choice("ABCD")) for i in range(200)))
    always = accuracies(benchmark, {"AesP": {f"{i}.jpg": "B" for i in range(200)}})
    said = " ".join(always["AesP"].remarks(intervals(always)))
    assert "cannot be told from guessing" in said and "B is 100% of the answers" in said
    good = accuracies(benchmark, {"AesP": {one.image: one.answer if i % 10 else "A" for i, one in enumerate(benchmark.questions)}})
    assert good["AesP"].remarks(intervals(good)) == []


def test_intervals_cover_the_true_accuracy_about_95_times_in_100():
    draw = np.random.default_rng(0)
    inside = 0
    for run in range(300):
        sums = {Key("AesP"): {str(i): (float(draw.random() < 0.7), 1.0) for i in range(80)}}
        found = estimates(sums, draws=400, seed=run)[Key("AesP")]
        inside += found.low <= 70 <= found.high
    assert 0.90 <= inside / 300 <= 0.985


def test_all_right_is_not_certainty():
    found = estimates({Key("AesP"): {str(i): (1.0, 1.0) for i in range(10)}, Key("AesE"): {str(i): (0.0, 1.0) for i in range(10)}})
    assert (found[Key("AesP")].low, found[Key("AesP")].high) == (pytest.approx(69.15, abs=0.01), 100)  # exact binomial, 10 of 10
    assert (found[Key("AesE")].low, found[Key("AesE")].high) == (0, pytest.approx(30.85, abs=0.01))


def test_paired_differences_are_narrower_than_unpaired_ones_and_the_same_every_time():
    draw = np.random.default_rng(1)
    hard = draw.random(400)
    base = {Key("AesP"): {str(i): (float(hard[i] > 0.5), 1.0) for i in range(400)}}
    ours = {Key("AesP"): {str(i): (float(hard[i] > 0.4), 1.0) for i in range(400)}}
    gap = differences(ours, base)[Key("AesP")]
    alone = estimates(ours)[Key("AesP")]
    assert gap.value == pytest.approx(100 * np.mean((hard > 0.4) & (hard <= 0.5)))
    assert 0 < gap.low < gap.value < gap.high and gap.high - gap.low < 0.8 * (alone.high - alone.low)
    assert differences(ours, base)[Key("AesP")] == gap
    assert differences(ours, base, seed=1)[Key("AesP")] != gap


def test_a_gap_that_all_images_agree_on_is_not_certainty():
    """Exact: nothing differs on n images, or n of n go one way (two-sided sign test: below 0.05 from six images on)."""
    key = Key("AesP")

    def gap(ours, base):
        made = [{key: {str(i): (float(right), 1.0) for i, right in enumerate(side)}} for side in (ours, base)]
        return differences(*made)[key]

    same = gap([1, 0, 1, 1], [1, 0, 1, 1])
    assert (same.value, same.low, same.high) == (0, pytest.approx(-60.24, abs=0.01), pytest.approx(60.24, abs=0.01))
    assert gap([1] * 5, [0] * 5).low < 0 < gap([1] * 6, [0] * 6).low < gap([1] * 60, [0] * 60).low < 100 == gap([1] * 6, [0] * 6).high
    worse = gap([0] * 6, [1] * 6)
    assert (worse.low, worse.high) == (-100, pytest.approx(-gap([1] * 6, [0] * 6).low)) and worse.high < 0
    mixed = gap([1, 0] * 10, [0, 1] * 10)  # no gap, but every image differs: the bootstrap sees that
    assert mixed.value == 0 and mixed.low < -20 and mixed.high > 20


def test_differences_look_at_images_that_both_have():
    base = {Key("AesI"): {"a": (0.0, 1.0), "b": (1.0, 1.0)}}
    ours = {Key("AesI"): {"b": (2.0, 1.0), "c": (2.0, 1.0)}}
    gap = differences(ours, base)[Key("AesI")]
    assert (gap.value, gap.n) == (1.0, 1)


def test_overall_and_its_interval_come_from_the_same_resampled_images():
    draw = np.random.default_rng(2)
    sums = {Key(part): {str(i): (float(draw.random() < 0.6), 1.0) for i in range(100)} for part in ("AesP", "AesE", "AesA")}
    assert Key("overall") not in estimates(sums)
    sums[Key("AesI")] = {str(i): (2 * draw.random(), 1.0) for i in range(100)}
    found = estimates(sums)
    parts = [found[Key(part)].value * (100 if part == "AesI" else 1) for part in ("AesP", "AesE", "AesA", "AesI")]
    whole = found[Key(estimating.OVERALL)]
    assert whole.value == pytest.approx(sum(parts) / 4) and whole.low < whole.value < whole.high
    widths = [(found[Key(part)].high - found[Key(part)].low) * (100 if part == "AesI" else 1) for part in ("AesP", "AesE", "AesA", "AesI")]
    assert whole.high - whole.low == pytest.approx(np.sqrt(np.sum(np.square(widths))) / 4, rel=0.15)  # parts are independent here


def test_models_that_cannot_be_compared_are_refused():
    benchmark = Benchmark("b", (question(0),))
    one = Answered("one", {"AesP": {"0.jpg": "A"}})
    refused(lambda: compare(benchmark, []), "no model")
    refused(lambda: compare(benchmark, [one, one]), "one", "twice")
    refused(lambda: compare(benchmark, [one], base="other"), "other", "one")
    refused(lambda: compare(benchmark, [one], base="one"), "only model")
