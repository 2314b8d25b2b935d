"""What weights were trained on: enough to warn of leakage later, without keeping photographs or names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import UnreadableImage
from beholder.photos import content_hash


def fingerprints(images: Sequence[str | os.PathLike]) -> np.ndarray:
    """[n] uint64: the first 8 bytes of a hash of each image's content hash; of the path where there is no such file."""
    out = np.empty(len(images), dtype=np.uint64)
    for i, image in enumerate(images):
        try:
            text = content_hash(image)
        except (OSError, UnreadableImage):  # a simulated dataset has no files
            text = os.fspath(image)
        out[i] = int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "big")
    return out


def identity(tensors: Mapping[str, np.ndarray]) -> str:
    """8 hex digits of a hash of everything learned: other weights, other version."""
    digest = hashlib.blake2b(digest_size=4)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def describe(train: Dataset) -> dict[str, object]:
    """For config.json and the model card."""
    return {
        "dataset": train.name,
        "licence": train.licence,
        "citation": train.citation,
        "raters": len(train.used_raters),
        "images": len(train.used_images),
        "ratings": len(train.rating_score),
        "scale": str(train.scale),
    }
