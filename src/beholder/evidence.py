"""Reading what a rater said, whichever way: a table of ratings or a table of choices, of one rater or of several."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from beholder.errors import BeholderError
from beholder.ratings import Choices, Ratings, read_table
from beholder.scale import Scale


def name_key(name: str) -> str:
    """Two names with the same key are the same rater: case, outer and repeated blanks and Unicode composition do not matter."""
    return unicodedata.normalize("NFC", " ".join(str(name).split())).casefold()


def read_evidence(path: str | os.PathLike, *, scale: Scale | None = None, rater: str | None = None) -> Ratings | Choices:
    """Read a CSV file of ratings (columns image, score) or of choices (columns left, right, chosen).

    Args:
        scale: of the scores; see `Ratings.from_csv`.
        rater: keep only the rows of this rater, if the file names raters.

    Raises:
        BeholderError: see `Ratings.from_csv` and `Choices.from_csv`; or the file has two spellings of this rater's name.
    """
    path = Path(path)
    rows = read_table(path, what="ratings")
    spelled = spelled_in(rows, rater, path=path) if rater is not None else None
    if rows and "chosen" in rows[0]:
        return Choices.from_csv(path, rater=spelled)
    return Ratings.from_csv(path, scale=scale, rater=spelled)


def raters_in(path: str | os.PathLike) -> list[str]:
    """The raters that a table names, as spelled there; empty if it has no column rater."""
    return sorted({row["rater"] for row in read_table(path, what="ratings") if row.get("rater")})


def spelled_in(rows: list[dict[str, str]], rater: str, *, path: Path) -> str:
    """`rater` as the table spells it; as given if it is not in there."""
    spellings = sorted({row["rater"] for row in rows if row.get("rater") and name_key(row["rater"]) == name_key(rater)})
    if len(spellings) > 1:
        raise BeholderError(
            f"{path} has two raters of the same name ({', '.join(map(repr, spellings))}; case and blanks do not count): rename one of them"
        )
    return spellings[0] if spellings else rater
