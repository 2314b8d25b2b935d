"""A critique as text: with bold names and wrapped on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from beholder.cli.explain import PARTS
from beholder.cli.output import on_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from beholder.critique.base import Critique, Evidence, PersonalView

WIDEST = 100  # signs: longer lines are hard to read
PLAIN = 1_000_000  # in a pipe nothing is wrapped


def show(critique: Critique, *, details: bool | None, first: bool) -> None:
    """Print it to standard output.

    Args:
        details: evidence with a sentence each; None = its names and values only; False = none of it.
        first: no empty line before it.
    """
    from rich.console import Console

    wide = on_terminal()
    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=not wide, **({} if wide else {"width": PLAIN}))
    if wide and console.width > WIDEST:
        console.width = WIDEST
    if not first:
        console.print()
    by = " (measured: no vision-language model is loaded)" if critique.by == "measured" else f", by {critique.by}"
    _line(console, "".join(sign if sign.isprintable() else "?" for sign in critique.image) + by, style="bold underline")  # a line break may be in a name
    for name, section in critique.sections.items():
        _section(console, name.capitalize(), section.text, wide=wide)
        if details is None and section.evidence:
            _line(console, ", ".join(_briefly(one) for one in section.evidence if not math.isnan(one.value)), style="dim", indent=4)
        for one in section.evidence if details else ():
            _line(console, _at_length(one), style="dim", indent=4)
    if critique.personal is not None:
        _personal(console, critique.personal, wide=wide, details=details)


def _personal(console: Console, view: PersonalView, *, wide: bool, details: bool | None) -> None:
    text = f"{view.score:.2f} expected ({view.low:.2f} to {view.high:.2f}, 90 % interval) on {view.scale}; {view.scorer}"
    _section(console, f"For {view.rater or 'this person'}", text, wide=wide)
    if details is not False:
        for part, value in view.parts.items():
            meaning = PARTS.get(part.partition(" ")[0], "")
            _line(console, f"{value:+.2f} {part}" + (f": {meaning}" if meaning else ""), style="dim", indent=4)
    for one in view.weighs:
        _line(console, f"- {one.text}", indent=2)
    for text in view.notes:
        _line(console, text, style="dim", indent=4)


def _section(console: Console, name: str, text: str, *, wide: bool) -> None:
    if wide:
        console.print()
        _line(console, name, style="bold")
        _line(console, text, indent=2)
    else:
        _line(console, f"{name}: {text}")


def _line(console: Console, text: str, *, style: str = "", indent: int = 0) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if console.soft_wrap:  # lines of any length, nothing put behind them
        console.print(Text(" " * indent + text), soft_wrap=True)
    else:
        console.print(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False))


def _briefly(one: Evidence) -> str:
    """ "horizon tilt 2.1 degrees (percentile 87)"."""
    return _value(one) + (f" (percentile {one.percentile:.0f})" if one.percentile is not None else "")


def _at_length(one: Evidence) -> str:
    """The same with sentences."""
    text = _value(one) + (f", more than {one.percentile:.0f} % of photographs" if one.percentile is not None else "")
    return f"{text}: {one.how}" if one.how else text


def _value(one: Evidence) -> str:
    if math.isnan(one.value):
        return f"{one.name} not measurable here"
    return f"{one.name} {one.value:.3g}" + (f" {one.unit}" if one.unit else "")
