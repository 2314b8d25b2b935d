"""What can be written in the brackets behind a comparator's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beholder.errors import BeholderError

CLIP_L14 = "openai/clip-vit-large-patch14"
SIGLIP_384 = "google/siglip-so400m-patch14-384"
PICKSCORE = "yuvalkirstain/PickScore_v1"
HPSV3 = "MizzenAI/HPSv3"
IMAGE_REWARD = "ImageReward-v1.0"


@dataclass(frozen=True)
class HeadOptions:
    """Of scorers that are a small head on a public encoder.

    Args:
        weights: the file of the head (.pth or .safetensors); must be given.
        device: of the encoder.
    """

    weights: str = ""
    device: str = "auto"

    @property
    def layer(self) -> str:
        """Which of the encoder's vectors the head reads."""
        return "pool"

    def checked(self, encoder: str) -> str:
        """The encoder, once it is known that there is a head: nobody has to fetch gigabytes to learn that a small file is missing."""
        if not self.weights.strip():
            raise BeholderError(
                "the file of the head is not named: write  weights=FILE  in the brackets (docs/comparators.md says which to get)"
            )
        return encoder


@dataclass(frozen=True)
class LaionOptions(HeadOptions):
    """See `HeadOptions`.

    Args:
        clip: folder or hub repository of the CLIP that the head was trained on: OpenAI's ViT-L/14 for most, ViT-B/32 for some of version 1.
    """

    clip: str = CLIP_L14

    @property
    def model(self) -> str:
        """The encoder."""
        return self.checked(self.clip)


@dataclass(frozen=True)
class SiglipOptions(HeadOptions):
    """See `HeadOptions`.

    Args:
        siglip: folder or hub repository of the SigLIP that the head was trained on.
    """

    siglip: str = SIGLIP_384

    @property
    def model(self) -> str:
        """The encoder."""
        return self.checked(self.siglip)


@dataclass(frozen=True)
class PickScoreOptions:
    """Of `pickscore`.

    Args:
        clip: folder or hub repository with both halves of the model and its tokenizer.
        prompt: for images of which no prompt is known; "" = none.
        device: of both halves.
    """

    clip: str = PICKSCORE
    prompt: str = ""
    device: str = "auto"

    @property
    def model(self) -> str:
        """The encoder."""
        return self.clip

    @property
    def layer(self) -> str:
        """Which of the encoder's vectors is compared with the text."""
        return "pool"


@dataclass(frozen=True)
class LargeOptions:
    """Of scorers that take long for an image.

    Args:
        device: "auto", "cpu", "cuda", ...
        batch: images computed together. More are faster on a GPU, and change a value by rounding errors only.
        keep: whether values are kept on disk, so that no image is computed twice.
    """

    device: str = "auto"
    batch: int = 1
    keep: bool = True


@dataclass(frozen=True)
class QAlignOptions(LargeOptions):
    """See `LargeOptions`.

    Args:
        model: folder or hub repository of a vision-language model that `open_vlm` knows, or a folder with the original; must be given.
        fit: "pad" first makes the image square with bars of CLIP's mean colour, as published; "model" leaves it to the model's own preprocessing.
        max_pixels, dtype: see `beholder.backbones.vlm.open_vlm`.
        remote_code: load the original (model type mplug_owl2), which runs the Python files in its folder: only for a folder you trust.
    """

    model: str = ""
    fit: Literal["pad", "model"] = "pad"
    max_pixels: int = 1_048_576
    dtype: str = "auto"
    remote_code: bool = False


@dataclass(frozen=True)
class HPSv3Options(LargeOptions):
    """See `LargeOptions`.

    Args:
        weights: hub repository, folder or file of HPSv3.safetensors.
        prompt: for images of which no prompt is known; "" = the empty text.
    """

    weights: str = HPSV3
    prompt: str = ""


@dataclass(frozen=True)
class ImageRewardOptions(LargeOptions):
    """See `LargeOptions`.

    Args:
        weights: "ImageReward-v1.0", which the package image-reward fetches, or the file ImageReward.pt.
        med_config: the file med_config.json that goes with it; fetched by the package if "".
        prompt: for images of which no prompt is known; "" = none.
    """

    weights: str = IMAGE_REWARD
    med_config: str = ""
    prompt: str = ""
