"""Finding the image files that a dataset's tables name, also when case, Unicode form or slashes differ."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from pathlib import Path, PurePosixPath

from beholder.errors import BeholderError
from beholder.photos import IMAGE_SUFFIXES


def loose(name: str) -> str:
    """A form of a relative path that does not depend on case, Unicode composition or the kind of slash."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.strip().replace("\\", "/"))).casefold()


def image_files(folder: Path) -> list[str]:
    """The image files below `folder`, as sorted relative paths with forward slashes; hidden ones are left out."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(where).relative_to(folder).as_posix()
        found += [
            posixpath.normpath(posixpath.join(relative, name))
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


class ImageFolder:
    """Looks names up in a folder of images.

    Attributes:
        folder: the folder.
        respelled: name as asked for -> path on disk, for those found only by the loose form.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.respelled: dict[str, str] = {}
        self._known: dict[str, str | None] = {}
        self._loose: dict[str, list[str]] | None = None

    def find(self, name: str) -> str | None:
        """The path relative to the folder as it is on disk; None if there is no such file.

        Raises:
            BeholderError: the name points outside the folder.
        """
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> str | None:
        plain = posixpath.normpath(name)
        if plain.startswith(("/", "../")) or plain == ".." or PurePosixPath(plain).is_absolute():
            raise BeholderError(f"image {name!r} points outside {self.folder}: give paths relative to that folder")
        if os.path.isfile(self.folder / plain):
            return plain
        if self._loose is None:
            self._loose = {}
            for path in image_files(self.folder):
                self._loose.setdefault(loose(path), []).append(path)
        for form in (loose(name), loose(name).removeprefix(f"{self.folder.name.casefold()}/")):
            if len(self._loose.get(form, [])) == 1:  # two files that differ in case only: neither is meant for sure
                self.respelled[name] = self._loose[form][0]
                return self.respelled[name]
        return None
