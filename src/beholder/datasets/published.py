"""What the readers of the published datasets share: finding their files, refusing incomplete copies, turning rows into a Dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from beholder.about import one_line
from beholder.datasets.base import Dataset
from beholder.datasets.folder import off_scale, profile_of
from beholder.datasets.images import ImageFolder
from beholder.datasets.sheets import SUFFIXES, read_sheet
from beholder.datasets.table import DELIMITERS, Table, header_of, is_missing, latest_rows, number, read_columns, some
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.scale import Scale


@dataclass(frozen=True)
class Source:
    """One table of a published dataset.

    Args:
        what: what it holds, for messages.
        paths: where it may lie below the dataset's folder, without suffix; the first that is there counts, .csv before .xlsx before .xls.
        columns: the columns it must have, each with its other names, in the spelling of the release.
        optional: further columns to read where there are any.
        needed: False for a table that the release has but that is not read.
        delimiters: what may separate values.
        fallback: encoding where the file is not UTF-8.
    """

    what: str
    paths: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()
    needed: bool = True
    delimiters: str = DELIMITERS
    fallback: str | None = None

    def find(self, base: Path) -> Path | None:
        """The file of this table below `base`; None if there is none."""
        candidates = (base / f"{path}{suffix}" for path in self.paths for suffix in (".csv", *SUFFIXES))
        return next((path for path in candidates if path.is_file()), None)

    def missing(self, base: Path) -> list[str]:
        """One sentence if the file is not there, or one for each column it lacks."""
        path = self.find(base)
        if path is None:
            others = "".join(f" (or {other}.csv)" for other in self.paths[1:])
            return [f"{base} has no {self.paths[0]}.csv{others}, which holds the {self.what}"]
        if path.suffix in SUFFIXES:
            try:
                names: Iterable[str] = read_sheet(path, what=self.what).columns
            except BeholderError as error:
                return [str(error)]
        else:
            names = header_of(path, delimiters=self.delimiters)
        lacking = [spellings for spellings in self.columns if not {name.lower() for name in spellings} & set(names)]
        has = some(list(names), most=30) or "none"
        return [f"{path} has no column {' or '.join(spellings)}: it has {has}" for spellings in lacking]

    def read(self, base: Path) -> Table:
        """The table, with the columns this source names only."""
        path = self.find(base)
        only = {name.lower() for spellings in self.columns for name in spellings} | {name.lower() for name in self.optional}
        if path.suffix in SUFFIXES:
            return read_sheet(path, what=self.what, only=only)
        return read_columns(path, what=self.what, only=only, delimiters=self.delimiters, fallback=self.fallback)


@dataclass(frozen=True)
class Layout:
    """How a published dataset lies on disk.

    Args:
        name: as `datasets.READERS` spells it.
        title: as its makers spell it.
        scale: of the scores.
        sources: name -> table; "ratings" is one of them.
        image_folders: where the images may lie; the first that is there counts.
        where: where to get the dataset, for messages.
        licence, citation: as its makers give them.
    """

    name: str
    title: str
    scale: Scale
    sources: Mapping[str, Source]
    image_folders: tuple[str, ...]
    where: str
    licence: str
    citation: str

    def base(self, root: Path) -> Path:
        """The folder that holds the files: `root`, or a folder in it (archives unpack to PARA/PARA), whichever holds more of them."""
        candidates = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
        return max(candidates, key=self._found)  # the first of equals: root

    def _found(self, base: Path) -> int:
        return sum(source.find(base) is not None for source in self.sources.values()) + (self.images(base) is not None)

    def images(self, base: Path) -> Path | None:
        """The folder of the images; None if there is none."""
        return next((base / name for name in self.image_folders if (base / name).is_dir()), None)

    def problems(self, root: Path) -> list[str]:
        """Every missing file and column, one sentence each; empty if the dataset can be read."""
        if not root.is_dir():
            return [f"{root} is not a folder: give the folder that holds {self.title} with --root DIR (train: --data DIR)"]
        base = self.base(root)
        found = [problem for source in self.sources.values() if source.needed for problem in source.missing(base)]
        if self.images(base) is None:
            others = "".join(f" (or {other}/)" for other in self.image_folders[1:])
            found.append(f"{base} has no folder {self.image_folders[0]}/{others}, which holds the images")
        return [f"{problem}; {self.title}: {self.where}" for problem in found]

    def open(self, root: str | os.PathLike) -> tuple[Path, dict[str, Table]]:
        """The folder of the files and the tables.

        Raises:
            BeholderError: a file or column is missing; names the first and says how to see the others.
        """
        problems = self.problems(Path(root))
        if problems:
            more = f" ({len(problems) - 1} more: beholder data check {self.name} --root DIR)" if len(problems) > 1 else ""
            raise BeholderError(problems[0] + more)
        base = self.base(Path(root))
        return base, {name: source.read(base) for name, source in self.sources.items() if source.needed}


@dataclass
class Rows:
    """A published dataset as its tables give it, before any row is judged.

    Args:
        layout, base: what it is and where it lies.
        table, score: the table of the ratings and the name of its column of scores.
        raters, images: [n_rows] ids of the dataset's own.
        paths: image id -> file; None if it is not there.
        profiles: rater -> profile.
        attributes, attribute_scales: name -> [n_rows] values (nan = not given) and their scale.
        prompts: image id -> the text it was made from, where there is one.
        metadata: name -> image id -> text, where it is known.
        parts: [n_rows] part of the published split; empty if there is none.
        notes: what was noticed so far, where something is lost or doubtful.
        remarks: what is worth saying though it is as it should be.
    """

    layout: Layout
    base: Path
    table: Table
    score: str
    raters: list[str]
    images: list[str]
    paths: dict[str, Path | None]
    profiles: dict[str, Profile]
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    attribute_scales: dict[str, Scale] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add_attribute(self, name: str, column: str, *, scale: Scale) -> None:
        """Read an attribute from a column of the ratings table; values off its scale are left out and noted."""
        values = self.table.numbers(column)
        wrong = off_scale(np.where(np.isfinite(values), values, scale.low), scale=scale)
        if len(wrong):
            self.notes.append(f"{len(wrong)} values of {name} are outside {scale} and left out ({self.table.place(wrong[0])} first)")
            values[wrong] = np.nan
        self.attributes[name] = np.where(np.isfinite(values), values, np.nan)
        self.attribute_scales[name] = scale

    def add_metadata(self, name: str, values: Sequence[str]) -> None:
        """Take metadata of images from a column of the ratings table: of each image the first value that says something."""
        known: dict[str, str] = {}
        for image, value in zip(self.images, values, strict=True):
            if image not in known and not is_missing(value):
                known[image] = one_line(value.replace("_", " "))
        if known:
            self.metadata[name] = known

    def judged(self) -> Judged:
        """Which rows can be used, and why the others cannot."""
        texts, scores = self.table.column(self.score), self.table.numbers(self.score)
        finite = np.isfinite(scores)
        empty = np.array([not rater or not image for rater, image in zip(self.raters, self.images, strict=True)], dtype=bool)
        for row in np.flatnonzero(~finite):
            empty[row] |= is_missing(texts[row])
        return Judged(
            scores=scores,
            empty=np.flatnonzero(empty),
            not_numbers=np.flatnonzero(~finite & ~empty),
            off_scale=off_scale(np.where(finite, scores, self.layout.scale.low), scale=self.layout.scale),
            absent=np.flatnonzero(np.array([self.paths.get(image) is None for image in self.images], dtype=bool) & ~empty),
        )


@dataclass(frozen=True)
class Judged:
    """Scores of all rows, and the indices of those without rater, image or score; no number; off the scale; without image file."""

    scores: np.ndarray
    empty: np.ndarray
    not_numbers: np.ndarray
    off_scale: np.ndarray
    absent: np.ndarray


def assemble(rows: Rows) -> Dataset:
    """The dataset of these rows. Rows without rater, image, score or image file are dropped and noted; of two ratings the latest counts.

    Raises:
        BeholderError: a score is not a number or off the scale, or no image is there.
    """
    layout, table, judged, notes = rows.layout, rows.table, rows.judged(), list(rows.notes)
    wrong = np.union1d(judged.not_numbers, judged.off_scale)
    if len(wrong):
        text = table.column(rows.score)[wrong[0]]
        more = f" (and {len(wrong) - 1} more lines)" if len(wrong) > 1 else ""
        raise BeholderError(
            f"{table.path} {table.place(wrong[0])}: score {text!r} is not on the scale {layout.scale}{more}; is it the published file?"
        )
    absent = sorted({rows.images[row] for row in judged.absent})
    keep = np.ones(len(rows.raters), dtype=bool)
    keep[judged.empty] = keep[judged.absent] = False
    if not keep.any():
        folder = layout.images(rows.base)
        example = f", for example {absent[0]}" if absent else ""
        raise BeholderError(f"none of the images that {table.path} names is in {folder}{example}; {layout.title}: {layout.where}")
    if len(judged.empty):
        notes.append(f"{len(judged.empty)} rows without rater, image or score are dropped ({table.place(judged.empty[0])} first)")
    if absent:
        notes.append(f"{len(absent)} images are not there ({some(absent)}): {len(judged.absent)} ratings dropped")

    kept = np.flatnonzero(keep)
    raters, rating_rater = _indexed([rows.raters[row] for row in kept])
    images, rating_image = _indexed([rows.images[row] for row in kept])
    latest = latest_rows(rating_rater, rating_image)
    if len(latest) < len(kept):
        notes.append(f"{len(kept) - len(latest)} ratings were replaced by a later one of the same rater and image")
    unknown = [rater for rater in raters if rater not in rows.profiles]
    if rows.profiles and unknown:
        notes.append(f"{len(unknown)} raters have no profile ({some(unknown)})")
    captions = read_captions(rows.base)
    used = kept[latest]
    return Dataset(
        name=layout.name,
        scale=layout.scale,
        raters=tuple(raters),
        profiles=tuple(rows.profiles.get(rater, Profile()) for rater in raters),
        images=tuple(rows.paths[image] for image in images),
        image_ids=tuple(images),
        groups=tuple(images),
        rating_rater=rating_rater[latest],
        rating_image=rating_image[latest],
        rating_score=np.clip(judged.scores[used], layout.scale.low, layout.scale.high),
        licence=layout.licence,
        citation=layout.citation,
        notes=(*notes, *rows.remarks),
        attributes={name: values[used] for name, values in rows.attributes.items()},
        attribute_scales=rows.attribute_scales,
        captions=tuple(captions.get(image, "") for image in images) if captions else (),
        prompts=tuple(rows.prompts.get(image, "") for image in images) if rows.prompts else (),
        metadata={name: tuple(known.get(image, "") for image in images) for name, known in rows.metadata.items()},
        parts=tuple(rows.parts[row] for row in used) if rows.parts else (),
    )


def _indexed(values: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The different values in order, and [n] the index of each."""
    ordered = sorted(set(values))
    index = {value: i for i, value in enumerate(ordered)}
    return ordered, np.array([index[value] for value in values], dtype=np.int64)


def read_captions(base: Path) -> dict[str, str]:
    """Image id -> caption from captions.csv (image,caption), which no release has but anyone may add; empty without it."""
    path = base / "captions.csv"
    if not path.is_file():
        return {}
    table = read_columns(path, what="captions", only={"image", "caption"})
    pairs = zip(table.column("image"), table.column("caption"), strict=True)
    return {image: " ".join(caption.split()) for image, caption in pairs if image and caption}


def profiles_of(
    raters: Sequence[str], rows: Iterable[int], *, values: Callable[[int], Mapping[str, Any]], notes: list[str]
) -> dict[str, Profile]:
    """Rater -> profile, from the first of the rows of each; values that make no sense are left out and noted.

    Args:
        raters: [n_rows] ids.
        rows: indices to look at, in order.
        values: row -> profile fields, None where unknown.
        notes: gets one sentence for each field with senseless values.
    """
    bad: dict[str, list[str]] = {}
    profiles: dict[str, Profile] = {}
    for row in rows:
        if raters[row] and raters[row] not in profiles:
            profiles[raters[row]] = profile_of(values(row), rater=raters[row], bad=bad)
    notes += [f"{name} of {len(cases)} raters is left empty ({some(cases, most=2)})" for name, cases in bad.items()]
    return profiles


def find_files(folder: Path, wanted: Mapping[str, Sequence[str]]) -> dict[str, Path | None]:
    """Image id -> file, of several relative paths the first that is there; None if none is."""
    files = ImageFolder(folder)

    def first(names: Sequence[str]) -> Path | None:
        found = next((found for name in names if (found := files.find(name)) is not None), None)
        return None if found is None else folder / found

    return {image: first(names) for image, names in wanted.items()}


def text(value: str) -> str | None:
    """A cell, None if it says that nothing is known."""
    return None if is_missing(value) else value


def plain_ids(values: Sequence[str]) -> list[str]:
    """Ids as text; "1411.0", as spreadsheets write whole numbers, becomes "1411", and a missing one ""."""
    spelled = {value: "" if is_missing(value) else re.sub(r"^(\d+)\.0$", r"\1", value) for value in set(values)}
    return [spelled[value] for value in values]


def code(value: str) -> int | None:
    """The whole number a cell says ("2", "2.0"), else None."""
    parsed = number(value)
    return int(parsed) if parsed.is_integer() else None
