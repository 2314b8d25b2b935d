"""What can be measured in an image without a model: light, colour, focus, composition; and how that compares with other photographs. No torch."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from beholder.critique.measured.colour import colour, lab
from beholder.critique.measured.composition import composition
from beholder.critique.measured.focus import focus, grey
from beholder.critique.measured.horizon import horizon
from beholder.critique.measured.light import light
from beholder.critique.measured.saliency import salient
from beholder.errors import BeholderError
from beholder.kept_table import KeptTable
from beholder.paths import cache_dir
from beholder.photos import content_hash, read_photo

VERSION = "2"  # of all measures together; part of the cache key and of reference.json
SIDE = 480  # pixels along the longer side at which everything is measured; smaller images are measured as they are
FILE = "measured.sqlite"
REFERENCE = Path(__file__).with_name("reference.json")
_KEPT_EVERY = 32  # images measured between two writes to the cache


@dataclass(frozen=True)
class Attribute:
    """One thing that is measured.

    Args:
        name: as in `ATTRIBUTES`.
        section: of a critique (`critique.base.SECTIONS`): "light", "colour", "focus" or "composition".
        unit: "" for plain numbers.
        how: one sentence: what exactly is measured, and what more of it means.
    """

    name: str
    section: str
    unit: str
    how: str


@dataclass(frozen=True)
class Where:
    """Places in an image, as shares of width and height from the upper left corner; nan where there is none.

    Args:
        x, y: centre of the region that stands out.
        box: left, top, right, bottom of that region; nan four times if there is none.
        horizon_tilt: degrees, positive = turned clockwise.
        horizon_height: share of the height from the LOWER edge, in the middle of the width.
        horizon_strength: 0 to 1; 0 without a horizon.
    """

    x: float
    y: float
    box: tuple[float, float, float, float]
    horizon_tilt: float
    horizon_height: float
    horizon_strength: float


_TABLE = (
    ("brightness", "light", "L*", "Mean lightness (CIE L*) of the pixels, 0 black to 100 white; more is brighter."),
    ("contrast", "light", "L*", "Standard deviation of the lightness (CIE L*) of the pixels; more is more contrast."),
    ("shadows", "light", "share of pixels", "Share of pixels that are as good as black (L* below 3); more is more lost in the dark."),
    ("highlights", "light", "share of pixels", "Share of pixels that are as good as white (L* above 98); more is more lost in the light."),
    ("tonal range", "light", "L*", "Distance from the 1st to the 99th percentile of the lightness (CIE L*); more uses more of the way from black to white."),
    ("colourfulness", "colour", "", "Colourfulness M of Hasler and Suesstrunk (2003), 0 grey to about 109 extremely colourful; more is more colourful."),
    ("saturation", "colour", "", "HSV saturation of the pixels weighted with their brightness, 0 grey to 1 pure; more is purer colours."),
    ("warmth", "colour", "b*", "Mean b* of CIE L*a*b*: below 0 blue, above 0 yellow; more is warmer."),
    ("hue focus", "colour", "", "Length of the mean hue direction weighted with chroma, 0 hues all around the colour wheel, or opposite ones, to 1 a single hue; more is fewer hues."),
    ("hue harmony", "colour", "", "How near the hues come to the best of the harmonic templates of Cohen-Or et al. (2006), 0 no nearer than all hues alike to 1 inside it; more is more harmonious by that rule."),
    ("sharpness", "focus", "log10", f"Logarithm of the variance of the Laplacian at {SIDE} pixels on the longer side; more is more fine detail."),
    ("blur", "focus", "", f"Blur by Crete et al. (2007) at {SIDE} pixels on the longer side, 0 sharp to 1 blurred; more is more blurred."),
    ("noise", "focus", "levels of 255", f"Standard deviation of noise from the finest wavelet coefficients at {SIDE} pixels on the longer side; more is noisier, but fine texture counts as noise."),
    ("subject isolation", "focus", "log2", "Logarithm of the fine detail in the region that stands out over that in the rest; 1 is twice as much, more sets it off more."),
    ("thirds", "composition", "", "Nearness of the region that stands out to the nearest crossing of the lines of thirds: 1 on it, 0.5 in the middle, 0 in a corner; more is nearer."),
    ("centring", "composition", "", "Nearness of the region that stands out to the middle: 1 in it, 0 in a corner; more is nearer."),
    ("balance", "composition", "", "1 less the difference of the visual weight of the left and the right half: 0 all on one side, 1 equal; more is more balanced."),
    ("symmetry", "composition", "", "Correlation of the lightness with its mirror image, left to right, -1 to 1; more is more symmetric."),
    ("simplicity", "composition", "share of pixels", "Share of pixels that are no edge; more is emptier and simpler."),
    ("horizon tilt", "composition", "degrees", "Angle of the horizon, where a clear one was found: 0 level, above 0 turned clockwise."),
    ("horizon height", "composition", "share of height", "Height of the horizon above the lower edge, where a clear one was found: 0 lower edge, 1 upper edge; more is higher."),
)  # fmt: skip
ATTRIBUTES: dict[str, Attribute] = {row[0]: Attribute(*row) for row in _TABLE}


def measure(image: str | os.PathLike | np.ndarray) -> dict[str, float]:
    """Attribute -> value, in the order of `ATTRIBUTES`; nan where it cannot be measured.

    Args:
        image: a path, or [h, w, 3] uint8 (sRGB). Everything is measured at `SIDE` pixels along the longer side. What was measured in a file is kept
            by content and `VERSION` in the cache folder, and never measured again.

    Raises:
        UnreadableImage: the file cannot be read as an image.
        BeholderError: the array is no image.
    """
    return measure_and_locate(image)[0]


def locate(image: str | os.PathLike | np.ndarray) -> Where:
    """Where the salient region and the horizon are. Arguments and errors as of `measure`."""
    return measure_and_locate(image)[1]


def measure_and_locate(image: str | os.PathLike | np.ndarray) -> tuple[dict[str, float], Where]:
    """Both `measure` and `locate`, read and computed once."""
    if isinstance(image, np.ndarray):
        return _understood(_look(_pixels(image)))
    kept, content = _Kept(), content_hash(image)
    numbers = kept.get(content)
    if numbers is None:
        numbers = _look(_pixels(image))
        kept.put([(content, numbers)])
    return _understood(numbers)


def measure_all(images: Sequence[str | os.PathLike], *, progress: Callable[[int, int, str], None] | None = None) -> dict[str, np.ndarray]:
    """Attribute -> [n] float64; kept as `measure` keeps them.

    Args:
        progress: called with (images done, of how many, what is done).

    Raises:
        UnreadableImage: one of them cannot be read.
    """
    table = np.empty((len(images), len(ATTRIBUTES)))
    kept = _Kept()
    new: list[tuple[str, np.ndarray]] = []
    try:
        for i, image in enumerate(images):
            if progress is not None:
                progress(i, len(images), "measuring images")
            content = content_hash(image)
            known = kept.get(content)
            if known is None:
                known = _look(_pixels(image))
                new.append((content, known))
                if len(new) == _KEPT_EVERY:
                    kept.put(new)
                    new = []
            table[i] = known[: len(ATTRIBUTES)]
    finally:  # also if one of them cannot be read: the others need not be measured again
        kept.put(new)
    if progress is not None:
        progress(len(images), len(images), "measuring images")
    return dict(zip(ATTRIBUTES, table.T.copy(), strict=True))


def percentile(name: str, value: float) -> float:
    """Share of the reference photographs (0 to 100) with less of an attribute, those with equally much counted half; nan for nan.

    Raises:
        KeyError: there is no such attribute.
    """
    quantiles = np.array(reference()["attributes"][name]["quantiles"])
    if math.isnan(value):
        return math.nan
    first, last = np.searchsorted(quantiles, value, side="left"), np.searchsorted(quantiles, value, side="right")
    if last > first:
        return float((first + last - 1) / 2)
    if first in (0, len(quantiles)):
        return 0.0 if first == 0 else 100.0
    below, above = quantiles[first - 1], quantiles[first]
    return float(first - 1 + (value - below) / (above - below))


@lru_cache(maxsize=1)
def reference() -> dict[str, Any]:
    """What reference.json holds: "source", "images", "version", and for each of "attributes" its "quantiles" (101, minimum to maximum), "mean", "sd"
    and the share of photographs where it is "nan"."""
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def _pixels(image: str | os.PathLike | np.ndarray) -> np.ndarray:
    """[h, w, 3] uint8, the longer side at most `SIDE`."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise BeholderError(f"an array of shape {image.shape} and type {image.dtype} is no image: give [height, width, 3] uint8")
        photo = Image.fromarray(image)
    else:
        photo = read_photo(image, min_side=SIDE)
    ratio = SIDE / max(photo.size)
    if ratio < 1:  # Hamming: as sharp as it gets without overshoot, which would pass for clipped highlights
        photo = photo.resize((max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio))), Image.Resampling.HAMMING)
    return np.asarray(photo)


def _look(pixels: np.ndarray) -> np.ndarray:
    """[h, w, 3] -> the values of `ATTRIBUTES`, then the nine numbers of `Where`."""
    lab_pixels, luma = lab(pixels), grey(pixels)
    lightness = lab_pixels[..., 0]
    found, line = salient(lab_pixels), horizon(lab_pixels)
    values = light(lightness) | colour(pixels, lab_pixels) | focus(luma, found.mask(luma.shape) if found else None) | composition(lightness, found)
    values["horizon tilt"] = line.tilt if line else math.nan
    values["horizon height"] = line.height if line else math.nan
    region = (found.x, found.y, *found.box) if found else (math.nan,) * 6
    return np.array([*(values[name] for name in ATTRIBUTES), *region, *((line.tilt, line.height, line.strength) if line else (math.nan, math.nan, 0.0))])


def _understood(numbers: np.ndarray) -> tuple[dict[str, float], Where]:
    """What `_look` gave, with names."""
    values = numbers.tolist()
    x, y, *box, tilt, height, strength = values[len(ATTRIBUTES) :]
    return dict(zip(ATTRIBUTES, values, strict=False)), Where(x, y, tuple(box), tilt, height, strength)


class _Kept:
    """Values by content hash and `VERSION`."""

    def __init__(self) -> None:
        schema = "CREATE TABLE IF NOT EXISTS measured (content TEXT, version TEXT, numbers BLOB, PRIMARY KEY (content, version)) WITHOUT ROWID"
        self._table = KeptTable(cache_dir("measured") / FILE, table="measured", schema=schema, what="measurements", warning=UserWarning)

    def get(self, content: str) -> np.ndarray | None:
        rows = self._table.read("SELECT numbers FROM measured WHERE content = ? AND version = ?", (content, VERSION))
        if not rows or len(rows[0][0]) != 8 * (len(ATTRIBUTES) + 9):
            return None
        return np.frombuffer(rows[0][0], dtype="<f8").astype(np.float64)

    def put(self, rows: Sequence[tuple[str, np.ndarray]]) -> None:
        if rows:
            values = [(content, VERSION, numbers.astype("<f8").tobytes()) for content, numbers in rows]
            self._table.write("INSERT OR REPLACE INTO measured VALUES (?, ?, ?)", values)
