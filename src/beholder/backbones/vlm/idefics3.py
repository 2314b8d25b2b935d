"""Idefics3 and SmolVLM: an image is cut into square tiles, each with its row and column, and an overview of the whole comes last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from beholder.backbones.vision_tower import _blocks
from beholder.backbones.vlm.base import Batch, PreparedImage
from beholder.backbones.vlm.folder_model import FolderModel

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

AROUND, OVERVIEW = "<fake_token_around_image>", "<global-img>"


class Idefics3(FolderModel):
    """Idefics3 and SmolVLM (its second version, too; images only).

    The model's own preprocessing brings the longer side of every image, of a small one, too, to one length. `max_pixels` bounds this: it is shortened
    by whole tiles until all tiles together have no more pixels, down to one. The overview, one tile more, is not counted. V is the mean over all
    tokens of all tiles and the overview.
    """

    model_types = ("idefics3", "smolvlm")
    placeholder = "<image>"

    def prepare(self, image: Image.Image) -> PreparedImage:
        size = {"size": {"longest_edge": self._longest(image.size)}} if self.processor.do_image_splitting else {}
        made = self.processor(images=[[image]], return_row_col_info=True, return_tensors="np", **size)
        arrays = {name: np.asarray(made[name])[0] for name in ("pixel_values", "pixel_attention_mask")}
        rows, columns = made["rows"][0][0], made["cols"][0][0]
        side = self._size("vision_config", "image_size") // self._size("vision_config", "patch_size") // self._size("", "scale_factor")
        piece = self.placeholder * side**2
        text = "".join(
            "".join(f"{AROUND}<row_{row}_col_{column}>{piece}" for column in range(1, columns + 1)) + "\n" for row in range(1, rows + 1)
        )
        text += ("\n" if rows else "") + f"{AROUND}{OVERVIEW}{piece}{AROUND}"
        return PreparedImage(arrays, len(arrays["pixel_values"]) * side**2, text)

    def _longest(self, size: tuple[int, int]) -> int:
        """Longer side to which an image of (width, height) is brought."""
        tile, longest = self.processor.max_image_size["longest_edge"], self.processor.size["longest_edge"]
        for number in range(-(-longest // tile), 1, -1):
            side = min(longest, number * tile)
            _, rows, columns = self.processor.get_number_of_image_patches(size[1], size[0], {"size": {"longest_edge": side}})
            if rows * columns * tile**2 <= self.max_pixels:
                return side
        return min(longest, tile)

    def collate(self, images: Sequence[PreparedImage]) -> dict[str, Tensor]:
        """The tiles of all images as if they were of one: [1, tiles, 3, side, side] and the mask of their pixels. The model knows no more of it."""
        return {name: tensor[None] for name, tensor in super().collate(images).items()}

    @property
    def decoder(self) -> torch.nn.Module:
        return self.inner.text_model

    @property
    def vision_blocks(self) -> Sequence[torch.nn.Module]:
        return _blocks(self.inner.vision_model)

    def vision_tokens(self, output: Tensor, batch: Batch) -> Sequence[Tensor]:
        """[tiles, t, width] -> [tiles * t, width] of each image."""
        tiles = [len(image.arrays["pixel_values"]) for image in batch.images]
        return [part.flatten(0, 1) for part in output.split(tiles)]
