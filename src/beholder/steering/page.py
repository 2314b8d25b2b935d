"""What the pages of a run and of a study share: the look, line charts as inline SVG, and writing a page whole."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from beholder import __version__
from beholder.whole_file import write_whole

_SHORT = 30  # signs of a cell that is never broken into lines
_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #ffffff; --ink: #1d1c1a; --dim: #6d6a63; --line: #dedbd3; --mat: #eceae4;
  --one: #0072B2; --two: #9a968c; --warn: #fdf0d5; --warn-line: #d98e04; }
@media (prefers-color-scheme: dark) { :root { --page: #161514; --card: #211f1d; --ink: #efece6; --dim: #a29d93; --line: #37342f; --mat: #100f0e;
  --one: #56B4E9; --two: #77736a; --warn: #33280f; --warn-line: #e6a417; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1300px; margin: 0 auto; padding: 28px clamp(14px, 3vw, 40px) 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 6px; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 34px 0 10px; }
p { margin: 6px 0; } .dim { color: var(--dim); font-size: 0.88rem; } code { overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 16px; margin: 14px 0; }
.facts dt { color: var(--dim); } .facts dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.warning { background: var(--warn); border-left: 4px solid var(--warn-line); padding: 10px 14px; border-radius: 4px; margin: 14px 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 18px; }
figure { margin: 0; max-width: 760px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px; }
figcaption { font-size: 0.9rem; margin-bottom: 6px; overflow-wrap: anywhere; }
figure > img { width: 100%; height: auto; max-height: 75vh; object-fit: contain; background: var(--mat); display: block; border-radius: 6px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 12px; } svg .name { fill: var(--ink); font-size: 13px; }
.grid { list-style: none; margin: 0; padding: 0; display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(46%, 170px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; min-width: 0; }
.card img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--mat); display: block; }
.card .none { aspect-ratio: 1; background: var(--mat); display: grid; place-items: center; padding: 10px; text-align: center; color: var(--dim);
  font-size: 0.85rem; overflow-wrap: anywhere; overflow: hidden; }
.card details { padding: 6px 9px 9px; font-size: 0.85rem; } .card summary { cursor: pointer; list-style: none; }
.card summary::-webkit-details-marker { display: none; }
.card .text { color: var(--dim); overflow-wrap: anywhere; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
.card details[open] .text { display: block; color: var(--ink); } .card p { overflow-wrap: anywhere; }
.score { font-weight: 650; font-variant-numeric: tabular-nums; } .best { border: 2px solid var(--one); }
.wide { overflow-x: auto; margin-top: 12px; } .short { white-space: nowrap; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } .n { text-align: right; } footer { margin-top: 36px; }
details.block > summary { cursor: pointer; } details.block > summary > h2 { display: inline-block; margin: 22px 0 10px; }
@media print { .card, figure { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str]) -> Iterator[str]:
    """The lines of a whole page that needs nothing but itself (and pictures beside it). body: HTML, its text escaped already."""
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="generator" content="beholder {escape(__version__)}">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>'
    yield f"</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>"
    yield from body
    yield f'<footer class="dim">Made by beholder {escape(__version__)}.</footer>\n</main>\n</body>\n</html>'


def write(path: Path, lines: Iterable[str]) -> Path:
    """Write text whole or not at all.

    Raises:
        BeholderError: it cannot be written.
    """
    return write_whole(path, "\n".join(lines) + "\n")


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A list of names and values."""
    return '<dl class="facts">' + "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs) + "</dl>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Collection[int] = ()) -> Iterator[str]:
    """A table that scrolls sideways where it is too wide. numbers: places of the columns that are set flush right."""

    def cell(tag: str, place: int, value: object) -> str:
        kind = " ".join(["n"] * (place in numbers) + ["short"] * (len(str(value)) <= _SHORT))
        return f'<{tag} class="{kind}">{escape(str(value))}</{tag}>'

    yield '<div class="wide"><table><thead><tr>' + "".join(cell("th", *one) for one in enumerate(columns)) + "</tr></thead><tbody>"
    yield from ("<tr>" + "".join(cell("td", *one) for one in enumerate(row)) + "</tr>" for row in rows)
    yield "</tbody></table></div>"


def line_chart(x: Sequence[float], series: Mapping[str, Sequence[float | None]], *, caption: str, spoken: str) -> str:
    """A figure: the first series in colour with dots, the others grey and dashed. Values that are None or nan are gaps; "" if there is none at all.

    Args:
        x: [n] places; labels are whole numbers. series: name -> [n] values.
        spoken: what the chart shows, for those who do not see it.
    """
    clean = {name: [math.nan if value is None else float(value) for value in values] for name, values in series.items()}
    known = [value for values in clean.values() for value in values if math.isfinite(value)]
    if not known:
        return ""
    low, high = _padded(min(known), max(known))
    width, height, left, right, top, bottom = 460, 250, 46, 12, 10, 46
    first, last = min(x), max(max(x), min(x) + 1)

    def at(place: float, value: float) -> tuple[float, float]:
        return left + (place - first) / (last - first) * (width - left - right), top + (high - value) / (high - low) * (height - top - bottom)

    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(spoken)}">']
    for tick in (low, (low + high) / 2, high):
        y = at(first, tick)[1]
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
    labels = sorted({int(first), round((first + last) / 2), int(last)})
    out += [f'<text x="{at(place, low)[0]:.1f}" y="{height - bottom + 16}" text-anchor="middle">{place}</text>' for place in labels]
    legend = left
    for number, (name, values) in enumerate(clean.items()):
        colour, dash = ("var(--one)", "") if number == 0 else ("var(--two)", ' stroke-dasharray="5 4"')
        points = [at(place, value) if math.isfinite(value) else None for place, value in zip(x, values, strict=True)]
        runs = [" ".join(f"{a:.1f},{b:.1f}" for a, b in run) for run in _unbroken(points)]
        out += [f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{run}"/>' for run in runs]
        for point, place, value in zip(points, x, values, strict=True):
            if point is not None:
                dot = f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3" fill="{colour}">'
                out.append(f"{dot}<title>{place:g}: {value:.3f}</title></circle>")
        out.append(f'<line x1="{legend}" x2="{legend + 22}" y1="{height - 10}" y2="{height - 10}" stroke="{colour}" stroke-width="2"{dash}/>')
        out.append(f'<text x="{legend + 27}" y="{height - 6}">{escape(name)}</text>')
        legend += 45 + 6.5 * len(name)
    return f"<figure><figcaption>{escape(caption)}</figcaption>{''.join(out)}</svg></figure>"


def _padded(low: float, high: float) -> tuple[float, float]:
    """The axis: a little wider than the values, and never so narrow that noise looks like a mountain."""
    middle, half = (low + high) / 2, max((high - low) / 2 * 1.08, 0.01)
    return middle - half, middle + half


def _unbroken(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            yield run
            run = []
