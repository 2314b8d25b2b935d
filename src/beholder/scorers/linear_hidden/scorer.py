"""`linear-hidden`: the published few-shot recipe, one ridge regression per rater on frozen features, and its published variants.

Source: Ryu & Yanaka 2026, "What Do Vision-Language Models Encode for Personalized Image Aesthetics Assessment?" (arXiv 2604.11374),
Linear-Hidden: StandardScaler and RidgeCV over 13 penalties from 1e-3 to 1e3 on the mean hidden state of the text tokens after 15 decoder blocks,
from 100 ratings. The GIAA-label control is in the paper; residual targets, the network and pairs of layers are in its authors' scripts. There the
general score of the residual variant is a number the model writes; here it is a ridge regression of other raters' image means, and for rated images it
was learned from, the one learned without them. Any frozen features do; intervals, and answers from fewer than 100 ratings, are ours.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import read_weights, understanding, write_weights
from beholder.scorers.linear_hidden import mlp
from beholder.scorers.linear_hidden.options import LinearHiddenOptions
from beholder.scorers.linear_hidden.others import Others, learn_others
from beholder.scorers.linear_hidden.per_rater import Fitted, RegressionPerRater

CARD = """# linear-hidden: what its variants take from other raters

{what}. Code: beholder, `scorers/linear_hidden`. Licence of the weights: Apache-2.0; of the training data: {licence}.

## Learned from
{dataset}: {ratings} ratings by {raters} raters of {images} images, scale {scale}.
{citation}

- features: `{features}`
- use: `beholder rank PATH... --scorer 'linear-hidden[labels={labels},target={target}]' --weights THIS FOLDER`
"""


class LinearHiddenScorer(RegressionPerRater):
    """As published, nothing is learned from other raters, so there is nothing to train or to load. See `LinearHiddenOptions` for the variants.

    Args:
        features: hidden states of a vision-language model, or any others.
        others: what the variants need; `fit` or `from_pretrained` give it.
    """

    name = "linear-hidden"
    Options: ClassVar[type] = LinearHiddenOptions

    def __init__(self, *, features: FeatureSource, options: LinearHiddenOptions | None = None, others: Others | None = None) -> None:
        super().__init__(features=features)
        self.options = options or LinearHiddenOptions()
        self.others = others
        self.trained: dict[str, object] = {}
        self._alone: set[str] = set()  # rated images that nobody else rated
        self._unlabelled: set[str] = set()  # raters who rated no other

    @property
    def version(self) -> str:
        chosen = [self.options.labels, self.options.target, self.options.head]
        text = "+".join(["1", *(value for value in chosen if value not in ("own", "rating", "ridge"))])
        return f"{text}+{self.trained.get('id', 'untrained')}" if self.options.learns else text

    def fit(self, train: Dataset, *, progress=None) -> LinearHiddenScorer:
        """Learn what the variant needs of other raters; nothing for the others, as every rater is fitted on its own when asked."""
        if not self.options.learns:
            return self
        if progress is not None:
            progress(0, 1, "what other raters gave")
        features = self.features([os.fspath(train.images[i]) for i in train.used_images]) if self.options.target == "residual" else None
        self.others = learn_others(train, features, labels=self.options.labels == "giaa")
        self.trained = provenance.describe(train) | {"id": provenance.identity(self.others.tensors())}
        if progress is not None:
            progress(1, 1, "done")
        return self

    def notes(self) -> list[str]:
        if not self._alone:
            return super().notes()
        all_of_some = f"; {len(self._unlabelled)} raters had no other, so they got the mean of all ratings" if self._unlabelled else ""
        return [
            *super().notes(),
            f"{self.name}: {len(self._alone)} rated images were left out, because no training rater scored them (labels=giaa){all_of_some}; where the "
            "protocol keeps rated images out of training, as support-100 does, add --protocol-options image_disjoint=no",
        ]

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        if self.others is None:
            raise BeholderError(
                f"{self.name} has nothing trained to save: it learns from each rater alone, and so do its variants but labels=giaa and target=residual"
            )
        chosen = {"labels": self.options.labels, "target": self.options.target}
        config = {"scorer": self.name, "features": self.features.key, "trained": self.trained, "others": self.others.numbers()} | chosen
        has = ["the mean score of each training image"] * bool(len(self.others.labels)) + ["the general score from features"] * bool(
            len(self.others.coef)
        )
        told = {"licence": "see its source", "citation": ""} | {key: value for key, value in self.trained.items() if value}
        card = CARD.format(what=" and ".join(has).capitalize(), features=self.features.key, **chosen, **told)
        return write_weights(folder, config=config, tensors=self.others.tensors(), card=card)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource, options: LinearHiddenOptions | None = None
    ) -> LinearHiddenScorer:
        """Read what `save_pretrained` wrote, for a variant that learns; for the others `folder` is not looked at."""
        scorer = cls(features=features, options=options)
        if folder is None or not scorer.options.learns:
            return scorer
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            scorer.check_features(config["features"], folder=folder)
            scorer.others = Others.restored(config["others"], tensors)
            scorer.trained = config["trained"]
            scorer._check_ready()
        return scorer

    def _check_ready(self) -> None:
        options, others = self.options, self.others
        lacks = [f"labels={options.labels}"] * (options.labels == "giaa" and (others is None or not len(others.labels)))
        lacks += [f"target={options.target}"] * (options.target == "residual" and (others is None or not len(others.coef)))
        if lacks:
            variant = f"{self.name}[{','.join(lacks)}]"
            raise BeholderError(
                f"{variant} has not learned from other raters yet: add --fit where it is benchmarked, or give the --weights that "
                f"`beholder train '{variant}' --data DIR --out DIR` writes"
            )

    def _support(self, rater: Rater) -> tuple[list[str], np.ndarray]:
        images, scores = super()._support(rater)
        if self.options.labels == "own" or not images:
            return images, scores
        labels = self.others.label(images)
        known = np.isfinite(labels)
        self._unlabelled |= set() if known.any() else {rater.name}
        self._alone.update(image for image, has in zip(images, known, strict=True) if not has)
        return [image for image, has in zip(images, known, strict=True) if has], rater.scale.from_unit(labels[known])

    def _level(self, features: np.ndarray) -> np.ndarray | None:
        return self.others.general(features) if self.options.target == "residual" else None

    def _fit_all(self, x: np.ndarray, rows: list[np.ndarray], targets: list[np.ndarray]) -> list[Fitted]:
        if self.options.head == "ridge":
            return super()._fit_all(x, rows, targets)
        few = [i for i, y in enumerate(targets) if len(y) < mlp.FEWEST or np.ptp(y) == 0]
        ridges = super()._fit_all(x, [rows[i] for i in few], [targets[i] for i in few])
        models: dict[int, Fitted] = dict(zip(few, ridges, strict=True))
        if len(few) < len(rows):
            with mlp.one_torch_thread():
                models |= {i: mlp.fit_network(x[at], targets[i]) for i, at in enumerate(rows) if i not in models}
        return [models[i] for i in range(len(rows))]
