"""Measures of single raters from a report's predictions, apart for seen and unseen raters, and bootstraps that keep these apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from beholder.evaluation.answering import Answered, Asked, answers_of
from beholder.evaluation.metrics import DIGITS, Answers, average_ranks, correlations, pairwise_accuracy
from beholder.evaluation.report import Report
from beholder.evaluation.seen_unseen import SEEN, UNSEEN

ALL = "all"
CORRELATED = ("srocc", "plcc")
_CELLS = 2_000_000  # weights held as floats at once, 16 MB


@dataclass(frozen=True)
class RaterValues:
    """One number per rater.

    Args:
        rater: [r] int, ascending.
        value: [r] float64, mean over the rater's query sets; nan where there is none (of correlations, undefined ones count 0).
    """

    rater: np.ndarray
    value: np.ndarray

    @property
    def mean(self) -> float:
        return float(np.nanmean(self.value)) if np.isfinite(self.value).any() else float("nan")


def labels(report: Report) -> tuple[str, ...]:
    """("all",), and "seen" and "unseen" besides where the protocol tells them apart."""
    return (ALL, SEEN, UNSEEN) if any(fold.labels for fold in report.folds) else (ALL,)


def answers_by_label(report: Report, answered: list[Answered]) -> dict[str, Answers]:
    """Label -> predictions next to ratings, of the query sets with that label only."""
    return {
        label: answers_of(report.dataset, asked, found, folds=[replace(fold, draws=()) for fold in report.folds])
        for label in labels(report)
        for asked, found in [_kept(report, answered, label)]
    }


def by_row(report: Report) -> Iterator[tuple[str, int, dict[str, Answers]]]:
    """(scorer, shots, label -> answers) for every scorer; not for controls."""
    for (scorer, shots), answered in report.predictions.items():
        yield scorer, shots, answers_by_label(report, answered)


def values(answers: Answers, metric: str, *, margin: float = 0.0) -> RaterValues:
    """srocc, plcc, mae or pairwise of every rater, as `metrics.evaluate` has it in its means (draws of query images are one query set here).

    Args:
        margin: pairs count whose ratings differ by more than this; differences that exceed it by rounding alone do not.
    """
    unit_rater, unit, truth, score = units(answers)
    n = len(unit_rater)
    if metric == "srocc":
        found = correlations(unit, average_ranks(unit, truth), average_ranks(unit, score), size=n)
    elif metric == "plcc":
        found = correlations(unit, truth, score, size=n)
    elif metric == "pairwise":
        found = pairwise_accuracy(unit, truth, score, size=n, margin=margin + 1e-9)
    else:
        count = np.bincount(unit, minlength=n)
        found = np.where(count > 0, np.bincount(unit, np.abs(truth - score), minlength=n) / np.maximum(count, 1), np.nan)
    found = np.nan_to_num(found, nan=0.0) if metric in CORRELATED else found
    return of_raters(unit_rater, found)


def units(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """[u] rater of each query set (one rater in one fold); and of each answer that has a prediction its query set, rating and prediction."""
    keys, unit = np.unique(np.stack([answers.fold, answers.rater], axis=1), axis=0, return_inverse=True)
    usable = np.isfinite(answers.score)
    return keys[:, 1], unit.reshape(-1)[usable], answers.truth[usable], np.round(answers.score[usable], DIGITS)


def of_raters(unit_rater: np.ndarray, found: np.ndarray) -> RaterValues:
    """[u] rater and value of query sets -> the mean of each rater's defined ones."""
    raters, place = np.unique(unit_rater, return_inverse=True)
    defined = np.isfinite(found)
    count = np.bincount(place[defined], minlength=len(raters))
    total = np.bincount(place[defined], found[defined], minlength=len(raters))
    return RaterValues(raters, np.where(count > 0, total / np.maximum(count, 1), np.nan))


class Resamples:
    """How often each rater (or image) is drawn in each of many bootstrap resamples of two groups, such as seen and unseen raters.

    Those in the first group only, in the second only, and in both are resampled apart: so the groups are independent where they have nobody
    in common, and paired where they are the same.

    Args:
        first, second: ids of the two groups, int; a single group is handed over as both.
        draws: resamples.
        seed: of the draws.

    Attributes:
        ids: [n] int, ascending. weights: [n, draws] uint16, how often each is drawn.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray, *, draws: int, seed: int = 0) -> None:
        self.ids = np.union1d(first, second)
        stratum = np.isin(self.ids, first) + 2 * np.isin(self.ids, second)
        self.weights = _drawn(stratum.astype(np.uint8).tobytes(), draws, seed)

    def means(self, found: RaterValues) -> np.ndarray:
        """[draws] means over the resampled raters."""
        defined = np.isfinite(found.value)
        total, count = self._sums(found.rater, np.stack([np.where(defined, found.value, 0.0), defined], axis=1))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def correlations(self, found: ImageMeans) -> np.ndarray:
        """[draws] `ImageMeans.correlation` over the resampled images."""
        return _correlation(self._sums(found.image, found.moments()))

    def _sums(self, ids: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """[m] ids and their [m, k] values -> [k, draws] sums over what is drawn."""
        spread = np.zeros((len(self.ids), columns.shape[1]))
        spread[np.searchsorted(self.ids, ids)] = columns
        step = max(1, _CELLS // max(len(self.ids), 1))
        blocks = range(0, self.weights.shape[1], step)
        return np.concatenate([spread.T @ self.weights[:, start : start + step].astype(np.float64) for start in blocks], axis=1)


@lru_cache(maxsize=8)  # all scorers of a report are measured on the same raters and images
def _drawn(stratum: bytes, draws: int, seed: int) -> np.ndarray:
    """The weights of `Resamples`; stratum: one byte for each id."""
    kinds = np.frombuffer(stratum, dtype=np.uint8)
    weights = np.zeros((len(kinds), draws), dtype=np.uint16)
    for kind in np.unique(kinds):
        places = np.flatnonzero(kinds == kind)
        generator = np.random.default_rng([seed, 17, int(kind)])
        for draw in range(draws):
            weights[places, draw] = np.bincount(generator.integers(len(places), size=len(places)), minlength=len(places))
    return weights


@dataclass(frozen=True)
class ImageMeans:
    """What an average rater would say: mean rating and mean prediction of each image, over the raters asked about it.

    Args:
        image: [i] int, ascending.
        truth, score: [i] float64, minus their mean over images.
        raters_per_image: how many answers an image's means are taken of, on average.
    """

    image: np.ndarray
    truth: np.ndarray
    score: np.ndarray
    raters_per_image: float

    @property
    def correlation(self) -> float:
        """Over images, 0 where it is not defined: the population-average PLCC, which rewards knowing what most people like."""
        return float(_correlation(self.moments().sum(axis=0)[:, None])[0])

    def moments(self) -> np.ndarray:
        """[i, 6] of each image: 1, x, y, xy, xx, yy."""
        x, y = self.truth, self.score
        return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)


def image_means(answers: Answers) -> ImageMeans:
    """Averages over raters. A rater asked about an image in several repeats counts once for each."""
    usable = np.isfinite(answers.score)
    images, place, count = np.unique(answers.image[usable], return_inverse=True, return_counts=True)
    columns = (answers.truth[usable], np.round(answers.score[usable], DIGITS))
    means = [np.bincount(place.reshape(-1), column, minlength=len(images)) / count for column in columns]
    centred = [np.round(mean - mean.mean(), DIGITS) if len(mean) else mean for mean in means]
    return ImageMeans(images, *centred, raters_per_image=float(count.mean()) if len(count) else float("nan"))


def _correlation(moments: np.ndarray) -> np.ndarray:
    """[6, d] n and sums of x, y, xy, xx, yy -> [d] Pearson correlation, 0 where undefined."""
    n, x, y, xy, xx, yy = moments
    n = np.maximum(n, 1)
    cross, left, right = xy - x * y / n, xx - x * x / n, yy - y * y / n
    defined = (left > 1e-9) & (right > 1e-9)
    return np.where(defined, cross / np.sqrt(np.where(defined, left * right, 1.0)), 0.0)


def _kept(report: Report, answered: list[Answered], label: str) -> tuple[list[Asked], list[Answered]]:
    """Only the query ratings of raters with this label, and no choices."""
    none = np.zeros(0, dtype=np.int64)
    asked_kept, answered_kept = [], []
    for fold, asked, found in zip(report.folds, report.asked, answered, strict=True):
        wanted = asked.row >= 0
        if label != ALL:
            wanted &= np.isin(asked.rater, [rater for rater, own in fold.labels.items() if own == label])
        asked_kept.append(Asked(asked.rater[wanted], asked.image[wanted], asked.row[wanted], none, none, none))
        answered_kept.append(found.permuted(np.flatnonzero(wanted)))
    return asked_kept, answered_kept
