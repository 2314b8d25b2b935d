"""Who is tested on what, and what may be learned from: the splits behind every number.

Three cross-validations: `new-rater-new-image`, `new-rater`, `new-image`. In all of them a rater's support and query ratings never share an
image group. The same with pairwise choices instead of ratings is in `choice_protocol.py`, raters that training knows beside those it does
not in `seen_unseen.py`, the zero-shot protocols in `zero_shot.py`, those with a small and a large support set in `support_sets.py`,
published folds and parts in `published_folds.py` and `published_parts.py`, a split file in `split_file.py`.
"""

from __future__ import annotations

import difflib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.options import from_texts


@dataclass(frozen=True)
class Fold:
    """One training part and its tests.

    Args:
        name: "seed0-fold1".
        seed: of the repeat it belongs to.
        train_rows: [t] rating rows of the dataset that scorers may learn from, ascending.
        support: rater index -> rating rows in the order they are given; an N-shot run uses the first N.
        query: rater index -> rating rows to predict, ascending.
        support_choices: rater index -> [c, 2] image indices (chosen, other); an N-shot run uses the first N as well.
        query_choices: rater index -> [c, 2] image indices, to predict.
        draws: if query images are drawn several times: rater index -> the rating rows of each draw; `query` is then their union, so that
            each pair is predicted once.
        small_support: if there is another, smaller support set beside `support`: rater index -> its rating rows. A run with exactly as many
            shots uses it in place of the first of `support`.
        labels: rater index -> "seen" (training has other ratings of this rater) or "unseen", for every rater tested; {} where a protocol
            does not tell them apart.
    """

    name: str
    seed: int
    train_rows: np.ndarray
    support: dict[int, np.ndarray]
    query: dict[int, np.ndarray]
    support_choices: dict[int, np.ndarray] = field(default_factory=dict)
    query_choices: dict[int, np.ndarray] = field(default_factory=dict)
    draws: tuple[dict[int, np.ndarray], ...] = ()
    small_support: dict[int, np.ndarray] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)

    @property
    def raters(self) -> list[int]:
        """The raters tested, ascending."""
        return sorted({*self.query, *self.query_choices})

    def support_rows(self, rater: int, *, shots: int) -> np.ndarray:
        """[at most shots] the rating rows that an N-shot run gives of this rater, in order."""
        small = self.small_support.get(rater, ())
        if shots and shots == len(small):
            return small
        return self.support.get(rater, np.zeros(0, dtype=np.int64))[:shots]

    def n_evidence(self, rater: int, *, shots: int | None = None) -> int:
        """How many ratings, or choices if that is more, this rater can give as support, or gives in an N-shot run."""
        ratings = self.support.get(rater, ()) if shots is None else self.support_rows(rater, shots=shots)
        return max(len(ratings), len(self.support_choices.get(rater, ())))


class Protocol(ABC):
    """A way of splitting a dataset.

    Attributes:
        name: as in `--protocol`.
        seeds: of the repeats.
        train_has_test_raters: True if test raters' other ratings are in the training part.
        gives_support: False if no rating of the tested raters is ever known, that is, if there is nothing but N = 0.
        trains: True if training in each fold is part of the protocol.
        averages_repeats: True if numbers are means of the repeats' numbers, with a standard deviation over repeats.
        shots: numbers of support ratings if nothing else is asked for; None: as everywhere.
        measures: what is looked at first; (): as everywhere.
    """

    name: str
    seeds: Sequence[int] = (0,)
    train_has_test_raters = False
    gives_support: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    averages_repeats: ClassVar[bool] = False
    shots: ClassVar[Sequence[int] | None] = None
    measures: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def folds(self, dataset: Dataset) -> list[Fold]:
        """All folds of all repeats. The same dataset and seeds give the same folds.

        Raises:
            BeholderError: the dataset is too small for it.
        """

    @abstractmethod
    def line(self) -> str:
        """What the numbers mean, without a full stop; stands above every table."""

    def notes(self, dataset: Dataset) -> list[str]:
        """What a reader of the numbers must know about this split of this dataset, one sentence each."""
        return []


@dataclass(frozen=True)
class CrossValidation(Protocol):
    """k folds over raters and/or image groups.

    Args:
        name: "new-rater-new-image" (fold i tests rater fold i on group fold i, and learns from the other raters' ratings of the other
            groups), "new-rater" (learns from all ratings of the other raters) or "new-image" (learns from everybody's ratings of the
            other groups).
        n_folds: k.
        seeds: one repeat each: other rater folds, group folds and support orders.
        min_query: raters with fewer query ratings in a fold are not tested there.
        max_raters: at most so many test raters per fold, drawn at random (slow scorers); all if None.
        max_query: at most so many query ratings per rater, drawn at random; all if None.
    """

    name: str = "new-rater-new-image"
    n_folds: int = 5
    seeds: Sequence[int] = (0,)
    min_query: int = 2
    max_raters: int | None = None
    max_query: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if self.name not in _MEANINGS:
            raise BeholderError(f"there is no protocol {self.name!r}: known are {', '.join(_MEANINGS)}")
        if self.n_folds < 2 or not self.seeds or self.min_query < 1:
            raise BeholderError(f"{self.name} needs at least 2 folds, a seed and min_query 1; got {self.n_folds} folds, seeds {self.seeds}")

    @property
    def train_has_test_raters(self) -> bool:
        return self.name == "new-image"

    def line(self) -> str:
        limits = f", at most {self.max_raters} test raters a fold" if self.max_raters is not None else ""
        limits += f", at most {self.max_query} query ratings a rater" if self.max_query is not None else ""
        repeats = f"{self.n_folds} folds, seeds {', '.join(map(str, self.seeds))}"
        return f"{self.name}: {_MEANINGS[self.name]}; support and query share no image group; {repeats}{limits}"

    def folds(self, dataset: Dataset) -> list[Fold]:
        found = [fold for seed in self.seeds for fold in self._repeat(dataset, seed=seed)]
        if not any(fold.query for fold in found):
            raise BeholderError(
                f"{self.name} with {self.n_folds} folds leaves no rater of {dataset.name} with {self.min_query} query ratings: "
                "use fewer folds"
            )
        return found

    def notes(self, dataset: Dataset) -> list[str]:
        tested = {rater for fold in self.folds(dataset) for rater in fold.raters}
        left = len(dataset.used_raters) - len(tested)
        why = f"fewer than {self.min_query} query ratings" + (", or not drawn" if self.max_raters is not None else "")
        return [f"{left} of {len(dataset.used_raters)} raters are never tested ({why})"] if left else []

    def _repeat(self, dataset: Dataset, *, seed: int) -> Iterable[Fold]:
        raters, group_fold = dataset.used_raters, group_folds(dataset, n_folds=self.n_folds, seed=seed)
        if len(raters) < self.n_folds and self.name != "new-image":
            raise BeholderError(f"{dataset.name} has {len(raters)} raters, too few for {self.n_folds} folds: use fewer folds")
        rater_fold = np.full(len(dataset.raters), -1)
        rater_fold[raters] = _balanced(len(raters), n_folds=self.n_folds, generator=np.random.default_rng([seed, 1]))
        row_group, row_rater = group_fold[dataset.rating_image], rater_fold[dataset.rating_rater]
        by_rater = rows_by(dataset.rating_rater)
        for index in range(self.n_folds):
            other_raters, other_groups = row_rater != index, row_group != index
            if self.name == "new-rater-new-image":
                train = other_raters & other_groups
            elif self.name == "new-rater":
                train = other_raters
            else:
                train = other_groups
            tested = raters if self.name == "new-image" else raters[rater_fold[raters] == index]
            query, support = {}, {}
            for rater in some_of(tested, self.max_raters, key=[seed, 2, index]):
                rows = by_rater[int(rater)]
                rows = rows[np.argsort(dataset.rating_image[rows], kind="stable")]  # whatever the order in the file
                generator = np.random.default_rng([seed, 3, zlib.crc32(dataset.raters[rater].encode())])
                rows = generator.permutation(rows)
                asked = rows[row_group[rows] == index][: self.max_query]
                if len(asked) >= self.min_query:
                    query[int(rater)] = np.sort(asked)
                    support[int(rater)] = rows[row_group[rows] != index]
            yield Fold(name=f"seed{seed}-fold{index}", seed=seed, train_rows=np.flatnonzero(train), support=support, query=query)


def group_folds(dataset: Dataset, *, n_folds: int, seed: int) -> np.ndarray:
    """[n_images] fold of each rated image (-1: not rated); whole groups, folds balanced in the number of images.

    Raises:
        BeholderError: there are fewer groups than folds.
    """
    used = dataset.used_images
    names, group, size = np.unique(np.array([dataset.groups[image] for image in used], dtype=str), return_inverse=True, return_counts=True)
    if len(names) < n_folds:
        raise BeholderError(f"{dataset.name} has {len(names)} image groups, too few for {n_folds} folds: use fewer folds")
    order = np.random.default_rng([seed, 5]).permutation(len(names))
    order = order[np.argsort(-size[order], kind="stable")]  # large groups first, each to the fold that has the fewest images
    fold_of, load = np.zeros(len(names), dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for name in order:
        fold_of[name] = int(np.argmin(load))
        load[fold_of[name]] += size[name]
    folds = np.full(len(dataset.images), -1)
    folds[used] = fold_of[group]
    return folds


def get(name: str, **options) -> Protocol:
    """A protocol by name, one of `names()`, with options (or texts of them): fields of its class.

    Raises:
        BeholderError: there is no such protocol, or it has no such option.
    """
    from beholder.evaluation.choice_protocol import ChoicesFromRatings
    from beholder.evaluation.published_folds import PublishedFolds
    from beholder.evaluation.published_parts import PublishedParts
    from beholder.evaluation.seen_unseen import SeenUnseen
    from beholder.evaluation.support_sets import SupportSets
    from beholder.evaluation.zero_shot import ZeroShot

    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise BeholderError(f"there is no protocol {name!r}: {hint}Known are {', '.join(names())}, or a split file with --split")
    kinds = {"published-folds": PublishedFolds, "published-parts": PublishedParts, "seen-unseen": SeenUnseen}
    kinds |= {"zero-shot": ZeroShot, "support-100": SupportSets}
    kind = kinds.get(name.removesuffix("-strict"), CrossValidation)
    protocol = from_texts(kind, {"name": "new-rater-new-image" if name == "choices" else name, **options}, of=f"the protocol {name}")
    return ChoicesFromRatings(base=protocol) if name == "choices" else protocol


def names() -> list[str]:
    """The protocols that `get` knows."""
    from beholder.evaluation import support_sets, zero_shot

    return [*_MEANINGS, "choices", "seen-unseen", *zero_shot.names(), *support_sets.names(), "published-folds", "published-parts"]


_MEANINGS = {
    "new-rater-new-image": "raters and image groups both new: training had neither",
    "new-rater": "raters new; their query images may occur in training with other raters' ratings",
    "new-image": "image groups new; the raters' other ratings (the support among them) are in training",
}


def _balanced(n: int, *, n_folds: int, generator: np.random.Generator) -> np.ndarray:
    """[n] random folds whose sizes differ by at most one."""
    return generator.permutation(np.arange(n) % n_folds)


def rows_by(index: np.ndarray) -> dict[int, np.ndarray]:
    """[n] int -> value -> positions where it stands, ascending."""
    order = np.argsort(index, kind="stable")
    values, starts = np.unique(index[order], return_index=True)
    return {int(value): rows for value, rows in zip(values, np.split(order, starts[1:]), strict=True)} if len(values) else {}


def some_of(values: np.ndarray, most: int | None, *, key: Sequence[int]) -> np.ndarray:
    """At most `most` of the values, drawn at random by `key`, ascending; all as they are if None."""
    if most is None or len(values) <= most:
        return values
    return np.sort(np.random.default_rng(list(key)).choice(values, size=most, replace=False))
