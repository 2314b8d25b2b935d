"""What is left of ratings, or of predictions, when image means and rater means are taken away."""

from __future__ import annotations

import numpy as np


def two_way_residuals(rater: np.ndarray, image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n] what is left of `values` after removing rater means and image means.

    In a table with holes the two sets of means depend on each other: they are fitted together by least squares
    (values = rater effect + image effect + residual). Remainders at the level of rounding errors are set to 0.

    Args:
        rater, image: [n] int, the cell of each value; one value per cell.
        values: [n] float64.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import lsmr

    _, row = np.unique(rater, return_inverse=True)
    _, column = np.unique(image, return_inverse=True)
    n, n_raters = len(values), int(row.max(initial=-1)) + 1
    effects = np.concatenate([row, column + n_raters])
    # columns scaled to length 1: the equations are then well conditioned whatever the number of ratings per rater and image
    scale = 1 / np.sqrt(np.bincount(effects))
    design = csr_matrix((scale[effects], (np.tile(np.arange(n), 2), effects)), shape=(n, len(scale)))
    centred = values - values.mean()
    fit = lsmr(design, centred, atol=1e-10, btol=1e-10, maxiter=5000)[0]
    return _without_rounding(centred - design @ fit, original=centred)


def image_residuals(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n] `values` minus the mean of their image; rater means (severity) stay in."""
    _, column = np.unique(image, return_inverse=True)
    centred = values - values.mean()
    means = np.bincount(column, centred) / np.bincount(column)
    return _without_rounding(centred - means[column], original=centred)


def _without_rounding(residual: np.ndarray, *, original: np.ndarray) -> np.ndarray:
    """All zero if `residual` is nothing but the rounding of `original` (predictions without any personal part)."""
    return np.zeros_like(residual) if residual @ residual <= 1e-12 * (original @ original) else residual
