"""The tables of a study's answers, step by step. A step that has been released is never changed: add another one."""

from __future__ import annotations

import sqlite3
import time


def m001_answers(db: sqlite3.Connection) -> None:
    # nothing is overwritten: of several answers to a trial the latest counts. A request that is sent twice is kept once.
    db.execute(
        "CREATE TABLE answers (id INTEGER PRIMARY KEY, trial TEXT NOT NULL, rater TEXT NOT NULL, "
        "chosen TEXT NOT NULL CHECK (chosen IN ('left', 'right')), seconds REAL, time REAL NOT NULL, request TEXT UNIQUE)"
    )
    db.execute("CREATE INDEX answers_by_trial ON answers (trial, id)")


MIGRATIONS = (m001_answers,)


def migrate(db: sqlite3.Connection) -> None:
    """Apply the steps that are missing, all in one transaction; safe if two processes do it at once."""
    if applied(db) >= {step.__name__ for step in MIGRATIONS}:
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)")
        done = applied(db)
        for step in MIGRATIONS:
            if step.__name__ not in done:
                step(db)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (step.__name__, time.time()))


def applied(db: sqlite3.Connection) -> set[str]:
    """Names of the steps that have been taken."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone():
        return set()
    return {name for (name,) in db.execute("SELECT name FROM migrations")}
