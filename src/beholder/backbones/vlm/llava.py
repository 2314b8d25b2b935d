"""LLaVA-1.5 and others of its make: the patches of a CLIP or SigLIP tower, one token each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from beholder.backbones.vision_tower import PREFIX, _blocks
from beholder.backbones.vlm.base import Batch, PreparedImage
from beholder.backbones.vlm.folder_model import FolderModel
from beholder.errors import BeholderError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

TOWER = "clip_vision_model"  # if config.json does not say


class Llava(FolderModel):
    """LLaVA-1.5. Its image processor cuts off what lies outside the central square; its chat template puts all images before all words.

    `vision_feature_layer` and `vision_feature_select_strategy` of config.json say which hidden state of the tower is shown to the decoder, and whether
    without its first token ("default") or with it ("full"). V is the mean of just these tokens: with "default" the class token of CLIP is not in it.

    Raises:
        BeholderError: the tower is neither CLIP nor SigLIP (Pixtral shows images at their own size).
    """

    model_types = ("llava",)
    placeholder = "<image>"

    def __init__(self, name: str, *, folder: Path, **options) -> None:
        super().__init__(name, folder=folder, **options)
        tower = self.config.get("vision_config", {}).get("model_type", TOWER)
        if tower not in ("clip_vision_model", "siglip_vision_model"):
            raise BeholderError(f"the vision tower of {name} is of type {tower!r}: name a LLaVA with a tower of CLIP or SigLIP")
        first = self.config.get("vision_feature_select_strategy", "default") == "default"
        self._dropped, self._prefix = int(first), PREFIX[tower]

    def prepare(self, image: Image.Image) -> PreparedImage:
        pixels, patch = self.processed(image)["pixel_values"], self._size("vision_config", "patch_size")
        n_tokens = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch) + self._prefix - self._dropped
        return PreparedImage({"pixel_values": pixels}, n_tokens, self.placeholder * n_tokens)

    @property
    def vision_blocks(self) -> Sequence[torch.nn.Module]:
        return _blocks(self.inner.vision_tower)

    def vision_tokens(self, output: Tensor, batch: Batch) -> Sequence[Tensor]:
        return output[:, self._dropped :]
