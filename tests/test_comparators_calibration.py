"""From native values to ratings: planted lines and curves are found, intervals hold what they promise, weights are kept and checked."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_comparators as tiny
from beholder.errors import BeholderError
from beholder.evaluation.bench import run
from beholder.rater import Rater
from beholder.scorers.comparators.base import Comparator, Measured
from beholder.scorers.comparators.calibration import Calibration, learn
from beholder.scorers.comparators.facts import Facts
from beholder.scorers.comparators.options import LargeOptions

pytestmark = pytest.mark.filterwarnings("ignore::beholder.scorers.comparators.facts.LicenceNotice")


class Planted(Comparator):
    """The native value of "7.png" is `VALUES[7]`."""

    name = "planted"
    Options = LargeOptions
    facts = Facts("a stand-in", "nothing", 0.0, 10.0, "0 to 10", "none", "nothing", "none", "none", "nobody")
    source = "planted@1"
    VALUES = np.random.default_rng(7).normal(5, 1, 400)
    SIGMA = np.zeros(400)
    asked = 0

    def measured(self, images):
        type(self).asked += 1
        places = [int(image.partition(".")[0]) for image in images]
        return Measured(self.VALUES[places], self.SIGMA[places])


def test_a_planted_line_is_found_and_a_line_is_kept():
    train = tiny.rated(Planted.VALUES[:120], raters=20)
    scorer = Planted().fit(train)
    assert scorer.calibration.kind == "linear"
    assert scorer.calibration.slope == pytest.approx(0.08, abs=0.009)  # 3 standard errors
    made = scorer.predict(["130.png", "300.png"], Rater())
    truth = 1 + 4 * (0.5 + 0.08 * (Planted.VALUES[[130, 300]] - Planted.VALUES[:120].mean()))
    np.testing.assert_allclose(made.score, truth, atol=0.06)


def test_intervals_hold_ninety_percent_of_new_ratings_of_new_images():
    def line(x):
        return 0.5 + 0.08 * (x - 5)

    train, test = tiny.rated(Planted.VALUES[:100], raters=20, curve=line), tiny.rated(Planted.VALUES, raters=10, seed=5, curve=line)
    for cover, scorer in ((1.0, Planted()), (0.9, Planted().fit(train))):
        made = scorer.predict([f"{i}.png" for i in range(100, 400)], Rater())
        rows = test.rating_image >= 100
        place, score = test.rating_image[rows] - 100, test.rating_score[rows]
        inside = np.mean((made.low[place] <= score) & (score <= made.high[place]))
        assert inside == pytest.approx(cover, abs=0.02)


def test_intervals_hold_on_new_images_even_if_a_curve_follows_its_few_closely():
    """Errors on the images that were learned from would promise too much here: 82 %."""
    inside = []
    for seed in range(30):
        draw = np.random.default_rng(seed)

        def rated(n, draw=draw):
            values = draw.uniform(3, 9, n)
            return values, np.clip(np.where(values > 6, 0.8, 0.3) + draw.normal(0, 0.1, n), 0, 1)

        values, rating = rated(24)
        found = learn(values, np.zeros(24), image=np.arange(24), rating=rating, scorer="planted")
        assert found.kind == "isotonic"
        values, rating = rated(2000)
        inside.append(np.mean(np.abs(rating - found(values)) <= found.half_width(np.zeros(2000))))
    assert 0.88 <= np.mean(inside) <= 0.96


def test_a_step_is_learned_as_a_curve_and_beats_the_line():
    values = Planted.VALUES[:150]
    train = tiny.rated(values, raters=20, curve=lambda x: np.where(x > 6, 0.8, 0.3))
    found = learn(values, np.zeros(150), image=train.rating_image, rating=train.scale.to_unit(train.rating_score), scorer="planted")
    assert found.kind == "isotonic"
    np.testing.assert_allclose(found(np.array([4.0, 5.5, 6.3, 7.0, 7.4])), [0.3, 0.3, 0.8, 0.8, 0.8], atol=0.03)
    assert (np.diff(found(np.linspace(0, 10, 200))) > 0).all()  # steps tie no images


def test_the_scorers_own_sigma_makes_intervals_wider_where_it_is_larger():
    values = Planted.VALUES
    sigma = np.where(np.arange(400) % 2, 2.5, 0.1)
    random = np.random.default_rng(1)
    image = np.repeat(np.arange(400), 20)
    rating = np.clip(0.5 + 0.08 * (values + random.normal(0, sigma) - 5)[image] + random.normal(0, 0.05, len(image)), 0, 1)
    found = learn(values, sigma, image=image, rating=rating, scorer="planted")
    unsure, sure = found.half_width(np.array([2.5, 0.1]))
    assert unsure > 1.5 * sure
    errors = np.abs(rating - found(values)[image]) <= found.half_width(sigma)[image]
    assert errors.mean() == pytest.approx(0.9, abs=0.02)


def test_a_scorer_that_runs_against_the_ratings_is_made_constant_and_says_so():
    scorer = Planted().fit(tiny.rated(Planted.VALUES[:60], slope=-0.1))
    made = scorer.predict(["1.png", "2.png", "300.png"], Rater())
    assert len(set(made.score)) == 1 and made.score[0] == pytest.approx(3.0, abs=0.1)
    assert scorer.notes() == ["planted: its values do not rise with the training ratings, so every image gets their mean"]


def test_few_images_are_refused():
    with pytest.raises(BeholderError, match=r"no fewer than 10 images, and there are 9"):
        Planted().fit(tiny.rated(Planted.VALUES[:9]))
    assert Planted().fit(tiny.rated(Planted.VALUES[:10])).calibration.kind in ("linear", "isotonic")


def test_only_rows_that_are_given_are_learned_from():
    whole = tiny.rated(Planted.VALUES[:80])
    kept = Planted().fit(whole.rows(whole.rating_image >= 40))
    alone = tiny.rated(Planted.VALUES[:80])
    poisoned = alone.rating_score.copy()
    poisoned[alone.rating_image < 40] = 5
    object.__setattr__(alone, "rating_score", poisoned)
    other = Planted().fit(alone.rows(alone.rating_image >= 40))
    assert kept.calibration.numbers() == other.calibration.numbers()
    assert kept.trained_on(["3.png", "45.png"]) == 1


def test_what_was_fitted_is_kept_and_belongs_to_its_source(tmp_path):
    for curve in (None, lambda x: np.where(x > 6, 0.8, 0.3)):
        scorer = Planted().fit(tiny.rated(Planted.VALUES[:150], curve=curve))
        folder = scorer.save_pretrained(tmp_path / str(curve is None))
        again = Planted.from_pretrained(folder)
        before, after = (one.predict(["160.png", "170.png"], Rater()) for one in (scorer, again))
        for name in ("score", "low", "high"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert before.version == after.version != Planted().version
        assert "planted" in (folder / "README.md").read_text()
    other = type("Other", (Planted,), {"source": "planted@2"})
    with pytest.raises(BeholderError, match=r"fitted to planted@1, this is planted@2"):
        other.from_pretrained(folder)
    with pytest.raises(BeholderError, match="nothing fitted to save"):
        Planted().save_pretrained(tmp_path / "none")
    assert Planted.from_pretrained(None).calibration.kind == "shipped"


def test_bench_with_fit_finds_the_level_and_covers(tmp_path):
    dataset = tiny.rated(Planted.VALUES[:60], raters=24, middle=0.3)
    rows = {}
    for fit in (False, True):
        report = run(dataset, {"planted": Planted}, shots=[0], fit=fit, seeds=(0,), with_controls=False, draws=20)
        rows[fit] = next(row for row in report.rows if row.scorer == "planted").evaluation
    assert rows[True].n_answers == rows[False].n_answers > 0
    error, coverage = ({fit: _measure(rows[fit], name) for fit in rows} for name in ("mae", "coverage"))
    assert error[True] < 0.75 * error[False]
    assert coverage[True] == pytest.approx(0.9, abs=0.05)


def _measure(evaluation, name):
    return evaluation.estimates[name].value


def test_the_shipped_line_reaches_the_ends():
    line = Calibration.shipped(-2.0, 2.0)
    np.testing.assert_allclose(line(np.array([-3.0, -2.0, 0.0, 2.0, 3.0])), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(line.half_width(np.zeros(2)), 0.3 * 1.6448536, rtol=1e-6)
