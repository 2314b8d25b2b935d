"""From ratings and choices to a posterior: Gaussian process inference at each point of a small grid of hyper-parameters.

Ratings enter with Gaussian noise (closed form), choices by a probit likelihood (Laplace approximation; Chu & Ghahramani 2005,
"Preference learning with Gaussian processes"). Both are linear functionals of the taste: f(i), and f(chosen) - f(other). The
grid points are averaged by their evidence, so each rater gets its own trust in the crowd, strength of own taste and noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import log_ndtr

NEGLIGIBLE = 0.01  # grid points with less weight are left out of predictions
SCREEN = 400  # with more evidence than this the grid is first thinned out on the latest part


@dataclass(frozen=True)
class Evidence:
    """What one rater said about `n` images, in standardised units.

    Args:
        first: [k] index of the rated or chosen image.
        second: [k] index of the image that was not chosen; -1 for a rating.
        value: [k] the rating minus its prior mean; 0 for a choice.
        offset: [k] prior mean of f(first) - f(second) for a choice; 0 for a rating.
    """

    first: np.ndarray
    second: np.ndarray
    value: np.ndarray
    offset: np.ndarray

    @classmethod
    def of_ratings(cls, value: np.ndarray) -> Evidence:
        """One rating of each image, in order; see `value`."""
        n = len(value)
        return cls(np.arange(n), np.full(n, -1), value, np.zeros(n))

    def __len__(self) -> int:
        return len(self.first)

    @property
    def is_choice(self) -> np.ndarray:
        return self.second >= 0

    def latest(self, count: int) -> Evidence:
        return Evidence(self.first[-count:], self.second[-count:], self.value[-count:], self.offset[-count:])

    def columns(self, covariance: np.ndarray) -> np.ndarray:
        """[m, n] covariance with the images -> [m, k] covariance with what was said."""
        out = covariance[:, self.first]
        choice = self.is_choice
        if choice.any():
            out[:, choice] -= covariance[:, self.second[choice]]
        return out

    def square(self, covariance: np.ndarray) -> np.ndarray:
        """[n, n] between the images -> [k, k] between what was said."""
        return self.columns(np.ascontiguousarray(self.columns(covariance).T))


@dataclass(frozen=True)
class Fit:
    """The posterior at one grid point.

    Args:
        alpha: [k]; posterior mean of any image = prior mean + its covariance with the evidence @ alpha.
        root: [k, k] with root.T @ root = inverse of (covariance of the evidence + noise); reduces variances.
        log_evidence: log probability of the evidence at this grid point.
    """

    alpha: np.ndarray
    root: np.ndarray
    log_evidence: float


def fit(covariance: np.ndarray, evidence: Evidence, *, noise: float) -> Fit:
    """Laplace approximation by Newton's method (Rasmussen & Williams 2006, algorithm 3.1); exact when there are only ratings.

    Args:
        covariance: [k, k] prior covariance of what was said.
        noise: variance of what a rating has of its own, beyond `covariance`; a choice compares two such impressions, so its probit
            has variance 2 x noise.
    """
    k = len(evidence)
    choice = evidence.is_choice
    spread = np.sqrt(2.0 * noise)
    shift = np.zeros(k)  # f minus its prior mean
    alpha = np.zeros(k)
    previous = -np.inf
    for _ in range(100):
        _, slope, curvature = _likelihood(shift, evidence, choice=choice, noise=noise, spread=spread)
        root_w = np.sqrt(curvature)
        lower = cholesky(np.eye(k) + root_w[:, None] * covariance * root_w[None, :], lower=True, check_finite=False)
        target = curvature * shift + slope
        inner = solve_triangular(lower, root_w * (covariance @ target), lower=True, check_finite=False)
        alpha = target - root_w * solve_triangular(lower, inner, lower=True, trans="T", check_finite=False)
        shift = covariance @ alpha
        value = _likelihood(shift, evidence, choice=choice, noise=noise, spread=spread)[0] - 0.5 * alpha @ shift
        if not choice.any() or abs(value - previous) < 1e-9 * (1 + abs(value)):
            break
        previous = value
    return Fit(
        alpha=alpha,
        root=solve_triangular(lower, np.diag(root_w), lower=True, check_finite=False),
        log_evidence=float(value - np.log(np.diag(lower)).sum()),
    )


def _likelihood(shift, evidence: Evidence, *, choice, noise: float, spread: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Log likelihood, its slope [k] and its negative second derivative [k] at f = prior mean + shift."""
    slope = (evidence.value - shift) / noise
    curvature = np.full(len(shift), 1.0 / noise)
    rated = ~choice
    total = -0.5 * float(((evidence.value - shift)[rated] ** 2).sum()) / noise - 0.5 * rated.sum() * np.log(2 * np.pi * noise)
    if choice.any():
        z = (shift + evidence.offset)[choice] / spread
        log_p = log_ndtr(z)
        ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_p)  # density over distribution, stable in the far tail
        slope[choice] = ratio / spread
        curvature[choice] = np.maximum(ratio * (z + ratio), 1e-12) / spread**2
        total += float(log_p.sum())
    return total, slope, curvature


@dataclass(frozen=True)
class Mixture:
    """The grid points that matter for this rater: weights [j] and their fits, with their settings [j, ...]."""

    settings: np.ndarray
    weights: np.ndarray
    fits: tuple[Fit, ...]


def average(
    covariance: Callable[[np.ndarray], np.ndarray],
    evidence: Evidence,
    *,
    settings: np.ndarray,
    log_prior: np.ndarray,
    noise: Callable[[np.ndarray], float],
) -> Mixture:
    """Fit every grid point and weigh it by prior x evidence; negligible ones are dropped.

    Args:
        covariance: setting -> [n, n] prior covariance of the images the evidence speaks of.
        settings: [g, s] grid points.
        log_prior: [g].
        noise: setting -> variance of what a rating has of its own, see `fit`.
    """
    chosen = np.arange(len(settings))
    if len(evidence) > SCREEN:  # cubic in the evidence: choose the grid points on the latest part, then use all of it
        part = evidence.latest(SCREEN)
        screened = log_prior + [fit(part.square(covariance(s)), part, noise=noise(s)).log_evidence for s in settings]
        chosen = chosen[screened > screened.max() + np.log(NEGLIGIBLE)]
    fits = [fit(evidence.square(covariance(settings[i])), evidence, noise=noise(settings[i])) for i in chosen]
    log_weight = log_prior[chosen] + [f.log_evidence for f in fits]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    keep = np.flatnonzero(weight >= NEGLIGIBLE * weight.max())
    return Mixture(settings[chosen[keep]], weight[keep] / weight[keep].sum(), tuple(fits[i] for i in keep))


def left_out(mixture: Mixture, evidence: Evidence) -> np.ndarray:
    """Squared leave-one-out errors of the ratings over their predicted variances, [number of ratings], about 1 if calibrated.

    Closed form (Rasmussen & Williams 2006, eq. 5.10-5.12), averaged over the grid.
    """
    rated = ~evidence.is_choice
    total = np.zeros(int(rated.sum()))
    for weight, one in zip(mixture.weights, mixture.fits, strict=True):
        precision = (one.root**2).sum(axis=0)
        total += weight * (one.alpha**2 / precision)[rated]
    return total
