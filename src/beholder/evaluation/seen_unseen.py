"""Raters that training knows beside raters it does not, tested on the same new images: what knowing a rater from training is worth.

The published setting is PAMELA's ("seen" and "unseen" raters); the folds here are ours, so that any dataset of many raters can be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from beholder.datasets.base import Dataset
from beholder.evaluation.protocols import CrossValidation, Fold, Protocol, some_of

SEEN, UNSEEN = "seen", "unseen"
MIXED = 'measures without "seen" or "unseen" mix seen and unseen raters; seen-unseen.md has them apart'


@dataclass(frozen=True)
class SeenUnseen(Protocol):
    """Fold i asks everybody about image groups of fold i, and trains on the other raters' ratings of the other groups.

    The raters of rater fold i are "unseen": training has none of their ratings. All others are "seen": training has their ratings of the
    other groups. Nobody's ratings of the asked groups are in training. Folds, support and queries are those of `CrossValidation`.

    Args:
        n_folds: k, of raters and of image groups.
        seeds: one repeat each: other rater folds, group folds and support orders.
        min_query: raters with fewer query ratings in a fold are not tested there.
        max_raters: at most so many seen, and so many unseen raters per fold, drawn at random; all if None.
        max_query: at most so many query ratings per rater, drawn at random; all if None.
    """

    name: str = "seen-unseen"
    n_folds: int = 5
    seeds: Sequence[int] = (0,)
    min_query: int = 2
    max_raters: int | None = None
    max_query: int | None = None

    train_has_test_raters: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    shots: ClassVar[Sequence[int]] = (0, 5, 15, 30)
    measures: ClassVar[tuple[str, ...]] = ("srocc", "plcc", "pairwise", "mae")

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", self._unseen.seeds)  # whatever is wrong with the sizes is refused there

    @property
    def _unseen(self) -> CrossValidation:
        sizes = {"n_folds": self.n_folds, "seeds": self.seeds, "min_query": self.min_query, "max_query": self.max_query}
        return CrossValidation(name="new-rater-new-image", **sizes)

    def line(self) -> str:
        limits = f", at most {self.max_raters} seen and {self.max_raters} unseen raters a fold" if self.max_raters is not None else ""
        limits += f", at most {self.max_query} query ratings a rater" if self.max_query is not None else ""
        return (
            f"{self.name}: image groups new to all; training has other ratings of seen raters and none of unseen ones; support and query share "
            f"no image group; {self.n_folds} folds, seeds {', '.join(map(str, self.seeds))}{limits}"
        )

    def folds(self, dataset: Dataset) -> list[Fold]:
        unseen = self._unseen
        return [
            self._both(new_raters, everybody, index=index % self.n_folds)
            for index, (new_raters, everybody) in enumerate(
                zip(unseen.folds(dataset), replace(unseen, name="new-image").folds(dataset), strict=True)
            )
        ]

    def notes(self, dataset: Dataset) -> list[str]:
        return [*replace(self._unseen, name="new-image").notes(dataset), MIXED]

    def _both(self, new_raters: Fold, everybody: Fold, *, index: int) -> Fold:
        """The training rows of `new_raters`, the raters of `everybody`, labelled."""
        parts = {UNSEEN: new_raters.raters, SEEN: sorted(set(everybody.raters) - set(new_raters.raters))}
        labels = {
            int(rater): label
            for number, (label, raters) in enumerate(parts.items())
            for rater in some_of(np.array(raters, dtype=np.int64), self.max_raters, key=[new_raters.seed, 14, index, number])
        }
        support, query = ({rater: rows[rater] for rater in sorted(labels)} for rows in (everybody.support, everybody.query))
        return replace(new_raters, support=support, query=query, labels=labels)
