"""What the scorers that read a model's text share: from answers on 1 to 5 to predictions, and what is counted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from beholder import __version__
from beholder.backbones.vlm.number import parse_number
from beholder.datasets.base import Dataset
from beholder.errors import UnreadableImage
from beholder.located import SkippedInput
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scale import Scale
from beholder.scorers.base import FeatureSource, Scorer
from beholder.scorers.vlm_text.asking import Asker, Question
from beholder.scorers.vlm_text.options import VLMTextOptions

ASKED = Scale(1, 5, 0)  # what the published prompts ask for


class TextScorer(Scorer):
    """A scorer that asks a vision-language model for a number from 1 to 5.

    Numbers beyond the ends count as the ends, and are mapped linearly to the rater's scale. An answer without a number is counted in `unparsed`,
    warned of with `SkippedInput`, and gives the middle of the scale. A model says nothing of its own uncertainty, so the interval is the whole scale.

    Args:
        features: not used; taken so that all scorers are made alike.
        options: an instance of the class's `Options`.

    Attributes:
        unparsed: answers without a number up to now.
        progress: called with (images answered, of how many); may be set.
    """

    feature_layers: ClassVar[tuple[str, ...]] = ()  # no image needs to be encoded
    slow_part = "the vision-language model"
    Options: ClassVar[type[VLMTextOptions]] = VLMTextOptions

    def __init__(self, *, features: FeatureSource | None = None, options: VLMTextOptions | None = None) -> None:
        self.options = options if options is not None else type(self).Options()
        self.asker = Asker(self.options, share_prefix=getattr(self.options, "share_prefix", True))
        self.unparsed = 0
        self.progress: Callable[[int, int], None] | None = None

    @property
    def version(self) -> str:
        """Program, model, and everything else that the answer depends on."""
        return f"{__version__}+{self.asker.settings}"

    def notes(self) -> list[str]:
        """How much the model was asked, and what could not be read."""
        asker = self.asker
        lines = [f"{self.name}: {asker.vlm.name} answered {asker.asked} questions, {asker.known} answers were already known"]
        if self.unparsed:
            lines.append(f"{self.name}: {self.unparsed} images without a number in the answer")
        return lines

    def frozen_models(self) -> list[Any]:
        return [self.asker.vlm]

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> TextScorer:
        """Nothing is learned from other raters."""
        return self

    def ask(self, questions: Sequence[Question]) -> list[str | UnreadableImage]:
        """See `Asker.ask`."""
        return self.asker.ask(questions, progress=self.progress) if questions else []

    def units(self, questions: Sequence[Question], texts: Sequence[str]) -> np.ndarray:
        """[n] answers on 0..1, 1 = liked most; nan where there is no number, which is counted and said."""
        numbers = [parse_number(text) for text in texts]
        empty = [place for place, number in enumerate(numbers) if number is None]
        if empty:
            self.unparsed += len(empty)
            said = " ".join(texts[empty[0]].split())[:100] or "an empty answer"
            warnings.warn(
                f"{self.name}: {len(empty)} of {len(texts)} answers of {self.asker.vlm.name} hold no number (such as {questions[empty[0]].image}: {said!r}): "
                f"these images count as neither good nor bad; raise max_new_tokens, use read=expected, or name another model",
                SkippedInput,
                stacklevel=4,
            )
        values = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
        return np.clip(ASKED.to_unit(values), 0.0, 1.0)

    def predictions(self, images: Sequence[str], unit: np.ndarray, half: np.ndarray, *, rater: Rater) -> Predictions:
        """Centres [n] and half widths [n] of the intervals, both on 0..1, as predictions on the rater's scale."""
        ends = [rater.scale.from_unit(np.clip(unit + shift, 0.0, 1.0)) for shift in (0.0, -half, half)]
        return Predictions(tuple(images), *ends, scale=rater.scale, scorer=self.name, version=self.version)
