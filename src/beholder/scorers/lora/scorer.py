"""The scorers `lora` and `lora-tokencls`: a vision-language model adapted to each rater by low-rank adapters, a control for linear probes.

Source: Ryu & Yanaka 2026, "What Do Vision-Language Models Encode for Personalized Image Aesthetics Assessment?" (arXiv 2604.11374), baselines LoRA
and LoRA-tokencls: prompts, settings, schedule. Different from the scripts of its authors: the image is passed in training (theirs pass the text only),
only the answer counts in the loss (theirs count prompt and padding, too, except in LoRA-tokencls), only the decoder is adapted, the model is loaded
once, and LoRA-tokencls, too, learns an adapter for each rater (theirs is one for all raters together).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from beholder import __version__
from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm.prepared_images import PreparedImages
from beholder.datasets.base import Dataset
from beholder.errors import UnreadableImage
from beholder.located import SHOWN, SkippedInput
from beholder.photos import content_hash
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scale import Scale
from beholder.scorers.base import FeatureSource, Scorer
from beholder.scorers.lora.model import TARGETS, WIDTH, Adapter, Adapters, Attached, Facts, attached
from beholder.scorers.lora.options import LoRAOptions, LoRATokenOptions

if TYPE_CHECKING:
    from beholder.scorers.lora.forms import Form

ASKED = Scale(1.0, 5.0)  # of both prompts
OF_USE = ("model", "max_pixels", "dtype", "device", "keep")  # options that no answer depends on but through the model


@dataclass(frozen=True)
class _Task:
    """What is to be predicted for one rater.

    Args:
        rated, scores: images of the ratings, and the ratings on 1..5, as given.
        key: of the adapter that comes of them; "" without ratings.
        steps: of its training.
    """

    images: tuple[str, ...]
    scale: Scale
    rated: tuple[str, ...]
    scores: np.ndarray
    key: str
    steps: int


class LoRAScorer(Scorer):
    """A rater's ratings train an adapter on a frozen vision-language model, which then answers with a number of two decimals.

    The number is read from the greedy answer, as published. Where an answer holds none, that is warned of, and the image gets the mean of the rater's
    ratings. Without ratings the frozen model answers. The interval has the width that held 90 % of the errors on those images of the first epoch
    that were answered before they were learned from (see `training.learn`); it is the whole scale with fewer than 18 ratings.

    An adapter depends on the model, the options, and the rater's ratings in their order, on nothing else. It is kept (in float16; what is
    kept is what answers), so that the same ratings train it once. Choices and profiles are not looked at.

    Args:
        features: not used; taken so that all scorers are made alike.
        options: see `LoRAOptions`.

    Attributes:
        progress: called with (steps of training done, of how many); may be set.
        unparsed: images without a number in the answer up to now.
    """

    name = "lora"
    slow_part = "the vision-language model, which learns from each rater's ratings"
    feature_layers: ClassVar[tuple[str, ...]] = ()  # no encoder looks at the images
    Options: ClassVar[type[LoRAOptions]] = LoRAOptions

    def __init__(self, *, features: FeatureSource | None = None, options: LoRAOptions | None = None) -> None:
        self.options = given = options if options is not None else type(self).Options()
        self.model = open_vlm(given.model, max_pixels=given.max_pixels, device=given.device, dtype=given.dtype)
        self.adapters = Adapters(keep=given.keep)
        self.progress: Callable[[int, int], None] | None = None
        self.n_trained = self.n_steps = self.n_weights = self.n_known = self.unparsed = 0
        self._images = PreparedImages(self.model)
        self._form = self._together = None

    @property
    def version(self) -> str:
        """Program, model, and every option that an answer depends on."""
        return f"{__version__}+{self.model.name}@{self.model.revision}/{_digest(self._settings())[:8]}"

    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> LoRAScorer:
        """Nothing is learned from other raters."""
        return self

    def frozen_models(self) -> list:
        return [self.model]

    def notes(self) -> list[str]:
        """What was trained, what was there already, and what could not be read; one sentence each."""
        lines = []
        if self.n_trained:
            kept = f", kept in {self.adapters.folder}" if self.adapters.folder is not None else ""
            size = f"{self.n_weights:,} weights ({self.n_weights * 2 / 1e6:.1f} MB) each"
            lines.append(f"{self.name}: raters learned: {self.n_trained}, in {self.n_steps} steps, on {self.model.name}; {size}{kept}")
        if self.n_known:
            lines.append(f"{self.name}: adapters found ready: {self.n_known}")
        if self.unparsed:
            lines.append(f"{self.name}: {self.unparsed} images without a number in the answer")
        return lines

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        """See `Scorer.predict`.

        Raises:
            UnreadableImage: one of the images cannot be read. (Images of ratings that cannot be read are left out with a warning.)
            BeholderError: see `training.learn`.
        """
        return self.predict_many([([os.fspath(image) for image in images], rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """One rater after the other, each with an adapter of its own on the same loaded model."""
        tasks = [self._task(images, rater) for images, rater in requests]
        missing = {task.key: task.steps for task in tasks if task.key and task.key not in self.adapters}
        done, total, found = 0, sum(missing.values()), []

        def tell(steps: int) -> None:
            if self.progress:
                self.progress(done + steps, total)

        for task in tasks:
            with self.model.lock:
                answers, half = self._answered(task, tell)
            found.append(self._predictions(task, answers, half))
            done += missing.pop(task.key, 0)
        return found

    def _task(self, images: Sequence[str], rater: Rater) -> _Task:
        rated, scores = tuple(rater.ratings.images), np.asarray(rater.scale.convert(rater.ratings.scores, to=ASKED))
        key = self._key(rated, scores) if rated else ""
        return _Task(tuple(map(os.fspath, images)), rater.scale, rated, scores, key, self._steps(len(rated)))

    def _steps(self, n: int) -> int:
        return math.ceil(n / self.options.batch) * self.options.epochs

    def _settings(self) -> list:
        """Everything that an adapter and its interval depend on beside the ratings; the 1 changes when the training does."""
        own = {name: value for name, value in asdict(self.options).items() if name not in OF_USE}
        return [1, self.name, self.model.revision, self.model.processing, self.model.dtype_name, TARGETS, own]

    def _key(self, rated: Sequence[str], scores: np.ndarray) -> str:
        """Of the adapter that comes of these ratings. A file that cannot be read counts with its name."""

        def content(path: str) -> str:
            try:
                return content_hash(path)
            except UnreadableImage:
                return f"unreadable {path}"

        return _digest([self._settings(), [(content(path), round(float(score), 6)) for path, score in zip(rated, scores, strict=True)]])

    def _answered(self, task: _Task, tell: Callable[[int], None]) -> tuple[np.ndarray, float]:
        """(the model's numbers on 1..5 or nan, half the width of the interval), with the rater's adapter, which is trained if it is not there."""
        adapter = self.adapters.get(task.key) if task.key else None
        readable = self._readable(task.rated) if adapter is None else []
        if adapter is None and not readable:
            return self.form.answers(task.images), WIDTH
        if adapter is None:
            with attached(self.model, options=self.options) as on:
                half = self._learned(on, task, np.array(readable), tell)
                adapter = Adapter(on.tensors(), Facts(half, self._steps(len(readable)), len(task.rated) - len(readable)))
                self.n_weights = on.n_weights
                self.adapters.put(task.key, adapter)
            self.n_trained, self.n_steps = self.n_trained + 1, self.n_steps + adapter.facts.steps
        else:
            self.n_known += 1
            if adapter.facts.left_out:
                self._readable(task.rated)  # which says it again
        with attached(self.model, options=self.options) as on:
            on.load(adapter.tensors)
            return self.form.answers(task.images), adapter.facts.half_width

    def _learned(self, on: Attached, task: _Task, readable: np.ndarray, tell: Callable[[int], None]) -> float:
        """Train the adapter that is on the model; half the width of the interval."""
        from beholder.scorers.lora.training import Together, learn

        self._together = self._together or Together(self.options.batch)
        return learn(
            self.form,
            on,
            images=[task.rated[place] for place in readable],
            scores=task.scores[readable],
            options=self.options,
            together=self._together,
            progress=tell,
        )

    @property
    def form(self) -> Form:
        """How the model is asked; made when first needed, as it imports torch."""
        if self._form is None:
            self._form = self._make_form()
        return self._form

    def _make_form(self) -> Form:
        from beholder.scorers.lora.forms import Decimal

        return Decimal(self.model, images=self._images)

    def _readable(self, rated: Sequence[str]) -> list[int]:
        """Places of the ratings whose images can be read; the others are warned of."""
        problems = self._images.problems(rated)
        gone = [str(problem) for problem in problems if problem is not None]
        if gone:
            shown = "; ".join(gone[:SHOWN]) + (f"; and {len(gone) - SHOWN} more" if len(gone) > SHOWN else "")
            text = f"{self.name}: {len(gone)} of {len(rated)} ratings are left out, as their images cannot be read ({shown}): put the files back"
            warnings.warn(text, SkippedInput, stacklevel=2)
        return [place for place, problem in enumerate(problems) if problem is None]

    def _predictions(self, task: _Task, answers: np.ndarray, half: float) -> Predictions:
        known = np.isfinite(answers)
        if not known.all():
            self.unparsed += int((~known).sum())
            instead = "the mean of the ratings" if len(task.rated) else "the middle of the scale"
            warnings.warn(
                f"{self.name}: {int((~known).sum())} of {len(known)} answers of {self.model.name} hold no number (such as for "
                f"{task.images[int(np.argmin(known))]}): these images get {instead}, and the whole scale as interval",
                SkippedInput,
                stacklevel=4,
            )
        centre = np.where(known, answers, task.scores.mean() if len(task.rated) else ASKED.middle)
        wide = np.where(known, half, WIDTH)
        ends = [ASKED.convert(np.clip(centre + shift, ASKED.low, ASKED.high), to=task.scale) for shift in (0.0, -wide, wide)]
        return Predictions(task.images, *ends, scale=task.scale, scorer=self.name, version=self.version)


class LoRATokenScorer(LoRAScorer):
    """The same with an integer from 1 to 5 as answer: only its one token is learned, and the five integers are weighed at its place.

    The score is their mean under the model's probabilities. Published is the most probable one (`read=argmax`); but that has five values only, so that
    most pairs of images are tied, while the mean orders them, is the answer with the least squared error if the probabilities are right, and costs
    nothing more. Ratings between two integers are rounded to the nearest before they are learned.
    """

    name = "lora-tokencls"
    Options = LoRATokenOptions

    def _make_form(self) -> Form:
        from beholder.scorers.lora.forms import Integer

        return Integer(self.model, images=self._images, expected=self.options.read == "expected")


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
