"""Gemma 3: every image a square of one size and 256 tokens, which attend to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from beholder.backbones.vision_tower import _blocks
from beholder.backbones.vlm.base import PreparedImage
from beholder.backbones.vlm.folder_model import FolderModel

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


class Gemma3(FolderModel):
    """Gemma 3 of any size that sees.

    The tokens of an image attend to each other in both directions, as in training; transformers does so if it is given the `token_type_ids`. (The
    authors of arXiv 2604.11374 drop these, so that an image token sees only those above it and to its left.) "Pan and scan", which adds cut-outs of
    elongated images, is off, as it is by default.
    """

    model_types = ("gemma3",)
    placeholder = "<start_of_image>"
    processor_options: ClassVar[dict[str, Any]] = {"do_pan_and_scan": False}

    def prepare(self, image: Image.Image) -> PreparedImage:
        n_tokens = self._size("", "mm_tokens_per_image")
        begin, piece, end = (self._mark(f"{name}_token_index") for name in ("boi", "image", "eoi"))
        return PreparedImage({"pixel_values": self.processed(image)["pixel_values"]}, n_tokens, f"\n\n{begin}{piece * n_tokens}{end}\n\n")

    def _mark(self, name: str) -> str:
        return self.tokenizer.convert_ids_to_tokens(self._size("", name))

    def extra_inputs(self, inputs: Mapping[str, Tensor], image_mask: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": image_mask.long()}

    @property
    def vision_blocks(self) -> Sequence[torch.nn.Module]:
        return _blocks(self.inner.vision_tower)
