"""Inventories answered by chat models in words: open questions whose answers a rater LLM turns into numbers, and Likert questions as text.

The way is that of LMLPA (Zheng et al. 2025, Computational Linguistics 51(2); arXiv 2410.17632), which P-MLLM (arXiv 2604.17233, section 4.4.2) measures traits with:
an open question instead of options, and an AI rater. Its items and the rater's prompt are not published with P-MLLM; the prompts here are a stand-in for them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from beholder.backbones.chat import ChatModel, ChatRequest, Reply, is_refusal
from beholder.errors import BeholderError
from beholder.personas.ledger import Counts, Progress

if TYPE_CHECKING:
    from beholder.personas.inventory import Inventory, Item

LOW, HIGH = 1, 5
ANSWER_TOKENS = 128  # of an open answer
RATING_TOKENS = 16  # of a number
_READING = 2  # to be raised whenever replies are read otherwise: what the ledger holds was read by an older one

OPEN = "{question} Answer briefly in English."  # "Answer briefly in English." ends P-MLLM's own questions about the persona (appendix A)
OPEN_AGAIN = "{question} Answer briefly in English, in the first person. There are no right or wrong answers; a guess will do."
RATER = "You judge what people's answers say about their personality."
_ASKED = 'A person was asked: "{question}"\n\nThe answer was:\n"""\n{answer}\n"""\n\nJudging by this answer, '
_FORM = "\nReply with the number only, in this form:\nRating: <number>"
RATE = _ASKED + 'how accurately does the statement "{statement}" describe this person, from 1 (very inaccurate) to 5 (very accurate)?' + _FORM
RATE_TRAIT = _ASKED + "how much of the Big Five trait {trait} does this person show, from 1 (very little) to 5 (very much)?" + _FORM
_ANCHORS = "1 = very inaccurate, 2 = moderately inaccurate, 3 = neither inaccurate nor accurate, 4 = moderately accurate, 5 = very accurate"
LIKERT = f'How accurately does the statement "{{statement}}" describe you?\n{_ANCHORS}.{_FORM}'
NUMBER_AGAIN = "\nYour reply must be a single number, 1, 2, 3, 4 or 5, without any other words. If you are not sure, give your best estimate."

_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5} | {label: int(n) for n, label in re.findall(r"(\d) = ([a-z ]+)", _ANCHORS)}
_NUMBER = r"[-−]?\d+(?:[.,]\d+)?"
_OF_FIVE = re.compile(r"(?<=\d)\s*\(?(?:/|out of|of)\s*5\b\)?(?![.,]\d)", re.IGNORECASE)
# "from 1 to 5", "1 (very inaccurate) to 5 (very accurate)", "1-5": the scale, not a rating
_SCALE = re.compile(r"(?<![\d.,])1\s*(?:\([^)]*\)\s*)?(?:to|and|[-–—])\s*5(?:\s*\([^)]*\))?(?!\d|[.,]\d)", re.IGNORECASE)
_STATED = re.compile(
    rf"\b(?:rating|score)\b[\s*_\"'`]*(?:(?:is|of|would be|as)\b|[:=])[\s*_\"'`:<(\[]*({_NUMBER})(?!\w|[.,]\d|\s*[/%]|\s+out of|\s*(?:[-–—]|to\b|or\b)\s*\d)",
    re.IGNORECASE,
)
_SEPARATE = re.compile(rf"(?<![\w.,/])({_NUMBER})(?!\w|[.,]\d)")
_ANOTHER_SCALE = re.compile(r"\d\s*(?:/|%|out of)", re.IGNORECASE)
_LIST = re.compile(r"[\s*_]*1(?:[.)]|\s*[=:])[ \t*_]+\w")  # of the scale, say: it may have been cut off anywhere
_LABELLED = re.compile(r"([1-5])\W*\b([a-z ]+)", re.IGNORECASE)
_BEGUN = re.compile(rf"\W*(?:rating\W+)?{_NUMBER}(?:\s*(?:/|out of)\s*5)?[ \t*_\"'`]*(?:[.,;:(\n]|$)", re.IGNORECASE)
_MARKS = " \t*_\"'`.()[]"

# People say of themselves that they cannot help worrying, or are not comfortable engaging with strangers: words of inability alone are no refusal here.
_OF_A_MACHINE = re.compile(
    r"\b(?i:sorry|apologi[sz]e|language model|(?:help|assist) (?:you )?with|provide|providing|comply|fulfil|(?:this|that|your) (?:request|question)|do that)\b|\bAI\b"
)


def parse_rating(text: str) -> float | None:
    r"""The rating in a reply, 1 to 5, or None if it holds none: to be asked again, never to be guessed.

    "4", "4.5", "4/5", "Rating: 4", "**4**", "5 = very accurate" and "Four." are ratings. What is stated as "rating: N" decides, then a first or last line of nothing but a number,
    then the only number there is. No rating: a number off the scale, on another scale ("4/10"), several different ones, or a list ("1. Very inaccurate\n2. ..."),
    which small models like to begin instead of answering.
    """
    rest = _SCALE.sub(" ", _OF_FIVE.sub("", text))
    lines = [line.strip(_MARKS) for line in rest.splitlines() if line.strip(_MARKS)]
    if len(lines) == 1 and lines[0].lower() in _WORDS:
        return float(_WORDS[lines[0].lower()])
    if len(lines) == 1 and (labelled := _LABELLED.fullmatch(lines[0])) and _WORDS.get(labelled[2].lower()) == int(labelled[1]):
        return float(labelled[1])
    if stated := _STATED.findall(rest):
        return _legal(stated[-1])
    if _LIST.match(rest):
        return None
    for line in (lines[0], lines[-1]) if lines else ():
        if re.fullmatch(_NUMBER, line):
            return _legal(line)
    found = set(_SEPARATE.findall(rest))
    return _legal(found.pop()) if len(found) == 1 and not _ANOTHER_SCALE.search(rest) else None


class _Asking(NamedTuple):
    """One thing to be asked, and how to ask it a second time."""

    first: ChatRequest
    second: ChatRequest


class _Chatting:
    """What the two respondents share: a round of questions, the bad answers of which are asked once more; and the counts.

    Asked again in other words: a greedy model, and the cache of replies, would repeat themselves.
    """

    unit = "item answers"

    def __init__(self) -> None:
        self.counts = Counts()

    def _round(self, model: ChatModel, asking: Sequence[_Asking], *, read: Callable[[Reply], object], max_tokens: int, progress: Progress | None) -> list:
        """What `read` made of each reply; None if it made nothing of the second one either."""
        replies = model.ask([one.first for one in asking], max_tokens=max_tokens, progress=progress)
        found = [read(reply) for reply in replies]
        again = [place for place, value in enumerate(found) if value is None]
        repeated = model.ask([asking[place].second for place in again], max_tokens=max_tokens) if again else []
        for place, reply in zip(again, repeated, strict=True):
            found[place] = read(reply)
        bad = [replies[place] for place in again] + [reply for place, reply in zip(again, repeated, strict=True) if found[place] is None]
        counts = self.counts
        self.counts = replace(counts, retried=counts.retried + len(again), refused=counts.refused + sum(reply.refused for reply in bad))
        return found

    def _finished(self, ratings: Sequence[float | None], *, shape: tuple[int, int]) -> np.ndarray:
        answers = np.array([np.nan if rating is None else rating for rating in ratings], dtype=np.float64).reshape(shape)
        counts = self.counts
        self.counts = replace(counts, asked=counts.asked + answers.size, missing=counts.missing + int(np.isnan(answers).sum()))
        return answers


class OpenEnded(_Chatting):
    """Answers the open question of each item as a persona; a rater LLM says how well the item's statement describes who answers so, 1 to 5.

    An item without a statement is rated by how much of its trait the answer shows; that number is mirrored for a reverse-keyed item, so that the answers are always
    agreement with the item as worded, and `Inventory.trait_scores` is the only place that reverses. The rater does not read the persona.

    A refusal, an empty answer, or a rating that is none is asked once more in other words, then missing (nan). All questions of all personas are asked in one call of each
    model. Replies are kept by the models: after an interruption or an error only what is missing is asked.

    Args:
        model: speaks as the personas (system message).
        rater: may be the same.
        answer_tokens, rating_tokens: of a reply at most; models that think before they answer need more for both.
    """

    def __init__(self, model: ChatModel, rater: ChatModel, *, answer_tokens: int = ANSWER_TOKENS, rating_tokens: int = RATING_TOKENS) -> None:
        super().__init__()
        self.model, self.rater = model, rater
        self._answer_tokens, self._rating_tokens = answer_tokens, rating_tokens
        self.name = model.name
        self._met = False

    @property
    def version(self) -> str:
        """Both models, the prompts, the lengths and how replies are read."""
        prompts = _hash(OPEN, OPEN_AGAIN, RATER, RATE, RATE_TRAIT, NUMBER_AGAIN, self._answer_tokens, self._rating_tokens, _READING)
        return f"open/{prompts}/{self.model.name}@{self.model.version}/{self.rater.name}@{self.rater.version}"

    def answers(self, personas: Sequence[str], inventory: Inventory, *, progress: Progress | None = None) -> np.ndarray:
        """Agreement with each item as worded, [n_personas, n_items], 1 to 5, nan = missing.

        Raises:
            BeholderError: a model cannot be reached or used.
        """
        items = inventory.items
        total = len(personas) * len(items)
        asking = [_both(item.question, OPEN, OPEN_AGAIN, system=persona) for persona in personas for item in items]
        self._meet(asking, items)
        texts = self._round(self.model, asking, read=_words, max_tokens=self._answer_tokens, progress=_half(progress, total, 0))
        told = [(place, items[place % len(items)], text) for place, text in enumerate(texts) if text is not None]
        to_rate = [_rating_of(item, text) for _, item, text in told]
        numbers = self._round(self.rater, to_rate, read=_rating, max_tokens=self._rating_tokens, progress=_half(progress, total, 1))
        ratings: list[float | None] = [None] * total
        for (place, item, _), number in zip(told, numbers, strict=True):
            mirrored = item.reverse and not item.statement.strip() and number is not None
            ratings[place] = LOW + HIGH - number if mirrored else number
        if progress:
            progress(total, total)
        return self._finished(ratings, shape=(len(personas), len(items)))


    def _meet(self, asking: Sequence[_Asking], items: Sequence[Item]) -> None:
        """One answer and its rating, before hours of answers that a rater who cannot be reached would not read. Both replies are kept."""
        if asking and self.rater is not self.model and not self._met:
            (reply,) = self.model.ask([asking[0].first], max_tokens=self._answer_tokens)
            self._met = _words(reply) is not None
            if self._met:
                self.rater.ask([_rating_of(items[0], _words(reply)).first], max_tokens=self._rating_tokens)


class ClosedChat(_Chatting):
    """Asks a persona how accurately each statement describes it, 1 to 5, in words: for endpoints, which tell no probabilities.

    Bad answers are treated as by `OpenEnded`.

    Args:
        model: speaks as the personas (system message).
        rating_tokens: of a reply at most; models that think before they answer need more.
    """

    def __init__(self, model: ChatModel, *, rating_tokens: int = RATING_TOKENS) -> None:
        super().__init__()
        self.model, self.name = model, model.name
        self._rating_tokens = rating_tokens

    @property
    def version(self) -> str:
        """Model, prompts, length and how replies are read."""
        return f"chat/{_hash(LIKERT, NUMBER_AGAIN, self._rating_tokens, _READING)}/{self.model.name}@{self.model.version}"

    def answers(self, personas: Sequence[str], inventory: Inventory, *, progress: Progress | None = None) -> np.ndarray:
        """Agreement with each statement as worded, [n_personas, n_items], 1 to 5, nan = missing.

        Raises:
            BeholderError: the model cannot be reached or used, or an item has no statement.
        """
        for item in inventory.items:
            if not item.statement.strip():
                raise BeholderError(f"item {item.name} of the inventory {inventory.name} has no statement to agree with: add one, or choose the mode open")
        total = len(personas) * len(inventory.items)
        asking = [
            _both("", LIKERT, LIKERT + NUMBER_AGAIN, system=persona, statement=item.statement.strip()) for persona in personas for item in inventory.items
        ]
        numbers = self._round(self.model, asking, read=_rating, max_tokens=self._rating_tokens, progress=_scaled(progress, total))
        if progress:
            progress(total, total)
        return self._finished(numbers, shape=(len(personas), len(inventory.items)))


def _both(question: str, first: str, second: str, *, system: str, **parts: str) -> _Asking:
    parts = {"question": question.strip(), **parts}
    return _Asking(ChatRequest(first.format(**parts), system=system), ChatRequest(second.format(**parts), system=system))


def _rating_of(item: Item, answer: str) -> _Asking:
    form = RATE if item.statement.strip() else RATE_TRAIT
    return _both(item.question, form, form + NUMBER_AGAIN, system=RATER, answer=answer, statement=item.statement.strip(), trait=item.trait)


def _words(reply: Reply) -> str | None:
    """An open answer; None for a refusal or nothing at all."""
    text = reply.text.strip()
    by_its_words = reply.refused and is_refusal(text) and not _OF_A_MACHINE.search(text)
    return None if not text or (reply.refused and not by_its_words) else text


def _rating(reply: Reply) -> float | None:
    """A number; what the person is said to be unable to do after it is no refusal of the rater."""
    by_its_words = reply.refused and is_refusal(reply.text) and _BEGUN.match(reply.text)
    return None if reply.refused and not by_its_words else parse_rating(reply.text)


def _legal(number: str) -> float | None:
    value = float(number.replace("−", "-").replace(",", "."))
    return value if LOW <= value <= HIGH else None


def _scaled(progress: Progress | None, total: int, *, begin: int = 0, steps: int = 1) -> Progress | None:
    """Requests answered, of which equal ones count once, as item answers: step `begin` of `steps` equally long ones."""
    if progress is None:
        return None
    return lambda done, of: progress(total * begin // steps + total * done // (steps * max(of, 1)), total)


def _half(progress: Progress | None, total: int, begin: int) -> Progress | None:
    return _scaled(progress, total, begin=begin, steps=2)


def _hash(*parts: object) -> str:
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=6).hexdigest()
