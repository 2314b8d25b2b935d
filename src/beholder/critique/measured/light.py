"""Measures of light, all of CIE lightness L*."""

from __future__ import annotations

import numpy as np

DARKEST, LIGHTEST = 3.0, 98.0  # L* below and above which nobody sees detail: sRGB grey 11 and 249


def light(lightness: np.ndarray) -> dict[str, float]:
    """The attributes of light of [h, w] L* (0 to 100).

    brightness: mean. contrast: standard deviation (RMS contrast, Peli 1990, of L*). shadows, highlights: share of pixels that are as good
    as black or white. tonal range: 99th less 1st percentile.
    """
    low, high = np.percentile(lightness, [1, 99])
    return {
        "brightness": float(lightness.mean(dtype=np.float64)),
        "contrast": float(lightness.std(dtype=np.float64)),
        "shadows": float((lightness < DARKEST).mean()),
        "highlights": float((lightness > LIGHTEST).mean()),
        "tonal range": float(high - low),
    }
