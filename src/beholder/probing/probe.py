"""Linear probes: for every layer and attribute a ridge regression, chosen on the validation images and judged on the test images.

The recipe of Ryu & Yanaka 2026 (arXiv 2604.11374): standardised features, penalty by leave-one-out error among 13, one for each attribute,
fitted on the training images; Spearman's correlation on the validation images chooses the layer, the test images are looked at afterwards.
Beside each probe stand some that learned shuffled labels and are chosen in the same way: what a probe owes to chance and to the choice.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from beholder.backbones.base import ImageEncoder
from beholder.datasets.attributes import PARTS, AttributeTable
from beholder.datasets.table import some
from beholder.engine.local import Indexed, index
from beholder.errors import BeholderError
from beholder.features import FeatureStore
from beholder.folders import Skipped
from beholder.probing.fits import SHUFFLES, Fit, Fitter, KeptLayers
from beholder.probing.layers import Layer
from beholder.probing.measures import DRAWS
from beholder.ridge import ALPHAS
from beholder.shards import FeatureSpace

MIN_TRAIN = 10  # images that a probe learns from, at least
MIN_JUDGED = 3  # images that a correlation needs, at least
VERSION = 1  # of the method: results of another one are not taken up again
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Probe:
    """What was found.

    Args:
        table: the images that were used, with their attributes.
        model: what was probed: name, revision, preprocessing.
        layers: in their order.
        fits: layer by layer, attributes in the order of the table.
        seed: of shuffled labels and bootstrap.
        skipped: images that could not be read.
        notes: what a reader must know, one sentence each.
        n_computed: images whose features were not in the store yet.
        n_resumed: layers whose probes were taken from an earlier run.
    """

    table: AttributeTable
    model: Mapping[str, str]
    layers: tuple[Layer, ...]
    fits: tuple[Fit, ...]
    seed: int
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    n_computed: int = 0
    n_resumed: int = 0

    @cached_property
    def _by_attribute(self) -> dict[str, list[Fit]]:
        found: dict[str, list[Fit]] = {}
        for fit in self.fits:
            found.setdefault(fit.attribute, []).append(fit)
        return found

    @property
    def attributes(self) -> tuple[str, ...]:
        """Those that were probed."""
        return tuple(self._by_attribute)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer.source for layer in self.layers))

    def of(self, attribute: str, *, source: str | None = None) -> list[Fit]:
        """Its probes in the order of the layers, of one source or all."""
        return [fit for fit in self._by_attribute[attribute] if source in (None, fit.source)]

    def best(self, attribute: str, *, source: str | None = None) -> Fit:
        """The probe with the highest correlation on the validation images; of equals the first."""
        return max(self.of(attribute, source=source), key=lambda fit: fit.validation.rho)

    def control(self, attribute: str) -> list[float]:
        """[SHUFFLES] test correlations of probes that learned shuffled labels, each of the layer that is its best on the validation images."""
        fits = self.of(attribute)
        return [max(fits, key=lambda fit: fit.control_validation[turn]).control_test[turn] for turn in range(SHUFFLES)]

    def best_layer(self) -> Layer:
        """The layer with the highest mean correlation over attributes, on the validation images."""
        total: dict[str, float] = defaultdict(float)
        for fit in self.fits:
            total[fit.layer] += fit.validation.rho
        return max(self.layers, key=lambda layer: total[layer.name])


def probe(
    table: AttributeTable,
    encoder: ImageEncoder,
    layers: Sequence[Layer],
    *,
    store: FeatureStore | None = None,
    out: str | os.PathLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    looking: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
) -> Probe:
    """Probe an encoder.

    All layers are computed in one pass over the images, into the store; then one after the other is read from there.

    Args:
        encoder: gives (at least) the layers.
        store: the default folder's if not given.
        out: keeps the finished layers in `layers.jsonl` there; the same call goes on from them.
        seed, draws: of shuffled labels and of the bootstrap.
        looking: called with (done, total) while features are computed.
        progress: called with (done, total, layer) while probes are fitted.

    Raises:
        BeholderError: too few images of a part, none can be read, or no attribute has enough values.
    """
    own = store is None
    store = FeatureStore() if store is None else store
    try:
        check_parts(table)
        seen = index([os.fspath(image) for image in table.images], encoder=encoder, store=store, collect=False, progress=looking)
        kept, notes = _usable(table, seen)
        table = table.rows(kept)
        check_parts(table, seen.skipped)
        values, left_out = _known_attributes(table)
        notes += [*left_out, *_learned_before(table, encoder)]
        key = _key(table, values, encoder=encoder, seed=seed, draws=draws)
        kept_layers = KeptLayers(out, key)
        fitter = Fitter(table, values, seed=seed, draws=draws)
        fits: list[Fit] = []
        n_resumed = 0
        for done, layer in enumerate(layers):
            if progress:
                progress(done, len(layers), layer.name)
            found = kept_layers.get(layer)
            if found is None or not fitter.has_intervals(found):
                found = fitter.fit(layer, features(table, encoder, layer.name, store=store))
                kept_layers.add(layer, found)
            else:
                n_resumed += 1
            fitter.remember(found)
            fits += found
        if progress:
            progress(len(layers), len(layers), "done")
        space = FeatureSpace.of(encoder)
        return Probe(
            table=table,
            model={"name": space.encoder, "revision": space.revision, "preprocessing": space.preprocessing},
            layers=tuple(layers),
            fits=tuple(fits),
            seed=seed,
            skipped=tuple(seen.skipped),
            notes=(*table.notes, *notes),
            n_computed=seen.n_computed,
            n_resumed=n_resumed,
        )
    finally:
        if own:
            store.close()


def check_parts(table: AttributeTable, skipped: Sequence[Skipped] = ()) -> None:
    """Refuse a table with too few images in a part."""
    read = f" that can be read ({skipped[0].path} {skipped[0].reason})" if skipped else ""
    if not table.images:
        raise BeholderError(f"{table.name} has no image{read}: check the folder with  beholder data check")
    for part, least in zip(PARTS, (MIN_TRAIN, MIN_JUDGED, MIN_JUDGED), strict=True):
        n = len(table.places(part))
        if n < least:
            raise BeholderError(f"{table.name} has {n} {part} images{read}, and a probe needs at least {least}: give it more images")


def features(table: AttributeTable, encoder: ImageEncoder, layer: str, *, store: FeatureStore) -> np.ndarray:
    """[n, d] float32 of one layer, row by row those of the table's images.

    Raises:
        BeholderError: an image that could be read before cannot be read any more.
    """
    found = index([os.fspath(image) for image in table.images], encoder=encoder, store=store, layers=[layer])
    if found.skipped:
        raise BeholderError(f"{found.skipped[0].path} {found.skipped[0].reason}: it could be read a moment ago, so run it again")
    return found.features


def _usable(table: AttributeTable, seen: Indexed) -> tuple[np.ndarray, list[str]]:
    """[n] bool, the images to use, and notes: those that can be read and whose content is in no later part."""
    notes = []
    unreadable = {one.path for one in seen.skipped}
    kept = np.array([os.fspath(image) not in unreadable for image in table.images], dtype=bool)
    if seen.skipped:
        notes.append(f"{int((~kept).sum())} images cannot be read and are left out ({some([Path(one.path).name for one in seen.skipped])})")
    order = {part: place for place, part in enumerate(PARTS)}
    rank = {os.fspath(image): order[part] for image, part in zip(table.images, table.part, strict=True)}
    leaks = [path for path, copies in seen.duplicates.items() if any(rank[copy] > rank[path] for copy in copies)]
    if leaks:
        notes.append(f"{len(leaks)} images have the content of one in a later part and are left out ({some([Path(path).name for path in leaks])})")
        kept &= ~np.isin([os.fspath(image) for image in table.images], leaks)
    return kept, notes


def _learned_before(table: AttributeTable, encoder: ImageEncoder) -> list[str]:
    """A note if the model is known to have learned what people said of these images: probes then read its memory."""
    if not hasattr(encoder, "trained_on"):
        return []
    n = encoder.trained_on([os.fspath(image) for image in table.images])
    return [f"{n} of {len(table.images)} images were in the training data of {FeatureSpace.of(encoder).encoder}: numbers are too good"] if n else []


def _known_attributes(table: AttributeTable) -> tuple[dict[str, np.ndarray], list[str]]:
    """The attributes that can be probed, and a note for each of the others."""
    kept, notes = {}, []
    for name, values in table.values.items():
        known = {part: values[table.places(part)] for part in PARTS}
        known = {part: column[np.isfinite(column)] for part, column in known.items()}
        if len(known["train"]) < MIN_TRAIN or min(len(known["validation"]), len(known["test"])) < MIN_JUDGED:
            counts = ", ".join(f"{len(column)} {part}" for part, column in known.items())
            notes.append(f"{name} is left out: it is known for too few images ({counts})")
        elif any(np.ptp(known[part]) == 0 for part in PARTS):
            notes.append(f"{name} is left out: it is the same for all images of a part")
        else:
            kept[name] = values
    if not kept:
        raise BeholderError(f"no attribute of {table.name} can be probed: {notes[0] if notes else 'it has none'}; give more images")
    return kept, notes


def _key(table: AttributeTable, values: Mapping[str, np.ndarray], *, encoder: ImageEncoder, seed: int, draws: int) -> str:
    """What finished layers belong to: they are taken up again only where all of this is the same."""
    digest = hashlib.sha256(f"{VERSION} {FeatureSpace.of(encoder).key} {seed} {draws} {ALPHAS.tolist()}".encode())
    for path, image, part in zip(table.images, table.image_ids, table.part, strict=True):
        state = os.stat(path)
        digest.update(f"{image}\0{part}\0{state.st_size}\0{state.st_mtime_ns}\n".encode(errors="surrogateescape"))
    for name, column in values.items():
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]
