"""What a study found, as a page, as Markdown and as JSON."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from beholder.steering.page import facts, page, table, write
from beholder.steering.study.analysis import Against, Analysis, Share, Strength
from beholder.steering.study.storage import Study

JSON, PAGE, MARKDOWN = "analysis.json", "report.html", "report.md"


def write_study_report(study: Study, analysis: Analysis, folder: Path | None = None) -> list[Path]:
    """Write report.html, report.md and analysis.json into `folder` (default: the study's); returns their paths.

    Raises:
        BeholderError: one cannot be written.
    """
    folder = Path(folder) if folder is not None else study.folder
    with contextlib.suppress(OSError):  # writing says it better
        folder.mkdir(parents=True, exist_ok=True)
    values = json.dumps(analysis.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    body = _html(analysis, question=study.question)
    return [
        write(folder / PAGE, page("Preference study", body)),
        write(folder / MARKDOWN, _markdown(analysis, question=study.question)),
        write(folder / JSON, [values]),
    ]


def _tables(of: Analysis) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """(heading, explanation, columns, rows) of every table, for both kinds of page."""
    columns = ["arm", "points", "95 %", "with side term", "95 %", "shown", "chosen"]
    rows = [
        [one.arm, _points(one.points), _bounds(one.low, one.high), _points(one.beside), _bounds(one.beside_low, one.beside_high), str(one.trials), str(one.wins)]
        for one in sorted(of.strengths, key=lambda one: -one.points if math.isfinite(one.points) else math.inf)
    ]
    yield (
        "Strengths",
        f"Bradley-Terry, mean 1000, 400 points = odds of 10 to 1; intervals: {of.draws} bootstrap resamples of {of.units}. The ridge keeps arms without a "
        "defeat finite.",
        columns,
        rows,
    )
    if of.own_tests:
        yield "Own against the others", _TESTS, _PAIR_COLUMNS, [_pair_row(one) for one in of.own_tests]
    yield "All pairs", "" if of.own_tests else _TESTS, _PAIR_COLUMNS, [_pair_row(one) for one in of.pairs]
    side = [[_share(of.side.share), _p(of.side.p), _points(of.side.points), _bounds(of.side.low, of.side.high)]]
    yield "The left side", "How often the left image was chosen, and what being on the left is worth.", ["chosen", "p", "points", "95 %"], side
    if of.agreement.n:
        rows = [[_share(of.agreement), str(of.agreement.n)]]
        yield "Agreement with oneself", "The same comparison shown again with the sides swapped: the same image chosen; by chance one half.", ["same", "pairs"], rows
    rows = [
        [one.rater, f"{one.answered} of {one.planned}", _share(one.left), _share(one.own_over_other)]
        + [f"{_points(each.points)} {_bounds(each.low, each.high)}".strip() for each in one.strengths]
        for one in of.raters
    ]
    arms = [one.arm for one in of.strengths]
    yield "Raters", "Strengths of each rater alone; intervals over that rater's prompts.", ["rater", "answered", "left chosen", "own over other", *arms], rows


_TESTS = (
    "Wilson intervals. p over trials: binomial, as if trials were independent; p over raters (over prompts, if there is one rater only): changes of sign of "
    "each one's share, the safer of the two. Not corrected for the number of tests."
)
_PAIR_COLUMNS = ["arm", "over", "chosen", "p over trials", "p over raters", "raters"]


def _pair_row(one: Against) -> list[str]:
    return [one.arm, one.other, _share(one.share), _p(one.p_trials), _p(one.p_units), str(one.n_units)]


def _facts(of: Analysis, question: str) -> list[tuple[str, object]]:
    said: list[tuple[str, object]] = [("question", question), ("answered", f"{of.answered} of {of.planned} trials"), ("raters", len(of.raters))]
    return said + ([("median time", f"{of.seconds:.1f} s")] if math.isfinite(of.seconds) else [])


def _html(of: Analysis, *, question: str) -> Iterator[str]:
    yield facts(_facts(of, question))
    for word in of.words:
        yield f'<p class="warning">{escape(word)}.</p>'
    yield forest_plot(of.strengths)
    for heading, explanation, columns, rows in _tables(of):
        yield f"<h2>{escape(heading)}</h2>" + (f'<p class="dim">{escape(explanation)}</p>' if explanation else "")
        yield from table(columns, rows)


def _markdown(of: Analysis, *, question: str) -> Iterator[str]:
    yield "# Preference study\n"
    yield from (f"- {name}: {_cell(value)}" for name, value in _facts(of, question))
    yield ""
    yield from (f"**{_cell(word)}.**\n" for word in of.words)
    for heading, explanation, columns, rows in _tables(of):
        yield f"## {heading}\n"
        if explanation:
            yield f"{explanation}\n"
        yield "| " + " | ".join(map(_cell, columns)) + " |\n|" + "---|" * len(columns)
        yield from ("| " + " | ".join(map(_cell, row)) + " |" for row in rows)
        yield ""


def forest_plot(strengths: Sequence[Strength]) -> str:
    """A dot and its interval for each arm, best first, with a line at 1000; "" if no arm has a strength."""
    known = sorted((one for one in strengths if math.isfinite(one.points)), key=lambda one: -one.points)
    if not known:
        return ""
    ends = [value for one in known for value in (one.low, one.high, one.points, 1000.0) if math.isfinite(value)]
    low, high = min(ends) - 10, max(ends) + 10
    width, left, right, row, top = 460, 120, 22, 30, 10
    height = top + row * len(known) + 30

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    said = "; ".join(f"{one.arm} {one.points:.0f}" for one in known)
    bottom = top + row * len(known)
    out = [f'<figure><figcaption>Strengths in points, 95 % intervals</figcaption><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    out.append(f'<line x1="{at(1000):.1f}" x2="{at(1000):.1f}" y1="{top}" y2="{bottom}" stroke="var(--two)" stroke-dasharray="4 4"/>')
    for number, one in enumerate(known):
        y = top + row * (number + 0.5)
        name = one.arm if len(one.arm) <= 15 else one.arm[:14] + "…"
        out.append(f'<text class="name" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}<title>{escape(one.arm)}</title></text>')
        if math.isfinite(one.low):
            out.append(f'<line x1="{at(one.low):.1f}" x2="{at(one.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--one)" stroke-width="3" stroke-linecap="round"/>')
        title = f"{one.arm}: {one.points:.0f} {_bounds(one.low, one.high)}"
        out.append(f'<circle cx="{at(one.points):.1f}" cy="{y:.1f}" r="5" fill="var(--one)"><title>{escape(title)}</title></circle>')
    ticks = sorted({round(low), 1000, round(high)})
    out += [f'<text x="{at(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{tick}</text>' for tick in ticks]
    return "".join(out) + "</svg></figure>"


def _share(one: Share) -> str:
    return f"{one.k}/{one.n} = {100 * one.value:.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}]" if one.n else "none"


def _points(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "–"


def _bounds(low: float, high: float) -> str:
    return f"[{low:.0f}, {high:.0f}]" if math.isfinite(low) else ""


def _p(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _cell(value: object) -> str:
    """Text that cannot break a table or begin HTML."""
    return " ".join(escape(str(value), quote=False).replace("|", "\\|").replace("*", "\\*").split())
