"""Which training raters an unseen rater is like, judged by the images that both liked more, or less, than others."""

from __future__ import annotations

import numpy as np

WEIGHTS = ("residual", "centred", "raw")
CHOICE_WEIGHT = 0.25  # of a chosen image, and minus that of the other: as far from the mean as a usual rating, on 0..1 (ours)


def context_weights(ratings: np.ndarray, expected: np.ndarray, *, how: str) -> np.ndarray:
    """What each rated image counts in the rater's vector.

    Args:
        ratings, expected: [n] on 0..1; what the rater gave, and what anybody with this profile is expected to give.
        how: "raw": the ratings; "centred": less their mean; "residual" (ours): less what is expected, then centred.
    """
    if how == "raw":
        return ratings
    weights = ratings - expected if how == "residual" else ratings
    return weights - weights.mean() if len(weights) else weights


def rater_vector(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum of features [n, d], scaled to length 1; [d], all 0 if the weights tell nothing (none, or equal ratings)."""
    total = weights @ features
    length = float(np.linalg.norm(total))
    if not len(weights) or np.abs(weights).max() < 1e-9 or length < 1e-12:
        return np.zeros(features.shape[1])
    return total / length


def nearest(vector: np.ndarray, known: np.ndarray, *, k: int, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar raters, best first (equal ones in their order), and the softmax of similarity / tau over them.

    Args:
        vector: [d] of length 1. known: [raters, d] of length 1.
    """
    similarity = known @ vector
    best = np.argsort(-similarity, kind="stable")[:k]
    shares = np.exp((similarity[best] - similarity[best].max(initial=-np.inf)) / tau)
    return best, shares / max(shares.sum(), 1e-300)
