"""The protocol of the probing paper: raters with many ratings, a small and a large support set, and query images apart from both.

Source: "What Do Vision-Language Models Encode for Personalized Image Aesthetics Assessment?" (arXiv 2604.11374) and its authors' scripts:
200 raters with 160 ratings or more, seed 42; of each 10 ratings as small support, 100 others as large support, 50 others to predict.
Theirs depends on the order in which a version of pandas counts ties; here raters are shuffled by their ids, and the ratings of each by the
ids of the images.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from beholder.datasets import splits
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.metrics import average_ranks, correlations
from beholder.evaluation.protocols import Fold, Protocol, group_folds, rows_by

_STRICT = "support-100-strict"
_NAMES = ("support-100", _STRICT)
_IMAGE_FOLDS = 5  # of the image groups; support-100-strict keeps the first for the queries
_LEAST_LEFT = 0.1  # share of the images that training must keep, or it shares them with the tested raters
_HARD_IMAGES, _IMAGE_RATERS = 0.1, 3  # share of the images with the largest variance, raters that a variance needs
_HARD_RATERS, _RATER_ITEMS = 50, 30  # at most so many, ratings that a correlation with the image means needs


@dataclass(frozen=True)
class SupportSets(Protocol):
    """One fold per seed. N = `small` gives the small support set, any other N the first N ratings of the large one, which has none of it.

    Args:
        name: "support-100" (as published: images are drawn at random, whatever their group) or "support-100-strict" (query images come from
            a seeded fifth of the image groups, support and training from the others).
        seeds: one repeat each: other raters, other support sets and query images.
        raters: how many are tested: the first in a seeded order of all ids that have enough ratings.
        min_ratings: raters with fewer are not tested; small + large + test if None.
        small, large, test: ratings of each tested rater in the two support sets and to be predicted.
        min_query: where query images are restricted (strict, hard images), raters are tested with so many or more, and with `test` at most.
        image_disjoint: whether scorers may learn from no image that a tested rater has in support or query; "auto": unless that leaves
            fewer than a tenth of the images.
        subset: "hard-images" asks about the tenth of the images with the largest variance of ratings only (of those with 3 raters or more);
            "hard-raters" tests the raters (at most 50) whose ratings agree least with the mean of the others' (Spearman, 30 ratings or more).
    """

    name: str = "support-100"
    seeds: Sequence[int] = (splits.ORDER_SEED,)
    raters: int = 200
    min_ratings: int | None = None
    small: int = 10
    large: int = 100
    test: int = 50
    min_query: int = 10
    image_disjoint: Literal["auto", "yes", "no"] = "auto"
    subset: Literal["all", "hard-images", "hard-raters"] = "all"

    trains = True
    measures = ("srocc", "r2", "personal_r", "mae", "coverage")

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if self.name not in _NAMES:
            raise BeholderError(f"there is no protocol {self.name!r}: known are {', '.join(_NAMES)}")
        for option, low in {"raters": 1, "small": 1, "large": 1, "test": 2, "min_query": 2}.items():
            if getattr(self, option) < low:
                raise BeholderError(f"{self.name}: {option} = {getattr(self, option)} is too few; write {low} or more")
        if self.small == self.large:
            raise BeholderError(f"{self.name}: small = large = {self.small}, so N would not say which support is meant; make them differ")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise BeholderError(f"{self.name} needs one seed per repeat, all different; got {', '.join(map(str, self.seeds)) or 'none'}")
        needed = self.small + self.large + self._fewest_queries
        if self.min_ratings is not None and self.min_ratings < needed:
            raise BeholderError(
                f"{self.name}: min_ratings = {self.min_ratings}, but support and query take {needed} ratings; ask for as many, or make "
                "small, large and test smaller"
            )

    @property
    def shots(self) -> tuple[int, ...]:
        return (self.small, self.large)

    @property
    def averages_repeats(self) -> bool:
        return len(self.seeds) > 1

    @property
    def _needed(self) -> int:
        return self.small + self.large + self.test if self.min_ratings is None else self.min_ratings

    @property
    def _fewest_queries(self) -> int:
        restricted = self.name == _STRICT or self.subset == "hard-images"
        return min(self.min_query, self.test) if restricted else self.test

    @property
    def _most_raters(self) -> int:
        return min(self.raters, _HARD_RATERS) if self.subset == "hard-raters" else self.raters

    def line(self) -> str:
        images = f"{self.test} query images each, split by image alone (near-duplicates may be on both sides)"
        if self.name == _STRICT:
            images = f"up to {self.test} query images each, of a fifth of the image groups that neither support nor training has"
        images += ", of the tenth with the largest variance only" if self.subset == "hard-images" else ""
        who = "that agree least with the others' mean" if self.subset == "hard-raters" else "in a seeded order of their ids"
        training = {
            "auto": "other raters' ratings of images that no tested rater has in support or query, or of any image the protocol allows "
            "where fewer than 10 % of the images would be left (see the notes)",
            "yes": "other raters' ratings of images that no tested rater has in support or query",
            "no": "other raters' ratings, images may be the same",
        }[self.image_disjoint]
        return (
            f"{self.name}: {self._most_raters} raters {who}, with {self._needed} ratings or more; {images}; support of {self.small} ratings "
            f"(N = {self.small}) or of {self.large} others (any other N: the first N of these); training from {training}; "
            f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        )

    def folds(self, dataset: Dataset) -> list[Fold]:
        return [self._fold(dataset, seed=seed)[0] for seed in self.seeds]

    def notes(self, dataset: Dataset) -> list[str]:
        made = [self._fold(dataset, seed=seed) for seed in self.seeds]
        folds, shared = [fold for fold, _ in made], any(shares for _, shares in made)
        found = self._notes_on_ids(dataset)
        tested = sorted({len(fold.raters) for fold in folds})
        if tested[0] < self._most_raters:
            found.append(
                f"{self.name} tests {_span(tested)} of {len(dataset.used_raters)} raters instead of {self._most_raters}: no more have enough "
                "ratings"
            )
        queries = sorted({len(rows) for fold in folds for rows in fold.query.values()})
        if queries[0] < self.test:
            found.append(f"{self.name} asks for {_span([queries[0], queries[-1]])} query images a rater instead of {self.test}")
        if shared:
            found.append(
                "training shares images with the support or query of tested raters (their own ratings are left out): "
                + ("as asked for" if self.image_disjoint == "no" else "without these, fewer than 10 % of the images would be left")
            )
        learned = sorted({len(np.unique(dataset.rating_rater[fold.train_rows])) for fold in folds})
        if not learned[0]:
            found.append("no ratings are left to learn from: scorers are as shipped; test fewer raters (raters=...) if they should learn")
        else:
            found.append(f"training: {_span(learned)} raters, {_span(sorted({len(fold.train_rows) for fold in folds}))} ratings")
        return found

    def _notes_on_ids(self, dataset: Dataset) -> list[str]:
        """Whether the raters are those of the shipped order."""
        known, have = set(_known(dataset)), set(dataset.raters)
        if not known or known == have:
            return []
        return [
            f"{len(known - have)} of the {len(known)} raters in the shipped order of {dataset.name} are not in this dataset, and "
            f"{len(have - known)} of its raters are not in that order: they come after all others"
        ]

    def _fold(self, dataset: Dataset, *, seed: int) -> tuple[Fold, bool]:
        """The fold, and whether its training has images that a tested rater has in support or query."""
        askable, learnable = self._images(dataset, seed=seed)
        place = np.empty(len(dataset.images), dtype=np.int64)
        place[np.argsort(np.array(dataset.image_ids, dtype=str), kind="stable")] = np.arange(len(place))
        by_rater = rows_by(dataset.rating_rater)
        small: dict[int, np.ndarray] = {}
        support: dict[int, np.ndarray] = {}
        query: dict[int, np.ndarray] = {}
        for rater in self._order(dataset, seed=seed):
            if len(query) == self._most_raters:
                break
            rows = by_rater.get(rater, np.zeros(0, dtype=np.int64))
            if len(rows) < self._needed:
                continue
            rows = rows[np.argsort(place[dataset.rating_image[rows]])]  # by image id, whatever the order in the file
            rows = np.random.default_rng([seed, 12, zlib.crc32(dataset.raters[rater].encode())]).permutation(rows)
            asked = rows[askable[dataset.rating_image[rows]]][: self.test]
            given = rows[learnable[dataset.rating_image[rows]] & ~np.isin(rows, asked)]
            if len(asked) >= self._fewest_queries and len(given) >= self.small + self.large:
                query[rater] = np.sort(asked)
                small[rater], support[rater] = given[: self.small], given[self.small : self.small + self.large]
        if not query:
            raise BeholderError(self._why_nobody(dataset))
        trains = ~np.isin(dataset.rating_rater, list(query)) & learnable[dataset.rating_image]
        trains, shared = self._apart(dataset, trains, used=np.concatenate([*query.values(), *small.values(), *support.values()]))
        train_rows = np.flatnonzero(trains)
        return Fold(name=f"seed{seed}", seed=seed, train_rows=train_rows, support=support, query=query, small_support=small), shared

    def _apart(self, dataset: Dataset, trains: np.ndarray, *, used: np.ndarray) -> tuple[np.ndarray, bool]:
        """[n] training rows without the images of the rows `used`, as `image_disjoint` has it; and whether some are left in."""
        taken = np.zeros(len(dataset.images), dtype=bool)
        taken[dataset.rating_image[used]] = True
        apart = trains & ~taken[dataset.rating_image]
        left = len(np.unique(dataset.rating_image[apart]))
        shares = self.image_disjoint == "no" or (self.image_disjoint == "auto" and left < _LEAST_LEFT * len(dataset.used_images))
        return (trains, bool((trains & ~apart).any())) if shares else (apart, False)

    def _images(self, dataset: Dataset, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """[n_images] bool: may be asked about; may be in support and training."""
        askable, learnable = np.ones(len(dataset.images), dtype=bool), np.ones(len(dataset.images), dtype=bool)
        if self.name == _STRICT:
            n_groups = len({dataset.groups[image] for image in dataset.used_images})
            if n_groups < _IMAGE_FOLDS:
                raise BeholderError(
                    f"{dataset.name} has {n_groups} image groups, too few to keep a fifth of them for the queries: use the protocol support-100"
                )
            askable = group_folds(dataset, n_folds=_IMAGE_FOLDS, seed=seed) == 0
            learnable = ~askable
        return (askable & hard_images(dataset) if self.subset == "hard-images" else askable), learnable

    def _order(self, dataset: Dataset, *, seed: int) -> list[int]:
        """Indices of the raters in the order in which they are considered."""
        if self.subset == "hard-raters":
            hard = hard_raters(dataset)
            if not hard:
                raise BeholderError(
                    f"no rater of {dataset.name} has {_RATER_ITEMS} ratings of images that others rated, too, so nobody's agreement is known: "
                    "leave out subset=hard-raters"
                )
            return hard
        index = {rater: i for i, rater in enumerate(dataset.raters)}
        return [index[rater] for rater in rater_order(dataset.raters, seed=seed, known=_known(dataset))]

    def _why_nobody(self, dataset: Dataset) -> str:
        most = int(np.bincount(dataset.rating_rater).max()) if len(dataset.rating_rater) else 0
        if most >= self._needed:
            where = " outside the image groups of the queries" if self.name == _STRICT else ""
            return (
                f"no rater of {dataset.name} with {self._needed} ratings has {self.small + self.large} for support{where} and "
                f"{self._fewest_queries} that may be asked: make small, large and min_query smaller with --protocol-options"
            )
        sizes = f"small={max(1, most // 16)},large={max(2, most * 5 // 8)},test={max(2, most * 5 // 16)}"
        return f"no rater of {dataset.name} has the {self._needed} ratings that {self.name} needs, the most is {most}: " + (
            f"pass --protocol-options {sizes}, or smaller ones" if most >= 8 else "use another protocol"
        )


def rater_order(ids: Sequence[str], *, seed: int, known: Sequence[str] = ()) -> list[str]:
    """`ids` in an order that depends on nothing but ids and seed: those of `known` in its shuffled order first, then the others in theirs.

    With `known` the order stays nearly the same for a copy of a dataset in which some raters are missing or new.
    """
    have = set(ids)
    return [rater for rater in _shuffled(known, seed=seed) if rater in have] + _shuffled(have - set(known), seed=seed)


def hard_images(dataset: Dataset) -> np.ndarray:
    """[n_images] bool: the tenth of the images that raters agree least about, of those with 3 raters or more."""
    images, scores = dataset.rating_image, dataset.rating_score
    count = np.bincount(images, minlength=len(dataset.images))
    mean = np.bincount(images, scores, minlength=len(count)) / np.maximum(count, 1)
    spread = np.bincount(images, (scores - mean[images]) ** 2, minlength=len(count)) / np.maximum(count, 1)
    candidates = np.flatnonzero(count >= _IMAGE_RATERS)
    ids = np.array(dataset.image_ids, dtype=str)[candidates]
    order = candidates[np.lexsort((ids, -np.round(spread[candidates], 9)))]
    hard = np.zeros(len(count), dtype=bool)
    hard[order[: int(np.ceil(_HARD_IMAGES * len(candidates)))]] = True
    return hard


def hard_raters(dataset: Dataset) -> list[int]:
    """Raters with 30 ratings or more of images that others rated, too, those first that agree least with the mean of the others."""
    images, scores = dataset.rating_image, dataset.rating_score
    count = np.bincount(images, minlength=len(dataset.images))
    rows = np.flatnonzero(count[images] > 1)
    others = (np.bincount(images, scores, minlength=len(count))[images] - scores)[rows] / (count[images][rows] - 1)
    unit, size = dataset.rating_rater[rows], len(dataset.raters)
    ranks = [average_ranks(unit, values) for values in (scores[rows], np.round(others, 9))]
    agreement = correlations(unit, *ranks, size=size)
    enough = np.flatnonzero((np.bincount(unit, minlength=size) >= _RATER_ITEMS) & np.isfinite(agreement))
    ids = np.array(dataset.raters, dtype=str)[enough]
    return enough[np.lexsort((ids, np.round(agreement[enough], 9)))].tolist()


def names() -> list[str]:
    """The protocols of this module."""
    return list(_NAMES)


def _known(dataset: Dataset) -> tuple[str, ...]:
    return splits.rater_order(dataset.name) if dataset.name in splits.ORDERS else ()


def _shuffled(ids: Sequence[str] | set[str], *, seed: int) -> list[str]:
    order = sorted(ids)
    random.Random(seed).shuffle(order)
    return order


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
