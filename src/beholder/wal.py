"""Opening a SQLite file that several processes write at once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator


def connect(file: str | os.PathLike, *, timeout: float, **options: object) -> sqlite3.Connection:
    """A connection in WAL mode: readers and one writer do not hinder each other.

    Args:
        timeout: seconds to wait for others, here and in every later statement.
        options: of `sqlite3.connect`.

    Raises:
        sqlite3.Error: also when others hold the file for longer than `timeout`.
    """
    db = sqlite3.connect(file, timeout=timeout, **options)
    end = time.monotonic() + timeout
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return db
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself where two connections change the mode of a new file at the same time
            if "locked" not in str(error) or time.monotonic() > end:
                db.close()
                raise
            time.sleep(0.01)
        except BaseException:
            db.close()
            raise


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A transaction that no other process can come into: all of it is kept, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
    except BaseException:
        db.rollback()
        raise
    db.commit()
