"""One run from the goal to the best prompt, on top of what is recorded of it already."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from beholder.errors import BeholderError
from beholder.steering.base import Generator, Judge, Writer
from beholder.steering.ledger import Ledger, Progress
from beholder.steering.recorded_images import RecordedImages
from beholder.steering.recorded_writer import RecordedWriter
from beholder.steering.run_folder import RunFolder
from beholder.steering.strategies import open_strategy
from beholder.steering.trial import Candidate, SteerConfig, SteerResult, Trial, as_recorded, best_first

__all__ = ["Candidate", "SteerConfig", "SteerResult", "steer"]

BACKOFF = 1.0


def steer(
    goal: str,
    *,
    writer: Writer,
    generator: Generator,
    judge: Judge,
    hold_out: Judge | None,
    config: SteerConfig,
    run: RunFolder,
    progress: Progress | None = None,
    backoff: float = BACKOFF,
) -> SteerResult:
    """Look for the variant of a prompt whose images are rewarded most.

    A deterministic function of the settings and of what is recorded in `run`: started again after a stop, it goes through the same steps, and whatever
    was answered before is not asked again (failures that ran out of tries are answers, too). It ends when the iterations or the budget are spent.

    Args:
        goal: the prompt to start from. It is tried as it is, as iteration 0.
        hold_out: another judge, whose rewards change nothing and are recorded beside the others.
        progress: progress(images made, images at most, what), failed tries among them.
        backoff: seconds before a second try, doubled before every further one.

    Raises:
        BeholderError: no goal; writer or generator unreachable (all is kept, and the same call goes on from there); not one image could be judged.
    """
    if not goal.strip():
        raise BeholderError("the prompt is empty: say what the image is to show")
    strategy = open_strategy(config.strategy)
    book = Ledger(run, goal=goal, seed=config.seed, tries=config.tries, backoff=backoff, progress=progress)
    images = RecordedImages(generator, judge=judge, hold_out=hold_out, book=book, budget=config.images)
    trial = Trial(writer=RecordedWriter(writer, book=book, max_words=config.max_words), images=images, book=book, config=config)
    trial.begin()
    strategy(trial, goal=goal, config=config)
    trial.check()
    ranked = best_first(trial.candidates)
    notes = (*_notes(book, trial, config), *writer.notes(), *generator.notes())
    result = SteerResult(ranked[0], trial.start, tuple(ranked), dict(book.counts), complete=True, notes=notes)
    seeds = range(config.seed, config.seed + config.images_per_prompt)
    finish(book, result, what="steer", said={name: as_recorded(getattr(result, name), seeds=seeds) for name in ("best", "start")})
    return result


def finish(book: Ledger, result: SteerResult, *, what: str, said: Mapping[str, Any]) -> None:
    """Record "done" and say so. The notes stay those of the process that did the work."""
    known = book.run.get("done", "done")
    values = {"what": what, "goal": book.goal, "complete": result.complete, "counts": result.counts, **said}
    seconds = {name: round(value, 3) for name, value in book.seconds.items()}
    book.record("done", "done", {**values, "seconds": seconds, "notes": list(result.notes) if known is None else known["notes"]})
    book.progress(book.counts["images"], book.counts["images"], "done")


def _notes(book: Ledger, trial: Trial, config: SteerConfig) -> list[str]:
    counts, notes = book.counts, []
    if math.isnan(trial.start.reward):
        notes.append("the prompt itself has no reward: it could not be rendered or judged, so there is nothing to compare with")
    if config.budget is not None and not trial.prompts_left:
        notes.append(f"the budget of {config.budget} images is spent")
    unusable = [f"{counts[name]} {name.replace('_', ' ')}" for name in ("refused", "failed", "broken", "not_judged") if counts[name]]
    if unusable:
        notes.append(f"prompts without a reward: {', '.join(unusable)}")
    if not any(one.iteration for one in trial.candidates):
        notes.append(f"no variant has a reward ({book.last_reason or 'the writer gave no new prompts'})")
    return notes
