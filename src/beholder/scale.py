"""Rating scales: 1 to 5 stars, 1 to 7, 0 to 100, ...; a higher score always means "liked more"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from beholder.errors import BeholderError


@dataclass(frozen=True)
class Scale:
    """The scale on which a rater scores.

    Args:
        low: score of the least liked image.
        high: score of the most liked image; greater than `low`.
        step: distance between two neighbouring scores; 0 for a continuous slider.
    """

    low: float = 1.0
    high: float = 5.0
    step: float = 1.0

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = math.nan
            if isinstance(value, bool) or not math.isfinite(number):
                raise BeholderError(f"scale {name} = {value!r} is not a number: give a finite number, such as low 1, high 5, step 1")
            object.__setattr__(self, name, number)
        if not self.low < self.high:
            raise BeholderError(f"scale low = {self.low:g} is not below high = {self.high:g}: swap them, a higher score means liked more")
        if self.step < 0 or self.step > self.high - self.low:
            raise BeholderError(f"scale step = {self.step:g} must lie between 0 (continuous) and {self.high - self.low:g}")

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        return f"{self.low:g}-{self.high:g}" + (f"/{self.step:g}" if self.step != 1 else "")

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read what `str(scale)` writes: "1-7", "0-100/0", "1-5/0.5"."""
        body, _, step = text.strip().partition("/")
        low, dash, high = body.rpartition("-")
        try:
            if not dash:
                raise ValueError
            return cls(low=float(low), high=float(high), step=float(step) if step else 1.0)
        except ValueError:
            raise BeholderError(f"scale {text!r} is not LOW-HIGH or LOW-HIGH/STEP: write for example 1-5, 1-7 or 0-100/0") from None

    def contains(self, score: float) -> bool:
        """True if `score` is a finite number within the ends (a small rounding slack allowed)."""
        slack = 1e-6 * self.width
        return math.isfinite(score) and self.low - slack <= score <= self.high + slack

    def to_unit(self, score):
        """Scores on this scale -> 0..1. Numbers or arrays."""
        return (np.asarray(score, dtype=np.float64) - self.low) / self.width

    def from_unit(self, unit):
        """0..1 -> scores on this scale. Numbers or arrays; not clipped, not rounded to `step`."""
        return self.low + np.asarray(unit, dtype=np.float64) * self.width

    def convert(self, score, *, to: Scale):
        """Map linearly so that the ends meet the ends of `to`. Numbers or arrays."""
        return to.from_unit(self.to_unit(score))
