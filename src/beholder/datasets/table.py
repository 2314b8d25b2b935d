"""CSV files as columns: fast enough for a million ratings, with line numbers for messages, without pandas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError

DELIMITERS = ",;\t"
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


@dataclass(frozen=True)
class Table:
    """A CSV file, column by column.

    Args:
        path: of the file.
        columns: name (lower case) -> [n] values as text, blanks at both ends removed.
        lines: [n] line number of each row in the file, the header being line 1.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Where a row is in the file, for messages."""
        return f"line {self.lines[row]}"

    def places(self, rows: Sequence[int]) -> str:
        """Where several rows are, for messages: their number and the first few of them."""
        lines = [self.lines[row] for row in rows[:5]]
        return self.place(rows[0]) if len(rows) == 1 else f"{len(rows)} lines ({some(lines if len(rows) <= 5 else [*lines, 0])})"

    def column(self, *names: str) -> list[str]:
        """The first of `names` that the file has.

        Raises:
            BeholderError: it has none of them.
        """
        for name in names:
            if name in self.columns:
                return self.columns[name]
        raise BeholderError(f"{self.path} has no column {names[0]}: it has {', '.join(self.columns) or 'none'}; rename one to {names[0]}")

    def numbers(self, *names: str) -> np.ndarray:
        """[n] float64; not finite where the text is not a finite number."""
        values = self.column(*names)
        try:
            return np.fromiter(map(float, values), dtype=np.float64, count=len(values))
        except ValueError:
            return np.array([number(value) for value in values], dtype=np.float64)


def read_columns(
    path: Path, *, what: str, only: Collection[str] | None = None, delimiters: str = DELIMITERS, fallback: str | None = None
) -> Table:
    """Read a CSV file, UTF-8, separated by comma, semicolon or tab; the first line names the columns.

    Args:
        path: the file.
        what: what it holds, for messages.
        only: names of the columns to keep (large files); all if None. Columns without a name are left out.
        delimiters: what may separate values; the one that is most frequent in the first line does.
        fallback: the encoding of a file that is not UTF-8; None refuses such a file.

    Raises:
        BeholderError: unreadable, not UTF-8, a column name twice, or more values in a row than there are columns.
    """
    try:
        text = _decoded(path.read_bytes(), fallback=fallback)
    except OSError as error:
        raise BeholderError(f"{what} {path} cannot be read: {error.strerror or error}; give the path of a CSV file") from None
    except UnicodeDecodeError as error:
        raise BeholderError(f"{what} {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    delimiter = delimiter_of(text.partition("\n")[0], delimiters=delimiters)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        keep = [i for i, name in enumerate(names) if name and (only is None or name in only)]
        kept = [names[i] for i in keep]
        if len(set(kept)) < len(kept):
            raise BeholderError(f"{what} {path}: a column name occurs twice ({', '.join(kept)}); rename one")
        rows: list[tuple[str, ...]] = []
        lines: list[int] = []
        width = len(names)
        pick = itemgetter(*keep) if len(keep) > 1 else lambda row: tuple(row[i] for i in keep)
        for row in reader:
            if len(row) != width:
                extra = [value for value in row[width:] if value.strip()]
                if extra:
                    raise BeholderError(
                        f"{what} {path} line {reader.line_num}: {len(row)} values for {width} columns; quote values that hold {delimiter!r}"
                    )
                row = row[:width] + [""] * (width - len(row))
            if not row or (not row[0] and not any(value.strip() for value in row)):
                continue  # an empty line
            rows.append(pick(row))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise BeholderError(f"{what} {path} line {reader.line_num}: {error}; is it a CSV file?") from None
    values = zip(*rows, strict=True) if rows else ((),) * len(keep)
    return Table(path, {name: list(map(str.strip, column)) for name, column in zip(kept, values, strict=True)}, lines)


def _decoded(content: bytes, *, fallback: str | None) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if fallback is None:
            raise
        return content.decode(fallback)


def header_of(path: Path, *, delimiters: str = DELIMITERS) -> list[str]:
    """The column names of a CSV file, lower case; empty if it cannot be read as text."""
    try:
        with path.open("rb") as file:
            line = file.readline(65536).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    return [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter_of(line, delimiters=delimiters)), [])]


def delimiter_of(header: str, *, delimiters: str = DELIMITERS) -> str:
    return max(delimiters, key=header.count)


def number(value: str) -> float:
    """The finite number that `value` says, else nan."""
    try:
        parsed = float(value)
    except ValueError:
        return math.nan
    return parsed if math.isfinite(parsed) else math.nan


def is_missing(value: str) -> bool:
    """True for an empty cell and the usual ways of writing "not known" (NA, NaN, null)."""
    return value.lower() in MISSING


def some(values: Sequence[object], *, most: int = 5) -> str:
    """The first few of a list, for messages: "a, b, c, ..."."""
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def latest_rows(first: np.ndarray, second: np.ndarray, *, time: np.ndarray | None = None) -> np.ndarray:
    """Of rows with the same (first, second) the latest, in the order of the rows.

    Args:
        first, second: [n] int, not negative.
        time: [n] seconds; without it, or where it is not finite, a later row is the later one.

    Returns:
        [m] int, ascending row indices.
    """
    key = first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second
    order = np.arange(len(key)) if time is None else np.lexsort((np.arange(len(key)), np.nan_to_num(time, nan=0.0)))
    reverse = order[::-1]
    _, where = np.unique(key[reverse], return_index=True)
    return np.sort(reverse[where])
