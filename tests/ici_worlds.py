"""A world in which taste depends on the profile and on an attribute, and scorers fitted in it; each is made once per process."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from beholder.datasets.base import Dataset
from beholder.evaluation.simulate import SimulatedFeatures
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers.ici.options import ICIOptions
from beholder.scorers.ici.scorer import ICIScorer

N_RATERS, N_TRAINING, N_IMAGES, PER_RATER = 56, 44, 90, 45
SCALE = Scale(1, 5, 0.5)
FAST = ICIOptions(
    generic_epochs=15,
    generic_learning_rate=3e-3,
    generic_batch=16,
    prior_epochs=12,
    prior_learning_rate=2e-3,
    prior_batch=128,
    adapt_learning_rate=1e-3,
    adapt_epochs=20,
    device="cpu",
)
# Enough to see what is done, not to learn anything
QUICK = replace(FAST, generic_epochs=3, prior_epochs=2, prior_ratings=256)


@lru_cache
def planted(seed: int = 0) -> tuple[Dataset, SimulatedFeatures, np.ndarray]:
    """The dataset, the features, and the true ratings [raters, images] without noise.

    Everybody likes sharp images a little; whoever is open likes bright ones, whoever is not likes dark ones. Raters say how sharp and how
    bright an image is. Every fifth profile lacks a field.
    """
    random = np.random.default_rng(seed)
    features = random.standard_normal((N_IMAGES, 5))
    light, sharpness = features[:, 0], features[:, 1]
    openness = random.integers(1, 11, N_RATERS)
    gender = random.choice(["female", "male"], N_RATERS)
    truth = np.clip(3 + 0.3 * sharpness + 0.8 * (openness[:, None] - 5.5) / 2.87 * light, 1, 5)
    image = np.concatenate([random.permutation(N_IMAGES)[:PER_RATER] for _ in range(N_RATERS)])
    rater = np.repeat(np.arange(N_RATERS), PER_RATER)
    score = np.clip(np.round(2 * (truth[rater, image] + 0.2 * random.standard_normal(len(rater)))) / 2, 1, 5)

    def said(values: np.ndarray) -> np.ndarray:
        found = np.clip(np.round(3 + values[image] + 0.3 * random.standard_normal(len(image))), 1, 5)
        found[random.random(len(found)) < 0.1] = np.nan
        return found

    profiles = [
        Profile(openness=int(openness[i]), gender=None if i % 5 == 4 else str(gender[i]), age="18-24" if i % 2 else "25-34")
        for i in range(N_RATERS)
    ]
    names = [f"image{i:03d}.png" for i in range(N_IMAGES)]
    dataset = Dataset(
        name="planted",
        scale=SCALE,
        raters=tuple(f"r{i}" for i in range(N_RATERS)),
        profiles=tuple(profiles),
        images=tuple(Path("planted") / name for name in names),
        image_ids=tuple(names),
        groups=tuple(names),
        rating_rater=rater,
        rating_image=image,
        rating_score=score,
        attributes={"light": said(light), "sharpness": said(sharpness)},
        attribute_scales={"light": Scale(1, 5), "sharpness": Scale(1, 5)},
    )
    table = dict(zip(names, features.astype(np.float32), strict=True))
    return dataset, SimulatedFeatures(table, dim=5, key="planted-5"), truth


def training_part() -> Dataset:
    dataset = planted()[0]
    return dataset.rows(dataset.rating_rater < N_TRAINING)


@lru_cache
def fitted(options: ICIOptions = FAST) -> ICIScorer:
    return ICIScorer(features=planted()[1], options=options).fit(training_part())


def using(scorer: ICIScorer, **changes) -> ICIScorer:
    """The same weights with other options."""
    other = ICIScorer(features=scorer.features, options=replace(scorer.options, **changes))
    other.model, other.trained = scorer.model, scorer.trained
    return other


def names() -> list[str]:
    return [str(path) for path in planted()[0].images]


def person(u: int, n: int = 0, *, scale: Scale = SCALE) -> Rater:
    """A rater of the dataset with the first n ratings, turned to `scale`."""
    dataset, images = planted()[0], names()
    rows = np.flatnonzero(dataset.rating_rater == u)[:n]
    scores = SCALE.convert(dataset.rating_score[rows], to=scale)
    entries = [(images[i], score) for i, score in zip(dataset.rating_image[rows], scores, strict=True)]
    return Rater(profile=dataset.profiles[u], ratings=Ratings(entries, scale=scale))


def opposite(u: int, n: int) -> tuple[Rater, list[str], np.ndarray]:
    """Somebody with the profile of rater u and the opposite taste: with n ratings, other images, and their true ratings."""
    truth, images = 6 - planted()[2][u], names()
    order = np.random.default_rng(u).permutation(N_IMAGES)
    rater = Rater(profile=planted()[0].profiles[u], ratings=Ratings([(images[i], truth[i]) for i in order[:n]], scale=SCALE))
    return rater, [images[i] for i in order[n:]], truth[order[n:]]
