"""beholder aesmmit collect|convert|build|check|stats"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.aesmmit_build import build
from beholder.cli.output import note, print_json, progress_bar, show_table
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.critique.aesmmit.checks import Finding

app = typer.Typer(no_args_is_help=True, help="Feedback on images, and the instruction data that is made of it (AesMMIT).")

SHOWN = 10  # findings of one kind on the terminal

Data = Annotated[Path, typer.Argument(metavar="DATA", help="LLaVA JSON or JSON Lines, or a folder that beholder aesmmit build wrote.", show_default=False)]
Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Folder of the images.", show_default="images, beside the data"),
]


@app.callback()
def _aesmmit() -> None:
    pass


@app.command()
def collect(
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder of the images to be judged.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.jsonl", help="Where each answer is added at once.", show_default=False)],
    subject: Annotated[str, typer.Option("--subject", metavar="NAME", help="Who answers.", show_default=False)],
    source: Annotated[str, typer.Option("--source", metavar="KIND", help="Of the images: natural, artistic or generated.", show_default=False)] = "",
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help="Where the images come from.", show_default=False)] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the page; 0 = any that is free.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser; only print the address.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Ask a person for feedback on images, on a page that only this machine can open: from coarse to fine, one image at a time.

    The same command goes on where it stopped. Stop it on the page, or with Ctrl-C.
    """
    from beholder.critique.aesmmit.form import serve_form

    def ready(url: str) -> None:
        note(f"the form is at {url} (Ctrl-C stops it)")
        if not no_open:
            import threading
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()  # one in the terminal would not return

    collected = serve_form(images, out, subject=subject, source=source, dataset=dataset, port=port, ready=ready)
    if as_json:
        print_json({"given": collected.given, "done": collected.done, "total": collected.total, "out": str(out)})
    else:
        print(f"{collected.done} of {collected.total} images have feedback of {subject} ({collected.given} answers now), in {out}")


@app.command()
def convert(
    feedback: Annotated[Path, typer.Argument(metavar="FEEDBACK", help="JSON Lines, JSON or CSV.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="LLaVA JSON; .jsonl for JSON Lines.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """Turn feedback into aesthetic descriptions: the questions as instructions, what people said as answers. No model is needed."""
    from beholder.critique.aesmmit.descriptions import descriptions
    from beholder.critique.aesmmit.feedback import read_feedback
    from beholder.critique.aesmmit.instructions import write_instructions

    if out.is_dir() or out.suffix.lower() not in (".json", ".jsonl", ".ndjson"):
        raise BeholderError(f"{out} is no name for instruction data: give one that ends in .json or .jsonl")
    if out.exists() and feedback.exists() and out.samefile(feedback):
        raise BeholderError(f"{out} is the feedback itself and would be lost: give another name for the instruction data")
    given = read_feedback(feedback)
    made = descriptions(given)
    write_instructions(out, made)
    counts = {"feedback": len(given), "images": len({one.image for one in given}), "items": len(made)}
    if as_json:
        print_json(counts | {"out": str(out)})
    else:
        print(f"{counts['items']} descriptions of {counts['feedback']} feedbacks on {counts['images']} images, in {out}")


app.command("build")(build)


@app.command()
def check(
    data: Data,
    images: Images = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="PATH",
            help="A test set that must not be trained on (repeatable): AesBench's folder or file, a TSV, LLaVA JSON, or a folder of images.",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Look for what spoils training or a later test: broken items, images that are gone, answers that give themselves away, test images.

    Exits with 2 if there are errors; warnings are to be looked at.
    """
    from beholder.critique.aesmmit import checks
    from beholder.critique.aesmmit.instructions import read_instructions

    items = read_instructions(data)
    folder = images or _beside(data)
    if images is not None and not images.is_dir():
        raise BeholderError(f"{images} is not a folder: give the folder of the images")
    with progress_bar("images") as bar:
        found = checks.check(items, images=folder, against=against or (), progress=bar)
    errors = sum(one.severity == checks.ERROR for one in found)
    if as_json:
        looked = None if folder is None else str(folder)
        print_json({"items": len(items), "images": looked, "errors": errors, "warnings": len(found) - errors, "findings": [one.to_json() for one in found]})
    else:
        _show_findings(found)
        print(f"{len(items):,} items: {errors:,} errors, {len(found) - errors:,} warnings")
    if folder is None and any(item.image for item in items):
        note("the images were not looked at: give their folder with --images DIR")
    if errors:
        raise typer.Exit(2)


@app.command()
def stats(
    data: Data,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the frequent words and the kinds of items there.", show_default=False)
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Count images, items, kinds, words and answer positions, beside what the paper states of its own data."""
    from beholder.critique.aesmmit.instructions import read_instructions
    from beholder.critique.aesmmit.statistics import draw, statistics

    found = statistics(read_instructions(data))
    if as_json:
        print_json(found.to_json())
    else:
        last, rows = "", []
        for group, *cells in found.rows():
            rows.append([group if group != last else "", *cells])
            last = group
        show_table(rows, columns=["", "", "here", "paper"], title=str(data), right=("here", "paper"))
    if plot is not None:
        note(f"wrote {draw(found, plot, title=str(data))}")


def _beside(data: Path) -> Path | None:
    folder = (data if data.is_dir() else data.parent) / "images"
    return folder if folder.is_dir() else None


def _show_findings(found: list[Finding]) -> None:
    kinds = list(dict.fromkeys((one.severity, one.kind) for one in found))
    rows = []
    for severity, kind in kinds:
        group = [one for one in found if (one.severity, one.kind) == (severity, kind)]
        rows += [[severity, kind, one.item, one.text] for one in group[:SHOWN]]
        if len(group) > SHOWN:
            rows.append(["", "", "", f"... and {len(group) - SHOWN:,} more of this kind (all with --json)"])
    if rows:
        show_table(rows, columns=["", "check", "item", "what was found"])
        print()
