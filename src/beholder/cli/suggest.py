"""beholder suggest PATH... --rater NAME"""

from __future__ import annotations

from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import print_json, progress_bar
from beholder.cli.people import who


def suggest(
    paths: options.Paths,
    profile: options.ProfileFile = None,
    rater: options.RaterName = None,
    ratings: options.RatingsFile = None,
    scale: options.ScaleText = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many.")] = 10,
    scorer: options.ScorerName = "taste",
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    as_json: options.AsJson = False,
) -> None:
    """The photographs that would teach most about this person if they were rated next, the most telling first."""
    someone = who(rater=rater, profile=profile, ratings=ratings, scale=scale)
    from beholder.scorers import load

    with load(scorer, weights=weights, encoder=encoder) as eye, progress_bar("looking at photographs") as progress:
        found = eye.suggest(paths, rater=someone.rater, n=n, look_in=someone.look_in, progress=progress)
    for image in found:
        if as_json:
            print_json({"image": image})
        else:
            print(image)
