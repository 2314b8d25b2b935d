"""What is wrong or odd with the files of a published dataset: every missing file, column and image, every row that cannot be used."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

from beholder.datasets.base import Dataset
from beholder.datasets.checks import Finding, at_lines, broken_images, not_latest, steps_between
from beholder.datasets.images import image_files
from beholder.datasets.published import Rows, assemble
from beholder.datasets.table import some
from beholder.errors import BeholderError


def published_findings(reader: ModuleType, root: Path) -> tuple[list[Finding], Dataset | None]:
    """The findings, and the dataset if it can be read.

    Args:
        reader: a module with LAYOUT and `open_rows`.
        root: the folder.
    """
    layout = reader.LAYOUT
    found = [Finding("error", problem) for problem in layout.problems(root)]
    if root.is_dir():
        base = layout.base(root)
        spare = [source for source in layout.sources.values() if not source.needed and source.find(base) is None]
        found += [Finding("info", f"{base} has no {source.paths[0]}.csv, which holds the {source.what}") for source in spare]
    if any(finding.level == "error" for finding in found):
        return found, None
    try:
        rows = reader.open_rows(root)
    except BeholderError as error:
        return [*found, Finding("error", str(error))], None
    found += [Finding("warning", note) for note in rows.notes] + [Finding("info", remark) for remark in rows.remarks]
    found += _row_findings(rows) + _image_findings(rows) + _profile_findings(rows)
    try:
        return found, assemble(rows)
    except BeholderError as error:
        if not any(finding.level == "error" for finding in found):
            found.append(Finding("error", str(error)))
        return found, None


def _row_findings(rows: Rows) -> list[Finding]:
    table, scale, judged = rows.table, rows.layout.scale, rows.judged()
    usable = np.isfinite(judged.scores)
    usable[judged.off_scale] = False
    between = np.flatnonzero(usable & steps_between(np.where(usable, judged.scores, scale.low), scale=scale))
    twice = "the same rater rates the same image again further down; the latest counts"
    return [
        *at_lines("error", table, judged.not_numbers, "score is not a number"),
        *at_lines("error", table, judged.off_scale, f"score is outside the scale {scale}"),
        *at_lines("warning", table, judged.empty, "rater, image or score is empty; the row is dropped"),
        *at_lines("warning", table, between, f"score lies between the steps of the scale {scale}"),
        *at_lines("warning", table, not_latest(rows.raters, rows.images), twice),
    ]


def _image_findings(rows: Rows) -> list[Finding]:
    folder = rows.layout.images(rows.base)
    there = {image: path for image, path in rows.paths.items() if path is not None}
    absent = sorted(set(rows.paths) - set(there))
    found = []
    if absent:
        lost = len(rows.judged().absent)
        message = f"{len(absent)} of {len(rows.paths)} images are not in {folder} ({some(absent)}): {lost} ratings are dropped"
        found.append(Finding("warning" if there else "error", message, count=len(absent)))
    used = set(there.values())
    extra = [name for name in image_files(folder) if folder / name not in used]
    if extra:
        found.append(Finding("info", f"{len(extra)} images in {folder} have no rating ({some(extra)})", count=len(extra)))
    return found + broken_images([path.relative_to(folder).as_posix() for path in used], folder=folder)


def _profile_findings(rows: Rows) -> list[Finding]:
    if not rows.profiles:
        return [Finding("info", f"{rows.layout.title} tells nothing of its raters but their ratings")]
    raters = set(rows.raters) - {""}
    found = []
    without, silent = sorted(raters - set(rows.profiles)), sorted(set(rows.profiles) - raters)
    if without:
        found.append(Finding("warning", f"{len(without)} raters have no profile ({some(without)})", count=len(without)))
    if silent:
        found.append(Finding("info", f"{len(silent)} raters with a profile have no rating ({some(silent)})", count=len(silent)))
    return found
