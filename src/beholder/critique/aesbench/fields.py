"""Single fields of AesBench's files, in all their spellings: options, right answers, kinds of question, sources, dimensions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from beholder.critique.aesbench.questions import DIMENSIONS

LETTERS = "ABCDEFGHIJ"
_MARK = r"[(\[]?\s*([A-Ja-j])\s*[)\].:、）]\s*"
_AT_LINE = re.compile(rf"^\s*{_MARK}(?=\S|$)", re.MULTILINE)
_INLINE = re.compile(rf"(?:^|(?<=[\s,;])){_MARK}(?=\S)")
_ART, _GENERATED = ("baid_", "artemis", "cad"), ("diffusiondb", "agiqa")
_SOURCES = {
    "NI": ("ni", "nis", "natural", "naturalimage", "naturalimages", "photo", "photograph", "photographs"),
    "AI": ("ai", "ais", "art", "artistic", "artisticimage", "artisticimages", "artwork"),
    "AGI": ("agi", "agis", "aigc", "generated", "aigenerated", "aigeneratedimage", "aigeneratedimages", "artificial"),
}
_DIMENSIONS = (
    (r"technical|\btq\b|t\.q\.", "technical quality"),
    (r"colou?r|light|\bcl\b|c\.l\.", "colour and light"),
    (r"compos|^comp\b", "composition"),
    (r"content|^cont\b", "content"),
    (r"emoti|^emot\b", "emotion"),
    (r"interest|^inte\b", "interest"),
    (r"uniq", "uniqueness"),
    (r"vibe|atmosph", "vibe"),
)
_FIRST_WORDS = {
    "is": "yes-no",
    "are": "yes-no",
    "does": "yes-no",
    "do": "yes-no",
    "can": "yes-no",
    "what": "what",
    "which": "what",
    "how": "how",
    "why": "why",
}


def plain(key: object) -> str:
    """A key without case, blanks, underscores and hyphens."""
    return re.sub(r"[\s_\-]+", "", str(key)).casefold()


def options_of(value: Any) -> tuple[tuple[str, str], ...]:
    """(letter, text) from "A) ...\\nB) ..." in one string, a list or a mapping; () if it holds no two options."""
    if isinstance(value, Mapping):
        pairs = [(str(key).strip(" ().:").upper(), str(text).strip()) for key, text in value.items()]
        if not _in_order([letter for letter, _ in pairs]):
            pairs = list(zip(LETTERS, [text for _, text in pairs], strict=False))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        texts = [str(text).strip() for text in value]
        marked = [_AT_LINE.match(text) for text in texts]
        if all(marked) and _in_order([match[1].upper() for match in marked]):
            texts = [text[match.end() :].strip() for text, match in zip(texts, marked, strict=True)]
        pairs = list(zip(LETTERS, texts, strict=False))
    else:
        pairs = _from_text(str(value or ""))
    pairs = [(letter, text) for letter, text in pairs if text]
    return tuple(pairs) if len(pairs) >= 2 else ()


def letter_of(value: Any, options: Sequence[tuple[str, str]]) -> str:
    """The letter that a published answer means ("B", "b)", "B) text", "text"); "" if it names none of the options.

    Not for answers of models, which are read by `extraction`.
    """
    text = " ".join(str("" if value is None else value).split())
    letters = {letter for letter, _ in options}
    if text.strip(" ().:").upper() in letters:
        return text.strip(" ().:").upper()
    same = [letter for letter, option in options if _folded(option) == _folded(text)]
    if len(same) == 1:
        return same[0]
    marked = _AT_LINE.match(text)
    if marked and marked[1].upper() in letters:
        rest, letter = _folded(text[marked.end() :]), marked[1].upper()
        return letter if rest == _folded(dict(options)[letter]) or rest not in {_folded(option) for _, option in options} else ""
    return ""


def question_type(text: str) -> str:
    """yes-no, what, how, why or other, by the first word (ours: the files do not tell it)."""
    first = re.match(r"\W*([A-Za-z]+)", text)
    return _FIRST_WORDS.get(first[1].casefold(), "other") if first else "other"


def told_type(value: Any) -> str:
    """A question type that a file tells; "" if it is none."""
    return {"yesno": "yes-no", "yesorno": "yes-no", "what": "what", "which": "what", "how": "how", "why": "why", "other": "other"}.get(
        plain(value), ""
    )


def source_of(image: str) -> str:
    """NI, AI or AGI by the prefix of the file's name (ours: the files do not tell it)."""
    name = image.replace("\\", "/").rpartition("/")[2].casefold()
    return "AI" if name.startswith(_ART) else "AGI" if name.startswith(_GENERATED) else "NI"


def told_source(value: Any) -> str:
    """A source that a file tells; "" if it is none."""
    return next((source for source, names in _SOURCES.items() if plain(value) in names), "")


def dimension_of(value: Any, *, part: str = "") -> str:
    """A sub-dimension under the name that `questions.DIMENSIONS` has; other names as they are, "" stays ""."""
    text = str(value or "").strip()
    for pattern, name in _DIMENSIONS:
        if re.search(pattern, text, re.IGNORECASE) and (not part or name in DIMENSIONS[part]):
            return name
    return text


def _from_text(text: str) -> list[tuple[str, str]]:
    for pattern in (_AT_LINE, _INLINE):
        marks: list[re.Match] = []
        for match in pattern.finditer(text):
            if match[1].upper() == LETTERS[len(marks) % len(LETTERS)]:  # A, then the next B, ...; other letters are part of a text
                marks.append(match)
        if len(marks) >= 2 and not text[: marks[0].start()].strip():
            ends = [mark.start() for mark in marks[1:]] + [len(text)]
            return [(mark[1].upper(), _trimmed(text[mark.end() : end])) for mark, end in zip(marks, ends, strict=True)]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return list(zip(LETTERS, lines, strict=False))


def _in_order(letters: Sequence[str]) -> bool:
    return list(letters) == list(LETTERS[: len(letters)])


def _trimmed(text: str) -> str:
    return " ".join(text.split()).rstrip(",;").strip()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .")
