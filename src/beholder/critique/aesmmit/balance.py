"""Multiple choice without tell-tales: where the right option stands, and whether its length gives it away. Ours."""

from __future__ import annotations

import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

LONGER = 1.1  # the right option is the longest if it has so many times the letters of every other one
SURE = 3.0  # standard errors above chance before length is called a tell-tale


def positions(items: Sequence[tuple[str, int, Hashable]], *, seed: int) -> list[int]:
    """Where the right option of each item stands, from 0.

    Over all items with the same number of options, no place is used more than once more often than another, and in each group of them no more than
    twice. The same items get the same places, in whatever order they come.

    Args:
        items: (id, number of options, group: kind and answer of a question, so that Yes stands first as often as No).
    """
    found = [0] * len(items)
    by_count: dict[int, list[int]] = defaultdict(list)
    for place, (_, count, _) in enumerate(items):
        by_count[count].append(place)
    for count, places in by_count.items():
        # One round over all letters after the other, in an order of its own each time: neighbours cannot be guessed from each other.
        order = sorted(places, key=lambda place: (repr(items[place][2]), _digest(seed, items[place][0])))
        letters: list[int] = []
        for number, place in enumerate(order):
            if number % count == 0:
                letters = list(range(count))
            found[place] = letters.pop(_digest(seed, "letter", items[place][0]) % len(letters))
    return found


def arranged(answer: str, wrong: Sequence[str], *, at: int, id: str, seed: int) -> tuple[str, ...]:
    """The options of a question, the right one at place `at`, the wrong ones in an order that depends on the id."""
    others = list(wrong)
    random.Random(_digest(seed, "order", id)).shuffle(others)
    return (*others[:at], answer, *others[at:])


def longest_share(choices: Sequence[tuple[str, Sequence[str]]]) -> dict[str, float | int | bool | None]:
    """How often the right option is clearly the longest.

    Args:
        choices: (right option, wrong ones); those with fewer than two wrong ones are left out: Yes is always longer than No.

    Returns:
        "n"; "share" of the items; "chance", the share if lengths said nothing; "telltale", whether the share is above that by three standard errors.
        Shares are None without items.
    """
    counted = [(answer, wrong) for answer, wrong in choices if len(wrong) > 1]
    if not counted:
        return {"n": 0, "share": None, "chance": None, "telltale": False}
    n = len(counted)
    share = sum(len(answer) >= LONGER * max(map(len, wrong)) for answer, wrong in counted) / n
    chance = sum(1 / (1 + len(wrong)) for _, wrong in counted) / n
    return {"n": n, "share": share, "chance": chance, "telltale": share > chance + SURE * math.sqrt(chance * (1 - chance) / n)}


def _digest(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(errors="replace"), digest_size=8).digest(), "big")
