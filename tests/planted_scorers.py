"""Scorers without features whose answers are known, for tests of protocols and reports."""

from __future__ import annotations

import zlib

import numpy as np

from beholder.prediction import Predictions
from beholder.scorers.base import Scorer


class Planted(Scorer):
    """Answers what `rule(image name, rater)` says; counts trainings, requests and what it was shown.

    Args:
        rule: (name, rater) -> score.
        log: list that every call adds to: ("fit", train), ("ask", requests).
    """

    name, uses_ratings = "planted", False

    def __init__(self, rule, *, log=None, profile=False, version="1"):
        self.rule, self.log, self.uses_profile, self.version = rule, log if log is not None else [], profile, version

    def fit(self, train, *, progress=None):
        self.log.append(("fit", train))
        if progress is not None:
            progress(1, 2, "half of it")
        return self

    def predict(self, images, rater):
        raise AssertionError("the bench asks for many raters at once")

    def predict_many(self, requests):
        self.log.append(("ask", requests))
        found = []
        for images, rater in requests:
            score = np.array([self.rule(str(image).rsplit("/", 1)[-1], rater) for image in images], dtype=float)
            found.append(Predictions(tuple(images), score, score - 1, score + 1, rater.scale, self.name, self.version))
        return found

    def logged(self, what):
        return [content for kind, content in self.log if kind == what]


def noise(*parts):
    """A number in 0..1 that depends on the text of the parts alone."""
    return zlib.crc32("|".join(map(str, parts)).encode()) / 2**32


def truth_of(dataset, *, noise_width=0.0):
    """A rule that knows the ratings, with reproducible noise on them."""
    known = {
        (dataset.image_ids[image], dataset.raters[rater]): score
        for image, rater, score in zip(dataset.rating_image, dataset.rating_rater, dataset.rating_score, strict=True)
    }
    return lambda name, rater: known[name, rater.name] + noise_width * (noise(name, rater.name) - 0.5)
