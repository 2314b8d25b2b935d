"""`population`: what people in general give, by ridge regression on features; the zero-shot baseline every paper needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.baselines.model import PopulationModel, model_card
from beholder.scorers.baselines.training import Progress, fit_population
from beholder.scorers.feature_scorer import SHIPPED, FeatureScorer, read_weights, understanding, write_weights
from beholder.scorers.profile_features import ProfileEncoder


class PopulationScorer(FeatureScorer):
    """Ridge regression of the image effects (ratings less rater means) on frozen features, plus the mean rating.

    The rater's ratings are ignored. With `use_profile`, a ridge on profile x (constant, principal features) is added.

    Args:
        features: of the encoder that the weights were or will be trained with.
        use_profile: whether `fit` learns the interaction with the profile.
    """

    name = "population"
    uses_ratings = False

    def __init__(self, *, features: FeatureSource, use_profile: bool = False) -> None:
        super().__init__(features=features)
        self.use_profile = use_profile
        self.model: PopulationModel | None = None
        self.trained: dict[str, object] = {}
        self._seen = np.zeros(0, dtype=np.uint64)

    @property
    def uses_profile(self) -> bool:
        return self.use_profile

    @property
    def version(self) -> str:
        return f"{__version__}+{self.trained.get('id', 'untrained')}"

    def fit(self, train: Dataset, *, progress: Progress | None = None) -> PopulationScorer:
        images = [os.fspath(train.images[i]) for i in train.used_images]
        self.model = fit_population(train, self.features(images), use_profile=self.use_profile, progress=progress)
        self._seen = provenance.fingerprints(images)
        self.trained = provenance.describe(train) | {"id": provenance.identity(_tensors(self.model))}
        return self

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images the weights were trained on."""
        return int(np.isin(provenance.fingerprints(images), self._seen).sum())

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        if self.model is None:
            raise BeholderError("population has not learned from other raters yet: use from_pretrained, or fit")
        names = [os.fspath(image) for image in images]
        features = self.features(names) if names else np.zeros((0, self.features.dim), dtype=np.float32)
        unit = self.model.predict(features, rater.profile)
        scale = rater.scale
        half = self.model.half_width
        ends = [np.clip(scale.from_unit(unit + shift), scale.low, scale.high) for shift in (0.0, -half, half)]
        return Predictions(tuple(names), *ends, scale=scale, scorer=self.name, version=self.version)

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        if self.model is None:
            raise BeholderError("population has nothing trained to save: fit it first")
        model = self.model
        tensors = _tensors(model) | {"trained_images": self._seen}
        config = {
            "scorer": self.name,
            "features": self.features.key,
            "trained": self.trained,
            "use_profile": self.use_profile,
            "intercept": model.intercept,
            "half_width": model.half_width,
            "alpha": model.alpha,
            "profile_columns": model.encoder.to_json(),
        }
        return write_weights(folder, config=config, tensors=tensors, card=model_card(model, self.trained, features=self.features.key))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike | None = None, *, features: FeatureSource) -> PopulationScorer:
        """Read what `save_pretrained` wrote; the weights in the package if no folder is given."""
        folder = SHIPPED / cls.name if folder is None else folder
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            scorer = cls(features=features, use_profile=config["use_profile"])
            scorer.check_features(config["features"], folder=folder)
            scorer.model = PopulationModel(
                mean=tensors["mean"],
                coefficients=tensors["coefficients"],
                intercept=config["intercept"],
                alpha=config["alpha"],
                half_width=config["half_width"],
                axes=tensors["axes"],
                encoder=ProfileEncoder.from_json(config["profile_columns"]),
                profile_weights=tensors["profile_weights"],
            )
            scorer.trained = config["trained"]
            scorer._seen = tensors["trained_images"]
        return scorer


def _tensors(model: PopulationModel) -> dict[str, np.ndarray]:
    return {name: getattr(model, name) for name in ("mean", "coefficients", "axes", "profile_weights")}
