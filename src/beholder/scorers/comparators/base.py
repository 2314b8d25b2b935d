"""What public scorers have in common here: a native value that can be read, a mapping to the rater's scale that can be fitted, prompts."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from beholder import __version__
from beholder.about import About
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource, Scorer
from beholder.scorers.comparators.calibration import Calibration, learn
from beholder.scorers.comparators.facts import Facts, say_licence
from beholder.scorers.feature_scorer import read_weights, understanding, unique_rows, write_weights


@dataclass(frozen=True)
class Measured:
    """Of n images: native values [n] float64, and the scorer's own standard deviations [n] in the same unit, 0 where it has none."""

    values: np.ndarray
    sigma: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Measured:
        values = np.asarray(values, dtype=np.float64)
        return cls(values, np.zeros_like(values))


class Comparator(Scorer):
    """A public scorer of images, the same for every rater: whoever has its weights can compare beholder with it.

    `native` gives its own values. As a prediction, a value is mapped linearly so that `facts.low` and `facts.high` become the ends of the rater's
    scale, with a wide interval (see `calibration.SPREAD`); `fit` learns mapping and interval from ratings. An image's value depends on no other image.

    Args:
        features: of the encoder, for those that need one.
        options: an instance of the class's `Options`.

    Attributes:
        facts: what it is, ranges, licences.
        progress: called with (images computed, of how many), by those that take long; may be set.
    """

    facts: ClassVar[Facts]
    Options: ClassVar[type]
    uses_ratings = False
    uses_profile = False
    self_contained = False

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        say_licence(self.name, self.facts)
        self.options = options if options is not None else type(self).Options()
        self.calibration = Calibration.shipped(self.facts.low, self.facts.high)
        self.trained: dict[str, object] = {}
        self.progress: Callable[[int, int], None] | None = None
        self._seen = np.zeros(0, dtype=np.uint64)
        self._about: dict[str, About] = {}
        self._without_prompt: set[str] = set()

    @abstractmethod
    def measured(self, images: Sequence[str]) -> Measured:
        """Native values of images, in their order."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Names weights, encoder and preprocessing: everything that a native value depends on beside image and prompt."""

    def native(self, images: Sequence[str | os.PathLike]) -> np.ndarray:
        """[n] float64: the scorer's own values, as its makers define them (`facts.range`); higher is better.

        Raises:
            UnreadableImage: one of the images.
            BeholderError: it needs a prompt, and there is none.
        """
        return self.measured([os.fspath(image) for image in images]).values

    @property
    def version(self) -> str:
        return f"{__version__}+{self.source}/{self.trained.get('id', 'shipped')}"

    def tell(self, about: Mapping[str, About]) -> None:
        self._about.update({os.fspath(path): one for path, one in about.items()})

    def prompts(self, images: Sequence[str]) -> list[str]:
        """The prompt of each image: what was told, else the option, else "".

        Raises:
            BeholderError: the scorer needs one, and there is none.
        """
        found = [(self._about[image].prompt if image in self._about else "") or self.options.prompt for image in images]
        missing = [image for image, prompt in zip(images, found, strict=True) if not prompt]
        if missing and self.facts.prompt == "required":
            raise BeholderError(
                f"{self.name} judges an image by the prompt it was made from, and {len(missing)} of {len(images)} have none (such as {missing[0]}): "
                f"give a table of them (--about FILE), or one for all  {self.name}[prompt=...]"
            )
        self._without_prompt.update(missing)
        return found

    def notes(self) -> list[str]:
        """That prompts were missing, and that it could not be fitted; one sentence each."""
        lines = []
        if self._without_prompt:
            lines.append(f"{self.name}: {len(self._without_prompt)} images have no prompt and are judged with the empty text")
        if self.calibration.kind != "shipped" and self.calibration.slope == 0 and not len(self.calibration.knots):
            lines.append(f"{self.name}: its values do not rise with the training ratings, so every image gets their mean")
        return lines

    # --- answering

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([([os.fspath(image) for image in images], rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; an image is computed once, however many raters it is for."""
        every, rows = unique_rows([images for images, _ in requests])
        made = self.measured(every) if every else Measured.of(np.zeros(0))
        unit, half = self.calibration(made.values), self.calibration.half_width(made.sigma)
        found = []
        for (images, rater), places in zip(requests, rows, strict=True):
            ends = [rater.scale.from_unit(np.clip(unit[places] + shift * half[places], 0.0, 1.0)) for shift in (0, -1, 1)]
            found.append(Predictions(tuple(map(os.fspath, images)), *ends, scale=rater.scale, scorer=self.name, version=self.version))
        return found

    # --- learning

    def fit(self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None) -> Comparator:
        """Learn how native values become ratings, and how far ratings lie from that; see `calibration.learn`. The scorer itself is never trained.

        Raises:
            BeholderError: fewer than 10 images with ratings, or a prompt is missing.
        """
        say = progress or (lambda done, total, text: None)
        self.tell(train.about())
        used = train.used_images
        images = [os.fspath(train.images[i]) for i in used]
        say(0, 2, f"values of {len(images)} images")
        made = self.measured(images)
        say(1, 2, "from values to ratings")
        image, rating = np.searchsorted(used, train.rating_image), train.scale.to_unit(train.rating_score)
        self.calibration = learn(made.values, made.sigma, image=image, rating=rating, scorer=self.name)
        self._seen = provenance.fingerprints(images)
        learned = {name: np.array(value) for name, value in self.calibration.numbers().items() if name != "kind"}
        self.trained = provenance.describe(train) | {"id": provenance.identity(learned | self.calibration.tensors())}
        say(2, 2, "done")
        return self

    def fit_key(self) -> str:
        """Equal for two that would learn the same from the same ratings."""
        return f"{self.source}|{getattr(self.options, 'prompt', '')}"

    def reuse(self, trained: Comparator) -> Comparator:
        """Take over what another one learned. Returns self."""
        self.calibration, self.trained, self._seen = trained.calibration, dict(trained.trained), trained._seen
        return self

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images `fit` saw ratings of. What the public weights were trained on is in `facts`."""
        return int(np.isin(provenance.fingerprints(images), self._seen).sum())

    # --- keeping

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """Write the fitted mapping; the public weights stay where they are."""
        if not self.trained:
            raise BeholderError(f"{self.name} has nothing fitted to save: fit it first")
        config = {"scorer": self.name, "source": self.source, "trained": self.trained, "calibration": self.calibration.numbers()}
        tensors = self.calibration.tensors() | {"trained_images": self._seen}
        return write_weights(folder, config=config, tensors=tensors, card=_card(self))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource | None = None, options: Any = None
    ) -> Comparator:
        """Read what `save_pretrained` wrote; without a folder, the scorer with the mapping as shipped.

        Raises:
            BeholderError: nothing there, damaged, or fitted with another model behind the scorer.
        """
        scorer = cls(features=features, options=options)
        if folder is None:
            return scorer
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            if config["source"] != scorer.source:
                raise BeholderError(
                    f"what lies in {folder} was fitted to {config['source']}, this is {scorer.source}: name the same files, or fit it again with  "
                    f"beholder train {cls.name} --data DIR --out DIR"
                )
            scorer.calibration = Calibration.read(config["calibration"], tensors)
            scorer.trained, scorer._seen = config["trained"], tensors["trained_images"]
        return scorer


def _card(scorer: Comparator) -> str:
    """Markdown: what was fitted on what, and whose weights it belongs to."""
    facts, trained, learned = scorer.facts, scorer.trained, scorer.calibration
    return f"""# {scorer.name}: from its values to ratings

{facts.what}. Only the mapping of its values to ratings is here; its own weights are not: {facts.get}.
Licence of its code: {facts.code_licence}; of its weights: {facts.weights_licence}. {facts.restricted}
Source: {facts.citation}

## Fitted on
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images, scale {trained.get("scale")}.
Licence of the data: {trained.get("licence") or "see its source"}. {trained.get("citation", "")}

- mapping: {learned.kind}, slope {learned.slope:.5g} widths of the scale per unit of the native value
- command: `beholder train {scorer.name} --data DIR --out DIR`

## Limits
The same answer for everybody. Belongs to {scorer.source} only.
"""
