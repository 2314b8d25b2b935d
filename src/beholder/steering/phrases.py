"""`phrases`: a writer without a model. It hangs phrases of a fixed list behind the goal and, once there are scores, breeds the better prompts.

Ours: an example and a baseline, not a language model. It knows no synonym, reads no picture and cannot rewrite the goal; what it can do is try
phrases and learn from the scores alone which of them help. So a run works from a clean clone, and a language model has something to beat.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from beholder.steering.base import Proposal, Shown, Writer
from beholder.steering.generators.scene_words import CHOICES, SHIFTS, SUBJECTS, mentions

PHRASES_A_VALUE = 3  # of the words in `scene_words`
MOST_AT_RANDOM, MOST = 8, 12  # phrases of a prompt: at the beginning, and after breeding
EXPLORE = 0.12  # share of prompts that are random although there are scores
KEEP_LONE = 0.8  # chance that a phrase only one parent has is inherited
SELECTION = 1.6  # weight of a parent one standard deviation better: e to this

# What photographers and illustrators are told, beside the words of `scenes`: kind -> phrases.
GENERAL: Mapping[str, tuple[str, ...]] = {
    "lens": ("85mm lens", "fisheye lens", "macro lens", "telephoto lens", "tilt-shift lens"),
    "focus": ("shallow depth of field", "everything in focus", "selective focus", "bokeh background"),
    "exposure": ("long exposure", "fast shutter", "double exposure", "motion blur"),
    "lighting": ("rim lighting", "backlit", "volumetric light", "studio lighting", "diffuse light", "candlelight"),
    "quality": ("highly detailed", "award winning", "sharp and clean", "8k", "masterpiece", "intricate texture"),
    "mood": ("peaceful", "lonesome mood", "joyful", "mysterious", "nostalgic", "majestic", "cosy"),
    "medium": ("ink drawing", "charcoal sketch", "digital art", "polaroid", "woodcut", "3d render"),
    "viewpoint": ("seen from below", "eye level", "through a window", "over the shoulder"),
}


@cache
def vocabulary() -> dict[str, tuple[str, ...]]:
    """kind -> phrases. Two phrases of a kind contradict each other, so a prompt gets one of each kind at most."""
    found = {name: tuple(phrase for phrases in values.values() for phrase in phrases[:PHRASES_A_VALUE]) for name, values in CHOICES.items()}
    found |= {name: phrases for name, (phrases, _) in SUBJECTS.items()}
    found |= {name: more[:PHRASES_A_VALUE] + less[:PHRASES_A_VALUE] for name, (more, less) in SHIFTS.items()}
    return found | dict(GENERAL)


@cache
def _kinds() -> dict[str, str]:
    """phrase -> kind."""
    return {phrase: kind for kind, phrases in vocabulary().items() for phrase in phrases}


class PhraseWriter(Writer):
    """Writes "goal, phrase, phrase, ...", at most one phrase of a kind and none of a kind that the goal speaks of itself.

    With an empty history: 1 to 8 phrases at random. With a history: for each prompt two parents, the better the likelier, whose phrases are
    mixed; then one or more phrases are added, exchanged or dropped. Every eighth prompt or so is random all the same. It uses nothing but the
    prompts and scores it is shown, and gives the same prompts for the same call.
    """

    name = "phrases"
    version = "1"

    def propose(self, goal: str, *, n: int, history: Sequence[Shown], seed: int, max_words: int) -> Proposal:
        goal = " ".join(goal.split())
        rng = random.Random(f"phrases {seed}")
        room = max_words - len(goal.split())
        open_kinds = [kind for kind in vocabulary() if kind not in {name for name, _ in mentions(goal)}]
        parents = [(phrases_of(one.prompt, goal), one.score) for one in history]
        weights = _weights([score for _, score in parents])
        known = {_joined(goal, phrases) for phrases, _ in parents} | {one.prompt for one in history}
        prompts: list[str] = []
        for _ in range(20 * n):  # most tries are new prompts; a tiny room for words may leave no others
            if len(prompts) == n:
                break
            if not parents or rng.random() < EXPLORE:
                phrases = _at_random(rng, open_kinds)
            else:
                first, second = rng.choices([genes for genes, _ in parents], weights=weights, k=2)
                phrases = _mutated(_mixed(first, second, rng), rng, open_kinds)
            prompt = _joined(goal, _fitting(phrases, room, rng))
            if prompt not in known and prompt != goal:
                known.add(prompt)
                prompts.append(prompt)
        return Proposal(tuple(prompts), raw="\n".join(prompts))

    def notes(self) -> list[str]:
        return ["phrases combines phrases of a fixed list: it is an example; a language model as --writer varies prompts freely"]


def phrases_of(prompt: str, goal: str) -> dict[str, str]:
    """kind -> phrase of what a prompt adds to the goal; parts between commas that are in no list are kinds of their own."""
    rest = prompt[len(goal) :] if prompt.startswith(goal) else prompt
    parts = [" ".join(part.split()) for part in rest.split(",")]
    return {_kinds().get(part, f"own {part}"): part for part in parts if part and part != goal}


def _joined(goal: str, phrases: Mapping[str, str]) -> str:
    """Phrases in the vocabulary's order, then others: the same phrases always make the same prompt."""
    order = {kind: place for place, kind in enumerate(vocabulary())}
    return ", ".join([goal, *(phrases[kind] for kind in sorted(phrases, key=lambda kind: (order.get(kind, len(order)), kind)))])


def _weights(scores: Sequence[float]) -> list[float]:
    """How likely each is a parent."""
    if not scores:
        return []
    values = np.asarray(scores, dtype=float)
    standard = (values - values.mean()) / (values.std() + 1e-9)
    return np.exp(SELECTION * np.clip(standard, -3, 3)).tolist()


def _at_random(rng: random.Random, kinds: Sequence[str]) -> dict[str, str]:
    chosen = rng.sample(kinds, min(len(kinds), rng.randint(1, MOST_AT_RANDOM)))
    return {kind: rng.choice(vocabulary()[kind]) for kind in chosen}


def _mixed(first: Mapping[str, str], second: Mapping[str, str], rng: random.Random) -> dict[str, str]:
    """A child: where both parents have a phrase of a kind, either's; where one has, usually that."""
    child = {}
    for kind in sorted({*first, *second}):
        if kind in first and kind in second:
            child[kind] = rng.choice((first[kind], second[kind]))
        elif rng.random() < KEEP_LONE:
            child[kind] = first.get(kind) or second[kind]
    return child


def _mutated(phrases: dict[str, str], rng: random.Random, kinds: Sequence[str]) -> dict[str, str]:
    """One change, sometimes more."""
    child = dict(phrases)
    while True:
        missing = [kind for kind in kinds if kind not in child]
        present = [kind for kind in child if kind in vocabulary()]
        what = rng.choices(("add", "exchange", "drop"), weights=(0.5, 0.35, 0.15))[0]
        if what == "add" and missing and len(child) < MOST:
            kind = rng.choice(missing)
            child[kind] = rng.choice(vocabulary()[kind])
        elif what == "exchange" and present:
            kind = rng.choice(present)
            child[kind] = rng.choice(vocabulary()[kind])
        elif child:
            del child[rng.choice(sorted(child))]
        if rng.random() < 0.6:
            return child


def _fitting(phrases: Mapping[str, str], room: int, rng: random.Random) -> dict[str, str]:
    """As many of the phrases, in random order, as fit into `room` words."""
    kept, left = {}, room
    for kind in rng.sample(sorted(phrases), len(phrases)):
        words = len(phrases[kind].split())
        if words <= left:
            kept[kind], left = phrases[kind], left - words
    return kept
