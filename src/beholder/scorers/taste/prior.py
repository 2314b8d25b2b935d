"""Another scorer's zero-shot answer as part of the prior mean of `taste`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from beholder import scorers
from beholder.engine.source import Features
from beholder.errors import BeholderError
from beholder.rater import Rater
from beholder.ratings import Choices, Ratings
from beholder.scorers.base import FeatureSource, Scorer

OWN = "own"
TOGETHER = 1024  # images in one request: bounds the memory of scorers that hold the features of a whole request

Request = tuple[Sequence[str], Rater]


@dataclass(frozen=True)
class TasteOptions:
    """What can be written in the brackets behind `taste`.

    prior mean = (1 - prior_share) * own + prior_share * prior, both on 0..1; the covariance stays as learned, so ratings and choices
    correct either in closed form.

    Args:
        prior: "own" (what `taste` learned of the crowd and of profiles), or a scorer, named as everywhere: pmllm, population, module:Class.
            It is asked with the profile alone, never with ratings.
        prior_weights: folder that the prior's `save_pretrained` wrote; the weights that come with the package if not given.
        prior_share: 0 (own alone) to 1 (prior alone).
        prior_encoder: of the prior's features.

    Raises:
        BeholderError: a share outside 0..1, or weights of no scorer.
    """

    prior: str = OWN
    prior_weights: Path | None = None
    prior_share: float = 0.5
    prior_encoder: str = "efficientnet-lite0"

    def __post_init__(self) -> None:
        if not 0 <= self.prior_share <= 1:
            raise BeholderError(f"prior_share = {self.prior_share:g} is not a share: give 0 (own alone) to 1 (prior alone)")
        if self.prior == OWN and self.prior_weights is not None:
            raise BeholderError(
                f"prior_weights = {self.prior_weights} belong to no scorer: name it, such as prior=pmllm, or leave them out"
            )


class Prior:
    """The scorer that `options.prior` names; made when it is first needed.

    Args:
        options: with another prior than "own".
        features: of `taste`. If they come from an encoder, the prior gets its own ones in the same store; else it shares them.

    Attributes:
        name: of the scorer, without its options.
        progress: handed on to the scorer where it tells how far it is.

    Raises:
        BeholderError: there is no such scorer.
    """

    def __init__(self, options: TasteOptions, *, features: FeatureSource) -> None:
        self.name = scorers.scorer_class(options.prior).name
        self.progress: Callable[[int, int], None] | None = None
        self._options, self._features = options, features
        self._scorer: Scorer | None = None
        self._making = threading.Lock()

    @property
    def scorer(self) -> Scorer:
        """Raises BeholderError: the weights or the encoder are not there, or do not suit each other."""
        with self._making:
            if self._scorer is None:
                options, features = self._options, self._features
                if hasattr(features, "encoder"):
                    encoder = scorers.encoder_for([options.prior], encoder=options.prior_encoder)
                    layers = scorers.feature_layers(options.prior, encoder=options.prior_encoder)
                    features = Features(encoder, layers=layers, store=features.store)
                self._scorer = scorers.make(options.prior, features=features, weights=options.prior_weights)
            return self._scorer

    @property
    def version(self) -> str:
        """As it stands behind the version of `taste`: "0.5*population(0.1.0+1a2b3c4d)"."""
        return f"{self._options.prior_share:g}*{self._options.prior}({self.scorer.version})"

    def means(self, requests: Sequence[Request]) -> list[dict[str, float]]:
        """For each request, image -> expected rating on 0..1.

        Raises:
            BeholderError: an answer that is no number.
        """
        scorer = self.scorer
        if hasattr(scorer, "progress"):
            scorer.progress = self.progress
        parts, owner = [], []
        for place, (images, rater) in enumerate(requests):
            images = list(dict.fromkeys(images))
            stranger = replace(rater, ratings=Ratings(scale=rater.scale), choices=Choices())
            for start in range(0, len(images), TOGETHER):
                parts.append((images[start : start + TOGETHER], stranger))
                owner.append(place)
        found: list[dict[str, float]] = [{} for _ in requests]
        for place, (images, _), answer in zip(owner, parts, scorer.predict_many(parts) if parts else [], strict=True):
            unit = answer.scale.to_unit(answer.score)
            if not np.isfinite(unit).all():
                image = images[int(np.argmin(np.isfinite(unit)))]
                raise BeholderError(f"the prior {self.name} gave no number for {image}: take another prior, or prior={OWN}")
            found[place].update(zip(images, unit.tolist(), strict=True))
        return found

    def trained_on(self, image: str) -> bool:
        """Whether the scorer's weights were trained on this image, as far as it knows."""
        known = getattr(self.scorer, "trained_on", None)
        return known is not None and known([image]) > 0

    def notes(self) -> list[str]:
        """What the scorer has to say, if it was ever asked."""
        return self._scorer.notes() if self._scorer is not None else []
