"""A P-MLLM as a chat model: free text as its language model would write it, with a random image before its eyes in every conversation."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from beholder.backbones.chat import ChatModel, ChatRequest
from beholder.backbones.local_chat import TEXT_BATCH
from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.errors import BeholderError

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
        if images is not None and not len(images):
            raise BeholderError("there is no image to pair the questions with: give some photographs")
        self._pmllm, self._images, self._seed = model, images, seed
        language = model.language_model
        self.name = language.name + ("" if images is None else "+fusion")
        self._version = f"{language.revision}/{str(language.dtype).removeprefix('torch.')}"
        if images is not None:
            trained = [tensor.float().cpu().numpy().tobytes() for _, tensor in sorted(model.trained_state().items())]
            seen = [_hash(repr(model.config).encode(), *trained), _hash(np.ascontiguousarray(images, dtype=np.float32).tobytes())]
            self._version += f"/fusion-{seen[0]}/images-{seen[1]}/seed-{seed}"
        self._generating = threading.Lock()

    @property
    def version(self) -> str:
        """Language model and type; with images also what was trained, the images and the seed."""
        return self._version

    def image_of(self, request: ChatRequest) -> int:
        """The place of the image that a request is paired with."""
        return int(_hash(json.dumps([self._seed, request.system, request.text]).encode()), 16) % len(self._images)

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
        width = max(map(len, ids))
        if width + max_tokens > language.context:
            raise BeholderError(f"a prompt has {width} tokens, the language model {language.name} sees {language.context} at most: shorten it")
        if self._pmllm.config.mask_from == "header":
            before = [first.removesuffix(chat.user[0]) for first in before]
        tokens = torch.full((len(ids), width), language.padding, dtype=torch.long)
        present, fused = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
        for row, (one, first) in enumerate(zip(ids, before, strict=True)):
            padding = width - len(one)
            tokens[row, padding:] = torch.tensor(one)
            present[row, padding:] = 1
            fused[row, padding + len(language.encode(first)) :] = True
        with torch.inference_mode():
            images = None
            if self._images is not None:
                chosen = np.stack([self._images[self.image_of(request)] for request in requests])
                images = self._pmllm.image_tokens(torch.from_numpy(chosen).to(language.device))
            made = self._pmllm.generate(
                tokens.to(language.device),
                images=images,
                mask=fused.to(language.device),
                attention_mask=present.to(language.device),
                max_new_tokens=max_tokens,
            )
        return [language.tokenizer.decode(row[width:], skip_special_tokens=True).strip() for row in made]


def _hash(*parts: bytes) -> str:
    """16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
