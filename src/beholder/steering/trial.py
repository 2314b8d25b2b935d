"""What a strategy sees of a run, and what a run is asked for and gives."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beholder.errors import BeholderError
from beholder.steering import guards
from beholder.steering.base import CallFailed, Shown
from beholder.steering.ledger import Ledger
from beholder.steering.recorded_images import Pictured, RecordedImages
from beholder.steering.recorded_writer import RecordedWriter
from beholder.steering.run_folder import short_hash

COUNTED_AS = {guards.DUPLICATE: "duplicates", guards.NEAR_DUPLICATE: "near_duplicates", guards.EMPTY: "empty", guards.TOO_LONG: "too_long"}


@dataclass(frozen=True)
class SteerConfig:
    """How to search. Defaults: 20 variants an iteration are PAMELA's, the best 20 fed back and 77 words MILS's; the rest is ours.

    Args:
        strategy: "mils" (the best prompts are fed back), "random" (nothing is), "reflect" (`strategies.reflective`).
        iterations: at most. per_iteration: prompts tried in each.
        keep: most prompts fed back, the best of all up to then.
        images_per_prompt: rendered with the seeds seed, seed + 1, ..., the same for every prompt; a prompt's reward is their mean.
        budget: images at most, failed tries and the goal's own image among them; None = images_per_prompt x (1 + iterations x per_iteration), which is
            what the search needs when nothing fails.
        seed: of the images, and of what the writer is asked with.
        max_words: longest prompt. near_duplicate: see `guards.sort_out`.
        tries: most calls for one thing: an image that failed, a writer that failed or gave too few prompts.
    """

    strategy: str = "mils"
    iterations: int = 10
    per_iteration: int = 20
    keep: int = 20
    images_per_prompt: int = 1
    budget: int | None = None
    seed: int = 0
    max_words: int = 77
    near_duplicate: float = 0.9
    tries: int = 3

    def __post_init__(self) -> None:
        least = {"iterations": 1, "per_iteration": 1, "keep": 1, "images_per_prompt": 1, "seed": 0, "max_words": 1, "tries": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise BeholderError(f"{name} is {getattr(self, name)}: give {low} or more")
        if not 0 < self.near_duplicate <= 1:
            raise BeholderError(f"near_duplicate is {self.near_duplicate}: give a number above 0 and at most 1; 1 leaves out equal prompts only")
        if self.images < self.images_per_prompt:
            raise BeholderError(f"a budget of {self.budget} images is too small for one prompt: give {self.images_per_prompt} or more")

    @property
    def images(self) -> int:
        """The budget in numbers."""
        return self.images_per_prompt * (1 + self.iterations * self.per_iteration) if self.budget is None else self.budget


@dataclass(frozen=True)
class Candidate:
    """A prompt that was tried.

    Args:
        iteration: 0 = the goal itself.
        reward: mean over its images, higher = better. hold_out: the same by the other judge; nan if there is none, or it could judge no image.
        images: their files, in the order of the seeds.
        parts: mean of each of `Judged.parts`.
    """

    prompt: str
    iteration: int
    reward: float
    hold_out: float
    images: tuple[Path, ...]
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SteerResult:
    """How a run ended.

    Args:
        best: of all, the goal among them. start: the goal itself; its reward is nan if it could not be rendered or judged.
        candidates: all that have a reward, best first; equal ones in the order they were tried.
        counts: see `run_folder`.
        complete: all was tried that the iterations or the budget allow.
        notes: what the reader should hear.
    """

    best: Candidate
    start: Candidate
    candidates: tuple[Candidate, ...]
    counts: dict[str, int]
    complete: bool
    notes: tuple[str, ...] = ()


def best_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Highest reward first; equal ones stay in order."""
    return sorted(candidates, key=lambda one: -one.reward)


def shown(candidates: Sequence[Candidate]) -> list[Shown]:
    """As they are fed back to a writer."""
    return [Shown(one.prompt, one.reward) for one in candidates]


class Trial:
    """All that a strategy may do: ask for prompts, try them out, ask the writer anything. Every answer is recorded and asked for only once.

    Attributes:
        start: the goal itself, tried before the strategy begins; its reward is nan if that failed.
        random: for the strategy's own choices; the same in every run of the same seed.
    """

    def __init__(self, *, writer: RecordedWriter, images: RecordedImages, book: Ledger, config: SteerConfig) -> None:
        self.config, self.random = config, random.Random(config.seed)
        self.start = Candidate(book.goal, 0, math.nan, math.nan, ())
        self._writer, self._images, self._book, self._counts = writer, images, book, book.counts
        self._tried: dict[str, Candidate | None] = {}  # prompt -> None if it got no reward
        self._accepted: dict[str, None] = {}  # in order
        self._iterations: dict[int, list[Candidate]] = {}
        self._best: Candidate | None = None

    @property
    def images_left(self) -> int:
        """Tries of images that may still be made."""
        return self._images.left

    @property
    def prompts_left(self) -> int:
        """Prompts that may still be tried out, if none of their images fails."""
        return self._images.left // self.config.images_per_prompt

    @property
    def candidates(self) -> list[Candidate]:
        """All with a reward, in the order they were tried."""
        return [one for group in self._iterations.values() for one in group]

    def write(self, n: int, history: Sequence[Shown], call: int | str) -> list[str]:
        """At most `n` new prompts; fewer, or none, if the writer gives no more within the tries.

        Args:
            history: best first, see `Writer.propose`.
            call: its number: another one for every call of a run, the same one when the run goes on after a stop.
        """
        iteration = max(self._iterations, default=0) + 1
        accepted: list[str] = []
        for attempt in range(1, self.config.tries + 1):
            missing = n - len(accepted)
            if missing <= 0:
                break
            proposal = self._writer.propose(call, attempt, n=missing, history=history, iteration=iteration)
            if proposal.kind_of_failure == "refused":
                break
            self._counts["proposed"] += len(proposal.prompts)
            new, rejected = guards.sort_out(
                proposal.prompts, seen=self._accepted, max_words=self.config.max_words, near_duplicate=self.config.near_duplicate
            )
            self._reject([*rejected, *((prompt, "spare") for prompt in new[missing:])], iteration=iteration, call=f"{call}.{attempt}")
            self._accept(new[:missing], iteration=iteration, call=f"{call}.{attempt}")
            accepted += new[:missing]
        return accepted

    def complete(self, text: str, call: int | str) -> str:
        """The writer's answer to any text.

        Raises:
            CallFailed: it gave none within the tries, or refused.
            BeholderError: this writer only varies prompts.
        """
        for attempt in range(1, self.config.tries + 1):
            answer = self._writer.complete(text, call, attempt)
            if not answer["kind_of_failure"]:
                return answer["answer"]
            if answer["kind_of_failure"] == "refused":
                break
        raise CallFailed(answer["error"], kind=answer["kind_of_failure"])

    def try_out(self, prompts: Sequence[str], iteration: int) -> list[Candidate]:
        """Render and judge. A prompt that was tried before costs nothing.

        Args:
            prompts: from `write`, or the strategy's own: those go through `guards`, too.
            iteration: from 1 on, growing; the same number again adds to that iteration.

        Returns:
            In the order of `prompts`, without those that got no reward: left out by the guards, no image, not judged, no budget left.
        """
        own = [prompt for prompt in prompts if prompt not in self._tried and prompt not in self._accepted]
        new, rejected = guards.sort_out(own, seen=self._accepted, max_words=self.config.max_words, near_duplicate=self.config.near_duplicate)
        self._reject(rejected, iteration=iteration, call=f"own {iteration}")
        self._accept(new, iteration=iteration, call=f"own {iteration}")
        tidied = [prompt if prompt in self._tried or prompt in self._accepted else " ".join(prompt.split()) for prompt in prompts]
        asked = list(dict.fromkeys(prompt for prompt in tidied if prompt in self._accepted or prompt in self._tried))
        self._try(list(dict.fromkeys(prompt for prompt in asked if prompt not in self._tried)), iteration)
        if asked:
            self.check()
        return [found for prompt in asked if (found := self._tried.get(prompt)) is not None]

    def begin(self) -> None:
        """Try the goal itself, as it is: iteration 0."""
        self._accept([self._book.goal], iteration=0, call="")
        self._try([self._book.goal], 0)
        self.start = self._tried[self._book.goal] or self.start

    def check(self) -> None:
        """Raises BeholderError if nothing that was tried up to now has a reward: the budget would be spent on nothing."""
        if self._best is None:
            raise BeholderError(
                f"no image of the prompt, nor of {len(self._tried) - 1} variants of it, could be made and judged ({self._book.last_reason}): "
                "see to that, and start again in another folder"
            )

    def _try(self, prompts: list[str], iteration: int) -> None:
        for prompt in prompts[self.prompts_left :]:
            self._counts["over_budget"] += 1
            self._candidate(prompt, dropped="the budget was spent")
        taken = prompts[: self.prompts_left]
        group = self._iterations.setdefault(iteration, [])
        seeds = range(self.config.seed, self.config.seed + self.config.images_per_prompt)
        what = f"iteration {iteration} of {self.config.iterations}" if iteration else "the prompt itself"
        for prompt, pictured in zip(taken, self._images.picture(taken, seeds=seeds, iteration=iteration, what=what), strict=True):
            self._tried[prompt] = self._rewarded(prompt, pictured, iteration)
            if self._tried[prompt] is not None:
                group.append(self._tried[prompt])
        if group:
            self._best = best_first([*([] if self._best is None else [self._best]), *group])[0]
        if taken:
            recorded = [as_recorded(one, seeds=seeds) for one in group]
            known = self._book.run.get("iteration", str(iteration))
            if known is None or known["images_made"] <= self._counts["images"]:  # else it is recorded with more prompts, which come again now
                values = summary(iteration, group, best=self._best, counts=self._counts, recorded=recorded)
                self._book.record("iteration", str(iteration), values)

    def _rewarded(self, prompt: str, pictured: Sequence[Pictured], iteration: int) -> Candidate | None:
        """Its mean reward; None, and counted, if an image of it is missing or not judged."""
        for one in pictured:
            if one.failure or one.skipped:
                self._counts[one.failure or "not_judged"] += 1
                self._candidate(prompt, dropped=one.error or f"not judged: {one.skipped}")
                return None
        self._counts["judged"] += 1
        names = dict.fromkeys(name for one in pictured for name in one.parts)
        parts = {name: mean([one.parts.get(name, math.nan) for one in pictured]) for name in names}
        hold_out = mean([one.hold_out for one in pictured if not math.isnan(one.hold_out)])
        return Candidate(prompt, iteration, mean([one.reward for one in pictured]), hold_out, tuple(one.file for one in pictured), parts)

    def _accept(self, prompts: Sequence[str], *, iteration: int, call: str) -> None:
        self._accepted.update(dict.fromkeys(prompts))
        said = {"iteration": iteration, "call": call, "accepted": True, "why": "", "dropped": ""}
        self._book.record_new("candidate", {short_hash(prompt): {"prompt": prompt, **said} for prompt in prompts})

    def _reject(self, rejected: Sequence[tuple[str, str]], *, iteration: int, call: str) -> None:
        events = {}
        for place, (prompt, why) in enumerate(rejected):
            self._counts[COUNTED_AS.get(why, why)] += 1
            said = {"prompt": prompt, "iteration": iteration, "call": call, "accepted": False, "why": why, "dropped": ""}
            events[f"{short_hash(prompt)}.{call}.{place}"] = said
        self._book.record_new("candidate", events)

    def _candidate(self, prompt: str, **changes: str) -> None:
        key = short_hash(prompt)
        self._book.record("candidate", key, {**self._book.run.get("candidate", key), **changes})


def summary(number: int, group: Sequence[Candidate], *, best: Candidate | None, counts: Mapping[str, int], recorded: list[dict]) -> dict[str, Any]:
    """The event "iteration": of the candidates tried in it, and the best of all up to then."""
    top = best_first(group)[0] if group else None
    return {
        "number": number,
        "best_prompt": best.prompt if best else "",
        "best_reward": best.reward if best else math.nan,
        "best_hold_out": best.hold_out if best else math.nan,
        "reward_mean": mean([one.reward for one in group]),
        "hold_out_mean": mean([one.hold_out for one in group if not math.isnan(one.hold_out)]),
        "top_reward": top.reward if top else math.nan,
        "top_hold_out": top.hold_out if top else math.nan,
        "images_made": counts["images"],
        "counts": dict(counts),
        "candidates": recorded,
    }


def as_recorded(candidate: Candidate, *, seeds: Sequence[int]) -> dict[str, Any]:
    """A candidate as the events hold it: images by their path inside the run folder."""
    return {
        "prompt": candidate.prompt,
        "iteration": candidate.iteration,
        "reward": candidate.reward,
        "hold_out": candidate.hold_out,
        "parts": dict(candidate.parts),
        "images": [f"{image.parent.name}/{image.name}" for image in candidate.images],
        "seeds": list(seeds),
    }


def mean(values: Sequence[float]) -> float:
    """nan if there are none."""
    return math.fsum(values) / len(values) if values else math.nan
