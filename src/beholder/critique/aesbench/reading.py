"""AesBench from a folder or a file, with its images found."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

from beholder.critique.aesbench.official import FILE, read_official
from beholder.critique.aesbench.questions import PARTS, Benchmark
from beholder.critique.aesbench.tsv import MD5, read_tsv
from beholder.datasets.images import ImageFolder
from beholder.datasets.table import some
from beholder.errors import BeholderError
from beholder.located import SkippedInput

IMAGE_FOLDERS = ("images", "image", "imgs", "img", ".")
INNER_FOLDERS = ("AesBench", "aesbench", "data", "evaluation")


def read(
    root: str | os.PathLike, *, images: str | os.PathLike | None = None, needs_images: bool = True, allow_changed: bool = False
) -> Benchmark:
    """Read the benchmark.

    Questions whose image is missing are left out and named (a note, and a `SkippedInput` warning).

    Args:
        root: the folder that holds AesBench_evaluation.json or one table (.tsv), or the one above it; or such a file.
        images: the folder of the images; images/ beside the file if not given.
        needs_images: False to score answers that were made elsewhere, for which no image is opened.
        allow_changed: read a table that has the name of a published one, but another content.

    Raises:
        BeholderError: nothing to read, a file that is not as it should be, or no image at all.
    """
    file = _file(Path(root))
    benchmark = read_tsv(file, allow_changed=allow_changed) if file.suffix.lower() == ".tsv" else read_official(file)
    doubled = [name for name, n in Counter((one.part, one.image) for one in benchmark.questions).items() if n > 1]
    if doubled:  # the readers see to it; everything after them relies on it
        raise BeholderError(f"{file} asks {doubled[0][0]} of {doubled[0][1]} twice: keep one of the questions")
    by_part = Counter(question.part for question in benchmark.questions)
    scored = Counter(question.part for question in benchmark.questions if question.answer or question.reference)
    hidden = [f"{by_part[part] - scored[part]} of {by_part[part]} of {part}" for part in PARTS if scored[part] < by_part[part]]
    notes = (
        [f"no answer is published for some questions ({', '.join(hidden)}): they can be asked, and only AesI, by a judge, be scored here"] if hidden else []
    )
    benchmark = replace(benchmark, notes=(*benchmark.notes, *notes))
    return _with_images(benchmark, file, Path(images) if images is not None else None) if needs_images else benchmark


def _file(root: Path) -> Path:
    if root.is_file():
        if root.suffix.lower() not in (".json", ".tsv"):
            raise BeholderError(f"{root} is neither .json nor .tsv: give {FILE}, or a table of VLMEvalKit ({', '.join(MD5)})")
        return root
    if not root.is_dir():
        raise BeholderError(f"{root} does not exist: give the folder that holds {FILE}, or a table of VLMEvalKit ({', '.join(MD5)})")
    for folder in (root, *(root / name for name in INNER_FOLDERS)):
        if (folder / FILE).is_file():
            return folder / FILE
        tables = sorted(path for path in folder.glob("*.tsv") if path.is_file() and not path.name.startswith("."))
        if len(tables) > 1:
            raise BeholderError(f"{folder} holds several tables ({some([path.name for path in tables])}): name the one that is meant")
        if tables:
            return tables[0]
    raise BeholderError(
        f"{root} holds no AesBench: looked for {FILE} and *.tsv in it and in {', '.join(INNER_FOLDERS[:-1])} or {INNER_FOLDERS[-1]} below it; "
        f"get it from https://github.com/yipoh/AesBench and unpack it"
    )


def _with_images(benchmark: Benchmark, file: Path, folder: Path | None) -> Benchmark:
    """The questions whose images are there."""
    if folder is not None and not folder.is_dir():
        raise BeholderError(f"{folder} is no folder of images: give the folder that holds the images of {file.name}")
    files, wanted = {}, {}
    for image in benchmark.image_names:
        known = benchmark.files.get(image)
        if known is not None and known.is_absolute() and known.is_file():
            files[image] = known  # decoded from the table
        else:
            wanted[image] = known.as_posix() if known is not None else image
    if wanted:
        folders = [folder] if folder is not None else [file.parent / name for name in IMAGE_FOLDERS if (file.parent / name).is_dir()]
        place, found = _best(folders, wanted)
        files |= {image: place / path for image, path in found.items()}
        folder = place
    missing = [image for image in benchmark.image_names if image not in files]
    notes = list(benchmark.notes)
    if missing:
        where = folder if folder is not None else file.parent
        said = f"{len(missing)} of {len(benchmark.image_names)} images of {file.name} are not in {where} ({some(missing)})"
        if not files:
            raise BeholderError(f"{said}: put the images into {file.parent / IMAGE_FOLDERS[0]}, or name their folder")
        notes.append(f"{said}: their questions are left out")
        warnings.warn(f"{notes[-1]}; put them there, or name their folder", SkippedInput, stacklevel=3)
    questions = tuple(question for question in benchmark.questions if question.image in files)
    different = {image: path for image, path in files.items() if folder is None or path != folder / image}
    return replace(benchmark, questions=questions, images=folder, notes=tuple(notes), files=different)


def _best(folders: list[Path], wanted: dict[str, str]) -> tuple[Path | None, dict[str, str]]:
    """The first folder that has all the images; else the one that has most of them."""
    best: tuple[Path | None, dict[str, str]] = (folders[0] if folders else None, {})
    for folder in folders:
        lookup = ImageFolder(folder)
        found = {image: path for image, name in wanted.items() if (path := lookup.find(name)) is not None}
        if len(found) > len(best[1]):
            best = (folder, found)
        if len(found) == len(wanted):
            break
    return best
