"""What every encoder must pass; used by several tests."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from beholder.backbones import threads

TOLERANCE = 1e-5  # largest difference over largest value


def pictures(n=5, *, seed=0, sizes=((70, 50), (40, 90), (64, 64))):
    """Smooth random pictures of several shapes."""
    rng = np.random.default_rng(seed)
    small = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(n)]
    return [one.resize(sizes[i % len(sizes)], Image.Resampling.BICUBIC) for i, one in enumerate(small)]


def difference(one, other):
    """The largest difference over the largest value, of all layers."""
    return max(float(np.abs(one[layer] - other[layer]).max() / np.abs(other[layer]).max()) for layer in other)


def check_same_in_any_batch(encoder, images):
    """Alone, together, shuffled and from several threads."""
    inputs = [encoder.preprocess(image) for image in images]
    together = encoder.encode(inputs)
    assert {layer: rows.shape for layer, rows in together.items()} == {layer: (len(images), dim) for layer, dim in encoder.layers.items()}
    assert all(rows.dtype == np.float32 for rows in together.values())
    order = np.random.default_rng(1).permutation(len(images))
    shuffled = encoder.encode([inputs[i] for i in order])
    alone = [encoder.encode([one]) for one in inputs]

    def in_a_worker(one):
        threads.mark_worker()
        return encoder.encode([one])

    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(in_a_worker, inputs))
    worst = max(
        difference({k: v[order] for k, v in together.items()}, shuffled),
        *(difference({k: v[i : i + 1] for k, v in together.items()}, one) for i, one in enumerate(alone)),
        *(difference({k: v[i : i + 1] for k, v in together.items()}, one) for i, one in enumerate(at_once)),
    )
    print(f"{encoder.name}: largest relative difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    assert worst <= TOLERANCE
    empty = encoder.encode([])
    assert {layer: rows.shape for layer, rows in empty.items()} == {layer: (0, dim) for layer, dim in encoder.layers.items()}
    return together
