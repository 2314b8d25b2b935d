"""Chat models: text and an image in, text out; over an OpenAI-compatible endpoint or on this machine. Importing this imports no torch.

Replies are kept on disk, counted, and never asked for twice. Nothing is sent anywhere unless the name is a URL.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.backbones.sampling import Sampling
from beholder.errors import BeholderError
from beholder.photos import content_hash

IMAGE_SIZE = 768  # pixels along the longer side, unless said otherwise
MAX_TOKENS = 256
GOES_ON = "finished replies are kept, so the same command goes on from there later"
__all__ = ["ChatModel", "ChatRequest", "NoAnswer", "Reply", "Sampling", "Usage", "is_refusal", "open_chat_model"]
Progress = Callable[[int, int], None]  # requests answered, of how many

# "I'm sorry, but I can't help with that": words of inability near the beginning, and no score after all
_UNABLE = re.compile(
    r"\b(?:can(?:no|['’])t|can not|unable to|not able to|won['’]t|not comfortable|must decline)\b[^.!?]{0,40}?"
    r"\b(?:assist|help(?! but)|rate|rating|provide|comply|analy[sz]e|evaluate|assess|engage|fulfil|view|see|continue|describe|do that|judge)",
    re.IGNORECASE,
)
_SCORED = re.compile(r"score\W{0,4}(?:is|of|=|:)\W{0,6}\d", re.IGNORECASE)
_REFUSAL_WITHIN = 300  # characters
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # a thought that was cut off is no answer either
_THOUGHT_BEGINS = "<think>"


@dataclass(frozen=True)
class ChatRequest:
    """One question.

    Args:
        text: of the user.
        system: of the system message; "" for none.
        image: shown before the text; upright, its longer side at most `image_size` pixels, without EXIF data.
        sampling: how the answer is drawn; None = the most probable words (temperature 0).
        history: earlier questions of the same conversation with their answers, the oldest first; the image is shown with the first of them.
    """

    text: str
    system: str = ""
    image: Path | None = None
    sampling: Sampling | None = None
    history: tuple[tuple[str, str], ...] = ()


class NoAnswer(BeholderError):
    """A question that got no answer, for reasons that may concern this question or this hour only.

    Args:
        kind: "unreachable" (nobody there, the connection lost, no answer in time, or a queue that stays full), "failed" (the server said that
            something broke in it, each time), "broken" (it answered something that is no chat completion) or "too long" (for the context).
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Usage:
    """What a chat model did since it was made.

    Args:
        calls: replies computed; what the server counts.
        cached: replies that needed no call.
        retries: requests sent again, after a full queue, an error of the server or a lost connection.
        refusals: among all replies, cached ones included.
        prompt_tokens, completion_tokens: of the calls.
        cost: of the calls, in the currency of the prices; None if no prices were given.
    """

    calls: int = 0
    cached: int = 0
    retries: int = 0
    refusals: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    def __str__(self) -> str:
        text = f"{self.calls} calls ({self.prompt_tokens} tokens in, {self.completion_tokens} out), {self.cached} replies already known"
        text += f", {self.retries} retries" if self.retries else ""
        text += f", {self.refusals} refusals" if self.refusals else ""
        return text + (f", cost {self.cost:.4f}" if self.cost is not None else "")


class ChatModel(ABC):
    """Answers questions, with the most probable words (temperature 0) or sampled, as each request says. May be used from several threads.

    Args:
        name: as given to `open_chat_model`.
        cache: where replies are kept; None = only within one call of `ask`.
        prices: per million tokens in and out.

    Attributes:
        name: as given.
        version: changes whenever the same request may get another reply; as far as can be known from here.
        sees: whether it takes images.
        unsent: fields of the sampling ("temperature", "top_p", "seed") that the server was found not to take; it answers without them.
    """

    name: str
    version: str
    sees: bool = True
    unsent: frozenset[str] = frozenset()

    def __init__(self, *, cache: ReplyCache | None, prices: tuple[float, float] | None) -> None:
        self._cache, self._prices = cache, prices
        self._usage = Usage(cost=None if prices is None else 0.0)
        self._counting = threading.Lock()

    @property
    def usage(self) -> Usage:
        """What was done up to now."""
        return self._usage

    def ask(self, requests: Sequence[ChatRequest], *, max_tokens: int = MAX_TOKENS, progress: Progress | None = None) -> list[Reply]:
        """Replies in the order of the requests. Equal requests are answered once.

        After an error or an interruption, what was answered is in the cache: ask again, and it goes on from there.

        Args:
            max_tokens: of a reply.
            progress: called with (answered, of how many), in this thread.

        Raises:
            UnreadableImage: an image cannot be read.
            NoAnswer: see there.
            BeholderError: the endpoint cannot be used, or the model takes no images.
        """
        self._must_see(requests)
        hashes: dict[Path, str] = {}
        for request in requests:
            if request.image is not None and request.image not in hashes:
                hashes[request.image] = content_hash(request.image)
        keys = [self._key(request, hashes.get(request.image), max_tokens=max_tokens) for request in requests]
        replies = self._cache.get_many(set(keys)) if self._cache is not None else {}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in replies}
        order = list(missing)
        first_at = {key: place for place, key in reversed(list(enumerate(keys)))}
        if progress:
            progress(len(replies), len(replies) + len(missing))
        if missing:
            # closed in any case: what still runs must neither go on for nothing nor get lost
            with closing(self._answers([(key, missing[key]) for key in order], max_tokens=max_tokens)) as answers:
                for key, reply in answers:
                    replies[key] = reply
                    if progress:
                        progress(len(replies), len(set(keys)))
        found = [replies[key] if first_at[key] == place else replace(replies[key], cached=True) for place, key in enumerate(keys)]
        self._given(found)
        return found

    def stream(self, request: ChatRequest, *, max_tokens: int = MAX_TOKENS) -> Generator[str, None, Reply]:
        """The text of the reply in pieces, as soon as they are there; together they are the text that `ask` gives, whose replies it shares.

        Thoughts (<think>) are no part of it. A reply that is known comes as one piece, as do those of models that cannot give pieces. The
        generator's value (of `yield from`) is the whole reply. Closing it early stops the model as soon as that is possible and keeps nothing.

        Args:
            max_tokens: of the reply.

        Raises:
            UnreadableImage, NoAnswer, BeholderError: see `ask`. A reply that breaks off in the middle is "unreachable", and is not kept.
        """
        self._must_see([request])
        key = self._key(request, None if request.image is None else content_hash(request.image), max_tokens=max_tokens)
        return self._streamed(key, request, max_tokens=max_tokens)

    def _streamed(self, key: str, request: ChatRequest, *, max_tokens: int) -> Generator[str, None, Reply]:
        reply = (self._cache.get_many([key]) if self._cache is not None else {}).get(key)
        given = raw = ""
        if reply is None:
            with closing(self._pieces(key, request, max_tokens=max_tokens)) as pieces:
                while reply is None:
                    try:
                        raw += next(pieces)
                    except StopIteration as end:
                        reply = end.value
                        break
                    shown = _surely_shown(raw)
                    if shown.startswith(given) and len(shown) > len(given):
                        yield shown[len(given) :]
                        given = shown
        if reply.text.startswith(given) and len(reply.text) > len(given):
            yield reply.text[len(given) :]
        self._given([reply])
        return reply

    def _pieces(self, key: str, request: ChatRequest, *, max_tokens: int) -> Generator[str, None, Reply]:
        """The answer as the model writes it, in pieces; its value is what `_done` made of the whole. Here: all at once."""
        with closing(self._answers([(key, request)], max_tokens=max_tokens)) as answers:
            _, reply = next(answers)
        yield reply.text
        return reply

    def _must_see(self, requests: Sequence[ChatRequest]) -> None:
        if not self.sees and any(request.image is not None for request in requests):
            raise BeholderError(f"the model {self.name} reads text only, but was given an image: name a vision-language model instead")

    def _given(self, replies: Sequence[Reply]) -> None:
        """Counts replies that are given to whoever asked."""
        with self._counting:
            self._usage = replace(
                self._usage,
                cached=self._usage.cached + sum(reply.cached for reply in replies),
                refusals=self._usage.refusals + sum(reply.refused for reply in replies),
            )

    @abstractmethod
    def _answers(self, requests: Sequence[tuple[str, ChatRequest]], *, max_tokens: int) -> Iterator[tuple[str, Reply]]:
        """(key, request) -> (key, reply) in any order; each reply goes through `_done` as soon as it is there."""

    def _done(self, key: str, text: str, *, refused: bool = False, prompt_tokens: int = 0, completion_tokens: int = 0) -> Reply:
        """A computed answer becomes a reply that is kept and counted. Called by any thread."""
        text = _THOUGHT.sub("", text).strip().encode("utf-8", "replace").decode()  # half of an emoji, cut off, is no text that can be kept
        reply = Reply(text, refused=refused or is_refusal(text), prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        if self._cache is not None:
            self._cache.put(key, replace(reply, cached=True))
        cost = 0.0 if self._prices is None else (self._prices[0] * prompt_tokens + self._prices[1] * completion_tokens) / 1e6
        with self._counting:
            self._usage = replace(
                self._usage,
                calls=self._usage.calls + 1,
                prompt_tokens=self._usage.prompt_tokens + prompt_tokens,
                completion_tokens=self._usage.completion_tokens + completion_tokens,
                cost=None if self._usage.cost is None else self._usage.cost + cost,
            )
        return reply

    def _retried(self) -> None:
        with self._counting:
            self._usage = replace(self._usage, retries=self._usage.retries + 1)

    def _key(self, request: ChatRequest, image: str | None, *, max_tokens: int) -> str:
        """Everything that decides the reply: model and its version, prompt, content of the image (not its path), length, sampling."""
        parts = [self.name, self.version, request.system, request.text, image, max_tokens]
        if request.sampling is not None:  # without it as ever, so that replies kept earlier are found
            parts += [request.sampling.temperature, request.sampling.top_p, request.sampling.seed]
        if request.history:
            parts.append(request.history)
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def open_chat_model(
    name: str,
    *,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 8,
    cache: str | os.PathLike | None = None,
    keep: bool = True,
    prices: tuple[float, float] | None = None,
    image_size: int = IMAGE_SIZE,
    timeout: float = 120.0,
    retries: int = 6,
    backoff: float = 1.0,
    device: str = "auto",
) -> ChatModel:
    """A chat model by name.

    Args:
        name: "http(s)://host:port/v1#model" for an OpenAI-compatible endpoint (vLLM, Ollama, vendors); else a model on this machine: the
            embedded "smollm2-135m-instruct", a folder or a hub repository of any vision-language model or LLM that transformers knows.
        api_key_env: the environment variable with the key; an endpoint without keys needs none.
        concurrency: requests under way at once, to an endpoint.
        cache: folder in which replies are kept; the default one if not given.
        keep: False to keep nothing on disk.
        prices: of a million tokens in and out, in any currency; for `Usage.cost`.
        image_size: pixels of an image's longer side at most.
        timeout: seconds without any sign of the server before a request is sent again.
        retries: how often a request is sent again before giving up.
        backoff: seconds before the first repetition; doubled each time.
        device: of a model on this machine.

    Raises:
        BeholderError: the URL is not of that form, a number is out of range, or the model was not found.
        MissingExtra: httpx, or torch and transformers, are not installed.
    """
    name = str(name).strip()
    for what, value, least in (("concurrency", concurrency, 1), ("image_size", image_size, 16), ("retries", retries, 0)):
        if value < least:
            raise BeholderError(f"{what} = {value} is too small: give {least} or more")
    if prices is not None and (len(prices) != 2 or min(prices) < 0):
        raise BeholderError(f"prices = {prices} are not two numbers from 0 on: give those of a million tokens in and of a million out")
    replies = ReplyCache(cache) if keep else None
    if re.match(r"https?://", name, re.IGNORECASE):
        from beholder.backbones.chat_endpoint import Endpoint

        return Endpoint(
            name,
            cache=replies,
            prices=prices,
            api_key_env=api_key_env,
            concurrency=concurrency,
            image_size=image_size,
            timeout=timeout,
            retries=retries,
            backoff=backoff,
        )
    from beholder.backbones.local_chat import open_local

    return open_local(name, cache=replies, prices=prices, image_size=image_size, device=device)


def is_refusal(text: str) -> bool:
    """Whether a reply only says that the model will not or cannot answer. One that goes on to give a score is an answer."""
    return bool(_UNABLE.search(text[:_REFUSAL_WITHIN])) and not _SCORED.search(text)


def _surely_shown(raw: str) -> str:
    """What of an answer that is not at its end yet will be in the reply: without thoughts, and without what may begin one or be blank at the end."""
    for n in range(len(_THOUGHT_BEGINS) - 1, 0, -1):
        if raw.endswith(_THOUGHT_BEGINS[:n]):
            raw = raw[:-n]
            break
    return _THOUGHT.sub("", raw).strip()
