"""From the images that a rater's list names to files that can be read; what cannot be found is counted and named, never lost silently."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from beholder.rater import Rater
from beholder.ratings import Choice, Choices, Rating, Ratings

SHOWN = 3  # names given in a message


class SkippedInput(UserWarning):
    """Something that was given could not be used and was left out; the message says what, why and what to do."""


@dataclass(frozen=True)
class Located:
    """A rater whose ratings and choices name only files that are there.

    Args:
        rater: with the paths of those files.
        ratings_gone, choices_gone: images of ratings, and of choices, that were not found; as the rater's list names them.
    """

    rater: Rater
    ratings_gone: tuple[str, ...] = ()
    choices_gone: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        """Every image that is still named, once."""
        return list(dict.fromkeys([*self.rater.ratings.images, *self.rater.choices.images]))

    def narrowed(self, path_of: Mapping[str, str]) -> Located:
        """The same with other paths.

        Args:
            path_of: path -> the path to use for it (one for all files of the same content). What is not in it is left out.
        """
        ratings, more_ratings_gone = _renamed_ratings(self.rater.ratings, path_of)
        choices, more_choices_gone = _renamed_choices(self.rater.choices, path_of)
        return Located(
            replace(self.rater, ratings=ratings, choices=choices),
            (*self.ratings_gone, *more_ratings_gone),
            (*self.choices_gone, *more_choices_gone),
        )

    def complaints(self) -> list[str]:
        """One sentence for the ratings and one for the choices that were left out, if there are any."""
        found = []
        for gone, n_kept, what in (
            (self.ratings_gone, len(self.rater.ratings), "rating"),
            (self.choices_gone, len(self.rater.choices), "choice"),
        ):
            if gone:
                names = ", ".join(gone[:SHOWN]) + (f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else "")
                found.append(
                    f"{len(gone)} of {len(gone) + n_kept} {what}s are left out, as their images are gone or cannot be read ({names}): "
                    "put the files back, correct the paths, or import them with --root FOLDER"
                )
        return found


def locate(rater: Rater, *, photos: Sequence[str], folders: Iterable[str | os.PathLike] = ()) -> Located:
    """Find the files that a rater's ratings and choices mean.

    A name is taken as it is (absolute, or relative to the working directory), else relative to one of the folders, else as the end of
    the path of exactly one of the photos ("a.jpg" or "trip/a.jpg"; case and Unicode composition matter only if there are several).

    Args:
        photos: paths of the photographs that are looked at.
        folders: where else the names may start.
    """
    names = [*rater.ratings.images, *rater.choices.images]
    return Located(rater).narrowed(find_files(names, photos=photos, folders=folders))


def find_files(names: Iterable[str], *, photos: Sequence[str] = (), folders: Iterable[str | os.PathLike] = ()) -> dict[str, str]:
    """Name -> the file it means, for those that are found; see `locate`."""
    folders = [os.fsdecode(folder) for folder in folders]
    by_name: dict[str, list[str]] = {}

    def find(name: str) -> str | None:
        plain = os.path.expanduser(name)
        for start in ("", *folders):
            path = os.path.join(start, plain)
            if os.path.isfile(path):
                return path
        if not by_name:
            for photo in photos:
                by_name.setdefault(_loose(os.path.basename(photo)), []).append(photo)
        ending = _parts(plain)
        candidates = [photo for photo in by_name.get(_loose(ending[-1]), ()) if _ends_with(photo, ending)] if ending else []
        exact = [photo for photo in candidates if _parts(photo)[-len(ending) :] == ending]
        for group in (exact, candidates):
            if len(group) == 1:
                return group[0]
        return None

    return {name: path for name in dict.fromkeys(names) if (path := find(name)) is not None}


def _renamed_ratings(ratings: Ratings, path_of: Mapping[str, str]) -> tuple[Ratings, list[str]]:
    kept = [Rating(path_of[r.image], r.score, r.time) for r in ratings if r.image in path_of]
    return Ratings(kept, scale=ratings.scale), [r.image for r in ratings if r.image not in path_of]


def _renamed_choices(choices: Choices, path_of: Mapping[str, str]) -> tuple[Choices, list[str]]:
    """Choices between two names of the same photograph say nothing: they go without complaint."""
    kept, gone = [], []
    for choice in choices:
        lost = [image for image in (choice.chosen, choice.other) if image not in path_of]
        if lost:
            gone.append(lost[0])
        elif path_of[choice.chosen] != path_of[choice.other]:
            kept.append(Choice(path_of[choice.chosen], path_of[choice.other]))
    return Choices(tuple(kept)), gone


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def _ends_with(path: str, ending: Sequence[str]) -> bool:
    return [_loose(part) for part in _parts(path)[-len(ending) :]] == [_loose(part) for part in ending]


def _loose(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
