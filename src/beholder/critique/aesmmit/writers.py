"""Who writes the questions of AesVQA: language models behind a URL or on this machine, or rules. The paper asked GPT-4."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beholder.critique.aesmmit.duplicates import distinct
from beholder.critique.aesmmit.questions import INSTRUCTION, SYSTEM, Written, prompt, said
from beholder.critique.aesmmit.reading import read
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.backbones.chat import ChatModel
    from beholder.critique.aesmmit.feedback import Feedback

MOST_ASKED = 3  # calls for one image: the first, and two more if too few questions can be used
ENOUGH = 2 / 3  # share of the wanted questions that is not asked for again
LOCAL_BATCH = 4  # images that a model on this machine is asked about at once
TOKENS, TOKENS_EACH = 256, 192  # room for an answer: and for each question in it


@dataclass(frozen=True)
class Answer:
    """What a writer said in one call.

    Args:
        text: as it came.
        refused: it would not answer.
        failed: why there is no answer at all; such calls are made again by the next run.
        prompt_tokens, completion_tokens: as counted by the server.
    """

    text: str
    refused: bool = False
    failed: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Asked:
    """One call.

    Args:
        feedback: all of one image.
        n: questions wanted.
        seed: of the sampling.
        before: questions of this image that were accepted already.
        rejected: why earlier ones could not be used.
    """

    feedback: tuple[Feedback, ...]
    n: int
    seed: int
    before: tuple[str, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass
class OneImage:
    """What became of one image: the calls and what they gave. `next` says which call comes now."""

    feedback: tuple[Feedback, ...]
    n: int
    seed: int
    written: list[Written] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    calls: int = 0
    failed: str = ""
    over: bool = False
    last: Mapping[str, int] = field(default_factory=dict)

    def next(self) -> Asked | None:
        """The call to make; None if there is nothing more to ask."""
        if self.over:
            return None
        seed = int.from_bytes(hashlib.blake2b(f"{self.seed}/{self.calls}/{self.feedback[0].image}".encode(), digest_size=4).digest(), "big") >> 1
        return Asked(self.feedback, self.n - len(self.written), seed, tuple(one.question for one in self.written), self.last)

    def take(self, answer: Answer) -> None:
        """Take in what the writer said to `next`."""
        if answer.failed:
            self.failed, self.over = answer.failed, True
            return
        self.calls += 1
        found = read(answer.text)
        if answer.refused and not found.written:
            self.failed, self.over = "the writer refused", True
            self.rejected["refused"] += 1
            return
        kept = distinct([*self.written, *found.written])
        repeated = len(self.written) + len(found.written) - len(kept)
        self.duplicates += repeated
        self.written = list(kept[: self.n])
        self.rejected.update(found.rejected)
        self.mended.update(found.mended)
        self.last = dict(found.rejected) | ({"said already": repeated} if repeated else {})
        if not found.whole and found.written:
            self.last = {**self.last, "the list was cut off": 1}
        # A whole list that is short is what the feedback carries: asking for more would be asking for inventions.
        self.over = len(self.written) >= self.n * ENOUGH or not self.last or self.calls >= MOST_ASKED
        if self.over and not self.written:
            why = ", ".join(self.last) or "the writer found nothing to ask"
            self.failed = f"no question can be used ({why})"


class QuestionWriter(ABC):
    """Writes questions about images from what people said of them.

    Attributes:
        name: as given to `open_question_writer`.
        version: changes whenever the same call may give another answer.
    """

    name: str
    version: str

    @abstractmethod
    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        """(place in `asked`, answer), in any order, each as soon as it is there.

        Raises:
            BeholderError: nobody answers, or the writer cannot be used at all.
        """

    def write(self, feedback: Sequence[Feedback], *, n: int, seed: int) -> list[Written]:
        """Up to `n` questions about the image that all of `feedback` is about; the writer is asked again if too few can be used."""
        image = OneImage(tuple(feedback), n, seed)
        while (call := image.next()) is not None:
            for _, answer in self.answers([call]):
                image.take(answer)
        return image.written

    @property
    def cost(self) -> float | None:
        """Of the calls made up to now, in the currency of the prices; None without prices."""
        return None

    def notes(self) -> list[str]:
        """What should be said at the end: tokens used, cost."""
        return []


class RuleWriter(QuestionWriter):
    """See `rules`. Needs no model, so everything can be tried offline; what it makes is marked with its name."""

    name = "rules"

    def __init__(self) -> None:
        from beholder.critique.aesmmit.rules import VERSION

        self.version = VERSION

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        from beholder.critique.aesmmit.rules import written_by_rules

        for place, one in enumerate(asked):
            found = written_by_rules(said(one.feedback), n=one.n, seed=one.seed, before=one.before)
            yield place, Answer(json.dumps([each.to_json() for each in found], ensure_ascii=False))


class ChatQuestionWriter(QuestionWriter):
    """A language model. It is shown what people said, without names; never the image.

    Args:
        concurrency: calls under way at once to a server; 0 = a model on this machine, asked in batches.
    """

    def __init__(self, model: ChatModel, *, temperature: float, top_p: float, concurrency: int) -> None:
        from beholder.backbones.sampling import Sampling

        if temperature:
            Sampling(temperature, top_p)  # says what is wrong with them
        self.model, self.name = model, model.name
        self._temperature, self._top_p, self._concurrency = temperature, top_p, concurrency
        self.version = f"{model.version}/instruction {INSTRUCTION}/t={temperature:g}/p={top_p:g}"

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        places = range(len(asked))
        if self._concurrency:
            from beholder.backbones.http_calls import in_threads

            def answer(place: int, stopped: threading.Event) -> tuple[int, Answer]:
                return place, self._one(asked[place])

            yield from in_threads(places, answer, concurrency=self._concurrency, name="beholder-writer")
            return
        for start in range(0, len(asked), LOCAL_BATCH):
            yield from self._batch({place: asked[place] for place in places[start : start + LOCAL_BATCH]})

    @property
    def cost(self) -> float | None:
        return self.model.usage.cost

    def notes(self) -> list[str]:
        found = [f"writer {self.name}: {self.model.usage}"]
        if self.model.unsent and self._temperature:
            found.append(f"{self.name} does not take {' and '.join(sorted(self.model.unsent))}, so another run may get other questions even with the same seed")
        return found

    def _batch(self, asked: Mapping[int, Asked]) -> Iterator[tuple[int, Answer]]:
        from beholder.backbones.chat import NoAnswer

        most = max(one.n for one in asked.values())
        try:
            replies = self.model.ask([self._request(one) for one in asked.values()], max_tokens=_room(most))
        except NoAnswer:  # one of them; the others are to have theirs
            yield from ((place, self._one(one)) for place, one in asked.items())
            return
        for place, reply in zip(asked, replies, strict=True):
            yield place, _answer(reply)

    def _one(self, asked: Asked) -> Answer:
        from beholder.backbones.chat import NoAnswer

        try:
            return _answer(self.model.ask([self._request(asked)], max_tokens=_room(asked.n))[0])
        except NoAnswer as error:
            if error.kind == "unreachable" or (error.kind == "broken" and not self.model.usage.calls):
                raise  # nothing there is a chat model, or nobody is there
            return Answer("", failed=str(error))

    def _request(self, asked: Asked):
        from beholder.backbones.chat import ChatRequest
        from beholder.backbones.sampling import Sampling

        sampling = Sampling(self._temperature, self._top_p, asked.seed) if self._temperature else None
        text = prompt(asked.feedback, n=asked.n, before=asked.before, rejected=asked.rejected)
        return ChatRequest(text, system=SYSTEM, sampling=sampling)


def open_question_writer(
    uri: str | os.PathLike,
    *,
    temperature: float = 0.7,
    top_p: float = 0.95,
    concurrency: int = 4,
    api_key_env: str = "OPENAI_API_KEY",
    timeout: float = 120.0,
    retries: int = 6,
    backoff: float = 1.0,
    device: str = "auto",
    prices: tuple[float, float] | None = None,
) -> QuestionWriter:
    """A writer by name.

    Args:
        uri: "rules" (no model); "http(s)://host:port/v1#model" of an OpenAI-compatible server; or a language model on this machine (a folder, a hub
            repository, or the embedded "smollm2-135m-instruct").
        temperature, top_p: how answers are drawn; temperature 0 = always the most probable words.
        concurrency: calls under way at once to a server.
        others: see `open_chat_model`.

    Raises:
        BeholderError: there is no such writer, or a number is out of range.
        MissingExtra: httpx, or torch and transformers, are not installed.
    """
    import difflib

    from beholder.backbones.chat import open_chat_model

    name = os.fspath(uri).strip()
    if name.lower() == "rules":
        return RuleWriter()
    if not name or difflib.get_close_matches(name.lower(), ("rules",), n=1, cutoff=0.75):
        raise BeholderError(f"there is no writer {name!r}: name rules, http(s)://HOST/v1#MODEL, or a language model on this machine")
    # Replies are kept where all chat models keep theirs: an answer that came while another failed is not paid for twice.
    model = open_chat_model(
        name, api_key_env=api_key_env, concurrency=concurrency, prices=prices, timeout=timeout, retries=retries, backoff=backoff, device=device
    )
    is_url = name.lower().startswith(("http://", "https://"))
    return ChatQuestionWriter(model, temperature=temperature, top_p=top_p, concurrency=concurrency if is_url else 0)


def _room(n: int) -> int:
    return TOKENS + TOKENS_EACH * n


def _answer(reply) -> Answer:
    return Answer(reply.text, refused=reply.refused, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
