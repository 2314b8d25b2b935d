"""Questions about images to a vision-language model: kept on disk, asked once, those with the same examples after one beginning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.backbones.vlm import open_vlm, prompts
from beholder.backbones.vlm.base import PreparedImage, Turn, VisionLanguageModel
from beholder.backbones.vlm.prepared_images import PreparedImages
from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import content_hash
from beholder.scorers.vlm_text.options import VLMTextOptions

if TYPE_CHECKING:
    from beholder.backbones.vlm.answers import Answerer

CHUNK = 2  # batches whose images are prepared together: among them there are more of the same size
MEMORY = 256 << 20  # bytes of prepared images kept: raters are often asked about the same ones


@dataclass(frozen=True)
class Example:
    """An image that the rater rated, and the rating on 1 to 5."""

    image: str
    content: str
    rating: float


@dataclass(frozen=True)
class Question:
    """How much will somebody who rated the examples like the image? Without examples: how good is it?"""

    image: str
    examples: tuple[Example, ...] = ()


class Asker:
    """One vision-language model and what it answered.

    Args:
        options: of the scorer that asks.
        share_prefix: whether examples go through the model once for all questions that have the same ones.

    Attributes:
        asked, known: answers computed, and found on disk or given before in the same call.
    """

    def __init__(self, options: VLMTextOptions, *, share_prefix: bool = True) -> None:
        for name in ("max_new_tokens", "batch"):
            if getattr(options, name) < 1:
                raise BeholderError(f"{name} = {getattr(options, name)} is too small: give 1 or more")
        self.options, self.share_prefix = options, share_prefix
        self.vlm: VisionLanguageModel = open_vlm(options.model, max_pixels=options.max_pixels, device=options.device, dtype=options.dtype)
        self.asked = self.known = 0
        self._cache = ReplyCache() if options.keep else None
        self._images = PreparedImages(self.vlm, memory=MEMORY)

    @property
    def settings(self) -> str:
        """Everything that an answer depends on beside the question."""
        options, vlm = self.options, self.vlm
        plain = "" if self.share_prefix else "/plain"
        return f"{vlm.name}@{vlm.revision}/{vlm.processing}/{vlm.dtype_name}/{options.read}{options.max_new_tokens}{plain}"

    def ask(self, questions: Sequence[Question], *, progress: Callable[[int, int], None] | None = None) -> list[str | UnreadableImage]:
        """What the model answers to each question, with read=expected the expected number as text; or why one of its images cannot be shown.

        After an interruption, what was answered is on disk: ask again, and it goes on from there.

        Args:
            progress: called with (different questions answered, of how many).

        Raises:
            BeholderError: the conversation is longer than what the model can read, or does not fit into memory.
        """
        contents = {image: content_of(image) for image in dict.fromkeys(question.image for question in questions)}
        keys = [self._key(question, contents[question.image]) for question in questions]
        replies: dict[str, str | UnreadableImage] = {}
        if self._cache:
            replies |= {key: reply.text for key, reply in self._cache.get_many(set(keys)).items()}
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in replies}
        total = len(set(keys))
        if progress:
            progress(len(replies), total)
        for key, reply in self._answers(missing):
            replies[key] = reply
            if progress:
                progress(len(replies), total)
        failed = sum(isinstance(replies[key], UnreadableImage) for key in missing)
        self.asked += len(missing) - failed
        self.known += len(questions) - len(missing)
        return [replies[key] for key in keys]

    def _answers(self, missing: dict[str, Question]) -> Iterator[tuple[str, str | UnreadableImage]]:
        groups: dict[tuple[Example, ...], list[tuple[str, Question]]] = {}
        for key, question in missing.items():
            groups.setdefault(question.examples, []).append((key, question))
        for examples, group in groups.items():
            shown = list(self._images.stream([example.image for example in examples]))
            broken = [one for one in shown if isinstance(one, UnreadableImage)]
            if broken:
                yield from ((key, broken[0]) for key, _ in group)
                continue
            prefix = None
            images = zip((key for key, _ in group), self._images.stream([question.image for _, question in group]), strict=True)
            while part := list(islice(images, self.options.batch * CHUNK)):
                yield from ((key, image) for key, image in part if isinstance(image, UnreadableImage))
                part = [(key, image) for key, image in part if not isinstance(image, UnreadableImage)]
                turns = [self._turn(examples, shown, image) for _, image in part]
                if turns and examples and self.share_prefix and prefix is None:
                    prefix = self.answerer.keep(turns[0])
                for place, answer in self.answerer.answers(turns, prefix=prefix):
                    key = part[place][0]
                    text = answer.text if self.options.read == "number" else _written(answer.expected, model=self.vlm.name)
                    if self._cache:
                        self._cache.put(key, Reply(text, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.new_tokens))
                    yield key, text

    @cached_property
    def answerer(self) -> Answerer:
        return _answerer(self.vlm, self.options)

    def _turn(self, examples: Sequence[Example], shown: Sequence[PreparedImage], image: PreparedImage) -> Turn:
        """The published conversation: one turn of the user."""
        turn = self.vlm.turn([*_beginning(examples, shown), image, _closing(examples)], reply=True)
        needed, most = len(turn.ids) + self.options.max_new_tokens, self.answerer.context
        if most is not None and needed > most:
            fewer = "show fewer examples, or " if examples else ""
            raise BeholderError(
                f"a question to {self.vlm.name} takes {needed} tokens, and it can read {most}: {fewer}make max_pixels smaller"
            )
        return turn

    def _key(self, question: Question, content: str | None) -> str:
        """Of everything that decides the answer; images by content, not by path (but by path if they have none: each will have its own error)."""
        texts = [part if isinstance(part, str) else "" for part in _beginning(question.examples, [None] * len(question.examples))]
        parts = [
            self.settings,
            texts,
            [example.content for example in question.examples],
            content or question.image,
            _closing(question.examples),
        ]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _answerer(vlm: VisionLanguageModel, options: VLMTextOptions) -> Answerer:
    """Made when the first question is asked: it imports torch."""
    from beholder.backbones.vlm.answers import Answerer

    return Answerer(vlm, max_new_tokens=options.max_new_tokens, rows=options.batch, whole=options.read == "number")


def _beginning(examples: Sequence[Example], shown: Sequence) -> list:
    """Texts and images before the image that is asked about."""
    if not examples:
        return []
    parts = [prompts.FEW_SHOT_INTRO]
    for number, (example, image) in enumerate(zip(examples, shown, strict=True), start=1):
        parts += [image, prompts.FEW_SHOT_EXAMPLE.format(number=number, score=example.rating)]
    return parts


def content_of(image: str) -> str | None:
    """The hash of a file; None if it cannot be read."""
    try:
        return content_hash(image)
    except UnreadableImage:
        return None


def _closing(examples: Sequence[Example]) -> str:
    return prompts.FEW_SHOT_QUESTION if examples else prompts.PROMPTS["format"]


def _written(expected: float, *, model: str) -> str:
    if expected != expected:
        raise BeholderError(
            f"{model} does not write each of the integers 1 to 5 as one token, so their mean cannot be read: use read=number"
        )
    return f"{expected:.6f}"
