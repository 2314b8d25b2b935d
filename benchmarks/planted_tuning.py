"""Whether instruction tuning works from end to end, on a tiny random model.   python benchmarks/planted_tuning.py [--seeds 3] [--method full|lora]

Planted: the colour and the brightness of an image decide the answers to two questions, in a conversation. A tiny random LLaVA (see
`beholder.critique.tuning.tiny`) is tuned on it; then it answers the questions about images it has not seen, read by `open_vlm` and asked through
`Answerer` as any other model. Printed for each seed: the first and the last loss, right answers on the images held out, whether the
vision tower came out bit by bit as it went in, and which parts changed. Ours: the loss is to fall below 10 % of the first one, and at least 95 % of
the answers are to be right. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm.answers import Answerer
from beholder.critique.aesmmit.instructions import Instruction
from beholder.critique.tuning import TuningOptions, tune
from beholder.critique.tuning.model import GROUPS
from beholder.critique.tuning.tiny import NAME, tiny_llava
from beholder.photos import read_photo

COLOURS = {"red": (1, 0.15, 0.15), "green": (0.15, 1, 0.15), "blue": (0.15, 0.15, 1), "grey": (1, 1, 1)}
LIGHTS = {"dark": 70, "bright": 230}
QUESTIONS = ("Which colour has it?", "Is it dark or bright?")
MOST, LEAST = 0.10, 0.95
OPTIONS = TuningOptions(
    epochs=12, batch=8, accumulate=1, learning_rate=2e-3, precision="float32", device="cpu", gradient_checkpointing=False, save_every=0
)


def picture(colour: str, light: str, rng: np.random.Generator) -> Image.Image:
    """A noisy picture of some size in that colour and light."""
    width, height = rng.integers(40, 120, size=2)
    grain = rng.normal(1, 0.15, size=(height, width, 1))
    pixels = np.array(COLOURS[colour]) * LIGHTS[light] * rng.uniform(0.85, 1.1) * grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def world(folder: Path, n: int, *, seed: int) -> list[Instruction]:
    """n images in a folder, and a conversation about each."""
    rng, items = np.random.default_rng(seed), []
    folder.mkdir(parents=True)
    for number in range(n):
        colour, light = str(rng.choice(list(COLOURS))), str(rng.choice(list(LIGHTS)))
        picture(colour, light, rng).save(folder / f"{number}.png")
        answers = (f"The image is {colour}.", f"It is {light}.")
        items.append(Instruction(f"{number}", f"{number}.png", tuple(zip(QUESTIONS, answers, strict=True))))
    return items


def right(folder: Path, items: list[Instruction], images: Path) -> float:
    """Share of right answers; the second question is asked after the first one and its right answer."""
    vlm = open_vlm(folder, device="cpu", dtype="float32")
    turns, wanted = [], []
    for item in items:
        photo = vlm.prepare(read_photo(images / item.image))
        for number, (question, answer) in enumerate(item.turns):
            turns.append(vlm.turn([photo, question], reply=True, history=item.turns[:number]))
            wanted.append(answer)
    found = dict(Answerer(vlm, rows=32).answers(turns))
    return float(np.mean([found[place].text == answer for place, answer in enumerate(wanted)]))


def changed(base: Path, tuned: Path) -> dict[str, bool]:
    """Part of the model -> whether any bit of it changed."""
    before, after = load_file(base / "model.safetensors"), load_file(tuned / "model.safetensors")
    if before.keys() != after.keys():
        raise ValueError("the tuned model has other weights than its base")
    return {
        part: any(not torch.equal(before[name], after[name]) for name in before if mark in name)
        for part, mark in GROUPS.items()
        if any(mark in name for name in before)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--rate", type=float, default=None)
    chosen = parser.parse_args()
    good = True
    for seed in range(chosen.seeds):
        options = replace(OPTIONS, method=chosen.method, seed=seed)
        if chosen.method == "lora":
            options = replace(options, learning_rate=5e-3, rank=16, alpha=32.0)
        options = replace(options, epochs=chosen.epochs or options.epochs, learning_rate=chosen.rate or options.learning_rate)
        with TemporaryDirectory() as folder:
            root = Path(folder)
            items, others = world(root / "train", chosen.images, seed=seed), world(root / "held-out", 64, seed=1000 + seed)
            base = tiny_llava(text for item in items for turn in item.turns for text in turn)
            began = time.perf_counter()
            result = tune(items, images=root / "train", model=NAME, out=root / "tuned", options=options)
            seconds = time.perf_counter() - began
            before, after = right(base, others, root / "held-out"), right(root / "tuned", others, root / "held-out")
            parts = changed(base, root / "tuned")
        ratio = result.end_loss / result.start_loss
        good &= ratio < MOST and after >= LEAST and not parts["vision tower"]
        print(
            f"{chosen.method}, seed {seed}: loss {result.start_loss:.3f} -> {result.end_loss:.4f} ({ratio:.2%}) in {result.steps} steps and "
            f"{seconds:.0f} s; right on images held out {before:.1%} -> {after:.1%}; "
            + ", ".join(f"{part} {'changed' if new else 'bit-identical'}" for part, new in parts.items())
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
