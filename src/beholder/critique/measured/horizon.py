"""The horizon: a long straight edge between a smooth, lighter area above and another below; nothing is said where that is not clear. Ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from beholder.critique.measured.saliency import shrunk

MOST_TILT = 20.0  # degrees to either side
SIDE = 160  # pixels along the longer side for the search; the line is then fitted at full size
LEAST_SIDE = 48  # pixels of the shorter side of the image
_EDGE = 0.06  # share of the height next to the upper and lower edge where no horizon is looked for
_PEAKS = 10  # lines of each tilt that are looked at


@dataclass(frozen=True)
class Horizon:
    """A line from the left to the right edge.

    Args:
        tilt: degrees; positive = turned clockwise, the right end is lower.
        height: of the line in the middle of the width, as a share of the height, from the lower edge.
        strength: 0 to 1, share of the width where the edge lies on the line.
    """

    tilt: float
    height: float
    strength: float


@dataclass(frozen=True)
class Signs:
    """What speaks for and against a line; see `_clear`.

    Args:
        contrast: mean step across the line, L*a*b* units.
        coverage: share of the columns with the same step at the line, as far as the search sees.
        rival: the score of the best weaker line elsewhere, as a share of that of this one. (A stronger one, the edge of a beach below the sea, does
            not speak against it.)
        smooth: share of the pixels above that are no edges. green: share that are as green as leaves.
        light: mean L* of the area above. lighter: that less the one of the area below. bluer: mean b* below less above.
    """

    contrast: float
    coverage: float
    rival: float
    smooth: float
    green: float
    light: float
    lighter: float
    bluer: float


def horizon(lab_pixels: np.ndarray) -> Horizon | None:
    """The horizon of [h, w, 3] L*a*b* pixels; None unless a clear one within `MOST_TILT` degrees is there."""
    best = None
    for line, signs in candidates(lab_pixels):
        if _clear(line, signs) and (best is None or line.strength > best.strength):
            best = line
    return best


def _clear(line: Horizon, signs: Signs) -> bool:
    """The limits were set by eye on everyday photographs, so that hardly any edge of a table or a shelf is taken for a horizon."""
    sky = signs.smooth >= 0.74 and signs.green <= 0.1 and signs.light >= 25
    lighter = signs.lighter >= 4 or (signs.lighter >= -10 and signs.bluer >= 10)
    edge = signs.contrast >= 6 and signs.coverage >= 0.8 and line.strength >= 0.64 + 0.01 * abs(line.tilt)
    return sky and lighter and edge and signs.rival <= 0.75


def candidates(lab_pixels: np.ndarray, *, most: int = 3) -> list[tuple[Horizon, Signs]]:
    """The lines with the strongest edges along them, at most `most`, the best first."""
    height, width = lab_pixels.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return []
    small = shrunk(lab_pixels, SIDE).astype(np.float32)
    rows = len(small)
    reach = max(2, round(0.015 * rows))
    steps = _steps(small, reach)
    found = np.array([(*line, tilt) for tilt in np.arange(-MOST_TILT - 1, MOST_TILT + 2) for line in _lines(steps, tilt, reach)])
    made: list[tuple[Horizon, Signs]] = []
    left = found[np.argsort(-found[:, 0], kind="stable")] if len(found) else found
    while len(left) and len(made) < most:
        score, row, coverage, tilt = left[0]
        near = np.abs(left[:, 1] - row) <= 0.05 * rows + 0.2 * small.shape[1] * np.abs(np.tan(np.deg2rad(left[:, 3])) - math.tan(math.radians(tilt)))
        elsewhere = left[~near]
        rival = float(elsewhere[0, 0] if len(elsewhere) else 0) / score
        fitted = _fitted(lab_pixels, (row + 0.5) / rows, tilt)
        if fitted is not None and abs(fitted[0].tilt) <= MOST_TILT and _EDGE <= fitted[0].height <= 1 - _EDGE:
            line, contrast = fitted
            made.append((line, Signs(contrast, coverage, rival, *_areas(small, line, reach))))
        left = elsewhere
    return made


def _steps(small: np.ndarray, reach: int) -> np.ndarray:
    """[h, w, 3] mean of the `reach` pixels above each pixel less that of the pixel and the `reach` - 1 below; 0 near the upper and lower edge."""
    total = np.concatenate([np.zeros((1, *small.shape[1:]), small.dtype), np.cumsum(small, axis=0)])
    made = np.zeros_like(small)
    at = np.arange(reach, len(small) - reach + 1)
    at = at[at < len(small)]
    made[at] = (2 * total[at] - total[at - reach] - total[at + reach]) / reach
    return made


def _lines(steps: np.ndarray, tilt: float, reach: int) -> list[tuple[float, int, float]]:
    """(score, row in the middle of the width, coverage) of the strongest lines of one tilt (degrees)."""
    height, width = steps.shape[:2]
    shift = np.round(math.tan(math.radians(tilt)) * (np.arange(width) - (width - 1) / 2)).astype(int)
    at = np.arange(height)[:, None] + shift
    inside = (at >= reach) & (at <= height - reach)
    values = steps[np.clip(at, 0, height - 1), np.arange(width)]  # 0 where not inside
    n = inside.sum(axis=1)
    mean = values.sum(axis=1) / np.maximum(n, 1)[:, None]
    size = np.linalg.norm(mean, axis=1) * (n >= 0.8 * width)
    peaks = np.flatnonzero((size > 2) & (size >= ndimage.maximum_filter1d(size, 5)))
    made = []
    for row in peaks[np.argsort(-size[peaks], kind="stable")][:_PEAKS]:
        along = values[row][inside[row]] @ (mean[row] / size[row])
        coverage = float((along > 0.4 * size[row]).mean())
        made.append((coverage**2 * min(float(size[row]), 20.0), int(row), coverage))
    return made


def _fitted(lab_pixels: np.ndarray, middle: float, tilt: float) -> tuple[Horizon, float] | None:
    """The line through the edge in each column near a line (its middle a share of the height from above), and the mean step across it."""
    height, width = lab_pixels.shape[:2]
    reach, window = max(2, round(0.01 * height)), max(3, round(0.025 * height))
    x = np.arange(width) - (width - 1) / 2
    guess = middle * height + math.tan(math.radians(tilt)) * x
    at = np.round(guess).astype(int) + np.arange(-window, window + 1)[:, None]  # [rows, w]
    inside = (at.min(axis=0) >= reach) & (at.max(axis=0) <= height - reach)
    if inside.sum() < 0.7 * width:
        return None
    x, at = x[inside], at[:, inside]
    total = np.concatenate([np.zeros((1, width, 3)), np.cumsum(lab_pixels, axis=0, dtype=np.float64)])[:, inside]
    columns = np.arange(len(x))
    steps = (2 * total[at, columns] - total[at - reach, columns] - total[at + reach, columns]) / reach
    mean = steps[window - 1 : window + 2].mean(axis=(0, 1))
    size = float(np.linalg.norm(mean))
    if size < 1:
        return None
    along = steps @ (mean / size)
    peak = along.argmax(axis=0)
    inner = np.clip(peak, 1, 2 * window - 1)
    before, here, after = (along[inner + k, columns] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    part = np.where(bend < -1e-9, 0.5 * (before - after) / np.where(bend < -1e-9, bend, -1), 0)
    y = at[inner, columns] + np.clip(part, -0.5, 0.5)
    sure = along[peak, columns] > 0.4 * size
    tolerance = 0.004 * max(height, width)
    line = np.array([middle * height, math.tan(math.radians(tilt))])
    design = np.stack([np.ones(len(x)), x], axis=1)
    for scale in (8, 6, 4, 3, 2, 2, 2, 2):  # bisquare weights, narrower and narrower
        off = (y - design @ line) / (scale * tolerance)
        weight = np.sqrt(sure) * np.clip(1 - off**2, 0, None)
        if (weight > 0).sum() < 0.4 * width:
            return None
        line = np.linalg.lstsq(design * weight[:, None], y * weight, rcond=None)[0]
    on = sure & (np.abs(y - design @ line) <= tolerance)
    tilt = math.degrees(math.atan(line[1]))
    return Horizon(tilt, float(1 - line[0] / height), float(on.sum() / width)), size


def _areas(small: np.ndarray, line: Horizon, reach: int) -> tuple[float, ...]:
    """smooth, green, light, lighter and bluer of `Signs`."""
    height, width = small.shape[:2]
    y = (1 - line.height) * height + math.tan(math.radians(line.tilt)) * (np.arange(width) - (width - 1) / 2)
    rows = np.arange(height)[:, None] + 0.5
    above = (rows < y - reach) & (rows > y - 0.5 * height)
    below = (rows > y + reach) & (rows < y + 0.3 * height)
    lightness = small[..., 0]
    slope = np.hypot(*(ndimage.sobel(lightness, axis=axis, mode="nearest") / 8 for axis in (0, 1)))
    green = (small[..., 1] < -8) & (small[..., 2] > 8)
    sky, ground = (small[area].mean(axis=0) for area in (above, below))
    return tuple(float(value) for value in ((slope[above] < 3).mean(), green[above].mean(), sky[0], sky[0] - ground[0], ground[2] - sky[2]))
