"""The small interface behind which every image encoder sits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


class ImageEncoder(ABC):
    """A frozen pretrained network that turns images into vectors.

    Attributes:
        name: of the model, e.g. "efficientnet-lite0".
        revision: 12 hex digits of the hash of the weights; other weights, other revision.
        preprocessing: names everything done to the pixels, e.g. "squash320-bicubic"; part of the feature key.
        layers: layer name -> dimension of the vector it gives.
        token_widths: layer name -> width of one token, for those of the layers that are several tokens one after the other.
        concurrent: whether `encode` may run in several threads at once.
        batch_size: how many images at a time are best given to `encode`.
    """

    name: str
    revision: str
    preprocessing: str
    layers: Mapping[str, int]
    token_widths: Mapping[str, int] = MappingProxyType({})
    concurrent: bool = False
    batch_size: int = 1

    @property
    @abstractmethod
    def read_size(self) -> int:
        """Shorter side, in pixels, that the encoder needs at least; a decoder may shrink larger photographs down to it."""

    @abstractmethod
    def preprocess(self, image: Image.Image) -> np.ndarray:
        """RGB image -> one input array. Pure CPU work without torch, safe to run in several threads at once."""

    @abstractmethod
    def encode(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs of `preprocess` (shapes may differ) -> for each layer [n, dim] float32.

        The vector of an image depends on nothing but the image: neither on the batch it came in nor on its place.
        """
