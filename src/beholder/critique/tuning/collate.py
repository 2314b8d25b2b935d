"""Several examples as tensors. Padded on the right; a batch of text alone gets an image that nothing looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beholder.backbones.vlm.base import IGNORED


@dataclass(frozen=True)
class Collator:
    """Puts examples (see `data.Examples`) together.

    With nothing to see in a batch, the projector would take no part in it, and training on several devices would wait for its gradient for ever.
    So a black image stands behind the first conversation there, masked: nothing attends to it, no label comes after it, and its gradient is 0.

    Args:
        padding: token that fills up shorter conversations.
        image_token, image_tokens: the token that stands for a piece of an image, and how many an image takes.
        pixels: shape of an image, [1, 3, side, side].
    """

    padding: int
    image_token: int
    image_tokens: int
    pixels: tuple[int, ...]

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask`, `labels` [n, s]; `pixel_values` [images, 3, side, side]."""
        seen = [example["pixels"] for example in examples if example["pixels"] is not None]
        tails = [[] for _ in examples]
        if not seen:
            seen, tails[0] = [np.zeros(self.pixels, dtype=np.float32)], [self.image_token] * self.image_tokens
        longest = max(len(example["ids"]) + len(tail) for example, tail in zip(examples, tails, strict=True))
        ids = torch.full((len(examples), longest), self.padding, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, (example, tail) in enumerate(zip(examples, tails, strict=True)):
            n = len(example["ids"])
            ids[row, :n], labels[row, :n], mask[row, :n] = torch.tensor(example["ids"]), torch.tensor(example["labels"]), 1
            ids[row, n : n + len(tail)] = torch.tensor(tail, dtype=torch.long)
        pixels = torch.from_numpy(np.concatenate(seen).astype(np.float32))
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}
