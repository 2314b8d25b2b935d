"""Questions that measurements can answer, where no model that sees is loaded. Ours."""

from __future__ import annotations

import os
import re

from beholder.critique.base import SECTIONS
from beholder.critique.measured.critique import critique
from beholder.errors import BeholderError

_TILT = r"horizon|level\b|tilt|crooked|slant|skew|straight"
_ASKS = {  # beginnings of words in a question -> the section that answers it
    "composition": rf"{_TILT}|composition|compose|thirds|cent(?:re|er)|(?<!white )balance|symmetr|busy|clutter|simple|layout|framing|framed"
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
    if re.search(rf"\b(?:{_TILT})", question.casefold()) and "horizon was found" not in said.sections["composition"].text:
        texts.append("No clear horizon was found, so whether it is level is not known.")
    return " ".join(["Measured, not seen (no vision-language model is loaded):", *texts])


def sections(question: str) -> list[str]:
    """Names of the sections that a question is about, in their order; "overall" only if nothing more special is asked."""
    text = question.casefold()
    found = [name for name in SECTIONS if re.search(rf"\b(?:{_ASKS[name]})", text)]
    return [name for name in found if name != "overall"] or found
