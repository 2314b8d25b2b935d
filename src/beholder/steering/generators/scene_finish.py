"""The last steps of a scene's picture: fog and rain, colours, light, style."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from beholder.steering.generators.scenes import Scene

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FOG = {"dawn": (226, 212, 214), "noon": (222, 228, 232), "sunset": (226, 178, 150), "night": (52, 60, 84)}
_TINT = {"warm": (1.14, 1.0, 0.78), "cold": (0.80, 0.97, 1.16)}
_SATURATION = {"natural": 1.0, "warm": 1.05, "cold": 0.92, "pastel": 0.62, "vivid": 1.65, "monochrome": 0.0}


def finish(image: Image.Image, scene: Scene) -> Image.Image:
    """The picture with weather in front, graded and in its style."""
    rng = np.random.default_rng(scene.layout + 1)
    if scene.weather == "storm":
        image = _rain(image, scene, rng)
    pixels = np.asarray(image, dtype=np.float32)
    if scene.weather == "fog":
        pixels = _fog(pixels, scene, rng)
    if scene.style == "painting":
        pixels = _dabs(pixels, rng)
    pixels = _graded(pixels, scene)
    if scene.style == "photo":
        pixels = _lens(pixels, rng)
    out = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return _flat(out) if scene.style == "poster" else out


def _rain(image: Image.Image, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Streaks, and now and then a flash."""
    width, height = image.size
    image = image.copy()
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        x, y, path = rng.uniform(0.2, 0.8) * width, 0.0, []
        while y < scene.horizon * height:
            path.append((x, y))
            x, y = x + rng.uniform(-0.03, 0.03) * width, y + rng.uniform(0.03, 0.08) * height
        pen.line(path, fill=(236, 234, 255), width=max(1, height // 160))
    veil = Image.new("L", image.size, 0)
    streaks = ImageDraw.Draw(veil)
    for across, down, long in rng.uniform(0, 1, (160, 3)).tolist():
        x, y, fall = across * width * 1.1, down * height, height * (0.03 + 0.05 * long)
        streaks.line((x, y, x - fall * 0.25, y + fall), fill=int(40 + 60 * long), width=1)
    image.paste(Image.new("RGB", image.size, (206, 214, 226) if scene.time != "night" else (110, 120, 146)), mask=veil)
    return image


def _fog(pixels: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Thickest at the horizon, in drifts."""
    from beholder.steering.generators.scene_drawing import noise

    height, width = pixels.shape[:2]
    down = np.arange(height, dtype=np.float32) / height - scene.horizon
    thick = np.where(down < 0, np.exp(down / 0.22), np.exp(-down / 0.38)).astype(np.float32)
    drift = noise(rng, (height // 4, width // 4), cells=(4, 2), octaves=3)
    drift = np.asarray(Image.fromarray(drift).resize((width, height), Image.Resampling.BILINEAR))
    cover = np.clip(0.14 + 0.56 * thick[:, None] + 0.14 * drift, 0, 0.94)[..., None]
    return pixels + cover * (np.array(_FOG[scene.time], dtype=np.float32) - pixels)


def _dabs(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brush dabs: each little cell takes the colour of a place nearby, its edges uneven."""
    height, width = pixels.shape[:2]
    cell = max(2, height // 70)
    rows, columns = np.mgrid[0:height, 0:width]
    wobble = (
        rng.integers(-cell // 2, cell // 2 + 1, (2, height // 2 + 1, width // 2 + 1))
        .repeat(2, axis=1)
        .repeat(2, axis=2)[:, :height, :width]
    )
    cell_row, cell_column = (rows + wobble[0]) // cell, (columns + wobble[1]) // (2 * cell)
    jitter = rng.integers(-cell, cell + 1, (2, height // cell + 4, width // cell + 4))
    own = (cell_row % jitter.shape[1], cell_column % jitter.shape[2])
    from_row = np.clip(cell_row * cell + cell // 2 + jitter[0][own], 0, height - 1)
    from_column = np.clip(cell_column * 2 * cell + cell + jitter[1][own], 0, width - 1)
    tone = rng.normal(0, 5, jitter.shape[1:]).astype(np.float32)[own]
    return 0.7 * pixels[from_row, from_column] + 0.3 * pixels + tone[..., None]


def _graded(pixels: np.ndarray, scene: Scene) -> np.ndarray:
    """Palette, contrast, brightness."""
    grey = (pixels @ _LUMA)[..., None]
    pixels = grey + _SATURATION[scene.palette] * (pixels - grey)
    if scene.palette in _TINT:
        pixels = pixels * np.array(_TINT[scene.palette], dtype=np.float32)
    elif scene.palette == "pastel":
        pixels = 92 + pixels * 0.64
    middle = 112.0 if scene.time != "night" else 56.0
    pixels = middle + (pixels - middle) * (1 + 0.5 * scene.contrast)
    if scene.brightness >= 0:
        return pixels + (255 - pixels) * 0.34 * scene.brightness
    return pixels * (1 + 0.55 * scene.brightness)


def _lens(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grain and darker corners."""
    height, width = pixels.shape[:2]
    across, down = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    corners = 1 - 0.13 * (across[None] ** 2 + down[:, None] ** 2)
    grain = rng.standard_normal((height, width), dtype=np.float32) * 4.5
    return pixels * corners[..., None] + grain[..., None]


def _flat(image: Image.Image) -> Image.Image:
    """Few colours without grain, as printed."""
    return image.quantize(12, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).convert("RGB")
