"""What goes to the terminal, into a pipe, or into a file. Results to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from beholder.prediction import Prediction
    from beholder.scale import Scale

SHOWN_WITH_FILE = 20  # rows on the terminal if all of them go into a file
BAR = 24  # signs


def note(message: str) -> None:
    """One line on standard error."""
    print(f"beholder: {message}", file=sys.stderr)


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    print(json_line(value, encoding=sys.stdout.encoding or "utf-8"))


def json_line(value: object, *, encoding: str = "utf-8") -> str:
    """JSON without a line break; signs that the encoding lacks (odd file names) are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    return text


def note_wait(what: str) -> None:
    """That something takes seconds to load: one line, for people who wait, hence only where a bar would be shown. Nothing if `what` is empty."""
    if what and sys.stderr.isatty():
        note(f"loading {what} ...")


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None] | None]:
    """A bar on standard error while it is a terminal, else None. The callback takes (done, total[, what is being done])."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, step=what: bar.update(task, completed=done, total=total, description=step)


def lines_of_progress(every: float = 60.0) -> Callable[[int, int, str], None]:
    """Where standard error is a file: a line now and then (seconds between two), so that a long run can be followed."""
    import time

    last = time.monotonic()

    def line(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            note(f"{done}/{total} {what}")

    return line


def show_predictions(
    predictions: Sequence[Prediction], *, title: str, as_json: bool, out: Path | None, ranked: bool, n_hidden: int = 0
) -> None:
    """Rows of rank and score: JSON lines, or a table on a terminal, or CSV into a pipe; and all of them into `out`.

    Args:
        title: above the table.
        ranked: number the rows.
        n_hidden: how many more there are that were not asked for.
    """
    from beholder.prediction import COLUMNS
    from beholder.ratings import write_table

    rows = [p.row() for p in predictions]
    if out is not None:
        write_table(out, [_csv_row(row) for row in rows], columns=COLUMNS)
    if as_json:
        for row in rows:
            print_json(row)
    elif on_terminal():
        _show_table(predictions, title=title, ranked=ranked, n_hidden=n_hidden, most=SHOWN_WITH_FILE if out is not None else None)
    elif out is None:
        import csv

        writer = csv.DictWriter(sys.stdout, fieldnames=list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_csv_row(row) for row in rows)
    if out is not None:
        note(f"wrote {len(rows)} rows to {out}")
    _say_what_is_double(predictions)


def show_table(rows: Iterable[Sequence[object]], *, columns: Sequence[str], title: str = "", right: Iterable[str] = ()) -> None:
    """A plain table on standard output; on a terminal as wide as that, else as wide as needed."""
    from rich.table import Table
    from rich.text import Text

    if title:
        _console().print(Text(title, style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in set(right) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    _console().print(table)


def interval_bar(low: float, score: float, high: float, *, scale: Scale, width: int = BAR) -> str:
    """The interval as a line on the scale, the score as a dot: "   ───●────     "."""
    places = [min(max(round((value - scale.low) / scale.width * (width - 1)), 0), width - 1) for value in (low, score, high)]
    line = [" "] * width
    line[places[0] : places[2] + 1] = "─" * (places[2] + 1 - places[0])
    line[places[1]] = "●"
    return "".join(line)


def _show_table(predictions: Sequence[Prediction], *, title: str, ranked: bool, n_hidden: int, most: int | None) -> None:
    from rich.text import Text

    scored = [p for p in predictions if p.score is not None]
    shown = scored[:most]
    wide = _console().width >= 100
    columns = ["#"] * ranked + ["score", "90 % interval"] + ["on the scale"] * wide + ["pct", "image"]
    rows = []
    for number, p in enumerate(shown, start=1):
        cells: list[object] = [number] if ranked else []
        cells += [f"{p.score:.2f}", f"{p.low:.2f} to {p.high:.2f}"]
        if wide:
            cells.append(Text(interval_bar(p.low, p.score, p.high, scale=p.scale), style="cyan", no_wrap=True))
        cells += [f"{p.percentile:.0f}", _image_cell(p)]
        rows.append(cells)
    show_table(rows, columns=columns, title=title, right=("#", "score", "pct"))
    console = _console()
    if len(scored) - len(shown) + n_hidden:
        console.print(Text(f"and {len(scored) - len(shown) + n_hidden} more", style="dim"))
    skipped = [p for p in predictions if p.score is None]
    if skipped:
        console.print()
        show_table([[p.image, p.skipped_reason] for p in skipped], columns=["skipped", "why"])


def _image_cell(prediction: Prediction) -> Text:
    from rich.text import Text

    cell = Text(prediction.image)
    if prediction.duplicates:
        cell.append(f"  (+{len(prediction.duplicates)} of the same content)", style="dim")
    return cell


def _say_what_is_double(predictions: Sequence[Prediction]) -> None:
    double = [same for p in predictions for same in p.duplicates]
    if double:
        names = ", ".join(double[:3]) + (f" and {len(double) - 3} more" if len(double) > 3 else "")
        one = len(double) == 1
        note(f"{len(double)} {'file has' if one else 'files have'} the same content as another one, which stands for it: {names}")


def _csv_row(row: Mapping[str, object]) -> dict[str, object]:
    return {name: "" if value is None else value for name, value in row.items()}


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return _console().is_terminal


def _console():
    """As wide as the terminal; where there is none, wide enough that nothing is cut."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, markup=False, width=1000)
