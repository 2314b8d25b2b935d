"""What a bench found, as JSON, CSV and a page of Markdown; and the predictions themselves."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation.answering import Answered, Asked
from beholder.evaluation.controls import SHUFFLED_IMAGES
from beholder.evaluation.metrics import METRICS, Estimate, Evaluation, difference
from beholder.evaluation.protocols import Fold
from beholder.ratings import write_table

COMPARED = ("srocc", "personal_r", "pairwise", "mae", "choice_accuracy")
RECORD = ("scorer", "version", "control_of", "oracle", "shots", "metric", "value", "low", "high", "defined_only", "n_undefined")
_DIFFERENCES = ("srocc", "personal_r", "mae", "choice_accuracy")
_TABLES = ("srocc", "plcc", "personal_r", "pairwise", "pairwise_within_group", "choice_accuracy", "mae", "coverage", "width")


@dataclass(frozen=True)
class Row:
    """One scorer, or control, at one number of shots.

    Args:
        scorer, version: what was measured.
        shots: N, support ratings (or choices) given.
        control_of: empty for a scorer; for a control the scorer whose input was shuffled, or "*" if it is one for all.
        oracle: True if it uses ratings that scorers are not shown.
        evaluation: filled in by `measured`.
    """

    scorer: str
    version: str
    shots: int
    control_of: str = ""
    oracle: bool = False
    evaluation: Evaluation | None = None

    def measured(self, evaluation: Evaluation) -> Row:
        return replace(self, evaluation=evaluation)

    @property
    def label(self) -> str:
        """Name for tables: controls and oracles are marked."""
        return (f"control: {self.scorer}" if self.control_of else self.scorer) + (" (oracle)" if self.oracle else "")


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
                "oracle": row.oracle,
                "shots": row.shots,
                "metric": metric,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
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
        """Paired differences at equal N: every scorer minus the first one, and every scorer minus its shuffled controls."""
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
                        found.append(
                            {
                                "scorer": ours,
                                "minus": theirs,
                                "shots": shots,
                                "metric": metric,
                                "value": gap.value,
                                "low": gap.low,
                                "high": gap.high,
                            }
                        )
        return found

    def summary(self) -> dict[str, object]:
        """Everything but the predictions, ready for JSON (numbers that are not defined are None)."""
        return _plain(
            {
                "dataset": self.dataset.name,
                "scale": str(self.dataset.scale),
                "protocol": self.protocol,
                "seeds": list(self.seeds),
                "fitted": self.fitted,
                "shots": list(self.shots),
                "folds": len(self.folds),
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
        return "\n".join(_page(self)) + "\n"

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


def _page(report: Report) -> Iterator[str]:
    evaluations = [row.evaluation for row in report.rows]
    n_raters = sorted({len(evaluation.raters) for evaluation in evaluations})
    n_answers = sorted({evaluation.n_answers for evaluation in evaluations})
    yield f"# {report.dataset.name}: {len({row.scorer for row in report.rows if not row.control_of})} scorers\n"
    yield f"- Protocol: {report.protocol}."
    yield f"- Scorers {'trained on the training ratings of each fold' if report.fitted else 'as shipped, not trained on this dataset'}."
    yield (
        f"- {_range(n_raters)} test raters, {_range(n_answers)} query ratings in {len(report.folds)} folds, seeds {_range(report.seeds)}, "
        f"scale {report.dataset.scale}; N = support ratings (or choices) given."
    )
    yield (
        f"- Mean over raters [95 % interval, {report.draws} bootstrap resamples of the raters]. Undefined correlations "
        "(constant predictions) count as 0; *u* is how many query sets, of all raters and folds, had none. Controls are marked."
    )
    yield (
        "- Personal r: one correlation over all query pairs after image means and rater means are removed from predictions and ratings, "
        "0 for any scorer that treats all raters alike; its interval resamples raters with these residuals as they are.\n"
    )
    for warning in report.warnings:
        yield f"**Warning: {warning}.**\n"
    for metric in _TABLES:
        if any(metric in evaluation.estimates for evaluation in evaluations):
            label, higher = METRICS[metric]
            direction = {True: " (higher is better)", False: " (lower is better)", None: " (should be 0.90)"}[higher]
            yield f"## {label}{direction}\n"
            yield from _table(report, metric)
    differences = [gap for gap in report.differences() if gap["metric"] in _DIFFERENCES and not gap["minus"].endswith(SHUFFLED_IMAGES)]
    if differences:
        yield "## Paired differences\n"
        yield "The same raters on both sides; an interval without 0 is marked with *.\n"
        yield "| scorer | minus | measure | " + " | ".join(f"N = {n}" for n in report.shots) + " |"
        yield "|---|---|---|" + "---|" * len(report.shots)
        cells: dict[tuple, dict[int, str]] = {}
        for gap in differences:
            clear = "*" if gap["low"] > 0 or gap["high"] < 0 else ""
            cells.setdefault((gap["scorer"], gap["minus"], gap["metric"]), {})[gap["shots"]] = (
                f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]{clear}"
            )
        for (ours, theirs, metric), found in cells.items():
            yield f"| {ours} | {theirs} | {METRICS[metric][0]} | " + " | ".join(found.get(n, "") for n in report.shots) + " |"
        yield ""
    if report.notes:
        yield "## Notes\n"
        yield from (f"- {note}" for note in report.notes)
        yield ""
    if report.dataset.citation:
        yield f"Data: {report.dataset.citation}" + (f" ({report.dataset.licence})" if report.dataset.licence else "")


def _table(report: Report, metric: str) -> Iterator[str]:
    yield "| scorer | " + " | ".join(f"N = {n}" for n in report.shots) + " |"
    yield "|---|" + "---|" * len(report.shots)
    lines: dict[str, dict[int, Estimate]] = {}
    for row in report.rows:
        if metric in row.evaluation.estimates:
            lines.setdefault(row.label, {})[row.shots] = row.evaluation.estimates[metric]
    for label, found in lines.items():
        yield f"| {label} | " + " | ".join(_estimate(found[n]) if n in found else "" for n in report.shots) + " |"
    yield ""


def _estimate(estimate: Estimate) -> str:
    if not math.isfinite(estimate.value):
        return "-"
    undefined = f" *u {estimate.n_undefined}*" if estimate.n_undefined else ""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]{undefined}"


def _range(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) if values else "none"


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
