"""What a rater weighs: one linear function of measured attributes per rater, drawn from a distribution that other raters taught. Ours.

Linear-Hidden Reduce (Ryu & Yanaka 2026) fits such a function to each rater alone. With the distribution of other raters' weights as the prior
(a random-coefficient model, fitted by EM as in Laird & Ware 1982) ten ratings already say something, each weight comes with its uncertainty, and
"more than most people" needs no other person's weights: mean and covariance over raters are all that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 200  # of EM at most
CLOSE = 1e-6  # relative change of the log-likelihood at which it stops


@dataclass(frozen=True)
class Tastes:
    """Distribution of raters' weights. Scores on 0..1, the ends of the rater's scale; attributes in standard deviations from `centre`.

    Args:
        names: [K] attributes.
        centre, spread: [K] mean and standard deviation of each over the photographs that were learned from.
        mean: [1 + K] of the weights over raters; the first is what a rater gives an average image.
        covariance: [1 + K, 1 + K] of them over raters.
        noise: variance of a single rating around the function.
    """

    names: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def standardised(self, values: np.ndarray) -> np.ndarray:
        """[n, K] as measured -> in standard deviations; what could not be measured counts as average."""
        z = (values - self.centre) / self.spread
        return np.where(np.isfinite(z), z, 0.0)

    def posterior(self, values: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A rater's weights.

        Args:
            values: [n, K] attributes of the rated images, as measured; n = 0 gives the prior.
            scores: [n] in 0..1.

        Returns:
            ([1 + K] mean, [1 + K, 1 + K] covariance).
        """
        design = _design(self.standardised(values))
        return _posterior(design.T @ design, design.T @ scores, self.mean, self.covariance, self.noise)


def learn(names: Sequence[str], values: np.ndarray, rating_rater: np.ndarray, rating_image: np.ndarray, scores: np.ndarray) -> Tastes:
    """Fit by EM.

    Args:
        values: [n_images, K] attributes as measured, nan where unknown.
        rating_rater, rating_image: [n] indices.
        scores: [n] in 0..1.

    Raises:
        ValueError: fewer than two raters.
    """
    centre, spread = np.nanmean(values, axis=0), np.maximum(np.nanstd(values, axis=0), 1e-9)
    z = (values - centre) / spread
    design = _design(np.where(np.isfinite(z), z, 0.0))
    raters = np.unique(rating_rater)
    if len(raters) < 2:
        raise ValueError("weights of one rater alone have no distribution")
    rows = [np.flatnonzero(rating_rater == rater) for rater in raters]
    grams = np.stack([design[rating_image[one]].T @ design[rating_image[one]] for one in rows])
    products = np.stack([design[rating_image[one]].T @ scores[one] for one in rows])
    squares = np.array([scores[one] @ scores[one] for one in rows])
    counts = np.array([len(one) for one in rows])
    k = design.shape[1]
    mean = np.linalg.solve(grams.sum(axis=0) + 1e-6 * np.eye(k), products.sum(axis=0))
    covariance, noise, before = np.eye(k) * 0.01, float(scores.var()), -np.inf
    for _ in range(STEPS):
        found = [_posterior(gram, product, mean, covariance, noise) for gram, product in zip(grams, products, strict=True)]
        means, spreads = np.stack([one[0] for one in found]), np.stack([one[1] for one in found])
        left = squares - 2 * np.einsum("rk,rk->r", means, products) + np.einsum("rk,rkl,rl->r", means, grams, means)
        left = left + np.einsum("rkl,rlk->r", grams, spreads)
        likelihood = _likelihood(grams, products, squares, counts, mean, covariance, noise)
        mean = means.mean(axis=0)
        off = means - mean
        covariance = (off.T @ off + spreads.sum(axis=0)) / len(raters)
        noise = float(left.sum() / counts.sum())
        if likelihood - before < CLOSE * abs(likelihood):
            break
        before = likelihood
    return Tastes(tuple(names), centre, spread, mean, covariance, noise)


def _design(z: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(z)), z])


def _posterior(gram: np.ndarray, product: np.ndarray, mean: np.ndarray, covariance: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    # (I + S G / noise) is solved rather than S inverted: a weight in which raters do not differ makes S singular
    both = np.column_stack([covariance @ (product - gram @ mean), covariance])
    solved = np.linalg.solve(np.eye(len(mean)) * noise + covariance @ gram, both)
    spread = solved[:, 1:] * noise
    return mean + solved[:, 0], (spread + spread.T) / 2


def _likelihood(grams, products, squares, counts, mean, covariance, noise) -> float:
    """Log-likelihood of all ratings, less what does not change."""
    total = 0.0
    eye = np.eye(len(mean))
    for gram, product, square, count in zip(grams, products, squares, counts, strict=True):
        inner = eye + covariance @ gram / noise
        off = product - gram @ mean
        rest = square - 2 * mean @ product + mean @ gram @ mean
        explained = off @ np.linalg.solve(inner, covariance @ off) / noise**2
        total += -0.5 * (count * np.log(noise) + np.linalg.slogdet(inner)[1] + rest / noise - explained)
    return float(total)
