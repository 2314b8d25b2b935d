"""The projection from one layer to attributes that Linear-Hidden Reduce works with, from the same images as the probes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from beholder.backbones.base import ImageEncoder
from beholder.datasets.attributes import AttributeTable
from beholder.engine.source import Features
from beholder.errors import BeholderError
from beholder.features import FeatureStore
from beholder.probing.layers import plain_name
from beholder.probing.measures import score
from beholder.probing.probe import Probe, features
from beholder.scorers import provenance
from beholder.scorers.feature_sources import OF_HIDDEN_STATES
from beholder.scorers.linear_hidden.projection import Projection, is_overall, learn_projection

PUBLISHED_LAYER = "LT15"


def projected(table: AttributeTable) -> list[str]:
    """The attributes that a projection may hold: all but the overall score.

    Raises:
        BeholderError: there are none.
    """
    names = [name for name in table.values if name != table.overall and not is_overall(name)]
    if not names:
        raise BeholderError(f"a projection holds attributes other than the overall score, and there are none of {table.name} here: ask for more of them")
    return names


def usage(folder: str | os.PathLike, *, model: str, layer: str, prompt: str | None = None, max_pixels: int | None = None) -> str:
    """The options of a command that uses a projection on the features it was learned from.

    Args:
        model: as it was given, with its options.
        layer, prompt, max_pixels: those of the features; None where the model's own were not changed.

    Raises:
        BeholderError: the path, or the prompt, has a sign that cannot stand in brackets.
    """
    from beholder.backbones.vlm import is_vlm

    plain, options = plain_name(model)
    given = {name: value for name, value in options.items() if name in OF_HIDDEN_STATES}
    given |= {name: str(value) for name, value in (("prompt", prompt), ("max_pixels", max_pixels)) if value is not None}
    chosen = {"model": plain, "layer": layer, **given} if is_vlm(plain) else {}
    chosen["projection"] = os.fspath(folder)
    for name, value in chosen.items():
        if set(value) & set(",[]'"):
            raise BeholderError(f"{name} = {value!r} cannot stand in the brackets of a scorer: choose one without commas, brackets and quotes")
    scorer = f"--scorer 'linear-hidden-reduce[{','.join(f'{name}={value}' for name, value in chosen.items())}]'"
    return scorer if is_vlm(plain) else f"{scorer} --encoder '{model}'"


def fit_projection(
    probe: Probe, encoder: ImageEncoder, layer: str, *, prompt: str = "", names: Sequence[str] | None = None, store: FeatureStore | None = None
) -> Projection:
    """One ridge regression from a layer to all attributes, with one penalty for all of them, fitted on the training images.

    Args:
        layer: one that was probed.
        prompt: of the features, for people.
        names: attributes; all but the overall score if not given.
        store: that of the probe.

    Returns:
        With the test correlation of each attribute among its `scores`.
    """
    table = probe.table
    names = projected(table) if names is None else list(names)
    x = features(table, encoder, layer, store=FeatureStore() if store is None else store)
    train, test = table.places("train"), table.places("test")
    found = learn_projection(
        x[train],
        {name: table.values[name][train] for name in names},
        feature_key=Features(encoder, layers=[layer]).key,
        source=f"the training part of {table.name}",
    )
    predicted = found(x[test])
    scores = {}
    for column, name in enumerate(found.attributes):
        truth = table.values[name][test]
        known = np.isfinite(truth)
        if known.sum() > 1:
            scores[f"{name} test rho"] = score(truth[known], predicted[known, column]).rho
    seen = np.unique(provenance.fingerprints([table.images[i] for i in train]))
    return replace(found, layer=layer, prompt=prompt, scores=scores, seen=seen)
