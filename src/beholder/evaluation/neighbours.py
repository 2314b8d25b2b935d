"""Runs over a grid: scorers that differ only in `k`, the number of training raters taken as neighbours, against N ratings of the rater."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError
from beholder.evaluation.metrics import METRICS
from beholder.evaluation.rater_values import ALL, RaterValues, Resamples, by_row, values
from beholder.evaluation.report import Report
from beholder.evaluation.resampling import interval
from beholder.evaluation.seen_unseen import UNSEEN
from beholder.evaluation.small_plots import Line, draw

TABLE, PICTURE = "neighbours.md", "neighbours.png"
MEASURES = ("srocc", "pairwise")
_OPTION = "k"


@dataclass(frozen=True)
class Point:
    """One scorer of a grid at one N: the mean over raters with its 95 % interval.

    Args:
        family: the name of the scorer without k.
        raters: "unseen" where the protocol knows some (only for them are neighbours looked for), else "all".
    """

    family: str
    k: int
    shots: int
    metric: str
    raters: str
    value: float
    low: float
    high: float


def families(scorers: Sequence[str]) -> dict[str, dict[int, str]]:
    """Name without k -> k -> name in the report, for scorers that are there with two or more values of k, k ascending.

    A name that gives no k counts with the scorer's usual one.
    """
    from beholder.scorers import parse_name

    found: dict[str, dict[int, str]] = {}
    for name in scorers:
        base, options = parse_name(name)
        k = options.pop(_OPTION, "") or _usual(base)
        if k.isdecimal():
            rest = ",".join(f"{option}={value}" for option, value in sorted(options.items()))
            found.setdefault(f"{base}[{rest}]" if rest else base, {})[int(k)] = name
    return {family: dict(sorted(of_k.items())) for family, of_k in found.items() if len(of_k) > 1}


def _usual(base: str) -> str:
    """The k of a scorer that was given none, "" if it has none."""
    from beholder.scorers import scorer_class

    try:
        options = getattr(scorer_class(base), "Options", None)
    except BeholderError:  # reports may hold scorers of any name
        return ""
    return str(getattr(options, _OPTION, ""))


def grid(report: Report) -> list[Point]:
    """Every point of every grid in a report; [] if no scorers differ in k only."""
    place = {
        name: (family, k) for family, of_k in families([scorer for scorer, _ in report.predictions]).items() for k, name in of_k.items()
    }
    found = []
    for scorer, shots, by_label in by_row(report):
        if scorer in place:
            label = UNSEEN if UNSEEN in by_label else ALL
            for metric in MEASURES:
                per_rater = values(by_label[label], metric, margin=report.margin)
                found.append(Point(*place[scorer], shots, metric, label, per_rater.mean, **_ends(per_rater, draws=report.draws)))
    return sorted(found, key=lambda point: (point.family, MEASURES.index(point.metric), point.k, point.shots))


def write(points: Sequence[Point], out: Path) -> Path:
    """Write neighbours.md: a table per scorer and measure, N down and k across, the best of each line in bold."""
    (out / TABLE).write_text("\n".join(_lines(points)).rstrip() + "\n", encoding="utf-8")
    return out / TABLE


def picture(points: Sequence[Point], out: Path, *, title: str = "") -> Path:
    """Draw neighbours.png: lines over N, one for each k, one panel per scorer and measure.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    panels: dict[str, dict[str, Line]] = {}
    for point in points:
        line = panels.setdefault(f"{METRICS[point.metric][0]}, {point.raters} raters: {point.family}", {}).setdefault(
            f"k = {point.k}", Line()
        )
        line.add(point.shots, point.value, low=point.low, high=point.high)
    return draw(panels, out / PICTURE, x="ratings given by the rater, N", title=title)


def _ends(per_rater: RaterValues, *, draws: int) -> Mapping[str, float]:
    return interval(Resamples(per_rater.rater, per_rater.rater, draws=draws).means(per_rater))


def _lines(points: Sequence[Point]) -> Iterator[str]:
    yield "# Numbers of neighbours (k) and of known ratings (N)\n"
    yield "Mean over raters [95 % interval over raters]; the best k of each N is bold.\n"
    for family, metric in dict.fromkeys((point.family, point.metric) for point in points):
        at = {(point.shots, point.k): point for point in points if (point.family, point.metric) == (family, metric)}
        raters = next(iter(at.values())).raters
        yield f"## {METRICS[metric][0]} of {family}, {raters} raters\n"
        columns = sorted({k for _, k in at})
        yield "| N | " + " | ".join(f"k = {k}" for k in columns) + " |"
        yield "|---" * (1 + len(columns)) + "|"
        for shots in sorted({n for n, _ in at}):
            of_shots = [at[shots, k] for k in columns]
            best = np.nanmax([point.value for point in of_shots]) if any(point.value == point.value for point in of_shots) else None
            cells = [f"{point.value:.3f} [{point.low:.3f}, {point.high:.3f}]" for point in of_shots]
            cells = [f"**{cell}**" if point.value == best else cell for point, cell in zip(of_shots, cells, strict=True)]
            yield f"| {shots} | " + " | ".join(cells) + " |"
        yield ""
