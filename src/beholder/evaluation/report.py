"""What a bench found, as JSON, CSV and a page of Markdown; and the predictions themselves."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.answering import Answered, Asked
from beholder.evaluation.metrics import METRICS, Estimate, Evaluation, difference
from beholder.evaluation.protocols import Fold
from beholder.evaluation.repeats import across_repeats
from beholder.ratings import write_table

COMPARED = ("srocc", "plcc", "r2", "personal_r", "personal_r_rater_means_kept", "pairwise", "mae", "choice_accuracy")
RECORD = ("scorer", "version", "control_of", "profile", "oracle", "shots", "metric", "value", "low", "high", "std")
RECORD += ("defined_only", "n_undefined")


@dataclass(frozen=True)
class Row:
    """One scorer, or control, at one number of shots.

    Args:
        scorer, version: what was measured.
        shots: N, support ratings (or choices) given.
        control_of: empty for a scorer; for a control the scorer whose input was shuffled, or "*" if it is one for all; for a scorer that was
            shown reduced profiles, itself.
        profile: what was left of the profiles, "none", "D", "T" or "D+T"; empty if they were as they are (or shuffled).
        oracle: True if it uses ratings that scorers are not shown.
        evaluation: filled in by `measured`.
    """

    scorer: str
    version: str
    shots: int
    control_of: str = ""
    profile: str = ""
    oracle: bool = False
    evaluation: Evaluation | None = None

    def measured(self, evaluation: Evaluation) -> Row:
        return replace(self, evaluation=evaluation)

    @property
    def label(self) -> str:
        """Name for tables: controls and oracles are marked."""
        return (f"control: {self.scorer}" if self.control_of and not self.profile else self.scorer) + (" (oracle)" if self.oracle else "")


@dataclass(frozen=True)
class Report:
    """The outcome of `bench.run`.

    Args:
        dataset, protocol (its line), seeds, fitted, shots, folds, margin, draws: what was run.
        rows: scorers in the order given, then controls; each with every N.
        asked: per fold, the pairs that were predicted.
        predictions: (scorer, shots) -> per fold, the predictions; scorers only.
        warnings: what makes numbers too good, such as training images among the query images.
        notes: what else a reader must know.
        averages_repeats: numbers are means of the repeats' numbers.
        protocol_name: as in `--protocol`.
        features: scorer -> what it sees of the images (encoder, revision, preprocessing, layers); without those that see no features.
    """

    dataset: Dataset
    protocol: str
    seeds: tuple[int, ...]
    fitted: bool
    shots: tuple[int, ...]
    folds: tuple[Fold, ...]
    rows: tuple[Row, ...]
    asked: tuple[Asked, ...] = ()
    predictions: dict[tuple[str, int], list[Answered]] = field(default_factory=dict)
    margin: float = 0.0
    draws: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    averages_repeats: bool = False
    protocol_name: str = ""
    features: dict[str, str] = field(default_factory=dict)

    @property
    def n_tests(self) -> tuple[int, ...]:
        """How many raters are tested in a fold: all numbers that occur, ascending."""
        return tuple(sorted({len(fold.raters) for fold in self.folds}))

    def estimate(self, scorer: str, *, shots: int, metric: str = "srocc") -> Estimate:
        """One number of the table.

        Raises:
            BeholderError: there is no such scorer, N or measure in this report.
        """
        for row in self.rows:
            if row.scorer == scorer and row.shots == shots and metric in row.evaluation.estimates:
                return row.evaluation.estimates[metric]
        have = ", ".join(dict.fromkeys(row.scorer for row in self.rows))
        raise BeholderError(
            f"this report has no {metric} of {scorer!r} at {shots} shots: it has {have} at {', '.join(map(str, self.shots))}"
        )

    def records(self) -> list[dict[str, object]]:
        """One row per scorer, N and measure, with the columns `RECORD` and n_raters, n_answers, n_dropped."""
        return [
            {
                "scorer": row.scorer,
                "version": row.version,
                "control_of": row.control_of,
                "profile": row.profile,
                "oracle": row.oracle,
                "shots": row.shots,
                "metric": metric,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "std": estimate.std,
                "defined_only": estimate.defined_only,
                "n_undefined": estimate.n_undefined,
                "n_raters": len(row.evaluation.raters),
                "n_answers": row.evaluation.n_answers,
                "n_dropped": row.evaluation.n_dropped,
            }
            for row in self.rows
            for metric, estimate in row.evaluation.estimates.items()
        ]

    def differences(self) -> list[dict[str, object]]:
        """Paired differences at equal N: every scorer minus the first one, and every scorer minus its controls and reduced profiles.

        With repeats that are averaged, tests across repeats stand beside the bootstrap over raters, see `repeats.across_repeats`.
        """
        scorers = list(dict.fromkeys(row.scorer for row in self.rows if not row.control_of))
        at = {(row.scorer, row.shots): row for row in self.rows}
        pairs = [(name, scorers[0]) for name in scorers[1:]]
        pairs += [(row.control_of, row.scorer) for row in self.rows if row.control_of in scorers and row.shots == self.shots[0]]
        found = []
        for ours, theirs in pairs:
            for shots in self.shots:
                first, second = at[ours, shots].evaluation, at[theirs, shots].evaluation
                for metric in COMPARED:
                    if metric in first.estimates and metric in second.estimates and np.array_equal(first.raters, second.raters):
                        gap = difference(first, second, metric=metric)
                        named = {"scorer": ours, "minus": theirs, "shots": shots, "metric": metric}
                        named |= {"value": gap.value, "low": gap.low, "high": gap.high}
                        if self.averages_repeats:
                            named |= across_repeats(first, second, metric=metric, test_share=self._test_share())
                        found.append(named)
        return found

    def _test_share(self) -> float:
        """Tested raters / training raters of a fold, on average."""
        tested = np.mean([len(fold.raters) for fold in self.folds])
        learned = np.mean([len(np.unique(self.dataset.rating_rater[fold.train_rows])) for fold in self.folds])
        return float(tested / max(learned, 1))

    def summary(self) -> dict[str, object]:
        """Everything but the predictions, ready for JSON (numbers that are not defined are None)."""
        return _plain(
            {
                "dataset": self.dataset.name,
                "scale": str(self.dataset.scale),
                "protocol": self.protocol,
                "seeds": list(self.seeds),
                "fitted": self.fitted,
                "features": dict(self.features),
                "shots": list(self.shots),
                "folds": len(self.folds),
                "draws_of_query_images": max((len(fold.draws) for fold in self.folds), default=0) or 1,
                "averages_repeats": self.averages_repeats,
                "test_raters": len({rater for fold in self.folds for rater in fold.raters}),
                "margin": self.margin,
                "bootstrap_draws": self.draws,
                "beholder": __version__,
                "licence": self.dataset.licence,
                "citation": self.dataset.citation,
                "warnings": list(self.warnings),
                "notes": list(self.notes),
                "results": self.records(),
                "differences": self.differences(),
            }
        )

    def markdown(self) -> str:
        """A page: what was run, one table per measure (scorers x N, 95 % intervals), differences, warnings and notes."""
        from beholder.evaluation.page import page

        return "\n".join(page(self)) + "\n"

    def write(self, out: str | os.PathLike) -> list[Path]:
        """Write report.json, report.csv, report.md and per_rater.csv into `out`; returns their paths."""
        out = Path(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "report.json").write_text(json.dumps(self.summary(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            (out / "report.md").write_text(self.markdown(), encoding="utf-8")
        except OSError as error:
            raise BeholderError(f"{out} cannot be written: {error.strerror or error}; choose another place with --out") from None
        records = [{name: _cell(value) for name, value in record.items()} for record in self.records()]
        write_table(out / "report.csv", records, columns=[*RECORD, "n_raters", "n_answers", "n_dropped"])
        write_table(out / "per_rater.csv", self._per_rater(), columns=["scorer", "shots", "rater", *METRICS])
        return [out / name for name in ("report.json", "report.csv", "report.md", "per_rater.csv")]

    def write_predictions(self, path: str | os.PathLike) -> None:
        """Write rater, image, shots, score, low, high of every scorer (column scorer if several, seed if several).

        `image` is spelled as in the dataset's own tables.
        """
        scorers = {scorer for scorer, _ in self.predictions}
        columns = ["rater", "image", "shots", "score", "low", "high"]
        columns += (["scorer"] if len(scorers) > 1 else []) + (["seed"] if len({fold.seed for fold in self.folds}) > 1 else [])
        write_table(path, self._prediction_rows(), columns=columns)

    def _prediction_rows(self) -> Iterator[dict[str, object]]:
        for (scorer, shots), answered in self.predictions.items():
            for fold, asked, part in zip(self.folds, self.asked, answered, strict=True):
                for rater, image, score, low, high in zip(asked.rater, asked.image, part.score, part.low, part.high, strict=True):
                    yield {
                        "rater": self.dataset.raters[rater],
                        "image": self.dataset.image_ids[image],
                        "shots": shots,
                        "score": _cell(score),
                        "low": _cell(low),
                        "high": _cell(high),
                        "scorer": scorer,
                        "seed": fold.seed,
                    }

    def _per_rater(self) -> Iterator[dict[str, object]]:
        for row in self.rows:
            for index, rater in enumerate(row.evaluation.raters):
                values = {metric: _cell(values[index]) for metric, values in row.evaluation.per_rater.items()}
                yield {"scorer": row.label, "shots": row.shots, "rater": self.dataset.raters[rater]} | values


def _cell(value: object) -> object:
    """A CSV cell: numbers with 6 significant decimals, undefined ones empty."""
    if isinstance(value, float):  # np.float64 is one
        return round(float(value), 6) if math.isfinite(value) else ""
    return value


def _plain(value: object) -> object:
    """Numbers that JSON has no word for become None."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
