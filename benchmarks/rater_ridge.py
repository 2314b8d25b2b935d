"""How fast the ridge regressions of many raters are solved.   python benchmarks/rater_ridge.py [--raters 438] [--all] [--rounds 5] [--quick]

For made-up raters who each rated 100 of 20,000 images (2560 random float32 features, a planted taste), seconds per rater of

    scikit-learn   make_pipeline(StandardScaler(), RidgeCV(alphas=logspace(-3, 3, 13))), one rater after the other
    together       `ridge_cv_many`, which `linear-hidden` uses
    limit          the product of each rater's standardised features with themselves and its eigendecomposition, nothing else, on features ready-made

They take turns in rounds, in one process, so that other work on the machine slows down all; ratios are medians over rounds. First with one core, then
with all: scikit-learn has BLAS threads then, `ridge_cv_many` a thread per core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from beholder.backbones.threads import usable_cores
from beholder.ridge import ALPHAS, ridge_cv_many

WAYS = ("scikit-learn", "together", "limit")


def world(raters: int, *, images: int, ratings: int, width: int) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Features, and each rater's rows and scores: a taste that all share, one of their own, noise."""
    random = np.random.default_rng(0)
    x = random.standard_normal((images, width), dtype=np.float32)
    shared = x @ random.standard_normal(width, dtype=np.float32) / np.sqrt(width)
    rows = [random.choice(images, ratings, replace=False) for _ in range(raters)]
    own = [x[at] @ random.standard_normal(width, dtype=np.float32) / np.sqrt(width) for at in rows]
    return x, rows, [3 + shared[at] + 0.5 * mine + 0.5 * random.standard_normal(ratings) for at, mine in zip(rows, own, strict=True)]


def one_by_one(x: np.ndarray, rows: list[np.ndarray], y: list[np.ndarray]) -> list:
    return [
        make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x[at].astype(np.float64), scores) for at, scores in zip(rows, y, strict=True)
    ]


def limit(standardised: list[np.ndarray], *, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda z: np.linalg.eigh(z @ z.T), standardised))


def seconds(work: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / n


def compare(x: np.ndarray, rows: list[np.ndarray], y: list[np.ndarray], *, few: int, rounds: int, cores: int) -> None:
    some, scores = rows[:few], y[:few]
    ready = [StandardScaler().fit_transform(x[at].astype(np.float64)) for at in some]
    took = []
    with threadpool_limits(cores, user_api="blas"):
        one_by_one(x, some[:2], scores[:2])  # does not count
        for _ in range(rounds):
            slow = seconds(lambda: one_by_one(x, some, scores), len(some))
            with threadpool_limits(1, user_api="blas"):
                quick = seconds(lambda: ridge_cv_many(x, rows, y, threads=cores), len(rows))
                least = seconds(lambda: limit(ready, threads=cores), len(ready))
            took.append((slow, quick, least))
    times = np.array(took)
    print(
        f"\n{cores} {'core' if cores == 1 else 'cores'}, medians of {rounds} rounds\n\n| way | raters timed | ms per rater |\n|---|---|---|"
    )
    for way, column, n in zip(WAYS, times.T, (few, len(rows), few), strict=True):
        print(f"| {way} | {n} | {np.median(column) * 1e3:.2f} |")
    faster = times[:, 0] / times[:, 1]
    print(f"\ntogether is {np.median(faster):.1f} times as fast as scikit-learn (rounds: {', '.join(f'{value:.1f}' for value in faster)})")
    print(
        f"the limit is {np.median(times[:, 2] / times[:, 1]):.0%} of its time; "
        f"scikit-learn over the limit: {np.median(times[:, 0] / times[:, 2]):.1f}",
        flush=True,
    )


def check(x: np.ndarray, rows: list[np.ndarray], y: list[np.ndarray]) -> None:
    """Both give the same predictions."""
    images = x[:500]
    apart = [
        np.abs(known.predict(images.astype(np.float64)) - ridge.predict(images)[:, 0]).max()
        for known, ridge in zip(one_by_one(x, rows, y), ridge_cv_many(x, rows, y), strict=True)
    ]
    print(f"largest difference of a prediction, {len(rows)} raters x {len(images)} images: {max(apart):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=438)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--ratings", type=int, default=100, help="of each rater")
    parser.add_argument("--width", type=int, default=2560, help="of the features")
    parser.add_argument("--few", type=int, default=60, help="raters that scikit-learn is timed on")
    parser.add_argument("--all", action="store_true", help="time scikit-learn on all raters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small run that shows whether all works; its numbers mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.raters, options.images, options.width, options.few, options.rounds = 12, 500, 128, 4, 1
    x, rows, y = world(options.raters, images=options.images, ratings=options.ratings, width=options.width)
    few = len(rows) if options.all else min(options.few, len(rows))
    print(f"{options.raters} raters x {options.ratings} ratings x {options.width} features of {options.images} images")
    check(x, rows[: min(few, 20)], y[: min(few, 20)])
    for cores in dict.fromkeys((1, usable_cores())):
        compare(x, rows, y, few=few, rounds=options.rounds, cores=cores)


if __name__ == "__main__":
    main()
