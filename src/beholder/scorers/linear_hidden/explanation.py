"""Why an image is expected to be rated as it is, in attributes, and which attributes a rater cares about against others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Care:
    """What one attribute is worth to a rater.

    Args:
        attribute: its name.
        weight: points of the rater's scale per standard deviation of the attribute over images; below 0 = likes less of it.
        others_mean, others_spread: mean and standard deviation of the weights of other raters, in the same unit; None if none are known, or the
            rater has too few ratings to be compared.
        percentile: share of other raters, 0 to 100, with a smaller weight; ties count half. None where `others_mean` is.
    """

    attribute: str
    weight: float
    others_mean: float | None = None
    others_spread: float | None = None
    percentile: float | None = None


@dataclass(frozen=True)
class Explanation:
    """Why an image is expected to be rated as it is, in points of the rater's scale.

    Args:
        image: its path.
        score, low, high: as in the prediction.
        parts: "base" (what this rater gives an average image), then "attribute NAME" for each attribute: how much more or less of it the
            image has, times the weight. Their sum is the score before it is cut at the ends of the scale.
        cares: of each attribute, those that set the rater most apart from others first; else the heaviest first.
        influences: empty; ratings have no part of their own in a score that is made of attributes.
    """

    image: str
    score: float
    low: float
    high: float
    parts: dict[str, float]
    cares: list[Care]
    influences: list[tuple[str, float]]


def cares(attributes: tuple[str, ...], weights: np.ndarray, others: np.ndarray) -> list[Care]:
    """Set a rater against others.

    Args:
        weights: [K] of the rater.
        others: [r, K] of other raters in the same unit; r may be 0.
    """
    if not len(others):
        order = np.argsort(-np.abs(weights), kind="stable")
        return [Care(attributes[k], float(weights[k])) for k in order]
    mean, spread = others.mean(axis=0), others.std(axis=0)
    below = ((others < weights).mean(axis=0) + (others <= weights).mean(axis=0)) * 50
    apart = np.abs(weights - mean) / np.maximum(spread, 1e-12)
    order = np.argsort(-apart, kind="stable")
    return [Care(attributes[k], float(weights[k]), float(mean[k]), float(spread[k]), float(below[k])) for k in order]
