"""Options told by their text in an answer: whole words only, the longest first, without what is denied."""

from __future__ import annotations

import re
from collections.abc import Mapping

LEVELS = frozenset(["high", "medium", "low", "average", "moderate", "good", "poor", "fair", "excellent", "bad", "mediocre"])
_SPELLINGS = (
    (r"colour", "color"),
    (r"\bgrey", "gray"),
    (r"\bcentre", "center"),
    (r"n't\b", " not"),
    (r"\bcannot\b", "can not"),
    (r"&", " and "),
)
_YES = r"yes|yeah|yep|yup|certainly|indeed|absolutely|sí|oui|ja|да|是的|是|はい"
_NO = r"not really|not at all|not quite|no|nope|nah|non|nein|нет|否|不是|不|いいえ"
_NOT_NO = r"(?!\s+(?:doubt|one|matter|problem|wonder|other|visible|sign|clear|question))"
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|rather than|instead of|without|lacks?|lacking|hardly|far from|less|than|isnt|nicht|absence of)\s+(?:[a-z]+\s+){0,3}$"
)
_NOT = re.compile(r"\bnot?\s+(?:\w+\s+){0,2}$")
_EVERY = re.compile(r"all (?:of )?(?:the above|these|them)")
_EVERY_FORMS = ["all of the above", "all the above", "all of these", "all of them"]
_DEGREES = "too|very|so|quite|really|rather|fairly|somewhat|slightly|relatively|pretty|extremely|highly|overly|mostly|mainly"
_NO_STEMS = frozenset(f"{_DEGREES}|not|no|more|less|most|least|partially|partly|moderately".split("|"))
_REACH = 200  # characters before a word that tell whether it is denied
_CONCLUDES = re.compile(
    r"\b(?:therefore|so|thus|hence|answer|overall|conclusion|finally|ultimately|choose|select|best|final|most|main|mainly|primary|primarily|dominant|dominates)\b",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"^(?:yes\b[\s,:\-]+|no\s*[,:]\s*|because (?:of )?|since |due to |it is |it has |there is |there are |by |the image is |the |a |an )+"
)


def by_text(text: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    """(letter, "text"), or ("", "several"); None if no option is told."""
    whole = [letter for letter, option in options.items() if _words(option) == _words(text)]
    if len(whole) == 1:
        return whole[0], "text"
    if {option.casefold().strip(" .") for option in options.values()} <= LEVELS:
        return _by_level(text, {letter: option.casefold().strip(" .") for letter, option in options.items()})
    found = _told(text, options)
    if len(found) == 1:
        return found.pop(), "text"
    polar = _by_yes_no(text, options)
    if polar is not None:
        return polar, "text"
    if found:
        sentences = [part for part in re.split(r"(?<=[.!?;])\s+|\n+|,\s+but\s+", text) if re.search(r"\w", part)]
        concluding = [part for part in sentences if _CONCLUDES.search(part)][-1:]
        for part in concluding + sentences[:1]:
            told = _told(part, options)
            if len(told) == 1 and len(sentences) > 1:
                return told.pop(), "text"
        return "", "several"
    loosely = _without_degrees(text, options) or _by_stem(text, options)
    return (loosely.pop(), "text") if len(loosely) == 1 else ("", "several") if loosely else None


def _without_degrees(text: str, options: Mapping[str, str]) -> set[str]:
    """As `_told`, where an answer adds or leaves out "too", "very", ...; nothing if the options differ by just that."""
    plain = {letter: re.sub(rf"\b(?:{_DEGREES})\s+", "", _words(option)) for letter, option in options.items()}
    if len(set(plain.values())) < len(plain) or not all(plain.values()):
        return set()
    return _told(re.sub(rf"(?i)\b(?:{_DEGREES})\s+", "", text), plain)


def _by_stem(text: str, options: Mapping[str, str]) -> set[str]:
    """Options that share their last words ("warm tones", "cool tones"), by the words before these: alone, or behind "is" and its like."""
    split = {letter: _LEAD.sub("", _words(option)).split() for letter, option in options.items()}
    words, found = _words(text), set()
    for letter, own in split.items():
        shared = max((_shared_end(own, other) for name, other in split.items() if name != letter), default=0)
        stem = " ".join(own[:-shared]) if shared else ""
        if not stem or _NO_STEMS & set(stem.split()):
            continue
        said = rf"\b(?:is|are|as|looks?|appears?|seems?|feels?|be)\s+(?:(?:{_DEGREES}|a|an|the)\s+)*{re.escape(stem)}"
        if words == stem or re.search(rf"{said}(?=$|[,.;:]|\s+(?:and|but|with|because|due|since|as|in|overall)\b)", words):
            found.add(letter)
    return found


def _shared_end(one: list[str], other: list[str]) -> int:
    """How many last words are the same."""
    return next((n for n, (a, b) in enumerate(zip(reversed(one), reversed(other), strict=False)) if a != b), min(len(one), len(other)))


def _told(text: str, options: Mapping[str, str]) -> set[str]:
    """Letters of the options whose text stands in an answer, not denied and not only as part of a longer option."""
    words = _words(text)
    spans = []
    forms = _forms(options)
    for letter, variants in forms.items():
        for variant in variants:
            single = " " not in variant
            for match in re.finditer(rf"(?<!\w){re.escape(variant)}(?!\w)", words if single else words.replace(" ~ ", " ")):
                hay = words if single else words.replace(" ~ ", " ")
                if single and (hay[: match.start()].endswith("~ ") or hay[match.end() :].startswith(" ~")):
                    continue  # "low-resolution" is not "low"
                before = re.split(r"[,.;:]| but ", hay[max(match.start() - _REACH, 0) : match.start()])[-1]
                spans.append((match.start(), match.end(), letter, bool(_DENIED.search(before))))
    kept = [
        one
        for one in spans
        if not any(o[0] <= one[0] and one[1] <= o[1] and o[1] - o[0] > one[1] - one[0] for o in spans if o[2] != one[2])
    ]
    told = {letter for _, _, letter, denied in kept if not denied}
    every = [letter for letter in told if _EVERY.match(_words(options[letter]))]
    if len(every) == 1 and len(told) == len(options):
        return set(every)  # "all of these: joy, calm and fear"
    for _, _, letter, denied in kept:
        opposite = [
            other for other, variants in forms.items() if other != letter and any(f"not {own}" in variants for own in forms[letter])
        ]
        if denied and opposite and letter not in told:
            told.add(opposite[0])  # "not very sharp" is "not sharp"
    return told


def _forms(options: Mapping[str, str]) -> dict[str, list[str]]:
    """Letter -> its text, and its text without the words that an answer may leave out; no form that two options share."""
    forms = {}
    for letter, option in options.items():
        full = _words(option).replace(" ~ ", " ").strip(" .,;:")
        short = _LEAD.sub("", full)
        more = _EVERY_FORMS if _EVERY.fullmatch(full) else []
        forms[letter] = list(dict.fromkeys(form for form in (full, short if len(short) > 2 else full, *more) if form))
    everyone = [form for variants in forms.values() for form in variants]
    return {letter: [form for form in variants if everyone.count(form) == 1] for letter, variants in forms.items()}


def _by_yes_no(text: str, options: Mapping[str, str]) -> str | None:
    """The option that begins with the answer's yes or no."""
    yes = [letter for letter, option in options.items() if re.match(r"(?i)\s*yes\b", option)]
    no = [letter for letter, option in options.items() if re.match(r"(?i)\s*no\b(?!\s+\w)", option) or re.match(r"(?i)\s*no\s*,", option)]
    if len(yes) != 1 or len(no) != 1:
        return None
    lowered = text.casefold().strip()
    for pattern in (
        rf"\W*(?:(?P<yes>{_YES})|(?P<no>(?:{_NO}){_NOT_NO}))(?!\w)",
        rf".*(?:answer|:)\s*(?:is\s+)?\W*(?:(?P<yes>{_YES})|(?P<no>(?:{_NO}){_NOT_NO}))(?!\w)",
        rf".*(?<!\w)(?:(?P<yes>{_YES})|(?P<no>{_NO}))\W*$",
    ):
        if match := re.match(pattern, lowered, re.DOTALL):
            return yes[0] if match["yes"] else no[0]
    return None


def _by_level(text: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    """High, medium and low are words of many sentences: only where they are said of the quality, or stand alone, do they count."""
    level = "|".join(re.escape(option) for option in options.values())
    what = r"(?:quality|appeal|value|score|rating|level|grade|standard|merit|assessment|aesthetics?)"
    how = r"(?:(?:very|quite|rather|fairly|relatively|generally|overall|of|a|an|as|at|the|is|are|be|being|considered|rated|to|definitely|clearly|only|just|likely|probably|around)\s+)*"
    one = rf"(?P<level>{level})(?!\w|-(?!quality|aesthetic))(?P<second>\s*(?:to|or|and|/|-)\s*(?:{level})\b)?"
    pairs = rf"(?:{level})\s*(?:-|to|or|/|and)\s*(?:{level})(?!\w)"
    lowered = re.sub(r"n't\b", " not", re.sub(r"\s+", " ", text.casefold().replace("\n", " . ")))
    lowered = re.sub(rf"\bnot\s+(?:{how})?(?:{level})\s*,?\s+but\s+(?:rather\s+)?", "", lowered)
    letter_of = {option: letter for letter, option in options.items()}
    first = re.split(r"[.!\n,;:]|\s-\s", lowered.strip())[0].strip(" \"'()")
    if first in letter_of:
        return letter_of[first], "text"
    if re.search(
        rf"^\W*{pairs}\W*(?:$|[.,;])|{what}\b[^.;]{{0,30}}?\b{pairs}|{pairs}[^.;,]{{0,20}}{what}|between (?:{level}) and (?:{level})",
        lowered,
    ):
        return "", "several"
    found: list[tuple[int, str]] = []
    patterns = (
        rf"(?:answer|option|choice|rating|grade|verdict|conclusion)\W*{how}\W*{one}",
        rf"{what}\b(?:\s+of\s+(?:this|the)\s+\w+)?\W*(?:appears|seems|looks|can|may|might|would|should|could|falls?|ranks?|in|into)?\W*{how}\W*{one}",
        rf"(?:rate|rated|judge|consider|call|classify|assess)\b[^.;]{{0,40}}?\b(?:as|is|to be)\s+{how}{one}",
        rf"(?<![\w\-]){one}\W*(?:(?:aesthetic|visual|overall|artistic|image|photographic|technical)\s+)*{what}\b",
    )
    for pattern in patterns:
        matches = [
            match
            for match in re.finditer(pattern, lowered)
            if not _NOT.search(lowered[max(match.start("level") - _REACH, 0) : match.start("level")])
        ]
        found += [(match.start("level"), letter_of[match["level"]]) for match in matches]
    letters = list(dict.fromkeys(letter for _, letter in sorted(found)))
    last = re.split(r"[.!\n,;:]|\s-\s", lowered.strip(" .!\n\"'()"))[-1].strip(" \"'()")
    if last in letter_of and (not letters or letters == [letter_of[last]]):
        return letter_of[last], "text"
    if not letters:
        return None
    return (letters[0], "text") if len(letters) == 1 else ("", "several")


def _words(text: str) -> str:
    """Small letters, one blank between words; ~ for a hyphen inside a word; commas, dots, semicolons and colons stay, for clauses."""
    text = text.casefold()
    for pattern, spelling in _SPELLINGS:
        text = re.sub(pattern, spelling, text)
    text = re.sub(r"(?<=\w)-(?=\w)", " ~ ", text)
    text = re.sub(r"[^\w\s,.;:~']|_", " ", text)
    return re.sub(r"\s+", " ", text).strip(" .,;:")
