"""Pretrained parts behind small interfaces. Importing this imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from beholder.backbones.vlm import is_vlm
from beholder.options import keywords_from_texts, parse_brackets

if TYPE_CHECKING:
    from beholder.backbones.base import ImageEncoder

DEFAULT_ENCODER = "efficientnet-lite0"


def load_encoder(name: str | os.PathLike = DEFAULT_ENCODER, **options) -> ImageEncoder:
    """An image encoder by name; its weights are loaded when first needed.

    Args:
        name: "efficientnet-lite0", a vision tower (CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3), or a vision-language model (see `vlm.FAMILIES`):
            "beholder-mini", a local folder or a hub repository. Options may stand behind it in brackets: "efficientnet-lite0[size=224]",
            "DIR[fit=pad,device=cpu]", "DIR[layer=LT15+V3]".
        options: keyword arguments of `EfficientNetLite`, `VisionTower` or `HiddenStates`, such as `layers` and `device`; they take precedence
            over those in brackets.

    Raises:
        BeholderError: not found, or an option does not suit it.
    """
    plain, texts = _parse(name)
    if is_default(plain):
        from beholder.backbones.efficientnet_lite import EfficientNetLite as Encoder
    elif is_vlm(plain):
        from beholder.backbones.vlm.hidden_states import HiddenStates as Encoder
    else:
        from beholder.backbones.vision_tower import VisionTower as Encoder
    typed = keywords_from_texts(Encoder.__init__, texts, of=f"the encoder {plain}", without=["layers"])  # scorers choose the layers
    return Encoder(*([] if is_default(plain) else [plain]), **typed | options)


def is_default(name: str | os.PathLike) -> bool:
    """Whether a name, with or without options, is that of the embedded encoder."""
    return _parse(name)[0].lower() == DEFAULT_ENCODER


def default_layers(name: str | os.PathLike) -> tuple[str, ...]:
    """The layers that `load_encoder(name)` computes if it is asked for none."""
    if is_default(name):
        from beholder.backbones.efficientnet_lite import LAYERS

        return tuple(LAYERS)
    plain, texts = _parse(name)
    if is_vlm(plain):
        from beholder.backbones.vlm.hidden_states import DEFAULT_LAYERS, split_layers

        return split_layers(texts.get("layer", "")) or DEFAULT_LAYERS
    from beholder.backbones.vision_tower import DEFAULT_LAYERS

    return DEFAULT_LAYERS


def token_layer(name: str | os.PathLike) -> str:
    """The layer that gives an image as a row of tokens, for scorers that read it so: "map@half" or a tower's "tokens"."""
    return "map@half" if is_default(name) else "tokens"


def _parse(name: str | os.PathLike) -> tuple[str, dict[str, str]]:
    """Name and options. What is there as a file or folder is no name with options, whatever brackets it has."""
    text = os.fspath(name)
    if not isinstance(name, str) or Path(text).expanduser().exists():
        return text, {}
    return parse_brackets(text, of="the encoder")
