"""What writers, generators and rewards are, and how they fail. Everything in `steering` speaks in these words."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from beholder.errors import BeholderError


class CallFailed(BeholderError):
    """A writer or a generator could not answer once.

    Args:
        reason: a clause: what went wrong.
        kind: "failed" (may work the next time), "refused" (by a filter or the model: the same request will be refused again), "broken" (an
            answer came, but it is no image or no text) or "unreachable" (nobody answers: the run stops, and goes on later where it was).
    """

    def __init__(self, reason: str, *, kind: str = "failed") -> None:
        super().__init__(reason)
        self.reason, self.kind = reason, kind


@dataclass(frozen=True)
class Shown:
    """A prompt that was tried, as it is fed back to a writer. score: the reward, 0 to 1 unless penalties push it below; higher = better."""

    prompt: str
    score: float


@dataclass(frozen=True)
class Proposal:
    """What a writer gave for one call.

    Args:
        prompts: as parsed; may be fewer or more than asked for, hold equal, empty or over-long ones: `guards` sorts that out.
        raw: the text they were parsed from.
    """

    prompts: tuple[str, ...]
    raw: str = ""


class Kept(Protocol):
    """Answers to the questions of one call that is not finished, by their number; on disk before `put` returns."""

    def get(self, number: int) -> Mapping[str, Any] | None: ...

    def put(self, number: int, **values: Any) -> Mapping[str, Any]: ...


class Writer(ABC):
    """Proposes prompts.

    Attributes:
        name: as given to `open_writer`. version: changes whenever the same call may give another answer.
        kept: set by the search before each call of `propose`: a writer that asks several questions for one call keeps its answers there, so
            that none is asked again if the program is stopped between them.
    """

    name: str
    version: str = "0"
    kept: Kept | None = None

    @abstractmethod
    def propose(self, goal: str, *, n: int, history: Sequence[Shown], seed: int, max_words: int) -> Proposal:
        """About `n` variants of the prompt `goal`.

        Args:
            history: the best prompts up to now, best first; empty at the beginning, and always for a search without feedback.
            seed: of the sampling: the same call gives the same answer as far as the model can be made to.
            max_words: longest prompt that will be accepted.

        Raises:
            CallFailed: see there.
        """

    def complete(self, text: str, *, seed: int) -> str:
        """The answer to any text, for strategies that reflect. Writers that cannot do that raise BeholderError."""
        raise BeholderError(f"the writer {self.name} only varies prompts and cannot reflect on them: name a chat model, or use --strategy mils")

    def notes(self) -> list[str]:
        """What the user should hear at the end: tokens used, cost."""
        return []


class Generator(ABC):
    """Renders a prompt.

    Attributes:
        name: as given to `open_generator`. version: changes whenever the same prompt and seed may give another image.
    """

    name: str
    version: str = "0"

    @abstractmethod
    def generate(self, prompt: str, *, seed: int) -> Image.Image:
        """An RGB image. The same prompt and seed give the same image where the model allows.

        Raises:
            CallFailed: see there.
        """

    def generate_many(self, requests: Sequence[tuple[str, int]]) -> Iterator[tuple[int, Image.Image | CallFailed]]:
        """(place in `requests`, image or why there is none), as they get ready. One after the other here; servers are asked several at once."""
        for place, (prompt, seed) in enumerate(requests):
            try:
                yield place, self.generate(prompt, seed=seed)
            except CallFailed as error:
                yield place, error

    def notes(self) -> list[str]:
        """What the user should hear at the end."""
        return []


@dataclass(frozen=True)
class Judged:
    """One image judged.

    Args:
        reward: what is maximised: mean over raters of the score on 0..1, less the penalties.
        parts: by name: "rater NAME" (score on 0..1), "drift", "unfaithful" (penalties as subtracted), for the report.
        skipped: why the image could not be judged; "" if it was.
    """

    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)
    skipped: str = ""


class Judge(ABC):
    """Rewards images for the prompt they were made from.

    Attributes:
        name: for reports. version: changes whenever the same image may get another reward.
    """

    name: str
    version: str = "0"

    @abstractmethod
    def judge(self, images: Sequence[str | os.PathLike], *, prompts: Sequence[str], goal: str) -> list[Judged]:
        """One `Judged` for each image, in order; its reward depends on no other image.

        Args:
            prompts: [n] each image's own prompt. goal: the prompt everything started from.
        """
