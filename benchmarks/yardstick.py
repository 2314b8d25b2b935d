"""What the field's usual baseline gives on your data, in the folds of `beholder bench`.   python benchmarks/yardstick.py --root DIR [--seeds 0]

Ridge regression of mean ratings on the last pooled layer of the encoder at 224 pixels: what "population ridge on frozen features" means in
most papers. Prints SROCC and MAE with 95 % intervals at N = 0, beside the ceiling: the true image means of the other raters.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from beholder.backbones import load_encoder
from beholder.datasets import read
from beholder.engine.source import Features
from beholder.evaluation import bench
from beholder.scorers.baselines.scorer import PopulationScorer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a folder dataset")
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    dataset = read("folder", options.root)
    features = Features(load_encoder(layers=["pool"], size=224))
    features([str(dataset.images[i]) for i in dataset.used_images])  # all at once is faster
    seeds = tuple(map(int, options.seeds.split(",")))
    report = bench.run(dataset, {"population": lambda: PopulationScorer(features=features)}, shots=(0,), fit=True, seeds=seeds)
    print(f"{dataset.name}: {report.protocol}")
    for row in report.rows:
        for metric in ("srocc", "mae"):
            estimate = row.evaluation.estimates[metric]
            print(f"{row.label:40} {metric:6} {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]")


if __name__ == "__main__":
    main()
