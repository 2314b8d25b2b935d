"""The tables of a study's answers, step by step. A step that has been released is never changed: add another one."""

from __future__ import annotations

import sqlite3


def m001_answers(db: sqlite3.Connection) -> None:
    # nothing is overwritten: of several answers to a trial the latest counts. A request that is sent twice is kept once.
    db.execute(
        "CREATE TABLE answers (id INTEGER PRIMARY KEY, trial TEXT NOT NULL, rater TEXT NOT NULL, "
        "chosen TEXT NOT NULL CHECK (chosen IN ('left', 'right')), seconds REAL, time REAL NOT NULL, request TEXT UNIQUE)"
    )
    db.execute("CREATE INDEX answers_by_trial ON answers (trial, id)")


MIGRATIONS = (m001_answers,)

