"""The feature store: what an encoder gave for an image is kept on disk, and never computed twice.

A feature is found by content hash x encoder revision x preprocessing x layer; never by a path. Shards (`beholder.shards`)
hold the numbers, an index (`beholder.feature_index`) says what is where. Any number of processes may use one store at once,
and be killed at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from beholder.feature_index import FeatureIndex, FeatureStoreWarning, as_text, file_row
from beholder.paths import cache_dir
from beholder.shards import SUFFIX, DamagedShard, FeatureSpace, Shard, write_shard

__all__ = ["FeatureSpace", "FeatureStore", "FeatureStoreWarning"]

FLUSH_IMAGES = 256  # also what a shard should hold at least: many small ones are slow to read
FLUSH_BYTES = 64 << 20
FLUSH_SECONDS = 1.0  # what a `kill -9` can lose
LEFTOVER_SECONDS = 3600.0  # a temporary file older than this belongs to nobody
SECOND = 1_000_000_000  # nanoseconds


class SmallShard(NamedTuple):
    """A shard that this process wrote, and what is in it: rows = layer -> [n, dim]."""

    shard: int
    name: str
    contents: list[str]
    rows: dict[str, np.ndarray]


class FeatureStore:
    """Features on disk.

    If the folder cannot be read or written, it says so once and goes on in memory. Safe to use from several threads.

    Args:
        folder: made if missing. `cache_dir("features")` if not given.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder = Path(folder) if folder is not None else cache_dir("features")
        self._shard_folder = self.folder / "shards"
        self._lock = threading.RLock()
        self._pending: dict[FeatureSpace, dict[str, dict[str, np.ndarray]]] = {}
        self._pending_files: dict[str, tuple] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._writable = True
        self._small: dict[tuple[FeatureSpace, tuple[str, ...]], list[SmallShard]] = {}
        self._bad: set[str] = set()
        self._index = FeatureIndex(self.folder, on_failure=self._memory_only, on_rebuilt=self._adopt)
        self._adopt()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether results are kept on disk; else they live in memory, until the process ends."""
        return self._writable

    def close(self) -> None:
        """Flush, and let go of the index."""
        with self._lock:
            self.flush()
            try:
                for space, layers in list(self._small) if self._writable else ():
                    self._merge(space, layers)
            except (OSError, sqlite3.Error):
                pass  # they stay as they are
            self._index.close()

    def load(
        self, space: FeatureSpace, contents: Sequence[str], *, layers: Mapping[str, int], out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The features of images.

        Args:
            contents: [n] content hashes, all different.
            layers: layer -> dimension; their vectors are put one after the other.
            out: [n, sum of dimensions] float32 to write into.

        Returns:
            features [n, sum of dimensions] float32, found [n] bool; rows that were not found are not defined.
        """
        if out is None:
            out = np.empty((len(contents), sum(layers.values())), dtype=np.float32)
        have = np.zeros((len(contents), len(layers)), dtype=bool)
        columns, start = {}, 0
        for layer, dim in layers.items():
            columns[layer] = slice(start, start + dim)
            start += dim
        with self._lock:
            waiting = self._pending.get(space)
            for place, content in enumerate(contents if waiting else ()):
                vectors = waiting.get(content, {})
                for number, layer in enumerate(layers):
                    if layer in vectors:
                        out[place, columns[layer]] = vectors[layer]
                        have[place, number] = True
            gone = self._read_all(space, contents, columns, out, have)
            if any(not have[places].all() for places in gone.values()):
                # Another process may have merged shards after we asked where the images lie: ask again.
                gone |= self._read_all(space, contents, columns, out, have)
            for (shard, name), places in gone.items():
                if not have[places].all():
                    self._warn(f"the feature file {self._shard_folder / name} is gone: its images are computed again")
                self._forget(shard, name)
        return out, have.all(axis=1)

    def _read_all(self, space: FeatureSpace, contents, columns, out: np.ndarray, have: np.ndarray) -> dict[tuple[int, str], np.ndarray]:
        """Copy what is there and still missing. Returns (shard, name) -> places of shards whose file is gone."""
        gone = {}
        for shard, name, places, rows in self._index.find(space.key, contents):
            if name in self._bad or have[places].all():
                continue
            before = have[places]
            path = self._shard_folder / name
            try:
                self._read(path, places, rows, contents, columns, out, have)
            except FileNotFoundError:
                gone[shard, name] = places
            except (DamagedShard, ValueError) as error:
                have[places] = before
                self._bad.add(name)
                self._warn(f"the feature file {path} is damaged ({error}): its images are computed again")
                self._forget(shard, name, file_first=True)  # else another process might adopt the damaged file
            except OSError as error:  # a matter of rights or of the disk: leave the file alone
                have[places] = before
                self._bad.add(name)
                self._warn(f"the feature file {path} cannot be read ({error.strerror or error}): its images are computed again")
        return gone

    def _read(self, path: Path, places, rows, contents, columns, out: np.ndarray, have: np.ndarray) -> None:
        target = slice(int(places[0]), int(places[-1]) + 1) if np.all(np.diff(places) == 1) else places
        with Shard(path) as source:
            source.check_images(rows, [contents[place] for place in places])
            for number, (layer, where) in enumerate(columns.items()):
                if layer in source.layers and not have[places, number].all():
                    out[target, where] = source.read(rows, layer=layer)
                    have[places, number] = True

    def add(self, space: FeatureSpace, content: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep the vectors [dim] float32 of one image; they are on disk after the next flush, which comes by itself in time."""
        with self._lock:
            if not self._pending_bytes:
                self._pending_since = time.monotonic()
            copies = {layer: np.array(vector, dtype=np.float32) for layer, vector in vectors.items()}
            self._pending.setdefault(space, {})[content] = copies
            self._pending_bytes += sum(vector.nbytes for vector in copies.values())
            if self._writable and self._due():
                self.flush()

    def _due(self) -> bool:
        return (
            sum(map(len, self._pending.values())) >= FLUSH_IMAGES
            or self._pending_bytes >= FLUSH_BYTES
            or time.monotonic() - self._pending_since >= FLUSH_SECONDS
        )

    def flush(self) -> None:
        """Write to disk what is not there yet. If that is impossible, say so once and keep it in memory."""
        with self._lock:
            if not self._writable or not (self._pending or self._pending_files):
                return
            try:
                for space in list(self._pending):
                    self._write(space, self._pending[space])
                    del self._pending[space]
                self._pending_bytes = 0
                self._index.remember_files(self._pending_files.values())
                self._pending_files.clear()
            except (OSError, sqlite3.Error) as error:
                self._memory_only(error)

    def _write(self, space: FeatureSpace, images: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        by_layers: dict[tuple[str, ...], list[str]] = {}
        for content, vectors in images.items():
            by_layers.setdefault(tuple(sorted(vectors)), []).append(content)
        for layers, contents in by_layers.items():
            rows = {layer: np.stack([images[content][layer] for content in contents]) for layer in layers}
            shard = self._write_shard(space, contents, rows)
            if len(contents) < FLUSH_IMAGES:
                small = self._small.setdefault((space, layers), [])
                small.append(shard)
                if sum(len(one.contents) for one in small) >= FLUSH_IMAGES:
                    self._merge(space, layers)

    def _write_shard(self, space: FeatureSpace, contents: Sequence[str], rows: dict, *, instead_of: Sequence[int] = ()) -> SmallShard:
        name, size = write_shard(self._shard_folder, space, contents, rows)
        dims = {layer: matrix.shape[1] for layer, matrix in rows.items()}
        shard = self._index.enter_shard(name, size=size, space=space.key, layers=dims, contents=contents, instead_of=instead_of)
        return SmallShard(shard, name, list(contents), rows)

    def _merge(self, space: FeatureSpace, layers: tuple[str, ...]) -> None:
        """Put the small shards that this store wrote into one."""
        small = self._small.pop((space, layers), [])
        if len(small) < 2:
            return
        contents = [content for one in small for content in one.contents]
        rows = {layer: np.concatenate([one.rows[layer] for one in small]) for layer in layers}
        self._write_shard(space, contents, rows, instead_of=[one.shard for one in small])
        for one in small:
            with contextlib.suppress(OSError):  # then it is adopted again, and pruned in time
                (self._shard_folder / one.name).unlink()

    def known_files(self, paths: Sequence[str], states: Sequence[os.stat_result | None]) -> list[str | None]:
        """[n] content hashes of files that are unchanged since they were last read (size, time of change, inode); else None.

        Args:
            paths: [n] absolute.
            states: [n] as `os.stat` gives them; None for a file that is not there.
        """
        with self._lock:
            known = self._index.known_files(paths) | self._pending_files
        contents: list[str | None] = []
        for path, state in zip(paths, states, strict=True):
            entry = known.get(as_text(path)) if state is not None else None
            unchanged = entry is not None and entry[:4] == file_row(path, state, None)[:4]
            contents.append(entry[4] if unchanged else None)
        return contents

    def remember_file(self, path: str, state: os.stat_result, content: str) -> None:
        """Note the content hash of a file (absolute path) whose state was taken *before* it was read.

        A file changed a moment ago is not noted: it could change again without a trace in its time. (Some file systems keep
        whole seconds only, the others at least hundredths.)
        """
        age = time.time_ns() - state.st_mtime_ns
        if age > (2 * SECOND if state.st_mtime_ns % SECOND == 0 else SECOND // 20):
            with self._lock:
                self._pending_files[as_text(path)] = file_row(path, state, content)

    def info(self) -> dict:
        """What is in the store: folder, writable, images, files, shards, bytes, spaces {key: {images, shards, bytes}}."""
        with self._lock:
            spaces = {
                key: {"images": images, "shards": shards, "bytes": size}
                for key, images, shards, size in self._index.query(
                    "SELECT s.space, (SELECT COUNT(DISTINCT f.content) FROM features AS f JOIN shards AS t ON t.id = f.shard "
                    "WHERE t.space = s.space), COUNT(*), SUM(s.bytes) FROM shards AS s GROUP BY s.space ORDER BY s.space"
                )
            }
            return {
                "folder": str(self.folder),
                "writable": self._writable,
                "images": self._index.query("SELECT COUNT(DISTINCT content) FROM features")[0][0],
                "files": self._index.query("SELECT COUNT(*) FROM files")[0][0],
                "shards": sum(space["shards"] for space in spaces.values()),
                "bytes": sum(space["bytes"] for space in spaces.values()),
                "spaces": spaces,
            }

    def prune(self, *, max_bytes: int | None = None) -> int:
        """Remove what is of no use: leftovers, shards that others make superfluous, then the oldest until `max_bytes` fit.

        Returns:
            How many bytes were freed.
        """
        with self._lock:
            self.flush()
            freed = self._remove_leftovers()
            rows = self._index.query("SELECT id, name, space, layers, n, bytes FROM shards ORDER BY created, id")
            shards = {row[0]: (*row[1:3], set(json.loads(row[3])), *row[4:]) for row in rows}
            for shard, (name, space, layers, n, size) in list(shards.items()):
                others = [other for other, (_, s, has, *_) in shards.items() if other != shard and s == space and has >= layers]
                doubled = self._index.query(
                    "SELECT COUNT(*) FROM features AS f WHERE f.shard = ? AND EXISTS (SELECT 1 FROM features AS g "
                    "WHERE g.content = f.content AND g.shard IN (SELECT value FROM json_each(?)))",
                    (shard, json.dumps(others)),
                )[0][0]
                if doubled == n:
                    self._forget(shard, name)
                    del shards[shard]
                    freed += size
            total = sum(size for *_, size in shards.values())
            for shard, (name, *_, size) in shards.items():
                if max_bytes is None or total <= max_bytes:
                    break
                self._forget(shard, name)
                total -= size
                freed += size
            self._index.forget_files()
            return freed

    def _remove_leftovers(self) -> int:
        freed = 0
        for partial in self._shard_folder.glob(f".*{SUFFIX}.partial"):
            try:
                state = partial.stat()
                if time.time() - state.st_mtime > LEFTOVER_SECONDS:
                    partial.unlink()
                    freed += state.st_size
            except OSError:  # another process was quicker
                continue
        return freed

    def _forget(self, shard: int, name: str, *, file_first: bool = False) -> None:
        """Remove a shard. Index first, as a rule: a kill in between leaves a good file that is adopted again."""
        try:
            if file_first:
                (self._shard_folder / name).unlink(missing_ok=True)
            self._index.forget_shard(shard)
            (self._shard_folder / name).unlink(missing_ok=True)
        except (OSError, sqlite3.Error) as error:
            self._memory_only(error)

    def _adopt(self) -> None:
        """Enter shards that are on disk but not in the index: their writer was killed in between, or the index is new."""
        known = {name for (name,) in self._index.query("SELECT name FROM shards")} | self._bad
        try:
            with os.scandir(self._shard_folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIX) and entry.name not in known)
        except OSError:
            return  # no shard yet
        for name in names:
            path = self._shard_folder / name
            try:
                with Shard(path) as shard:
                    size, key = path.stat().st_size, shard.space.key
                    self._index.enter_shard(name, size=size, space=key, layers=shard.layers, contents=shard.contents)
            except DamagedShard as error:
                self._bad.add(name)
                self._warn(f"the feature file {path} is damaged ({error}): its images are computed again")
                self._forget(0, name, file_first=True)
            except OSError:
                self._bad.add(name)
            except sqlite3.Error as error:
                self._memory_only(error)
                return

    def _memory_only(self, error: Exception) -> None:
        if self._writable:
            self._writable = False
            self._warn(
                f"features cannot be kept in {self.folder} ({getattr(error, 'strerror', None) or error}), so they are kept in memory "
                "for this run only: free some space there, or name another folder with BEHOLDER_CACHE"
            )

    def _warn(self, message: str) -> None:
        warnings.warn(message, FeatureStoreWarning, stacklevel=3)
