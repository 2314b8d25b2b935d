"""Runs in processes of their own, each killed again and again at its k-th call until it ends: python steering_process.py FOLDER KIND:K ..."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from beholder.steering.loop import SteerConfig, steer
from beholder.steering.run_folder import RunFolder
from steering_fakes import GOAL, CallBook, ColourJudge, WordGenerator, WordWriter, digest


def flaky(prompt: str, seed: int) -> tuple[str, ...]:
    """Some images fail once, some always, some are refused."""
    return {0: ("failed",), 1: ("failed", "broken", "failed"), 2: ("refused",)}.get(digest(prompt) % 7, ())


def one_process(folder: Path, *, kind: str, kill_at: int) -> None:
    """Go on with the run in `folder` and write its result; killed at the `kill_at`-th call of a kind, if it comes to that."""
    config = SteerConfig(iterations=3, per_iteration=5, keep=4, images_per_prompt=2, budget=38)
    kinds = ("writer", "image", "judge", "hold_out", "put", "add_image")
    books = {name: CallBook(folder.with_suffix(".calls"), kill_at=kill_at if name == kind else 0) for name in kinds}
    with RunFolder(folder, settings=asdict(config)) as run:
        # the world does not forget a try because a process was killed
        earlier = {(event["prompt"], event["seed"]): event["tries"] for event in run.events("image")}
        for name in ("put", "add_image"):  # killed just after it is on disk
            spy(run, name, books[name])
        result = steer(
            GOAL,
            writer=WordWriter(books["writer"]),
            generator=WordGenerator(books["image"], failing=lambda prompt, seed: flaky(prompt, seed)[earlier.get((prompt, seed), 0) :]),
            judge=ColourJudge(books["judge"]),
            hold_out=ColourJudge(books["hold_out"], name="held", weight=0.5),
            config=config,
            run=run,
            backoff=0,
        )
        found = [[one.prompt, one.iteration, one.reward, one.hold_out, [image.name for image in one.images]] for one in result.candidates]
        folder.with_suffix(".json").write_text(json.dumps({"candidates": found, "counts": result.counts}))


def until_it_ends(folder: Path, *, kind: str, kill_at: int) -> int:
    """The number of processes that were killed."""
    for killed in range(100):
        child = os.fork()
        if not child:
            try:
                one_process(folder, kind=kind, kill_at=kill_at)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"{kind}:{kill_at} failed"
            return killed
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError(f"{kind}:{kill_at} does not get on")


def spy(run: RunFolder, name: str, book: CallBook) -> None:
    inner = getattr(run, name)

    def outer(*args, **values):
        answer = inner(*args, **values)
        book.note(name)
        return answer

    setattr(run, name, outer)


if __name__ == "__main__":
    for scenario in sys.argv[2:]:
        kind, kill_at = scenario.split(":")
        killed = until_it_ends(Path(sys.argv[1]) / scenario.replace(":", "-"), kind=kind, kill_at=int(kill_at))
        print(scenario, killed, flush=True)
