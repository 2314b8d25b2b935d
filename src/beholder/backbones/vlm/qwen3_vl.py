"""Qwen3-VL: images at their own size, all their patches in one sequence, DeepStack in the first blocks of the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from beholder.backbones.vlm.base import Batch, PreparedImage
from beholder.backbones.vlm.folder_model import FolderModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MOST_ELONGATED = 199  # sides of which the image processor refuses 200 : 1 and more


class Qwen3VL(FolderModel):
    """Qwen3-VL of any size.

    The patches of all images of a batch are one sequence, so `pixel_values` [patches, values] and `image_grid_thw` [images, 3] go one after the
    other. What DeepStack adds to the first hidden states is added after they are read, as in transformers.
    """

    model_types = ("qwen3_vl",)
    placeholder = "<|image_pad|>"

    def prepare(self, image: Image.Image) -> PreparedImage:
        width, height = image.size
        narrowest = -(-max(width, height) // MOST_ELONGATED)
        if min(width, height) < narrowest:  # a line rather than a picture: made a little broader, so that one such file stops nothing
            image = image.resize((max(width, narrowest), max(height, narrowest)), Image.Resampling.NEAREST)
        arrays = self.processed(image)
        n_tokens = int(arrays["image_grid_thw"].prod()) // self.processor.merge_size**2
        return PreparedImage(arrays, n_tokens, self.placeholder * n_tokens)

    def extra_inputs(self, inputs: Mapping[str, Tensor], image_mask: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": image_mask.int()}

    @property
    def vision_blocks(self) -> Sequence[torch.nn.Module]:
        return self.inner.visual.blocks

    def vision_tokens(self, output: Tensor, batch: Batch) -> Sequence[Tensor]:
        """Before the merger a patch is a token: those of each image, merge_size squared times as many as its tokens in the decoder."""
        return output.split(batch.inputs["image_grid_thw"].prod(-1).tolist())

    def positions(self, batch: Batch) -> Tensor:
        wanted = ("input_ids", "attention_mask", "image_grid_thw", "mm_token_type_ids")
        if "image_grid_thw" not in batch.inputs:
            return super().positions(batch)
        return self.inner.get_rope_index(**{name: batch.inputs[name] for name in wanted})[0]
