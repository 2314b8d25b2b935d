"""`adjust-bias`: how much people in general like an image, moved by how much higher or lower this rater rates."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.stats import t as student

from beholder import scorers
from beholder.datasets.base import Dataset
from beholder.errors import UnreadableImage
from beholder.located import SkippedInput
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers.base import COVERAGE, FeatureSource, Scorer
from beholder.scorers.feature_scorer import FeatureScorer
from beholder.scorers.vlm_text.options import AdjustBiasOptions, RawTextOptions
from beholder.scorers.vlm_text.raw_text import RawTextScorer

FEWEST = 3  # ratings from which the spread is known well enough for an interval
SMALLEST = 0.01  # standard deviation of ratings, as a share of the scale, that is believed


class AdjustBiasScorer(Scorer):
    """Prediction = general score - mean over the rater's ratings of (general score - rating).

    The general score is what `raw-text` reads from a vision-language model, or with `giaa=population` what the scorer `population` learned from
    other raters. Without ratings it is the answer. An image without a general score gets the mean rating, and the whole scale as interval. Else the
    interval comes from the spread of the differences (Student's t, for one more rating); for fewer than 3 ratings it is as wide as that of the
    general score.

    Source: Ryu & Yanaka 2026 (arXiv 2604.11374), the baseline "adjust bias".

    Args:
        features: of the encoder, for `giaa=population`.
        options: see `AdjustBiasOptions`.
        general: the scorer of the general scores; made by `options.giaa` if not given.

    Attributes:
        progress: as that of `raw-text`.
    """

    name = "adjust-bias"
    Options: ClassVar[type[AdjustBiasOptions]] = AdjustBiasOptions
    feature_layers: ClassVar[tuple[str, ...]] = ()
    slow_part = "what gives the general scores"

    def __init__(
        self, *, features: FeatureSource | None = None, options: AdjustBiasOptions | None = None, general: Scorer | None = None
    ) -> None:
        self.options = options or AdjustBiasOptions()
        self.features = features
        if general is None:
            general = self._raw_text() if self.options.giaa == "raw-text" else scorers.make("population", features=features, trained=False)
        self.general = general

    @classmethod
    def layers_of(cls, options: AdjustBiasOptions) -> tuple[str, ...]:
        """The layers of the default encoder that are wanted: none for `raw-text`."""
        return FeatureScorer.feature_layers if options.giaa == "population" else ()

    def _raw_text(self) -> RawTextScorer:
        shared = {name: getattr(self.options, name) for name in RawTextOptions.__dataclass_fields__}
        return RawTextScorer(options=RawTextOptions(**shared))

    @property
    def uses_profile(self) -> bool:
        return self.general.uses_profile

    @property
    def version(self) -> str:
        return f"{self.general.name}-{self.general.version}"

    @property
    def progress(self) -> Callable[[int, int], None] | None:
        return getattr(self.general, "progress", None)

    @progress.setter
    def progress(self, progress: Callable[[int, int], None] | None) -> None:
        self.general.progress = progress

    def notes(self) -> list[str]:
        return self.general.notes()

    def frozen_models(self) -> list[Any]:
        return self.general.frozen_models()

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images the general scores were learned from, as far as it is known."""
        return self.general.trained_on(images) if hasattr(self.general, "trained_on") else 0

    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> AdjustBiasScorer:
        """The scorer of the general scores learns what it learns."""
        self.general = self.general.fit(train, progress=progress)
        return self

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; what is general is asked for once, for all raters."""
        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        both = self._general([(images, rater) for images, (_, rater) in zip(asked, requests, strict=True)])
        return [self._adjusted(images, *general, rater) for images, general, (_, rater) in zip(asked, both, requests, strict=True)]

    def _adjusted(self, images: list[str], general: np.ndarray, half: np.ndarray, of_rated: np.ndarray, rater: Rater) -> Predictions:
        """[n] general scores with half the width of their intervals, and the scores of the [k] rated images; on the rater's scale, nan for none."""
        scale, ratings = rater.scale, rater.ratings.scores
        known, seen = np.isfinite(general), np.isfinite(of_rated)
        differences = of_rated[seen] - ratings[seen]
        score = np.where(
            known, general - (differences.mean() if len(differences) else 0.0), ratings.mean() if len(ratings) else scale.middle
        )
        half = np.where(known, half, scale.width)
        if len(differences) >= FEWEST:
            n = len(differences)
            rounding = scale.step / np.sqrt(12)  # of ratings to the step of the scale, which alone spreads them so much
            spread = max(float(differences.std(ddof=1)), rounding, SMALLEST * scale.width)
            half[known] = student.ppf((1 + COVERAGE) / 2, n - 1) * spread * np.sqrt(1 + 1 / n)
        score = np.clip(score, scale.low, scale.high)
        ends = [np.clip(score + shift, scale.low, scale.high) for shift in (0.0, -half, half)]
        return Predictions(tuple(images), *ends, scale=scale, scorer=self.name, version=self.version)

    def _general(self, requests: Sequence[tuple[list[str], Rater]]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each rater what `_adjusted` takes.

        Raises:
            UnreadableImage: one of the images cannot be read; rated ones that cannot are left out, which is said.
        """
        wanted = {image for images, _ in requests for image in images}
        lists = [images + list(rater.ratings.images) for images, rater in requests]
        unreadable: dict[str, UnreadableImage] = {}
        if isinstance(self.general, RawTextScorer):
            units = self.general.general(lists, unreadable=unreadable)
            half = self.general.calibration.half_width if self.general.calibration else 1.0
            scores = [
                (rater.scale.from_unit(unit), np.full(len(unit), half * rater.scale.width))
                for unit, (_, rater) in zip(units, requests, strict=True)
            ]
        else:
            scores = [self._scored(images, rater, unreadable) for images, (_, rater) in zip(lists, requests, strict=True)]
        for image, error in unreadable.items():
            if image in wanted:
                raise error
        if unreadable:
            first = next(iter(unreadable.values()))
            warnings.warn(
                f"{self.name}: {len(unreadable)} rated images are left out, as they cannot be read (such as {first})",
                SkippedInput,
                stacklevel=5,
            )
        counts = [len(images) for images, _ in requests]
        return [(score[:n], half[:n], score[n:]) for (score, half), n in zip(scores, counts, strict=True)]

    def _scored(self, images: list[str], rater: Rater, unreadable: dict[str, UnreadableImage]) -> tuple[np.ndarray, np.ndarray]:
        """([n] scores of another scorer, half widths); nan for images that cannot be read, which are put into `unreadable`."""
        while True:
            good = [place for place, image in enumerate(images) if image not in unreadable]
            try:
                found = self.general.predict([images[place] for place in good], rater)
            except UnreadableImage as error:
                if error.path in unreadable or error.path not in images:
                    raise
                unreadable[error.path] = error
                continue
            scores = np.full((2, len(images)), np.nan)
            scores[:, good] = found.score, np.maximum(found.high - found.score, found.score - found.low)
            return scores[0], scores[1]

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """What the scorer of the general scores learned."""
        return self.general.save_pretrained(folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource | None = None, options: AdjustBiasOptions | None = None
    ) -> AdjustBiasScorer:
        """With `giaa=population` what `save_pretrained` wrote, or the weights in the package; `raw-text` has none, and `folder` is not looked at."""
        options = options or AdjustBiasOptions()
        if options.giaa == "raw-text":
            return cls(features=features, options=options)
        return cls(features=features, options=options, general=scorers.make("population", features=features, weights=folder))
