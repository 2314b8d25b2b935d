"""A planted search problem: prompts are lists of words, images carry their number of good words, the judge reads it. Every call is noted in a file."""

from __future__ import annotations

import hashlib
import math
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from beholder.steering.base import CallFailed, Generator, Judge, Judged, Proposal, Writer

GOOD = [f"good{number}" for number in range(12)]
BAD = [f"bad{number}" for number in range(24)]
GOAL = "a cat"


class CallBook:
    """Notes every call as a line of a file, so that calls of killed processes are counted, too; kills this process at the `kill_at`-th."""

    def __init__(self, file: Path | None = None, *, kill_at: int = 0) -> None:
        self.file, self.kill_at, self.lines, self.here = file, kill_at, [], 0

    def note(self, text: str) -> None:
        self.here += 1
        if self.here == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.lines.append(text)
        if self.file is not None:
            with self.file.open("a") as out:
                out.write(text + "\n")

    def answered(self, kind: str) -> Counter:
        lines = self.file.read_text().splitlines() if self.file is not None else self.lines
        return Counter(line for line in lines if line.startswith(kind))


def digest(*parts: object) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16)


class WordWriter(Writer):
    """Adds one to three words to a prompt it was shown, and may drop one; to the goal if it was shown none."""

    name, version = "words", "1"

    def __init__(self, book: CallBook | None = None) -> None:
        self.book = book or CallBook()

    def propose(self, goal, *, n, history, seed, max_words):
        self.book.note(f"writer {seed} {n} {digest([(one.prompt, one.score) for one in history])}")
        rng = np.random.default_rng(seed)
        parents = [one.prompt for one in history][:5] or [goal]
        made = []
        for _ in range(n):
            words = parents[rng.integers(len(parents))].split()
            words += [str(word) for word in rng.choice([*GOOD, *BAD], size=rng.integers(1, 4))]
            if len(words) > 5 and rng.random() < 0.5:
                words.pop(int(rng.integers(2, len(words))))
            made.append(" ".join(dict.fromkeys(words)))
        return Proposal(tuple(made), raw="\n".join(made))

    def complete(self, text, *, seed):
        self.book.note(f"complete {seed} {text}")
        return f"{text} {seed}"


class WordGenerator(Generator):
    """Red = number of good words, green = of bad ones. `failing` (prompt, seed) -> kinds of failure, one for each try."""

    name, version = "word images", "1"

    def __init__(self, book: CallBook | None = None, *, failing=None, before=lambda prompt, seed: None) -> None:
        self.book, self.failing, self.before, self.tried = book or CallBook(), failing or (lambda prompt, seed: ()), before, Counter()

    def generate(self, prompt, *, seed):
        self.before(prompt, seed)
        self.book.note(f"image {seed} {prompt}")
        kinds, place = self.failing(prompt, seed), self.tried[prompt, seed]
        self.tried[prompt, seed] += 1
        if place < len(kinds) and kinds[place]:
            raise CallFailed(f"it is {kinds[place]}", kind=kinds[place])
        words = set(prompt.split())
        colour = (10 * len(words & set(GOOD)), 5 * len(words & set(BAD)), digest(prompt, seed) % 8)
        return Image.new("RGB", (16, 16), colour)


class ColourJudge(Judge):
    """Reward = good words less half of the bad ones, over 12, and a little for the seed."""

    def __init__(self, book: CallBook | None = None, *, name: str = "colour", weight: float = 1.0, skip=lambda prompt: False) -> None:
        self.book, self.name, self.version, self.weight, self.skip = book or CallBook(), name, "1", weight, skip

    def judge(self, images, *, prompts, goal):
        self.book.note(f"judge {self.name} {' '.join(sorted(Path(image).stem for image in images))}")
        judged = []
        for image, prompt in zip(images, prompts, strict=True):
            if self.skip(prompt):
                judged.append(Judged(math.nan, skipped="too dark"))
                continue
            with Image.open(image) as opened:
                red, green, blue = opened.getpixel((0, 0))
            judged.append(Judged(self.weight * (red / 10 - green / 10 + blue / 100) / 12, parts={"rater Ann": red / 120}))
        return judged


class ScriptedWriter(Writer):
    """Gives what it was told, call by call: a tuple of prompts, or the kind of a failure."""

    name = "script"

    def __init__(self, *answers) -> None:
        self.answers, self.asked = list(answers), []

    def propose(self, goal, *, n, history, seed, max_words):
        self.asked.append((n, seed, tuple(history)))
        answer = self.answers.pop(0) if self.answers else ()
        if isinstance(answer, str):
            raise CallFailed(f"it is {answer}", kind=answer)
        return Proposal(tuple(answer))
