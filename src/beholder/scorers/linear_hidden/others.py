"""What the variants take from other raters: mean scores of images, and the general score as a ridge regression of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.ridge import linear, ridge_cv
from beholder.scorers import provenance

FEWEST = 5  # images
TENSORS = ("seen", "labels", "coef", "left_out")


@dataclass(frozen=True)
class Others:
    """Everything on 0..1, the ends of the training raters' scale.

    Args:
        mean, spread: of all their ratings.
        seen: [m] uint64 fingerprints of the images they rated, ascending.
        labels: [m] float32 mean score of each; [0] if not learned.
        coef, intercept: [d] float32 and a number: the general score of an image from its features; [0] if not learned.
        left_out: [m] float32 general score of each image learned without that image; [0] if not learned.
        error: root mean squared difference between a rating and the left-out general score; nan if not learned.
        by_path: image -> its place in `seen`, for images of this process; spares reading them again.
    """

    mean: float
    spread: float
    seen: np.ndarray
    labels: np.ndarray
    coef: np.ndarray
    intercept: float
    left_out: np.ndarray
    error: float
    by_path: Mapping[str, int] = field(default_factory=dict, repr=False)

    def general(self, features: np.ndarray) -> np.ndarray:
        """[n, d] -> [n] general score, 0..1 but for what lies outside by extrapolation."""
        return linear(features, self.coef) + self.intercept

    def label(self, images: Sequence[str | os.PathLike]) -> np.ndarray:
        """[n] mean score of each image, nan where they did not rate it."""
        places = self._places(images)
        return np.where(places >= 0, self.labels[places].astype(np.float64), np.nan)

    def unseen(self, images: Sequence[str | os.PathLike], general: np.ndarray) -> np.ndarray:
        """[n] general scores as if these images had not been learned from: a rater's distance to it would else look too small."""
        places = self._places(images)
        return np.where(places >= 0, self.left_out[places].astype(np.float64), general)

    def _places(self, images: Sequence[str | os.PathLike]) -> np.ndarray:
        """[n] in `seen`, -1 for images that are not there."""
        places = np.array([self.by_path.get(os.fspath(image), -1) for image in images], dtype=np.int64)
        new = np.flatnonzero(places < 0)
        if len(new):
            prints = provenance.fingerprints([images[i] for i in new])
            at = np.minimum(np.searchsorted(self.seen, prints), len(self.seen) - 1)
            places[new] = np.where(self.seen[at] == prints, at, -1)
        return places

    def tensors(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in TENSORS}

    def numbers(self) -> dict[str, float | None]:
        """For config.json, which knows no nan."""
        return {
            "mean": self.mean,
            "spread": self.spread,
            "intercept": self.intercept,
            "error": None if np.isnan(self.error) else self.error,
        }

    @classmethod
    def restored(cls, numbers: Mapping, tensors: Mapping[str, np.ndarray]) -> Others:
        """From what `numbers` and `tensors` gave."""
        values = {
            name: float("nan") if numbers[name] is None else float(numbers[name]) for name in ("mean", "spread", "intercept", "error")
        }
        return cls(**values, **{name: tensors[name] for name in TENSORS})


def image_means(train: Dataset, values: np.ndarray) -> np.ndarray:
    """[n_ratings] values -> [n] mean over raters of each of `train.used_images`; nan entries do not count, nan where all are nan."""
    row, known = np.searchsorted(train.used_images, train.rating_image), np.isfinite(values)
    n = len(train.used_images)
    counts = np.bincount(row[known], minlength=n)
    sums = np.bincount(row[known], values[known], minlength=n)
    return np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)


def learn_others(train: Dataset, features: np.ndarray | None, *, labels: bool) -> Others:
    """Fit.

    Args:
        features: [n, d] of `train.used_images` to learn the general score from; None if it is not needed.
        labels: keep the mean score of each image.

    Raises:
        BeholderError: fewer than 5 images.
    """
    images = [os.fspath(train.images[i]) for i in train.used_images]
    if len(images) < FEWEST:
        raise BeholderError(f"{train.name} has {len(images)} rated images to learn from: at least {FEWEST} are needed")
    unit = train.scale.to_unit(train.rating_score)
    means = image_means(train, unit)
    prints, place = np.unique(provenance.fingerprints(images), return_inverse=True)
    none = np.zeros(0, dtype=np.float32)
    coef, intercept, left_out, error = none, 0.0, none, float("nan")
    if features is not None:
        ridge = ridge_cv(features, means)
        coef, intercept = ridge.coef[:, 0].astype(np.float32), float(ridge.intercept[0])
        left_out = _merged(means - ridge.left_out[:, 0], place)
        within = unit - means[np.searchsorted(train.used_images, train.rating_image)]
        error = float(np.sqrt(ridge.error[0] ** 2 + np.mean(within**2)))
    return Others(
        mean=float(unit.mean()),
        spread=float(unit.std()),
        seen=prints,
        labels=_merged(means, place) if labels else none,
        coef=coef,
        intercept=intercept,
        left_out=left_out,
        error=error,
        by_path=dict(zip(images, place.tolist(), strict=True)),
    )


def _merged(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[n] values of files -> [m] float32 means over files of the same content."""
    return (np.bincount(place, values) / np.bincount(place)).astype(np.float32)
