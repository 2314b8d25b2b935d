"""Seen against unseen raters: every measure for both, and the gap between them; with several configurations of a scorer, its ablation table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from beholder.evaluation.metrics import METRICS
from beholder.evaluation.paper_tables import published
from beholder.evaluation.rater_values import Resamples, by_row, image_means, labels, values
from beholder.evaluation.report import Report
from beholder.evaluation.resampling import interval
from beholder.evaluation.seen_unseen import SEEN, UNSEEN
from beholder.ratings import write_table

NAMES = ("seen-unseen.json", "seen-unseen.csv", "seen-unseen.md")
AVERAGE = "average_plcc"
MEASURES = {name: METRICS[name] for name in ("srocc", "plcc", "pairwise", "mae")} | {AVERAGE: ("population-average PLCC", True)}
GAP = "gap"
COLUMNS = ("scorer", "shots", "metric", *(f"{part}{end}" for part in (SEEN, UNSEEN, GAP) for end in ("", "_low", "_high")))
COLUMNS += ("n_seen", "n_unseen", "raters_per_image_seen", "raters_per_image_unseen")
_THEIRS = ("srocc", "plcc", "pairwise")


def applies(report: Report) -> bool:
    """Whether the protocol of a report tells seen raters from unseen ones."""
    return len(labels(report)) > 1


def records(report: Report) -> list[dict[str, object]]:
    """One row per scorer, N and measure, with the columns `COLUMNS`: values and 95 % intervals over raters.

    The gap is seen minus unseen. Its interval draws seen and unseen raters independently where they are different people; people who are seen
    in some folds and unseen in others are drawn for both at once. The population-average PLCC is a correlation over images, so its intervals
    draw images in the same way: drawing raters would make every average noisier than it is.
    """
    found = []
    for scorer, shots, by_label in by_row(report):
        answers = {label: by_label[label] for label in (SEEN, UNSEEN)}
        averages = {label: image_means(part) for label, part in answers.items()}
        resamples = Resamples(*(np.unique(part.rater) for part in answers.values()), draws=report.draws)
        of_images = Resamples(*(part.image for part in averages.values()), draws=report.draws)
        counts = {f"n_{label}": len(np.unique(part.rater)) for label, part in answers.items()}
        counts |= {f"raters_per_image_{label}": part.raters_per_image for label, part in averages.items()}
        for metric in MEASURES:
            if metric == AVERAGE:
                means = {label: part.correlation for label, part in averages.items()}
                samples = {label: of_images.correlations(part) for label, part in averages.items()}
            else:
                per_rater = {label: values(part, metric, margin=report.margin) for label, part in answers.items()}
                means = {label: part.mean for label, part in per_rater.items()}
                samples = {label: resamples.means(part) for label, part in per_rater.items()}
            means[GAP], samples[GAP] = means[SEEN] - means[UNSEEN], samples[SEEN] - samples[UNSEEN]
            row: dict[str, object] = {"scorer": scorer, "shots": shots, "metric": metric}
            for part, value in means.items():
                ends = interval(samples[part])
                row |= {part: value, f"{part}_low": ends["low"], f"{part}_high": ends["high"]}
            found.append(row | counts)
    return found


def markdown(report: Report, found: Sequence[Mapping[str, object]] | None = None) -> str:
    """One table per measure; on the dataset pamela, the published numbers of held-out raters besides.

    Args:
        found: `records(report)`, if they are at hand.
    """
    return "\n".join(_lines(report, records(report) if found is None else found)).rstrip() + "\n"


def write(report: Report, out: Path, found: Sequence[Mapping[str, object]] | None = None) -> list[Path]:
    """Write seen-unseen.json, .csv and .md into `out`; returns their paths. `found` as in `markdown`."""
    found = records(report) if found is None else found
    paths = [out / name for name in NAMES]
    rows = plain(found)
    paths[0].write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_table(paths[1], [{name: "" if value is None else value for name, value in row.items()} for row in rows], columns=COLUMNS)
    paths[2].write_text(markdown(report, found), encoding="utf-8")
    return paths


def plain(found: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Records ready for JSON: numbers with 6 decimals, undefined ones None."""

    def number(value: object) -> object:
        if not isinstance(value, float):  # np.float64 is one
            return value
        return round(float(value), 6) if math.isfinite(value) else None

    return [{name: number(value) for name, value in row.items()} for row in found]


def _lines(report: Report, found: Sequence[Mapping[str, object]]) -> Iterator[str]:
    yield f"# {report.dataset.name}: seen and unseen raters\n"
    yield f"- Protocol: {report.protocol}."
    yield (
        f"- Seen: training has other ratings of the rater. Unseen: it has none. Mean over raters [95 % interval, {report.draws} bootstrap "
        "resamples of raters]; undefined correlations count as 0. A gap whose interval does not hold 0 is marked with *."
    )
    if not report.fitted:
        yield (
            "- Nothing was trained in this run: seen and unseen say what a training on these folds would know, not what the scorers' weights know."
        )
    yield (
        "- Population-average PLCC: correlation over images of the mean prediction with the mean rating of the raters asked, its interval over "
        "images. A mean over more raters is easier to predict: where seen and unseen raters per image differ in number, so does this measure.\n"
    )
    for metric, (label, higher) in MEASURES.items():
        rows = [row for row in found if row["metric"] == metric]
        if rows:
            yield f"## {label} ({'higher' if higher else 'lower'} is better)\n"
            counts = [f"{part} ({rows[0][f'n_{part}']} raters)" for part in (SEEN, UNSEEN)]
            if metric == AVERAGE:
                counts = [f"{part} ({rows[0][f'raters_per_image_{part}']:.1f} raters per image)" for part in (SEEN, UNSEEN)]
            yield f"| scorer | N | {' | '.join(counts)} | {SEEN} - {UNSEEN} |"
            yield "|---|---|---|---|---|"
            for row in rows:
                clear = "*" if row["gap_low"] > 0 or row["gap_high"] < 0 else ""
                cells = [_cell(row, SEEN), _cell(row, UNSEEN), _cell(row, GAP, signed=True) + clear]
                yield f"| {row['scorer']} | {row['shots']} | " + " | ".join(cells) + " |"
            yield ""
    if report.dataset.name == "pamela":
        yield from _published(found)


def _published(found: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Unseen raters here, below the held-out raters of the paper."""
    paper = published()["pamela"]
    yield "## Beside the published numbers of held-out raters\n"
    yield f"Published: {paper['source']}. {paper['left_out']}\n"
    yield "| from | scorer | N | " + " | ".join(MEASURES[metric][0] for metric in _THEIRS) + " |"
    yield "|---" * (3 + len(_THEIRS)) + "|"
    for row in (*paper["rows"], paper["average"]):
        yield f"| published | {row['label']} | | " + " | ".join(f"{row[m]:.3f}" if m in row else "" for m in _THEIRS) + " |"
    at: dict[tuple[object, object], dict[object, Mapping[str, object]]] = {}
    for row in found:
        at.setdefault((row["scorer"], row["shots"]), {})[row["metric"]] = row
    for (scorer, shots), by_metric in at.items():
        yield f"| here | {scorer} | {shots} | " + " | ".join(_cell(by_metric[metric], UNSEEN) for metric in _THEIRS) + " |"
    yield ""


def _cell(row: Mapping[str, object], part: str, *, signed: bool = False) -> str:
    value, low, high = (float(row[name]) for name in (part, f"{part}_low", f"{part}_high"))
    if not math.isfinite(value):
        return "-"
    sign = "+" if signed else ""
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
