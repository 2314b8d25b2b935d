"""The rater folds and image sets that others published for PARA and LAPIS (see `datasets/splits/manifest.json`), as a protocol.

Rater and image sets are used together: learned is from training raters' ratings of training images, tested are the others' ratings of
test images, and support are their ratings of training images. The image list of PARA names validation images only: these are what is
tested there. Numbers of Unified IAA, who published the folds, pool all pairs; those here are per rater, as everywhere in this program.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beholder.datasets.base import Dataset
from beholder.datasets.splits import FILES, FOLDS, published_split
from beholder.errors import BeholderError
from beholder.evaluation.protocols import Fold, Protocol, rows_by


@dataclass(frozen=True)
class PublishedFolds(Protocol):
    """The four published folds of para or lapis.

    Args:
        seeds: one repeat each: another order of the support; test raters and query images stay the same.
        min_query: raters with fewer query ratings are not tested.
        max_query: at most so many query ratings per rater, drawn at random; all if None.
    """

    name: str = "published-folds"
    seeds: Sequence[int] = (0,)
    min_query: int = 2
    max_query: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if not self.seeds or self.min_query < 1:
            raise BeholderError(f"{self.name} needs a seed and min_query 1; got seeds {self.seeds} and min_query {self.min_query}")

    def line(self) -> str:
        limits = f", at most {self.max_query} query ratings a rater" if self.max_query is not None else ""
        return (
            f"{self.name}: raters and images both new, after the {FOLDS} rater folds and the image sets that others published; "
            f"seeds {', '.join(map(str, self.seeds))}{limits}"
        )

    def folds(self, dataset: Dataset) -> list[Fold]:
        tested = self._query_images(dataset)
        # PARA ids are names, LAPIS ids may stand below a folder of their style: names alone are the same in both
        names = [image.rsplit("/", 1)[-1] for image in dataset.image_ids]
        asked_image = np.array([name in tested[0] for name in names], dtype=bool)
        learned_image = np.array([name in tested[1] if tested[1] else name not in tested[0] for name in names], dtype=bool)
        asked, learned = asked_image[dataset.rating_image], learned_image[dataset.rating_image]
        by_rater = rows_by(dataset.rating_rater)
        found = []
        for seed in self.seeds:
            for index in range(1, FOLDS + 1):
                split = published_split(dataset.name, fold=index)
                trains = np.isin(dataset.raters, split.train_raters)[dataset.rating_rater] & learned
                support, query = {}, {}
                for rater in np.flatnonzero(np.isin(dataset.raters, split.test_raters)).tolist():
                    rows = by_rater.get(rater, np.zeros(0, dtype=np.int64))
                    rows = rows[np.argsort(dataset.rating_image[rows], kind="stable")]  # whatever the order in the file
                    rows = np.random.default_rng([seed, 11, zlib.crc32(dataset.raters[rater].encode())]).permutation(rows)
                    if len(rows[asked[rows]]) >= self.min_query:
                        query[rater] = np.sort(rows[asked[rows]][: self.max_query])
                        support[rater] = rows[learned[rows]]
                if query:
                    name = f"seed{seed}-published{index}"
                    found.append(Fold(name=name, seed=seed, train_rows=np.flatnonzero(trains), support=support, query=query))
        if not found:
            raise BeholderError(
                f"no rater of the published folds has {self.min_query} ratings of their test images in {dataset.name}: is it the whole "
                "dataset, with its own ids?"
            )
        return found

    def notes(self, dataset: Dataset) -> list[str]:
        tested = {rater for fold in self.folds(dataset) for rater in fold.raters}
        left = len(dataset.used_raters) - len(tested)
        return [f"{left} of {len(dataset.used_raters)} raters are in no published fold or have too few query ratings"] if left else []

    def _query_images(self, dataset: Dataset) -> tuple[set[str], set[str]]:
        """Names of the images that are asked, and of those that are learned from (empty: all others)."""
        if dataset.name not in FILES:
            raise BeholderError(f"{self.name} are known of {' and '.join(FILES)}, not of {dataset.name}: use another protocol")
        split = published_split(dataset.name)
        return set(split.test_images or split.validation_images), set(split.train_images)
