"""A small scorer for tests of what surrounds scorers; given to the command line as stub_scorers:Stub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.prediction import Predictions
from beholder.scorers.base import Scorer


@dataclass(frozen=True)
class Explanation:
    score: float
    low: float
    high: float
    parts: dict[str, float]
    influences: list[tuple[str, float]]


class Stub(Scorer):
    """Likes what is near (in features) to what was rated well, the rest at random; of a profile it reads openness only."""

    name = "stub"
    uses_profile = True
    feature_layers = ("block10", "pool")

    def __init__(self, *, features, shift=0.0):
        self.features, self.shift = features, shift
        self.asked = []

    @property
    def version(self):
        return f"1+{self.shift:g}"

    def fit(self, train, *, progress=None):
        self.shift = float(train.rating_score.mean())
        return self

    def predict(self, images, rater):
        self.asked.append((list(images), rater))
        unit = 0.5 + 0.3 * np.sin(self.features(images)[:, 0]) + 0.02 * (rater.profile.openness or 5) - 0.1
        if len(rater.ratings):
            known, liked = self.features(rater.ratings.images), rater.scale.to_unit(rater.ratings.scores)
            near = np.exp(-(((self.features(images)[:, None] - known[None]) ** 2).sum(axis=2)) / 10)
            unit = (unit + near @ liked) / (1 + near.sum(axis=1))
        for choice in rater.choices:
            unit = unit + 0.01 * (np.array(images) == choice.chosen)
        low, score, high = (rater.scale.from_unit(np.clip(unit + by, 0, 1)) for by in (-0.1, 0, 0.1))
        return Predictions(tuple(images), score, low, high, rater.scale, self.name, self.version)

    def explain(self, image, rater):
        p = self.predict([image], rater)[0]
        parts = {"everybody": rater.scale.middle, "taste": p.score - rater.scale.middle}
        return Explanation(p.score, p.low, p.high, parts, [(r.image, 0.1) for r in rater.ratings])

    def suggest(self, images, rater, *, n):
        return sorted(images, reverse=True)[:n]

    def save_pretrained(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "config.json").write_text(json.dumps({"shift": self.shift}))
        return Path(folder)

    @classmethod
    def from_pretrained(cls, folder=None, *, features):
        return cls(features=features, shift=json.loads((Path(folder) / "config.json").read_text())["shift"] if folder else 0.0)


class Plain(Stub):
    """Can neither explain nor suggest, and has nothing to save or load."""

    name = "plain"
    explain = suggest = from_pretrained = None
    save_pretrained = Scorer.save_pretrained
