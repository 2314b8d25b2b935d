"""`rules`: a writer without a model. It asks about sentences that people said, and answers with these sentences.

Ours: an example and a baseline, so that data can be made with nothing but feedback at hand. It invents no answer: each is a grade's word or something
that was said, as it was said. Its wrong alternatives are contraries from a list, or the sentence with its words turned round. It reads English only.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beholder.critique.aesmmit import rule_words as known
from beholder.critique.aesmmit.questions import WRONG, Written

VERSION = "1"
LONGEST = 30  # words of a sentence that may be an answer
AGREE = 2  # grades that lie further apart say nothing together


def written_by_rules(said: Sequence[Mapping[str, Any]], *, n: int, seed: int, before: Sequence[str] = ()) -> list[Written]:
    """Questions from feedback as `questions.said` shows it.

    Args:
        n: at most so many; one of each kind and dimension first.
        seed: which of several phrasings; the same call gives the same questions.
        before: questions not to ask again.
    """
    taken = {*before}
    rounds: dict[tuple[str, str], list[Written]] = {}
    for one in [*_of_grades(said), *_of_reasons(said, seed), *_of_feelings(said, seed), *_of_suggestions(said, seed)]:
        if one.question not in taken:
            taken.add(one.question)
            rounds.setdefault((one.qtype, one.dimension), []).append(one)
    order = sorted(rounds, key=lambda kind: _number(seed, *kind))
    queues = [rounds[kind] for kind in order]
    found = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return found[:n]


def _of_grades(said: Sequence[Mapping[str, Any]]) -> Iterator[Written]:
    grades = [one["grade, 1 to 5"] for one in said if isinstance(one.get("grade, 1 to 5"), int)]
    if not grades or max(grades) - min(grades) > AGREE:
        return
    middle = statistics.median(grades)
    grade = round(middle)
    if middle != 3:
        yield Written("Is this image beautiful?", "Yes" if middle > 3 else "No", "yes-no", "quality", ("No" if middle > 3 else "Yes",))
        yield Written("Would most people dislike this image?", "No" if middle > 3 else "Yes", "yes-no", "quality", ("Yes" if middle > 3 else "No",))
    far = sorted((other for other in range(1, 6) if other != grade), key=lambda other: (-abs(other - grade), other))[:WRONG]
    wrong = tuple(known.QUALITY[other - 1].capitalize() for other in far)
    yield Written("What is the aesthetic quality of this image?", known.QUALITY[grade - 1].capitalize(), "what", "quality", wrong)


def _of_reasons(said: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Written]:
    spoken = [(attribute, sentence) for sentence in _sentences(said, "reasons") if (attribute := known.attribute_of(sentence))]
    leanings = {attribute: {known.leaning(sentence) for one, sentence in spoken if one == attribute} for attribute, _ in spoken}
    for attribute, sentence in spoken:
        dimension = known.ATTRIBUTES[attribute][0]
        sign = known.leaning(sentence)
        others = [other for one, other in spoken if one != attribute]
        wrong = _wrong(sentence, known.AGAINST[attribute][0 if sign > 0 else 1] if sign else (), others)
        verb = {1: "add to", -1: "take away from"}.get(sign, "bear on")
        asked = [
            ("what", dimension, f"What can be said about the {attribute} of this image?"),
            ("how", dimension, f"How is the {attribute} of this image?"),
            ("why", "interpretation", f"Why does the {attribute} {verb} the appeal of this image?"),
        ]
        if not sign:
            asked.pop()
        first = _number(seed, sentence) % len(asked)
        for qtype, where, question in asked[first:] + asked[:first]:
            yield Written(question, sentence, qtype, where, wrong)
        if sign and leanings[attribute] <= {0, sign}:  # nobody said the contrary
            helps = bool(_number(seed, attribute) % 2)
            question = f"Does the {attribute} {'add to' if helps else 'take away from'} the appeal of this image?"
            answer = "Yes" if helps == (sign > 0) else "No"
            yield Written(question, answer, "yes-no", dimension, ("No" if answer == "Yes" else "Yes",))


def _of_feelings(said: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Written]:
    spoken = _sentences(said, "feeling")
    signs = {sentence: known.leaning(sentence, good=known.PLEASANT, bad=known.UNPLEASANT) for sentence in spoken}
    for sentence in spoken:
        sign = signs[sentence]
        wrong = _wrong(sentence, known.FEELINGS[0 if sign > 0 else 1] if sign else (), ())
        how = _number(seed, sentence) % 2
        question = "How does this image make one feel?" if how else "What feeling does this image give?"
        yield Written(question, sentence, "how" if how else "what", "emotion", wrong)
    found = set(signs.values())
    for sign in (1, -1):
        if sign in found and -sign not in found:
            asked = _number(seed, "feeling") % 2
            answer = "Yes" if bool(asked) == (sign > 0) else "No"
            question = f"Does this image give a {'pleasant' if asked else 'unpleasant'} feeling?"
            yield Written(question, answer, "yes-no", "emotion", ("No" if answer == "Yes" else "Yes",))


def _of_suggestions(said: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Written]:
    praised = {known.attribute_of(sentence) for sentence in _sentences(said, "reasons") if known.leaning(sentence) > 0}
    for sentence in _sentences(said, "suggestion"):
        about = known.attribute_of(sentence)
        advice = [text for attribute, text in known.ADVICE.items() if attribute in praised and attribute != about]
        wrong = _wrong(sentence, advice, known.GENERAL_ADVICE)
        how = _number(seed, sentence) % 2
        question = "How could this image gain in beauty?" if how else "What advice would help this image?"
        yield Written(question, sentence, "how" if how else "what", "enhancement", wrong)


def _wrong(answer: str, contraries: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """The sentence turned round, then contraries, then others, each group by how near their length is to the answer's."""
    turned = [text] if (text := known.contrary(answer)) else []
    every = [*turned, *known.nearest_in_length(contraries, answer), *known.nearest_in_length(others, answer)]
    return tuple(text for text in dict.fromkeys(every) if text != answer)[:WRONG]


def _sentences(said: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    """Each sentence once, short enough to be an answer."""
    texts = [sentence for one in said for sentence in known.sentences(str(one.get(part) or ""))]
    return [text for text in dict.fromkeys(texts) if len(text.split()) <= LONGEST]


def _number(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")
