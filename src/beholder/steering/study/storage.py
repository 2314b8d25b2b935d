"""A study on the disk: what raters may see, the key to it, and what they answered.

DIR/study.json      what raters may see; never changed after planning:
    {"format": 1, "made_by": text, "question": text, "trials": [{"id": "0001", "rater": name, "prompt": text, "left": "images/x.png",
    "right": "images/y.png"}, ...]}; the trials of a rater stand in the order in which they are to be shown
DIR/images/*.png    the images under random names, without metadata
DIR/key.json        what must stay with whoever runs the study:
    {"format": 1, "study": sha256 of study.json, "seed": n, "repeats": n, "notes": [text], "images": {"images/x.png": {"arm": name, "source": path}},
    "trials": {"0001": {"left": arm, "right": arm, "repeat": n}}, "check": sha256 of the rest}
DIR/answers.sqlite  trial, rater, chosen (left or right), seconds, time: of several answers to a trial the latest counts, none is overwritten
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from beholder import wal
from beholder.errors import BeholderError
from beholder.evidence import name_key
from beholder.ratings import read_table
from beholder.steering.study.migrations import MIGRATIONS
from beholder.store_migrations import applied, migrate

PUBLIC, KEY, ANSWERS = "study.json", "key.json", "answers.sqlite"
FORMAT = 1
SIDES = ("left", "right")
BUSY_SECONDS = 30.0


@dataclass(frozen=True)
class StudyTrial:
    """What a rater is shown: the prompt (goal) both images were made for, and the two files, which tell nothing of their arms."""

    id: str
    rater: str
    prompt: str
    left: Path
    right: Path


@dataclass(frozen=True)
class Answer:
    """chosen: "left" or "right"; seconds the rater took, None if not known; time in seconds since 1970."""

    trial: str
    rater: str
    chosen: str
    seconds: float | None
    time: float


@dataclass(frozen=True)
class TrialKey:
    """Which arm was on which side; repeat counts from 1."""

    left: str
    right: str
    repeat: int


class Study:
    """A planned study. Any number of processes may use one at once; what was answered is on the disk when a method returns.

    Args:
        folder: as `write_study` made it.

    Raises:
        BeholderError: it is no study, damaged, or of a newer version; also from every method that reads or writes.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        said = _json_file(self.folder / PUBLIC, what="study", hint="make one with  beholder study plan --out DIR")
        try:
            self.question = str(said["question"])
            self.trials = {one["id"]: self._trial(one) for one in said["trials"]}
        except (KeyError, TypeError, AttributeError):
            raise BeholderError(f"{self.folder / PUBLIC} is not as it was written: plan the study again in another folder") from None
        self.raters = list(dict.fromkeys(trial.rater for trial in self.trials.values()))
        self._file = self.folder / ANSWERS
        self._db = self._open()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # for raters

    def rater(self, name: str) -> str:
        """The name as the study spells it (case and outer blanks do not count).

        Raises:
            BeholderError: the study has no such rater.
        """
        for known in self.raters:
            if name_key(known) == name_key(name):
                return known
        some = ", ".join(self.raters[:5]) + (", ..." if len(self.raters) > 5 else "")
        raise BeholderError(f"this study has no rater {name!r}: it has {some}")

    def of(self, rater: str) -> list[StudyTrial]:
        """This rater's trials, in the order in which they are shown."""
        rater = self.rater(rater)
        return [trial for trial in self.trials.values() if trial.rater == rater]

    def next(self, rater: str) -> StudyTrial | None:
        """The first trial without an answer; None if there are no more. Asking again gives the same one until it is answered."""
        done = {trial for (trial,) in self._all("SELECT DISTINCT trial FROM answers")}
        return next((trial for trial in self.of(rater) if trial.id not in done), None)

    def progress(self, rater: str) -> tuple[int, int]:
        """(answered, planned) for this rater."""
        done = {trial for (trial,) in self._all("SELECT DISTINCT trial FROM answers")}
        own = self.of(rater)
        return sum(trial.id in done for trial in own), len(own)

    def answer(
        self, trial: str, chosen: str, *, rater: str | None = None, seconds: float | None = None, change: bool = False, request: str | None = None
    ) -> Answer:
        """Keep an answer; returns what is kept.

        Args:
            trial: its id. chosen: "left" or "right".
            rater: who answers; checked if given.
            seconds: from showing to choosing.
            change: the trial may have an answer already, which no longer counts then.
            request: any text that names this one sending of the answer: if it was kept already, nothing happens, so that it may safely be sent again.

        Raises:
            BeholderError: no such trial or side; another rater's trial; answered already.
        """
        row = self._checked(trial, chosen, rater=rater, seconds=seconds)
        with self._writing() as db:
            if request is not None:
                kept = db.execute("SELECT trial, rater, chosen, seconds, time FROM answers WHERE request = ?", (request,)).fetchone()
                if kept and kept[0] != row[0]:
                    raise BeholderError(f"the request {request!r} has answered trial {kept[0]}, not {row[0]}: give every sending of an answer its own name")
                if kept:
                    return Answer(*kept)
            self._keep(db, row, request=request, change=change, now=time.time())
            return Answer(*db.execute("SELECT trial, rater, chosen, seconds, time FROM answers WHERE trial = ? ORDER BY id DESC", (row[0],)).fetchone())

    def import_answers(self, file: str | os.PathLike, *, change: bool = False) -> int:
        """Keep the answers of a CSV file, all of them or none: columns trial, chosen[, rater, seconds, time]; returns how many.

        Args:
            change: see `answer`; a row that only repeats what is kept is no change.
        """
        rows, now = read_table(file, what="answers"), time.time()
        for name in ("trial", "chosen"):
            if rows and name not in rows[0]:
                raise BeholderError(f"{file} has no column {name}: it has {', '.join(key for key in rows[0] if key != '_line')}")
        n = 0
        with self._writing() as db:
            for row in rows:
                try:
                    seconds = _number(row.get("seconds", ""), what="seconds")
                    when = _number(row.get("time", ""), what="time")
                    checked = self._checked(row["trial"], row["chosen"].lower(), rater=row.get("rater") or None, seconds=seconds)
                    n += self._keep(db, checked, request=None, change=change, now=now if when is None else when, repeated=True)
                except BeholderError as error:
                    raise BeholderError(f"{file} line {row['_line']}: {error}; none of its answers was kept") from None
        return n

    # for whoever runs the study

    def answers(self) -> list[Answer]:
        """The answers that count, in the order of the trials.

        Raises:
            BeholderError: an answer belongs to no trial of this study.
        """
        rows = self._all("SELECT trial, rater, chosen, seconds, time FROM answers WHERE id IN (SELECT MAX(id) FROM answers GROUP BY trial)")
        kept = {row[0]: Answer(*row) for row in rows}
        unknown = sorted(set(kept) - set(self.trials))
        if unknown:
            raise BeholderError(
                f"{self._file} has answers to trials that this study does not have ({', '.join(unknown[:3])}): it belongs to another study; "
                "put the right file there"
            )
        return [kept[trial] for trial in self.trials if trial in kept]

    @cached_property
    def key(self) -> dict[str, TrialKey]:
        """Trial -> arms. Reading it ends the blinding of whoever reads.

        Raises:
            BeholderError: the key is missing, was changed, or belongs to another study.
        """
        file = self.folder / KEY
        said = _json_file(file, what="key", hint="put the study's own key there")
        check = said.pop("check", None)
        if check != _digest(_bytes(said)):
            raise BeholderError(f"the key {file} is damaged or was changed (its check sum does not fit): put the original back")
        if said.get("study") != _digest((self.folder / PUBLIC).read_bytes()) or set(said.get("trials", {})) != set(self.trials):
            raise BeholderError(f"the key {file} belongs to another study than {self.folder / PUBLIC}: put the right one there")
        return {trial: TrialKey(one["left"], one["right"], one["repeat"]) for trial, one in said["trials"].items()}

    # inside

    def _trial(self, said: Mapping[str, Any]) -> StudyTrial:
        left, right = (self.folder / str(said[side]) for side in SIDES)
        return StudyTrial(str(said["id"]), str(said["rater"]), str(said["prompt"]), left, right)

    def _checked(self, trial: str, chosen: str, *, rater: str | None, seconds: float | None) -> tuple[str, str, str, float | None]:
        known = self.trials.get(trial) or (self.trials.get(trial.zfill(4)) if trial.isdigit() else None)
        if known is None:
            ids = list(self.trials)
            raise BeholderError(f"this study has no trial {trial!r}: they are called {ids[0]} to {ids[-1]}")
        if chosen not in SIDES:
            raise BeholderError(f"{chosen!r} is no side of trial {known.id}: write left or right")
        if rater is not None and self.rater(rater) != known.rater:
            raise BeholderError(f"trial {known.id} is one of rater {known.rater}, not of {rater}: answer those that  beholder study next  gives")
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise BeholderError(f"seconds = {seconds} is not a duration: give 0 or more")
        return known.id, known.rater, chosen, seconds

    @staticmethod
    def _keep(db: sqlite3.Connection, row: tuple, *, request: str | None, change: bool, now: float, repeated: bool = False) -> bool:
        before = db.execute("SELECT chosen, seconds FROM answers WHERE trial = ? ORDER BY id DESC", (row[0],)).fetchone()
        if repeated and before == (row[2], row[3]):
            return False
        if before and not change:
            raise BeholderError(f"trial {row[0]} is answered already ({before[0]}): to replace that answer, say --change")
        db.execute("INSERT INTO answers (trial, rater, chosen, seconds, time, request) VALUES (?, ?, ?, ?, ?, ?)", (*row, now, request))
        return True

    def _open(self) -> sqlite3.Connection:
        try:
            db = wal.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None)
            migrate(db, MIGRATIONS)
        except sqlite3.Error as error:
            raise BeholderError(f"the answers {self._file} cannot be opened ({error}): check your rights, or put a copy back") from None
        newer = applied(db) - {step.__name__ for step in MIGRATIONS}
        if newer:
            db.close()
            raise BeholderError(f"the answers {self._file} are of a newer beholder ({', '.join(sorted(newer))}): update this one")
        return db

    def _all(self, sql: str) -> list[tuple]:
        try:
            return self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process can come into."""
        try:
            with wal.transaction(self._db) as db:
                yield db
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error) -> BeholderError:
        return BeholderError(f"the answers {self._file} cannot be used ({error}), so nothing was kept: check the disk and your rights")


def public_json(trials: Sequence[Mapping[str, str]], *, made_by: str, question: str) -> bytes:
    """The content of study.json."""
    return _bytes({"format": FORMAT, "made_by": made_by, "question": question, "trials": list(trials)})


def key_json(public: bytes, *, seed: int, repeats: int, notes: Sequence[str], images: Mapping[str, Any], trials: Mapping[str, Any]) -> bytes:
    """The content of key.json for this study.json."""
    said = {"format": FORMAT, "study": _digest(public), "seed": seed, "repeats": repeats, "notes": list(notes), "images": images, "trials": trials}
    return _bytes(said | {"check": _digest(_bytes(said))})


def _json_file(file: Path, *, what: str, hint: str) -> dict[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except OSError as error:
        raise BeholderError(f"the {what} {file} cannot be read ({error.strerror or error}): {hint}") from None
    except ValueError as error:
        raise BeholderError(f"the {what} {file} is damaged ({error}): {hint}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        version = said.get("format") if isinstance(said, dict) else None
        raise BeholderError(f"the {what} {file} has format {version!r}, not {FORMAT}: {hint}")
    return said


def _bytes(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=True, indent=1) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _number(text: str, *, what: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise BeholderError(f"{what} = {text!r} is not a number") from None
