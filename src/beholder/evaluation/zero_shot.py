"""The protocol of zero-shot papers: random test raters of whom no rating is known, many draws of their query images, many repeats.

Source: P-MLLM (arXiv 2604.17233, section 4.1), which follows PARA: 40 random raters are tested, all others train with up to 1000 ratings
each, images that more training raters rated first; 50 query images per test rater, drawn and evaluated 10 times; the whole, training
included, 10 times.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.protocols import Fold, Protocol, group_folds, rows_by

_MEANINGS = {
    "zero-shot": "raters new; their query images may occur in training with other raters' ratings",
    "zero-shot-strict": "raters and image groups both new: training had neither",
}
_SMALLEST = 4  # raters: one to test, three to learn from


@dataclass(frozen=True)
class ZeroShot(Protocol):
    """Test raters without any support rating, many draws of query images, one training per repeat.

    Where a dataset is smaller than the protocol, sizes shrink and a note says so: at most a quarter of the raters is tested, and the
    number of query images is at most what half of the raters can give. Raters with fewer ratings than that are not tested.

    Args:
        name: "zero-shot" (as published: raters are new, images need not be) or "zero-shot-strict" (query images come from one image fold,
            which training does not see).
        seeds: one repeat each: other test raters, other draws, another training.
        test_raters: how many are tested in each repeat.
        query: query images of each test rater in each draw.
        draws: of query images, in each repeat.
        max_records: training ratings per rater; images rated by more training raters first, ties at random but alike for all raters.
        image_folds: "zero-shot-strict" keeps one of so many folds of image groups for the queries.
    """

    name: str = "zero-shot"
    seeds: Sequence[int] = tuple(range(10))
    test_raters: int = 40
    query: int = 50
    draws: int = 10
    max_records: int = 1000
    image_folds: int = 5

    gives_support = False
    trains = True
    averages_repeats = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if self.name not in _MEANINGS:
            raise BeholderError(f"there is no protocol {self.name!r}: known are {', '.join(_MEANINGS)}")
        least = {"test_raters": 1, "query": 2, "draws": 1, "max_records": 1, "image_folds": 2}
        for option, low in least.items():
            if getattr(self, option) < low:
                raise BeholderError(f"{self.name}: {option} = {getattr(self, option)} is too few; write {low} or more")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise BeholderError(f"{self.name} needs one seed per repeat, all different; got {', '.join(map(str, self.seeds)) or 'none'}")

    def line(self) -> str:
        images = f", one of {self.image_folds} image folds for the queries" if self.name == "zero-shot-strict" else ""
        repeats = f"{len(self.seeds)} repeats (seeds {', '.join(map(str, self.seeds))})"
        return (
            f"{self.name}: {_MEANINGS[self.name]}; no rating of the tested raters known; {self.test_raters} random test raters, "
            f"{self.query} query images each, drawn {self.draws} times, {repeats}, at most {self.max_records} training ratings a rater{images}"
        )

    def folds(self, dataset: Dataset) -> list[Fold]:
        """One fold per repeat: its query rows are the union of the draws, so that a scorer is trained and asked once."""
        return [self._fold(dataset, seed=seed) for seed in self.seeds]

    def notes(self, dataset: Dataset) -> list[str]:
        tests, queries, left = (sorted(set(sizes)) for sizes in zip(*(self._sizes(dataset, seed=seed) for seed in self.seeds), strict=True))
        found = []
        if tests[0] < self.test_raters:
            found.append(
                f"{self.name} tests {_span(tests)} raters a repeat instead of {self.test_raters}: {dataset.name} has "
                f"{len(dataset.used_raters)} raters, and at most a quarter of them is tested"
            )
        if queries[0] < self.query:
            found.append(
                f"{self.name} draws {_span(queries)} query images a rater instead of {self.query}: fewer than half of the raters "
                "of this dataset have more that may be asked"
            )
        if left[-1]:
            found.append(f"{_span(left)} of {len(dataset.used_raters)} raters have too few query images and are never tested")
        return found

    def _fold(self, dataset: Dataset, *, seed: int) -> Fold:
        n_tests, n_query, _ = self._sizes(dataset, seed=seed)
        image_may_be_asked, rows_of = self._askable(dataset, seed=seed)
        candidates = np.array(sorted(rater for rater, rows in rows_of.items() if len(rows) >= n_query), dtype=np.int64)
        tested = np.sort(np.random.default_rng([seed, 8]).choice(candidates, size=n_tests, replace=False)).tolist()
        draws: list[dict[int, np.ndarray]] = [{} for _ in range(self.draws)]
        for rater in tested:
            rows = rows_of[rater]
            rows = rows[np.argsort(dataset.rating_image[rows], kind="stable")]  # whatever the order in the file
            generator = np.random.default_rng([seed, 9, zlib.crc32(dataset.raters[rater].encode())])
            for drawn in draws:
                drawn[rater] = np.sort(generator.choice(rows, size=n_query, replace=False))
        trains = ~np.isin(dataset.rating_rater, tested)
        if self.name == "zero-shot-strict":
            trains &= ~image_may_be_asked[dataset.rating_image]
        return Fold(
            name=f"seed{seed}",
            seed=seed,
            train_rows=most_rated_first(dataset, np.flatnonzero(trains), most=self.max_records, seed=seed),
            support={},
            query={rater: np.unique(np.concatenate([drawn[rater] for drawn in draws])) for rater in tested},
            draws=tuple(draws),
        )

    def _askable(self, dataset: Dataset, *, seed: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """[n_images] bool: may be a query image; and the rating rows of each rater that are of such an image."""
        askable = np.ones(len(dataset.images), dtype=bool)
        if self.name == "zero-shot-strict":
            n_groups = len({dataset.groups[image] for image in dataset.used_images})
            if n_groups < self.image_folds:
                raise BeholderError(
                    f"{dataset.name} has {n_groups} image groups, too few to keep one of {self.image_folds} folds for the queries: "
                    "use fewer image_folds, or the protocol zero-shot"
                )
            askable = group_folds(dataset, n_folds=self.image_folds, seed=seed) == 0
        rows = np.flatnonzero(askable[dataset.rating_image])
        return askable, {rater: rows[places] for rater, places in rows_by(dataset.rating_rater[rows]).items()}

    def _sizes(self, dataset: Dataset, *, seed: int) -> tuple[int, int, int]:
        """Test raters, query images per draw, and raters with too few of these, in one repeat."""
        n_raters = len(dataset.used_raters)
        if n_raters < _SMALLEST:
            raise BeholderError(f"{dataset.name} has {n_raters} raters, too few for {self.name}: it needs {_SMALLEST} or more")
        _, rows_of = self._askable(dataset, seed=seed)
        counts = np.array([len(rows_of.get(int(rater), ())) for rater in dataset.used_raters])
        n_query = min(self.query, int(np.sort(counts)[n_raters // 2]))
        if n_query < 2:
            raise BeholderError(
                f"{self.name}: half of the raters of {dataset.name} have fewer than 2 ratings that may be asked, and a correlation "
                "needs 2: more ratings per rater, or another protocol"
            )
        candidates = int((counts >= n_query).sum())
        return min(self.test_raters, n_raters // 4, candidates), n_query, n_raters - candidates


def most_rated_first(dataset: Dataset, rows: np.ndarray, *, most: int, seed: int) -> np.ndarray:
    """At most `most` of each rater's rows: those of images that more raters rated in `rows`, ties in one random order for all raters.

    Args:
        rows: [n] rating rows, ascending.
        most: per rater.
        seed: of the order of images rated equally often.

    Returns:
        [m] rows, ascending.
    """
    image, rater = dataset.rating_image[rows], dataset.rating_rater[rows]
    count = np.bincount(image, minlength=len(dataset.images))
    tie = np.random.default_rng([seed, 10]).permutation(len(dataset.images))
    order = np.lexsort((tie[image], -count[image], rater))
    starts = np.searchsorted(rater[order], rater[order])  # where the rater's rows begin
    return np.sort(rows[order[np.arange(len(order)) - starts < most]])


def names() -> list[str]:
    """The protocols of this module."""
    return list(_MEANINGS)


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
