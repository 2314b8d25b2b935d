"""The ridge regression against scikit-learn's, for one problem and for many raters at once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as PlainRidge
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder.errors import BeholderError
from beholder.ridge import ALPHAS, ridge_cv, ridge_cv_many


def reference(x, y, *, per_target=False):
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13), alpha_per_target=per_target)).fit(x, y)


def problem(n, d, k=1, *, seed=0, noise=1.0):
    """Features of very different levels and widths, targets that depend on some of them."""
    random = np.random.default_rng([seed, n, d])
    x = random.normal(size=(n, d)) * random.lognormal(0, 2, size=d) + random.normal(size=d) * 10
    strength = random.normal(size=(d, k)) * (random.random((d, k)) < 0.3)
    standard = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
    return x, standard @ strength / np.sqrt(d) + noise * random.normal(size=(n, k)) + 3


def check_equal(x, y, *, per_target=False):
    known, ours = reference(x, y, per_target=per_target), ridge_cv(x, y, alpha_per_target=per_target)
    new = np.vstack([x, x * 1.1 - 0.3])
    expected = known.predict(new).reshape(len(new), -1)
    assert np.abs(ours.predict(new) - expected).max() <= 1e-6 * np.abs(expected).max()
    k = ours.alpha.shape[0]
    assert np.allclose(ours.alpha, np.broadcast_to(known[-1].alpha_, k), rtol=1e-12)
    if len(x) >= 3:
        found = ours.error**2 if per_target else (ours.error**2).mean()
        assert np.allclose(found, -np.asarray(known[-1].best_score_), rtol=1e-6)
    return ours


@pytest.mark.parametrize(("n", "d"), [(3, 8), (10, 40), (40, 40), (41, 40), (100, 640), (300, 12), (30, 1)])
@pytest.mark.parametrize("noise", [0.02, 3.0])
def test_equals_scikit_learn(n, d, noise):
    x, y = problem(n, d, noise=noise)
    ours = check_equal(x, y[:, 0])
    assert ours.coef.shape == ours.importance.shape == (d, 1) and ours.intercept.shape == ours.alpha.shape == ours.error.shape == (1,)
    assert np.allclose(ours.importance[:, 0], ours.coef[:, 0] * x.std(axis=0))


@pytest.mark.parametrize(("n", "d"), [(20, 50), (80, 15)])
@pytest.mark.parametrize("per_target", [False, True])
def test_several_targets_with_one_penalty_or_one_each(n, d, per_target):
    x, y = problem(n, d, 4)
    y[:, 1] = np.random.default_rng(1).normal(size=n)  # nothing to learn: wants a large penalty
    y[:, 2] = x[:, 0]  # all to learn: wants a small one
    ours = check_equal(x, y, per_target=per_target)
    assert len(set(ours.alpha)) == (1 if not per_target else len(set(ours.alpha))) and (not per_target or len(set(ours.alpha)) > 1)
    if per_target:
        alone = [ridge_cv(x, y[:, k]) for k in range(4)]
        assert np.allclose(ours.coef, np.hstack([one.coef for one in alone])) and np.allclose(ours.error, [one.error[0] for one in alone])


@pytest.mark.parametrize(("n", "d"), [(12, 30), (60, 10)])
def test_constant_features_and_duplicate_rows(n, d):
    x, y = problem(n, d)
    x[:, 2], x[:, 5], x[:, 6] = 0.0, 1234.567, 0.1 + 0.2
    x[n // 2 :] = x[: n - n // 2]
    ours = check_equal(x, y[:, 0])
    assert np.all(ours.coef[[2, 5, 6]] == 0) and np.all(ours.importance[[2, 5, 6]] == 0)


def test_float32_features_with_a_large_level():
    x, y = problem(50, 120)
    x = (x / x.std(axis=0) + 1000).astype(np.float32)
    known = reference(x.astype(np.float64), y[:, 0])
    assert np.allclose(ridge_cv(x, y).predict(x)[:, 0], known.predict(x.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(8, 20), (40, 6), (2, 5), (1, 5), (1, 1)])
def test_constant_targets_and_one_row_are_repeated(n, d):
    x, _ = problem(n, d)
    for value in (4.0, 0.1):
        ours = ridge_cv(x, np.full(n, value))
        assert np.all(ours.coef == 0) and np.allclose(ours.predict(x * 3), value, rtol=1e-12)
        assert ours.alpha[0] == ALPHAS[0]
        assert np.isnan(ours.error[0]) if n < 3 else ours.error[0] == 0
    if n > 1:
        assert np.allclose(reference(x, np.full(n, 4.0)).predict(x), 4)


def test_two_rows_take_the_smallest_penalty():
    # The left-out error of each is its distance to the other, whatever the penalty; scikit-learn then goes by rounding errors.
    x, y = problem(2, 30)
    ours = ridge_cv(x, y)
    known = make_pipeline(StandardScaler(), PlainRidge(ALPHAS[0])).fit(x, y[:, 0])
    assert ours.alpha[0] == ALPHAS[0] and np.isnan(ours.error[0])
    assert np.allclose(ours.predict(x + 1)[:, 0], known.predict(x + 1), rtol=1e-6)


def test_left_out_errors_are_those_of_fits_without_the_row():
    x, y = problem(15, 6)
    ours = ridge_cv(x, y)
    z, left_out = StandardScaler().fit_transform(x), []
    for i in range(15):
        kept = np.arange(15) != i
        left_out.append(y[i, 0] - PlainRidge(ours.alpha[0]).fit(z[kept], y[kept, 0]).predict(z[[i]])[0])
    assert ours.error[0] == pytest.approx(np.sqrt(np.mean(np.square(left_out))), rel=1e-9)
    assert np.allclose(ours.left_out[:, 0], left_out, rtol=1e-9)
    wide, y = problem(15, 40)
    ours, z = ridge_cv(wide, y), StandardScaler().fit_transform(wide)
    first = PlainRidge(ours.alpha[0]).fit(z[1:], y[1:, 0]).predict(z[:1])
    assert ours.left_out[0, 0] == pytest.approx(y[0, 0] - first[0], rel=1e-9)


def many(n_raters=12, *, d=30, seed=0, sizes=(1, 2, 5, 5, 20, 20, 60)):
    random = np.random.default_rng(seed)
    x = random.normal(size=(200, d)).astype(np.float32)
    rows = [random.choice(200, sizes[u % len(sizes)], replace=False) for u in range(n_raters)]
    rows[3] = rows[2].copy()  # the same images
    rows[4] = np.append(rows[4][:-1], rows[4][0])  # one of them twice
    return x, rows, [x[at] @ random.normal(size=d) / np.sqrt(d) + 0.3 * random.normal(size=len(at)) for at in rows]


def test_raters_together_equal_each_alone():
    x, rows, y = many()
    for together in (ridge_cv_many(x, rows, y), ridge_cv_many(x, rows, y, threads=3)):
        for u, ridge in enumerate(together):
            alone = ridge_cv(x[rows[u]], y[u])
            assert ridge.alpha == alone.alpha
            assert np.allclose(ridge.predict(x), alone.predict(x), rtol=1e-9, atol=1e-12)
            assert np.allclose(ridge.error, alone.error, rtol=1e-9, equal_nan=True)
            assert np.allclose(ridge.left_out, alone.left_out, rtol=1e-9, atol=1e-12)
    assert np.allclose(
        together[6].predict(x)[:, 0], reference(x[rows[6]].astype(np.float64), y[6]).predict(x.astype(np.float64)), rtol=1e-6
    )


def test_neither_the_order_of_raters_nor_that_of_ratings_matters():
    x, rows, y = many()
    straight = ridge_cv_many(x, rows, y)
    random = np.random.default_rng(5)
    order = random.permutation(len(rows))
    turned = [random.permutation(len(rows[u])) for u in order]
    mixed = ridge_cv_many(
        x, [rows[u][t] for u, t in zip(order, turned, strict=True)], [y[u][t] for u, t in zip(order, turned, strict=True)]
    )
    for place, u in enumerate(order):
        assert np.allclose(mixed[place].coef, straight[u].coef, rtol=1e-9, atol=1e-12)
        assert np.allclose(mixed[place].left_out, straight[u].left_out[turned[place]], rtol=1e-9, atol=1e-12)


def test_raters_of_the_same_images_share_one_decomposition(monkeypatch):
    x, rows, y = many(6, sizes=(10,))
    same = [rows[0]] * 5 + [rows[1]]
    targets = [*y[:4], np.column_stack([y[4], y[5]]), y[5]]
    decomposed, real = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: decomposed.append(len(a)) or real(a))
    together = ridge_cv_many(x, same, targets)
    assert sum(decomposed) == 2
    assert together[4].coef.shape == (30, 2) and together[3].coef.shape == (30, 1)
    for u in range(6):
        alone = ridge_cv(x[same[u]], targets[u], alpha_per_target=True)
        assert np.allclose(together[u].coef, alone.coef) and np.array_equal(together[u].alpha, alone.alpha)


def test_no_raters_and_many_rows_to_predict():
    assert ridge_cv_many(np.zeros((3, 2)), [], []) == []
    x, y = problem(30, 3)
    long = np.repeat(x, 300, axis=0)  # more than are converted at once
    ridge = ridge_cv(x, y)
    assert np.allclose(ridge.predict(long), np.repeat(ridge.predict(x), 300, axis=0))
    assert ridge.predict(x[:0]).shape == (0, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    x, y = problem(10, 4)
    y[3] = bad
    with pytest.raises(BeholderError, match="not finite"):
        ridge_cv(x, y)
    x, y = problem(10, 40)
    x[2, 7] = bad
    with pytest.raises(BeholderError, match="not finite"):
        ridge_cv(x, y)
    with pytest.raises(BeholderError, match="not finite"):
        ridge_cv_many(x, [np.arange(10)], [y])


def test_shapes_that_do_not_go_together():
    with pytest.raises(ValueError, match="not \\[n, d\\]"):
        ridge_cv(np.zeros((3, 2)), np.zeros(4))
    with pytest.raises(ValueError, match="n of at least 1"):
        ridge_cv(np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(ValueError, match="rater 1 has 2 rows and 3 targets"):
        ridge_cv_many(np.zeros((3, 2)), [np.arange(2), np.arange(2)], [np.zeros(2), np.zeros(3)])
