"""What the two baselines that ask chat models share: from replies to scores with intervals, and what is counted."""

from __future__ import annotations

import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from beholder import __version__
from beholder.backbones.chat import IMAGE_SIZE, ChatModel, Reply, open_chat_model
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from beholder.personas import questions
from beholder.prediction import Predictions
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.scale import Scale
from beholder.scorers.answer_calibration import Calibration, learn_calibration
from beholder.scorers.base import FeatureSource, Scorer

QUESTION = questions.scoring("evaluation")  # P-MLLM, appendix C: 0 to 10


@dataclass(frozen=True)
class ChatOptions:
    """What both baselines can be told, in brackets behind their name.

    Args:
        model: URL#model, or a model on this machine (see `open_chat_model`); must be given.
        style: of the profile in the system message, see `personas.prompts.render`.
        max_tokens: of an answer; reasoning models need more.
        prices: "IN/OUT" of a million tokens, for the cost; "" = not known.
        api_key_env: environment variable with the key of the endpoint.
        concurrency: requests under way at once.
        image_size: longer side of the photographs sent, in pixels.
        timeout: seconds without an answer before a request is repeated.
        keep: whether replies are kept on disk.
        fit_ratings: how many training ratings `fit` asks about, to learn the level, the slope and the error of the answers; 0 = it learns nothing.
    """

    model: str = ""
    style: Literal["published", "short"] = "published"
    max_tokens: int = 256
    prices: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    image_size: int = IMAGE_SIZE
    timeout: float = 120.0
    keep: bool = True
    fit_ratings: int = 0


class ChatScorer(Scorer):
    """A scorer that asks a chat model for an integer.

    Answers are mapped to the rater's scale by `questions.from_integer` and cut off at its ends. A model says nothing of its own uncertainty, so
    the interval is the whole scale, until `fit` has seen ratings. A reply without a score, or a refusal, is counted in `unparsed`, warned of
    with `SkippedInput`, and gets the middle of the scale with the whole scale as interval.

    Args:
        features: not used; taken so that all scorers are made alike.
        options: an instance of the class's `Options`.

    Attributes:
        unparsed: images without a score up to now.
        progress: called with (requests answered, of how many); may be set.
    """

    uses_ratings = False
    uses_profile = True
    self_contained = False
    feature_layers: ClassVar[tuple[str, ...]] = ()  # no image needs to be encoded

    def __init__(self, *, features: FeatureSource | None = None, options: ChatOptions | None = None) -> None:
        self.options = options if options is not None else type(self).Options()
        self.unparsed = 0
        self.calibration: Calibration | None = None
        self.progress: Callable[[int, int], None] | None = None
        self.model = self._open(self.options.model, "model", prices=self.options.prices, api_key_env=self.options.api_key_env)

    @abstractmethod
    def _replies(self, pairs: Sequence[tuple[Path, Profile]]) -> list[Reply]:
        """The reply that should hold the score, for each (image, profile)."""

    def models(self) -> dict[str, ChatModel]:
        """Those that are asked: option -> model."""
        return {"model": self.model}

    @property
    def version(self) -> str:
        """Program, models, and everything else that the answer depends on."""
        asked = "+".join(f"{model.name}@{model.version}" for model in self.models().values())
        learned = f"/fit{self.calibration.intercept:.4f},{self.calibration.slope:.4f}" if self.calibration else ""
        return f"{__version__}+{asked}/{self._settings()}{learned}"

    def notes(self) -> list[str]:
        """What the models did, one sentence for each; what was refused or could not be read."""
        lines = [f"{self.name}: {model.name}: {model.usage}" for model in self.models().values()]
        if self.unparsed:
            lines.append(f"{self.name}: {self.unparsed} images without a score in the reply")
        return lines

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([([os.fspath(image) for image in images], rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """All images of all raters are asked for together, so that the endpoint is never idle between raters."""
        found = []
        units = iter(self._ask([(Path(image), rater.profile) for images, rater in requests for image in images]))
        for images, rater in requests:
            scale = rater.scale
            answers = np.array([_unit(next(units), scale) for _ in images], dtype=np.float64)
            known = np.isfinite(answers)
            centre, half = np.where(known, answers, 0.5), np.ones(len(answers))  # half = 1: the whole scale
            if self.calibration is not None:
                centre = np.where(known, self.calibration(answers), 0.5)
                half = np.where(known, self.calibration.half_width, 1.0)
            score, low, high = (scale.from_unit(np.clip(centre + shift, 0.0, 1.0)) for shift in (0.0, -half, half))
            found.append(Predictions(tuple(images), score, low, high, scale=scale, scorer=self.name, version=self.version))
        return found

    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> ChatScorer:
        """With `fit_ratings` = n: ask about n training ratings (drawn with a fixed seed) and learn from them; else nothing is learned or sent.

        Raises:
            BeholderError: fewer than 10 of the replies hold a score.
        """
        self.calibration = None

        def answers_to(rows: np.ndarray) -> np.ndarray:
            asked = zip(train.rating_image[rows], train.rating_rater[rows], strict=True)
            pairs = [(Path(train.images[image]), train.profiles[rater]) for image, rater in asked]
            return np.array([_unit(integer, train.scale) for integer in self._ask(pairs)])

        self.calibration = learn_calibration(
            train, answers_to, n=self.options.fit_ratings, model=self.model.name, scorer=self.name, progress=progress
        )
        return self

    def _ask(self, pairs: Sequence[tuple[Path, Profile]]) -> list[int | None]:
        """The integer of each reply; None if there is none, which is counted and said."""
        replies = self._replies(pairs) if pairs else []
        integers = [None if reply.refused else questions.parse_integer(reply.text, QUESTION) for reply in replies]
        empty = [place for place, integer in enumerate(integers) if integer is None]
        if empty:
            self.unparsed += len(empty)
            refused = sum(replies[place].refused for place in empty)
            example = f"{pairs[empty[0]][0]}: {' '.join(replies[empty[0]].text.split())[:100] or 'an empty reply'!r}"
            warnings.warn(
                f"{self.name}: {len(empty)} of {len(replies)} replies hold no score, {refused} of them refusals (such as {example}): "
                f"these images get the middle of the scale and its whole width as interval; raise max_tokens, or ask another model",
                SkippedInput,
                stacklevel=4,
            )
        return integers

    def _settings(self) -> str:
        return f"{self.options.style}{self.options.max_tokens}"

    def _open(self, name: str, option: str, *, prices: str, api_key_env: str) -> ChatModel:
        if not name.strip():
            raise BeholderError(
                f"{self.name} does not know whom to ask: write  {self.name}[{option}=http://localhost:8000/v1#MODEL]  for a server, "
                f"or a local model's folder or hub repository"
            )
        return open_chat_model(
            name,
            api_key_env=api_key_env,
            concurrency=self.options.concurrency,
            keep=self.options.keep,
            prices=_prices(prices),
            image_size=self.options.image_size,
            timeout=self.options.timeout,
        )


def _unit(integer: int | None, scale: Scale) -> float:
    """On 0..1 of the scale, cut off at its ends (0 of 10 lies below 1 of 5 in P-MLLM's conversion); nan for None."""
    if integer is None:
        return math.nan
    return float(np.clip(scale.to_unit(questions.from_integer(integer, scale=scale, question=QUESTION)), 0.0, 1.0))


def _prices(text: str) -> tuple[float, float] | None:
    if not text.strip():
        return None
    try:
        price_in, price_out = (float(part) for part in text.split("/"))
    except ValueError:
        raise BeholderError(f"prices = {text!r} are not two numbers: write IN/OUT for a million tokens, such as 0.15/0.60") from None
    return price_in, price_out
