"""What a language model is asked about an image, the form of its answer, and the way from a score to its integer and back.

The published questions are those of P-MLLM (arXiv 2604.17233, appendices A and C; `templates.json`). The family "short" is ours: few tokens, any scale.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

import numpy as np

from beholder.errors import BeholderError
from beholder.personas import templates
from beholder.scale import Scale

FAMILIES = ("published", "evaluation", "short", "brief")
OURS = ("short", "brief")  # any scale
AESTHETIC = "aesthetic"
SUBJECTIVE: tuple[str, ...] = tuple(templates()["subjective"])
CAPTION: str = templates()["caption"]
BASELINES: dict[str, str] = dict(templates()["baselines"])  # two_stage_describe, two_stage_score, single_stage

IMAGE_TAG = "<image>image</image>"  # markup for the word "image" in the training questions; the evaluation form has the bare word
SHORT_CAPTION = "Describe this image."
_PLACE = "{integer}"
_SHORT_ANSWER = "Score: {integer}"
_SHORT = {
    "aesthetic": "Rate this image for this viewer, {low} to {high}.",
    "composition": "Rate the composition of this image for this viewer, {low} to {high}.",
    "color": "Rate the color of this image for this viewer, {low} to {high}.",
    "dof": "Rate the depth of field of this image for this viewer, {low} to {high}.",
    "content": "Rate the content of this image for this viewer, {low} to {high}.",
    "light": "Rate the light of this image for this viewer, {low} to {high}.",
    "content_preference": "Rate how much this viewer likes the subject of this image, {low} to {high}.",
    "willingness_to_share": "Rate how likely this viewer would share this image, {low} to {high}.",
}
_BRIEF_ANSWER = ": {integer}"
_BRIEF = {
    "aesthetic": "Rating of this image",
    "composition": "Composition of this image",
    "color": "Color of this image",
    "dof": "Depth of field of this image",
    "content": "Content of this image",
    "light": "Light of this image",
    "content_preference": "Liking of what this image shows",
    "willingness_to_share": "Wish to share this image",
}
_NUMBER = r"[-−]?\d+(?:[.,]\d{1,2}(?!\d))?"
_FREE_NUMBER = re.compile(rf"(?<![\w.,/])(?<!out of )(?<!/ )({_NUMBER})(?![\w]|[.,]\d)")


@dataclass(frozen=True)
class Question:
    """A question whose answer holds one integer.

    Args:
        name: the attribute it asks for, see `attributes`.
        text: as the model reads it, the scale filled in ("{integer}" stands in it literally where the paper shows the answer format).
        answer: the form of the answer, with the placeholder {integer}.
        low, high: ends of its scale; every integer between them is a legal answer.
        family: one of `FAMILIES`.
    """

    name: str
    text: str
    answer: str
    low: int
    high: int
    family: str = "published"

    @property
    def integers(self) -> tuple[int, ...]:
        """The legal answers, ascending."""
        return tuple(range(self.low, self.high + 1))

    @property
    def prefix(self) -> str:
        """The answer up to its integer, the blank before it included."""
        return self.answer.partition(_PLACE)[0]

    @property
    def suffix(self) -> str:
        """The answer after its integer."""
        return self.answer.partition(_PLACE)[2]

    def answered(self, integer: int) -> str:
        """The answer that gives this integer."""
        return self.prefix + str(int(integer)) + self.suffix

    def on(self, low: int, high: int) -> Question:
        """The same question on another scale; only the short family can be asked on any.

        Raises:
            BeholderError: the scale is fixed in the published text, or the ends are not two ascending integers.
        """
        if (low, high) == (self.low, self.high):
            return self
        if self.family not in OURS:
            raise BeholderError(
                f"the {self.family} question {self.name!r} is asked on {self.low} to {self.high}, not on {low:g} to {high:g}: use the family short or brief for other scales"
            )
        if low != int(low) or high != int(high) or not low < high:
            raise BeholderError(f"a question cannot be asked on {low:g} to {high:g}: give two integers, the lower one first")
        low, high = int(low), int(high)
        text = _SHORT[self.name].format(low=low, high=high) if self.family == "short" else self.text
        return replace(self, text=text, low=low, high=high)


def attributes() -> tuple[str, ...]:
    """What a question can ask for: the eight scores of PARA, "aesthetic" first."""
    return tuple(templates()["scoring"])


def scoring(family: str = "published", attribute: str = AESTHETIC) -> Question:
    """A question for a score.

    Args:
        family: "published" (as P-MLLM was trained, with the image tag), "evaluation" (appendix C: without the tag), "short" (for small models) or
            "brief" (a line to be completed); these two are on 1 to 5 until `Question.on` says otherwise.
        attribute: one of `attributes()`.

    Raises:
        BeholderError: there is no such family or attribute.
    """
    if family not in FAMILIES:
        raise BeholderError(f"there is no question family {family!r}: choose one of {', '.join(FAMILIES)}")
    if attribute not in attributes():
        raise BeholderError(f"there is no question for {attribute!r}: choose one of {', '.join(attributes())}")
    if family == "short":
        return Question(attribute, _SHORT[attribute].format(low=1, high=5), _SHORT_ANSWER, 1, 5, family)
    if family == "brief":
        return Question(attribute, _BRIEF[attribute], _BRIEF_ANSWER, 1, 5, family)
    entry = templates()["scoring"][attribute]
    text = entry["question"] if family == "published" else entry["question"].replace(IMAGE_TAG, "image")
    return Question(attribute, text, entry["answer"], entry["low"], entry["high"], family)


def suited(family: str, attribute: str = AESTHETIC, *, scale: Scale) -> Question:
    """The question of a family for scores on a scale: the published ones are as they are; "short" and "brief" are asked on the scale itself if that has
    whole steps within 0 to 9, else on 0 to 9: each integer is then one token also for models that write digit by digit."""
    question = scoring(family, attribute)
    if family not in OURS:
        return question
    whole = scale.step >= 1 and all(float(value).is_integer() for value in (scale.low, scale.high, scale.step))
    return question.on(int(scale.low), int(scale.high)) if whole and scale.low >= 0 and scale.high <= 9 else question.on(0, 9)


def parse_integer(text: str, question: Question) -> int | None:
    """The score in a model's answer, or None if there is none: to be counted, never to be taken as 0.

    A number in the answer's own form decides (the last one, if it is given several times), also by being out of range: then there is no score.
    Else it is the last number in range that is neither a denominator ("8/10", "8 out of 10") nor an end of the scale spelled out ("from 0 to 10").
    Decimals are rounded, half up: "7.5" is 8.
    """
    stated = [match[1] for match in _form(question).finditer(text)]
    if stated:
        return _legal(stated[-1], question)
    spelled = rf"(?<!\d){question.low}\s*(?:to|and|[-–—])\s*{question.high}(?![\d]|[.,]\d)"
    rest = re.sub(spelled, " ", text)
    legal = [value for match in _FREE_NUMBER.finditer(rest) if (value := _legal(match[1], question)) is not None]
    return legal[-1] if legal else None


@functools.lru_cache(maxsize=256)
def _form(question: Question) -> re.Pattern:
    """The answer's form: its words before the integer in any case and spacing. The form in the question's text counts, too, as they differ once."""
    forms = {question.prefix}
    if _PLACE in question.text:
        forms.add(question.text.partition("Answer format:")[2].partition(_PLACE)[0])
    words = "|".join(r"\s+".join(re.escape(word) for word in form.split()) for form in sorted(forms))
    return re.compile(rf"(?:{words})[\s*_\"'`:]*({_NUMBER})", re.IGNORECASE)


def _legal(number: str, question: Question) -> int | None:
    value = float(number.replace("−", "-").replace(",", "."))
    return int(np.floor(value + 0.5)) if question.low <= value <= question.high else None


def to_integer(score, *, scale: Scale, question: Question) -> np.ndarray:
    """Scores of a dataset -> integers of the question, rounded half up and clipped to it.

    The map is linear, ends to ends (0-100 on 0-10: 73 -> 7), but for a scale that starts above 0, a question that starts at 0 and a high end that is a
    multiple of the scale's: there it is that multiple, as in P-MLLM's appendix A (1-5 in half steps on 0-10: 3.5 -> 7; 1-5 on 0-5: kept).

    Args:
        score: numbers on `scale`, any shape, none missing.

    Raises:
        ValueError: a score is not a finite number.
    """
    score = np.asarray(score, dtype=np.float64)
    if not np.isfinite(score).all():
        raise ValueError("a missing score has no integer: leave these rows out")
    slope, offset = _line(scale, question)
    value = np.floor(slope * score + offset + 0.5 + 1e-9)  # 1e-9: a half stays a half after the division
    return np.clip(value, question.low, question.high).astype(np.int64)


def from_integer(value, *, scale: Scale, question: Question) -> np.ndarray:
    """Answers (integers, or expected values between them) -> scores on the dataset's scale: the inverse of `to_integer` without its rounding.

    Where the map is a multiple, 0 lies below the scale's low end, as in the paper; it is not clipped, since that would make ties.
    """
    slope, offset = _line(scale, question)
    return (np.asarray(value, dtype=np.float64) - offset) / slope


def _line(scale: Scale, question: Question) -> tuple[float, float]:
    """(slope, offset) of the map from the scale to the question's integers."""
    multiple = question.high / scale.high if scale.high else 0.0
    if scale.low > 0 and question.low == 0 and multiple >= 1 and multiple == int(multiple):
        return multiple, 0.0
    slope = (question.high - question.low) / scale.width
    return slope, question.low - slope * scale.low
