"""AADB (Kong et al., ECCV 2016): 10,000 photographs, each with an overall score and eleven attributes, averaged over its raters.

imgListFiles_label/imgList<Part>Regression_<attribute>.txt   "filename value" lines; Part = Train, Validation, TestNew or Test
datasetImages_originalSize/, AADB_newtest_originalSize/      the photographs; the second archive repeats those of the new test
datasetImages_warp256/, AADB_newtest/                        the same squashed to 256 x 256; read where the originals are not there

Who gave which rating is not in these files, so there is no `Dataset` of it, only an `AttributeTable`. The score is 0 to 1, an attribute
-1 (harms) to 1 (helps), save for Repetition and Symmetry, which are 0 to 1. The release spells one attribute BalacingElements. Names in
AADB_newtest/ begin with the score ("0.500_farm1_...jpg"). TestNew, which took the place of Test, is read where it is complete.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.datasets.attributes import PARTS, AttributeTable
from beholder.datasets.checks import LEVELS, Finding, broken_images
from beholder.datasets.images import ImageFolder, image_files
from beholder.datasets.table import number, some
from beholder.errors import BeholderError

LABELS = "imgListFiles_label"
LISTS = {"train": ("Train",), "validation": ("Validation",), "test": ("TestNew", "Test")}  # the first that is complete counts
OVERALL = "score"
# attribute -> how its files spell it
ATTRIBUTES = {
    OVERALL: (OVERALL,),
    "BalancingElements": ("BalacingElements", "BalancingElements"),
    **{
        name: (name,)
        for name in (
            *("ColorHarmony", "Content", "DoF", "Light", "MotionBlur", "Object"),
            *("Repetition", "RuleOfThirds", "Symmetry", "VividColor"),
        )
    },
}
IMAGE_FOLDERS = (("datasetImages_originalSize", "AADB_newtest_originalSize"), ("datasetImages_warp256", "AADB_newtest"))
WHERE = "AADB: get it from https://github.com/aimerykong/deepImageAestheticsAnalysis"
LICENCE = "research only; images and annotations must not be passed on"
CITATION = "Kong, Shen, Lin, Mech & Fowlkes (2016), Photo Aesthetics Ranking Network with Attributes and Content Adaptation, ECCV"


def read_aadb(root: str | os.PathLike) -> AttributeTable:
    """Read AADB.

    Images that are not there are left out, and an attribute that one of the lists does not give for an image is nan; both are noted.

    Args:
        root: the folder that holds imgListFiles_label/ and the photographs, or the one above it.

    Raises:
        BeholderError: a list is missing or has a line that is no "filename value", or none of the photographs is there.
    """
    problems = _problems(Path(root))
    if problems:
        more = f" ({len(problems) - 1} more: beholder data check aadb --root DIR)" if len(problems) > 1 else ""
        raise BeholderError(f"{problems[0]}; {WHERE}{more}")
    return _read(_base(Path(root))).table()


def findings(root: Path) -> list[Finding]:
    """What is wrong or odd with the files, worst first."""
    found = [Finding("error", f"{problem}; {WHERE}") for problem in _problems(root)]
    if not found:
        try:
            lists = _read(_base(root))
            table = lists.table()
        except BeholderError as error:
            found.append(Finding("error", str(error)))
        else:
            found += [Finding("warning", note) for note in table.notes]
            sizes = Counter(table.part.tolist())
            parts = ", ".join(f"{sizes[part]} {part}" for part in PARTS)
            found.append(Finding("info", f"{table.name}: {len(table.images)} images ({parts}), {len(table.values)} attributes, no raters"))
            used = set(table.images)
            extra = [path.name for path in lists.files() if path not in used]
            if extra:
                found.append(Finding("info", f"{len(extra)} images are in no list that is read ({some(extra)})", count=len(extra)))
            paths = [path.relative_to(lists.base).as_posix() for path in table.images]
            found += broken_images(paths, folder=lists.base, then="a probe leaves them out")
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


@dataclass(frozen=True)
class _Lists:
    """The lists as they are: part -> attribute -> image -> value, and where the photographs lie."""

    base: Path
    folders: tuple[Path, ...]
    values: dict[str, dict[str, dict[str, float]]]
    notes: tuple[str, ...]

    def files(self) -> list[Path]:
        return [folder / name for folder in self.folders for name in image_files(folder)]

    def table(self) -> AttributeTable:
        notes = list(self.notes)
        part_of: dict[str, str] = {}
        several = []
        for part in PARTS:  # what is in a later part, too, is kept there: a test must not have been learned
            for image in dict.fromkeys(image for column in self.values[part].values() for image in column):
                several += [image] if image in part_of else []
                part_of[image] = part
        if several:
            notes.append(f"{len(several)} images are in more than one part ({some(several)}): each is kept in the last of them only")
        found = self._find(part_of)
        absent = [image for image, path in found.items() if path is None]
        if len(absent) == len(found):
            where = " or ".join(f"{folder.name}/" for folder in self.folders)
            raise BeholderError(f"none of the {len(found)} images of {LABELS}/ is in {where} (for example {absent[0]}); {WHERE}")
        if absent:
            notes.append(f"{len(absent)} images are not there ({some(absent)}): they are left out")
        images = [image for image, path in found.items() if path is not None]
        values = {name: np.array([self.values[part_of[image]][name].get(image, np.nan) for image in images]) for name in ATTRIBUTES}
        unknown = {name: int(np.isnan(column).sum()) for name, column in values.items() if np.isnan(column).any()}
        if unknown:
            notes.append("images that a list does not name: " + ", ".join(f"{count} in {name}" for name, count in unknown.items()))
        return AttributeTable(
            name="aadb",
            images=tuple(found[image] for image in images),
            image_ids=tuple(images),
            part=np.array([part_of[image] for image in images], dtype=object).astype(str),
            values=values,
            overall=OVERALL,
            notes=tuple(notes),
            licence=LICENCE,
            citation=CITATION,
        )

    def _find(self, part_of: dict[str, str]) -> dict[str, Path | None]:
        """Image -> its file; names in AADB_newtest/ begin with the score."""
        folders = [ImageFolder(folder) for folder in self.folders]
        found: dict[str, Path | None] = {}
        for image, part in part_of.items():
            score = self.values[part][OVERALL].get(image)
            names = [image] if score is None else [image, f"{score:.3f}_{image}"]
            paths = (folder.folder / path for name in names for folder in folders if (path := folder.find(name)) is not None)
            found[image] = next(paths, None)
        return found


def _base(root: Path) -> Path:
    """`root`, or the folder in it that holds the lists and the photographs (archives unpack to AADB/AADB)."""
    candidates = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    return max(candidates, key=lambda base: (base / LABELS).is_dir() + bool(_folders(base)))  # the first of equals: root


def _folders(base: Path) -> tuple[Path, ...]:
    """The folders of the photographs: those of the original size, else the squashed ones; never some of each."""
    there = (tuple(base / name for name in names if (base / name).is_dir()) for names in IMAGE_FOLDERS)
    return next((folders for folders in there if folders), ())


def _file(base: Path, stem: str, attribute: str) -> Path | None:
    paths = (base / LABELS / f"imgList{stem}Regression_{spelled}.txt" for spelled in ATTRIBUTES[attribute])
    return next((path for path in paths if path.is_file()), None)


def _stem(base: Path, part: str) -> str:
    """How the files of a part are called: of several the first with all attributes, else the one with the most."""
    return max(LISTS[part], key=lambda stem: sum(_file(base, stem, attribute) is not None for attribute in ATTRIBUTES))


def _problems(root: Path) -> list[str]:
    """Every missing folder and list, one clause each."""
    if not root.is_dir():
        return [f"{root} is not a folder: give the folder that holds {LABELS}/ with --root DIR"]
    base = _base(root)
    found = []
    if not (base / LABELS).is_dir():
        found.append(f"{base} has no folder {LABELS}/, which holds the lists of scores and attributes")
    else:
        for part in PARTS:
            stem = _stem(base, part)
            lacking = [attribute for attribute in ATTRIBUTES if _file(base, stem, attribute) is None]
            files = [f"imgList{stem}Regression_{' or '.join(ATTRIBUTES[attribute])}.txt" for attribute in lacking]
            found += [f"{base / LABELS} has no {file}, which holds the {part} values" for file in files]
    if not _folders(base):
        found.append(f"{base} has no folder {IMAGE_FOLDERS[0][0]}/ (or {IMAGE_FOLDERS[1][0]}/), which holds the photographs")
    return found


def _read(base: Path) -> _Lists:
    notes: list[str] = []
    values = {}
    for part in PARTS:
        stem = _stem(base, part)
        if part == "test":
            notes += ["the older Test lists are read, as there are no TestNew lists"] if stem == "Test" else []
        values[part] = {attribute: _values(_file(base, stem, attribute), notes=notes) for attribute in ATTRIBUTES}
    folders = _folders(base)
    if folders[0].name not in IMAGE_FOLDERS[0]:
        notes.append(f"{IMAGE_FOLDERS[0][0]}/ is not there: photographs squashed to 256 x 256 are read from {folders[0].name}/")
    return _Lists(base=base, folders=folders, values=values, notes=tuple(notes))


def _values(path: Path, *, notes: list[str]) -> dict[str, float]:
    """Image -> value. Of two lines for an image the last counts, and it is noted."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise BeholderError(f"{path} cannot be read: {error.strerror or error}; mend its rights or get it again") from None
    found: dict[str, float] = {}
    again = 0
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image, *rest = line.rsplit(maxsplit=1)
        value = number(rest[0]) if rest else np.nan
        if not np.isfinite(value):
            raise BeholderError(f"{path} line {row}: {line.strip()!r} is no file name and number; is it the published file?")
        again += image.strip() in found
        found[image.strip()] = value
    if again:
        notes.append(f"{again} lines of {path.name} name an image again: the last of them counts")
    return found
