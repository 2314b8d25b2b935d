"""Features for scorers: a list of photographs in, a matrix out; what was seen before stays in memory."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from beholder.backbones.base import ImageEncoder
from beholder.engine.local import Progress, chosen_layers, index
from beholder.errors import UnreadableImage
from beholder.features import FeatureStore
from beholder.shards import FeatureSpace

MEMORY_BYTES = 512 << 20


class Features:
    """The `FeatureSource` of an encoder (see `beholder.scorers.base`). May be called from several threads.

    Args:
        encoder: is asked only for what is neither in memory nor in the store.
        layers: of the encoder; their vectors are put one after the other. All of them if not given.
        store: opened at the first call if not given.
        memory: bytes of features kept in memory; the least recently used are let go first.

    Attributes:
        dim: sum of the layers' dimensions.
        key: encoder, revision, preprocessing and layers; features of different keys must not be mixed.
        layers: layer -> columns of the result.
        token_widths: layer -> width of one token, for those of the layers that are several tokens one after the other.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        *,
        layers: Sequence[str] | None = None,
        store: FeatureStore | None = None,
        memory: int = MEMORY_BYTES,
        workers: int | None = None,
    ) -> None:
        dims = chosen_layers(encoder, layers)
        self.encoder = encoder
        self.dim = sum(dims.values())
        self.key = f"{FeatureSpace.of(encoder).key}/{'+'.join(dims)}"
        ends = np.cumsum(list(dims.values())).tolist()
        self.layers = {layer: slice(end - dim, end) for (layer, dim), end in zip(dims.items(), ends, strict=True)}
        widths = getattr(encoder, "token_widths", {})
        self.token_widths = {layer: widths[layer] for layer in self.layers if layer in widths}
        self._store, self._workers = store, workers
        self._most = max(1, memory // (4 * self.dim))
        self._rows: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def store(self) -> FeatureStore:
        with self._lock:
            if self._store is None:
                self._store = FeatureStore()
            return self._store

    def __call__(self, images: Sequence[str | os.PathLike], *, progress: Progress | None = None) -> np.ndarray:
        """[n, dim] float32, read-only, in the order of `images`.

        Raises:
            UnreadableImage: one of them cannot be read; sort such out beforehand with `beholder.engine.local.index`.
        """
        paths = [os.fsdecode(image) for image in images]
        keys = [_key(path) for path in paths]
        with self._lock:
            rows = [self._rows.get(key) if key is not None else None for key in keys]
        missing = [place for place, row in enumerate(rows) if row is None]
        if missing:
            indexed = index(
                [paths[place] for place in missing],
                encoder=self.encoder,
                store=self.store,
                layers=list(self.layers),
                progress=progress,
                workers=self._workers,
            )
            if indexed.skipped:
                raise UnreadableImage(indexed.skipped[0].path, indexed.skipped[0].reason)
            for place, row in zip(missing, self._keep([keys[place] for place in missing], indexed.features), strict=True):
                rows[place] = row
        with self._lock:
            for key in keys:
                if key in self._rows:
                    self._rows.move_to_end(key)
        if len(missing) == len(paths):
            return indexed.features if missing else np.empty((0, self.dim), dtype=np.float32)
        found = np.stack(rows)
        found.flags.writeable = False
        return found

    def keep(self, images: Sequence[str], features: np.ndarray) -> None:
        """Remember features [n, dim] that `index` gave for `images` [n]; they become read-only."""
        self._keep([_key(os.fsdecode(image)) for image in images], features)

    def _keep(self, keys: Sequence[tuple | None], features: np.ndarray) -> list[np.ndarray]:
        """The rows of the matrix, not copies of them: therefore nobody may write to it any more."""
        features.flags.writeable = False
        rows = list(features)
        with self._lock:
            self._rows.update((key, row) for key, row in zip(keys, rows, strict=True) if key is not None)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)
        return rows


def _key(path: str) -> tuple | None:
    """A file's identity and state, so that a photograph that was replaced is not mistaken for the old one."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return (path, state.st_size, state.st_mtime_ns, state.st_ino)
