"""Replies of chat models, kept in one SQLite file: what was answered once is not asked, and not paid, again."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beholder import wal
from beholder.paths import cache_dir

FILE = "replies.sqlite"
BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, text TEXT NOT NULL, refused INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, created REAL NOT NULL) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        text: without the thoughts between <think> and </think>.
        refused: the model, or a filter in front of it, would not answer.
        cached: it was on disk, or another request of the same call was the same.
        prompt_tokens, completion_tokens: as counted by the server or the tokenizer, when it was computed.
    """

    text: str
    refused: bool = False
    cached: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ReplyCacheWarning(UserWarning):
    """Replies cannot be kept; those given are right all the same."""


class ReplyCache:
    """Key -> reply. Prompts, profiles and images are not in it, only hashes of them (the key).

    Every reply is on disk before `put` returns to its caller, in a transaction of its own: a killed process loses none. Any number
    of threads and processes may use it at once. If the file cannot be read or written, it says so once and goes on in memory.

    Args:
        folder: made if missing. `cache_dir("replies")` if not given.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.file = (Path(folder) if folder is not None else cache_dir("replies")) / FILE
        self._lock = threading.Lock()
        self._db = self._open()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, sqlite3.Error):  # the former if opening it failed
            self._db.close()

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Those that are known, marked as cached."""
        sql = (
            "SELECT r.key, r.text, r.refused, r.prompt_tokens, r.completion_tokens FROM json_each(?) AS asked "
            "CROSS JOIN replies AS r ON r.key = asked.value"
        )
        with self._lock:
            try:
                rows = self._db.execute(sql, (json.dumps(sorted(keys)),)).fetchall()
            except sqlite3.Error as error:
                self._memory_only(error)
                rows = []
        return {
            key: Reply(text, refused=bool(refused), cached=True, prompt_tokens=n_in, completion_tokens=n_out)
            for key, text, refused, n_in, n_out in rows
        }

    def put(self, key: str, reply: Reply) -> None:
        """Keep one."""
        row = (key, reply.text, int(reply.refused), reply.prompt_tokens, reply.completion_tokens, time.time())
        with self._lock:
            try:
                self._write(row)
            except sqlite3.Error as error:
                self._memory_only(error)
                self._write(row)

    def _write(self, row: tuple) -> None:
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)

    def _open(self) -> sqlite3.Connection:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            return _connect(self.file)
        except sqlite3.OperationalError as error:  # locked, read-only, disk full
            return self._in_memory(error)
        except sqlite3.DatabaseError as error:  # not a database: of no use to anybody, but let the user look at it
            with contextlib.suppress(OSError):
                os.replace(self.file, self.file.with_suffix(".damaged"))
                for rest in ("-wal", "-shm"):
                    self.file.with_name(FILE + rest).unlink(missing_ok=True)
            try:
                connection = _connect(self.file)
            except sqlite3.Error as again:
                return self._in_memory(again)
            self._warn(f"the replies kept in {self.file} are damaged ({error}): it is begun anew, the old file has the ending .damaged")
            return connection
        except OSError as error:
            return self._in_memory(error)

    def _memory_only(self, error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._db = self._in_memory(error)

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        reason = getattr(error, "strerror", None) or error
        self._warn(f"replies cannot be kept in {self.file} ({reason}): they are forgotten when this ends; set BEHOLDER_CACHE to another folder")
        return _connect(":memory:")

    def _warn(self, text: str) -> None:
        warnings.warn(text, ReplyCacheWarning, stacklevel=4)


def _connect(file: Path | str) -> sqlite3.Connection:
    connection = wal.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(SCHEMA)
        connection.execute("SELECT COUNT(*) FROM (SELECT 1 FROM replies LIMIT 1)").fetchone()  # reads a page of it: damage shows now
    except sqlite3.Error:
        connection.close()
        raise
    return connection
