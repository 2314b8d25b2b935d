"""The modules of `beholder-mini`: an image encoder and a language model with P-MLLM's fusion in its lowest blocks, called like one model of transformers.

An image takes no place among the tokens. `looks_at` says for each of them which image it looks at: the last one that stands before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from beholder.backbones.efficientnet_lite import Block, Convolution, Network, convolved, normalised, through
from beholder.scorers.pmllm.model import PMLLM, ImageTokens

KEPT = "beholder_looked_at"  # attribute of a key/value cache: the image that its last tokens looked at


class Stage(nn.Module):
    """A part of the encoder: [m, in, h, w] -> [m, out, h', w']. In a module so that its output can be listened to; it is never trained."""

    def __init__(self, part: Block | Convolution) -> None:
        super().__init__()
        self._part = part

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self._part) if isinstance(self._part, Convolution) else through(x, self._part)


class Tower(nn.Module):
    """EfficientNet-Lite0 up to its head map of the image at half the size, which the fusion modules were trained on (layer "map@half").

    `blocks`: its 16 blocks and the convolution that makes the head map.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.stem = Stage(network.stem)
        self.blocks = nn.ModuleList(Stage(part) for part in (*network.blocks, network.head))

    def forward(self, pixels: Tensor) -> Tensor:
        """[m, 448, 448, 3] bytes -> [m, 49, 1280] float32."""
        x = self.stem(F.avg_pool2d(normalised(pixels), 2))
        for block in self.blocks:
            x = block(x)
        return x.flatten(2).transpose(1, 2)


class MiniModel(nn.Module):
    """Images and tokens -> last hidden states.

    Args:
        pmllm: the language model with trained fusion modules.
        tower: the image encoder.
    """

    def __init__(self, pmllm: PMLLM, tower: Tower) -> None:
        super().__init__()
        self.visual, self.fused, self.language_model = tower, pmllm, pmllm.language.model

    def forward(self, **inputs: Any) -> Any:
        """What the inner model of transformers returns; `inputs` are its own and those of `seeing`."""
        with self.seeing(inputs) as own:
            return self.language_model(**own)

    @contextmanager
    def seeing(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Within it, the language model sees the images of these inputs; gives the inputs that are its own.

        Args:
            inputs: pixel_values: [m, 448, 448, 3] bytes, all images of the batch; they may be missing.
                looks_at: [n, s] which of them each token looks at; -1 for none, or for the one that a cache ended with. All -1 if missing.
                past_key_values: keeps the image that its last tokens look at, for the tokens that will follow.
        """
        own = {name: value for name, value in inputs.items() if name not in ("pixel_values", "looks_at")}
        pixels, looks_at, cache = inputs.get("pixel_values"), inputs.get("looks_at"), inputs.get("past_key_values")
        if looks_at is None:
            looks_at = torch.full_like(inputs["input_ids"], -1)
        images = [] if pixels is None or not len(pixels) else [self.fused.image_tokens(self.visual(pixels))]
        before = getattr(cache, KEPT, None)
        if before is not None:
            n, kept = len(looks_at), len(before.keys[0])
            rows = torch.arange(n, device=looks_at.device)
            images.insert(0, before.rows(rows // (n // kept)))  # fewer rows were kept than go on if each was repeated since
            looks_at = torch.where(looks_at < 0, rows[:, None], looks_at + n)
        if not images:
            yield own
            return
        known = _joined(images)
        if cache is not None:
            last = known.rows(looks_at[:, -1])
            setattr(cache, KEPT, ImageTokens(tuple(k.detach() for k in last.keys), tuple(v.detach() for v in last.values)))
        shown, visible = _arranged(known, looks_at)
        mask = looks_at >= 0
        with self.fused.seeing(shown, mask=None if bool(mask.all()) else mask, visible=visible):
            yield own


class MiniForAnswers(nn.Module):
    """Images and tokens -> logits of the next token.

    Args:
        model: the same without the head.
    """

    def __init__(self, model: MiniModel) -> None:
        super().__init__()
        self.model, self.language = model, model.fused.language

    @property
    def config(self) -> Any:
        return self.language.config

    @property
    def generation_config(self) -> Any:
        return self.language.generation_config

    def get_output_embeddings(self) -> nn.Module:
        return self.language.lm_head

    def forward(self, **inputs: Any) -> Any:
        with self.model.seeing(inputs) as own:
            return self.language(**own)

    def generate(self, **inputs: Any) -> Tensor:
        """`generate` of transformers for a batch padded on the left: [n, s + new]. One answer a row, without beams."""
        with self.model.seeing(inputs) as own:
            return self.language.generate(**own)


def _joined(parts: list[ImageTokens]) -> ImageTokens:
    """All images of several lists of them, and an empty one, which adds nothing to what looks at it: its values are zero."""

    def together(blocks: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([*blocks, torch.zeros_like(blocks[0][:1])])

    keys, values = ([getattr(part, name) for part in parts] for name in ("keys", "values"))
    return ImageTokens(*(tuple(map(together, zip(*lists, strict=True))) for lists in (keys, values)))


def _arranged(images: ImageTokens, looks_at: Tensor) -> tuple[ImageTokens, Tensor | None]:
    """(images of the rows, which of their tokens each position looks at), as `PMLLM.seeing` wants them.

    Args:
        images: [m + 1]; the last one is empty.
        looks_at: [n, s] indices, -1 for none.
    """
    last = looks_at.amax(1)
    if bool(((looks_at == last[:, None]) | (looks_at < 0)).all()):  # one image a row, by far the most frequent case
        return images.rows(last), None
    several = [row.unique() for row in looks_at]  # ascending, that is in the order in which they stand there
    most = max(map(len, several))
    index = torch.stack([F.pad(one, (0, most - len(one)), value=-1) for one in several])
    place = torch.stack([torch.searchsorted(one, row) for one, row in zip(several, looks_at, strict=True)])

    def beside(part: Tensor) -> Tensor:
        """[m + 1, KV, t, d] -> [n, KV, most * t, d]"""
        return part[index].transpose(1, 2).flatten(2, 3)

    visible = place[..., None] == torch.arange(most, device=place.device)
    visible = visible.repeat_interleave(images.keys[0].shape[2], dim=-1)
    return ImageTokens(tuple(map(beside, images.keys)), tuple(map(beside, images.values))), visible
