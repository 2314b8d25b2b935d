"""beholder bench aesbench --root DIR --model A,B --judge URI"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, note_wait, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beholder.backbones.chat import ChatModel
    from beholder.critique.aesbench.compare import Answered, Comparison
    from beholder.critique.aesbench.questions import Benchmark

OUT = Path("aesbench-results")


def bench_aesbench(
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder with AesBench_evaluation.json and images/, or a table of VLMEvalKit (.tsv).", show_default=False)],
    model: Annotated[list[str] | None, typer.Option("--model", metavar="A,B", help="Asked: folders or hub names of vision-language models, or http://HOST/v1#MODEL.", show_default=False)] = None,
    answers: Annotated[list[str] | None, typer.Option("--answers", metavar="[NAME=]DIR", help="Score answers made elsewhere (test_AesP.json, ...), without any model; repeatable.", show_default=False)] = None,
    base: Annotated[str | None, typer.Option("--base", metavar="A", help="One of them: what the others gained over it is shown.", show_default=False)] = None,
    judge: Annotated[str | None, typer.Option("--judge", metavar="URI", help="The chat model that grades AesI, written like --model; without it AesI and overall are left out.", show_default=False)] = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", min=1, help="Times that the judge grades each answer.")] = 5,
    judge_images: Annotated[bool | None, typer.Option("--judge-images/--no-judge-images", help="Whether the judge is shown the images.", show_default="if it takes any")] = None,
    parts: Annotated[str | None, typer.Option("--parts", metavar="AesP,AesE", help="Of AesP, AesE, AesA, AesI.", show_default="all that are there")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="The first N images only.", show_default=False)] = None,
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="The folder of the images.", show_default="images/ in --root")] = None,
    prompts: Annotated[str, typer.Option("--prompts", metavar="NAME", help="official, or vlmevalkit.")] = "official",
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", min=1, help="Of an answer.")] = 512,
    allow_changed: Annotated[bool, typer.Option("--allow-changed", help="Read a table that has a published one's name but another content.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Answers, files for submission, results.json, tables.md, report.html; goes on there after an interruption.", show_default=f"{OUT}; --answers alone: nothing is written")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the judge and the intervals.")] = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Requests under way at once, to a server.")] = 8,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Without any sign of a server.")] = 120.0,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Of models on this machine: auto, cpu, cuda, ...")] = "auto",
    api_key_env: Annotated[str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable with the key of the servers named.")] = "OPENAI_API_KEY",
    as_json: options.AsJson = False,
) -> None:
    """Ask vision-language models what AesBench asks, and show accuracy and grades beside the tables of the AesExpert paper.

    AesP, AesE and AesA are counted; AesI is graded by --judge with a rubric of ours, which is not comparable with the paper's GPT scores. Answers are kept as they come.
    """
    from beholder.critique.aesbench import compare, report, tables
    from beholder.critique.aesbench.prompts import STYLES
    from beholder.critique.aesbench.questions import known_parts
    from beholder.critique.aesbench.reading import read
    from beholder.errors import BeholderError

    labels = _labels([name.strip() for text in model or [] for name in text.split(",") if name.strip()])
    names = list(labels)
    elsewhere = dict(_named(text) for text in answers or [])
    if not names and not elsewhere:
        raise BeholderError("nothing is to be measured: name a model with --model, or give answers made elsewhere with --answers DIR")
    if len(elsewhere) < len(answers or []):
        raise BeholderError("two folders of --answers have the same name: write --answers NAME=DIR")
    if prompts not in STYLES:
        raise BeholderError(f"--prompts: there are no prompts {prompts!r}: give {' or '.join(STYLES)}")
    base = next((label for label, name in labels.items() if name == base), base)
    compare.check_names([*names, *elsewhere], base=base or "")
    wanted = known_parts(parts.split(",")) if parts is not None else None
    calls = {"concurrency": concurrency, "timeout": timeout, "device": device, "api_key_env": api_key_env}
    grader = _opened(judge, calls) if judge else None
    shown = bool(grader and grader.sees) if judge_images is None else judge_images
    if judge_images and grader is None:
        raise BeholderError("--judge-images says what a judge is shown, but there is none: name one with --judge")
    whole = read(root, images=images, needs_images=bool(names) or (grader is not None and shown), allow_changed=allow_changed)
    benchmark = _with_pictures(whole.narrowed(parts=wanted, limit=limit), root, images)
    if grader is not None and "AesI" not in benchmark.parts:
        raise BeholderError("--judge grades AesI, which is not among the questions: leave out --judge, or name AesI in --parts")
    folder = out or (OUT if names else None)
    found: list[Answered] = []
    for label, name in labels.items():
        chat = grader if name == judge and grader is not None else _opened(name, calls)
        made = _asked(benchmark, label, chat, style=prompts, max_tokens=max_tokens, out=folder, limited=limit is not None)
        found.append(_judged(benchmark, made, grader, judged=chat.name, repeats=repeats, shown=shown, seed=seed, out=folder))
        note(f"{label}: {chat.usage}")
        del chat  # its weights, before the next one is loaded
    for name, place in elsewhere.items():
        found.append(_judged(benchmark, _read(benchmark, name, place, limited=limit is not None), grader, judged=name, repeats=repeats, shown=shown, seed=seed, out=folder))
    if grader is not None and judge not in labels.values():
        note(f"judge {judge}: {grader.usage}")
    if not _scorable(benchmark, grader):
        said = "the right answers are not published and no judge is named, so nothing can be scored"
        if not names:
            raise BeholderError(f"{said}: put the answers beside the questions (result.json), or name a judge for AesI with --judge")
        kept = f"the answers are kept in {folder}" if limit is not None else f"only the files for submission were written, to {folder / 'submission'}"
        note(f"{said}: {kept}")
        return
    made = {"prompts": prompts, "max_tokens": max_tokens, "models": labels, "answers": {name: str(place) for name, place in elsewhere.items()}}
    result = compare.compare(benchmark, found, base=base or "", n_whole=len(whole.image_names), seed=seed, made=made)
    written = report.write(result, folder) if folder is not None else []  # first: whoever reads the table may close the pipe
    if as_json:
        print_json(report.summary(result))
    else:
        _show(result, tables.overview(result), tables.remarks(result))
    for path in written:
        note(f"wrote {path}")


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Label -> name: the end of a URL or of a path, where that is enough to tell the models apart."""
    from beholder.errors import BeholderError

    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BeholderError(f"{twice[0]} is named twice: give each model once")
    ends = [name.partition("#")[2] if "://" in name else Path(name).name for name in names]
    return {end if end and ends.count(end) == 1 else name: name for end, name in zip(ends, names, strict=True)}


def _named(text: str) -> tuple[str, Path]:
    """ "NAME=DIR" or "DIR", whose name is that of the folder."""
    name, equals, place = text.partition("=")
    if equals and name.strip() and place.strip() and "/" not in name:
        return name.strip(), Path(place.strip())
    return Path(text).resolve().name or text, Path(text)


def _opened(name: str, calls: dict) -> ChatModel:
    from beholder.backbones.chat import open_chat_model

    note_wait(name if "://" not in name else "")
    return open_chat_model(name, **calls)


def _with_pictures(benchmark: Benchmark, root: Path, images: Path | None) -> Benchmark:
    """With the folder of images for the examples of the report, where none was needed otherwise."""
    places = [images] if images is not None else [root / "images", root.parent / "images"]
    there = next((place for place in places if place.is_dir()), None)
    return benchmark if benchmark.images is not None or benchmark.files or there is None else replace(benchmark, images=there)


def _asked(benchmark: Benchmark, name: str, chat: ChatModel, *, style: str, max_tokens: int, out: Path, limited: bool) -> Answered:
    from beholder.critique.aesbench.compare import Answered
    from beholder.critique.aesbench.runs import answers, answers_folder
    from beholder.critique.aesbench.submission import write_submission
    from beholder.located import SkippedInput

    with progress_bar(f"asking {name}") as progress:
        given = answers(benchmark, chat=chat, out=out, style=style, max_tokens=max_tokens, progress=progress or lines_of_progress())
    if limited:  # a part is nothing to send in, and must not take the place of the whole
        return Answered(name, given, version=chat.version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedInput)  # what was not answered has been said
        files = write_submission(given, out / "submission" / answers_folder(out, chat.name).name, benchmark=benchmark)
    note(f"wrote {', '.join(file.name for file in files)} to {files[0].parent}")
    return Answered(name, given, version=chat.version)


def _read(benchmark: Benchmark, name: str, place: Path, *, limited: bool) -> Answered:
    from beholder.critique.aesbench.compare import Answered
    from beholder.critique.aesbench.submission import read_submission
    from beholder.located import SkippedInput

    with warnings.catch_warnings():
        if limited:  # the others are left out on purpose
            warnings.filterwarnings("ignore", message=".*not in the benchmark", category=SkippedInput)
        return Answered(name, read_submission(place, benchmark=benchmark), notes=(f"answers made elsewhere, read from {place}",))


def _judged(
    benchmark: Benchmark, answered: Answered, grader: ChatModel | None, *, judged: str, repeats: int, shown: bool, seed: int, out: Path | None
) -> Answered:
    """The same, with grades of AesI if there is a judge and something to judge."""
    from beholder.critique.aesbench.judge import judge
    from beholder.critique.aesbench.runs import answers_folder
    from beholder.located import SkippedInput

    if grader is None or "AesI" not in answered.answers:
        return answered
    ledger = answers_folder(out, judged) / "judged.jsonl" if out is not None else None
    with progress_bar(f"judging {answered.name}") as progress:
        graded = judge(
            benchmark,
            answered.answers["AesI"],
            chat=grader,
            repeats=repeats,
            seed=seed,
            shown=shown,
            ledger=ledger,
            judged=judged,
            progress=progress or lines_of_progress(),
        )
    if graded.unjudged:
        said = f"{len(graded.unjudged)} of {len(graded.answers)} answers of {answered.name} were left unjudged by {grader.name}"
        warnings.warn(f"{said}: they do not count until the same command has had them judged", SkippedInput, stacklevel=2)
    return replace(answered, judged=graded)


def _scorable(benchmark: Benchmark, grader: ChatModel | None) -> bool:
    return grader is not None or any(question.answer for question in benchmark.questions if question.part != "AesI")


def _show(result: Comparison, overview: object, remarks: Sequence[str]) -> None:
    kind = f"the first {result.n_images:,} of {result.n_whole:,} images" if result.n_images < result.n_whole else f"{result.n_images:,} images"
    print(f"{result.benchmark.name}: {kind}; 95 % intervals over images")
    show_table(overview.rows, columns=overview.columns)
    for line in (*overview.notes, *remarks):
        note(line)
