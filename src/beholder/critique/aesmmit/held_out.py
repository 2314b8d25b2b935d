"""The images of a test set, whatever it comes as, so that they are not trained on."""

from __future__ import annotations

import base64
import binascii
import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from beholder.critique.aesmmit.feedback import parse_json, read_text
from beholder.critique.aesmmit.instructions import FILE, read_instructions
from beholder.critique.aesmmit.near_copies import SIDE, Sign, sign_of
from beholder.errors import BeholderError, UnreadableImage
from beholder.folders import find_photos
from beholder.photos import content_hash, read_photo

_LEAST_BASE64 = 64  # signs: shorter ones are the index of another row, or a path
_CELL = 1 << 28  # characters of the largest image that a TSV may hold


@dataclass(frozen=True)
class HeldOutImage:
    """An image of a test set.

    Args:
        name: its file name; "" for those that are stored without one.
        place: where it is, for messages.
        content: hash of its bytes; "" if only its name is known.
        sign: to know copies by; None if there is none.
    """

    name: str
    place: str
    content: str = ""
    sign: Sign | None = None


def held_out_images(path: Path) -> Iterator[HeldOutImage]:
    """Every image of a test set: a folder (its images, at any depth, and the tables in it), a TSV with the images in it, or JSON that names them.

    JSON is AesBench's (an object of images) or LLaVA's (a list of items); its images are looked for beside it and in `images` there. Of one that is
    not found, only the name is known.

    Raises:
        BeholderError: nothing can be read from it.
    """
    if not path.exists():
        raise BeholderError(f"{path} does not exist: give a test set, such as the folder of AesBench")
    found = list(_of_folder(path) if path.is_dir() else _of_file(path))
    if not found:
        raise BeholderError(f"{path} holds no images and names none: give a folder of images, a TSV, or JSON")
    yield from found


def _of_folder(folder: Path) -> Iterator[HeldOutImage]:
    photos = find_photos(folder).photos
    yield from (_of_image(Path(photo), place=photo) for photo in photos)
    known = {Path(photo).name.casefold() for photo in photos}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() == ".tsv":
            yield from _of_tsv(file)
        elif file.name == FILE or ("aesbench" in file.name.lower() and file.suffix.lower() == ".json"):
            yield from (HeldOutImage(name, f"{name} of {file}") for name in _names(file) if name.casefold() not in known)


def _of_file(file: Path) -> Iterator[HeldOutImage]:
    if file.suffix.lower() in (".tsv", ".csv"):
        yield from _of_tsv(file)
    elif file.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        for name in _names(file, whole=True):
            there = next((path for path in (file.parent / name, file.parent / "images" / name) if os.path.isfile(path)), None)
            short = PurePosixPath(name).name
            yield _of_image(there, place=str(there)) if there else HeldOutImage(short, f"{name} of {file}")
    else:
        image = _of_image(file, place=str(file))
        if not image.content:
            raise BeholderError(f"{file} is no test set: give a folder of images, an image, a TSV, or JSON")
        yield image


def _names(file: Path, *, whole: bool = False) -> Iterable[str]:
    """Images that a JSON file names; whole: with their folders."""
    text = read_text(file)
    value = None
    if text.lstrip()[:1] == "{" and file.suffix.lower() == ".json":
        value = parse_json(text, path=file)
    if isinstance(value, dict) and value and all(isinstance(one, dict) for one in value.values()):
        names = [str(name) for name in value]
    else:
        names = [item.image for item in read_instructions(file) if item.image]
    plain = dict.fromkeys(name.replace("\\", "/") for name in names)
    return plain if whole else dict.fromkeys(PurePosixPath(name).name for name in plain)


def _of_tsv(file: Path) -> Iterator[HeldOutImage]:
    """Rows of VLMEvalKit: the image as base64 in the column image (or a list of them), or its path in image_path."""
    limit = csv.field_size_limit(_CELL)
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
            for number, row in enumerate(reader, start=1):
                name = PurePosixPath((row.get("image_path") or "").replace("\\", "/")).name
                for text in _parts(row.get("image") or ""):
                    yield _of_bytes(_decoded(text), name=name, place=f"{name or f'of row {number}'} of {file}")
                there = file.parent / (row.get("image_path") or "")
                if not row.get("image") and name:
                    yield _of_image(there, place=str(there)) if os.path.isfile(there) else HeldOutImage(name, f"{name} of {file}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BeholderError(f"{file} cannot be read as a table ({error}): copy it again") from None
    finally:
        csv.field_size_limit(limit)


def _parts(cell: str) -> list[str]:
    if cell.startswith("["):
        try:
            return [text for text in json.loads(cell.replace("'", '"')) if len(text) >= _LEAST_BASE64]
        except ValueError:
            return []
    return [cell] if len(cell) >= _LEAST_BASE64 else []


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
    except (binascii.Error, ValueError):
        return b""


def _of_bytes(data: bytes, *, name: str, place: str) -> HeldOutImage:
    try:
        sign = sign_of(read_photo(data, min_side=SIDE))
    except UnreadableImage:
        sign = None
    return HeldOutImage(name, place, content_hash(data), sign)


def _of_image(path: Path, *, place: str) -> HeldOutImage:
    try:
        return HeldOutImage(path.name, place, content_hash(path), sign_of(read_photo(path, min_side=SIDE)))
    except UnreadableImage:
        return HeldOutImage(path.name, place)
