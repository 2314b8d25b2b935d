"""OASIS-beauty: beauty ratings (1 to 7) of the OASIS photographs, from the two public releases.

Photographs: Kurdi, Lozano & Banaji (2017), the Open Affective Standardized Image Set. Ratings: Brielmann & Pelli (2019), main study in
long format (subjID, item, beauty, age, gender, education, TEPS_ant, TEPS_con, ...) and means_per_image.csv (item, Theme, Category, ...), which
says what an item shows. Image = Theme + ".jpg"; its group is the Theme without the number at its end, its metadata the Category if given.

The files may lie anywhere below the folder and may be called anything: they are known by their columns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beholder.datasets.base import Dataset
from beholder.datasets.folder import off_scale, profile_of
from beholder.datasets.images import image_files
from beholder.datasets.table import Table, header_of, is_missing, latest_rows, number, read_columns, some
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.scale import Scale

SCALE = Scale(low=1, high=7, step=1)
CITATION = (
    "Kurdi, Lozano & Banaji (2017), Introducing the Open Affective Standardized Image Set (OASIS), Behavior Research Methods 49; "
    "Brielmann & Pelli (2019), Intense beauty requires intense pleasure, Frontiers in Psychology 10:2420"
)
LICENCE = "photographs and ratings are released for research; see the two releases"
# A script of the release takes gender 1 for women, but the means it gives per gender show that those with code 1 rate nude women
# 0.5 to 2 points higher, and nude men lower, than those with code 2 do: 1 = male, as in the questionnaire.
GENDER = {1: "male", 2: "female", 3: "other"}
EDUCATION = {1: "grade school", 2: "high school diploma", 3: "some college", 4: "college degree", 5: "graduate degree"}
# Health, mood, politics, income and postcode are in the release too; they are not read.
PROFILE = {"age": "age", "gender": "gender", "education": "education", "teps_ant": "teps_anticipatory", "teps_con": "teps_consummatory"}


def read_oasis(root: str | os.PathLike) -> Dataset:
    """Read OASIS-beauty.

    Args:
        root: a folder that holds, anywhere below it, the main study's CSV, means_per_image.csv and the photographs.

    Raises:
        BeholderError: one of the three is not there, or the scores are not 1 to 7.
    """
    root = Path(root)
    if not root.is_dir():
        raise BeholderError(f"{root} is not a folder: give the folder that holds the two OASIS releases with --root DIR (train: --data DIR)")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() == ".csv" and path.is_file())
    headers = {path: set(header_of(path)) for path in files}
    study = _file(headers, lambda names: {"subjid", "item", "beauty"} <= names and "repetition" not in names)
    if study is None:
        raise BeholderError(
            f"{root} holds no CSV with the columns subjID, item, beauty of the main study (without a column repetition): download it from "
            "the OASIS-beauty release"
        )
    means = _file(headers, lambda names: {"item", "theme"} <= names and "beauty" not in names)
    if means is None:
        raise BeholderError(
            f"{root} holds no CSV with the columns item, Theme (means_per_image.csv): download it from the OASIS-beauty release"
        )

    notes: list[str] = []
    listed = read_columns(means, what="image list", only={"item", "theme", "category"})
    themes = _themes(listed)
    photographs = _photographs(root)
    table = read_columns(study, what="ratings", only={"subjid", "item", "beauty", *PROFILE})
    scores = table.numbers("beauty")
    given = np.isfinite(scores) & (scores > -90)  # the long format has a row for every image; NaN or -99 = not shown
    wrong = off_scale(np.where(given, scores, SCALE.middle), scale=SCALE)
    if len(wrong):
        raise BeholderError(
            f"{study} line {table.lines[wrong[0]]}: beauty = {scores[wrong[0]]:g} is outside the scale {SCALE}; is it the main study?"
        )

    theme_of = {code: themes.get(_code(code)) for code in set(table.column("item"))}
    unnamed = sorted(code for code, theme in theme_of.items() if theme is None)
    if unnamed:
        notes.append(f"{len(unnamed)} items of {study.name} are not in {means.name} ({some(unnamed)}): their ratings are dropped")
    theme_by_row = [theme_of[code] for code in table.column("item")]
    absent = sorted({theme for theme in theme_of.values() if theme is not None and _stem(theme) not in photographs})
    usable = {theme for theme in theme_of.values() if theme is not None} - set(absent)
    if not usable:
        raise BeholderError(f"none of the {len(absent)} images (such as {absent[0]}.jpg) is below {root}: put the OASIS photographs there")
    rows = np.flatnonzero(given & np.array([theme in usable for theme in theme_by_row], dtype=bool))
    if absent:
        dropped = int(given.sum()) - len(rows)
        notes.append(f"{len(absent)} photographs are not there ({some(absent)}): {dropped} ratings dropped")

    subjects = [_code(code) for code in table.column("subjid")]
    raters = sorted({subjects[row] for row in rows}, key=_natural)
    shown = sorted({theme_by_row[row] for row in rows}, key=_natural)
    rater_index = {rater: i for i, rater in enumerate(raters)}
    image_index = {theme: i for i, theme in enumerate(shown)}
    rating_rater = np.array([rater_index[subjects[row]] for row in rows], dtype=np.int64)
    rating_image = np.array([image_index[theme_by_row[row]] for row in rows], dtype=np.int64)
    latest = latest_rows(rating_rater, rating_image)
    if len(latest) < len(rows):
        notes.append(f"{len(rows) - len(latest)} ratings were replaced by a later one of the same rater and image")
    return Dataset(
        name="oasis-beauty",
        scale=SCALE,
        raters=tuple(raters),
        profiles=_profiles(table, subjects=subjects, raters=raters, rows=rows, notes=notes),
        images=tuple(root / photographs[_stem(theme)] for theme in shown),
        image_ids=tuple(f"{theme}.jpg" for theme in shown),
        groups=tuple(re.sub(r"[\s_]*\d+$", "", theme) or theme for theme in shown),
        rating_rater=rating_rater[latest],
        rating_image=rating_image[latest],
        rating_score=scores[rows][latest],
        licence=LICENCE,
        citation=CITATION,
        notes=tuple(notes),
        metadata=_metadata(listed, shown=shown),
    )


def _file(headers: dict[Path, set[str]], wanted: Callable[[set[str]], bool]) -> Path | None:
    """The largest file whose column names are as wanted (a release may come with extracts of itself)."""
    found = [path for path, names in headers.items() if wanted(names)]
    return max(found, key=lambda path: (path.stat().st_size, str(path)), default=None)


def _themes(table: Table) -> dict[str, str]:
    """Item code -> Theme."""
    themes: dict[str, str] = {}
    for code, theme, line in zip(table.column("item"), table.column("theme"), table.lines, strict=True):
        before = themes.setdefault(_code(code), theme)
        if before != theme:
            raise BeholderError(f"{table.path} line {line}: item {code} is {before} and {theme}; keep one line per item")
    return {code: theme for code, theme in themes.items() if theme}


def _metadata(table: Table, *, shown: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The Category of each image, if any is given."""
    known = dict(zip(table.column("theme"), table.columns.get("category", []), strict=False))
    categories = tuple("" if is_missing(known.get(theme, "")) else known[theme] for theme in shown)
    return {"category": categories} if any(categories) else {}


def _photographs(root: Path) -> dict[str, str]:
    """Stem without blanks and case -> path below root. Of copies the one nearest to root counts."""
    found: dict[str, str] = {}
    for path in sorted(image_files(root), key=lambda path: (path.count("/"), path)):
        found.setdefault(_stem(Path(path).stem), path)
    return found


def _stem(theme: str) -> str:
    return re.sub(r"[\s_]+", "", theme).casefold()


def _code(text: str) -> str:
    """An item or subject code in one spelling: "I12", "12", "12.0" are all "12"."""
    value = number(text[1:] if text[:1] in "Ii" else text)
    return str(int(value)) if value.is_integer() else text


def _natural(text: str) -> tuple:
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", text) if part)


def _profiles(table: Table, *, subjects: Sequence[str], raters: Sequence[str], rows: np.ndarray, notes: list[str]) -> tuple[Profile, ...]:
    """Profiles in the order of `raters`, each from the first rating of that rater."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(subjects[row], int(row))
    bad: dict[str, list[str]] = {}
    profiles = []
    for rater in raters:
        cells = {field: table.columns[column][first[rater]] for column, field in PROFILE.items() if column in table.columns}
        values = {field: _value(field, text) for field, text in cells.items()}
        profiles.append(profile_of(values, rater=rater, bad=bad))
    notes += [f"{field} of {len(cases)} raters is left empty ({some(cases, most=2)})" for field, cases in bad.items()]
    return tuple(profiles)


def _value(field: str, text: str) -> Any:
    if is_missing(text) or number(text) == -99:  # the release writes "no answer" as -99
        return None
    if field in ("gender", "education"):
        value = number(text)
        return (GENDER if field == "gender" else EDUCATION).get(int(value)) if value.is_integer() else text
    return number(text) if np.isfinite(number(text)) else text
