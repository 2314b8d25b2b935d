"""python benchmarks/indexing.py --images 10000

How fast photographs become features. Two numbers:

    throughput   images per second from JPEG files (500 x 400) to stored features, over those of the bare encoder on inputs
                 that are ready. Both take turns in short rounds, so that other work on the machine slows down both.
    warm / cold  indexing all images for the first time, over indexing them again (find + stat + look up + load), the
                 second in the same process with a newly opened store, and in a new process from its start to its end.

Uses generated images, and only the folder given by --folder.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pictures import write_jpegs

from beholder.backbones import load_encoder
from beholder.engine.local import index
from beholder.features import FeatureStore
from beholder.folders import find_photos
from beholder.photos import read_photo
from beholder.scorers.feature_scorer import FeatureScorer

LAYERS = FeatureScorer.feature_layers  # what the default scorer wants


def throughput(paths: list[str], *, rounds: int, folder: Path, workers: int | None) -> None:
    encoder = load_encoder(layers=LAYERS)
    inputs = [encoder.preprocess(read_photo(path, min_side=encoder.read_size)) for path in paths]
    encoder.encode(inputs[:4])
    bare, whole, bare_cpu, whole_cpu = [], [], [], []
    for turn in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        encoder.encode(inputs)
        bare.append((time.perf_counter() - start) / len(paths))
        bare_cpu.append((time.process_time() - cpu) / len(paths))
        with tempfile.TemporaryDirectory(dir=folder) as store, FeatureStore(store) as opened:
            start, cpu = time.perf_counter(), time.process_time()
            index(paths, encoder=encoder, store=opened, workers=workers)
            whole.append((time.perf_counter() - start) / len(paths))
            whole_cpu.append((time.process_time() - cpu) / len(paths))
        print(f"  round {turn + 1}: bare {bare[-1] * 1e3:.1f} ms, from files {whole[-1] * 1e3:.1f} ms per image", flush=True)
    ratio = statistics.median(b / w for b, w in zip(bare, whole, strict=True))
    cpu_ratio = statistics.median(b / w for b, w in zip(bare_cpu, whole_cpu, strict=True))
    print(f"bare encoder         {1 / statistics.median(bare):8.1f} images/s")
    print(f"from files           {1 / statistics.median(whole):8.1f} images/s")
    print(f"throughput ratio     {ratio:8.2f}   (by processor time: {cpu_ratio:.2f})", flush=True)


def warm(photos: Path, store: Path) -> float:
    """Seconds to find all images and get their features from the store."""
    start = time.perf_counter()
    with FeatureStore(store) as opened:
        found = index(find_photos([photos]).photos, encoder=load_encoder(layers=LAYERS), store=opened)
    assert found.n_computed == 0
    return time.perf_counter() - start


def warm_and_cold(photos: Path, store: Path, *, n: int) -> None:
    start = time.perf_counter()
    encoder = load_encoder(layers=LAYERS)
    encoder.load()
    with FeatureStore(store) as opened:

        def progress(done: int, total: int) -> None:
            if done % 500 == 0:
                print(f"  cold: {done} of {total}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)

        found = index(find_photos([photos]).photos, encoder=encoder, store=opened, progress=progress)
    cold = time.perf_counter() - start
    assert found.n_computed == n, f"{found.n_computed} of {n} images were new: use an empty --folder"
    again = [warm(photos, store) for _ in range(5)]
    command = [sys.executable, __file__, "--warm-only", "--folder", str(photos.parent)]
    process = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        process.append(time.perf_counter() - start)
    print(f"features             {found.features.shape[0]} x {found.features.shape[1]}")
    print(f"cold                 {cold:8.1f} s   ({n / cold:.1f} images/s)")
    print(f"warm                 {statistics.median(again):8.3f} s   cold / warm = {cold / statistics.median(again):.0f}")
    print(f"warm, new process    {statistics.median(process):8.3f} s   cold / warm = {cold / statistics.median(process):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="for warm / cold; 0 leaves it out")
    parser.add_argument("--ready", type=int, default=64, help="images per round for the throughput; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where images and store go; a temporary folder if not given")
    parser.add_argument("--warm-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.warm_only:
        warm(options.folder / "photos", options.folder / "store")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.ready:
            paths = write_jpegs(folder / "ready", options.ready)
            throughput(paths, rounds=options.rounds, folder=folder, workers=options.workers)
        if options.images:
            write_jpegs(folder / "photos", options.images)
            warm_and_cold(folder / "photos", folder / "store", n=options.images)


if __name__ == "__main__":
    main()
