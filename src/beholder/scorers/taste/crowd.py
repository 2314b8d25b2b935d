"""What people in general like: a Gaussian process from looks to the image effect that all raters share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from beholder.scorers.taste.kernels import Projection
from beholder.scorers.taste.variances import fit_variances

JITTER = 1e-6


@dataclass(frozen=True)
class Crowd:
    """Posterior of the shared taste, in standardised rating units (0 = average image, 1 = one standard deviation of ratings).

    Given image effects y with known noise, f ~ GP(0, K): posterior mean K_xZ a and covariance K_xx' - K_xZ B K_Zx' (Rasmussen &
    Williams 2006, eq. 2.25-2.26). The landmarks Z are the training images themselves; beyond `max_landmarks` a random part of
    them, with all images entering as in the deterministic training conditional (Quinonero-Candela & Rasmussen 2005, sec. 5).

    Args:
        weights: [2 x blocks] of the kernels.
        own: variance of what looks do not explain, one draw per image.
        landmarks: [m, dim] looks.
        alpha: [m] the a above.
        shrink: [m, m] the B above.
    """

    weights: np.ndarray
    own: float
    landmarks: np.ndarray
    alpha: np.ndarray
    shrink: np.ndarray

    def cross(self, projection: Projection, looks: np.ndarray) -> np.ndarray:
        """[n, m] covariance of images with the landmarks: everything `mean` and `covariance` need of them."""
        return projection.kernel(looks, self.landmarks, weights=self.weights)

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """[n, m] -> [n] expected shared taste."""
        return cross @ self.alpha

    def variance(self, projection: Projection, looks: np.ndarray, cross: np.ndarray) -> np.ndarray:
        """[n] posterior variance of the shared taste, with what looks do not explain."""
        reduced = np.einsum("ij,ij->i", cross @ self.shrink, cross)
        return np.maximum(projection.variance(looks, weights=self.weights) - reduced, 0.0) + self.own

    def covariance(self, projection: Projection, looks: tuple[np.ndarray, np.ndarray], cross: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """[n, m] posterior covariance between two lists of images, without what looks do not explain."""
        few, many = (cross[1], cross[0]) if len(cross[1]) <= len(cross[0]) else cross
        reduced = many @ (self.shrink @ few.T)
        return projection.kernel(*looks, weights=self.weights) - (reduced if many is cross[0] else reduced.T)


def fit_weights(kernels: np.ndarray, effects: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, float]:
    """Kernel weights and the variance looks do not explain, by maximum likelihood.

    Args:
        kernels: [2 x blocks, n, n] between the training images.
        effects: [n] image effects, mean 0.
        noise: [n] variance with which each is known.
    """
    spread = max(float(np.var(effects)), 1e-4)
    start = np.append(np.full(len(kernels), spread / len(kernels)), 0.1 * spread)
    weights = fit_variances(kernels, [(np.arange(len(effects)), effects)], start=start, noise=noise, pull=0.02 / spread, iterations=60)
    return weights[:-1], float(weights[-1])


def condition(
    projection: Projection,
    looks: np.ndarray,
    effects: np.ndarray,
    noise: np.ndarray,
    *,
    weights: np.ndarray,
    own: float,
    landmarks: np.ndarray,
) -> Crowd:
    """The posterior given image effects.

    Args:
        looks: [n, dim] of the training images.
        effects, noise: [n] image effects and the variance with which each is known.
        landmarks: indices into the training images; all of them for the exact posterior.
    """
    at = looks[landmarks]
    inner = projection.kernel(at, at, weights=weights)
    inner.flat[:: len(at) + 1] += JITTER
    precision = 1.0 / (noise + own)
    if len(landmarks) == len(looks):  # exact, and better conditioned than the general form
        total = inner.copy()
        total.flat[:: len(at) + 1] += 1.0 / precision[landmarks]
        factor = cho_factor(total, lower=True)
        return Crowd(weights, own, at, cho_solve(factor, effects[landmarks]), cho_solve(factor, np.eye(len(at))))
    across = projection.kernel(looks, at, weights=weights)
    total = inner + across.T @ (precision[:, None] * across)
    factor = cho_factor(total, lower=True)
    shrink = cho_solve(cho_factor(inner, lower=True), np.eye(len(at))) - cho_solve(factor, np.eye(len(at)))
    return Crowd(weights, own, at, cho_solve(factor, across.T @ (precision * effects)), (shrink + shrink.T) / 2)
