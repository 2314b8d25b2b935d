"""beholder score PATH... --profile me.toml"""

from __future__ import annotations

from beholder.cli import options
from beholder.cli.rank import finish, predict


def score(
    paths: options.Paths,
    profile: options.ProfileFile = None,
    rater: options.RaterName = None,
    ratings: options.RatingsFile = None,
    scale: options.ScaleText = None,
    scorer: options.ScorerName = "taste",
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    about: options.AboutFile = None,
    out: options.OutFile = None,
    as_json: options.AsJson = False,
) -> None:
    """As rank, in the order in which the photographs were given or found."""
    someone, predictions = predict(
        paths,
        profile=profile,
        rater=rater,
        ratings=ratings,
        scale=scale,
        scorer=scorer,
        weights=weights,
        encoder=encoder,
        about=about,
        ranked=False,
    )
    finish(predictions, someone=someone, top=None, out=out, contact_sheet=None, as_json=as_json, ranked=False)
