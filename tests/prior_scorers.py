"""Scorers with planted answers, given to `taste` as prior_scorers:Knows and the like; no features are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from beholder.prediction import Predictions
from beholder.scorers.base import Scorer
from taste_worlds import world


class Knows(Scorer):
    """What each rater of the world "mixed" really feels, found by the rater's name; refuses to be shown ratings or choices."""

    name = "knows"
    version = "7"
    uses_ratings = False
    feature_layers = ()
    asked: list[int] = []  # noqa: RUF012  numbers of images, of every instance: tests empty it

    def __init__(self, *, features):
        self.features = features

    def fit(self, train, *, progress=None):
        raise AssertionError("a prior is taken as it is")

    def predict(self, images, rater):
        assert not len(rater.ratings) and not len(rater.choices), "a prior is zero-shot"
        self.asked.append(len(images))
        score = np.clip(self.feeling(images, rater), rater.scale.low, rater.scale.high)
        return Predictions(tuple(images), score, score, score, rater.scale, self.name, self.version)

    def feeling(self, images, rater):
        simulation = world("mixed")
        place = {path.name: i for i, path in enumerate(simulation.dataset.images)}
        at = [place[Path(image).name] for image in images]
        return 3 + simulation.shared_taste[at] + simulation.personal_taste[int(rater.name)][at]


class Mistaken(Knows):
    """The opposite of what the rater feels."""

    name = "mistaken"

    def feeling(self, images, rater):
        return 6 - super().feeling(images, rater)


class Speechless(Knows):
    """Has no number for the second of several images."""

    name = "speechless"

    def feeling(self, images, rater):
        return np.where(np.arange(len(images)) == 1, np.nan, 3.0)


class Chatty(Knows):
    """Has something to say, tells how far it is, and was trained on the first image."""

    name = "chatty"

    def __init__(self, *, features):
        super().__init__(features=features)
        self.progress = None

    def predict(self, images, rater):
        if self.progress:
            self.progress(len(images), len(images))
        return super().predict(images, rater)

    def notes(self):
        return ["chatty: 3 replies were paid"]

    def trained_on(self, images):
        return sum(Path(image).name == world("mixed").dataset.images[0].name for image in images)
