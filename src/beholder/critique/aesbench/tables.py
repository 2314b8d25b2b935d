"""Tables in the shape of the AesExpert paper's Tables 3 to 7, its rows beside those measured here. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from beholder.critique.aesbench.accuracy import NONE
from beholder.critique.aesbench.compare import Comparison, Scored
from beholder.critique.aesbench.estimates import MACRO, OVERALL, Estimate, Key
from beholder.critique.aesbench.published import PublishedRow, PublishedTable, published
from beholder.critique.aesbench.questions import CHOICE_PARTS, PARTS

NAME = "tables.md"
BY_PAPER = "paper: 2,800 images"
BY_PAPER_JUDGED = "paper: GPT judge, 2,800 images"
STAR = "* = the interval of the difference is without 0."
OVERVIEW = tuple(Key(part) for part in (*PARTS, OVERALL))
PART_OF = {"4": "AesP", "5": "AesE", "6": "AesA", "7": "AesI"}
SHORT = {
    **{"technical quality": "Tech. quality", "colour and light": "Colour, light", "composition": "Composition", "content": "Content"},
    **{"emotion": "Emotion", "interest": "Interest", "uniqueness": "Uniqueness", "vibe": "Vibe"},
    **{"yes-no": "Yes-No", "what": "What", "how": "How", "why": "Why"},
    **{"relevance": "Relevance", "precision": "Precision", "completeness": "Completeness"},
}


@dataclass(frozen=True)
class Table:
    """One table, to be written as Markdown or HTML.

    Args:
        title, notes: above and below it; sentences.
        rows: cells as text, each as long as `columns`.
        ours: places of the rows that were measured here.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    ours: frozenset[int] = frozenset()


def tables(comparison: Comparison) -> list[Table]:
    """The overview, Tables 3 to 7 as far as something was measured for them, then what stands behind the numbers."""
    paper = published()
    out = [overview(comparison), _table_3(comparison, paper.tables["3"])]
    out += [_gains_table(comparison, paper.tables[number]) for number, part in PART_OF.items() if part in comparison.parts]
    return [*out, *_behind(comparison)]


def overview(comparison: Comparison) -> Table:
    """The parts of every model measured here, and what they gained over the base model."""
    columns = tuple(key for key in OVERVIEW if key.part == OVERALL or key.part in comparison.benchmark.parts)
    rows = []
    for model in sorted(comparison.models, key=lambda one: one.name != comparison.base):
        rows.append((model.name, _n(comparison, model), *(cell(key, model.estimates.get(key)) for key in columns)))
        gains = comparison.gains.get(model.name)
        if gains:
            label = f"{model.name} - {comparison.base}"
            rows.append((label, "paired", *(cell(key, gains.get(key), gain=True) for key in columns)))
    notes = [
        "AesP, AesE, AesA: % right; AesI: 0 to 2, its differences times 100; overall: (AesP + AesE + AesA + 100 AesI) / 4, - where a part is missing."
    ]
    notes += [STAR] if comparison.gains else []
    return Table(
        "Measured here",
        ("model", "images", *map(heading, columns)),
        tuple(rows),
        (*notes, *_about_judges(comparison)),
        frozenset(range(len(rows))),
    )


def markdown(comparison: Comparison) -> str:
    """The page tables.md."""
    lines = [f"# AesBench: {', '.join(model.name for model in comparison.models)}\n", *(f"- {line}" for line in about(comparison)), ""]
    for table in tables(comparison):
        lines += [f"## {table.title}\n", *_markdown_table(table), "", *(f"{note}\n" for note in table.notes)]
    lines += [
        "## Remarks\n",
        *(f"- {line}" for line in remarks(comparison)),
        "",
        "Of the paper's tables:\n",
        *(f"- {line}" for line in published().remarks),
    ]
    return "\n".join(lines) + "\n"


def about(comparison: Comparison) -> Iterator[str]:
    """What was measured on what, and how to read it."""
    paper = published()
    yield f"Questions: {comparison.benchmark.name}, {_extent(comparison)}; parts measured: {', '.join(comparison.parts) or 'none'}."
    yield f"Paper: {paper.source}; {paper.protocol}."
    yield (
        f'Rows marked "here" are measured; their intervals are 95 % intervals over images ({comparison.draws} bootstrap resamples, seed '
        f"{comparison.seed}), and answers that give no option count as wrong. The paper gives no intervals and does not say how it reads answers."
    )


def _about_judges(comparison: Comparison) -> Iterator[str]:
    """Never to be left out where scores of a judge stand beside the paper's."""
    judges = {model.answered.judged.judge: model.answered.judged for model in comparison.models if model.answered.judged is not None}
    for name, result in judges.items():
        yield (
            f"AesI and overall are not comparable with the paper's: its rows were judged by a GPT of unknown version and prompt, ours by {name} "
            f"(version {result.version}) with a rubric of ours (version {result.rubric_version}), {result.repeats} times at temperature "
            f"{result.temperature:g}."
        )


def remarks(comparison: Comparison) -> list[str]:
    """What has to be known of these values: of the benchmark, then of each model."""
    out = list(comparison.benchmark.notes)
    for model in comparison.models:
        out += [f"{model.name}: {line}" for line in model.remarks]
        if model.why_no_overall:
            out.append(f"{model.name}: no overall score, which needs all four parts ({model.why_no_overall})")
    return out


def number(key: Key, value: float, *, gain: bool = False) -> str:
    """A value as the paper prints it: accuracies and overall with 2 decimals, AesI with 3. Gains of AesI are times 100, as in its Table 7."""
    if not math.isfinite(value):
        return "-"
    if gain:
        return f"{value:+.2f}"
    return f"{value:.3f}" if key.part == "AesI" else f"{value:.2f}"


def cell(key: Key, estimate: Estimate | None, *, gain: bool = False) -> str:
    """Value with its interval; a gain whose interval is without 0 has a *."""
    if estimate is None or not math.isfinite(estimate.value):
        return "-"
    times = 100.0 if gain and key.part == "AesI" else 1.0
    value, low, high = (number(key, times * one, gain=gain) for one in (estimate.value, estimate.low, estimate.high))
    clear = "*" if gain and (estimate.low > 0 or estimate.high < 0) else ""
    return f"{value} [{low}, {high}]{clear}"


def heading(key: Key) -> str:
    """Of a column: the group, or the part."""
    if key.part == OVERALL:
        return "Overall"
    return f"{SHORT.get(key.name, key.name)}" if key.by else key.part


def _table_3(comparison: Comparison, paper: PublishedTable) -> Table:
    rows = [(row.label, BY_PAPER_JUDGED, *(number(key, row.values[key]) for key in paper.columns)) for row in paper.rows]
    ours = [
        (model.name, _by(comparison, model), *(cell(key, model.estimates.get(key)) for key in paper.columns)) for model in comparison.models
    ]
    notes = [
        "Overall = (AesP + AesE + AesA + 100 AesI) / 4, at most 125; - where a part is missing. AesP, AesE, AesA: % right; AesI: 0 to 2."
    ]
    notes += _about_judges(comparison)
    return _joined(f"Table 3: {paper.title}", ["model", "by", *map(heading, paper.columns)], rows, ours, notes)


def _gains_table(comparison: Comparison, paper: PublishedTable) -> Table:
    part = PART_OF[paper.number]
    rows = [_paper_row(row, paper.columns) for row in paper.rows]
    measured = [model for model in comparison.models if Key(part) in model.estimates]
    extra = [key for key in _keys(measured, part) if key not in paper.columns and key.by in ("dimension", "source", "type")]
    columns = (*paper.columns, *extra)
    rows = [(*row, *[""] * len(extra)) for row in rows]
    ours: list[tuple[str, ...]] = []
    for model in sorted(measured, key=lambda one: one.name != comparison.base):
        ours.append((model.name, _by(comparison, model, part=part), *(cell(key, model.estimates.get(key)) for key in columns)))
        gains = comparison.gains.get(model.name, {})
        if Key(part) in gains:
            label = f"improvement over {comparison.base}"
            ours.append((label, f"here: paired, n = {gains[Key(part)].n:,}", *(cell(key, gains.get(key), gain=True) for key in columns)))
    notes = ["NI: photographs, AI: art, AGI: images made by AI."] if part != "AesI" else []
    if part == "AesI":
        notes.append(
            "Scores from 0 to 2; improvements are differences of scores, times 100, as the paper prints them (there with a % sign), not relative gains."
        )
    if comparison.gains:
        notes.append(STAR)
    return _joined(f"Table {paper.number}: {paper.title} ({part})", ["model", "by", *map(heading, columns)], rows, ours, notes)


def _paper_row(row: PublishedRow, columns: Iterable[Key]) -> tuple[str, ...]:
    gain = row.kind == "improvement"
    judged = any(key.part == "AesI" for key in columns)
    return (row.label, BY_PAPER_JUDGED if judged else BY_PAPER, *(number(key, row.values[key], gain=gain) for key in columns))


def _behind(comparison: Comparison) -> Iterator[Table]:
    """Counts, chance, letters, grades, agreement of the judge."""
    counted = [(model, part, one) for model in comparison.models for part, one in model.accuracies.items()]
    if counted:
        columns = (
            "model",
            "part",
            "n",
            "right",
            "% right",
            "no single option",
            "unanswered",
            "guessing %",
            "always one letter %",
            "letters given",
            "letters right",
        )
        rows = []
        for model, part, one in counted:
            whole = one.whole
            rows.append(
                (
                    *(model.name, part, f"{whole.n:,}", f"{whole.right:,}", cell(Key(part), model.estimates[Key(part)])),
                    *(
                        f"{whole.unparsable:,}",
                        f"{whole.unanswered:,}",
                        f"{whole.chance:.2f}",
                        f"{whole.one_letter}: {whole.one_letter_right:.2f}",
                    ),
                    *(_counts(one.given), _counts(one.right_letters)),
                )
            )
        notes = ("Guessing: mean of 1 / options. Always one letter: the letter that is right most often, on every question.",)
        yield Table("Behind the accuracies", columns, tuple(rows), notes, frozenset(range(len(rows))))
    graded = [(model, one) for model, part, one in counted if part == "AesA" and one.confusion]
    for model, one in graded:
        grades = [*one.confusion, NONE]
        rows = [(right, *(str(found[grade]) for grade in grades), _recall(model, right)) for right, found in one.confusion.items()]
        macro = model.estimates.get(Key("AesA", MACRO))
        notes = (f"Mean over the grades (macro-average): {cell(Key('AesA'), macro)} %.",) if macro is not None else ()
        yield Table(
            f"AesA of {model.name}: right grade by given grade",
            ("right \\ given", *grades, "% right"),
            tuple(rows),
            notes,
            frozenset(range(len(rows))),
        )
    judged = [(model, model.answered.judged) for model in comparison.models if model.answered.judged is not None]
    if judged:
        columns = ("model", "judge", "n", "judged", "empty (0)", "asked again", "same grade in two repeats", "spread over repeats")
        rows = [
            (
                *(model.name, f"{one.judge}, rubric {one.rubric_version}, {one.repeats} x", f"{len(one.answers):,}"),
                *(
                    f"{one.n_judged:,} ({one.n_judged / max(len(one.answers), 1):.0%})",
                    str(one.n_empty),
                    str(sum(a.asked_again for a in one.answers)),
                ),
                ", ".join(f"{name} {found['same']:.0%}" for name, found in one.agreement.items()) or "-",
                f"{min(one.by_repeat):.3f} to {max(one.by_repeat):.3f}" if one.by_repeat else "-",
            )
            for model, one in judged
        ]
        notes = ("Spread over repeats: AesI of each repeat alone. Not comparable with the paper's GPT scores.",)
        yield Table("Behind the judge", columns, tuple(rows), notes, frozenset(range(len(rows))))


def _recall(model: Scored, grade: str) -> str:
    return cell(Key("AesA"), model.estimates.get(Key("AesA", "grade", grade)))


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.items())


def _keys(models: Iterable[Scored], part: str) -> list[Key]:
    return list(dict.fromkeys(key for model in models for key in model.estimates if key.part == part))


def _extent(comparison: Comparison) -> str:
    if comparison.n_images < comparison.n_whole:
        return f"a part: the first {comparison.n_images:,} of {comparison.n_whole:,} images"
    return f"{comparison.n_images:,} images"


def _by(comparison: Comparison, model: Scored, *, part: str = "") -> str:
    """Where a row of ours comes from: number of images, whether they are a part only, judge."""
    judge = model.answered.judged
    said = f", judge {judge.judge}" if judge is not None and part not in CHOICE_PARTS else ""
    return f"here: n = {_n(comparison, model, part=part)}{said}"


def _n(comparison: Comparison, model: Scored, *, part: str = "") -> str:
    wanted = (part,) if part else comparison.parts
    sizes = sorted({model.estimates[Key(one)].n for one in wanted if Key(one) in model.estimates})
    n = " to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1]))) if sizes else "0"
    return f"{n} (a part)" if comparison.n_images < comparison.n_whole else n


def _joined(title: str, columns: Iterable[str], rows: list, ours: list, notes: Iterable[str]) -> Table:
    return Table(title, tuple(columns), (*map(tuple, ours), *map(tuple, rows)), tuple(notes), frozenset(range(len(ours))))


def _markdown_table(table: Table) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(" ".join(text.split()).replace("|", "\\|") for text in cells) + " |"

    yield line(table.columns)
    yield "|" + "---|" * len(table.columns)
    for place, row in enumerate(table.rows):
        yield line((f"**{row[0]}**", *row[1:]) if place in table.ours and len(table.ours) < len(table.rows) else row)
