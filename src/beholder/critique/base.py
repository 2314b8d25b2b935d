"""What a critique is, whoever gives it: sections of text, each with what was measured for it. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# In the order in which they are shown. The three parts of AesFeedback are in them: overall; composition to subject; feeling; and its suggestion.
SECTIONS = ("overall", "composition", "colour", "light", "focus", "subject", "feeling", "suggestion")
MEASURED = "measured"  # `Critique.by` where no model that sees took part


@dataclass(frozen=True)
class Evidence:
    """One thing that was measured.

    Args:
        name: of the attribute ("horizon tilt").
        value: in `unit`; nan if it could not be measured in this image.
        unit: "degrees", "share of pixels", ...; "" for plain numbers.
        percentile: share of reference photographs, 0 to 100, with a smaller value; None if unknown.
        how: one sentence: what exactly was measured, and which direction is more.
    """

    name: str
    value: float
    unit: str = ""
    percentile: float | None = None
    how: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": None if math.isnan(self.value) else round(float(self.value), 4),
            "unit": self.unit,
            "percentile": None if self.percentile is None else round(float(self.percentile), 1),
            "how": self.how,
        }


@dataclass(frozen=True)
class Section:
    """One section: text, and what it rests on; no evidence where a model says what it sees."""

    name: str
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Weighs:
    """What one attribute is worth to a rater.

    Args:
        attribute: its name, as in `Evidence`.
        section: the one it belongs to.
        weight: points of the rater's scale per standard deviation of the attribute over photographs; below 0 = likes less of it.
        percentile: share of other raters, 0 to 100, with a smaller weight; None if unknown.
        here: how far this image is from the average photograph, in standard deviations.
        text: the same as a sentence.
    """

    attribute: str
    section: str
    weight: float
    percentile: float | None
    here: float
    text: str


@dataclass(frozen=True)
class PersonalView:
    """What is the rater's own in a critique.

    Args:
        rater: name; "" for somebody who gave a profile only.
        score, low, high: expected rating of the image with its 90 % interval, on `scale`.
        parts: points that make up the score ("everybody", "profile", "taste", ...), as `beholder explain` gives them.
        weighs: those attributes that count for this rater, the most telling for this image first; () with too few ratings.
        notes: one sentence each: what could not be said, and why.
    """

    rater: str
    score: float
    low: float
    high: float
    scale: str
    scorer: str
    parts: Mapping[str, float] = field(default_factory=dict)
    weighs: tuple[Weighs, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Critique:
    """What is said of one image.

    Args:
        image: path as given.
        sections: by name, in the order of `SECTIONS`; a section that could not be given is not there.
        by: name of the model, or "measured".
        version: changes whenever the same image may be judged otherwise.
        notes: what the reader has to know, one sentence each ("no model that sees is loaded ...").
        personal: the rater's own part; None without a rater.
    """

    image: str
    sections: Mapping[str, Section]
    by: str
    version: str
    notes: tuple[str, ...] = ()
    personal: PersonalView | None = None

    def to_json(self) -> dict[str, Any]:
        """For `--json`: sections by name, each {"text", "evidence"}."""
        made: dict[str, Any] = {"image": self.image, "by": self.by, "version": self.version, "notes": list(self.notes)}
        made["sections"] = {
            name: {"text": section.text, "evidence": [one.to_json() for one in section.evidence]} for name, section in self.sections.items()
        }
        if self.personal is not None:
            view = self.personal
            made["personal"] = {
                "rater": view.rater,
                "score": round(view.score, 4),
                "low": round(view.low, 4),
                "high": round(view.high, 4),
                "scale": view.scale,
                "scorer": view.scorer,
                "parts": {name: round(float(value), 4) for name, value in view.parts.items()},
                "weighs": [vars(one) for one in view.weighs],
                "notes": list(view.notes),
            }
        return made

    def __str__(self) -> str:
        return json.dumps(self.to_json(), ensure_ascii=False)
