"""Datasets with a planted answer: raters whose taste is known, so that a scorer can be held against the truth.

No photographs are needed: the images exist as names only, and a `FeatureSource` gives their features by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import UnreadableImage
from beholder.profile import Profile
from beholder.scale import Scale


@dataclass(frozen=True)
class World:
    """How simulated raters come to their ratings.

    rating = middle of the scale + severity of the rater + shared taste(image) + own taste(image) + noise, rounded to the step and
    clipped to the scale. Tastes are linear in the features of the image; the widths below are standard deviations as shares of the
    scale's width.

    Args:
        n_raters, n_images, n_features: sizes.
        images_per_group: images of a group have similar features and share a split.
        ratings_per_rater: drawn at random without replacement.
        shared: of the taste that all raters share.
        personal: of each rater's own, independent taste.
        severity: of the rater means.
        noise: of what the same rater would not repeat.
        profile_effect: share (0 to 1) of the variance of the own taste that follows from the rater's openness.
        scale: of the ratings.
        seed: of everything.
    """

    n_raters: int = 60
    n_images: int = 120
    n_features: int = 8
    images_per_group: int = 3
    ratings_per_rater: int = 100
    shared: float = 0.15
    personal: float = 0.15
    severity: float = 0.08
    noise: float = 0.05
    profile_effect: float = 0.0
    scale: Scale = field(default_factory=lambda: Scale(1, 5, 0))
    seed: int = 0


@dataclass(frozen=True)
class SimulatedFeatures:
    """A `FeatureSource` over names. Attributes: dim, key; `table` is name -> [dim] float32."""

    table: dict[str, np.ndarray]
    dim: int
    key: str = "simulated"

    def __call__(self, images: Sequence[str | os.PathLike]) -> np.ndarray:
        """[n, dim] float32."""
        missing = [image for image in images if Path(image).name not in self.table]
        if missing:
            raise UnreadableImage(missing[0], "not an image of this simulated dataset")
        return np.stack([self.table[Path(image).name] for image in images]) if len(images) else np.zeros((0, self.dim), dtype=np.float32)


@dataclass(frozen=True)
class Simulation:
    """A simulated dataset with its truth.

    Args:
        dataset: as a reader would give it; the image files do not exist.
        features: of its images.
        shared_taste: [n_images] float64, what all raters share, in scores.
        personal_taste: [n_raters, n_images] float64, what each has for itself, in scores.
    """

    dataset: Dataset
    features: SimulatedFeatures
    shared_taste: np.ndarray
    personal_taste: np.ndarray


def one_taste(**sizes) -> World:
    """Raters share one taste and differ in severity only."""
    return replace(World(shared=0.2, personal=0.0), **sizes)


def nothing_shared(**sizes) -> World:
    """Every rater has an independent taste; the crowd says nothing about anybody."""
    return replace(World(shared=0.0, personal=0.2), **sizes)


def mixed(**sizes) -> World:
    """Half of the taste is shared."""
    return replace(World(shared=0.14, personal=0.14), **sizes)


def simulate(world: World) -> Simulation:
    """Draw features, tastes and ratings. The same world gives the same numbers."""
    generator = np.random.default_rng(world.seed)
    group = np.arange(world.n_images) // world.images_per_group
    centres = generator.standard_normal((int(group.max(initial=0)) + 1, world.n_features))
    features = np.sqrt(0.6) * centres[group] + np.sqrt(0.4) * generator.standard_normal((world.n_images, world.n_features))

    def taste(n: int) -> np.ndarray:  # [n, n_images], variance 1 over images
        return generator.standard_normal((n, world.n_features)) @ features.T / np.sqrt(world.n_features)

    width = world.scale.width
    openness = generator.integers(1, 11, size=world.n_raters)
    shared = world.shared * width * taste(1)[0]
    known = np.sqrt(world.profile_effect) * np.outer((openness - 5.5) / 2.87, taste(1)[0])  # 2.87: deviation of 1..10
    personal = world.personal * width * (known + np.sqrt(1 - world.profile_effect) * taste(world.n_raters))
    severity = world.severity * width * generator.standard_normal(world.n_raters)

    per_rater = min(world.ratings_per_rater, world.n_images)
    rater = np.repeat(np.arange(world.n_raters), per_rater)
    image = np.concatenate([generator.permutation(world.n_images)[:per_rater] for _ in range(world.n_raters)])
    score = world.scale.middle + severity[rater] + shared[image] + personal[rater, image]
    score = score + world.noise * width * generator.standard_normal(len(score))
    if world.scale.step:
        score = world.scale.low + np.round((score - world.scale.low) / world.scale.step) * world.scale.step
    names = [f"g{group[i]:04d}-i{i:05d}.png" for i in range(world.n_images)]
    dataset = Dataset(
        name="simulated",
        scale=world.scale,
        raters=tuple(f"r{i:04d}" for i in range(world.n_raters)),
        profiles=tuple(Profile(openness=int(value)) for value in openness),
        images=tuple(Path("simulated") / name for name in names),
        image_ids=tuple(names),
        groups=tuple(f"g{value:04d}" for value in group),
        rating_rater=rater,
        rating_image=image,
        rating_score=np.clip(score, world.scale.low, world.scale.high),
        notes=("simulated ratings, no photographs",),
    )
    table = dict(zip(names, features.astype(np.float32), strict=True))
    source = SimulatedFeatures(table, dim=world.n_features, key=f"simulated-{world.n_features}-{world.seed}")
    return Simulation(dataset, source, shared_taste=shared, personal_taste=personal)
