"""Hidden states of a vision-language model as features of an image (arXiv 2604.11374): all layers asked for from one forward pass."""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from beholder.backbones.base import ImageEncoder
from beholder.backbones.vlm import MINI, open_vlm
from beholder.backbones.vlm.base import MAX_PIXELS, PreparedImage, VisionLanguageModel, is_out_of_memory
from beholder.backbones.vlm.prompts import prompt_text
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

DEFAULT_LAYERS = ("LT15",)  # after 15 blocks of the decoder, mean over the text tokens: what Linear-Hidden reads
CUDA_BATCH = 8


class HiddenStates(ImageEncoder):
    """What a vision-language model thinks of an image, with one question after it.

    Layers ([n, dim] float32, pooled in float32 whatever the model computes in); 0 is what goes into the first block, i what comes out of block i:
        V{i}: mean over the image's tokens in the vision encoder.
        LT{i}: mean over the text tokens in the decoder; at the number of its blocks after the final norm, as transformers counts hidden states.
        LV{i}: mean over the image's tokens in the decoder; where images take no places in it only LV0, what the text looks at.
        last{i}: the last token in the decoder.

    The forward pass ends after the highest layer, and blocks above it are not loaded. In float32 a vector depends on nothing but the image to 1e-5;
    in bfloat16 images computed together may round differently.

    Args:
        model: a name for `open_vlm`, or an opened model, which is then shared and used as it is.
        layers: names as above; those of `layer` if not given.
        layer: one name or several with + between them.
        prompt: a name of `prompts.PROMPTS` or any text.
        text: which tokens LT is the mean of: "all" as published (whatever is neither image nor padding, so with those of the chat template), or
            "prompt", the words of the prompt only.
        max_pixels: a larger image is made smaller, in its proportions.
        dtype: "auto", "float32", "bfloat16", "float16", "float64"; see `VisionLanguageModel`.
        device: "auto", "cpu", "cuda", ...
        batch: images at a time; 1 on a CPU and 8 on a GPU if not given. Halved if the memory does not suffice.

    Raises:
        BeholderError: not found, of an unknown kind, or a layer that the model does not have.
    """

    concurrent = False  # one forward pass at a time; it uses all cores by itself

    def __init__(
        self,
        model: str | os.PathLike | VisionLanguageModel = MINI,
        *,
        layers: Sequence[str] | None = None,
        layer: str = "LT15",
        prompt: str = "base",
        text: Literal["all", "prompt"] = "all",
        max_pixels: int = MAX_PIXELS,
        dtype: str = "auto",
        device: str = "auto",
        batch: int | None = None,
    ) -> None:
        if text not in ("all", "prompt"):
            raise BeholderError(f"text = {text!r} is unknown: choose all or prompt")
        if batch is not None and batch < 1:
            raise BeholderError(f"batch = {batch} is no number of images: choose 1 or more")
        wanted = split_layers(layer) if layers is None else tuple(layers)
        shared = isinstance(model, VisionLanguageModel)
        options = {"max_pixels": max_pixels, "device": device, "dtype": dtype}
        vlm = model if shared else open_vlm(model, **options)
        self._places = {name: _place(name, vlm) for name in wanted}
        if not self._places:
            raise BeholderError("no layer is asked for: choose one such as LT15")
        self._vision = sorted({number for kind, number in self._places.values() if kind == "V"})
        self._decoder = sorted({number for kind, number in self._places.values() if kind != "V"})
        self.vlm = vlm if shared else open_vlm(model, **options, blocks=max([1, *self._decoder]))
        self.layers = {name: vlm.vision_widths[number] if kind == "V" else vlm.width for name, (kind, number) in self._places.items()}
        self.name, self.revision = vlm.name, vlm.revision
        self.prompt, self.text, self._batch = prompt_text(prompt), text, batch
        if not self.prompt.strip():
            raise BeholderError("the prompt is empty: give a name such as base, or a text")

    @property
    def preprocessing(self) -> str:
        """Pixels, template, prompt, which text tokens, and the type that is computed in."""
        prompt = hashlib.sha256(self.prompt.encode()).hexdigest()[:8]
        return f"{self.vlm.processing}-{prompt}-{self.text}-{self.vlm.dtype_name}"

    @property
    def read_size(self) -> int:
        """With this shorter side an image has `max_pixels` at least."""
        return math.ceil(math.sqrt(self.vlm.max_pixels))

    @property
    def batch_size(self) -> int:
        """How many images are computed together. Imports torch."""
        if self._batch is None:
            self._batch = 1 if self.vlm.device == "cpu" else CUDA_BATCH
        return self._batch

    def trained_on(self, images: Sequence[str | os.PathLike]) -> int:
        """How many of these images the model is known to have learned people's ratings of."""
        return self.vlm.trained_on(images)

    def load(self) -> None:
        """Load the weights now instead of at the first `encode`."""
        self.vlm.load()

    def preprocess(self, image: Image.Image) -> PreparedImage:
        """RGB image -> what the model sees of it; its `shape` is (), as images of any size are computed together."""
        return self.vlm.prepare(image)

    def encode(self, inputs: Sequence[PreparedImage]) -> dict[str, np.ndarray]:
        """Prepared images (sizes may differ) -> for each layer [n, dim] float32, in their order.

        Raises:
            BeholderError: even one image is too large for the memory, or the numbers are too large for the type.
        """
        made = {layer: np.zeros((len(inputs), dim), dtype=np.float32) for layer, dim in self.layers.items()}
        start, before = 0, self.batch_size
        while start < len(inputs):
            chunk = inputs[start : start + self.batch_size]
            rows = self._unless_too_large(chunk)
            if rows is None:
                self._batch = max(1, len(chunk) // 2)
                continue
            for layer, states in rows.items():
                made[layer][start : start + len(chunk)] = states
            start += len(chunk)
        if self.batch_size < before:
            warnings.warn(
                f"the memory does not suffice for {before} images at a time: {self.name} goes on with {self.batch_size}", RuntimeWarning, stacklevel=2
            )
        for layer, states in made.items():
            if not np.isfinite(states).all():
                raise BeholderError(f"{layer} of {self.name} is too large for {self.vlm.dtype_name}: choose dtype=bfloat16 or dtype=float32")
        return made

    def _unless_too_large(self, images: Sequence[PreparedImage]) -> dict[str, np.ndarray] | None:
        """The layers of one batch; None if the memory does not suffice, so that fewer may be tried when all this is gone."""
        import torch

        try:
            return self._encode_batch(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(images) == 1:
            pixels = self.vlm.max_pixels // 2
            raise BeholderError(f"one image at a time is too much for the memory that {self.name} has: set max_pixels={pixels} or smaller")
        return None

    def _encode_batch(self, images: Sequence[PreparedImage]) -> dict[str, np.ndarray]:
        import torch

        from beholder.backbones.vlm.stopping import watch

        vlm, found = self.vlm, {}
        # The flags are global; they keep the full precision of float32 on a GPU.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with vlm.lock, torch.inference_mode(), exact:
            batch = vlm.batch([vlm.turn([image, self.prompt]) for image in images])
            text = batch.prompt_mask if self.text == "prompt" else batch.mask & ~batch.image_mask
            picks = {"LT": _indices(text), "last": [one[-1:] for one in _indices(batch.mask)]}
            if vlm.image_tokens:
                picks["LV"] = _indices(batch.image_mask)
            elif "LV0" in self._places:
                found["LV0"] = torch.stack([tokens.float().mean(0) for tokens in vlm.image_embeddings(batch)])

            def see_vision(number: int, state: Tensor) -> None:
                if f"V{number}" in self._places:
                    found[f"V{number}"] = torch.stack([tokens.float().mean(0) for tokens in vlm.vision_tokens(state, batch)])

            def see_decoder(number: int, state: Tensor) -> None:
                for kind, rows in picks.items():
                    if f"{kind}{number}" in self._places:
                        pooled = [states[row].float().mean(0) for states, row in zip(state, rows, strict=True)]
                        found[f"{kind}{number}"] = torch.stack(pooled)

            watch(vlm, batch, vision=self._vision, decoder=self._decoder, see_vision=see_vision, see_decoder=see_decoder)
            return {layer: found[layer].cpu().numpy() for layer in self.layers}


def split_layers(text: str) -> tuple[str, ...]:
    """ "LT15+V3" -> ("LT15", "V3")."""
    return tuple(dict.fromkeys(part.strip() for part in text.split("+") if part.strip()))


def _place(layer: str, vlm: VisionLanguageModel) -> tuple[str, int]:
    """(kind, number) of a layer. Raises BeholderError if the model does not have it."""
    found = re.fullmatch(r"(V|LT|LV|last)(0|[1-9]\d*)", layer)
    last = {"V": vlm.n_vision_blocks, "LT": vlm.n_blocks, "LV": vlm.n_blocks if vlm.image_tokens else 0, "last": vlm.n_blocks}
    if found and int(found[2]) <= last[found[1]] and (found[1] != "V" or last["V"]):
        return found[1], int(found[2])
    ranges = ", ".join(f"{kind}0 to {kind}{number}" if number else f"{kind}0" for kind, number in last.items() if number or kind != "V")
    raise BeholderError(f"{vlm.name} has no layer {layer!r}: choose from {ranges}")


def _indices(mask: Tensor) -> list[Tensor]:
    """[n, s] bool -> for each row where it is true. Looked for once, and not in every layer."""
    return [row.nonzero()[:, 0] for row in mask]
