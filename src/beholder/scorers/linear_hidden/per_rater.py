"""One regression per rater on what is seen of the images: what `linear-hidden` and `linear-hidden-reduce` share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from beholder.backbones.threads import usable_cores
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.ridge import ridge_cv_many
from beholder.scale import Scale
from beholder.scorers import provenance
from beholder.scorers.feature_scorer import FeatureScorer, unique_rows
from beholder.scorers.linear_hidden.others import Others
from beholder.scorers.threads import one_blas_thread

CHUNK = 4096  # images predicted at once: bounds the memory of a copy of their features
TIMES = 1.645  # standard deviations that half of a 90 % interval is wide


class Fitted(Protocol):
    """A rater's regression: `predict` [m, d] -> [m, 1]; `error` [1], nan where too few ratings tell."""

    error: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Asked:
    """Requests as rows of one matrix.

    Args:
        x: [m, d] of all images, each once.
        level: [m] general score on 0..1 that the regressions start from; None where they start from nothing.
        images: per request, the images asked for; at: their rows.
        models: per request, the rater's regression; None without a rating. It predicts what comes on top of the level, in points of the
            rater's scale.
    """

    x: np.ndarray
    level: np.ndarray | None
    images: list[list[str]]
    at: list[np.ndarray]
    models: list[Fitted | None]


class RegressionPerRater(FeatureScorer):
    """Ridge regression from what is seen of an image to the rater's score; all raters that are asked for together are solved together.

    The interval comes from the rater's own leave-one-out errors; below 3 ratings it is the whole scale. Without a rating the answer is the
    middle of the scale and all of it, or what training raters gave on average, if something was learned from them. Choices are ignored: the
    recipe has no place for them.
    """

    others: Others | None = None
    _n_unrated = 0  # raters asked for without a rating

    def notes(self) -> list[str]:
        """Whether the answers say nothing about somebody: such a regression needs ratings."""
        if not self._n_unrated or self.others is not None:
            return []
        return [f"{self.name} knows nothing of a rater without ratings, so every image got the middle of the scale: give some ratings"]

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        asked = self._solved(requests)
        out = []
        for (_, rater), images, at, model in zip(requests, asked.images, asked.at, asked.models, strict=True):
            scale, level = rater.scale, None if asked.level is None else asked.level[at]
            if model is None:
                self._n_unrated += 1
                score, half = self._unrated(len(at), level, scale)
            else:
                some = [model.predict(asked.x[at[start : start + CHUNK]])[:, 0] for start in range(0, len(at), CHUNK)]
                score = np.concatenate([np.zeros(0), *some]) + (0.0 if level is None else scale.width * level)
                error = float(model.error[0])
                half = scale.width if np.isnan(error) else TIMES * max(error, 1e-3 * scale.width)
            score = np.clip(score, scale.low, scale.high)
            ends = [np.clip(score + shift, scale.low, scale.high) for shift in (0.0, -half, half)]
            out.append(Predictions(tuple(images), *ends, scale=scale, scorer=self.name, version=self.version))
        return out

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images other raters were learned from with."""
        return int(np.isin(provenance.fingerprints(images), self.others.seen).sum()) if self.others is not None else 0

    def _solved(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> Asked:
        """Every rater's regression."""
        self._check_ready()
        images = [[os.fspath(image) for image in asked] for asked, _ in requests]
        support = [self._support(rater) for _, rater in requests]
        every, rows = unique_rows([*images, *(rated for rated, _ in support)])
        features = self.features(every) if every else np.zeros((0, self.features.dim), dtype=np.float32)
        x, level = self._see(features), self._level(features)
        has = [i for i, (rated, _) in enumerate(support) if len(rated)]
        known = [rows[len(images) + i] for i in has]
        targets = [support[i][1] for i in has]
        if level is not None:
            starts = [self.others.unseen(support[i][0], level[at]) for i, at in zip(has, known, strict=True)]
            targets = [y - requests[i][1].scale.width * start for i, start, y in zip(has, starts, targets, strict=True)]
        models: list[Fitted | None] = [None] * len(requests)
        with one_blas_thread():
            for i, model in zip(has, self._fit_all(x, known, targets), strict=True):
                models[i] = model
        return Asked(x, level, images, rows[: len(images)], models)

    def _fit_all(self, x: np.ndarray, rows: list[np.ndarray], targets: list[np.ndarray]) -> list[Fitted]:
        return ridge_cv_many(x, rows, targets, threads=min(usable_cores(), len(rows)))

    def _support(self, rater: Rater) -> tuple[list[str], np.ndarray]:
        """What the regression learns from: images, and their scores on the rater's scale."""
        return rater.ratings.images, rater.ratings.scores

    def _check_ready(self) -> None:
        """Refuse if something that must be learned from other raters was not."""

    def _see(self, features: np.ndarray) -> np.ndarray:
        """[m, D] features -> [m, d] what the regressions are on."""
        return features

    def _level(self, features: np.ndarray) -> np.ndarray | None:
        """[m, D] features -> [m] general score on 0..1, or None."""
        return None

    def _unrated(self, n: int, level: np.ndarray | None, scale: Scale) -> tuple[np.ndarray, float]:
        """Scores of n images for a rater without a rating, and half the width of their intervals."""
        if self.others is None:
            return np.full(n, scale.middle), scale.width
        if level is None:
            return np.full(n, scale.from_unit(self.others.mean)), TIMES * scale.width * self.others.spread
        return scale.from_unit(level), TIMES * scale.width * self.others.error
