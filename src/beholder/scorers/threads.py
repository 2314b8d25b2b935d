"""Small matrices and many threads do not go together; many images do, a chunk of them per thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from beholder.backbones.threads import usable_cores

_lock = threading.Lock()
_users = 0
_limits: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context in which numpy and scipy use one thread.

    For matrices of a few hundred rows BLAS threads cost more than they bring, and while anything else runs they wait for each other: one
    rater's posterior was seen to take 30 times longer with two threads on two busy cores (docs/benchmarks.md). The setting counts for the
    whole process: the first of several users makes it, the last takes it back.
    """
    global _users, _limits
    with _lock:
        _users += 1
        if _users == 1:
            _limits = threadpool_limits(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limits.restore_original_limits()


def in_chunks(work: Callable[[slice], None], n: int, *, size: int) -> None:
    """Call `work` for the slices of 0..n, `size` long; with several of them, in several threads at once."""
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    with one_blas_thread():
        if len(parts) < 2:
            for part in parts:
                work(part)
            return
        with ThreadPoolExecutor(min(usable_cores(), len(parts))) as pool:
            list(pool.map(work, parts))  # raises what `work` raised
