"""Empirical Bayes: variance components that make data most likely under Gaussian processes (type-II maximum likelihood)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize


def fit_variances(
    kernels: Callable[[np.ndarray], np.ndarray] | np.ndarray,
    data: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    start: np.ndarray,
    noise: np.ndarray | None = None,
    iterations: int = 40,
    pull: float = 0.0,
) -> np.ndarray:
    """Weights w of `sum_b w_b kernels[b] + w_noise I`, shared by independent sets of observations.

    Source: Rasmussen & Williams 2006, eq. 5.8 and 5.9 (log marginal likelihood and its gradient), summed over the sets.

    Args:
        kernels: [b, n, n]; or a function of indices [k] that gives [b, k, k], where n is too large for that.
        data: one (indices [k] into the n points, values [k] with prior mean 0) per set.
        start: [b + 1] starting values, noise last; all positive, in the squared units of the values.
        noise: [n] known noise variance of each point, added to the one that is fitted.
        iterations: of L-BFGS-B at most.
        pull: weight of a penalty on the sum of all variances, the noise included; it keeps useless kernels at zero.

    Returns:
        [b + 1] weights, noise last.
    """
    n_kernels = len(start) - 1
    part = kernels if callable(kernels) else lambda i: kernels[:, i[:, None], i]
    cut = [np.ascontiguousarray(part(i)).reshape(n_kernels, -1) for i, _ in data]

    def objective(log_weights: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(log_weights)
        value, gradient = 0.0, np.zeros(n_kernels + 1)
        for (indices, values), flat in zip(data, cut, strict=True):
            n = len(values)
            covariance = (weights[:-1] @ flat).reshape(n, n)
            covariance.flat[:: n + 1] += weights[-1] + (0.0 if noise is None else noise[indices])
            factor = cho_factor(covariance, lower=True, check_finite=False)
            inverse = cho_solve(factor, np.eye(n), check_finite=False)
            alpha = inverse @ values
            value += 0.5 * values @ alpha + np.log(np.diag(factor[0])).sum()
            slope = inverse - np.outer(alpha, alpha)
            gradient[:-1] += 0.5 * (flat @ slope.ravel())
            gradient[-1] += 0.5 * np.trace(slope)
        return (value / len(data) + pull * weights.sum(), weights * (gradient / len(data) + pull))

    centre = np.log(start)
    bounds = [(c - 9.0, c + 4.0) for c in centre[:-1]] + [(centre[-1] - 4.0, centre[-1] + 4.0)]
    found = minimize(objective, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations})
    weights = np.exp(found.x)
    weights[:-1][weights[:-1] < 1.01 * np.exp(centre[:-1] - 9.0)] = 0.0  # at the lower bound: the kernel is not used
    return weights
