"""What answers of raters whose tastes are known must give: strengths, position bias, agreement, and words where a number cannot be had."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from beholder.steering.study import bradley_terry
from beholder.steering.study.analysis import DRAWS, Outcome, analyse
from beholder.steering.study.plan import Entry, StudyConfig, plan_trials
from beholder.steering.study.report import _html, _markdown, forest_plot

ARMS = ("own", "other", "generic", "unoptimised")
STRENGTHS = {"own": 0.8, "other": 0.2, "generic": -0.4, "unoptimised": -0.6}  # log odds, mean 0
POINTS = 400 / math.log(10)


def answered(strengths=STRENGTHS, *, raters=8, prompts=12, side=0.0, repeats=1, seed=0, chooser=None):
    """Outcomes of a planned study whose raters choose by chance with these strengths; chooser(trial) decides instead if given."""
    arms = list(strengths)
    entries = [Entry(f"r{r}", f"p{p}", arm, f"{r} {p} {arm}") for r in range(raters) for p in range(prompts) for arm in arms]
    trials, _ = plan_trials(entries, config=StudyConfig(repeats=repeats, seed=seed))
    dice = random.Random(seed)
    found = []
    for one in trials:
        odds = strengths[one.left.arm] - strengths[one.right.arm] + side
        left = dice.random() < 1 / (1 + math.exp(-odds)) if chooser is None else chooser(one)
        found.append(Outcome(one.rater, one.prompt, one.left.arm, one.right.arm, left))
    return found


def studied(found, *, arms=ARMS, planned=None, draws=300):
    counts = {}
    for one in found:
        counts[one.rater] = counts.get(one.rater, 0) + 1
    return analyse(found, arms=arms, planned=planned or counts, draws=draws)


def two_arms(wins, losses, *, raters=4):
    """own against other, the sides in turns, so that both are shown equally on both."""
    found = []
    for number in range(wins + losses):
        own_left, won = number % 2 == 0, number < wins
        sides = ("own", "other") if own_left else ("other", "own")
        found.append(Outcome(f"r{number % raters}", f"p{number % 5}", *sides, own_left == won))
    return found


def test_with_two_arms_the_distance_is_the_log_odds():
    found = studied(two_arms(300, 100), arms=("own", "other"))
    own, other = found.strengths
    assert own.points - other.points == pytest.approx(400 * math.log10(3), rel=1e-3)
    assert own.points + other.points == pytest.approx(2000)
    assert found.own_tests[0].share.k == 300 and found.own_tests[0].share.n == 400
    assert found.own_tests[0].p_trials < 1e-20


def test_the_fit_is_at_the_maximum_of_the_penalised_likelihood():
    random_counts = np.random.default_rng(3)
    shown = random_counts.integers(0, 20, size=(5, 6)).astype(float)
    wins = np.floor(shown * random_counts.random((5, 6)))
    strengths, side = bradley_terry.fit(wins, shown, n_arms=3, side=True)

    def loss(row, values, bias):
        total = bradley_terry.RIDGE / 2 * (sum(v * v for v in values) + bias * bias)
        for (i, j), won, n in zip(bradley_terry.cells(3), wins[row], shown[row], strict=True):
            odds = values[i] - values[j] + bias
            total -= won * odds - n * math.log1p(math.exp(odds))
        return total

    for row in range(5):
        best = loss(row, strengths[row], side[row])
        for place in range(3):
            for step in (1e-3, -1e-3):
                moved = strengths[row].copy()
                moved[place] += step
                assert loss(row, moved, side[row]) > best
        assert loss(row, strengths[row], side[row] + 1e-3) > best < loss(row, strengths[row], side[row] - 1e-3)


def test_planted_strengths_lie_in_the_intervals():
    found = studied(answered(), draws=DRAWS)
    for one in found.strengths:
        assert one.low <= 1000 + POINTS * STRENGTHS[one.arm] <= one.high
        assert 20 < one.high - one.low < 250
    assert [one.arm for one in sorted(found.strengths, key=lambda one: -one.points)] == list(ARMS)
    assert found.units == "raters and prompts"
    assert all(test.share.low > 0.5 and test.p_units < 0.05 for test in found.own_tests)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    inside = total = 0
    for seed in range(30):
        for one in studied(answered(raters=5, prompts=6, seed=seed), draws=200).strengths:
            inside += one.low <= 1000 + POINTS * STRENGTHS[one.arm] <= one.high
            total += 1
    assert 0.88 <= inside / total <= 1.0


def test_position_bias_is_found_and_kept_apart_from_the_strengths():
    found = studied(answered(side=1.2, raters=10, prompts=20, seed=4))
    assert found.side.low <= 1.2 * POINTS <= found.side.high and found.side.low > 0
    assert found.side.share.value > 0.65 and found.side.p < 1e-6
    for one in found.strengths:
        assert one.beside_low <= 1000 + POINTS * STRENGTHS[one.arm] <= one.beside_high
    spread = {name: max(getattr(one, name) for one in found.strengths) - min(getattr(one, name) for one in found.strengths) for name in ("points", "beside")}
    assert spread["beside"] > 1.1 * spread["points"]  # without the term the bias hides a part of the differences
    assert any("left side is favoured" in word for word in found.words)
    none = studied(answered(raters=10, prompts=20, seed=4))
    assert none.side.low < 0 < none.side.high and not any("side is favoured" in word for word in none.words)


def test_who_only_looks_at_the_side_agrees_with_nobody():
    found = studied(answered(repeats=2, chooser=lambda trial: True))
    assert found.agreement.value == 0.0 and found.side.share.value == 1.0
    steady = studied(answered(repeats=2, chooser=lambda trial: STRENGTHS[trial.left.arm] > STRENGTHS[trial.right.arm]))
    assert steady.agreement.value == 1.0 and steady.agreement.n == 8 * 12 * 6
    assert steady.side.share.value == 0.5


def test_an_arm_that_always_wins_is_put_in_words_and_stays_finite():
    found = studied(answered(chooser=lambda trial: trial.left.arm == "own" or (trial.right.arm != "own" and trial.left.prompt < "p5")))
    assert any("own never lost to" in word and "no upper bound" in word for word in found.words)
    assert all(math.isfinite(one.points) for one in found.strengths)
    assert found.strengths[0].wins == found.strengths[0].trials


def test_a_circle_of_victories_bounds_all_strengths():
    """Each arm always beats the next and loses to the one before: that gives finite strengths, all equal. Without the last step it gives none."""
    circle = [("own", "other"), ("other", "generic"), ("generic", "own")]
    found = [Outcome(f"r{n % 5}", f"p{n % 4}", *pair, True) for n in range(20) for pair in circle]
    closed, open_end = studied(found, arms=ARMS[:3]), studied([one for one in found if one.left != "generic"], arms=ARMS[:3])
    assert not any("no upper bound" in word for word in closed.words)
    assert [one.points for one in closed.strengths] == pytest.approx([1000.0] * 3)
    assert sum("no upper bound" in word for word in open_end.words) == 2


def test_arms_that_never_met_are_named():
    both = [Outcome("a", f"p{n}", *sides, n % 3 == 0) for n in range(12) for sides in (("own", "other"), ("generic", "unoptimised"))]
    found = studied(both)
    assert any("never compared" in word for word in found.words)
    half = studied([one for one in both if one.left == "own"])
    assert any("no answered trial shows generic and unoptimised" in word for word in half.words)
    assert math.isnan(half.strengths[2].points) and math.isfinite(half.strengths[0].points)


def test_no_answer_and_few_answers_are_put_in_words():
    none = studied([], planned={"a": 6})
    assert none.words == ("no trial has been answered yet, so nothing is known",)
    assert none.answered == 0 and all(math.isnan(one.points) for one in none.strengths)
    assert json.loads(json.dumps(none.as_dict(), allow_nan=False))["side"]["points"] is None
    few = studied([Outcome("a", "p", "own", "other", True)], planned={"a": 6})
    assert few.units == "trials"
    assert any("only 1 answers" in word for word in few.words) and any("5 of 6 trials" in word for word in few.words)


def test_one_rater_is_resampled_over_prompts_and_says_so():
    found = studied(answered(raters=1))
    assert found.units == "prompts" and any("nothing about other people" in word for word in found.words)
    assert found.own_tests[0].n_units == 12


def test_raters_of_their_own_are_seen():
    """One rater likes own, the other dislikes it: together nothing, alone opposite."""
    found = studied(answered(raters=2, prompts=20, chooser=lambda t: (t.left.arm == "own") == (t.rater == "r0") if "own" in (t.left.arm, t.right.arm) else t.prompt < "p15"))
    likes, dislikes = found.raters
    assert likes.strengths[0].points > 1300 and dislikes.strengths[0].points < 700
    assert likes.own_over_other.value == 1.0 and dislikes.own_over_other.value == 0.0
    assert found.own_tests[0].p_units == 1.0


def test_the_test_by_changes_of_sign_is_exact():
    """Six raters who all prefer own: 2 of 64 changes of sign are as extreme."""
    found = studied(answered(raters=6, chooser=lambda t: STRENGTHS[t.left.arm] > STRENGTHS[t.right.arm]))
    assert found.own_tests[0].p_units == pytest.approx(2 / 64)


def test_the_same_seed_gives_the_same_analysis():
    data = answered(raters=3, prompts=4)
    assert studied(data).as_dict() == studied(data).as_dict()


def test_reports_escape_what_people_wrote():
    nasty = '<script>alert("x")</script>|'
    found = studied([Outcome(nasty, "p", nasty, "other", n % 2 == 0) for n in range(8)], arms=(nasty, "other"))
    html, text = "".join(_html(found, question=nasty)), "\n".join(_markdown(found, question=nasty))
    assert "<script" not in html and "<script" not in text and "<script" not in forest_plot(found.strengths)
    assert "&lt;script&gt;" in html and "\\|" in text
    assert forest_plot(studied([], planned={"a": 1}).strengths) == ""
