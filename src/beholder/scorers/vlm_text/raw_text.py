"""`raw-text`: a vision-language model is asked for the score of an image in words; the same for every rater."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import UnreadableImage
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers.answer_calibration import Calibration, learn_calibration
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import unique_rows
from beholder.scorers.vlm_text.asking import Question
from beholder.scorers.vlm_text.options import RawTextOptions
from beholder.scorers.vlm_text.text_scorer import TextScorer


class RawTextScorer(TextScorer):
    """One question per image, whoever the rater is. See `TextScorer` for what becomes of the answer.

    With `fit_ratings`, `fit` learns level, slope and error of the answers from ratings of other people, and with them an interval.

    Source: Ryu & Yanaka 2026 (arXiv 2604.11374), the baseline "raw text", with their prompt.
    """

    name = "raw-text"
    uses_ratings = False
    Options = RawTextOptions

    def __init__(self, *, features: FeatureSource | None = None, options: RawTextOptions | None = None) -> None:
        super().__init__(features=features, options=options)
        self.calibration: Calibration | None = None

    @property
    def version(self) -> str:
        learned = f"/fit{self.calibration.intercept:.4f},{self.calibration.slope:.4f}" if self.calibration else ""
        return super().version + learned

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; an image is asked about once, however many raters it is for."""
        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        found = []
        for (_, rater), images, unit in zip(requests, asked, self.general(asked), strict=True):
            known = np.isfinite(unit)
            half = np.where(known & (self.calibration is not None), self.calibration.half_width if self.calibration else 1.0, 1.0)
            found.append(self.predictions(images, np.where(known, unit, 0.5), half, rater=rater))
        return found

    def general(self, lists: Sequence[Sequence[str]], *, unreadable: dict[str, UnreadableImage] | None = None) -> list[np.ndarray]:
        """How good the images of several lists are, on 0..1, with what `fit` learned; nan where the answer holds no number.

        Args:
            unreadable: images that cannot be read are put here, and have nan.

        Raises:
            UnreadableImage: if that is not given.
        """
        images, rows = unique_rows(lists)
        questions = [Question(image) for image in images]
        texts = self.ask(questions)
        unit = np.full(len(images), np.nan)
        errors = {place: text for place, text in enumerate(texts) if isinstance(text, UnreadableImage)}
        if errors and unreadable is None:
            raise next(iter(errors.values()))
        if unreadable is not None:
            unreadable |= {images[place]: error for place, error in errors.items()}
        good = [place for place in range(len(images)) if place not in errors]
        unit[good] = self.units([questions[place] for place in good], [texts[place] for place in good])
        unit = self.calibration(unit) if self.calibration else unit
        return [unit[places] for places in rows]

    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> RawTextScorer:
        """With `fit_ratings` = n: ask about the images of n training ratings (drawn with a fixed seed) and learn from them; else nothing is learned.

        Raises:
            BeholderError: fewer than 10 of the answers hold a number.
        """
        self.calibration = None
        self.calibration = learn_calibration(
            train,
            lambda rows: self.general([[os.fspath(train.images[image]) for image in train.rating_image[rows]]])[0],
            n=self.options.fit_ratings,
            model=self.asker.vlm.name,
            scorer=self.name,
            progress=progress,
        )
        return self
