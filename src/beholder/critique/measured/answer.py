"""Questions that measurements can answer, where no model that sees is loaded. Ours."""

from __future__ import annotations

import os
import re

from beholder.critique.base import SECTIONS
from beholder.critique.measured.critique import critique
from beholder.errors import BeholderError

_ASKS = {  # words in a question -> the section that answers it
    "composition": "horizon|level|tilt|straight|composition|compose|thirds|centre|center|balance|symmetr|busy|simple|layout|framing|where",
    "light": "light|bright|dark|exposure|exposed|contrast|highlight|shadow|tone|burnt|clipp",
    "colour": "colou?r|warm|cool|hue|saturat|vivid|muted|black and white|monochrome",
    "focus": "focus|sharp|blur|soft|crisp|noise|noisy|grain|clarity|detail",
    "subject": "subject|what is (?:this|it|in)|what does (?:this|it) show|show|content|object|depict|picture of",
    "feeling": "feel|emotion|mood|express|vibe|atmosphere",
    "suggestion": "improve|better|suggest|change|fix|mend|enhance|advice|wrong with",
    "overall": "like|beaut|aesthetic|good|attractive|rate|score|overall|nice|popular|opinion|quality",
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
    return " ".join(["Measured, not seen (no vision-language model is loaded):", *(said.sections[name].text for name in asked)])


def sections(question: str) -> list[str]:
    """Names of the sections that a question is about, in their order; "overall" only if nothing more special is asked."""
    text = question.casefold()
    found = [name for name in SECTIONS if re.search(rf"\b(?:{_ASKS[name]})", text)]
    return [name for name in found if name != "overall"] or found
