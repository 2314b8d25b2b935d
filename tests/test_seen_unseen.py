"""Seen and unseen raters: the protocol, the published parts, and the table of gaps, on data where the gap is known."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from beholder.errors import BeholderError
from beholder.evaluation import bench, metrics, protocols, seen_unseen_tables
from beholder.evaluation.protocols import CrossValidation
from beholder.evaluation.published_parts import PublishedParts
from beholder.evaluation.rater_values import RaterValues, Resamples, answers_by_label, image_means, values
from beholder.evaluation.seen_unseen import SeenUnseen
from beholder.evaluation.simulate import mixed, simulate
from command_line import refused
from planted_scorers import Planted, noise, truth_of


@pytest.fixture(scope="module")
def data():
    return simulate(mixed(n_raters=15, n_images=45, ratings_per_rater=36, seed=4)).dataset


class Remembers(Planted):
    """Knows what raters of its training said of everything, and guesses for all others, with noise of the given width for the known ones."""

    def __init__(self, dataset, *, width=0.0):
        super().__init__(None)
        self.truth, self.known = truth_of(dataset, noise_width=width), set()
        self.rule = lambda image, rater: self.truth(image, rater) if rater.known_as in self.known else noise(image, rater.name)

    def fit(self, train, *, progress=None):
        self.known = {f"{train.name}/{train.raters[rater]}" for rater in train.used_raters}
        return self


def parted(data, *, unseen=(0, 1, 2), n_val=4):
    """The data with published parts: raters in `unseen` have no training rating."""
    generator = np.random.default_rng(0)
    parts = []
    for rater, place in zip(data.rating_rater, generator.permutation(len(data.rating_rater)), strict=True):
        if rater in unseen:
            parts.append("test_unseen")
        else:
            parts.append(("train", "train", "train", "val_seen", "test_seen")[place % 5])
    for rater in unseen:
        for row in np.flatnonzero(data.rating_rater == rater)[:n_val]:
            parts[row] = "val_unseen"
    return dataclasses.replace(data, name="pamela", parts=tuple(parts))


def test_who_is_seen_and_what_is_learned(data):
    folds = SeenUnseen(seeds=(0, 1)).folds(data)
    strict, everybody = (CrossValidation(name=name, seeds=(0, 1)).folds(data) for name in ("new-rater-new-image", "new-image"))
    assert len(folds) == 10
    for fold, new_raters, new_images in zip(folds, strict, everybody, strict=True):
        unseen = {rater for rater, label in fold.labels.items() if label == "unseen"}
        assert unseen == set(new_raters.raters) and set(fold.labels) == set(fold.raters) == set(new_images.raters)
        learned = set(data.rating_rater[fold.train_rows])
        assert not learned & unseen and set(fold.raters) - unseen <= learned
        groups = {
            part: {data.groups[image] for image in data.rating_image[np.concatenate(list(rows))]}
            for part, rows in (("train", [fold.train_rows]), ("query", fold.query.values()), ("support", fold.support.values()))
        }
        assert not groups["query"] & (groups["train"] | groups["support"])
        for rater in fold.raters:
            np.testing.assert_array_equal(fold.support[rater], new_images.support[rater])
    times_unseen = np.bincount([rater for fold in folds for rater, label in fold.labels.items() if label == "unseen"])
    assert set(times_unseen) == {2}  # once in each repeat


def test_limits_are_per_label(data):
    folds = protocols.get("seen-unseen", max_raters="2", max_query="3").folds(data)
    for fold in folds:
        assert sorted(fold.labels.values()) == ["seen", "seen", "unseen", "unseen"]
        assert set(fold.query) == set(fold.labels) == set(fold.support) and max(map(len, fold.query.values())) == 3
    again = protocols.get("seen-unseen", max_raters=2, max_query=3).folds(data)
    assert [fold.raters for fold in folds] == [fold.raters for fold in again]


def test_the_gap_of_a_scorer_that_only_remembers(data):
    report = bench.run(data, {"remembers": lambda: Remembers(data)}, protocol="seen-unseen", draws=200)
    assert report.fitted and report.shots == (0, 5, 15, 30)
    found = {row["metric"]: row for row in seen_unseen_tables.records(report) if row["shots"] == 5}
    assert found["srocc"]["seen"] == found["plcc"]["seen"] == found["pairwise"]["seen"] == pytest.approx(1)
    assert found["mae"]["seen"] < 1e-8 and found["average_plcc"]["seen"] == pytest.approx(1)
    assert abs(found["srocc"]["unseen"]) < 0.25 and abs(found["pairwise"]["unseen"] - 0.5) < 0.1
    for row in found.values():
        assert row["gap"] == pytest.approx(row["seen"] - row["unseen"])
        assert row["gap_low"] <= row["gap"] <= row["gap_high"] and not row["gap_low"] <= 0 <= row["gap_high"]
        assert (row["n_seen"], row["n_unseen"]) == (15, 15) and row["raters_per_image_seen"] > 2 * row["raters_per_image_unseen"]


@pytest.mark.parametrize("protocol, n_new", [("seen-unseen", 15), ("new-rater", 15), ("new-image", 0)])
def test_weights_that_know_raters_who_should_be_new_are_named(data, protocol, n_new):
    def knowing(fit):
        scorer = Planted(truth_of(data))
        scorer.trained_for = lambda raters: sum(rater in known for rater in raters)
        return bench.run(data, {"one": lambda: scorer}, protocol=protocol, shots=(0,), fit=fit, draws=10, with_controls=False)

    known = {f"{data.name}/{data.raters[3]}", f"{data.name}/{data.raters[4]}", f"other/{data.raters[5]}"}
    expected = (f"2 of {n_new} raters who are new in this protocol were in the training data of one",) if n_new else ()
    shipped = knowing(False)
    assert shipped.warnings == expected and knowing(True).warnings == ()
    if protocol == "seen-unseen":
        assert "Nothing was trained in this run" in seen_unseen_tables.markdown(shipped)
        assert "Nothing was trained in this run" not in seen_unseen_tables.markdown(knowing(True))


def test_values_are_those_of_the_report(data):
    report = bench.run(
        data, {"some": lambda: Planted(truth_of(data, noise_width=3))}, protocol="seen-unseen", shots=(0,), draws=50, margin=0.3
    )
    answers = answers_by_label(report, report.predictions["some", 0])
    for metric in ("srocc", "plcc", "mae", "pairwise"):
        assert values(answers["all"], metric, margin=0.3).mean == pytest.approx(report.estimate("some", shots=0, metric=metric).value)
    everyone = metrics.evaluate(answers["seen"], draws=10)
    assert everyone.estimates["srocc"].value == pytest.approx(values(answers["seen"], "srocc").mean)
    n = {label: len(part.rater) for label, part in answers.items()}
    assert n["seen"] + n["unseen"] == n["all"] and 0 < n["unseen"] < n["seen"]
    part = image_means(answers["unseen"])
    by_hand = []
    for image in np.unique(answers["unseen"].image):
        there = answers["unseen"].image == image
        by_hand.append((answers["unseen"].truth[there].mean(), answers["unseen"].score[there].mean()))
    assert part.correlation == pytest.approx(np.corrcoef(np.array(by_hand).T)[0, 1])
    assert part.raters_per_image == pytest.approx(n["unseen"] / len(by_hand))


def test_a_scorer_without_an_opinion_has_no_correlation_and_no_gap(data):
    constant = Planted(lambda image, rater: 2.7)
    report = bench.run(data, {"constant": lambda: constant}, protocol="seen-unseen", shots=(0,), draws=50)
    found = {row["metric"]: row for row in seen_unseen_tables.records(report)}
    for metric, value in (("srocc", 0), ("plcc", 0), ("pairwise", 0.5), ("average_plcc", 0)):
        row = found[metric]
        assert row["seen"] == row["unseen"] == value and row["gap"] == row["gap_low"] == row["gap_high"] == 0


def test_groups_are_drawn_apart_if_different_people_and_together_if_the_same():
    generator = np.random.default_rng(1)
    first, second = RaterValues(np.arange(40), generator.random(40)), RaterValues(np.arange(40, 60), generator.random(20))
    apart = Resamples(first.rater, second.rater, draws=4000)
    np.testing.assert_array_equal(apart.weights[:40].sum(axis=0), 40)
    assert abs(np.corrcoef(apart.means(first), apart.means(second))[0, 1]) < 0.06
    assert apart.means(first).std() == pytest.approx(first.value.std() / np.sqrt(40), rel=0.06)
    partly = Resamples(np.arange(10), np.arange(5, 15), draws=30)
    for stratum in (slice(0, 5), slice(5, 10), slice(10, 15)):
        np.testing.assert_array_equal(partly.weights[stratum].sum(axis=0), 5)
    same = RaterValues(first.rater, first.value + 0.3)
    together = Resamples(first.rater, same.rater, draws=200)
    np.testing.assert_allclose(together.means(same) - together.means(first), 0.3)


def test_files_and_published_numbers(data, tmp_path):
    scorers = {"pamela": lambda: Remembers(data), "pamela[rater_id=false]": lambda: Remembers(data, width=4.0)}
    named = dataclasses.replace(data, name="pamela")
    report = bench.run(named, scorers, protocol="seen-unseen", shots=(0, 5), draws=50)
    paths = seen_unseen_tables.write(report, tmp_path)
    assert [path.name for path in paths] == list(seen_unseen_tables.NAMES)
    rows = list(csv.DictReader(paths[1].open()))
    assert list(rows[0]) == list(seen_unseen_tables.COLUMNS) and len(rows) == 2 * 2 * 5
    assert [row["scorer"] for row in json.loads(paths[0].read_text())] == [row["scorer"] for row in rows]
    page = paths[2].read_text()
    for text in (
        "## SROCC (higher",
        "## population-average PLCC",
        "| pamela | 5 | 1.000 [1.000, 1.000] |",
        "third-party notes",
        "Other data",
    ):
        assert text in page
    assert "| published | PAMELA | | 0.451 | 0.472 | 0.663 |" in page and "| published | HPSv3 | | 0.402 | 0.444 | 0.643 |" in page
    assert "| here | pamela[rater_id=false] | 0 |" in page and "averaged over raters | |  | 0.612 | 0.680 |" in page
    other = bench.run(data, scorers, protocol="seen-unseen", shots=(0,), draws=10)
    assert "published" not in seen_unseen_tables.markdown(other)
    plain = bench.run(data, {"some": lambda: Planted(truth_of(data))}, shots=(0,), draws=10)
    assert not seen_unseen_tables.applies(plain) and seen_unseen_tables.applies(other)


def test_published_parts(data):
    named = parted(data)
    parts = np.array(named.parts)
    first, other = protocols.get("published-parts", seeds=(0, 1), max_support="6").folds(named)
    assert [fold.name for fold in (first, other)] == ["seed0-test", "seed1-test"]
    for fold in (first, other):
        np.testing.assert_array_equal(fold.train_rows, np.flatnonzero(parts == "train"))
        assert {rater for rater, label in fold.labels.items() if label == "unseen"} == {0, 1, 2}
        assert set(fold.raters) == set(range(15)) == set(fold.labels)
        for rater in fold.raters:
            rows = np.flatnonzero(data.rating_rater == rater)
            support, query = fold.support[rater], fold.query[rater]
            assert not set(support) & set(query) and set(np.concatenate([support, query])) <= set(rows)
            if fold.labels[rater] == "seen":
                assert set(support) == set(rows[parts[rows] == "train"]) and set(query) == set(rows[parts[rows] == "test_seen"])
            else:  # all four of val_unseen first, then two of test_unseen, which are not asked any more
                assert list(parts[support]) == ["val_unseen"] * 4 + ["test_unseen"] * 2
                assert set(query) == set(rows[parts[rows] == "test_unseen"]) - set(support)
    assert any(set(first.support[rater]) != set(other.support[rater]) for rater in (0, 1, 2))
    assert set(first.support[5]) == set(other.support[5]) and list(first.support[5]) != list(other.support[5])
    notes = PublishedParts(max_support=6).notes(named)
    assert "up to 6 of their own ratings in val_unseen first" in notes[0] and "this one is ours" in notes[0]
    assert len(PublishedParts().folds(named)[0].support[0]) == 15


def test_the_validation_parts_never_look_at_the_test_parts(data):
    named = parted(data, n_val=12)
    parts = np.array(named.parts)
    fold = protocols.get("published-parts", part="val", max_support="5", max_raters="2").folds(named)[0]
    assert sorted(fold.labels.values()) == ["seen", "seen", "unseen", "unseen"]
    used = np.concatenate([*fold.support.values(), *fold.query.values(), fold.train_rows])
    assert set(parts[used]) == {"train", "val_seen", "val_unseen"}
    for rater, label in fold.labels.items():
        if label == "unseen":
            assert len(fold.support[rater]) == 5 and len(fold.query[rater]) == 7


def test_published_parts_in_the_bench(data):
    named = parted(data)
    report = bench.run(named, {"remembers": lambda: Remembers(data)}, protocol="published-parts", draws=50)
    assert report.fitted and report.shots == (0, 5, 15) and any("is ours" in note for note in report.notes)
    row = next(row for row in seen_unseen_tables.records(report) if row["metric"] == "srocc")
    assert row["seen"] == pytest.approx(1) and row["unseen"] < 0.6 and (row["n_seen"], row["n_unseen"]) == (12, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda data: protocols.get("seen-unseen", n_folds=1), ("at least 2 folds",)),
        (lambda data: protocols.get("seen-unseen", part="val"), ("no option 'part'",)),
        (lambda data: SeenUnseen(seeds=()), ("a seed",)),
        (lambda data: SeenUnseen(n_folds=16).folds(data), ("too few for 16 folds",)),
        (lambda data: PublishedParts(part="train"), ("part test or val", "got")),
        (lambda data: protocols.get("published-parts", part="dev"), ("'dev' is not one of test, val",)),
        (lambda data: PublishedParts(max_support=-1), ("max_support -1",)),
        (lambda data: PublishedParts().folds(data), ("no published parts", "use seen-unseen")),
        (
            lambda data: PublishedParts(part="val").folds(parted(data, n_val=0)),
            ("val_unseen", "has test_seen, test_unseen, train, val_seen"),
        ),
        (lambda data: PublishedParts(max_support=100).folds(parted(data)), ("lower max_support",)),
    ],
)
def test_bad_options(data, call, words):
    refused(lambda: call(data), *words)


def test_parts_that_contradict_each_other_are_refused(data):
    named = parted(data)
    parts = list(named.parts)
    parts[int(np.flatnonzero(data.rating_rater == 1)[-1])] = "train"
    with pytest.raises(BeholderError, match="r0001 in test_unseen and in train"):
        PublishedParts().folds(dataclasses.replace(named, parts=tuple(parts)))
