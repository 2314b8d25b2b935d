"""Do choices alone teach `taste`?   python benchmarks/choices.py --root DIR [--folds 5] [--seeds 0] [--weights DIR]

Every test rater's ratings are turned into choices ("this one rather than that one"): pairs of images that the rater scored
differently. The scorer sees the profile, no rating and the first N support choices; it must say which image of each query choice was
chosen. Raters and image groups of the queries are new to it. Two kinds of choices:

* within groups: both images show the same subject, as when one picks the best frame of a series;
* across groups: any two images.

Prints a Markdown table: accuracy with its 95 % bootstrap interval over raters, and the paired difference to `population`, which has
learned from the same other raters but hears no choices. Exit code 1 if `taste` with 50 choices does not beat it in both kinds, that
is, if a paired interval does not lie above 0.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from beholder.datasets import names, read
from beholder.datasets.base import Dataset
from beholder.evaluation import bench
from beholder.evaluation.metrics import difference
from beholder.evaluation.protocols import ChoicesFromRatings, CrossValidation, Fold, choices_from_ratings
from beholder.scorers import make, scorer_class
from beholder.scorers.base import FeatureSource, Scorer

SCORERS = ("population", "taste")
SHOTS = (0, 10, 20, 50)
MAX_QUERY = 200  # choices per rater and fold; across groups there are thousands, most of which say the same


@dataclass(frozen=True)
class AcrossGroups(ChoicesFromRatings):
    """`ChoicesFromRatings` with pairs of any two images of the support, or of the query."""

    name: str = "choices-across-groups"

    def line(self) -> str:
        return f"{self.name}: choices between any two images, made from ratings, as support and query; {self.base.line()}"

    def folds(self, dataset: Dataset) -> list[Fold]:
        return [self._with_choices(dataset, fold) for fold in self.base.folds(dataset)]

    def _with_choices(self, dataset: Dataset, fold: Fold) -> Fold:
        def choices(rows: dict[int, np.ndarray], most: int | None) -> dict[int, np.ndarray]:
            return {u: choices_from_ratings(dataset, r, seed=fold.seed, within_group=False)[:most] for u, r in rows.items()}

        query = {u: pairs for u, pairs in choices(fold.query, self.max_query).items() if len(pairs)}
        support = {u: pairs for u, pairs in choices(fold.support, self.max_support).items() if u in query}
        return replace(fold, support={}, query={u: fold.query[u] for u in query}, support_choices=support, query_choices=query)


def fitted_once(name: str, features: FeatureSource, folder: Path) -> Callable[[], Scorer]:
    """A function that makes the scorer; what `fit` learned from the same rows before is read from `folder`."""
    cls = scorer_class(name)

    class Once(cls):
        def fit(self, train: Dataset, **_) -> Scorer:
            digest = hashlib.sha256(repr((cls, features.key)).encode())
            for column in (train.rating_rater, train.rating_image, train.rating_score):
                digest.update(np.ascontiguousarray(column).tobytes())
            kept = folder / f"{name}-{digest.hexdigest()[:16]}"
            if not kept.exists():
                cls(features=features).fit(train).save_pretrained(kept)
            return make(name, features=features, weights=kept)

    return lambda: Once(features=features)


def features_of(dataset: Dataset, layers: tuple[str, ...]) -> FeatureSource:
    from beholder.backbones import load_encoder
    from beholder.engine.source import Features

    features = Features(load_encoder(layers=layers), layers=layers)
    features([str(path) for path in dataset.images])  # all at once is faster
    return features


def measure(dataset: Dataset, features: FeatureSource, *, folds: int, seeds: tuple[int, ...], weights: Path) -> bool:
    """Print the table; True if `taste` with most choices beats `population` in both kinds."""
    base = CrossValidation(n_folds=folds, seeds=seeds)
    kinds = {
        "within groups": ChoicesFromRatings(base=base, max_support=max(SHOTS), max_query=MAX_QUERY),
        "across groups": AcrossGroups(base=base, max_support=max(SHOTS), max_query=MAX_QUERY),
    }
    print(f"{base.line()}.\n")
    print("| choices | N | raters | population | taste | taste - population (paired) |\n|---|---|---|---|---|---|")
    beaten = []
    for kind, protocol in kinds.items():
        makers = {name: fitted_once(name, features, weights) for name in SCORERS}
        report = bench.run(dataset, makers, protocol=protocol, shots=SHOTS, fit=True, with_controls=False)
        at = {(row.scorer, row.shots): row.evaluation for row in report.rows}
        for n in SHOTS:
            population, taste = (at[name, n] for name in SCORERS)
            gap = difference(taste, population, metric="choice_accuracy")
            cells = [f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in (v.estimates["choice_accuracy"] for v in (population, taste))]
            cells.append(f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")
            print(f"| {kind} | {n} | {len(taste.raters)} | {' | '.join(cells)} |", flush=True)
        beaten.append(gap.low > 0)
    return all(beaten)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--dataset", default="folder", choices=names())
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", default="0", help="repeats, separated by commas")
    parser.add_argument("--weights", type=Path, help="keep what was learned on each fold here, for the next run")
    options = parser.parse_args(arguments)
    dataset = read(options.dataset, options.root)
    features = features_of(dataset, scorer_class("taste").feature_layers)
    seeds = tuple(int(seed) for seed in options.seeds.split(","))
    with TemporaryDirectory() as passing:
        won = measure(dataset, features, folds=options.folds, seeds=seeds, weights=options.weights or Path(passing))
    return int(not won)


if __name__ == "__main__":
    sys.exit(main())
