"""Best of n: one prompt as it is, many seeds, the images a judge likes best. The simplest use of a reward, and what any search has to beat."""

from __future__ import annotations

from beholder.errors import BeholderError
from beholder.steering.base import Generator, Judge
from beholder.steering.ledger import Ledger, Progress
from beholder.steering.loop import BACKOFF, finish
from beholder.steering.recorded_images import Pictured, RecordedImages
from beholder.steering.run_folder import RunFolder, short_hash
from beholder.steering.trial import Candidate, SteerResult, as_recorded, best_first, summary


def best_of(
    goal: str,
    *,
    generator: Generator,
    judge: Judge,
    keep: int,
    of: int,
    seed: int,
    run: RunFolder,
    progress: Progress | None = None,
    hold_out: Judge | None = None,
    tries: int = 3,
    backoff: float = BACKOFF,
) -> SteerResult:
    """Render a prompt with the seeds seed, seed + 1, ..., and rank the images.

    Goes on where an earlier call with the same run folder stopped, see `loop.steer`.

    Args:
        keep: of the best images, in the event "done". of: images made.
        hold_out: another judge, whose rewards are recorded beside the others.
        tries: most calls for one image. backoff: seconds before a second try, doubled before every further one.

    Returns:
        candidates: the images kept, best first, each a candidate of its own. start: that of the first seed, or of the first that has a reward.

    Raises:
        BeholderError: bad numbers; the generator is unreachable (all is kept); not one image could be judged.
    """
    if not goal.strip():
        raise BeholderError("the prompt is empty: say what the image is to show")
    if not 1 <= keep <= of:
        raise BeholderError(f"the best {keep} of {of} images were asked for: keep at least one, and at most as many as are made")
    book = Ledger(run, goal=goal, seed=seed, tries=tries, backoff=backoff, progress=progress)
    images = RecordedImages(generator, judge=judge, hold_out=hold_out, book=book, budget=of * tries)
    accepted = {"prompt": goal, "iteration": 0, "call": "", "accepted": True, "why": "", "dropped": ""}
    book.record_new("candidate", {short_hash(goal): accepted})
    found: dict[int, Candidate] = {}
    pictured = images.picture([goal], seeds=range(seed, seed + of), iteration=0, what=f"best of {of}", alone=True)[0]
    for one in pictured:
        if one.failure or one.skipped:
            book.counts[one.failure or "not_judged"] += 1
        else:
            book.counts["judged"] += 1
            found[one.seed] = _candidate(one)
    if not found:
        raise BeholderError(f"not one of {of} images could be made and judged ({book.last_reason}): see to that, and start again in another folder")
    ranked, seed_of = best_first(list(found.values())), {id(one): number for number, one in found.items()}

    def recorded(one: Candidate) -> dict:
        return as_recorded(one, seeds=[seed_of[id(one)]])

    start, kept = next(iter(found.values())), ranked[:keep]
    recorded_all = [recorded(one) for one in found.values()]
    book.record("iteration", "0", summary(0, list(found.values()), best=ranked[0], counts=book.counts, recorded=recorded_all))
    notes = [f"{of - len(found)} of {of} images could not be made or judged ({book.last_reason})"] if len(found) < of else []
    result = SteerResult(ranked[0], start, tuple(kept), dict(book.counts), complete=True, notes=(*notes, *generator.notes()))
    finish(book, result, what="pick", said={"best": recorded(ranked[0]), "start": recorded(start), "kept": [recorded(one) for one in kept]})
    return result


def _candidate(one: Pictured) -> Candidate:
    return Candidate(one.prompt, 0, one.reward, one.hold_out, (one.file,), dict(one.parts))
