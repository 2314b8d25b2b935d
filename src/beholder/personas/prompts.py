"""A profile as the text of a system message: the published form with its five components, and a short one for small models.

The components are those of P-MLLM (arXiv 2604.17233, appendix B). Its extended templates with background lines are shown only as figures; the lines here are
our reading: between the traits and the instruction, one line per field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from beholder.errors import BeholderError
from beholder.personas import templates
from beholder.profile import BIG_FIVE, Profile

VARIANTS = ("none", "D", "T", "D+T")
STYLES = ("published", "short")
LEVELS = ("very low", "low", "average", "high", "very high")
_LETTERS = {trait[0].upper(): trait for trait in BIG_FIVE}
_BACKGROUND_TITLE = "Your **Background** is:"
_OUT_OF_TEN = (*BIG_FIVE, "art_interest", "photography_interest")
_BARE = ("gender", "education", "nationality")  # values that tell by themselves what they are


@dataclass(frozen=True)
class PersonaFormat:
    """Which of the published genes each of the five components takes (index into templates.json, "genes").

    The defaults are one reading: the paper names its winner for Llama-3.1-8B only in a figure.

    Raises:
        BeholderError: there is no such gene.
    """

    header: int = 0
    traits: int = 0
    explanation: int = 0
    instruction: int = 2
    constraint: int = 0

    def __post_init__(self) -> None:
        for component in fields(self):
            genes = templates()["genes"][component.name]
            if not 0 <= getattr(self, component.name) < len(genes):
                raise BeholderError(
                    f"persona format {component.name} = {getattr(self, component.name)}: there are {len(genes)}, numbered from 0 to {len(genes) - 1}"
                )

    def gene(self, component: str) -> str:
        """The text of a component as published, placeholders included."""
        return templates()["genes"][component][getattr(self, component)]


def render(profile: Profile, *, style: str | PersonaFormat | LevelFormat = "published") -> str:
    """The profile as text for the system message; "" if nothing is known.

    Args:
        style: "published" (header, traits, explanation, background, instruction, constraint; paragraphs), a `PersonaFormat` for other genes, "short"
            (one line of a few dozen tokens), or a `LevelFormat` (the same, numbers as words). Parts about missing fields are left out; free fields are written out in both, as text.

    Raises:
        BeholderError: there is no such style.
    """
    chosen = PersonaFormat() if style == "published" else style
    if not isinstance(chosen, PersonaFormat | LevelFormat) and chosen != "short":
        raise BeholderError(f"there is no persona style {style!r}: choose one of {', '.join(STYLES)}")
    if not profile:
        return ""
    if not isinstance(chosen, PersonaFormat):
        levels = chosen if isinstance(chosen, LevelFormat) else LevelFormat()
        return "; ".join(_short(name, value, free=name in profile.free, word=levels.word(name, value)) for name, value in profile.known().items())
    traits = _traits(chosen.gene("traits"), profile)
    parts = [
        chosen.gene("header"),
        traits,
        chosen.gene("explanation") if traits else "",
        _background(profile),
        chosen.gene("instruction"),
        chosen.gene("constraint"),
    ]
    return "\n\n".join(part for part in parts if part)


@dataclass(frozen=True)
class LevelFormat:
    """The short form, but numbers of the given fields in five words, "very low" to "very high": a small model reads words better than digits.

    Args:
        cuts: (field, its four ascending limits) each; a number above k limits gets the k-th word. Other fields are written as in the style "short".

    Raises:
        BeholderError: a field has not four limits.
    """

    cuts: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        cuts = tuple((str(name), tuple(float(limit) for limit in limits)) for name, limits in self.cuts)
        for name, limits in cuts:
            if len(limits) != len(LEVELS) - 1:
                raise BeholderError(f"the levels of {name} have {len(limits)} limits: give {len(LEVELS) - 1}")
        object.__setattr__(self, "cuts", cuts)

    @classmethod
    def fit(cls, profiles: Sequence[Profile]) -> LevelFormat:
        """Limits at the fifths of these profiles' numbers; for fields with at least five different ones, age excepted."""
        values: dict[str, list[float]] = {}
        for profile in profiles:
            for name, value in profile.known().items():
                if name != "age" and isinstance(value, int | float) and not isinstance(value, bool):
                    values.setdefault(name, []).append(float(value))
        fifths = np.linspace(0, 1, len(LEVELS) + 1)[1:-1]
        return cls(tuple((name, tuple(np.quantile(x, fifths).tolist())) for name, x in values.items() if len(set(x)) >= len(LEVELS)))

    def word(self, name: str, value: Any) -> str:
        """The word for a field's value; "" if it has none."""
        limits = dict(self.cuts).get(name)
        if limits is None or isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        return LEVELS[sum(value > limit for limit in limits)]


def reduced(profile: Profile, variant: str) -> Profile:
    """What is left of a profile: "none" nothing, "T" only the Big Five, "D" all but these, "D+T" everything (P-MLLM, table 2).

    Raises:
        BeholderError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise BeholderError(f"there is no profile variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    if variant == "none":
        return Profile()
    if variant == "T":
        return Profile(**{trait: getattr(profile, trait) for trait in BIG_FIVE})
    return replace(profile, **dict.fromkeys(BIG_FIVE)) if variant == "D" else profile


def _traits(gene: str, profile: Profile) -> str:
    """The traits component with the known scores filled in; what speaks of an unknown one is left out."""
    known = {letter: value for letter, trait in _LETTERS.items() if (value := getattr(profile, trait)) is not None}
    if not known:
        return ""
    unknown = [f"{{{letter}}}" for letter in _LETTERS if letter not in known]
    lines = [line for line in gene.split("\n") if not any(place in line for place in unknown) or line.count("/10") > 1]
    text = _sentence("\n".join(lines), unknown)
    for letter, value in known.items():
        text = text.replace(f"{{{letter}}}", _plain(value))
    return text


def _sentence(text: str, unknown: list[str]) -> str:
    """The gene that gives all traits in one sentence, without the unknown ones; other texts as they are."""
    if not any(place in text for place in unknown):
        return text
    head, _, body = text.partition("are: ")
    items = [item.removeprefix("and ") for item in body.rstrip(".").split("; ") if not any(place in item for place in unknown)]
    if len(items) > 1:
        items[-1] = f"and {items[-1]}"
    return f"{head}are: {'; '.join(items)}."


def _background(profile: Profile) -> str:
    lines = [f"- {_line(name, value, free=name in profile.free)}" for name, value in profile.known().items() if name not in BIG_FIVE]
    return "\n".join([_BACKGROUND_TITLE, *lines]) if lines else ""


def _line(name: str, value: Any, *, free: bool) -> str:
    """"name: value", the names of known fields capitalised."""
    label = _clean(name.replace("_", " "))
    return f"{label if free else label.capitalize()}: {_plain(value)}{'/10' if not free and name in _OUT_OF_TEN else ''}"


def _short(name: str, value: Any, *, free: bool, word: str) -> str:
    label = _clean(name.replace("_", " "))
    if word:
        return f"{word} {label}"
    if not free and name in _BARE:
        return _plain(value)
    if isinstance(value, float) and abs(value) >= 1:  # digits are tokens: the first decimal is enough
        value = round(value, 1)
    return f"{label} {_plain(value)}{'/10' if not free and name in _OUT_OF_TEN else ''}"


def _plain(value: Any) -> str:
    """A value as people write it: no 8.0, yes and no, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return _clean(str(value))


def _clean(text: str) -> str:
    """On one line: a value cannot begin a section of its own."""
    return re.sub(r"\s+", " ", text).strip()
