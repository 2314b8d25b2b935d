"""Requests of several raters answered together: whose token stands for each, how strong the personal part is, how high the level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from beholder.profile import Profile
from beholder.scorers.pamela.learned import SIMILAR_COMPONENTS, PamelaModel
from beholder.scorers.pamela.model import Side
from beholder.scorers.pamela.neighbours import CHOICE_WEIGHT, WEIGHTS, context_weights, nearest, rater_vector
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.texts import Vectors


@dataclass(frozen=True)
class Request:
    """One rater and the images to score; images are places in the table that `Answering` was made with.

    Args:
        asked: [n] images. rated: [r] images, ratings: [r] on 0..1, in the order they were given.
        choices: [c, 2] images (chosen, other).
        own: place of this very rater among the training raters; -1: unseen.
    """

    asked: np.ndarray
    profile: Profile
    rated: np.ndarray
    ratings: np.ndarray
    choices: np.ndarray
    own: int = -1


class Answering:
    """Scores for requests on one table of images.

    Args:
        images: their tokens. inputs: [n, p + 1] what these are made of. effects: [n] of the base.
        vectors: of texts. options: of use.
    """

    def __init__(
        self, model: PamelaModel, images: Side, inputs: np.ndarray, effects: np.ndarray, *, vectors: Vectors, options: PamelaOptions
    ) -> None:
        self.model, self.images, self.effects, self.vectors, self.options = model, images, effects, vectors, options
        self.features = similar_features(inputs, model)
        self.known = model.vectors[WEIGHTS.index(options.weights)]

    def __call__(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """[n] float64 scores of each request, on 0..1, not clipped."""
        model, options = self.model, self.options
        first, dataset = [one.own for one in requests], self._datasets(requests)
        persons = model.persons([one.profile for one in requests], model.rater_tokens(first), dataset, self.vectors)
        looked_at = [np.concatenate([one.asked, one.rated, one.choices.reshape(-1)]) for one in requests]
        scores = self._split(persons, dataset, np.arange(len(requests)), looked_at)
        plain = list(scores)
        if model.inputs.has_base and options.shrink:
            for i, one in enumerate(requests):
                if one.own < 0:
                    base = self.base(looked_at[i])
                    scores[i] = base + model.trust * (scores[i] - base)

        borrowing = [(i, *found) for i, one in enumerate(requests) if (found := self._neighbours(one, scores[i])) is not None]
        if borrowing:
            mixed = options.combine == "embeddings"
            owner = np.array([i for i, best, _, _ in borrowing for _ in range(1 if mixed else len(best))], dtype=np.int64)
            tokens = []
            for _, best, shares, _ in borrowing:
                known = model.rater_tokens(best)
                weights = torch.from_numpy(shares.astype(np.float32)).to(known.device)
                tokens.append((weights[:, None] * known).sum(0, keepdim=True) if mixed else known)
            them = model.persons([requests[i].profile for i in owner], torch.cat(tokens), dataset[owner], self.vectors)
            answers = iter(self._split(them, dataset[owner], np.arange(len(owner)), [looked_at[i] for i in owner]))
            for i, _, shares, n in borrowing:
                personal = next(answers) if mixed else sum(share * next(answers) for share in shares)
                scores[i] = scores[i] + (model.strength(n) if options.shrink else 1.0) * (personal - plain[i])
        return [self._levelled(one, score) for one, score in zip(requests, scores, strict=True)]

    def base(self, images: np.ndarray) -> np.ndarray:
        """[n] what the base alone gives for images, for a rater of the first dataset."""
        return self.model.centres[0] + self.effects[images]

    def _datasets(self, requests: Sequence[Request]) -> np.ndarray:
        return np.array([self.model.rater_dataset[one.own] if one.own >= 0 else 0 for one in requests], dtype=np.int64)

    def _split(self, persons: Side, dataset: np.ndarray, who: np.ndarray, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        sizes = [len(some) for some in images]
        pairs = (np.concatenate(images).astype(np.int64), np.repeat(who, sizes)) if len(sizes) else (np.zeros(0, dtype=np.int64),) * 2
        found = self.model.scores(self.images, self.effects, persons, dataset, pairs=pairs)
        return np.split(found, np.cumsum(sizes)[:-1]) if len(sizes) else []

    def _neighbours(self, one: Request, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
        """(places, shares, number of context images), None for a rater who borrows no token."""
        options = self.options
        if one.own >= 0 or options.unseen == "demographics" or not len(self.known):
            return None
        most = options.context or None
        rated, ratings, choices = one.rated[:most], one.ratings[:most], one.choices[:most]
        start = len(one.asked)
        weights = context_weights(ratings, expected[start : start + len(rated)], how=options.weights)
        if not len(ratings) or np.ptp(ratings) < 1e-9:  # equal ratings tell no taste
            rated, weights = rated[:0], weights[:0]
        features = self.features[np.concatenate([rated, choices[:, 0], choices[:, 1]])]
        signs = np.repeat([CHOICE_WEIGHT, -CHOICE_WEIGHT], len(choices))
        vector = rater_vector(features, np.concatenate([weights, signs]))
        if not vector.any():
            return None
        return *nearest(vector, self.known, k=options.k, tau=options.tau), len(rated) + len(choices)

    def _levelled(self, one: Request, scores: np.ndarray) -> np.ndarray:
        asked, n = scores[: len(one.asked)], len(one.rated)
        if not self.options.level or not n:
            return asked
        rest = one.ratings - scores[len(one.asked) : len(one.asked) + n]
        return asked + rest.sum() / (n + self.model.level)


def similar_features(inputs: np.ndarray, model: PamelaModel) -> np.ndarray:
    """[n, c] float64: what raters are compared by, the first principal components of the image features."""
    return inputs[:, : min(SIMILAR_COMPONENTS, model.inputs.axes.shape[1])].astype(np.float64)
