"""Profiles, prompts and metadata as sentences and numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from beholder.backbones.text_encoder import TextEncoder
from beholder.profile import Profile
from beholder.scorers.profile_features import number_or_word

MIN_NUMBERS = 5  # a field needs that many raters with a number to have a numeric channel
MAX_FIELDS = 24  # the most frequent ones become tokens


class Vectors:
    """Texts to vectors, each text encoded once; "" is all 0. The encoder is made when the first text comes.

    Args:
        name: of the text encoder. device: see `TextEncoder`.
    """

    def __init__(self, name: str, *, device: str) -> None:
        self.name, self.device = name, device
        self._encoder: TextEncoder | None = None
        self._known: dict[str, np.ndarray] = {}

    @property
    def encoder(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = TextEncoder(self.name, device=self.device)
        return self._encoder

    @property
    def key(self) -> str:
        """Encoder and revision: vectors of different keys must not be mixed."""
        return f"{self.encoder.name}@{self.encoder.revision}"

    def __call__(self, texts: Iterable[str], *, dim: int) -> np.ndarray:
        """[n, dim] float32."""
        texts = list(texts)
        new = sorted({text for text in texts if text and text not in self._known})
        if new:
            self._known.update(zip(new, self.encoder.encode(new), strict=True))
        nothing = np.zeros(dim, dtype=np.float32)
        return np.stack([self._known.get(text, nothing) for text in texts]) if texts else np.zeros((0, dim), dtype=np.float32)


@dataclass(frozen=True)
class Field:
    """A field of the profile that is a token; with mean and standard deviation of its numbers (sd = 0: it has none)."""

    name: str
    mean: float = 0.0
    sd: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def learn_fields(profiles: Sequence[Profile]) -> tuple[Field, ...]:
    """The fields that the training raters of all datasets have, in alphabetical order."""
    known = [profile.known() for profile in profiles]
    counts = Counter(name for values in known for name in values)
    found = []
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_FIELDS]:
        values = [number_or_word(values[name]) for values in known if name in values]
        numbers = np.array([value for value in values if not isinstance(value, str) and math.isfinite(value)])
        if len(numbers) >= MIN_NUMBERS and numbers.std() > 1e-9:
            found.append(Field(name, mean=float(numbers.mean()), sd=float(numbers.std())))
        else:
            found.append(Field(name))
    return tuple(sorted(found, key=lambda field: field.name))


def profile_texts(profile: Profile, fields: Sequence[Field]) -> tuple[list[str], np.ndarray]:
    """A profile as sentences and numbers.

    Returns:
        "age: 34" for each field, "" where it is missing; [fields] float32 standardised numbers (ours), 0 where there is none.
    """
    known = profile.known()
    texts = [f"{field.name.replace('_', ' ')}: {known[field.name]}" if field.name in known else "" for field in fields]
    numbers = np.zeros(len(fields), dtype=np.float32)
    for place, field in enumerate(fields):
        value = number_or_word(known[field.name]) if field.name in known and field.sd else ""
        if not isinstance(value, str) and math.isfinite(value):
            numbers[place] = np.clip((value - field.mean) / field.sd, -4.0, 4.0)
    return texts, numbers


def metadata_text(name: str, value: str) -> str:
    """ "style: Impressionism"; "" if the value is unknown."""
    return f"{name.replace('_', ' ')}: {value}" if value else ""
