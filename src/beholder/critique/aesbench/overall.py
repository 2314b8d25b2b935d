"""The one number of AesBench, put together from its four parts. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from beholder.critique.aesbench.questions import PARTS

MOST = 125.0  # three times 100 % and AesI = 2.0
INTERPRETATION = 100.0  # what a point of AesI (0 to 2) counts


def overall(scores: Mapping[str, float]) -> float:
    """(AesP + AesE + AesA + 100 AesI) / 4: 0 to 125, higher is better; nan unless all four parts are there.

    The weight of AesI is not stated in the AesExpert paper; it gives all 19 overall scores of its Table 3 within 0.01.

    Args:
        scores: part -> accuracy in % (AesP, AesE, AesA), or score from 0 to 2 (AesI).
    """
    if missing(scores):
        return math.nan
    return sum(scores[part] * (INTERPRETATION if part == "AesI" else 1.0) for part in PARTS) / len(PARTS)


def missing(scores: Mapping[str, float]) -> tuple[str, ...]:
    """The parts without a score."""
    return tuple(part for part in PARTS if not math.isfinite(scores.get(part, math.nan)))


def interpretation(criteria: Mapping[str, float]) -> float:
    """AesI: the mean of relevance, precision and completeness (0 to 2 each), as in the paper's Table 7 (within 0.001)."""
    return sum(criteria.values()) / len(criteria) if criteria else math.nan
