"""A world in which taste depends on the profile, the prompt and the person, and scorers fitted in it; each is made once per process."""

from __future__ import annotations

import zlib
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
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.scorer import PamelaScorer

N_RATERS, N_TRAINING, N_IMAGES, N_NEW_IMAGES, PER_RATER = 64, 52, 120, 30, 60
SCALE = Scale(1, 7, 0)
STYLES = ("oil", "photo", "sketch")
FAST = PamelaOptions(width=16, heads=2, components=8, product=8, epochs=15, batch=64, device="cpu")
QUICK = replace(FAST, epochs=2)  # enough to see what is done, not to learn much


class HashEncoder:
    """Stands in for the text encoder: equal texts have equal vectors, different ones have others."""

    name, revision, dim = "hash", "1", 12

    def __init__(self, name="hash", *, device="cpu"):
        self.name = name

    def encode(self, texts):
        found = np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim) for text in texts])
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@lru_cache
def planted(seed: int = 0) -> tuple[Dataset, SimulatedFeatures, np.ndarray]:
    """The dataset, the features, and the true ratings [raters, images] without noise.

    Everybody likes feature 0. Women like feature 1, men dislike it. One half of the raters, whatever their profile, likes feature 2, the other
    dislikes it. Oil paintings are liked better. Every fifth profile is empty. The last 12 raters are new, the last 30 images, too.
    """
    random = np.random.default_rng(seed)
    features = random.standard_normal((N_IMAGES, 6))
    gender = np.where(random.random(N_RATERS) < 0.5, "female", "male")
    taste = np.where(random.random(N_RATERS) < 0.5, 1.0, -1.0)
    style = random.integers(0, len(STYLES), N_IMAGES)
    shared = 0.5 * features[:, 0] + 0.7 * (style == 0)
    truth = 4 + shared + np.outer(np.where(gender == "female", 0.7, -0.7), features[:, 1]) + np.outer(0.9 * taste, features[:, 2])
    truth = np.clip(truth + 0.3 * random.standard_normal(N_RATERS)[:, None], 1, 7)
    image = np.concatenate([random.permutation(N_IMAGES)[:PER_RATER] for _ in range(N_RATERS)])
    rater = np.repeat(np.arange(N_RATERS), PER_RATER)
    names = [f"image{i:03d}.png" for i in range(N_IMAGES)]
    profiles = [Profile() if u % 5 == 4 else Profile(gender=str(gender[u]), age=20 + u % 40, free={"city": "Ulm"}) for u in range(N_RATERS)]
    dataset = Dataset(
        name="planted",
        scale=SCALE,
        raters=tuple(f"r{u}" for u in range(N_RATERS)),
        profiles=tuple(profiles),
        images=tuple(Path("planted") / name for name in names),
        image_ids=tuple(names),
        groups=tuple(names),
        rating_rater=rater,
        rating_image=image,
        rating_score=np.clip(truth[rater, image] + 0.3 * random.standard_normal(len(rater)), 1, 7),
        prompts=tuple(f"a {STYLES[s]} of something" for s in style),
        metadata={"style": tuple(STYLES[s] if i % 7 else "" for i, s in enumerate(style))},
    )
    table = dict(zip(names, features.astype(np.float32), strict=True))
    return dataset, SimulatedFeatures(table, dim=6, key="planted-6"), truth


def training_part(dataset: Dataset | None = None) -> Dataset:
    dataset = dataset or planted()[0]
    return dataset.rows((dataset.rating_rater < N_TRAINING) & (dataset.rating_image < N_IMAGES - N_NEW_IMAGES))


@lru_cache
def fitted(options: PamelaOptions = FAST) -> PamelaScorer:
    return PamelaScorer(features=planted()[1], options=options).fit(training_part())


def using(scorer: PamelaScorer, **changes) -> PamelaScorer:
    """The same weights with other options of use."""
    return PamelaScorer(features=scorer.features, options=replace(scorer.options, **changes)).reuse(scorer)


def names() -> list[str]:
    return [str(path) for path in planted()[0].images]


def new_images() -> list[str]:
    return names()[-N_NEW_IMAGES:]


def person(u: int, n: int = 0, *, scale: Scale = SCALE, known: bool = False) -> Rater:
    """A rater of the dataset with the true ratings of the first n of the old images, turned to `scale`."""
    dataset, _, truth = planted()
    order = np.random.default_rng(u).permutation(N_IMAGES - N_NEW_IMAGES)[:n]
    entries = [(names()[i], SCALE.convert(truth[u, i], to=scale)) for i in order]
    return Rater(profile=dataset.profiles[u], ratings=Ratings(entries, scale=scale), known_as=f"planted/r{u}" if known else "")


def correlation(scorer: PamelaScorer, raters, n: int = 0, *, known: bool = False) -> float:
    """Mean over raters of the correlation of scores for new images with the truth."""
    truth = planted()[2][:, -N_NEW_IMAGES:]
    found = scorer.predict_many([(new_images(), person(u, n, known=known)) for u in raters])
    return float(np.mean([np.corrcoef(p.score, truth[u])[0, 1] if np.ptp(p.score) else 0.0 for u, p in zip(raters, found, strict=True)]))
