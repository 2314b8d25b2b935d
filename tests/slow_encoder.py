"""An image encoder for tests: slow on purpose, without torch, and it keeps a list of what it encoded. Also run as a process:

python slow_encoder.py PHOTOS STORE LOG [die-before-rename | die-before-index | die-after-index]
"""

import os
import signal
import sys
import time
import types
import zlib

import numpy as np

from beholder.photos import content_hash, read_photo
from beholder.shards import FeatureSpace

LAYERS = {"a": 6, "b": 3}
SPACE = FeatureSpace("net", "0" * 12, "8x8")


class SlowEncoder:
    """Layers are plain functions of the pixels, so that a test knows what must come out."""

    name, revision, preprocessing = "slow", "0123456789ab", "8x8"
    read_size = 8

    def __init__(self, *, seconds=0.0, log=None, batch_size=1, concurrent=False, layers=LAYERS):
        self.seconds, self.log, self.batch_size, self.concurrent = seconds, log, batch_size, concurrent
        self.layers = dict(layers)
        self.n_encoded = 0
        self.batches = []

    def preprocess(self, image):
        return np.asarray(image.resize((8, 8)))

    def encode(self, inputs):
        assert len({one.shape for one in inputs}) == 1
        self.batches.append(len(inputs))
        for one in inputs:
            time.sleep(self.seconds)
            if self.log is not None:
                with open(self.log, "a") as file:
                    file.write(f"{fingerprint(one)}\n")
            self.n_encoded += 1
        return {layer: np.stack([vector(one, layer) for one in inputs]) for layer in self.layers}


def vector(pixels, layer):
    flat = pixels.reshape(-1, 3).astype(np.float32)
    found = np.concatenate([flat.mean(0), flat.std(0)])
    return found if layer == "a" else np.sqrt(found[:3])


def fingerprint(pixels):
    return zlib.crc32(pixels.tobytes())


class NeverEncoder(SlowEncoder):
    """For runs in which everything must come from the store."""

    def encode(self, inputs):
        raise AssertionError("nothing was to be computed")


def some(n, *, dim=6, seed=0):
    """n content hashes, and layer -> [n, dim]."""
    rng = np.random.default_rng(seed)
    contents = [content_hash(f"{seed} {i}".encode()) for i in range(n)]
    return contents, {"a": rng.standard_normal((n, dim), dtype=np.float32), "b": rng.standard_normal((n, 3), dtype=np.float32)}


def fill(store, contents, layers, *, space=SPACE):
    for row, content in enumerate(contents):
        store.add(space, content, {layer: rows[row] for layer, rows in layers.items()})
    store.flush()


def expected(paths):
    """[n, 9]: what `SlowEncoder` gives, computed without store and engine."""
    encoder = SlowEncoder()
    pixels = [encoder.preprocess(read_photo(path, min_side=8)) for path in paths]
    return np.stack([np.concatenate([vector(one, layer) for layer in LAYERS]) for one in pixels])


def make_photos(folder, n=40):
    """Paths of n distinct photographs, last changed a while ago."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in range(n):
        path = folder / f"{i:02d}.png"
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
        os.utime(path, ns=(10**18 + 7, 10**18 + 7))
    return sorted(str(path) for path in folder.iterdir())


def main():
    from beholder import features
    from beholder.engine.local import index
    from beholder.folders import find_photos

    photos, store, log = sys.argv[1:4]
    features.FLUSH_IMAGES = 4
    if len(sys.argv) > 4:
        die(sys.argv[4], features)
    index(find_photos([photos]).photos, encoder=SlowEncoder(seconds=0.01, log=log), store=features.FeatureStore(store), workers=2)


def die(when, features):
    """Kill this process, as `kill -9` would, at a certain point of the second flush."""
    from beholder import shards
    from beholder.feature_index import FeatureIndex

    calls = []

    def deadly(function, *, before):
        def call(*args, **kwargs):
            calls.append(1)
            if before and len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            found = function(*args, **kwargs)
            if not before and len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call

    if when == "die-before-rename":
        shards.os = types.SimpleNamespace(**{**vars(os), "replace": deadly(os.replace, before=True)})
    else:
        FeatureIndex.enter_shard = deadly(FeatureIndex.enter_shard, before=when == "die-before-index")


if __name__ == "__main__":
    main()
