"""`linear-hidden-reduce`: attributes between features and score, and what a rater cares about against others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder.cli import explain as explain_command
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.simulate import SimulatedFeatures
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers import make, provenance
from beholder.scorers.linear_hidden import pixel_attributes
from beholder.scorers.linear_hidden.explanation import cares
from beholder.scorers.linear_hidden.options import ReduceOptions
from beholder.scorers.linear_hidden.projection import Projection, is_overall, learn_projection
from beholder.scorers.linear_hidden.reduce import LEAST_RATINGS, LinearHiddenReduceScorer
from command_line import beholder

NAMES = ("Color", "Symmetry", "Light", "Content")
N_IMAGES, N_FEATURES, N_RATERS = 150, 20, 14


def make_world(values, *, names=NAMES, images=None, with_attributes=True, seed=0):
    """Images whose features are linear in attributes `values` [n, k], and raters who care about them: the first about the first alone, the second
    about the second alone, all others a little about each. Returns (dataset, features)."""
    random = np.random.default_rng(seed)
    n, k = values.shape
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    mixed = standard @ random.normal(size=(k, N_FEATURES)) + 0.05 * random.normal(size=(n, N_FEATURES)) + 5
    images = images or [Path(f"/nowhere/{i:03d}.png") for i in range(n)]
    features = SimulatedFeatures({path.name: row.astype(np.float32) for path, row in zip(images, mixed, strict=True)}, N_FEATURES)
    weights = random.normal(0.1, 0.05, size=(N_RATERS, k))
    weights[0], weights[1] = 0, 0
    weights[0, 0] = weights[1, 1] = 0.6
    score = np.clip(3 + standard @ weights.T + 0.1 * random.normal(size=(n, N_RATERS)), 1, 5).T
    who, what = np.divmod(np.arange(N_RATERS * n), n)
    said = np.clip(5 + 2 * standard[what] + 0.3 * random.normal(size=(len(what), k)), 0, 10)
    attributes = {name: said[:, i] for i, name in enumerate(names)} | {"score": score.ravel()} if with_attributes else {}
    return (
        Dataset(
            name="planted", scale=Scale(1, 5, 0), raters=tuple(f"r{u}" for u in range(N_RATERS)), profiles=(Profile(),) * N_RATERS,
            images=tuple(images), image_ids=tuple(path.name for path in images), groups=tuple(path.name for path in images),
            rating_rater=who, rating_image=what, rating_score=score.ravel(), attributes=attributes,
            attribute_scales=dict.fromkeys(attributes, Scale(0, 10, 0)) | ({"score": Scale(1, 5, 0)} if attributes else {}),
        ),
        features,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted():
    return make_world(np.random.default_rng(3).normal(size=(N_IMAGES, len(NAMES))))


@pytest.fixture(scope="module")
def trained(planted):
    dataset, features = planted
    return LinearHiddenReduceScorer(features=features).fit(others(dataset))


def others(dataset):
    return dataset.rows(dataset.rating_rater >= 2)


def person(dataset, rater, n=None, *, scale=None):
    rows = np.flatnonzero(dataset.rating_rater == rater)[:n]
    ratings = Ratings([(str(dataset.images[dataset.rating_image[row]]), dataset.rating_score[row]) for row in rows], scale=dataset.scale)
    return Rater(name=dataset.raters[rater], ratings=ratings.to_scale(scale) if scale else ratings)


def paths(dataset):
    return [str(path) for path in dataset.images]


def test_equals_the_two_regressions_in_scikit_learn(planted, trained):
    dataset, features = planted
    table, n = features(dataset.images).astype(np.float64), len(dataset.images)
    known = others(dataset)
    means = [np.bincount(known.rating_image, known.attributes[name] / 10, minlength=n) / 12 for name in NAMES]
    alphas = np.logspace(-3, 3, 13)
    projection = make_pipeline(StandardScaler(), RidgeCV(alphas)).fit(table, np.column_stack(means))
    rater = person(dataset, 0, 40)
    own = make_pipeline(StandardScaler(), RidgeCV(alphas)).fit(projection.predict(table[:40]), rater.ratings.scores)
    expected = np.clip(own.predict(projection.predict(table)), 1, 5)
    assert np.abs(trained.predict(paths(dataset), rater).score - expected).max() < 1e-4  # the projection is kept as float32
    assert trained.projection.attributes == NAMES  # the overall score is none


def test_few_numbers_are_enough_where_taste_is_about_attributes(planted, trained):
    dataset, _ = planted
    few, rest = person(dataset, 1, 25), person(dataset, 1).ratings[25:]
    score = trained.predict(rest.images, few).score
    assert np.corrcoef(score, rest.scores)[0, 1] > 0.95


def test_raters_together_equal_each_alone(planted, trained):
    dataset, _ = planted
    images = paths(dataset)
    requests = [(images[u : u + 30], person(dataset, u % 4, n)) for u, n in enumerate((0, 1, 2, 10, 10, 100))]
    for (asked, rater), together in zip(requests, trained.predict_many(requests), strict=True):
        assert np.abs(together.score - trained.predict(asked, rater).score).max() < 1e-9
        assert np.all(together.low <= together.score) and np.all(together.score <= together.high)


def test_what_two_raters_care_about_is_found(planted, trained):
    dataset, _ = planted
    image = paths(dataset)[7]
    for rater, attribute in ((0, "Color"), (1, "Symmetry")):
        told = trained.explain(image, person(dataset, rater, 100)).cares
        assert told[0].attribute == attribute and {one.attribute for one in told} == set(NAMES)
        first, rest = told[0], told[1:]
        assert first.weight == pytest.approx(0.6, abs=0.08) and first.percentile == 100
        assert first.others_mean == pytest.approx(0.1, abs=0.05) and 0.02 < first.others_spread < 0.1
        assert all(abs(one.weight) < 0.08 for one in rest)


def test_parts_sum_to_the_score_on_any_scale(planted, trained):
    dataset, _ = planted
    for scale in (None, Scale(0, 100, 0)):
        rater = person(dataset, 0, 60, scale=scale)
        for image in paths(dataset)[:40:10]:
            why, prediction = trained.explain(image, rater), trained.predict([image], rater)
            assert list(why.parts) == ["base", *(f"attribute {name}" for name in NAMES)]
            assert np.clip(sum(why.parts.values()), rater.scale.low, rater.scale.high) == pytest.approx(
                why.score, abs=1e-9 * rater.scale.width
            )
            assert (why.score, why.low, why.high) == (prediction.score[0], prediction.low[0], prediction.high[0])
        assert why.cares[0].weight == pytest.approx(0.6 * rater.scale.width / 4, rel=0.15)
        assert why.cares[0].others_mean == pytest.approx(0.1 * rater.scale.width / 4, rel=0.4)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_or_constant_ratings(planted, trained, n):
    dataset, _ = planted
    images, mean = paths(dataset), others(dataset).rating_score.mean()
    rater = person(dataset, 0, n)
    predictions = trained.predict(images, rater)
    assert np.isfinite(predictions.score).all() and np.all(predictions.low < predictions.high)
    if n == 0:
        assert np.allclose(predictions.score, mean)
        wide = trained.predict(images[:3], Rater(ratings=Ratings(scale=Scale(0, 10))))
        assert np.allclose(wide.score, 2.5 * (mean - 1))
    if n == 1:
        assert np.allclose(predictions.score, rater.ratings.scores[0])
    why = trained.explain(images[3], rater)
    assert sum(why.parts.values()) == pytest.approx(why.score) and bool(why.cares) == bool(n)
    constant = trained.predict(images, Rater(ratings=Ratings([(image, 4) for image in images[:20]])))
    assert np.allclose(constant.score, 4) and np.all(constant.low <= 4) and np.all(constant.high >= 4)


def test_raters_with_few_ratings_are_not_compared_with(planted):
    dataset, features = planted
    first = np.concatenate([np.flatnonzero(dataset.rating_rater == u)[: LEAST_RATINGS - (u % 2)] for u in range(2, N_RATERS)])
    scorer = LinearHiddenReduceScorer(features=features).fit(dataset.rows(first))
    assert scorer.weights.shape == (6, 4)  # those with one rating less are left out
    nobody = LinearHiddenReduceScorer(features=features).fit(dataset.rows(first[dataset.rating_rater[first] % 2 == 1]))
    told = nobody.explain(paths(dataset)[0], person(dataset, 0, 50)).cares
    assert nobody.weights.shape == (0, 4) and told[0].attribute == "Color" and told[0].percentile is None and told[0].others_mean is None


def test_kept_and_read_again(planted, trained, tmp_path):
    dataset, features = planted
    trained.save_pretrained(tmp_path)
    again = make("linear-hidden-reduce", features=features, weights=tmp_path)
    image, rater = paths(dataset)[4], person(dataset, 1, 50)
    assert again.explain(image, rater) == trained.explain(image, rater)
    assert again.version == trained.version and again.notes() == trained.notes() and again.trained_on([image]) == 1
    weights = again.weights
    assert np.all(np.diff(weights, axis=0) >= 0)  # nobody's own can be told
    moved = SimulatedFeatures(features.table, features.dim, key="other")
    with pytest.raises(BeholderError, match="trained on features simulated, these are other"):
        make("linear-hidden-reduce", features=moved, weights=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"source": "hearsay"}))
    with pytest.raises(BeholderError, match="damaged"):
        make("linear-hidden-reduce", features=features, weights=tmp_path)


def test_a_given_projection_is_used_as_it_is(planted, tmp_path):
    dataset, features = planted
    table = features(dataset.images)
    known = {"ColorHarmony": table[:, 0] - table[:, 3], "overall": table[:, 1], "Sym": table[:, 2] * 2.0}
    given = learn_projection(table, known, feature_key=features.key, source="a probe")
    assert given.attributes == ("ColorHarmony", "Sym")
    given.save(tmp_path / "p")
    name = f"linear-hidden-reduce[projection={tmp_path / 'p'}]"
    scorer, rater, images = make(name, features=features), person(dataset, 0, 60), paths(dataset)
    assert np.allclose(scorer.projection(table)[:, 1], known["Sym"], atol=1e-2)
    assert scorer.version == f"1+probe+{given.identity}" and str(tmp_path / "p") in scorer.notes()[0]
    why = scorer.explain(images[9], rater)  # no other raters are known, but what this one cares about is
    assert list(why.parts) == ["base", "attribute ColorHarmony", "attribute Sym"] and why.cares[0].percentile is None
    middle = scorer.predict(images[:2], Rater(ratings=Ratings(scale=Scale(0, 10))))
    assert middle.score.tolist() == [5, 5] and middle.high.tolist() == [10, 10]
    fitted = make(name, features=features).fit(others(dataset))
    assert fitted.source == "probe" and fitted.projection.identity == given.identity and len(fitted.weights) == 12
    assert np.array_equal(fitted.predict(images, rater).score, scorer.predict(images, rater).score)
    fitted.save_pretrained(tmp_path / "w")
    assert make(name, features=features, weights=tmp_path / "w").version == fitted.version
    other = learn_projection(table, {"Sym": known["Sym"]}, feature_key=features.key, source="a probe").save(tmp_path / "q")
    with pytest.raises(BeholderError, match="with another projection"):
        make(f"linear-hidden-reduce[projection={other}]", features=features, weights=tmp_path / "w")


def test_a_projection_that_does_not_suit_is_refused(planted, trained, tmp_path):
    _, features = planted
    with pytest.raises(BeholderError, match=r"holds no projection.*beholder probe"):
        LinearHiddenReduceScorer(features=features, options=ReduceOptions(projection=str(tmp_path)))
    Projection(("a",), np.ones((1, N_FEATURES)), np.zeros(1), "another model").save(tmp_path / "p")
    with pytest.raises(BeholderError, match="from features another model, these are simulated"):
        LinearHiddenReduceScorer(features=features, options=ReduceOptions(projection=str(tmp_path / "p")))
    trained.save_pretrained(tmp_path / "w")
    with pytest.raises(BeholderError, match="not 'projection'"):
        Projection.load(tmp_path / "w")
    (tmp_path / "p" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(BeholderError, match="cannot be read"):
        Projection.load(tmp_path / "p")


def test_projections_come_back_as_they_were_kept(tmp_path):
    random = np.random.default_rng(0)
    scores = {"ColorHarmony test rho": 0.61}
    before = Projection(
        ("ColorHarmony", "DoF"), random.normal(size=(2, 5)), random.normal(size=2), "k", layer="LT15", prompt="base", scores=scores
    )
    after = Projection.load(before.save(tmp_path))
    x = random.normal(size=(4, 5))
    assert np.array_equal(after(x), before(x)) and np.allclose(before(x), x @ before.coef.T + before.intercept)
    assert (after.attributes, after.feature_key, after.layer, after.prompt, after.scores) == (
        before.attributes,
        "k",
        "LT15",
        "base",
        scores,
    )
    with pytest.raises(ValueError, match="do not go with"):
        Projection(("a",), np.zeros((2, 5)), np.zeros(2), "k")


def test_without_attributes_there_is_one_sentence(planted):
    dataset, features = planted
    scorer = make("linear-hidden-reduce", features=features)
    with pytest.raises(BeholderError, match=r"has no attributes yet.*projection=DIR.*--weights.*--fit"):
        scorer.predict(paths(dataset), person(dataset, 0, 5))
    with pytest.raises(BeholderError, match="nothing trained to save"):
        scorer.save_pretrained("/nowhere")
    bare, features = make_world(np.random.default_rng(3).normal(size=(30, 4)), with_attributes=False)
    with pytest.raises(BeholderError, match=r"has no attributes, and its images cannot be measured"):
        LinearHiddenReduceScorer(features=features).fit(bare)


def test_attributes_with_gaps():
    table = np.random.default_rng(0).normal(size=(20, 6))
    values = {
        "full": table[:, 0].copy(),
        "gappy": table[:, 1].copy(),
        "rare": table[:, 2].copy(),
        "constant": np.ones(20),
        "Overall score": table[:, 3],
    }
    values["gappy"][:5] = np.nan
    values["rare"][:15] = np.nan
    found = learn_projection(table, values, feature_key="k", source="a test")
    assert found.attributes == ("full", "gappy")
    assert np.abs(found(table)[:, 1] - table[:, 1]).max() < 0.01  # also where it is not known
    with pytest.raises(BeholderError, match="a test gives 0 attributes"):
        learn_projection(table, {"score": table[:, 0]}, feature_key="k", source="a test")
    assert is_overall("Aesthetic_Score") and not is_overall("Symmetry") and not is_overall("quality")


def picture(random, *, colour, symmetry):
    """[64, 80, 3] uint8: blocks of random gray, mirrored to a share, with color added to a share."""
    blocks = random.random((8, 10))
    mirrored = (blocks + blocks[:, ::-1]) / 2
    light = symmetry * mirrored + (1 - symmetry) * blocks
    tint = random.random((8, 10, 3)) - 0.5
    tint = symmetry * (tint + tint[:, ::-1]) / 2 + (1 - symmetry) * tint
    rgb = 0.25 + 0.5 * light[..., None] + 0.5 * colour * tint
    return (np.clip(np.kron(rgb, np.ones((8, 8, 1))), 0, 1) * 255).astype(np.uint8)


def test_pixels_are_measured_as_they_are_named():
    flat = np.full((40, 60, 3), 128, dtype=np.uint8)
    gray = dict(zip(pixel_attributes.NAMES, pixel_attributes.measure(flat), strict=True))
    assert gray["Brightness"] == pytest.approx(128 / 255) and gray["Symmetry"] == 1 and gray["Simplicity"] == 1
    assert [gray[name] for name in ("Contrast", "Colourfulness", "Saturation", "Warmth")] == pytest.approx([0] * 4, abs=1e-9)
    red = dict(zip(pixel_attributes.NAMES, pixel_attributes.measure(np.full((9, 9, 3), (255, 0, 0), dtype=np.uint8)), strict=True))
    assert red["Warmth"] == red["Saturation"] == 1 and red["Colourfulness"] == pytest.approx(2.55 * 0.3 * np.hypot(1, 0.5))
    slope = np.repeat(np.tile(np.arange(60, dtype=np.uint8)[None, :, None] * 4, (40, 1, 1)), 3, axis=2)
    ramp = dict(zip(pixel_attributes.NAMES, pixel_attributes.measure(slope), strict=True))
    assert ramp["Symmetry"] == pytest.approx(-1) and ramp["Simplicity"] == 1
    noise = np.random.default_rng(0).integers(0, 256, size=(40, 60, 3)).astype(np.uint8)
    rough = dict(zip(pixel_attributes.NAMES, pixel_attributes.measure(noise), strict=True))
    assert rough["Sharpness"] > ramp["Sharpness"] > gray["Sharpness"] and rough["Simplicity"] < 0.3 and abs(rough["Symmetry"]) < 0.15
    assert np.isfinite(pixel_attributes.measure(flat[:1, :1])).all()


def test_measured_attributes_stand_in_and_say_so(tmp_path):
    random, images, steps = np.random.default_rng(1), [], []
    for i in range(90):
        images.append(tmp_path / f"{i:03d}.png")
        Image.fromarray(picture(random, colour=random.random(), symmetry=random.random())).save(images[-1])
    measured = pixel_attributes.measure_all([str(image) for image in images])
    values = np.column_stack([measured["Colourfulness"], measured["Symmetry"], measured["Brightness"]])
    dataset, features = make_world(values, names=("x", "y", "z"), images=images, with_attributes=False)
    scorer = LinearHiddenReduceScorer(features=features).fit(others(dataset), progress=lambda *step: steps.append(step))
    assert (
        scorer.source == "pixels"
        and scorer.version.startswith("1+pixels+")
        and "measured from the pixels, as planted has none" in scorer.notes()[0]
    )
    assert scorer.projection.attributes == pixel_attributes.NAMES and steps[0] == (0, 90, "measuring attributes of the pixels")
    seen = scorer.projection(features(dataset.images))
    for k, name in enumerate(pixel_attributes.NAMES):
        if name in ("Colourfulness", "Symmetry", "Brightness"):
            assert np.corrcoef(seen[:, k], measured[name])[0, 1] > 0.95
    symmetric = scorer.explain(str(images[0]), person(dataset, 1, 80)).cares
    assert symmetric[0].attribute == "Symmetry" and symmetric[0].weight > 0.3 and symmetric[0].percentile == 100
    colour = {one.attribute: one for one in scorer.explain(str(images[0]), person(dataset, 0, 80)).cares}
    assert colour["Colourfulness"].percentile == 100 and abs(colour["Symmetry"].weight) < 0.2 < colour["Colourfulness"].weight


def test_cares_count_ties_half():
    told = cares(("a", "b"), np.array([1.0, 0.0]), np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    assert {one.attribute: one.percentile for one in told} == {"a": 50.0, "b": 50.0}


def test_the_table_on_the_terminal(planted, trained, capsys):
    dataset, _ = planted
    listed = [vars(one) for one in trained.explain(paths(dataset)[7], person(dataset, 0, 100)).cares]
    explain_command._show_cares([explain_command._rounded(one) for one in listed])
    lines = capsys.readouterr().out.splitlines()
    assert "what this rater cares about, against others" in lines[0]
    assert lines[1].split() == ["weight", "others", "spread", "pct", "attribute"]
    assert lines[2].split()[-2:] == ["100", "Color"] and lines[2].strip().startswith("+0.") and len(lines) == 7
    assert "- = likes less of it" in lines[0] and "smaller weight" in lines[-1]
    explain_command._show_cares([{"attribute": "Color", "weight": 0.5, "others_mean": None, "others_spread": None, "percentile": None}])
    assert capsys.readouterr().out.splitlines()[1].split() == ["weight", "attribute"]


def test_trained_and_explained_on_the_command_line(tmp_path):
    random, lines, ratings = np.random.default_rng(2), ["rater,image,score"], ["image,score"]
    (tmp_path / "data" / "images").mkdir(parents=True)
    for i in range(24):
        colour = random.random()
        Image.fromarray(picture(random, colour=colour, symmetry=0.0)).save(tmp_path / "data" / "images" / f"{i:02d}.png")
        lines += [f"r{u},{i:02d}.png,{random.integers(1, 6)}" for u in range(3)]
        ratings.append(f"{tmp_path}/data/images/{i:02d}.png,{1 + 4 * colour:.2f}")
    (tmp_path / "data" / "ratings.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.csv").write_text("\n".join(ratings) + "\n")
    out = tmp_path / "weights"
    made = beholder("train", "linear-hidden-reduce", "--data", tmp_path / "data", "--out", out, "--json")
    assert made.exit_code == 0, made.stderr
    asked = [
        "explain",
        tmp_path / "data" / "images" / "03.png",
        "--ratings",
        tmp_path / "mine.csv",
        "--scorer",
        "linear-hidden-reduce",
        "--weights",
        out,
    ]
    told = beholder(*asked, "--json")
    assert told.exit_code == 0, told.stderr
    why = json.loads(told.stdout)
    assert why["version"] == json.loads(made.stdout)["version"]
    assert {one["attribute"] for one in why["cares"]} == set(pixel_attributes.NAMES) and all(
        one["others_mean"] is not None for one in why["cares"]
    )
    assert np.clip(sum(why["parts"].values()), 1, 5) == pytest.approx(why["score"], abs=1e-3)
    text = beholder(*asked).stdout
    assert "what this rater gives an average image" in text and "against others" in text and "attribute Colourfulness" in text
    bare = beholder("rank", tmp_path / "data" / "images", "--ratings", tmp_path / "mine.csv", "--scorer", "linear-hidden-reduce")
    assert bare.exit_code == 2 and "has no attributes yet" in bare.stderr


def test_a_rater_of_few_ratings_is_not_set_against_others(planted, trained):
    dataset, _ = planted
    image = paths(dataset)[60]
    few, enough = (trained.explain(image, person(dataset, 0, n)).cares for n in (LEAST_RATINGS - 1, LEAST_RATINGS))
    assert all(one.percentile is None and one.others_mean is None for one in few) and few[0].attribute == "Color"
    assert all(one.percentile is not None for one in enough)


def test_a_projection_says_which_images_it_knows(planted, tmp_path):
    dataset, features = planted
    table, images = features(dataset.images), paths(dataset)
    made = learn_projection(table, {"Sym": table[:, 2]}, feature_key=features.key, source="a test")
    assert made.trained_on(images) == 0
    replace(made, seen=provenance.fingerprints(images[:30])).save(tmp_path / "p")
    scorer = make(f"linear-hidden-reduce[projection={tmp_path / 'p'}]", features=features)
    (known,) = scorer.frozen_models()
    assert known.trained_on(images[20:60]) == 10 and known.identity == made.identity and known.identity in known.name
    later = dataset.rows(dataset.rating_image >= 100)
    scorer.fit(later).save_pretrained(tmp_path / "w")
    again = make("linear-hidden-reduce", features=features, weights=tmp_path / "w")
    assert again.trained_on(images) == 30 + 50 and scorer.trained_on(images) == 50
