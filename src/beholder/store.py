"""Raters and what they said, kept in one SQLite file. All SQL about them is here and in `store_migrations`."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beholder import wal
from beholder.errors import BeholderError
from beholder.evidence import name_key
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Choice, Choices, Rating, Ratings
from beholder.scale import Scale
from beholder.store_migrations import MIGRATIONS, applied, migrate

BUSY_SECONDS = 30.0
FILE = "raters.sqlite"


def home_dir() -> Path:
    """Where raters and ratings are kept: `BEHOLDER_HOME`, else the user's data folder of the operating system; nothing is created."""
    chosen = os.environ.get("BEHOLDER_HOME")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("beholder", appauthor=False))


@dataclass(frozen=True)
class Entry:
    """A line of the list of raters: counts of rated images and of choices; created in seconds since 1970."""

    name: str
    n_ratings: int
    n_choices: int
    scale: Scale
    created: float


class Store:
    """The raters of this user. Nothing that was said is overwritten: of several ratings of an image the latest counts.

    Names are compared without regard to case and outer blanks. Any number of processes may use it at once.

    Args:
        folder: made if missing; `home_dir()` if not given.

    Raises:
        BeholderError: the file is damaged, locked, of a newer version, or cannot be opened; also from every method.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.file = (Path(folder) if folder is not None else home_dir()) / FILE
        self._db = self._open()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # raters

    def add(self, name: str, *, profile: Profile | None = None, scale: Scale | None = None) -> str:
        """Add a rater; returns the name without outer blanks.

        Args:
            scale: on which this rater scores; that of the first ratings if not given.

        Raises:
            BeholderError: the name is empty or taken.
        """
        name = _clean(name)
        with self._writing() as db:
            self._refuse_taken(name)
            db.execute(
                "INSERT INTO raters (name, key, profile, scale, created) VALUES (?, ?, ?, ?, ?)",
                (name, name_key(name), _profile_text(profile or Profile()), str(scale) if scale else None, time.time()),
            )
        return name

    def __contains__(self, name: str) -> bool:
        return bool(self._all("SELECT 1 FROM raters WHERE key = ?", name_key(name)))

    def names(self) -> list[str]:
        """In alphabetical order."""
        return [name for (name,) in self._all("SELECT name FROM raters ORDER BY key")]

    def entries(self) -> list[Entry]:
        """All raters, in alphabetical order."""
        rows = self._all(
            "SELECT name, (SELECT COUNT(DISTINCT image) FROM ratings WHERE rater = raters.id), "
            "(SELECT COUNT(*) FROM choices WHERE rater = raters.id), scale, created FROM raters ORDER BY key"
        )
        return [Entry(name, n, m, Scale.parse(scale) if scale else Scale(), created) for name, n, m, scale, created in rows]

    def get(self, name: str) -> Rater:
        """A rater with profile, ratings (the latest per image, on the rater's scale) and choices.

        Raises:
            BeholderError: there is no such rater; names the nearest.
        """
        number, spelled, profile, scale = self._row(name)
        scale = Scale.parse(scale) if scale else Scale()
        return Rater(
            name=spelled,
            profile=Profile.from_dict(json.loads(profile)),
            ratings=Ratings([rating for rating, _ in self._ratings(number, scale)], scale=scale),
            choices=self._choices(number),
        )

    def rename(self, name: str, *, to: str) -> str:
        """Give a rater another name (or another spelling of it); returns the new one."""
        to = _clean(to)
        with self._writing() as db:
            number, *_ = self._row(name)
            if name_key(to) != name_key(name):
                self._refuse_taken(to)
            db.execute("UPDATE raters SET name = ?, key = ? WHERE id = ?", (to, name_key(to), number))
        return to

    def delete(self, name: str) -> None:
        """Remove a rater with profile, ratings and choices, for good."""
        with self._writing() as db:
            db.execute("DELETE FROM raters WHERE id = ?", (self._row(name)[0],))

    def set_profile(self, name: str, profile: Profile) -> None:
        """Replace the profile."""
        with self._writing() as db:
            db.execute("UPDATE raters SET profile = ? WHERE id = ?", (_profile_text(profile), self._row(name)[0]))

    # what they said

    def add_ratings(self, name: str, ratings: Ratings) -> int:
        """Append ratings; those without a time get the present one. They keep their scale, and are converted when read.

        Returns:
            How many were new or changed something: one that repeats the latest of its image is not kept again.
        """
        with self._writing() as db:
            number, _, _, scale = self._row(name)
            if not scale:
                db.execute("UPDATE raters SET scale = ? WHERE id = ?", (str(ratings.scale), number))
                scale = str(ratings.scale)
            latest = {rating.image: (rating, as_given) for rating, as_given in self._ratings(number, Scale.parse(scale))}
            now, rows = time.time(), []
            for rating in ratings:
                before, as_given = latest.get(rating.image, (None, None))
                repeated = as_given == (rating.score, str(ratings.scale)) and rating.time in (None, before.time)
                if not repeated:
                    when = now if rating.time is None else rating.time
                    rows.append((number, _to_sql(rating.image), rating.score, str(ratings.scale), when))
            db.executemany("INSERT INTO ratings (rater, image, score, scale, time) VALUES (?, ?, ?, ?, ?)", rows)
        return len(rows)

    def add_choices(self, name: str, choices: Choices) -> int:
        """Append choices. The same pair may be chosen between more than once; returns how many were added."""
        with self._writing() as db:
            number, now = self._row(name)[0], time.time()
            rows = [(number, _to_sql(choice.chosen), _to_sql(choice.other), now) for choice in choices]
            db.executemany("INSERT INTO choices (rater, chosen, other, time) VALUES (?, ?, ?, ?)", rows)
        return len(rows)

    # inside

    def _ratings(self, number: int, scale: Scale) -> Iterator[tuple[Rating, tuple[float, str]]]:
        """All ratings, oldest first: converted to `scale`, and (score, scale) as given."""
        scales: dict[str, Scale] = {}
        rows = self._all("SELECT image, score, scale, time FROM ratings WHERE rater = ? ORDER BY time, id", number)
        for image, score, given, when in rows:
            own = scales.setdefault(given, Scale.parse(given))
            converted = score if own == scale else float(own.convert(score, to=scale))
            yield Rating(_from_sql(image), converted, when), (score, given)

    def _choices(self, number: int) -> Choices:
        rows = self._all("SELECT chosen, other FROM choices WHERE rater = ? ORDER BY id", number)
        return Choices(tuple(Choice(_from_sql(chosen), _from_sql(other)) for chosen, other in rows))

    def _row(self, name: str) -> tuple[int, str, str, str | None]:
        rows = self._all("SELECT id, name, profile, scale FROM raters WHERE key = ?", name_key(name))
        if rows:
            return rows[0]
        known = {name_key(one): one for one in self.names()}
        close = difflib.get_close_matches(name_key(name), known, n=1)
        hint = f"did you mean {known[close[0]]}? " if close else ""
        have = f"known are {', '.join(list(known.values())[:5])}{', ...' if len(known) > 5 else ''}; " if known else "there are none yet; "
        raise BeholderError(f"there is no rater {name!r}: {hint}{have}add one with  beholder raters add NAME")

    def _refuse_taken(self, name: str) -> None:
        rows = self._all("SELECT name FROM raters WHERE key = ?", name_key(name))
        if rows:
            raise BeholderError(f"there is already a rater {rows[0][0]!r} (case and blanks do not count): use that one, or another name")

    def _open(self) -> sqlite3.Connection:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            db = wal.connect(self.file, timeout=BUSY_SECONDS, isolation_level=None)
            db.execute("PRAGMA foreign_keys = ON")
            migrate(db)
        except (sqlite3.OperationalError, OSError) as error:
            db = self._open_to_read(error)
        except sqlite3.DatabaseError as error:
            raise BeholderError(f"the file of raters {self.file} is damaged ({error}): put a copy back, or move it away") from None
        newer = applied(db) - {step.__name__ for step in MIGRATIONS}
        if newer:
            raise BeholderError(f"the file of raters {self.file} is of a newer beholder ({', '.join(sorted(newer))}): update this one")
        return db

    def _open_to_read(self, error: Exception) -> sqlite3.Connection:
        """A folder that cannot be written may still be read."""
        try:
            if self.file.is_file():
                db = sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
                if applied(db) >= {step.__name__ for step in MIGRATIONS}:
                    return db
        except (OSError, sqlite3.Error):
            pass
        raise BeholderError(
            f"the file of raters {self.file} cannot be opened ({getattr(error, 'strerror', None) or error}): "
            "mend that, or name another folder with BEHOLDER_HOME"
        ) from None

    def _all(self, sql: str, *values: object) -> list[tuple]:
        try:
            return self._db.execute(sql, values).fetchall()
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
        return BeholderError(
            f"the file of raters {self.file} cannot be used ({error}), so nothing was changed: check the disk and your rights, or name "
            "another folder with BEHOLDER_HOME"
        )


def _clean(name: str) -> str:
    name = " ".join(str(name).split())
    if not name or not name.isprintable():
        raise BeholderError(f"{name!r} is not a name for a rater: give at least one letter or digit")
    return name


def _profile_text(profile: Profile) -> str:
    values = {key: value for key, value in profile.known().items() if key not in profile.free}
    return json.dumps(values | ({"free": dict(profile.free)} if profile.free else {}), default=str)


def _to_sql(image: str) -> str | bytes:
    """File names that are not UTF-8 are kept as bytes."""
    try:
        image.encode()
    except UnicodeEncodeError:
        return os.fsencode(image)
    return image


def _from_sql(image: str | bytes) -> str:
    return os.fsdecode(image) if isinstance(image, bytes) else image
