"""Files that are written whole or not at all: who reads one meanwhile, or after a crash, finds the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path

from beholder.errors import BeholderError


def replace_file(path: Path, data: bytes) -> None:
    """Put data in the place of a file; its folder is made if missing. Raises OSError, and then leaves all as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str, *, advice: str = "choose another place") -> Path:
    """The same for text, in UTF-8; half a surrogate pair, which has no place there, is escaped.

    Raises:
        BeholderError: it cannot be written; ends with the advice.
    """
    try:
        replace_file(path, text.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        raise BeholderError(f"{path} cannot be written ({error.strerror or error}): {advice}") from None
    return path
