"""Keeping a second process out of files that only one may write."""

from __future__ import annotations

from typing import IO


def lock(file: IO) -> bool:
    """Hold an open file until it is closed, which the end of the process does, too.

    Returns:
        False if another process holds it. True also where nobody can: on Windows, and on file systems without locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
