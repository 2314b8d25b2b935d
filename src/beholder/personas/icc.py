"""Intraclass correlation: do two models give the same scores to the same profiles, but for a constant shift?

ICC(3,1), single measure, consistency, with its interval from the F distribution (Shrout & Fleiss 1979; McGraw & Wong 1996, "ICC(C,1)").
The form behind P-MLLM's table 4 is not stated. Its ten intervals are a little narrower than this form's for the 300 profiles that it names, by up to 0.008
at an end; to its two decimals all ten are those of 336 to 351 profiles. Intervals of the mean of two measurements (ICC(3,k)) are off by up to 0.02.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import f as f_distribution

LEVEL = 0.95
FEWEST = 3  # subjects
DRAWS = 2000
_CELLS = 4_000_000  # of a block of bootstrap weights, 32 MB
_ROUNDING = 1e-12  # spreads below this share of the values are rounding


@dataclass(frozen=True)
class ICC:
    """An agreement.

    Args:
        value: at most 1; about 0 for unrelated measurements, negative for opposed ones, nan if it is not defined.
        low, high: 95 % interval.
        n: subjects with all measurements.
        dropped: the others.
        reason: why the value is nan; "" if it is not.
    """

    value: float
    low: float
    high: float
    n: int
    dropped: int = 0
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]" if not self.reason else f"not defined ({self.reason})"


@dataclass(frozen=True)
class Difference:
    """Of two ICCs on the same subjects: value with 95 % bootstrap interval, all nan if one of the two is not defined."""

    value: float
    low: float
    high: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def icc31(*measurements: np.ndarray) -> ICC:
    """ICC(3,1) of two or more measurements [n] of the same n subjects.

    Subjects with a missing measurement (nan) are left out and counted. A measurement that is the same for everybody agrees with nothing: 0;
    if all are, or fewer than 3 subjects are left, the value is nan and `reason` says why.

    Raises:
        ValueError: fewer than two measurements, or of different lengths.
    """
    if len(measurements) < 2 or len({np.shape(one) for one in measurements}) != 1 or np.ndim(measurements[0]) != 1:
        raise ValueError("give two or more measurements [n] of the same subjects")
    table = np.stack([np.asarray(one, dtype=np.float64) for one in measurements], axis=1)
    whole = np.isfinite(table).all(axis=1)
    dropped = int((~whole).sum())
    table = table[whole]
    n, k = table.shape
    if n < FEWEST:
        return ICC(np.nan, np.nan, np.nan, n, dropped, f"{n} with all measurements, at least {FEWEST} are needed")
    if (np.ptp(table, axis=0) <= _ROUNDING * np.abs(table).max()).all():
        return ICC(np.nan, np.nan, np.nan, n, dropped, "every measurement is the same for all")
    of_subjects, of_measurements = table.mean(axis=1), table.mean(axis=0)
    mean = of_measurements.mean()
    between = k * float(((of_subjects - mean) ** 2).sum()) / (n - 1)
    rest = table - of_subjects[:, None] - of_measurements + mean
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    value = (between - error) / (between + (k - 1) * error)
    return ICC(value, *interval_of(value, n, k=k), n, dropped)


def interval_of(value: float, n: int, *, k: int = 2) -> tuple[float, float]:
    """The 95 % interval of an ICC(3,1) of `value` from n subjects and k measurements: all that it depends on.

    Raises:
        ValueError: the value is above 1 or below -1 / (k - 1), or n or k is below 2.
    """
    if n < 2 or k < 2 or not -1 / (k - 1) - 1e-9 <= value <= 1:
        raise ValueError(f"there is no ICC of {value} from {n} subjects and {k} measurements")
    if value == 1:
        return 1.0, 1.0
    ratio = max(0.0, (1 + (k - 1) * value) / (1 - value))  # mean squares between subjects by those of the rest
    above, below = n - 1, (n - 1) * (k - 1)
    tail = (1 + LEVEL) / 2
    low, high = ratio / f_distribution.ppf(tail, above, below), ratio * f_distribution.ppf(tail, below, above)
    return float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))


def paired_difference(base: np.ndarray, first: np.ndarray, second: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> Difference:
    """ICC(base, first) - ICC(base, second) over the subjects that all three have, each [n]; percentile bootstrap over subjects.

    Resamples in which an ICC is not defined take no part.
    """
    table = np.stack([np.asarray(one, dtype=np.float64) for one in (base, first, second)], axis=1)
    table = table[np.isfinite(table).all(axis=1)]
    n = len(table)
    one, other = icc31(table[:, 0], table[:, 1]), icc31(table[:, 0], table[:, 2])
    if one.reason or other.reason:
        return Difference(np.nan, np.nan, np.nan, n)
    table = table - table.mean(axis=0)  # so that nothing cancels below
    columns = np.column_stack([table, table**2, table[:, 0] * table[:, 1], table[:, 0] * table[:, 2]])
    random, found = np.random.default_rng(seed), []
    rows = max(1, _CELLS // n)
    for start in range(0, draws, rows):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(rows, draws - start)) / n
        b, x, y, bb, xx, yy, bx, by = (weights @ columns).T
        with np.errstate(invalid="ignore", divide="ignore"):
            # of two measurements it is twice the covariance by the sum of the variances
            found.append(2 * (bx - b * x) / (bb - b * b + xx - x * x) - 2 * (by - b * y) / (bb - b * b + yy - y * y))
    samples = np.concatenate(found)
    low, high = np.quantile(samples[np.isfinite(samples)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(one.value - other.value, float(low), float(high), n)
