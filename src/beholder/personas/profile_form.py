"""The questions that make a `Profile`, how their answers are checked and scored, and the draft of somebody who is not done yet. Asking is left to others."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from beholder.errors import BeholderError
from beholder.personas.inventory import HIGHEST, LOWEST, Inventory, load_inventory, norms, out_of_ten, percentile
from beholder.profile import BIG_FIVE, EXPERIENCE_LEVELS, Profile

ANSWERS = ("disagree", "rather disagree", "neither", "rather agree", "agree")  # 1 to 5; 1, 3 and 5 are the labels of the norms' study
INSTRUCTION = "How well do these statements describe you, as you generally are now, not as you wish to be?"
LEAST = 2  # answered items that a trait needs
_DRAFT_VERSION = 1
_FIELDS = (
    ("age", "Your age in years, or a band such as 25-34", ()),
    ("gender", "Your gender: female, male, non-binary, or your own word", ()),
    ("education", "Your education, in your own words", ()),
    ("nationality", "Your nationality", ()),
    ("art_experience", "Your experience with art", EXPERIENCE_LEVELS),
    ("photography_experience", "Your experience with photography", EXPERIENCE_LEVELS),
    ("art_interest", "Your interest in art, from 1 (none) to 10 (very high)", ()),
    ("photography_interest", "Your interest in photography, from 1 (none) to 10 (very high)", ()),
)


@dataclass(frozen=True)
class Field:
    """One question of the form.

    Args:
        name: a field of `Profile`, or the name of an item.
        text: as the person reads it.
        choices: the possible answers, if there are few; may be given by number, from 1.
        is_item: a statement of the inventory, answered 1 (disagree) to 5 (agree).
    """

    name: str
    text: str
    choices: tuple[str, ...] = ()
    is_item: bool = False

    def parse(self, answer: object) -> Any:
        """What was typed, as a value: of `Profile`, or 1 to 5 for an item; None for nothing.

        Raises:
            BeholderError: it is no answer to this question.
        """
        text = " ".join(str(answer).split())
        if not text:
            return None
        if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in text):  # keys such as the arrows, or what came in another encoding
            raise BeholderError("the answer holds signs that are not text: type it again")
        if self.is_item:
            if text not in {str(value) for value in range(LOWEST, HIGHEST + 1)}:
                raise BeholderError(f"{text!r} is not an answer: give a whole number from {LOWEST} ({ANSWERS[0]}) to {HIGHEST} ({ANSWERS[-1]})")
            return int(text)
        if self.choices and text.isascii() and text.isdigit() and 1 <= int(text) <= len(self.choices):
            text = self.choices[int(text) - 1]
        return getattr(Profile(**{self.name: text}), self.name)


@dataclass(frozen=True)
class Form:
    """The fields of a profile, and the statements of an inventory unless it is None."""

    inventory: Inventory | None

    @property
    def fields(self) -> tuple[Field, ...]:
        """In the order to ask them."""
        items = self.inventory.items if self.inventory else ()
        return (*(Field(*entry) for entry in _FIELDS), *(Field(item.name, item.statement, is_item=True) for item in items))

    def result(self, answers: Mapping[str, Any]) -> Result:
        """The profile of these answers (name -> value; missing or None = not answered)."""
        profile = Profile(**{name: answers.get(name) for name, _, _ in _FIELDS})
        if self.inventory is None:
            return Result(profile, ())
        given = np.array([np.nan if answers.get(item.name) is None else answers[item.name] for item in self.inventory.items], dtype=np.float64)
        traits = []
        for trait, mean in zip(BIG_FIVE, self.inventory.trait_means(given), strict=True):
            member = np.array([item.trait == trait for item in self.inventory.items])
            traits.append(Trait(trait, mean=float(mean), answered=int(np.isfinite(given[member]).sum()), asked=int(member.sum())))
        return Result(replace(profile, **{trait.name: trait.score for trait in traits}), tuple(traits))


def profile_form(*, with_inventory: bool = True) -> Form:
    """The form that `beholder profile new` asks: eight fields, and the Mini-IPIP."""
    return Form(load_inventory("mini-ipip") if with_inventory else None)


@dataclass(frozen=True)
class Trait:
    """What the inventory says about a trait.

    Args:
        mean: of the answers, 1 to 5, reverse ones turned round; nan if there are none.
        answered, asked: numbers of items.
    """

    name: str
    mean: float
    answered: int
    asked: int

    @property
    def score(self) -> float | None:
        """1 (low) to 10 (high), two decimals; None if fewer than `LEAST` items are answered."""
        return round(out_of_ten(self.mean), 2) if self.answered >= LEAST else None

    @property
    def percentile(self) -> float | None:
        """Among the people of `norms()`, 0 to 100; None if there is no score."""
        return percentile(self.name, self.mean, norms=norms()) if self.score is not None else None


@dataclass(frozen=True)
class Result:
    """A filled form.

    Args:
        traits: in the order of `BIG_FIVE`; () if no statements were asked.
    """

    profile: Profile
    traits: tuple[Trait, ...]

    def toml(self) -> str:
        """The text of a file for `Profile.from_toml`; comments say how sure a trait is and what its percentile means."""
        import tomli_w

        known = self.profile.known()
        lines = ["# Who you are, for beholder --profile. Change or delete any line; what is missing counts as unknown."]
        lines += [tomli_w.dumps({name: value}).rstrip("\n") for name, value in known.items() if name not in BIG_FIVE]
        scored = [trait for trait in self.traits if trait.score is not None]
        if scored:
            lines += ["", "# Big Five from the Mini-IPIP, 1 (low) to 10 (high).", *(f"# {line}" for line in about_percentiles())]
        for trait in scored:
            comment = f"percentile {trait.percentile:.0f}, from {trait.answered} of {trait.asked} statements"
            lines.append(f"{tomli_w.dumps({trait.name: known[trait.name]}).rstrip()}  # {comment}")
        return "\n".join(lines) + "\n"


def about_percentiles() -> tuple[str, str]:
    """What the percentiles refer to, and how little that means; two lines."""
    reference = norms()
    return (
        f"Percentile: how many of 100 score lower, among {reference.n:,} {reference.sample}; taken as normally distributed.",
        f"Read it with care: {reference.caution}.",
    )


@dataclass(frozen=True)
class Draft:
    """A form that is not done.

    Args:
        answers: name -> value; None = skipped.
        at: name of the question to go on with; "" if it is not known.
    """

    answers: Mapping[str, Any]
    at: str = ""

    def place(self, fields: Sequence[Field]) -> int:
        """The index of the question to go on with; len(fields) if all are done."""
        names = [field.name for field in fields]
        if self.at in names:
            return names.index(self.at)
        return next((number for number, name in enumerate(names) if name not in self.answers), len(names))


def draft_path(out: Path) -> Path:
    """Where the draft of a profile lies: beside it."""
    return out.with_name(f".{out.name}.draft")


def read_draft(path: Path, *, form: Form) -> Draft | None:
    """The draft of an earlier session; None if there is none. What does not belong to this form is left out.

    Raises:
        BeholderError: it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["version"] != _DRAFT_VERSION:
            raise ValueError(f"version {value['version']}")
        answers = dict(value["answers"])
        kept = {field.name: None if (said := answers[field.name]) is None else field.parse(said) for field in form.fields if field.name in answers}
        return Draft(kept, at=str(value["at"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BeholderError(f"the draft {path} cannot be read: {error.strerror or error}; check your rights to it") from None
    except (ValueError, KeyError, TypeError, BeholderError) as error:
        raise BeholderError(f"the draft {path} of an earlier session is damaged ({error}): delete it to begin anew") from None


def write_draft(path: Path, draft: Draft) -> None:
    """Keep it, readable by its owner only.

    Raises:
        BeholderError: it cannot be written.
    """
    value = {"version": _DRAFT_VERSION, "answers": dict(draft.answers), "at": draft.at}
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n", mode=0o600)


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write UTF-8 through a temporary file, so that an interruption never leaves half a file.

    Raises:
        BeholderError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BeholderError(f"{path} cannot be written: {error.strerror or error}; choose another place") from None
    finally:
        partial.unlink(missing_ok=True)
