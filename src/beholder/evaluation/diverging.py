"""Diverging pairs: two raters x and y who order two images A and B differently. Does a scorer know it of both?

x prefers A and y prefers B, each by one anchor of the scale or more, both asked in the same fold. A scorer that treats raters alike orders
exactly one of the two right, whatever it predicts; only knowledge of both raters gets both. The page is in `diverging_page.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError
from beholder.evaluation.answering import Answered
from beholder.evaluation.metrics import DIGITS
from beholder.evaluation.rater_values import Resamples
from beholder.evaluation.report import Report
from beholder.evaluation.resampling import interval
from beholder.evaluation.tie_margins import anchor
from beholder.ratings import write_table

TABLE = "diverging.csv"
COLUMNS = ("scorer", "shots", "fold", "rater_x", "rater_y", "image_a", "image_b")
COLUMNS += tuple(f"{what}_{who}_{image}" for who in "xy" for what in ("rated", "predicted") for image in "ab")
SHARES = ("both", "one", "none", "right")
_CELLS = 100_000_000  # pairs of images looked at per fold; with more, as many pairs of raters as that allows, drawn at random
_LEAST = 2000  # what looking at a pair of raters costs at least, in such cells


@dataclass(frozen=True)
class Case:
    """One diverging pair.

    Args:
        fold: index of the fold.
        x, y: rater indices; a, b: image indices. x prefers a, y prefers b.
        rated, predicted: rater -> (of a, of b), in points of the scale.
    """

    fold: int
    x: int
    y: int
    a: int
    b: int
    rated: dict[int, tuple[float, float]]
    predicted: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Diverging:
    """All diverging pairs of one scorer at one N.

    Args:
        scorer, shots: whose predictions.
        least: points that x and y each put between the images, at least; more than `margin` points as well.
        n: diverging pairs found; n_pairs_of_raters: that have one.
        looked_at, in_all: pairs of raters of the same fold that were looked at, and that there are.
        shares: "both", "one", "none" -> share of the pairs in which the scorer orders both, one or none of the raters right (equal predictions
            count one half); "right" -> share of the raters' orders that are right, 0.5 for any scorer that treats raters alike.
        intervals: the same names -> ends of the 95 % interval; raters are resampled, and a pair counts as often as both are drawn together.
        shown: some of the pairs, drawn at random.
    """

    scorer: str
    shots: int
    least: float
    margin: float
    n: int
    n_pairs_of_raters: int
    looked_at: int
    in_all: int
    shares: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    shown: tuple[Case, ...]


def diverging(report: Report, *, show: int, scorer: str | None = None, shots: int | None = None, seed: int = 0) -> Diverging:
    """Find the diverging pairs in the predictions of a report.

    Args:
        show: at most so many of them are kept in `shown`, drawn at random with the same chance for each.
        scorer: the first one if None.
        shots: the largest N if None.
        seed: of what is drawn.

    Raises:
        BeholderError: the report has no such predictions, or `show` is negative.
    """
    if show < 0:
        raise BeholderError(f"{show} diverging pairs cannot be shown: write 0 for none, or a positive number")
    scorer = next((name for name, _ in report.predictions), "") if scorer is None else scorer
    shots = max(report.shots) if shots is None else shots
    if (scorer, shots) not in report.predictions:
        raise BeholderError(
            f"there are no predictions of {scorer!r} with {shots} ratings in this report: name a scorer and N that were measured"
        )
    tables = [_Table(report, index, part) for index, part in enumerate(report.predictions[scorer, shots])]
    least = anchor(report.dataset.scale)
    tallies, in_all, looked_at = [], 0, 0
    for table in tables:
        pairs, n_pairs = table.pairs(np.random.default_rng([seed, 18, table.fold]))
        in_all, looked_at = in_all + n_pairs, looked_at + len(pairs)
        for x, y in pairs:
            first, second = table.cases(x, y, least=least, margin=report.margin)
            if len(first):
                both, none = table.right(x, y, first, second)
                tallies.append((table.fold, x, y, len(first), both, none))
    counts = np.array([tally[3] for tally in tallies], dtype=np.int64)
    shares, intervals = _shares(report, tables, tallies)
    ends = np.cumsum(counts)
    drawn = np.random.default_rng([seed, 19]).permutation(int(counts.sum()))[:show] if len(counts) else np.zeros(0, dtype=np.int64)
    shown = []
    for place in drawn:
        index = int(np.searchsorted(ends, place, side="right"))
        fold, x, y = tallies[index][:3]
        first, second = tables[fold].cases(x, y, least=least, margin=report.margin)
        which = place - (ends[index] - counts[index])
        shown.append(tables[fold].case(x, y, first[which], second[which]))
    return Diverging(
        scorer=scorer,
        shots=shots,
        least=least,
        margin=report.margin,
        n=int(counts.sum()),
        n_pairs_of_raters=len(counts),
        looked_at=looked_at,
        in_all=in_all,
        shares=shares,
        intervals=intervals,
        shown=tuple(shown),
    )


def write_shown(report: Report, found: Diverging, out: Path) -> Path:
    """Write diverging.csv: the pairs that the page shows, with ratings and predictions."""
    write_table(out / TABLE, _rows(report, found), columns=COLUMNS)
    return out / TABLE


class _Table:
    """Ratings and predictions of one fold as matrices: tested raters x query images, nan where there is none."""

    def __init__(self, report: Report, fold: int, answered: Answered) -> None:
        asked = report.asked[fold]
        use = (asked.row >= 0) & np.isfinite(answered.score)
        self.fold = fold
        self.raters, row = np.unique(asked.rater[use], return_inverse=True)
        self.images, column = np.unique(asked.image[use], return_inverse=True)
        self.truth, self.score = (np.full((len(self.raters), len(self.images)), np.nan) for _ in range(2))
        self.truth[row, column] = report.dataset.rating_score[asked.row[use]]
        self.score[row, column] = np.round(answered.score[use], DIGITS)

    def pairs(self, generator: np.random.Generator) -> tuple[list[tuple[int, int]], int]:
        """Pairs of raters (rows, x < y) with two images in common: as many as there is time for, in random order; and how many there are."""
        there = np.isfinite(self.truth).astype(np.float32)
        common = there @ there.T
        x, y = np.nonzero(np.triu(common >= 2, k=1))
        order = generator.permutation(len(x))
        cost = np.cumsum(np.maximum(common[x, y][order].astype(np.float64) ** 2, _LEAST))
        order = order[: max(1, int(np.searchsorted(cost, _CELLS, side="right")))]
        return list(zip(x[order].tolist(), y[order].tolist(), strict=True)), len(x)

    def cases(self, x: int, y: int, *, least: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """Columns A and B of the images that x and y order differently, x preferring A."""
        common = np.flatnonzero(np.isfinite(self.truth[x]) & np.isfinite(self.truth[y]))
        mine, theirs = self.truth[x, common], self.truth[y, common]
        gaps = mine[:, None] - mine[None, :], theirs[None, :] - theirs[:, None]
        wide = [(gap >= least - 1e-9) & (gap > margin + 1e-9) for gap in gaps]
        first, second = np.nonzero(wide[0] & wide[1])
        return common[first], common[second]

    def right(self, x: int, y: int, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
        """How many cases have both raters right, and how many none; half a right counts as half in the next class."""
        gaps = self.score[x, first] - self.score[x, second], self.score[y, second] - self.score[y, first]
        credit = sum(np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0)) for gap in gaps)
        return float(np.maximum(credit - 1, 0).sum()), float(np.maximum(1 - credit, 0).sum())

    def case(self, x: int, y: int, first: int, second: int) -> Case:
        rated, predicted = (
            {int(self.raters[row]): (float(table[row, first]), float(table[row, second])) for row in (x, y)}
            for table in (self.truth, self.score)
        )
        people = int(self.raters[x]), int(self.raters[y])
        return Case(self.fold, *people, int(self.images[first]), int(self.images[second]), rated, predicted)


def _shares(report: Report, tables: list[_Table], tallies: list[tuple]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Shares over all cases, and their bootstrap intervals over raters."""
    from scipy.sparse import csr_matrix

    if not tallies:
        return dict.fromkeys(SHARES, float("nan")), dict.fromkeys(SHARES, (float("nan"), float("nan")))
    x, y = (np.array([tables[tally[0]].raters[tally[side]] for tally in tallies]) for side in (1, 2))
    raters = np.union1d(x, y)
    weights = Resamples(raters, raters, draws=report.draws).weights.astype(np.float64)
    shape, place = (len(raters), len(raters)), (np.searchsorted(raters, x), np.searchsorted(raters, y))
    # a pair of raters counts w_x * w_y times: the sum over all pairs is a quadratic form in the weights
    columns = [np.array([tally[part] for tally in tallies], dtype=float) for part in (3, 4, 5)]
    sampled = [((csr_matrix((column, place), shape=shape) @ weights) * weights).sum(axis=0) for column in columns]
    shares = _of_counts(*(np.array([column.sum()]) for column in columns))
    ends = {name: interval(values) for name, values in _of_counts(*sampled).items()}
    return {name: float(values[0]) for name, values in shares.items()}, {name: (end["low"], end["high"]) for name, end in ends.items()}


def _of_counts(n: np.ndarray, both: np.ndarray, none: np.ndarray) -> dict[str, np.ndarray]:
    both, none = (np.where(n > 0, part / np.maximum(n, 1), np.nan) for part in (both, none))
    return {"both": both, "one": 1 - both - none, "none": none, "right": 0.5 + (both - none) / 2}


def _rows(report: Report, found: Diverging) -> Iterator[dict[str, object]]:
    data = report.dataset
    for case in found.shown:
        row: dict[str, object] = {"scorer": found.scorer, "shots": found.shots, "fold": report.folds[case.fold].name}
        row |= {"rater_x": data.raters[case.x], "rater_y": data.raters[case.y]}
        row |= {"image_a": data.image_ids[case.a], "image_b": data.image_ids[case.b]}
        for who, rater in (("x", case.x), ("y", case.y)):
            for what, scores in (("rated", case.rated), ("predicted", case.predicted)):
                row |= {f"{what}_{who}_{image}": round(score, 6) for image, score in zip("ab", scores[rater], strict=True)}
        yield row
