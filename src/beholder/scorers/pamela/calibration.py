"""What is measured on raters kept aside: when to stop, how much of the personal part is right, how fast to believe a level, how wide intervals are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from beholder.about import About
from beholder.scorers.base import COVERAGE
from beholder.scorers.pamela.answering import Answering, Request, similar_features
from beholder.scorers.pamela.learned import PamelaModel
from beholder.scorers.pamela.neighbours import WEIGHTS, context_weights, rater_vector
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.preparing import Table
from beholder.scorers.pamela.texts import Vectors

SHOTS = (0, 2, 5, 15, 50, 100)  # numbers of ratings at which everything is measured
ENOUGH = 40  # ratings that something is measured on, at least
MOST_RATERS = 100
DRAWS = 3  # of the ratings that are given
LEVELS = (0.1, 100.0)  # no belief in a level is weaker or stronger than so many ratings


class Calibration:
    """Raters kept aside, asked about image groups kept aside, with ratings of other groups given.

    If no groups are kept aside, each is asked about one half of all groups with ratings of the other half given, and the other way round: the
    network has seen these images, but the base it starts at is one that has not, and of them the network learned but how raters differ.
    Without raters kept aside, training raters are asked.

    Args:
        options: of the training. What belongs to use is measured at its defaults, so that trained weights do not depend on it.
    """

    def __init__(self, table: Table, about: Sequence[About], *, vectors: Vectors, options: PamelaOptions) -> None:
        self.table, self.about, self.vectors, self.options = table, about, vectors, PamelaOptions(device=options.device)
        random = np.random.default_rng([options.seed, 2])
        raters = table.held_rater if table.held_rater.any() else table.rater_dataset == 0
        strict = raters[table.rater] & table.held_image[table.image]
        if strict.sum() >= ENOUGH:
            parts = [strict]
        else:
            half = (random.permutation(table.group.max() + 1) % 2 == 0)[table.group][table.image]
            parts = [raters[table.rater] & half, raters[table.rater] & ~half]
        self.asked, self.given = [], []
        for rater in random.permutation(np.flatnonzero(raters))[:MOST_RATERS]:
            own = table.rater == rater
            for asked in parts:
                if (own & asked).any():
                    self.asked.append(np.flatnonzero(own & asked))
                    given = np.flatnonzero(own & ~asked)
                    self.given.append([random.permutation(given) for _ in range(DRAWS if len(parts) == 1 else 1)])
        # as at use, where nobody has said anything of the images yet
        self.effects = np.where(np.isfinite(table.left_out), table.left_out, table.fitted)
        self.inputs = table.inputs.with_effects(table.components, self.effects)

    def loss(self, model: PamelaModel) -> float | None:
        """Mean squared error around each rater's mean with 15 ratings, both parts as strong as is best; None with too few to ask."""
        return self._strengths(model, self._answering(model), self._with(PamelaOptions.context, exact=False))[2]

    def measure(self, model: PamelaModel) -> None:
        """Set the model's strengths, level and widths."""
        answering = self._answering(model)
        found = {shots: self._strengths(model, answering, self._with(shots)) for shots in SHOTS}
        known = {shots: values for shots, values in found.items() if values[2] is not None}
        if 0 in known:
            model.trust = known.pop(0)[0]
        model.contexts = np.array([0.0, *known]) if known else np.array([0.0, float(PamelaOptions.context)])
        model.strengths = np.array([0.0, *(values[1] for values in known.values())]) if known else np.array([0.0, 0.5])
        model.level = self._level(answering)
        shots_of, widths = [], []
        for shots in SHOTS:
            some = self._with(shots)
            errors = [
                np.abs(np.clip(score, 0, 1) - self.table.score[rows])
                for score, (_, rows) in zip(answering([one for one, _ in some], context=0), some, strict=True)
            ]
            if errors and (not shots or sum(map(len, errors)) >= ENOUGH):
                values = np.sort(np.concatenate(errors))
                shots_of.append(float(shots))
                widths.append(float(values[min(len(values), int(np.ceil(COVERAGE * (len(values) + 1)))) - 1]))
        if widths:
            model.shots, model.widths = np.array(shots_of), np.array(widths)

    # --- who is asked what

    def _with(self, shots: int, *, exact: bool = True) -> list[tuple[Request, np.ndarray]]:
        """(request, rows asked about), for every rater with so many ratings to give (with any, if not `exact`)."""
        found, table = [], self.table
        for asked, given in zip(self.asked, self.given, strict=True):
            for order in given if shots else given[:1]:
                if len(order) >= (shots if exact else min(shots, 1)):
                    known = order[:shots]
                    profile = table.profiles[table.rater[asked[0]]]
                    none = np.zeros((0, 2), dtype=np.int64)
                    found.append((Request(table.image[asked], profile, table.image[known], table.score[known], none), asked))
        return found

    def _answering(self, model: PamelaModel):
        """(requests, options of use) -> scores."""
        if not len(model.vectors):
            model.vectors = training_vectors(self.table, model)
        images = model.images(self.inputs, self.about, self.vectors)

        def ask(requests: Sequence[Request], **changes) -> list[np.ndarray]:
            options = replace(self.options, **changes)
            return Answering(model, images, self.inputs, self.effects, vectors=self.vectors, options=options)(requests)

        return ask

    # --- what is found

    def _strengths(self, model: PamelaModel, answering, asked: Sequence[tuple[Request, np.ndarray]]) -> tuple[float, float, float | None]:
        """(share of the profile's part, share of the personal part, each from 0 to 1 as predicts best; mean squared error then).

        The error is None with too few ratings. Without a base the profile's part is all there is and stays whole.
        """
        if sum(len(rows) for _, rows in asked) < ENOUGH:
            return 1.0, 0.0, None
        requests = [one for one, _ in asked]
        without = answering(requests, unseen="demographics", level=False, shrink=False)
        full = answering(requests, shrink=False, level=False, context=0)
        personal = _centred([a - b for a, b in zip(full, without, strict=True)])
        base = [model.centres[0] + self.effects[one.asked] for one in requests] if model.inputs.has_base else without
        profile = _centred([a - b for a, b in zip(without, base, strict=True)])
        rest = _centred([self.table.score[rows] - part for part, (_, rows) in zip(base, asked, strict=True)])
        trust = _share(profile, rest) if model.inputs.has_base else 1.0
        strength = _share(personal, rest - trust * profile)
        return trust, strength, float(np.mean((rest - trust * profile - strength * personal) ** 2))

    def _level(self, answering) -> float:
        """Variance of ratings around a rater's level, in units of the variance of levels."""
        plain = self._with(0)
        rests = [self.table.score[rows] - score for score, (_, rows) in zip(answering([one for one, _ in plain]), plain, strict=True)]
        rests = [rest for rest in rests if len(rest) > 1]
        if len(rests) < 3:
            return 2.0
        within = float(np.mean([rest.var(ddof=1) for rest in rests]))
        between = float(np.var([rest.mean() for rest in rests], ddof=1)) - within * float(np.mean([1 / len(rest) for rest in rests]))
        return float(np.clip(within / max(between, 1e-9), *LEVELS))


def _centred(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other, each less its mean: levels are no taste."""
    return np.concatenate([part - part.mean() for part in parts])


def _share(part: np.ndarray, wanted: np.ndarray) -> float:
    """From 0 to 1: how much of `part` explains most of what is wanted, by least squares."""
    return float(np.clip(part @ wanted / max(part @ part, 1e-12), 0.0, 1.0))


def training_vectors(table: Table, model: PamelaModel) -> np.ndarray:
    """[kinds of weights, raters with a token, c] float32: the vectors that unseen raters are compared with, from all training ratings."""
    features = similar_features(table.components, model)
    expected = table.centres[table.image_dataset] + table.effects
    wanted = {name: place for place, name in enumerate(model.names.tolist())}
    found = np.zeros((len(WEIGHTS), len(wanted), features.shape[1]), dtype=np.float32)
    order = np.argsort(table.rater, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(table.rater[order])) + 1):
        place = wanted.get(int(table.names[table.rater[rows[0]]]))
        if place is not None:
            rows = rows[table.learned[rows]]
            for kind, how in enumerate(WEIGHTS):
                weights = context_weights(table.score[rows], expected[table.image[rows]], how=how)
                found[kind, place] = rater_vector(features[table.image[rows]], weights)
    return found
