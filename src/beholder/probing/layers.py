"""The layers of a model that can be probed: their names, in which order they lie, and how some of them are chosen."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from beholder.backbones import load_encoder
from beholder.errors import BeholderError
from beholder.options import parse_brackets

OTHER = "other"  # the source of layers that have no number
TOKENS = ("tokens", "map", "map@half")  # not one vector, but a row of many


class Layer(NamedTuple):
    """A layer: its name, the sequence it belongs to (LT, LV, V, last, hidden, ...) and its place there."""

    name: str
    source: str
    index: int


def known_layers(model: str | os.PathLike) -> list[Layer]:
    """Every layer of a model that gives one vector of moderate length; no weights are loaded.

    Of a vision-language model V0.. (vision encoder), LT0.. (text tokens of the decoder), LV0.. (its image tokens), last0.. (last token);
    of a vision tower pool, patches_mean, hidden-0..; of efficientnet-lite0 its layers from the image at both sizes.

    Raises:
        BeholderError: there is no such model.
    """
    from beholder.backbones.vlm import is_vlm, open_vlm

    plain = plain_name(model)[0]
    if is_vlm(plain):
        opened = open_vlm(plain)
        vision = [f"V{i}" for i in range(opened.n_vision_blocks + 1)] if opened.n_vision_blocks else []
        kinds = ("LT", "LV", "last") if opened.image_tokens else ("LT", "last")
        return in_order([*vision, *(f"{kind}{i}" for kind in kinds for i in range(opened.n_blocks + 1))])
    return in_order([layer for layer in load_encoder(model).known_layers if layer not in TOKENS])


def in_order(names: Iterable[str]) -> list[Layer]:
    """Layers of these names: source by source as they first occur, those without a number last."""
    numbered, others = [], []
    for name in names:
        found = re.fullmatch(r"(.*?)-?(\d+)", name)
        if found and found[1]:
            numbered.append(Layer(name, found[1], int(found[2])))
        else:
            others.append(Layer(name, OTHER, len(others)))
    sources = list(dict.fromkeys(layer.source for layer in numbered))
    return sorted(numbered, key=lambda layer: (sources.index(layer.source), layer.index)) + others


def choose(text: str, known: Sequence[Layer], *, model: str) -> list[Layer]:
    """Some of the known layers, in their order.

    Args:
        text: names, ranges such as LT0-36, patterns such as V*, or all; separated by commas.
        model: its name, for messages.

    Raises:
        BeholderError: a name, an end of a range or a pattern that fits nothing; says what there is.
    """
    names = {layer.name.casefold(): layer for layer in known}
    chosen: set[Layer] = set()
    for part in (part.strip() for part in text.split(",")):
        found = re.fullmatch(r"(.*?)(\d+)-(\d+)", part)
        if not part:
            continue
        if part.lower() == "all":
            chosen |= set(known)
        elif "*" in part:
            fits = [layer for layer in known if fnmatch.fnmatchcase(layer.name.casefold(), part.casefold())]
            if not fits:
                raise BeholderError(f"no layer of {model} fits {part!r}: it has {described(known)}")
            chosen |= set(fits)
        elif found and part.casefold() not in names:
            first, last = int(found[2]), int(found[3])
            if first > last:
                raise BeholderError(f"--layers: {part} ends before it begins; write {found[1]}{last}-{first}")
            ends = [_find(f"{found[1]}{end}", names, known=known, model=model) for end in (first, last)]
            chosen |= {layer for layer in known if layer.source == ends[0].source and first <= layer.index <= last}
        else:
            chosen.add(_find(part, names, known=known, model=model))
    if not chosen:
        raise BeholderError(f"--layers = {text!r} names no layer: {model} has {described(known)}")
    return [layer for layer in known if layer in chosen]


def described(layers: Sequence[Layer]) -> str:
    """ "V0 to V24, LT0 to LT36, pool"."""
    parts = []
    for source in dict.fromkeys(layer.source for layer in layers):
        own = [layer.name for layer in layers if layer.source == source]
        parts += own if source == OTHER or len(own) == 1 else [f"{own[0]} to {own[-1]}"]
    return ", ".join(parts)


def _find(name: str, names: dict[str, Layer], *, known: Sequence[Layer], model: str) -> Layer:
    if name.casefold() not in names:
        raise BeholderError(f"{model} has no layer {name!r}: it has {described(known)}")
    return names[name.casefold()]


def plain_name(model: str | os.PathLike) -> tuple[str, dict[str, str]]:
    """The name without options, and the options. What is there as a file or folder is no name with options."""
    text = os.fspath(model)
    return (text, {}) if os.path.exists(os.path.expanduser(text)) else parse_brackets(text, of="the encoder")
