"""One rater's ridge regression, as published, with an interval from its own left-out errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

ALPHAS = np.logspace(-3, 3, 13)


@dataclass(frozen=True)
class RaterRidge:
    """`pipeline` fitted on n ratings; `error` = root mean squared leave-one-out error in points, None below 3 ratings."""

    pipeline: Pipeline
    error: float | None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """[m, d] -> [m] ratings on the rater's scale, not clipped."""
        return self.pipeline.predict(np.asarray(features, dtype=np.float64))

    def half_width(self, scale_width: float) -> float:
        """Of the 90 % interval, in points; the whole scale where too few ratings tell."""
        return scale_width if self.error is None else 1.645 * max(self.error, 1e-3 * scale_width)


def fit_rater(features: np.ndarray, scores: np.ndarray) -> RaterRidge:
    """StandardScaler + RidgeCV(logspace(-3, 3, 13)), leave-one-out choice of the penalty.

    Args:
        features: [n, d] of the rated images.
        scores: [n] on the rater's scale.
    """
    x = np.asarray(features, dtype=np.float64)
    if len(x) < 2:  # RidgeCV needs two; one rating is the best guess for every image
        pipeline = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(np.vstack([x, x]), np.repeat(scores, 2))
        return RaterRidge(pipeline, None)
    pipeline = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x, scores)
    # best_score_ is minus the mean squared leave-one-out error at the chosen penalty.
    error = float(np.sqrt(max(-pipeline[-1].best_score_, 0.0))) if len(x) >= 3 else None
    return RaterRidge(pipeline, error)
