"""Prompts read from what a language model wrote: lists of every kind, with or without the words that models put around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

TITLE_WORDS = 6  # "**Quiet dawn**: a lake ..." has a title; more words in bold are part of the prompt
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)  # servers that put the beginning into the question
_FENCE = re.compile(r"^\s*```.*$", re.MULTILINE)
_LABEL = r"(?:(?:image\s+)?prompt|variant|variation|version|option)"
# "1." "1)" "(1)" "[1]" "1:" "**1.**" "#1" "Prompt 1:"; not "16:9 photograph", "0.73", "1920s street" or "3 cats"
_NUMBER = re.compile(
    rf"^(?:\#+\s+)?(?P<bold>\*\*|__)?\s*"
    rf"(?:{_LABEL}\s*\#?\d{{1,3}}\s*[.):\-–—]|[(\[]\d{{1,3}}[)\]][.:]?|\#?\d{{1,3}}\s*[.):](?!\d)|\#\d{{1,3}}\s)"
    r"\s*(?P<end>(?(bold)(?P=bold)))?\s*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^(?:[-*+•·–—▪◦]|>)\s+")
_SCORE = r"(?:(?:score|rating|reward)\s*[:=]?\s*)?[-+]?(?:\d?\.\d+|[01](?:\.0+)?)"
_SCORED = re.compile(rf"^[(\[]?{_SCORE}[)\]]?\s*(?:[:|–—]|-(?=\s))\s*(?=\S)|^[(\[]{_SCORE}[)\]]\s+", re.IGNORECASE)
_SCORED_AFTER = re.compile(r"\s*[(\[](?:(?:score|rating|reward)\s*[:=]?\s*)?[-+]?\d?\.\d+[)\]]\s*$|\s*[(\[]~?\d+ words?[)\]]\s*$", re.IGNORECASE)
_TITLE = re.compile(r"^(?:\*\*|__)(?P<title>[^*_]+?):?(?:\*\*|__)\s*(?P<sign>:|–|—|-(?=\s))?\s*(?P<rest>.*)$")
_PROMPT = re.compile(rf"^{_LABEL}\s*:\s*", re.IGNORECASE)
_CHATTER = re.compile(
    r"^(?:(?:sure|certainly|of course|absolutely|okay|ok|great|alright|yes|no)[,!.:]|here(?:['’]s| is| are)\b|(?:below|these|following) (?:is|are)\b"
    r"|i(?: (?:hope|have|can|will|apologi[sz]e|am|cannot|understand)|['’](?:ve|ll|m))\b|let me\b|feel free\b|please\b|note(?: that|:)"
    r"|as an? (?:ai|language)\b|sorry\b|these (?:prompts|variants|variations)\b|would you like\b|the (?:new )?prompts (?:are|above|below)\b)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "`": "`", "‘": "’"}


@dataclass(frozen=True)
class PromptList:
    """What was read.

    Args:
        prompts: in their order, as written; equal ones are all there.
        listed: whether they stood in a list (numbers, bullets, scores, JSON) and not as bare lines.
    """

    prompts: tuple[str, ...]
    listed: bool


@dataclass
class _Line:
    """kind: "number", "bullet", "score" or "bare"; depth: signs before it; after_gap: whether an empty line came before."""

    kind: str
    text: str
    depth: int
    after_gap: bool


def parse_prompts(text: str) -> PromptList:
    """The prompts in an answer. Thoughts, preambles, titles, echoes of scores, quotes and marks of lists are no part of them."""
    text = _THOUGHT_END.sub("", _THOUGHT.sub("", text))
    found = _from_json(text)
    if found is not None:
        return PromptList(tuple(filter(None, map(_bare, found))), listed=True)
    lines = list(_lines(_FENCE.sub("", text)))
    kinds = [line.kind for line in lines]
    counts = {kind: kinds.count(kind) for kind in ("number", "bullet", "score")}
    if counts["number"] and (counts["number"] > 1 or counts["bullet"] <= 1):
        kind = "number"  # bullets below numbers say something about them
    else:
        kind = "bullet" if counts["bullet"] else "score"
    if counts[kind]:
        return PromptList(tuple(filter(None, map(_bare, _items(lines, kind)))), listed=True)
    bare = [line.text for line in lines if not (_CHATTER.match(line.text) or line.text.endswith(":"))]
    return PromptList(tuple(filter(None, map(_bare, bare))), listed=False)


def _lines(text: str) -> Iterator[_Line]:
    gap = False
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            gap = True
            continue
        depth = len(raw) - len(raw.lstrip())
        for number, part in enumerate(_apart(line)):
            kind, rest = "bare", part
            if (numbered := _numbered(part)) is not None:
                kind, rest = "number", numbered
            elif match := _BULLET.match(part):
                kind, rest = "bullet", part[match.end() :]
                if (numbered := _numbered(rest)) is not None:  # "- 1. a lake"
                    kind, rest = "number", numbered
            elif _SCORED.match(part):
                kind = "score"
            yield _Line(kind, rest, depth, gap and number == 0)
        gap = False


def _numbered(text: str) -> str | None:
    """What stands behind the number; None if there is none."""
    match = _NUMBER.match(text)
    if not match:
        return None
    rest, bold = text[match.end() :], match["bold"]
    return bold + rest if bold and not match["end"] and bold in rest else rest  # "**1. Quiet dawn:** a lake"


def _apart(line: str) -> list[str]:
    """ "1. a lake 2. a hill 3. a wood", all on one line, are three lines."""
    parts = re.split(r"\s+(?=\d{1,3}[.)]\s)", line)
    numbers = [re.match(r"(\d{1,3})[.)]\s", part) for part in parts]
    if len(parts) > 2 and all(numbers):
        values = [int(number[1]) for number in numbers]
        if values == list(range(values[0], values[0] + len(values))):
            return parts
    return [line]


def _items(lines: list[_Line], kind: str) -> list[str]:
    """The lines of one kind, each with those that go on with it."""
    items: list[str] = []
    depth, going_on = 0, False
    for line in lines:
        if line.kind == kind:
            items.append(line.text)
            depth, going_on = line.depth, True
        elif items and going_on and line.kind == "bare" and not _bare(items[-1]) and not line.after_gap:
            items[-1] += " " + line.text  # the number, or a title, stood alone
        elif items and going_on and line.kind == "bare" and line.depth > depth and not line.after_gap:
            items[-1] += " " + line.text
        else:
            going_on = False
    return items


def _bare(text: str) -> str:
    """One prompt without what stands around it; "" if there is none."""
    text = " ".join(text.split()).rstrip("\\").strip()
    previous = None
    while text != previous:
        previous = text
        title = _TITLE.match(text)
        if title and not title["rest"] and (title["sign"] or text.rstrip("*_").endswith(":")):
            return ""  # a title alone
        if title and title["rest"] and (title["sign"] or ":" in text[: title.start("rest")]) and len(title["title"].split()) <= TITLE_WORDS:
            text = title["rest"]
        text = _PROMPT.sub("", _SCORED_AFTER.sub("", _SCORED.sub("", text)))
        text = _unquoted(text)
    return text.rstrip(" ,;") if any(sign.isalpha() for sign in text) else ""


def _unquoted(text: str) -> str:
    for mark in ("**", "__", "*", "_"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and mark not in text[len(mark) : -len(mark)]:
            text = text[len(mark) : -len(mark)].strip()
    end = _QUOTES.get(text[:1])
    if not end:
        return text
    whole = text.rstrip(",;")
    if len(whole) > 2 and whole.endswith(end) and end not in whole[1:-1].replace("n't", "").replace("'s", ""):
        return whole[1:-1].strip()
    if text.count(text[0]) == 1 and end not in text[1:]:  # cut off, or forgotten
        return text[1:].strip()
    return text


def _from_json(text: str) -> list[str] | None:
    """The strings of a JSON list, or of one inside an object, whatever stands around it; None if there is none."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"\[\s*[\"{\]]|\{\s*\"", text):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except ValueError:
            continue
        found = _strings(value)
        if found:
            return found
    return None


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        if lists:
            return _strings(max(lists, key=len))
        texts = [part for part in value.values() if isinstance(part, str)]
        named = [value[name] for name in ("prompt", "text", "description", "variant") if isinstance(value.get(name), str)]
        numbered = texts if texts and all(re.fullmatch(r"\D{0,12}\d{1,3}", str(name)) for name in value) else []
        return numbered or named[:1] or ([max(texts, key=len)] if texts else [])
    if isinstance(value, list):
        return [text for part in value for text in ([part] if isinstance(part, str) else _strings(part) if isinstance(part, dict | list) else [])]
    return []


def parse_one(text: str) -> str:
    """The one prompt that an answer ends with, behind "PROMPT:", in a fenced block, or as the last of a list; "" if there is none."""
    text = _THOUGHT_END.sub("", _THOUGHT.sub("", text)).strip()
    named = list(re.finditer(r"^[\s*_#>`-]*(?:new |final |improved )?prompt[*_`]*\s*:[*_`]*[ \t]*", text, re.IGNORECASE | re.MULTILINE))
    if named:
        rest = _FENCE.sub("", text[named[-1].end() :]).strip()
        return _bare(rest.split("\n\n")[0].splitlines()[0]) if rest else ""
    fenced = re.findall(r"```\w*\n(.+?)```", text, re.DOTALL)
    found = parse_prompts(fenced[-1] if fenced else text)
    return found.prompts[-1] if found.prompts else ""
