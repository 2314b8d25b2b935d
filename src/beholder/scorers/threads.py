"""Small matrices and many threads do not go together."""

from __future__ import annotations

from threadpoolctl import threadpool_limits


def one_blas_thread() -> threadpool_limits:
    """Context in which numpy and scipy use one thread.

    For matrices of a few hundred rows BLAS threads cost more than they bring, and while anything else runs they wait for each other: one
    rater's posterior was seen to take 30 times longer with two threads on two busy cores (docs/benchmarks.md).
    """
    return threadpool_limits(limits=1, user_api="blas")
