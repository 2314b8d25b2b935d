"""Tables in the shape of the P-MLLM paper's tables 1, 2, 3 and 5, its numbers beside those measured here.

The paper's numbers lie in `published_results.json`, with their source and with what was left out and why; with them those of the probing
paper, whose table is in `probing_tables.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beholder.errors import BeholderError
from beholder.evaluation import probing_tables
from beholder.evaluation.page import estimate_text
from beholder.evaluation.report import Report, Row

NAME = "tables.md"
_FILE = Path(__file__).with_name("published_results.json")
_MEASURES = (("srocc", "SROCC"), ("plcc", "PLCC"))
_DEFAULT_LAYERS = "3"  # fused by `pmllm` if its name says nothing else
_ALL = "D+T"  # the profile as it is


@dataclass(frozen=True)
class _Ours:
    """One row of a report at N = 0, with what its name says."""

    report: Report
    row: Row
    base: str
    options: dict[str, str]

    def layers(self) -> str:
        return self.options.get("layers", _DEFAULT_LAYERS)

    def profile(self) -> str:
        return self.row.profile or _ALL

    def cells(self) -> list[str]:
        found = self.row.evaluation.estimates
        return [estimate_text(found[metric], spread=self.report.averages_repeats) if metric in found else "-" for metric, _ in _MEASURES]


def published() -> dict[str, Any]:
    """The paper's numbers: source, protocol, left_out, and tables of rows with srocc and plcc as [mean, standard deviation].

    "probing" holds those of the probing paper: rows with [srocc, r2] of para and lapis; "pamela" what is said of that paper's: source, left_out,
    average, and rows with srocc, plcc and pairwise of held-out raters.
    """
    return json.loads(_FILE.read_text(encoding="utf-8"))


def has_tables(report: Report) -> bool:
    """Whether `tables` has anything to show of a report."""
    return 0 in report.shots or probing_tables.belongs(report)


def tables(reports: Report | Sequence[Report]) -> str:
    """Markdown: the tables that belong to the datasets of these reports. On PARA and LAPIS, the paper's numbers stand beside ours.

    Args:
        reports: of the protocol support-100, or with N = 0 among the shots; several of one dataset (scorers measured one by one) share its
            tables.

    Raises:
        BeholderError: none of the reports is like that.
    """
    reports = [report for report in ([reports] if isinstance(reports, Report) else reports) if has_tables(report)]
    if not reports:
        raise BeholderError(
            "the papers' tables are about raters without ratings, or about the protocol support-100: measure with 0 among the shots, or by that"
        )
    lines: list[str] = []
    for name in dict.fromkeys(report.dataset.name for report in reports):
        of_dataset = [report for report in reports if report.dataset.name == name]
        with_support, others = ([report for report in of_dataset if probing_tables.belongs(report) == wanted] for wanted in (True, False))
        lines += [
            *(probing_tables.section(name, with_support, paper=published()["probing"]) if with_support else ()),
            *(_section(name, others) if others else ()),
        ]
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, reports: list[Report]) -> Iterator[str]:
    paper = published()
    known = [table for table in paper["tables"] if table["dataset"] == name]
    ours = [_Ours(report, row, *_parsed(row)) for report in reports for row in report.rows if row.shots == 0]
    yield f"# {name}: personal ratings without any rating known\n"
    if known:
        yield f"Paper: {paper['source']}; its protocol: {paper['protocol']}."
    for line in dict.fromkeys(report.protocol for report in reports):
        yield f"Here: {line}. Correlations are with the ratings as they are in the dataset, on {reports[0].dataset.scale}."
    what = (
        "mean over repeats ± standard deviation over repeats" if all(report.averages_repeats for report in reports) else "mean over raters"
    )
    yield f"Ours: {what} [95 % interval over raters]. The scorers here need not have the paper's language model and encoder.\n"
    for table in known or _same_shape(name):
        rows = list(_rows(table, ours))
        if not known and (not rows or (table.get("by") and len(rows) < 2)):
            continue  # no profile variants, or one number of layers: nothing to compare
        yield f"## {'Table ' + table['number'] + ': ' if known else ''}{table['title']}\n"
        columns = (["paper", "SROCC (paper)", "PLCC (paper)"] if known else []) + ["here", "SROCC", "PLCC"]
        yield "| " + " | ".join(columns) + " |"
        yield "|" + "---|" * len(columns)
        for theirs, found in rows:
            cells = [theirs["label"], *(_published_cell(theirs[metric]) for metric, _ in _MEASURES)] if theirs else ["", "", ""]
            cells = cells if known else []
            yield "| " + " | ".join([*cells, *([found.row.label, *found.cells()] if found else ["", "", ""])]) + " |"
        yield ""
    if known:
        yield f"{paper['left_out']}\n"


def _rows(table: dict[str, Any], ours: list[_Ours]) -> Iterator[tuple[dict[str, Any] | None, _Ours | None]]:
    """The paper's rows, each with ours (one or several, or none), then what only we have."""
    by = table.get("by", "")
    candidates = [found for found in ours if _belongs(found, by, ours)]
    shown: set[int] = set()
    for theirs in table["rows"]:
        matching = [found for found in candidates if _same(theirs, found)]
        shown |= {id(found) for found in matching}
        yield from ((theirs if index == 0 else theirs | {"srocc": None, "plcc": None}, found) for index, found in enumerate(matching))
        if not matching:
            yield theirs, None
    yield from ((None, found) for found in candidates if id(found) not in shown)


def _belongs(found: _Ours, by: str, ours: list[_Ours]) -> bool:
    """Whether a row of ours has a place in a table of scorers, of profiles or of numbers of layers."""
    if by == "profile":
        with_variants = {one.row.control_of for one in ours if one.row.profile}
        return bool(found.row.profile) or (found.row.scorer in with_variants and not _asked_in_full(found.row.scorer, ours))
    if found.row.profile:
        return False
    if by == "layers":
        return found.base == "pmllm" and not found.row.control_of
    return found.layers() == _DEFAULT_LAYERS


def _asked_in_full(scorer: str, ours: list[_Ours]) -> bool:
    """Whether the whole profile has a row of its own, so that the plain scorer would stand there twice."""
    return any(one.row.control_of == scorer and one.row.profile == _ALL for one in ours)


def _same(theirs: dict[str, Any], found: _Ours) -> bool:
    """Whether a row of ours is what a row of the paper is about."""
    if found.row.control_of and not found.row.profile:
        return False
    if found.base != theirs["scorer"]:
        return False
    if "contains" in theirs and not any(theirs["contains"] in value.lower() for value in found.options.values()):
        return False
    if "profile" in theirs and found.profile() != theirs["profile"]:
        return False
    return "layers" not in theirs or found.layers() == theirs["layers"]


def _same_shape(name: str) -> list[dict[str, Any]]:
    """The tables without the paper's rows, for datasets that it does not have."""
    return [
        {"number": "", "title": f"Results on {name}", "rows": []},
        {"number": "", "title": f"Different profiles on {name} (D = demographics, T = Big Five)", "by": "profile", "rows": []},
        {"number": "", "title": f"Number of fused layers on {name}", "by": "layers", "rows": []},
    ]


def _parsed(row: Row) -> tuple[str, dict[str, str]]:
    """Name and options of the scorer; of a control, no name."""
    from beholder.scorers import parse_name

    base, options = parse_name(row.control_of or row.scorer)
    return ("" if row.control_of and not row.profile else base), options


def _published_cell(value: Sequence[float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} ± {value[1]:.3f}"
