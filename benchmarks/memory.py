"""python benchmarks/memory.py --photos 200

Peak memory (resident set) of indexing photographs of 24 megapixels, each file with other bytes, so that each is decoded and
encoded. The features of all photographs are in memory at the end; beyond them, memory does not grow with the number of photographs.

Uses generated images. --kind png and --kind progressive are the worst cases: they cannot be decoded small.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from pictures import write_large

MB = 1e6


def peak() -> float:
    """Bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--kind", choices=["jpeg", "progressive", "png"], default="jpeg")
    parser.add_argument("--folder", type=Path, default=None, help="where images and store go; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        child = os.fork()  # making the pictures takes more memory than ranking them
        if child == 0:
            write_large(folder / options.kind, options.photos, kind=options.kind)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit("the pictures could not be made")
        measure(folder / options.kind, folder / "store")


def measure(photos: Path, store: Path) -> None:
    from beholder.backbones import load_encoder
    from beholder.engine.local import index
    from beholder.features import FeatureStore
    from beholder.folders import find_photos
    from beholder.scorers.feature_scorer import FeatureScorer

    encoder = load_encoder(layers=FeatureScorer.feature_layers)
    encoder.load()
    loaded = peak()
    start = time.perf_counter()
    half = {}

    def progress(done: int, total: int) -> None:
        if done == total // 2:
            half["peak"] = peak()

    with FeatureStore(store) as opened:
        found = index(find_photos([photos]).photos, encoder=encoder, store=opened, progress=progress)
    seconds = time.perf_counter() - start
    n, dim = found.features.shape
    rest = peak() - found.features.nbytes
    print(f"photographs          {n}, {found.n_computed} encoded, {n / seconds:.1f} per second")
    print(f"encoder loaded       {loaded / MB:8.0f} MB")
    print(f"peak after half      {half.get('peak', 0) / MB:8.0f} MB")
    print(f"peak                 {peak() / MB:8.0f} MB, of which features {found.features.nbytes / MB:.0f} MB")
    print(f"for 10,000           {(rest + 10_000 * dim * 4) / MB:8.0f} MB expected (peak without features + features of 10,000)")


if __name__ == "__main__":
    main()
