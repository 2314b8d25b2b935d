"""beholder rank PATH... --profile me.toml"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import note, note_wait, on_terminal, progress_bar, show_predictions
from beholder.cli.people import who

if TYPE_CHECKING:
    from beholder.prediction import Prediction
    from beholder.rater import Rater

SHEET = 120  # photographs on a contact sheet, unless --top says otherwise


def rank(
    paths: options.Paths,
    profile: options.ProfileFile = None,
    rater: options.RaterName = None,
    ratings: options.RatingsFile = None,
    scale: options.ScaleText = None,
    scorer: options.ScorerName = "taste",
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    about: options.AboutFile = None,
    top: Annotated[int | None, typer.Option("--top", metavar="K", min=1, help="Only the best K.", show_default="all")] = None,
    out: options.OutFile = None,
    contact_sheet: options.SheetFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Photographs for one person, best first."""
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
        ranked=True,
    )
    finish(predictions, someone=someone, top=top, out=out, contact_sheet=contact_sheet, as_json=as_json, ranked=True)


def predict(
    paths: list[Path],
    *,
    profile: Path | None,
    rater: str | None,
    ratings: Path | None,
    scale: str | None,
    scorer: str,
    weights: Path | None,
    encoder: str,
    about: Path | None,
    ranked: bool,
) -> tuple[Rater, list[Prediction]]:
    """What rank and score have in common: the rater, and all predictions."""
    someone = who(rater=rater, profile=profile, ratings=ratings, scale=scale)
    from beholder.about import read_about
    from beholder.scorers import Scorer, load, scorer_class

    cls = scorer_class(scorer)
    known = read_about(about) if about is not None else None
    if known is not None and cls.tell is Scorer.tell:
        note(f"--about changes nothing here: {cls.name} reads neither prompts nor metadata")
    look_in = [*someone.look_in, *([str(about.absolute().parent)] if about is not None else [])]
    note_wait(cls.slow_part)
    with load(scorer, weights=weights, encoder=encoder) as eye, progress_bar("looking at photographs") as progress:
        method = eye.rank if ranked else eye.score
        if progress and hasattr(eye.scorer, "progress"):  # asking a model takes longer than looking
            eye.scorer.progress = lambda done, total: progress(done, total, "asking the model")
        predictions = method(paths, rater=someone.rater, look_in=look_in, about=known, progress=progress)
        for line in eye.scorer.notes():
            note(line)
        return someone.rater, predictions


def finish(
    predictions: list[Prediction],
    *,
    someone: Rater,
    top: int | None,
    out: Path | None,
    contact_sheet: Path | None,
    as_json: bool,
    ranked: bool,
) -> None:
    """Show and write the rows; exit with 1 if some inputs were skipped."""
    scored = [p for p in predictions if p.score is not None]
    skipped = [p for p in predictions if p.score is None]
    kept = predictions if top is None else scored[:top] + skipped
    first = scored[0]
    whom = f" for {someone.name}" if someone.name else ""
    n_ratings = f"{len(someone.ratings)} ratings" + (f", {len(someone.choices)} choices" if len(someone.choices) else "")
    title = f"{len(scored)} photographs{whom} ({n_ratings}); {first.scorer} {first.version}, scale {first.scale}"
    show_predictions(kept, title=title, as_json=as_json, out=out, ranked=ranked, n_hidden=len(predictions) - len(kept))
    if contact_sheet is not None:
        from beholder.contact_sheet import Column, write_contact_sheet

        write_contact_sheet(contact_sheet, [Column(someone.name or "Ranking", title, kept)], limit=top or SHEET)
        note(f"wrote {contact_sheet}")
    if skipped:
        how_many = f"{len(skipped)} of {len(predictions)} files were skipped"
        if on_terminal() and not as_json:
            note(f"{how_many}, see above")
        else:
            note(f"{how_many}: " + "; ".join(f"{p.image} {p.skipped_reason}" for p in skipped[:3]) + (" ..." if len(skipped) > 3 else ""))
        raise typer.Exit(1)
