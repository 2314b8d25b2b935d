"""What a scorer says about one image, and the rows that every output (CSV, JSON lines, HTTP) shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from beholder.scale import Scale

COLUMNS = ("image", "score", "low", "high", "percentile", "scale", "scorer", "version", "skipped_reason")


@dataclass(frozen=True)
class Prediction:
    """How much a rater will like one image.

    Args:
        image: path as it was given or found.
        score: expected rating on the rater's scale, higher = liked more; None if the image was skipped.
        low, high: ends of the 90 % interval for the rating this person would give, on the same scale.
        percentile: share of the images scored together that score lower (ties count half), 0 to 100.
        scale: the rater's scale.
        scorer, version: who said so (provenance).
        skipped_reason: why there is no score; empty if there is one.
        duplicates: other paths with the same bytes; they share this score and are not listed again.
    """

    image: str
    score: float | None
    low: float | None
    high: float | None
    percentile: float | None
    scale: Scale
    scorer: str
    version: str
    skipped_reason: str = ""
    duplicates: tuple[str, ...] = ()

    def row(self) -> dict[str, object]:
        """The output row, in the order of `COLUMNS`; numbers rounded to 4 digits, missing values as None."""
        values = {name: getattr(self, name) for name in COLUMNS}
        for name in ("score", "low", "high", "percentile"):
            values[name] = None if values[name] is None else round(float(values[name]), 4)
        return values | {"scale": str(self.scale)}


@dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """The predictions of one scorer for one rater, as parallel arrays in the order of the images given.

    Args:
        images: paths.
        score, low, high: [n] float64 on `scale`.
        scale: the rater's scale.
        scorer, version: provenance.
    """

    images: tuple[str, ...]
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scale: Scale
    scorer: str
    version: str
    percentile: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(map(str, self.images)))
        for name in ("score", "low", "high"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != (len(self.images),):
                raise ValueError(f"{name} has shape {values.shape}, not ({len(self.images)},)")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "percentile", percentiles(self.score))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        if isinstance(index, slice):
            raise TypeError("slice list(predictions) instead: percentiles belong to the whole set")
        return Prediction(
            image=self.images[index],
            score=float(self.score[index]),
            low=float(self.low[index]),
            high=float(self.high[index]),
            percentile=float(self.percentile[index]),
            scale=self.scale,
            scorer=self.scorer,
            version=self.version,
        )

    def __iter__(self) -> Iterator[Prediction]:
        return (self[i] for i in range(len(self)))


def percentiles(scores: np.ndarray) -> np.ndarray:
    """[n] scores -> [n] share of the set (in %) that scores lower, ties and the image itself counting half."""
    scores = np.asarray(scores, dtype=np.float64)
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, scores, side="left")
    up_to = np.searchsorted(ordered, scores, side="right")
    return 50.0 * (below + up_to) / max(len(scores), 1)


def best_first(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Sorted by score, best first; equal scores in order of the path; skipped images last."""
    return sorted(predictions, key=lambda p: (p.score is None, -(p.score or 0.0), p.image))
