"""The probing paper's table of scorers that know some ratings of a rater: its numbers beside those measured by the protocol support-100."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from beholder.evaluation import support_sets
from beholder.evaluation.page import estimate_text
from beholder.evaluation.report import Report, Row

_MEASURES = (("srocc", "SROCC"), ("r2", "R2"))


@dataclass(frozen=True)
class _Ours:
    """One row of a report: a scorer at one number of shots, or at all of them if it does not look at ratings."""

    report: Report
    row: Row
    shots: tuple[int, ...]

    def cells(self) -> list[str]:
        found = self.row.evaluation.estimates
        values = [estimate_text(found[metric], spread=self.report.averages_repeats) if metric in found else "-" for metric, _ in _MEASURES]
        defined = _number(found["srocc"].defined_only) if "srocc" in found and found["srocc"].n_undefined else ""
        undefined = [str(found[metric].n_undefined) if metric in found else "-" for metric, _ in _MEASURES]
        shots = "any" if len(self.shots) > 1 else str(self.shots[0])
        return [self.row.label, shots, *values, defined, " / ".join(undefined), str(self.row.evaluation.n_dropped)]


def belongs(report: Report) -> bool:
    """Whether a report is of a protocol that this table is about."""
    return report.protocol_name in support_sets.names()


def section(name: str, reports: Sequence[Report], *, paper: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown about the dataset `name`.

    Args:
        reports: of that dataset, see `belongs`.
        paper: source, protocol, left_out, and rows with [srocc, r2] under the names of datasets.
    """
    theirs = [row for row in paper["rows"] if name in row]
    ours = [found for report in reports for found in _rows(report)]
    yield f"# {name}: personal ratings from a few ratings of each rater\n"
    if theirs:
        yield f"Paper: {paper['source']}; its protocol: {paper['protocol']}."
    for line in dict.fromkeys(report.protocol for report in reports):
        yield f"Here: {line}."
    yield (
        "Ours: mean over raters [95 % interval over raters]; an undefined SROCC counts as 0, an undefined R2 does not count. *defined* is the "
        "mean SROCC without undefined ones (where there are some), *undefined* how many raters have no SROCC / no R2, *dropped* how many "
        "predictions are missing. The scorers here need not have the paper's model.\n"
    )
    columns = ["paper", *(f"{label} (paper)" for _, label in _MEASURES)] if theirs else []
    columns += ["here", "N", *(label for _, label in _MEASURES), "defined", "undefined", "dropped"]
    n_ours = len(columns) - (3 if theirs else 0)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    shown: set[int] = set()
    for their in theirs:
        matching = [found for found in ours if _same(their, found)]
        shown |= {id(found) for found in matching}
        cells = [their["label"], *("" if value is None else _number(value) for value in their[name])]
        yield from _lines(
            [cells, *[[their["label"], "", ""]] * (len(matching) - 1)], [found.cells() for found in matching] or [[""] * n_ours]
        )
    rest = [found.cells() for found in ours if id(found) not in shown]
    yield from _lines([["", "", ""] if theirs else []] * len(rest), rest)
    yield ""
    if theirs:
        yield f"{paper['left_out']}\n"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _lines(left: Sequence[list[str]], right: Sequence[list[str]]) -> Iterator[str]:
    yield from ("| " + " | ".join([*ours, *others]) + " |" for ours, others in zip(left, right, strict=True))


def _rows(report: Report) -> list[_Ours]:
    """The rows of a report in its order; those of a scorer that answers the same at every N as one."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in report.rows:
        found.setdefault((row.label, id(row.evaluation)), []).append(row)  # the bench measures the same answers once
    return [_Ours(report, rows[-1], tuple(row.shots for row in rows)) for rows in found.values()]


def _same(their: dict[str, Any], found: _Ours) -> bool:
    """Whether a row of ours is what a row of the paper is about."""
    from beholder.scorers import parse_name, scorer_class, typed_options

    if found.row.control_of:
        return False
    base, options = parse_name(found.row.scorer)
    if base != their["scorer"] or ("shots" in their and their["shots"] not in found.shots):
        return False
    if "options" in their:  # defaults count: a variant of a scorer is not what the paper measured
        chosen = typed_options(scorer_class(base), options)["options"]
        if any(getattr(chosen, option) != value for option, value in their["options"].items()):
            return False
    return "fitted" not in their or their["fitted"] == found.report.fitted
