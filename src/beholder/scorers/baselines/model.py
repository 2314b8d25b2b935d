"""The population model: a linear function of the features, and of the features times the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from beholder.profile import Profile
from beholder.scorers.profile_features import ProfileEncoder


@dataclass(frozen=True)
class PopulationModel:
    """Everything learned; scores on 0..1.

    Args:
        mean: [d] float32 of the features; standardisation is folded into `coefficients` [d] float32.
        intercept: mean rating.
        alpha: ridge penalty that was chosen.
        half_width: of the 90 % interval, the same for every image: 90 % quantile of left-out errors.
        axes: [d, k] float32, features (less mean) -> principal axes; k = 0 without profile.
        encoder, profile_weights: profile -> numbers [p], and their effect [p, 1 + k] on the constant and along the axes.
    """

    mean: np.ndarray
    coefficients: np.ndarray
    intercept: float
    alpha: float
    half_width: float
    axes: np.ndarray
    encoder: ProfileEncoder
    profile_weights: np.ndarray

    def predict(self, features: np.ndarray, profile: Profile) -> np.ndarray:
        """[n, d] -> [n] expected rating on 0..1, not clipped."""
        centred = features - self.mean
        score = self.intercept + (centred @ self.coefficients).astype(np.float64)
        if self.encoder.dim and profile:
            effect = self.encoder(profile) @ self.profile_weights
            score = score + effect[0] + (centred @ self.axes) @ effect[1:]
        return score


def model_card(model: PopulationModel, trained: Mapping[str, object], *, features: str) -> str:
    """Markdown: what it is, data, licence, command, limits."""
    return f"""# population: what people in general like

Ridge regression of mean ratings on frozen image features: the zero-shot baseline. Code: beholder, `scorers/baselines`.
Licence of the weights: Apache-2.0; of the training data: {trained.get("licence") or "see its source"}.

## Trained on
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images, scale {trained.get("scale")}.
{trained.get("citation", "")}

- features: `{features}`
- ridge penalty: {model.alpha:g}, chosen by generalised cross-validation
- command: `beholder train population --data DIR --out DIR`

## Limits
The same answer for everybody; the width of the interval is the same for every image. Accuracy: docs/benchmarks.md.
"""
