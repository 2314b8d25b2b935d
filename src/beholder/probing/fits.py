"""Fitting the probes of one layer, and keeping what is finished."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from beholder.datasets.attributes import PARTS, AttributeTable
from beholder.errors import BeholderError
from beholder.probing.layers import Layer
from beholder.probing.measures import Score, score, spearman, spearman_interval
from beholder.ridge import ridge_cv

SHUFFLES = 5  # of the training labels
LAYERS_FILE = "layers.jsonl"


@dataclass(frozen=True)
class Fit:
    """One probe: one attribute from one layer.

    Args:
        attribute, layer, source, index: what was read from where, see `layers.Layer`.
        alpha: the penalty chosen.
        train, validation, test: how well it did.
        low, high: 95 % bootstrap interval of the test correlation over images; nan but for layers that were the best so far when they came.
        control_validation, control_test: [SHUFFLES] correlations of probes that learned shuffled labels; 0 where not defined.
        constant: parts in which it predicts the same for all images -> that prediction.
    """

    attribute: str
    layer: str
    source: str
    index: int
    alpha: float
    train: Score
    validation: Score
    test: Score
    low: float
    high: float
    control_validation: tuple[float, ...]
    control_test: tuple[float, ...]
    constant: Mapping[str, float]

    @classmethod
    def from_dict(cls, values: Mapping) -> Fit:
        scores = {name: Score(**values[name]) for name in PARTS}
        ends = {name: math.nan if values[name] is None else float(values[name]) for name in ("low", "high")}
        controls = {name: tuple(values[name]) for name in ("control_validation", "control_test")}
        return cls(**{**values, **scores, **ends, **controls})

    def to_dict(self) -> dict:
        return asdict(self) | {name: value if math.isfinite(value := getattr(self, name)) else None for name in ("low", "high")}


class KeptLayers:
    """Finished layers on disk: one line each, with the key of the run. Half a line, as a kill leaves it, is passed over."""

    def __init__(self, out: str | os.PathLike | None, key: str) -> None:
        self._path = Path(out) / LAYERS_FILE if out is not None else None
        self._key = key
        self._found: dict[str, list[Fit]] = {}
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for line in self._lines():
                if line["key"] == key:
                    self._found[line["layer"]] = [Fit.from_dict(fit) for fit in line["fits"]]
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")  # ends half a line
        except OSError as error:
            raise BeholderError(f"{self._path} cannot be written: {error.strerror or error}; choose another place with --out") from None

    def _lines(self) -> Iterator[dict]:
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict) and {"key", "layer", "fits"} <= set(found):
                    yield found

    def get(self, layer: Layer) -> list[Fit] | None:
        return self._found.get(layer.name)

    def add(self, layer: Layer, fits: Sequence[Fit]) -> None:
        if self._path is not None:
            line = json.dumps({"key": self._key, "layer": layer.name, "fits": [fit.to_dict() for fit in fits]}, allow_nan=False)
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise BeholderError(f"{self._path} cannot be written: {error.strerror or error}; the same command goes on from there") from None


class Fitter:
    """Fits all attributes of a layer; those that are known for the same images share one decomposition."""

    def __init__(self, table: AttributeTable, values: Mapping[str, np.ndarray], *, seed: int, draws: int) -> None:
        self._values, self._seed, self._draws = values, seed, draws
        self._best: dict[tuple[str, str], float] = {}  # (attribute, source) -> highest validation correlation so far
        places = {part: table.places(part) for part in PARTS}
        self._rows = {name: {part: at[np.isfinite(column[at])] for part, at in places.items()} for name, column in values.items()}
        self._together: dict[bytes, list[str]] = defaultdict(list)
        self._shuffled = {}
        for number, name in enumerate(values):
            train = self._rows[name]["train"]
            self._together[train.tobytes()].append(name)
            random = np.random.default_rng([seed, 14, number])
            self._shuffled[name] = np.stack([random.permutation(values[name][train]) for _ in range(SHUFFLES)], axis=1)

    def fit(self, layer: Layer, x: np.ndarray) -> list[Fit]:
        """One `Fit` per attribute, from features [n, d]."""
        found: dict[str, Fit] = {}
        for names in self._together.values():
            train = self._rows[names[0]]["train"]
            targets = [np.column_stack([self._values[name][train], self._shuffled[name]]) for name in names]
            ridge = ridge_cv(x[train], np.hstack(targets), alpha_per_target=True)
            predicted = np.hsplit(ridge.predict(x), len(names))
            for name, alpha, columns in zip(names, ridge.alpha[:: 1 + SHUFFLES], predicted, strict=True):
                found[name] = self._judge(name, layer, float(alpha), columns[:, 0], columns[:, 1:])
        return [found[name] for name in self._values]

    def _judge(self, name: str, layer: Layer, alpha: float, predicted: np.ndarray, control: np.ndarray) -> Fit:
        """The fit, from predictions for all images: [n] of the probe and [n, SHUFFLES] of those that learned shuffled labels."""
        truth, rows = self._values[name], self._rows[name]
        scores = {part: score(truth[rows[part]], predicted[rows[part]]) for part in PARTS}
        low = high = math.nan
        if self._leads(name, layer.source, scores["validation"].rho):
            low, high = spearman_interval(truth[rows["test"]], predicted[rows["test"]], seed=self._seed, draws=self._draws)
        chance = {part: [spearman(truth[rows[part]], column[rows[part]]) for column in control.T] for part in ("validation", "test")}
        return Fit(
            attribute=name,
            layer=layer.name,
            source=layer.source,
            index=layer.index,
            alpha=alpha,
            **scores,
            low=low,
            high=high,
            **{f"control_{part}": tuple(np.nan_to_num(rho, nan=0.0).tolist()) for part, rho in chance.items()},
            constant={part: float(predicted[rows[part]][0]) for part in PARTS if not scores[part].defined},
        )

    def _leads(self, name: str, source: str, rho: float) -> bool:
        """Whether it is the best of its source so far: only such a probe can turn out to be the best in the end."""
        return rho > self._best.get((name, source), -2.0)

    def has_intervals(self, fits: Sequence[Fit]) -> bool:
        """Whether those of the probes that lead have their interval (they may not have led in the run that fitted them)."""
        leading = (fit for fit in fits if self._leads(fit.attribute, fit.source, fit.validation.rho))
        return all(math.isfinite(fit.low) for fit in leading)

    def remember(self, fits: Sequence[Fit]) -> None:
        for fit in fits:
            here = (fit.attribute, fit.source)
            self._best[here] = max(self._best.get(here, -2.0), fit.validation.rho)
