"""From native values to ratings: as shipped a straight line over the documented range, after `fit` what training ratings show.

How is ours; no public scorer says how its number becomes somebody's rating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beholder.errors import BeholderError
from beholder.scorers.base import COVERAGE

FEWEST = 10  # images with ratings that `fit` needs
FOLDS = 5
BETTER = 0.99  # a free monotone curve must bring the squared error below this share of the line's, which needs two numbers only
LINE = 0.05  # part of the line in a curve, so that images on one of its steps keep their order
NORMAL = 1.6448536269514722  # half of the 90 % interval in standard deviations
# Standard deviation, in widths of the scale, of somebody's rating around the line as shipped. Single ratings lie about 0.16 to 0.2 around an image's
# mean (AVA: 1.4 of 9); the rest is for what the line itself gets wrong, which nobody knows before ratings are seen.
SPREAD = 0.3
NO_KNOTS = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Calibration:
    """A monotone function of the native value, and how far ratings lie from it; ratings are on 0..1, the width of the scale.

    Args:
        kind: "shipped", "linear" or "isotonic".
        intercept, slope: of the line; slope is never below 0. Of an isotonic one they are those of the line beside it.
        spread: of ratings around the function, beside the scorer's own sigma.
        quantile: half of the interval is so many times sqrt(spread^2 + (slope sigma)^2).
        knots, levels: [k] native values and ratings of an isotonic one, between which it is linear; beyond the ends it is constant. 5 % of the line
            are added to 95 % of it.
    """

    kind: str
    intercept: float
    slope: float
    spread: float
    quantile: float
    knots: np.ndarray = field(default_factory=lambda: np.zeros(0))
    levels: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def shipped(cls, low: float, high: float) -> Calibration:
        """`low` and `high` become the ends of the scale."""
        slope = 1.0 / (high - low)
        return cls("shipped", -low * slope, slope, SPREAD, NORMAL)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """[n] native values -> [n] expected ratings, 0..1."""
        return _applied(values, (self.intercept, self.slope), (self.knots, self.levels))

    def half_width(self, sigma: np.ndarray) -> np.ndarray:
        """[n] the scorer's own standard deviations, native -> [n] halves of the 90 % intervals."""
        return self.quantile * np.hypot(self.spread, self.slope * np.asarray(sigma, dtype=np.float64))

    def numbers(self) -> dict[str, Any]:
        """For config.json; the arrays go with the tensors."""
        return {name: getattr(self, name) for name in ("kind", "intercept", "slope", "spread", "quantile")}

    def tensors(self) -> dict[str, np.ndarray]:
        return {"knots": self.knots, "levels": self.levels}

    @classmethod
    def read(cls, numbers: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Calibration:
        """What `numbers` and `tensors` gave."""
        return cls(**numbers, knots=tensors["knots"], levels=tensors["levels"])


def learn(values: np.ndarray, sigma: np.ndarray, *, image: np.ndarray, rating: np.ndarray, scorer: str) -> Calibration:
    """Learn from ratings: a line with two numbers, or an isotonic curve where that predicts left-out images better.

    Images, not ratings, are left out (5 parts, fixed seed). The errors of the chosen kind on the left-out images give the interval: 90 % of them
    lie within it, with the correction for a finite number of them.

    Args:
        values, sigma: [m] native values and standard deviations (0: none) of the images.
        image: [n] which image each rating is of.
        rating: [n] 0..1.
        scorer: name, for messages.

    Raises:
        BeholderError: fewer than 10 images.
    """
    rated = np.unique(image)
    if len(rated) < FEWEST:
        raise BeholderError(
            f"{scorer} learns from ratings of no fewer than {FEWEST} images, and there are {len(rated)}: give more, or leave --fit out"
        )
    fold = np.full(len(values), -1)
    fold[rated] = np.random.default_rng(0).permutation(len(rated)) % FOLDS
    left_out = {"linear": np.empty(len(rating)), "isotonic": np.empty(len(rating))}
    for part in range(FOLDS):
        test = fold[image] == part
        line = _line(values[image[~test]], rating[~test])
        curve = _curve(values[image[~test]], rating[~test])
        for kind, knots in (("linear", NO_KNOTS), ("isotonic", curve)):
            left_out[kind][test] = rating[test] - _applied(values[image[test]], line, knots)
    squared = {kind: float(np.mean(errors**2)) for kind, errors in left_out.items()}
    intercept, slope = _line(values[image], rating)
    kind = "isotonic" if squared["isotonic"] < BETTER * squared["linear"] else "linear"
    spread = math.sqrt(max(squared[kind] - float(np.mean((slope * sigma[image]) ** 2)), 1e-6))
    errors = np.sort(np.abs(left_out[kind]) / np.hypot(spread, slope * sigma[image]))
    rank = min(math.ceil((len(errors) + 1) * COVERAGE), len(errors))
    knots, levels = _curve(values[image], rating) if kind == "isotonic" else NO_KNOTS
    return Calibration(kind, intercept, slope, spread, float(errors[rank - 1]), knots, levels)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least squares; a scorer that runs against the ratings is made constant, not turned round."""
    variance = float(x.var())
    slope = max(float(np.mean((x - x.mean()) * (y - y.mean()))) / variance, 0.0) if variance > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope


def _curve(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots and levels of the isotonic regression."""
    from sklearn.isotonic import IsotonicRegression

    made = IsotonicRegression(increasing=True, out_of_bounds="clip").fit(x, y)
    return np.asarray(made.X_thresholds_, dtype=np.float64), np.asarray(made.y_thresholds_, dtype=np.float64)


def _applied(values: np.ndarray, line: tuple[float, float], curve: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """[n] native values -> [n] ratings, 0..1: the line, or the curve with a little of it."""
    found = line[0] + line[1] * np.asarray(values, dtype=np.float64)
    if len(curve[0]):
        found = LINE * found + (1.0 - LINE) * np.interp(values, *curve)
    return np.clip(found, 0.0, 1.0)
