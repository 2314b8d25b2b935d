"""What raters weigh: planted weights are found, the posterior is Bayes' rule, and the prior is what is known of nobody."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from beholder.critique.measured import tastes

NAMES = ("warmth", "contrast", "thirds")


def world(*, raters=300, per_rater=60, images=400, seed=0):
    """Raters with weights of their own. Returns (values, rating_rater, rating_image, scores, mean, covariance, noise variance)."""
    random = np.random.default_rng(seed)
    values = random.normal([5, 40, 0.6], [2, 10, 0.1], size=(images, 3))
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    mean = np.array([0.5, 0.05, -0.02, 0.0])
    covariance = np.diag([0.01, 0.004, 0.0001, 0.0025])
    covariance[0, 1] = covariance[1, 0] = 0.003
    weights = random.multivariate_normal(mean, covariance, size=raters)
    rater = np.repeat(np.arange(raters), per_rater)
    image = np.concatenate([random.permutation(images)[:per_rater] for _ in range(raters)])
    scores = weights[rater, 0] + (z[image] * weights[rater, 1:]).sum(axis=1) + random.normal(0, 0.1, len(rater))
    return values, rater, image, scores, mean, covariance, 0.01


def test_planted_distribution_is_found():
    values, rater, image, scores, mean, covariance, noise = world()
    found = tastes.learn(NAMES, values, rater, image, scores)
    assert found.mean == pytest.approx(mean, abs=0.015)
    assert found.covariance == pytest.approx(covariance, abs=0.0016)
    assert found.noise == pytest.approx(noise, rel=0.05)
    assert found.centre == pytest.approx(values.mean(axis=0))


def test_the_likelihood_is_that_of_the_normal_distribution_and_the_fit_is_at_its_top():
    """By brute force: the ratings of a rater are jointly normal with covariance X S X' + noise I."""
    values, rater, image, scores, *_ = world(raters=60, per_rater=12, images=60, seed=3)
    found = tastes.learn(NAMES, values, rater, image, scores)
    design = np.column_stack([np.ones(len(values)), (values - values.mean(axis=0)) / values.std(axis=0)])
    rows = [(design[image[rater == one]], scores[rater == one]) for one in np.unique(rater)]

    def brute(mean, covariance, noise):
        return sum(multivariate_normal.logpdf(y, x @ mean, x @ covariance @ x.T + noise * np.eye(len(y))) for x, y in rows)

    sums = [np.stack([x.T @ x for x, _ in rows]), np.stack([x.T @ y for x, y in rows]), np.array([y @ y for _, y in rows]), np.array([len(y) for _, y in rows])]
    best = brute(found.mean, found.covariance, found.noise)
    for mean, covariance, noise in ((found.mean, found.covariance, found.noise), (np.full(4, 0.2), 0.02 * np.eye(4), 0.03)):
        less = 0.5 * len(scores) * np.log(2 * np.pi)
        assert tastes._likelihood(*sums, mean, covariance, noise) - less == pytest.approx(brute(mean, covariance, noise), abs=1e-6)
    for factor in (0.85, 1.15):
        assert brute(found.mean, factor * found.covariance, found.noise) < best
        assert brute(found.mean, found.covariance, factor * found.noise) < best
    for step in 0.02 * np.vstack([np.eye(4), -np.eye(4)]):
        assert brute(found.mean + step, found.covariance, found.noise) < best


def test_posterior_is_bayes_rule():
    model = tastes.Tastes(NAMES, np.zeros(3), np.ones(3), np.array([0.5, 0.1, 0, 0]), np.diag([0.01, 0.02, 0.03, 0.001]), 0.04)
    random = np.random.default_rng(1)
    values, scores = random.normal(size=(7, 3)), random.uniform(size=7)
    design = np.column_stack([np.ones(7), values])
    precision = np.linalg.inv(model.covariance)
    spread = np.linalg.inv(precision + design.T @ design / model.noise)
    mean = spread @ (precision @ model.mean + design.T @ scores / model.noise)
    found_mean, found_spread = model.posterior(values, scores)
    assert found_mean == pytest.approx(mean, abs=1e-12)
    assert found_spread == pytest.approx(spread, abs=1e-12)


def test_no_ratings_give_the_prior():
    model = tastes.Tastes(NAMES, np.zeros(3), np.ones(3), np.arange(4.0), np.eye(4), 0.1)
    mean, spread = model.posterior(np.zeros((0, 3)), np.zeros(0))
    assert mean.tolist() == [0, 1, 2, 3]
    assert spread == pytest.approx(np.eye(4))


def test_a_weight_in_which_raters_do_not_differ_stays_the_mean():
    model = tastes.Tastes(NAMES, np.zeros(3), np.ones(3), np.array([0.5, 0.1, 0, 0]), np.diag([0.01, 0.0, 0.01, 0.01]), 0.01)
    random = np.random.default_rng(2)
    values = random.normal(size=(40, 3))
    mean, spread = model.posterior(values, 0.5 + 0.4 * values[:, 0])
    assert mean[1] == pytest.approx(0.1)
    assert spread[1, 1] == pytest.approx(0)


def test_what_could_not_be_measured_counts_as_average():
    model = tastes.Tastes(NAMES, np.full(3, 7.0), np.full(3, 2.0), np.zeros(4), np.eye(4), 0.1)
    assert model.standardised(np.array([[np.nan, 9, 5]])).tolist() == [[0, 1, -1]]


def test_order_of_ratings_does_not_matter():
    values, rater, image, scores, *_ = world(raters=20)
    model = tastes.learn(NAMES, values, rater, image, scores)
    some, order = values[:30], np.random.default_rng(3).permutation(30)
    y = np.random.default_rng(4).uniform(size=30)
    assert model.posterior(some[order], y[order])[0] == pytest.approx(model.posterior(some, y)[0], abs=1e-10)


def test_one_rater_is_no_distribution():
    with pytest.raises(ValueError, match="one rater"):
        tastes.learn(NAMES, np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9, int), np.arange(9), np.zeros(9))
