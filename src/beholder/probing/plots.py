"""Pictures of probes: which layer reads which attribute how well."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError, MissingExtra
from beholder.probing.layers import OTHER
from beholder.probing.probe import Probe

# Okabe & Ito: told apart with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREY = "#666666"
_WIDE = 14  # layers up to which the numbers fit into the cells
_MEANING = {
    "V": "vision encoder",
    "LT": "text tokens of the decoder",
    "LV": "image tokens of the decoder",
    "last": "last token of the decoder",
    OTHER: "layers outside a sequence",
}


def draw(probe: Probe, out: str | os.PathLike) -> list[Path]:
    """One heat map per source (heatmap-SOURCE.png) and the curves (curves.png) into a folder that is there; returns their paths.

    Raises:
        MissingExtra: matplotlib is not installed.
        BeholderError: a picture cannot be written.
    """
    out = Path(out)
    found = [heat_map(probe, source, out / f"heatmap-{source}.png") for source in probe.sources]
    for old in set(out.glob("heatmap-*.png")) - set(found):  # of another model, whose results these replace
        with contextlib.suppress(OSError):
            old.unlink()
    return [*found, curves(probe, out / "curves.png")]


def heat_map(probe: Probe, source: str, path: str | os.PathLike) -> Path:
    """Test correlation of every layer (columns) and attribute (rows) of a source; rings mark the layers that the validation images chose.

    The colours mean the same in all sources of a probe. Attributes are ordered by how well the best layer of any source reads them.
    """
    names = _ordered(probe)
    fits = [probe.of(name, source=source) for name in names]
    rho = np.array([[fit.test.rho for fit in own] for own in fits])  # [attributes, layers]
    layers = [fit.layer for fit in fits[0]]
    highest = max(0.1, max(fit.test.rho for fit in probe.fits))
    with _figure(width=2.6 + max(0.28 * len(layers), 3.4), height=1.5 + 0.34 * len(names)) as (figure, matplotlib):
        axis = figure.subplots()
        image = axis.imshow(rho, aspect="auto", cmap="viridis", vmin=0, vmax=highest, interpolation="nearest")
        axis.set_yticks(range(len(names)), names)
        axis.set_xticks(*_ticks(layers, source), **({"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if source == OTHER else {}))
        axis.tick_params(length=2)
        axis.spines[:].set_visible(False)
        if len(layers) <= _WIDE:
            for row, column in np.ndindex(rho.shape):
                shade = "black" if rho[row, column] > 0.6 * highest else "white"
                axis.text(column, row, f"{rho[row, column]:.2f}".replace("0.", "."), ha="center", va="center", fontsize=7, color=shade)
        for row, own in enumerate(fits):
            place = own.index(probe.best(names[row], source=source))
            box = matplotlib.patches.Rectangle((place - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor="#D55E00", linewidth=1.6)
            axis.add_patch(box)
        right = axis.secondary_yaxis("right")  # the number of the ringed cell
        right.set_yticks(range(len(names)), [f"{probe.best(name, source=source).test.rho:.2f}" for name in names], fontsize=8, color="#A33F00")
        right.tick_params(length=0)
        right.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axis, pad=0.02, shrink=0.9)
        bar.set_label("Spearman correlation, test images", fontsize=8)
        bar.outline.set_visible(False)
        axis.set_xlabel(_axis_name(source))
        _title(figure, probe, f"{source}: {_MEANING[source]}" if source in _MEANING else source, width=figure.get_figwidth())
        return _save(figure, path)


def curves(probe: Probe, path: str | os.PathLike) -> Path:
    """Test correlation by layer, a line per source: one panel for the mean over attributes, then one per attribute.

    Dots mark the layers that the validation images chose. Of the layers outside a sequence only the best is drawn, as a dotted line across.
    """
    names = _ordered(probe)
    panels = [("mean of all attributes", names)] if len(names) > 1 else []
    panels += [(name, [name]) for name in names]
    columns = min(4 if len(panels) <= 12 else 5, len(panels))
    lines = -(-len(panels) // columns)
    lines_of = [source for source in probe.sources if source != OTHER] or [OTHER]
    colours = dict(zip(probe.sources, _COLOURS * len(probe.sources), strict=False))
    with _figure(width=max(5.0, 3.1 * columns), height=2.3 * lines + 1.1) as (figure, matplotlib):
        axes = np.atleast_1d(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)).reshape(-1)
        for axis, (title, shown) in zip(axes, panels, strict=False):
            for source in lines_of:
                x, rho = _curve(probe, shown, source)
                axis.plot(x, rho, color=colours[source], linewidth=1.6, label=source, marker="o" if len(x) == 1 else None, markersize=3)
                if len(shown) == 1:
                    best = probe.best(shown[0], source=source)
                    axis.plot([best.index], [best.test.rho], color=colours[source], marker="o", markersize=5)
            if OTHER in probe.sources and OTHER not in lines_of:
                best = max(_single(probe, shown), key=lambda one: one[1])
                axis.axhline(best[2], color=colours[OTHER], linestyle=":", linewidth=1.4, label="best layer outside a sequence")
            x, chance = _control(probe, shown, lines_of)
            axis.plot(x, chance, color=_GREY, linewidth=0.9, linestyle="--", label="shuffled labels")
            axis.set_title(title, loc="left", fontsize=9, fontweight="bold" if len(shown) > 1 else "normal")
            axis.grid(axis="y", linewidth=0.4, alpha=0.5)
            axis.tick_params(labelsize=8, labelbottom=True)
            axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        for axis in axes[len(panels) :]:
            axis.remove()
        for axis in axes[max(0, len(panels) - columns) : len(panels)]:
            axis.set_xlabel("layer", fontsize=8)
        for axis in axes[: len(panels) : columns]:
            axis.set_ylabel("correlation, test", fontsize=8)
        if lines_of == [OTHER]:
            axes[0].set_xticks(range(len(probe.layers)), [layer.name for layer in probe.layers], rotation=90, fontsize=7)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), fontsize=8, frameon=False)
        _title(figure, probe, "Spearman correlation by layer", width=figure.get_figwidth())
        return _save(figure, path)


def _ordered(probe: Probe) -> list[str]:
    """Attributes, the one that is read best first; the overall score before them all."""
    return sorted(probe.attributes, key=lambda name: (name != probe.table.overall, -probe.best(name).test.rho))


def _curve(probe: Probe, names: list[str], source: str) -> tuple[list[int], np.ndarray]:
    """Indices of the layers and [layers] mean test correlation over attributes."""
    fits = [probe.of(name, source=source) for name in names]
    return [fit.index for fit in fits[0]], np.mean([[fit.test.rho for fit in own] for own in fits], axis=0)


def _single(probe: Probe, names: list[str]) -> list[tuple[str, float, float]]:
    """The layers outside a sequence: name, mean validation and mean test correlation over attributes."""
    fits = [probe.of(name, source=OTHER) for name in names]
    validation, test = (np.mean([[getattr(fit, part).rho for fit in own] for own in fits], axis=0) for part in ("validation", "test"))
    return [(fit.layer, *rho) for fit, *rho in zip(fits[0], validation, test, strict=True)]


def _control(probe: Probe, names: list[str], sources: list[str]) -> tuple[list[int], list[float]]:
    """Indices of layers and mean test correlation of probes that learned shuffled labels."""
    found: dict[int, list[float]] = {}
    for name in names:
        for source in sources:
            for fit in probe.of(name, source=source):
                found.setdefault(fit.index, []).extend(fit.control_test)
    return sorted(found), [float(np.mean(found[place])) for place in sorted(found)]


def _ticks(layers: list[str], source: str) -> tuple[list[int], list[str]]:
    """Where a heat map names its layers: all of them if there is room, else every few."""
    if source == OTHER:
        return list(range(len(layers))), layers
    labels = [layer.removeprefix(source).removeprefix("-") for layer in layers]
    step = 1 if len(labels) <= 40 else 4
    return list(range(0, len(labels), step)), labels[::step]


def _axis_name(source: str) -> str:
    return "layer" if source == OTHER else f"layer of {source}"


def _title(figure, probe: Probe, text: str, *, width: float) -> None:
    about = f"{text}. {probe.model['name']} on {probe.table.name}, {len(probe.table.places('test'))} test images; marked: chosen on the validation images."
    figure.suptitle(textwrap.fill(about, int(15 * width)), fontsize=9, x=0.01, ha="left")


@contextlib.contextmanager
def _figure(*, width: float, height: float) -> Iterator[tuple]:
    try:
        import matplotlib
        import matplotlib.patches
        import matplotlib.ticker
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", extra="eval", purpose="drawing what probes found") from None
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}):
        yield Figure(figsize=(width, height), layout="constrained"), matplotlib


def _save(figure, path: str | os.PathLike) -> Path:
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise BeholderError(f"{path} cannot be written: {error}; choose another place, ending in .png, .svg or .pdf") from None
    return Path(path)
