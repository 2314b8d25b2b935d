"""Spreadsheets (.xlsx, .xls) as columns, for datasets whose CSV files somebody saved with a spreadsheet program."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from beholder.datasets.table import Table
from beholder.errors import BeholderError

SUFFIXES = (".xlsx", ".xls")


def read_sheet(path: Path, *, what: str, only: Collection[str] | None = None) -> Table:
    """The first sheet of a workbook; its first row names the columns. Row numbers stand for line numbers.

    Args:
        path: the workbook.
        what: what it holds, for messages.
        only: names (lower case) of the columns to keep; all if None.

    Raises:
        BeholderError: python-calamine is not installed, the file cannot be read, or a column name occurs twice.
    """
    try:
        from python_calamine import CalamineWorkbook
    except ImportError:
        raise BeholderError(
            f"{what} {path} is a spreadsheet, which needs a package that is not installed: run  pip install python-calamine  "
            "or save the table as CSV"
        ) from None
    try:
        rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    except Exception as error:  # its own errors and those of the file formats inside have no common class
        raise BeholderError(f"{what} {path} cannot be read as a spreadsheet ({error}): save the table as CSV") from None
    names = [_text(cell).lower() for cell in rows[0]] if rows else []
    keep = [i for i, name in enumerate(names) if name and (only is None or name in only)]
    kept = [names[i] for i in keep]
    if len(set(kept)) < len(kept):
        raise BeholderError(f"{what} {path}: a column name occurs twice ({', '.join(kept)}); rename one")
    filled = [(line, row) for line, row in enumerate(rows[1:], start=2) if any(cell != "" for cell in row)]
    return Table(path, {names[i]: [_text(row[i]) for _, row in filled] for i in keep}, [line for line, _ in filled])


def _text(cell: object) -> str:
    """A cell as a CSV file would show it: whole numbers without a decimal point."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
