"""One suggestion from what was measured: the fault that is farthest from what photographs usually have. Ours.

Only faults that a measurement shows are suggested to be mended. What a scorer would like better is not asked: it prefers blurred copies
(benchmarks/edited_copies.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from beholder.critique.measured.wording import CLIPPED, MOST, SURE_LINE, TILT, Findings, is_soft, spot

EDGE = 0.12  # share of width or height from the border at which the centre of what stands out is called near the edge


def suggestion(found: Findings) -> str:
    """The one thing to look at first; says so if nothing was found."""
    faults = sorted(_faults(found), key=lambda one: -one[0])
    if not faults:
        return "None of the faults that can be measured was found: a tilted horizon, lost highlights or shadows, darkness, flatness, softness, a subject at the edge."
    return faults[0][1]


def _faults(found: Findings) -> Iterator[tuple[float, str]]:
    """(how grave, 1 = just worth saying; the suggestion)."""
    values, where = found.values, found.where
    tilt = where.horizon_tilt
    if not math.isnan(tilt) and abs(tilt) >= TILT and where.horizon_strength >= SURE_LINE:
        side = "anticlockwise" if tilt > 0 else "clockwise"
        yield abs(tilt) / TILT, f"Level the horizon: turn the picture {side} by {abs(tilt):.1f} degrees."
    if values["highlights"] >= CLIPPED and found.percentile("highlights") >= 85:
        share = 100 * values["highlights"]
        yield values["highlights"] / CLIPPED / 2, f"Bring the highlights down, or expose less next time, if they are not meant to be white: {share:.0f} % of the pixels are."
    if values["shadows"] >= CLIPPED and found.percentile("shadows") >= 85:
        share = 100 * values["shadows"]
        yield values["shadows"] / CLIPPED / 4, f"Open the shadows, if they are not meant to be black: {share:.0f} % of the pixels are."
    dark = found.percentile("brightness")
    if dark <= 3 and values["highlights"] < CLIPPED:
        yield 1.5, f"Brighten it, if the darkness is not the point: it is darker than {min(100 - dark, MOST):.0f} % of photographs, and hardly anything is white."
    if found.percentile("contrast") <= 3:
        yield 1.2, f"Raise the contrast: its tones lie closer together than in {min(100 - found.percentile('contrast'), MOST):.0f} % of photographs."
    if is_soft(found) and found.percentile("sharpness") <= 5:
        yield 1.4, "Look at the focus at full size, if the softness is not meant: it is softer than nearly all photographs. If that was motion, a shorter exposure helps."
    if not math.isnan(where.x) and (min(where.x, 1 - where.x) < EDGE or min(where.y, 1 - where.y) < EDGE):
        yield 1.0, f"Give what stands out in the {spot(where.x, where.y)} more room: its centre lies close to the edge of the frame."
