"""From a writer's text to questions that can be used, each refused one with its reason. Writers put lists into prose, break JSON, and stop in the middle."""

from __future__ import annotations

import ast
import difflib
import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beholder.critique.aesmmit.feedback import valid_text
from beholder.critique.aesmmit.questions import DIMENSIONS, QTYPES, WRONG, Written

LONGEST_ANSWER, LONGEST_QUESTION = 60, 50  # words: "brief answers"
MOST_TRIES = 1000  # brackets that are followed to their end; each may cost a pass over the rest
_THOUGHT = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_COMMA = re.compile(r",(\s*[\]}])")
_YES_NO = re.compile(r"(yes|no)(?!\w)[\s,.;:!–—-]*", re.IGNORECASE)
_LETTERED = re.compile(r"^\s*\(?[A-Da-d][).:]\s+")  # "B) soft light"
_OTHER_NAMES: Mapping[str, str] = {
    "yesno": "yes-no", "yesorno": "yes-no", "yn": "yes-no", "boolean": "yes-no", "binary": "yes-no", "closed": "yes-no", "polar": "yes-no",
    "overall": "quality", "technical": "quality", "technicalquality": "quality", "aestheticquality": "quality",
    "colour": "attribute", "color": "attribute", "light": "attribute", "lighting": "attribute", "composition": "attribute", "perception": "attribute",
    "feeling": "emotion", "feelings": "emotion", "mood": "emotion", "empathy": "emotion",
    "reason": "interpretation", "reasoning": "interpretation", "explanation": "interpretation",
    "improvement": "enhancement", "suggestion": "enhancement", "suggestions": "enhancement", "improve": "enhancement",
    "contextreasoning": "context", "contextual": "context", "scene": "context", "story": "context",
}  # fmt: skip
# A model that sees only the image can know neither options nor people: questions that speak of them are of no use.
_ABOUT_THE_TEXT = re.compile(
    r"\boptions? \(?[A-D]\b|\b(?:image|picture|photo(?:graph)?|text|description)s? (?:above|below) (?:said|says|states?|mentions?|describes?)"
    r"|\b(?:according to|based on|as (?:said|noted|mentioned|stated) (?:by|in)|in) (?:the|this|these|that|their) "
    r"(?:comments?|feedback|critiques?|reviews?|texts?|descriptions?|people|persons?|reviewers?|commenters?|raters?|viewers? (?:said|comments?))"
    r"|\b(?:the |these |this )?(?:person \d|persons?|reviewers?|commenters?|raters?|respondents?|critiques?|feedback|comments?) "
    r"(?:1 |2 |3 )?(?:say|said|says|mention|note|state|suggest|describe|find|found|think|thought|rated?|gave)\w*\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Read:
    """What one answer holds.

    Args:
        written: those that can be used, in their order.
        rejected: reason -> items that cannot be used; "nothing readable" counts the answer as a whole.
        mended: what was put right -> how often.
        whole: whether the list came to its end; an empty list that did means that the writer has nothing more.
    """

    written: tuple[Written, ...]
    rejected: Mapping[str, int] = field(default_factory=dict)
    mended: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True


def read(text: str) -> Read:
    """The questions in an answer, whatever stands around them and however its JSON is written."""
    values, whole, repaired = items_of(text)
    if values is None:
        return Read((), {"nothing readable": 1}, whole=False)
    rejected: Counter[str] = Counter()
    mended: Counter[str] = Counter({"JSON repaired": 1} if repaired else {})
    written = []
    for value in values:
        found = validated(value, mended=mended)
        if isinstance(found, Written):
            written.append(found)
        else:
            rejected[found] += 1
    if not whole:
        mended["list was cut off"] += 1
    return Read(tuple(written), dict(rejected), dict(mended), whole)


def validated(value: object, *, mended: Counter[str]) -> Written | str:
    """A question, or the reason why it is none."""
    if not isinstance(value, dict):
        return "an item is no object"
    value = {str(name).strip().lower(): part for name, part in value.items()}
    for name in ("question", "answer", "qtype", "dimension"):
        if name not in value or value[name] in ("", None):
            return f"{name} is missing"
        if isinstance(value[name], bool) and name == "answer":
            value[name] = "Yes" if value[name] else "No"
        if not isinstance(value[name], str) or not value[name].strip():
            return f"{name} is no text"
    question, answer = _line(value["question"]), _LETTERED.sub("", _line(value["answer"]))
    qtype, dimension = _named(value["qtype"], QTYPES, mended), _named(value["dimension"], DIMENSIONS, mended)
    if not qtype:
        return "qtype is none of " + ", ".join(QTYPES)
    if not dimension:
        return "dimension is none of " + ", ".join(DIMENSIONS)
    if not words(question) or not words(answer):
        return "question or answer holds no word"
    if len(words(question)) > LONGEST_QUESTION or len(words(answer)) > LONGEST_ANSWER:
        return f"answer longer than {LONGEST_ANSWER} words, or question longer than {LONGEST_QUESTION}"
    if _ABOUT_THE_TEXT.search(question) or _ABOUT_THE_TEXT.search(answer):
        return "speaks of options, or of the people and their texts"
    if qtype == "yes-no":
        return _yes_no(question, answer, dimension)
    if _YES_NO.fullmatch(answer):
        return f"a {qtype} question is answered by Yes or No"
    if _within(answer, question):
        return "the answer stands in the question"
    wrong = _alternatives(value.get("wrong"), answer, question, mended)
    return Written(question, answer, qtype, dimension, wrong)


def items_of(text: str) -> tuple[list[Any] | None, bool, bool]:
    """(values of the list or None if there is none, whether it came to its end, whether its JSON had to be repaired)."""
    text = _FENCE.sub("", _THOUGHT.sub("", text)).strip()
    start = re.search(r"\[\s*(?:[{\]]|\Z)|\{\s*[\"'\w“]", text)
    if not start:
        return None, False, False
    text = text[start.start() :]
    value = _value(text)
    if value is not None and not _is_question(value[0]):
        found = _list_in(value[0])
        return (None, False, False) if found is None else (found, True, value[1])
    items = _items(text)  # one object after the other, or a list that is broken somewhere
    whole = all(text.count(first) <= text.count(last) for first, last in ("{}", "[]"))
    return (items, whole, value is None and whole) if items else (None, False, False)


def _items(text: str) -> list[Any]:
    """Every object of a text that can be told from the rest; those that cannot be read as texts."""
    found: list[Any] = []
    start, tries = text.find("{"), 0
    while start >= 0 and tries < MOST_TRIES:
        tries += 1
        end, inner = _end_of(text, start), text.find("{", start + 1)
        value = _value(text[start:end]) if end else None
        if value is not None:
            found += [value[0]] if _is_question(value[0]) else _list_in(value[0]) or [value[0]]
        elif inner >= 0 and (end is None or inner < end):  # the object around a list that was cut off, or quotes that do not match
            if text[start:inner].count(":") > 1:
                found.append(text[start:inner])
            end = inner
        elif end:
            found.append(text[start:end])
        if end is None:
            break
        start = text.find("{", end)
    return found


def _end_of(text: str, start: int) -> int | None:
    """Behind the bracket that closes the one at `start`; None if there is none. Strings in double quotes are skipped."""
    depth, quoted, place = 0, False, start
    while place < len(text):
        sign = text[place]
        if quoted:
            if sign == "\\":
                place += 1
            quoted = sign != '"'
        elif sign == '"':
            quoted = True
        elif sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
            if depth == 0:
                return place + 1
        place += 1
    return None


def _value(text: str) -> tuple[Any, bool, int] | None:
    """(value, whether it was repaired, its length) at the beginning of a text: JSON, JSON with trailing commas, Python with single quotes."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
        return value, False, end
    except (ValueError, RecursionError):
        pass
    end = _end_of(text, 0)
    if end is None:
        return None
    part = text[:end]
    plain = _COMMA.sub(r"\1", part)
    for attempt in (plain, plain.translate({0x201C: '"', 0x201D: '"'}), re.sub(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)", r'\1"\2"\3', plain)):
        try:
            return json.loads(attempt, strict=False), True, end
        except (ValueError, RecursionError):
            continue
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes that mean nothing
            return ast.literal_eval(plain), True, end
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_question(value: object) -> bool:
    return isinstance(value, dict) and "question" in {str(name).strip().lower() for name in value}


def _list_in(value: object) -> list[Any] | None:
    """The list itself, or the longest inside an object ({"questions": [...]})."""
    if isinstance(value, dict):
        return max((part for part in value.values() if isinstance(part, list)), key=len, default=None)
    return value if isinstance(value, list) else None


def _yes_no(question: str, answer: str, dimension: str) -> Written | str:
    match = _YES_NO.match(answer)
    if not match:
        return "a yes-no question is answered by neither"
    word = match[1].capitalize()
    return Written(question, word, "yes-no", dimension, ("No" if word == "Yes" else "Yes",))


def _alternatives(given: object, answer: str, question: str, mended: Counter[str]) -> tuple[str, ...]:
    """Up to three usable wrong alternatives."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        mended["wrong alternatives are missing"] += 1
        return ()
    kept: dict[str, str] = {}
    for one in given:
        text = _LETTERED.sub("", _line(one)) if isinstance(one, str) else ""
        plain = normalised(text)
        if not plain:
            mended["a wrong alternative is no text"] += 1
        elif plain == normalised(answer):
            mended["a wrong alternative is the right one"] += 1
        elif plain in kept:
            mended["a wrong alternative is there twice"] += 1
        elif _ABOUT_THE_TEXT.search(text) or re.fullmatch(r"(?:all|none|both) of (?:the|these) (?:above|others?)", plain):
            mended["a wrong alternative speaks of others"] += 1
        else:
            kept[plain] = text
    if 0 < len(kept) < WRONG:
        mended[f"fewer than {WRONG} wrong alternatives"] += 1
    elif not kept and given:
        mended["no wrong alternative is left"] += 1
    return tuple(kept.values())[:WRONG]


def words(text: str) -> list[str]:
    """In small letters, without marks."""
    return [word.lower() for word in _WORD.findall(text)]


def normalised(text: str) -> str:
    return " ".join(words(text))


def _within(answer: str, question: str) -> bool:
    """Whether the question holds the answer, word for word."""
    return f" {normalised(answer)} " in f" {normalised(question)} "


def _named(name: str, known: Mapping[str, str], mended: Counter[str]) -> str:
    """The word that is meant; "" if none is near."""
    plain = re.sub(r"[^a-z]|style|types?|questions?", "", name.lower().replace("-", ""))
    by_letters = {re.sub(r"[^a-z]", "", one): one for one in known}
    if plain in by_letters:
        return by_letters[plain]
    found = _OTHER_NAMES.get(plain, "")
    if found not in known:
        near = difflib.get_close_matches(plain, by_letters, n=1, cutoff=0.75)
        found = by_letters[near[0]] if near else ""
    if found:
        mended["kind or dimension spelled otherwise"] += 1
    return found


def _line(text: str) -> str:
    return " ".join(valid_text(text).split())
