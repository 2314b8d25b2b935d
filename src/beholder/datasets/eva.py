"""EVA (Kang, Valenzise & Dufaux, ATQAM/MAST 2020): photographs from AVA, 0 to 10 votes with attributes, raters with demographics.

data/votes_filtered.csv       image_id=user_id=score=difficulty=visual=composition=quality=semantic=...   "=" stands between the values
data/votes.csv                all votes; read where the filtered ones are not there
data/users.csv                id=age=region=photographic_level_id=gender_id=eyecheck (region was once called country)
data/region_index.csv         code=name, without a header
images/EVA_together/71.jpg    from the seven parts of EVA_together.zip; any folder below images/ will do

Readings: age is a year of birth, and 2020, the year of publication, less it gives the age; photographic level none and beginner ->
beginner, amateur -> competent, professional -> expert; semantic is read as content; visual (light and colour in one) and quality are
not read, as no question asks for them. An image is a group of its own: the six content categories are too coarse.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from beholder.datasets.base import Dataset
from beholder.datasets.images import image_files
from beholder.datasets.published import Layout, Rows, Source, assemble, code, plain_ids, profiles_of, text
from beholder.datasets.table import DELIMITERS, Table
from beholder.profile import Profile
from beholder.scale import Scale

YEAR = 2020
EXPERIENCE = {0: "beginner", 1: "beginner", 2: "competent", 3: "expert"}
GENDER = {1: "male", 2: "female"}
ATTRIBUTES = {"composition": "composition", "content": "semantic"}
ATTRIBUTE_SCALE = Scale(low=1, high=4, step=1)
LAYOUT = Layout(
    name="eva",
    title="EVA",
    scale=Scale(low=0, high=10, step=1),
    sources={
        "ratings": Source(
            what="votes of EVA",
            paths=("data/votes_filtered", "data/votes"),
            columns=(("image_id",), ("user_id",), ("score",), *((column,) for column in ATTRIBUTES.values())),
            delimiters=DELIMITERS + "=",
        ),
        "profiles": Source(
            what="profiles of the raters",
            paths=("data/users",),
            columns=(("id",), ("age",), ("region", "country"), ("photographic_level_id",), ("gender_id",), ("eyecheck",)),
            delimiters=DELIMITERS + "=",
        ),
        "regions": Source(what="names of the regions", paths=("data/region_index",), needed=False),
    },
    image_folders=("images", "EVA_together"),
    where="get it from https://github.com/kang-gnak/eva-dataset and join the seven parts of EVA_together.zip before unpacking",
    licence="annotations CC0 1.0; the photographs belong to their photographers",
    citation="Kang, Valenzise & Dufaux (2020), EVA: An Explainable Visual Aesthetics Dataset, ATQAM/MAST'20",
)


def read_eva(root: str | os.PathLike) -> Dataset:
    """Read EVA.

    Args:
        root: the folder that holds data/ and images/, or the one above it.

    Raises:
        BeholderError: a file or column is missing, no image is there, or a score is not on 0-10.
    """
    return assemble(open_rows(root))


def open_rows(root: str | os.PathLike) -> Rows:
    """EVA as its tables give it."""
    base, tables = LAYOUT.open(root)
    votes, notes = tables["ratings"], []
    if votes.path.stem == "votes":
        notes.append("data/votes_filtered.csv is not there: all votes are read, with those that its makers left out")
    folder = LAYOUT.images(base)
    stems: dict[str, Path] = {}
    for path in image_files(folder):
        stems.setdefault(Path(path).stem, folder / path)
    images = plain_ids(votes.column("image_id"))
    rows = Rows(
        layout=LAYOUT,
        base=base,
        table=votes,
        score="score",
        raters=plain_ids(votes.column("user_id")),
        images=images,
        paths={image: stems.get(image) for image in set(images)},
        profiles=_profiles(tables["profiles"], regions=_regions(base), notes=notes),
        notes=notes,
    )
    for name, column in ATTRIBUTES.items():
        rows.add_attribute(name, column, scale=ATTRIBUTE_SCALE)
    return rows


def _regions(base: Path) -> dict[int, str]:
    """Code -> name; empty without data/region_index.csv."""
    path = LAYOUT.sources["regions"].find(base)
    if path is None:
        return {}
    pairs = [line.partition("=")[::2] for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    return {number: name.strip() for given, name in pairs if (number := code(given.strip())) is not None}


def _profiles(table: Table, *, regions: dict[int, str], notes: list[str]) -> dict[str, Profile]:
    def values(row: int) -> dict[str, Any]:
        def cell(*names: str) -> int | None:
            return code(table.column(*names)[row])

        born, seen = cell("age"), text(table.column("eyecheck")[row])
        return {
            "age": None if born is None else YEAR - born,
            "gender": GENDER.get(cell("gender_id")),
            "nationality": regions.get(cell("region", "country")),
            "photography_experience": EXPERIENCE.get(cell("photographic_level_id")),
            "colour_blindness": None if seen is None else ("Yes" if "2" in seen else "No"),
        }

    return profiles_of(plain_ids(table.column("id")), range(len(table)), values=values, notes=notes)
