"""Where Beholder keeps what it can compute again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """The cache folder, or a path below it; nothing is created.

    `BEHOLDER_CACHE` names it; else it is the user's cache folder of the operating system (`~/.cache/beholder` on Linux).
    """
    chosen = os.environ.get("BEHOLDER_CACHE")
    if chosen:
        return Path(chosen).expanduser().joinpath(*parts)
    import platformdirs

    return Path(platformdirs.user_cache_dir("beholder", appauthor=False)).joinpath(*parts)
