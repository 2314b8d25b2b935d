"""Made-up people's feedback on drawn pictures, and a benchmark in AesBench's layout: everything that the commands of docs/aesexpert.md need to be tried.

    python examples/made_up_aesthetics.py made-up

writes made-up/train/images, made-up/train/feedback.jsonl (three made-up people on 36 pictures) and made-up/aesbench (12 other pictures, four questions
each, with answers). Two things decide every answer: whether a picture is bright or dark, and whether its colours are warm or cold. It measures nothing
about real photographs.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from beholder.steering.generators.scenes import SceneGenerator

PLACES = ("a house by the sea", "trees in the mountains", "two boats in a bay", "a lighthouse by the sea", "a village in a valley", "a lone tree in a meadow")
LIGHT = {"bright": "bright and airy, high key", "dark": "dark and moody, low key"}
COLOURS = {"warm": "warm colours, at sunset", "cold": "cold colours, at noon"}
GRADES = {("bright", "warm"): 5, ("bright", "cold"): 4, ("dark", "warm"): 3, ("dark", "cold"): 2}
PEOPLE = ("anna", "ben", "chloe")
LOOKS = {5: "This image is beautiful.", 4: "A good-looking image.", 3: "It is average, nothing more.", 2: "Rather unattractive, I think."}
OF_LIGHT = {
    "bright": ("The light is bright and clear.", "Its bright light lets every detail be seen.", "I like the airy, bright light."),
    "dark": ("The light is too dark to see much.", "The dark light hides the details.", "It is a pity that the light is so dark."),
}
OF_COLOUR = {
    "warm": ("The warm colours go together well.", "Its colours are warm and harmonious.", "The warm colours are lovely."),
    "cold": ("The cold colours look dull.", "Its colours are cold and lifeless.", "The colours are too cold for my taste."),
}
FEELING = {"warm": "It feels calm and friendly.", "cold": "It feels lonely and a little sad."}
ADVICE = {"bright": "", "dark": "Brighten it, so that the details can be seen."}


def feedback(image: str, light: str, colour: str, *, person: int) -> dict:
    grade = GRADES[light, colour]
    return {
        "image": image,
        "subject": PEOPLE[person],
        "grade": grade,
        "evaluation": LOOKS[grade],
        "reasons": f"{OF_LIGHT[light][person]} {OF_COLOUR[colour][person]}",
        "feeling": FEELING[colour],
        "suggestion": ADVICE[light],
        "source": "generated",
    }


def questions(light: str, colour: str, draw: random.Random) -> dict:
    """One item of AesBench_evaluation.json."""
    grade = {5: "High", 4: "High", 3: "Medium", 2: "Low"}[GRADES[light, colour]]
    perception = [OF_LIGHT["bright"][0], OF_LIGHT["dark"][0], "The light is green."]
    empathy = [FEELING["warm"], FEELING["cold"], "It makes people hungry."]
    return {
        "AesP_data": {"Question": "How is the light of this image?", "dimension": "Color and Light", **_options(perception, OF_LIGHT[light][0], draw)},
        "AesE_data": {"Question": "What does this image make people feel?", "dimension": "Emotion", **_options(empathy, FEELING[colour], draw)},
        "AesA1_data": {"Question": "How is the aesthetic quality of this image?", "Options": "A) High\nB) Medium\nC) Low", "Answer": grade},
        "AesI_data": {
            "Question": "Please explain the reasons that are related to the aesthetic quality.",
            "Answer": f"{OF_LIGHT[light][1]} {OF_COLOUR[colour][1]} {FEELING[colour]}",
        },
        "source": "AGI",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=48, help="in all, 16 or more; a quarter of them is the benchmark")
    given = parser.parse_args()
    if given.images < 16:
        parser.error("fewer than 16 images are not enough for people and a benchmark")
    generator, draw = SceneGenerator(), random.Random(0)
    said, asked = [], {}
    for number in range(given.images):
        light, colour = list(GRADES)[number % 4]
        name, held_out = f"scene-{number:03d}.png", (number // 4) % 4 == 3
        folder = given.out / ("aesbench" if held_out else "train") / "images"
        folder.mkdir(parents=True, exist_ok=True)
        prompt = f"{PLACES[draw.randrange(len(PLACES))]}, {COLOURS[colour]}, {LIGHT[light]}"
        generator.generate(prompt, seed=number).save(folder / name)
        if held_out:
            asked[name] = questions(light, colour, draw)
        else:
            said += [feedback(name, light, colour, person=person) for person in range(len(PEOPLE))]
    lines = "".join(json.dumps(one) + "\n" for one in said)
    (given.out / "train" / "feedback.jsonl").write_text(lines, encoding="utf-8")
    (given.out / "aesbench" / "AesBench_evaluation.json").write_text(json.dumps(asked, indent=1), encoding="utf-8")
    print(f"{len(said)} feedbacks in {given.out / 'train'}, {4 * len(asked)} questions in {given.out / 'aesbench'}")


def _options(texts: list[str], right: str, draw: random.Random) -> dict[str, str]:
    order = draw.sample(texts, len(texts))
    return {"Options": "\n".join(f"{'ABC'[place]}) {text}" for place, text in enumerate(order)), "Answer": f"{'ABC'[order.index(right)]}) {right}"}


if __name__ == "__main__":
    main()
