"""Replies of chat models, kept in one SQLite file: what was answered once is not asked, and not paid, again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beholder.kept_table import KeptTable
from beholder.paths import cache_dir

FILE = "replies.sqlite"
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
        self._table = KeptTable(self.file, table="replies", schema=SCHEMA, what="replies", warning=ReplyCacheWarning)

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Those that are known, marked as cached."""
        sql = (
            "SELECT r.key, r.text, r.refused, r.prompt_tokens, r.completion_tokens FROM json_each(?) AS asked "
            "CROSS JOIN replies AS r ON r.key = asked.value"
        )
        rows = self._table.read(sql, (json.dumps(sorted(keys)),))
        return {
            key: Reply(text, refused=bool(refused), cached=True, prompt_tokens=n_in, completion_tokens=n_out)
            for key, text, refused, n_in, n_out in rows
        }

    def put(self, key: str, reply: Reply) -> None:
        """Keep one."""
        row = (key, reply.text, int(reply.refused), reply.prompt_tokens, reply.completion_tokens, time.time())
        self._table.write("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", [row])
