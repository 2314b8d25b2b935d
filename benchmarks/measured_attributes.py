"""What measured attributes of images have to do with ratings.   python benchmarks/measured_attributes.py --root DIR [--markdown FILE] [--quick]

DIR is a folder dataset (images/, ratings.csv, ...). For each attribute of `beholder.critique.measured`:

    crowd     Spearman correlation with the mean rating of the images, 95 % bootstrap over images; and the square: the coefficient of z^2 beside z in
              a regression of the mean rating (in standard deviations) on the attribute's normal scores z. Below 0: liked best in the middle.
    raters    Spearman correlation with one rater's ratings: mean over raters (95 % bootstrap over raters; undefined counts 0), standard
              deviation over raters, share of raters for whom it is significant at .05 (.05 are expected by chance).
    repeats   does a rater's weight repeat on other photographs? Correlation over raters of the weights from two halves of the image groups, mean over
              random splits, stepped up to the full length (Spearman-Brown), 95 % bootstrap over raters. Once for the ratings, once for what is the rater's
              own in them: rating less the mean of the other raters for that image.

    python benchmarks/measured_attributes.py --images FOLDER --write-reference [--source TEXT]

writes quantiles of each attribute over the photographs of a folder into src/beholder/critique/measured/reference.json.

    python benchmarks/measured_attributes.py --images FOLDER --horizons

turns every photograph in which a horizon is found by known angles and says how well the angle is recovered, and names the photographs, so that
somebody can look whether there is a horizon in them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats

from beholder.critique.measured import statistics
from beholder.datasets import read
from beholder.evaluation.resampling import interval
from beholder.photos import IMAGE_SUFFIXES, read_photo
from beholder.probing.measures import spearman, spearman_interval

FEWEST = 10  # photographs of a rater, or of a half, on which an attribute must be measurable


def told(done: int, total: int, what: str) -> None:
    if done == total or done % max(1, total // 20) == 0:
        print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def write_reference(folder: Path, source: str) -> None:
    images = photographs(folder)
    table = statistics.measure_all(images, progress=told)
    attributes = {}
    for name, values in table.items():
        known = values[np.isfinite(values)]
        quantiles = [float(f"{value:.6g}") for value in np.quantile(known, np.linspace(0, 1, 101))]
        attributes[name] = {
            "mean": float(f"{known.mean():.6g}"),
            "sd": float(f"{known.std():.6g}"),
            "nan": round(float(np.isnan(values).mean()), 4),
            "quantiles": quantiles,
        }
    made = {"source": f"{len(images)} {source}", "images": len(images), "version": statistics.VERSION, "side": statistics.SIDE, "attributes": attributes}
    text = json.dumps(made, indent=1).replace(",\n    ", ", ").replace("[\n    ", "[").replace("\n   ]", "]")
    whole = statistics.REFERENCE.with_suffix(".new")
    whole.write_text(text + "\n", encoding="utf-8")
    os.replace(whole, statistics.REFERENCE)
    print(f"{statistics.REFERENCE}: {len(images)} images")


def check_horizons(folder: Path) -> str:
    images = photographs(folder)
    found = statistics.measure_all(images, progress=told)["horizon tilt"]
    lines, off, missed = [], [], 0
    for image, tilt in zip(images, found, strict=True):
        if np.isnan(tilt):
            continue
        cells = []
        for angle in (-10, -5, -2, 2, 5, 10):
            if abs(tilt + angle) > 19:
                continue
            error = statistics.measure(turned(image, angle))["horizon tilt"] - (tilt + angle)
            missed += bool(np.isnan(error))
            off += [] if np.isnan(error) else [error]
            cells.append("–" if np.isnan(error) else f"{error:+.2f}")
        lines.append(f"{image.name}: {tilt:+.1f} degrees; errors when turned: {' '.join(cells)}")
    size = np.abs(off)
    lines.append(f"{np.isfinite(found).sum()} of {len(images)} photographs have a horizon; turned, it is found in {len(off)} of {len(off) + missed}")
    lines.append(f"error: median {np.median(size):.2f}, 90 % below {np.quantile(size, 0.9):.2f}, largest {size.max():.2f} degrees")
    return "\n".join(lines)


def turned(image: Path, angle: float) -> np.ndarray:
    """The photograph turned clockwise by degrees, and cut to the largest part of the same shape that has no empty corners."""
    photo = read_photo(image)
    width, height = photo.size
    sine, cosine = np.sin(np.deg2rad(abs(angle))), np.cos(np.deg2rad(angle))
    part = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
    w, h = int(width * part) - 2, int(height * part) - 2
    left, top = (width - w) // 2, (height - h) // 2
    return np.asarray(photo.rotate(-angle, Image.Resampling.BICUBIC).crop((left, top, left + w, top + h)))


def photographs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def crowd(values: np.ndarray, mean: np.ndarray, *, draws: int) -> dict[str, tuple[float, float, float]]:
    """Of [n] values of an attribute and mean ratings: (value, low, high) of the rank correlation and of the square."""
    known = np.isfinite(values)
    values, mean = values[known], mean[known]
    low, high = spearman_interval(mean, values, seed=0, draws=draws)
    z = stats.norm.ppf((stats.rankdata(values) - 0.5) / len(values))
    y = (mean - mean.mean()) / mean.std()

    def square(rows: np.ndarray) -> float:
        design = np.stack([np.ones(len(rows)), z[rows], z[rows] ** 2], axis=1)
        return float(np.linalg.lstsq(design, y[rows], rcond=None)[0][2])

    random = np.random.default_rng(0)
    squares = interval(np.array([square(random.integers(0, len(z), len(z))) for _ in range(draws)]))
    return {
        "rho": (spearman(mean, values), low, high),
        "square": (square(np.arange(len(z))), squares["low"], squares["high"]),
    }


def weights(table: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """[n, attributes] values and [n] ratings of one rater -> [attributes] Spearman correlations; 0 where not defined, nan with too few values."""
    found = np.zeros(table.shape[1])
    known = np.isfinite(table)
    whole = known.all(axis=0)
    if len(scores) < FEWEST:
        return np.full(table.shape[1], np.nan)
    if whole.any():
        found[whole] = rank_correlations(table[:, whole], scores)
    for i in np.flatnonzero(~whole):
        rows = known[:, i]
        found[i] = rank_correlations(table[rows, i : i + 1], scores[rows])[0] if rows.sum() >= FEWEST else np.nan
    return found


def rank_correlations(table: np.ndarray, scores: np.ndarray) -> np.ndarray:
    x, y = stats.rankdata(table, axis=0), stats.rankdata(scores)
    x, y = x - x.mean(axis=0), y - y.mean()
    size = np.sqrt((x**2).sum(axis=0) * (y @ y))
    return np.divide(y @ x, size, out=np.zeros(x.shape[1]), where=size > 1e-9)


def significant(rho: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Two-sided t test at .05 of rank correlations from n photographs."""
    rho = np.clip(rho, -0.999999, 0.999999)
    return 2 * stats.t.sf(np.abs(rho) * np.sqrt((n - 2) / (1 - rho**2)), n - 2) < 0.05


def split_half(first: np.ndarray, second: np.ndarray, *, draws: int) -> tuple[float, float, float]:
    """[splits, raters] weights of the two halves -> reliability of the full length, and its 95 % bootstrap over raters."""

    def reliability(rows: np.ndarray) -> float:
        found = []
        for a, b in zip(first[:, rows], second[:, rows], strict=True):
            known = np.isfinite(a) & np.isfinite(b)
            if known.sum() > 2:
                found.append(np.corrcoef(a[known], b[known])[0, 1])
        r = np.mean(found) if found else np.nan
        return 2 * r / (1 + r)

    n = first.shape[1]
    random = np.random.default_rng(0)
    found = interval(np.array([reliability(random.integers(0, n, n)) for _ in range(draws)]))
    return reliability(np.arange(n)), found["low"], found["high"]


def analyse(root: Path, *, splits: int, draws: int) -> str:
    data = read("folder", root)
    table = statistics.measure_all(data.images, progress=told)
    x = np.stack(list(table.values()), axis=1)
    rater, image, score = data.rating_rater, data.rating_image, data.rating_score
    count = np.bincount(image, minlength=len(data.images))
    total = np.bincount(image, score, minlength=len(data.images))
    mean = total / np.maximum(count, 1)
    others = (total[image] - score) / np.maximum(count[image] - 1, 1)
    rated = count > 0
    groups, group = np.unique(data.groups, return_inverse=True)
    rows_of = [np.flatnonzero(rater == i) for i in range(len(data.raters))]
    rows_of = [rows for rows in rows_of if len(rows) >= 2 * FEWEST]
    kinds = {"ratings": score, "own": score - others}
    full = {kind: np.array([weights(x[image[rows]], y[rows]) for rows in rows_of]) for kind, y in kinds.items()}
    n = np.array([np.isfinite(x[image[rows]]).sum(axis=0) for rows in rows_of])
    halves: dict[str, list] = {kind: [] for kind in kinds}
    random = np.random.default_rng(0)
    for split in range(splits):
        told(split, splits, "splitting")
        side = random.permutation(len(groups)) % 2 == 0
        for kind, y in kinds.items():
            halves[kind].append([[weights(x[image[r]], y[r]) for rows in rows_of if len(r := rows[side[group[image[rows]]] == s]) + 1] for s in (True, False)])
    told(splits, splits, "splitting")
    lines = [
        f"{data.name}: {int(rated.sum())} images, {len(rows_of)} raters, {len(score)} ratings; measured at {statistics.SIDE} px, version {statistics.VERSION}",
        "",
        "| attribute | images measured | crowd: Spearman | square | raters: mean | sd | significant | repeats (ratings) | own: sd | own: significant | repeats (own) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(rows_of), (draws, len(rows_of)))
    for i, name in enumerate(table):
        told(i, len(table), "resampling")
        shared = crowd(x[rated, i], mean[rated], draws=draws)
        cells = [name, str(int(np.isfinite(x[rated, i]).sum())), shown(*shared["rho"]), shown(*shared["square"])]
        for kind in kinds:
            known = np.isfinite(full[kind][:, i])
            values = np.where(known, full[kind][:, i], 0)
            if kind == "ratings":
                around = interval(values[drawn].mean(axis=1))
                cells.append(shown(values.mean(), around["low"], around["high"]) if known.any() else "–")
            if not known.any():  # measured in too few photographs of any rater
                cells += ["–"] * 3
                continue
            share = significant(values[known], n[known, i]).mean()
            first, second = (np.array([half[s] for half in halves[kind]])[..., i] for s in (0, 1))
            cells += [f"{values[known].std():.2f}", f"{share:.0%}", shown(*split_half(first, second, draws=max(draws // 10, 20)))]
        lines.append("| " + " | ".join(cells) + " |")
    told(len(table), len(table), "resampling")
    return "\n".join(lines)


def shown(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" if np.isfinite(value) else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="a folder dataset")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--images", type=Path, help="folder of photographs for --write-reference and --horizons")
    parser.add_argument("--horizons", action="store_true")
    parser.add_argument("--write-reference", action="store_true")
    parser.add_argument("--source", default="everyday photographs (OASIS)", help="what the photographs are, for the reference")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap resamples (a tenth of it for the reliabilities)")
    parser.add_argument("--quick", action="store_true", help="few splits and resamples: shows whether all works")
    options = parser.parse_args()
    if not (options.root or (options.images and (options.write_reference or options.horizons))):
        parser.error("give --root, or --images with --write-reference or --horizons")
    if options.images and options.write_reference:
        write_reference(options.images, options.source)
    if options.images and options.horizons:
        print(check_horizons(options.images))
    if options.root:
        start = time.perf_counter()
        splits, draws = (2, 100) if options.quick else (options.splits, options.draws)
        text = analyse(options.root, splits=splits, draws=draws)
        print(text)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
        if options.markdown:
            command = f"python benchmarks/measured_attributes.py --root DIR --splits {splits} --draws {draws}"
            options.markdown.write_text(f"`{command}`\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
