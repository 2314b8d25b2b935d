"""Many single-threaded workers instead of one multi-threaded forward pass.

On a CPU, an image per thread is faster than an image over all threads (no waiting at the end of every layer), and it is
steady: torch's own threads spin while they wait for each other, so that one busy neighbour slows them down tenfold.
"""

from __future__ import annotations

import os
import threading

_here = threading.local()
_setting = threading.Lock()


def mark_worker() -> None:
    """Say that the calling thread is one of several workers: encoders then compute inline, with one torch thread. Imports no torch."""
    _here.worker = True


def is_worker() -> bool:
    return getattr(_here, "worker", False)


def limit_torch() -> None:
    """Make torch use one thread in the calling thread, and leave every other thread as it is."""
    if getattr(_here, "limited", False):
        return
    import torch

    with _setting:
        before = torch.get_num_threads()  # also initialises this thread
        torch.set_num_threads(1)
        if before != 1:
            # The call above counts for this thread, and for threads not yet born. A short-lived thread takes the second half back.
            restore = threading.Thread(target=torch.set_num_threads, args=(before,))
            restore.start()
            restore.join()
    _here.limited = True


def usable_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
