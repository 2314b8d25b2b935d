"""Ten ratings -> a ranking of 10,000 images, features cached.   python benchmarks/ranking_speed.py [--images 10000] [--ratings 10]

Features are random, of the width of the default encoder's layers, and in memory: what is measured is the scorer alone. The model is the
one that comes with the package, or else one learned from random ratings of as many training images (the time does not depend on
what was learned, except for kernels that were found useless). Prints the median time and where it goes; exit code 1 if it is `LIMIT` or more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from beholder.evaluation.simulate import World, simulate
from beholder.prediction import best_first
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers.feature_scorer import SHIPPED, read_weights
from beholder.scorers.taste.model import TasteModel
from beholder.scorers.taste.scorer import CHUNK, TasteScorer
from beholder.scorers.taste.training import TasteConfig
from beholder.scorers.threads import in_chunks

LIMIT = 1.0  # seconds
WIDTHS = {"pool": 1280, "max": 1280, "block10": 112, "block14": 192, "block15": 320}  # of EfficientNet-Lite0, at any scale
LAYERS = {name: WIDTHS[name.partition("@")[0]] for name in TasteScorer.feature_layers}
TRAINING_IMAGES = 650
REPEATS = 5


@dataclass
class RandomFeatures:
    """A `FeatureSource` whose features are all in memory. Attributes: dim, key, layers (name -> columns)."""

    table: np.ndarray
    layers: dict[str, slice]
    key: str = "random"

    @property
    def dim(self) -> int:
        return self.table.shape[1]

    def __call__(self, images: Sequence[str]) -> np.ndarray:
        return self.table[[int(image.removesuffix(".jpg")) for image in images]]


def random_features(n: int, *, layers: dict[str, int], seed: int) -> RandomFeatures:
    """Images that resemble each other a little: 50 directions make most of the variance, as in real features."""
    rng = np.random.default_rng(seed)
    dim = sum(layers.values())
    table = rng.standard_normal((n, 50)).astype(np.float32) @ rng.standard_normal((50, dim)).astype(np.float32)
    table += rng.standard_normal((n, dim)).astype(np.float32)
    ends = np.cumsum(list(layers.values())).tolist()
    return RandomFeatures(table, {name: slice(end - width, end) for (name, width), end in zip(layers.items(), ends, strict=True)})


def scorer_for(n_images: int) -> tuple[TasteScorer, str]:
    """A trained scorer on random features of `n_images` images, and what it is."""
    if (SHIPPED / TasteScorer.name).exists():
        config, _ = read_weights(SHIPPED / TasteScorer.name, scorer=TasteScorer.name)
        features = random_features(n_images, layers={name: config["layers"][name] for name in config["layer_order"]}, seed=0)
        features.key = config["features"]
        return TasteScorer.from_pretrained(features=features), "the weights of the package"
    features = random_features(max(n_images, TRAINING_IMAGES), layers=LAYERS, seed=0)
    world = simulate(World(n_raters=20, n_images=TRAINING_IMAGES, ratings_per_rater=60, scale=Scale(1, 7, 1))).dataset
    train = replace(world, images=tuple(Path(f"{i}.jpg") for i in range(TRAINING_IMAGES)))
    scorer = TasteScorer(features=features, config=TasteConfig(max_raters=8, max_ratings=30)).fit(train)
    every = np.maximum(scorer.model.crowd.weights, 1e-3)  # random ratings need few kernels; the time must not profit from that
    crowd = replace(scorer.model.crowd, weights=every)
    scorer.model = replace(scorer.model, crowd=crowd, own=np.maximum(scorer.model.own, 1e-3))
    return scorer, f"a model learned from random ratings of {TRAINING_IMAGES} images"


def timed(work: Callable[[], object]) -> float:
    """Median seconds of `REPEATS` runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def steps(model: TasteModel, features: np.ndarray) -> dict[str, float]:
    """Seconds of the parts of a prediction without ratings, for all images, in the chunks and threads in which the scorer predicts."""
    seen = model.look(features)
    work = {
        "compressing features to looks": lambda part: model.projection(features[part]),
        "likeness to the crowd's landmarks": lambda part: model.crowd.cross(model.projection, seen.looks[part]),
        "how sure the crowd is": lambda part: model.variance(seen[part], model.settings),
    }
    return {name: timed(lambda do=do: in_chunks(do, len(features), size=CHUNK)) for name, do in work.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--ratings", type=int, default=10)
    options = parser.parse_args(arguments)
    scorer, what = scorer_for(options.images)
    images = [f"{i}.jpg" for i in range(options.images)]
    scores = np.random.default_rng(1).integers(1, 6, options.ratings)
    rater = Rater(profile=Profile(age=34), ratings=Ratings(list(zip(images, scores.tolist(), strict=False))))

    seconds = timed(lambda: best_first(scorer.predict(images, rater)))
    print(f"{options.ratings} ratings -> ranking of {options.images} images: {seconds:.2f} s (limit {LIMIT:g} s), with {what}")
    predictions = scorer.predict(images, rater)
    shares = {
        "gathering features": timed(lambda: scorer.features(images)),
        "learning from the ratings": timed(lambda: scorer.posterior(rater)),
    }
    shares |= steps(scorer.model, scorer.features(images)) | {"sorting": timed(lambda: best_first(predictions))}
    shares["this rater's own taste, and the rest"] = max(seconds - sum(shares.values()), 0.0)
    for name, part in shares.items():
        print(f"  {name:40} {part:6.3f} s")
    return int(seconds >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
