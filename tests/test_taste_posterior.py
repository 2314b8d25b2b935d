"""The mathematics of `taste` against plain linear algebra on small problems."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_ndtr
from scipy.stats import multivariate_normal

from beholder.scorers.taste import crowd as crowds
from beholder.scorers.taste import variances as evidences
from beholder.scorers.taste.kernels import ROWS, Projection
from beholder.scorers.taste.posterior import SCREEN, Evidence, Mixture, average, fit, left_out

N = 14


def random_covariance(n: int = N, *, seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((n, n))
    return root @ root.T / n + 0.1 * np.eye(n)


def ratings(first, value) -> Evidence:
    first = np.asarray(first)
    return Evidence(first, np.full(len(first), -1), np.asarray(value, dtype=float), np.zeros(len(first)))


def choices(pairs, offset=None) -> Evidence:
    first, second = np.asarray(pairs).reshape(-1, 2).T
    return Evidence(first, second, np.zeros(len(first)), np.zeros(len(first)) if offset is None else np.asarray(offset, dtype=float))


def both(a: Evidence, b: Evidence) -> Evidence:
    return Evidence(*(np.concatenate([getattr(e, name) for e in (a, b)]) for name in ("first", "second", "value", "offset")))


def posterior_mean(covariance: np.ndarray, evidence: Evidence, *, noise: float) -> np.ndarray:
    """[n] of every image."""
    return evidence.columns(covariance) @ fit(evidence.square(covariance), evidence, noise=noise).alpha


# --- kernels


def looks_of(n: int, *, seed: int = 0, kept: int = 6) -> tuple[Projection, np.ndarray]:
    features = np.random.default_rng(seed).standard_normal((n, 9)).astype(np.float32)
    projection = Projection.learn(features, layers={"one": 5, "two": 4}, components=kept)
    return projection, projection(features)


def test_kernel_is_the_weighted_sum_of_the_kernels_however_many_rows():
    projection, looks = looks_of(ROWS + 37)
    weights = np.array([0.3, 0.0, 0.0, 0.7])
    many = projection.kernel(looks, looks[:20], weights=weights)
    assert np.allclose(many, np.tensordot(weights, projection.kernels(looks, looks[:20]), axes=1), atol=1e-6)
    few = projection.kernel(looks[:50], looks[:20], weights=weights)
    assert np.allclose(few, np.tensordot(weights, projection.kernels(looks[:50], looks[:20]), axes=1), atol=1e-12)
    assert np.abs(few - many[:50]).max() < 1e-6
    assert np.allclose(
        np.diag(projection.kernel(looks[:50], looks[:50], weights=weights)), projection.variance(looks[:50], weights=weights)
    )
    assert np.all(projection.kernel(looks, looks, weights=np.zeros(4)) == 0)


def test_compressed_features_keep_distances_and_survive_constant_columns():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.standard_normal((40, 5)), np.zeros(40), 1e-9 * rng.standard_normal(40)]).astype(np.float32)
    projection = Projection.learn(features, layers={"a": 7}, components=96)
    looks = projection(features)
    assert np.isfinite(looks).all()
    distances = ((looks[:, None] - looks[None]) ** 2).sum(axis=2)
    assert distances[np.triu_indices(40, 1)].mean() == pytest.approx(2 * 5 / 7, rel=0.2)  # five columns of seven vary
    with pytest.raises(ValueError, match="5 wide together"):
        Projection.learn(features, layers={"a": 5}, components=3)


# --- empirical Bayes


def planted(n_sets: int, *, noise: np.ndarray, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 3))
    smooth = np.exp(-((x[:, None] - x[None]) ** 2).sum(axis=2))
    kernels = np.stack([x @ x.T / 3, smooth, np.ones((60, 60))])
    total = 0.8 * kernels[0] + 0.5 * kernels[1] + 0.3 * kernels[2] + np.diag(0.2 + noise)
    root = np.linalg.cholesky(total)
    data = []
    for _ in range(n_sets):
        values = root @ rng.standard_normal(60)
        chosen = rng.permutation(60)[:40]
        data.append((chosen, values[chosen]))
    return kernels, data


@pytest.mark.parametrize("known", [0.0, 0.5])
def test_fit_variances_finds_planted_variances(known):
    noise = np.full(60, known)
    kernels, data = planted(150, noise=noise)
    found = evidences.fit_variances(kernels, data, start=np.full(4, 0.1), noise=noise, iterations=100)
    assert found == pytest.approx([0.8, 0.5, 0.3, 0.2], rel=0.3)
    useless = np.stack([*kernels, np.diag(np.arange(60) % 2.0) * 1e-3])
    pulled = evidences.fit_variances(useless, data, start=np.full(5, 0.1), noise=noise, iterations=100, pull=1.0)
    assert pulled[:3].sum() < found[:3].sum()


def objective_of(monkeypatch, kernels, data, **options):
    """The function that `fit_variances` minimises: log weights -> (value, gradient)."""
    caught = []

    def minimize(objective, start, **_):
        caught.append(objective)
        raise StopIteration

    monkeypatch.setattr(evidences, "minimize", minimize)
    with pytest.raises(StopIteration):
        evidences.fit_variances(kernels, data, start=np.full(len(kernels) + 1, 0.1), **options)
    return caught[0]


def test_gradient_of_the_evidence_equals_finite_differences(monkeypatch):
    kernels, data = planted(3, noise=np.zeros(60))
    objective = objective_of(monkeypatch, kernels, data, noise=np.linspace(0, 0.3, 60), pull=0.05)
    at = np.log([0.5, 0.2, 0.4, 0.3])
    scale = np.abs(objective(at)[1]).max()
    assert check_grad(lambda w: objective(w)[0], lambda w: objective(w)[1], at) < 1e-4 * scale


def test_evidence_of_variances_is_the_normal_density(monkeypatch):
    kernels, data = planted(2, noise=np.zeros(60))
    objective = objective_of(monkeypatch, kernels, data)

    def density(log_weights):
        w = np.exp(log_weights)
        total = np.tensordot(w[:-1], kernels, axes=1) + w[-1] * np.eye(60)
        return -np.mean([multivariate_normal(np.zeros(len(i)), total[np.ix_(i, i)]).logpdf(v) for i, v in data])

    a, b = np.log([0.5, 0.2, 0.4, 0.3]), np.log([0.1, 0.9, 0.1, 0.8])
    assert objective(a)[0] - objective(b)[0] == pytest.approx(density(a) - density(b), abs=1e-8)


# --- the crowd


@pytest.fixture(scope="module")
def crowd_problem():
    projection, looks = looks_of(80, seed=3)
    rng = np.random.default_rng(4)
    weights, own = np.array([0.2, 0.5, 0.1, 0.3]), 0.05
    noise = rng.uniform(0.02, 0.3, 80)
    prior = np.tensordot(weights, projection.kernels(looks, looks), axes=1)
    effects = np.linalg.cholesky(prior + np.diag(own + noise)) @ rng.standard_normal(80)
    return projection, looks, effects, noise, weights, own, prior


def test_crowd_is_the_gaussian_process_posterior(crowd_problem):
    projection, looks, effects, noise, weights, own, prior = crowd_problem
    known, new = np.arange(50), np.arange(50, 80)
    crowd = crowds.condition(projection, looks[known], effects[known], noise[known], weights=weights, own=own, landmarks=known)
    inverse = np.linalg.inv(prior[np.ix_(known, known)] + crowds.JITTER * np.eye(50) + np.diag(noise[known] + own))
    across = prior[np.ix_(new, known)]
    cross = crowd.cross(projection, looks[new])
    expected = prior[np.ix_(new, new)] - across @ inverse @ across.T
    assert np.abs(crowd.mean(cross) - across @ inverse @ effects[known]).max() < 1e-8
    assert np.abs(crowd.covariance(projection, (looks[new], looks[new]), (cross, cross)) - expected).max() < 1e-8
    assert np.abs(crowd.variance(projection, looks[new], cross) - (np.diag(expected) + own)).max() < 1e-8
    few, many = looks[new][:4], looks[new]
    block = crowd.covariance(projection, (few, many), (cross[:4], cross))
    assert np.abs(block - expected[:4]).max() < 1e-8
    assert np.abs(crowd.covariance(projection, (many, few), (cross, cross[:4])) - block.T).max() < 1e-10


def test_fewer_landmarks_than_images_come_close(crowd_problem):
    projection, looks, effects, noise, weights, own, _ = crowd_problem
    options = {"weights": weights, "own": own}
    exact = crowds.condition(projection, looks, effects, noise, **options, landmarks=np.arange(80))
    some = crowds.condition(projection, looks, effects, noise, **options, landmarks=np.arange(60))
    general = crowds.condition(projection, looks, effects, noise, **options, landmarks=np.r_[np.arange(79), 79, 79][:81])
    new = looks_of(200, seed=9)[1][:40]
    means = [c.mean(c.cross(projection, new)) for c in (exact, some, general)]
    assert np.corrcoef(means[0], means[1])[0, 1] > 0.97
    assert np.abs(means[0] - means[2]).max() < 1e-3  # all images are landmarks, in the general form (one of them twice)
    variances = [c.variance(projection, new, c.cross(projection, new)) for c in (exact, some)]
    assert np.abs(variances[0] - variances[1]).mean() < 0.1 * variances[0].mean()
    alone = crowds.condition(projection, looks[:60], effects[:60], noise[:60], **options, landmarks=np.arange(60))
    error = np.abs(means[0] - alone.mean(alone.cross(projection, new))).mean()
    assert np.abs(means[0] - means[1]).mean() < error  # images that are no landmarks still count


# --- one rater


def test_posterior_of_ratings_is_gaussian_conditioning():
    covariance, rng = random_covariance(), np.random.default_rng(1)
    first, value, noise = np.array([3, 0, 7, 9, 3]), rng.standard_normal(5), 0.4
    evidence = ratings(first, value)
    found = fit(evidence.square(covariance), evidence, noise=noise)
    total = covariance[np.ix_(first, first)] + noise * np.eye(5)
    across = covariance[:, first]
    assert np.allclose(evidence.columns(covariance) @ found.alpha, across @ np.linalg.solve(total, value), atol=1e-10)
    reduced = ((evidence.columns(covariance) @ found.root.T) ** 2).sum(axis=1)
    assert np.allclose(reduced, np.diag(across @ np.linalg.solve(total, across.T)), atol=1e-10)
    assert found.log_evidence == pytest.approx(multivariate_normal(np.zeros(5), total).logpdf(value), abs=1e-9)


def log_posterior(shift, covariance, evidence, noise):
    """Of f at the evidence, up to a constant."""
    choice = evidence.is_choice
    value = log_ndtr((shift + evidence.offset)[choice] / np.sqrt(2 * noise)).sum()
    value -= 0.5 * ((evidence.value - shift)[~choice] ** 2).sum() / noise
    return value - 0.5 * shift @ np.linalg.solve(covariance, shift)


@pytest.mark.parametrize("with_ratings", [False, True])
def test_mode_of_the_posterior_of_choices(with_ratings):
    covariance, noise = random_covariance(seed=2), 0.3
    evidence = choices([(0, 1), (2, 3), (4, 0), (5, 6)], offset=[0.5, -2.0, 0.0, 3.0])
    if with_ratings:
        evidence = both(ratings([1, 9], [0.7, -1.0]), evidence)
    square = evidence.square(covariance)
    found = fit(square, evidence, noise=noise)
    mode = square @ found.alpha
    step = 1e-4
    for direction in np.eye(len(mode)):
        slope = (
            log_posterior(mode + step * direction, square, evidence, noise)
            - log_posterior(mode - step * direction, square, evidence, noise)
        ) / (2 * step)
        assert abs(slope) < 1e-4
    best = log_posterior(mode, square, evidence, noise)
    rng = np.random.default_rng(0)
    assert all(log_posterior(mode + 0.1 * rng.standard_normal(len(mode)), square, evidence, noise) < best for _ in range(50))


def test_a_choice_the_other_way_round_means_the_opposite():
    covariance = random_covariance(seed=3)
    one = posterior_mean(covariance, choices([(2, 5)]), noise=0.2)
    other = posterior_mean(covariance, choices([(5, 2)]), noise=0.2)
    assert np.allclose(one, -other, atol=1e-12)
    assert one[2] > one[5]


def test_evidence_of_one_choice_is_close_to_exact():
    covariance, noise = random_covariance(seed=4), 0.3
    for offset in (-1.0, 0.0, 1.0):
        evidence = choices([(1, 2)], offset=[offset])
        spread = float(evidence.square(covariance)[0, 0])
        exact = log_ndtr(offset / np.sqrt(spread + 2 * noise))
        assert fit(evidence.square(covariance), evidence, noise=noise).log_evidence == pytest.approx(exact, abs=0.15)


def test_consistent_choices_order_the_images():
    taste = np.random.default_rng(5).permutation(N).astype(float)
    pairs = [(i, j) for i in range(N) for j in range(N) if taste[i] > taste[j]]
    mean = posterior_mean(np.eye(N), choices(pairs), noise=0.2)
    assert np.array_equal(np.argsort(mean), np.argsort(taste))


def test_ratings_and_choices_are_added_up():
    covariance = np.eye(4)
    rated = ratings([0, 1], [0.5, -0.5])
    alone, together = (posterior_mean(covariance, e, noise=0.3) for e in (rated, both(rated, choices([(2, 3)]))))
    assert np.allclose(alone[:2], together[:2]) and np.allclose(alone[2:], 0)  # unrelated images
    assert together[2] > 0.1 and together[3] == pytest.approx(-together[2])
    against = posterior_mean(covariance, both(rated, choices([(1, 0)])), noise=0.3)
    assert against[0] - against[1] < alone[0] - alone[1]


def test_a_choice_everybody_expected_teaches_less():
    covariance = np.eye(2)
    expected, surprising = (posterior_mean(covariance, choices([(0, 1)], offset=[o]), noise=0.3)[0] for o in (3.0, -3.0))
    assert 0 < expected < 0.1 * surprising


def test_extreme_choices_stay_finite():
    covariance = 100 * random_covariance(seed=6)
    evidence = choices([(0, 1)] * 30 + [(1, 0)] * 2, offset=[-40.0] * 30 + [50.0] * 2)
    found = fit(evidence.square(covariance), evidence, noise=1e-3)
    assert np.isfinite(found.alpha).all() and np.isfinite(found.root).all() and np.isfinite(found.log_evidence)


def test_left_out_errors_equal_refits_without_each_rating():
    covariance, noise = random_covariance(seed=7), 0.3
    first, value = np.arange(8), np.random.default_rng(8).standard_normal(8)
    evidence = ratings(first, value)
    one = fit(evidence.square(covariance), evidence, noise=noise)
    found = left_out(Mixture(np.ones((1, 3)), np.ones(1), (one,)), evidence)
    for i in range(8):
        rest = np.delete(first, i)
        total = covariance[np.ix_(rest, rest)] + noise * np.eye(7)
        across = covariance[i, rest]
        mean = across @ np.linalg.solve(total, np.delete(value, i))
        variance = covariance[i, i] + noise - across @ np.linalg.solve(total, across)
        assert found[i] == pytest.approx((value[i] - mean) ** 2 / variance, abs=1e-10)


def test_the_grid_is_weighted_by_prior_and_evidence():
    covariance = random_covariance(seed=9)
    value = np.linalg.cholesky(3 * covariance + 0.1 * np.eye(N)) @ np.random.default_rng(1).standard_normal(N)
    evidence, settings, prior = ratings(np.arange(N), value), np.array([[0.3], [1.0], [3.0]]), np.log([0.5, 0.3, 0.2])
    mixture = average(lambda s: s[0] * covariance, evidence, settings=settings, log_prior=prior, noise=lambda s: 0.1)
    density = [multivariate_normal(np.zeros(N), s * covariance + 0.1 * np.eye(N)).logpdf(value) for s in (0.3, 1.0, 3.0)]
    weight = np.exp(prior + density - np.max(prior + density))
    weight = weight[weight >= 0.01 * weight.max()]
    assert mixture.weights == pytest.approx(weight / weight.sum(), abs=1e-8)


def test_with_much_evidence_the_grid_is_thinned_out_not_the_evidence():
    n = SCREEN + 20
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, 4))
    covariance = x @ x.T
    evidence = ratings(np.arange(n), x @ np.ones(4) + 0.1 * rng.standard_normal(n))
    settings = np.array([[1e-4], [1.0]])
    mixture = average(lambda s: s[0] * covariance, evidence, settings=settings, log_prior=np.zeros(2), noise=lambda s: 0.01)
    assert mixture.settings.tolist() == [[1.0]]
    assert len(mixture.fits[0].alpha) == n
