"""What the benchmarks measure time with."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def timed(work: Callable[[], object]) -> tuple[np.ndarray, object]:
    """((wall-clock, processor) seconds, what `work` returned)."""
    start = time.perf_counter(), time.process_time()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.perf_counter() - start[0], time.process_time() - start[1]]), found
