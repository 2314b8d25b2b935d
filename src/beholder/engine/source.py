"""Features for scorers: a list of photographs in, a matrix out; what was seen before stays in memory."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from beholder.backbones.base import ImageEncoder
from beholder.engine.local import Indexed, Progress, chosen_layers, index
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
            indexed = self.index([paths[place] for place in missing], progress=progress)
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

    def index(self, images: Sequence[str | os.PathLike], *, progress: Progress | None = None, collect: bool = True) -> Indexed:
        """Look the photographs up and compute what is missing; those that cannot be read are named. See `engine.local.index`."""
        return index(
            images,
            encoder=self.encoder,
            store=self.store,
            layers=list(self.layers),
            progress=progress,
            workers=self._workers,
            collect=collect,
        )

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


class JointFeatures:
    """Features of several encoders, one after the other; each encoder keeps its own place in the store, so nothing is computed twice.

    Args:
        parts: of different encoders.

    Attributes:
        dim, key, layers, token_widths: as of `Features`; a layer name that several parts have is written "ENCODER/PREPROCESSING:LAYER".
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts = tuple(parts)
        self.dim = sum(part.dim for part in self.parts)
        self.key = " + ".join(part.key for part in self.parts)
        names = [layer for part in self.parts for layer in part.layers]
        self.layers: dict[str, slice] = {}
        self.token_widths: dict[str, int] = {}
        for part, start in zip(self.parts, self._starts(), strict=True):
            for layer, columns in part.layers.items():
                name = layer if names.count(layer) == 1 else f"{part.encoder.name}/{part.encoder.preprocessing}:{layer}"
                self.layers[name] = slice(start + columns.start, start + columns.stop)
                self.token_widths |= {name: part.token_widths[layer]} if layer in part.token_widths else {}

    def _starts(self) -> list[int]:
        return [sum(part.dim for part in self.parts[:place]) for place in range(len(self.parts))]

    @property
    def store(self) -> FeatureStore:
        """The store of the first; the parts may share one."""
        return self.parts[0].store

    def __call__(self, images: Sequence[str | os.PathLike], *, progress: Progress | None = None) -> np.ndarray:
        """As of `Features`."""
        found = np.hstack([part(images, progress=self._share(progress, place)) for place, part in enumerate(self.parts)])
        found.flags.writeable = False
        return found

    def index(self, images: Sequence[str | os.PathLike], *, progress: Progress | None = None, collect: bool = True) -> Indexed:
        """As of `Features`: a photograph that one encoder cannot use is skipped for all."""
        images = list(images)
        found = [part.index(images, progress=self._share(progress, place), collect=collect) for place, part in enumerate(self.parts)]
        skipped = {one.path: one for indexed in reversed(found) for one in indexed.skipped}
        keep = [image for image in found[0].images if image not in skipped]
        features = np.hstack([_rows(indexed, keep) if collect else indexed.features for indexed in found])
        return Indexed(keep, features, list(skipped.values()), found[0].duplicates, sum(indexed.n_computed for indexed in found))

    def keep(self, images: Sequence[str], features: np.ndarray) -> None:
        """As of `Features`."""
        for part, start in zip(self.parts, self._starts(), strict=True):
            part.keep(images, np.ascontiguousarray(features[:, start : start + part.dim]))

    def _share(self, progress: Progress | None, place: int) -> Progress | None:
        """Progress of one part, as progress of all."""
        if progress is None:
            return None
        n = len(self.parts)
        return lambda done, total: progress(place * total + done, n * total)


def _rows(indexed: Indexed, images: Sequence[str]) -> np.ndarray:
    """The features of some of the photographs that were indexed, in the order of `images`."""
    if indexed.images == list(images):
        return indexed.features
    place: Mapping[str, int] = {image: row for row, image in enumerate(indexed.images)}
    return indexed.features[[place[image] for image in images]]


def _key(path: str) -> tuple | None:
    """A file's identity and state, so that a photograph that was replaced is not mistaken for the old one."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return (path, state.st_size, state.st_mtime_ns, state.st_ino)
