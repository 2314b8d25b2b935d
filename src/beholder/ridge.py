"""Ridge regression with its penalty chosen by leave-one-out errors: one problem, or those of many raters on one matrix of features.

The same as `make_pipeline(StandardScaler(), RidgeCV(alphas))` of scikit-learn, the recipe of Ryu & Yanaka 2026 (arXiv 2604.11374), without its
cost per rater: one eigendecomposition per set of images gives the leave-one-out errors of all penalties and targets (Rifkin & Lippert 2007,
"Notes on regularized least squares"), and only the coefficients of the chosen penalty are made.

Where penalties have equal errors, as with two rows or a constant target, the first one counts; there scikit-learn's choice is one of rounding errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from beholder.errors import BeholderError

ALPHAS = np.logspace(-3, 3, 13)
BLOCK = 1 << 18  # numbers of the raters solved in one go: 2 MB stay in the processor's cache
TILE = 1 << 18  # numbers standardised at once
ROWS = 4096  # predicted at once: bounds the memory of the conversion to float64
TIE = 1e-12  # relative difference of errors that counts as none


@dataclass(frozen=True)
class Ridge:
    """Fitted for k targets.

    Args:
        coef, intercept: [d, k] and [k] float64 for features as they are, not standardised.
        alpha: [k] chosen penalties.
        error: [k] root mean squared leave-one-out error in units of the target; nan below 3 rows.
        importance: [d, k] change of the target per standard deviation of the feature; 0 for a feature that does not vary.
        left_out: [n, k] each row's target less what is predicted without that row; 0 for a single row.
    """

    coef: np.ndarray
    intercept: np.ndarray
    alpha: np.ndarray
    error: np.ndarray
    importance: np.ndarray
    left_out: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """[m, d] -> [m, k] float64."""
        return linear(x, self.coef) + self.intercept


def linear(x: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """x [m, d] times coef [d, ...] in float64, without a float64 copy of all of x."""
    x, coef = np.asarray(x), np.asarray(coef, dtype=np.float64)
    out = np.empty((len(x), *coef.shape[1:]))
    for start in range(0, len(x), ROWS):
        out[start : start + ROWS] = x[start : start + ROWS].astype(np.float64) @ coef
    return out


def ridge_cv(x: np.ndarray, y: np.ndarray, *, alphas: Sequence[float] = ALPHAS, alpha_per_target: bool = False) -> Ridge:
    """Fit one ridge regression.

    Args:
        x: [n, d] features, n at least 1. One row gives coefficients of 0.
        y: [n] or [n, k] targets; [n] counts as k = 1.
        alphas: penalties to choose from, above 0.
        alpha_per_target: choose one for each target, not one for all that is best on average.

    Raises:
        BeholderError: a feature or a target is not a finite number.
    """
    x, y = np.asarray(x), _columns(y)
    if x.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(f"features {x.shape} and targets {y.shape} are not [n, d] and [n, k] with n of at least 1")
    return _fit(x[None], y[None], np.asarray(alphas, dtype=np.float64), shared=not alpha_per_target)[0]


def ridge_cv_many(
    x: np.ndarray, rows: Sequence[np.ndarray], y: Sequence[np.ndarray], *, alphas: Sequence[float] = ALPHAS, threads: int = 1
) -> list[Ridge]:
    """One ridge regression per rater, each on its own rows of one matrix; equal to `ridge_cv` for each alone (alpha_per_target).

    Raters of equally many rows are solved in one go, those of the same rows with one decomposition. Needs some MB beside its arguments and result.

    Args:
        x: [m, d] features of all images.
        rows: per rater [n] indices into x, n at least 1; n may differ.
        y: per rater [n] or [n, k] targets.
        threads: Python threads at work; more than one pays where BLAS is held to one thread meanwhile.

    Raises:
        BeholderError: see `ridge_cv`.
    """
    x, alphas = np.asarray(x), np.asarray(alphas, dtype=np.float64)
    sets: dict[bytes, list[tuple[int, np.ndarray, np.ndarray]]] = {}  # sorted rows -> (rater, its targets in that order, their places)
    for rater, (own, targets) in enumerate(zip(rows, y, strict=True)):
        own, targets = np.asarray(own, dtype=np.int64), _columns(targets)
        if len(own) != len(targets) or not len(own):
            raise ValueError(f"rater {rater} has {len(own)} rows and {len(targets)} targets: they must be equally many, and not none")
        order = np.argsort(own, kind="stable")
        sets.setdefault(own[order].tobytes(), []).append((rater, targets[order], np.argsort(order)))
    out: list[Ridge | None] = [None] * len(rows)

    def solve(block: list) -> None:
        at = np.stack([np.frombuffer(key, dtype=np.int64) for key, _ in block])
        targets = np.stack([np.hstack([columns for _, columns, _ in members]) for _, members in block])
        fitted = _fit(x[at], targets, alphas, shared=False)
        for ridge, (_, members) in zip(fitted, block, strict=True):
            start = 0
            for rater, columns, places in members:
                out[rater] = _part(ridge, slice(start, start + columns.shape[1]), rows=places)
                start += columns.shape[1]

    blocks = _blocks(sets, width=x.shape[1])
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(solve, blocks))  # raises what `solve` raised
    else:
        for block in blocks:
            solve(block)
    return out


def _columns(y: np.ndarray) -> np.ndarray:
    y = np.asarray(y, dtype=np.float64)
    return y[:, None] if y.ndim == 1 else y


def _part(ridge: Ridge, columns: slice, *, rows: np.ndarray) -> Ridge:
    """Some targets of it, left-out errors in another order."""
    alone = {name: np.ascontiguousarray(getattr(ridge, name)[..., columns]) for name in Ridge.__dataclass_fields__}
    return Ridge(**alone | {"left_out": alone["left_out"][rows]})


def _blocks(sets: dict[bytes, list], *, width: int) -> Iterator[list]:
    """The sets of rows in groups of equally many rows and targets, each group small enough for the cache."""
    alike: dict[tuple[int, int], list] = {}
    for key, members in sets.items():
        alike.setdefault((len(key) // 8, sum(columns.shape[1] for _, columns, _ in members)), []).append((key, members))
    for (n, _), group in alike.items():
        size = max(1, BLOCK // (n * max(width, n)))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _fit(x: np.ndarray, y: np.ndarray, alphas: np.ndarray, *, shared: bool) -> list[Ridge]:
    """b problems of equal shape.

    Args:
        x: [b, n, d].
        y: [b, n, k].
        shared: one penalty for all targets of a problem.
    """
    n, d = x.shape[1:]
    with np.errstate(invalid="ignore"):
        z, mean, inverse = _standardise(x)
        constant = (y == y[:, :1]).all(axis=1, keepdims=True)
        level = np.where(constant, y[:, :1], y.mean(axis=1, keepdims=True))  # a mean of equal numbers may be off by a rounding error
    if not (np.isfinite(level).all() and np.isfinite(mean).all()):
        raise BeholderError(
            "some features or ratings are not finite numbers: check the ratings, or compute the features with dtype=float32"
        )
    solve = _by_rows if n <= d else _by_features
    coef, alpha, left_out = solve(z, y - level, alphas, shared=shared)
    coef[inverse[:, 0] == 0] = 0.0  # rounding errors
    raw = coef * inverse[:, 0, :, None]
    intercept = level[:, 0] - (mean @ raw)[:, 0]
    error = np.sqrt(np.square(left_out).mean(axis=1)) if n >= 3 else np.full(alpha.shape, np.nan)
    return [Ridge(raw[i], intercept[i], alpha[i], error[i], coef[i], left_out[i]) for i in range(len(x))]


def _standardise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of [b, n, d] with mean 0 and variance 1; their means and inverse standard deviations [b, 1, d], 0 where a feature does not vary."""
    b, n, d = x.shape
    out, mean, inverse = np.empty((b, n, d)), np.empty((b, 1, d)), np.zeros((b, 1, d))
    noise = n * np.finfo(np.float64).eps  # the error bound of a variance by which scikit-learn, too, tells what is constant
    step = max(16, TILE // (b * n))
    for start in range(0, d, step):  # some columns at a time stay in the cache through all of this
        at = slice(start, start + step)
        part = out[:, :, at]
        part[...] = x[:, :, at]
        np.matmul(np.ones((1, n)), part, out=mean[:, :, at])
        mean[:, :, at] /= n
        part -= mean[:, :, at]
        variance = np.einsum("bnd,bnd->bd", part, part)[:, None] / n
        varies = variance > noise * variance + (noise * mean[:, :, at]) ** 2
        np.divide(1.0, np.sqrt(variance), out=inverse[:, :, at], where=varies)
        part *= inverse[:, :, at]
    return out, mean, inverse


def _by_rows(z: np.ndarray, y: np.ndarray, alphas: np.ndarray, *, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """No more rows than features: eigenvectors of the [n, n] scalar products. Returns coef [b, d, k], alpha [b, k], left_out [b, n, k]."""
    n = z.shape[1]
    gram = z @ z.transpose(0, 2, 1)
    # Centred rows leave (1, ..., 1) with the eigenvalue 0. It plays no part, as y is centred, but 1 / alpha of it would drown the leverages: lift it.
    lift = np.maximum(np.trace(gram, axis1=1, axis2=2) / n, 1.0)[:, None]
    gram += lift[:, :, None] / n
    values, vectors = np.linalg.eigh(gram)
    shrink = 1.0 / (values[:, :, None] + alphas)  # [b, n, a]
    dual = _spread(vectors, shrink, vectors.transpose(0, 2, 1) @ y)
    squares = np.square(vectors, out=vectors)
    scale = squares @ shrink - (1.0 / (n * (lift + alphas)))[:, None]
    if n == 1:
        scale = np.ones_like(scale)  # 0 / 0: no row is left to learn from; all is 0
    best, left_out = _choose(dual / scale[..., None], shared=shared)
    return z.transpose(0, 2, 1) @ np.take_along_axis(dual, best[:, None], axis=2)[:, :, 0], alphas[best[:, 0]], left_out


def _by_features(z: np.ndarray, y: np.ndarray, alphas: np.ndarray, *, shared: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """More rows than features: eigenvectors of the [d, d] covariance. Returns coef [b, d, k], alpha [b, k], left_out [b, n, k]."""
    n = z.shape[1]
    values, vectors = np.linalg.eigh(z.transpose(0, 2, 1) @ z)
    shrink = 1.0 / (values[:, :, None] + alphas)
    turned = z @ vectors
    pull = turned.transpose(0, 2, 1) @ y
    rest = y[:, :, None] - _spread(turned, shrink, pull)
    free = 1.0 - 1.0 / n - np.square(turned, out=turned) @ shrink
    best, left_out = _choose(np.divide(rest, free[..., None], out=rest), shared=shared)
    return vectors @ (np.take_along_axis(shrink, best, axis=2) * pull), alphas[best[:, 0]], left_out


def _spread(left: np.ndarray, shrink: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left [b, n, r], shrink [b, r, a], right [b, r, k] -> left diag(shrink_a) right, [b, n, a, k]."""
    b, r, k = right.shape
    a = shrink.shape[2]
    return (left @ (shrink[..., None] * right[:, :, None]).reshape(b, r, a * k)).reshape(b, -1, a, k)


def _choose(left_out: np.ndarray, *, shared: bool) -> tuple[np.ndarray, np.ndarray]:
    """Left-out errors [b, n, a, k] -> index of the best penalty [b, 1, k], and its errors [b, n, k]."""
    judged = np.einsum("bnak,bnak->bak", left_out, left_out)
    if shared:
        judged = np.broadcast_to(judged.sum(axis=2, keepdims=True), judged.shape)
    best = (judged <= judged.min(axis=1, keepdims=True) * (1 + TIE)).argmax(axis=1)[:, None]
    return best, np.take_along_axis(left_out, best[:, None], axis=2)[:, :, 0]
