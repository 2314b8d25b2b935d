"""beholder train SCORER --data DIR --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import note, print_json, progress_bar


def train(
    scorer: Annotated[str, typer.Argument(metavar="SCORER", help="taste, population, pmllm, pmllm-s, pamela, ici, linear-hidden-reduce, aesexpert (see its own --help), a comparator (docs/comparators.md: only its calibration), or your own module:Class.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the dataset.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the weights go.", show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help="How the folder is read: folder, pamela, para, lapis, ...")] = "folder",
    others: options.Others = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    model: options.ModelName = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a scorer learn from the ratings of many people; rank --weights DIR uses what it learned.

    A long training keeps checkpoints in OUT/checkpoints: after an interruption the same command goes on from there. Options are written
    in brackets: "pmllm\\[steps=500,layers=5]" (docs/pmllm.md has them all).
    """
    from beholder import scorers
    from beholder.cli.joint import check_learned_from, further, training_part
    from beholder.datasets import read
    from beholder.errors import BeholderError
    from beholder.eye import Eye
    from beholder.scorers.feature_sources import sources, takes_model, with_model

    cls = scorers.scorer_class(scorer)
    chosen = scorers.typed_options(cls, scorers.parse_name(scorer)[1]).get("options")
    if cls.save_pretrained is scorers.Scorer.save_pretrained or not getattr(chosen, "learns", True):
        raise BeholderError(f"{scorer} learns from each rater alone, so there is nothing to train: use it as it is")
    if model is not None and not takes_model(scorer):
        raise BeholderError(f"--model = {model!r}, but {scorer} takes none: leave it out, or give it as --encoder")
    if others:
        check_learned_from([scorer])
    ratings = read(dataset, data)
    for line in ratings.notes:
        note(line)
    ratings = training_part(ratings)
    more = further(others, beside=ratings)
    scorer = with_model(scorer, model)
    features = sources([scorer], encoder=encoder).by_name[scorer]
    with Eye(scorers.make(scorer, features=features, trained=False), features=features) as eye:
        with progress_bar("looking at photographs") as progress:
            eye.fit(ratings, others=more, progress=progress, steps=_said, checkpoints=out / "checkpoints")
        folder = eye.save_pretrained(out)
        name, version = eye.scorer.name, eye.scorer.version
    summary = {
        "scorer": name,
        "version": version,
        "dataset": ratings.name,
        "raters": len(ratings.used_raters),
        "images": len(ratings.used_images),
    }
    summary |= {"ratings": len(ratings.rating_score), "out": str(folder or out)}
    summary |= {"with": {other.name: len(other.rating_score) for other in more}} if more else {}
    if as_json:
        print_json(summary)
    else:
        beside = "".join(f", with {len(other.rating_score)} ratings of {other.name}" for other in more)
        print(f"{name} {version}: learned from {summary['ratings']} ratings of {summary['images']} images by {summary['raters']} raters{beside}")
        other = "" if encoder == "efficientnet-lite0" else f" --encoder '{encoder}'"
        again = f"'{scorer}'" if "[" in scorer and (takes_model(scorer) or not cls.self_contained) else name  # which model is no part of the weights
        print(f"use it:  beholder rank PATH... --scorer {again} --weights {out}{other}")


def _said(done: int, total: int, text: str) -> None:
    note(f"{done}/{total} {text}" if done else text)
