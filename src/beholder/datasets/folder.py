"""The folder dataset: how anyone's own ratings come in.

DIR/images/...      any layout below it
DIR/ratings.csv     rater,image,score[,time]       image = path relative to images/
DIR/raters.csv      rater,<profile columns>        optional; unknown columns are kept as free fields
DIR/images.csv      image,group,caption,prompt     optional, each column may be missing; a group never straddles a train/test split;
                                                   other columns with text are metadata (style, category, ...)
DIR/choices.csv     rater,left,right,chosen[,role] optional; role support or query
DIR/dataset.toml    name, scale (low, high, step), licence, citation     optional
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beholder.about import one_line
from beholder.datasets.base import Dataset
from beholder.datasets.images import ImageFolder
from beholder.datasets.table import Table, is_missing, latest_rows, number, read_columns, some
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.ratings import IMAGE_COLUMNS, SCORE_COLUMNS, parse_choice
from beholder.scale import Scale

ROLES = ("", "support", "query")


@dataclass(frozen=True)
class Settings:
    """What dataset.toml says."""

    name: str
    scale: Scale
    licence: str = ""
    citation: str = ""


def read_folder(root: str | os.PathLike, *, name: str | None = None) -> Dataset:
    """Read a folder dataset.

    Tolerated, and said in `notes`: images that are not there (their rows are dropped), two ratings of one image by one rater
    (the latest counts), file names that differ in case only, profile values that make no sense (the field stays empty).

    Args:
        root: the folder.
        name: of the dataset; else that of dataset.toml; else that of the folder.

    Raises:
        BeholderError: a file or column that is needed is missing, a score is not on the scale, a rater has two profiles, ...
    """
    root = Path(root)
    settings = read_settings(root)
    table = ratings_table(root)
    check_filled(table, "rater", *IMAGE_COLUMNS)
    scores = checked_scores(table, scale=settings.scale)
    folder, notes = ImageFolder(images_folder(root)), []

    where = {spelled: folder.find(spelled) for spelled in dict.fromkeys(table.column(*IMAGE_COLUMNS))}
    absent = [spelled for spelled, path in where.items() if path is None]
    if where and len(absent) == len(where):
        raise BeholderError(
            f"none of the {len(where)} images of {table.path} is in {folder.folder} (for example {absent[0]}): "
            "image must be the path relative to it"
        )
    paths = [where[spelled] for spelled in table.column(*IMAGE_COLUMNS)]
    kept = np.array([path is not None for path in paths], dtype=bool)
    if absent:
        notes.append(f"{len(absent)} images are not in {folder.folder.name}/ ({some(absent)}): {int((~kept).sum())} ratings dropped")

    choices = read_choices(root, folder=folder, notes=notes)
    rated_by = table.column("rater")
    raters = sorted({rater for rater, keep in zip(rated_by, kept, strict=True) if keep} | {choice[0] for choice in choices})
    image_ids = sorted({path for path in paths if path is not None} | {path for choice in choices for path in choice[1:3]})
    rater_index = {rater: i for i, rater in enumerate(raters)}
    image_index = {path: i for i, path in enumerate(image_ids)}

    rows = np.flatnonzero(kept)
    rating_rater = np.array([rater_index[rated_by[row]] for row in rows], dtype=np.int64)
    rating_image = np.array([image_index[paths[row]] for row in rows], dtype=np.int64)
    time = table.numbers("time")[rows] if "time" in table.columns else None
    latest = latest_rows(rating_rater, rating_image, time=time)
    if len(latest) < len(rows):
        notes.append(f"{len(rows) - len(latest)} ratings were replaced by a later one of the same rater and image")
    if folder.respelled:
        notes.append(f"{len(folder.respelled)} image names are spelled differently on disk ({some(list(folder.respelled))})")

    profiles = read_profiles(root, notes=notes)
    unknown = [rater for rater in raters if rater not in profiles]
    if profiles and unknown:
        notes.append(f"{len(unknown)} raters have no row in raters.csv ({some(unknown)})")
    groups = read_groups(root, folder=folder, notes=notes)
    captions = read_captions(root, folder=folder)
    prompts, metadata = read_texts(root, folder=folder)
    return Dataset(
        name=name or settings.name,
        scale=settings.scale,
        raters=tuple(raters),
        profiles=tuple(profiles.get(rater, Profile()) for rater in raters),
        images=tuple(folder.folder / path for path in image_ids),
        image_ids=tuple(image_ids),
        groups=tuple(groups.get(path, path) for path in image_ids),
        rating_rater=rating_rater[latest],
        rating_image=rating_image[latest],
        rating_score=scores[rows][latest],
        choice_rater=np.array([rater_index[choice[0]] for choice in choices], dtype=np.int64),
        choice_chosen=np.array([image_index[choice[1]] for choice in choices], dtype=np.int64),
        choice_other=np.array([image_index[choice[2]] for choice in choices], dtype=np.int64),
        choice_role=tuple(choice[3] for choice in choices),
        licence=settings.licence,
        citation=settings.citation,
        notes=tuple(notes),
        captions=tuple(captions.get(path, "") for path in image_ids) if captions else (),
        prompts=tuple(prompts.get(path, "") for path in image_ids) if prompts else (),
        metadata={name: tuple(known.get(path, "") for path in image_ids) for name, known in metadata.items()},
    )


def read_settings(root: Path) -> Settings:
    """What DIR/dataset.toml says; name of the folder and scale 1-5 without it."""
    if not root.is_dir():
        raise BeholderError(f"{root} is not a folder: give the folder that holds ratings.csv and images/ with --root DIR (train: --data DIR)")
    path = root / "dataset.toml"
    if not path.exists():
        return Settings(name=root.resolve().name, scale=Scale())
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BeholderError(f"{path} cannot be read: {error.strerror or error}; mend or remove it") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BeholderError(f"{path} is not valid TOML ({error}): mend or remove it") from None
    values = values.get("dataset", values) if isinstance(values.get("dataset", values), Mapping) else values
    scale = values.get("scale", {})
    try:
        if isinstance(scale, Mapping):
            unknown = set(scale) - {"low", "high", "step"}
            if unknown:
                raise BeholderError(f"scale has no {some(sorted(unknown))}: it has low, high and step")
            parsed = Scale(**scale)
        else:
            parsed = Scale.parse(str(scale))
    except BeholderError as error:
        raise BeholderError(f"{path}: {error}") from None
    return Settings(
        name=str(values.get("name") or root.resolve().name),
        scale=parsed,
        licence=str(values.get("licence", values.get("license", ""))),
        citation=str(values.get("citation", "")),
    )


def ratings_table(root: Path) -> Table:
    """DIR/ratings.csv with its columns checked."""
    path = root / "ratings.csv"
    if not path.is_file():
        raise BeholderError(
            f"{root} has no ratings.csv: a folder dataset needs ratings.csv with columns rater,image,score and a folder images/"
        )
    table = read_columns(path, what="ratings", only={"rater", "time", *IMAGE_COLUMNS, *SCORE_COLUMNS})
    for names in (("rater",), IMAGE_COLUMNS, SCORE_COLUMNS):
        table.column(*names)
    return table


def images_folder(root: Path) -> Path:
    folder = root / "images"
    if not folder.is_dir():
        raise BeholderError(
            f"{root} has no folder images/: put the photographs there, with paths as the column image of ratings.csv gives them"
        )
    return folder


def check_filled(table: Table, *columns: str | Sequence[str]) -> None:
    """Refuse empty cells in `rater` (first name) and in the first of the other names that the table has."""
    for names in (columns[:1], columns[1:]):
        values = table.column(*names)
        if "" in values:
            raise BeholderError(f"{table.path} line {table.lines[values.index('')]}: {names[0]} is empty; fill it in or remove the line")


def checked_scores(table: Table, *, scale: Scale) -> np.ndarray:
    """[n] float64 scores of a ratings table, clipped to the scale (rounding slack only).

    Raises:
        BeholderError: one is not a number or not on the scale; names the first line and how many more there are.
    """
    scores = table.numbers(*SCORE_COLUMNS)
    wrong = off_scale(scores, scale=scale)
    if len(wrong):
        text = table.column(*SCORE_COLUMNS)[wrong[0]]
        more = f" (and {len(wrong) - 1} more lines)" if len(wrong) > 1 else ""
        if np.isfinite(scores[wrong[0]]):
            problem = f"score = {text} is outside the scale {scale}; correct it, or write the right scale into dataset.toml"
        else:
            problem = f"score = {text!r} is not a number; correct it or remove the line"
        raise BeholderError(f"{table.path} line {table.lines[wrong[0]]}: {problem}{more}")
    return np.clip(scores, scale.low, scale.high)


def off_scale(scores: np.ndarray, *, scale: Scale) -> np.ndarray:
    """Indices of the scores that are not finite or not on the scale."""
    slack = 1e-6 * scale.width
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(~(np.isfinite(scores) & (scores >= scale.low - slack) & (scores <= scale.high + slack)))


def read_profiles(root: Path, *, notes: list[str]) -> dict[str, Profile]:
    """Rater -> profile from DIR/raters.csv; empty without that file. Values that make no sense are left out and noted."""
    path = root / "raters.csv"
    if not path.exists():
        return {}
    table = read_columns(path, what="profiles")
    raters = table.column("rater")
    check_filled(table, "rater", "rater")
    first: dict[str, int] = {}
    for row, rater in enumerate(raters):
        if rater in first:
            raise BeholderError(
                f"{path} lines {table.lines[first[rater]]} and {table.lines[row]} both describe rater {rater!r}: keep one line per rater"
            )
        first[rater] = row
    columns = {name: _typed(name, values) for name, values in table.columns.items() if name != "rater"}
    bad: dict[str, list[str]] = {}
    profiles = {
        rater: profile_of({name: values[row] for name, values in columns.items()}, rater=rater, bad=bad) for row, rater in enumerate(raters)
    }
    notes += [f"{name} of {len(cases)} raters is left empty ({some(cases, most=2)})" for name, cases in bad.items()]
    return profiles


def profile_of(values: Mapping[str, Any], *, rater: str, bad: dict[str, list[str]]) -> Profile:
    """A profile of the values that are usable; the others go to `bad` (field -> messages)."""
    try:
        return Profile.from_dict(values)
    except BeholderError:
        usable = {}
        for name, value in values.items():
            try:
                Profile.from_dict({name: value})
                usable[name] = value
            except BeholderError as error:
                bad.setdefault(name, []).append(f"{rater}: {error}")
        return Profile.from_dict(usable)


def _typed(name: str, values: Sequence[str]) -> list[Any]:
    """Cells of a profile column: missing ones None; free columns that hold nothing but numbers become numbers."""
    cells: list[Any] = [None if is_missing(value) else value for value in values]
    try:
        known = not Profile.from_dict({name: 5}).free
    except BeholderError:  # a known field that wants text
        known = True
    numbers = [None if cell is None else number(cell) for cell in cells]
    if known or any(value is not None and not np.isfinite(value) for value in numbers):
        return cells
    return [int(value) if value is not None and value.is_integer() else value for value in numbers]


def read_groups(root: Path, *, folder: ImageFolder, notes: list[str]) -> dict[str, str]:
    """Path on disk -> group from DIR/images.csv; images without a group are left out (each is its own)."""
    path = root / "images.csv"
    if not path.exists():
        return {}
    table = read_columns(path, what="images")
    if "group" not in table.columns:
        if not {"caption", "prompt"} & set(table.columns):
            notes.append("images.csv has no column group: every image is a group of its own")
        return {}
    groups: dict[str, tuple[str, int]] = {}
    for name, group, line in zip(table.column(*IMAGE_COLUMNS), table.columns["group"], table.lines, strict=True):
        found = folder.find(name) if name and group else None
        if found is None:
            continue
        before = groups.setdefault(found, (group, line))
        if before[0] != group:
            raise BeholderError(f"{path} lines {before[1]} and {line}: image {name} is in group {before[0]} and in {group}; keep one")
    return {found: group for found, (group, _) in groups.items()}


def read_captions(root: Path, *, folder: ImageFolder) -> dict[str, str]:
    """Path on disk -> caption from DIR/images.csv; images without one are left out. Of two captions of an image the first counts."""
    path = root / "images.csv"
    if not path.exists():
        return {}
    table = read_columns(path, what="images", only={"caption", *IMAGE_COLUMNS})
    captions: dict[str, str] = {}
    for name, caption in zip(table.column(*IMAGE_COLUMNS), table.columns.get("caption", [""] * len(table)), strict=True):
        found = folder.find(name) if name and caption else None
        if found is not None:
            captions.setdefault(found, " ".join(caption.split()))
    return captions


def read_texts(root: Path, *, folder: ImageFolder) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What DIR/images.csv says beside groups and captions: path on disk -> prompt, and name -> path on disk -> metadata.

    Columns that hold nothing but numbers are no metadata: they are what `beholder probe folder` calls attributes. Of two rows of an
    image the first that says something counts.
    """
    path = root / "images.csv"
    if not path.exists():
        return {}, {}
    table = read_columns(path, what="images")
    found = [folder.find(name) if name else None for name in table.column(*IMAGE_COLUMNS)]
    texts: dict[str, dict[str, str]] = {}
    for name, cells in table.columns.items():
        if name in ("group", "caption", *IMAGE_COLUMNS) or (
            name != "prompt" and all(not cell or np.isfinite(number(cell)) for cell in cells)
        ):
            continue
        known: dict[str, str] = {}
        for image, cell in zip(found, cells, strict=True):
            if image is not None and not is_missing(cell):
                known.setdefault(image, one_line(cell))
        if known:
            texts[name] = known
    return texts.pop("prompt", {}), texts


def read_choices(root: Path, *, folder: ImageFolder, notes: list[str]) -> list[tuple[str, str, str, str]]:
    """(rater, chosen, other, role) of DIR/choices.csv in file order, images as paths on disk."""
    path = root / "choices.csv"
    if not path.exists():
        return []
    table = read_columns(path, what="choices")
    check_filled(table, "rater", "rater")
    roles = table.columns.get("role", [""] * len(table))
    found, dropped = [], 0
    for rater, left, right, chosen, role, line in zip(
        table.column("rater"), table.column("left"), table.column("right"), table.column("chosen"), roles, table.lines, strict=True
    ):
        if role not in ROLES:
            raise BeholderError(f"{path} line {line}: role = {role!r}; write support, query or nothing")
        choice = parse_choice({"left": left, "right": right, "chosen": chosen, "_line": str(line)}, path=path)
        pair = folder.find(choice.chosen), folder.find(choice.other)
        if None in pair or pair[0] == pair[1]:
            dropped += 1
        else:
            found.append((rater, *pair, role))
    if dropped:
        notes.append(f"{dropped} choices dropped: an image of theirs is not in {folder.folder.name}/")
    return found
