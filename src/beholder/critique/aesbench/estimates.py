"""Values with intervals: everything AesBench measures is a sum over images divided by a count, resampled over the same images. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from beholder.critique.aesbench.overall import overall
from beholder.critique.aesbench.questions import PARTS
from beholder.evaluation.resampling import LEVEL, interval, resampled_sums

DRAWS = 2000
OVERALL = "overall"
GRADE, MACRO = "grade", "macro"


class Key(NamedTuple):
    """What is measured: all of a part (by = ""), or one group of it.

    Args:
        part: AesP, AesE, AesA, AesI or "overall".
        by: "dimension", "source", "type", "grade" (AesA by the right answer), "macro" (their mean) or "criterion" (AesI).
        name: of the group ("composition", "NI", "what", "High", "relevance").
    """

    part: str
    by: str = ""
    name: str = ""

    @property
    def unit(self) -> float:
        """What a ratio is multiplied by: 100 for accuracies (%), 1 for AesI (0 to 2) and overall."""
        return 1.0 if self.part in ("AesI", OVERALL) else 100.0

    def __str__(self) -> str:
        return "/".join(word for word in self if word)


TAIL = (1 - LEVEL) / 2
Sums = Mapping[Key, Mapping[str, tuple[float, float]]]  # key -> image -> (sum, count)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over images.

    Args:
        n: images it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        rounded = {name: round(float(getattr(self, name)), 4) for name in ("value", "low", "high")}
        return {name: value if math.isfinite(value) else None for name, value in rounded.items()} | {"n": self.n}


def estimates(sums: Sums, *, draws: int = DRAWS, seed: int = 0) -> dict[Key, Estimate]:
    """One estimate for each key, for the macro-average of AesA's grades, and for overall where all four parts are there.

    The paper gives no intervals: this bootstrap over images is ours. Images are drawn whole, with all their questions. Where all answers of a
    group are right, or all wrong, no draw differs, so the exact binomial interval is given instead.
    """
    values, drawn, counts = _resampled(sums, draws=draws, seed=seed)
    for key, parts, combine in _derived(values):
        values[key] = combine({part: values[part] for part in parts})
        drawn[key] = combine({part: drawn[part] for part in parts})
        counts[key] = len({image for part in parts for image in sums[part]})
    return {key: Estimate(value, **_interval(key, value, drawn[key], n=counts[key]), n=counts[key]) for key, value in values.items()}


def _interval(key: Key, value: float, samples: np.ndarray, *, n: int) -> dict[str, float]:
    if key.unit == 100.0 and value in (0.0, 100.0):  # Clopper & Pearson 1934, for 0 or n of n
        reach = 100.0 * TAIL ** (1 / n)
        return {"low": reach, "high": 100.0} if value else {"low": 0.0, "high": 100.0 - reach}
    return interval(samples)


def differences(ours: Sums, base: Sums, *, draws: int = DRAWS, seed: int = 0) -> dict[Key, Estimate]:
    """Ours minus base for the keys of both, on the images that both have (paired bootstrap); above 0 = better than base.

    Where all images agree (both right or both wrong on each, or one right where the other is wrong on each), no draw differs, so the exact
    interval is given instead: of the share of images that differ, or of who is right on those that do (the sign test).
    """
    pairs: dict[tuple[str, Key], dict[str, tuple[float, float]]] = {}
    for key in ours:
        if key in base:
            both = [image for image in ours[key] if image in base[key]]
            pairs["ours", key] = {image: ours[key][image] for image in both}
            pairs["base", key] = {image: base[key][image] for image in both}
    values, drawn, counts = _resampled(pairs, draws=draws, seed=seed)
    out: dict[Key, Estimate] = {}
    for key in [key for key in ours if key in base]:
        gap, samples = (found["ours", key] - found["base", key] for found in (values, drawn))
        n, same = counts["ours", key], pairs["ours", key] == pairs["base", key]
        out[key] = Estimate(gap, **_interval_of_gap(key, gap, samples, n=n, same=same), n=n)
    for key, parts, combine in _derived(out):
        gap, samples = (
            combine({part: found["ours", part] for part in parts}) - combine({part: found["base", part] for part in parts})
            for found in (values, drawn)
        )
        out[key] = Estimate(gap, **interval(samples), n=len({image for part in parts for image in pairs["ours", part]}))
    return out


def _interval_of_gap(key: Key, gap: float, samples: np.ndarray, *, n: int, same: bool) -> dict[str, float]:
    if key.unit != 100.0 or not n or not (same or abs(gap) == 100.0):
        return interval(samples)
    share = TAIL ** (1 / n)
    if same:
        return {"low": -100.0 * (1 - share), "high": 100.0 * (1 - share)}
    far = 100.0 * (2 * share - 1)  # all n of n for one side: at least a share of that in the long run
    return {"low": far, "high": 100.0} if gap > 0 else {"low": -100.0, "high": -far}


def _resampled(sums: Mapping[Any, Mapping[str, tuple[float, float]]], *, draws: int, seed: int):
    """Three mappings from key: the value, [draws] resampled values, the number of images."""
    keys = list(sums)
    images = {image: row for row, image in enumerate(dict.fromkeys(image for found in sums.values() for image in found))}
    table = np.zeros((len(images), 2 * len(keys)))
    for column, key in enumerate(keys):
        for image, (total, count) in sums[key].items():
            table[images[image], 2 * column : 2 * column + 2] = total, count
    samples = resampled_sums(table, draws=draws, seed=seed)
    values, drawn = {}, {}
    for column, key in enumerate(keys):
        unit = (key if isinstance(key, Key) else key[1]).unit
        values[key] = float(unit * _ratio(table[:, 2 * column].sum(), table[:, 2 * column + 1].sum()))
        drawn[key] = unit * _ratio(samples[:, 2 * column], samples[:, 2 * column + 1])
    return values, drawn, {key: len(sums[key]) for key in keys}


def _ratio(total: Any, count: Any) -> Any:
    return np.where(np.asarray(count) > 0, total / np.maximum(count, 1e-12), np.nan)


def _derived(known: Iterable[Key]):
    """(key, keys it is made of, how) for what is made of other values."""
    known = list(known)
    grades = [key for key in known if key.by == GRADE]
    made = []
    if len(grades) > 1:
        made.append((Key("AesA", MACRO), grades, lambda found: sum(found.values()) / len(found)))
    wholes = [Key(part) for part in PARTS]
    if all(key in known for key in wholes):
        made.append((Key(OVERALL), wholes, lambda found: _overall(found)))
    return made


def _overall(found: Mapping[Key, Any]) -> Any:
    scores = {key.part: value for key, value in found.items()}
    if isinstance(next(iter(scores.values())), float):
        return overall(scores)
    return np.array([overall(dict(zip(scores, row, strict=True))) for row in np.stack(list(scores.values()), axis=1)])
