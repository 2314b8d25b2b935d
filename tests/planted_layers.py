"""An image encoder whose layers are whatever a test says: the picture holds the number of its row, and nothing else counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from beholder.backbones.base import ImageEncoder
from beholder.datasets.attributes import AttributeTable
from beholder.probing.layers import in_order


class PlantedLayers(ImageEncoder):
    """layer -> [n, d]: what it gives for picture i of `numbered`."""

    name, revision, preprocessing = "planted", "0123456789ab", "number"
    read_size = 4

    def __init__(self, rows, *, revision="0123456789ab"):
        self.rows = {layer: np.asarray(values, dtype=np.float32) for layer, values in rows.items()}
        self.layers = {layer: values.shape[1] for layer, values in self.rows.items()}
        self.revision = revision
        self.n_encoded = 0

    def preprocess(self, image):
        red, green, _ = image.getpixel((1, 1))
        return np.array([red * 256 + green])

    def encode(self, inputs):
        self.n_encoded += len(inputs)
        which = np.array([one[0] for one in inputs], dtype=np.int64)
        return {layer: values[which] for layer, values in self.rows.items()}

    @property
    def ordered(self):
        return in_order(self.layers)


def numbered(folder, n):
    """n pictures, each of which says its number; their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(n):
        paths.append(Path(folder) / f"{i:04d}.png")
        Image.new("RGB", (4, 4), (i // 256, i % 256, 7)).save(paths[-1])
    return tuple(paths)


def planted_table(folder, values, *, shares=(0.6, 0.2), overall="score", name="planted"):
    """A table of `numbered` pictures with these attributes; parts in random order."""
    n = len(next(iter(values.values())))
    edges = np.cumsum([round(share * n) for share in shares])
    part = np.array(["train"] * edges[0] + ["validation"] * (edges[1] - edges[0]) + ["test"] * (n - edges[1]))
    part = part[np.random.default_rng(9).permutation(n)]
    paths = numbered(folder, n)
    values = {key: np.asarray(column, dtype=np.float64) for key, column in values.items()}
    return AttributeTable(name=name, images=paths, image_ids=tuple(path.name for path in paths), part=part, values=values, overall=overall)
