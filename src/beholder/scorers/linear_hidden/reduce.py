"""`linear-hidden-reduce`: features -> attributes by one projection for everybody, attributes -> score by one ridge regression per rater.

Source: Ryu & Yanaka 2026 (arXiv 2604.11374), Linear-Hidden Reduce: M is learned from the eleven attributes of AADB, the overall score excluded,
with one penalty for all of them. Ours: projections learned from the attributes of any dataset or, where it has none, from measured pixels; and
the comparison of a rater's weights with those of other raters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError, UnreadableImage
from beholder.rater import Rater
from beholder.ridge import ridge_cv_many
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import read_weights, understanding, write_weights
from beholder.scorers.linear_hidden import pixel_attributes
from beholder.scorers.linear_hidden.explanation import Explanation, cares
from beholder.scorers.linear_hidden.options import ReduceOptions
from beholder.scorers.linear_hidden.others import TENSORS, Others, image_means, learn_others
from beholder.scorers.linear_hidden.per_rater import RegressionPerRater
from beholder.scorers.linear_hidden.projection import Projection, is_overall, learn_projection
from beholder.scorers.threads import one_blas_thread

LEAST_RATINGS = 20  # of a rater whose weights are compared, on either side
MEASURED = 4000  # images whose pixels are measured: more than enough for eight attributes
SOURCES = {
    "probe": "the attributes are those of the projection {projection}",
    "dataset": "the attributes are means of what the raters of {dataset} said",
    "pixels": "the attributes are measured from the pixels, as {dataset} has none; they say how an image looks, not what people see in it",
}
CARD = """# linear-hidden-reduce: features -> {k} attributes -> one rater's score

{source}: {attributes}. Code: beholder, `scorers/linear_hidden`. Licence of the weights: Apache-2.0; of the training data: {licence}.

## Learned from
{dataset}: {ratings} ratings by {raters} raters of {images} images, scale {scale}. Weights of {others} raters with at least {least} ratings
are kept for comparison, each attribute's sorted by themselves, so that no rater's weights can be told.
{citation}

- features: `{features}`
- use: `beholder explain IMAGE --scorer linear-hidden-reduce --weights THIS FOLDER --rater NAME`
"""


class LinearHiddenReduceScorer(RegressionPerRater):
    """Needs a projection: the option's, or that of `fit` or of weights. `fit` also learns what other raters care about.

    Args:
        features: of the projection's kind.
        options: see `ReduceOptions`.

    Attributes:
        source: "probe", "dataset" or "pixels": where the projection's attributes come from; "" while there is none.
        centre, spread: [K] mean and standard deviation of the attributes over training images; None before `fit`.
        weights: [r, K] of training raters, share of the scale's width per standard deviation; each column sorted by itself.

    Raises:
        BeholderError: the option names a projection that is not there, or belongs to other features.
    """

    name = "linear-hidden-reduce"
    Options: ClassVar[type] = ReduceOptions

    def __init__(self, *, features: FeatureSource, options: ReduceOptions | None = None) -> None:
        super().__init__(features=features)
        self.options = options or ReduceOptions()
        self.projection: Projection | None = None
        self.source = ""
        self.centre: np.ndarray | None = None
        self.spread: np.ndarray | None = None
        self.weights = np.zeros((0, 0))
        self.trained: dict[str, object] = {}
        if self.options.projection:
            self.projection, self.source = Projection.load(self.options.projection), "probe"
            if self.projection.feature_key != features.key:
                raise BeholderError(
                    f"the projection {self.options.projection} was learned from features {self.projection.feature_key}, these are {features.key}: "
                    "name the model and the layer it was learned from, or learn one from these with `beholder probe`"
                )

    @classmethod
    def exact_layers(cls, options: ReduceOptions) -> tuple[str, ...]:
        """The layers of the encoder that the projection of the options was learned from; () if it does not matter."""
        return tuple(filter(None, Projection.load(options.projection).layer.split("+"))) if options.projection else ()

    def frozen_models(self) -> list[Any]:
        """With the projection that was given: it was learned from what people said of images."""
        return [*super().frozen_models(), *([self.projection] if self.options.projection else [])]

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images other raters, or the projection that came with them, were learned from with."""
        if self.others is None or self.options.projection:  # a given projection answers for itself
            return super().trained_on(images)
        return int(np.isin(provenance.fingerprints(images), np.union1d(self.others.seen, self.projection.seen)).sum())

    @property
    def version(self) -> str:
        if self.projection is None:
            return "1+untrained"
        return "+".join(["1", self.source, self.projection.identity, *([str(self.trained["id"])] if self.trained else [])])

    def fit(self, train: Dataset, *, progress=None) -> LinearHiddenReduceScorer:
        """Learn the projection, if none was given, and what raters with 20 ratings or more care about.

        Raises:
            BeholderError: too few images, or neither attributes nor files to measure.
        """
        images = [os.fspath(train.images[i]) for i in train.used_images]
        features = self.features(images)
        self.others = learn_others(train, None, labels=False)
        if not self.options.projection:
            self.source, self.projection = self._learn_projection(train, images, features, progress=progress)
        seen = self.projection(features)
        self.centre, spread = seen.mean(axis=0), seen.std(axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        rows = np.searchsorted(train.used_images, train.rating_image)
        mine = [np.flatnonzero(train.rating_rater == rater) for rater in train.used_raters]
        mine = [rating for rating in mine if len(rating) >= LEAST_RATINGS]
        unit = train.scale.to_unit(train.rating_score)
        with one_blas_thread():
            ridges = ridge_cv_many(seen, [rows[rating] for rating in mine], [unit[rating] for rating in mine])
        found = np.array([ridge.coef[:, 0] * self.spread for ridge in ridges]).reshape(-1, len(self.spread))
        self.weights = np.sort(found, axis=0)
        self.trained = provenance.describe(train) | {"id": provenance.identity(self._tensors())}
        return self

    def notes(self) -> list[str]:
        if self.projection is None:
            return super().notes()
        told = SOURCES[self.source].format(projection=self.options.projection or "of the weights", dataset=self.trained.get("dataset", ""))
        return [*super().notes(), f"{self.name}: {told} ({', '.join(self.projection.attributes)})"]

    def explain(self, image: str | os.PathLike, rater: Rater) -> Explanation:
        """Take the prediction for one image apart by attribute, and set a rater with 20 ratings or more against others."""
        image = os.fspath(image)
        prediction = self.predict([image], rater)
        solved = self._solved([([image, *rater.ratings.images], rater)])
        seen, ridge, names = solved.x[solved.at[0]], solved.models[0], self.projection.attributes
        score, low, high = (float(values[0]) for values in (prediction.score, prediction.low, prediction.high))
        if ridge is None:
            return Explanation(image, score, low, high, {"base": score}, [], [])
        rated = seen[1:]
        centre = rated.mean(axis=0) if self.centre is None else self.centre
        spread = rated.std(axis=0) if self.spread is None else self.spread
        coef = ridge.coef[:, 0]
        parts = {"base": float(ridge.intercept[0] + centre @ coef)}
        parts |= {f"attribute {name}": float(value) for name, value in zip(names, (seen[0] - centre) * coef, strict=True)}
        # from fewer ratings weights are small for want of evidence, not of taste: set beside those of others they would all look unusual
        others = self.weights if len(rated) >= LEAST_RATINGS else self.weights[:0]
        told = cares(names, coef * spread, others * rater.scale.width)
        return Explanation(image, score, low, high, parts, told, [])

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        if self.others is None:
            raise BeholderError(
                f"{self.name} has nothing trained to save: fit it first, or keep the projection that `beholder probe` wrote"
            )
        config = {
            "scorer": self.name,
            "features": self.features.key,
            "trained": self.trained,
            "source": self.source,
            "others": self.others.numbers(),
            "projection": self.projection.described(),
        }
        told = {"licence": "see its source", "citation": ""} | {key: value for key, value in self.trained.items() if value}
        source = SOURCES[self.source].format(projection="it was given", dataset=self.trained["dataset"])
        card = CARD.format(
            k=len(self.projection.attributes),
            source=source[0].upper() + source[1:],
            attributes=", ".join(self.projection.attributes),
            others=len(self.weights),
            least=LEAST_RATINGS,
            features=self.features.key,
            **told,
        )
        return write_weights(folder, config=config, tensors=self._tensors(), card=card)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource, options: ReduceOptions | None = None
    ) -> LinearHiddenReduceScorer:
        """Read what `save_pretrained` wrote; without a folder, one that has only the projection of its options, if any.

        Raises:
            BeholderError: nothing there, damaged, of other features, or of another projection than that of the options.
        """
        scorer = cls(features=features, options=options)
        if folder is None:
            return scorer
        given = scorer.projection
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            scorer.check_features(config["features"], folder=folder)
            scorer.projection = Projection.restored(config["projection"], tensors)
            scorer.source, scorer.trained = config["source"], config["trained"]
            scorer.others = Others.restored(config["others"], {name: tensors[f"others.{name}"] for name in TENSORS})
            scorer.centre, scorer.spread, scorer.weights = (tensors[name].astype(np.float64) for name in ("centre", "spread", "weights"))
            if scorer.source not in SOURCES or scorer.weights.shape[1:] != scorer.centre.shape:
                raise ValueError("source or weights do not fit")
        if given is not None and given.identity != scorer.projection.identity:
            raise BeholderError(
                f"the weights in {folder} were trained with another projection than {options.projection}: leave one of the two out"
            )
        return scorer

    def _tensors(self) -> dict[str, np.ndarray]:
        own = {"centre": self.centre, "spread": self.spread, "weights": self.weights}
        return self.projection.tensors() | own | {f"others.{name}": value for name, value in self.others.tensors().items()}

    def _learn_projection(self, train: Dataset, images: list[str], features: np.ndarray, *, progress) -> tuple[str, Projection]:
        """Where the attributes come from, and the projection to them."""
        key = self.features.key
        given = {name: values for name, values in train.attributes.items() if not is_overall(name)}
        if given:
            values = {name: image_means(train, train.attribute_scales[name].to_unit(column)) for name, column in given.items()}
            return "dataset", learn_projection(features, values, feature_key=key, source=train.name)
        some = np.sort(np.random.default_rng(0).permutation(len(images))[:MEASURED])
        try:
            measured = pixel_attributes.measure_all([images[i] for i in some], progress=progress)
        except UnreadableImage as error:
            raise BeholderError(
                f"{train.name} has no attributes, and its images cannot be measured instead ({error}): "
                f"give {self.name}[projection=DIR] with a folder that `beholder probe` wrote"
            ) from None
        return "pixels", learn_projection(features[some], measured, feature_key=key, source=f"measuring the pixels of {train.name}")

    def _check_ready(self) -> None:
        if self.projection is None:
            raise BeholderError(
                f"{self.name} has no attributes yet: give {self.name}[projection=DIR] with a folder that `beholder probe` wrote, the --weights that "
                f"`beholder train {self.name} --data DIR --out DIR` writes, or --fit where it is benchmarked"
            )

    def _see(self, features: np.ndarray) -> np.ndarray:
        return self.projection(features)
