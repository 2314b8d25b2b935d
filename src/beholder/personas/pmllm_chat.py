"""A P-MLLM as a chat model: free text as its language model would write it, with a random image before its eyes in every conversation."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from beholder.backbones.chat import ChatModel, ChatRequest
from beholder.backbones.local_chat import TEXT_BATCH
from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.errors import BeholderError
from beholder.personas.paired_images import PairedImages

if TYPE_CHECKING:
    from beholder.scorers.pmllm.model import PMLLM


class PMLLMChat(ChatModel):
    """Answers in words, greedily. Conversations are those of the language model alone, token by token; fusion acts on question and answer.

    Which image a conversation is paired with is decided by a hash of seed, system message and question: not by what else is asked, or when.

    Args:
        model: its prompts are not used, only its language model, projector and fusion modules.
        images: [m, t, width] tokens of the image encoder; None to ask the language model alone, in the same batches.
        seed: another one, other images.
        cache: where replies are kept.

    Raises:
        BeholderError: there is no image.
    """

    sees = False  # a request brings no image of its own

    def __init__(self, model: PMLLM, images: np.ndarray | None = None, *, seed: int = 0, cache: ReplyCache | None = None) -> None:
        super().__init__(cache=cache, prices=None)
        self._pmllm = model
        self._images = None if images is None else PairedImages(model, images, seed=seed)
        language = model.language_model
        self.name = language.name + ("" if images is None else "+fusion")
        self._version = f"{language.revision}/{str(language.dtype).removeprefix('torch.')}" + (f"/{self._images.version}" if self._images else "")
        self._generating = threading.Lock()

    @property
    def version(self) -> str:
        """Language model and type; with images also what was trained, the images and the seed."""
        return self._version

    def image_of(self, request: ChatRequest) -> int:
        """The place of the image that a request is paired with."""
        return self._images.place(request.system, request.text)

    def _answers(self, requests: Sequence[tuple[str, ChatRequest]], *, max_tokens: int) -> Iterator[tuple[str, Reply]]:
        encode = self._pmllm.language_model.encode
        for start in range(0, len(requests), TEXT_BATCH):
            chunk = requests[start : start + TEXT_BATCH]
            with self._generating:
                texts = self._generate([request for _, request in chunk], max_tokens=max_tokens)
            for (key, request), text in zip(chunk, texts, strict=True):
                n_in = len(encode(request.system)) + len(encode(request.text))
                yield key, self._done(key, text, prompt_tokens=n_in, completion_tokens=len(encode(text)))

    def _generate(self, requests: list[ChatRequest], *, max_tokens: int) -> list[str]:
        """Answers to one batch, which is padded on the left; prompts as in `LanguageModel.answer`."""
        language = self._pmllm.language_model
        chat, harmless = language.chat, language.harmless
        before = [chat.before_user(harmless(request.system)) for request in requests]
        ids = [language.encode(first + harmless(request.text) + chat.after_user) for first, request in zip(before, requests, strict=True)]
        longest = max(map(len, ids))
        if longest + max_tokens > language.context:
            raise BeholderError(f"a prompt has {longest} tokens, the language model {language.name} sees {language.context} at most: shorten it")
        if self._pmllm.config.mask_from == "header":
            before = [first.removesuffix(chat.user[0]) for first in before]
        tokens, present = language.left_padded(ids)
        fused = torch.zeros_like(tokens, dtype=torch.bool)
        for row, (one, first) in enumerate(zip(ids, before, strict=True)):
            fused[row, longest - len(one) + len(language.encode(first)) :] = True
        with torch.inference_mode():
            images = None if self._images is None else self._images.tokens(np.array([self.image_of(request) for request in requests]))
            made = self._pmllm.generate(tokens, images=images, mask=fused, attention_mask=present, max_new_tokens=max_tokens)
        return [language.tokenizer.decode(row[longest:], skip_special_tokens=True).strip() for row in made]
