"""Which items are learned from, in which order, and what the model gets of them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from beholder.backbones.vlm.base import IGNORED, Turn
from beholder.critique.aesmmit.feedback import valid_text
from beholder.critique.aesmmit.instructions import Instruction
from beholder.critique.tuning.conversation import Conversations
from beholder.errors import BeholderError, UnreadableImage
from beholder.located import SHOWN, SkippedInput
from beholder.photos import read_photo
from beholder.whole_file import replace_file

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Kept:
    """What is learned from.

    Args:
        items: all that can be used.
        left_out: sentences that name the others.
        cut: how many of `items` are longer than the model may see, and lose their end.
    """

    items: tuple[Instruction, ...]
    left_out: tuple[str, ...] = ()
    cut: int = 0


def valid(items: Sequence[Instruction]) -> list[Instruction]:
    """The items with texts that a tokenizer takes: see `valid_text`."""
    return [
        item if fit == item.turns else replace(item, turns=fit)
        for item in items
        for fit in [tuple((valid_text(question), valid_text(answer)) for question, answer in item.turns)]
    ]


def check_images(items: Sequence[Instruction], *, images: Path, kept: Path | None = None, progress: Progress | None = None) -> dict[str, str]:
    """Image -> what is wrong with it, for all images that items name; "" for good ones. Each is decoded once.

    Args:
        images: the folder their paths start from.
        kept: a JSON file where what was found is kept, so that the same files (path, size, time) are not read again.
        progress: called with (done, total, what).
    """
    known: dict[str, Any] = {}
    if kept is not None and kept.is_file():
        try:
            known = json.loads(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
    names = sorted({item.image for item in items if item.image})

    def look(name: str) -> list:
        path = images / name
        try:
            facts = path.stat()
            state = [str(path.absolute()), facts.st_size, facts.st_mtime_ns]
            if name in known and known[name][:3] == state:
                return known[name]
            read_photo(path, min_side=64)
            return [*state, ""]
        except UnreadableImage as error:
            return [*state, error.reason]
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            return ["", 0, 0, f"is not there ({getattr(error, 'strerror', None) or error}): correct the path, or name the folder of images"]

    found: dict[str, Any] = {}
    with ThreadPoolExecutor() as pool:
        for number, (name, state) in enumerate(zip(names, pool.map(look, names), strict=True), start=1):
            found[name] = state
            if progress is not None:
                progress(number, len(names), "looking at images")
    if kept is not None:
        replace_file(kept, json.dumps(found).encode())
    return {name: state[3] for name, state in found.items()}


def _has_system_message(item: Instruction) -> bool:
    stored = (item.read or {}).get("conversations")
    return isinstance(stored, list) and any(isinstance(one, Mapping) and str(one.get("from", "")).lower() == "system" for one in stored)


def keep(items: Sequence[Instruction], *, wrong: Mapping[str, str], chat: Conversations, max_length: int) -> Kept:
    """Leave out what cannot be learned from: a bad image, a question or answer that is empty, no answer left within `max_length` tokens.

    Args:
        wrong: see `check_images`.

    Raises:
        BeholderError: nothing is left.
    """
    whole, cut, sentences = [], 0, []
    bad = {name: reason for name, reason in wrong.items() if reason}
    empty, long = [], []
    for number, item in enumerate(items, start=1):
        name = item.id or f"number {number}"
        if bad.get(item.image):
            continue
        if not item.turns or not all(question.strip() and answer.strip() for question, answer in item.turns):
            empty.append(name)
            continue
        if _may_be_longer(item, chat, than=max_length):
            _, labels, is_cut = chat.labelled(_blind(item, chat), max_length=max_length)
            if all(label == IGNORED for label in labels):
                long.append(name)
                continue
            cut += is_cut
        whole.append(item)
    if bad:
        count = sum(item.image in bad for item in items)
        listed = _listed([f"{name}: {reason.partition(':')[0]}" for name, reason in bad.items()])
        sentences.append(f"{count} items are left out, as {len(bad)} images cannot be read ({listed}): give their folder with --images, or put the files back")
    if empty:
        sentences.append(f"{len(empty)} items are left out, as a question or answer is empty ({_listed(empty)}): correct them")
    if long:
        sentences.append(
            f"{len(long)} items are left out, as their questions alone are longer than {max_length} tokens ({_listed(long)}): raise max_length"
        )
    if told := sum(map(_has_system_message, whole)):
        sentences.append(f"the system messages of {told} items are left out, as the conversation template has its own: put what matters into the questions")
    if not whole:
        raise BeholderError(sentences[0] if sentences else "there are no items to learn from: give instruction data with at least one")
    return Kept(tuple(whole), tuple(sentences), cut)


def say_what_is_left_out(kept: Kept) -> None:
    for sentence in kept.left_out:
        warnings.warn(sentence, SkippedInput, stacklevel=3)


def digest(items: Sequence[Instruction]) -> str:
    """16 hex digits over everything that is learned from but the pixels."""
    made = hashlib.sha256()
    for item in items:
        made.update(json.dumps([item.image, item.turns]).encode())
    return made.hexdigest()[:16]


def order(items: Sequence[Instruction], *, batch: int, step: int, epochs: int, by_length: bool, seed: int) -> np.ndarray:
    """[m] places in `items`, batch after batch, for all epochs: each item once an epoch, and never images and text alone in one batch.

    As in LLaVA-1.5, items for a step are drawn at random and then sorted by length, so that a batch needs little padding. What fills no batch waits
    for the next epoch. At the end only the last batch may be short; where it is one of images, a few items of text alone come once more (ours).

    Args:
        batch: items in a batch.
        step: items in a step: batches, devices and accumulation together.
        by_length: else the order is random.
    """
    lengths = np.array([sum(len(question) + len(answer) for question, answer in item.turns) for item in items])
    seen = np.array([bool(item.image) for item in items])
    waiting = {True: np.empty(0, dtype=int), False: np.empty(0, dtype=int)}
    made: list[np.ndarray] = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        groups = []
        for kind in (True, False):
            places = np.concatenate([waiting[kind], rng.permutation(np.flatnonzero(seen == kind))])
            whole = len(places) // batch * batch
            waiting[kind] = places[whole:]
            for start in range(0, whole, step):
                group = places[start : min(start + step, whole)]
                groups.append(group[np.argsort(-lengths[group], kind="stable")] if by_length else group)
        made += [groups[number] for number in rng.permutation(len(groups))]
    if len(waiting[True]) and len(waiting[False]):
        waiting[False] = np.resize(np.concatenate([waiting[False], np.flatnonzero(~seen)]), batch)
    return np.concatenate([*made, waiting[False], waiting[True]])


class Examples:
    """Items as the model gets them: tokens, labels, and the pixels of their image; a dataset of torch.

    Args:
        chat: how they are shown.
        images: the folder their paths start from.
    """

    def __init__(self, items: Sequence[Instruction], *, chat: Conversations, images: Path, max_length: int) -> None:
        self.items, self.chat, self.images, self.max_length = items, chat, images, max_length

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> dict[str, Any]:
        item = self.items[place]
        photo = read_photo(self.images / item.image) if item.image else None
        turn = self.chat.conversation(item.turns, photo)
        ids, labels, _ = self.chat.labelled(turn, max_length=self.max_length)
        return {"ids": ids, "labels": labels, "pixels": turn.images[0].arrays["pixel_values"] if turn.images else None}


def _may_be_longer(item: Instruction, chat: Conversations, *, than: int) -> bool:
    """False only if it is certain: a token has at least a byte."""
    written = sum(len(question.encode()) + len(answer.encode()) for question, answer in item.turns)
    around = chat.n_around * len(item.turns) + (chat.image_tokens_each if item.image else 0)
    return written + around > than


def _blind(item: Instruction, chat: Conversations) -> Turn:
    """The item's tokens, with an image that stands for any."""
    return chat.conversation(item.turns, chat.blank if item.image else None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
