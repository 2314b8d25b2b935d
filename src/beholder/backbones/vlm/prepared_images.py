"""Photographs as a model sees them, read in several threads and kept while memory allows: the same ones are often needed again."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from beholder.backbones.threads import usable_cores
from beholder.backbones.vlm.base import PreparedImage, VisionLanguageModel
from beholder.errors import UnreadableImage
from beholder.photos import content_hash, read_photo

MEMORY = 1 << 30  # bytes
MOST_THREADS = 4


class PreparedImages:
    """What a model's `prepare` gives for files; found by content, the least recently used are let go.

    Args:
        vlm: prepares them.
        memory: bytes kept at most.
    """

    def __init__(self, vlm: VisionLanguageModel, *, memory: int = MEMORY) -> None:
        self._vlm, self._memory = vlm, memory
        self._kept: OrderedDict[str, PreparedImage] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def __call__(self, paths: Sequence[str | os.PathLike]) -> list[PreparedImage]:
        """In their order.

        Raises:
            UnreadableImage: one of them cannot be read.
        """
        found = []
        for one in self.stream(paths):
            if isinstance(one, UnreadableImage):
                raise one
            found.append(one)
        return found

    def problems(self, paths: Sequence[str | os.PathLike]) -> list[UnreadableImage | None]:
        """Why photographs cannot be read; None for those that can."""
        return [one if isinstance(one, UnreadableImage) else None for one in self.stream(paths)]

    def stream(self, paths: Sequence[str | os.PathLike]) -> Iterator[PreparedImage | UnreadableImage]:
        """In their order, a few read ahead; the error of those that cannot be read."""
        workers = min(MOST_THREADS, usable_cores())
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future] = deque()
            for path in paths:
                waiting.append(pool.submit(self._one, os.fspath(path)))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _one(self, path: str) -> PreparedImage | UnreadableImage:
        try:
            content = content_hash(path)
            with self._lock:
                if content in self._kept:
                    self._kept.move_to_end(content)
                    return self._kept[content]
            made = self._vlm.prepare(read_photo(path, min_side=math.ceil(math.sqrt(self._vlm.max_pixels))))
        except UnreadableImage as error:
            return error
        with self._lock:
            if content not in self._kept:
                self._kept[content] = made
                self._bytes += _size(made)
            while self._bytes > self._memory and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return made


def _size(image: PreparedImage) -> int:
    return sum(array.nbytes for array in image.arrays.values())
