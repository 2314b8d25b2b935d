"""Which examples make up which training step. A step depends on (seed, epoch, step) only: a resumed training gets the very same batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from beholder.errors import BeholderError
from beholder.scorers.pmllm.example_table import TASKS, Examples

MODES = ("shuffle", "crossed")
_PIAA = TASKS.index("piaa")
_WEIGHTS = (0.1, 10.0)  # least and largest weight of an image, so that no odd one is always or never drawn


class BatchSampler:
    """Batches of example indices, rows of a rater adjacent, as the work on a profile is shared within a batch.

    Args:
        batch_size: examples per step; the last one of an epoch of "shuffle" may be smaller.
        mode: "shuffle": every example once per epoch in random order, as is usual. "crossed": the same few raters on the same few images, for one question
            at a time, so that a step compares raters within images; an epoch has as many steps, each drawn anew. Other tasks keep their share of the steps.
        raters_per_batch: of "crossed"; more are taken where so many do not share enough images.
        disagreement: images are drawn in proportion to (variance between raters / its mean) to this power; 0 = all alike. In "shuffle" such an
            example occurs more than once per epoch, others not in each.
        seed: of everything.

    Raises:
        BeholderError: a value makes no sense, or there is no example.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int = 24,
        mode: str = "shuffle",
        raters_per_batch: int = 8,
        disagreement: float = 0.0,
        seed: int = 0,
    ) -> None:
        if mode not in MODES:
            raise BeholderError(f"there is no sampling mode {mode!r}: choose {' or '.join(MODES)}")
        if batch_size < 1 or raters_per_batch < 1 or disagreement < 0:
            raise BeholderError("batch_size and raters_per_batch must be at least 1, disagreement at least 0")
        if not len(examples):
            raise BeholderError("there is no training example to sample from")
        self.examples, self.batch_size, self.mode, self.seed = examples, batch_size, mode, seed
        self.raters_per_batch = raters_per_batch
        self.steps_per_epoch = -(-len(examples) // batch_size)
        self._plan: tuple[int, np.ndarray] | None = None
        self._blocks = [_Block.of(examples, rows, power=disagreement) for rows in _by_question(examples)]
        self._others = np.flatnonzero(examples.task != _PIAA)
        self._row_weight = np.ones(len(examples))
        for block in self._blocks:
            self._row_weight[block.rows] = block.weight[block.image]

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """[<= batch_size] int64 indices of the examples of a step, sorted by rater.

        Raises:
            IndexError: the epoch has no such step.
        """
        if not 0 <= step < self.steps_per_epoch:
            raise IndexError(f"step {step} of {self.steps_per_epoch}")
        if self.mode == "shuffle":
            rows = self._slice(epoch, step, self._shuffled)
        else:
            share = len(self._others) / len(self.examples)
            before, after = int(step * share), int((step + 1) * share)  # the other tasks' steps, evenly spread
            alone = not self._blocks
            if alone or after > before:
                rows = self._slice(epoch, step if alone else before, self._shuffled_others)
            else:
                rows = self._crossed(np.random.default_rng([self.seed, epoch, step]))
        return rows[np.argsort(self.examples.rater[rows], kind="stable")]

    def batches(self, *, epochs: int, start: tuple[int, int] = (0, 0)) -> Iterator[tuple[int, int, np.ndarray]]:
        """(epoch, step, indices) from `start` = (epoch, step) on."""
        epoch, step = start
        while epoch < epochs:
            for number in range(step, self.steps_per_epoch):
                yield epoch, number, self.batch(epoch, number)
            epoch, step = epoch + 1, 0

    def _slice(self, epoch: int, number: int, plan) -> np.ndarray:
        """The batch at a place of an epoch's order, which is computed once."""
        if self._plan is None or self._plan[0] != epoch:
            self._plan = (epoch, plan(np.random.default_rng([self.seed, epoch])))
        return self._plan[1][number * self.batch_size : (number + 1) * self.batch_size]

    def _shuffled(self, random: np.random.Generator) -> np.ndarray:
        """Every row floor or ceil of its weight times, as many as there are rows, in random order."""
        weight = self._row_weight * (len(self._row_weight) / self._row_weight.sum())
        edges = np.floor(np.append(np.cumsum(weight)[:-1], len(weight)) + random.random()).astype(np.int64)
        times = np.diff(edges, prepend=0)
        return random.permutation(np.repeat(np.arange(len(weight)), times))

    def _shuffled_others(self, random: np.random.Generator) -> np.ndarray:
        return random.permutation(self._others)

    def _crossed(self, random: np.random.Generator) -> np.ndarray:
        sizes = np.array([len(block.rows) for block in self._blocks], dtype=np.float64)
        block = self._blocks[random.choice(len(sizes), p=sizes / sizes.sum())]
        chosen = np.zeros(0, dtype=np.int64)
        for _ in range(self.batch_size):  # once if the raters share enough images
            found = block.crossing(random, n_raters=self.raters_per_batch)
            chosen = np.concatenate([chosen, found[~np.isin(found, chosen)]])[: self.batch_size]
            if len(chosen) == self.batch_size:
                break
        return block.rows[chosen]


@dataclass(frozen=True)
class _Block:
    """The examples of one question for a score.

    Args:
        rows: [n] indices into the examples.
        rater, image: [n] as there.
        weight: [n_images] how often an image is wanted, mean about 1.
        by_rater, by_image: positions in `rows` sorted so, and where each rater or image begins.
        popularity: [n_images] examples of each image.
    """

    rows: np.ndarray
    rater: np.ndarray
    image: np.ndarray
    weight: np.ndarray
    by_rater: tuple[np.ndarray, np.ndarray]
    by_image: tuple[np.ndarray, np.ndarray]
    popularity: np.ndarray

    @classmethod
    def of(cls, examples: Examples, rows: np.ndarray, *, power: float) -> _Block:
        rater, image = examples.rater[rows].astype(np.int64), examples.image[rows].astype(np.int64)
        return cls(
            rows=rows,
            rater=rater,
            image=image,
            weight=_weights(rater, image, examples.integer[rows].astype(np.float64), power=power),
            by_rater=_sorted(rater),
            by_image=_sorted(image),
            popularity=np.bincount(image),
        )

    def crossing(self, random: np.random.Generator, *, n_raters: int) -> np.ndarray:
        """Positions in `rows`: some raters of an image drawn by weight, and all images that two or more of them rated, the most shared mostly first."""
        wanted = self.popularity * self.weight
        anchor = random.choice(len(wanted), p=wanted / wanted.sum())
        own = _part(self.by_image, anchor)
        raters = self.rater[random.choice(own, size=min(n_raters, len(own)), replace=False)]
        rows = np.concatenate([_part(self.by_rater, rater) for rater in raters])
        image = self.image[rows]
        shared = np.bincount(image, minlength=len(self.weight))
        # without replacement, in proportion to weight x 4^(raters who share it): the most shared mostly come first, but not always the same
        key = np.log(self.weight) + np.log(4) * shared + random.gumbel(size=len(shared))
        key[anchor] = np.inf
        met = (shared[image] > 1) | (image == anchor)
        return rows[met][np.argsort(-key[image[met]], kind="stable")]


def _by_question(examples: Examples) -> list[np.ndarray]:
    """Indices of the examples of each question for a score."""
    scored = np.flatnonzero(examples.task == _PIAA)
    return [scored[examples.question[scored] == question] for question in np.unique(examples.question[scored])]


def _weights(rater: np.ndarray, image: np.ndarray, score: np.ndarray, *, power: float) -> np.ndarray:
    """[n_images] (variance between raters on the image / its mean) ** power; raters' means are taken off first. 1 where fewer than three rated."""
    count = np.bincount(image)
    if power == 0:
        return np.ones(len(count))
    residual = score - (np.bincount(rater, weights=score) / np.maximum(np.bincount(rater), 1))[rater]
    mean = np.bincount(image, weights=residual) / np.maximum(count, 1)
    variance = np.bincount(image, weights=(residual - mean[image]) ** 2) / np.maximum(count - 1, 1)
    sure = count >= 3
    average = variance[sure].mean() if sure.any() else 0.0
    if average <= 0:
        return np.ones(len(count))
    return np.where(sure, np.clip((np.maximum(variance, 0) / average) ** power, *_WEIGHTS), 1.0)


def _sorted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.argsort(values, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(values))])


def _part(parts: tuple[np.ndarray, np.ndarray], value: int) -> np.ndarray:
    order, starts = parts
    return order[starts[value] : starts[value + 1]]
