"""Read, decode and encode many photographs with a few equal workers, in little memory.

Every worker takes whatever is to be done: if enough inputs are ready for a batch it encodes them, else it reads the next
photograph. So no stage waits for another, whichever is the slower one, and the number of decoded images in memory is bounded.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from beholder.backbones import threads
from beholder.backbones.base import ImageEncoder
from beholder.errors import UnreadableImage
from beholder.photos import content_hash, read_photo

READ_ATTEMPTS = 3


@dataclass(frozen=True)
class Done:
    """What became of one photograph: exactly one of `vectors`, `same_content` and `error` is set.

    Args:
        place: of the path in the list given to `run`.
        content: content hash; None if the file could not be read at all.
        vectors: layer -> [dim] float32.
        same_content: nothing was computed, as the store has the content, or another photograph of this run has it.
        error: why it cannot be used.
    """

    place: int
    content: str | None = None
    vectors: dict[str, np.ndarray] | None = None
    same_content: bool = False
    error: UnreadableImage | None = None


class Pipeline:
    """The workers of one run.

    Args:
        paths: [n] photographs.
        missing: [n] content hashes that are known not to be in the store, else None.
        encoder: if its `concurrent` is true, `encode` is called by several workers at once.
        is_stored: whether the features of a content hash are there already; not asked for those in `missing`.
        n_workers: threads.
    """

    def __init__(
        self,
        paths: Sequence[str],
        missing: Sequence[str | None],
        *,
        encoder: ImageEncoder,
        is_stored: Callable[[str], bool],
        n_workers: int,
    ) -> None:
        self._paths, self._missing = paths, missing
        self._encoder, self._is_stored = encoder, is_stored
        self._n_workers = max(1, min(n_workers, len(paths)))
        self._state = threading.Condition()
        self._next = 0  # place of the next photograph to read
        self._reading = 0
        self._encoding = 0
        self._ready: list[tuple[int, str, np.ndarray]] = []
        self._claimed: set[str] = set()
        self._stopped = False
        self._done: queue.SimpleQueue[Done | BaseException | None] = queue.SimpleQueue()

    def run(self) -> Iterator[Done]:
        """One `Done` per photograph, in the order in which they are finished.

        Closing the iterator stops the workers after what they have in hand; `leftover` then gives what they finished.

        Raises:
            Exception: whatever the encoder raised.
        """
        workers = [threading.Thread(target=self._work, name=f"beholder-{i}", daemon=True) for i in range(self._n_workers)]
        for worker in workers:
            worker.start()
        try:
            running = len(workers)
            while running:
                done = self._done.get()
                if done is None:
                    running -= 1
                elif isinstance(done, BaseException):
                    raise done
                else:
                    yield done
        finally:
            with self._state:
                self._stopped = True
                self._state.notify_all()
            for worker in workers:
                worker.join()

    def leftover(self) -> Iterator[Done]:
        """After `run` was closed early: what was finished but not handed out."""
        while not self._done.empty():
            done = self._done.get()
            if isinstance(done, Done):
                yield done

    def _work(self) -> None:
        threads.mark_worker()
        try:
            while (job := self._job()) is not None:
                job()
        except BaseException as error:
            with self._state:
                self._stopped = True
                self._state.notify_all()
            self._done.put(error)
        finally:
            self._done.put(None)

    def _job(self) -> Callable[[], None] | None:
        """The next thing to do; waits while there is nothing; None at the end."""
        batch = self._batch_size()
        most = 2 * batch + self._n_workers
        with self._state:
            while True:
                if self._stopped:
                    return None
                to_read = self._next < len(self._paths)
                may_encode = getattr(self._encoder, "concurrent", False) or not self._encoding
                if self._ready and may_encode and (len(self._ready) >= batch or not (to_read or self._reading)):
                    inputs = self._take(batch)
                    self._encoding += 1
                    return lambda: self._encode(inputs)
                if to_read and len(self._ready) + self._reading < most:
                    place, self._next = self._next, self._next + 1
                    self._reading += 1
                    return lambda: self._read(place)
                if not (to_read or self._reading or self._ready):
                    return None
                self._state.wait()

    def _batch_size(self) -> int:
        """Asked only once there is something to encode: the answer may need torch."""
        if not self._ready:
            return 1
        return getattr(self._encoder, "batch_size", 1)

    def _take(self, batch: int) -> list[tuple[int, str, np.ndarray]]:
        """Up to `batch` ready inputs of the shape of the oldest."""
        shape = self._ready[0][2].shape
        taken = [item for item in self._ready if item[2].shape == shape][:batch]
        places = {item[0] for item in taken}
        self._ready = [item for item in self._ready if item[0] not in places]
        return taken

    def _read(self, place: int) -> None:
        done, ready = None, None
        content = None
        try:
            self._announce(place + self._n_workers)
            for _ in range(READ_ATTEMPTS):
                before = _state(self._paths[place])
                content = content_hash(self._paths[place])
                with self._state:
                    first = content not in self._claimed
                    self._claimed.add(content)
                if not first or (content != self._missing[place] and self._is_stored(content)):
                    done = Done(place, content, same_content=True)
                    break
                image = read_photo(self._paths[place], min_side=self._encoder.read_size)
                if before == _state(self._paths[place]):
                    ready = (place, content, self._encoder.preprocess(image))
                    break
                with self._state:  # what was decoded is not what was hashed
                    self._claimed.discard(content)
            else:
                raise UnreadableImage(self._paths[place], "changes while it is being read: run it again")
        except UnreadableImage as error:
            done = Done(place, content, error=error)
        finally:
            with self._state:
                self._reading -= 1
                if ready is not None:
                    self._ready.append(ready)
                self._state.notify_all()
        if done is not None:
            self._done.put(done)

    def _announce(self, place: int) -> None:
        """Let the system start to read a photograph that will be needed soon, so that no worker waits for the disk."""
        if place >= len(self._paths) or not hasattr(os, "posix_fadvise"):
            return
        try:
            handle = os.open(self._paths[place], os.O_RDONLY | os.O_NONBLOCK)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(handle)
        except (OSError, ValueError):
            pass  # reading it will say why

    def _encode(self, items: list[tuple[int, str, np.ndarray]]) -> None:
        try:
            vectors = self._encoder.encode([array for _, _, array in items])
        finally:
            with self._state:
                self._encoding -= 1
                self._state.notify_all()
        for row, (place, content, _) in enumerate(items):
            self._done.put(Done(place, content, vectors={layer: rows[row] for layer, rows in vectors.items()}))


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        state = os.stat(path)
        return (state.st_size, state.st_mtime_ns, state.st_ino)
    except (OSError, ValueError):
        return None  # reading it will say why
