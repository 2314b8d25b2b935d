"""Which proposed prompts are worth an image: not empty, not too long, and not what was tried already. Ours; the papers only limit the words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

DUPLICATE, NEAR_DUPLICATE, EMPTY, TOO_LONG = "duplicate", "near duplicate", "empty", "too long"
_NO_WORD = re.compile(r"[\W_]+")
_EDGE = ""  # stands before the first word and behind the last one


def sort_out(
    prompts: Sequence[str], *, seen: Collection[str], max_words: int, near_duplicate: float
) -> tuple[list[str], list[tuple[str, str]]]:
    """The prompts to try, and those not to.

    Args:
        prompts: as proposed, in order: of two like ones, the first is kept.
        seen: prompts accepted before.
        max_words: most words of a prompt, counted between spaces.
        near_duplicate: a prompt is left out if its `likeness` to another is at least this, 0 to 1; 1 leaves out equal ones only.

    Returns:
        accepted (spaces tidied), and (prompt as given, "duplicate", "near duplicate", "empty" or "too long") of the others.
    """
    known = _Known(seen, near_duplicate)
    accepted, rejected = [], []
    for prompt in prompts:
        tidy = " ".join(prompt.split())
        if not normalised(tidy):
            why = EMPTY
        elif len(tidy.split()) > max_words:
            why = TOO_LONG
        else:
            why = known.like(tidy)
        if why:
            rejected.append((prompt, why))
        else:
            known.add(tidy)
            accepted.append(tidy)
    return accepted, rejected


@lru_cache(maxsize=1 << 16)
def normalised(prompt: str) -> str:
    """Without what makes no other prompt: capitals, punctuation, spaces, forms of the same letter. "" if no letter or digit is in it."""
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", prompt).casefold()).strip()


@lru_cache(maxsize=1 << 16)
def word_pairs(prompt: str) -> frozenset[tuple[str, str]]:
    """Every two neighbouring words of the normalised prompt, its beginning and its end among them."""
    words = [_EDGE, *normalised(prompt).split(), _EDGE]
    return frozenset(pairwise(words))


def likeness(first: str, second: str) -> float:
    """Word pairs in both prompts / word pairs in either (Jaccard), 0 to 1.

    Pairs, not single words, because "a red cat on a blue mat" and "a blue cat on a red mat" are two prompts. One word replaced in the middle of
    n leaves (n - 1) / (n + 3): at 0.9, such a prompt is a near-duplicate from 37 words on.
    """
    one, other = word_pairs(first), word_pairs(second)
    return len(one & other) / len(one | other)


class _Known:
    """Prompts accepted up to now, found by their number of word pairs: only sets of about the same size can be alike."""

    def __init__(self, prompts: Iterable[str], threshold: float) -> None:
        self._threshold = threshold
        self._equal: set[str] = set()
        self._by_size: dict[int, list[frozenset[tuple[str, str]]]] = {}
        for prompt in prompts:
            self.add(prompt)

    def add(self, prompt: str) -> None:
        self._equal.add(normalised(prompt))
        pairs = word_pairs(prompt)
        self._by_size.setdefault(len(pairs), []).append(pairs)

    def like(self, prompt: str) -> str:
        """Why the prompt is nothing new; "" if it is."""
        if normalised(prompt) in self._equal:
            return DUPLICATE
        if self._threshold >= 1:
            return ""
        pairs = word_pairs(prompt)
        for size, others in self._by_size.items():
            if min(size, len(pairs)) < self._threshold * max(size, len(pairs)):
                continue
            for other in others:
                both = len(pairs & other)
                if both >= self._threshold * (size + len(pairs) - both):
                    return NEAR_DUPLICATE
        return ""
