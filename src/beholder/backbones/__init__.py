"""Pretrained parts behind small interfaces. Importing this imports no torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beholder.backbones.base import ImageEncoder

DEFAULT_ENCODER = "efficientnet-lite0"


def load_encoder(name: str | os.PathLike = DEFAULT_ENCODER, **options) -> ImageEncoder:
    """An image encoder by name; its weights are loaded when first needed.

    Args:
        name: "efficientnet-lite0", or a vision tower (CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3): a local folder or a hub repository.
        options: keyword arguments of `EfficientNetLite` or `VisionTower`, such as `layers` and `device`.

    Raises:
        BeholderError: not found, or an option does not suit it.
    """
    if os.fspath(name).lower() == DEFAULT_ENCODER:
        from beholder.backbones.efficientnet_lite import EfficientNetLite

        return EfficientNetLite(**options)
    from beholder.backbones.vision_tower import VisionTower

    return VisionTower(name, **options)
