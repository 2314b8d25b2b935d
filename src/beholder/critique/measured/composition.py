"""Measures of composition: where the salient region lies, how the weight is spread, symmetry, emptiness."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from beholder.critique.measured.saliency import Salient

EDGE = 5.0  # L* per pixel: change of lightness from which it is an edge


def composition(lightness: np.ndarray, found: Salient | None) -> dict[str, float]:
    """The attributes of composition but for the horizon's.

    thirds: 1 - 3 d, where d is the distance of the salient centre from the nearest crossing of the lines of thirds, as a share of the diagonal (with
    the image stretched to a square: d = 0 on a crossing, 1/6 in the middle, 1/3 in a corner). centring: 1 - 2 d from the middle. balance: 1 - |left - right| of
    the salience, whose sum is 1. symmetry: correlation of the lightness with its mirror image, left to right. simplicity: share of pixels that are
    no edge.

    Args:
        lightness: [h, w] L*.
        found: what stands out; thirds, centring and balance are nan without.
    """
    centred = lightness.astype(np.float64) - lightness.mean(dtype=np.float64)
    power = (centred**2).mean()
    height, width = lightness.shape
    symmetry = float((centred * centred[:, ::-1]).mean() / power) if power > 0.25 and width > 1 else math.nan
    slope = np.hypot(*(ndimage.sobel(lightness.astype(np.float64), axis=axis, mode="nearest") / 8 for axis in (0, 1)))
    made = {
        "thirds": math.nan,
        "centring": math.nan,
        "balance": math.nan,
        "symmetry": symmetry,
        "simplicity": float((slope < EDGE).mean()) if min(height, width) > 2 else math.nan,
    }
    if found is not None:
        made["thirds"] = 1 - 3 * min(_apart(found, x, y) for x in (1 / 3, 2 / 3) for y in (1 / 3, 2 / 3))
        made["centring"] = 1 - 2 * _apart(found, 0.5, 0.5)
        across = (np.arange(found.map.shape[1]) + 0.5) / found.map.shape[1]
        columns = found.map.sum(axis=0)
        made["balance"] = 1 - abs(float(columns @ np.sign(np.round(across - 0.5, 9))))
    return made


def _apart(found: Salient, x: float, y: float) -> float:
    """Distance of the salient centre from a point, as a share of the diagonal of the unit square."""
    return math.hypot(found.x - x, found.y - y) / math.sqrt(2)
