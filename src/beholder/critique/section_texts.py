"""Sections of a critique from what a model wrote: JSON, JSON that is broken or wrapped, or prose under headings. Ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from beholder.critique.base import SECTIONS

NAMES: dict[str, str] = {  # what models call the sections
    **{name: name for name in SECTIONS},
    **dict.fromkeys(("general", "summary", "impression", "aesthetic", "aesthetics", "evaluation", "conclusion"), "overall"),
    **dict.fromkeys(("framing", "layout", "arrangement", "perspective"), "composition"),
    **dict.fromkeys(("color", "colours", "colors", "coloring", "colouring", "palette", "tones"), "colour"),
    **dict.fromkeys(("lighting", "exposure", "illumination", "lights"), "light"),
    **dict.fromkeys(("sharpness", "clarity", "depth of field", "focusing", "focussing"), "focus"),
    **dict.fromkeys(("content", "motif", "theme", "subjects", "object", "objects"), "subject"),
    **dict.fromkeys(("feelings", "emotion", "emotions", "mood", "atmosphere", "emotional"), "feeling"),
    **dict.fromkeys(("suggestions", "improvement", "improvements", "recommendation", "recommendations", "advice", "tip", "tips"), "suggestion"),
}
LABELS = ("section", "name", "aspect", "title", "heading", "key", "dimension")  # of objects that say their section in a field of their own
LONGEST_LABEL = 5  # words of a heading
_FENCE = re.compile(r"```[\w-]*")
_COMMA = re.compile(r",(?=\s*[}\]])")
_PAIR = re.compile(r'"([^"\n]{1,60})"\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)  # whole ones within JSON that was cut off
# "## Colour", "**Colour:** ...", "3. Colour - ...", "- Colour: ...", "Colour and light: ..."
_HEADING = re.compile(
    r"^(?P<mark>[ \t>]*(?:#+|[-*•+](?!\*))?[ \t]*(?:\*\*|__)?[ \t]*(?:\(?\d{1,2}[.):])?[ \t]*(?:\*\*|__)?[ \t]*)(?P<label>[^\W\d_][^:：*_#\n—–]{0,50}?)[ \t]*"
    r"(?P<end>(?:\*\*|__)?[ \t]*[:：][ \t]*(?:\*\*|__)?|(?:\*\*|__)[ \t]*[-—–]?|[ \t][-—–][ \t]|#*[ \t]*$)",
    re.MULTILINE,
)


def read_sections(text: str) -> dict[str, str]:
    """Sections by name, in the order of `SECTIONS`; those that are empty or not there are left out. The words stay as they are, in any language."""
    found = _from_json(text) or _from_headings(text)
    return {name: " ".join(found[name].split()) for name in SECTIONS if found.get(name, "").strip()}


def section_of(label: str, *, loosely: bool = True) -> str | None:
    """The section that a label means.

    Args:
        loosely: "use of light", "light and shadow" count, too, not only the name alone.
    """
    words = re.findall(r"[^\W\d_]+", label.casefold())
    plain = " ".join(words)
    if plain in NAMES:
        return NAMES[plain]
    if not loosely or len(words) > LONGEST_LABEL:
        return None
    if "depth of field" in plain:
        return "focus"
    # "overall" and the like come with anything ("overall composition", "emotional impression"), so that the other words count more
    said = [NAMES[word] for word in words if word in NAMES]
    return next((name for name in said if name != "overall"), said[0] if said else None)


def _from_json(text: str) -> dict[str, str]:
    plain = _FENCE.sub("", text)
    found: dict[str, str] = {}
    for value in _values(plain):
        inner: dict[str, str] = {}
        _collect(value, inner)
        found |= inner  # of two drafts the last one; some write an object for each section
    if not found and "{" in plain:
        for label, said in _PAIR.findall(plain):
            name = section_of(label)
            if name:
                found.setdefault(name, _unescaped(said))
    return found


def _values(text: str) -> Iterator[Any]:
    """JSON objects and lists in a text, the outermost ones; trailing commas do not matter."""
    decoder = json.JSONDecoder(strict=False)  # line breaks within strings are common
    start = 0
    while True:
        begin = re.compile(r"[{\[]").search(text, start)
        if begin is None:
            return
        start = begin.start() + 1
        for candidate in (text, _COMMA.sub("", text[begin.start() :])):
            at = begin.start() if candidate is text else 0
            try:
                value, end = decoder.raw_decode(candidate, at)
            except (ValueError, RecursionError):
                continue
            yield value
            if candidate is text:
                start = end
            else:
                return
            break


def _collect(value: Any, found: dict[str, str]) -> None:
    """Sections of a JSON value, at whatever depth."""
    if isinstance(value, list):
        for one in value:
            _collect(one, found)
        return
    if not isinstance(value, Mapping):
        return
    label = next((str(said) for key, said in value.items() if str(key).casefold() in LABELS and isinstance(said, str)), None)
    if label is not None and section_of(label):
        rest = {key: said for key, said in value.items() if str(key).casefold() not in LABELS}
        _add(found, section_of(label), _text(next(iter(rest.values())) if len(rest) == 1 else rest))
        return
    for key, inner in value.items():
        name = section_of(str(key))
        others = {section_of(str(one), loosely=False) for one in inner} - {None, name} if isinstance(inner, Mapping) else ()
        if name and len(others) < 2:  # else a name around all of them
            _add(found, name, _text(inner))
        else:
            _collect(inner, found)


def _add(found: dict[str, str], name: str, text: str) -> None:
    if text.strip(" .\u2026\n\t"):  # "...": as the example in the question has it
        found[name] = f"{found[name]} {text}" if name in found else text


def _text(value: Any) -> str:
    """The words of a JSON value; names of fields are kept where they say something."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))
    if isinstance(value, Mapping):
        named = ((str(key).replace("_", " "), _text(inner)) for key, inner in value.items())
        plain = ("text", "comment", "description", "evaluation", "critique", "analysis", "answer")
        return " ".join(said if key.casefold() in plain else f"{key}: {said}" for key, said in named if said)
    return str(value)


def _from_headings(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    places: list[tuple[int, int, str | None]] = []
    for match in _HEADING.finditer(text):
        strong = bool(re.search(r"#|\*\*|__", match["mark"] + match["end"]))
        name = section_of(match["label"], loosely=strong)
        if match["end"].strip() in ("-", "—", "–") and not match["mark"].strip():
            name = None  # a dash in a sentence
        if name or _is_title(match):
            places.append((match.start(), match.end(), name))
    for (_, begin, name), end in zip(places, [*(start for start, _, _ in places[1:]), len(text)], strict=False):
        if name:
            _add(found, name, re.sub(r"\*\*|__|^[ \t]*(?:#+|[-*•+])[ \t]+", "", text[begin:end], flags=re.MULTILINE))
    return found


def _is_title(match: re.Match) -> bool:
    """A marked heading of something that is no section: what follows does not belong to the section before."""
    return match["mark"].strip().startswith("#") and not match["end"].strip(" *_:：-—–#")


def _unescaped(text: str) -> str:
    try:
        return json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text
