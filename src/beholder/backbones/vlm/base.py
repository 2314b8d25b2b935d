"""What every vision-language model gives to those who read its hidden states, let it answer, or train it: one interface for all families.

An image goes through `prepare` (pixels, on the CPU), a question with its images through `turn` (tokens), several turns through `batch` (tensors on
the device), and a batch through `forward`. Nothing but `load`, `forward` and the properties of the loaded model touches the weights.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from beholder.errors import BeholderError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

MAX_PIXELS = 1_048_576  # 1024 x 1024: about 1024 image tokens of Qwen3-VL
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
History = Sequence[tuple[str, str]]  # earlier questions of a conversation with their answers
IGNORED = -100  # label of a token that does not count in the loss, as torch's cross entropy has it


@dataclass(frozen=True)
class PreparedImage:
    """One image after preprocessing; numpy only, can be pickled.

    Args:
        arrays: what the model's image processor made of it, with a first axis along which those of several images are put together.
        n_tokens: image tokens it takes in the decoder; 0 where the text looks at the image from outside.
        text: what stands for the image in the prompt, expanded as the model's own processor does it.
    """

    arrays: Mapping[str, np.ndarray]
    n_tokens: int
    text: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Always (): images of any size go into one batch."""
        return ()


@dataclass(frozen=True)
class Turn:
    """One tokenised conversation of s tokens.

    Args:
        ids: [s] tokens.
        images: in the order in which they stand in it.
        image_mask: [s] whether a token is an image token.
        prompt_mask: [s] whether a token is of the words of the prompt itself: neither template nor special token.
        places: position in `ids` where each image stands: its first token, or where it takes none that of the token after it.
        answer_mask: [s] whether a token is of an answer or its end mark; () if the last question has none.
    """

    ids: tuple[int, ...]
    images: tuple[PreparedImage, ...]
    image_mask: tuple[bool, ...]
    prompt_mask: tuple[bool, ...]
    places: tuple[int, ...]
    answer_mask: tuple[bool, ...] = ()


@dataclass
class Batch:
    """Several turns as tensors on the device; s is the length of the longest.

    Args:
        inputs: `input_ids` [n, s], `attention_mask` [n, s], the pixels and what else the model's forward wants.
        turns: [n] what they were made of.
        mask: [n, s] bool, False on padding.
        image_mask, prompt_mask: [n, s] bool, see `Turn`.
        labels: [n, s] int64: the tokens of the answers, -100 everywhere else; None if they were not asked for.
    """

    inputs: dict[str, Tensor]
    turns: tuple[Turn, ...]
    mask: Tensor
    image_mask: Tensor
    prompt_mask: Tensor
    labels: Tensor | None = None

    @property
    def images(self) -> list[PreparedImage]:
        """All images, in the order of the turns."""
        return [image for turn in self.turns for image in turn.images]


class VisionLanguageModel(ABC):
    """A frozen vision-language model. Making one is cheap and imports no torch; the weights are loaded when first needed.

    Args:
        name: how it was named.
        folder: of config.json, weights, tokenizer and image processor; None for a model without one.
        max_pixels: a larger image is made smaller (area, proportions kept) before the model's own preprocessing.
        device: "auto" (a CUDA GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: one of DTYPES; "auto" is bfloat16 where the processor computes in it, else float32.
        blocks: load only so many blocks of the decoder and no LM head, for hidden states up to there; None for the whole model.

    Attributes:
        model_types: values of `model_type` in config.json that the class knows.
        family: the one that this model has.
        image_tokens: whether images take places in the decoder.
        lock: held while somebody has hooks or adapters on the model; reentrant.
        reading: held while tokenizer and image processor are read, which threads that prepare images must not wait for `lock` for; reentrant.
    """

    model_types: tuple[str, ...] = ()
    family: str
    image_tokens: bool = True

    def __init__(
        self,
        name: str,
        *,
        folder: Path | None = None,
        max_pixels: int = MAX_PIXELS,
        device: str = "auto",
        dtype: str = "auto",
        blocks: int | None = None,
    ) -> None:
        if max_pixels < 1:
            raise BeholderError(f"max_pixels = {max_pixels} leaves nothing of an image: give the most pixels it may have, such as {MAX_PIXELS}")
        if dtype not in DTYPES:
            raise BeholderError(f"dtype = {dtype!r} is not one of {', '.join(DTYPES)}")
        self.name, self.folder, self.max_pixels, self.blocks = name, folder, max_pixels, blocks
        self.family = self.model_types[0] if self.model_types else type(self).__name__
        self._device_wish, self._dtype_wish = device, dtype
        self._device: str | None = None
        self._model: Any = None
        self.lock, self.reading = threading.RLock(), threading.RLock()

    # What is known without the weights

    @property
    @abstractmethod
    def revision(self) -> str:
        """12 hex digits of the hash of configuration and weights; other weights, other revision."""

    @property
    @abstractmethod
    def processing(self) -> str:
        """Names everything done to the pixels (with `max_pixels`) and the text template; part of feature keys."""

    def trained_on(self, images: Sequence[str | os.PathLike]) -> int:
        """How many of these images the model is known to have learned people's ratings of; 0 where nobody knows."""
        return 0

    @property
    @abstractmethod
    def n_blocks(self) -> int:
        """Blocks of the decoder, also of those that are not loaded."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Of the decoder's hidden states."""

    @property
    @abstractmethod
    def n_vision_blocks(self) -> int:
        """Blocks of the vision encoder; 0 if they cannot be looked into."""

    @property
    @abstractmethod
    def vision_width(self) -> int:
        """Of the vision encoder's hidden states."""

    @property
    def vision_widths(self) -> Sequence[int]:
        """Of each of them, for encoders whose blocks differ: [n_vision_blocks + 1]."""
        return (self.vision_width,) * (self.n_vision_blocks + 1)

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """The model's own, of transformers."""

    @property
    def device(self) -> str:
        """The device in use. Imports torch."""
        if self._device is None:  # without the lock, which may be held for hours; two threads would find the same
            from beholder.backbones.torch_encoder import choose_device

            self._device = choose_device(self._device_wish)
        return self._device

    @property
    def dtype_name(self) -> str:
        """Of the weights and of all that is computed, such as "bfloat16"; imports torch only for "auto"."""
        if self._dtype_wish != "auto":
            return self._dtype_wish
        from beholder.backbones.language_model import best_dtype

        return str(best_dtype(self.device)).removeprefix("torch.")

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return getattr(torch, self.dtype_name)

    # From images and words to tensors

    @abstractmethod
    def prepare(self, image: Image.Image) -> PreparedImage:
        """RGB image -> what the model sees of it. CPU only, safe to run in several threads at once."""

    @abstractmethod
    def turn(
        self, parts: Sequence[str | PreparedImage], *, answer: str | None = None, reply: bool = False, history: History = (), system: str = ""
    ) -> Turn:
        """One user message, or a whole conversation that ends with it, through the model's chat template.

        Args:
            parts: texts and images, in this order.
            history: earlier questions with their answers. The images of `parts` then stand at the beginning of the first question.
            system: of a system message; where the template knows none, it stands before the words of the first question.
            answer: the assistant's answer and its end mark follow what `reply` would give, for training.
            reply: the generation prompt follows, so that the model goes on with its answer.
        """

    def collate(self, images: Sequence[PreparedImage]) -> dict[str, Tensor]:
        """The arrays of several images as tensors on the CPU; here one after the other."""
        import torch

        return {name: torch.from_numpy(np.concatenate([image.arrays[name] for image in images])) for name in images[0].arrays} if images else {}

    def extra_inputs(self, inputs: Mapping[str, Tensor], image_mask: Tensor) -> dict[str, Tensor]:
        """What else the forward pass wants, such as token types [n, s]; all on the CPU."""
        return {}

    def batch(self, turns: Sequence[Turn], *, side: Literal["left", "right"] = "right", answers: bool = False) -> Batch:
        """Turns as tensors on the device; floating point ones in `dtype`.

        Args:
            side: where shorter turns are padded; "left" lets all end where the answer begins.
            answers: with labels on the tokens of the answers.
        """
        import torch

        n, longest = len(turns), max(len(turn.ids) for turn in turns)
        ids = torch.full((n, longest), self.padding, dtype=torch.long)
        masks = {name: torch.zeros((n, longest), dtype=torch.bool) for name in ("mask", "image_mask", "prompt_mask", "answer_mask")}
        for row, turn in enumerate(turns):
            start = longest - len(turn.ids) if side == "left" else 0
            here = slice(start, start + len(turn.ids))
            ids[row, here] = torch.tensor(turn.ids)
            masks["mask"][row, here] = True
            for name in ("image_mask", "prompt_mask", "answer_mask"):
                if getattr(turn, name):
                    masks[name][row, here] = torch.tensor(getattr(turn, name))
        inputs = {"input_ids": ids, "attention_mask": masks["mask"].long()}
        inputs |= self.collate([image for turn in turns for image in turn.images])
        inputs |= self.extra_inputs(inputs, masks["image_mask"])
        moved = {name: one.to(self.device, self.dtype if one.is_floating_point() else None) for name, one in inputs.items()}
        answer_mask = masks.pop("answer_mask")
        labels = ids.masked_fill(~answer_mask, IGNORED).to(self.device) if answers else None
        return Batch(moved, tuple(turns), **{name: one.to(self.device) for name, one in masks.items()}, labels=labels)

    @property
    def padding(self) -> int:
        """The token that fills up shorter turns; it is masked everywhere."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in known if token is not None), 0)

    # The loaded model

    @abstractmethod
    def _load(self) -> Any:
        """The torch module, without gradients, in evaluation mode, on `device`, in `dtype`."""

    def load(self) -> None:
        """Load the weights now instead of when they are first needed."""
        with self.lock:
            if self._model is None:
                import torch

                with torch.inference_mode(False):  # whoever loads it: weights made in the inference mode could not take part in training
                    self._model = self._load()

    @property
    def model(self) -> torch.nn.Module:
        """The loaded model; with `blocks` only its inner part, without LM head."""
        self.load()
        return self._model

    @property
    @abstractmethod
    def inner(self) -> torch.nn.Module:
        """The loaded model without its LM head."""

    @property
    @abstractmethod
    def decoder(self) -> torch.nn.Module:
        """The language part of the loaded model: it has `layers`, the blocks, and `norm`, which comes after them."""

    @property
    @abstractmethod
    def vision_blocks(self) -> Sequence[torch.nn.Module]:
        """The blocks of the loaded vision encoder."""

    def vision_tokens(self, output: Tensor, batch: Batch) -> Sequence[Tensor]:
        """What a vision block took or gave for all images of a batch -> [t, vision width] for each; here one row per image."""
        return output

    def image_embeddings(self, batch: Batch) -> Sequence[Tensor]:
        """What the text looks at where images take no places in the decoder: [t, width] for each image."""
        raise ValueError(f"images take places in the decoder of {self.name}: their embeddings are among its inputs")

    def positions(self, batch: Batch) -> Tensor:
        """The position ids of a whole batch as the model itself would compute them: [n, s], for Qwen [3, n, s]; padding counts nothing."""
        return (batch.mask.long().cumsum(-1) - 1).clamp(min=0)

    def forward(self, batch: Batch, *, cache: Any = None, logits: bool = True, position_ids: Tensor | None = None) -> Any:
        """What the model of transformers returns for a batch.

        Args:
            cache: a key/value cache that is read and grown; none is made if it is not given.
            logits: False leaves out the LM head: only the last hidden state comes back.
            position_ids: those of `positions` if not given.
        """
        if logits and self.blocks is not None:
            raise ValueError("a model that was loaded with only some of its blocks has no logits")
        if position_ids is None and cache is None:
            position_ids = self.positions(batch)
        module = self.model if logits else self.inner
        return module(**batch.inputs, position_ids=position_ids, past_key_values=cache, use_cache=cache is not None)

    def __getstate__(self) -> dict:  # for other processes: lock and weights stay behind
        return self.__dict__ | {"lock": None, "reading": None, "_model": None, "_device": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, lock=threading.RLock(), reading=threading.RLock())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the processor ran out of memory. On a CPU torch raises a RuntimeError that says it cannot allocate; cuBLAS has words of its own."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # of torch, which is not imported for this
    return known or any(words in str(error).lower() for words in ("out of memory", "can't allocate memory", "status_alloc_failed"))
