"""For scorers that need no features: photographs are found, read and compared all the same, but nothing is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from beholder.backbones.base import ImageEncoder

if TYPE_CHECKING:
    from PIL import Image


class NoEncoder(ImageEncoder):
    """Gives one zero for every photograph that can be decoded; so unreadable ones are named, and equal ones found, as with any encoder."""

    name, revision, preprocessing = "none", "0" * 12, "none"
    layers: ClassVar[Mapping[str, int]] = {"readable": 1}
    concurrent = True
    batch_size = 64

    @property
    def read_size(self) -> int:
        return 1

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.zeros(1, dtype=np.float32)

    def encode(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """[n, 1] zeros."""
        return {"readable": np.zeros((len(inputs), 1), dtype=np.float32)}
