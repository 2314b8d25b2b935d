"""From a model's answers to ratings: level, slope and error, learned from training ratings. For scorers that let a model say a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.scorers.base import COVERAGE

FEWEST = 10  # answers with a number that `fit` needs


@dataclass(frozen=True)
class Calibration:
    """What `fit` learns from training ratings: truth = intercept + slope * answer, both on 0..1.

    Args:
        slope: not below 0: a model whose answers run against the ratings is made constant, not turned round.
        half_width: 90 % of the training errors are smaller.
    """

    intercept: float
    slope: float
    half_width: float

    @classmethod
    def of(cls, answers: np.ndarray, truth: np.ndarray) -> Calibration:
        """Least squares on [n] answers and ratings, 0..1; the quantile is the one that a new error stays below with that chance."""
        spread = float(answers.var())
        slope = max(float(np.cov(answers, truth, bias=True)[0, 1]) / spread, 0.0) if spread > 0 else 0.0
        intercept = float(truth.mean() - slope * answers.mean())
        errors = np.sort(np.abs(truth - intercept - slope * answers))
        rank = min(math.ceil((len(errors) + 1) * COVERAGE), len(errors))
        return cls(intercept, slope, float(errors[rank - 1]))

    def __call__(self, answers: np.ndarray) -> np.ndarray:
        """Answers on 0..1 -> ratings on 0..1; nan stays nan."""
        return np.clip(self.intercept + self.slope * answers, 0.0, 1.0)


def learn_calibration(
    train: Dataset,
    answers_to: Callable[[np.ndarray], np.ndarray],
    *,
    n: int,
    model: str,
    scorer: str,
    progress: Callable[[int, int, str], None] | None = None,
) -> Calibration | None:
    """Ask a model about `n` training ratings, drawn with a fixed seed, and learn from its answers; None if n is 0.

    Args:
        answers_to: rating rows of `train` [n] -> the model's answers on 0..1, nan where there is no number.
        model, scorer: names, for messages.

    Raises:
        BeholderError: fewer than 10 of the answers hold a number.
    """
    n = min(n, len(train.rating_score))
    if n <= 0:
        return None
    if progress:
        progress(0, 1, f"asking {model} about {n} training ratings")
    rows = np.sort(np.random.default_rng(0).permutation(len(train.rating_score))[:n])
    answers = answers_to(rows)
    known = np.isfinite(answers)
    if known.sum() < FEWEST:
        raise BeholderError(
            f"only {int(known.sum())} of {n} answers of {model} hold a number, and {scorer} learns from no fewer than {FEWEST}: "
            f"raise fit_ratings, or ask another model"
        )
    found = Calibration.of(answers[known], train.scale.to_unit(train.rating_score[rows])[known])
    if progress:
        progress(1, 1, "done")
    return found
