"""A rater's profile: demographics, experience, Big Five. Every field may be missing; unknown fields are kept."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from beholder.errors import BeholderError

EXPERIENCE_LEVELS = ("beginner", "competent", "proficient", "expert")
BIG_FIVE = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
_AGE_BAND = re.compile(r"^\s*(\d{1,3})\s*(?:-|–|to)\s*(\d{1,3})\s*$")


@dataclass(frozen=True)
class Profile:
    """What is known about a rater apart from ratings.

    Args:
        age: years, 1 to 120, or a band such as "25-34".
        gender: "female", "male", "non-binary" or the rater's own word.
        education, nationality: free text.
        art_experience, photography_experience: beginner, competent, proficient or expert.
        art_interest, photography_interest: 1 (none) to 10 (very high).
        openness, conscientiousness, extraversion, agreeableness, neuroticism: Big Five, 1 (low) to 10 (high).
        free: any other field, kept as it is (name -> text or number).

    Raises:
        BeholderError: values are of the wrong kind or out of range; the message names all of them and what is allowed.
    """

    age: float | str | None = None
    gender: str | None = None
    education: str | None = None
    nationality: str | None = None
    art_experience: str | None = None
    photography_experience: str | None = None
    art_interest: float | None = None
    photography_interest: float | None = None
    openness: float | None = None
    conscientiousness: float | None = None
    extraversion: float | None = None
    agreeableness: float | None = None
    neuroticism: float | None = None
    free: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = []
        for spec in fields(self):
            if spec.name != "free":
                try:
                    object.__setattr__(self, spec.name, _validated(spec.name, getattr(self, spec.name)))
                except BeholderError as error:
                    wrong.append(str(error))
        # A free field under a known field's name would be read back as that field, or hide it.
        wrong += [f"the free field {key!r} is the known field {_plain(key)}: set it there" for key in self.free if _plain(key) in _KNOWN]
        if wrong:
            raise BeholderError("; ".join(wrong))
        object.__setattr__(self, "free", {str(k): v for k, v in dict(self.free).items() if not _missing(v)})

    @property
    def age_years(self) -> float | None:
        """Age in years; the middle of a band; None if unknown."""
        if isinstance(self.age, str):
            low, high = _AGE_BAND.match(self.age).groups()
            return (int(low) + int(high)) / 2
        return self.age

    def known(self) -> dict[str, Any]:
        """The fields that are set, free fields last."""
        named = {s.name: getattr(self, s.name) for s in fields(self) if s.name != "free" and getattr(self, s.name) is not None}
        return named | dict(self.free)

    def probable_slips(self) -> dict[str, str]:
        """Free fields whose names are nearly those of known fields: name -> what was probably meant."""
        names = [s.name for s in fields(self) if s.name != "free"]
        return {name: near[0] for name in self.free if (near := difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.8))}

    def __bool__(self) -> bool:
        return bool(self.known())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Profile:
        """Known names become fields (case, blanks and hyphens do not matter), all others free fields."""
        named: dict[str, Any] = {}
        free: dict[str, Any] = {}
        for key, value in values.items():
            name = _plain(key)
            if name == "free" and isinstance(value, Mapping):
                free.update(value)
            elif name in _KNOWN:
                named[name] = value
            else:
                free[str(key)] = value
        return cls(**named, free=free)

    @classmethod
    def from_toml(cls, path: str | os.PathLike) -> Profile:
        """Read `name = value` lines; a table [profile] is accepted, and [free] for other fields."""
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise BeholderError(f"profile {path} cannot be read: {error.strerror or error}; give the path of a TOML file") from None
        except UnicodeDecodeError:
            raise BeholderError(f"profile {path} is not UTF-8 text: save it as UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise BeholderError(
                f'profile {path} is not valid TOML: {error}; write lines such as  age = 34  and  gender = "female"'
            ) from None
        values = values.get("profile", values) if isinstance(values.get("profile", values), Mapping) else values
        try:
            return cls.from_dict(values)
        except BeholderError as error:
            raise BeholderError(f"profile {path}: {error}") from None

    def to_toml(self, path: str | os.PathLike) -> None:
        """Write a file that `from_toml` reads back to an equal profile."""
        import tomli_w

        values = {k: v for k, v in self.known().items() if k not in self.free}
        if self.free:
            values["free"] = dict(self.free)
        Path(path).write_text(tomli_w.dumps(values), encoding="utf-8")


_KNOWN = frozenset(s.name for s in fields(Profile)) - {"free"}


def _plain(name: Any) -> str:
    """A field's name with case, blanks and hyphens evened out."""
    return re.sub(r"[\s\-]+", "_", str(name).strip().lower())


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))


def _validated(name: str, value: Any) -> Any:
    if _missing(value):
        return None
    if name == "age":
        return _age(value)
    if name in BIG_FIVE or name.endswith("_interest"):
        return _number(name, value, low=1, high=10)
    if not isinstance(value, str):
        raise BeholderError(f"{name} = {value!r} is not text: put it in quotes")
    value = value.strip()
    if name.endswith("_experience") and value.lower() not in EXPERIENCE_LEVELS:
        raise BeholderError(f"{name} = {value!r} is not one of {', '.join(EXPERIENCE_LEVELS)}")
    return value.lower() if name.endswith("_experience") or name == "gender" else value


def _age(value: Any) -> float | str:
    band = _AGE_BAND.match(value) if isinstance(value, str) else None
    if band:
        low, high = int(band[1]), int(band[2])
        if 1 <= low <= high <= 120:
            return f"{low}-{high}"
    elif not isinstance(value, bool):
        try:
            years = float(value)
            if 1 <= years <= 120:
                return int(years) if years.is_integer() else years
        except (TypeError, ValueError):
            pass
    raise BeholderError(f'age = {value!r} is not an age: give years from 1 to 120, or a band such as "25-34"')


def _number(name: str, value: Any, *, low: float, high: float) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:  # also catches nan
        raise BeholderError(f"{name} = {value!r} is not a number from {low:g} to {high:g}")
    return int(number) if number.is_integer() else number
