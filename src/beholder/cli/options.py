"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Photographs, and folders with some at any depth.", show_default=False)]
ProfileFile = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE.toml", help="Who the rater is: age, interests, Big Five, ...", show_default=False),
]
RaterName = Annotated[
    str | None,
    typer.Option("--rater", metavar="NAME", help="A rater you keep (see beholder raters), or one that the ratings file names."),
]
RatingsFile = Annotated[
    Path | None,
    typer.Option("--ratings", metavar="FILE.csv", help="Ratings (image, score) or choices (left, right, chosen) to add, for this run."),
]
ScaleText = Annotated[
    str | None,
    typer.Option("--scale", metavar="LOW-HIGH", help="Scale of the scores, such as 1-5 or 0-100/0 (continuous).", show_default="1-5"),
]
ScorerName = Annotated[
    str,
    typer.Option(
        "--scorer",
        metavar="NAME[x=1]",
        help="taste, population, linear-hidden, linear-hidden-reduce, pmllm, pmllm-s, pamela, raw-text, adjust-bias, few-shot, lora, lora-tokencls, ici, "
        "single-stage, two-stage, with weights that you have laion-aesthetic-v1, laion-aesthetic-v2, siglip-aesthetic, q-align, pickscore, imagereward, hpsv3, "
        "or your own module:Class. Options stand in brackets.",
    ),
]
WeightsFolder = Annotated[
    Path | None,
    typer.Option("--weights", metavar="DIR", help="What beholder train wrote.", show_default="those in the package"),
]
EncoderName = Annotated[
    str,
    typer.Option(
        "--encoder",
        metavar="NAME[x=1]",
        help="efficientnet-lite0, beholder-mini, or a folder or hub repository of CLIP, SigLIP, DINO or a VLM; A+B for both. Options stand in "
        "brackets: DIR\\[fit=pad].",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME[x=1]",
        help="The VLM of scorers that take one (linear-hidden, few-shot, lora, ...): beholder-mini, a folder or a hub repository.",
        show_default="as each scorer has it",
    ),
]
Others = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAME=DIR",
        help="Another dataset to learn from, too (repeatable), such as para=DIR; for scorers that can (pamela).",
        show_default=False,
    ),
]
AboutFile = Annotated[
    Path | None,
    typer.Option(
        "--about",
        metavar="FILE.csv",
        help="What images were made from and show: columns image, prompt, and any others as metadata; for scorers that read them (pamela).",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE.csv", help="Write all rows there.", show_default=False),
]
SheetFile = Annotated[
    Path | None,
    typer.Option("--contact-sheet", metavar="FILE.html", help="Write a page with the photographs there.", show_default=False),
]
