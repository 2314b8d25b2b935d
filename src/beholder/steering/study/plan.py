"""Which images are shown side by side, on which side, to whom and in which order. The published study compares arms in pairs; the rest is ours.

Balance: every pair of arms is shown as often as every other as far as the images allow; within a rater and a pair of arms each arm is on the left
as often as on the right (differences of 1 at most); a repetition has the sides swapped and comes after all first showings.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from beholder.errors import BeholderError

OWN, OTHER, GENERIC, UNOPTIMISED = "own", "other", "generic", "unoptimised"
_FIRST = (OWN, OTHER, GENERIC, UNOPTIMISED)


@dataclass(frozen=True)
class Entry:
    """One image that takes part.

    Args:
        rater: who will see it. prompt: the goal it was made for; only images of one rater and prompt are compared.
        arm: how it came about: "own", "other", "generic", "unoptimised", or any other name.
        image: the file.
    """

    rater: str
    prompt: str
    arm: str
    image: Path


@dataclass(frozen=True)
class StudyConfig:
    """Args:
    repeats: how often each comparison is shown to its rater, 1 or more; with 2 or more the agreement of a rater with itself is measured.
    trials: at most so many for a rater; None = all there are. Repetitions are kept whole.
    seed: of the choice of comparisons, of sides and of the order.
    """

    repeats: int = 1
    trials: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise BeholderError(f"repeats = {self.repeats} shows nothing: give 1 or more")
        if self.trials is not None and self.trials < self.repeats:
            raise BeholderError(f"trials = {self.trials} is less than one comparison shown {self.repeats} times: give {self.repeats} or more")


@dataclass(frozen=True)
class Planned:
    """One trial, not yet blinded: two images of the same rater and prompt; repeat counts from 1."""

    left: Entry
    right: Entry
    repeat: int = 1

    @property
    def rater(self) -> str:
        return self.left.rater

    @property
    def prompt(self) -> str:
        return self.left.prompt


def in_order(arms: Sequence[str]) -> list[str]:
    """The arms without repetitions: own, other, generic, unoptimised, then the rest by name."""
    return sorted(set(arms), key=lambda arm: (_FIRST.index(arm) if arm in _FIRST else len(_FIRST), arm))


def plan_trials(
    entries: Sequence[Entry], *, config: StudyConfig, same: Callable[[Entry, Entry], bool] = lambda left, right: left.image == right.image
) -> tuple[list[Planned], list[str]]:
    """The trials, rater by rater (by name) in the order in which they are shown, and notes.

    Args:
        entries: the images that take part.
        same: whether two images look the same: such pairs are left out, and named in the notes.

    Raises:
        BeholderError: an arm has two images for the same rater and prompt; or there is nothing to compare.
    """
    arms = in_order([entry.arm for entry in entries])
    if len(arms) < 2:
        raise BeholderError(f"there is nothing to compare: a study needs images of two arms, these are all {arms[0] if arms else 'missing'}")
    by_place: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        first = by_place.setdefault((entry.rater, entry.prompt, entry.arm), entry)
        if first is not entry:
            raise BeholderError(
                f"rater {entry.rater} has two images of arm {entry.arm} for the prompt {entry.prompt!r} ({first.image}, {entry.image}): "
                "leave one out, or give the arms different names"
            )
    dice, trials, notes = random.Random(f"beholder study {config.seed}"), [], []
    shown: Counter = Counter()  # (pair of arms) over all raters, so that what cannot be equal within raters is nearly equal over them
    leaning: Counter = Counter()  # (pair of arms) how many times more often the first arm is on the left
    for rater in sorted({entry.rater for entry in entries}):
        own = {(prompt, arm): entry for (who, prompt, arm), entry in by_place.items() if who == rater}
        free, left_out = _comparisons(own, arms=arms, same=same)
        notes += [f"rater {rater}, prompt {prompt!r}: {a} and {b} are the same image and were left out" for (a, b), prompt in left_out]
        if not any(free.values()):
            notes.append(f"rater {rater} has nothing to compare and was left out")
            continue
        most = config.trials // config.repeats if config.trials is not None else sum(map(len, free.values()))
        units = _drawn(free, most=most, shown=shown, dice=dice)
        sides = _sides(units, repeats=config.repeats, leaning=leaning, dice=dice)
        for repeat, (a, b), prompt in _ordered(units, repeats=config.repeats, dice=dice):
            swapped = sides[(a, b), prompt] != (repeat % 2 == 1)
            left, right = (b, a) if swapped else (a, b)
            trials.append(Planned(own[prompt, left], own[prompt, right], repeat))
    if not trials:
        why = "; ".join(notes[:2])
        raise BeholderError(f"no rater has two different images of the same prompt, so there is nothing to compare ({why}): give more images")
    return trials, notes


Pair = tuple[str, str]
Unit = tuple[Pair, str]  # which arms, for which prompt


def _comparisons(own: dict, *, arms: Sequence[str], same: Callable[[Entry, Entry], bool]) -> tuple[dict[Pair, list[str]], list[Unit]]:
    """Pair of arms -> prompts for which both have an image, and what was left out because the two look the same."""
    prompts = sorted({prompt for prompt, _ in own})
    free: dict[Pair, list[str]] = {}
    left_out = []
    for a, b in combinations(arms, 2):
        for prompt in prompts:
            if (prompt, a) in own and (prompt, b) in own:
                if same(own[prompt, a], own[prompt, b]):
                    left_out.append(((a, b), prompt))
                else:
                    free.setdefault((a, b), []).append(prompt)
    return free, left_out


def _drawn(free: dict[Pair, list[str]], *, most: int, shown: Counter, dice: random.Random) -> list[Unit]:
    """At most `most` comparisons in rounds: each round takes one of every pair of arms that has some left, of the prompt shown least."""
    free = {pair: list(prompts) for pair, prompts in free.items()}
    units: list[Unit] = []
    times: Counter = Counter()
    while len(units) < most and any(free.values()):
        pairs = [pair for pair, prompts in free.items() if prompts]
        dice.shuffle(pairs)
        for pair in sorted(pairs, key=lambda pair: shown[pair])[: most - len(units)]:
            dice.shuffle(free[pair])
            prompt = min(free[pair], key=lambda prompt: times[prompt])
            free[pair].remove(prompt)
            times[prompt] += 1
            shown[pair] += 1
            units.append((pair, prompt))
    return units


def _sides(units: Sequence[Unit], *, repeats: int, leaning: Counter, dice: random.Random) -> dict[Unit, bool]:
    """Whether the first arm of a pair is on the left in the first showing: in turns, beginning with the side that is behind over all raters."""
    sides: dict[Unit, bool] = {}
    own: Counter = Counter()  # arm -> how many times more often on the left, for this rater
    for pair in sorted({pair for pair, _ in units}):
        of_pair = [unit for unit in units if unit[0] == pair]
        dice.shuffle(of_pair)
        behind = leaning[pair] or own[pair[0]] - own[pair[1]]
        first_left = behind < 0 if behind else dice.random() < 0.5
        for place, unit in enumerate(of_pair):
            sides[unit] = first_left == (place % 2 == 0)
        if repeats % 2 and len(of_pair) % 2:
            lean = 1 if first_left else -1
            leaning[pair] += lean
            own[pair[0]] += lean
            own[pair[1]] -= lean
    return sides


def _ordered(units: Sequence[Unit], *, repeats: int, dice: random.Random) -> list[tuple[int, Pair, str]]:
    """(repeat, arms, prompt): every round of showings in an order of its own; nothing is shown twice in a row unless there is nothing else."""
    order: list[tuple[int, Pair, str]] = []
    for repeat in range(1, repeats + 1):
        block = list(units)
        dice.shuffle(block)
        if order and len(block) > 1 and order[-1][1:] == block[0]:
            other = dice.randrange(1, len(block))
            block[0], block[other] = block[other], block[0]
        order += [(repeat, pair, prompt) for pair, prompt in block]
    return order
