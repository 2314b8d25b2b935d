"""beholder study plan|next|answer|analyse"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import note, print_json, progress_bar, show_table
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.steering.study.arms import Run

app = typer.Typer(no_args_is_help=True, help="Preference studies: which of two images do raters choose, blinded and balanced.")

Folder = Annotated[Path, typer.Option("--study", metavar="DIR", help="The study's folder.")]


@app.callback()
def _study() -> None:
    pass


@app.command()
def plan(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Folders of beholder steer; each run's own settings say whom it is for.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The study's folder, new or empty.")] = Path("study"),
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="rater=NAME:DIR", help="A run optimised for this rater; or arm=NAME:DIR, for nobody in particular (arm generic, ...).", show_default=False
        ),
    ] = None,
    arms: Annotated[Path | None, typer.Option("--arms", metavar="FILE.csv", help="Instead of runs: columns rater, prompt, arm, image.", show_default=False)] = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="How often each comparison is shown, the sides swapped each time.")] = 1,
    trials: Annotated[int | None, typer.Option("--trials", metavar="N", help="At most so many for a rater, drawn balanced.", show_default="all")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the choice of comparisons, the sides and the order.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Plan a study: pairs of images of the same rater and prompt, blinded, sides counterbalanced, order shuffled.

    Arms: own (best image of the run for this rater), other (of the run for another rater with the same goal), generic (run for nobody in particular),
    unoptimised (start image of the same goal and seed); or any you name in a table.
    """
    from beholder.steering.study.arms import arms_of_runs, read_arms, read_run
    from beholder.steering.study.blinding import write_study
    from beholder.steering.study.plan import StudyConfig, in_order

    config = StudyConfig(repeats=repeats, trials=trials, seed=seed)
    if (arms is not None) == bool(runs or run):
        raise BeholderError("a study is planned either from runs or from a table: give folders of beholder steer, or --arms FILE.csv")
    notes: list[str] = []
    if arms is not None:
        entries = read_arms(arms)
    else:
        entries, notes = arms_of_runs([*(read_run(folder) for folder in runs or []), *(_named(text) for text in run or [])])
    with progress_bar("copying") as progress:
        study, more = write_study(out, entries, config=config, progress=progress)
    with study:
        rows = [[rater, len(study.of(rater))] for rater in study.raters]
        known = {"raters": dict(rows), "arms": in_order([one.left for one in study.key.values()] + [one.right for one in study.key.values()])}
    for line in (*notes, *more):
        note(line)
    note(f"keep {out / 'key.json'} from the raters: it says which image is which")
    if as_json:
        print_json({"study": str(out), "trials": len(study.trials)} | known | {"notes": [*notes, *more]})
        return
    show_table(rows, columns=["rater", "trials"], title=f"{out}: {len(study.trials)} trials, arms {', '.join(known['arms'])}", right=("trials",))


@app.command("next")
def next_(
    rater: Annotated[str, typer.Option("--rater", metavar="NAME", help="Who is asked.", show_default=False)],
    study: Folder = Path("study"),
    as_json: options.AsJson = False,
) -> None:
    """The next trial of a rater: the two images to be shown. The same until it is answered."""
    from beholder.steering.study.storage import Study

    with Study(study) as opened:
        trial = opened.next(rater)
        done, total = opened.progress(rater)
    if as_json:
        shown = {"trial": None} if trial is None else {"trial": trial.id, "prompt": trial.prompt, "left": str(trial.left), "right": str(trial.right)}
        print_json(shown | {"rater": opened.rater(rater), "question": opened.question, "answered": done, "trials": total})
    elif trial is None:
        print(f"{opened.rater(rater)} has answered all {total} trials")
    else:
        print(f"trial {trial.id} ({done + 1} of {total}): {opened.question}\nprompt: {trial.prompt}\nleft:  {trial.left}\nright: {trial.right}")
        note(f"answer with  beholder study answer {trial.id} left|right --study {shlex.quote(str(study))}")


@app.command()
def answer(
    trial: Annotated[str | None, typer.Argument(metavar="TRIAL", help="Its number, from beholder study next.", show_default=False)] = None,
    chosen: Annotated[str | None, typer.Argument(metavar="left|right", help="Which image was preferred.", show_default=False)] = None,
    study: Folder = Path("study"),
    rater: Annotated[str | None, typer.Option("--rater", metavar="NAME", help="Who answers, to be on the safe side.", show_default=False)] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", metavar="S", help="From showing to choosing.", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="Many answers: columns trial, chosen, and if known rater, seconds, time.", show_default=False)
    ] = None,
    change: Annotated[bool, typer.Option("--change", help="Replace an answer that was given before.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Keep what a rater preferred."""
    from beholder.steering.study.storage import Study

    if (file is None) == (trial is None) or (trial is None) != (chosen is None):
        raise BeholderError("say which trial and which side, as in  beholder study answer 0001 left  or give a table with --from FILE.csv")
    if file is not None and (rater or seconds is not None):
        raise BeholderError("--rater and --seconds are of one answer: with --from they stand in the table")
    with Study(study) as opened:
        if file is not None:
            n = opened.import_answers(file, change=change)
            total = len(opened.answers())
            if as_json:
                print_json({"added": n, "answered": total, "trials": len(opened.trials)})
            else:
                print(f"{n} answers added; {total} of {len(opened.trials)} trials are answered")
            return
        kept = opened.answer(trial, chosen.lower(), rater=rater, seconds=seconds, change=change)
        done, total = opened.progress(kept.rater)
    if as_json:
        print_json(vars(kept) | {"answered": done, "trials": total})
    else:
        print(f"trial {kept.trial}: {kept.chosen}; {kept.rater} has answered {done} of {total}")


@app.command()
def analyse(
    study: Folder = Path("study"),
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the report goes.", show_default="the study's folder")] = None,
    draws: Annotated[int, typer.Option("--draws", metavar="N", min=100, help="Resamples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the resamples.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """What the answers say: strengths of the arms (Bradley-Terry, points as in chess), own against other, position bias, agreement. Ends the blinding."""
    from beholder.steering.study.analysis import analyse_study
    from beholder.steering.study.report import write_study_report
    from beholder.steering.study.storage import Study

    with Study(study) as opened:
        found = analyse_study(opened, draws=draws, seed=seed)
        paths = write_study_report(opened, found, out)
    if as_json:
        print_json(found.as_dict())
    else:
        rows = [
            [one.arm, f"{one.points:.0f}", f"{one.low:.0f} to {one.high:.0f}", one.trials, one.wins]
            for one in sorted(found.strengths, key=lambda one: -one.points if one.trials else 1e9)
        ]
        show_table(
            rows if found.answered else [],
            columns=["arm", "points", "95 %", "shown", "chosen"],
            title=f"{found.answered} of {found.planned} trials answered; intervals over {found.units}",
            right=("points", "shown", "chosen"),
        )
        for one in found.own_tests:
            if one.share.n:
                print(f"{one.arm} over {one.other}: {one.share.k} of {one.share.n}, {100 * one.share.low:.0f} to {100 * one.share.high:.0f} %")
        for word in found.words:
            print(word)
    for path in paths:
        note(f"wrote {path}")


def _named(text: str) -> Run:
    from beholder.steering.study.arms import read_run

    kind, _, rest = text.partition("=")
    name, colon, folder = rest.partition(":")
    if kind not in ("rater", "arm") or not name.strip() or not colon or not folder:
        raise BeholderError(f"--run = {text!r} cannot be understood: write rater=NAME:FOLDER, or arm=NAME:FOLDER")
    return read_run(folder, rater=name) if kind == "rater" else read_run(folder, arm=name.strip())
