"""What every table of results must be read against: means that know no image or no rater, and shuffled inputs."""

from __future__ import annotations

import numpy as np

from beholder.datasets.base import Dataset
from beholder.evaluation.answering import Answered, Asked
from beholder.evaluation.protocols import Fold
from beholder.profile import Profile

RATER_MEAN = "rater mean"
IMAGE_MEAN = "image mean"
SHUFFLED_PROFILES = "shuffled profiles"
SHUFFLED_IMAGES = "shuffled images"
_NORMAL = 1.645  # a normal variable lies within this many standard deviations with 90 %


def rater_mean(dataset: Dataset, fold: Fold, asked: Asked, *, shots: int) -> Answered:
    """The same score for every image: the training mean, moved towards the mean of the rater's support ratings.

    How far is set by the training ratings: variance between raters against variance within them.
    """
    scores, raters = dataset.rating_score[fold.train_rows], dataset.rating_rater[fold.train_rows]
    centre, between, within = _variances(scores, raters, dataset=dataset)
    found = Answered(*(np.full(len(asked.rater), np.nan) for _ in range(3)))
    for rater, span in asked.spans():
        given = dataset.rating_score[fold.support_rows(rater, shots=shots)]
        certainty = 1 / between + len(given) / within
        mean = (centre / between + given.sum() / within) / certainty
        _fill(found, span, mean, half=_NORMAL * np.sqrt(within + 1 / certainty), dataset=dataset)
    return found


def image_mean(dataset: Dataset, fold: Fold, asked: Asked) -> tuple[Answered, bool]:
    """The mean rating that raters who are not tested gave to the very image; without such raters, the mean of the other raters.

    Returns:
        The predictions, and whether they are an oracle, that is, use ratings that scorers are not shown (those of query images).
    """
    tested = np.isin(dataset.rating_rater, fold.raters)
    leave_one_out = bool(tested.all())
    rows = np.arange(len(tested)) if leave_one_out else np.flatnonzero(~tested)
    n_images = len(dataset.images)
    count = np.bincount(dataset.rating_image[rows], minlength=n_images).astype(float)
    total = np.bincount(dataset.rating_image[rows], dataset.rating_score[rows], minlength=n_images)
    overall = float(dataset.rating_score[rows].mean()) if len(rows) else dataset.scale.middle
    own = np.zeros(len(asked.image))
    n_own = np.zeros(len(asked.image))
    if leave_one_out:
        rated = asked.row >= 0
        own[rated], n_own[rated] = dataset.rating_score[asked.row[rated]], 1
    left = count[asked.image] - n_own
    mean = np.where(left > 0, (total[asked.image] - own) / np.maximum(left, 1), overall)
    means = np.where(count > 0, total / np.maximum(count, 1), overall)
    spread = np.std(dataset.rating_score[rows] - means[dataset.rating_image[rows]]) if len(rows) else dataset.scale.width / 4
    found = Answered(*(np.full(len(asked.rater), np.nan) for _ in range(3)))
    _fill(found, slice(None), mean, half=_NORMAL * spread, dataset=dataset)
    used = rows[np.isin(dataset.rating_image[rows], asked.image)]
    return found, bool(np.setdiff1d(used, fold.train_rows).size)


def other_profiles(dataset: Dataset, fold: Fold, *, seed: int) -> dict[int, Profile]:
    """Each tested rater with the profile of another one; empty if fewer than two of them have a profile."""
    raters = [rater for rater in fold.raters if dataset.profiles[rater]]
    if len(raters) < 2:
        return {}
    order = np.random.default_rng([seed, fold.seed, 6]).permutation(raters).tolist()
    return {
        rater: dataset.profiles[other] for rater, other in zip(order, order[1:] + order[:1], strict=True)
    }  # a circle: nobody keeps theirs


def reduced_profiles(dataset: Dataset, fold: Fold, *, variant: str) -> dict[int, Profile]:
    """Each tested rater with the part of the own profile that `variant` names; empty if that changes nobody's."""
    from beholder.personas.prompts import reduced

    left = {rater: reduced(dataset.profiles[rater], variant) for rater in fold.raters}
    return left if any(profile != dataset.profiles[rater] for rater, profile in left.items()) else {}


def image_permutation(asked: Asked, *, seed: int) -> np.ndarray:
    """[n] order in which each rater's predictions are handed to the wrong images of that rater."""
    order = np.arange(len(asked.rater))
    generator = np.random.default_rng([seed, 7])
    for _, span in asked.spans():
        order[span] = generator.permutation(order[span])
    return order


def _variances(scores: np.ndarray, raters: np.ndarray, *, dataset: Dataset) -> tuple[float, float, float]:
    """Mean of the rater means, variance between raters, variance within them (method of moments)."""
    small = 1e-6 * dataset.scale.width**2
    if len(scores) < 2:
        return dataset.scale.middle, dataset.scale.width**2 / 12, dataset.scale.width**2 / 12
    _, index = np.unique(raters, return_inverse=True)
    count = np.bincount(index)
    means = np.bincount(index, scores) / count
    within = float(((scores - means[index]) ** 2).sum() / max(len(scores) - len(count), 1))
    between = float(means.var(ddof=1) - within * np.mean(1 / count)) if len(count) > 1 else within
    return float(means.mean()), max(between, small), max(within, small)


def _fill(found: Answered, where: slice, mean: float | np.ndarray, *, half: float, dataset: Dataset) -> None:
    found.score[where] = mean
    found.low[where] = np.maximum(mean - half, dataset.scale.low)
    found.high[where] = np.minimum(mean + half, dataset.scale.high)
