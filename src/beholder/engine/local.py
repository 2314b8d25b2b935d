"""Features of many photographs on this machine: look up, compute what is missing, keep it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from beholder.backbones import threads
from beholder.backbones.base import ImageEncoder
from beholder.engine.pipeline import Done, Pipeline
from beholder.errors import BeholderError, UnreadableImage
from beholder.features import FeatureStore
from beholder.folders import Skipped
from beholder.shards import FeatureSpace

ATTEMPTS = 3
CHUNK_BYTES = 32 << 20  # of features read at once where they are not collected
Progress = Callable[[int, int], None]  # photographs done, of how many


@dataclass
class Indexed:
    """Features of the photographs that could be read.

    Args:
        images: [n] paths as given, in the order given, without the skipped ones.
        features: [n, sum of the layers' dimensions] float32, layers one after the other; [0, ...] if they were not to be collected.
        skipped: the others, each with its reason.
        duplicates: path -> the other given paths with the same content.
        n_computed: how many images were encoded now; the rest came from the store or are duplicates.
    """

    images: list[str]
    features: np.ndarray
    skipped: list[Skipped] = field(default_factory=list)
    duplicates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_computed: int = 0


def index(
    images: Sequence[str | os.PathLike],
    *,
    encoder: ImageEncoder,
    store: FeatureStore | None = None,
    layers: Sequence[str] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    collect: bool = True,
) -> Indexed:
    """Features of photographs, from the store where they are there; the rest is computed and stored.

    Unchanged files (size, time of change, inode) are not read again. Files of equal content are encoded once. After an
    interruption (also Ctrl-C, also `kill -9`) the next run goes on from the last flush of the store.

    Args:
        images: paths. The same path may occur more than once.
        encoder: computes what is missing; if nothing is, its weights are not loaded.
        store: the default folder's if not given.
        layers: of the encoder, in the order wanted; all of them if not given.
        progress: called with (done, total), in this thread.
        workers: threads that read and encode; one per core if not given.
        collect: False to see to it that all are in the store, without a matrix of them all, which may be larger than the memory.

    Raises:
        BeholderError: the encoder has no such layer. (A file that cannot be read is no error: it is in `skipped`.)
    """
    paths = [os.fsdecode(image) for image in images]
    dims = chosen_layers(encoder, layers)
    with contextlib.nullcontext(store) if store is not None else FeatureStore() as store:
        run = _Run(paths, encoder=encoder, store=store, dims=dims, collect=collect)
        run.look_up()
        for attempt in range(ATTEMPTS):
            places = run.to_do()
            if progress:
                progress(len(paths) - len(places), len(paths))
            if not places:
                break
            trust_store = attempt < ATTEMPTS - 1  # what it promised and then did not have is computed in the end
            run.compute(places, progress=progress, workers=workers or threads.usable_cores(), trust_store=trust_store)
            run.share()
            run.look_up()
        return run.result()


def chosen_layers(encoder: ImageEncoder, layers: Sequence[str] | None) -> dict[str, int]:
    """Layer -> dimension for the wanted layers, or all; BeholderError if the encoder lacks one."""
    wanted = list(encoder.layers) if layers is None else list(layers)
    for layer in wanted:
        if layer not in encoder.layers:
            raise BeholderError(f"the encoder {encoder.name} gives no layer {layer!r} here: choose from {', '.join(encoder.layers)}")
    return {layer: encoder.layers[layer] for layer in wanted}


class _Run:
    """One call of `index`: what is known about each of the n paths, in their order.

    Attributes:
        contents: content hash, or None while it is not known.
        features, filled: [n, dim] float32 ([0, dim] if not collected), and which of the n are there (or in the store).
        errors: place -> why the file cannot be used.
    """

    def __init__(
        self, paths: list[str], *, encoder: ImageEncoder, store: FeatureStore, dims: Mapping[str, int], collect: bool
    ) -> None:
        self.paths, self.encoder, self.store, self.dims, self.collect = paths, encoder, store, dims, collect
        self.space = FeatureSpace.of(encoder)
        self.absolute = [os.path.abspath(path) for path in paths]
        self.states = [_state(path) for path in self.absolute]
        self.contents = store.known_files(self.absolute, self.states)
        self.features = np.empty((len(paths) if collect else 0, sum(dims.values())), dtype=np.float32)
        self.filled = np.zeros(len(paths), dtype=bool)
        self.errors: dict[int, UnreadableImage] = {}
        self.n_computed = self.n_done = 0

    def look_up(self) -> None:
        """Fill the rows whose content is known and in the store."""
        places_of: dict[str, list[int]] = {}
        for place in np.flatnonzero(~self.filled).tolist():
            if self.contents[place] is not None:
                places_of.setdefault(self.contents[place], []).append(place)
        if not places_of:
            return
        if not self.collect:
            self._look_without_keeping(places_of)
            return
        firsts = [places[0] for places in places_of.values()]
        whole = firsts == list(range(len(self.paths)))  # all rows, all different: straight into their places
        rows, found = self.store.load(self.space, list(places_of), layers=self.dims, out=self.features if whole else None)
        for row, places in enumerate(places_of.values()):
            if found[row]:
                self.filled[places] = True
                if not whole:
                    self.features[places] = rows[row]

    def _look_without_keeping(self, places_of: Mapping[str, list[int]]) -> None:
        """Which contents the store really has: they are read, not only looked for, so that a damaged file shows now."""
        contents = list(places_of)
        together = max(1, CHUNK_BYTES // (4 * sum(self.dims.values())))
        for start in range(0, len(contents), together):
            chunk = contents[start : start + together]
            found = self.store.load(self.space, chunk, layers=self.dims)[1]
            for content, there in zip(chunk, found, strict=True):
                if there:
                    self.filled[places_of[content]] = True

    def to_do(self) -> list[int]:
        """Places that are neither filled nor unreadable; of several with the same path or content only the first."""
        seen: set[str] = set()
        kept = []
        for place in np.flatnonzero(~self.filled).tolist():
            keys = {self.absolute[place], self.contents[place] or self.absolute[place]}
            if place not in self.errors and not keys & seen:
                kept.append(place)
            seen |= keys
        return kept

    def compute(self, places: list[int], *, progress: Progress | None, workers: int, trust_store: bool) -> None:
        """Read and encode the photographs at `places`; what is finished is kept, also after Ctrl-C or if the encoder fails."""
        pipeline = Pipeline(
            [self.paths[place] for place in places],
            [self.contents[place] for place in places],
            encoder=self.encoder,
            is_stored=self._is_stored if trust_store else lambda content: False,
            n_workers=workers,
        )
        self.n_done = len(self.paths) - len(places)
        run = pipeline.run()
        try:
            for done in run:
                self._take(done, places)
                if progress:
                    progress(self.n_done, len(self.paths))
        finally:
            run.close()
            for done in pipeline.leftover():
                self._take(done, places)
            self.store.flush()

    def _is_stored(self, content: str) -> bool:
        return bool(self.store.load(self.space, [content], layers=self.dims)[1][0])

    def _take(self, done: Done, places: list[int]) -> None:
        place = places[done.place]
        self.contents[place] = done.content
        self.n_done += 1
        if done.error is not None:
            self.errors[place] = done.error
            return
        if done.vectors is not None:
            if self.collect:
                np.concatenate([done.vectors[layer] for layer in self.dims], out=self.features[place])
            self.filled[place] = True
            self.n_computed += 1
            self.store.add(self.space, done.content, {layer: done.vectors[layer] for layer in self.dims})
        if self.states[place] is not None:
            self.store.remember_file(self.absolute[place], self.states[place], done.content)

    def share(self) -> None:
        """Give files that are the same, or of the same content, the features or the reason of the one that was computed."""
        first_of_path: dict[str, int] = {}
        done_of: dict[str, int] = {}
        for place, path in enumerate(self.absolute):
            first = first_of_path.setdefault(path, place)
            if self.contents[place] is None:
                self.contents[place] = self.contents[first]
            if self.filled[place] or place in self.errors:
                done_of.setdefault(self.contents[place] or path, place)
        for place in np.flatnonzero(~self.filled).tolist():
            first = done_of.get(self.contents[place] or self.absolute[place])
            if first is None or place in self.errors:
                continue
            if first in self.errors:
                self.errors[place] = self.errors[first]
            else:
                if self.collect:
                    self.features[place] = self.features[first]
                self.filled[place] = True

    def result(self) -> Indexed:
        kept = np.flatnonzero(self.filled).tolist()
        equal: dict[str, dict[str, None]] = {}
        for place in kept:
            equal.setdefault(self.contents[place], {})[self.paths[place]] = None
        return Indexed(
            images=[self.paths[place] for place in kept],
            features=self.features if len(kept) == len(self.paths) or not self.collect else self.features[kept],
            skipped=[Skipped(self.paths[place], self.errors[place].reason) for place in sorted(self.errors)],
            duplicates={path: tuple(p for p in group if p != path) for group in equal.values() if len(group) > 1 for path in group},
            n_computed=self.n_computed,
        )


def _state(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None  # reading it will say why
