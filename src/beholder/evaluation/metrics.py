"""How good predictions are: per rater, then averaged over raters, with intervals from a bootstrap over raters.

One query set (one rater in one fold and one draw of query images) is a `unit`. Every measure is computed per unit, averaged over the
units of a rater, then over raters, and, where a protocol repeats its whole pipeline, over repeats. A correlation that is not defined
(constant predictions or ratings, or no prediction at all) counts as 0 and is counted; the mean over the defined ones stands beside it.
Other measures that are not defined (R2 of constant ratings) take no part in the mean and are counted. `personal_r` is the exception: one
correlation over all query pairs (of a repeat), see `two_way_residuals`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from beholder.evaluation.resampling import interval, resampled_means, resampled_sums
from beholder.evaluation.residuals import image_residuals, two_way_residuals

DIGITS = 9  # predictions nearer than 1e-9 are ties: rounding errors are no opinion
DRAWS = 2000

# name -> (label, True if higher is better; None if neither)
METRICS: dict[str, tuple[str, bool | None]] = {
    "srocc": ("SROCC", True),
    "plcc": ("PLCC", True),
    "personal_r": ("personal r", True),
    "personal_r_rater_means_kept": ("personal r (rater means kept)", True),
    "pairwise": ("pairwise accuracy", True),
    "pairwise_within_group": ("pairwise accuracy within image groups", True),
    "choice_accuracy": ("choice accuracy", True),
    "mae": ("MAE", False),
    "r2": ("R2", True),
    "coverage": ("90 % interval covers", None),
    "width": ("90 % interval width", False),
}
CORRELATIONS = ("srocc", "plcc", "personal_r", "personal_r_rater_means_kept")


@dataclass(frozen=True)
class Answers:
    """Predictions next to the truth, one row per query rating.

    Args:
        fold: [n] int; residuals for personal r are taken within a fold, because other folds were predicted by another fit.
        rater, image: [n] int.
        truth: [n] float64, the ratings.
        score, low, high: [n] float64, predictions on the same scale; nan where there is none (such rows are dropped and counted).
        group: [n] int, image group; only pairs within it count for `pairwise_within_group`. Empty: that measure is left out.
        choice_fold, choice_rater: [m] int, query choices.
        choice_chosen, choice_other: [m] float64, predicted scores of the two images.
        drawn, draw: [d] int, rows of the above and the draw that each was drawn in: the query sets are then those of the draws. Personal r
            is taken over all rows, each once. Empty: one query set per fold and rater.
        repeat: [folds] int, the repeat that each fold belongs to. Empty: all belong to one.
    """

    fold: np.ndarray
    rater: np.ndarray
    image: np.ndarray
    truth: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choice_fold: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choice_rater: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choice_chosen: np.ndarray = field(default_factory=lambda: np.zeros(0))
    choice_other: np.ndarray = field(default_factory=lambda: np.zeros(0))
    drawn: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    draw: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    repeat: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class Estimate:
    """One number of a results table.

    Args:
        value: the mean over raters (undefined correlations counting 0); nan if no rater has one.
        low, high: 95 % bootstrap interval over raters.
        n_undefined: units (query sets) without a defined value.
        defined_only: the mean without those.
        std: standard deviation over the repeats (n - 1 in the denominator); nan with fewer than two.
    """

    value: float
    low: float
    high: float
    n_undefined: int = 0
    defined_only: float = float("nan")
    std: float = float("nan")


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one set of `Answers`.

    Args:
        estimates: measure -> estimate; measures that do not apply are absent.
        raters: [r] int, the raters evaluated, ascending.
        per_rater: measure -> [r] float64, nan where undefined (correlations: before counting as 0).
        draws: measure -> [draws] float64 bootstrap values; the same resampled raters for every evaluation of the same raters.
        per_repeat: measure -> [repeats] float64, the value of each repeat alone.
        n_answers: query ratings used.
        n_dropped: query ratings or choices without a prediction.
    """

    estimates: dict[str, Estimate]
    raters: np.ndarray
    per_rater: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    per_repeat: dict[str, np.ndarray]
    n_answers: int
    n_dropped: int


def evaluate(answers: Answers, *, margin: float = 0.0, draws: int = DRAWS, seed: int = 0, by_repeat: bool = False) -> Evaluation:
    """All measures of `METRICS` that apply.

    Args:
        answers: predictions and truth.
        margin: pairwise accuracy uses pairs of a unit whose true scores differ by more than this (in scores).
        draws: bootstrap resamples of the raters.
        seed: of the bootstrap.
        by_repeat: the value is the mean of the repeats' values, each a mean over the raters of that repeat; else a rater tested in
            several repeats is averaged over these first. The bootstrap resamples raters in both.
    """
    usable = np.isfinite(answers.score)
    usable_choices = np.isfinite(answers.choice_chosen) & np.isfinite(answers.choice_other)
    # raters and units are those that were asked about: one without a single prediction is undefined, not absent
    raters = np.unique(np.concatenate([answers.rater, answers.choice_rater]))
    repeat = answers.repeat if len(answers.repeat) else np.zeros(1 + max(answers.fold.max(initial=0), answers.choice_fold.max(initial=0)))
    _, repeat = np.unique(repeat, return_inverse=True)
    n_repeats = int(repeat.max()) + 1
    estimates: dict[str, Estimate] = {}
    per_rater: dict[str, np.ndarray] = {}
    samples: dict[str, np.ndarray] = {}
    per_repeat: dict[str, np.ndarray] = {}

    def add(name: str, values: np.ndarray, unit_rater: np.ndarray, unit_fold: np.ndarray) -> None:
        defined = np.isfinite(values)
        filled = np.where(defined, values, 0.0) if name in CORRELATIONS else values
        place, part = np.searchsorted(raters, unit_rater), repeat[unit_fold]
        cells = _means_of(part, place, filled, shape=(n_repeats, len(raters)))  # [repeats, r]
        parts = cells if by_repeat else _means_of(np.zeros_like(part), place, filled, shape=(1, len(raters)))
        mean_defined = _means_of(np.zeros_like(part), place, values, shape=(1, len(raters)))
        per_rater[name] = mean_defined[0]
        per_repeat[name] = np.array([_nanmean(row) for row in cells])
        samples[name] = _mean_defined(np.stack([resampled_means(row, draws=draws, seed=seed) for row in parts]))
        only = _means_of(part, place, values, shape=cells.shape) if by_repeat else mean_defined
        estimates[name] = Estimate(
            value=_nanmean(np.array([_nanmean(row) for row in parts])),
            **interval(samples[name]),
            n_undefined=int((~defined).sum()),
            defined_only=_nanmean(np.array([_nanmean(row) for row in only])),
            std=_spread(per_repeat[name]),
        )

    if len(answers.rater):
        rows, unit, unit_rater, unit_fold = _units(answers)
        n_units = len(unit_rater)
        rows, unit = rows[usable[rows]], unit[usable[rows]]
        truth, score = answers.truth[rows], np.round(answers.score, DIGITS)[rows]

        def measure(name: str, values: np.ndarray) -> None:
            add(name, values, unit_rater, unit_fold)

        measure("srocc", correlations(unit, average_ranks(unit, truth), average_ranks(unit, score), size=n_units))
        measure("plcc", correlations(unit, truth, score, size=n_units))
        measure("mae", _mean_by(unit, np.abs(truth - score), size=n_units))
        measure("r2", r_squared(unit, truth, score, size=n_units))
        measure("pairwise", pairwise_accuracy(unit, truth, score, margin=margin, size=n_units))
        if len(answers.group):
            within = pairwise_accuracy(unit, truth, score, margin=margin, size=n_units, group=answers.group[rows])
            measure("pairwise_within_group", within)
        low, high = answers.low[rows], answers.high[rows]
        bounded = np.isfinite(low) & np.isfinite(high)
        if bounded.any():
            inside = (truth >= low - 1e-9) & (truth <= high + 1e-9)
            measure("coverage", _mean_by(unit[bounded], inside[bounded].astype(float), size=n_units))
            measure("width", _mean_by(unit[bounded], (high - low)[bounded], size=n_units))
        kept = _kept(answers, usable)
        for name, keep_rater_means in (("personal_r", False), ("personal_r_rater_means_kept", True)) if usable.any() else ():
            estimates[name], per_rater[name], samples[name], per_repeat[name] = _personal(
                kept, raters=raters, repeat=repeat, by_repeat=by_repeat, keep_rater_means=keep_rater_means, draws=draws, seed=seed
            )
    if len(answers.choice_rater):
        pairs, unit = np.unique(np.stack([answers.choice_fold, answers.choice_rater], axis=1), axis=0, return_inverse=True)
        right = _credit(np.round((answers.choice_chosen - answers.choice_other)[usable_choices], DIGITS))
        add("choice_accuracy", _mean_by(unit.reshape(-1)[usable_choices], right, size=len(pairs)), pairs[:, 1], pairs[:, 0])
    return Evaluation(
        estimates={name: estimates[name] for name in METRICS if name in estimates},
        raters=raters,
        per_rater=per_rater,
        draws=samples,
        per_repeat=per_repeat,
        n_answers=int(usable.sum()),
        n_dropped=int((~usable).sum() + (~usable_choices).sum()),
    )


def difference(first: Evaluation, second: Evaluation, *, metric: str) -> Estimate:
    """`first` minus `second` in one measure, with a paired bootstrap interval: the same resampled raters on both sides.

    Raises:
        ValueError: they were not evaluated on the same raters with the same number of draws.
    """
    ours, theirs = first.draws[metric], second.draws[metric]
    if len(ours) != len(theirs) or not np.array_equal(first.raters, second.raters):
        raise ValueError("a paired difference needs two evaluations of the same raters with the same draws")
    return Estimate(value=first.estimates[metric].value - second.estimates[metric].value, **interval(ours - theirs))


def average_ranks(unit: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n] ranks of `values` within their unit, ties sharing their mean rank; counted from an arbitrary start per unit."""
    order = np.lexsort((values, unit))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(values[order]) != 0) | (np.diff(unit[order]) != 0)
    tie = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(order)))
    ranks = np.empty(len(order))
    ranks[order] = (starts + (sizes - 1) / 2)[tie]
    return ranks


def correlations(unit: np.ndarray, first: np.ndarray, second: np.ndarray, *, size: int) -> np.ndarray:
    """[size] Pearson correlation within each unit; nan where one side is constant."""
    first = first - _mean_by(unit, first, size=size)[unit]
    second = second - _mean_by(unit, second, size=size)[unit]
    cross, left, right = (np.bincount(unit, a * b, minlength=size) for a, b in ((first, second), (first, first), (second, second)))
    defined = (left > 1e-16) & (right > 1e-16)
    return np.where(defined, np.clip(cross / np.sqrt(np.where(defined, left * right, 1.0)), -1, 1), np.nan)


def r_squared(unit: np.ndarray, truth: np.ndarray, score: np.ndarray, *, size: int) -> np.ndarray:
    """[size] 1 - squared error / variance of the ratings, per unit; nan where all ratings are the same."""
    error = np.bincount(unit, (truth - score) ** 2, minlength=size)
    spread = np.bincount(unit, (truth - _mean_by(unit, truth, size=size)[unit]) ** 2, minlength=size)
    return np.where(spread > 1e-16, 1 - error / np.where(spread > 1e-16, spread, 1.0), np.nan)


def pairwise_accuracy(
    unit: np.ndarray, truth: np.ndarray, score: np.ndarray, *, size: int, margin: float = 0.0, group: np.ndarray | None = None
) -> np.ndarray:
    """[size] share of the pairs of a unit that are predicted in the right order, predicted ties counting 1/2; nan without a pair.

    Args:
        margin: pairs count if their true scores differ by more than this.
        group: [n] int; if given, only pairs within the same group count.
    """
    right, total = np.zeros(size), np.zeros(size)
    order = np.argsort(unit, kind="stable")
    bounds = np.searchsorted(unit[order], np.arange(size + 1))
    for index in range(size):
        rows = order[bounds[index] : bounds[index + 1]]
        for block in range(0, len(rows), 512):  # a block of rows against all: a unit of 10,000 images must not need 800 MB
            ours = rows[block : block + 512]
            gap = truth[ours][:, None] - truth[rows][None, :]
            counts = gap > margin
            if group is not None:
                counts &= group[ours][:, None] == group[rows][None, :]
            first, second = np.nonzero(counts)
            right[index] += _credit(score[ours[first]] - score[rows[second]]).sum()
            total[index] += len(first)
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)


def _personal(
    answers: Answers, *, raters: np.ndarray, repeat: np.ndarray, by_repeat: bool, keep_rater_means: bool, draws: int, seed: int
) -> tuple[Estimate, np.ndarray, np.ndarray, np.ndarray]:
    """Personal r over all query pairs; its bootstrap resamples raters with the residuals as they are (taken once, over all raters)."""
    image = _pair_index(answers.fold, answers.image)
    score = np.round(answers.score, DIGITS)
    if keep_rater_means:
        truth, score = (image_residuals(image, values) for values in (answers.truth, score))
    else:
        rater = _pair_index(answers.fold, answers.rater)
        truth, score = (two_way_residuals(rater, image, values) for values in (answers.truth, score))
    shape = (int(repeat.max()) + 1, len(raters))
    place = repeat[answers.fold] * shape[1] + np.searchsorted(raters, answers.rater)
    moments = np.stack(
        [
            np.bincount(place, values, minlength=shape[0] * shape[1]).reshape(shape)
            for values in (np.ones_like(truth), truth, score, truth * score, truth**2, score**2)
        ],
        axis=2,
    )  # [repeats, r, 6]
    per_repeat = np.nan_to_num(_correlation_of_moments(moments.sum(axis=1)), nan=0.0)
    parts = moments if by_repeat else moments.sum(axis=0, keepdims=True)
    values = _correlation_of_moments(parts.sum(axis=1))
    sampled = [_correlation_of_moments(resampled_sums(part, draws=draws, seed=seed)) for part in parts]
    sampled = np.nan_to_num(np.stack(sampled), nan=0.0).mean(axis=0)
    estimate = Estimate(
        value=float(np.nan_to_num(values, nan=0.0).mean()),
        **interval(sampled),
        n_undefined=int((~np.isfinite(values)).sum()),
        defined_only=_nanmean(values),
        std=_spread(per_repeat),
    )
    return estimate, _correlation_of_moments(moments.sum(axis=0)), sampled, per_repeat


def _correlation_of_moments(moments: np.ndarray) -> np.ndarray:
    """[k, 6] (n, sum x, sum y, sum xy, sum xx, sum yy) -> [k] Pearson correlation, nan where undefined."""
    n, x, y, xy, xx, yy = np.moveaxis(moments, 1, 0)
    n = np.maximum(n, 1)
    cross, left, right = xy - x * y / n, xx - x * x / n, yy - y * y / n
    defined = (left > 1e-16) & (right > 1e-16)
    return np.where(defined, cross / np.sqrt(np.where(defined, left * right, 1.0)), np.nan)


def _credit(gap: np.ndarray) -> np.ndarray:
    """1 for a pair in the right order, 1/2 for a tie, else 0."""
    return np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))


def _units(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the query sets ([n], or [d] where they were drawn), the unit of each of them, and [u] rater and fold of each unit."""
    rows = answers.drawn if len(answers.drawn) else np.arange(len(answers.rater))
    draw = answers.draw if len(answers.drawn) else np.zeros_like(rows)
    keys = np.stack([answers.fold[rows], draw, answers.rater[rows]], axis=1)
    units, unit = np.unique(keys, axis=0, return_inverse=True)
    return rows, unit.reshape(-1), units[:, 2], units[:, 0]


def _pair_index(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second


def _mean_by(index: np.ndarray, values: np.ndarray, *, size: int) -> np.ndarray:
    """[size] mean of the values of each index; nan where there is none."""
    count = np.bincount(index, minlength=size)
    return np.where(count > 0, np.bincount(index, values, minlength=size) / np.maximum(count, 1), np.nan)


def _means_of(row: np.ndarray, column: np.ndarray, values: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """[shape] mean of the defined values of each cell; nan where there is none."""
    defined = np.isfinite(values)
    cell = (row * shape[1] + column)[defined]
    return _mean_by(cell, values[defined], size=shape[0] * shape[1]).reshape(shape)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    """[k, n] -> [n] means over the defined values; nan where there is none."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    return np.where(count > 0, np.where(defined, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _nanmean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _spread(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")


def _kept(answers: Answers, rows: np.ndarray) -> Answers:
    """Only these query ratings, without what `_personal` does not need."""
    return replace(answers, **{name: getattr(answers, name)[rows] for name in ("fold", "rater", "image", "truth", "score")})
