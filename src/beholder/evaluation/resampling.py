"""Bootstrap over raters: vectorised, seeded, the same resamples for everything measured on the same number of raters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

LEVEL = 0.95
_CELLS = 4_000_000  # of a block of weights, 32 MB


def resampled_means(values: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """[r] values of raters -> [draws] means over resampled raters; nan values take no part (a draw of them only is nan)."""
    defined = np.isfinite(values)
    sums = resampled_sums(np.stack([np.where(defined, values, 0.0), defined.astype(float)], axis=1), draws=draws, seed=seed)
    return np.where(sums[:, 1] > 0, sums[:, 0] / np.maximum(sums[:, 1], 1), np.nan)


def resampled_sums(values: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """[r, k] values of raters -> [draws, k] sums over raters drawn with replacement."""
    if not len(values):
        return np.full((draws, values.shape[1]), 0.0)
    return np.concatenate([weights @ values for weights in _weights(len(values), draws=draws, seed=seed)])


def interval(samples: np.ndarray) -> dict[str, float]:
    """The 95 % percentile interval as {"low": , "high": }; nan if no sample is defined."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return {"low": float("nan"), "high": float("nan")}
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": float(low), "high": float(high)}


def _weights(n: int, *, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n raters is drawn, in blocks [rows, n] that together have `draws` rows."""
    rows = max(1, _CELLS // n)
    for start in range(0, draws, rows):
        yield _block(n, min(rows, draws - start), seed, start)


@lru_cache(maxsize=1)  # one block is enough for up to 2000 raters: then it is drawn once for a whole table
def _block(n: int, rows: int, seed: int, start: int) -> np.ndarray:
    generator = np.random.default_rng([seed, n, start])
    return generator.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)
