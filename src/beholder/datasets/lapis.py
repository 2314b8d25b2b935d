"""LAPIS (Maerten et al., CVPR workshops 2025): paintings, 0 to 100 scores of about 550 raters with demographics and interest in art.

Two public layouts are read, known by the name of their table:
(a) annotation/LAPIS_PIAA.csv: participant_id, image_id, image_filename, rating, age, nationality, demo_*, "Art Interest VAIAK"
(b) annotation/LAPIS_individualratings_metaANDdemodata.csv: image_filename or file (with the art type's folder), response, ...,
    VAIAK1 to VAIAK7, 2VAIAK1 to 2VAIAK4
images/<file name>            in both; images/<art type>/<file name> is taken, too
annotation/LAPIS_GIAA_{Train,Val,Test}split.csv   with (a), optional: image_filename, 4_styles

Readings: interest in art = mean of the 11 VAIAK items (0 to 6; layout a gives that mean), moved linearly to the profile's 1 to 10:
1 + 1.5 x mean. "other/would prefer not to disclose" says nothing of the gender and leaves it empty. Nationalities get capitals. Style
(layout a: 4_styles of the optional tables) and genre are metadata, blanks for underscores. An image is a group of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from beholder.datasets.base import Dataset
from beholder.datasets.published import Layout, Rows, Source, assemble, find_files, plain_ids, profiles_of, text
from beholder.datasets.table import Table, read_columns
from beholder.profile import Profile
from beholder.scale import Scale

VAIAK = tuple(f"VAIAK{i}" for i in range(1, 8)) + tuple(f"2VAIAK{i}" for i in range(1, 5))
VAIAK_SCALE = Scale(low=0, high=6, step=1)
INTEREST_SCALE = Scale(low=1, high=10, step=1)
METADATA = ("style", "genre")
STYLES = tuple(f"annotation/LAPIS_GIAA_{part}split.csv" for part in ("Train", "Val", "Test"))
UNDISCLOSED = "other/would prefer not to disclose"
LAYOUT = Layout(
    name="lapis",
    title="LAPIS",
    scale=Scale(low=0, high=100, step=1),
    sources={
        "ratings": Source(
            what="ratings of LAPIS",
            paths=(
                "annotation/LAPIS_PIAA",
                "annotation/LAPIS_individualratings_metaANDdemodata",
                "annotation/Dataset_individualratings_metadata",
            ),
            columns=(
                *(("participant_id",), ("image_filename", "file"), ("rating", "response")),
                *(("age",), ("nationality",), ("demo_gender",), ("demo_edu",), ("demo_colorblind",)),
                ("Art Interest VAIAK", VAIAK[0]),
            ),
            optional=(*VAIAK, *METADATA),
            fallback="latin-1",  # names of artists, in releases that are not UTF-8
        ),
    },
    image_folders=("images", "datasetImages_originalSize"),
    where="ask for it at https://sites.google.com/view/lapisdataset",
    licence="on request, for research; images and annotations must not be passed on",
    citation=(
        "Maerten, Chen, De Winter, Bossens & Wagemans (2025), LAPIS: a novel dataset for personalized image aesthetic assessment, "
        "CVPR Workshops"
    ),
)


def read_lapis(root: str | os.PathLike) -> Dataset:
    """Read LAPIS in either layout.

    Args:
        root: the folder that holds annotation/ and images/, or the one above it.

    Raises:
        BeholderError: a file or column is missing, no image is there, or a score is not on 0-100.
    """
    return assemble(open_rows(root))


def open_rows(root: str | os.PathLike) -> Rows:
    """LAPIS as its table gives it."""
    base, tables = LAYOUT.open(root)
    ratings, notes = tables["ratings"], []
    given = [value.replace("\\", "/") for value in ratings.column("image_filename", "file")]
    parts = {value: PurePosixPath(value).parts for value in dict.fromkeys(given)}
    wanted = {path[-1]: [path[-1], "/".join(path[-2:])] for path in parts.values() if path}
    raters = plain_ids(ratings.column("participant_id"))
    rows = Rows(
        layout=LAYOUT,
        base=base,
        table=ratings,
        score="rating" if "rating" in ratings.columns else "response",
        raters=raters,
        images=[parts[value][-1] if parts[value] else "" for value in given],
        paths=find_files(LAYOUT.images(base), wanted),
        profiles=_profiles(ratings, raters=raters, notes=notes),
        notes=notes,
    )
    for name in METADATA:
        if name in ratings.columns:
            rows.add_metadata(name, ratings.columns[name])
    if "style" not in ratings.columns:
        styles = _styles(base)
        rows.add_metadata("style", [styles.get(image, "") for image in rows.images])
    return rows


def _styles(base: Path) -> dict[str, str]:
    """Image -> style, from the tables of averages that come with layout a; empty without them."""
    found: dict[str, str] = {}
    for path in (base / name for name in STYLES if (base / name).is_file()):
        table = read_columns(path, what="styles", only={"image_filename", "4_styles"}, fallback="latin-1")
        if {"image_filename", "4_styles"} <= set(table.columns):
            found |= {
                PurePosixPath(image).name: style
                for image, style in zip(*(table.columns[c] for c in ("image_filename", "4_styles")), strict=True)
            }
    return found


def _profiles(table: Table, *, raters: list[str], notes: list[str]) -> dict[str, Profile]:
    first = {rater: row for row, rater in reversed(list(enumerate(raters))) if rater}
    profiles = profiles_of(raters, sorted(first.values()), values=lambda row: _values(table, row), notes=notes)
    return {rater: profile for rater, profile in profiles.items() if profile}  # some skipped the questionnaire


def _values(table: Table, row: int) -> Mapping[str, Any]:
    cells = {name: text(table.columns[name][row]) for name in ("age", "nationality", "demo_gender", "demo_edu", "demo_colorblind")}
    return {
        "age": cells["age"],
        "gender": None if cells["demo_gender"] == UNDISCLOSED else cells["demo_gender"],
        "education": cells["demo_edu"],
        "nationality": cells["nationality"].title() if cells["nationality"] else None,
        "art_interest": _interest(table, row),
        "colour_blindness": cells["demo_colorblind"],
    }


def _interest(table: Table, row: int) -> float | str | None:
    """Interest in art on 1 to 10; the text itself where it is no number on 0 to 6, for the message."""
    columns = ["art interest vaiak"] if "art interest vaiak" in table.columns else [name.lower() for name in VAIAK]
    cells = [cell for name in columns if name in table.columns and (cell := text(table.columns[name][row])) is not None]
    if not cells:
        return None
    try:
        items = np.array([float(cell) for cell in cells])
    except ValueError:
        return cells[0]
    if not all(VAIAK_SCALE.contains(item) for item in items):
        return f"{cells[0]} (VAIAK goes from 0 to 6)" if len(cells) == 1 else f"{', '.join(cells)} (VAIAK items go from 0 to 6)"
    return round(float(VAIAK_SCALE.convert(items.mean(), to=INTEREST_SCALE)), 2)
