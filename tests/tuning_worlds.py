"""Instruction data in which the colour of an image decides the answers, and what tuning a tiny model on it takes."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from beholder.critique.aesmmit.instructions import Instruction
from beholder.critique.tuning import TuningOptions

COLOURS = {"red": (230, 40, 40), "green": (40, 230, 40), "blue": (40, 40, 230)}
QUESTION = "Which colour has it?"
QUICK = {"precision": "float32", "device": "cpu", "gradient_checkpointing": False, "save_every": 0, "accumulate": 1}


def options(**given):
    """For a processor and a few seconds."""
    return TuningOptions(**QUICK | {"batch": 4, "learning_rate": 2e-3} | given)


def world(folder, n, *, seed=0, turns=1):
    """n noisy pictures in the folder, each with a conversation of so many questions."""
    rng, items = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        colour = str(rng.choice(list(COLOURS)))
        width, height = rng.integers(30, 90, size=2)
        pixels = np.array(COLOURS[colour]) * rng.uniform(0.8, 1.1) * rng.normal(1, 0.1, size=(height, width, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        said = [(QUESTION, f"It is {colour}."), ("Do you like it?", "Yes, very much so." if number % 2 else "No.")]
        items.append(Instruction(f"{number}", f"{number}.png", tuple(said[:turns])))
    return items


def as_file(path, items):
    """The items as LLaVA stores them."""
    made = []
    for item in items:
        messages = [{"from": role, "value": text} for turn in item.turns for role, text in zip(("human", "gpt"), turn, strict=True)]
        messages[0]["value"] = "<image>\n" * bool(item.image) + messages[0]["value"]
        made.append({"id": item.id, **({"image": item.image} if item.image else {}), "conversations": messages})
    path.write_text(json.dumps(made))
    return path
