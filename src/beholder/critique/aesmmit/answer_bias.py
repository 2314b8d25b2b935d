"""Answers that can be guessed without looking: right options at one place, or longest, and questions that are mostly answered with yes. Ours."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from beholder.critique.aesmmit.instructions import LETTERS, Instruction, choice_of

P_VALUE = 0.001
SHIFT = 0.03  # share: with hundreds of thousands of items even what does no harm is significant
MOSTLY = 0.7  # share of one of yes and no
_LEAST = 20  # yes-no questions
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return _WORD.findall(text.casefold())


def yes_or_no(answer: str) -> str:
    """ "yes" or "no" if the answer begins with it, else ""."""
    begins = words(answer[:12])[:1]
    return begins[0] if begins in (["yes"], ["no"]) else ""


def answer_bias(items: Sequence[Instruction]) -> list[tuple[str, str]]:
    """(kind, sentence) for each bias that is neither chance (p < 0.001) nor negligible (less than 0.03 off)."""
    choices = [choice for item in items if (choice := choice_of(item)) and choice[1] and choice[1] in LETTERS[: len(choice[0])]]
    found = [*_positions(choices), *_lengths(choices)]
    said = Counter(yes_or_no(answer) for item in items if choice_of(item) is None for _, answer in item.turns)
    for answer in ("yes", "no"):
        total = said["yes"] + said["no"]
        if total >= _LEAST and said[answer] / total > MOSTLY:
            share = f"{said[answer]:,} of {total:,} ({said[answer] / total:.0%})"
            found.append(("yes or no", f'{share} of the yes-or-no questions are answered with "{answer}": a model may learn to say it always'))
    return found


def _positions(choices: Sequence[tuple[tuple[str, ...], str]]) -> list[tuple[str, str]]:
    """Chi-square test that the right option is at every place as often, apart for each number of options."""
    from scipy.stats import chisquare

    by_size: dict[int, Counter[str]] = defaultdict(Counter)
    for options, letter in choices:
        by_size[len(options)][letter] += 1
    found = []
    for size, counts in sorted(by_size.items()):
        seen = [counts[letter] for letter in LETTERS[:size]]
        total = sum(seen)
        off = max(abs(count / total - 1 / size) for count in seen)
        if total >= 5 * size and off >= SHIFT and (p := chisquare(seen).pvalue) < P_VALUE:
            shares = ", ".join(f"{letter} {count / total:.0%}" for letter, count in zip(LETTERS, seen, strict=False))
            found.append(("answer positions", f"right options of {total:,} items with {size} options are at {shares} (chi-square p = {p:.1g})"))
    return found


def _lengths(choices: Sequence[tuple[tuple[str, ...], str]]) -> list[tuple[str, str]]:
    """Whether the longest (shortest) option is the right one more often than chance: normal approximation over items where one is the longest."""
    found = []
    for name, pick in (("longest", max), ("shortest", min)):
        hits = total = 0
        expected = variance = 0.0
        for options, letter in choices:
            lengths = [len(option.strip()) for option in options]
            if lengths.count(pick(lengths)) > 1:
                continue
            total += 1
            hits += lengths[LETTERS.index(letter)] == pick(lengths)
            expected += 1 / len(options)
            variance += (1 - 1 / len(options)) / len(options)
        if total < _LEAST or not variance:
            continue
        p = 0.5 * math.erfc((hits - expected) / math.sqrt(2 * variance))
        if p < P_VALUE and (hits - expected) / total >= SHIFT:
            share = f"{hits / total:.0%} of {total:,} items, {expected / total:.0%} by chance"
            found.append((f"{name} option", f"the right option is the {name} one in {share}: a model may learn to choose it unseen"))
    return found
