"""The bench from end to end on simulated raters, with small scorers written here."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from beholder.errors import BeholderError, MissingExtra
from beholder.evaluation import bench, controls, plots, protocols
from beholder.evaluation.answering import answers_of, ask, asked_of, dataset_key
from beholder.evaluation.metrics import METRICS, evaluate
from beholder.evaluation.simulate import mixed, nothing_shared, one_taste, simulate
from beholder.evaluation.split_file import SplitFile
from beholder.prediction import Predictions
from beholder.scale import Scale
from beholder.scorers.base import Scorer


class Linear(Scorer):
    """Shared ridge regression, and one more on the rater's residuals."""

    name, version = "linear", "1"

    def __init__(self, features, *, personal=True, profile=0.0):
        self.features, self.profile = features, profile
        self.uses_ratings, self.uses_profile = personal, bool(profile)
        self.calls = []
        self.weights, self.mean, self.spread = np.zeros(features.dim), 3.0, 1.0

    def fit(self, train, *, progress=None):
        assert not len(train.choice_rater)
        self.trained_raters, self.trained_images = set(train.used_raters), set(train.used_images)
        x = self.features([str(train.images[image]) for image in train.rating_image])
        self.mean, self.spread = train.rating_score.mean(), train.rating_score.std()
        self.weights = np.linalg.solve(x.T @ x + 5 * np.eye(x.shape[1]), x.T @ (train.rating_score - self.mean))
        return self

    def predict(self, images, rater):
        self.calls.append((rater.name, len(rater.ratings), len(rater.choices)))
        x = self.features(images).astype(float)
        score = self.mean + x @ self.weights
        if self.uses_ratings and len(rater.ratings):
            z = self.features(rater.ratings.images).astype(float)
            rest = rater.ratings.scores - self.mean - z @ self.weights
            shift = rest.sum() / (len(rest) + 2)
            score = score + shift + x @ np.linalg.solve(z.T @ z + 5 * np.eye(z.shape[1]), z.T @ (rest - shift))
        if self.uses_ratings and len(rater.choices):
            gaps = self.features([c.chosen for c in rater.choices]) - self.features([c.other for c in rater.choices])
            score = score + x @ np.linalg.solve(gaps.T @ gaps + 5 * np.eye(x.shape[1]), gaps.sum(axis=0))
        if self.uses_profile:
            score = score + self.profile * (rater.profile.openness - 5.5) * x[:, 0]
        return Predictions(tuple(images), score, score - self.spread, score + self.spread, rater.scale, self.name, self.version)


class Middle(Scorer):
    name, uses_ratings = "middle", False

    def fit(self, train, *, progress=None):
        return self

    def predict(self, images, rater):
        n = len(images)
        low, middle, high = (np.full(n, value) for value in (rater.scale.low, rater.scale.middle, rater.scale.high))
        return Predictions(tuple(images), middle, low, high, rater.scale, self.name, self.version)


@pytest.fixture(scope="module")
def world():
    return simulate(mixed(n_raters=20, n_images=48, ratings_per_rater=40, profile_effect=0.9, seed=2))


def makers(world, **more):
    return {"linear": lambda: Linear(world.features), "middle": Middle, **more}


def same(one, other):
    assert json.dumps(one.summary()) == json.dumps(other.summary())
    assert one.predictions.keys() == other.predictions.keys()
    for key, parts in one.predictions.items():
        for ours, theirs in zip(parts, other.predictions[key], strict=True):
            np.testing.assert_array_equal(ours.score, theirs.score)


def test_from_end_to_end(world, tmp_path):
    steps = []
    report = bench.run(
        world.dataset,
        makers(world),
        shots=(20, 0, 5),
        fit=True,
        seeds=(0, 1),
        out=tmp_path,
        draws=100,
        progress=lambda *step: steps.append(step),
    )
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert report.shots == (0, 5, 20)
    none, many = (report.estimate("linear", shots=n, metric="personal_r").value for n in (0, 20))
    assert none == 0 and many > 0.3
    assert report.estimate("linear", shots=20).value > report.estimate("linear", shots=0).value
    middle = report.estimate("middle", shots=5)
    assert (middle.value, middle.n_undefined) == (0, 40)
    assert report.estimate("middle", shots=0, metric="coverage").value == 1
    with pytest.raises(BeholderError, match="no srocc of 'best'"):
        report.estimate("best", shots=0)

    paths = report.write(tmp_path / "out")
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.md", "per_rater.csv"]
    summary = json.loads(paths[0].read_text())
    assert summary["seeds"] == [0, 1] and summary["fitted"] is True and summary["test_raters"] == 20
    assert {row["metric"] for row in summary["results"]} == set(METRICS) - {"choice_accuracy"}
    assert "new-rater-new-image" in summary["protocol"]
    gaps = [
        gap
        for gap in summary["differences"]
        if (gap["scorer"], gap["minus"], gap["metric"], gap["shots"]) == ("middle", "linear", "srocc", 20)
    ]
    assert len(gaps) == 1 and gaps[0]["high"] < 0
    rows = list(csv.DictReader(paths[1].open()))
    assert len(rows) == len(summary["results"]) and rows[0]["scorer"] == "linear"
    page = paths[2].read_text()
    for text in (
        "## SROCC",
        "## MAE",
        "| linear |",
        "| control: image mean (oracle) |",
        "| control: linear, shuffled images |",
        "*u 40*",
        "N = 20",
        "seeds 0, 1",
    ):
        assert text in page
    assert len(list(csv.DictReader(paths[3].open()))) == len(report.rows) * 20


def test_training_and_support_are_those_of_the_fold(world):
    made = []

    def make():
        made.append(Linear(world.features))
        return made[-1]

    protocol = protocols.get("new-rater-new-image")
    bench.run(world.dataset, {"linear": make}, protocol=protocol, shots=(0, 3), fit=True, draws=10)
    folds = protocol.folds(world.dataset)
    assert len(made) == len(folds)
    for scorer, fold in zip(made, folds, strict=True):
        assert scorer.trained_raters == set(world.dataset.rating_rater[fold.train_rows])
        asked = asked_of(world.dataset, fold)
        assert not scorer.trained_raters & set(asked.rater) and not scorer.trained_images & set(asked.image)
        assert {(name, n) for name, n, _ in scorer.calls} == {(world.dataset.raters[rater], n) for rater in fold.raters for n in (0, 3)}


def test_as_shipped_means_one_scorer_and_no_training(world):
    made = []

    def make():
        made.append(Linear(world.features))
        made[-1].fit = None
        made[-1].trained_on = lambda images: len(images) // 4
        return made[-1]

    report = bench.run(world.dataset, {"linear": make}, shots=(0,), draws=10)
    assert len(made) == 1
    assert report.warnings == ("12 of 48 query images were in the training data of linear",)
    assert "**Warning: 12 of 48 query images were in the training data of linear.**" in report.markdown()


@pytest.mark.parametrize("fit", [True, False])
def test_a_model_that_knows_the_query_images_is_named(world, fit):
    class Knows:
        name = "well-read"

        def trained_on(self, images):
            return 3

    scorer = Linear(world.features)
    scorer.frozen_models = lambda: [Knows(), object()]
    report = bench.run(world.dataset, {"linear": lambda: scorer}, shots=(0,), fit=fit, with_controls=False, draws=10)
    assert report.warnings == ("3 of 48 query images were in the training data of well-read, which linear reads",)


def test_an_interrupted_bench_goes_on(world, tmp_path):
    options = {"shots": (0, 5), "fit": True, "draws": 50}
    whole = bench.run(world.dataset, makers(world), **options)
    made = []

    class Interrupt(Exception):
        pass

    def interrupt(done, total, what):
        if done == 7:
            raise Interrupt

    def make():
        made.append(Linear(world.features))
        return made[-1]

    with pytest.raises(Interrupt):
        bench.run(world.dataset, makers(world, linear=make), out=tmp_path, progress=interrupt, **options)
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 7 and not list(tmp_path.rglob("*.partial"))
    kept[0].write_bytes(kept[0].read_bytes()[:50])  # and one file is cut short
    made.clear()
    same(bench.run(world.dataset, makers(world, linear=make), out=tmp_path, **options), whole)
    assert sum(bool(scorer.calls) for scorer in made) == 3  # the cut one and the two folds not done
    made.clear()
    same(bench.run(world.dataset, makers(world, linear=make), out=tmp_path, **options), whole)
    assert not any(scorer.calls for scorer in made)
    bench.run(world.dataset, makers(world, linear=make), out=tmp_path, resume=False, **options)
    assert sum(bool(scorer.calls) for scorer in made) == 5


def test_what_is_kept_is_for_the_same_version_data_and_split_only(world, tmp_path):
    def calls(dataset=world.dataset, version="1", **options):
        scorer = Linear(world.features)
        scorer.version = version
        bench.run(dataset, {"linear": lambda: scorer}, shots=(0,), out=tmp_path, draws=10, with_controls=False, **options)
        return len(scorer.calls)

    assert calls() > 0
    assert calls() == 0
    assert calls(version="2") > 0
    assert calls(seeds=(1,)) > 0
    assert calls(protocol="new-rater") > 0
    other = world.dataset.rows(np.arange(len(world.dataset.rating_score)) > 0)
    assert dataset_key(other) != dataset_key(world.dataset)
    assert calls(dataset=other) > 0


def test_scorers_that_ignore_ratings_are_asked_once(world):
    scorer = Linear(world.features, personal=False)
    report = bench.run(world.dataset, {"linear": lambda: scorer}, shots=(0, 5, 10), draws=10)
    assert len(scorer.calls) == 20
    assert len({report.estimate("linear", shots=n).value for n in (0, 5, 10)}) == 1


def test_controls_are_there_and_say_what_they_should(world):
    scorers = {"knows": lambda: Linear(world.features, profile=0.2), "middle": Middle}
    report = bench.run(world.dataset, scorers, shots=(0, 20), fit=True, draws=50)
    names = {(row.scorer, row.control_of, row.oracle) for row in report.rows if row.control_of}
    assert names == {
        ("knows, shuffled profiles", "knows", False),
        ("knows, shuffled images", "knows", False),
        ("middle, shuffled images", "middle", False),
        ("rater mean", "*", False),
        ("image mean", "*", True),
    }
    assert abs(report.estimate("knows, shuffled images", shots=20).value) < 0.2
    assert (
        report.estimate("knows, shuffled images", shots=20, metric="coverage").value
        < report.estimate("knows", shots=20, metric="coverage").value
    )
    constant = report.estimate("rater mean", shots=20)
    assert (constant.value, constant.n_undefined) == (0, 20)
    assert 0.8 < report.estimate("rater mean", shots=20, metric="coverage").value <= 1
    assert report.estimate("image mean", shots=0).value > 0.4
    assert not any(row.control_of for row in bench.run(world.dataset, scorers, shots=(0,), draws=10, with_controls=False).rows)


def test_the_rater_mean_learns_how_severe_a_rater_is():
    harsh = simulate(one_taste(n_raters=30, severity=0.25, seed=1)).dataset
    report = bench.run(harsh, {"middle": Middle}, shots=(0, 20), draws=10)
    at = {n: report.estimate("rater mean", shots=n, metric="mae").value for n in (0, 20)}
    assert at[20] < 0.85 * at[0]
    assert report.estimate("rater mean", shots=20, metric="personal_r_rater_means_kept").value > 0.5


def test_image_mean_is_the_mean_of_raters_that_are_not_tested(world):
    data = world.dataset
    for name, expect_oracle in (("new-rater-new-image", True), ("new-rater", False), ("new-image", True)):
        fold = protocols.get(name).folds(data)[0]
        asked = asked_of(data, fold)
        answered, oracle = controls.image_mean(data, fold, asked)
        assert oracle == expect_oracle
        for rater, image, score in list(zip(asked.rater, asked.image, answered.score, strict=True))[::5]:
            others = data.rating_rater != rater if name == "new-image" else ~np.isin(data.rating_rater, fold.raters)
            assert score == pytest.approx(data.rating_score[others & (data.rating_image == image)].mean())


def test_shuffled_profiles_leave_nobody_their_own(world):
    fold = protocols.get("new-rater").folds(world.dataset)[0]
    numbered = {rater: world.dataset.profiles[rater] for rater in fold.raters}
    other = controls.other_profiles(world.dataset, fold, seed=0)
    assert sorted(map(id, other.values())) == sorted(map(id, numbered.values()))
    assert all(other[rater] is not numbered[rater] for rater in fold.raters)


def test_predictions_file(world, tmp_path):
    one = {"linear": makers(world)["linear"]}
    report = bench.run(world.dataset, one, shots=(0, 5), fit=True, draws=10)
    report.write_predictions(tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert list(rows[0]) == ["rater", "image", "shots", "score", "low", "high"]
    assert len({(row["rater"], row["image"], row["shots"]) for row in rows}) == len(rows)
    truth = {
        (world.dataset.raters[r], world.dataset.image_ids[i]): s
        for r, i, s in zip(world.dataset.rating_rater, world.dataset.rating_image, world.dataset.rating_score, strict=True)
    }
    errors = {}
    for row in rows:
        if row["shots"] == "5":
            errors.setdefault(row["rater"], []).append(abs(float(row["score"]) - truth[row["rater"], row["image"]]))
    assert np.mean([np.mean(values) for values in errors.values()]) == pytest.approx(
        report.estimate("linear", shots=5, metric="mae").value, abs=1e-5
    )
    bench.run(world.dataset, makers(world), shots=(0,), seeds=(0, 1), draws=10).write_predictions(tmp_path / "q.csv")
    assert next(csv.reader((tmp_path / "q.csv").open())) == ["rater", "image", "shots", "score", "low", "high", "scorer", "seed"]


def test_choices_are_evidence_and_are_predicted(world):
    report = bench.run(world.dataset, makers(world), protocol="choices", shots=(0, 50), fit=True, draws=50)
    assert report.estimate("middle", shots=50, metric="choice_accuracy").value == 0.5
    none, many = (report.estimate("linear", shots=n, metric="choice_accuracy").value for n in (0, 50))
    assert many > none > 0.5
    assert "## choice accuracy" in report.markdown()


def test_split_file_with_and_without_training(world, tmp_path):
    data = world.dataset
    path = tmp_path / "split.csv"
    lines = [
        f"{data.raters[r]},{data.image_ids[i]},{'train' if r > 2 else 'query' if i < 12 else 'support'}"
        for r, i in zip(data.rating_rater, data.rating_image, strict=True)
    ]
    path.write_text("rater,image,role\n" + "\n".join(lines))
    report = bench.run(data, makers(world), protocol=SplitFile(path), shots=(0, 10), fit=True, draws=50)
    assert {len(row.evaluation.raters) for row in report.rows} == {3}
    assert any("query images are of a group that is in training" in note for note in report.notes)
    assert any(row.scorer == "image mean" and not row.oracle for row in report.rows)
    path.write_text("rater,image,role\n" + "\n".join(line for line in lines if "train" not in line))
    assert bench.run(data, makers(world), protocol=SplitFile(path), shots=(0,), draws=50).estimate("middle", shots=0).value == 0
    with pytest.raises(BeholderError, match="no training ratings, so --fit has nothing to learn from"):
        bench.run(data, makers(world), protocol=SplitFile(path), shots=(0,), fit=True)


def test_notes_tell_of_short_support_and_untested_raters(world):
    report = bench.run(world.dataset, {"middle": Middle}, protocol=protocols.get("new-rater", max_raters=1), shots=(0, 1000), draws=10)
    assert "1000-shot: 5 of 5 tests have less support than that; all there is is given" in report.notes
    assert any("15 of 20 raters are never tested" in note for note in report.notes)


@pytest.mark.parametrize("options", [{"scorers": {}}, {"shots": ()}, {"shots": (-1,)}])
def test_a_bench_of_nothing_is_refused(world, options):
    with pytest.raises(BeholderError, match="a bench needs"):
        bench.run(world.dataset, options.pop("scorers", {"middle": Middle}), **options)


def test_a_scorer_that_answers_on_another_scale_is_refused(world):
    class Wrong(Middle):
        def predict(self, images, rater):
            zeros = np.zeros(len(images))
            return Predictions(tuple(images), zeros, zeros, zeros, Scale(0, 100, 0), "wrong", "0")

    with pytest.raises(BeholderError, match="predictions on 0-100/0 for"):
        bench.run(world.dataset, {"wrong": Wrong}, shots=(0,), draws=10)


def test_undefined_intervals_become_null_and_empty(world, tmp_path):
    class Bare(Middle):
        def predict(self, images, rater):
            given = super().predict(images, rater)
            nothing = np.full(len(images), np.nan)
            return Predictions(given.images, given.score, nothing, nothing, rater.scale, "bare", "0")

    report = bench.run(world.dataset, {"bare": Bare}, shots=(0,), draws=10)
    with pytest.raises(BeholderError, match="no coverage of 'bare'"):
        report.estimate("bare", shots=0, metric="coverage")
    report.write(tmp_path)
    assert "NaN" not in (tmp_path / "report.json").read_text()


def test_bench_and_direct_evaluation_agree(world):
    fold = protocols.get("new-rater-new-image").folds(world.dataset)[0]
    asked = asked_of(world.dataset, fold)
    answered = ask(Linear(world.features).fit(world.dataset.rows(fold.train_rows)), world.dataset, fold, asked, shots=5)
    found = evaluate(answers_of(world.dataset, [asked], [answered]), draws=10)
    assert found.n_answers == sum(len(rows) for rows in fold.query.values())
    np.testing.assert_array_equal(found.raters, fold.raters)


def test_learning_curves(world, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    report = bench.run(world.dataset, makers(world), shots=(0, 5), fit=True, draws=50)
    for name in ("curves.png", "curves.svg"):
        assert plots.learning_curves(report.records(), tmp_path / name, title=report.protocol).stat().st_size > 5000
    text = (tmp_path / "curves.svg").read_text()
    for label in ("SROCC, higher is better", "MAE, lower is better", "personal r", "should be 0.90", ">linear<", ">image mean (oracle)<"):
        assert label in text
    report.write(tmp_path)
    plots.learning_curves(list(csv.DictReader((tmp_path / "report.csv").open())), tmp_path / "again.png", panels=("srocc",))
    with pytest.raises(BeholderError, match="nothing to draw"):
        plots.learning_curves(report.records(), tmp_path / "x.png", panels=("choice_accuracy",))
    with pytest.raises(BeholderError, match="cannot be written"):
        plots.learning_curves(report.records(), tmp_path / "no" / "x.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"beholder\[eval\]"):
        plots.learning_curves(report.records(), tmp_path / "x.png")


def test_simulated_worlds():
    small = {"n_raters": 30, "n_images": 60, "ratings_per_rater": 60, "n_features": 4}
    alike, strangers = simulate(one_taste(**small)), simulate(nothing_shared(**small))
    assert not alike.personal_taste.any() and not strangers.shared_taste.any()

    def agreement(simulation):  # mean correlation of two raters
        data = simulation.dataset
        table = np.full((30, 60), np.nan)
        table[data.rating_rater, data.rating_image] = data.rating_score
        return np.corrcoef(table)[np.triu_indices(30, 1)].mean()

    assert agreement(alike) > 0.7 and abs(agreement(strangers)) < 0.15
    again = simulate(one_taste(**small))
    np.testing.assert_array_equal(alike.dataset.rating_score, again.dataset.rating_score)
    assert alike.features([str(path) for path in alike.dataset.images]).shape == (60, 4)
    assert alike.features([]).shape == (0, 4)
    stepped = simulate(mixed(**small, scale=Scale(1, 7, 1))).dataset
    assert set(stepped.rating_score) <= set(range(1, 8))
    with pytest.raises(BeholderError, match="not an image of this simulated dataset"):
        alike.features(["other.png"])


def test_features_of_another_encoder_are_measured_anew(world, tmp_path):
    class Doubled:
        dim, key = world.features.dim, "doubled"

        def __call__(self, images):
            return 2 * world.features(images)

    runs = []
    for features in (world.features, Doubled(), world.features):
        scorer = Linear(features)
        report = bench.run(world.dataset, {"linear": lambda scorer=scorer: scorer}, shots=(5,), with_controls=False, draws=10, out=tmp_path)
        runs.append(len(scorer.calls))
        assert report.summary()["features"] == {"linear": features.key} and f"Features of linear: `{features.key}`" in report.markdown()
    assert runs[0] == runs[1] > 0 and runs[2] == 0  # only the last finds what it needs in the cache


def test_only_images_that_scorers_look_at_are_needed(world):
    folds = protocols.get("new-rater-new-image", n_folds=4, max_raters=1, max_query=2).folds(world.dataset)[:1]
    (fold,) = folds
    names = np.array([str(image) for image in world.dataset.images])
    seen = [rows for part in (fold.query, fold.support) for rows in part.values()]
    assert set(bench.needed_images(world.dataset, folds, train=False)) == set(names[world.dataset.rating_image[np.concatenate(seen)]])
    everything = np.concatenate([*seen, fold.train_rows])
    assert set(bench.needed_images(world.dataset, folds, train=True)) == set(names[world.dataset.rating_image[everything]])


def test_what_trained_scorers_learn_from_is_part_of_the_key(world):
    dataset = world.dataset
    said = {"color": np.arange(len(dataset.rating_score), dtype=np.float64)}
    with_attributes = replace(dataset, attributes=said, attribute_scales={"color": dataset.scale})
    other_values = replace(with_attributes, attributes={"color": said["color"][::-1].copy()})
    captioned = replace(dataset, captions=("a tree",) * len(dataset.images))
    assert len({dataset_key(one) for one in (dataset, with_attributes, other_values, captioned)}) == 4
    assert dataset_key(dataset) == dataset_key(replace(dataset))
