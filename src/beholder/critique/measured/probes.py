"""What a linear probe reads off the frozen image encoder: what kind of thing is shown, how much people like it, how much they differ. Ours.

The probes are ridge regressions on the same features as the scorers'. Classes are those of the encoder's own ImageNet head. No torch at import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.paths import cache_dir
from beholder.ridge import linear, ridge_cv
from beholder.scorers import provenance
from beholder.scorers.feature_scorer import read_weights, understanding, write_weights

NAME = "critique-probes"
SHIPPED = Path(__file__).parent / "weights"
CLASSES = Path(__file__).with_name("imagenet_classes.txt")
CLASS_SIZE = 224  # pixels at which the encoder's own head was trained
LIKED, DISPUTED = "liked", "disputed"
SURE = 0.6  # probability from which a class is named
FOLDS = 5
QUANTILES = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Seen:
    """What the probes say of one image.

    Args:
        kind: probability-like share of each kind of content ("Animal", ...), summing to 1; the probe's own, not calibrated.
        classes: the encoder's two most probable ImageNet classes with their probabilities.
        liked: expected mean rating by people in general, 0 to 1 on their scale; higher = liked more.
        liked_percentile, disputed_percentile: share of the photographs learned from, 0 to 100, with a lower value.
        disputed: expected standard deviation of people's ratings, in shares of the scale.
    """

    kind: Mapping[str, float]
    classes: tuple[tuple[str, float], ...]
    liked: float
    liked_percentile: float
    disputed: float
    disputed_percentile: float


@dataclass(frozen=True)
class Probes:
    """Trained probes.

    Args:
        kinds: [k] names of kinds of content.
        coef, intercept: [D, k + 2] and [k + 2]: the kinds, liked, disputed.
        quantiles: [2, 101] of liked and disputed, of images left out of the training.
        feature_key: of the features they read.
        scores: how well each does on image groups that were left out, by name.
        seen: fingerprints of the images that were learned from.
    """

    kinds: tuple[str, ...]
    coef: np.ndarray
    intercept: np.ndarray
    quantiles: np.ndarray
    feature_key: str
    scores: Mapping[str, float] = field(default_factory=dict)
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64), repr=False)

    @property
    def version(self) -> str:
        """8 hex digits: other probes, other version."""
        return provenance.identity({"coef": self.coef, "intercept": self.intercept})

    def values(self, features: np.ndarray) -> np.ndarray:
        """[n, D] -> [n, k + 2]."""
        return linear(features, self.coef) + self.intercept

    def knows(self, image: str | os.PathLike) -> bool:
        """Whether the image is one of those that were learned from: what is said of it is then too good."""
        return bool(np.isin(provenance.fingerprints([image]), self.seen).any())

    def save(self, folder: str | os.PathLike, *, trained: Mapping[str, object]) -> Path:
        config = {
            "scorer": NAME,
            "kinds": list(self.kinds),
            "features": self.feature_key,
            "scores": dict(self.scores),
            "trained": dict(trained),
        }
        tensors = {name: getattr(self, name) for name in ("coef", "intercept", "quantiles", "seen")}
        return write_weights(folder, config=config, tensors=tensors, card=_card(self, trained))

    @classmethod
    def load(cls, folder: str | os.PathLike = SHIPPED) -> Probes:
        """Read what `save` wrote; the probes of the package if no folder is given.

        Raises:
            BeholderError: nothing there, or damaged.
        """
        config, tensors = read_weights(folder, scorer=NAME)
        with understanding(folder, scorer=NAME):
            return cls(
                tuple(config["kinds"]),
                tensors["coef"],
                tensors["intercept"],
                tensors["quantiles"],
                config["features"],
                config["scores"],
                tensors["seen"],
            )


def look(images: Sequence[str | os.PathLike], *, probes: Probes | None = None) -> list[Seen]:
    """What the probes say of images, in their order. Loads the embedded encoder.

    Raises:
        UnreadableImage: one of them cannot be read.
        BeholderError: the encoder is not installed.
    """
    probes = probes or Probes.load()
    source = features()
    if source.key != probes.feature_key:
        raise BeholderError(f"the probes were trained on features {probes.feature_key}, these are {source.key}: train them again, or update beholder")
    paths = [os.fspath(image) for image in images]
    values = probes.values(source(paths))
    logits = _head(str(cache_dir()))(paths).astype(np.float64)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return [_seen(probes, row, chance) for row, chance in zip(values, chances, strict=True)]


def features():
    """The features that the probes read: those of the embedded encoder, as the scorers see them."""
    return _features(str(cache_dir()))


@lru_cache(maxsize=1)
def _features(folder: str):
    """Made once for each cache folder, as the encoder is loaded with it."""
    from beholder.scorers.feature_sources import sources

    return sources(["population"], encoder="efficientnet-lite0").by_name["population"]


@lru_cache(maxsize=1)
def _head(folder: str):
    """The encoder's own classes, at the size at which it learned them."""
    from beholder.backbones import load_encoder
    from beholder.engine.source import Features

    return Features(load_encoder(f"efficientnet-lite0[size={CLASS_SIZE}]", layers=["logits"]), layers=["logits"])


def learn(data: Dataset, *, kind: str = "category") -> tuple[Probes, np.ndarray]:
    """Probes from people's ratings of images whose metadata say what kind of thing they show.

    Args:
        kind: which metadata.

    Returns:
        The probes, and [n_images, k + 2] what such probes say of each image when its group was left out.

    Raises:
        BeholderError: the data lack that metadata.
    """
    if kind not in data.metadata:
        raise BeholderError(f"{data.name} does not say of what {kind} its images are: give images.csv a column {kind}")
    named = np.array(data.metadata[kind])
    kinds = tuple(sorted(set(named)))
    source = features()
    x = source([os.fspath(image) for image in data.images])
    unit = data.scale.to_unit(data.rating_score)
    counts = np.bincount(data.rating_image, minlength=len(data.images))
    mean = np.bincount(data.rating_image, unit, minlength=len(data.images)) / counts
    spread = np.sqrt(np.maximum(np.bincount(data.rating_image, unit**2, minlength=len(data.images)) / counts - mean**2, 0))
    targets = np.column_stack([*(named == one for one in kinds), mean, spread]).astype(np.float64)
    blocks = (slice(0, len(kinds)), slice(len(kinds), len(kinds) + 1), slice(len(kinds) + 1, len(kinds) + 2))  # a penalty for each
    groups = np.unique(data.groups, return_inverse=True)[1]
    fold = np.random.default_rng(0).integers(0, FOLDS, groups.max() + 1)[groups]
    left_out = np.zeros_like(targets)
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        for block in blocks:
            found = ridge_cv(x[train], targets[train][:, block])
            left_out[test, block] = linear(x[test], found.coef) + found.intercept
    fits = [ridge_cv(x, targets[:, block]) for block in blocks]
    probes = Probes(
        kinds,
        np.concatenate([one.coef for one in fits], axis=1).astype(np.float32),
        np.concatenate([one.intercept for one in fits]).astype(np.float32),
        np.quantile(left_out[:, -2:], QUANTILES, axis=0).T,
        source.key,
        _scores(kinds, targets, left_out),
        np.unique(provenance.fingerprints([os.fspath(image) for image in data.images])),
    )
    return probes, left_out


@lru_cache(maxsize=1)
def class_names() -> tuple[str, ...]:
    """The 1000 ImageNet classes, in the order of the encoder's layer "logits"."""
    return tuple(CLASSES.read_text(encoding="utf-8").split("\n")[:1000])


def _seen(probes: Probes, values: np.ndarray, chances: np.ndarray) -> Seen:
    k = len(probes.kinds)
    shares = np.clip(values[:k], 0.0, None) + 1e-9
    best = np.argsort(-chances)[:2]
    at = [float(100 * np.interp(value, quantiles, QUANTILES)) for value, quantiles in zip(values[k:], probes.quantiles, strict=True)]
    return Seen(
        dict(zip(probes.kinds, (shares / shares.sum()).tolist(), strict=True)),
        tuple((class_names()[one], float(chances[one])) for one in best),
        float(np.clip(values[k], 0, 1)),
        at[0],
        float(values[k + 1]),
        at[1],
    )


def _scores(kinds: Sequence[str], targets: np.ndarray, left_out: np.ndarray) -> dict[str, float]:
    from scipy.stats import spearmanr

    k = len(kinds)
    return {
        "kind accuracy": float((left_out[:, :k].argmax(axis=1) == targets[:, :k].argmax(axis=1)).mean()),
        "kind accuracy of the most frequent kind": float(targets[:, :k].mean(axis=0).max()),
        f"{LIKED} rho": float(spearmanr(left_out[:, k], targets[:, k])[0]),
        f"{DISPUTED} rho": float(spearmanr(left_out[:, k + 1], targets[:, k + 1])[0]),
    }


def _card(probes: Probes, trained: Mapping[str, object]) -> str:
    listed = "\n".join(f"- {name}: {value:.3f}" for name, value in probes.scores.items())
    return f"""# Probes of `beholder critique`: kind of content, how liked, how disputed

Three ridge regressions on frozen image features. Code: beholder, `critique/measured/probes.py`. Licence of the weights: Apache-2.0; of the training data:
{trained.get("licence") or "see its source"}.

## Learned from
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images; kinds: {", ".join(probes.kinds)}.
{trained.get("citation", "")}

- features: `{probes.feature_key}`
- command: `python benchmarks/critique_probes.py --root DIR --out DIR`

## How well (groups of images that were left out)
{listed}

## Limits
Everyday photographs. "Kind" is what the encoder sees, not what matters in the picture; "disputed" is weak.
"""
