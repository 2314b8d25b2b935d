"""`pamela`: a small transformer over tokens of the image and of the person, with borrowed rater tokens for unseen raters."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beholder import __version__
from beholder.about import About
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import SHIPPED, FeatureScorer, read_weights, understanding, unique_rows, write_weights
from beholder.scorers.pamela.card import model_card
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.texts import Vectors

if TYPE_CHECKING:
    from beholder.scorers.pamela.answering import Request
    from beholder.scorers.pamela.learned import PamelaModel

CHUNK = 1024  # images whose features are in memory at once


class PamelaScorer(FeatureScorer):
    """Personal reward model after PAMELA (Maerten et al. 2026, arXiv 2604.07427).

    Published are the parts: frozen image features, embedded demographics and metadata, a shallow transformer, joint training on several
    datasets, and for unseen raters the 5 most similar training raters by the cosine of rating-weighted image features of 15 context
    images, weighed by a softmax of temperature 0.1. How they are put together is ours (`PamelaOptions`, docs/pamela.md).

    A rater with a token (named by `Rater.known_as`) is answered by it. Others borrow tokens if they have ratings or choices; else the profile
    alone answers. Scores are computed on 0..1, so that raters of any scale can be asked for.

    Args:
        features: of the encoder that the weights were or will be trained with.
        options: see `PamelaOptions`.
    """

    name = "pamela"
    slow_part = "the text encoder"
    Options = PamelaOptions

    def __init__(self, *, features: FeatureSource, options: PamelaOptions | None = None) -> None:
        super().__init__(features=features)
        self.options = options or PamelaOptions()
        self.model: PamelaModel | None = None
        self.trained: dict[str, Any] = {}
        self._training = self.options.of_training()
        self._seen = np.zeros(0, dtype=np.uint64)
        self._about: dict[str, About] = {}
        self._vectors = Vectors(self.options.text_encoder, device=self.options.device)

    @property
    def uses_profile(self) -> bool:
        return self.options.demographics if self.model is None else bool(self.model.fields)

    @property
    def version(self) -> str:
        return f"{__version__}+{self.trained.get('id', 'untrained')}{self.options.changed_in_use()}"

    def tell(self, about: Mapping[str, About]) -> None:
        self._about.update({os.fspath(path): one for path, one in about.items()})

    def notes(self) -> list[str]:
        """That prompts change nothing, where some were told."""
        if self.model is None or self.model.network.shape.prompts or not any(about.prompt for about in self._about.values()):
            return []
        return ["pamela: these weights were trained without prompts, so prompts change no score; metadata count as far as training had them"]

    # --- learning

    def fit(
        self,
        train: Dataset,
        *,
        others: Sequence[Dataset] = (),
        progress: Callable[[int, int, str], None] | None = None,
        checkpoints: str | os.PathLike | None = None,
    ) -> PamelaScorer:
        """Learn from other raters; goes on from `checkpoints` if an interrupted training of the same kind is there.

        Args:
            others: further datasets, each on its own scale; not read with the option joint=false.

        Raises:
            BeholderError: too little to learn from, two datasets of one name, or another training's checkpoint.
        """
        from beholder.scorers.pamela.training import fit_model

        datasets = [train, *(others if self.options.joint else ())]
        if len({dataset.name for dataset in datasets}) < len(datasets):
            raise BeholderError(
                f"two of the datasets are called {train.name}: give each its own name, as raters are known by DATASET/RATER"
            )
        images = [[os.fspath(one.images[i]) for i in one.used_images] for one in datasets]
        self.model, facts = fit_model(
            datasets,
            [self.features(some) for some in images],
            options=self.options,
            vectors=self._vectors,
            key=self.features.key,
            folder=None if checkpoints is None else Path(checkpoints),
            progress=progress,
        )
        self._training = self.options.of_training()
        self._seen = np.unique(provenance.fingerprints([image for some in images for image in some]))
        self.trained = provenance.describe(train) | facts | {"id": provenance.identity(self.model.tensors())}
        self.trained["others"] = [provenance.describe(one) for one in datasets[1:]]
        return self

    def fit_key(self) -> str:
        """Equal for two untrained scorers that would learn the same from the same data."""
        return f"{self.features.key}|{sorted(self.options.of_training().items())}"

    def reuse(self, trained: PamelaScorer) -> PamelaScorer:
        """Take over what another one learned and keep the own options of use. Returns self."""
        self.model, self.trained = trained._ready(), dict(trained.trained)
        self._training, self._seen, self._vectors = dict(trained._training), trained._seen, trained._vectors
        return self

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images the weights were trained on."""
        return int(np.isin(provenance.fingerprints(images), self._seen).sum())

    def trained_for(self, raters: Sequence[str]) -> int:
        """How many of the raters ("DATASET/RATER") the weights have a token of."""
        return sum(self._ready().place_of(rater) >= 0 for rater in raters)

    # --- answering

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; what images bring is computed once for all raters, and all raters are computed together."""
        model = self._ready()
        if not requests:
            return []
        from beholder.scorers.checkpoint import one_thread
        from beholder.scorers.pamela.answering import Answering

        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        raters = [rater for _, rater in requests]
        rated = [rater.ratings.images for rater in raters]
        chosen = [[image for choice in rater.choices for image in (choice.chosen, choice.other)] for rater in raters]
        every, rows = unique_rows([*asked, *rated, *chosen])
        n = len(requests)
        wanted = [self._request(rater, rows[i], rows[n + i], rows[2 * n + i]) for i, rater in enumerate(raters)]
        with one_thread(model.device):
            about = [self._about.get(image) for image in every]
            inputs, effects = model.with_texts(*self._inputs(every), about, self._vectors)
            tokens = model.images(inputs, about, self._vectors)
            answering = Answering(model, tokens, inputs, effects, vectors=self._vectors, options=self.options)
            scores = answering(wanted)
        return [self._predictions(*one) for one in zip(asked, raters, wanted, scores, strict=True)]

    def _request(self, rater: Rater, asked: np.ndarray, rated: np.ndarray, chosen: np.ndarray) -> Request:
        from beholder.scorers.pamela.answering import Request

        model, named = self._ready(), self.options.rater
        own = model.place_of(named or ("" if self.options.unseen == "demographics" else rater.known_as))
        if named and own < 0:
            raise BeholderError(
                f"rater = {named} is no training rater with a token of its own: give DATASET/RATER of one that the weights were trained on, such as {self.trained.get('dataset', 'folder')}/ID"
            )
        ratings = rater.scale.to_unit(rater.ratings.scores)
        return Request(asked, rater.profile, rated, ratings, chosen.reshape(-1, 2), own=own)

    def _inputs(self, images: list[str]) -> tuple[np.ndarray, np.ndarray]:
        model = self._ready()
        starts = range(0, len(images), CHUNK) if images else ()
        parts = [model.inputs(self.features(images[start : start + CHUNK])) for start in starts]
        if not parts:
            parts = [model.inputs(np.zeros((0, self.features.dim), dtype=np.float32))]
        return np.concatenate([part for part, _ in parts]), np.concatenate([part for _, part in parts])

    def _predictions(self, images: list[str], rater: Rater, request: Request, unit: np.ndarray) -> Predictions:
        model, scale = self._ready(), rater.scale
        half = model.half_width(int(model.shots[-1]) if request.own >= 0 else len(request.rated))
        score = np.clip(unit, 0, 1)
        ends = [np.clip(scale.from_unit(score + shift), scale.low, scale.high) for shift in (0.0, -half, half)]
        return Predictions(tuple(images), *ends, scale=scale, scorer=self.name, version=self.version)

    def _ready(self) -> PamelaModel:
        if self.model is None:
            raise BeholderError("pamela has not learned from other raters yet: use from_pretrained, or fit")
        return self.model

    # --- keeping

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        model = self._ready()
        config = model.config() | {
            "scorer": self.name,
            "beholder": __version__,
            "features": self.features.key,
            "training": self._training,
            "trained": self.trained,
        }
        return write_weights(folder, config=config, tensors=model.tensors() | {"seen": self._seen}, card=model_card(config))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource, options: PamelaOptions | None = None
    ) -> PamelaScorer:
        """Read what `save_pretrained` wrote; the weights in the package if no folder is given.

        Raises:
            BeholderError: nothing there, or what is there does not suit: other features, another text encoder.
        """
        folder = SHIPPED / cls.name if folder is None else folder
        scorer = cls(features=features, options=options)
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            scorer.check_features(config["features"], folder=folder)
            from beholder.scorers.pamela.learned import PamelaModel

            scorer._seen = tensors.pop("seen")
            scorer.model = PamelaModel.from_tensors(config, tensors, device=scorer.options.device)
            scorer.trained, scorer._training = dict(config["trained"]), dict(config["training"])
            scorer._vectors = Vectors(scorer._training["text_encoder"], device=scorer.options.device)
        wanted = scorer.model.text_key
        if wanted and scorer._vectors.key != wanted:
            raise BeholderError(
                f"the pamela weights in {folder} were trained with the text encoder {wanted}, this is {scorer._vectors.key}: "
                "put that one in its place, or train with  beholder train pamela --data DIR --out DIR"
            )
        given = scorer.options.of_training().items()
        settled = [name for name, value in given if value not in (getattr(PamelaOptions, name), scorer._training.get(name))]
        if settled:
            warnings.warn(
                f"{', '.join(settled)}: settled when pamela was trained, weights that are loaded keep their own; train again to change it",
                stacklevel=2,
            )
        return scorer
