"""How well a probe reads an attribute: rank correlation with its bootstrap over images, explained variance, error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from beholder.evaluation.metrics import DIGITS, average_ranks, correlations
from beholder.evaluation.resampling import interval

DRAWS = 2000
_CELLS = 1_000_000  # numbers of a block of resamples: 8 MB


@dataclass(frozen=True)
class Score:
    """One probe on the images of one part.

    Args:
        rho: Spearman correlation; 0 where it is not defined.
        r2: 1 - mean squared error / (variance + 1e-12), of this part; negative if the part's own mean would do better.
        rmse: root mean squared error, in units of the attribute.
        n: images.
        defined: False if the predictions, or the values, are all the same.
    """

    rho: float
    r2: float
    rmse: float
    n: int
    defined: bool


def score(truth: np.ndarray, predicted: np.ndarray) -> Score:
    """Of [n] values and predictions, n at least 1."""
    rho = spearman(truth, predicted)
    error = float(np.mean((truth - predicted) ** 2))
    defined = bool(np.isfinite(rho))
    return Score(rho=rho if defined else 0.0, r2=float(1 - error / (np.var(truth) + 1e-12)), rmse=error**0.5, n=len(truth), defined=defined)


def spearman(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Rank correlation of [n] values; nan where one side is constant (predictions nearer than 1e-9 of their largest are ties)."""
    one = np.zeros(len(truth), dtype=np.int64)
    return float(correlations(one, average_ranks(one, truth), average_ranks(one, rounded(predicted)), size=1)[0])


def rounded(predicted: np.ndarray) -> np.ndarray:
    """Predictions whose rounding errors are no opinion: equal where they differ by less than 1e-9 of the largest."""
    largest = np.abs(predicted).max(initial=0.0)
    return np.round(predicted / largest, DIGITS) if largest > 0 else predicted


def spearman_interval(truth: np.ndarray, predicted: np.ndarray, *, seed: int, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile bootstrap over images, ranks taken anew in every resample; undefined ones count 0."""
    n = len(truth)
    orders = [_ties(values) for values in (truth, rounded(predicted))]
    block = max(1, _CELLS // n)
    samples = []
    for start in range(0, draws, block):
        weights = _weights(n, min(block, draws - start), seed, start).astype(np.float64)
        first, second = (_weighted_ranks(weights, *order) for order in orders)
        cross, left, right = ((weights * a * b).sum(axis=1) for a, b in ((first, second), (first, first), (second, second)))
        defined = (left > 1e-9) & (right > 1e-9)
        samples.append(np.where(defined, cross / np.sqrt(np.where(defined, left * right, 1.0)), 0.0))
    found = interval(np.concatenate(samples))
    return found["low"], found["high"]


@lru_cache(maxsize=16)
def _weights(n: int, rows: int, seed: int, start: int) -> np.ndarray:
    """[rows, n] how often each of n images is drawn; the same for all layers and attributes, so they are kept."""
    return np.random.default_rng([seed, 13, start]).multinomial(n, np.full(n, 1 / n), size=rows).astype(np.uint8)


def _ties(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n] the different value that each item has, and where each of them starts in the sorted items."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return index.reshape(-1), np.concatenate([[0], np.cumsum(counts)[:-1]])


def _weighted_ranks(weights: np.ndarray, index: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[b, n] mid-ranks of the items where each occurs as often as its weight says, less their mean."""
    order = np.argsort(index, kind="stable")
    together = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(together, axis=1) - (together - 1) / 2
    return ranks[:, index] - (weights.shape[1] + 1) / 2
