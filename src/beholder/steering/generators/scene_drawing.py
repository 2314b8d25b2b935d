"""Draws a `Scene`: sky, ground, and then what stands on it from far to near. Everything is placed relative to the picture, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from beholder.steering.generators.scenes import Scene

FINER = 2  # drawn at twice the size and reduced: smooth edges

Colour = np.ndarray  # [3] float, 0..255

_SKY = {  # colours from the zenith to the horizon
    "dawn": ((86, 104, 168), (176, 160, 196), (250, 204, 180)),
    "noon": ((46, 108, 196), (110, 168, 226), (196, 226, 246)),
    "sunset": ((56, 48, 104), (206, 92, 96), (255, 184, 92)),
    "night": ((6, 8, 26), (18, 24, 58), (44, 54, 96)),
}
_LIGHT = {"dawn": (0.80, 0.72, 0.76), "noon": (1.0, 1.0, 0.98), "sunset": (0.72, 0.48, 0.42), "night": (0.17, 0.20, 0.34)}
_SUN = {"dawn": (255, 236, 204), "noon": (255, 252, 232), "sunset": (255, 226, 150), "night": (238, 240, 226)}
_HEIGHT = {"dawn": 0.80, "noon": 0.24, "sunset": 0.88, "night": 0.28}  # of the sun, share of the sky from above
_LAND = {  # of meadows by season
    "spring": (128, 172, 82),
    "summer": (88, 140, 58),
    "autumn": (168, 128, 62),
    "winter": (226, 232, 242),
}


@dataclass
class Canvas:
    """What is being drawn.

    Args:
        image: [height, width] RGB; pen draws on it. rng: of all shapes.
        ground: y of the horizon. sun: (x, y) of the sun or moon, in pixels, whether it is shown or not.
        light: [3] what surfaces' colours are multiplied by. haze: colour of the far distance.
    """

    scene: Scene
    image: Image.Image
    pen: ImageDraw.ImageDraw
    rng: np.random.Generator
    ground: float
    sun: tuple[float, float]
    light: Colour
    haze: Colour

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def dark(self) -> bool:
        """Whether lamps are lit."""
        return (
            self.scene.time == "night" or (self.scene.time == "sunset" and self.scene.weather != "clear") or self.scene.weather == "storm"
        )

    def lit(self, colour, *, far: float = 0.0, shade: float = 1.0) -> tuple[int, int, int]:
        """A surface's colour in this light, `far` (0..1) of it lost in the distance."""
        return solid(np.asarray(colour, dtype=float) * self.light * shade * (1 - far) + self.haze * far)

    def ridge(self, *, points: int, rough: float) -> np.ndarray:
        """[points] heights -1..1 from left to right, more jagged the higher `rough` (0..1); mirrored where the scene is symmetric."""
        places, total = np.linspace(0, 1, points), np.zeros(points)
        if self.scene.composition == "symmetric":
            places = 1 - np.abs(2 * places - 1)
        for octave in range(5):
            knots = 3 * 2**octave + 1
            total += rough**octave * np.interp(places, np.linspace(0, 1, knots), self.rng.uniform(-1, 1, knots))
        return total / max(1e-6, np.abs(total).max())

    def wave(self, *, points: int, waves: float) -> np.ndarray:
        """[points] smooth heights -1..1."""
        places = np.linspace(0, 1, points)
        if self.scene.composition == "symmetric":
            places = np.abs(2 * places - 1) / 2
        one, two = self.rng.uniform(0, 6.28, 2)
        return 0.65 * np.sin(6.28 * waves * places + one) + 0.35 * np.sin(6.28 * waves * 2.3 * places + two)

    def outline(self, heights: np.ndarray) -> list[tuple[float, float]]:
        """Polygon below the line of `heights` [n] (y in pixels)."""
        across = np.linspace(0, self.width, len(heights))
        return [*zip(across.tolist(), heights.tolist(), strict=True), (self.width, self.height), (0, self.height)]


def draw(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """The picture without weather in front, grading and style; those are of `scene_finish`."""
    from beholder.steering.generators.scene_subjects import draw_subjects

    rng = np.random.default_rng(scene.layout)
    width, height = size[0] * FINER, size[1] * FINER
    ground = (1 if scene.ground == "city" else 0.97) * scene.horizon * height
    across = {"symmetric": 0.5, "thirds": 1 / 3 + (rng.random() < 0.5) / 3}.get(scene.composition, rng.uniform(0.15, 0.85))
    sun = (across * width, _HEIGHT[scene.time] * ground * rng.uniform(0.92, 1.06))
    stops = np.array(_SKY[scene.time], dtype=float)
    light = np.array(_LIGHT[scene.time])
    if scene.weather in ("storm", "fog", "clouds"):
        share = {"storm": 0.72, "fog": 0.6, "clouds": 0.12}[scene.weather]
        grey = stops.mean(axis=1, keepdims=True) * {"storm": np.array([0.72, 0.76, 0.82]), "fog": np.array([1.0, 1.0, 1.01])}.get(
            scene.weather, 1.0
        )
        stops = stops * (1 - share) + grey * share
        light = light * {"storm": 0.8, "fog": 0.9, "clouds": 0.96}[scene.weather]
    image = Image.fromarray(_sky(scene, (width // 4, height // 4), stops, (sun[0] / 4, sun[1] / 4), ground / 4, rng))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    canvas = Canvas(scene, image, ImageDraw.Draw(image), rng, ground, sun, light, stops[-1])
    _lights_in_the_sky(canvas)
    _GROUNDS[scene.ground](canvas)
    draw_subjects(canvas)
    return image.reduce(FINER)


def solid(colour: Colour) -> tuple[int, int, int]:
    """A colour as PIL wants it."""
    red, green, blue = colour.tolist()  # plain numbers: faster than np.clip for three
    return min(255, max(0, int(red))), min(255, max(0, int(green))), min(255, max(0, int(blue)))


def noise(rng: np.random.Generator, shape: tuple[int, int], *, cells: tuple[int, int], octaves: int = 4) -> np.ndarray:
    """[height, width] float32 smooth noise, about -1..1; `cells` (down, across) of the coarsest octave."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        grid = rng.uniform(-1, 1, (cells[0] * 2**octave + 1, cells[1] * 2**octave + 1)).astype(np.float32)
        total += 0.55**octave * np.asarray(Image.fromarray(grid).resize(shape[::-1], Image.Resampling.BICUBIC))
    return total


def _sky(
    scene: Scene, size: tuple[int, int], stops: np.ndarray, sun: tuple[float, float], ground: float, rng: np.random.Generator
) -> np.ndarray:
    """[height, width, 3] uint8: gradient, glow and clouds at a quarter of the size."""
    width, height = size
    down = np.clip(np.arange(height) / max(1.0, ground), 0, 1)
    column = np.stack([np.interp(down, [0, 0.6, 1], stops[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)
    sky = np.repeat(column[:, None], width, axis=1)
    away = np.hypot((np.arange(width) - sun[0])[None], (np.arange(height) - sun[1])[:, None]).astype(np.float32) / height
    dim = {"clear": 1.0, "clouds": 0.8, "fog": 0.5, "storm": 0.25}[scene.weather] * {"night": 0.35, "noon": 0.55}.get(scene.time, 0.85)
    if scene.sun:
        glow = dim * (0.55 * np.exp(-((away / 0.14) ** 2)) + 0.5 * np.exp(-away / 0.28))
        sky += glow[..., None] * (np.array(_SUN[scene.time], dtype=np.float32) - sky)
    clouds = noise(rng, (height, width), cells=(5, 3))
    level, soft, thickness = {"clear": (0.85, 1.2, 0.35), "clouds": (0.12, 1.9, 0.88), "fog": (0.3, 0.8, 0.3), "storm": (-0.5, 1.1, 0.92)}[
        scene.weather
    ]
    cover = thickness * np.clip((clouds - level) * soft, 0, 1)[..., None]
    edge = np.clip(clouds - level, 0, 1)[..., None] * 0.5
    bright = stops[-1] * 0.4 + np.array(_SUN[scene.time]) * 0.6 if scene.time != "night" else stops[-1] * 1.15
    if scene.weather == "storm":
        bright = stops[1] * 0.95
    colour = bright.astype(np.float32) * (1 - edge * (1.2 if scene.weather == "storm" else 0.55))
    return np.clip(sky + cover * (colour - sky), 0, 255).astype(np.uint8)


def _lights_in_the_sky(canvas: Canvas) -> None:
    """Stars, and the sun or the moon."""
    scene, pen = canvas.scene, canvas.pen
    if scene.time == "night" and scene.weather in ("clear", "clouds"):
        places = canvas.rng.uniform(0, 1, (90 if scene.weather == "clear" else 35, 3))
        for x, y, shine in places.tolist():
            at, size = (x * canvas.width, y * canvas.ground * 0.95), canvas.height / 480 * (0.6 + 1.3 * shine**3)
            value = int(110 + 140 * shine)
            pen.ellipse((at[0] - size, at[1] - size, at[0] + size, at[1] + size), fill=(value, value, min(255, value + 12)))
    if not scene.sun or scene.weather == "storm":
        return
    radius = canvas.height * {"noon": 0.038, "night": 0.046}.get(scene.time, 0.06) * (1.35 if scene.composition == "close" else 1.0)
    x, y = canvas.sun
    share = 0.55 if scene.weather == "fog" else 1.0
    colour = solid(np.array(_SUN[scene.time]) * share + canvas.haze * (1 - share))
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    if scene.time == "night" and scene.weather != "fog":
        for dx, dy, size in ((-0.3, -0.2, 0.22), (0.25, 0.3, 0.16), (0.2, -0.4, 0.12)):
            spot = (x + dx * radius, y + dy * radius, size * radius)
            pen.ellipse((spot[0] - spot[2], spot[1] - spot[2], spot[0] + spot[2], spot[1] + spot[2]), fill=(214, 216, 204))


def water(canvas: Canvas, top: float, bottom: float) -> None:
    """A surface from `top` to `bottom`: reflects the horizon far away, its own colour near; waves, and a path of light below the sun."""
    pen, scene, rng = canvas.pen, canvas.scene, canvas.rng
    own = np.array((28, 86, 122), dtype=float) * canvas.light
    if scene.weather == "storm":
        own = own * 0.75
    for y in range(int(top), int(bottom) + 1, 2):
        near = max(0.0, y - top) / max(1.0, canvas.height - top)
        pen.rectangle((0, y, canvas.width, y + 1), fill=solid(canvas.haze * (0.82 - 0.72 * near**0.6) + own * (0.18 + 0.82 * near**0.6)))
    for across, near, long in rng.uniform(0, 1, (150, 3)).tolist():
        near = near**1.6
        y, half = top + near * (bottom - top), canvas.width * (0.006 + 0.045 * near * long)
        tone = 1.28 if long > 0.4 else 0.8
        base = canvas.haze * (0.7 - 0.6 * near) + own * (0.3 + 0.7 * near)
        x = across * canvas.width
        pen.line((x - half, y, x + half, y), fill=solid(base * tone), width=max(1, int(1 + near * canvas.height / 160)))
    if scene.sun and scene.weather in ("clear", "clouds"):
        shine = np.array(_SUN[scene.time], dtype=float)
        for place, near, long in rng.normal(0, 1, (110, 3)).tolist():
            near = min(1.0, abs(near) / 2.2)
            y, spread = top + 2 + near * (bottom - top), canvas.width * (0.012 + 0.05 * near)
            x, half = canvas.sun[0] + place * spread, canvas.width * (0.004 + 0.012 * abs(long) * (0.3 + near))
            glint = solid(shine * (0.9 - 0.25 * near) * (0.75 if scene.time == "night" else 1.0) + canvas.haze * 0.1)
            pen.line((x - half, y, x + half, y), fill=glint, width=max(1, int(1 + near * canvas.height / 200)))


def meadow(canvas: Canvas, top: float, colour=None) -> None:
    """Land from about `top` to the lower edge, with tufts, flowers in spring and summer."""
    pen, scene, rng = canvas.pen, canvas.scene, canvas.rng
    colour = np.array(_LAND[scene.season] if colour is None else colour, dtype=float)
    for step in range(4):
        level = top + (canvas.height - top) * (0.0, 0.16, 0.4, 0.7)[step]
        heights = level + canvas.wave(points=40, waves=0.6 + 0.3 * step) * canvas.height * (0.008 + 0.008 * step)
        pen.polygon(canvas.outline(heights), fill=canvas.lit(colour, far=0.34 - 0.11 * step, shade=1.06 - 0.09 * step))
    flowers = {"spring": (244, 190, 210), "summer": (240, 216, 90)}.get(scene.season) if scene.ground in ("forest", "mountains") else None
    for across, near, pick in rng.uniform(0, 1, (130, 3)).tolist():
        x, y = across * canvas.width, top + (0.08 + 0.92 * near) * (canvas.height - top)
        size = canvas.height * (0.004 + 0.014 * near)
        if flowers is not None and pick < 0.3:
            pen.ellipse((x - size / 3, y - size / 3, x + size / 3, y + size / 3), fill=canvas.lit(flowers))
        else:
            pen.line((x, y, x + size * (pick - 0.5), y - size), fill=canvas.lit(colour, shade=0.72 + 0.4 * pick), width=1 + int(2 * near))


def _sea(canvas: Canvas) -> None:
    if canvas.rng.random() < 0.6:
        hills = canvas.ground - canvas.height * 0.05 * np.clip(canvas.wave(points=60, waves=0.7) + 0.1, 0, 1)
        canvas.pen.polygon(canvas.outline(hills), fill=canvas.lit((70, 96, 92), far=0.55))
    water(canvas, canvas.ground, canvas.height)
    scene = canvas.scene
    if scene.trees + scene.houses + scene.towers + scene.people or canvas.rng.random() < 0.4:
        sand = (226, 204, 160) if scene.season != "winter" else (224, 228, 236)
        shore = canvas.height * (0.86 + 0.03 * canvas.wave(points=40, waves=0.5))
        for lift, colour, shade in ((0.018, (244, 244, 240), 1.0), (0.0, sand, 0.86), (-0.025, sand, 1.0)):
            canvas.pen.polygon(canvas.outline(shore - lift * canvas.height), fill=canvas.lit(colour, shade=shade))


def _mountains(canvas: Canvas) -> None:
    pen, scene, points = canvas.pen, canvas.scene, 90
    across = np.linspace(0, canvas.width, points)
    for far, rise in ((0.62, 0.40), (0.36, 0.27), (0.14, 0.13)):
        base = canvas.ground - canvas.height * rise * 0.45
        heights = base - canvas.height * rise * 0.55 * canvas.ridge(points=points, rough=0.5)
        rock = (104, 108, 120) if far > 0.2 else (74, 96, 70) if scene.season != "winter" else (150, 160, 176)
        pen.polygon(canvas.outline(heights), fill=canvas.lit(rock, far=far))
        if far > 0.2:
            _caps(canvas, across, heights, far, rise)
    meadow(canvas, canvas.ground)


def _caps(canvas: Canvas, across: np.ndarray, heights: np.ndarray, far: float, rise: float) -> None:
    """Snow on the peaks, and their shaded sides."""
    middle = heights.max() - (heights.max() - heights.min()) * (0.25 if canvas.scene.season == "winter" else 0.5)
    ragged = middle + canvas.rng.uniform(-1, 1, len(heights)) * canvas.height * rise * 0.06
    lower = np.where(heights < ragged, np.minimum(ragged, heights + canvas.height * rise * 0.5), heights)
    edge = [*zip(across.tolist(), heights.tolist(), strict=True), *zip(across[::-1].tolist(), lower[::-1].tolist(), strict=True)]
    canvas.pen.polygon(edge, fill=canvas.lit((246, 248, 252), far=far * 0.7))
    peaks = np.flatnonzero((heights[1:-1] < heights[:-2]) & (heights[1:-1] < heights[2:])) + 1
    for peak in peaks.tolist():
        side = 1 if canvas.sun[0] < across[peak] else -1
        end = peak
        while 0 < end < len(heights) - 1 and heights[end + side] >= heights[end]:
            end += side
        face = [(across[i], heights[i]) for i in range(peak, end + side, side)]
        foot = heights[end] + (heights[end] - heights[peak]) * 0.25
        snowy = heights[peak] < middle
        face += [(across[end], foot), ((across[peak] * 2 + across[end]) / 3, (heights[peak] + 3 * foot) / 4)]
        canvas.pen.polygon(face, fill=canvas.lit((176, 186, 206) if snowy else (82, 86, 98), far=far))


def _desert(canvas: Canvas) -> None:
    if canvas.rng.random() < 0.5:
        mesas = canvas.ground - canvas.height * 0.09 * (canvas.ridge(points=60, rough=0.3) > 0.25)
        canvas.pen.polygon(canvas.outline(mesas), fill=canvas.lit((176, 96, 62), far=0.45))
    sand, points = np.array((232, 180, 112), dtype=float), 80
    across = np.linspace(0, canvas.width, points)
    for step, far in enumerate((0.3, 0.18, 0.08, 0.0)):
        level = canvas.ground + (canvas.height - canvas.ground) * (0.0, 0.2, 0.44, 0.74)[step]
        tall = canvas.height * (0.035 + 0.02 * step)
        heights = level - tall * canvas.wave(points=points, waves=1.5 - 0.25 * step)
        canvas.pen.polygon(canvas.outline(heights), fill=canvas.lit(sand, far=far, shade=1.05 - 0.05 * step))
        falling = np.gradient(heights) * (1 if canvas.sun[0] < canvas.width / 2 else -1) > 0
        depth = np.convolve(falling, np.ones(9) / 9, mode="same") * tall * 1.3
        edge = [
            *zip(across.tolist(), heights.tolist(), strict=True),
            *zip(across[::-1].tolist(), (heights + depth)[::-1].tolist(), strict=True),
        ]
        canvas.pen.polygon(edge, fill=canvas.lit(sand, far=far, shade=0.72))


def _forest(canvas: Canvas) -> None:
    from beholder.steering.generators.scene_subjects import foliage, tree

    kind = "conifer" if canvas.rng.random() < 0.5 else "round"
    for row, far in enumerate((0.6, 0.38, 0.16)):
        tall = canvas.height * (0.16 + 0.07 * row) * canvas.scene.horizon / 0.6
        base = canvas.ground + canvas.height * 0.015 * row
        colour = foliage(canvas)
        canvas.pen.rectangle((0, base - tall * 0.3, canvas.width, base + 4), fill=canvas.lit(colour, far=far, shade=0.62))
        for x in np.linspace(-0.02, 1.02, 22 - 4 * row).tolist():
            shift, size = canvas.rng.uniform(-0.02, 0.02), canvas.rng.uniform(0.7, 1.15)
            tree(canvas, (x + shift) * canvas.width, base, tall * size, kind=kind, far=far)
    meadow(canvas, canvas.ground + canvas.height * 0.02)


def _city(canvas: Canvas) -> None:
    pen, rng = canvas.pen, canvas.rng
    lamp, glass = (255, 214, 130), canvas.lit((150, 190, 215), far=0.1)
    symmetric = canvas.scene.composition == "symmetric"
    for far, low, high, wide in ((0.62, 0.14, 0.42, 0.055), (0.34, 0.10, 0.34, 0.075), (0.06, 0.06, 0.22, 0.095)):
        x, blocks = 0.0, []
        while x < (0.5 if symmetric else 1.0):
            step = wide * rng.uniform(0.6, 1.4)
            blocks.append((x, step, rng.uniform(low, high) * canvas.scene.horizon / 0.6, rng.uniform(0.75, 1.15)))
            x += step
        if symmetric:
            blocks += [(1 - left - step, step, tall, tone) for left, step, tall, tone in blocks]
        for left, step, tall, tone in blocks:
            box = (left * canvas.width, canvas.ground - tall * canvas.height, (left + step) * canvas.width, canvas.ground + 2)
            pen.rectangle(box, fill=canvas.lit(np.array((118, 112, 124)) * tone, far=far))
            pen.rectangle((box[2] - (box[2] - box[0]) * 0.22, *box[1:]), fill=canvas.lit(np.array((84, 80, 96)) * tone, far=far))
            if far > 0.5:
                continue
            size = canvas.height * (0.012 if far > 0.2 else 0.017)
            for row in np.arange(box[1] + size, box[3] - size, size * 2.1).tolist():
                for column in np.arange(box[0] + size, box[2] - size, size * 1.9).tolist():
                    if (not canvas.dark and canvas.scene.time != "sunset") or rng.random() < 0.42:
                        on = canvas.dark or canvas.scene.time == "sunset"
                        pen.rectangle(
                            (column, row, column + size * 0.8, row + size), fill=solid(np.array(lamp) * (1 - far * 0.6)) if on else glass
                        )
    street = np.array((112, 112, 116), dtype=float) if canvas.scene.season != "winter" else np.array((206, 210, 218), dtype=float)
    pen.rectangle((0, canvas.ground, canvas.width, canvas.height), fill=canvas.lit(street, shade=0.9))
    middle = canvas.width / 2 if symmetric else canvas.sun[0]
    for colour, half in (((82, 84, 90), 0.42), ((232, 226, 200), 0.012)):
        far, near, low, high = canvas.width * half * 0.12, canvas.width * half, canvas.height, canvas.ground
        road = [(middle - far, high), (middle + far, high), (middle + near, low), (middle - near, low)]
        pen.polygon(road, fill=canvas.lit(colour))


_GROUNDS = {"sea": _sea, "mountains": _mountains, "desert": _desert, "forest": _forest, "city": _city}
