"""Train the probes and the distribution of tastes behind `beholder critique`, and say how good they are on what was left out.

    python benchmarks/critique_probes.py --root DIR [--out DIR]

DIR is a folder dataset whose images.csv has a column category. Without --out nothing is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from beholder.critique.measured import personal, probes, tastes
from beholder.critique.measured.statistics import measure_all
from beholder.datasets import read
from beholder.scorers import provenance

SHOTS = (0, 10, 20, 50, 100)
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    data = read("folder", given.root)
    found, left_out = probes.learn(data)
    for name, value in found.scores.items():
        print(f"{name}: {value:.3f}")
    measured = measure_all([str(image) for image in data.images])
    liked = left_out[:, len(found.kinds)]
    values = np.column_stack([*(measured[name] for name in personal.MEASURED), liked])
    unit = data.scale.to_unit(data.rating_score)
    learned = tastes.learn(personal.NAMES, values, data.rating_rater, data.rating_image, unit)
    points = data.scale.width
    print(f"\nWeights over {len(data.raters)} raters, points of {data.scale} per standard deviation; noise {learned.noise**0.5 * points:.2f} points\n")
    print("| attribute | mean | spread over raters |\n|---|---|---|")
    for name, mean, spread in zip(("(average image)", *learned.names), learned.mean, np.sqrt(np.diag(learned.covariance)), strict=True):
        print(f"| {name} | {mean * points:+.3f} | {spread * points:.3f} |")
    _new_raters_new_images(data, values, unit)
    if given.out:
        trained = provenance.describe(data)
        found.save(given.out / "weights", trained=trained)
        personal.save(learned, given.out / "tastes", trained=trained)
        print(f"\nwritten to {given.out}")


def _new_raters_new_images(data, values: np.ndarray, unit: np.ndarray) -> None:
    """Tastes of new raters, from N ratings, on image groups that nobody's weights were learned from; and whether what is said of a rater holds."""
    random = np.random.default_rng(0)
    groups = np.unique(data.groups, return_inverse=True)[1]
    image_fold, rater_fold = random.integers(0, FOLDS, groups.max() + 1)[groups], random.integers(0, FOLDS, len(data.raters))
    srocc, said = {n: [] for n in SHOTS}, {n: [] for n in SHOTS}
    for fold in range(FOLDS):
        train = (rater_fold[data.rating_rater] != fold) & (image_fold[data.rating_image] != fold)
        model = tastes.learn(personal.NAMES, values, data.rating_rater[train], data.rating_image[train], unit[train])
        for rater in np.flatnonzero(rater_fold == fold):
            rows = np.flatnonzero(data.rating_rater == rater)
            query = rows[image_fold[data.rating_image[rows]] == fold]
            support = random.permutation(rows[image_fold[data.rating_image[rows]] != fold])
            z, score = model.standardised(values[data.rating_image[query]]), unit[query]
            for n in SHOTS:
                mean, spread = model.posterior(values[data.rating_image[support[:n]]], unit[support[:n]])
                predicted = mean[0] + z @ mean[1:]
                defined = len(query) > 2 and np.ptp(score) > 0
                srocc[n].append(spearmanr(predicted, score)[0] if defined else 0.0)
                rest = support[n:]
                if n and len(rest) >= 30:
                    truth, _ = model.posterior(values[data.rating_image[rest]], unit[rest])
                    for k in personal.certain(model, mean, spread):
                        said[n].append(np.sign(mean[1 + k] - model.mean[1 + k]) == np.sign(truth[1 + k] - model.mean[1 + k]))
    print("\n| N | SROCC, new raters and new image groups | statements per rater | same direction in the other ratings |\n|---|---|---|---|")
    for n in SHOTS:
        held = f"{np.mean(said[n]):.0%} of {len(said[n])}" if said[n] else "-"
        print(f"| {n} | {np.mean(srocc[n]):.3f} | {len(said[n]) / len(srocc[n]):.2f} | {held} |")


if __name__ == "__main__":
    main()
