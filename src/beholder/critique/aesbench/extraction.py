"""Which option an answer means, by rules alone (ours: the benchmark does not publish its own).

In this order: a marked final answer (<answer>, \\boxed, JSON); a letter that is said to be the answer, the last such statement; refusals; a
letter at the beginning; the only letter that is named and not denied; all others denied; the text of exactly one option, or its word (yes, no,
high, medium, low). A letter beats a text that disagrees with it, as letters are what is asked for. What means several options,
or none, stays without a letter and counts as wrong: nothing is guessed, and no model is asked.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from beholder.critique.aesbench.extraction_letters import by_letter, leading, mentions
from beholder.critique.aesbench.extraction_texts import by_text

HOWS = ("letter", "text", "elimination", "refused", "several", "nothing")
_LONGEST = 8000  # characters: of longer answers the first quarter and the last three quarters of so many are read
_LOOK_ALIKES = str.maketrans("АВСЕавсе", "ABCEabce")  # Cyrillic
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_TOKENS = re.compile(r"</?s>|<\|[^|>]{1,30}\|>|\[/?INST\]", re.IGNORECASE)
_ROLE = re.compile(r"\A\s*(?:assistant|model|bot|ai)\s*:\s*", re.IGNORECASE)
_TAGGED = re.compile(r"<(answer|final|final_answer|option|choice)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit|textit|rm|bf)\s*\{([^{}]*)\}")
_PAIR = re.compile(
    r"[\"'](?:final_?)?(?:answer|option|choice|letter|selected_option|correct_option)[\"']\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*')",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b(?:sorry|apologi[sz]e)\b[^.!?\n]{0,40}\b(?:can(?:not|'t| not)|unable|not able|won't|without|no image|don't)\b"
    r"|\b(?:can(?:not|'t| not)|could not|couldn't|unable to|not able to|impossible to|do not have the ability to|won't|will not"
    r"|must decline to)\s+"
    r"(?:help|assist|comply|determine|answer|view|see|access|analy[sz]e|process|provide|evaluate|assess|judge|tell|say|identify"
    r"|open|make|give)\b"
    r"(?=[^.!?\n]{0,60}\b(?:image|images|picture|photo|photos|answer|that|this|question|request|option|opinion|judg[e]?ment"
    r"|assessment|people)\b)"
    r"|\bas an? (?:ai|artificial|large)\b[^.!?\n]{0,30}\b(?:model|assistant|intelligence)\b[^.!?\n]{0,60}\b(?:can(?:not|'t)"
    r"|unable|not able|do not|don't)\b"
    r"|\bno (?:image|picture|photo)\b[^.!?\n]{0,20}\b(?:provided|attached|given|visible|shared|uploaded)\b"
    r"|\b(?:please|could you)\b[^.!?\n]{0,20}\b(?:provide|upload|share|attach|send)\b[^.!?\n]{0,20}\b(?:image|picture|photo)\b"
    r"|failed to obtain answer|无法(?:回答|判断|查看|确定|提供)|不能(?:回答|提供)|抱歉|lo siento|tut mir leid|je suis désolé",
    re.IGNORECASE,
)


_UNABLE = re.compile(r"\b(?:can(?:not|'t| not)|unable|not able|whether|if you)\b", re.IGNORECASE)
_AFTER_ALL = re.compile(r"[,.;:!?\-\n]\s*(?:but|however|nevertheless|nonetheless|still|that said|even so|yet)\b[\s,]*", re.IGNORECASE)


@dataclass(frozen=True)
class Extracted:
    """What an answer means.

    Args:
        letter: of the option; "" if it means none for sure.
        how: "letter", "text" or "elimination" (the others were denied) with a letter; without one "refused", "several" (options) or "nothing".
    """

    letter: str
    how: str


def extract(answer: str, options: Mapping[str, str]) -> Extracted:
    """The option that an answer of a model means.

    Args:
        options: letter -> text.
    """
    text = _cleaned(str(answer or ""))
    for final in reversed(_finals(text)):
        found = _of_short(final, options)
        if found.letter or found.how == "several":
            return found
    text = _without_marks(text)
    if not re.search(r"\w", text):
        return Extracted("", "nothing")
    named = mentions(text, options)
    said = by_letter(text, named, stated_only=True)
    if said is not None:
        return Extracted(*said)
    told = text.casefold().strip(" .") in {
        option.casefold().strip(" .") for option in options.values()
    }  # an option may be worded like a refusal
    if (refusal := _REFUSED.search(text)) and not told and not leading(text, named, options=options):
        after = _AFTER_ALL.search(text, refusal.end())
        meant = _plainly(text[after.end() :], options) if after and not _UNABLE.search(text, after.end()) else None
        return meant if meant and meant.letter else Extracted("", "refused")
    return _plainly(text, options)


def _plainly(text: str, options: Mapping[str, str]) -> Extracted:
    named = mentions(text, options)
    said = by_letter(text, named, options=options)
    if said is not None and said[0]:
        return Extracted(*said)
    worded = by_text(text, options)
    if worded is not None and (worded[0] or said is None):
        return Extracted(*worded) if said is None else Extracted("", "several")
    return Extracted(*said) if said is not None else Extracted("", "nothing")


def _of_short(text: str, options: Mapping[str, str]) -> Extracted:
    """Of what stands in a final answer, where a small letter is a letter."""
    text = _without_marks(text)
    bare = text.strip(" \n.,:;()[]{}\"'")
    return Extracted(bare.upper(), "letter") if bare.upper() in options else _plainly(text, options)


def _cleaned(text: str) -> str:
    """Without thoughts and marks of the model; full-width signs as usual ones, Cyrillic letters that stand alone as Latin ones."""
    text = unicodedata.normalize("NFKC", _THOUGHT.sub("\n", text)).replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    text = text.replace("。", ". ").replace("、", ", ").replace("—", " - ").replace("–", " - ").replace("\u200b", "")
    text = re.sub(r"(?<!\w)[АВСЕавсе](?!\w)", lambda match: match[0].translate(_LOOK_ALIKES), text)
    text = _ROLE.sub("", _TOKENS.sub(" ", text)).strip()
    if len(text) > _LONGEST:  # a model that goes round in circles; what it concludes stands at one of the ends
        whole_words = re.sub(r"\A\S{0,40}(?=\s)", "", text[-3 * _LONGEST // 4 :])
        text = f"{text[: _LONGEST // 4]}\n\n{whole_words}"
    return text


def _finals(text: str) -> list[str]:
    """What is marked as the final answer, in order of appearance."""
    found = [(match.start(), match[2]) for match in _TAGGED.finditer(text)]
    found += [(match.start(), _LATEX.sub(r"\1", match[1])) for match in _BOXED.finditer(text)]
    for match in _PAIR.finditer(text):
        value = match[1]
        try:
            value = json.loads(value)
        except ValueError:
            value = value.strip("'\"")
        found.append((match.start(), value))
    return [inner for _, inner in sorted(found)]


def _without_marks(text: str) -> str:
    """Without Markdown, LaTeX and tags."""
    text = _LATEX.sub(r"\1", text)
    text = re.sub(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"</?[A-Za-z_]{1,20}>", " ", text)
    text = re.sub(r"^\s*#+\s*", "", text, flags=re.MULTILINE)
    return re.sub(r"[*`$]+|(?<!\w)_+|_+(?!\w)", "", text).strip()
