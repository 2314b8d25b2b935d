"""A small generated benchmark in every layout that AesBench comes in, with answers that can be seen in the pixels.

Every image is of one colour (red, green, blue or grey) in one brightness (dark, middle or bright), so that a stand-in model may answer
from pixels alone (`seen`), and right and wrong answers are known (`right_answers`).
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 40), "blue": (40, 60, 200), "grey": (120, 120, 120)}
BRIGHTNESS = {"dark": 0.35, "middle": 0.75, "bright": 1.25}
GRADES = {"dark": "C", "middle": "B", "bright": "A"}  # High is bright
PREFIXES = ("", "baid_", "diffusiondb_", "cad", "agiqa_", "artemis_")
DIMENSIONS = {
    "AesP": ("Technical Quality", "Color and Light", "Composition", "Content"),
    "AesE": ("Emotion", "Interest", "Uniqueness", "Vibe"),
}
LETTERS = "ABCD"


def made(n: int = 12, *, seed: int = 0) -> list[dict]:
    """[n] images with one question of each part: {"image", "colour", "brightness", "AesP": {"question", "options", "answer", "dimension"}, ...}."""
    draw = random.Random(seed)
    found = []
    for i in range(n):
        colour, brightness = draw.choice(list(COLOURS)), draw.choice(list(BRIGHTNESS))
        found.append(
            {
                "image": f"{PREFIXES[i % len(PREFIXES)]}{1000 + i}.png",
                "colour": colour,
                "brightness": brightness,
                "AesP": _perception(i, colour, draw) | {"dimension": DIMENSIONS["AesP"][i % 4]},
                "AesE": _empathy(i, brightness, draw) | {"dimension": DIMENSIONS["AesE"][i % 4]},
                "AesA": {
                    "question": "How is the aesthetic quality of this image?",
                    "options": ["High", "Medium", "Low"],
                    "answer": GRADES[brightness],
                    "dimension": "",
                },
                "AesI": {
                    "question": "Please explain the reasons that are related to the aesthetic quality.",
                    "reference": f"The image is plain {colour} and {brightness}, which gives it a calm look.",
                },
            }
        )
    return found


def seen(image: Image.Image) -> tuple[str, str]:
    """(colour, brightness) of an image as `made` says it, from its pixels."""
    pixel = np.asarray(image.convert("RGB"), dtype=float).reshape(-1, 3).mean(0)
    distances = {
        (colour, brightness): np.abs(pixel - np.minimum(np.array(rgb) * factor, 255)).sum()
        for colour, rgb in COLOURS.items()
        for brightness, factor in BRIGHTNESS.items()
    }
    return min(distances, key=distances.get)


def right_answers(n: int = 12, *, seed: int = 0) -> dict[str, dict[str, str]]:
    """Part -> image -> right letter; for AesI what the experts wrote."""
    parts = {part: {one["image"]: one[part]["answer"] for one in made(n, seed=seed)} for part in ("AesP", "AesE", "AesA")}
    return parts | {"AesI": {one["image"]: one["AesI"]["reference"] for one in made(n, seed=seed)}}


def write_official(
    root, n: int = 12, *, spelling: str = "data", answers: str = "inside", options: str = "text", extras: bool = True, seed: int = 0
):
    """ROOT/AesBench_evaluation.json and ROOT/images.

    Args:
        spelling: of the keys: "data" (AesP_data, Question, Options, AesA1_data) or "plain" (AesP, question, options, AesA).
        answers: "inside" (Answer: "B) text"), "json" (result.json), "csv" (answers.csv: image, AesP, AesE, AesA, AesI) or "none" (hidden).
        options: "text" (one string), "tight" (no blank after the bracket), "list" or "dict".
        extras: dimension of every question and source of every image as fields.
    """
    root = Path(root)
    _write_images(root / "images", n, seed=seed)
    items = {}
    for i, one in enumerate(made(n, seed=seed)):
        item = {"source": ("NI", "AI", "AGI", "AI", "AGI", "AI")[i % 6]} if extras else {}
        for part in ("AesP", "AesE", "AesA", "AesI"):
            name = {"AesA": "AesA1"}.get(part, part) + "_data" if spelling == "data" else part
            capital = str.capitalize if spelling == "data" else str.lower
            entry = {capital("question"): one[part]["question"]}
            if part != "AesI":
                entry[capital("options")] = _options(one[part]["options"], options)
                if extras and one[part]["dimension"]:
                    entry["dimension"] = one[part]["dimension"]
            if answers == "inside":
                entry[capital("answer")] = _truth(one, part)
            item[name] = entry
        items[one["image"]] = item
    (root / "AesBench_evaluation.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    truth = {one["image"]: {part: _truth(one, part) for part in ("AesP", "AesE", "AesA", "AesI")} for one in made(n, seed=seed)}
    if answers == "json":
        renamed = {image: {("AesA1" if part == "AesA" else part): text for part, text in parts.items()} for image, parts in truth.items()}
        (root / "result.json").write_text(json.dumps(renamed), encoding="utf-8")
    if answers == "csv":
        with (root / "answers.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "AesP", "AesE", "AesA", "AesI"])
            writer.writerows([image, *parts.values()] for image, parts in truth.items())
    return root


def write_tsv(root, n: int = 12, *, name: str = "AesBench_SMALL.tsv", images: str = "base64", answers: bool = True, seed: int = 0):
    """ROOT/NAME: a table as VLMEvalKit has it, without AesI. Returns the file.

    Args:
        images: "base64", "reference" (the second and third question of an image give the index of its first) or "path" (ROOT/images).
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    if images == "path":
        _write_images(root / "images", n, seed=seed)
    rows, index = [], 0
    for one in made(n, seed=seed):
        first = index
        for part, title in (("AesP", "Perception"), ("AesE", "Empathy"), ("AesA", "Assessment")):
            options = one[part]["options"]
            row = {"index": index, "question": one[part]["question"]}
            row |= {letter: options[k] if k < len(options) else "" for k, letter in enumerate(LETTERS)}
            row |= {
                "answer": one[part]["answer"] if answers else "",
                "category": title,
                "l2-category": one[part]["dimension"],
                "split": "val",
            }
            if images == "path":
                row["image_path"] = one["image"]
            else:
                row["image"] = str(first) if images == "reference" and index != first else base64.b64encode(png(one)).decode()
            rows.append(row)
            index += 1
    with (root / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return root / name


def png(one: dict) -> bytes:
    """The image of an entry of `made`, as the bytes of a PNG file; no two are the same."""
    rgb = np.minimum(np.array(COLOURS[one["colour"]]) * BRIGHTNESS[one["brightness"]], 255).astype(np.uint8)
    pixels = np.tile(rgb, (24, 32, 1))
    for k, bit in enumerate(f"{int(''.join(filter(str.isdigit, one['image']))):016b}"):
        pixels[0, k] = 255 * int(bit)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write_images(folder: Path, n: int, *, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one in made(n, seed=seed):
        (folder / one["image"]).write_bytes(png(one))


def _perception(i: int, colour: str, draw: random.Random) -> dict:
    colours = draw.sample(list(COLOURS), 4)
    kind = i % 4
    if kind == 0:
        text, options, right = "Is the main colour of this image red?", ["Yes", "No"], "Yes" if colour == "red" else "No"
    elif kind == 1:
        text, options, right = "What is the main colour of this image?", [name.capitalize() for name in colours], colour.capitalize()
    elif kind == 2:
        text, options, right = "How would you describe the colour?", [f"Mostly {name}" for name in colours], f"Mostly {colour}"
    else:
        text, options, right = (
            "Why does the image look plain?",
            [f"Because everything is {name}" for name in colours],
            f"Because everything is {colour}",
        )
    return {"question": text, "options": options, "answer": LETTERS[options.index(right)]}


def _empathy(i: int, brightness: str, draw: random.Random) -> dict:
    feelings = {"dark": "Gloomy", "middle": "Calm", "bright": "Cheerful"}
    options = draw.sample([*feelings.values(), "Angry"], 4)
    text = ("What does this image make one feel?", "How does this image feel?")[i % 2]
    return {"question": text, "options": options, "answer": LETTERS[options.index(feelings[brightness])]}


def _options(texts: list[str], form: str) -> object:
    if form == "list":
        return texts
    if form == "dict":
        return dict(zip(LETTERS, texts, strict=False))
    blank = "" if form == "tight" else " "
    return "\n".join(f"{letter}){blank}{text}" for letter, text in zip(LETTERS, texts, strict=False))


def _truth(one: dict, part: str) -> str:
    if part == "AesI":
        return one["AesI"]["reference"]
    letter = one[part]["answer"]
    return f"{letter}) {one[part]['options'][LETTERS.index(letter)]}"
