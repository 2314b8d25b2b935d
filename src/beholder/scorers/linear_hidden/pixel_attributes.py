"""Attributes that can be measured from the pixels, for datasets whose raters gave none. Ours; the published projection is learned from AADB."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from beholder.photos import read_photo

SIDE = 128  # pixels along the shorter side, at least; less than twice that
REPORTED = 200  # images between two reports of progress
NAMES = ("Brightness", "Contrast", "Colourfulness", "Saturation", "Warmth", "Sharpness", "Symmetry", "Simplicity")


def measure(image: str | os.PathLike | np.ndarray) -> np.ndarray:
    """The attributes of one image, a path or [height, width, 3] uint8: [8] float64 in the order of `NAMES`, higher is more of it.

    Brightness and Contrast: mean and standard deviation of the luminance (0 to 1). Colourfulness: M of Hasler & Suesstrunk 2003 over 100.
    Saturation: mean of (max - min) / max of the colours. Warmth: mean of red less blue (-1 to 1). Sharpness: logarithm of the mean absolute
    Laplacian of the luminance. Symmetry: correlation of the luminance with its mirror image, left to right (-1 to 1). Simplicity: share of the
    pixels without an edge.

    Raises:
        UnreadableImage: the file cannot be read as an image.
    """
    pixels = image if isinstance(image, np.ndarray) else np.asarray(read_photo(image, min_side=SIDE))
    rgb = pixels.astype(np.float64) / 255
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    opponent = red - green, (red + green) / 2 - blue
    colourfulness = np.hypot(*(x.std() for x in opponent)) + 0.3 * np.hypot(*(x.mean() for x in opponent))
    high = rgb.max(axis=2)
    saturation = np.divide(high - rgb.min(axis=2), high, out=np.zeros_like(high), where=high > 0)
    padded = np.pad(light, 1, mode="edge")
    laplacian = np.abs(padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * light)
    slope = np.hypot(padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1])
    return np.array(
        [
            light.mean(),
            light.std(),
            2.55 * colourfulness,
            saturation.mean(),
            (red - blue).mean(),
            np.log(laplacian.mean() + 1e-3),
            _symmetry(light),
            (slope < 0.1).mean(),
        ]
    )


def measure_all(images: Sequence[str | os.PathLike], *, progress=None) -> dict[str, np.ndarray]:
    """Attribute -> [n].

    Args:
        progress: called with (images done, of how many, what is done).

    Raises:
        UnreadableImage: one of them cannot be read.
    """
    table = np.empty((len(images), len(NAMES)))
    for i, image in enumerate(images):
        if progress is not None and i % REPORTED == 0:
            progress(i, len(images), "measuring attributes of the pixels")
        table[i] = measure(image)
    return dict(zip(NAMES, table.T, strict=True))


def _symmetry(light: np.ndarray) -> float:
    """1 for an image that equals its mirror image, and for one without structure; 0 for one that has nothing to do with it."""
    centred = light - light.mean()
    power = (centred**2).mean()
    return float((centred * centred[:, ::-1]).mean() / power) if power > 1e-12 else 1.0
