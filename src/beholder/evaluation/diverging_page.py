"""The page of diverging pairs: the pictures, what both raters said of them and what a scorer predicted, in one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from beholder.contact_sheet import thumbnail
from beholder.errors import UnreadableImage
from beholder.evaluation.diverging import Case, Diverging
from beholder.evaluation.report import Report

PAGE = "diverging.html"
SIDE = 300  # pixels of the longer side of a picture
_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fff; --ink: #1d1c1a; --dim: #6d6a63; --line: #dedbd3; --rated: #0072b2; --guess: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --page: #161514; --card: #211f1d; --ink: #efece6; --dim: #a29d93; --line: #37342f;
  --rated: #56b4e9; --guess: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.5rem; margin: 0 0 8px; } p { margin: 0 0 10px; max-width: 75ch; } .dim { color: var(--dim); font-size: 0.86rem; }
table { border-collapse: collapse; margin: 12px 0; } td, th { padding: 3px 14px 3px 0; text-align: left; border-bottom: 1px solid var(--line); }
.cases { display: grid; gap: 18px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); margin-top: 18px; }
.case { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; } figure { margin: 0; }
.picture { aspect-ratio: 1; background: var(--line); display: grid; place-items: center; overflow-wrap: anywhere; }
.picture img { width: 100%; height: 100%; object-fit: contain; display: block; }
.bar { display: grid; grid-template-columns: 7.2em 1fr 2.8em; gap: 6px; align-items: center; font-size: 0.82rem; }
.bar i { display: block; height: 8px; border-radius: 4px; background: var(--rated); } .bar.guess i { background: var(--guess); }
.bar span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
@media print { .case { break-inside: avoid; } }
"""


def write(report: Report, found: Diverging, out: Path) -> Path:
    """Write diverging.html; it holds small copies of the images, so treat it as you treat those."""
    (out / PAGE).write_bytes(("\n".join(_page(report, found)) + "\n").encode("utf-8", errors="backslashreplace"))
    return out / PAGE


def summary(found: Diverging) -> str:
    """One sentence: how often the scorer orders both raters right."""
    if not found.n:
        return f"no two raters asked in the same fold order two images differently by {found.least:g} points or more"
    low, high = found.intervals["right"]
    return (
        f"{found.scorer} at N = {found.shots}: of {found.n} diverging pairs, both raters right {found.shares['both']:.1%}, one {found.shares['one']:.1%}, "
        f"none {found.shares['none']:.1%}; right orders {found.shares['right']:.1%} [{low:.1%}, {high:.1%}], where a scorer that treats raters "
        "alike has 50 %"
    )


def _page(report: Report, found: Diverging) -> Iterator[str]:
    name = escape(report.dataset.name)
    yield f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Diverging pairs: {name}</title>'
    yield f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>'
    yield f"<h1>Diverging pairs: {name}</h1>"
    yield (
        f"<p>Two raters order the same two images differently: x rated A higher, y rated B higher, each by {found.least:g} points or more"
        + (f" (and by more than {found.margin:g})" if found.margin else "")
        + f". Does <b>{escape(found.scorer)}</b>, given N = {found.shots} ratings of each, know it of both?</p>"
    )
    yield f'<p class="dim">{escape(report.protocol)}.</p>'
    if found.n:
        yield "<table><tr><th>raters ordered right</th><th>share of pairs</th><th>95 % interval over raters</th></tr>"
        for share, label in (("both", "both"), ("one", "one of the two"), ("none", "none"), ("right", "right orders in all")):
            low, high = found.intervals[share]
            yield f"<tr><td>{label}</td><td>{found.shares[share]:.1%}</td><td>{low:.1%} to {high:.1%}</td></tr>"
        yield "</table>"
        sampled = f", {found.looked_at} pairs of raters drawn from {found.in_all}" if found.looked_at < found.in_all else ""
        yield (
            f"<p>Over all {found.n} diverging pairs of the run, of {found.n_pairs_of_raters} pairs of raters{sampled}; equal predictions count one "
            "half. A scorer that treats raters alike orders exactly one of the two right in every pair: 50 % of the orders, the bound to beat.</p>"
        )
        yield f"<p>The {len(found.shown)} below were drawn at random with a fixed seed, the same chance for each: they are not the best ones.</p>"
    else:
        yield f"<p>{escape(summary(found))}.</p>"
    yield '<div class="cases">'
    pictures: dict[int, str] = {}
    for case in found.shown:
        for image in (case.a, case.b):
            if image not in pictures:
                pictures[image] = _picture(report, image)
        yield from _case(report, case, pictures)
    yield "</div>\n</main>\n</body>\n</html>"


def _case(report: Report, case: Case, pictures: dict[int, str]) -> Iterator[str]:
    names, known = {}, report.folds[case.fold].labels
    for letter, rater in (("x", case.x), ("y", case.y)):
        names[rater] = f"{letter} = {escape(report.dataset.raters[rater])}" + (f" ({known[rater]})" if rater in known else "")
    yield f'<section class="case">\n<p class="dim">{", ".join(names.values())}</p>\n<div class="two">'
    for place, (letter, image) in enumerate((("A", case.a), ("B", case.b))):
        yield f'<figure><div class="picture">{pictures[image]}</div><figcaption><b>{letter}</b>'
        for who, rater in (("x", case.x), ("y", case.y)):
            yield _bar(report, f"{who} rated", case.rated[rater][place], kind="rated")
            yield _bar(report, f"{who} predicted", case.predicted[rater][place], kind="guess")
        yield "</figcaption></figure>"
    yield "</div>\n</section>"


def _bar(report: Report, label: str, score: float, *, kind: str) -> str:
    share = min(1.0, max(0.0, float(report.dataset.scale.to_unit(score)))) if math.isfinite(score) else 0.0
    return f'<div class="bar {kind}"><span>{label}</span><span><i style="width: {share:.1%}"></i></span><span>{score:.2f}</span></div>'


def _picture(report: Report, image: int) -> str:
    """The picture as a data: address, or its id where the file cannot be read."""
    name = escape(report.dataset.image_ids[image], quote=True)
    try:
        return f'<img src="{thumbnail(report.dataset.images[image], side=SIDE)}" alt="{name}" loading="lazy">'
    except UnreadableImage:
        return f"<span>{name} (cannot be shown)</span>"
