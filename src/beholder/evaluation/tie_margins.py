"""Pairwise accuracy against the tie margin: how much of what a scorer gets wrong are pairs that the rater all but tied.

Pairs whose ratings differ by no more than the margin are left out. On a slider the margin grows from 0 to one anchor of the scale (PAMELA's analysis); on a
scale of few steps, by whole anchors (ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from beholder.evaluation.metrics import Answers
from beholder.evaluation.rater_values import ALL, Resamples, by_row, of_raters, units
from beholder.evaluation.report import Report
from beholder.evaluation.resampling import interval
from beholder.evaluation.small_plots import Line, draw
from beholder.ratings import write_table
from beholder.scale import Scale

TABLE, PICTURE = "tie-margins.csv", "tie-margins.png"
SLIDER = (0.0, 0.25, 0.5, 0.75, 1.0)  # margins in anchors, up to the next anchor, as published
ANCHORS = (0.0, 1.0, 2.0, 3.0)  # where ratings lie on anchors only: anything between would leave out the same pairs
MOST_STEPS = 20  # of a scale with anchors; one with more (0 to 100) is a slider, whose step is no difference that anybody meant
COLUMNS = ("scorer", "shots", "raters", "anchors", "margin", "pairwise", "low", "high", "n_raters")


def anchor(scale: Scale) -> float:
    """Points from one anchor of the scale to the next: its step; a quarter of a slider (five anchors, as PAMELA's has)."""
    return scale.step if scale.step and scale.width / scale.step <= MOST_STEPS else scale.width / 4


def margins_of(scale: Scale) -> tuple[float, ...]:
    """Margins in anchors, from 0; at least one pair of steps of the scale is farther apart than the widest."""
    step = anchor(scale)
    return tuple(one for one in ANCHORS if one < scale.width / step) if step == scale.step else SLIDER


def records(report: Report) -> list[dict[str, object]]:
    """One row per scorer, N, group of raters ("all"; "seen" and "unseen" where there are any) and margin, with the columns `COLUMNS`.

    `anchors` is the margin in anchors, `margin` in points; intervals are over raters, n_raters those with a pair left.
    """
    step, margins = anchor(report.dataset.scale), margins_of(report.dataset.scale)
    found = []
    for scorer, shots, by_label in by_row(report):
        parts = {label: _units(answers, margins=[one * step for one in margins]) for label, answers in by_label.items() if label != ALL or len(by_label) == 1}
        together = tuple(np.concatenate(columns, axis=-1) for columns in zip(*parts.values(), strict=True))
        for label, (unit_rater, values) in {ALL: together, **parts}.items():
            raters = np.unique(unit_rater)
            resamples = Resamples(raters, raters, draws=report.draws)
            for fraction, of_units in zip(margins, values, strict=True):
                per_rater = of_raters(unit_rater, of_units)
                row = {"scorer": scorer, "shots": shots, "raters": label, "anchors": fraction, "margin": fraction * step}
                row |= {"pairwise": per_rater.mean} | interval(resamples.means(per_rater))
                found.append(row | {"n_raters": int(np.isfinite(per_rater.value).sum())})
    return found


def accuracy_by_margin(unit: np.ndarray, truth: np.ndarray, score: np.ndarray, *, size: int, margins: Sequence[float]) -> np.ndarray:
    """[margins, size] `metrics.pairwise_accuracy` of each query set at several margins, in one pass over the pairs."""
    right, total = np.zeros((len(margins), size)), np.zeros((len(margins), size))
    order = np.argsort(unit, kind="stable")
    bounds = np.searchsorted(unit[order], np.arange(size + 1))
    for index in range(size):
        rows = order[bounds[index] : bounds[index + 1]]
        for start in range(0, len(rows), 512):  # a block of rows against all, so that large query sets fit into memory
            ours = rows[start : start + 512]
            gap, guess = (values[ours][:, None] - values[rows][None, :] for values in (truth, score))
            first, second = np.nonzero(gap > min(margins))
            gap, guess = gap[first, second], guess[first, second]
            credit = np.where(guess > 0, 1.0, np.where(guess == 0, 0.5, 0.0))
            # how many margins each pair is wider than; sums from there on count it for all of these
            wider = np.searchsorted(np.asarray(margins), gap, side="left") - 1
            for counted, weight in ((right, credit), (total, np.ones_like(credit))):
                of_margin = np.bincount(wider, weight, minlength=len(margins))
                counted[:, index] += of_margin[::-1].cumsum()[::-1]
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)


def _units(answers: Answers, *, margins: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """[u] rater of each query set, and [margins, u] its accuracy; differences that exceed a margin by rounding alone do not count."""
    unit_rater, unit, truth, score = units(answers)
    widened = [one + 1e-9 for one in margins]
    return unit_rater, accuracy_by_margin(unit, truth, score, size=len(unit_rater), margins=widened)


def write(found: Sequence[Mapping[str, object]], out: Path) -> Path:
    """Write tie-margins.csv."""
    rows = [
        {name: ("" if value != value else round(value, 6)) if isinstance(value, float) else value for name, value in row.items()}
        for row in found
    ]
    write_table(out / TABLE, rows, columns=COLUMNS)
    return out / TABLE


def picture(found: Sequence[Mapping[str, object]], out: Path, *, title: str = "") -> Path:
    """Draw tie-margins.png: one line per scorer at the largest N, one panel per group of raters.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    shots = max(int(row["shots"]) for row in found)
    panels: dict[str, dict[str, Line]] = {}
    for row in found:
        if row["shots"] == shots:
            line = panels.setdefault(f"{row['raters']} raters, N = {shots}", {}).setdefault(str(row["scorer"]), Line())
            line.add(float(row["anchors"]), float(row["pairwise"]), low=float(row["low"]), high=float(row["high"]))
    return draw(panels, out / PICTURE, x="tie margin in anchors of the scale", y="pairwise accuracy", title=title, same_heights=True)
