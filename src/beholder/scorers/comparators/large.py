"""What scorers that take long for an image share: values are on disk before they are used, so that nothing is computed twice."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.errors import BeholderError
from beholder.photos import content_hash
from beholder.scorers.base import FeatureSource
from beholder.scorers.comparators.base import Comparator, Measured


class LargeScorer(Comparator):
    """A scorer that computes value and standard deviation of an image from its pixels and its prompt, and keeps both.

    Raises:
        BeholderError: batch below 1.
    """

    feature_layers = ()  # no encoder looks at the images

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        if self.options.batch < 1:
            raise BeholderError(f"batch = {self.options.batch} is too small: give 1 or more")
        self._known: dict[str, tuple[float, float]] = {}
        self._cache = ReplyCache() if self.options.keep else None

    @abstractmethod
    def compute(self, images: Sequence[str], prompts: Sequence[str]) -> list[tuple[float, float]]:
        """(value, standard deviation) of at most `options.batch` images.

        Raises:
            UnreadableImage: one of the images.
        """

    def measured(self, images: Sequence[str]) -> Measured:
        prompts = self.prompts(images) if self.facts.prompt != "none" else [""] * len(images)
        keys = [self._key(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        unknown = {key for key in keys if key not in self._known}
        if self._cache and unknown:
            self._known |= {key: _read(reply.text) for key, reply in self._cache.get_many(unknown).items()}
        wanted = {key: pair for key, *pair in zip(keys, images, prompts, strict=True) if key not in self._known}
        missing = list(wanted)
        for start in range(0, len(missing), self.options.batch):
            if self.progress:
                self.progress(start, len(missing))
            some = missing[start : start + self.options.batch]
            made = self.compute([wanted[key][0] for key in some], [wanted[key][1] for key in some])
            for key, (value, sigma) in zip(some, made, strict=True):
                if not np.isfinite([value, sigma]).all():
                    raise BeholderError(f"{self.name} gives no number for {wanted[key][0]}: try dtype=float32 if the model has that option")
                self._known[key] = (float(value), float(sigma))
                if self._cache:
                    self._cache.put(key, Reply(f"{float(value)!r} {float(sigma)!r}"))
        if self.progress and missing:
            self.progress(len(missing), len(missing))
        found = np.array([self._known[key] for key in keys], dtype=np.float64).reshape(len(keys), 2)
        return Measured(found[:, 0], found[:, 1])

    def _key(self, image: str, prompt: str) -> str:
        """Of all that decides the value: the image by its content, not by its path."""
        parts = [self.name, self.source, content_hash(image), prompt]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _read(text: str) -> tuple[float, float]:
    value, sigma = text.split()
    return float(value), float(sigma)
