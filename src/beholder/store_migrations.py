"""The tables of the store, step by step. A step that has been released is never changed: add another one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence


def m001_raters(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE raters (id INTEGER PRIMARY KEY, name TEXT NOT NULL, key TEXT NOT NULL UNIQUE, profile TEXT NOT NULL, "
        "scale TEXT, created REAL NOT NULL)"
    )


def m002_ratings(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE ratings (id INTEGER PRIMARY KEY, rater INTEGER NOT NULL REFERENCES raters (id) ON DELETE CASCADE, "
        "image NOT NULL, score REAL NOT NULL, scale TEXT NOT NULL, time REAL NOT NULL)"
    )
    db.execute("CREATE INDEX ratings_by_rater ON ratings (rater, time, id)")


def m003_choices(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE choices (id INTEGER PRIMARY KEY, rater INTEGER NOT NULL REFERENCES raters (id) ON DELETE CASCADE, "
        "chosen NOT NULL, other NOT NULL, time REAL NOT NULL)"
    )
    db.execute("CREATE INDEX choices_by_rater ON choices (rater, id)")


MIGRATIONS = (m001_raters, m002_ratings, m003_choices)


def migrate(db: sqlite3.Connection, steps: Sequence[Callable[[sqlite3.Connection], None]] = MIGRATIONS) -> None:
    """Apply the steps that are missing, all in one transaction; safe if two processes do it at once."""
    if applied(db) >= {step.__name__ for step in steps}:
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)")
        done = applied(db)
        for step in steps:
            if step.__name__ not in done:
                step(db)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (step.__name__, time.time()))


def applied(db: sqlite3.Connection) -> set[str]:
    """Names of the steps that have been taken."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone():
        return set()
    return {name for (name,) in db.execute("SELECT name FROM migrations")}
