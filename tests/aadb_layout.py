"""A made-up AADB in the layout of its release: real names of files and folders, attributes planted in the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 40)
NAMES = ("BalacingElements", "ColorHarmony", "Content", "DoF", "Light", "MotionBlur", "Object", "Repetition", "RuleOfThirds", "Symmetry", "VividColor")
SIZES = {"Train": 90, "Validation": 30, "TestNew": 30}


def make_aadb(root, *, sizes=SIZES, seed=0, balancing="BalacingElements", images="datasetImages_originalSize", line="{} {}\n"):
    """AADB in `root`.

    Planted: Light = brightness, ColorHarmony = warmth, VividColor = saturation, Repetition = stripes, BalacingElements = which half is brighter,
    score = brightness, saturation and noise. The others are noise.

    Args:
        sizes: part, as the files spell it -> images.
        balancing: how the files of that attribute are spelled.
        images: folder of the photographs.
        line: how a line is written.

    Returns:
        part -> {file name: {attribute as the files of the release spell it: value}}.
    """
    root, made, number = Path(root), {}, 0
    (root / "imgListFiles_label").mkdir(parents=True, exist_ok=True)
    (root / images).mkdir(parents=True, exist_ok=True)
    for part, size in sizes.items():
        made[part] = {}
        for _ in range(size):
            random = np.random.default_rng([seed, number])
            name = f"farm{number % 9}_{300 + number}_{19_000_000 + number}_b.jpg"
            number += 1
            values = dict(zip(NAMES, np.round(random.uniform(-1, 1, len(NAMES)), 4).tolist(), strict=True))
            values["Repetition"] = abs(values["Repetition"])
            values["score"] = round(float(np.clip(0.5 + 0.3 * values["Light"] + 0.15 * values["VividColor"] + random.normal(0, 0.03), 0, 1)), 4)
            picture(values, random).save(root / images / name, quality=92)
            made[part][name] = values
        write_lists(root, part, made[part], balancing=balancing, line=line)
    return made


def write_lists(root, part, values, *, balancing="BalacingElements", line="{} {}\n"):
    """The files of one part: {file name: {attribute: value}}."""
    for attribute in ("score", *NAMES):
        spelled = balancing if attribute == "BalacingElements" else attribute
        text = "".join(line.format(name, row[attribute]) for name, row in values.items() if attribute in row)
        (Path(root) / "imgListFiles_label" / f"imgList{part}Regression_{spelled}.txt").write_bytes(text.encode())


def picture(values, random):
    """What these attributes look like."""
    width, height = SIZE
    across = np.linspace(-1, 1, width)
    colour = np.array([1 + 0.3 * values["ColorHarmony"], 1.0, 1 - 0.3 * values["ColorHarmony"]])
    level = 0.5 + 0.3 * values["Light"] + 0.12 * values["BalacingElements"] * across + 0.25 * values["Repetition"] * np.sign(np.sin(12 * across))
    pixels = level[None, :, None] * colour + random.normal(0, 0.03, (height, width, 3))
    grey = pixels.mean(axis=2, keepdims=True)
    vivid = 1.3 + values["VividColor"]
    return Image.fromarray((255 * np.clip(grey + vivid * (pixels - grey), 0, 1)).astype(np.uint8)).resize((192, 160), Image.Resampling.NEAREST)
