"""Shards: the files of the feature store. One safetensors file holds the features of some hundred images, and checks itself.

Tensors of a shard of n images:
    image         [n, 16] uint8     content hash of each image
    <layer>       [n, dim] float32  one per layer
    sum:<layer>   [n] int64         checksum of each row of the layer
The metadata (encoder, revision, preprocessing) say what the features are, so that the index can be rebuilt from the shards.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

FORMAT = "beholder-features-1"
SUFFIX = ".safetensors"
TYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8}
SPARSE = 8  # rows that span more than this times their number are read one by one


@dataclass(frozen=True)
class FeatureSpace:
    """What a feature is a feature of, besides the image: features of different spaces must never be mixed."""

    encoder: str
    revision: str
    preprocessing: str

    @classmethod
    def of(cls, encoder) -> FeatureSpace:
        return cls(encoder.name, encoder.revision, encoder.preprocessing)

    @property
    def key(self) -> str:
        return f"{self.encoder}@{self.revision}/{self.preprocessing}"


class DamagedShard(Exception):
    """The file is not what was written."""


def checksums(rows: np.ndarray) -> np.ndarray:
    """[n, dim] float32 -> [n] int64: the sum of each row's bits, modulo 2^64. As fast as memory, unlike a cryptographic hash."""
    words = np.uint64 if rows.shape[1] % 2 == 0 else np.uint32
    return rows.view(words).sum(axis=1, dtype=np.uint64).view(np.int64)


def write_shard(folder: Path, space: FeatureSpace, contents: Sequence[str], layers: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """Write one shard so that it is either there and complete, or not there: temporary file, fsync, rename.

    Args:
        contents: [n] content hashes, 32 hex digits each.
        layers: layer -> [n, dim] float32.

    Returns:
        The file's name and its size in bytes.

    Raises:
        OSError: read-only, disk full, ...; nothing is left behind.
    """
    from safetensors.numpy import save

    tensors = {"image": np.frombuffer(bytes.fromhex("".join(contents)), dtype=np.uint8).reshape(len(contents), 16)}
    for layer, rows in layers.items():
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        tensors[layer], tensors[f"sum:{layer}"] = rows, checksums(rows)
    data = save(
        tensors,
        metadata={"format": FORMAT, "encoder": space.encoder, "revision": space.revision, "preprocessing": space.preprocessing},
    )
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{uuid.uuid4().hex}{SUFFIX}"
    partial = folder / f".{name}.partial"
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return name, len(data)


class Shard:
    """A shard, open for reading; a context manager. Only the rows asked for are read.

    Plain reads, not a memory map: a failing disk is then an error that can be handled, instead of the end of the process.

    Attributes:
        space: what it holds the features of.
        layers: layer -> dimension.
        n: number of images.

    Raises:
        DamagedShard: truncated, or not a shard.
        OSError: it is gone (FileNotFoundError), or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = None
        try:
            self._file = path.open("rb", buffering=0)
            size = os.fstat(self._file.fileno()).st_size
            length = int.from_bytes(self._file.read(8), "little")
            header = json.loads(self._file.read(min(length, size)))
            metadata = header.pop("__metadata__")
            if metadata["format"] != FORMAT:
                raise ValueError("another format")
            self.space = FeatureSpace(metadata["encoder"], metadata["revision"], metadata["preprocessing"])
            self._tensors = {name: _place(entry, start=8 + length, size=size) for name, entry in header.items()}
            self.n = self._tensors["image"].rows
            self.layers = {name: place.columns for name, place in self._tensors.items() if f"sum:{name}" in self._tensors}
            if any(place.rows != self.n for place in self._tensors.values()):
                raise ValueError("lengths differ")
        except OSError:
            self.close()
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            self.close()
            raise DamagedShard("it is truncated or overwritten") from error

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def contents(self) -> list[str]:
        """[n] content hashes."""
        return [row.tobytes().hex() for row in self._rows("image", np.arange(self.n))]

    def read(self, rows: np.ndarray, *, layer: str) -> np.ndarray:
        """Rows of a layer: [m] row numbers -> [m, dim] float32, checked.

        Raises:
            DamagedShard: a row is not what was written.
        """
        found = self._rows(layer, rows)
        if not np.array_equal(checksums(found), self._rows(f"sum:{layer}", rows)[:, 0]):
            raise DamagedShard("its checksum does not fit")
        return found

    def check_images(self, rows: np.ndarray, contents: Sequence[str]) -> None:
        """Make sure that `rows` [m] are those of the images with these content hashes [m]; else `DamagedShard`."""
        expected = np.frombuffer(bytes.fromhex("".join(contents)), dtype=np.uint8).reshape(-1, 16)
        if not np.array_equal(self._rows("image", rows), expected):
            raise DamagedShard("its images are not those of the index")

    def _rows(self, tensor: str, rows: np.ndarray) -> np.ndarray:
        """[m, columns]: one read for rows that lie close together, else one read per row."""
        place = self._tensors.get(tensor)
        if place is None or (len(rows) and not 0 <= rows.min() <= rows.max() < self.n):
            raise DamagedShard("rows are missing")
        if not len(rows):
            return np.empty((0, place.columns), dtype=place.kind)
        first, last = int(rows.min()), int(rows.max())
        if (last - first + 1) > SPARSE * len(rows):
            return np.concatenate([self._span(place, int(row), 1) for row in rows])
        span = self._span(place, first, last - first + 1)
        if len(rows) == len(span) and np.array_equal(rows, np.arange(first, last + 1)):
            return span
        return span[rows - first]

    def _span(self, place: Place, first: int, count: int) -> np.ndarray:
        rows = np.empty((count, place.columns), dtype=place.kind)
        target = memoryview(rows).cast("B")
        self._file.seek(place.offset + first * place.columns * place.kind.itemsize)
        done = 0
        while done < len(target):
            read = self._file.readinto(target[done:])
            if not read:
                raise DamagedShard("it is truncated")
            done += read
        return rows


class Place(NamedTuple):
    """Where a tensor [rows, columns] lies in the file; vectors have one column."""

    offset: int
    rows: int
    columns: int
    kind: np.dtype


def _place(entry: dict, *, start: int, size: int) -> Place:
    """The place of a tensor from its header; ValueError if the file is too short for it."""
    begin, end = entry["data_offsets"]
    kind = np.dtype(TYPES[entry["dtype"]])
    rows, columns = entry["shape"] if len(entry["shape"]) == 2 else (*entry["shape"], 1)
    if end - begin != rows * columns * kind.itemsize or start + end > size:
        raise ValueError("shape and size differ")
    return Place(start + begin, rows, columns, kind)


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
