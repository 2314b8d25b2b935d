"""`taste`, the default scorer: from no rating to hundreds, one Gaussian process per rater."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import SHIPPED, FeatureScorer, read_weights, understanding, unique_rows, write_weights
from beholder.scorers.profile_features import ProfileEncoder
from beholder.scorers.taste.card import model_card
from beholder.scorers.taste.crowd import Crowd
from beholder.scorers.taste.kernels import Block, Projection
from beholder.scorers.taste.model import Looks, Posterior, TasteModel
from beholder.scorers.taste.posterior import Evidence
from beholder.scorers.taste.prior import OWN, Prior, Request, TasteOptions
from beholder.scorers.taste.training import Progress, TasteConfig, learn
from beholder.scorers.threads import in_chunks, one_blas_thread

CHUNK = 1024  # images predicted at once by each thread: bounds the memory
POOL = 1500  # images that `suggest` chooses among


@dataclass(frozen=True)
class Explanation:
    """Why an image is expected to be rated as it is, in points of the rater's scale.

    Args:
        image: its path.
        score, low, high: as in the prediction.
        parts: "everybody" (what people in general would give), "profile", "severity" (this rater's level), "crowd" (more or less
            trust in the crowd), "taste" (learned from the rater's own ratings and choices); with another prior, such as pmllm, also
            "prior pmllm" (how far it moves what everybody and the profile say). Their sum is the score before it is cut at the ends of
            the scale.
        influences: (image, points): what each rated or chosen image adds through "crowd" and "taste", strongest first.
    """

    image: str
    score: float
    low: float
    high: float
    parts: dict[str, float]
    influences: list[tuple[str, float]]


class TasteScorer(FeatureScorer):
    """Prior mean from the crowd and the profile, covariance learned from other raters, posterior in closed form.

    Predictions do not depend on the other images asked for (equal within 1e-5 of the scale's width, whatever the batch).

    Args:
        features: of the encoder that the model was or will be trained with.
        model: what was learned; `fit` or `from_pretrained` give it.
        config: for `fit`.
        options: another scorer's answer in the prior mean, see `TasteOptions`. It is no part of the weights, and `fit` leaves it as it is.
    """

    name = "taste"
    uses_profile = True
    Options = TasteOptions

    def __init__(
        self,
        *,
        features: FeatureSource,
        model: TasteModel | None = None,
        config: TasteConfig | None = None,
        options: TasteOptions | None = None,
    ) -> None:
        super().__init__(features=features)
        self.model = model
        self.config = config or TasteConfig()
        self.options = options or TasteOptions()
        self.prior = Prior(self.options, features=features) if self.options.prior != OWN else None
        if self.prior is not None:
            self.progress = None  # as of a scorer that asks a model: may be set, see `Prior`
        self._fitted = False
        self.trained: dict[str, object] = {}
        self._seen = np.zeros(0, dtype=np.uint64)
        self._reading = threading.Lock()  # a source of features need not bear several threads at once

    @property
    def version(self) -> str:
        own = f"{__version__}+{self.trained.get('id', 'untrained')}"
        return own if self.prior is None else f"{own}+{self.prior.version}"

    def fit(self, train: Dataset, *, progress: Progress | None = None) -> TasteScorer:
        images = [os.fspath(train.images[i]) for i in train.used_images]
        layers = self.layer_widths()
        features = self.features(images)
        with one_blas_thread():
            self.model = learn(train, features, layers=layers, config=self.config, progress=progress)
        self._seen = provenance.fingerprints(images)
        self.trained = provenance.describe(train) | {"id": provenance.identity(_to_tensors(self.model)[0])}
        self._fitted = True
        return self

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images the weights, or those of the prior, were trained on."""
        seen = np.isin(provenance.fingerprints(images), self._seen)
        if self.prior is not None:
            seen = [known or self.prior.trained_on(image) for known, image in zip(seen, images, strict=True)]
        return int(np.sum(seen))

    def notes(self) -> list[str]:
        if self.prior is None:
            return []
        given = f"taste: its prior {self.prior.name} was not trained with it but taken as it is; what it learned from may be what is tested here"
        return [given] * self._fitted + self.prior.notes()

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`, the looks of images that several requests share computed once."""
        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        spoken = [_spoken_of(rater) for _, rater in requests]
        raters = [rater for _, rater in requests]
        means = self._prior_means([([*images, *known], rater) for images, known, rater in zip(asked, spoken, raters, strict=True)])
        if len(requests) == 1:
            posterior = self._posterior(raters[0], self._looks(spoken[0]), spoken[0], means=means[0])
            return [self._predict(asked[0], posterior, raters[0], known=spoken[0], means=means[0])]
        every, rows = unique_rows([*asked, *spoken])
        looks = self._looks(every)
        out = []
        with one_blas_thread():
            for rater, images, known, mean, at, known_at in zip(raters, asked, spoken, means, rows, rows[len(asked) :], strict=False):
                posterior = self._posterior(rater, looks[known_at], known, means=mean)
                out.append(self._predict(images, posterior, rater, known=known, means=mean, looks=looks[at]))
        return out

    def posterior(self, rater: Rater) -> Posterior:
        """What is believed of this rater after the ratings and choices."""
        known = _spoken_of(rater)
        return self._posterior(rater, self._looks(known), known, means=self._prior_means([(known, rater)])[0])

    def explain(self, image: str | os.PathLike, rater: Rater) -> Explanation:
        """Take the prediction for one image apart."""
        image = os.fspath(image)
        known = _spoken_of(rater)
        means = self._prior_means([([image, *known], rater)])[0]
        posterior = self._posterior(rater, self._looks(known), known, means=means)
        looks = self._looks([image])
        model, scale = self._model(), rater.scale
        points = model.spread * scale.width
        shares = posterior.shares(looks, same=np.array([known.index(image) if image in known else -1]))
        prediction = self._predict([image], posterior, rater, known=known, means=means, looks=looks)
        everybody = scale.low + scale.width * model.centre + points * float(looks.crowd[0])
        profile = points * float(model.profile_effect(rater.profile, looks)[0])
        parts = {"everybody": everybody, "profile": profile}
        if self.prior is not None:
            parts[f"prior {self.prior.name}"] = points * float(self._moved([image], looks, rater, means=means)[0])
        parts |= {name: points * float(share[0].sum()) for name, share in shares.items()}
        influence: dict[str, float] = {}
        for part in (shares["crowd"][0], shares["taste"][0]):
            for share, first, second in zip(part, posterior.evidence.first, posterior.evidence.second, strict=True):
                # A choice says something about the pair; its influence is listed under the image that was chosen.
                influence[known[first]] = influence.get(known[first], 0.0) + points * float(share)
                if second >= 0:
                    influence.setdefault(known[second], 0.0)
        strongest = sorted(influence.items(), key=lambda item: -abs(item[1]))
        return Explanation(image, float(prediction.score[0]), float(prediction.low[0]), float(prediction.high[0]), parts, strongest)

    def suggest(self, images: Sequence[str | os.PathLike], rater: Rater, *, n: int = 10) -> list[str]:
        """The images not yet rated whose ratings would teach most about the order of all of them, best first.

        Greedy: each next one takes most off the summed posterior variance of the differences between the images. Among more than
        1500 images a random part is looked at (the same for the same list).
        """
        rated = {rating.image for rating in rater.ratings}
        pool = list(dict.fromkeys(os.fspath(image) for image in images))
        if len(pool) > POOL:
            pool = [pool[i] for i in np.sort(np.random.default_rng(0).permutation(len(pool))[:POOL])]
        if not pool:
            return []
        covariance, noise = self.posterior(rater).joint(self._looks(pool))
        open_to = np.array([image not in rated for image in pool])
        chosen: list[str] = []
        for _ in range(min(n, int(open_to.sum()))):
            # What all images have in common (severity) does not change their order.
            centred = covariance - covariance.mean(axis=0)
            gain = (centred**2).sum(axis=0) / (np.diag(covariance) + noise)
            best = int(np.argmax(np.where(open_to, gain, -np.inf)))
            chosen.append(pool[best])
            open_to[best] = False
            covariance = covariance - np.outer(covariance[:, best], covariance[best]) / (covariance[best, best] + noise)
        return chosen

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        model = self._model()
        tensors, config = _to_tensors(model)
        tensors["trained_images"] = self._seen
        config |= {"scorer": self.name, "features": self.features.key, "trained": self.trained, "training": asdict(self.config)}
        return write_weights(folder, config=config, tensors=tensors, card=model_card(model, self.trained, features=self.features.key))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource, options: TasteOptions | None = None
    ) -> TasteScorer:
        """Read what `save_pretrained` wrote; the weights in the package if no folder is given."""
        folder = SHIPPED / cls.name if folder is None else folder
        config, tensors = read_weights(folder, scorer=cls.name)
        scorer = cls(features=features, options=options)
        with understanding(folder, scorer=cls.name):
            scorer.check_features(config["features"], folder=folder)
            scorer.model = _from_tensors(tensors, config)
            scorer.trained = config["trained"]
            scorer._seen = tensors["trained_images"]
        return scorer

    def _model(self) -> TasteModel:
        if self.model is None:
            raise BeholderError("taste has not learned from other raters yet: use from_pretrained, or fit")
        return self.model

    def _looks(self, images: Sequence[str]) -> Looks:
        model, features = self._model(), self.features(list(images))
        with one_blas_thread():
            return model.look(features)

    def _prior_means(self, requests: Sequence[Request]) -> list[dict[str, float] | None]:
        """What the other scorer expects, on 0..1 by image; None where there is no other one."""
        self._model()  # refuse before another model is asked for nothing
        if self.prior is None:
            return [None] * len(requests)
        self.prior.progress = self.progress
        return self.prior.means(requests)

    def _moved(self, images: Sequence[str], looks: Looks, rater: Rater, *, means: Mapping[str, float] | None) -> np.ndarray | float:
        """[n] how far the other scorer moves the own prior mean, standardised; 0 where there is no other one."""
        if means is None:
            return 0.0
        model = self._model()
        own = looks.crowd + model.profile_effect(rater.profile, looks)
        other = (np.array([means[image] for image in images], dtype=np.float64) - model.centre) / model.spread
        return self.options.prior_share * (other - own)

    def _posterior(self, rater: Rater, looks: Looks, known: Sequence[str], *, means: Mapping[str, float] | None) -> Posterior:
        """`looks` of the images in `known`, those that the rater's ratings and choices speak of."""
        model = self._model()
        place = {image: i for i, image in enumerate(known)}
        prior = looks.crowd + model.profile_effect(rater.profile, looks) + self._moved(known, looks, rater, means=means)
        rated = np.array([place[rating.image] for rating in rater.ratings], dtype=np.int64)
        values = (rater.scale.to_unit(rater.ratings.scores) - model.centre) / model.spread - prior[rated]
        chosen = np.array([place[choice.chosen] for choice in rater.choices], dtype=np.int64)
        other = np.array([place[choice.other] for choice in rater.choices], dtype=np.int64)
        evidence = Evidence(
            first=np.concatenate([rated, chosen]),
            second=np.concatenate([np.full(len(rated), -1), other]),
            value=np.concatenate([values, np.zeros(len(chosen))]),
            offset=np.concatenate([np.zeros(len(rated)), prior[chosen] - prior[other]]),
        )
        return model.learn(looks, evidence)

    def _predict(
        self,
        images: list[str],
        posterior: Posterior,
        rater: Rater,
        *,
        known: list[str],
        means: Mapping[str, float] | None,
        looks: Looks | None = None,
    ) -> Predictions:
        model, scale = self._model(), rater.scale
        place = {image: i for i, image in enumerate(known)}
        score, half = np.empty(len(images)), np.empty(len(images))

        def predict(part: slice) -> None:
            if looks is None:
                with self._reading:
                    features = self.features(images[part])
                seen = model.look(features)
            else:
                seen = looks[part]
            same = np.array([place.get(image, -1) for image in images[part]], dtype=np.int64)
            mean, sd = posterior.predict(seen, same=same)
            moved = self._moved(images[part], seen, rater, means=means)
            score[part] = mean + seen.crowd + model.profile_effect(rater.profile, seen) + moved
            half[part] = posterior.half_width(sd)

        in_chunks(predict, len(images), size=CHUNK)
        unit = model.centre + model.spread * score
        ends = [np.clip(scale.from_unit(unit + sign * model.spread * half), scale.low, scale.high) for sign in (0, -1, 1)]
        return Predictions(tuple(images), *ends, scale=scale, scorer=self.name, version=self.version)


def _spoken_of(rater: Rater) -> list[str]:
    """Every image that a rating or a choice names, once."""
    return list(dict.fromkeys([*rater.ratings.images, *rater.choices.images]))


_ARRAYS = ("own", "axes_mean", "axes", "along", "profile_weights", "settings", "log_prior", "shots", "widths")
_NUMBERS = ("centre", "spread", "severity", "trust", "noise")


def _to_tensors(model: TasteModel) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    tensors = {name: np.asarray(getattr(model, name)) for name in _ARRAYS}
    tensors["axes"] = model.axes.astype(np.float32)
    tensors |= {f"crowd.{f.name}": np.asarray(getattr(model.crowd, f.name)) for f in fields(Crowd) if f.name != "own"}
    tensors["crowd.landmarks"] = model.crowd.landmarks.astype(np.float32)
    tensors["crowd.shrink"] = model.crowd.shrink.astype(np.float32)
    for block in model.projection.blocks:
        tensors |= {f"looks.{block.name}.mean": block.mean, f"looks.{block.name}.basis": block.basis}
    config = {name: getattr(model, name) for name in _NUMBERS}
    config |= {
        "layers": model.layers,
        "layer_order": list(model.layers),
        "lengths": {block.name: block.length for block in model.projection.blocks},
        "crowd_own": model.crowd.own,
        "profile_columns": model.encoder.to_json(),
    }
    return tensors, config


def _from_tensors(tensors: dict[str, np.ndarray], config: dict) -> TasteModel:
    blocks, start = [], 0
    layers = {name: config["layers"][name] for name in config["layer_order"]}
    for name, width in layers.items():
        mean, basis = tensors[f"looks.{name}.mean"], tensors[f"looks.{name}.basis"]
        blocks.append(Block(name, start, start + width, mean, basis, config["lengths"][name]))
        start += width
    crowd = Crowd(
        own=config["crowd_own"], **{f.name: tensors[f"crowd.{f.name}"].astype(np.float64) for f in fields(Crowd) if f.name != "own"}
    )
    return TasteModel(
        layers=layers,
        projection=Projection(tuple(blocks)),
        crowd=crowd,
        encoder=ProfileEncoder.from_json(config["profile_columns"]),
        **{name: config[name] for name in _NUMBERS},
        **{name: tensors[name].astype(np.float64) for name in _ARRAYS},
    )
