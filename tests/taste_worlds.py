"""Simulated worlds and scorers fitted in them, for the tests of the scorers; each is made once per process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from beholder.evaluation.simulate import Simulation, World, mixed, nothing_shared, one_taste, simulate
from beholder.rater import Rater
from beholder.ratings import Choices, Ratings
from beholder.scorers.taste.scorer import TasteScorer
from beholder.scorers.taste.training import TasteConfig

FAST = TasteConfig(max_raters=40, max_ratings=40, axes=6, own_factors=(0.3, 1.0, 3.0), noise_factors=(0.5, 1.0, 2.0))
N_TRAINING = 40  # the first raters are learned from, the rest are new

WORLDS = {
    "mixed": mixed(n_raters=100, n_images=120, n_features=6, ratings_per_rater=100, noise=0.08),
    "nothing shared": nothing_shared(n_raters=50, n_images=150, n_features=8, ratings_per_rater=150, noise=0.12),
    "one taste": one_taste(n_raters=50, n_images=120, n_features=8, ratings_per_rater=60, noise=0.1),
    "profile": World(n_raters=80, n_images=90, n_features=6, ratings_per_rater=60, profile_effect=0.8, personal=0.15, noise=0.08),
}


@lru_cache
def world(name: str) -> Simulation:
    return simulate(WORLDS[name])


def part(simulation: Simulation, raters: range):
    """The dataset with the ratings of some raters only."""
    return simulation.dataset.rows(np.isin(simulation.dataset.rating_rater, list(raters)))


@lru_cache
def fitted(name: str, n_training: int = N_TRAINING) -> TasteScorer:
    simulation = world(name)
    return TasteScorer(features=simulation.features, config=FAST).fit(part(simulation, range(n_training)))


def images_of(simulation: Simulation) -> list[str]:
    return [str(path) for path in simulation.dataset.images]


def rows_of(simulation: Simulation, rater: int) -> np.ndarray:
    return np.flatnonzero(simulation.dataset.rating_rater == rater)


def person(simulation: Simulation, rater: int, n: int | None = None, *, choices=()) -> Rater:
    """A rater of the dataset with the first n ratings (all if not given) and with choices of image indices (chosen, other)."""
    dataset, rows = simulation.dataset, rows_of(simulation, rater)[:n]
    names = images_of(simulation)
    entries = [(names[i], score) for i, score in zip(dataset.rating_image[rows], dataset.rating_score[rows], strict=True)]
    pairs = tuple((names[chosen], names[other]) for chosen, other in choices)
    return Rater(profile=dataset.profiles[rater], ratings=Ratings(entries, scale=dataset.scale), choices=Choices(pairs))
