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
_NO = r"no|nope|nah|non|nein|нет|否|不是|不|いいえ"
_NOT_NO = r"(?!\s+(?:doubt|one|matter|problem|wonder|other|visible|sign|clear|question))"
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|rather than|instead of|without|lacks?|lacking|hardly|far from|less|than|isnt|nicht|absence of)\s+(?:[a-z]+\s+){0,3}$"
)
_NOT = re.compile(r"\bnot?\s+(?:\w+\s+){0,2}$")
_CONCLUDES = re.compile(
    r"\b(?:therefore|so|thus|hence|answer|overall|conclusion|finally|ultimately|choose|select|best|final)\b", re.IGNORECASE
)
_LEAD = re.compile(
    r"^(?:(?:yes|no)\b[\s,:\-]+|because (?:of )?|since |due to |it is |it has |there is |there are |by |the image is |the |a |an )+"
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
        sentences = [part for part in re.split(r"(?<=[.!?;])\s+|\n+", text) if re.search(r"\w", part)]
        concluding = [part for part in sentences if _CONCLUDES.search(part)][-1:]
        for part in concluding + sentences[:1]:
            told = _told(part, options)
            if len(told) == 1 and len(sentences) > 1:
                return told.pop(), "text"
        return "", "several"
    return None


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
                spans.append(
                    (match.start(), match.end(), letter, bool(_DENIED.search(re.split(r"[,.;:]| but ", hay[: match.start()])[-1])))
                )
    kept = [
        one
        for one in spans
        if not any(o[0] <= one[0] and one[1] <= o[1] and o[1] - o[0] > one[1] - one[0] for o in spans if o[2] != one[2])
    ]
    told = {letter for _, _, letter, denied in kept if not denied}
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
        forms[letter] = list(dict.fromkeys(form for form in (full, short if len(short) > 2 else full) if form))
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
    lowered = re.sub(r"\s+", " ", text.casefold().replace("\n", " . "))
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
        matches = [match for match in re.finditer(pattern, lowered) if not _NOT.search(lowered[: match.start("level")])]
        found += [(match.start("level"), letter_of[match["level"]]) for match in matches]
    letters = list(dict.fromkeys(letter for _, letter in sorted(found)))
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
