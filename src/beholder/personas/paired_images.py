"""The random image that a P-MLLM sees with a question that has none (P-MLLM, section 4.4.2)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.scorers.pmllm.model import PMLLM, ImageTokens

IMAGES_TOGETHER = 64


class PairedImages:
    """Pairs questions with images by a hash: not by what else is asked, or when.

    Args:
        model: computes their keys and values, at the first use; they are kept.
        features: [m, t, width] tokens of the image encoder.
        seed: another one, other images.

    Raises:
        BeholderError: there is no image.
    """

    def __init__(self, model: PMLLM, features: np.ndarray, *, seed: int) -> None:
        if not len(features):
            raise BeholderError("there is no image to pair the items with: give at least one, or ask the language model alone")
        self.model, self.features, self.seed = model, np.ascontiguousarray(features, dtype=np.float32), seed
        self._tokens: ImageTokens | None = None
        trained = [tensor.float().cpu().numpy().tobytes() for _, tensor in sorted(model.trained_state().items())]
        # what was trained, the images and the seed
        self.version = f"fusion-{short_hash(repr(model.config).encode(), *trained)}/images-{short_hash(self.features.tobytes())}/seed-{seed}"

    def place(self, persona: str, question: str) -> int:
        """Of the image that goes with a question to a persona."""
        return int(short_hash(json.dumps([self.seed, persona, question]).encode()), 16) % len(self.features)

    def tokens(self, places: np.ndarray) -> ImageTokens:
        """Keys and values of the images at these places."""
        device = self.model.language_model.device
        if self._tokens is None:
            chunks = [self.features[start : start + IMAGES_TOGETHER] for start in range(0, len(self.features), IMAGES_TOGETHER)]
            made = [self.model.image_tokens(torch.from_numpy(chunk).to(device)) for chunk in chunks]
            blocks = range(len(made[0].keys))
            self._tokens = replace(
                made[0],
                keys=tuple(torch.cat([one.keys[block] for one in made]) for block in blocks),
                values=tuple(torch.cat([one.values[block] for one in made]) for block in blocks),
            )
        return self._tokens.rows(torch.from_numpy(places).to(device))


def short_hash(*parts: bytes) -> str:
    """16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
