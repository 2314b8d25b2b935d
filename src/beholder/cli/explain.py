"""beholder explain IMAGE --rater NAME"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import print_json, show_table
from beholder.cli.people import who

SHOWN = 10  # ratings that matter most
PARTS = {
    "everybody": "what everybody likes about it",
    "crowd": "how far this rater goes along with everybody",
    "profile": "what people with this profile like",
    "prior": "what another scorer, told the profile alone, expects beyond both",
    "severity": "how generous this rater is",
    "taste": "what this rater's own ratings say",
    "base": "what this rater gives an average image",
    "attribute": "more or less of it than an average image has",
}


def explain(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph.", show_default=False)],
    profile: options.ProfileFile = None,
    rater: options.RaterName = None,
    ratings: options.RatingsFile = None,
    scale: options.ScaleText = None,
    scorer: options.ScorerName = "taste",
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    as_json: options.AsJson = False,
) -> None:
    """Why this person should like a photograph so much: the parts of the score, and the rated photographs that count most."""
    someone = who(rater=rater, profile=profile, ratings=ratings, scale=scale)
    from beholder.scorers import load

    with load(scorer, weights=weights, encoder=encoder) as eye:
        why = eye.explain(image, rater=someone.rater, look_in=someone.look_in)
        name, version = eye.scorer.name, eye.scorer.version
    scale_of = someone.rater.scale
    parts = {part: round(float(value), 4) for part, value in why.parts.items()}
    influences = [(str(other), round(float(value), 4)) for other, value in why.influences]
    cares = [_rounded(vars(care)) for care in getattr(why, "cares", ())]
    if as_json:
        numbers = {"score": round(float(why.score), 4), "low": round(float(why.low), 4), "high": round(float(why.high), 4)}
        listed = [{"image": other, "contribution": value} for other, value in influences]
        print_json(
            {"image": str(image)}
            | numbers
            | {"scale": str(scale_of), "scorer": name, "version": version, "parts": parts, "influences": listed}
            | ({"cares": cares} if cares else {})
        )
        return
    title = f"{image}: {why.score:.2f} ({why.low:.2f} to {why.high:.2f}) on {scale_of}; {name} {version}"
    rows = [[f"{value:+.2f}", part, PARTS.get(part.partition(" ")[0], "")] for part, value in parts.items()]
    show_table([*rows, [f"{sum(parts.values()):.2f}", "together", ""]], columns=["points", "part", ""], title=title, right=["points"])
    if influences:
        print()
        rows = [[f"{value:+.2f}", other] for other, value in influences[:SHOWN]]
        show_table(rows, columns=["points", "because of what you said of"], right=["points"])
        if len(influences) > SHOWN:
            print(f"and {len(influences) - SHOWN} that count less")
    if cares:
        print()
        _show_cares(cares)


def _rounded(care: dict[str, object]) -> dict[str, object]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in care.items()}


def _show_cares(cares: list[dict]) -> None:
    """What the rater cares about, as points per standard deviation of an attribute; against others, if any are known."""
    compared = cares[0]["percentile"] is not None
    rows = [[f"{one['weight']:+.3f}", one["attribute"]] for one in cares]
    columns = ["weight", "attribute"]
    if compared:
        columns = ["weight", "others", "spread", "pct", "attribute"]
        rows = [
            [weight, f"{one['others_mean']:+.3f}", f"{one['others_spread']:.3f}", f"{one['percentile']:.0f}", attribute]
            for (weight, attribute), one in zip(rows, cares, strict=True)
        ]
    title = "what this rater cares about" + (", against others" if compared else "") + " (points per standard deviation; - = likes less of it)"
    show_table(rows, columns=columns, title=title, right=columns[:-1])
    if compared:
        print("others, spread: mean and standard deviation of other raters' weights; pct: share of them, in %, with a smaller weight")
