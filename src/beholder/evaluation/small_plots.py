"""Panels of lines with bands, for curves that are not learning curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from beholder.errors import BeholderError, MissingExtra
from beholder.evaluation.plots import COLOURS


@dataclass
class Line:
    """Points of one line, with the ends of their bands."""

    x: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, x: float, value: float, *, low: float, high: float) -> None:
        for name, number in (("x", x), ("value", value), ("low", low), ("high", high)):
            getattr(self, name).append(number)


def draw(panels: Mapping[str, Mapping[str, Line]], path: Path, *, x: str, y: str = "", title: str = "", same_heights: bool = False) -> Path:
    """Draw panels side by side: title of a panel -> name of a line -> line; a line has the same colour in all panels.

    Args:
        path: of the picture.
        x, y: what the axes show.
        title: above the picture.
        same_heights: one scale upwards for all panels, which then show the same measure.

    Raises:
        MissingExtra: matplotlib is not installed.
        BeholderError: the picture cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", extra="eval", purpose="drawing curves") from None
    colours = dict(zip(dict.fromkeys(name for lines in panels.values() for name in lines), cycle(COLOURS), strict=False))
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4.6 * len(panels), 3.6 + 0.22 * len(colours)), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=same_heights)[0]
        for axis, (heading, lines) in zip(axes, panels.items(), strict=True):
            for name, line in lines.items():
                axis.plot(line.x, line.value, color=colours[name], marker="o", markersize=3.5, linewidth=1.8, label=name)
                axis.fill_between(line.x, line.low, line.high, color=colours[name], alpha=0.15, linewidth=0)
            axis.set_title(heading, loc="left", fontsize=10)
            axis.set_xticks(sorted({place for line in lines.values() for place in line.x}))
            axis.set_xlabel(x)
            axis.grid(axis="y", linewidth=0.4, alpha=0.5)
        axes[0].set_ylabel(y)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8)
        if title:
            figure.suptitle(textwrap.fill(title, 70 * len(panels)), fontsize=9, x=0.01, ha="left")
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise BeholderError(f"{path} cannot be written: {error}; choose another --out") from None
    return path
