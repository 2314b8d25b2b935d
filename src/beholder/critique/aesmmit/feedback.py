"""AesFeedback: what people say of an image when they are asked from coarse to fine (AesExpert, section 3.2). Read, checked, kept."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from beholder.errors import BeholderError
from beholder.located import SkippedInput

# The paper gives the subject of each question, and that they are asked in this order; the wording is ours.
QUESTIONS: Mapping[str, str] = {
    "evaluation": "How beautiful is this image, all in all?",
    "reasons": "What in this image makes it more or less beautiful: its clarity, colours, light, what it shows, and its composition?",
    "feeling": "What does this image make you feel: how is it seen, what is interesting in it, and which emotions does it express?",
}
SUGGESTION = "What would make this image more beautiful?"  # part of the second question in the paper: encouraged where an image is not liked
GRADES: Mapping[int, str] = {1: "unattractive", 2: "rather unattractive", 3: "average", 4: "good-looking", 5: "beautiful"}  # five, as recommended
SOURCES = ("natural", "artistic", "generated")
_SOURCE_CODES = {"ni": "natural", "nis": "natural", "ai": "artistic", "ais": "artistic", "agi": "generated", "agis": "generated"}
_TEXTS = ("evaluation", "reasons", "feeling")
_NAMED = 20  # bad lines with a sentence each; of more, the numbers


@dataclass(frozen=True)
class Feedback:
    """What one person said of one image.

    Args:
        image: path of the image, relative to the folder of images, with "/".
        subject: who said it; "" if that is not known.
        grade: 1 (unattractive) to 5 (beautiful); None if not given.
        evaluation, reasons, feeling: answers to `QUESTIONS`; "" where there is none, but one of them has text.
        suggestion: how the image could become more beautiful; "" for none.
        source: "natural", "artistic" or "generated"; "" if not known.
        dataset: where the image comes from ("PARA").
        time: when it was said, as ISO 8601; "" if not known.

    Raises:
        BeholderError: a value is none of these; the message says which.
    """

    image: str
    subject: str
    grade: int | None
    evaluation: str
    reasons: str
    feeling: str
    suggestion: str = ""
    source: str = ""
    dataset: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "grade"):
            object.__setattr__(self, name, _text(name, getattr(self, name)))
        object.__setattr__(self, "image", _relative(self.image))
        object.__setattr__(self, "grade", _grade(self.grade))
        source = self.source.casefold()
        object.__setattr__(self, "source", _SOURCE_CODES.get(source, source))
        if self.source not in ("", *SOURCES):
            raise BeholderError(f"source = {source!r} is not known: write {', '.join(SOURCES)}, or leave it empty")
        if not any(getattr(self, name) for name in _TEXTS):
            raise BeholderError(f"there is no text in any of {', '.join(_TEXTS)}: give at least one")

    def whole(self) -> str:
        """All that was said, in the order of the questions, as one paragraph."""
        return " ".join(_sentence(text) for text in (self.evaluation, self.reasons, self.feeling, self.suggestion) if text)

    def to_json(self) -> dict[str, Any]:
        """Every field; those that may be empty only if they are not."""
        always = ("image", "subject", "grade", *_TEXTS)
        return {name: value for name, value in asdict(self).items() if name in always or value}


def read_feedback(path: str | os.PathLike) -> list[Feedback]:
    """Read feedback: JSON Lines, a JSON list, or CSV (comma, semicolon or tab; the first line names the columns).

    A line that cannot be used is left out and named with its number (`SkippedInput`). If somebody gave feedback on an image twice, the later one
    stands, at the place of the first (so the form goes back); nameless subjects are never taken for the same.

    Raises:
        BeholderError: the file cannot be read, is of another kind, or holds no usable feedback.
    """
    path = Path(path)
    text = read_text(path)
    found: dict[object, Feedback] = {}
    bad: list[tuple[str, str]] = []
    unknown: set[str] = set()
    n = 0
    for n, (place, values) in enumerate(_entries(text, path=path), start=1):
        try:
            one = _from_values(values, unknown=unknown)
        except BeholderError as error:
            bad.append((place, str(error)))
            continue
        found[(one.image, one.subject) if one.subject else n] = one
    if not found:
        why = f": {bad[0][0]}: {bad[0][1]}" if bad else f": every entry needs image and one of {', '.join(_TEXTS)}"
        raise BeholderError(f"{path} holds no feedback that can be used{why}")
    for place, reason in bad[:_NAMED]:
        warnings.warn(f"{path}, {place} is left out: {reason}", SkippedInput, stacklevel=2)
    if bad[_NAMED:]:
        places = ", ".join(place for place, _ in bad[_NAMED:])
        warnings.warn(f"{path}, for reasons like these are left out as well: {places}", SkippedInput, stacklevel=2)
    if unknown:
        warnings.warn(f"{path}: {', '.join(sorted(unknown))} is not part of feedback and is not used", UserWarning, stacklevel=2)
    return list(found.values())


def append_feedback(path: str | os.PathLike, feedback: Feedback) -> None:
    """Add one line to a JSON Lines file, which is made if missing; it is on the disk when this returns.

    Raises:
        BeholderError: the file cannot be written.
    """
    path = Path(path)
    line = json.dumps(feedback.to_json(), ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            if file.tell() and _last_byte(file) != b"\n":  # a line that was cut off must not swallow this one
                line = "\n" + line
            file.write(line.encode("utf-8", errors="replace"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BeholderError(f"{path} cannot be written ({error.strerror or error}): choose another place") from None


def valid_text(text: str) -> str:
    """The text with U+FFFD for halves of characters (surrogates), which JSON can hold, but no file, server or tokenizer takes."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_text(path: Path) -> str:
    """A text file (UTF-8).

    Raises:
        BeholderError: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BeholderError(f"{path} cannot be read ({error.strerror or error}): check the path") from None
    except UnicodeDecodeError as error:
        raise BeholderError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None


def parse_json(text: str, *, path: Path) -> Any:
    """The value of a whole JSON file.

    Raises:
        BeholderError: it is broken; the message says in which line and column.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BeholderError(f"{path}, line {error.lineno}, column {error.colno} is broken JSON ({error.msg}): mend it or copy the file again") from None
    except (ValueError, RecursionError):  # ValueError: a number of thousands of digits
        raise BeholderError(f"{path} is JSON that is nested too deeply, or holds a number that is too long: give a list of items") from None


def json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Number, from 1, and value of each line that is not empty; a `BeholderError` in place of the value if it is broken."""
    for number, line in enumerate(io.StringIO(text), start=1):  # not splitlines: JSON may hold U+2028
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
            where = f" at column {error.colno} ({error.msg})" if isinstance(error, json.JSONDecodeError) else ""
            yield number, BeholderError(f"it is broken JSON{where}: mend it, or, if an object goes over several lines, put [ ] round all of them")


def _entries(text: str, *, path: Path) -> Iterator[tuple[str, Any]]:
    """(place for messages, values or a `BeholderError`) of each entry of a file of any of the three kinds."""
    start = text.lstrip()[:1]
    if start == "[":
        values = parse_json(text, path=path)
        yield from ((f"entry {number}", value) for number, value in enumerate(values, start=1))
    elif start == "{":
        yield from ((f"line {number}", value) for number, value in json_lines(text))
    elif start:
        yield from _rows(text, path=path)


def _rows(text: str, *, path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    head = text.lstrip().splitlines()[0]
    delimiter = max(",;\t", key=head.count)
    names: list[str] = []
    for first, row in _cells(text, delimiter, path=path):
        if not any(cell.strip() for cell in row):
            continue
        if not names:
            names = [name.strip().casefold() for name in row]
            if "image" not in names:
                raise BeholderError(f"{path} has no column  image: give JSON Lines, a JSON list, or CSV whose first line names the columns")
            if twice := next((name for name in names if name and names.count(name) > 1), ""):
                raise BeholderError(f"{path} has two columns  {twice}: rename or delete one of them")
        elif len(row) != len(names):
            yield f"line {first}", BeholderError(f"it has {len(row)} cells, but there are {len(names)} columns: put quotes round cells that hold commas")
        else:
            yield f"line {first}", dict(zip(names, row, strict=True))


def _cells(text: str, delimiter: str, *, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number of its first line, for a cell may hold line breaks, and cells of each row."""
    limit = csv.field_size_limit(len(text) + 1)  # else 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)  # strict: quotes that do not close would swallow all that follows
    first = 1
    try:
        for row in reader:
            yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        raise BeholderError(f"{path}, line {first} is broken CSV ({error}): mend its quotes") from None
    finally:
        csv.field_size_limit(limit)


def _from_values(values: Any, *, unknown: set[str]) -> Feedback:
    if isinstance(values, BeholderError):
        raise values
    if not isinstance(values, dict):
        raise BeholderError("it is not an object with names and values: write one such as {\"image\": ..., \"evaluation\": ...}")
    known = {field.name for field in fields(Feedback)}
    unknown.update(str(name) for name in values if name not in known)
    given = {name: values.get(name) for name in known}
    return Feedback(**given)


def _text(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name in ("image", "subject", "time"):
        value = str(value)  # subject 17
    if not isinstance(value, str | None):
        raise BeholderError(f"{name} = {value!r} is not text: put it in quotes")
    return " ".join(valid_text(value or "").split()) if name != "image" else (value or "").strip()


def _relative(image: str) -> str:
    if not image:
        raise BeholderError("it names no image: give the path of one")
    plain = image.replace("\\", "/")
    path = PurePosixPath(plain)
    if path.is_absolute() or ".." in path.parts or plain[1:2] == ":":
        raise BeholderError(f"image = {image!r} leads out of the folder of images: give the path as seen from that folder")
    if valid_text(plain) != plain:
        raise BeholderError(f"image = {image!r} is no valid text: rename the file")
    return str(path)


def _grade(value: Any) -> int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        grade = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        grade = 0.0
    if grade not in GRADES:
        raise BeholderError(f"grade = {repr(value)[:40]} is not a grade: give a whole number from 1 ({GRADES[1]}) to 5 ({GRADES[5]}), or leave it empty")
    return int(grade)


def _sentence(text: str) -> str:
    return text if text[-1] in ".!?…\"'”’)" else text + "."


def _last_byte(file: io.BufferedRandom) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
