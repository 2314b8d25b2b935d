"""Chat with the vision-language models of `backbones.vlm`: several questions at once, word by word if wished, without torchvision."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from beholder.backbones.chat import ChatModel, ChatRequest, NoAnswer
from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.backbones.vision_tower import _read_json
from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm.base import MAX_PIXELS

if TYPE_CHECKING:
    from beholder.backbones.vlm.answers import Answerer
    from beholder.backbones.vlm.base import PreparedImage, Turn, VisionLanguageModel
    from beholder.backbones.vlm.prepared_images import PreparedImages

ROWS = 8  # questions that are answered together
AHEAD = 4 * ROWS  # questions whose images are prepared before they are answered: those of similar length are answered together


class VlmChat(ChatModel):
    """A vision-language model on this machine.

    A photograph is made smaller until its longer side has `image_size` pixels at most, before the model's own preprocessing. In float32 an answer
    does not depend on what else is asked; where the model computes in bfloat16, two words that are about equally likely may change places in
    another batch. Checkpoints in float32 are computed in float32, others in what `open_vlm` chooses.

    Args:
        name: as it is shown.
        folder: of a model of a family in `backbones.vlm.FAMILIES`.
        cache, prices, image_size, device: see `open_chat_model`.

    Raises:
        BeholderError: no safetensors weights.
    """

    def __init__(
        self, name: str, folder: Path, *, cache: ReplyCache | None, prices: tuple[float, float] | None, image_size: int, device: str
    ) -> None:
        super().__init__(cache=cache, prices=prices)
        self.name, self._image_size = name, image_size
        dtype = "float32" if _type_of(_read_json(folder / "config.json")) == "float32" else "auto"
        # so many pixels at least that others who use the model get the same one; what `image_size` allows is never reduced further
        self._vlm = open_vlm(folder, max_pixels=max(MAX_PIXELS, image_size**2), device=device, dtype=dtype)
        self._images: PreparedImages | None = None
        self._loading = threading.Lock()

    @property
    def version(self) -> str:
        """Weights, what is done to images and text, the type that is computed in, and image size."""
        return f"{self._vlm.revision}/{self._vlm.processing}/{self._vlm.dtype_name}/{self._image_size}px"

    def _answers(self, requests: Sequence[tuple[str, ChatRequest]], *, max_tokens: int) -> Iterator[tuple[str, Reply]]:
        vlm, images = self._load()
        answerer = self._answerer(vlm, max_tokens)
        for start in range(0, len(requests), AHEAD):
            chunk = requests[start : start + AHEAD]
            seen = list(dict.fromkeys(request.image for _, request in chunk if request.image is not None))
            prepared = dict(zip(seen, images(seen), strict=True))
            turns = [self._turn(vlm, request, prepared.get(request.image)) for _, request in chunk]
            for turn in turns:
                self._must_fit(answerer, turn, max_tokens)
            for place, answer in answerer.answers(turns, sampling=[request.sampling for _, request in chunk]):
                key = chunk[place][0]
                yield key, self._done(key, answer.text, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.new_tokens)

    def _pieces(self, key: str, request: ChatRequest, *, max_tokens: int) -> Generator[str, None, Reply]:
        vlm, images = self._load()
        answerer = self._answerer(vlm, max_tokens)
        turn = self._turn(vlm, request, None if request.image is None else images([request.image])[0])
        self._must_fit(answerer, turn, max_tokens)
        with closing(answerer.stream(turn, sampling=request.sampling)) as pieces:
            answer = yield from pieces
        return self._done(key, answer.text, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.new_tokens)

    def _turn(self, vlm: VisionLanguageModel, request: ChatRequest, image: PreparedImage | None) -> Turn:
        parts = [request.text] if image is None else [image, request.text]
        return vlm.turn(parts, reply=True, history=request.history, system=request.system)

    def _answerer(self, vlm: VisionLanguageModel, max_tokens: int) -> Answerer:
        from beholder.backbones.vlm.answers import Answerer

        return Answerer(vlm, max_new_tokens=max_tokens, rows=ROWS)

    def _must_fit(self, answerer: Answerer, turn: Turn, max_tokens: int) -> None:
        n, context = len(turn.ids), answerer.context
        if context and n + max_tokens > context:
            raise NoAnswer(
                f"the question to {self.name} takes {n} tokens and its answer up to {max_tokens}, more than the {context} it can read: "
                f"shorten the profile or the conversation, or make image_size smaller",
                kind="too long",
            )

    def _load(self) -> tuple[VisionLanguageModel, PreparedImages]:
        with self._loading:
            if self._images is None:
                from beholder.backbones.vlm.prepared_images import PreparedImages

                self._vlm.load()
                self._images = PreparedImages(_Smaller(self._vlm, self._image_size))
        return self._vlm, self._images


class _Smaller:
    """What `PreparedImages` wants to know of a model, for photographs of at most so many pixels along the longer side."""

    def __init__(self, vlm: VisionLanguageModel, image_size: int) -> None:
        self._vlm, self._size, self.max_pixels = vlm, image_size, image_size**2

    def prepare(self, image: Image.Image) -> PreparedImage:
        image.thumbnail((self._size, self._size), Image.Resampling.LANCZOS)
        return self._vlm.prepare(image)


def _type_of(config: dict) -> str | None:
    """In which the weights are, as config.json says."""
    for place in (config, config.get("text_config") or {}):
        for name in ("dtype", "torch_dtype"):
            if place.get(name):
                return str(place[name])
    return None
