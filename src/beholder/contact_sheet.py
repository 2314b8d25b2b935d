"""A page of photographs with their scores, in one HTML file that needs nothing else: to look at, to mail, to keep."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from beholder import __version__
from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import read_photo
from beholder.prediction import Prediction
from beholder.scale import Scale

SIDE = 400  # pixels of the longer side of a thumbnail
QUALITY = 80
LIMIT = 120  # photographs per rater: a thumbnail takes about 25 kB

_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #ffffff; --ink: #1d1c1a; --dim: #6d6a63; --line: #dedbd3; --mat: #eceae4;
  --mark: #b4451f; --track: #e4e1d9; --range: #e3a98f; }
@media (prefers-color-scheme: dark) { :root { --page: #161514; --card: #211f1d; --ink: #efece6; --dim: #a29d93; --line: #37342f;
  --mat: #100f0e; --mark: #f08a5d; --track: #3a3732; --range: #7d4a33; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 28px clamp(14px, 3vw, 40px) 48px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 1.15rem; margin: 0; }
p { margin: 0; } .dim { color: var(--dim); font-size: 0.86rem; }
.columns { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 28px; margin-top: 26px; }
.column > header { padding-bottom: 10px; margin-bottom: 14px; border-bottom: 2px solid var(--ink); min-height: 4.6em; }
.cards { list-style: none; margin: 0; padding: 0; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  display: flex; flex-direction: column; }
.picture { position: relative; aspect-ratio: 4 / 3; background: var(--mat); display: grid; place-items: center; }
.picture img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; display: block; }
.rank { position: absolute; top: 8px; left: 8px; min-width: 1.9em; padding: 1px 7px; border-radius: 99px; text-align: center;
  font-weight: 600;
  font-size: 0.82rem; background: rgb(20 19 18 / 0.78); color: #fff; font-variant-numeric: tabular-nums; }
.text { padding: 10px 12px 12px; display: flex; flex-direction: column; gap: 6px; }
.numbers { display: flex; align-items: baseline; gap: 8px; font-variant-numeric: tabular-nums; }
.score { font-size: 1.3rem; font-weight: 650; } .interval { color: var(--dim); font-size: 0.82rem; }
.others { margin-left: auto; color: var(--dim); font-size: 0.78rem; text-align: right; }
.bar { position: relative; height: 6px; border-radius: 3px; background: var(--track); }
.bar i { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: var(--range); }
.bar b { position: absolute; top: -3px; width: 4px; height: 12px; margin-left: -2px; border-radius: 2px; background: var(--mark); }
.name { font-size: 0.84rem; overflow-wrap: anywhere; }
.skipped { margin-top: 34px; } .skipped ul { margin: 8px 0 0; padding-left: 1.2em; } .skipped li { margin: 3px 0; overflow-wrap: anywhere; }
.more { margin-top: 14px; } footer { margin-top: 36px; }
@media (max-width: 700px) { .columns { gap: 12px; } main { padding-top: 18px; } .others { display: none; } }
@media (max-width: 420px) { .columns { grid-template-columns: minmax(0, 1fr); } .column > header { min-height: 0; } }
@media print { .card { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Column:
    """One rater's ranking.

    Args:
        name: whose it is; the heading.
        about: a line below it: profile, how many ratings, scorer.
        predictions: as `Eye.rank` gives them, skipped ones included.
    """

    name: str
    about: str
    predictions: Sequence[Prediction]


def write_contact_sheet(
    path: str | os.PathLike, columns: Sequence[Column], *, title: str = "Contact sheet", note: str = "", limit: int = LIMIT
) -> Path:
    """Write the page: every rater's ranking, side by side, each photograph with its score and 90 % interval.

    Args:
        path: of the HTML file. The page holds small copies of the photographs, so treat it as you treat those.
        columns: at least one; with several, each photograph also says where the others rank it.
        note: a paragraph below the title.
        limit: photographs shown per rater; the page says how many more there are.

    Raises:
        BeholderError: the file cannot be written.
    """
    path = Path(path)
    page = "\n".join(_page(columns, title=title, note=note, limit=limit)) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(page.encode("utf-8", errors="backslashreplace"))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BeholderError(f"the contact sheet {path} cannot be written: {error.strerror or error}; choose another place") from None
    return path


def thumbnail(photo: str | os.PathLike, *, side: int = SIDE) -> str:
    """A small copy as the text of a data: address (JPEG).

    Raises:
        UnreadableImage: the photograph cannot be read.
    """
    image = read_photo(photo, min_side=side // 2)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _page(columns: Sequence[Column], *, title: str, note: str, limit: int) -> Iterator[str]:
    pictures: dict[str, str | None] = {}
    places = [_places(column) for column in columns]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="generator" content="beholder {escape(__version__)}">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>'
    yield f"</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>"
    if note:
        yield f'<p class="dim">{escape(note)}</p>'
    yield f'<div class="columns" style="--columns: {len(columns)}">'
    for column in columns:
        scored = [p for p in column.predictions if p.score is not None]
        yield f'<section class="column">\n<header><h2>{escape(column.name)}</h2><p class="dim">{escape(column.about)}</p></header>'
        yield '<ol class="cards">'
        for number, prediction in enumerate(scored[:limit], start=1):
            if prediction.image not in pictures:
                pictures[prediction.image] = _picture(prediction.image)
            others = [
                f"#{place[prediction.image]} for {other.name}"
                for other, place in zip(columns, places, strict=True)
                if other is not column and prediction.image in place
            ]
            yield from _card(prediction, number=number, picture=pictures[prediction.image], others=others)
        yield "</ol>"
        if len(scored) > limit:
            yield f'<p class="dim more">and {len(scored) - limit} more</p>'
        yield "</section>"
    yield "</div>"
    skipped = {p.image: p.skipped_reason for column in columns for p in column.predictions if p.score is None}
    if skipped:
        yield '<section class="skipped"><h2>Skipped</h2><ul>'
        yield from (f"<li>{escape(image)} <span class='dim'>{escape(reason)}</span></li>" for image, reason in skipped.items())
        yield "</ul></section>"
    yield f'<footer class="dim">Bars show the 90 % interval on the scale. Made by beholder {escape(__version__)}.</footer>'
    yield "</main>\n</body>\n</html>"


def _card(prediction: Prediction, *, number: int, picture: str | None, others: Sequence[str]) -> Iterator[str]:
    name = os.path.basename(prediction.image)
    score, low, high, scale = prediction.score, prediction.low, prediction.high, prediction.scale
    spoken = f"{name}: {score:.1f} on a scale from {scale.low:g} to {scale.high:g}"
    yield '<li class="card"><div class="picture">'
    if picture is None:
        yield f'<span class="dim">{escape(name)} cannot be shown</span>'
    else:
        yield f'<img loading="lazy" src="{picture}" alt="{escape(spoken)}">'
    yield f'<span class="rank">{number}</span></div>'
    yield f'<div class="text"><div class="numbers"><span class="score">{score:.2f}</span>'
    yield f'<span class="interval">{low:.1f} to {high:.1f}</span><span class="others">{escape(", ".join(others))}</span></div>'
    left, right, place = (_percent(value, scale) for value in (low, high, score))
    yield f'<div class="bar"><i style="left: {left:.1f}%; right: {100 - right:.1f}%"></i><b style="left: {place:.1f}%"></b></div>'
    yield f'<div class="name" title="{escape(prediction.image)}">{escape(name)}</div></div></li>'


def _picture(path: str) -> str | None:
    try:
        return thumbnail(path)
    except UnreadableImage:
        return None  # removed since it was scored


def _places(column: Column) -> Mapping[str, int]:
    return {p.image: number for number, p in enumerate((p for p in column.predictions if p.score is not None), start=1)}


def _percent(value: float, scale: Scale) -> float:
    return min(max(100 * float(scale.to_unit(value)), 0.0), 100.0)
