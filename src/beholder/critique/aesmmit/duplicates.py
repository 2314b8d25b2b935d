"""Questions that say the same: of one image, and the same question with the same answer over many images. Ours; the paper says nothing of duplicates."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from beholder.critique.aesmmit.questions import Written
from beholder.critique.aesmmit.reading import normalised, words

NEAR = 0.8  # share of words in common from which two questions of an image are the same
NEAR_WITH_ANSWER = 0.6  # and if their answers are the same, too
MOST_ALIKE, SHARE_ALIKE = 10, 0.1  # images that may have the same question with the same answer: so many, or this share of all if that is more
_EMPTY = frozenset(("a", "an", "the", "this", "that", "image", "picture", "photo", "photograph", "of", "in", "is", "are", "does", "do"))


def distinct(written: Sequence[Written]) -> list[Written]:
    """The questions of one image without later ones that ask the same in the same or nearly the same words."""
    kept: list[Written] = []
    for one in written:
        if not any(alike(one, other) for other in kept):
            kept.append(one)
    return kept


def alike(one: Written, other: Written) -> bool:
    """Whether two questions of the same image are one."""
    common = overlap(one.question, other.question)
    if one.qtype != other.qtype:
        return common == 1  # "Is the light soft?" and "Why is the light soft?" are two
    same_answer = one.qtype != "yes-no" and normalised(one.answer) == normalised(other.answer)
    return common >= NEAR or (same_answer and common >= NEAR_WITH_ANSWER)


def overlap(first: str, second: str) -> float:
    """Share of words in common (Jaccard), without articles and the like; 1 for texts that differ in marks and letter case only."""
    if normalised(first) == normalised(second):
        return 1.0
    one, two = ({word for word in words(text) if word not in _EMPTY} for text in (first, second))
    return len(one & two) / len(one | two) if one | two else 0.0


def too_common(questions: Sequence[tuple[str, Written]]) -> set[int]:
    """Places of questions to drop, so that no question with the same answer stands with too many images.

    Args:
        questions: (image, question). Which are dropped depends on the images' names, not on the order.
    """
    most = max(MOST_ALIKE, round(SHARE_ALIKE * len({image for image, _ in questions})))
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, (_, one) in enumerate(questions):
        places[normalised(one.question), normalised(one.answer)].append(place)
    dropped: set[int] = set()
    for key, same in places.items():
        order = sorted(same, key=lambda place: hashlib.blake2b(f"{questions[place][0]}\0{key}".encode(errors="replace"), digest_size=8).digest())
        dropped.update(order[most:])
    return dropped
