"""What is known of images beside their pixels: the prompt a generated image was made from, and its metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beholder.errors import BeholderError
from beholder.ratings import IMAGE_COLUMNS, read_table


@dataclass(frozen=True)
class About:
    """What is known of one image.

    Args:
        prompt: the text it was generated from, "" if there is none.
        metadata: name ("style", "type", "category", ...) -> text; only what is known, so that no value is "".
    """

    prompt: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.prompt or self.metadata)


def read_about(path: str | os.PathLike, folder: str | os.PathLike | None = None) -> dict[str, About]:
    """Read a CSV file with a column image, a column prompt and any others, which are metadata. Rows without prompt and metadata say nothing.

    Args:
        path: UTF-8, separated by comma, semicolon or tab; image may be called image_path, path, file, filename or item.
        folder: what relative paths are relative to. None leaves them as they are written, to be looked up later (`Eye.rank`).

    Returns:
        path as text -> what is known of that image.

    Raises:
        BeholderError: unreadable, not UTF-8, no column for the image, an empty image, or two rows that describe an image differently.
    """
    path = Path(path)
    rows = read_table(path, what="prompts and metadata")
    names = [name for name in rows[0] if name != "_line"] if rows else []
    column = next((name for name in IMAGE_COLUMNS if name in names), None)
    if rows and column is None:
        raise BeholderError(f"{path} has no column image: it has {', '.join(names)}; rename one to image")
    others = [name for name in names if name and name not in (column, "prompt")]
    found: dict[str, tuple[About, str]] = {}
    for row in rows:
        line, image = row["_line"], row[column]
        if not image:
            raise BeholderError(f"{path} line {line}: the image is empty; give its path")
        if folder is not None:
            image = os.path.join(os.fsdecode(folder), os.path.expanduser(image))
        about = About(one_line(row.get("prompt", "")), {name: one_line(row[name]) for name in others if row[name]})
        if not about:
            continue
        before, where = found.setdefault(image, (about, line))
        if before != about:
            raise BeholderError(f"{path} lines {where} and {line} say different things of {image}: keep one")
    return {image: about for image, (about, _) in found.items()}


def one_line(text: str) -> str:
    """The text with every run of blanks and line ends as one blank: two spellings of a prompt that differ in nothing else are one."""
    return " ".join(text.split())
