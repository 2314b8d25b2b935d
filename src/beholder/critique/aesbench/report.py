"""What is left of a run: results.json with everything, tables.md, and report.html, a page that needs nothing but itself. No torch."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from beholder import __version__
from beholder.critique.aesbench import tables
from beholder.critique.aesbench.accuracy import WHY_NONE, Marked, PartAccuracy
from beholder.critique.aesbench.compare import Comparison, Scored, digest
from beholder.critique.aesbench.estimates import Estimate, Key
from beholder.critique.aesbench.judged import JudgedAnswer
from beholder.critique.aesbench.published import published
from beholder.critique.aesbench.questions import Question
from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import read_photo
from beholder.whole_file import write_whole

RESULTS, PAGE = "results.json", "report.html"
EXAMPLES = 24
_SIDE, _QUALITY = 320, 80  # of a thumbnail
_ANSWER = 1200  # signs of an answer that are shown
_LONG = 30  # signs of a cell that is broken into lines
_STYLE = Path(__file__).with_name("report.css")
_INTERVAL = re.compile(r"(.+?) (\[[^\]]*\])(\*?)")
_STATES = ("none", "wrong", "right")


def write(comparison: Comparison, out: str | os.PathLike) -> list[Path]:
    """results.json, tables.md and report.html in `out`; returns their paths.

    Raises:
        BeholderError: one of them cannot be written.
    """
    folder = Path(out)
    found = json.dumps(results(comparison), ensure_ascii=False, indent=1, allow_nan=False)
    return [
        write_whole(folder / RESULTS, found + "\n"),
        write_whole(folder / tables.NAME, tables.markdown(comparison)),
        write_whole(folder / PAGE, "\n".join(page(comparison)) + "\n"),
    ]


def results(comparison: Comparison) -> dict[str, Any]:
    """Everything, to be written as JSON: protocol, versions, seeds, digests of questions and answers, values with intervals, counts, grades."""
    benchmark = comparison.benchmark
    return {
        "benchmark": {
            "name": benchmark.name,
            "images": comparison.n_images,
            "images_of_the_whole": comparison.n_whole,
            "questions": {part: len(benchmark.of_part(part)) for part in benchmark.parts},
            "md5": digest(benchmark),
            "notes": list(benchmark.notes),
        },
        "protocol": {
            "beholder": __version__,
            "overall": "(AesP + AesE + AesA + 100 AesI) / 4",
            "interval": "95 %, bootstrap over images",
            "draws": comparison.draws,
            "seed": comparison.seed,
            "unparsable": "answers without a single option, and missing answers, count as wrong",
            **comparison.made,
        },
        "base": comparison.base,
        "models": [_model(model, comparison) for model in comparison.models],
        "published": {"source": published().source, "remarks": list(published().remarks)},
    }


def summary(comparison: Comparison) -> dict[str, Any]:
    """The same without single answers: for the terminal."""
    made = results(comparison)
    for model in made["models"]:
        model.pop("marked", None)
        if model["judge"]:
            model["judge"].pop("answers", None)
    return made


def page(comparison: Comparison) -> Iterator[str]:
    """The lines of report.html."""
    title = f"AesBench: {', '.join(model.name for model in comparison.models)}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta name="generator" content="beholder {escape(__version__)}">\n<title>{escape(title)}</title>'
    yield f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>"
    yield from _list(tables.about(comparison))
    first, *others = tables.tables(comparison)
    yield from _section(first)
    found = tables.remarks(comparison)
    if found:
        yield "<h2>Remarks</h2>"
        yield from _list(found)
    for table in others:
        yield from _section(table)
    yield "<h2>Of the paper's tables</h2>"
    yield from _list(published().remarks)
    cards = list(_examples(comparison))
    if cards:
        yield f'<h2>Examples</h2>\n<p class="dim">{len(cards)} answers: without a single option, wrong and right ones in turn.</p>'
        yield '<ul class="cards">'
        yield from cards
        yield "</ul>"
    yield f'<footer class="dim">Made by beholder {escape(__version__)}.</footer>\n</main>\n</body>\n</html>'


def _model(model: Scored, comparison: Comparison) -> dict[str, Any]:
    judged = model.answered.judged
    return {
        "name": model.name,
        "version": model.answered.version,
        "answers_md5": digest(model.answered.answers),
        "estimates": _estimates(model.estimates),
        "gains": _estimates(comparison.gains.get(model.name, {})),
        "missing": dict(model.missing),
        "remarks": list(model.remarks),
        "parts": {part: _part(one) for part, one in model.accuracies.items()},
        "judge": judged.to_json() if judged is not None else None,
        "marked": {
            part: [{"image": one.question.image, "letter": one.letter, "how": one.how, "right": one.right} for one in found.marked]
            for part, found in model.accuracies.items()
        },
    }


def _part(one: PartAccuracy) -> dict[str, Any]:
    made = {"groups": {str(key): group.to_json() for key, group in one.groups.items()}, "how": one.how}
    made |= {"given": one.given, "right_letters": one.right_letters, "answers_not_published": one.n_unknown}
    return made | ({"confusion": one.confusion} if one.confusion else {})


def _estimates(found: Mapping[Key, Estimate]) -> dict[str, Any]:
    return {str(key): estimate.to_json() for key, estimate in found.items()}


def _list(lines: Iterable[str]) -> Iterator[str]:
    yield "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _section(table: tables.Table) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    yield from _table(table)
    yield from (f'<p class="dim">{escape(note)}</p>' for note in table.notes)


def _table(table: tables.Table) -> Iterator[str]:
    yield (
        '<div class="wide" tabindex="0"><table><thead><tr>'
        + "".join(f"<th>{escape(name)}</th>" for name in table.columns)
        + "</tr></thead><tbody>"
    )
    mixed = len(table.ours) < len(table.rows)
    for place, row in enumerate(table.rows):
        kind = ' class="ours"' if mixed and place in table.ours else ""
        yield f"<tr{kind}>" + "".join(_cell(text) for text in row) + "</tr>"
    yield "</tbody></table></div>"


def _cell(text: str) -> str:
    match = _INTERVAL.fullmatch(text)
    if match:
        return f"<td>{escape(match[1])}{match[3]}<small>{escape(match[2])}</small></td>"
    kind = ' class="text"' if len(text) > _LONG else ""
    return f"<td{kind}>{escape(text)}</td>"


def _examples(comparison: Comparison) -> Iterator[str]:
    """At most `EXAMPLES` cards over all models: of each part in turn one without a letter, one wrong, one right; of AesI the worst and the best."""
    share = max(1, EXAMPLES // len(comparison.models))
    shown = 0
    for model in comparison.models:
        for card in _picked(comparison, model, share):
            if shown == EXAMPLES:
                return
            shown += 1
            yield card


def _picked(comparison: Comparison, model: Scored, most: int) -> list[str]:
    queues: list[list[Marked | JudgedAnswer]] = []
    for state in _STATES:
        queues += [[one for one in found.marked if _state(one) == state] for found in model.accuracies.values()]
    if model.answered.judged is not None:
        graded = sorted((one for one in model.answered.judged.answers if one.judged), key=lambda one: one.value)
        half = (len(graded) + 1) // 2
        queues += [graded[:half], graded[half:][::-1]]
    in_turn = (one for together in zip_longest(*queues) for one in together if one is not None)
    return [(_choice_card if isinstance(one, Marked) else _free_card)(comparison, model, one) for one in islice(in_turn, most)]


def _state(one: Marked) -> str:
    return "right" if one.right else "wrong" if one.letter else "none"


def _choice_card(comparison: Comparison, model: Scored, one: Marked) -> str:
    question, state = one.question, _state(one)
    options = "".join(_option(letter, text, right=letter == question.answer) for letter, text in question.options)
    verdict = {"right": f"{one.letter}: right", "wrong": f"{one.letter}: wrong"}.get(
        state, f"no option ({WHY_NONE.get(one.how, one.how)}): counts as wrong"
    )
    said = f'<p>{escape(_cut(question.text))}</p><ol>{options}</ol>{_quote(one.text)}<p class="mark {state}">{escape(verdict)}</p>'
    return _card(comparison, model, question, said)


def _option(letter: str, text: str, *, right: bool) -> str:
    kind = ' class="true"' if right else ""
    return f"<li{kind}>{escape(letter)}) {escape(_cut(text))}</li>"


def _free_card(comparison: Comparison, model: Scored, one: JudgedAnswer) -> str:
    grades = ", ".join(f"{name} {value:.2f}" for name, value in one.criteria.items())
    expert = f'<p class="dim">Experts: {escape(one.question.reference[:_ANSWER])}</p>' if one.question.reference else ""
    said = (
        f'<p>{escape(_cut(one.question.text))}</p>{_quote(one.answer)}{expert}<p class="mark">{one.value:.2f} of 2 ({escape(grades)})</p>'
    )
    return _card(comparison, model, one.question, said)


def _quote(text: str | None) -> str:
    if not (text or "").strip():
        return '<blockquote class="dim">no answer</blockquote>'
    return f"<blockquote>{escape(_cut(text))}</blockquote>"


def _cut(text: str) -> str:
    """As much as a card can hold."""
    text = text.strip()
    return f"{text[:_ANSWER]} ..." if len(text) > _ANSWER else text


def _card(comparison: Comparison, model: Scored, question: Question, said: str) -> str:
    who = f"{model.name} - {question.part} - {question.image}"
    return f'<li class="card">{_picture(comparison, question.image)}<div class="said"><p class="dim">{escape(who)}</p>{said}</div></li>'


def _picture(comparison: Comparison, image: str) -> str:
    """A small JPEG in the page; where there is no image, its name."""
    try:
        picture = read_photo(comparison.benchmark.path(image), min_side=_SIDE)
    except (UnreadableImage, BeholderError):
        return f'<div class="gone">{escape(image)} (no image here)</div>'
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}" alt="{escape(image)}" loading="lazy">'
