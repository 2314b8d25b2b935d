"""Everything a bench writes beside its report: gaps between seen and unseen raters, tie margins, neighbours, diverging pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from beholder.errors import BeholderError, MissingExtra
from beholder.evaluation import diverging, diverging_page, neighbours, seen_unseen_tables, tie_margins
from beholder.evaluation.report import Report

SHOWN = 12


def write(
    report: Report, out: str | os.PathLike, *, show: int = SHOWN, gaps: Sequence[Mapping[str, object]] | None = None
) -> tuple[list[Path], list[str]]:
    """Write what applies to a report into `out`.

    seen-unseen.* where the protocol tells seen raters from unseen ones; tie-margins.csv and .png; neighbours.md and .png where scorers differ in
    k only; diverging.html and .csv.

    Args:
        show: diverging pairs on the page at most; 0: no page.
        gaps: `seen_unseen_tables.records(report)`, if they are at hand.

    Returns:
        The paths written, and what is to be said besides, one sentence each.

    Raises:
        BeholderError: `out` cannot be written, or `show` is negative.
    """
    out, paths, remarks = Path(out), [], []
    if show < 0:
        raise BeholderError(f"{show} diverging pairs cannot be shown: write 0 for none, or a positive number")
    pictures = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        if seen_unseen_tables.applies(report):
            paths += seen_unseen_tables.write(report, out, gaps)
        if any(len(asked.row) and (asked.row >= 0).any() for asked in report.asked):
            margins = tie_margins.records(report)
            paths.append(tie_margins.write(margins, out))
            pictures.append((tie_margins.picture, margins))
            if show:
                found = diverging.diverging(report, show=show)
                paths += [diverging_page.write(report, found, out), diverging.write_shown(report, found, out)]
                remarks.append(diverging_page.summary(found))
        points = neighbours.grid(report)
        if points:
            paths.append(neighbours.write(points, out))
            pictures.append((neighbours.picture, points))
    except OSError as error:
        raise BeholderError(f"{out} cannot be written: {error.strerror or error}; choose another place with --out") from None
    try:
        paths += [picture(found, out, title=report.protocol) for picture, found in pictures]
    except MissingExtra as missing:
        remarks.append(f"no tie-margins.png: {missing}")
    return paths, remarks
