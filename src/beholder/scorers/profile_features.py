"""Profiles as numbers, for scorers that are linear in the profile."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from beholder.profile import EXPERIENCE_LEVELS, Profile

MIN_RATERS = 5  # a column needs that many raters with a value, a category that many raters of its own
MAX_CATEGORIES = 12


@dataclass(frozen=True)
class Column:
    """One number of the encoding: a numeric field (category = "") or one category of a text field; scaled to mean 0, sd 1."""

    field: str
    category: str
    mean: float
    sd: float


@dataclass(frozen=True)
class ProfileEncoder:
    """Profile -> [d] float64, 0 where a field is missing or was unknown to the training raters."""

    columns: tuple[Column, ...] = ()

    @property
    def dim(self) -> int:
        return len(self.columns)

    @classmethod
    def learn(cls, profiles: Sequence[Profile]) -> ProfileEncoder:
        """Columns from the fields the training raters have, in alphabetical order."""
        known = [_numbers_and_words(profile) for profile in profiles]
        columns = []
        for field in sorted({name for values in known for name in values}):
            values = [v[field] for v in known if field in v]
            numbers = [v for v in values if not isinstance(v, str)]
            if len(numbers) >= MIN_RATERS and np.std(numbers) > 1e-9:
                columns.append(Column(field, "", float(np.mean(numbers)), float(np.std(numbers))))
            words = Counter(v for v in values if isinstance(v, str))
            if 2 <= len(words) <= MAX_CATEGORIES:
                for word, count in sorted(words.items()):
                    share = count / len(values)
                    if count >= MIN_RATERS and share < 1:
                        columns.append(Column(field, word, share, float(np.sqrt(share * (1 - share)))))
        return cls(tuple(columns))

    def __call__(self, profile: Profile) -> np.ndarray:
        values = _numbers_and_words(profile)
        out = np.zeros(self.dim)
        for i, column in enumerate(self.columns):
            value = values.get(column.field)
            if column.category and isinstance(value, str):
                out[i] = (float(value == column.category) - column.mean) / column.sd
            elif not column.category and value is not None and not isinstance(value, str):
                out[i] = np.clip((value - column.mean) / column.sd, -4.0, 4.0)
        return out

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, columns: list[dict[str, Any]]) -> ProfileEncoder:
        return cls(tuple(Column(**column) for column in columns))


def _numbers_and_words(profile: Profile) -> dict[str, float | str]:
    """Field -> number or lower-case word; numbers that are not finite count as missing."""
    out: dict[str, float | str] = {}
    for name, value in profile.known().items():
        if name == "age":
            out[name] = float(profile.age_years)
        elif isinstance(value, str) and value in EXPERIENCE_LEVELS and name.endswith("_experience"):
            out[name] = float(EXPERIENCE_LEVELS.index(value))
        else:
            out[name] = number_or_word(value)
    return {name: value for name, value in out.items() if isinstance(value, str) or math.isfinite(value)}


def number_or_word(value: Any) -> float | str:
    """A profile's value as a number if it is or spells one (may be nan or inf), else as a lower-case word."""
    text = str(value).strip().lower()
    try:
        return float(text)
    except ValueError:
        return text
