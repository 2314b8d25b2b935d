"""Images and their rewards, taken from the run folder where they were made before."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from beholder.errors import BeholderError
from beholder.steering.base import CallFailed, Generator, Judge, Judged
from beholder.steering.ledger import Ledger
from beholder.steering.run_folder import RunFolderWarning, short_hash

AGAIN = ("failed", "broken")  # kinds of failure after which the same is asked once more
SILENT = 3  # images in a row that nobody answered for, before the others of a round are given up


@dataclass(frozen=True)
class Pictured:
    """What became of one prompt and seed.

    Args:
        file: the image; None if there is none.
        failure: "" or "refused", "failed", "broken". error: a clause. skipped: why it could not be judged.
    """

    prompt: str
    seed: int
    file: Path | None = None
    failure: str = ""
    error: str = ""
    reward: float = math.nan
    hold_out: float = math.nan
    parts: Mapping[str, float] = field(default_factory=dict)
    skipped: str = ""


class RecordedImages:
    """Renders and judges, once only, within a budget.

    Args:
        hold_out: another judge, whose rewards change nothing.
        budget: tries of images at most.
    """

    def __init__(self, generator: Generator, *, judge: Judge, hold_out: Judge | None, book: Ledger, budget: int) -> None:
        self._generator, self._book, self._budget = generator, book, budget
        self._judges = {"reward": judge} | ({} if hold_out is None else {"hold_out": hold_out})
        self._checked: set[str] = set()  # images whose files were looked at, or written, by this process
        self._lost: dict[str, int] = {}  # key -> tries before the one whose file is lost

    @property
    def left(self) -> int:
        """Tries of images that may still be made."""
        return max(self._budget - self._book.counts["images"], 0)

    def picture(self, prompts: Sequence[str], *, seeds: Sequence[int], iteration: int, what: str, alone: bool = False) -> list[list[Pictured]]:
        """Render every prompt with every seed and judge what came. [prompts][seeds]

        Args:
            what: is being done, for the progress.
            alone: images are judged also where the same prompt lacks another one.

        Raises:
            BeholderError: nobody answers, or the judge cannot judge at all. All up to then is recorded.
        """
        keys = [[self._key(prompt, seed) for seed in seeds] for prompt in prompts]
        requests = {
            key: (prompt, seed) for prompt, row in zip(prompts, keys, strict=True) for key, seed in zip(row, seeds, strict=True)
        }
        self._render(requests, iteration=iteration, what=what)
        made = {key: self._image(key) for key in requests}
        whole = [key for row in keys for key in row if all(_has_file(made[other]) for other in ([key] if alone else row))]
        found = {role: self._judge(role, whole, iteration=iteration) for role in self._judges}
        return [[self._pictured(key, requests[key], made[key], found) for key in row] for row in keys]

    def _pictured(self, key: str, request: tuple[str, int], event: dict | None, found: Mapping[str, Mapping[str, dict]]) -> Pictured:
        if event is None:
            return Pictured(*request, failure="failed", error="its image is lost, and the budget was spent before it could be made again")
        if not _has_file(event):
            return Pictured(*request, failure=event["kind_of_failure"], error=event["error"])
        judged, held = found["reward"].get(key), found.get("hold_out", {}).get(key)
        said = {} if judged is None else {"reward": _number(judged["reward"]), "parts": judged["parts"], "skipped": judged["skipped"]}
        return Pictured(*request, self._book.run.image_file(key), hold_out=_number(held["reward"]) if held else math.nan, **said)

    def _render(self, requests: Mapping[str, tuple[str, int]], *, iteration: int, what: str) -> None:
        """Up to `tries` rounds: everything, then what failed in the round before, as far as the budget goes.

        A round takes the same images of the same order whether they are recorded or not, so a run that goes on spends its budget alike.
        """
        lost = [key for key, request in requests.items() if self._is_lost(key, request, iteration=iteration)]
        if lost:
            files = ", ".join(self._book.run.image_file(key).name for key in lost[:3])
            text = f"{len(lost)} of the images that were made are gone or damaged and are made again: {files}{' ...' if len(lost) > 3 else ''}"
            warnings.warn(text, RunFolderWarning, stacklevel=6)
        for attempt in range(1, self._book.tries + 1):
            turn = [key for key in requests if self._in_round(key, attempt)][: self.left]
            due = [key for key in turn if self._tries_of(key) < attempt]
            self._book.counts["images"] += len(turn) - len(due)
            if turn:
                self._book.progress(self._book.counts["images"], self._budget, what)
            if due and attempt > 1:
                self._book.wait(attempt)
            self._round(due, requests, attempt=attempt, iteration=iteration, what=what)
        events = [self._image(key) for key in requests]
        for event in (event for event in events if event is not None):
            self._book.counts["failed_tries"] += event["tries"] - _has_file(event)
            self._book.seconds["generator"] += event["seconds"] or 0.0
            if not _has_file(event):
                self._book.last_reason = event["error"]

    def _round(self, due: Sequence[str], requests: Mapping[str, tuple[str, int]], *, attempt: int, iteration: int, what: str) -> None:
        missing, silent = dict.fromkeys(due), {}
        nothing = CallFailed("the generator gave no answer for it")
        try:
            for place, image, seconds in _timed(self._generator.generate_many([requests[key] for key in due])) if due else ():
                key = due[place]
                missing.pop(key, None)
                if isinstance(image, CallFailed) and image.kind == "unreachable":
                    silent[key] = image
                    if len(silent) == SILENT:
                        break
                    continue
                # somebody is there: those before it got no answer for reasons of their own, and are tried again as others that failed
                for other, error in silent.items():
                    self._keep(other, requests[other], CallFailed(error.reason), tries=attempt, iteration=iteration, seconds=0.0)
                self._keep(key, requests[key], image, tries=attempt, iteration=iteration, seconds=seconds)
                self._book.counts["images"] += 1 + len(silent)
                silent.clear()
                self._book.progress(self._book.counts["images"], self._budget, what)
        except CallFailed as error:  # for all that are missing
            nothing = error
            silent |= {"": error} if error.kind == "unreachable" else {}
        if silent:
            *_, error = silent.values()
            raise self._book.stopped(self._generator.name, error) from error
        for key in missing:
            self._keep(key, requests[key], nothing, tries=attempt, iteration=iteration, seconds=0.0)
            self._book.counts["images"] += 1

    def _keep(self, key: str, request: tuple[str, int], answer: object, *, tries: int, iteration: int, seconds: float) -> None:
        image, failure = _sound(answer)
        if image is not None:
            self._book.run.add_image(key, image, prompt=request[0], seed=request[1])
        self._record(key, request, image, failure, tries=tries, iteration=iteration, seconds=seconds)
        self._checked.add(key)
        self._lost.pop(key, None)

    def _record(
        self,
        key: str,
        request: tuple[str, int],
        image: Image.Image | None,
        failure: CallFailed | None = None,
        *,
        tries: int,
        iteration: int,
        seconds: float,
    ) -> None:
        said = {"prompt": request[0], "seed": request[1], "iteration": iteration, "generator": self._generator.name, "tries": tries}
        if image is not None:
            file = self._book.run.image_file(key)
            said |= {"file": f"{file.parent.name}/{file.name}", "sha256": _digest(file), "width": image.width, "height": image.height}
        else:
            said |= {"file": "", "sha256": "", "width": None, "height": None}
        said |= {"error": failure.reason if failure else "", "kind_of_failure": failure.kind if failure else ""}
        before = (self._book.run.get("image", key) or {}).get("seconds", 0.0)
        self._book.run.put("image", key, **said, seconds=round(before + seconds, 4))

    def _key(self, prompt: str, seed: int) -> str:
        return short_hash(prompt, seed, self._generator.name, self._generator.version)

    def _image(self, key: str) -> dict | None:
        """Its event; None if it was never tried, or its file is lost."""
        return None if key in self._lost else self._book.run.get("image", key)

    def _tries_of(self, key: str) -> int:
        event = self._book.run.get("image", key)
        return self._lost[key] if key in self._lost else 0 if event is None else event["tries"]

    def _in_round(self, key: str, attempt: int) -> bool:
        """Whether the image was, or has to be, tried for the `attempt`-th time."""
        tries = self._tries_of(key)
        if tries >= attempt or attempt == 1:
            return True
        if tries < attempt - 1:
            return False  # it had no place in an earlier round: the budget was spent
        return key in self._lost or self._book.run.get("image", key)["kind_of_failure"] in AGAIN

    def _is_lost(self, key: str, request: tuple[str, int], *, iteration: int) -> bool:
        """Once for every image: it was recorded by an earlier process, and its file is not as it was written."""
        if key in self._checked:
            return False
        self._checked.add(key)
        event, file = self._book.run.get("image", key), self._book.run.image_file(key)
        if not _has_file(event):
            if file.exists() and self._tries_of(key) < self._book.tries:
                self._adopt(key, request, file, iteration=iteration)
            return False
        try:
            if _digest(file) == event["sha256"]:
                return False
        except OSError:
            pass
        file.unlink(missing_ok=True)
        self._lost[key] = event["tries"] - 1
        return True

    def _adopt(self, key: str, request: tuple[str, int], file: Path, *, iteration: int) -> None:
        """Record an image that was written, but not recorded before the process was killed."""
        try:
            with Image.open(file) as image:
                image.load()
        except Exception:  # whatever Pillow raises for damaged data: it is made again
            return
        self._record(key, request, image, tries=self._tries_of(key) + 1, iteration=iteration, seconds=0.0)

    def _judge(self, role: str, keys: Sequence[str], *, iteration: int) -> dict[str, dict]:
        """Image key -> event. All that is not recorded is judged in one call."""
        judge = self._judges[role]
        names = {key: short_hash(key, judge.name, judge.version, role) for key in keys}
        sums = {key: self._image(key)["sha256"] for key in keys}
        new = [key for key in keys if (known := self._book.run.get("judged", names[key])) is None or known["sha256"] != sums[key]]
        if new:
            started = time.monotonic()
            prompts = [self._image(key)["prompt"] for key in new]
            judged = judge.judge([str(self._book.run.image_file(key)) for key in new], prompts=prompts, goal=self._book.goal)
            if len(judged) != len(new):
                raise BeholderError(f"the judge {judge.name} gave {len(judged)} rewards for {len(new)} images: it has to give one for each")
            seconds = round((time.monotonic() - started) / len(new), 5)
            said = {"iteration": iteration, "role": role, "judge": judge.name, "seconds": seconds}
            self._book.run.put_many(
                "judged",
                {
                    names[key]: {"image": key, "sha256": sums[key], "prompt": prompt, **said, **_as_event(one)}
                    for key, prompt, one in zip(new, prompts, judged, strict=True)
                },
            )
        events = {key: self._book.run.get("judged", names[key]) for key in keys}
        self._book.seconds["judge" if role == "reward" else role] += math.fsum(event["seconds"] for event in events.values())
        skipped = [event["skipped"] for event in events.values() if event["skipped"]]
        if role == "hold_out":
            self._book.counts["hold_out_not_judged"] += len(skipped)
        elif skipped:
            self._book.last_reason = skipped[-1]
        return events


def _timed(answers: Iterator[tuple[int, object]]) -> Iterator[tuple[int, object, float]]:
    """With the seconds since the answer before; the iterator is closed in any case, so that a server is asked nothing more."""
    try:
        started = time.monotonic()
        for place, answer in answers:
            yield place, answer, time.monotonic() - started
            started = time.monotonic()
    finally:
        if hasattr(answers, "close"):
            answers.close()


def _sound(image: object) -> tuple[Image.Image | None, CallFailed | None]:
    if isinstance(image, CallFailed):
        return None, image
    if not isinstance(image, Image.Image):
        return None, CallFailed(f"the generator gave {type(image).__name__} and no image", kind="broken")
    try:
        image.load()
    except Exception as error:  # whatever Pillow raises for damaged data
        return None, CallFailed(f"the image cannot be decoded ({error})", kind="broken")
    if not (image.width and image.height):
        return None, CallFailed("the image has no pixels", kind="broken")
    return image, None


def _as_event(judged: Judged) -> dict[str, Any]:
    skipped = judged.skipped or ("" if math.isfinite(judged.reward) else "the reward is not a number")
    return {"reward": math.nan if skipped else judged.reward, "parts": dict(judged.parts), "skipped": skipped}


def _has_file(event: dict | None) -> bool:
    return event is not None and bool(event["file"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
