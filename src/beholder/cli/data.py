"""beholder data check DATASET --root DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import print_json, show_table

app = typer.Typer(no_args_is_help=True, help="Datasets: many people's ratings.")


@app.callback()
def _data() -> None:
    pass


@app.command()
def check(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="folder, oasis-beauty, pamela, para, lapis, eva, flickr-aes, aadb.", show_default=False)],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder of the dataset.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """Everything that is wrong or odd with a dataset's files. Exit codes: 0 fine, 1 something is lost or doubtful, 2 cannot be read."""
    from beholder.datasets import check as findings_of

    findings = findings_of(dataset, root)
    if as_json:
        for one in findings:
            print_json({"level": one.level, "message": one.message, "lines": list(one.lines), "count": one.count})
    else:
        show_table([[one.level, one.message] for one in findings], columns=["level", "finding"])
    levels = {one.level for one in findings}
    if levels & {"error", "warning"}:
        raise typer.Exit(2 if "error" in levels else 1)
