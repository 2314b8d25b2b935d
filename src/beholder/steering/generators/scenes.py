"""`scenes`: a generator without a model. It draws simple landscapes, so that steering can be tried, and proved, anywhere. Ours.

It understands the words in `scene_words` and ignores all others. What a prompt does not say is drawn from the seed: with the same seed two
prompts differ in exactly what they say, as with the noise of a real generator. It stands for no real model: its worth is that what a picture
shows is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from beholder.errors import BeholderError
from beholder.steering.base import Generator
from beholder.steering.generators.scene_words import CHOICES, MOST, SUBJECTS, mentions

SIZE = (320, 240)
SMALL = (96, 72)  # what attributes are measured on
LEAST, LARGEST = 48, 2048  # pixels of a side

_LIKELY = {  # weights when unnamed; else 1
    "time": {"night": 0.6},
    "weather": {"clear": 2.0, "clouds": 2.0, "fog": 0.7, "storm": 0.5},
    "palette": {"natural": 4.0, "monochrome": 0.4},
    "style": {"photo": 3.0},
}
_OFTEN = {"trees": 0.35, "boats": 0.2, "houses": 0.25, "towers": 0.1, "people": 0.2, "birds": 0.25, "sun": 0.6}  # chance when unnamed
_USUAL = {"trees": 5, "boats": 2, "houses": 3, "towers": 1, "people": 2, "birds": 5, "sun": 1}  # most when unnamed
_HORIZON = {"wide": 0.62, "close": 0.5, "symmetric": 0.54, "thirds": 0.66}


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Args:
        time, weather, ground, season, palette, composition, style: one of the values in `scene_words.CHOICES`.
        trees, boats, houses, towers, people, birds: how many, 0 to 9. sun: 1 if the sun (at night the moon) is in the frame, else 0.
        brightness, contrast: -1 to 1; 0 = as the scene comes.
        horizon: height of the sky, 0.25 to 0.8 of the picture.
        layout: seed of everything else: shapes, places.
    """

    time: str
    weather: str
    ground: str
    season: str
    palette: str
    composition: str
    style: str
    trees: int
    boats: int
    houses: int
    towers: int
    people: int
    birds: int
    sun: int
    brightness: float
    contrast: float
    horizon: float
    layout: int

    @property
    def subjects(self) -> int:
        """Trees, boats, houses, towers, people and birds."""
        return self.trees + self.boats + self.houses + self.towers + self.people + self.birds


def scene_of(prompt: str, seed: int) -> Scene:
    """The scene of a prompt: what it says, the rest from the seed. Every property is drawn whether it is named or not, so naming one
    leaves the others as they are."""
    rng = np.random.default_rng([seed & 0xFFFFFFFF, 7])
    found: dict[str, str | int | float] = {}
    for name, values in CHOICES.items():
        weights = np.array([_LIKELY.get(name, {}).get(value, 1.0) for value in values])
        found[name] = list(values)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    for name in SUBJECTS:
        number, present = int(rng.integers(1, _USUAL[name] + 1)), rng.random() < _OFTEN[name]
        found[name] = number if present else 0
    for name in ("brightness", "contrast"):
        found[name] = float(rng.uniform(-0.3, 0.3))
    horizon = float(rng.uniform(-0.05, 0.05))
    layout = int(rng.integers(1 << 31))
    said: dict[str, str | int] = {}
    for name, value in mentions(prompt):
        said.setdefault(name, value)
    for name, value in said.items():
        if name in ("brightness", "contrast"):
            found[name] = 0.75 if value == "+" else -0.75
        elif name == "sun":
            found[name] = min(int(value), 1)
        elif name != "horizon":
            found[name] = min(value, MOST) if isinstance(value, int) else value
    horizon += _HORIZON[str(found["composition"])]
    if "horizon" in said:
        horizon = 0.76 if said["horizon"] == "+" else 0.3
    return Scene(**found, horizon=horizon, layout=layout)


def attributes(scene: Scene) -> dict[str, float]:
    """What is known of a scene's picture; raters that are made up, such as those of benchmarks/planted_taste.py, can like or dislike it.

    Returns:
        On 0..1 each, measured on a small rendering: "brightness" (mean luma), "contrast" (its standard deviation, doubled), "warmth" (red
        less blue, .5 = neutral), "greenness" (green less the mean of red and blue, .5 = neutral), "saturation", "complexity" (mean
        difference of neighbouring pixels). Known from the scene: "sky" (share of the picture), "subjects" (share of 15, at most 1),
        "people", "boats", "trees", "houses" (share of 9), "sun" (0 or 1), "water", "built" (city or houses or towers), "fog", "storm",
        "symmetry", "flatness" (poster), "paint" (painting), each 0 or 1.
    """
    pixels = np.asarray(render(scene, size=SMALL), dtype=np.float32) / 255
    luma = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    red, green, blue = (float(pixels[..., channel].mean()) for channel in range(3))
    step = float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())
    return {
        "brightness": float(luma.mean()),
        "contrast": min(1.0, 2 * float(luma.std())),
        "warmth": 0.5 + (red - blue) / 2,
        "greenness": 0.5 + (green - (red + blue) / 2) / 2,
        "saturation": float((pixels.max(axis=-1) - pixels.min(axis=-1)).mean()),
        "complexity": min(1.0, 6 * step),
        "sky": scene.horizon,
        "subjects": min(1.0, scene.subjects / 15),
        **{name: getattr(scene, name) / MOST for name in ("people", "boats", "trees", "houses")},
        "sun": float(scene.sun),
        "water": float(scene.ground == "sea" or scene.boats > 0),
        "built": float(scene.ground == "city" or scene.houses + scene.towers > 0),
        "fog": float(scene.weather == "fog"),
        "storm": float(scene.weather == "storm"),
        "symmetry": float(scene.composition == "symmetric"),
        "flatness": float(scene.style == "poster"),
        "paint": float(scene.style == "painting"),
    }


def render(scene: Scene, *, size: tuple[int, int] = SIZE) -> Image.Image:
    """The RGB picture, `size` (width, height) pixels; the same for the same scene."""
    from beholder.steering.generators.scene_drawing import draw
    from beholder.steering.generators.scene_finish import finish

    return finish(draw(scene, size), scene)


class SceneGenerator(Generator):
    """Draws the scene of a prompt: about 10 ms an image, the same pixels for the same prompt and seed.

    Args:
        size: (width, height) in pixels, 48 to 2048 each; 320 x 240 if not given.

    Raises:
        BeholderError: a size out of range.
    """

    name = "scenes"
    version = "1"

    def __init__(self, *, size: tuple[int, int] | None = None) -> None:
        self.size = SIZE if size is None else (int(size[0]), int(size[1]))
        if not all(LEAST <= side <= LARGEST for side in self.size):
            raise BeholderError(f"scenes draws sides of {LEAST} to {LARGEST} pixels, not {size[0]} x {size[1]}: give another size")
        if self.size != SIZE:
            self.version = f"{type(self).version}-{self.size[0]}x{self.size[1]}"

    def generate(self, prompt: str, *, seed: int) -> Image.Image:
        return render(scene_of(prompt, seed), size=self.size)

    def notes(self) -> list[str]:
        return ["scenes draws simple landscapes from the words it knows; name a text-to-image model for real pictures"]
