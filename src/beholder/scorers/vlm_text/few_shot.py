"""`few-shot`: a vision-language model is shown images with the rater's ratings, and asked for the rating of another one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from beholder.errors import BeholderError, UnreadableImage
from beholder.located import SHOWN, SkippedInput
from beholder.photos import content_hash
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers.base import FeatureSource
from beholder.scorers.vlm_text.asking import Example, Question, content_of
from beholder.scorers.vlm_text.options import FewShotOptions
from beholder.scorers.vlm_text.text_scorer import ASKED, TextScorer


class FewShotScorer(TextScorer):
    """The first ratings of the rater, on 1 to 5, stand with their images before the image in one conversation. See `TextScorer` for the answer.

    A rater without a rating gets the answers of `raw-text`: the question without examples. Rated images that cannot be read are left out, and said.
    The examples go through the model once for each rater: what follows goes on from their keys and values.

    Source: Ryu & Yanaka 2026 (arXiv 2604.11374), the baseline "few-shot" with 10 images, with their prompts.

    Raises:
        BeholderError: the conversation is longer than what the model can read.
    """

    name = "few-shot"
    Options = FewShotOptions

    def __init__(self, *, features: FeatureSource | None = None, options: FewShotOptions | None = None) -> None:
        super().__init__(features=features, options=options)
        if self.options.examples < 1:
            raise BeholderError(f"examples = {self.options.examples} is too small: give 1 or more")

    @property
    def version(self) -> str:
        return f"{super().version}/{self.options.examples}"

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; raters who rated the same images alike share their beginning and their answers."""
        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        questions: list[list[Question]] = [[] for _ in requests]
        texts: list[list[str | UnreadableImage]] = [[] for _ in requests]
        broken: dict[str, UnreadableImage] = {}
        left = [place for place, images in enumerate(asked) if images]
        while left:
            for place in left:
                examples = self.examples(requests[place][1], broken)
                questions[place] = [Question(image, examples) for image in asked[place]]
            replies = iter(self.ask([question for place in left for question in questions[place]]))
            for place in left:
                texts[place] = [next(replies) for _ in asked[place]]
            left = [place for place in left if self._found_broken(questions[place], texts[place], broken)]  # again, without those
        self._say(broken)
        asked_all = [question for some in questions for question in some]
        units = self.units(asked_all, [text for some in texts for text in some])
        parts = np.split(units, np.cumsum([len(images) for images in asked])[:-1]) if requests else []
        return [
            self.predictions(images, np.where(np.isfinite(unit), unit, 0.5), np.ones(len(images)), rater=rater)
            for images, unit, (_, rater) in zip(asked, parts, requests, strict=True)
        ]

    def examples(self, rater: Rater, broken: dict[str, UnreadableImage]) -> tuple[Example, ...]:
        """The first ratings whose images can be read.

        Args:
            broken: images that are known not to be readable; those that are found now are put there.
        """
        found: list[Example] = []
        for rating in rater.ratings:
            if len(found) == self.options.examples:
                break
            if rating.image in broken:
                continue
            try:
                found.append(Example(rating.image, content_hash(rating.image), float(rater.scale.convert(rating.score, to=ASKED))))
            except UnreadableImage as error:
                broken[rating.image] = error
        return tuple(found)

    def _found_broken(
        self, questions: Sequence[Question], texts: Sequence[str | UnreadableImage], broken: dict[str, UnreadableImage]
    ) -> bool:
        """Whether an example turned out to be no image, which is put into `broken` then.

        Raises:
            UnreadableImage: an image that is asked about is none.
        """
        error = next((text for text in texts if isinstance(text, UnreadableImage)), None)
        if error is None:
            return False
        # Questions with examples of the same content share the answer, and so the error, which names one of the files
        content = content_of(error.path)
        alike = [example.image for example in questions[0].examples if error.path == example.image or content == example.content]
        if not alike:
            raise error
        broken.update({image: UnreadableImage(image, error.reason) for image in alike})
        return True

    def _say(self, broken: dict[str, UnreadableImage]) -> None:
        if broken:
            shown = "; ".join(map(str, list(broken.values())[:SHOWN])) + (f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else "")
            warnings.warn(
                f"{self.name}: {len(broken)} rated images are left out, as they cannot be read ({shown})", SkippedInput, stacklevel=4
            )
