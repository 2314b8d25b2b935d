"""The published results on AesBench: Tables 3 to 7 of the AesExpert paper, every number. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from beholder.critique.aesbench.estimates import Key

_FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table.

    Args:
        label: of the model; "improvement" for differences.
        values: in the units of `Published.units`; improvements of AesI are differences times 100, as printed.
        kind: "base", "tuned" or "improvement" in Tables 4 to 7; "" in Table 3.
        base: the model before tuning, in Tables 4 to 7.
        rank: in Table 3; else 0.
    """

    label: str
    values: Mapping[Key, float]
    kind: str = ""
    base: str = ""
    rank: int = 0


@dataclass(frozen=True)
class PublishedTable:
    """One table: its number, what its columns are, its rows in order."""

    number: str
    title: str
    columns: tuple[Key, ...]
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Published:
    """What the paper says.

    Args:
        units: part -> unit in words.
        remarks: one for each thing that a reader of the numbers has to know.
        tables: by number, "3" to "7".
    """

    source: str
    protocol: str
    units: Mapping[str, str]
    remarks: tuple[str, ...]
    tables: Mapping[str, PublishedTable]


@cache
def published() -> Published:
    """Read from `published.json`."""
    found = json.loads(_FILE.read_text(encoding="utf-8"))
    tables = {}
    for table in found["tables"]:
        columns = tuple(Key(*column) for column in table["columns"])
        rows = tuple(
            PublishedRow(
                row["label"],
                dict(zip(columns, row["values"], strict=True)),
                kind=row.get("kind", ""),
                base=row.get("base", ""),
                rank=row.get("rank", 0),
            )
            for row in table["rows"]
        )
        tables[table["number"]] = PublishedTable(table["number"], table["title"], columns, rows)
    return Published(found["source"], found["protocol"], found["units"], tuple(found["remarks"]), tables)
