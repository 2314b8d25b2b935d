"""Which image stands for which arm: from a table, or from the folders of steering runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beholder.errors import BeholderError
from beholder.evidence import name_key
from beholder.ratings import read_table
from beholder.steering.run_folder import RunFolder
from beholder.steering.study.plan import GENERIC, OTHER, OWN, UNOPTIMISED, Entry

NOBODY = "everybody"  # what a run without a named rater calls whom it is for
AGE_BAND = re.compile(r"age \d")  # what one for people of an age does: an arm, as no such rater can answer


@dataclass(frozen=True)
class Run:
    """A run, and what it stands for: optimised for `rater`, or (rater "") for nobody in particular as `arm`.

    Args:
        best, start: candidates as a run records them: prompt, images, seeds.
    """

    folder: Path
    goal: str
    seed: int
    rater: str
    arm: str
    best: Mapping[str, Any]
    start: Mapping[str, Any] | None
    complete: bool


def read_arms(file: str | os.PathLike) -> list[Entry]:
    """A table with the columns rater, prompt, arm, image (a path from here, or from where the table lies).

    Raises:
        BeholderError: a column or a value is missing.
    """
    file = Path(file)
    entries = []
    for row in read_table(file, what="table of arms"):
        for name in ("rater", "prompt", "arm", "image"):
            if name not in row:
                raise BeholderError(f"{file} has no column {name}: it has {', '.join(key for key in row if key != '_line')}")
            if not row[name]:
                raise BeholderError(f"{file} line {row['_line']}: {name} is empty; fill it in")
        beside = file.parent / row["image"]
        entries.append(Entry(" ".join(row["rater"].split()), row["prompt"], row["arm"], beside if beside.is_file() else Path(row["image"])))
    if not entries:
        raise BeholderError(f"{file} has no rows: give one for each rater, prompt and arm")
    return _one_spelling(entries)


def read_run(folder: str | os.PathLike, *, rater: str = "", arm: str = "") -> Run:
    """A steering run as it stands.

    Args:
        rater: whom it was optimised for. arm: what it stands for if it was optimised for nobody in particular. If neither is given, the run's own
            settings decide: one named rater = that rater's own, an age band = an arm of its name, anything else = generic.

    Raises:
        BeholderError: no run, or none that has an image with a reward.
    """
    run = RunFolder.open(folder)
    raters = [str(name) for name in run.settings.get("raters", ())]
    if not rater and not arm:
        alone = raters[0] if len(raters) == 1 and raters[0] != NOBODY else ""
        rater, arm = ("", alone or GENERIC) if AGE_BAND.match(alone) or not alone else (alone, "")
    done = run.get("done", "done")
    if done is not None:
        best, start = done.get("best"), done.get("start")
    else:
        tried = [one for event in run.events("iteration") for one in event["candidates"]]
        best_prompt = run.events("iteration")[-1]["best_prompt"] if tried else None
        best = next((one for one in tried if one["prompt"] == best_prompt), None)
        start = next((one for one in tried if one["iteration"] == 0), None)
    if not best or not best.get("images"):
        raise BeholderError(f"the run {folder} has no image with a reward yet: let it go on, or leave it out")
    known = {"folder": Path(folder), "goal": str(run.settings.get("goal", "")), "seed": int(run.settings.get("seed", 0))}
    finished = done is not None and bool(done.get("complete", True))
    return Run(**known, rater=" ".join(rater.split()), arm=arm, best=best, start=start if start and start.get("images") else None, complete=finished)


def arms_of_runs(runs: Sequence[Run]) -> tuple[list[Entry], list[str]]:
    """The images that take part, and notes.

    own = the best image of the run optimised for this rater; other = that of another rater with the same goal (raters take turns, so that everyone's
    images are used alike); unoptimised = the start image of the own run, with the same seed; generic and further arms = the best image of runs
    for nobody in particular with the same goal. The raters are those for whom there is a run.

    Raises:
        BeholderError: no run for a rater, or two for the same rater (or arm) and goal.
    """
    own: dict[tuple[str, str], Run] = {}
    generic: dict[tuple[str, str], Run] = {}
    for run in runs:
        table, place = (own, (name_key(run.rater), run.goal)) if run.rater else (generic, (run.arm, run.goal))
        before = table.setdefault(place, run)
        if before is not run:
            raise BeholderError(
                f"{before.folder} and {run.folder} are both runs for {run.rater or run.arm} with the goal {run.goal!r}: leave one out, "
                "or give a table with --arms"
            )
    if not own:
        raise BeholderError("none of the runs is for one rater: say whom a run was optimised for, as in  --run rater=NAME:FOLDER")
    entries, notes = [], [f"the run {run.folder} is not finished: its best image up to now takes part" for run in runs if not run.complete]
    for number, goal in enumerate(sorted({goal for _, goal in own})):
        of_goal = [run for (_, its), run in sorted(own.items(), key=lambda item: item[0]) if its == goal]
        for place, run in enumerate(of_goal):
            entries.append(Entry(run.rater, goal, OWN, _image(run, run.best)))
            if len(of_goal) > 1:
                turn = 1 + number % (len(of_goal) - 1)  # another neighbour for every goal
                other = of_goal[(place + turn) % len(of_goal)]
                entries.append(Entry(run.rater, goal, OTHER, _image(other, other.best)))
            else:
                notes.append(f"only {run.rater} has a run with the goal {goal!r}, so it has no arm other")
            if run.start is None:
                notes.append(f"the run {run.folder} has no start image, so {run.rater} has no arm unoptimised for {goal!r}")
            else:
                entries.append(Entry(run.rater, goal, UNOPTIMISED, _image(run, run.start, seed=_seed(run.best))))
                if _seed(run.best) not in (run.start.get("seeds") or [_seed(run.best)]):
                    notes.append(f"in the run {run.folder} the start image has another seed than the best one, so they differ in more than the prompt")
            entries += [Entry(run.rater, goal, arm, _image(one, one.best)) for (arm, its), one in sorted(generic.items()) if its == goal]
    goals = {goal for _, goal in own}
    for goal in sorted(goals):
        seeds = sorted({run.seed for (_, its), run in [*own.items(), *generic.items()] if its == goal})
        if len(seeds) > 1:
            notes.append(f"the runs with the goal {goal!r} have different seeds ({', '.join(map(str, seeds))}), so their images differ in more than the prompt")
    notes += [f"the run {run.folder} has a goal that no rater's run has, so it takes no part" for run in generic.values() if run.goal not in goals]
    return _one_spelling(entries), notes


def _image(run: Run, candidate: Mapping[str, Any], *, seed: int | None = None) -> Path:
    """The candidate's image with this seed if there is one, else its first."""
    seeds = candidate.get("seeds") or []
    place = seeds.index(seed) if seed in seeds else 0
    return run.folder / candidate["images"][place]


def _seed(candidate: Mapping[str, Any]) -> int | None:
    return next(iter(candidate.get("seeds") or []), None)


def _one_spelling(entries: Sequence[Entry]) -> list[Entry]:
    """A rater's name is spelled as it was first: case and blanks do not tell two raters apart."""
    first: dict[str, str] = {}
    for entry in entries:
        first.setdefault(name_key(entry.rater), entry.rater)
    return [Entry(first[name_key(entry.rater)], entry.prompt, entry.arm, entry.image) for entry in entries]
