"""What is wrong or odd with a dataset's files: every finding at once, where `read` stops at the first that it cannot mend."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.datasets import folder as folders
from beholder.datasets.base import Dataset
from beholder.datasets.images import ImageFolder, image_files
from beholder.datasets.table import Table, latest_rows, read_columns, some
from beholder.errors import BeholderError
from beholder.ratings import IMAGE_COLUMNS, SCORE_COLUMNS
from beholder.scale import Scale

LEVELS = ("error", "warning", "info")
FEW_RATINGS = 12  # of one rater: below, neither support nor query are worth much


@dataclass(frozen=True)
class Finding:
    """One finding.

    Args:
        level: "error" (the dataset cannot be read), "warning" (read, but something is lost or doubtful) or "info".
        message: one sentence.
        lines: the first few line numbers of the file it is about.
        count: how many lines, images or raters it concerns.
    """

    level: str
    message: str
    lines: tuple[int, ...] = ()
    count: int = 1

    def __str__(self) -> str:
        return f"{self.level}: {self.message}"


def check_files(name: str, root: str | os.PathLike) -> list[Finding]:
    """The findings for the files of dataset `name` (as `datasets.READERS` spells it) in `root`, worst first."""
    from beholder.datasets import READERS, read
    from beholder.datasets.published_checks import published_findings

    reader = importlib.import_module(READERS[name].partition(":")[0])
    findings: list[Finding] = []
    dataset: Dataset | None = None
    if hasattr(reader, "LAYOUT"):
        findings, dataset = published_findings(reader, Path(root))
    else:
        if name == "folder":
            findings = _folder_findings(Path(root))
        if not any(finding.level == "error" for finding in findings):
            try:
                dataset = read(name, root)
            except BeholderError as error:
                findings.append(Finding("error", str(error)))
            else:
                if name != "folder":
                    findings += [Finding("warning", note) for note in dataset.notes]
    if dataset is not None:
        findings += dataset_findings(dataset)
        if name == "folder" and _every_image_alone(dataset):
            message = "every image is a group of its own: if there are near-duplicates, name their group in images.csv (image,group)"
            findings.append(Finding("info", message))
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def dataset_findings(dataset: Dataset) -> list[Finding]:
    """What can be said of any dataset once it is read: its size, raters that say nothing, groups."""
    n_rated = len(dataset.used_images)
    n_groups = len({dataset.groups[image] for image in dataset.used_images})
    size = (
        f"{dataset.name}: {len(dataset.raters)} raters, {n_rated} rated images in {n_groups} groups, "
        f"{len(dataset.rating_score)} ratings on {dataset.scale}, {len(dataset.choice_rater)} choices"
    )
    found = [Finding("info", size)]
    counts = np.bincount(dataset.rating_rater, minlength=len(dataset.raters))
    judged = counts + np.bincount(dataset.choice_rater, minlength=len(dataset.raters))
    few = np.flatnonzero(judged < FEW_RATINGS)
    if len(few):
        who = some([f"{dataset.raters[i]}: {judged[i]}" for i in few])
        found.append(Finding("warning", f"{len(few)} raters have fewer than {FEW_RATINGS} ratings ({who})", count=len(few)))
    high, low = np.full(len(counts), -np.inf), np.full(len(counts), np.inf)
    np.maximum.at(high, dataset.rating_rater, dataset.rating_score)
    np.minimum.at(low, dataset.rating_rater, dataset.rating_score)
    constant = np.flatnonzero((high == low) & (counts > 1))
    if len(constant):
        who = some([dataset.raters[i] for i in constant])
        found.append(
            Finding(
                "warning",
                f"{len(constant)} raters gave every image the same score ({who}): no correlation is defined for them",
                count=len(constant),
            )
        )
    if n_rated:
        per_image = np.bincount(dataset.rating_image)[dataset.used_images]
        if np.median(per_image) < 2:
            found.append(Finding("warning", "most images have one rating only: personal r needs images that several raters rated"))
    if n_rated and not _every_image_alone(dataset):
        largest, size = Counter(dataset.groups[image] for image in dataset.used_images).most_common(1)[0]
        if n_groups < 5:
            found.append(Finding("warning", f"there are only {n_groups} image groups: 5 folds by group are not possible"))
        elif size > n_rated / 5:
            found.append(Finding("warning", f"group {largest} holds {size} of {n_rated} images: folds by group will be uneven"))
    return found


def _every_image_alone(dataset: Dataset) -> bool:
    used = dataset.used_images
    return len(used) > 0 and len({dataset.groups[image] for image in used}) == len(used)


def _folder_findings(root: Path) -> list[Finding]:
    """Every finding in the files of a folder dataset, whether or not it can be read."""
    found: list[Finding] = []

    def attempt(step: Callable, *arguments, **options):
        try:
            return step(*arguments, **options)
        except BeholderError as error:
            found.append(Finding("error", str(error)))
            return None

    if not root.is_dir():
        attempt(folders.read_settings, root)
        return found
    settings = attempt(folders.read_settings, root)
    if settings is not None and not (root / "dataset.toml").exists():
        found.append(Finding("info", f"{root} has no dataset.toml: name {settings.name} and scale 1-5 are assumed"))
    images = attempt(folders.images_folder, root)
    table = attempt(folders.ratings_table, root)
    folder = ImageFolder(images) if images is not None else None
    if table is not None:
        found += _rating_findings(table, scale=settings.scale if settings else None)
        if folder is not None:
            found += _image_findings(table, folder=folder)
        found += _rater_findings(root, table=table, attempt=attempt)
    if folder is not None:
        attempt(folders.read_groups, root, folder=folder, notes=[])
        found += _text_findings(*(attempt(folders.read_texts, root, folder=folder) or ({}, {})))
        notes: list[str] = []
        attempt(folders.read_choices, root, folder=folder, notes=notes)
        found += [Finding("warning", note) for note in notes]
    return found


def _rating_findings(table: Table, *, scale: Scale | None) -> list[Finding]:
    found = []
    raters, images = table.column("rater"), table.column(*IMAGE_COLUMNS)
    for what, values in (("rater", raters), ("image", images)):
        found += at_lines("error", table, [i for i, value in enumerate(values) if not value], f"{what} is empty")
    scores = table.numbers(*SCORE_COLUMNS)
    found += at_lines("error", table, np.flatnonzero(~np.isfinite(scores)), "score is not a number")
    if scale is not None:
        finite = np.where(np.isfinite(scores), scores, scale.middle)
        found += at_lines(
            "error", table, folders.off_scale(finite, scale=scale), f"score is outside the scale {scale} (dataset.toml sets the scale)"
        )
        between = np.flatnonzero(steps_between(finite, scale=scale))
        found += at_lines("warning", table, between, f"score lies between the steps of the scale {scale}")
    problem = "the same rater rates the same image again further down; the latest counts"
    found += at_lines("warning", table, not_latest(raters, images), problem)
    return found


def _image_findings(table: Table, *, folder: ImageFolder) -> list[Finding]:
    found = []
    named = [name for name in dict.fromkeys(table.column(*IMAGE_COLUMNS)) if name]
    where: dict[str, str | None] = {}
    for name in named:
        try:
            where[name] = folder.find(name)
        except BeholderError as error:
            found.append(Finding("error", str(error)))
    absent = {name for name, path in where.items() if path is None}
    if absent:
        rows = sum(name in absent for name in table.column(*IMAGE_COLUMNS))
        share = f"{len(absent)} of {len(named)} images of {table.path.name}"
        message = f"{share} are not in {folder.folder} ({some(sorted(absent))}): {rows} ratings are dropped"
        found.append(Finding("error" if len(absent) == len(named) else "warning", message, count=len(absent)))
    if folder.respelled:
        which = some(list(folder.respelled))
        message = f"{len(folder.respelled)} image names are spelled differently on disk ({which}); they are used all the same"
        found.append(Finding("warning", message, count=len(folder.respelled)))
    extra = sorted(set(image_files(folder.folder)) - {path for path in where.values() if path})
    if extra:
        found.append(Finding("info", f"{len(extra)} images in {folder.folder} have no rating ({some(extra)})", count=len(extra)))
    return found + broken_images([path for path in where.values() if path], folder=folder.folder)


def _text_findings(prompts: dict[str, str], metadata: dict[str, dict[str, str]]) -> list[Finding]:
    """What images.csv tells of the images beside groups and captions."""
    columns = [f"{name} ({len(known)} images)" for name, known in ({"prompt": prompts} | metadata).items() if known]
    return [Finding("info", f"images.csv gives prompts or metadata: {', '.join(columns)}")] if columns else []


def _rater_findings(root: Path, *, table: Table, attempt: Callable) -> list[Finding]:
    path = root / "raters.csv"
    if not path.exists():
        return [Finding("info", f"{root} has no raters.csv: nothing is known of the raters but their ratings")]
    notes: list[str] = []
    profiles = attempt(folders.read_profiles, root, notes=notes)
    found = [Finding("warning", f"{path.name}: {note}") for note in notes]
    if profiles is None:
        return found
    raters = set(table.column("rater")) - {""}
    without = sorted(raters - set(profiles))
    if without:
        found.append(
            Finding(
                "warning", f"{len(without)} raters have no row in {path.name} ({some(without)}): their profile is empty", count=len(without)
            )
        )
    silent = sorted(set(profiles) - raters)
    if silent:
        found.append(Finding("info", f"{len(silent)} raters of {path.name} have no rating ({some(silent)})", count=len(silent)))
    listed = read_columns(path, what="profiles")
    empty = [name for name, values in listed.columns.items() if name != "rater" and not any(values)]
    if empty:
        found.append(Finding("warning", f"{path.name}: columns without any value: {some(empty)}", count=len(empty)))
    return found


def at_lines(level: str, table: Table, rows: Sequence[int] | np.ndarray, problem: str) -> list[Finding]:
    if not len(rows):
        return []
    lines = tuple(table.lines[row] for row in rows[:5])
    return [Finding(level, f"{table.path.name} {table.places(rows)}: {problem}", lines=lines, count=len(rows))]


def steps_between(scores: np.ndarray, *, scale: Scale) -> np.ndarray:
    """[n] bool, True where a score lies between the steps of the scale."""
    if not scale.step:
        return np.zeros(len(scores), dtype=bool)
    steps = (scores - scale.low) / scale.step
    return np.abs(steps - np.round(steps)) > 1e-6


def not_latest(raters: Sequence[str], images: Sequence[str]) -> np.ndarray:
    """Indices of the rows whose rater rates the same image again further down."""

    def indices(values: Sequence[str]) -> np.ndarray:
        index: dict[str, int] = {}
        return np.array([index.setdefault(value, len(index)) for value in values], dtype=np.int64)

    latest = latest_rows(indices(raters), indices(images)) if len(raters) else np.zeros(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(raters)), latest)


def broken_images(paths: Iterable[str], *, folder: Path, then: str = "a bench would stop there") -> list[Finding]:
    """One finding if some of the files (paths relative to `folder`) are not images; `then` says what comes of it."""
    broken = [path for path in sorted(set(paths)) if not _has_image_header(folder / path)]
    if not broken:
        return []
    message = f"{len(broken)} files cannot be opened as images ({some(broken)}): {then}"
    return [Finding("warning", message, count=len(broken))]


def _has_image_header(path: Path) -> bool:
    """False if Pillow knows the kind of file by its name but not by its content; kinds it does not know are not judged."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path):
            return True
    except UnidentifiedImageError:
        return path.suffix.lower() not in Image.registered_extensions()
    except Exception:  # a broken file may fail in any way inside its decoder
        return False
