"""What probes found, as JSON, a tidy CSV and a page of Markdown; with the paper's numbers beside ours where the dataset is the paper's."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from beholder import __version__
from beholder.datasets.attributes import PARTS
from beholder.errors import BeholderError
from beholder.probing.fits import SHUFFLES, Fit
from beholder.probing.layers import described
from beholder.probing.measures import Score
from beholder.probing.probe import Probe
from beholder.ratings import write_table
from beholder.ridge import ALPHAS

JSON, TABLE, PAGE, CONSTANT = "probe.json", "probe.csv", "probe.md", "constant-predictions.jsonl"
COLUMNS = ("attribute", "source", "layer", "name", "part", "rho", "r2", "rmse", "n", "defined", "low", "high", "alpha", "shuffled_labels")
SHORT = {"train": "train", "validation": "val", "test": "test"}
# dataset -> attribute -> Ryu & Yanaka 2026 (arXiv 2604.11374): the best over their models, sources and layers
PAPER = {"aadb": {"score": 0.727, "Object": 0.722, "VividColor": 0.696}}
PAPER_NAME = "Ryu & Yanaka 2026, arXiv 2604.11374"
PAPER_SETTING = f"Paper: {PAPER_NAME}, the best of their models (Qwen3-VL 2B to 8B, Gemma 3 4B and 12B), over all layers. Another model is not expected to reach its numbers."
WELL = 0.4  # a correlation that the paper calls moderate
HEADINGS = ("attribute", "best layer", "validation", "test", "95 %", "R2", "RMSE", "shuffled labels")


def summary(probe: Probe, *, config: Mapping[str, object]) -> dict[str, object]:
    """Everything, ready for JSON; numbers that are not defined are None.

    Args:
        config: how it was called, to be kept with it.
    """
    table = probe.table
    return {
        "config": dict(config) | {"layers": described(probe.layers), "seed": probe.seed, "alphas": ALPHAS.tolist(), "beholder": __version__},
        "dataset": {
            "name": table.name,
            "overall": table.overall,
            **{f"n_{part}": len(table.places(part)) for part in PARTS},
            "licence": table.licence,
            "citation": table.citation,
        },
        "model": dict(probe.model),
        "attrs": {name: _attribute(probe, name) for name in probe.attributes},
        "mean_test_rho": {source: round(mean_test(probe, source), 6) for source in probe.sources},
        "undefined": sum(not getattr(fit, part).defined for fit in probe.fits for part in PARTS),
        "skipped": [{"image": one.path, "reason": one.reason} for one in probe.skipped],
        "notes": list(probe.notes),
    }


def _attribute(probe: Probe, name: str) -> dict[str, object]:
    best = probe.best(name)
    found = _layer(best) | {"low": _number(best.low), "high": _number(best.high), "paper": PAPER.get(probe.table.name, {}).get(name)}
    found["shuffled_labels"] = [_number(rho) for rho in probe.control(name)]
    by_source = {source: _layer(probe.best(name, source=source)) for source in probe.sources}
    return {"per_layer": [_layer(fit) for fit in probe.of(name)], "best": found, "best_by_source": by_source}


def _layer(fit: Fit) -> dict[str, object]:
    scores = {SHORT[part]: _scores(getattr(fit, part)) for part in PARTS}
    return {"source": fit.source, "layer": fit.index, "name": fit.layer, "alpha": fit.alpha} | scores


def _scores(score: Score) -> dict[str, object]:
    return {"rho": _number(score.rho), "r2": _number(score.r2), "rmse": _number(score.rmse), "n": score.n, "defined": score.defined}


def rows(probe: Probe) -> list[list[str]]:
    """Cells of the columns `headings`: per attribute the layer that the validation images chose, and how it does on the test images."""
    paper = PAPER.get(probe.table.name)
    found = []
    for name in probe.attributes:
        best, control = probe.best(name), probe.control(name)
        chance = f"{np.mean(control):.2f} [{min(control):.2f}, {max(control):.2f}]"
        row = [name, best.layer, _shown(best.validation.rho), _shown(best.test.rho), f"[{_shown(best.low)}, {_shown(best.high)}]"]
        row += [_shown(best.test.r2), _shown(best.test.rmse), chance]
        found.append(row + ([_shown(paper[name]) if name in paper else ""] if paper else []))
    return found


def headings(probe: Probe) -> tuple[str, ...]:
    return HEADINGS + (("paper",) if probe.table.name in PAPER else ())


def mean_test(probe: Probe, source: str) -> float:
    """Mean over attributes of the test correlation of the layer of this source that the validation images chose."""
    return float(np.mean([probe.best(name, source=source).test.rho for name in probe.attributes]))


def protocol(probe: Probe) -> str:
    """One line: how the numbers came about."""
    sizes = ", ".join(f"{len(probe.table.places(part))} {part}" for part in PARTS)
    return (
        f"{probe.model['name']} ({probe.model['revision']}, {probe.model['preprocessing']}), {len(probe.layers)} layers ({described(probe.layers)}), "
        f"on {probe.table.name}: {sizes} images, seed {probe.seed}"
    )


def remarks(probe: Probe) -> list[str]:
    """What has to stand beside the numbers, one sentence each."""
    well = sum(probe.best(name).test.rho > WELL for name in probe.attributes)
    found = [f"{well} of {len(probe.attributes)} attributes are read with a test correlation above {WELL}."]
    undefined = sum(not getattr(fit, part).defined for fit in probe.fits for part in PARTS)
    if undefined:
        found.append(f"{undefined} correlations are not defined (the probe predicts the same for all images of a part) and count as 0: {CONSTANT} lists them.")
    return found


def page(probe: Probe) -> Iterator[str]:
    """Lines of probe.md."""
    yield f"# What {probe.model['name']} knows of {probe.table.name}\n"
    yield f"- {protocol(probe)}."
    yield (
        f"- One ridge regression per layer and attribute: features standardised, penalty by leave-one-out error among {len(ALPHAS)} from {ALPHAS[0]:g} to "
        f"{ALPHAS[-1]:g}, fitted on the training images. The validation images choose the layer; all other numbers are of the test images."
    )
    yield (
        "- Spearman correlation with 95 % bootstrap interval over test images (of the chosen layer: that it was chosen is not in it); R2 = 1 - MSE / variance; "
        f"RMSE in units of the attribute. Shuffled labels: the same with permuted training labels, layers chosen anew; mean and range of {SHUFFLES} permutations."
    )
    if probe.table.name in PAPER:
        yield f"- {PAPER_SETTING}"
    yield "\n## The best layer for each attribute\n"
    yield from _markdown(headings(probe), rows(probe))
    if len(probe.sources) > 1:
        yield "\n## The best layer of each source\n"
        yield "Test correlation (layer), chosen on the validation images within the source.\n"
        lines = []
        for name in probe.attributes:
            best = [probe.best(name, source=source) for source in probe.sources]
            lines.append([name, *(f"{_shown(fit.test.rho)} ({fit.layer})" for fit in best)])
        lines.append(["mean", *(_shown(mean_test(probe, source)) for source in probe.sources)])
        yield from _markdown(("attribute", *probe.sources), lines)
    yield "\n## To be kept in mind\n"
    yield from (f"- {remark}" for remark in (*remarks(probe), *(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in probe.notes)))
    yield from (f"- {one.path} {one.reason}." for one in probe.skipped)
    if probe.table.citation:
        yield f"\nData: {probe.table.citation}" + (f" ({probe.table.licence})" if probe.table.licence else "")


def write(probe: Probe, out: str | os.PathLike, *, config: Mapping[str, object]) -> list[Path]:
    """Write probe.json, probe.csv, probe.md and constant-predictions.jsonl into `out`; returns their paths. For pictures see `plots`."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / JSON).write_text(json.dumps(summary(probe, config=config), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (out / PAGE).write_text("\n".join(page(probe)) + "\n", encoding="utf-8", errors="surrogateescape")
        (out / CONSTANT).write_text("".join(json.dumps(line) + "\n" for line in _constant(probe)), encoding="utf-8")
    except OSError as error:
        raise BeholderError(f"{out} cannot be written: {error.strerror or error}; choose another place with --out") from None
    write_table(out / TABLE, _tidy(probe), columns=COLUMNS)
    return [out / name for name in (JSON, TABLE, PAGE, CONSTANT)]


def _constant(probe: Probe) -> Iterator[dict[str, object]]:
    for fit in probe.fits:
        for part, value in fit.constant.items():
            where = {"attribute": fit.attribute, "source": fit.source, "layer": fit.index, "name": fit.layer}
            yield where | {"part": SHORT[part], "n": getattr(fit, part).n, "prediction": value}


def _tidy(probe: Probe) -> Iterator[dict[str, object]]:
    for fit in probe.fits:
        control = {"validation": fit.control_validation, "test": fit.control_test}
        for part in PARTS:
            found = {"attribute": fit.attribute, "source": fit.source, "layer": fit.index, "name": fit.layer, "part": SHORT[part]}
            found |= _scores(getattr(fit, part)) | {"alpha": fit.alpha}
            found |= {"low": _number(fit.low), "high": _number(fit.high)} if part == "test" else {}
            found |= {"shuffled_labels": _number(float(np.mean(control[part])))} if part in control else {}
            yield {name: "" if value is None else value for name, value in found.items()}


def _markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    yield from (f"| {' | '.join(line)} |" for line in lines)


def _shown(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
