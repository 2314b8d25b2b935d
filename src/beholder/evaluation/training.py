"""Scorers made ready for a fold: told about images, trained if asked for, and trained once where several would learn the same."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beholder.about import About
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.answering import readable_name, short_hash
from beholder.evaluation.protocols import Fold, Protocol
from beholder.photos import same_content
from beholder.scorers.base import Scorer

Progress = Callable[[int, int, str], None]


@dataclass
class Training:
    """What training a scorer on a fold needs, and what was trained so far in this run.

    Two scorers with the same class and `fit_key()` would learn the same from the same ratings. The first one is trained and kept until the end of
    the run, the others take over what it learned (`reuse`), so that variants that differ in use only cost one training.

    Args:
        dataset: of which folds are parts.
        fit: whether scorers are trained at all.
        others: further datasets, given to scorers whose `fit` takes `others`.
        checkpoints: folder for half-finished trainings, given to scorers whose `fit` takes `checkpoints`; None: nothing is kept.
        resume: go on with what lies there; else it is thrown away first.
    """

    dataset: Dataset
    fit: bool
    others: Sequence[Dataset] = ()
    checkpoints: Path | None = None
    resume: bool = True
    trained: dict[tuple[bytes, type, str], Scorer] = field(default_factory=dict)
    _about: dict[str, About] | None = None

    def told(self, scorer: Scorer) -> Scorer:
        """The same scorer, which now knows prompts and metadata of the images of all datasets."""
        if self._about is None:
            self._about = {path: about for dataset in (*self.others, self.dataset) for path, about in dataset.about().items()}
        if self._about:
            scorer.tell(self._about)
        return scorer

    def ready(self, scorer: Scorer, fold: Fold, *, name: str, key: Mapping[str, object], progress: Progress) -> Scorer:
        """The scorer as it is asked in `fold`.

        Args:
            scorer: told already; not trained.
            name: of the scorer in tables.
            key: what its predictions in this fold depend on.
            progress: of the training, and of scorers with an attribute `progress`.
        """
        if hasattr(scorer, "progress"):  # scorers that ask a language model tell how far they are
            scorer.progress = progress
        if not self.fit:
            return scorer
        # folds of several repeats may learn from the same ratings (published parts)
        shared = (fold.train_rows.tobytes(), type(scorer), scorer.fit_key()) if hasattr(scorer, "fit_key") else None
        if shared in self.trained:
            return scorer.reuse(self.trained[shared])
        options: dict[str, object] = {"progress": progress}
        if self.others and takes(scorer, "others"):
            options["others"] = tuple(self.others)
        if self.checkpoints is not None and takes(scorer, "checkpoints"):
            # the version names options of use, which are no part of a shared training
            name, key = (scorer.name, {**key, "scorer": shared[2], "version": ""}) if shared else (name, key)
            options["checkpoints"] = self._folder(f"{name}-{fold.name}", key)
        scorer = scorer.fit(self.dataset.rows(fold.train_rows), **options)
        if shared:
            self.trained[shared] = scorer
        return scorer

    def _folder(self, name: str, key: Mapping[str, object]) -> Path:
        """The folder of one training; its name holds what the training depends on, so that no other one goes on from there."""
        folder = self.checkpoints / f"{readable_name(name)}-{short_hash(dict(key))}"
        if not self.resume and folder.exists():
            shutil.rmtree(folder)
        return folder


class Lazy:
    """Calls a function once, when its value is first needed: a fold that is in the cache needs no training.

    Attributes:
        made: the value; None before.
    """

    def __init__(self, make: Callable[[], Scorer]) -> None:
        self._make = make
        self.made: Scorer | None = None

    def __call__(self) -> Scorer:
        if self.made is None:
            self.made = self._make()
        return self.made


def also_learned_from(images: Sequence[str], other: Dataset) -> int:
    """How many of these photographs are, byte for byte, among those of another dataset that is learned from."""
    learned = {str(other.images[image]) for image in other.used_images}
    alike = same_content([*images, *learned])
    same = {path for group in alike if not learned.isdisjoint(group) for path in group} | learned
    return sum(image in same for image in images)


def takes(scorer: Scorer, option: str) -> bool:
    """Whether the scorer's `fit` has this parameter."""
    return option in inspect.signature(scorer.fit).parameters


def trains(protocol: Protocol, folds: Sequence[Fold]) -> bool:
    """Whether scorers are trained if nothing is said: where the protocol has it so and every fold has something to learn from."""
    return protocol.trains and all(len(fold.train_rows) for fold in folds)


def check(
    protocol: Protocol, folds: Sequence[Fold], scorers: Mapping[str, Callable[[], Scorer]], *, fit: bool, others: Sequence[Dataset]
) -> None:
    """Refuse what cannot be trained before anything is done.

    Raises:
        BeholderError: training without training ratings, or other datasets without training or without a scorer that learns from them.
    """
    if fit and any(not len(fold.train_rows) for fold in folds):
        raise BeholderError(
            f"{protocol.line()}: there are no training ratings, so --fit has nothing to learn from; leave it out, or write --no-fit"
        )
    names = ", ".join(dataset.name for dataset in others)
    if others and not fit:
        raise BeholderError(f"{names} would be learned from as well, but nothing is trained: leave --with out, or write --fit")
    if others and not any(takes(make(), "others") for make in scorers.values()):
        raise BeholderError(
            f"{', '.join(scorers)} cannot learn from several datasets at once, so there is no use for {names}: leave --with out, or add pamela"
        )
