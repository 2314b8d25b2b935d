"""Respondents whose answers are known: they show the traits they read in the persona, better or worse by its format."""

from __future__ import annotations

import re
import time

import numpy as np

from beholder.personas import templates
from beholder.personas.ledger import Counts
from beholder.personas.prompts import PersonaFormat
from beholder.personas.search import COMPONENTS
from beholder.profile import BIG_FIVE

GAINS = {
    "header": (0.0, 0.02, 0.01),
    "traits": (0.2, 0.0, 0.1),
    "explanation": (0.0, 0.1, 0.25, 0.05),
    "instruction": (0.0, 0.05, 0.15),
    "constraint": (0.0, 0.03, 0.06),
}
BEST = "10222"  # of the gains


def gain(one: PersonaFormat) -> float:
    """How far the traits shown follow those of the profile, 0.2 to 0.88."""
    return 0.2 + sum(GAINS[name][getattr(one, name)] for name in COMPONENTS)


def read_persona(text: str) -> tuple[PersonaFormat, np.ndarray]:
    """(the format, the five traits) that a persona text was made of."""
    genes = {}
    for name in COMPONENTS:
        texts = templates()["genes"][name]
        if name == "traits":
            genes[name] = 2 if "| Traits" in text else 1 if "scores are:" in text else 0
        else:  # an empty gene is in every text
            genes[name] = max((place for place, gene in enumerate(texts) if gene in text), key=lambda place: len(texts[place]))
    numbers = re.findall(r"(\d+)/10", text)
    return PersonaFormat(**genes), np.array(numbers[:5], dtype=float)


class Planted:
    """Each item is answered with the trait of its persona, shrunk towards the middle by the gain of the format.

    Args:
        stop_after: personas after which Ctrl-C is pressed.
        missing: items that are never answered.
        seconds: that a persona takes.
    """

    unit = "item answers"
    name = version = "planted"

    def __init__(self, *, stop_after: int | None = None, missing: tuple[int, ...] = (), seconds: float = 0.0) -> None:
        self.stop_after, self.missing, self.seconds = stop_after, missing, seconds
        self.asked: list[str] = []
        self.calls: list[int] = []

    @property
    def counts(self) -> Counts:
        return Counts(asked=20 * len(self.asked), missing=len(self.missing) * len(self.asked))

    def answers(self, personas, inventory, *, progress=None):
        self.calls.append(len(personas))
        rows = []
        for text in personas:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            time.sleep(self.seconds)
            self.asked.append(text)
            one, traits = read_persona(text)
            shown = 3 + gain(one) * (traits - 5.5) * 4 / 9
            row = np.array([shown[BIG_FIVE.index(item.trait)] for item in inventory.items])
            row = np.where([item.reverse for item in inventory.items], 6 - row, row)
            row[list(self.missing)] = np.nan
            rows.append(row)
            if progress:
                progress(len(rows), len(personas))
        return np.array(rows)
