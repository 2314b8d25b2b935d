"""A profile as the text of a system message: the published form with its five components, and a short one for small models.

The components are those of P-MLLM (arXiv 2604.17233, appendix B). Its extended templates with background lines are shown only as figures (8 and 9); the lines here
are our reading: between the traits and the instruction, one line per field.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from beholder.errors import BeholderError
from beholder.personas import templates
from beholder.profile import BIG_FIVE, Profile

VARIANTS = ("none", "D", "T", "D+T")
STYLES = ("published", "short")
TEMPLATES = ("para", "lapis")
LEVELS = ("very low", "low", "average", "high", "very high")
_LETTERS = {trait[0].upper(): trait for trait in BIG_FIVE}
_COMPONENTS = ("header", "traits", "explanation", "instruction", "constraint")  # in the order of the digits of a code
_WORDS = ("header", "explanation", "instruction", "constraint")  # those that say nothing of the profile
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

    @property
    def code(self) -> str:
        """Five digits, the genes of header, traits, explanation, instruction and constraint: "00020" for the defaults."""
        return "".join(str(getattr(self, component)) for component in _COMPONENTS)

    @classmethod
    def parse(cls, code: str) -> PersonaFormat:
        """The format of a `code`.

        Raises:
            BeholderError: not five digits, or there is no such gene.
        """
        if not isinstance(code, str) or not re.fullmatch("[0-9]{5}", code):
            raise BeholderError(f"{code!r} is no persona format: write {_digits()}")
        return cls(*map(int, code))


def all_formats() -> tuple[PersonaFormat, ...]:
    """Every format there is (3 x 3 x 4 x 3 x 3 = 324), in order of their codes."""
    return tuple(PersonaFormat(*genes) for genes in itertools.product(*(range(len(templates()["genes"][name])) for name in _COMPONENTS)))


def style_of(text: str) -> str | PersonaFormat:
    """What `render` takes as style, from what people write: "published", "short", or the code of a format.

    Raises:
        BeholderError: none of these, or there is no such gene.
    """
    if isinstance(text, str) and text in STYLES:
        return text
    if isinstance(text, str) and re.fullmatch("[0-9]{5}", text):
        return PersonaFormat.parse(text)
    raise BeholderError(f"there is no persona format {text!r}: choose {', '.join(STYLES)}, or {_digits()}")


def render(profile: Profile, *, style: str | PersonaFormat | LevelFormat = "published", template: str | None = None) -> str:
    """The profile as text for the system message; "" if nothing is known.

    Args:
        style: "published" (header, traits, explanation, background, instruction, constraint; paragraphs), a `PersonaFormat` for other genes, "short"
            (one line of a few dozen tokens), or a `LevelFormat` (the same, numbers as words). Parts about missing fields are left out; free fields are written out in both, as text.
        template: None: everything that is known. "para", "lapis": only the parts and fields that raters of that dataset have, in that order (P-MLLM, figures 8
            and 9, in our reading; "lapis" has no traits, hence no explanation). Free fields are left out then.

    Raises:
        BeholderError: there is no such style or template.
    """
    chosen = PersonaFormat() if style == "published" else style
    if not isinstance(chosen, PersonaFormat | LevelFormat) and chosen != "short":
        raise BeholderError(f"there is no persona style {style!r}: choose one of {', '.join(STYLES)}")
    parts, known = _laid_out(profile, template)
    free = profile.free if template is None else {}
    if not known:
        return ""
    if not isinstance(chosen, PersonaFormat):
        levels = chosen if isinstance(chosen, LevelFormat) else LevelFormat()
        return "; ".join(_short(name, value, free=name in free, word=levels.word(name, value)) for name, value in known.items())
    traits = _traits(chosen.gene("traits"), profile) if "traits" in parts else ""
    texts = {name: chosen.gene(name) for name in _COMPONENTS} | {"traits": traits, "background": _background(known, free=free)}
    if not traits:
        texts["explanation"] = ""
    return "\n\n".join(texts[part] for part in parts if texts[part])


def fields_of(template: str) -> tuple[str, ...]:
    """The fields of a profile that a template has a place for, in its order.

    Raises:
        BeholderError: there is no such template.
    """
    return tuple(field for part in _parts_of(template) for field in (BIG_FIVE if part == "traits" else (part,)) if part not in _WORDS)


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


def _digits() -> str:
    """How a code is written, for messages."""
    ends = ", ".join(f"{name} 0-{len(templates()['genes'][name]) - 1}" for name in _COMPONENTS)
    return f"five digits such as {PersonaFormat().code} ({ends})"


def _parts_of(template: str) -> tuple[str, ...]:
    """Components and fields of a template in their order, from templates.json."""
    if template not in TEMPLATES:
        raise BeholderError(f"there is no persona template {template!r}: choose one of {', '.join(TEMPLATES)}")
    return tuple(templates()["extended"][template])


def _laid_out(profile: Profile, template: str | None) -> tuple[tuple[str, ...], dict[str, Any]]:
    """(the parts of the text in order, all fields of the background as one part; the known fields to be written, in order)."""
    if template is None:
        return ("header", "traits", "explanation", "background", "instruction", "constraint"), profile.known()
    parts = (part if part in _COMPONENTS else "background" for part in _parts_of(template))
    known = {name: value for name in fields_of(template) if (value := getattr(profile, name)) is not None}
    return tuple(dict.fromkeys(parts)), known


def _background(known: Mapping[str, Any], *, free: Mapping[str, Any]) -> str:
    lines = [f"- {_line(name, value, free=name in free)}" for name, value in known.items() if name not in BIG_FIVE]
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
