"""ICC(3,1): against another implementation, a textbook table and published intervals; missing and degenerate input; the paired difference."""

import numpy as np
import pytest

from beholder.personas.icc import icc31, interval_of, paired_difference

# pingouin 0.7.0, intraclass_corr, the row ICC(C,1), not rounded; of `made(*key)`
ORACLE = {
    (1, 12, 2, 0.5, 0): (0.9636266922, 0.8790896283, 0.9893915496),
    (2, 40, 2, 2.0, 1.0): (0.492963968, 0.2179374751, 0.695456602),
    (3, 300, 2, 1.0, -0.5): (0.7961280975, 0.7506246159, 0.8341153389),
    (4, 25, 4, 1.5, 0.3): (0.567659364, 0.3746560726, 0.7478002631),
    (5, 6, 2, 6, 0): (0.032373579, -0.7401984572, 0.7681043921),
    (6, 300, 2, 0.2, 2): (0.9899048984, 0.9873470275, 0.9919477761),
}
# Shrout & Fleiss (1979), table 2: six subjects, four judges
TEXTBOOK = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
# P-MLLM (arXiv 2604.17233), table 4: ICC and its interval, of 300 profiles
PUBLISHED = [
    (0.806, 0.77, 0.84),
    (0.850, 0.82, 0.88),
    (0.678, 0.62, 0.73),
    (0.681, 0.62, 0.73),
    (0.641, 0.57, 0.70),
    (0.903, 0.88, 0.92),
    (0.870, 0.84, 0.89),
    (0.787, 0.74, 0.82),
    (0.721, 0.67, 0.77),
    (0.656, 0.59, 0.71),
]


def made(seed, n, k, noise, shift):
    """[n, k] numbers that are the same on any machine."""
    i, j = np.arange(n)[:, None], np.arange(k)[None]
    return np.round(5.5 + 2 * np.sin(1.7 * i + seed) + noise * np.cos(12.9898 * i * (j + 1) + 78.233 * j + seed) + shift * j, 3)


def planted(icc, n, *, seed=0):
    """Two measurements whose ICC is `icc` in the long run."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, np.sqrt(icc), n)
    return (shared + random.normal(0, np.sqrt(1 - icc), n) for _ in range(2))


@pytest.mark.parametrize("key", ORACLE)
def test_it_gives_what_another_implementation_gives(key):
    found = icc31(*made(*key).T)
    assert (found.value, found.low, found.high) == pytest.approx(ORACLE[key], abs=1e-8)
    assert (found.n, found.dropped, found.reason) == (key[1], 0, "")


def test_the_textbook_table():
    found = icc31(*TEXTBOOK.T)
    assert f"{found.value:.2f}" == "0.71"
    assert (found.value, found.low, found.high) == pytest.approx((0.7148407148, 0.3424647650, 0.9458582600))  # pingouin 0.7.0 again


@pytest.mark.parametrize(("value", "low", "high"), PUBLISHED)
def test_the_published_intervals_are_of_this_form(value, low, high):
    """They are narrower than those of the 300 profiles they are said to be of: about 340 give them to the last decimal."""
    assert interval_of(value, 300) == pytest.approx((low, high), abs=0.0085)
    for n in (336, 351):
        assert [round(end, 2) for end in interval_of(value, n)] == [low, high]


def test_that_tells_forms_apart():
    def of_the_mean(value, n):  # ICC(3,k): the same F ratio, turned into the reliability of the mean of both
        single = interval_of(value / (2 - value), n)
        return [2 * end / (1 + end) for end in single]

    errors = [np.abs(np.subtract(of_the_mean(value, 300), ends)).max() for value, *ends in PUBLISHED]
    assert max(errors) > 0.02


def test_a_constant_shift_does_not_count_but_another_scale_does():
    first, second = made(2, 40, 2, 2.0, 1.0).T
    assert icc31(first, second + 5).value == pytest.approx(icc31(first, second).value)
    assert icc31(first, 3 * first).value == pytest.approx(2 * 3 / (1 + 9))
    assert icc31(first, -first).value == pytest.approx(-1)
    assert icc31(first, second).value == pytest.approx(icc31(second, first).value)


def test_equal_measurements_agree_exactly():
    first = np.random.default_rng(0).uniform(1, 10, 50)
    found = icc31(first, first.copy())
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_planted_agreement_is_found_and_the_interval_holds_it():
    inside = 0
    for seed in range(200):
        found = icc31(*planted(0.7, 60, seed=seed))
        inside += found.low <= 0.7 <= found.high
    assert 0.90 <= inside / 200 <= 0.99
    assert icc31(*planted(0.7, 20_000)).value == pytest.approx(0.7, abs=0.02)


def test_missing_measurements_are_left_out_and_counted():
    first, second = made(3, 30, 2, 1.0, 0).T
    holes, others = first.copy(), second.copy()
    holes[[2, 9]] = np.nan
    others[[9, 11]] = np.nan
    left = np.setdiff1d(np.arange(30), [2, 9, 11])
    found, expected = icc31(holes, others), icc31(first[left], second[left])
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert (found.n, found.dropped) == (27, 3)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([5.5] * 8, [5.5] * 8, "the same for all"),
        ([0.1 + 0.2] * 8, [0.3] * 8, "the same for all"),
        ([1, 2], [1, 2], "2 with all measurements"),
        ([], [], "0 with all measurements"),
        ([1, 2, 3, np.nan], [np.nan, 2, 3, 4], "2 with all measurements"),
    ],
)
def test_degenerate_input_says_why(first, second, reason):
    found = icc31(np.array(first, dtype=float), np.array(second, dtype=float))
    assert np.isnan([found.value, found.low, found.high]).all() and reason in found.reason and reason in str(found)


def test_what_does_not_vary_agrees_with_nothing():
    found = icc31(np.arange(10.0), np.full(10, 4.0))
    assert found.value == pytest.approx(0) and found.low < 0 < found.high


@pytest.mark.parametrize("bad", [(np.arange(5.0),), (np.arange(5.0), np.arange(4.0)), (np.zeros((3, 2)), np.zeros((3, 2)))])
def test_other_shapes_are_refused(bad):
    with pytest.raises(ValueError, match="two or more"):
        icc31(*bad)


@pytest.mark.parametrize(("value", "n", "k"), [(1.01, 30, 2), (-1.5, 30, 2), (0.5, 1, 2), (0.5, 30, 1)])
def test_there_is_no_interval_of_an_impossible_icc(value, n, k):
    with pytest.raises(ValueError, match="there is no ICC"):
        interval_of(value, n, k=k)


# --- the difference of two


def models(n, *, one, other, seed=0):
    """A base, and two models with noise of these sizes."""
    random = np.random.default_rng(seed)
    base = random.normal(5, 1.5, n)
    return base, base + random.normal(0, one, n), base + random.normal(0, other, n)


def test_a_better_model_is_told_from_a_worse_one():
    base, near, far = models(200, one=0.3, other=2.0)
    found = paired_difference(base, near, far)
    assert found.value == pytest.approx(icc31(base, near).value - icc31(base, far).value)
    assert found.low < found.value < found.high and found.clear
    back = paired_difference(base, far, near)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert paired_difference(base, near, far) == found  # seeded


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    inside = [paired_difference(*models(80, one=1.0, other=1.0, seed=seed), draws=400, seed=seed) for seed in range(100)]
    assert 0.88 <= np.mean([not found.clear for found in inside]) <= 1.0
    assert paired_difference(*models(80, one=1.0, other=1.0)).high > 0.02  # and is not just wide open, or closed
    assert paired_difference(*models(80, one=1.0, other=1.0)).high < 0.4


def test_a_model_compared_with_itself_differs_by_nothing():
    base, near, _ = models(40, one=0.5, other=1)
    found = paired_difference(base, near, near)
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12) and not found.clear


def test_only_subjects_that_all_three_have_are_compared():
    base, near, far = models(50, one=0.3, other=2.0)
    far[:10] = np.nan
    found = paired_difference(base, near, far)
    assert found.n == 40 and found == paired_difference(base[10:], near[10:], far[10:])
    nothing = paired_difference(base, np.full(50, np.nan), far)
    assert np.isnan(nothing.value) and not nothing.clear
