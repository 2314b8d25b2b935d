"""A rater's ratings and choices: reading, checking, joining, writing. Later entries replace earlier ones for the same image."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError
from beholder.scale import Scale

IMAGE_COLUMNS = ("image", "image_path", "path", "file", "filename", "item")
SCORE_COLUMNS = ("score", "rating", "stars", "user_score")


@dataclass(frozen=True)
class Rating:
    """One rater's score of one image, on the scale of the `Ratings` it is in.

    Args:
        image: path of the image as the rater's list gives it (absolute, or relative to the ranked folder).
        score: higher = liked more.
        time: seconds since 1970, if known.
    """

    image: str
    score: float
    time: float | None = None


class Ratings(Sequence[Rating]):
    """The ratings of one rater, one per image (of duplicates the latest counts).

    Args:
        ratings: `Rating` objects, (image, score) pairs, or a mapping image -> score.
        scale: the scale of the scores. If missing, 1-5 is taken.

    Attributes:
        n_replaced: how many entries were replaced by a later one for the same image.

    Raises:
        BeholderError: a score is not a number or lies outside the scale.
    """

    def __init__(self, ratings: Iterable[Rating | tuple[str, float]] | Mapping[str, float] = (), *, scale: Scale | None = None) -> None:
        self.scale = scale or Scale()
        entries = [
            entry if isinstance(entry, Rating) else Rating(str(entry[0]), entry[1])
            for entry in (ratings.items() if isinstance(ratings, Mapping) else ratings)
        ]
        latest: dict[str, Rating] = {}
        for entry in entries:
            entry = Rating(str(entry.image), _score(entry.score, image=entry.image, scale=self.scale), entry.time)
            before = latest.get(entry.image)
            if before is not None and before.time is not None and entry.time is not None and entry.time < before.time:
                continue
            latest.pop(entry.image, None)  # so that the order is that of the latest entries
            latest[entry.image] = entry
        self._ratings = list(latest.values())
        self.n_replaced = len(entries) - len(self._ratings)

    def __len__(self) -> int:
        return len(self._ratings)

    def __getitem__(self, index):
        return Ratings(self._ratings[index], scale=self.scale) if isinstance(index, slice) else self._ratings[index]

    def __iter__(self) -> Iterator[Rating]:
        return iter(self._ratings)

    def __repr__(self) -> str:
        return f"Ratings({len(self)} images, scale {self.scale})"

    @property
    def images(self) -> list[str]:
        return [rating.image for rating in self._ratings]

    @property
    def scores(self) -> np.ndarray:
        """[n] float64, on `scale`."""
        return np.array([rating.score for rating in self._ratings], dtype=np.float64)

    def to_scale(self, scale: Scale) -> Ratings:
        """The same ratings with the ends of the scale mapped to the ends of `scale`; not rounded to its step."""
        return Ratings([Rating(r.image, float(self.scale.convert(r.score, to=scale)), r.time) for r in self._ratings], scale=scale)

    def merged(self, other: Ratings) -> Ratings:
        """Both together on this scale; for the same image `other` counts unless its time is earlier."""
        return Ratings([*self._ratings, *other.to_scale(self.scale)], scale=self.scale)

    @classmethod
    def from_csv(cls, path: str | os.PathLike, *, scale: Scale | None = None, rater: str | None = None) -> Ratings:
        """Read columns image and score (also: path, file, filename; rating, stars); optional rater, time, scale.

        Args:
            path: a CSV file, UTF-8, separated by comma, semicolon or tab.
            scale: scale of the scores; else the file's `scale` column ("1-7"); else 1-5.
            rater: keep only the rows of this rater. Needed if the file holds several raters.

        Raises:
            BeholderError: unreadable, not UTF-8, a column is missing, or a score is not on the scale (with its line).
        """
        path = Path(path)
        rows = read_table(path, what="ratings")
        if not rows:
            return cls(scale=scale)
        image_column = _column(rows[0], IMAGE_COLUMNS, path=path)
        score_column = _column(rows[0], SCORE_COLUMNS, path=path)
        rows = _rows_of(rows, rater=rater, path=path)
        if scale is None:
            named = {row["scale"] for row in rows if row.get("scale")}
            if len(named) > 1:
                raise BeholderError(f"{path} mixes scales ({', '.join(sorted(named))}): write one file per scale, or give the scale")
            scale = Scale.parse(named.pop()) if named else Scale()
        entries = []
        for row in rows:
            if not row[image_column]:
                raise BeholderError(f"{path} line {row['_line']}: the image is empty; give its path")
            try:
                time = float(row["time"]) if row.get("time") else None
                entries.append(Rating(row[image_column], _score(row[score_column], image=row[image_column], scale=scale), time))
            except BeholderError as error:
                raise BeholderError(f"{path} line {row['_line']}: {error}") from None
            except ValueError:
                raise BeholderError(f"{path} line {row['_line']}: time = {row['time']!r} is not a number of seconds since 1970") from None
        return cls(entries, scale=scale)

    def to_csv(self, path: str | os.PathLike, *, rater: str | None = None) -> None:
        """Write columns [rater,] image, score, scale, time; `from_csv` reads them back to equal ratings."""
        write_table(
            path,
            [
                ({"rater": rater} if rater is not None else {})
                | {"image": r.image, "score": f"{r.score:.12g}", "scale": str(self.scale), "time": "" if r.time is None else repr(r.time)}
                for r in self._ratings
            ],
            columns=(["rater"] if rater is not None else []) + ["image", "score", "scale", "time"],
        )


@dataclass(frozen=True)
class Choice:
    """One rater's "this one rather than that one": `chosen` is preferred to `other`."""

    chosen: str
    other: str

    def __post_init__(self) -> None:
        if self.chosen == self.other:
            raise BeholderError(f"a choice needs two different images, got {self.chosen!r} twice: remove it")


@dataclass(frozen=True)
class Choices:
    """The pairwise choices of one rater, in the order they were made. The same pair may occur more than once."""

    choices: tuple[Choice, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(c if isinstance(c, Choice) else Choice(*map(str, c)) for c in self.choices))

    def __len__(self) -> int:
        return len(self.choices)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices)

    @property
    def images(self) -> list[str]:
        """Every image that occurs, once, in order of first appearance."""
        return list(dict.fromkeys(image for choice in self.choices for image in (choice.chosen, choice.other)))

    @classmethod
    def from_csv(cls, path: str | os.PathLike, *, rater: str | None = None) -> Choices:
        """Read columns left, right, chosen ("left", "right" or the image itself) and optionally rater.

        Raises:
            BeholderError: as for `Ratings.from_csv`.
        """
        path = Path(path)
        rows = read_table(path, what="choices")
        for name in ("left", "right", "chosen"):
            if rows and name not in rows[0]:
                raise BeholderError(
                    f"{path} has no column {name}: it has {', '.join(k for k in rows[0] if k != '_line')}; name them left, right, chosen"
                )
        return cls(tuple(parse_choice(row, path=path) for row in _rows_of(rows, rater=rater, path=path)))

    def to_csv(self, path: str | os.PathLike, *, rater: str | None = None) -> None:
        """Write columns [rater,] left, right, chosen."""
        rows = [
            ({"rater": rater} if rater is not None else {}) | {"left": c.chosen, "right": c.other, "chosen": "left"} for c in self.choices
        ]
        write_table(path, rows, columns=(["rater"] if rater is not None else []) + ["left", "right", "chosen"])


def parse_choice(row: Mapping[str, str], *, path: Path) -> Choice:
    """One row (left, right, chosen, _line) of a choices table."""
    left, right, chosen = row["left"], row["right"], row["chosen"]
    if not left or not right or chosen not in ("left", "right", left, right):
        raise BeholderError(f"{path} line {row['_line']}: chosen = {chosen!r}; write left, right, or one of the two images")
    try:
        return Choice(left, right) if chosen in ("left", left) else Choice(right, left)
    except BeholderError as error:
        raise BeholderError(f"{path} line {row['_line']}: {error}") from None


def read_table(path: str | os.PathLike, *, what: str) -> list[dict[str, str]]:
    """Rows of a CSV file as dictionaries: names lower-cased, blanks stripped, `_line` = its line number (as text).

    Args:
        path: UTF-8 (a byte-order mark is fine), separated by comma, semicolon or tab; first line = column names.
        what: what the file holds, for the error message.

    Raises:
        BeholderError: missing, unreadable, not UTF-8, or a row longer than the header.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BeholderError(f"{what} {path} cannot be read: {error.strerror or error}; give the path of a CSV file") from None
    except UnicodeDecodeError as error:
        raise BeholderError(f"{what} {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if len(set(names)) < len(names):
            raise BeholderError(f"{what} {path}: a column name occurs twice ({', '.join(names)}); rename one")
        rows = []
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) > len(names):
                raise BeholderError(
                    f"{what} {path} line {reader.line_num}: {len(values)} values for {len(names)} columns; quote values that hold {delimiter!r}"
                )
            values = [value.strip() for value in values] + [""] * (len(names) - len(values))
            rows.append(dict(zip(names, values, strict=True)) | {"_line": str(reader.line_num)})
    except csv.Error as error:
        raise BeholderError(f"{what} {path} line {reader.line_num}: {error}; is it a CSV file?") from None
    return rows


def write_table(path: str | os.PathLike, rows: Iterable[Mapping[str, object]], *, columns: Sequence[str]) -> None:
    """Write UTF-8 CSV through a temporary file, so that a full disk or an interruption never leaves half a file.

    File names that are not UTF-8 are written byte for byte.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(columns), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BeholderError(f"{path} cannot be written: {error.strerror or error}; choose another place") from None


def _column(row: Mapping[str, str], names: Sequence[str], *, path: Path) -> str:
    for name in names:
        if name in row:
            return name
    have = ", ".join(name for name in row if name != "_line")
    raise BeholderError(f"{path} has no column {names[0]}: it has {have}; rename one to {names[0]}")


def _rows_of(rows: list[dict[str, str]], *, rater: str | None, path: Path) -> list[dict[str, str]]:
    """The rows of one rater; a file of several raters needs to be told which."""
    raters = sorted({row["rater"] for row in rows if row.get("rater")})
    if rater is None or not raters:
        if len(raters) > 1:
            shown = ", ".join(raters[:5]) + (", ..." if len(raters) > 5 else "")
            raise BeholderError(f"{path} holds the ratings of {len(raters)} raters ({shown}): say which one with --rater NAME")
        return rows
    if rater not in raters:
        raise BeholderError(f"{path} has no ratings by {rater!r}: it has {', '.join(raters[:5])}{', ...' if len(raters) > 5 else ''}")
    return [row for row in rows if row.get("rater") == rater]


def _score(value: object, *, image: object, scale: Scale) -> float:
    if isinstance(value, str):
        value = value.replace(",", ".")  # the decimal comma that comes with semicolon-separated files
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise BeholderError(f"score = {value!r} of {image} is not a number: give one from {scale.low:g} to {scale.high:g}")
    if not scale.contains(score):
        raise BeholderError(
            f"score = {score:g} of {image} is outside the scale {scale.low:g} to {scale.high:g}: correct it, or give the scale it is on (--scale LOW-HIGH)"
        )
    return min(max(score, scale.low), scale.high)
