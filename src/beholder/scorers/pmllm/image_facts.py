"""The stand-in for a caption where no vision-language model is at hand: a factual text made from measured image statistics.

It is true but poor: it says how an image looks, and what it shows only as far as class names or a group name are given. Examples made from it are marked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beholder.photos import read_photo

VERSION = "1"  # of the wording and the limits; part of cache keys
SIDE = 256  # pixels along the shorter side at which everything is measured
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "violet", "magenta")
_HUE_STARTS = np.array([15, 45, 70, 160, 200, 255, 290, 340])  # degrees at which orange, yellow, ..., magenta, red begin
_BRIGHTNESS = ((0.2, "very dark"), (0.38, "dark"), (0.6, "of medium brightness"), (0.78, "bright"), (np.inf, "very bright"))
_CONTRAST = ((0.12, "low"), (0.24, "moderate"), (np.inf, "high"))
# Limits of Hasler & Suesstrunk 2003, table 2: the scores of seven degrees, half-way between
_COLOURFULNESS = ((7.5, "without color"), (24, "slightly colorful"), (52, "moderately colorful"), (95.5, "very colorful"), (np.inf, "extremely colorful"))
_SHARPNESS = ((0.02, "very soft"), (0.05, "soft"), (0.12, "fairly sharp"), (np.inf, "rich in fine detail"))
_MANY_HUES = 0.4  # the largest share of color below which no hue dominates


@dataclass(frozen=True)
class ImageFacts:
    """What was measured.

    Args:
        width, height: pixels of the image as read; only their ratio means something.
        brightness: mean luminance, 0 to 1. contrast: its standard deviation.
        colourfulness: M of Hasler & Suesstrunk 2003 on 0-255 values; 0 = gray, 109 = extremely colourful.
        hue: the one with most color, and the share of all color that it has.
        sharpness: mean absolute Laplacian of the luminance.
        centre_detail: sharpness of the central ninth over that of the border.
        upper_light: mean luminance of the upper half less that of the lower.
    """

    width: int
    height: int
    brightness: float
    contrast: float
    colourfulness: float
    hue: str
    hue_share: float
    sharpness: float
    centre_detail: float
    upper_light: float


def measure(image: str | os.PathLike | np.ndarray) -> ImageFacts:
    """Statistics of an image: a path, or [height, width, 3] uint8.

    Raises:
        UnreadableImage: the file cannot be read as an image.
    """
    pixels = image if isinstance(image, np.ndarray) else np.asarray(read_photo(image, min_side=SIDE))
    height, width = pixels.shape[:2]
    rgb = pixels.astype(np.float64)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luminance = (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
    opponent = red - green, (red + green) / 2 - blue
    spread, offset = np.hypot(*(x.std() for x in opponent)), np.hypot(*(x.mean() for x in opponent))
    hue, share = _dominant_hue(rgb)
    padded = np.pad(luminance, 1, mode="edge")
    laplacian = np.abs(padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luminance)
    centre = np.zeros(luminance.shape, dtype=bool)
    centre[height // 3 : height - height // 3, width // 3 : width - width // 3] = True
    return ImageFacts(
        width=width,
        height=height,
        brightness=float(luminance.mean()),
        contrast=float(luminance.std()),
        colourfulness=float(spread + 0.3 * offset),
        hue=hue,
        hue_share=share,
        sharpness=float(laplacian.mean()),
        centre_detail=float((_mean(laplacian[centre]) + 1e-3) / (_mean(laplacian[~centre]) + 1e-3)),
        upper_light=float(_mean(luminance[: height // 2]) - _mean(luminance[height // 2 :])),
    )


def sentence(facts: ImageFacts, *, labels: Sequence[str] = (), group: str = "") -> str:
    """The facts as a short English text.

    Args:
        labels: names of classes that a classifier gave, the most probable first.
        group: name of the group the image is in.
    """
    shape = _shape(facts.width / facts.height)
    parts = [f"An image{f' of the subject {group}' if group else ''}, {_word(facts.brightness, _BRIGHTNESS)}, with {_word(facts.contrast, _CONTRAST)} contrast"]
    parts[0] += f", in {shape} format."
    if labels:
        parts.append(f"It seems to show: {', '.join(labels)}.")
    colour = _word(facts.colourfulness, _COLOURFULNESS)
    if facts.colourfulness >= _COLOURFULNESS[0][0]:
        colour += f", mostly {facts.hue}" if facts.hue_share >= _MANY_HUES else ", of several hues"
    parts.append(f"It is {colour}, and {_word(facts.sharpness, _SHARPNESS)}.")
    if facts.centre_detail > 1.8:
        parts.append("The detail is in the center; around it the image is softer.")
    elif facts.centre_detail < 1 / 1.8:
        parts.append("The center is softer than what surrounds it.")
    if abs(facts.upper_light) > 0.12:
        parts.append(f"The {'upper' if facts.upper_light > 0 else 'lower'} half is the lighter one.")
    return " ".join(parts)


def class_names() -> tuple[str, ...]:
    """The 1000 ImageNet class names in the order of the encoder's layer "logits"; () if no installed package has them.

    The encoder's own package does not ship them; torchvision does.
    """
    try:
        from torchvision.models import EfficientNet_B0_Weights
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision built for another torch
        return ()
    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def top_classes(logits: np.ndarray, *, names: Sequence[str], most: int = 3, least: float = 0.1) -> list[tuple[str, ...]]:
    """[n, classes] logits -> for each image the names of up to `most` classes with at least `least` probability, the most probable first."""
    if not len(names):
        return [()] * len(logits)
    logits = np.asarray(logits, dtype=np.float64)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = weights / weights.sum(axis=1, keepdims=True)
    order = np.argsort(-probability, axis=1, kind="stable")[:, :most]
    return [tuple(names[c].replace("_", " ") for c in row if p[c] >= least) for row, p in zip(order, probability, strict=True)]


def _dominant_hue(rgb: np.ndarray) -> tuple[str, float]:
    """The hue whose pixels have most chroma together, and its share of all; ("", 0) for a gray image."""
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    chroma = high - low
    total = chroma.sum()
    if total <= 0:
        return "", 0.0
    safe = np.where(chroma > 0, chroma, 1.0)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sixth = np.where(high == red, ((green - blue) / safe) % 6, np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    sector = np.searchsorted(_HUE_STARTS, 60 * sixth, side="right") % len(HUES)
    weights = np.bincount(sector.ravel(), weights=chroma.ravel(), minlength=len(HUES))
    best = int(weights.argmax())
    return HUES[best], float(weights[best] / total)


def _shape(ratio: float) -> str:
    if 0.87 < ratio < 1.15:
        return "square"
    if ratio > 1:
        return "panorama" if ratio > 2 else "landscape"
    return "tall portrait" if ratio < 0.5 else "portrait"


def _word(value: float, limits: Sequence[tuple[float, str]]) -> str:
    return next(word for limit, word in limits if value < limit)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0
