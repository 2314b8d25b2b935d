"""Profiles as nodes of the rater's graph: words to choose an embedding by, numbers to stretch a vector by."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from beholder.profile import Profile
from beholder.scorers.profile_features import number_or_word

MIN_RATERS = 5  # a field needs that many raters with a value
MIN_EACH = 2  # a word that many
MAX_WORDS, MAX_FIELDS = 64, 24  # the work grows with the square of the number of nodes
_BAND = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:-|–|to)\s*(\d+(?:\.\d+)?)\s*$")


@dataclass(frozen=True)
class Field:
    """A field of the profile: a choice of `words`, or (without words) a number that had this mean and standard deviation."""

    name: str
    words: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0


@dataclass(frozen=True)
class ProfileNodes:
    """Which fields are nodes. Bands of numbers ("22-25") are words if the training raters' values were mostly words."""

    fields: tuple[Field, ...] = ()

    @property
    def choices(self) -> list[Field]:
        return [field for field in self.fields if field.words]

    @property
    def numbers(self) -> list[Field]:
        return [field for field in self.fields if not field.words]

    @classmethod
    def learn(cls, profiles: Sequence[Profile]) -> ProfileNodes:
        """The fields that at least 5 training raters have and that differ between them."""
        known = [_values(profile) for profile in profiles]
        counts = Counter(name for values in known for name in values)
        found = []
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            values = [v[name] for v in known if name in v]
            words = Counter(v for v in values if isinstance(v, str))
            if count < MIN_RATERS:
                continue
            if 2 * words.total() > count:
                often = sorted(word for word, times in words.most_common(MAX_WORDS) if times >= MIN_EACH)
                if len(often) > 1:
                    found.append(Field(name, words=tuple(often)))
            else:
                numbers = np.array([number for v in values if (number := _number(v)) is not None])
                if numbers.std() > 1e-9:
                    found.append(Field(name, mean=float(numbers.mean()), sd=float(numbers.std())))
        return cls(tuple(sorted(found[:MAX_FIELDS], key=lambda field: field.name)))

    def __call__(self, profiles: Sequence[Profile]) -> tuple[np.ndarray, np.ndarray]:
        """Codes of raters: [n, choices] int64, 0 = unknown, i + 1 = word i; [n, numbers] float32, standardised, nan = unknown."""
        known = [_values(profile) for profile in profiles]
        words = np.zeros((len(profiles), len(self.choices)), dtype=np.int64)
        numbers = np.full((len(profiles), len(self.numbers)), np.nan, dtype=np.float32)
        for row, values in enumerate(known):
            for column, field in enumerate(self.choices):
                words[row, column] = _word(values.get(field.name), field.words)
            for column, field in enumerate(self.numbers):
                number = _number(values.get(field.name))
                if number is not None:
                    numbers[row, column] = np.clip((number - field.mean) / field.sd, -4.0, 4.0)
        return words, numbers

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(field) for field in self.fields]

    @classmethod
    def from_json(cls, fields: Sequence[dict[str, Any]]) -> ProfileNodes:
        return cls(tuple(Field(**(one | {"words": tuple(one["words"])})) for one in fields))


def _values(profile: Profile) -> dict[str, float | str]:
    """Field -> number or lower-case word; numbers that are not finite count as missing."""
    out = {name: number_or_word(value) for name, value in profile.known().items()}
    return {name: value for name, value in out.items() if isinstance(value, str) or math.isfinite(value)}


def _number(value: float | str | None) -> float | None:
    """A number as it is, a band by its middle."""
    if not isinstance(value, str):
        return value
    band = _BAND.match(value)
    return (float(band[1]) + float(band[2])) / 2 if band else None


def _word(value: float | str | None, words: Sequence[str]) -> int:
    """1 + the place of the word; of the band that holds the number; 0 if there is none."""
    if isinstance(value, str):
        return words.index(value) + 1 if value in words else 0
    if value is not None:
        for place, word in enumerate(words):
            band = _BAND.match(word)
            if band and float(band[1]) <= value < float(band[2]) + 1:
                return place + 1
    return 0
