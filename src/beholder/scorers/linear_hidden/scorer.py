"""`linear-hidden`: the published few-shot recipe, one ridge regression per rater on frozen features.

Source: Ryu & Yanaka 2026, "What Do Vision-Language Models Encode for Personalized Image Aesthetics Assessment?"
(arXiv 2604.11374), Linear-Hidden: StandardScaler and RidgeCV over 13 penalties from 1e-3 to 1e3. Here on any frozen features.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from beholder.datasets.base import Dataset
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers.feature_scorer import FeatureScorer
from beholder.scorers.linear_hidden.model import fit_rater
from beholder.scorers.threads import one_blas_thread


class LinearHiddenScorer(FeatureScorer):
    """Nothing is learned from other raters. Without ratings the answer is the middle of the scale, the interval all of it.

    Choices are ignored: the recipe has no place for them.
    """

    name = "linear-hidden"
    version = "1"

    def fit(self, train: Dataset, *, progress=None) -> LinearHiddenScorer:
        """Nothing to learn: every rater is fitted on its own when asked."""
        return self

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        names = [os.fspath(image) for image in images]
        scale = rater.scale
        if not len(rater.ratings):
            n = len(names)
            ends = [np.full(n, value) for value in (scale.middle, scale.low, scale.high)]
            return Predictions(tuple(names), *ends, scale=scale, scorer=self.name, version=self.version)
        known = self.features(rater.ratings.images)
        with one_blas_thread():
            model = fit_rater(known, rater.ratings.scores)
        score = np.clip(model.predict(self.features(names)), scale.low, scale.high) if names else np.zeros(0)
        half = model.half_width(scale.width)
        ends = [np.clip(score + shift, scale.low, scale.high) for shift in (0.0, -half, half)]
        return Predictions(tuple(names), *ends, scale=scale, scorer=self.name, version=self.version)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike | None = None, *, features) -> LinearHiddenScorer:
        """There is nothing to load; `folder` is not looked at."""
        return cls(features=features)
