"""PAMELA (Maerten, Verwiebe, Karthik, Prabhu, Wagemans & Bethge 2026, arXiv 2604.07427): generated images, 1 to 5 scores of 199 raters.

annotations/pamela_train.json, pamela_val_seen, _val_unseen, _test_seen, _test_unseen   lists with one entry for each rater and image:
    participant_id, image_id, image_path, original_score, image_metadata {group, style, type, ...}, the prompt, and demographics
images/*.png

What the entries call the prompt and the demographics is not documented, so several spellings are read (case and underscores do not
matter; `pamela_fields` lists them), also from inner objects and from lines of JSON (.jsonl). A release without a field that
is needed is refused with the keys it has.

Readings (ours): the file an entry stands in is its part; of two ratings of an image by one rater the later counts, and the files are read
in the order of `PARTS`, so that a test rating is never learned from. Numbers in image_metadata (sizes, seeds, averages of ratings) are not
read. An image is a group of its own: "group" is one of 21 themes, far too coarse for splits, and no two images are said to be variants of
each other; images of one prompt share that text and nothing else that is published.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from beholder.datasets.base import Dataset
from beholder.datasets.pamela_fields import NEEDED, PATHS, PROMPTS, of_image, of_rater, plain, text_of
from beholder.datasets.published import Layout, Rows, Source, assemble, find_files, plain_ids, profiles_of
from beholder.datasets.table import Table, some
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.scale import Scale

PARTS = ("train", "val_seen", "val_unseen", "test_seen", "test_unseen")
FOLDERS = ("annotations", "annotation", ".")
SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True)
class Entries(Table):
    """The entries of all files in one table. columns: rater, image, path, score, part; `origin` says which file each is from."""

    origin: list[str] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def place(self, row: int) -> str:
        return f"{self.origin[row]} entry {self.lines[row]}"

    def places(self, rows: Sequence[int]) -> str:
        shown = some([self.place(row) for row in rows[:3]], most=3)
        return shown if len(rows) == 1 else f"{len(rows)} entries ({shown}{', ...' if len(rows) > 3 else ''})"


@dataclass(frozen=True)
class Annotations(Source):
    """The annotation files as one source."""

    def find(self, base: Path) -> Path | None:
        """The folder that holds them."""
        return next((base / folder for folder in FOLDERS if _files(base / folder)), None)

    def missing(self, base: Path) -> list[str]:
        """One sentence if there are none, one for each that cannot be read, and one for each needed field that none of a file's entries has."""
        folder = self.find(base)
        if folder is None:
            return [f"{base} has no annotations/pamela_train.json (or another part: {', '.join(PARTS[1:])}), which holds the {self.what}"]
        found = []
        for path in _files(folder).values():
            try:
                entries = _entries(path)
            except BeholderError as error:
                found.append(str(error))
                continue
            keys: dict[str, None] = {}
            for entry in entries:
                keys.update(dict.fromkeys(_keys(entry)))
            spelled = {plain(key) for key in keys}
            lacking = [what for what, spellings in NEEDED.items() if not spelled & set(spellings)]
            found += [
                f"{path} has no field for the {what} ({', '.join(NEEDED[what][:3])}): it has {some(list(keys), most=30)}"
                for what in lacking
            ]
        return found

    def read(self, base: Path) -> Entries:
        folder = self.find(base)
        columns: dict[str, list[str]] = {name: [] for name in ("rater", "image", "path", "score", "part")}
        lines, origin, kept = [], [], []
        for part, path in _files(folder).items():
            entries = _entries(path)
            tops = [{plain(key): value for key, value in entry.items() if not isinstance(value, Mapping)} for entry in entries]
            # the same field in all of a file: another one, where that is empty, may be on another scale
            score = next((key for key in NEEDED["score"] if any(text_of(top.get(key)) for top in tops)), "")
            fields = NEEDED | {"path": PATHS, "score": (score,)}
            for line, (entry, top) in enumerate(zip(entries, tops, strict=True), start=1):
                for name, spellings in fields.items():
                    columns[name].append(next((text_of(top[key]) for key in spellings if text_of(top.get(key))), ""))
                columns["part"].append(part)
                lines.append(line)
                origin.append(path.name)
                kept.append(entry)
        return Entries(folder, columns, lines, origin=origin, entries=kept)


LAYOUT = Layout(
    name="pamela",
    title="PAMELA",
    scale=Scale(low=1, high=5, step=0),
    sources={"ratings": Annotations(what="ratings of PAMELA", paths=("annotations/pamela_train",))},
    image_folders=("images",),
    where="get it from https://huggingface.co/datasets/bethgelab/PAMELA and unpack it",
    licence="CC BY 4.0",
    citation=(
        "Maerten, Verwiebe, Karthik, Prabhu, Wagemans & Bethge (2026), Personalizing Text-to-Image Generation to Individual Taste, arXiv:2604.07427"
    ),
)


def read_pamela(root: str | os.PathLike) -> Dataset:
    """Read PAMELA, with the prompts, the metadata and the part of the published split that each rating belongs to.

    Args:
        root: the folder that holds annotations/ and images/, or the one above it.

    Raises:
        BeholderError: a file or field is missing, a file is no JSON, no image is there, or a score is not on 1-5.
    """
    return assemble(open_rows(root))


def open_rows(root: str | os.PathLike) -> Rows:
    """PAMELA as its files give it."""
    base, tables = LAYOUT.open(root)
    table, notes, remarks = tables["ratings"], [], []
    images, wanted = _images(table, notes=notes)
    raters = plain_ids(table.column("rater"))
    rows = Rows(
        layout=LAYOUT,
        base=base,
        table=table,
        score="score",
        raters=raters,
        images=images,
        paths=find_files(LAYOUT.images(base), wanted),
        profiles=_profiles(table.entries, raters=raters, notes=notes),
        parts=table.column("part"),
        notes=notes,
        remarks=remarks,
    )
    _describe(rows, table.entries)
    _say_what_is_odd(rows)
    return rows


def _files(folder: Path) -> dict[str, Path]:
    """Part -> file, in the order of `PARTS`; .json before .jsonl."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        stem = re.sub(r"[\s\-]+", "_", path.stem.lower()).removeprefix("pamela_").replace("validation", "val")
        if path.suffix.lower() in SUFFIXES and stem in PARTS and path.is_file():
            found.setdefault(stem, path)
    return {part: found[part] for part in PARTS if part in found}


def _entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a file: a list of objects, an object that holds one such list, or lines with an object each."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            values = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            values = json.loads(text)
    except OSError as error:
        raise BeholderError(f"{path} cannot be read: {error.strerror or error}; unpack the dataset again") from None
    except UnicodeDecodeError:
        raise BeholderError(f"{path} is not UTF-8 text: unpack the dataset again") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise BeholderError(f"{path} is not valid JSON ({error}): unpack the dataset again") from None
    if isinstance(values, Mapping):
        lists = [value for value in values.values() if isinstance(value, list)]
        values = lists[0] if len(lists) == 1 else None
    if not isinstance(values, list) or not all(isinstance(entry, Mapping) for entry in values):
        raise BeholderError(f"{path} holds no list of objects with one rating each: is it the published file?")
    if not values:
        raise BeholderError(f"{path} holds no rating: is it the published file?")
    return values


def _images(table: Entries, *, notes: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """[n_rows] image ids, and for each the relative paths to look for. Ids that stand for several files give way to the paths."""
    paths = [_below(path) for path in table.column("path")]
    ids = [_below(image) if "/" in image else image for image in plain_ids(table.column("image"))]
    files: dict[str, set[str]] = {}
    for image, path in zip(ids, paths, strict=True):
        files.setdefault(image, set()).add(path)
    several = sorted(image for image, names in files.items() if image and len(names - {""}) > 1)
    if several:
        notes.append(f"{len(several)} image ids stand for several files ({some(several)}): images go by their paths")
        ids = [path or image for image, path in zip(ids, paths, strict=True)]
    wanted: dict[str, list[str]] = {}
    for image, path in zip(ids, paths, strict=True):
        if image and image not in wanted:
            names = (path, PurePosixPath(path).name, f"{image}.png", image)
            wanted[image] = [*dict.fromkeys(filter(None, names))]
    return ids, wanted


def _below(path: str) -> str:
    """A path as it is below images/: what comes before that folder differs between machines."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..")]
    return "/".join(parts[parts.index("images") + 1 :] if "images" in parts else parts)


def _describe(rows: Rows, entries: Sequence[Mapping[str, Any]]) -> None:
    """Prompts and metadata of the images, from the first of their entries; says how many are told differently further down."""
    told: dict[str, dict[str, str]] = {}
    differing: set[str] = set()
    for image, entry in zip(rows.images, entries, strict=True):
        if not image:
            continue
        texts = of_image(entry)
        before = told.setdefault(image, texts)
        if before is not texts:
            differing |= {image for name, text in texts.items() if before.setdefault(name, text) != text}
    for image, texts in told.items():
        for name, text in texts.items():
            (rows.prompts if name == "prompt" else rows.metadata.setdefault(name, {}))[image] = text
    if differing:
        rows.notes.append(
            f"prompt or metadata of {len(differing)} images differ between their entries ({some(sorted(differing))}): the first count"
        )


def _profiles(entries: Sequence[Mapping[str, Any]], *, raters: Sequence[str], notes: list[str]) -> dict[str, Profile]:
    """Rater -> profile; of each field the first value that says something counts. Raters of whom nothing is told have none."""
    raw: dict[str, dict[str, Any]] = {}
    for rater, entry in zip(raters, entries, strict=True):
        known = raw.setdefault(rater, {})
        for name, value in of_rater(entry).items():
            known.setdefault(name, value)
    for name in ("art_interest", "photography_interest"):  # on 1 to 10 as a whole, or on a scale that nobody tells
        given = [known[name] for known in raw.values() if name in known]
        if not all(isinstance(value, int | float) and 1 <= value <= 10 for value in given):
            for known in raw.values():
                if name in known:
                    known[f"{name}_given"] = known.pop(name)
    people = [rater for rater in raw if rater and raw[rater]]
    return profiles_of(people, range(len(people)), values=lambda row: raw[people[row]], notes=notes)


def _say_what_is_odd(rows: Rows) -> None:
    """What is missing, and whether raters of the unseen parts are in the training part."""
    present = set(rows.parts)
    absent = [part for part in PARTS if part not in present]
    if absent:
        rows.notes.append(f"the parts {', '.join(absent)} are not there")
    trained = {rater for rater, part in zip(rows.raters, rows.parts, strict=True) if part == "train"}
    seen = sorted({r for r, part in zip(rows.raters, rows.parts, strict=True) if part.endswith("_unseen") and r in trained} - {""})
    if seen:
        rows.notes.append(f"{len(seen)} raters of the unseen parts are in the training part, too ({some(seen)})")
    keys = some(_keys(rows.table.entries[0]), most=30)
    if not rows.prompts:
        rows.notes.append(f"no entry has a prompt under a known name ({', '.join(PROMPTS[:3])}, ...): they have {keys}")
    if not rows.profiles:
        rows.notes.append(f"no entry has demographics under a known name (age, gender, ...): they have {keys}")
    if not rows.metadata:
        rows.notes.append(f"no entry has metadata of its image under a known name (image_metadata, group, style, ...): they have {keys}")
    n_images = len(set(rows.images) - {""})
    for name, known in ({"prompt": rows.prompts} | rows.metadata).items():
        if 0 < len(known) < n_images:
            rows.remarks.append(f"{n_images - len(known)} of {n_images} images have no {name}")


def _keys(entry: Mapping[str, Any]) -> list[str]:
    """The keys of an entry, with one level of inner ones in braces behind their object."""
    return [f"{key} {{{', '.join(map(str, value))}}}" if isinstance(value, Mapping) else str(key) for key, value in entry.items()]
