"""What the bench does around a training: tells what is known of images, trains together with other datasets, and trains once for several."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from beholder.evaluation import bench, protocols
from beholder.evaluation.answering import dataset_key, rater_with
from beholder.evaluation.simulate import mixed, simulate
from beholder.evaluation.training import also_learned_from
from command_line import make_photos, refused
from planted_scorers import Planted, noise


@pytest.fixture(scope="module")
def data():
    return simulate(mixed(n_raters=12, n_images=40, ratings_per_rater=30, seed=6)).dataset


class Learner(Planted):
    """Learns the mean of each rater's training ratings (slope 1 or another), and adds `shift` when it is asked.

    Of those made with the same `slope`, training learns the same.
    """

    name, version = "learner", "1"

    def __init__(self, *, slope=1.0, shift=0.0, log):
        super().__init__(self.answer, log=log)
        self.slope, self.shift, self.means, self.about = slope, shift, None, {}

    def tell(self, about):
        self.log.append(("tell", dict(about)))
        self.about = {**self.about, **about}

    def fit(self, train, *, progress=None, checkpoints=None):
        assert self.means is None, "trained already"
        self.log.append(("fit", (self.slope, checkpoints)))
        known = {f"{train.name}/{train.raters[r]}": train.rating_score[train.rating_rater == r].mean() for r in train.used_raters}
        self.means = {rater: self.slope * mean for rater, mean in known.items()}
        return self

    def answer(self, image, rater):
        return self.means.get(rater.known_as, 0.0) + self.shift * noise(image, rater.name) + noise(image)


class Shared(Learner):
    def fit_key(self):
        return f"slope {self.slope}"

    def reuse(self, trained):
        assert self.means is None and trained.fit_key() == self.fit_key()
        self.log.append(("reuse", self.slope))
        self.means = trained.means
        return self


class Joint(Learner):
    """Adds the mean of all other datasets."""

    def fit(self, train, *, others=(), progress=None):
        super().fit(train)
        self.log.append(("others", tuple(other.name for other in others)))
        self.shift = float(np.mean([other.rating_score.mean() for other in others])) if others else 0.0
        return self


def variants(cls, log):
    settings = {"a": (1.0, 0.5), "b": (1.0, -2.0), "c": (0.5, 0.5), "d": (1.0, 3.0)}
    return {name: lambda slope=slope, shift=shift: cls(slope=slope, shift=shift, log=log) for name, (slope, shift) in settings.items()}


def logged(log, what):
    return [content for kind, content in log if kind == what]


def test_shared_trainings_give_what_separate_ones_give(data, tmp_path):
    logs = {Learner: [], Shared: []}
    reports = {
        cls: bench.run(data, variants(cls, log), protocol="seen-unseen", shots=(0,), draws=20, out=tmp_path / cls.__name__)
        for cls, log in logs.items()
    }
    for name in "abcd":
        for ours, theirs in zip(reports[Shared].predictions[name, 0], reports[Learner].predictions[name, 0], strict=True):
            np.testing.assert_array_equal(ours.score, theirs.score)
    assert reports[Shared].estimate("a", shots=0, metric="mae").value != reports[Shared].estimate("c", shots=0, metric="mae").value
    fits = {cls: logged(log, "fit") for cls, log in logs.items()}
    assert len(fits[Learner]) == 4 * 5 and not logged(logs[Learner], "reuse")
    assert sorted(slope for slope, _ in fits[Shared]) == [0.5] * 5 + [1.0] * 5
    assert logged(logs[Shared], "reuse") == [1.0] * 10
    folders = [folder for _, folder in fits[Shared]]
    assert len(set(folders)) == 10 and all(folder.parent == tmp_path / "Shared" / "checkpoints" for folder in folders)


def test_after_an_interruption_another_variant_goes_on_with_the_same_checkpoint(data, tmp_path):
    def trained_in(name):
        log = []
        one = {name: variants(Shared, log)[name]}
        bench.run(data, one, protocol="seen-unseen", shots=(0,), draws=10, with_controls=False, out=tmp_path)
        return {folder for _, folder in logged(log, "fit")}

    first = trained_in("a")
    assert len(first) == 5 and trained_in("a") == set()  # all kept
    assert trained_in("b") == first and not trained_in("c") & first


def test_options_of_use_in_the_version_do_not_part_checkpoints(data, tmp_path):
    def folders(shift):
        log = []

        def near():
            scorer = Shared(shift=shift, log=log)
            scorer.version = f"untrained-shift={shift}"
            return scorer

        one = {"near": near}
        bench.run(data, one, protocol="seen-unseen", shots=(0,), draws=10, with_controls=False, out=tmp_path)
        return {folder for _, folder in logged(log, "fit")}

    first = folders(1.0)
    assert len(first) == 5 and folders(2.0) == first


def test_repeats_that_learn_from_the_same_ratings_train_once(data):
    unseen = data.rating_rater >= 9
    parts = np.where(unseen, "test_unseen", np.where(np.arange(len(unseen)) % 2, "train", "test_seen"))
    named = dataclasses.replace(data, parts=tuple(parts))
    reports = {}
    for cls in (Shared, Learner):
        log = []
        options = {"protocol": "published-parts", "seeds": (0, 1, 2), "shots": (5,), "draws": 10}
        reports[cls] = bench.run(named, {"one": lambda cls=cls, log=log: cls(log=log)}, **options)
        assert len(logged(log, "fit")) == (1 if cls is Shared else 3)
    for ours, theirs in zip(reports[Shared].predictions["one", 5], reports[Learner].predictions["one", 5], strict=True):
        np.testing.assert_array_equal(ours.score, theirs.score)


def test_query_images_in_a_dataset_that_is_learned_from_are_said(data, tmp_path):
    photos = make_photos(tmp_path / "a", *(f"{i}.png" for i in range(len(data.images))))
    copies = make_photos(tmp_path / "b", *(f"copy-{i}.png" for i in range(len(data.images))))
    here = dataclasses.replace(data, images=tuple(map(Path, photos)))
    copied = (*map(Path, copies[:4]), *(Path(f"/nowhere/{i}") for i in range(4, len(copies))))
    for photo, copy in zip(photos[:4], copies[:4], strict=True):
        shutil.copy(photo, copy)
    other = dataclasses.replace(data, name="other", images=copied)
    assert also_learned_from([*photos], other) == 4 and also_learned_from(photos[4:], other) == 0
    assert also_learned_from([str(copied[9])], other) == 1  # the very same path, even if there is no such file
    options = {"protocol": "seen-unseen", "shots": (0,), "draws": 10, "with_controls": False}
    report = bench.run(here, {"joint": lambda: Joint(log=[])}, others=[other], **options)
    assert report.warnings == ("4 of 40 query images are in other, too, which is learned from as a whole",)


def test_scorers_as_shipped_share_nothing(data):
    log = []
    scorer = Shared(log=log)
    scorer.means = {}
    bench.run(data, {"a": lambda: scorer, "b": lambda: scorer}, protocol="new-image", shots=(0,), draws=10, fit=False)
    assert not logged(log, "fit") and not logged(log, "reuse") and logged(log, "ask")


def test_what_is_known_of_images_is_told_before_training(data):
    prompts = tuple(f"prompt {i}" if i else "" for i in range(len(data.images)))
    described = dataclasses.replace(data, prompts=prompts, metadata={"style": ("oil",) * len(data.images)})
    other = dataclasses.replace(described, name="other", images=tuple(path.with_suffix(".jpg") for path in data.images))
    log = []
    bench.run(
        described, {"joint": lambda: Joint(log=log)}, protocol="seen-unseen", shots=(0,), draws=10, others=[other], with_controls=False
    )
    kinds = [kind for kind, _ in log]
    assert kinds.count("fit") == 5 and kinds.index("tell") < kinds.index("fit")
    assert len(logged(log, "tell")) == 5 and all(len(about) == 2 * len(data.images) for about in logged(log, "tell"))
    told = logged(log, "tell")[0][str(data.images[3])]
    assert (told.prompt, told.metadata) == ("prompt 3", {"style": "oil"})
    silent = []
    bench.run(data, {"plain": lambda: Learner(log=silent)}, protocol="seen-unseen", shots=(0,), draws=10, with_controls=False)
    assert not logged(silent, "tell")
    assert len({dataset_key(data), dataset_key(described), dataset_key(dataclasses.replace(described, prompts=prompts[::-1]))}) == 3


def test_other_datasets_are_learned_from_and_kept_apart(data, tmp_path):
    other = dataclasses.replace(data, name="other", rating_score=np.full(len(data.rating_score), 4.0))

    def run(others):
        log = []
        scorers = {"joint": lambda: Joint(log=log), "alone": lambda: Learner(log=log)}
        options = {"protocol": "seen-unseen", "shots": (0,), "draws": 10, "with_controls": False, "out": tmp_path}
        report = bench.run(data, scorers, others=others, **options)
        return report, len(logged(log, "fit")), logged(log, "others")

    without, n_fits, seen = run(())
    assert n_fits == 10 and seen == [()] * 5
    joint, n_fits, seen = run([other])
    assert n_fits == 5 and seen == [("other",)] * 5  # what was kept of the scorer that learns alone still holds
    gap = joint.estimate("joint", shots=0, metric="mae").value - without.estimate("joint", shots=0, metric="mae").value
    assert gap > 1 and joint.estimate("alone", shots=0).value == without.estimate("alone", shots=0).value
    assert run([other])[1] == 0 and run(())[1] == 0
    assert run([dataclasses.replace(other, rating_score=other.rating_score - 1)])[1] == 5


@pytest.mark.parametrize(
    ("scorer", "fit", "words"),
    [(Learner, True, ("one cannot learn from several datasets", "leave --with out")), (Joint, False, ("nothing is trained", "--fit"))],
)
def test_other_datasets_nobody_learns_from_are_refused(data, scorer, fit, words):
    log = []
    refused(lambda: bench.run(data, {"one": lambda: scorer(log=log)}, protocol="new-image", fit=fit, others=[data], shots=(0,)), *words)
    assert not log


def test_raters_are_known_by_dataset_and_name(data):
    fold = protocols.get("new-rater").folds(data)[0]
    assert rater_with(data, fold, fold.raters[0], shots=2).known_as == f"simulated/{data.raters[fold.raters[0]]}"
