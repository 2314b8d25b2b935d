"""Draws docs/pmllm.svg.   python docs/draw_pmllm.py [OTHER.png]"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FROZEN, TRAINED, PROFILE, TEXT = "#d7e3f1", "#ffd9a8", "#e3e0ee", "#1f2430"
EDGES = {FROZEN: "#5f7fa6", TRAINED: "#c77700", PROFILE: "#7d6fa8", "white": "#9aa0aa"}


def box(axes, x, y, w, h, text, fill, *, size=9.5, bold=False):
    """A rounded box with text in its middle; x, y = lower left corner."""
    style = FancyBboxPatch((x, y), w, h, boxstyle="round,pad=0,rounding_size=0.9", facecolor=fill, edgecolor=EDGES[fill], linewidth=1.2)
    axes.add_patch(style)
    axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=size, color=TEXT, weight="bold" if bold else "normal", linespacing=1.25)


def arrow(axes, start, end, *, colour="#4a4f5a", bend=0.0, style="-|>"):
    curve = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=11, linewidth=1.3, color=colour, connectionstyle=curve, shrinkA=0, shrinkB=0)
    )


def note(axes, x, y, text, *, size=8.5, ha="center", colour="#4a4f5a"):
    axes.text(x, y, text, ha=ha, va="center", fontsize=size, color=colour, linespacing=1.25)


def overview(axes):
    """Left: the whole model."""
    axes.text(2, 96.5, "The model", fontsize=12, weight="bold", color=TEXT, va="center")
    box(axes, 4, 8, 21, 7, "who the viewer is", PROFILE)
    box(axes, 28, 8, 27, 7, "question, answer so far", "white")
    rows = [(22, "block 1"), (36, "block 2"), (50, "block 3")]
    for y, name in rows:
        box(axes, 4, y, 21, 9, "keys, values\nonce per profile", PROFILE, size=8.5)
        box(axes, 28, y, 27, 9, name, FROZEN, bold=True)
        arrow(axes, (25, y + 4.5), (28, y + 4.5), colour=EDGES[PROFILE])
        box(axes, 63, y, 17, 9, "selective\nfusion", TRAINED, bold=True)
        arrow(axes, (63, y + 4.5), (55.4, y + 4.5), colour=EDGES[TRAINED])
        axes.text(59.3, y + 6.6, "+", fontsize=12, ha="center", va="center", color=EDGES[TRAINED], weight="bold")
    box(axes, 4, 64, 21, 9, "keys, values\nonce per profile", PROFILE, size=8.5)
    box(axes, 28, 64, 27, 9, "block 4 ... last", FROZEN, bold=True)
    arrow(axes, (25, 68.5), (28, 68.5), colour=EDGES[PROFILE])
    levels = [15, 22, 31, 36, 45, 50, 59, 64, 73, 80]
    for low, high in zip(levels[::2], levels[1::2], strict=True):
        arrow(axes, (41.5, low), (41.5, high))
        if high < 80:
            arrow(axes, (14.5, low), (14.5, high))
    box(axes, 28, 80, 27, 8, '"... my score is"  7', "white")
    note(axes, 57, 84, "one forward pass:\ninteger, or mean of all", ha="left")

    box(axes, 86, 8, 12, 7, "image", "white")
    box(axes, 84, 22, 16, 9, "encoder", FROZEN, bold=True)
    box(axes, 84, 36, 16, 9, "projector", TRAINED, bold=True)
    arrow(axes, (92, 15), (92, 22))
    arrow(axes, (92, 31), (92, 36))
    arrow(axes, (84, 38.5), (80, 28.5))
    arrow(axes, (84, 40.5), (80, 40.5))
    arrow(axes, (84, 42.5), (80, 52.5))
    note(axes, 71.5, 63.5, "keys, values\nonce per image")
    for x, fill, text in ((4, FROZEN, "frozen"), (23, TRAINED, "trained"), (42, PROFILE, "profile: sees no image, no trained weight")):
        box(axes, x, 0, 4, 3.6, "", fill)
        note(axes, x + 5.5, 1.8, text, ha="left", size=9)


def one_block(axes):
    """Right: what happens in one fused block."""
    axes.text(2, 96.5, "One fused block", fontsize=12, weight="bold", color=TEXT, va="center")
    box(axes, 6, 8, 38, 7, "hidden state h", "white")
    box(axes, 62, 8, 36, 7, "image tokens", "white")
    box(axes, 6, 21, 38, 7, "input norm", FROZEN)
    box(axes, 62, 21, 36, 7, "visual norm", TRAINED)
    box(axes, 2, 35, 21, 12, "self-\nattention", FROZEN)
    box(axes, 29, 35, 15, 12, r"$W_Q$", FROZEN, size=11)
    box(axes, 62, 35, 36, 12, r"$W_K$, $W_V$", FROZEN, size=11)
    box(axes, 36, 54, 36, 9, "softmax over\nimage tokens", "white", size=8.5)
    box(axes, 77, 54, 23, 9, "gates\n" + r"$\sigma(W_G\,h)$", TRAINED, size=8.5)
    box(axes, 36, 69, 36, 8, r"$\times$ gate, one per head", "white", size=8.5)
    box(axes, 36, 81, 36, 7, r"$W_O$", TRAINED, size=11)
    arrow(axes, (25, 15), (25, 21))
    arrow(axes, (80, 15), (80, 21))
    arrow(axes, (14, 28), (14, 35))
    arrow(axes, (36.5, 28), (36.5, 35))
    arrow(axes, (80, 28), (80, 35))
    arrow(axes, (36.5, 47), (44, 54))
    arrow(axes, (74, 47), (66, 54))
    arrow(axes, (54, 63), (54, 69))
    arrow(axes, (80, 63), (72.5, 70.5))
    arrow(axes, (54, 77), (54, 81))
    box(axes, 6, 81, 12, 7, "+", "white", size=13, bold=True)
    arrow(axes, (12, 47), (12, 81))
    arrow(axes, (36, 84.5), (18, 84.5), colour=EDGES[TRAINED])
    note(axes, 27, 79.5, "question\nand answer\nonly", size=8)
    arrow(axes, (12, 88), (12, 94))
    note(axes, 14, 93, "to the residual stream and the MLP", ha="left")
    note(axes, 50, 1.8, "frozen parts are the language model's own")


def main() -> None:
    mpl.rcParams |= {"svg.hashsalt": "pmllm", "font.family": "DejaVu Sans"}
    figure = Figure(figsize=(11, 5.4), facecolor="white")
    for rectangle, draw in (((0.015, 0.03, 0.555, 0.94), overview), ((0.6, 0.03, 0.385, 0.94), one_block)):
        axes = figure.add_axes(rectangle)
        axes.set(xlim=(0, 102), ylim=(-1, 100))
        axes.axis("off")
        draw(axes)
    figure.savefig(Path(__file__).with_name("pmllm.svg"), metadata={"Date": None})
    if len(sys.argv) > 1:
        figure.savefig(sys.argv[1], dpi=90)


if __name__ == "__main__":
    main()
