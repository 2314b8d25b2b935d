"""The rater's own part of a critique: the expected rating with its parts, from `taste`, and which measured attributes this rater weighs. Ours."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beholder.critique.base import PersonalView, Weighs
from beholder.critique.measured import probes
from beholder.critique.measured.statistics import ATTRIBUTES, measure_all
from beholder.critique.measured.tastes import Tastes
from beholder.located import locate
from beholder.paths import cache_dir
from beholder.rater import Rater
from beholder.scorers.feature_scorer import read_weights, understanding, write_weights

if TYPE_CHECKING:
    from beholder.eye import Eye

NAME = "critique-tastes"
FOLDER = Path(__file__).parent / "tastes"
# One of each group of attributes that say much the same of photographs, of those for which a person's liking repeats on other photographs
# (benchmarks/measured_attributes.py): not contrast, tonal range, thirds and centring
MEASURED = (
    *("brightness", "shadows", "colourfulness", "warmth", "hue focus", "hue harmony"),
    *("simplicity", "subject isolation", "balance", "symmetry"),
)
NAMES = (*MEASURED, probes.LIKED)
SURE = 0.9  # probability that a rater weighs an attribute more (or less) than the average rater, from which it is said
LEAST = 10  # ratings without which nothing is said
INFLUENCES = 3  # rated photographs that are named
LIKING = {  # what is liked in photographs with much of an attribute
    "brightness": "bright photographs",
    "shadows": "deep blacks",
    "colourfulness": "strong colours",
    "warmth": "warm colours",
    "hue focus": "photographs of one hue",
    "hue harmony": "hues in harmony",
    "simplicity": "simple, calm pictures",
    "subject isolation": "subjects crisper than what is around them",
    "balance": "balanced pictures",
    "symmetry": "symmetry",
    probes.LIKED: "what most people like",
}


def view(image: str | os.PathLike, *, rater: Rater, look_in: Sequence[str | os.PathLike] = ()) -> PersonalView:
    """How much this rater should like an image and, from ten ratings on, which attributes count for this rater.

    Args:
        look_in: more folders in which the rated images may lie.

    Raises:
        BeholderError: the image cannot be read, or something that comes with the package is missing.
    """
    eye = _eye(str(cache_dir()))
    why = eye.explain(image, rater=rater, look_in=look_in)
    found, n = weighs(image, rater=rater, look_in=look_in)
    notes = []
    if n < LEAST:
        notes.append(f"{n} ratings are known: which attributes this person weighs is said from {LEAST} on")
    elif not found:
        notes.append(f"from {n} ratings, no measured attribute is known to count more or less for this person than for most people")
    influences = sorted(why.influences, key=lambda one: -abs(one[1]))[:INFLUENCES]
    if influences:
        listed = ", ".join(f"{os.path.basename(other)} ({value:+.2f})" for other, value in influences)
        notes.append(f"what was said of these photographs counts most here: {listed}")
    return PersonalView(
        rater=rater.name or "",
        score=float(why.score),
        low=float(why.low),
        high=float(why.high),
        scale=str(rater.scale),
        scorer=f"{eye.scorer.name} {eye.scorer.version}",
        parts=dict(why.parts),
        weighs=tuple(found),
        notes=tuple(notes),
    )


def weighs(image: str | os.PathLike, *, rater: Rater, look_in: Sequence[str | os.PathLike] = ()) -> tuple[list[Weighs], int]:
    """Attributes that the rater is known (with probability `SURE`) to weigh otherwise than the average rater, and from how many ratings.

    The most telling for this image come first. Choices are not used here; `taste` knows them.
    """
    folders = [os.path.dirname(os.fspath(image)) or ".", *map(os.fspath, look_in)]
    ratings = locate(rater, photos=[os.fspath(image)], folders=folders).rater.ratings
    if len(ratings) < LEAST:
        return [], len(ratings)
    model = load()
    table = _values([os.fspath(image), *ratings.images])
    mean, spread = model.posterior(table[1:], rater.scale.to_unit(np.array(ratings.scores, dtype=np.float64)))
    here = model.standardised(table[:1])[0]
    width = rater.scale.width
    found = []
    for k in certain(model, mean, spread):
        apart = mean[1 + k] - model.mean[1 + k]
        percentile = 50 * (1 + math.erf(apart / math.sqrt(2 * model.covariance[1 + k, 1 + k])))
        text = _sentence(model.names[k], weight=mean[1 + k] * width, percentile=percentile, here=float(here[k]) if np.isfinite(table[0, k]) else None)
        found.append(Weighs(model.names[k], _section(model.names[k]), float(mean[1 + k] * width), float(percentile), float(here[k]), text))
    return sorted(found, key=lambda one: -abs(one.weight * one.here)), len(ratings)


def certain(model: Tastes, mean: np.ndarray, spread: np.ndarray) -> list[int]:
    """Places in `model.names` of attributes whose weight is, with probability `SURE`, above or below the average rater's.

    Args:
        mean, spread: of the rater's weights, as `Tastes.posterior` gives them.
    """
    apart = mean[1:] - model.mean[1:]
    deviation = np.sqrt(np.maximum(np.diag(spread)[1:], 1e-18))
    chance = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in apart / deviation])
    return np.flatnonzero(np.maximum(chance, 1 - chance) >= SURE).tolist()


def save(model: Tastes, folder: str | os.PathLike, *, trained: Mapping[str, object]) -> Path:
    """Write the distribution of tastes with its card."""
    config = {"scorer": NAME, "names": list(model.names), "noise": model.noise, "trained": dict(trained)}
    tensors = {name: getattr(model, name) for name in ("centre", "spread", "mean", "covariance")}
    card = f"""# How much raters weigh measured attributes: mean and covariance over raters

Random-coefficient model of ratings on {len(model.names)} attributes: {", ".join(model.names)}. Code: beholder, `critique/measured/tastes.py`.
Licence of the weights: Apache-2.0; of the training data: {trained.get("licence") or "see its source"}. No single rater's weights are in it.

## Learned from
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images.
{trained.get("citation", "")}

- command: `python benchmarks/critique_probes.py --root DIR --out DIR`

## Limits
Measured attributes say little about a single person's taste: docs/aesexpert.md has the numbers.
"""
    return write_weights(folder, config=config, tensors=tensors, card=card)


@lru_cache(maxsize=1)
def _eye(folder: str) -> Eye:
    """`taste`, made once for each cache folder, as the encoder is loaded with it."""
    from beholder.scorers import load as load_scorer

    return load_scorer()


@lru_cache(maxsize=1)
def load() -> Tastes:
    """The distribution that comes with the package."""
    config, tensors = read_weights(FOLDER, scorer=NAME)
    with understanding(FOLDER, scorer=NAME):
        return Tastes(tuple(config["names"]), tensors["centre"], tensors["spread"], tensors["mean"], tensors["covariance"], float(config["noise"]))


def _values(images: Sequence[str]) -> np.ndarray:
    """[n, K] attributes as measured, and what the probe says of how liked an image is."""
    measured = measure_all(images)
    known = probes.Probes.load()
    liked = known.values(probes.features()(images))[:, len(known.kinds)]
    return np.column_stack([*(measured[name] for name in MEASURED), liked])


def _section(name: str) -> str:
    return ATTRIBUTES[name].section if name in ATTRIBUTES else "overall"


def _sentence(name: str, *, weight: float, percentile: float, here: float | None) -> str:
    """`here`: see `Weighs`; None where it cannot be measured in this image."""
    more = percentile >= 50
    share = min(percentile if more else 100 - percentile, 99)  # nobody is known to be beyond everybody
    text = f"cares {'more' if more else 'less'} for {LIKING[name]} than {share:.0f} % of people ({weight:+.2f} points per standard deviation)"
    if here is None:
        return f"{text}; in this image that cannot be measured"
    if abs(here) < 0.5:
        return f"{text}; this image is about average in that"
    return f"{text}; this image has {'more' if here > 0 else 'less'} of it than most ({here:+.1f} standard deviations)"
