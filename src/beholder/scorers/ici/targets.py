"""What phase 1 learns to say of an image: means over the raters, and the distribution of the overall score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beholder.datasets.base import Dataset
from beholder.scale import Scale

MAX_BINS = 10


@dataclass(frozen=True)
class Targets:
    """What phase 1 is to predict. wanted: [n, k] float32 on 0..1, nan where nobody said; shares: [n, bins] float32; n used images."""

    names: tuple[str, ...]
    wanted: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset) -> Targets:
        """Means over the raters: the overall score, then the dataset's attributes; without any, the score's spread between raters."""
        row = np.searchsorted(dataset.used_images, dataset.rating_image)
        n = len(dataset.used_images)
        unit = dataset.scale.to_unit(dataset.rating_score)
        columns = {"score": _mean(row, unit, n=n)}
        for name, values in dataset.attributes.items():
            if np.isfinite(values).any():
                columns[name] = _mean(row, dataset.attribute_scales[name].to_unit(values), n=n)
        if len(columns) == 1:
            spread = np.sqrt(np.maximum(_mean(row, unit**2, n=n) - columns["score"] ** 2, 0))
            columns["spread"] = np.where(np.bincount(row, minlength=n) > 1, spread, np.nan)
        shares = np.zeros((n, n_bins(dataset.scale)))
        np.add.at(shares, (row, _bin(unit, scale=dataset.scale)), 1.0)
        wanted = np.stack(list(columns.values()), axis=1)
        return cls(tuple(columns), wanted.astype(np.float32), (shares / shares.sum(1, keepdims=True)).astype(np.float32))

    def means(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means over some of the images: [k] of the attributes (0.5 where nothing is known) and [bins] of the distributions."""
        wanted = self.wanted[which]
        known = np.isfinite(wanted).sum(0)
        means = np.where(known > 0, np.nansum(wanted, axis=0) / np.maximum(known, 1), 0.5)
        return means.astype(np.float32), self.shares[which].mean(0)


def n_bins(scale: Scale) -> int:
    """One for each score of the scale if there are at most 10 (1 to 5 in steps of 0.5: 9), else 10 of equal width."""
    return round(scale.width / scale.step) + 1 if _has_bins(scale) else MAX_BINS


def bin_scores(scale: Scale) -> np.ndarray:
    """[bins] float32 what each bin stands for, on 0..1."""
    n = n_bins(scale)
    return (np.linspace(0, 1, n) if _has_bins(scale) else (np.arange(n) + 0.5) / n).astype(np.float32)


def _has_bins(scale: Scale) -> bool:
    return scale.step > 0 and scale.width / scale.step + 1 <= MAX_BINS + 1e-9


def _bin(unit: np.ndarray, *, scale: Scale) -> np.ndarray:
    n = n_bins(scale)
    place = np.round(unit * (n - 1)) if _has_bins(scale) else np.floor(unit * n)
    return np.clip(place, 0, n - 1).astype(np.int64)


def _mean(row: np.ndarray, values: np.ndarray, *, n: int) -> np.ndarray:
    """[n] mean of the values of each row, nan where there is none; nan values do not count."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(row[known], values[known], minlength=n) / np.bincount(row[known], minlength=n)
