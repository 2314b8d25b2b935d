"""Finding the photographs in files and folders. (Reading one: `photos`.)"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import HEIF_SUFFIXES, IMAGE_SUFFIXES, JPEG_SUFFIXES, RAW_SUFFIXES, file_prefix, kind_of, why_no_image

# Thumbnails and rubbish bins that NAS boxes and systems keep beside the photographs. Hidden (".name") ones are left out anyway.
_SIDE_FOLDERS = frozenset(
    {"@eadir", "@__thumb", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found", "system volume information"}
)
# Pictures that people expect to be ranked, so they are named, not passed over in silence.
_UNSUPPORTED_SUFFIXES = frozenset({".jxl", ".jp2", ".j2k", ".psd"})


@dataclass(frozen=True)
class Skipped:
    """A file or folder that could not be used. `reason` is a clause: what is wrong and what to do."""

    path: str
    reason: str


@dataclass(frozen=True)
class Paired:
    """The RAW file `path` is the same photograph as `kept`, so only `kept` is in the list."""

    path: str
    kept: str


@dataclass(frozen=True)
class Found:
    """What `find_photos` found: photographs in order, what was skipped, and RAW files that go with a JPEG or HEIC."""

    photos: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    paired: list[Paired] = field(default_factory=list)


def find_photos(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> Found:
    """List the photographs in files and folders, each once.

    In a folder and all below it: every file with the suffix of an image in any case (or without suffix and an image by content),
    by name, files before sub-folders; hidden ones and system folders such as `@eaDir` are left out, and so are
    other files such as sidecars and videos. A file that is named counts if its suffix or its content is that of an image.
    Links are followed; the same file or folder reached twice counts once, at its first place.

    Args:
        paths: one path or several.

    Returns:
        Paths as given, or the given folder's path with the name appended. Nothing found is no error: see `nothing_found`.

    Raises:
        BeholderError: a path does not exist.
    """
    found = Found()
    seen: set[str] = set()
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = os.fsdecode(path)
        try:
            mode = os.stat(path).st_mode
        except PermissionError:
            found.skipped.append(Skipped(path, "cannot be opened (permission denied): give yourself the right to read it"))
            continue
        except (OSError, ValueError) as error:
            raise BeholderError(_missing(path, error)) from None
        if stat.S_ISDIR(mode):
            for candidate in _walk(path, seen=seen, skipped=found.skipped):
                _add(candidate, found=found, seen=seen, named=False)
        else:
            _add(path, found=found, seen=seen, named=True)
    photos, paired = _without_pairs(found.photos)
    return Found(photos, found.skipped, paired)


def nothing_found(paths: str | os.PathLike | Iterable[str | os.PathLike], *, found: Found) -> str:
    """One sentence for a person whose `find_photos(paths)` has no photos."""
    names = ", ".join(os.fsdecode(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)) or "an empty list"
    if found.skipped:
        first, more = found.skipped[0], len(found.skipped) - 1
        return f"no photographs in {names}: {first.path} {first.reason}" + (f" (and {more} more skipped)" if more else "")
    return f"no photographs in {names}: give a folder that holds JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, HEIC or RAW files"


def _missing(path: str, error: Exception) -> str:
    if any(sign in path for sign in "*?"):
        return f"{path!r} matches no file: check the pattern, or give the folder"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        what = "is a link to something that is gone" if os.path.islink(path) else "does not exist"
        return f"{path!r} {what}: check the spelling, and quote a path that holds blanks"
    return f"{path!r} cannot be used as a path ({getattr(error, 'strerror', None) or error}): check the spelling"


def _walk(folder: str, *, seen: set[str], skipped: list[Skipped]) -> Iterator[str]:
    """Files below a folder, by name, files before sub-folders, each folder once; without recursion, so that no depth is too deep."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                entries = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(folder, f"cannot be listed ({error.strerror or error}): give yourself the right to read it"))
            continue
        folders = []
        for entry in entries:
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False  # e.g. a link to itself: reading says what is wrong
            if is_folder:
                if entry.name.lower() not in _SIDE_FOLDERS:
                    folders.append(entry.path)
            else:
                yield entry.path
        waiting.extend(reversed(folders))


def _add(path: str, *, found: Found, seen: set[str], named: bool) -> None:
    """Put a file where it belongs: photos, skipped, or nowhere."""
    suffix = os.path.splitext(path)[1].lower()
    known = suffix in IMAGE_SUFFIXES
    if not known and not named and suffix and suffix not in _UNSUPPORTED_SUFFIXES:
        return
    real = os.path.realpath(path)
    if real in seen:
        return
    seen.add(real)
    try:
        mode = os.stat(path).st_mode
        if not known or not stat.S_ISREG(mode):
            prefix = file_prefix(path)
            if kind_of(prefix) is None:
                raise UnreadableImage(path, why_no_image(prefix))
    except (OSError, UnreadableImage) as error:
        if known or named or suffix in _UNSUPPORTED_SUFFIXES:
            found.skipped.append(Skipped(path, _reason_of(path, error)))
        return
    found.photos.append(path)


def _reason_of(path: str, error: OSError | UnreadableImage) -> str:
    if isinstance(error, UnreadableImage):
        return error.reason
    if isinstance(error, FileNotFoundError):
        return "is a link to a file that is gone: remove it or mend it" if os.path.islink(path) else "has just been removed: run it again"
    return f"cannot be read ({error.strerror or error}): check the file and your rights to it"


def _without_pairs(photos: Sequence[str]) -> tuple[list[str], list[Paired]]:
    """Cameras write IMG_1.CR3 and IMG_1.JPG of one shot: keep the JPEG (else the HEIC), and say so."""
    cooked: dict[str, str] = {}
    for suffixes in (HEIF_SUFFIXES, JPEG_SUFFIXES):  # JPEG last, so that it counts
        cooked |= {_stem(path): path for path in reversed(photos) if _suffix(path) in suffixes}
    raw = {path: cooked[_stem(path)] for path in photos if _suffix(path) in RAW_SUFFIXES and _stem(path) in cooked}
    return [path for path in photos if path not in raw], [Paired(path, kept) for path, kept in raw.items()]


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
