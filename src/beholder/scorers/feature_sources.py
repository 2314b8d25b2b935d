"""Which features each scorer sees: of the encoder of the run, of several encoders together, or of the model a scorer names in its brackets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beholder import scorers
from beholder.errors import BeholderError
from beholder.options import parse_brackets

if TYPE_CHECKING:
    from beholder.backbones.base import ImageEncoder
    from beholder.engine.source import Features, JointFeatures
    from beholder.features import FeatureStore

OF_HIDDEN_STATES = ("prompt", "text", "max_pixels", "dtype", "device")  # options of a scorer that go to the encoder it names


@dataclass(frozen=True)
class Sources:
    """What `sources` gives.

    Args:
        by_name: scorer name as given -> its features.
        encoders: each once, made to compute all the layers that any of the scorers wants: index the photographs once with each.
    """

    by_name: dict[str, Features | JointFeatures]
    encoders: tuple[ImageEncoder, ...]


@dataclass(frozen=True)
class _Wish:
    """An encoder with its options, and the layers that a scorer wants of it (None: it looks at no image)."""

    encoder: str
    options: tuple[tuple[str, Any], ...]
    layers: tuple[str, ...] | None

    @property
    def which(self) -> tuple:
        return self.encoder, self.options


def sources(names: Sequence[str], *, encoder: str, store: FeatureStore | None = None) -> Sources:
    """The features of several scorers; what they share is computed once.

    Args:
        names: of scorers, with their options.
        encoder: of scorers that name none; several joined by "+" are put one after the other ("efficientnet-lite0+beholder-mini[layer=LT20]").
        store: where features are kept; the default folder's if not given.

    Raises:
        BeholderError: there is no such scorer, encoder or layer.
    """
    from beholder.backbones import load_encoder
    from beholder.backbones.no_encoder import NoEncoder
    from beholder.engine.source import Features, JointFeatures

    wishes = {name: _wishes(name, encoder=encoder) for name in names}
    wanted: dict[tuple, list[str]] = {}
    for wish in (one for found in wishes.values() for one in found):
        wanted.setdefault(wish.which, []).extend(wish.layers or ())
    networks = {
        which: load_encoder(which[0], layers=list(dict.fromkeys(layers)), **dict(which[1])) if layers else NoEncoder()
        for which, layers in wanted.items()
    }
    made: dict[tuple[_Wish, ...], Features | JointFeatures] = {}
    for found in wishes.values():
        if found not in made:
            parts = [
                Features(NoEncoder() if wish.layers is None else networks[wish.which], layers=wish.layers, store=store) for wish in found
            ]
            made[found] = parts[0] if len(parts) == 1 else JointFeatures(parts)
    return Sources({name: made[found] for name, found in wishes.items()}, tuple(networks.values()))


def with_model(name: str, model: str | None) -> str:
    """A scorer's name with the model of the run put into its brackets, if it takes one and names none.

    Args:
        model: "NAME" or "NAME[option=value]"; the options go to scorers that have them.
    """
    taken = takes_model(name)
    plain, given = scorers.parse_name(name)
    if not model or not taken or "model" in given:
        return name
    model_name, options = (model, {}) if Path(model).expanduser().exists() else parse_brackets(model, of="the model")
    merged = given | {"model": model_name} | {key: value for key, value in options.items() if key in taken and key not in given}
    return f"{plain}[{','.join(f'{key}={value}' for key, value in merged.items())}]"


def takes_model(name: str) -> set[str]:
    """The options of a scorer that can be told which model to use; empty for the others."""
    options = getattr(scorers.scorer_class(name), "Options", None)
    known = {field.name for field in fields(options)} if options is not None else set()
    return known if "model" in known else set()


def encoder_names(encoder: str | os.PathLike) -> list[str]:
    """ "A+B[layer=LT3+V1]" -> ["A", "B[layer=LT3+V1]"]; a path that is there is one name, whatever is in it."""
    text = os.fspath(encoder)
    if Path(text).expanduser().exists():
        return [text]
    parts = [part.strip() for part in re.split(r"\+(?![^\[]*\])", text)]
    if not all(parts):
        raise BeholderError(f"the encoder {text!r} lacks a name beside a +: write NAME, or NAME+NAME for the features of both")
    return parts


def _wishes(name: str, *, encoder: str) -> tuple[_Wish, ...]:
    """What a scorer wants to see, one for each encoder."""
    cls = scorers.scorer_class(name)
    options = scorers.typed_options(cls, scorers.parse_name(name)[1]).get("options")
    model, layer = getattr(options, "model", ""), getattr(options, "layer", "")
    if model and layer:  # it reads hidden states of a model of its own
        default, taken = type(options)(), getattr(cls, "encoder_options", OF_HIDDEN_STATES)
        chosen = {key: getattr(options, key) for key in taken if getattr(options, key, None) != getattr(default, key, None)}
        return (_Wish(model, tuple(chosen.items()), tuple(part.strip() for part in layer.split("+"))),)
    parts = encoder_names(encoder)
    if getattr(cls, "token_scorer", False) and len(parts) > 1:
        raise BeholderError(f"{cls.name} reads the tokens of one encoder, not of {len(parts)}: give it one --encoder")
    if len(set(parts)) < len(parts):
        raise BeholderError(f"the encoder {encoder!r} names one of its parts twice: name each once")
    found = [(part, scorers.feature_layers(name, encoder=part)) for part in parts]
    return tuple(_Wish(part, (), tuple(layers) if layers is not None else None) for part, layers in found)
