"""The rater's own part of a critique: what somebody weighs is found from ratings, and nothing is said from too few."""

import re

import numpy as np
import pytest
from PIL import Image

from beholder.critique.measured import critique as measured
from beholder.critique.measured import personal
from beholder.errors import BeholderError
from beholder.paths import cache_dir
from beholder.rater import Rater
from beholder.ratings import Rating, Ratings
from beholder.scale import Scale


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """40 photographs from blue to orange; returns (folder, names, warmth 0..1)."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    names, warmths = [], np.linspace(0, 1, 40)
    for number, warm in enumerate(random.permutation(warmths)):
        base = np.array([60 + 150 * warm, 110, 210 - 150 * warm])
        texture = random.normal(0, 25, (60, 80, 1)).repeat(4, 0).repeat(4, 1)
        Image.fromarray(np.clip(base + texture, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        names.append((f"{number}.png", warm))
    return folder, names


def rater_of(colours, n, *, likes):
    _, names = colours
    ratings = [Rating(name, float(np.clip(round(3 + likes * 4 * (warm - 0.5)), 1, 5))) for name, warm in names[:n]]
    return Rater(name="anna", ratings=Ratings(ratings, scale=Scale(1, 5)))


@pytest.mark.parametrize("likes", [1, -1])
def test_a_rater_who_weighs_warmth(colours, likes):
    folder, names = colours
    found, n = personal.weighs(folder / names[0][0], rater=rater_of(colours, 40, likes=likes), look_in=[folder])
    warmth = {one.attribute: one for one in found}["warmth"]
    assert n == 40
    assert np.sign(warmth.weight) == likes
    assert (warmth.percentile > 90) if likes > 0 else (warmth.percentile < 10)
    assert f"cares {'more' if likes > 0 else 'less'} for warm colours" in warmth.text
    assert warmth.section == "colour"


def test_what_cannot_be_measured_in_this_image_is_not_called_average(colours, tmp_path, monkeypatch):
    folder, _ = colours
    monkeypatch.setattr(personal, "certain", lambda model, mean, spread: [model.names.index("hue focus"), model.names.index("warmth")])
    Image.new("RGB", (64, 48), (120, 120, 120)).save(tmp_path / "grey.png")
    found, _ = personal.weighs(tmp_path / "grey.png", rater=rater_of(colours, 40, likes=1), look_in=[folder])
    texts = {one.attribute: one.text for one in found}
    assert texts["hue focus"].endswith("in this image that cannot be measured")
    assert "cannot be measured" not in texts["warmth"]


def test_the_percentile_and_the_points_are_those_of_bayes_rule(colours):
    """By brute force: the weight after the ratings, and where it lies in the distribution over raters."""
    from scipy.stats import norm

    folder, names = colours
    rater = rater_of(colours, 40, likes=1)
    model = personal.load()
    values = personal._values([str(folder / name) for name, _ in names])
    z = np.where(np.isfinite(values), (values - model.centre) / model.spread, 0)
    design = np.column_stack([np.ones(len(z)), z])
    scores = (np.array(rater.ratings.scores) - 1) / 4
    precision = np.linalg.inv(model.covariance)
    weights = np.linalg.solve(precision + design.T @ design / model.noise, precision @ model.mean + design.T @ scores / model.noise)
    found, _ = personal.weighs(folder / names[0][0], rater=rater, look_in=[folder])
    assert found
    for one in found:
        k = 1 + model.names.index(one.attribute)
        assert one.weight == pytest.approx(4 * weights[k], abs=1e-6)  # points of 1 to 5
        assert one.percentile == pytest.approx(100 * norm.cdf((weights[k] - model.mean[k]) / model.covariance[k, k] ** 0.5), abs=1e-3)
        assert one.here == pytest.approx(z[0, k - 1], abs=1e-6)


def test_ten_ratings_are_enough_and_nine_are_not(colours):
    folder, names = colours
    notes = {n: personal.view(folder / names[0][0], rater=rater_of(colours, n, likes=1), look_in=[folder]).notes for n in (9, 10)}
    assert any("is said from 10 on" in note for note in notes[9]) and not any("is said from 10 on" in note for note in notes[10])


def test_the_most_telling_for_the_image_comes_first(colours, monkeypatch):
    folder, names = colours
    monkeypatch.setattr(personal, "certain", lambda model, mean, spread: list(range(len(model.names))))
    found, _ = personal.weighs(folder / names[0][0], rater=rater_of(colours, 40, likes=1), look_in=[folder])
    telling = [abs(one.weight * one.here) for one in found]
    assert len(telling) == len(personal.NAMES) and telling == sorted(telling, reverse=True)


@pytest.mark.parametrize(
    ("percentile", "here", "said"),
    [
        (92, 1.2, "cares more for warm colours than 92 % of people (+0.30 points per standard deviation); this image has more of it than most (+1.2"),
        (8, -1.2, "cares less for warm colours than 92 % of people (+0.30 points per standard deviation); this image has less of it than most (-1.2"),
        (99.9, 1.2, "cares more for warm colours than 99 % of people"),
        (0.1, 1.2, "cares less for warm colours than 99 % of people"),
        (92, 0.3, "about average"),
        (92, None, "cannot be measured"),
    ],
)
def test_what_is_said_of_a_weight(percentile, here, said):
    assert said in personal._sentence("warmth", weight=0.3, percentile=percentile, here=here)


def test_few_ratings_say_nothing_of_weights(colours):
    folder, names = colours
    view = personal.view(folder / names[0][0], rater=rater_of(colours, 5, likes=1), look_in=[folder])
    assert view.weighs == ()
    assert any("5 ratings are known" in note for note in view.notes)
    assert 1 <= view.low <= view.score <= view.high <= 5
    assert sum(view.parts.values()) == pytest.approx(view.score, abs=0.05)


def test_a_critique_for_somebody(colours):
    folder, names = colours
    made = measured.critique(folder / names[0][0], rater=rater_of(colours, 40, likes=1), look_in=[folder])
    told = made.to_json()["personal"]
    assert told["rater"] == "anna" and told["scorer"].startswith("taste")
    assert "warmth" in [one["attribute"] for one in told["weighs"]]
    (most,) = [note for note in told["notes"] if "counts most here" in note]
    points = [abs(float(value)) for value in re.findall(r"\(([+-][\d.]+)\)", most)]
    assert len(points) == 3 and points == sorted(points, reverse=True)
    why = personal._eye(str(cache_dir())).explain(folder / names[0][0], rater=rater_of(colours, 40, likes=1), look_in=[folder])
    assert points[0] == pytest.approx(max(abs(value) for _, value in why.influences), abs=0.006)


def test_certain_names_only_what_is_far_from_the_average():
    model = personal.load()
    mean, spread = model.mean.copy(), model.covariance.copy()
    assert personal.certain(model, mean, spread) == []  # the average rater
    mean[3] += 3 * spread[3, 3] ** 0.5
    assert personal.certain(model, mean, spread) == [2]


def test_an_image_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BeholderError):
        personal.view(tmp_path / "no.png", rater=Rater())
