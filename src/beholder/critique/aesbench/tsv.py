"""AesBench as VLMEvalKit gives it out: a table with the images in it (AesBench_VAL.tsv, AesBench_TEST.tsv), multiple-choice parts only.

Columns: index, question, hint, A to J, answer, image (base64; or the index of the row that has the same image), image_path, category, l2-category,
split. Images are decoded once, into the cache folder, under a hash of their content.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beholder.critique.aesbench.fields import LETTERS, dimension_of, letter_of, question_type, source_of, told_source
from beholder.critique.aesbench.questions import DIMENSIONS, Benchmark, Question
from beholder.datasets.table import is_missing, some
from beholder.errors import BeholderError
from beholder.paths import cache_dir
from beholder.photos import content_hash, kind_of
from beholder.whole_file import replace_file

MD5 = {"AesBench_VAL.tsv": "3edb0c319e9187aa0b97fe7a11700a8c", "AesBench_TEST.tsv": "58b1f7ba2cc32e1d68896d6ee716bbf8"}
REFERENCE = 64  # characters: an image of no more than these is the index of another row, as in VLMEvalKit
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "AVIF": ".avif", "HEIF": ".heic"}
_PART_WORDS = (("percept|aesp", "AesP"), ("empath|aese", "AesE"), ("assess|aesa", "AesA"), ("interpret|aesi", "AesI"))
_GRADES = {"high", "medium", "low"}


def read_tsv(path: Path, *, allow_changed: bool = False) -> Benchmark:
    """The questions of a table; images that stand in it are decoded into the cache folder, the others are relative paths in `files`.

    Args:
        allow_changed: read a file that has the name of an official one, but another content.

    Raises:
        BeholderError: such a file, a column that is missing, an image that cannot be decoded (named by its row), or no question at all.
    """
    notes = _checked(path, allow_changed=allow_changed)
    rows, pictures = {}, {}
    for line, row in _rows(path):
        index = row.get("index") or str(len(rows))
        if index in rows:
            raise BeholderError(f"{path} line {line}: index {index} occurs twice; number the rows from 0 on")
        value = row.pop("image", "")
        where = f"{path} line {line} (index {index})"
        pictures[index] = value if len(value) <= REFERENCE else _kept(value, where=where)
        rows[index] = (where, row)
    questions: list[Question] = []
    files: dict[str, Path] = {}
    skipped: list[str] = []
    counts: Counter[str] = Counter()
    taken: set[tuple[str, str]] = set()
    for index, (where, row) in rows.items():
        options = tuple((letter, row[letter.casefold()]) for letter in LETTERS if row.get(letter.casefold()))
        if not row["question"] or len(options) < 2:
            skipped.append(f"{where.removeprefix(f'{path} ')} has no {'two options' if row['question'] else 'question'}")
            continue
        file = _picture(index, pictures, where=where) or Path(row.get("image_path", ""))
        if file == Path(""):
            raise BeholderError(f"{where}: the row has neither an image nor an image_path; add one")
        part, dimension, how = _place(row, options)
        image = row.get("image_path") or file.name
        if (part, image) in taken:  # several questions of a part about one image: each under a name of its own
            stem, suffix = os.path.splitext(image)
            image = f"{stem}~{index}{suffix}"
            counts["renamed"] += 1
        taken.add((part, image))
        files[image] = file
        source = told_source(row.get("source", "")) or (source_of(row["image_path"]) if row.get("image_path") else "")
        answer = letter_of(row.get("answer", ""), options)
        counts.update(how=how == "by options", default=how == "default", answer=bool(row.get("answer")) and not answer)
        questions.append(
            Question(
                image,
                part,
                row["question"],
                options,
                answer=answer,
                dimension=dimension,
                source=source,
                qtype="" if part == "AesA" else question_type(row["question"]),
                id=index,
                hint=row.get("hint", ""),
            )
        )
    if not questions:
        raise BeholderError(f"{path} holds no question with options{f': {skipped[0]}' if skipped else ''}; give a table of AesBench")
    notes += _said(counts, skipped)
    return Benchmark(path.stem, tuple(questions), notes=tuple(notes), files=files)


def _said(counts: Counter[str], skipped: list[str]) -> list[str]:
    said = [
        "the type of questions (yes-no, what, how, why) is inferred from their first words, and the source from names, where there are any"
    ]
    if skipped:
        said.append(f"{len(skipped)} rows cannot be read as questions and are left out ({some(skipped)})")
    if counts["how"]:
        said.append(f"{counts['how']} questions are taken for AesA because their options are High, Medium and Low")
    if counts["default"]:
        said.append(f"{counts['default']} questions are taken for AesP because their category names no part")
    if counts["answer"]:
        said.append(f"{counts['answer']} right answers name none of their options: those questions are not scored")
    if counts["renamed"]:
        said.append(f"{counts['renamed']} images have several questions of one part: from the second on they are named NAME~INDEX")
    return said


def _checked(path: Path, *, allow_changed: bool) -> list[str]:
    """A note on the checksum, if the file has the name of an official one."""
    if path.name not in MD5:
        return []
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise BeholderError(f"{path} cannot be read: {error.strerror or error}; give the path of the table") from None
    if found == MD5[path.name]:
        return [f"{path.name} is the published file (MD5 {found})"]
    why = f"{path.name} is not the published file: its MD5 is {found}, not {MD5[path.name]}"
    if not allow_changed:
        raise BeholderError(f"{path}: {why}; get it again, or give it another name, or allow the change")
    return [why]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, column in small letters -> value without blanks at its ends) of every row that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, _long_fields():
            reader = csv.reader(file, delimiter="\t")
            names = [name.strip().casefold() for name in next(reader, [])]
            if "question" not in names or not {"a", "b"} <= set(names) or not {"image", "image_path"} & set(names):
                have = ", ".join(names) or "none"
                raise BeholderError(
                    f"{path} needs the columns question, A, B and image (or image_path): it has {have}; give a table of AesBench"
                )
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                if len(values) > len(names):
                    raise BeholderError(
                        f"{path} line {reader.line_num}: {len(values)} values for {len(names)} columns; get the table again"
                    )
                cells = [value.strip() for value in values] + [""] * (len(names) - len(values))
                yield reader.line_num, {name: "" if _empty(name, cell) else cell for name, cell in zip(names, cells, strict=True)}
    except OSError as error:
        raise BeholderError(f"{path} cannot be read: {error.strerror or error}; give the path of the table") from None
    except UnicodeDecodeError as error:
        raise BeholderError(f"{path} is not UTF-8 text (byte {error.start}): get the table again") from None
    except csv.Error as error:
        raise BeholderError(f"{path} is no table separated by tabs ({error}): get it again") from None


def _empty(name: str, cell: str) -> bool:
    """Cells that pandas wrote for "nothing". "None" may be the text of an option."""
    return cell == "" or (is_missing(cell) and (cell.casefold() != "none" or name.upper() not in LETTERS))


@contextmanager
def _long_fields() -> Iterator[None]:
    """Base64 of a photograph is longer than csv allows; the limit is one of the whole process, so it is put back."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _kept(text: str, *, where: str) -> Path:
    """The file of an image given in base64; written once."""
    try:
        data = base64.b64decode(re.sub(r"\s+", "", text.partition(",")[2] if text.startswith("data:") else text), validate=True)
    except (binascii.Error, ValueError):
        raise BeholderError(f"{where}: the image is no base64; get the table again") from None
    kind = kind_of(data[:512])
    if kind not in SUFFIXES:
        raise BeholderError(f"{where}: the image is base64, but of no known format of images; get the table again")
    name = content_hash(data)
    file = cache_dir("aesbench", "images", name[:2], name + SUFFIXES[kind])
    try:
        if not file.is_file() or file.stat().st_size != len(data):
            replace_file(file, data)
    except OSError as error:
        raise BeholderError(f"images of {where} cannot be kept in {file.parent} ({error.strerror or error}): set BEHOLDER_CACHE") from None
    return file


def _picture(index: str, pictures: dict[str, str | Path], *, where: str) -> Path | None:
    """The file of a row's image; of the row it refers to, if it does; None if it has none."""
    value, seen = pictures[index], {index}
    while not isinstance(value, Path):
        if not value:
            return None
        if value in seen or value not in pictures:
            raise BeholderError(
                f"{where}: its image is {value!r}, which is neither base64 nor the index of a row with an image; get the table again"
            )
        seen.add(value)
        value = pictures[value] or value
    return value


def _place(row: dict[str, str], options: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
    """(part, dimension, how the part was found: "told", "by options" or "default")."""
    told = [row.get(name, "") for name in ("part", "category", "l2-category")]
    for text in told:
        for pattern, part in _PART_WORDS:
            if re.search(pattern, text, re.IGNORECASE):
                return part, next((name for other in told if (name := dimension_of(other, part=part)) in DIMENSIONS[part]), ""), "told"
    for text in told:
        for part in DIMENSIONS:
            if (name := dimension_of(text, part=part)) in DIMENSIONS[part]:
                return part, name, "told"
    if {text.casefold() for _, text in options} == _GRADES:
        return "AesA", "", "by options"
    return "AesP", next((text for text in told if text), ""), "default"
