"""What every scorer is: images + rater in, predictions with intervals out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from beholder.prediction import Predictions
from beholder.rater import Rater

if TYPE_CHECKING:
    from beholder.about import About
    from beholder.datasets.base import Dataset

COVERAGE = 0.90  # every interval of every scorer aims at this share


class FeatureSource(Protocol):
    """Gives the features of images; hides encoder, store and cache (see `beholder.features`)."""

    dim: int
    key: str  # encoder, revision, layers, preprocessing: features of different keys must not be mixed

    def __call__(self, images: Sequence[str | os.PathLike]) -> np.ndarray:
        """[n, dim] float32, in the order of `images`. Raises `UnreadableImage` if one cannot be read."""


class Scorer(ABC):
    """Predicts how much a rater will like images.

    Attributes:
        name: as in `beholder.load(name)` and in the column `scorer`.
        version: changes whenever the same input may give another score.
        uses_ratings, uses_profile: whether those of the rater change the answer.
        self_contained: whether it works with nothing but what the package brings; else its options must name a model.
        slow_part: what takes seconds to load before the first image is looked at, so that people who wait can be told; "" if nothing does.
    """

    name: ClassVar[str]
    uses_ratings: ClassVar[bool] = True
    uses_profile: ClassVar[bool] = False
    self_contained: ClassVar[bool] = True
    slow_part: ClassVar[str] = ""
    version: str = "0"

    @abstractmethod
    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        """Expected ratings with 90 % intervals on the rater's own scale, in the order of `images`.

        Ratings and choices of `rater` name images by paths that can be read as given (resolve them first). The answer for an
        image depends neither on the other images nor on their order.
        """

    @abstractmethod
    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> Scorer:
        """Learn from other raters: `train` holds only rows that may be used. Returns self.

        Args:
            progress: called with (steps done, steps in all, what is done now).

        A scorer that can learn from further datasets together with `train`, each on its own scale, takes `others: Sequence[Dataset] = ()`
        as well, and one whose training can be interrupted `checkpoints`: a folder. What is known of the images of all of them beside
        their pixels is in the datasets (`Dataset.about`).
        """

    def tell(self, about: Mapping[str, About]) -> None:  # noqa: B027  a scorer that reads nothing but pixels ignores it
        """What is known of images beside their pixels, for scorers that read prompts or metadata; by default it is ignored.

        Args:
            about: path, as later given to `predict`, -> prompt and metadata. Adds to what was told before, newer entries count.
        """

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """Several raters at once; scorers override it where sharing work between raters pays."""
        return [self.predict(images, rater) for images, rater in requests]

    def frozen_models(self) -> list[Any]:
        """Models that it reads and never trains (encoders, VLMs); those that have `trained_on(images)` can tell whether they know the images."""
        source = getattr(self, "features", None)
        return [part.encoder for part in getattr(source, "parts", [source]) if hasattr(part, "encoder")]

    def notes(self) -> list[str]:
        """What the user should hear after predictions, one sentence each: what was sent, paid, or left without an answer."""
        return []

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """Write config.json, safetensors and a model card into `folder`."""
        raise TypeError(f"{self.name} has nothing trained to save")
