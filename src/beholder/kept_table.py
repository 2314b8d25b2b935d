"""One table in one SQLite file, for what may be computed again: where the file cannot be used, it goes on in memory."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from beholder import wal

BUSY_SECONDS = 30.0


class KeptTable:
    """Rows that outlive the process, written in transactions. Any number of threads and processes may use the file at once.

    If the file cannot be read or written, that is said once and the rows are kept in memory; a damaged file is put aside with the ending .damaged.

    Args:
        file: its folder is made if missing.
        table, schema: its name, and the statement that creates it if it does not exist.
        what: it holds, in the plural, for the warnings: "replies".
        warning: category of the warnings.
    """

    def __init__(self, file: Path, *, table: str, schema: str, what: str, warning: type[Warning]) -> None:
        self.file = file
        self._table, self._schema, self._what, self._warning = table, schema, what, warning
        self._lock = threading.Lock()
        self._db = self._open()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, sqlite3.Error):  # the former if opening it failed
            self._db.close()

    def read(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        """The rows that a query gives; none where the file can no longer be read."""
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                self._memory_only(error)
                return []

    def write(self, sql: str, rows: Iterable[tuple]) -> None:
        """One statement for each of the rows; all of them or none. They outlive the process once this returns (a power cut may take the latest)."""
        rows = list(rows)
        with self._lock:
            try:
                self._write(sql, rows)
            except sqlite3.Error as error:
                self._memory_only(error)
                self._write(sql, rows)

    def _write(self, sql: str, rows: list[tuple]) -> None:
        with self._db:
            self._db.executemany(sql, rows)

    def _open(self) -> sqlite3.Connection:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            return self._connect(self.file)
        except sqlite3.OperationalError as error:  # locked, read-only, disk full
            return self._in_memory(error)
        except sqlite3.DatabaseError as error:  # not a database: of no use to anybody, but let the user look at it
            with contextlib.suppress(OSError):
                os.replace(self.file, self.file.with_suffix(".damaged"))
                for rest in ("-wal", "-shm"):
                    self.file.with_name(self.file.name + rest).unlink(missing_ok=True)
            try:
                connection = self._connect(self.file)
            except sqlite3.Error as again:
                return self._in_memory(again)
            self._warn(f"the {self._what} kept in {self.file} are damaged ({error}): it is begun anew, the old file has the ending .damaged")
            return connection
        except OSError as error:
            return self._in_memory(error)

    def _connect(self, file: Path | str) -> sqlite3.Connection:
        connection = wal.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(self._schema)
            connection.execute(f"SELECT COUNT(*) FROM (SELECT 1 FROM {self._table} LIMIT 1)").fetchone()  # reads a page of it: damage shows now
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _memory_only(self, error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._db = self._in_memory(error)

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        reason = getattr(error, "strerror", None) or error
        self._warn(f"{self._what} cannot be kept in {self.file} ({reason}): they are forgotten when this ends; set BEHOLDER_CACHE to another folder")
        return self._connect(":memory:")

    def _warn(self, text: str) -> None:
        warnings.warn(text, self._warning, stacklevel=5)
