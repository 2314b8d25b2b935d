"""What a fold asks of a scorer, what comes back, and where that is kept so that an interrupted bench goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.metrics import Answers
from beholder.evaluation.protocols import Fold
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Choice, Choices, Ratings
from beholder.scorers.base import Scorer


@dataclass(frozen=True)
class Asked:
    """The (rater, image) pairs to be predicted in one fold: query ratings first, then images that only query choices name.

    Args:
        rater, image: [n] int; the pairs of a rater stand together.
        row: [n] rating row of the dataset; -1 for images of choices without a query rating.
        choice_rater: [c] int.
        choice_chosen, choice_other: [c] positions in `rater` and `image`.
    """

    rater: np.ndarray
    image: np.ndarray
    row: np.ndarray
    choice_rater: np.ndarray
    choice_chosen: np.ndarray
    choice_other: np.ndarray

    def spans(self) -> list[tuple[int, slice]]:
        """(rater, where its pairs stand), in order."""
        starts = np.flatnonzero(np.diff(self.rater, prepend=-1)) if len(self.rater) else np.zeros(0, dtype=np.int64)
        ends = [*starts[1:], len(self.rater)]
        return [(int(self.rater[start]), slice(int(start), int(end))) for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class Answered:
    """Predictions for the pairs of an `Asked`: [n] float64 each, on the dataset's scale."""

    score: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def permuted(self, order: np.ndarray) -> Answered:
        return Answered(self.score[order], self.low[order], self.high[order])


def asked_of(dataset: Dataset, fold: Fold) -> Asked:
    """The pairs that `fold` wants predicted."""
    rater, image, row, choices = [], [], [], []
    for person in fold.raters:
        rows = fold.query.get(person, np.zeros(0, dtype=np.int64))
        images = dataset.rating_image[rows].tolist()
        pairs = fold.query_choices.get(person, np.zeros((0, 2), dtype=np.int64))
        extra = sorted(set(pairs.reshape(-1).tolist()) - set(images))
        place = {name: len(image) + i for i, name in enumerate([*images, *extra])}
        choices += [(person, place[chosen], place[other]) for chosen, other in pairs.tolist()]
        image += [*images, *extra]
        row += [*rows.tolist(), *[-1] * len(extra)]
        rater += [person] * (len(images) + len(extra))
    columns = np.array(choices, dtype=np.int64).reshape(-1, 3).T
    return Asked(*(np.array(part, dtype=np.int64) for part in (rater, image, row)), *columns)


def rater_with(dataset: Dataset, fold: Fold, rater: int, *, shots: int, profile: Profile | None = None) -> Rater:
    """The rater as the scorer meets it: profile, `shots` support ratings, the first `shots` support choices, and the name in training data."""
    rows = fold.support_rows(rater, shots=shots)
    pairs = fold.support_choices.get(rater, np.zeros((0, 2), dtype=np.int64))[:shots]
    names = dataset.images
    return Rater(
        name=dataset.raters[rater],
        profile=dataset.profiles[rater] if profile is None else profile,
        ratings=Ratings(
            [(str(names[image]), score) for image, score in zip(dataset.rating_image[rows], dataset.rating_score[rows], strict=True)],
            scale=dataset.scale,
        ),
        choices=Choices(tuple(Choice(str(names[chosen]), str(names[other])) for chosen, other in pairs)),
        known_as=f"{dataset.name}/{dataset.raters[rater]}",
    )


def ask(scorer: Scorer, dataset: Dataset, fold: Fold, asked: Asked, *, shots: int, profiles: dict[int, Profile] | None = None) -> Answered:
    """The scorer's predictions for every pair; `profiles` replaces those of some raters.

    Raises:
        BeholderError: the scorer gives another number of predictions or another scale than asked for.
    """
    spans = asked.spans()
    requests = [
        (
            [str(dataset.images[image]) for image in asked.image[span]],
            rater_with(dataset, fold, rater, shots=shots, profile=(profiles or {}).get(rater)),
        )
        for rater, span in spans
    ]
    predicted = scorer.predict_many(requests)
    found = Answered(*(np.full(len(asked.rater), np.nan) for _ in range(3)))
    for (_, span), (images, _), predictions in zip(spans, requests, predicted, strict=True):
        if len(predictions) != len(images) or predictions.scale != dataset.scale:
            raise BeholderError(
                f"{scorer.name} gave {len(predictions)} predictions on {predictions.scale} for {len(images)} images "
                f"on {dataset.scale}: mend the scorer"
            )
        found.score[span], found.low[span], found.high[span] = predictions.score, predictions.low, predictions.high
    return found


def answers_of(dataset: Dataset, asked: Sequence[Asked], answered: Sequence[Answered], *, folds: Sequence[Fold] = ()) -> Answers:
    """Predictions of all folds next to the truth; with `folds`, also which query set and which repeat each belongs to."""
    rated = [part.row >= 0 for part in asked]
    rows = np.concatenate([part.row[keep] for part, keep in zip(asked, rated, strict=True)])
    _, group = np.unique(np.array(dataset.groups, dtype=str), return_inverse=True)
    grouped = len(group) and group.max() + 1 < len(group)
    return Answers(
        fold=np.concatenate([np.full(int(keep.sum()), index) for index, keep in enumerate(rated)]),
        rater=dataset.rating_rater[rows],
        image=dataset.rating_image[rows],
        truth=dataset.rating_score[rows],
        **{
            name: np.concatenate([getattr(part, name)[keep] for part, keep in zip(answered, rated, strict=True)])
            for name in ("score", "low", "high")
        },
        group=group[dataset.rating_image[rows]] if grouped else np.zeros(0, dtype=np.int64),
        choice_fold=np.concatenate([np.full(len(part.choice_rater), index) for index, part in enumerate(asked)]),
        choice_rater=np.concatenate([part.choice_rater for part in asked]),
        choice_chosen=np.concatenate([part.score[pairs.choice_chosen] for pairs, part in zip(asked, answered, strict=True)]),
        choice_other=np.concatenate([part.score[pairs.choice_other] for pairs, part in zip(asked, answered, strict=True)]),
        repeat=np.array([fold.seed for fold in folds], dtype=np.int64),
        **_draws(rows, rated, folds),
    )


def _draws(rows: np.ndarray, rated: list[np.ndarray], folds: Sequence[Fold]) -> dict[str, np.ndarray]:
    """Which answer is part of which draw: `drawn` and `draw` of `Answers`; nothing if no fold has draws."""
    if not any(fold.draws for fold in folds):
        return {}
    drawn, draw, start = [], [], 0
    for fold, keep in zip(folds, rated, strict=True):
        end = start + int(keep.sum())
        order = np.argsort(rows[start:end])
        for index, by_rater in enumerate(fold.draws or (fold.query,)):
            wanted = np.concatenate(list(by_rater.values()))
            places = start + order[np.searchsorted(rows[start:end][order], wanted)]
            drawn.append(places)
            draw.append(np.full(len(places), index))
        start = end
    return {"drawn": np.concatenate(drawn), "draw": np.concatenate(draw)}


class Cache:
    """Finished predictions on disk, one small file per fold, scorer and number of shots.

    The key holds everything the predictions depend on: the dataset, the fold's rows, the scorer and its version.

    Args:
        folder: where the files lie; nothing is kept if None.
        resume: use what is there; else everything is computed anew and replaces it.
    """

    def __init__(self, folder: Path | None, *, resume: bool = True) -> None:
        self.folder, self.resume = folder, resume

    def get(self, key: dict[str, object], compute: Callable[[], Answered]) -> Answered:
        """What is kept under `key`, or else `compute()`, which is then kept."""
        path = self._path(key)
        if path is not None and self.resume and path.exists():
            try:
                with np.load(path) as kept:
                    return Answered(kept["score"], kept["low"], kept["high"])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                pass  # a file cut short by a full disk: compute it again
        answered = compute()
        if path is not None:
            partial = path.with_suffix(f".{os.getpid()}.partial")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    np.savez(file, score=answered.score, low=answered.low, high=answered.high)
                os.replace(partial, path)
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise BeholderError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from None
        return answered

    def _path(self, key: dict[str, object]) -> Path | None:
        if self.folder is None:
            return None
        readable = readable_name(f"{key['scorer']}-{key['fold_name']}-n{key['shots']}")
        return self.folder / f"{readable}-{short_hash(key)}.npz"


def short_hash(key: dict[str, object]) -> str:
    """20 hexadecimal digits that stand for `key`."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def readable_name(text: str) -> str:
    """`text` as part of a file name: anything unusual becomes a hyphen, and it is not too long for a file system."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text)[:80]


def dataset_key(dataset: Dataset) -> str:
    """A hash of everything in a dataset that predictions may depend on; of the photographs, names and sizes in bytes."""
    sizes = [path.stat().st_size if path.is_file() else 0 for path in dataset.images]
    text = json.dumps(
        [
            str(dataset.scale),
            dataset.raters,
            [profile.known() for profile in dataset.profiles],
            dataset.image_ids,
            dataset.groups,
            sizes,
            dataset.choice_role,
        ],
        default=str,
    )
    digest = hashlib.sha256(text.encode())
    for name in ("rating_rater", "rating_image", "rating_score", "choice_rater", "choice_chosen", "choice_other"):
        digest.update(np.ascontiguousarray(getattr(dataset, name)).tobytes() + name.encode())
    for name in sorted(dataset.attributes):  # trained scorers learn from these, and from captions
        digest.update(f"{name}\0{dataset.attribute_scales[name]}\0".encode() + np.ascontiguousarray(dataset.attributes[name]).tobytes())
    digest.update(json.dumps(dataset.captions).encode())
    if dataset.prompts or dataset.metadata:
        digest.update(json.dumps([dataset.prompts, sorted(dataset.metadata.items())]).encode())
    return digest.hexdigest()


def fold_key(fold: Fold) -> str:
    """A hash of the rows and choices of a fold."""
    digest = hashlib.sha256(fold.train_rows.astype(np.int64).tobytes())
    parts = [fold.support, fold.query, fold.support_choices, fold.query_choices]
    for part in [*parts, fold.small_support] if fold.small_support else parts:
        digest.update(b"|")
        for rater in sorted(part):
            digest.update(f"{rater}:".encode() + np.ascontiguousarray(part[rater], dtype=np.int64).tobytes())
    return digest.hexdigest()
