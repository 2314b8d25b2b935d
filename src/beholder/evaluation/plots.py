"""Learning curves: how each scorer gets better with the number of ratings it is given."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError, MissingExtra
from beholder.evaluation.controls import SHUFFLED_IMAGES
from beholder.evaluation.metrics import METRICS

PANELS = ("srocc", "mae", "personal_r", "coverage")
# Okabe & Ito: told apart with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_CONTROL = "#666666"
_DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


def learning_curves(
    records: Sequence[Mapping[str, object]], path: str | os.PathLike, *, title: str = "", panels: Sequence[str] = PANELS
) -> Path:
    """Draw small multiples, one per measure, against the number of support ratings N, with 95 % bands.

    Args:
        records: as `Report.records()` gives them, or rows of report.csv or of "results" in report.json.
        path: of the picture; its ending says the kind (.png, .svg, .pdf).
        title: above the picture, for example the protocol.
        panels: measures; those that no record has are left out.

    Returns:
        `path`.

    Raises:
        MissingExtra: matplotlib is not installed.
        BeholderError: no record of any of the measures, or the picture cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", extra="eval", purpose="drawing learning curves") from None
    curves = {panel: _curves(records, panel) for panel in panels}
    curves = {panel: found for panel, found in curves.items() if found}
    if not curves:
        raise BeholderError(f"there is nothing to draw: no record has one of the measures {', '.join(panels)}")
    shots = sorted({int(n) for found in curves.values() for curve in found for n in curve["shots"]})
    # every N the same distance apart: the interesting ones are the small ones, and 0 has no logarithm
    place = {n: i for i, n in enumerate(shots)}
    columns = 2 if len(curves) > 1 else 1
    lines = -(-len(curves) // columns)
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.2 * columns, 3.5 * lines + (0.6 if title else 0.2)), layout="constrained")
        axes = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
        colours = _colours(curves)
        dashes = dict(zip((label for label, colour in colours.items() if colour == _CONTROL), cycle(_DASHES), strict=False))
        for axis, (panel, found) in zip(axes, curves.items(), strict=False):
            _draw(axis, panel, found, place=place, colours=colours, dashes=dashes)
        for axis in axes[len(curves) :]:
            axis.remove()
        if title:
            figure.suptitle(textwrap.fill(title, 80 * columns), fontsize=9, x=0.01, ha="left")
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise BeholderError(f"{path} cannot be written: {error}; choose another place, ending in .png, .svg or .pdf") from None
    return Path(path)


def _curves(records: Sequence[Mapping[str, object]], panel: str) -> list[dict]:
    """One curve per scorer or control that has this measure: label, control, shots, value, low, high."""
    found: dict[str, dict] = {}
    for record in records:
        value = _number(record["value"])
        control = bool(record["control_of"])
        # a control whose correlation is never defined would only be one more line at 0
        if record["metric"] != panel or not np.isfinite(value) or (control and not np.isfinite(_number(record["defined_only"]))):
            continue
        label = str(record["scorer"]) + (" (oracle)" if str(record["oracle"]) == "True" else "")
        curve = found.setdefault(label, {"label": label, "control": control, "shots": [], "value": [], "low": [], "high": []})
        for name, number in (
            ("shots", int(record["shots"])),
            ("value", value),
            ("low", _number(record["low"])),
            ("high", _number(record["high"])),
        ):
            curve[name].append(number)
    # the control with shuffled images is flat at chance in every panel: it belongs in the table, not in the picture
    return [curve for label, curve in found.items() if SHUFFLED_IMAGES not in label]


def _draw(axis, panel: str, curves: list[dict], *, place: dict[int, int], colours: dict[str, str], dashes: dict[str, object]) -> None:
    label, higher = METRICS[panel]
    hint = {True: ", higher is better", False: ", lower is better", None: ", should be 0.90"}[higher]
    axis.set_title(label + hint, loc="left", fontsize=10)
    for curve in curves:
        order = np.argsort(curve["shots"])
        x = np.array([place[curve["shots"][i]] for i in order])
        value, low, high = (np.array(curve[name], dtype=float)[order] for name in ("value", "low", "high"))
        style = (
            {"linestyle": dashes[curve["label"]], "linewidth": 1.2}
            if curve["control"]
            else {"linewidth": 1.8, "marker": "o", "markersize": 3.5}
        )
        colour = colours[curve["label"]]
        axis.plot(x, value, color=colour, **style)
        if not curve["control"]:
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    if panel == "coverage":
        axis.axhline(0.9, color="black", linewidth=0.8, linestyle=":")
        shown = np.concatenate([curve["low"] for curve in curves] + [curve["value"] for curve in curves])
        axis.set_ylim(min(0.8, float(shown.min()) - 0.02), max(1.0, float(shown.max())))
    if panel.startswith("personal_r"):
        axis.axhline(0, color="black", linewidth=0.8, linestyle=":")
    axis.set_xticks(list(place.values()), [str(n) for n in place])
    axis.set_xlabel("ratings (or choices) given by the rater, N")
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    last = max(place.values())
    axis.set_xlim(-0.15, last + 0.15)
    _label_ends(axis, curves, colours=colours, x=last + 0.2)


def _label_ends(axis, curves: list[dict], *, colours: dict[str, str], x: float) -> None:
    """Each curve's name beside its right end, moved apart where they would overlap."""
    from sklearn.isotonic import isotonic_regression

    low, high = axis.get_ylim()
    ends = sorted(((curve["value"][int(np.argmax(curve["shots"]))], curve["label"]) for curve in curves), key=lambda end: end[0])
    steps = 0.062 * (high - low) * np.arange(len(ends))  # a line of text is so high
    # the nearest heights that keep the order and leave a line between neighbours
    wanted = np.array([value for value, _ in ends]) - steps
    heights = isotonic_regression(wanted, y_min=low, y_max=max(low, high - steps[-1])) + steps
    for (_, label), height in zip(ends, heights, strict=True):
        axis.annotate(
            label, xy=(x, height), xycoords="data", annotation_clip=False, va="center", ha="left", fontsize=8, color=colours[label]
        )


def _colours(curves: Mapping[str, list[dict]]) -> dict[str, str]:
    labels = dict.fromkeys((curve["label"], curve["control"]) for found in curves.values() for curve in found)
    scorers = [label for label, control in labels if not control]
    return {label: _CONTROL for label, control in labels if control} | {
        label: COLOURS[index % len(COLOURS)] for index, label in enumerate(scorers)
    }


def _number(value: object) -> float:
    return float("nan") if value in (None, "") else float(value)
