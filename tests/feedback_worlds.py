"""Feedback with generated pictures, for tests of instruction data."""

from __future__ import annotations

import json
import random

import image_files
from beholder.critique.aesmmit.feedback import Feedback

GOOD = {
    "light": "The light is soft and warm on the {thing}.",
    "colour": "The colours of the {thing} are vivid and harmonious.",
    "composition": "The composition is balanced, and the {thing} stands out.",
    "clarity": "The {thing} is sharp and every detail is clear.",
}
BAD = {
    "light": "The light is harsh and the {thing} is overexposed.",
    "colour": "The colours are dull and clash with the {thing}.",
    "composition": "The composition is cluttered; the {thing} is cut off.",
    "clarity": "The {thing} is blurry and the noise is distracting.",
}


def feedback_world(n_images=6, n_people=3, *, seed=0):
    """Images with an even number are liked, the others are not."""
    draw = random.Random(seed)
    found = []
    for number in range(n_images):
        liked = number % 2 == 0
        for person in range(n_people):
            thing = draw.choice(["lake", "street", "flower", "church", "cat"])
            reasons = [text.format(thing=thing) for text in draw.sample(list((GOOD if liked else BAD).values()), 3)]
            found.append(
                Feedback(
                    image=f"p{number:02}.png",
                    subject=f"Somebody{person}",
                    grade=draw.choice([4, 5] if liked else [1, 2]),
                    evaluation="A beautiful picture." if liked else "Not good-looking.",
                    reasons=" ".join(reasons),
                    feeling=draw.choice(["It feels calm and peaceful.", "I feel happy."] if liked else ["It leaves me bored.", "A gloomy and tense mood."]),
                    suggestion="" if liked else draw.choice(["Crop tighter around the subject.", "Use softer light in the morning."]),
                    source="natural",
                )
            )
    return found


def save_world(folder, feedback):
    """Writes the pictures and feedback.jsonl; returns (images, file)."""
    images = folder / "images"
    for number, name in enumerate(dict.fromkeys(one.image for one in feedback)):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        image_files.picture(seed=number).save(images / name, "PNG")
    file = folder / "feedback.jsonl"
    file.write_text("".join(json.dumps(one.to_json()) + "\n" for one in feedback))
    return images, file
