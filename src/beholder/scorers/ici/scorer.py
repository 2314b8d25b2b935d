"""`ici`: PIAA-ICI, the published few-shot method on interaction graphs, in its three phases."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import FeatureScorer, read_weights, understanding, unique_rows, write_weights
from beholder.scorers.ici.card import model_card
from beholder.scorers.ici.options import ICIOptions

if TYPE_CHECKING:
    from beholder.scorers.ici.learned import ICIModel

CHUNK = 1024  # images whose features are in memory at once
REMEMBERED = 100_000  # images whose attributes stay in memory when pixels are looked at


class ICIScorer(FeatureScorer):
    """PIAA-ICI (baseline of Ryu & Yanaka 2026, arXiv 2604.11374): attributes of the image, graphs of rater and image, adaptation.

    Phase 1 learns what the training raters say of an image on average (attributes and the distribution of the score), phase 2 a graph
    network in which these attributes and the rater's profile interact. For a rater with ratings, phase 3 trains a copy of the graph
    network on them; without ratings phase 2 answers from the profile. What was learned in phases 1 and 2 never changes by that.

    Published is a ResNet-50 trained on pixels in phase 1 (option backbone=DIR). The default learns it on frozen features instead: no
    weights of a ResNet-50 come with the package, and training one needs a GPU. Choices between images are ignored: the method has no
    place for them.

    Everything is computed on 0..1, so that raters of any scale can be adapted to.

    Args:
        features: of the encoder that the weights were or will be trained with; not looked at with a backbone on pixels.
        options: see `ICIOptions`.
    """

    name = "ici"
    uses_profile = True
    Options = ICIOptions

    def __init__(self, *, features: FeatureSource, options: ICIOptions | None = None) -> None:
        super().__init__(features=features)
        self.options = options or ICIOptions()
        self.model: ICIModel | None = None
        self.trained: dict[str, Any] = {}
        self._training = self.options.of_training()
        self._seen = np.zeros(0, dtype=np.uint64)
        self._looks: OrderedDict[tuple, np.ndarray] = OrderedDict()  # by path and state of the file

    @classmethod
    def layers_of(cls, options: ICIOptions) -> tuple[str, ...]:
        """The layers of the default encoder that are wanted: none with a backbone on pixels."""
        return () if options.sees_pixels else cls.feature_layers

    @property
    def version(self) -> str:
        return f"{__version__}+{self.trained.get('id', 'untrained')}{self.options.changed_in_use()}"

    def fit(
        self, train: Dataset, *, progress: Callable[[int, int, str], None] | None = None, checkpoints: str | os.PathLike | None = None
    ) -> ICIScorer:
        """Phases 1 and 2; goes on from `checkpoints` if an interrupted training of the same kind is there.

        Raises:
            BeholderError: too little to learn from, or another training's checkpoint.
        """
        from beholder.scorers.ici.backbone import Pixels
        from beholder.scorers.ici.fitting import fit_model

        images = [os.fspath(train.images[i]) for i in train.used_images]
        pixels = self.options.sees_pixels
        self.model, facts = fit_model(
            train,
            Pixels(images) if pixels else self.features(images),
            options=self.options,
            key="" if pixels else self.features.key,
            folder=None if checkpoints is None else Path(checkpoints),
            progress=progress,
        )
        self._training = self.options.of_training()
        self._looks.clear()
        self._seen = provenance.fingerprints(images)
        self.trained = provenance.describe(train) | facts | {"id": provenance.identity(self.model.tensors())}
        return self

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; images that requests share are looked at once. Each rater is adapted to alone."""
        model = self._ready()
        from beholder.scorers.checkpoint import one_thread

        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        rated = [rater.ratings.images for _, rater in requests]
        every, rows = unique_rows([*asked, *rated])
        if not requests:
            return []
        looks = self._look(every)
        places = zip(asked, rows, rows[len(asked) :], [rater for _, rater in requests], strict=False)
        with one_thread(model.device):
            return [self._predict(images, looks[at], looks[known], rater) for images, at, known, rater in places]

    def _predict(self, images: list[str], looks: np.ndarray, known: np.ndarray, rater: Rater) -> Predictions:
        import torch

        model, scale = self._ready(), rater.scale
        graph = model.graph_for(rater.profile, options=self.options)
        if len(known):
            scores = torch.from_numpy(scale.to_unit(rater.ratings.scores).astype(np.float32)).to(model.device)
            graph.adapt(model.split(known), scores, options=self.options)
        unit, half = graph.predict(model.split(looks)), model.half_width(len(known))
        score = np.clip(unit, 0, 1)
        ends = [np.clip(scale.from_unit(score + shift), scale.low, scale.high) for shift in (0.0, -half, half)]
        return Predictions(tuple(images), *ends, scale=scale, scorer=self.name, version=self.version)

    def _look(self, images: list[str]) -> np.ndarray:
        """[n, k + bins] what phase 1 says of images."""
        import torch

        model = self._ready()
        if not images:
            return np.zeros((0, len(model.attributes) + model.heads.distribution.out_features), dtype=np.float32)
        if model.body is None:
            parts = (self.features(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK))
            return np.concatenate([model.look(torch.tensor(part, dtype=torch.float32)).numpy() for part in parts])
        from beholder.scorers.ici.backbone import LOOKED_AT, Pixels, state_of

        keys = [state_of(image) for image in images]
        missing = [place for place, key in enumerate(keys) if key not in self._looks]
        for start in range(0, len(missing), LOOKED_AT):
            some = missing[start : start + LOOKED_AT]
            pixels = Pixels([images[place] for place in some])(np.arange(len(some)))
            self._looks.update(zip([keys[place] for place in some], model.look(pixels).numpy(), strict=True))
        found = np.stack([self._looks[key] for key in keys])
        while len(self._looks) > REMEMBERED:
            self._looks.popitem(last=False)
        return found

    def _ready(self) -> ICIModel:
        if self.model is None:
            raise BeholderError("ici has not learned from other raters yet: use from_pretrained, or fit")
        return self.model

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images the weights were trained on."""
        return int(np.isin(provenance.fingerprints(images), self._seen).sum())

    # --- keeping

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        model = self._ready()
        config = model.config() | {
            "scorer": self.name,
            "beholder": __version__,
            "features": self.features.key if model.body is None else "pixels",
            "training": self._training,
            "trained": self.trained,
        }
        return write_weights(folder, config=config, tensors=model.tensors() | {"seen": self._seen}, card=model_card(config))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource, options: ICIOptions | None = None
    ) -> ICIScorer:
        """Read what `save_pretrained` wrote.

        Raises:
            BeholderError: no folder is given (none come with the package), or what is in it does not suit.
        """
        if folder is None:
            raise BeholderError(
                "no weights of ici come with the package: train them with  beholder train ici --data DIR --out DIR  and give that folder"
            )
        scorer = cls(features=features, options=options)
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            if config["backbone"] is None:
                scorer.check_features(config["features"], folder=folder)
            from beholder.scorers.ici.learned import ICIModel

            scorer._seen = tensors.pop("seen")
            scorer.model = ICIModel.from_tensors(config, tensors, device=scorer.options.device)
            scorer.trained, scorer._training = dict(config["trained"]), dict(config["training"])
        given = scorer.options.of_training().items()
        settled = [name for name, value in given if value not in (getattr(ICIOptions, name), scorer._training.get(name))]
        if settled:
            warnings.warn(
                f"{', '.join(settled)}: settled when ici was trained, weights that are loaded keep their own; train again to change it",
                stacklevel=2,
            )
        return scorer
