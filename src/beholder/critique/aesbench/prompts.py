"""What a model is asked, word for word: as AesBench's own scripts ask it, or as VLMEvalKit does."""

from __future__ import annotations

from beholder.critique.aesbench.questions import Question
from beholder.errors import BeholderError

STYLES = ("official", "vlmevalkit")
# Of the benchmark's scripts: only AesA lets the model explain itself.
_OFFICIAL = {
    "AesP": "{question} Choose one from the following options:\n{options}\nYou should output a correct option without explanation.",
    "AesE": "{question} Choose one from the following options:\n{options}\nYou should output a correct option without explanation.",
    "AesA": "{question} Choose one from the following options:\n{options}\nYou should output a correct option.",
    "AesI": "{question}",
}
_HINT, _TOOLKIT_END = "Hint: {hint}\n", "Please select the correct answer from the options above. \n"


def prompt(question: Question, *, style: str = "official") -> str:
    """The text that goes with the image.

    Args:
        style: "official", or "vlmevalkit" (multiple choice only: AesI is asked as officially).

    Raises:
        BeholderError: a style of another name.
    """
    if style not in STYLES:
        raise BeholderError(f"there are no prompts {style!r}: give {' or '.join(STYLES)}")
    if style == "official" or question.part == "AesI":
        shown = question.shown or "\n".join(f"{letter}) {text}" for letter, text in question.options)
        # not str.format with the question: it may hold braces
        return _OFFICIAL[question.part].replace("{options}", shown, 1).replace("{question}", question.text, 1)
    hint = _HINT.replace("{hint}", question.hint) if question.hint else ""
    options = "".join(f"{letter}. {text}\n" for letter, text in question.options)
    return f"{hint}Question: {question.text}\nOptions:\n{options}{_TOOLKIT_END}"
