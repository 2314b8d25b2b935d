"""Pictures with known light, colour and horizon, and those that scikit-image ships."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

SHIPPED = ("astronaut", "camera", "chelsea", "coffee")
TEXTURES = ("brick", "grass", "gravel")


def shipped(name: str) -> np.ndarray:
    """[h, w, 3] uint8 of a picture in scikit-image's package, the longer side at most 480 pixels."""
    photo = Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png").convert("RGB")
    photo.thumbnail((480, 480))
    return np.asarray(photo)


def landscape(tilt: float, height: float, *, size: tuple[int, int] = (480, 360), seed: int = 0, trees: int = 4) -> np.ndarray:
    """[h, w, 3] uint8: a bright sky over dark rough ground, the border turned clockwise by `tilt` degrees, `height` (share) above the lower edge.

    Trees stand across the border; there are soft clouds, and noise.
    """
    width, rows = size
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:width].astype(float)
    border = (1 - height) * rows + math.tan(math.radians(tilt)) * (x - (width - 1) / 2)
    share = np.clip(y + 0.5 - border, 0, 1)[..., None]  # of ground in each pixel: the border is smooth
    cloud = 12 * np.sin(x / 90 + seed) * np.cos(y / 60)
    sky = np.stack([150 + 40 * y / rows + cloud, 180 + 30 * y / rows + cloud, 225 + cloud / 2], axis=2)
    ground = np.array([70.0, 85.0, 45.0]) + random.normal(0, 12, (rows, width, 1))
    scene = sky * (1 - share) + ground * share
    for _ in range(trees):
        at, wide = random.integers(10, width - 30), random.integers(4, 14)
        foot = int(border[0, at])
        scene[max(0, foot - random.integers(20, 70)) : foot + 10, at : at + wide] = [35, 40, 25]
    return (scene + random.normal(0, 2, scene.shape)).clip(0, 255).astype(np.uint8)


def disc(x: float, y: float, *, radius: float = 0.08, colour=(220, 40, 30), size: tuple[int, int] = (480, 360), seed: int = 0) -> np.ndarray:
    """[h, w, 3] uint8: a disc at (x, y), shares of width and height, on a soft grey ground with noise."""
    width, rows = size
    random = np.random.default_rng(seed)
    scene = 120 + random.normal(0, 6, (rows, width, 3)) + 15 * np.sin(np.arange(width) / 70)[None, :, None]
    v, u = np.mgrid[0:rows, 0:width]
    scene[(u - x * width) ** 2 + (v - y * rows) ** 2 < (radius * width) ** 2] = colour
    return scene.clip(0, 255).astype(np.uint8)


def uniform(value: int, *, size: tuple[int, int] = (120, 90)) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, dtype=np.uint8)
