"""beholder aesmmit build --feedback FILE --images DIR --writer URI --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beholder.critique.aesmmit.build import BuildResult

SHOWN = 10  # reasons on the terminal


def build(
    feedback: Annotated[Path, typer.Option("--feedback", metavar="FILE", help="What people said: JSON Lines, a JSON list, or CSV.", show_default=False)],
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="The folder that its image paths start from.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Of the dataset; the same command goes on there.", show_default=False)],
    writer: Annotated[
        str, typer.Option("--writer", metavar="URI", help="rules (no model), http://HOST/v1#MODEL, a folder or hub name of an LLM, smollm2-135m-instruct.", show_default=False)
    ],
    per_image: Annotated[int, typer.Option("--per-image", metavar="N", min=1, help="Questions of each image; each is asked openly and with options.")] = 7,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0)] = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Calls to a server at once.")] = 4,
    temperature: Annotated[float, typer.Option("--temperature", metavar="T", min=0, help="Of the writer.")] = 0.7,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Without a sign of the server.")] = 120.0,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Of a model on this machine: auto, cpu, cuda, ...")] = "auto",
    api_key_env: Annotated[str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable with the server's key.")] = "OPENAI_API_KEY",
    prices: Annotated[
        tuple[float, float] | None, typer.Option("--prices", metavar="IN OUT", help="Of a million tokens in and out, to say what it cost.", show_default=False)
    ] = None,
    licence: Annotated[str, typer.Option("--licence", metavar="TEXT", help="Of the feedback, for the card.", show_default=False)] = "",
    as_json: options.AsJson = False,
) -> None:
    """Make instruction data from feedback: descriptions, open questions with brief answers, and the same as multiple choice.

    A writer makes the questions from what people said of each image. Only that text is sent, without names, and only to the server that --writer
    names; images never are. Answers are kept in DIR/written.jsonl: after an interruption the same command goes on there and repeats no call that was answered.
    """
    from beholder.critique.aesmmit.build import build as build_dataset
    from beholder.critique.aesmmit.feedback import read_feedback
    from beholder.critique.aesmmit.writers import open_question_writer

    said = read_feedback(feedback)
    author = open_question_writer(
        writer, temperature=temperature, concurrency=concurrency, timeout=timeout, device=device, api_key_env=api_key_env, prices=prices
    )
    with progress_bar("writing questions") as progress:
        result = build_dataset(
            said, images=images, writer=author, out=out, per_image=per_image, seed=seed, licence=licence, progress=progress or lines_of_progress()
        )
    for line in (*author.notes(), *result.notes):
        note(line)
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)


def _show(result: BuildResult) -> None:
    kept = f", {result.kept_calls} of them kept from before" if result.kept_calls else ""
    rows: list[tuple[str, object]] = [
        ("images", result.images),
        ("descriptions", result.descriptions),
        ("open questions", result.open),
        ("multiple choice", result.choice),
        ("calls of the writer", f"{result.calls}{kept}"),
        ("the same twice", f"{result.duplicates} with an image, {result.too_common} with too many images"),
        *((f"right among {count}", ", ".join(f"{letter} {n}" for letter, n in letters.items())) for count, letters in result.positions.items()),
        *_counted("cannot be used", result.rejected),
        *_counted("put right", result.mended),
    ]
    if result.other_script:
        rows.append(("other script", f"{result.other_script} questions, marked"))
    if result.cost is not None:
        rows.append(("cost", f"{result.cost:.4f}"))
    show_table(rows, columns=("", "items"))
    note(f"wrote {result.out / 'aesmmit.json'}, statistics.json and README.md")


def _counted(title: str, counts: Mapping[str, int]) -> list[tuple[str, object]]:
    return [(title if number == 0 else "", f"{count} x {reason}") for number, (reason, count) in enumerate(list(counts.items())[:SHOWN])]
