"""What `openai_stand_in.py` answers to `beholder aesmmit build`, `bench aesbench`, `critique` and `ask`: rules and pixel means in place of a model."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re

import numpy as np
from PIL import Image

from beholder.critique.aesmmit.questions import understood
from beholder.critique.aesmmit.rules import written_by_rules
from beholder.critique.base import SECTIONS

OPTION = re.compile(r"^\(?([A-Z])[).] ?(.+)$", re.MULTILINE)
BETWEEN = re.compile(r"<<<\n(.*?)\n>>>", re.DOTALL)
WORD = re.compile(r"[a-z]{4,}")
TOPICS = {"light": "light", "bright": "light", "dark": "light", "expos": "light", "colo": "colour", "composition": "composition", "fram": "composition",
          "sharp": "focus", "focus": "focus", "blur": "focus", "feel": "feeling", "mood": "feeling", "emotion": "feeling", "subject": "subject",
          "improve": "suggestion", "better": "suggestion", "suggest": "suggestion"}  # fmt: skip


def answer(question: str, picture: Image.Image | None, *, seed: int) -> str | None:
    """An answer as a chat model would give it; None if the question is none of these."""
    if (asked := understood(question)) is not None:  # aesmmit build
        feedback, before, n = asked
        made = [one.to_json() for one in written_by_rules(feedback, n=n, seed=seed, before=before)]
        return "Here are the questions:\n```json\n" + json.dumps(made, ensure_ascii=False, indent=1) + "\n```"
    if '"relevance"' in question and '"completeness"' in question:  # the judge of bench aesbench
        return json.dumps(grades(question, seed=seed))
    if picture is None:
        return None
    options = dict(OPTION.findall(question))
    if len(options) > 1:  # bench aesbench: any of them, the same for the same picture and question
        letter = sorted(options)[number(question, np.asarray(picture.resize((8, 8))).tobytes()) % len(options)]
        return f"{letter}) {options[letter].strip()}"
    said = sections(picture)
    if "json" in question.lower():  # critique
        wanted = [name for name in SECTIONS if f'"{name}"' in question] or list(SECTIONS)
        return json.dumps({name: said[name] for name in wanted})
    topics = dict.fromkeys(TOPICS[word] for word in TOPICS if word in question.lower())
    return " ".join(said[name] for name in topics) or " ".join(said[name] for name in ("overall", "light", "colour", "suggestion"))


def sections(picture: Image.Image) -> dict[str, str]:
    """Sentences made of pixel means; what cannot be told from those says so."""
    pixels = np.asarray(picture.convert("RGB").resize((64, 64)), dtype=float) / 255
    grey = pixels.mean(axis=2)
    bright, contrast, colour, warm = grey.mean(), grey.std(), np.ptp(pixels, axis=2).mean(), (pixels[..., 0] - pixels[..., 2]).mean()
    light = "bright" if bright > 0.6 else "dark" if bright < 0.35 else "of middle brightness"
    tone = "warm" if warm > 0.04 else "cool" if warm < -0.04 else "neutral"
    good = bool(0.35 <= bright <= 0.65 and contrast > 0.15)
    return {
        "overall": f"Judged by its pixels alone, the image is {'well exposed' if good else 'not exposed as well as it could be'}.",
        "composition": f"The middle is {'brighter' if grey[16:48, 16:48].mean() > bright else 'darker'} than the rest.",
        "colour": f"The colours are {'strong' if colour > 0.25 else 'restrained'} and {tone}.",
        "light": f"The image is {light}, with {'much' if contrast > 0.2 else 'little'} contrast (mean {bright:.2f}, spread {contrast:.2f}).",
        "focus": f"Neighbouring pixels differ by {np.abs(np.diff(grey)).mean():.3f} on average.",
        "subject": "What it shows cannot be told from pixel means.",
        "feeling": f"The tones are {tone}; what one feels before it cannot be told from pixel means.",
        "suggestion": "Make it brighter." if bright < 0.35 else "Make it darker." if bright > 0.65 else "Raise the contrast." if contrast < 0.15 else "Leave it as it is.",
    }


def grades(question: str, *, seed: int) -> dict[str, int]:
    """Grades by words in common with what experts wrote; a little by chance, as the repeats of a judge are."""
    texts = BETWEEN.findall(question)
    words = [set(WORD.findall(text.lower())) for text in texts]
    common = len(words[0] & words[-1]) / max(len(words[0]), 1) if len(words) > 1 else min(len(words[-1]) / 40, 1) if words else 0
    chance = number(question, str(seed)) % 3 == 0
    return {"relevance": 2 if common > 0.1 else 1, "precision": min(round(3 * common) + chance, 2), "completeness": min(round(3 * common), 2)}


def picture_of(messages: list[dict]) -> Image.Image | None:
    """The last image of a conversation."""
    for message in reversed(messages):
        parts = message["content"] if isinstance(message["content"], list) else []
        for part in reversed(parts):
            if part.get("type") == "image_url":
                return Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))).convert("RGB")
    return None


def number(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")
