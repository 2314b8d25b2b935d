"""The projection M of Linear-Hidden Reduce: features -> attributes (ColorHarmony, Symmetry, ...), one ridge regression for all images and raters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError
from beholder.ridge import Ridge, linear, ridge_cv
from beholder.scorers import provenance
from beholder.scorers.feature_scorer import CONFIG_FILE, read_weights, understanding, write_weights

KIND = "projection"  # what its folder says it is
FEWEST = 5  # images
OVERALL = frozenset({"score", "overall", "overallscore", "aesthetic", "aesthetics", "aestheticscore", "aestheticsscore", "rating"})


@dataclass(frozen=True)
class Projection:
    """Linear function from features to attributes.

    Args:
        attributes: [K] names; the overall score is none of them.
        coef, intercept: [K, D] and [K] float32 for features as they are; attributes come in the units they were given in.
        feature_key: of the features; those of another key must not be projected.
        layer, prompt: what the features are ("LT15", "base"), for people.
        scores: measures of how well the attributes can be read off, by name ("ColorHarmony test rho").
        seen: [m] uint64 fingerprints of the images it was learned from; [0] where they are not kept.
    """

    attributes: tuple[str, ...]
    coef: np.ndarray
    intercept: np.ndarray
    feature_key: str
    layer: str = ""
    prompt: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(map(str, self.attributes)))
        object.__setattr__(self, "coef", np.ascontiguousarray(self.coef, dtype=np.float32))
        object.__setattr__(self, "intercept", np.asarray(self.intercept, dtype=np.float32))
        k = len(self.attributes)
        if self.coef.ndim != 2 or len(self.coef) != k or self.intercept.shape != (k,):
            raise ValueError(f"{k} attributes do not go with coef {self.coef.shape} and intercept {self.intercept.shape}")

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[n, D] -> [n, K] float64."""
        return linear(features, self.coef.T) + self.intercept

    @property
    def name(self) -> str:
        """For messages."""
        return f"the projection {self.identity}"

    def trained_on(self, images: Sequence[str | os.PathLike]) -> int:
        """How many of these images it was learned from with."""
        return int(np.isin(provenance.fingerprints(images), self.seen).sum()) if len(self.seen) else 0

    @property
    def identity(self) -> str:
        """8 hex digits: another projection, another identity."""
        return provenance.identity({"coef": self.coef, "intercept": self.intercept})

    @classmethod
    def from_ridge(cls, ridge: Ridge, attributes: Sequence[str], *, feature_key: str, **more) -> Projection:
        """Of a ridge regression with one target per attribute."""
        return cls(tuple(attributes), ridge.coef.T, ridge.intercept, feature_key, **more)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write config.json, model.safetensors and README.md."""
        config = {"scorer": KIND} | self.described()
        listed = "\n".join(f"- {name}: {value:.3f}" for name, value in self.scores.items()) or "- not measured"
        card = (
            f"# Projection of image features to {len(self.attributes)} attributes\n\nLinear: {', '.join(self.attributes)}.\n\n"
            f"- features: `{self.feature_key}`\n- use: `beholder rank PATH... --scorer linear-hidden-reduce[projection=THIS FOLDER]`\n\n"
            f"## How well they can be read off\n{listed}\n"
        )
        return write_weights(folder, config=config, tensors=self.tensors(), card=card)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Projection:
        """Read what `save` wrote.

        Raises:
            BeholderError: there is nothing, or it is damaged or something else.
        """
        if not (Path(folder) / CONFIG_FILE).is_file():
            raise BeholderError(
                f"{os.fspath(folder)} holds no projection to attributes ({CONFIG_FILE} is missing): give the folder that `beholder probe` wrote"
            )
        config, tensors = read_weights(folder, scorer=KIND)
        with understanding(folder, scorer=KIND):
            return cls.restored(config, tensors)

    def tensors(self) -> dict[str, np.ndarray]:
        return {"projection.coef": self.coef, "projection.intercept": self.intercept, "projection.seen": self.seen}

    def described(self) -> dict[str, object]:
        """All but the tensors, for config.json."""
        return {
            "attributes": list(self.attributes),
            "feature_key": self.feature_key,
            "layer": self.layer,
            "prompt": self.prompt,
            "scores": {name: float(value) for name, value in self.scores.items()},
        }

    @classmethod
    def restored(cls, described: Mapping, tensors: Mapping[str, np.ndarray]) -> Projection:
        """From what `described` and `tensors` gave."""
        return cls(
            tuple(described["attributes"]),
            tensors["projection.coef"],
            tensors["projection.intercept"],
            described["feature_key"],
            layer=described["layer"],
            prompt=described["prompt"],
            scores=described["scores"],
            seen=tensors.get("projection.seen", np.zeros(0, dtype=np.uint64)),
        )


def is_overall(attribute: str) -> bool:
    """Whether an attribute is the overall score by another name, which a projection must not hold."""
    return "".join(sign for sign in attribute.lower() if sign.isalnum()) in OVERALL


def learn_projection(features: np.ndarray, values: Mapping[str, np.ndarray], *, feature_key: str, source: str) -> Projection:
    """M by ridge regression, one penalty for all attributes, as published.

    Args:
        features: [n, D].
        values: attribute -> [n], nan where unknown. Overall scores, and attributes that fewer than half of the images have, are left out;
            then images that lack one.
        source: where the values come from, for the message.

    Raises:
        BeholderError: too little is left.
    """
    names = [name for name, column in values.items() if not is_overall(name) and 2 * np.isfinite(column).sum() >= max(len(column), 1)]
    table = np.column_stack([values[name] for name in names]) if names else np.zeros((len(features), 0))
    complete = np.isfinite(table).all(axis=1)
    varies = (np.ptp(table[complete], axis=0) > 0) if complete.any() else np.zeros(len(names), dtype=bool)
    names = [name for name, some in zip(names, varies, strict=True) if some]
    if complete.sum() < FEWEST or not names:
        raise BeholderError(
            f"{source} gives {len(names)} attributes that vary, of {int(complete.sum())} images: a projection needs at least 1 and {FEWEST}, "
            "so take a larger dataset, or the projection that `beholder probe` writes"
        )
    ridge = ridge_cv(np.asarray(features)[complete], table[complete][:, varies])
    return Projection.from_ridge(ridge, names, feature_key=feature_key)
