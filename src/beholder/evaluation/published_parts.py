"""The parts that a dataset's makers published for raters seen and unseen in training (PAMELA), as a protocol.

Learned is from the part "train". Seen raters are asked about their ratings in "test_seen" and give training ratings as support. Unseen raters
have ratings in "test_unseen" only (and some in "val_unseen"): which of these serve as support is not published, so the choice is ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.protocols import Fold, Protocol, rows_by, some_of
from beholder.evaluation.seen_unseen import MIXED, SEEN, UNSEEN


@dataclass(frozen=True)
class PublishedParts(Protocol):
    """One fold: the published parts of a dataset that names them.

    Args:
        seeds: one repeat each: another order of the support, and for unseen raters other ratings of it; the training stays the same.
        part: "test", or "val" for choosing options without a look at the test part.
        max_support: at most so many ratings of an unseen rater are support, the rest is asked. For the test part, ratings in "val_unseen" come
            first (they cost no query), then those in "test_unseen"; for the validation part only its own are used.
        min_query: raters with fewer query ratings are not tested, nor are seen raters of whom train has no rating.
        max_raters: at most so many seen, and so many unseen raters, drawn at random; all if None.
        max_query: at most so many query ratings per rater, drawn at random; all if None.
    """

    name: str = "published-parts"
    seeds: Sequence[int] = (0,)
    part: Literal["test", "val"] = "test"
    max_support: int = 15
    min_query: int = 2
    max_raters: int | None = None
    max_query: int | None = None

    train_has_test_raters: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    shots: ClassVar[Sequence[int]] = (0, 5, 15)
    measures: ClassVar[tuple[str, ...]] = ("srocc", "plcc", "pairwise", "mae")

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if not self.seeds or self.min_query < 1 or self.max_support < 0 or self.part not in ("test", "val"):
            raise BeholderError(
                f"{self.name} needs a seed, min_query 1, max_support 0 and part test or val; got seeds {self.seeds}, min_query "
                f"{self.min_query}, max_support {self.max_support}, part {self.part}"
            )

    def line(self) -> str:
        limits = f", at most {self.max_raters} seen and {self.max_raters} unseen raters" if self.max_raters is not None else ""
        limits += f", at most {self.max_query} query ratings a rater" if self.max_query is not None else ""
        return (
            f"{self.name}: the parts that the dataset's makers published, trained on train, asked about {self.part}_seen and "
            f"{self.part}_unseen; seeds {', '.join(map(str, self.seeds))}{limits}"
        )

    def folds(self, dataset: Dataset) -> list[Fold]:
        rows = self._rows(dataset)
        found = [self._fold(dataset, rows, seed=seed) for seed in self.seeds]
        if not all(set(fold.labels.values()) == {SEEN, UNSEEN} for fold in found):
            raise BeholderError(
                f"{self.name}: no seen or no unseen rater of {dataset.name} has {self.min_query} ratings left to be asked: lower max_support "
                "or min_query, or read the whole dataset"
            )
        return found

    def notes(self, dataset: Dataset) -> list[str]:
        folds = self.folds(dataset)
        tested, learned = folds[0].query, np.unique(dataset.rating_image[folds[0].train_rows])
        images = np.unique(dataset.rating_image[np.concatenate(list(tested.values()))])
        others = "ratings in val_unseen first, then in test_unseen" if self.part == "test" else "ratings in val_unseen"
        return [
            f"support of unseen raters: up to {self.max_support} of their own {others}, in a random order; the rest is asked; the makers' "
            "own choice is not published, so this one is ours",
            f"{int(np.isin(images, learned).sum())} of {len(images)} query images are in training, with other ratings",
            MIXED,
        ]

    def _rows(self, dataset: Dataset) -> dict[str, np.ndarray]:
        """Part -> its rating rows.

        Raises:
            BeholderError: the dataset names no parts, lacks one that is needed, or counts a rater as seen and as unseen.
        """
        parts = np.array(dataset.parts, dtype=str)
        wanted = ("train", f"{self.part}_{SEEN}", f"{self.part}_{UNSEEN}")
        missing = [name for name in wanted if not (parts == name).any()]
        if missing:
            have = ", ".join(sorted(set(parts.tolist()))) or "no published parts"
            raise BeholderError(f"{self.name} needs ratings in {' and '.join(missing)}, but {dataset.name} has {have}: use seen-unseen")
        rows = {name: np.flatnonzero(parts == name) for name in (*wanted, f"val_{UNSEEN}")}
        seen, unseen = (
            np.unique(dataset.rating_rater[np.concatenate(found)]) for found in ([rows[n] for n in wanted[:2]], [rows[wanted[2]]])
        )
        both = np.intersect1d(seen, unseen)
        if len(both):
            raise BeholderError(
                f"{dataset.name} has ratings of {dataset.raters[both[0]]} in {wanted[2]} and in train or {wanted[1]}: an unseen rater must have "
                "none there; correct the parts"
            )
        return rows

    def _fold(self, dataset: Dataset, rows: dict[str, np.ndarray], *, seed: int) -> Fold:
        asked = {label: rows[f"{self.part}_{label}"] for label in (SEEN, UNSEEN)}
        own = {rater: self._shuffled(dataset, found, seed=seed) for rater, found in rows_by_rater(dataset, rows["train"]).items()}
        early = rows_by_rater(dataset, rows[f"val_{UNSEEN}"]) if self.part == "test" else {}
        support, query, labels = {}, {}, {}
        for number, (label, found) in enumerate(asked.items()):
            of_rater = {rater: self._shuffled(dataset, part, seed=seed) for rater, part in rows_by_rater(dataset, found).items()}
            for rater in self._drawn(of_rater, key=[seed, 15, number]):
                left = of_rater[rater]
                if label == SEEN:
                    given = own.get(rater, np.zeros(0, dtype=np.int64))
                else:
                    first = self._shuffled(dataset, early.get(rater, np.zeros(0, dtype=np.int64)), seed=seed)
                    given = np.concatenate([first, left])[: self.max_support]
                    left = left[max(0, len(given) - len(first)) :]
                if len(left) >= self.min_query and (label == UNSEEN or len(own.get(rater, ()))):
                    support[rater], query[rater], labels[rater] = given, np.sort(left[: self.max_query]), label
        return Fold(name=f"seed{seed}-{self.part}", seed=seed, train_rows=rows["train"], support=support, query=query, labels=labels)

    def _drawn(self, of_rater: dict[int, np.ndarray], *, key: Sequence[int]) -> list[int]:
        return some_of(np.array(sorted(of_rater), dtype=np.int64), self.max_raters, key=key).tolist()

    def _shuffled(self, dataset: Dataset, rows: np.ndarray, *, seed: int) -> np.ndarray:
        """The rows of one rater in a random order, whatever their order in the file."""
        if not len(rows):
            return rows
        rows = rows[np.argsort(dataset.rating_image[rows], kind="stable")]
        rater = dataset.raters[dataset.rating_rater[rows[0]]]
        return np.random.default_rng([seed, 16, zlib.crc32(rater.encode())]).permutation(rows)


def rows_by_rater(dataset: Dataset, rows: np.ndarray) -> dict[int, np.ndarray]:
    """Rater -> which of the rows are of that rater."""
    return {rater: rows[places] for rater, places in rows_by(dataset.rating_rater[rows]).items()}
