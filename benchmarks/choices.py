"""Do choices alone teach `taste`?   python benchmarks/choices.py --root DIR [--folds 5] [--seeds 0] [--weights DIR]

Every test rater's ratings are turned into choices ("this one rather than that one"): pairs of images that the rater scored
differently. The scorer sees the profile, no rating and the first N support choices; it must say which image of each query choice was
chosen. Raters and image groups of the queries are new to what was learned from other raters. Support choices are made within groups
(both images show the same subject, as when one picks the best frame of a series), and the queries are

* choices within the same groups: other pairs, but often of images that a support choice has spoken of;
* choices between any two images, of other groups than the support;
* choices within other groups than the support: the hardest, as own taste must carry over and hardly tells such images apart.

For comparison, support and query choices between any two images. Prints a Markdown table: accuracy with its 95 % bootstrap interval over
raters, and the paired difference to `population`, which has learned from the same other raters but hears no choices. Exit code 1 if,
with 50 choices, a paired interval of a kind marked * does not lie above 0.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from beholder.datasets import names, read
from beholder.datasets.base import Dataset
from beholder.evaluation import bench
from beholder.evaluation.choice_protocol import choices_from_ratings
from beholder.evaluation.metrics import difference
from beholder.evaluation.protocols import CrossValidation, Fold, Protocol
from beholder.scorers import make, scorer_class
from beholder.scorers.base import FeatureSource, Scorer

SCORERS = ("population", "taste")
SHOTS = (0, 10, 20, 50)
MAX_QUERY = 200  # choices per rater and fold; across groups there are thousands, most of which say the same


@dataclass(frozen=True)
class Kind(Protocol):
    """One kind of support and query choices.

    Args:
        name: for the table.
        base: whose folds are used.
        support_within, query_within: whether only images of the same group are compared.
        same_groups: half of the query groups' choices go to the support, before those of other groups.
        must_win: whether `taste` has to beat `population`.
    """

    name: str
    base: CrossValidation
    support_within: bool = True
    query_within: bool = True
    same_groups: bool = False
    must_win: bool = True

    @property
    def seeds(self) -> Sequence[int]:
        return self.base.seeds

    def line(self) -> str:
        return f"choices made from ratings, {self.name}; {self.base.line()}"

    def folds(self, dataset: Dataset) -> list[Fold]:
        return [self._with_choices(dataset, fold) for fold in self.base.folds(dataset)]

    def _with_choices(self, dataset: Dataset, fold: Fold) -> Fold:
        support, query = {}, {}
        for rater, rows in fold.query.items():
            asked = choices_from_ratings(dataset, rows, seed=fold.seed, within_group=self.query_within)
            given = choices_from_ratings(dataset, fold.support[rater], seed=fold.seed, within_group=self.support_within)
            if self.same_groups:
                half = len(asked) // 2
                asked, given = asked[half:], np.concatenate([asked[:half], given])
            if len(asked):
                support[rater], query[rater] = given[: max(SHOTS)], asked[:MAX_QUERY]
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
    """Print the table; True if `taste` with most choices beats `population` where it must."""
    base = CrossValidation(n_folds=folds, seeds=seeds)
    kinds = (
        Kind("within groups, then within the same groups", base, same_groups=True),
        Kind("within groups, then any two of other groups", base, query_within=False),
        Kind("within groups, then within other groups", base, must_win=False),
        Kind("any two, then any two of other groups", base, support_within=False, query_within=False),
    )
    print(f"{base.line()}.\n")
    print("| support, then query | N | raters | population | taste | taste - population (paired) |\n|---|---|---|---|---|---|")
    won = True
    for kind in kinds:
        makers = {name: fitted_once(name, features, weights) for name in SCORERS}
        report = bench.run(dataset, makers, protocol=kind, shots=SHOTS, fit=True, with_controls=False)
        at = {(row.scorer, row.shots): row.evaluation for row in report.rows}
        for n in SHOTS:
            population, taste = (at[name, n] for name in SCORERS)
            gap = difference(taste, population, metric="choice_accuracy")
            cells = [f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in (v.estimates["choice_accuracy"] for v in (population, taste))]
            cells.append(f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")
            print(f"| {kind.name}{' *' if kind.must_win else ''} | {n} | {len(taste.raters)} | {' | '.join(cells)} |", flush=True)
        won &= gap.low > 0 or not kind.must_win
    return won


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
