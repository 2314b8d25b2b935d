"""Questions that measurements can answer, where no model that sees is loaded. Ours."""

from __future__ import annotations

import math
import os
import re

from beholder.critique.base import SECTIONS, Critique
from beholder.critique.measured.critique import critique
from beholder.errors import BeholderError

_TILT = r"horizon|level\b|tilt|crooked|slant|skew|straight"
_ASKS = {  # beginnings of words in a question -> the section that answers it
    "composition": rf"{_TILT}|composition|compose|thirds|(?:well|badly)? ?placed|in the middle|off-?cent|cent(?:re|er)|(?<!white )balance|symmetr|busy|clutter|simple|layout|framing|framed"
    r"|where (?:do|does|will)\b|where (?:is|are|lies|stands) (?:the|my)\b",
    "light": r"light(?!ning)|bright|dark|(?:over-?|under-?)?expos(?:ed|ure)|contrast|highlight|shadow|tones?\b|tonal|burnt|blown|clipp|backli[gt]",
    "colour": r"colou?r|warm|cool(?! (?:photo|picture|image|shot))|hues?\b|saturat|vivid|muted|tint|black and white|b ?& ?w\b|monochrome|white balance",
    "focus": r"focus|(?:un)?sharp|blur|soft(?!ware)|crisp|noise|noisy|grain|clarity|details?\b",
    "subject": r"subject|what(?: is|'s|’s) (?:this|it|in|on|shown)\b(?! like)|show|content|objects?\b|depict|picture of",
    "feeling": r"feel|emotion|mood|express|vibe|atmosphere",
    "suggestion": r"improve|better|suggest|change|fix|mend|enhance|advice|wrong",
    "overall": r"(?<!look )(?<!looks )(?<! it )(?<!be )liked?\b(?! (?:an?|to)\b)|beaut|aesthetic|good|attractive|rate[sd]?\b|rating|score|overall"
    r"|nice|pretty|ugly|popular|opinion|quality|do you think",
}

# What no measurement tells, whatever else is in the question
_BEYOND = re.compile(r"\b(?:who|whose|whom|how old|age|names?|background|foreground|behind|wearing|doing|say(?:s|ing)?|written|why)\b")
# words -> the measured attribute whose number is given
_NUMBERS = {
    "thirds": "thirds",
    "centring": r"in the (?:middle|cent(?:re|er))|cent(?:red|ered|ring|ering)|(?:well|badly) placed|placed|off-?cent(?:re|er)",
    "balance": r"(?<!white )balance",
    "symmetry": "symmetr",
    "simplicity": "busy|clutter|simple",
    "noise": "noise|noisy|grain",
    "sharpness": r"(?:un)?sharp|crisp|details?\b",
    "blur": "blur|soft(?!ware)",
    "brightness": r"bright|dark|(?:over-?|under-?)?expos(?:ed|ure)",
    "contrast": "contrast",
    "shadows": "shadow",
    "highlights": "highlight|burnt|blown|clipp",
    "colourfulness": "colou?rful",
    "saturation": "saturat|vivid|muted",
    "warmth": "warm|cool",
}


def answer(image: str | os.PathLike, question: str) -> str:
    """What was measured of what the question asks about, said to be measured.

    Raises:
        UnreadableImage: the image cannot be read.
        BeholderError: nothing that was measured answers the question.
    """
    asked = sections(question)
    if not asked:
        raise BeholderError(
            f"no vision-language model is loaded, and nothing that is measured answers {question.strip()!r}: name a model with --model, or ask about "
            "composition, horizon, light, colour, focus, subject or what to improve"
        )
    said = critique(image)
    texts = [said.sections[name].text for name in asked]
    texts += _numbers(said, question)
    if re.search(rf"\b(?:{_TILT})", question.casefold()) and "horizon was found" not in said.sections["composition"].text:
        texts.append("No clear horizon was found, so whether it is level is not known.")
    return " ".join(["Measured, not seen (no vision-language model is loaded):", *texts])


def _numbers(said: Critique, question: str) -> list[str]:
    """A sentence for each attribute that the question names."""
    wanted = [name for name, words in _NUMBERS.items() if re.search(rf"\b(?:{words})", question.casefold())]
    known = {one.name: one for section in said.sections.values() for one in section.evidence}
    made = []
    for one in (known[name] for name in wanted if name in known):
        if math.isnan(one.value):
            made.append(f"{one.name.capitalize()} could not be measured here.")
        else:
            rank = "" if one.percentile is None else f", more than in {min(max(one.percentile, 1), 99):.0f} of 100 photographs"
            made.append(f"{one.name.capitalize()} is {one.value:.3g}{f' {one.unit}' if one.unit else ''}{rank}.")
    return made


def sections(question: str) -> list[str]:
    """Names of the sections that a question is about, in their order; "overall" only if nothing more special is asked."""
    text = question.casefold()
    if _BEYOND.search(text):
        return []
    found = [name for name in SECTIONS if re.search(rf"\b(?:{_ASKS[name]})", text)]
    if "composition" in found and re.search(r"\bsubject\b", text) and not re.search(r"\bwhat\b", text):
        found = [name for name in found if name != "subject"]  # where it stands is asked, not what it is
    return [name for name in found if name != "overall"] or found
