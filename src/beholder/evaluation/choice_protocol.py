"""Choices in place of ratings: pairs of images that follow from what raters scored, as support and as queries of another protocol."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.protocols import CrossValidation, Fold, Protocol


@dataclass(frozen=True)
class ChoicesFromRatings(Protocol):
    """Another protocol with choices in place of ratings: pairs of images of one group that the rater scored differently.

    Support choices come from the support ratings, query choices from the query ratings; so the two share no image group. No support
    rating is given: choices are all the evidence there is.

    Args:
        base: the protocol whose folds are used.
        max_support, max_query: at most so many choices per rater and fold.
    """

    base: CrossValidation = field(default_factory=CrossValidation)
    max_support: int | None = None
    max_query: int | None = None
    name: str = "choices"

    @property
    def seeds(self) -> Sequence[int]:
        return self.base.seeds

    @property
    def train_has_test_raters(self) -> bool:
        return self.base.train_has_test_raters

    def line(self) -> str:
        return f"{self.name}: choices within image groups, made from ratings, as support and query; {self.base.line()}"

    def notes(self, dataset: Dataset) -> list[str]:
        raters = {rater for fold in self.base.folds(dataset) for rater in fold.raters}
        left = len(raters - {rater for fold in self.folds(dataset) for rater in fold.raters})
        return self.base.notes(dataset) + ([f"{left} raters have no query choice and are not tested"] if left else [])

    def folds(self, dataset: Dataset) -> list[Fold]:
        found = []
        for fold in self.base.folds(dataset):
            pairs = {
                part: {rater: choices_from_ratings(dataset, rows, seed=fold.seed)[:most] for rater, rows in getattr(fold, part).items()}
                for part, most in (("support", self.max_support), ("query", self.max_query))
            }
            query = {rater: choices for rater, choices in pairs["query"].items() if len(choices)}
            support = {rater: pairs["support"][rater] for rater in query}
            found.append(
                replace(
                    fold,
                    support={},
                    query={rater: fold.query[rater] for rater in query},
                    support_choices=support,
                    query_choices=query,
                )
            )
        if not any(fold.query_choices for fold in found):
            raise BeholderError(f"no rater of {dataset.name} scored two images of one group differently: choices need groups (images.csv)")
        return found


def choices_from_ratings(dataset: Dataset, rows: np.ndarray, *, seed: int, within_group: bool = True, margin: float = 0.0) -> np.ndarray:
    """The choices that one rater's ratings imply, in random order.

    Args:
        dataset: where the rows come from.
        rows: [n] rating rows, all of the same rater.
        seed: of the order.
        within_group: only pairs of images of the same group.
        margin: the two scores differ by more than this.

    Returns:
        [c, 2] int image indices (chosen, other); c may be 0.
    """
    rows = np.asarray(rows, dtype=np.int64)
    rows = rows[np.argsort(dataset.rating_image[rows], kind="stable")]
    scores, images = dataset.rating_score[rows], dataset.rating_image[rows]
    counts = scores[:, None] - scores[None, :] > margin
    if within_group:
        groups = np.array([dataset.groups[image] for image in images])
        counts &= groups[:, None] == groups[None, :]
    chosen, other = np.nonzero(counts)
    pairs = np.stack([images[chosen], images[other]], axis=1)
    rater = dataset.raters[dataset.rating_rater[rows[0]]] if len(rows) else ""
    return np.random.default_rng([seed, 4, zlib.crc32(rater.encode())]).permutation(pairs)
