"""Texts that examples are made of and that cost time: captions of images, and the base LLM's own answers. Each is computed once and kept on disk.

A killed run loses at most the few answers in the making; the next one goes on from there, and asks for nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from beholder.backbones.chat import ChatRequest
from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.errors import BeholderError, UnreadableImage
from beholder.personas import questions
from beholder.photos import content_hash
from beholder.scorers.pmllm import image_facts

if TYPE_CHECKING:
    from beholder.backbones.chat import ChatModel
    from beholder.datasets.base import Dataset

COLUMN, STAND_IN = "column", "stand-in"
AT_ONCE = 16  # answers that are asked for together, and kept together
CAPTION_TOKENS = 256
ANSWER_TOKENS = 96
_SENTENCE_END = re.compile(r"[.!?。！？]+[\"'”’)\]*]*(?=\s|$)|[。！？]+")
CAPTION_PROMPT = questions.CAPTION.replace(questions.IMAGE_TAG, "image")
Progress = Callable[[int, int, str], None]


class Answers(Protocol):
    """A language model that answers, see `beholder.backbones.language_model.LanguageModel`."""

    revision: str

    def answer(self, prompts: Sequence[tuple[str, str]], *, max_new_tokens: int) -> list[str]: ...


@dataclass(frozen=True)
class Captions:
    """Captions of images.

    Args:
        images: [n] indices into the dataset's images; those that no source has a caption for are missing.
        texts: [n].
        sources: [n] "column", "model NAME" or "stand-in".
        notes: what users must know of them, one sentence each.
    """

    images: np.ndarray
    texts: tuple[str, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()


def answers_of(
    llm: Answers, prompts: Sequence[tuple[str, str]], *, cache: ReplyCache, max_new_tokens: int = ANSWER_TOKENS, progress: Progress | None = None
) -> list[str]:
    """The language model's answers to (system text, question) pairs, in their order; equal pairs are asked once.

    An answer that was cut off at `max_new_tokens` ends with its last whole sentence: what is learned is to stop there.
    """
    distinct = list(dict.fromkeys(prompts))
    keys = [_key("answer", llm.revision, system, text, max_new_tokens) for system, text in distinct]
    found: dict[tuple[str, str], str] = {}
    for done, chunk in _chunks(len(distinct)):  # the same chunks whatever is known already: what a batch is made of may change roundings
        known = cache.get_many(keys[i] for i in chunk)
        missing = [i for i in chunk if keys[i] not in known]
        if progress:
            progress(done, len(distinct), f"answers of the language model under the profiles: {len(missing)} to be asked now")
        texts = llm.answer([distinct[i] for i in missing], max_new_tokens=max_new_tokens) if missing else []
        for i, text in zip(missing, texts, strict=True):
            cache.put(keys[i], Reply(text.strip()))
            known[keys[i]] = Reply(text.strip())
        found |= {distinct[i]: _whole(known[keys[i]].text) for i in chunk}
    if progress:
        progress(len(distinct), len(distinct), "answers of the language model under the profiles")
    return [found[prompt] for prompt in prompts]


def _whole(text: str) -> str:
    """Up to the last end of a sentence; all of it if there is none, or if it ends so."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].rstrip() if ends else text


def captions_of(
    dataset: Dataset,
    images: Sequence[int],
    *,
    order: Sequence[str | ChatModel],
    cache: ReplyCache,
    labels: Sequence[Sequence[str]] = (),
    max_tokens: int = CAPTION_TOKENS,
    progress: Progress | None = None,
) -> Captions:
    """A caption of each of these images from the first source that has one.

    Args:
        images: indices into `dataset.images`.
        order: of the sources: "column" (captions of the dataset), a vision-language model (asked with the published prompt), "stand-in" (`image_facts`).
        labels: [n_images of the dataset] class names for the stand-in, or nothing.

    Raises:
        BeholderError: there is no such source, or a model cannot be reached.
    """
    found: dict[int, tuple[str, str]] = {}
    notes = []
    for source in order:
        open_images = [int(i) for i in images if int(i) not in found]
        if source == COLUMN:
            texts = {i: dataset.captions[i] for i in open_images if dataset.captions and dataset.captions[i]}
            name = COLUMN
        elif source == STAND_IN:
            texts = _stand_ins(dataset, open_images, cache=cache, labels=labels, progress=progress)
            name = STAND_IN
            if texts:
                notes.append(
                    f"the captions of {len(texts)} images are stand-ins: sentences from measured statistics"
                    f"{', class names' if labels else ''} and group names, not written by a model"
                )
        elif hasattr(source, "ask"):
            texts, without = _asked(dataset, open_images, model=source, cache=cache, max_tokens=max_tokens, progress=progress)
            name = f"model {source.name}"
            if without:
                notes.append(f"{source.name} gave no caption for {without} of {len(open_images)} images")
        else:
            raise BeholderError(f"there is no caption source {source!r}: choose {COLUMN}, {STAND_IN} or a chat model")
        found |= {i: (text, name) for i, text in texts.items()}
    missing = len(images) - len(found)
    if missing:
        notes.append(f"{missing} of {len(images)} images have no caption and are left out of the captioning task")
    kept = [int(i) for i in images if int(i) in found]
    return Captions(np.array(kept, dtype=np.int64), tuple(found[i][0] for i in kept), tuple(found[i][1] for i in kept), tuple(notes))


def _asked(
    dataset: Dataset, images: Sequence[int], *, model: ChatModel, cache: ReplyCache, max_tokens: int, progress: Progress | None
) -> tuple[dict[int, str], int]:
    """Index -> caption by a model, and for how many images there is none (refused, empty, unreadable): they are asked for again another time."""
    texts: dict[int, str] = {}
    for done, chunk in _chunks(len(images)):
        if progress:
            progress(done, len(images), f"captions by {model.name}")
        keys = {i: _key("caption", model.name, model.version, CAPTION_PROMPT, max_tokens, content) for i, content in _contents(dataset, images, chunk)}
        known = cache.get_many(keys.values())
        missing = [i for i, key in keys.items() if key not in known]
        for i, reply in _replies(dataset, missing, model=model, max_tokens=max_tokens):
            if not reply.refused and reply.text.strip():
                cache.put(keys[i], reply)
                known[keys[i]] = reply
        texts |= {i: _whole(" ".join(known[key].text.split())) for i, key in keys.items() if key in known}
    return texts, len(images) - len(texts)


def _replies(dataset: Dataset, images: list[int], *, model: ChatModel, max_tokens: int) -> list[tuple[int, Reply]]:
    """(index, reply) of the images that can be read."""
    while images:
        try:
            requests = [ChatRequest(CAPTION_PROMPT, image=dataset.images[i]) for i in images]
            return list(zip(images, model.ask(requests, max_tokens=max_tokens), strict=True))
        except UnreadableImage as error:
            readable = [i for i in images if str(dataset.images[i]) != error.path]
            if len(readable) == len(images):
                raise
            images = readable
    return []


def _contents(dataset: Dataset, images: Sequence[int], chunk: range) -> Iterator[tuple[int, str]]:
    """(index, hash of the file) of those that can be read."""
    for j in chunk:
        with suppress(UnreadableImage):
            yield images[j], content_hash(dataset.images[images[j]])


def _stand_ins(
    dataset: Dataset, images: Sequence[int], *, cache: ReplyCache, labels: Sequence[Sequence[str]], progress: Progress | None
) -> dict[int, str]:
    """Index -> sentence. An image that cannot be read has none."""
    texts: dict[int, str] = {}
    for done, i in enumerate(images):
        if progress and done % AT_ONCE == 0:
            progress(done, len(images), "stand-ins for captions")
        try:
            key = _key("facts", image_facts.VERSION, content_hash(dataset.images[i]))
            known = cache.get_many([key]).get(key)
            if known is None:
                known = Reply(json.dumps(vars(image_facts.measure(dataset.images[i]))))
                cache.put(key, known)
        except UnreadableImage:
            continue
        facts = image_facts.ImageFacts(**json.loads(known.text))
        texts[i] = image_facts.sentence(facts, labels=labels[i] if len(labels) else (), group=_group(dataset, i))
    return texts


def _group(dataset: Dataset, image: int) -> str:
    """The name of the image's group; "" where it is a group of its own, named like the image."""
    group = dataset.groups[image]
    return "" if group == dataset.image_ids[image] else group.replace("_", " ")


def _chunks(n: int) -> Iterator[tuple[int, range]]:
    return ((start, range(start, min(start + AT_ONCE, n))) for start in range(0, n, AT_ONCE))


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
