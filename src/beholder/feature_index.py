"""The index of the feature store: an SQLite file that says which shard holds which image. It can be rebuilt from the shards."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from beholder import wal

BUSY_SECONDS = 30.0
FILE = "index.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, space TEXT NOT NULL, layers TEXT NOT NULL,
    n INTEGER NOT NULL, bytes INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS features (content TEXT NOT NULL, shard INTEGER NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY (content, shard)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS features_by_shard ON features (shard);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    content TEXT NOT NULL) WITHOUT ROWID;
"""
FIND = """
SELECT asked.key, f.row, s.id, s.name FROM json_each(?) AS asked CROSS JOIN features AS f ON f.content = asked.value
    JOIN shards AS s ON s.id = f.shard WHERE s.space = ?
"""
KNOWN = "SELECT f.path, f.size, f.mtime_ns, f.inode, f.content FROM json_each(?) AS asked CROSS JOIN files AS f ON f.path = asked.value"


class FeatureStoreWarning(UserWarning):
    """The store cannot do all it should; the results are right all the same."""


class FeatureIndex:
    """The index file. Not for several threads at once; any number of processes may share it.

    Args:
        folder: where the file lies; made if missing.
        on_failure: called with the error if the file cannot be opened or written; a copy in memory is used from then on.
        on_rebuilt: called after a damaged file was replaced by an empty one.
    """

    def __init__(self, folder: Path, *, on_failure: Callable[[Exception], None], on_rebuilt: Callable[[], None]) -> None:
        self._file = folder / FILE
        self._on_failure, self._on_rebuilt = on_failure, on_rebuilt
        self._db = self._open()

    def close(self) -> None:
        self._db.close()

    def query(self, sql: str, values: tuple = ()) -> list[tuple]:
        """All rows of a SELECT. A damaged file is rebuilt."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._remove(error)
            self._db = self._open()
            self._on_rebuilt()
            return self._db.execute(sql, values).fetchall()

    def find(self, space: str, contents: Sequence[str]) -> list[tuple[int, str, np.ndarray, np.ndarray]]:
        """Where images lie: (shard, its name, [m] places in `contents`, [m] rows of the shard, ascending), the newest shard first."""
        by_shard: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for place, row, shard, name in self.query(FIND, (json.dumps(list(contents)), space)):
            by_shard.setdefault((shard, name), []).append((row, place))
        found = []
        for (shard, name), pairs in sorted(by_shard.items(), reverse=True):
            rows, places = np.array(sorted(pairs), dtype=np.int64).T
            found.append((shard, name, places, rows))
        return found

    def enter_shard(
        self, name: str, *, size: int, space: str, layers: Mapping[str, int], contents: Sequence[str], instead_of: Sequence[int] = ()
    ) -> int:
        """Enter a shard that is on disk, in one transaction; nothing happens if it is there (another process adopted it).

        Args:
            size: bytes.
            instead_of: shards that are removed, as this one holds what they held.

        Returns:
            Its number.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            entered = self._db.execute(
                "INSERT OR IGNORE INTO shards (name, space, layers, n, bytes, created) VALUES (?, ?, ?, ?, ?, ?)",
                (name, space, json.dumps(dict(layers)), len(contents), size, time.time()),
            )
            shard = self._db.execute("SELECT id FROM shards WHERE name = ?", (name,)).fetchone()[0]
            if entered.rowcount:
                rows = [(content, shard, row) for row, content in enumerate(contents)]
                self._db.executemany("INSERT OR IGNORE INTO features VALUES (?, ?, ?)", rows)
            for old in instead_of:
                self._db.execute("DELETE FROM features WHERE shard = ?", (old,))
                self._db.execute("DELETE FROM shards WHERE id = ?", (old,))
        return shard

    def forget_shard(self, shard: int) -> None:
        with self._db:
            self._db.execute("DELETE FROM features WHERE shard = ?", (shard,))
            self._db.execute("DELETE FROM shards WHERE id = ?", (shard,))

    def known_files(self, paths: Sequence[str]) -> dict[str, tuple]:
        """Path -> what `remember_files` was given for it (see `file_row`), for those that are known."""
        return {row[0]: row for row in self.query(KNOWN, (json.dumps([as_text(path) for path in paths]),))}

    def remember_files(self, rows: Iterable[tuple]) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

    def forget_files(self) -> None:
        """Those whose content has no features."""
        with self._db:
            self._db.execute("DELETE FROM files WHERE content NOT IN (SELECT content FROM features)")

    def _open(self) -> sqlite3.Connection:
        for attempt in (1, 2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                db = wal.connect(self._file, timeout=BUSY_SECONDS, check_same_thread=False)
                db.execute("PRAGMA synchronous = NORMAL")
                with db:
                    db.executescript(SCHEMA)
                    db.execute("UPDATE shards SET n = n WHERE id = 0")  # a read-only file shows itself here, not after an hour of work
                return db
            except (sqlite3.OperationalError, OSError) as error:  # read-only, disk full, no such folder
                self._on_failure(error)
                break
            except sqlite3.DatabaseError as error:
                if attempt == 2:
                    self._on_failure(error)
                else:
                    self._remove(error)
        return self._copy_in_memory()

    def _copy_in_memory(self) -> sqlite3.Connection:
        """What a read-only index says is worth having: else all images would be encoded again."""
        db = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            if self._file.is_file():
                source = sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
                source.backup(db)
                source.close()
            db.executescript(SCHEMA)
        except (OSError, sqlite3.Error):
            db = sqlite3.connect(":memory:", check_same_thread=False)
            db.executescript(SCHEMA)
        return db

    def _remove(self, error: Exception) -> None:
        warnings.warn(
            f"the index {self._file} is damaged ({error}): it is rebuilt from the feature files", FeatureStoreWarning, stacklevel=2
        )
        for ending in ("", "-wal", "-shm"):
            self._file.with_name(f"{FILE}{ending}").unlink(missing_ok=True)


def file_row(path: str, state: os.stat_result, content: str | None) -> tuple:
    """(path, size, mtime_ns, inode, content), as the index keeps it."""
    inode = state.st_ino - (1 << 64) if state.st_ino >= 1 << 63 else state.st_ino  # unsigned there, signed in SQLite
    return (as_text(path), state.st_size, state.st_mtime_ns, inode, content)


def as_text(path: str) -> str:
    """A path as text that SQLite takes: names that are not UTF-8 are kept as hexadecimal digits."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "bytes:" + os.fsencode(path).hex()
    return path
