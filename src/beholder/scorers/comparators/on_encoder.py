"""Scorers on the vectors of a public encoder, which come from the feature store: computed once, whoever asks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from beholder.backbones.vision_tower import _read_json
from beholder.backbones.weights import resolve
from beholder.errors import BeholderError
from beholder.scorers.base import FeatureSource
from beholder.scorers.comparators.base import Comparator, Measured
from beholder.scorers.comparators.heads import Head, read_head

CHUNK = 4096  # images whose vectors are held at once


class OnEncoder(Comparator):
    """A scorer that reads one vector of an encoder that its options name, scaled to length 1.

    Args:
        features: of that encoder, its layer "pool"; made from the options if not given.

    Attributes:
        encoder_types: values of `model_type` in config.json that the scorer can be on.
        encoder_options: options that go to the encoder (see `feature_sources`).
    """

    feature_layers: ClassVar[tuple[str, ...]] = ("pool",)
    encoder_types: ClassVar[tuple[str, ...]]
    encoder_options: ClassVar[tuple[str, ...]] = ("device",)

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        self.check_encoder()
        if features is None:
            from beholder.backbones import load_encoder
            from beholder.engine.source import Features

            features = Features(load_encoder(self.options.model, layers=[self.options.layer], device=self.options.device))
        self.features = features

    def check_encoder(self) -> None:
        """Refuse an encoder of another kind, and a CLIP whose vectors are not those that it compares with texts.

        Raises:
            BeholderError: it is one.
        """
        name = self.options.model
        config = _read_json(resolve(name).path / "config.json")
        kind = config.get("model_type")
        if kind not in self.encoder_types:
            raise BeholderError(
                f"{self.name} is on a model of type {' or '.join(self.encoder_types)}, and {name} is of type {kind!r}: get {self.facts.get}"
            )
        if kind == "clip_vision_model" and "CLIPVisionModelWithProjection" not in (config.get("architectures") or ()):
            raise BeholderError(
                f"{name} has no projection, and {self.name} reads projected image embeddings: name the whole CLIP, or a CLIPVisionModelWithProjection"
            )

    def vectors(self, images: Sequence[str]) -> np.ndarray:
        """[n, dim] float64, each of length 1.

        Raises:
            UnreadableImage: one of the images.
        """
        parts = [self.features(images[start : start + CHUNK]).astype(np.float64) for start in range(0, len(images), CHUNK)]
        found = np.concatenate(parts) if parts else np.zeros((0, self.features.dim))
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths > 0, lengths, 1.0)

    @property
    def source(self) -> str:
        return self.features.key


class HeadScorer(OnEncoder):
    """A small published head on normalised vectors.

    Raises:
        BeholderError: no head named, not there, unreadable, or of another width than the encoder's vectors.
    """

    stacked: ClassVar[bool]

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        self.head: Head = read_head(self.options.weights, stacked=self.stacked, get=self.facts.get)
        if self.head.width != self.features.dim:
            raise BeholderError(
                f"the head {self.options.weights} reads vectors of {self.head.width} values, and {self.options.model} gives {self.features.dim}: "
                f"name the encoder that the head was trained on"
            )

    def measured(self, images: Sequence[str]) -> Measured:
        return Measured.of(self.head(self.vectors(images)))

    @property
    def source(self) -> str:
        digest = hashlib.sha256()
        for weight, bias in self.head.layers:
            digest.update(weight.tobytes() + bias.tobytes())
        return f"head@{digest.hexdigest()[:12]}{'-relu' if self.head.relu else ''}/{self.features.key}"
