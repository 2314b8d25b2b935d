"""Measures against scipy, against hand-made answers, and against planted tastes."""

import numpy as np
import pytest
from scipy import stats

from beholder.evaluation import metrics
from beholder.evaluation.metrics import Answers, difference, evaluate
from beholder.evaluation.resampling import resampled_means
from beholder.evaluation.simulate import mixed, simulate


def answers(rater, image, truth, score, *, fold=None, low=None, high=None, **more):
    rater, image = np.asarray(rater), np.asarray(image)
    truth, score = np.asarray(truth, dtype=float), np.asarray(score, dtype=float)
    return Answers(
        fold=np.zeros(len(rater), dtype=int) if fold is None else np.asarray(fold),
        rater=rater,
        image=image,
        truth=truth,
        score=score,
        low=score - 1 if low is None else np.asarray(low, dtype=float),
        high=score + 1 if high is None else np.asarray(high, dtype=float),
        **more,
    )


def some_answers(seed=0, n_raters=7, n_images=20):
    generator = np.random.default_rng(seed)
    rater, image = np.divmod(generator.permutation(n_raters * n_images)[: n_raters * n_images // 2], n_images)
    truth = generator.integers(1, 6, len(rater)).astype(float)
    return answers(rater, image, truth, np.round(truth + generator.normal(size=len(rater)), 1))


def test_correlations_errors_and_r2_are_those_of_scipy():
    given = some_answers()
    found = evaluate(given, draws=50)
    for index, rater in enumerate(found.raters):
        rows = given.rater == rater
        truth, score = given.truth[rows], given.score[rows]
        assert found.per_rater["srocc"][index] == pytest.approx(stats.spearmanr(truth, score)[0])
        assert found.per_rater["plcc"][index] == pytest.approx(stats.pearsonr(truth, score)[0])
        assert found.per_rater["mae"][index] == pytest.approx(np.abs(truth - score).mean())
        assert found.per_rater["r2"][index] == pytest.approx(1 - ((truth - score) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert found.estimates["srocc"].value == pytest.approx(found.per_rater["srocc"].mean())
    assert found.estimates["srocc"].n_undefined == 0


def test_order_of_rows_does_not_matter():
    given = some_answers()
    order = np.random.default_rng(1).permutation(len(given.rater))
    turned = answers(given.rater[order], given.image[order], given.truth[order], given.score[order])
    one, other = evaluate(given, draws=50), evaluate(turned, draws=50)
    for name, estimate in one.estimates.items():
        assert estimate.value == pytest.approx(other.estimates[name].value, abs=1e-9), name
        assert estimate.low == pytest.approx(other.estimates[name].low, abs=1e-9), name


def test_pairwise_accuracy_by_hand():
    unit = np.zeros(3, dtype=int)
    truth = np.array([1.0, 2.0, 4.0])

    def accuracy(score, **options):
        return metrics.pairwise_accuracy(unit, truth, np.array(score, dtype=float), size=1, **options)[0]

    assert accuracy([1, 2, 3]) == 1
    assert accuracy([3, 2, 1]) == 0
    assert accuracy([2, 1, 3]) == pytest.approx(2 / 3)
    assert accuracy([5, 5, 5]) == 0.5  # predicted ties
    assert accuracy([2, 1, 3], margin=1) == 1  # 1 and 2 are not more than 1 apart
    assert np.isnan(accuracy([1, 2, 3], margin=3))
    assert accuracy([2, 1, 3], group=np.array([0, 0, 1])) == 0


def test_pairwise_accuracy_in_blocks_is_that_of_all_pairs():
    generator = np.random.default_rng(0)
    truth, score = generator.integers(1, 6, 700).astype(float), generator.integers(0, 9, 700).astype(float)
    gap, ours = np.subtract.outer(truth, truth), np.subtract.outer(score, score)
    expected = ((ours > 0) + 0.5 * (ours == 0))[gap > 0].mean()
    assert metrics.pairwise_accuracy(np.zeros(700, dtype=int), truth, score, size=1)[0] == pytest.approx(expected)


def test_constant_predictions_count_as_zero_and_are_counted():
    rater, image = np.repeat([0, 1], 4), np.tile(np.arange(4), 2)
    truth = np.tile([1, 2, 3, 4], 2)
    found = evaluate(answers(rater, image, truth, [1, 2, 3, 4, 3.3, 3.3, 3.3, 3.3]), draws=50)
    estimate = found.estimates["srocc"]
    assert (estimate.value, estimate.n_undefined, estimate.defined_only) == (pytest.approx(0.5), 1, pytest.approx(1))
    assert np.isnan(found.per_rater["srocc"][1])
    assert found.estimates["pairwise"].value == pytest.approx((1 + 0.5) / 2)


def test_rounding_errors_are_ties_and_constant_ratings_are_undefined():
    noise = 1e-13 * np.random.default_rng(0).normal(size=8)
    rater, image = np.repeat([0, 1], 4), np.tile(np.arange(4), 2)
    found = evaluate(answers(rater, image, [1, 2, 3, 4, 2, 2, 2, 2], 3 + noise), draws=50)
    assert found.estimates["srocc"].n_undefined == 2
    assert found.estimates["pairwise"].value == 0.5
    assert found.estimates["r2"].n_undefined == 1 and np.isfinite(found.estimates["r2"].value)


def test_missing_predictions_are_dropped_and_counted():
    found = evaluate(answers([0, 0, 0, 0], [0, 1, 2, 3], [1, 2, 3, 4], [1, 2, np.nan, 4]), draws=50)
    assert (found.n_dropped, found.n_answers) == (1, 3)
    assert found.estimates["mae"].value == 0


def test_several_query_sets_of_a_rater_are_averaged_first():
    fold, rater = [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]
    found = evaluate(answers(rater, [0, 1, 2, 3, 0, 1], [1, 2, 1, 2, 1, 2], [1, 2, 2, 1, 1, 2], fold=fold), draws=50)
    np.testing.assert_allclose(found.per_rater["srocc"], [0, 1])
    assert found.estimates["srocc"].value == pytest.approx(0.5)


def test_interval_coverage_and_width():
    found = evaluate(answers([0] * 4, range(4), [1, 2, 3, 4], [2] * 4, low=[1, 1, 1, 1], high=[3, 3, 3, 3]), draws=50)
    assert found.estimates["coverage"].value == 0.75
    assert found.estimates["width"].value == 2


def test_choice_accuracy_counts_ties_half():
    nothing = np.zeros(0, dtype=int)
    given = Answers(
        *(nothing, nothing, nothing),
        *(np.zeros(0),) * 4,
        choice_fold=np.zeros(3, dtype=int),
        choice_rater=np.array([4, 4, 4]),
        choice_chosen=np.array([2.0, 1, 1]),
        choice_other=np.array([1.0, 1, 2]),
    )
    found = evaluate(given, draws=50)
    assert list(found.estimates) == ["choice_accuracy"]
    assert found.estimates["choice_accuracy"].value == 0.5


def test_two_way_residuals_are_those_of_least_squares():
    generator = np.random.default_rng(0)
    keep = np.flatnonzero(generator.random(8 * 30) < 0.3)
    rater, image = np.divmod(keep, 30)
    values = generator.normal(size=len(keep))
    design = np.concatenate([np.eye(8)[rater], np.eye(30)[image]], axis=1)
    expected = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    found = metrics.two_way_residuals(rater, image, values)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(np.bincount(rater, found), 0, atol=1e-7)
    np.testing.assert_allclose(np.bincount(image, found), 0, atol=1e-7)


def test_two_way_residuals_of_an_additive_table_vanish_even_if_it_hangs_by_a_thread():
    # a chain: rater k shares one image with rater k + 1 and nobody else
    rater, image = np.repeat(np.arange(40), 2), np.repeat(np.arange(41), 2)[1:-1]
    values = np.random.default_rng(0).normal(size=40)[rater] + np.random.default_rng(1).normal(size=41)[image]
    assert not metrics.two_way_residuals(rater, image, values).any()


@pytest.mark.parametrize("severity", [False, True])
def test_a_scorer_that_treats_all_raters_alike_has_no_personal_r(severity):
    simulation = simulate(mixed(n_raters=20, n_images=40, ratings_per_rater=25))
    data = simulation.dataset
    score = simulation.shared_taste[data.rating_image] + severity * np.random.default_rng(0).normal(size=20)[data.rating_rater]
    found = evaluate(answers(data.rating_rater, data.rating_image, data.rating_score, score), draws=50)
    assert found.estimates["personal_r"].value == 0
    assert found.estimates["personal_r"].n_undefined == 1
    assert (found.estimates["personal_r_rater_means_kept"].n_undefined == 0) == severity
    assert found.estimates["srocc"].value > 0.3


def test_planted_personal_taste_is_recovered_by_personal_r():
    simulation = simulate(mixed(n_raters=40, n_images=60, ratings_per_rater=40, noise=0.02))
    data = simulation.dataset
    own = simulation.personal_taste[data.rating_rater, data.rating_image]
    found = evaluate(answers(data.rating_rater, data.rating_image, data.rating_score, own), draws=200)
    estimate = found.estimates["personal_r"]
    assert estimate.value > 0.95  # noise and the ends of the scale take the rest
    assert estimate.low < estimate.value < estimate.high
    shuffled = evaluate(
        answers(data.rating_rater, data.rating_image, data.rating_score, np.random.default_rng(0).permutation(own)), draws=200
    )
    assert abs(shuffled.estimates["personal_r"].value) < 0.1


def test_personal_r_is_taken_within_folds():
    # each fold's predictions are shifted per image: the same for all raters of that fold, so nothing personal
    generator = np.random.default_rng(0)
    fold, rater, image = (part.reshape(-1) for part in np.meshgrid(np.arange(2), np.arange(10), np.arange(8), indexing="ij"))
    rater = rater + 10 * fold
    truth, shift = generator.normal(size=len(fold)), generator.normal(size=(2, 8))
    found = evaluate(answers(rater, image, truth, shift[fold, image], fold=fold), draws=50)
    assert found.estimates["personal_r"].n_undefined == 1


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        values = generator.normal(0.3, 1, size=40)
        low, high = np.quantile(resampled_means(values, draws=400, seed=0), [0.025, 0.975])
        inside += low <= 0.3 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_bootstrap_is_seeded_and_skips_undefined_values():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    one = resampled_means(values, draws=100, seed=3)
    np.testing.assert_array_equal(one, resampled_means(values, draws=100, seed=3))
    assert not np.array_equal(one, resampled_means(values, draws=100, seed=4), equal_nan=True)
    assert set(np.round(one[np.isfinite(one)], 6)) <= {1.0, 1.5, 1.666667, 2.0, 2.333333, 2.5, 3.0}


def test_paired_differences_are_much_surer_than_single_numbers():
    generator = np.random.default_rng(0)
    rater, image = np.repeat(np.arange(30), 12), np.tile(np.arange(12), 30)
    truth = generator.normal(size=360)
    hard = np.repeat(generator.uniform(0.2, 3, 30), 12)  # some raters are hard to predict for any scorer
    score = truth + hard * generator.normal(size=360)
    better, worse = (
        evaluate(answers(rater, image, truth, score)),
        evaluate(answers(rater, image, truth, score + 0.3 * generator.normal(size=360))),
    )
    gap = difference(worse, better, metric="mae")
    single = better.estimates["mae"]
    assert gap.high - gap.low < (single.high - single.low) / 2
    assert gap.value == pytest.approx(worse.estimates["mae"].value - single.value)
    same = difference(better, better, metric="mae")
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_paired_differences_need_the_same_raters():
    one = some_answers()
    fewer = answers(*(getattr(one, name)[one.rater > 0] for name in ("rater", "image", "truth", "score")))
    with pytest.raises(ValueError, match="same raters"):
        difference(evaluate(one, draws=50), evaluate(fewer, draws=50), metric="mae")


# --- what is not defined


def four_raters():
    """By hand: rater 0 right (rho 1, R2 1), 1 reversed (rho -1, R2 1 - 20/5 = -3), 2 with constant ratings, 3 with constant predictions."""
    truth = [1, 2, 3, 4, 1, 2, 3, 4, 2, 2, 2, 2, 1, 2, 3, 4]
    score = [1, 2, 3, 4, 4, 3, 2, 1, 1, 2, 3, 4, 2, 2, 2, 2]
    return np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4), np.array(truth, dtype=float), np.array(score, dtype=float)


def test_undefined_values_by_hand():
    found = evaluate(answers(*four_raters()), draws=200)
    rho, r2 = found.estimates["srocc"], found.estimates["r2"]
    assert rho.value == pytest.approx((1 - 1 + 0 + 0) / 4) and rho.n_undefined == 2 and rho.defined_only == pytest.approx(0)
    expected = (1 - 3 + (1 - 6 / 5)) / 3  # constant predictions 2 for 1 2 3 4: squared errors 1 + 0 + 1 + 4 of 5
    assert r2.value == pytest.approx(expected) and r2.n_undefined == 1 and r2.defined_only == pytest.approx(expected)
    np.testing.assert_allclose(found.per_rater["r2"], [1, -3, np.nan, -0.2])
    np.testing.assert_allclose(found.per_rater["srocc"], [1, -1, np.nan, np.nan])
    assert -3 <= r2.low < r2.value < r2.high <= 1


def test_r2_of_a_rater_is_that_of_scikit_learn():
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    given = some_answers(seed=3)
    found = evaluate(given, draws=20)
    for index, rater in enumerate(found.raters):
        rows = given.rater == rater
        assert found.per_rater["r2"][index] == pytest.approx(r2_score(given.truth[rows], given.score[rows]))


def test_a_rater_without_a_single_prediction_is_undefined_and_not_absent():
    rater, image, truth, score = four_raters()
    score[rater == 1] = np.nan
    score[5] = 3.0  # rater 1 has one prediction left, which makes no correlation
    found = evaluate(answers(rater, image, truth, np.where(rater == 0, np.nan, score)), draws=200)
    assert list(found.raters) == [0, 1, 2, 3] and (found.n_answers, found.n_dropped) == (9, 7)
    rho, r2, mae = (found.estimates[name] for name in ("srocc", "r2", "mae"))
    assert (rho.value, rho.n_undefined) == (0, 4) and np.isnan(rho.defined_only)
    assert r2.value == pytest.approx(-0.2) and r2.n_undefined == 3
    assert mae.n_undefined == 1 and np.isnan(found.per_rater["mae"][0]) and found.per_rater["mae"][1] == pytest.approx(1)
    whole = evaluate(answers(*four_raters()), draws=200)
    gap = difference(found, whole, metric="srocc")  # still the same raters on both sides
    assert gap.value == pytest.approx(rho.value - whole.estimates["srocc"].value)


def test_a_scorer_without_any_prediction_counts_as_zero():
    rater, image, truth, score = four_raters()
    found = evaluate(answers(rater, image, truth, np.full_like(score, np.nan)), draws=20)
    assert (found.estimates["srocc"].value, found.estimates["srocc"].n_undefined) == (0, 4)
    assert np.isnan(found.estimates["r2"].value) and found.estimates["r2"].n_undefined == 4
    assert "personal_r" not in found.estimates and found.n_dropped == 16


def test_paired_bootstrap_of_r2_resamples_the_same_raters():
    generator = np.random.default_rng(0)
    rater, image = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)
    truth = generator.normal(size=200)
    ours, theirs = (evaluate(answers(rater, image, truth, truth + width * generator.normal(size=200)), draws=500) for width in (0.5, 0.6))
    gap = difference(ours, theirs, metric="r2")
    per_rater = ours.per_rater["r2"] - theirs.per_rater["r2"]
    assert gap.value == pytest.approx(per_rater.mean())
    expected = resampled_means(per_rater, draws=500, seed=0)
    np.testing.assert_allclose([gap.low, gap.high], np.quantile(expected, [0.025, 0.975]))
