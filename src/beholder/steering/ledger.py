"""The book of one run: what was counted, how long it took, and how a run stops that can go on later."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from beholder.errors import BeholderError
from beholder.steering.base import CallFailed
from beholder.steering.run_folder import RunFolder, plain

Progress = Callable[[int, int, str], None]
COUNTS = (
    *("images", "writer_calls", "proposed", "judged", "duplicates", "near_duplicates", "empty", "too_long", "spare", "over_budget"),
    *("refused", "failed", "broken", "failed_tries", "not_judged", "hold_out_not_judged", "writer_refused", "writer_failed", "writer_broken"),
)


class Ledger:
    """Counts of one run, and its run folder. What was recorded earlier counts as if it had been asked just now.

    Attributes:
        counts: see `run_folder`.
        seconds: spent in writer, generator, judge and hold_out, as recorded.
        last_reason: why the latest thing that failed did so; "" if nothing did.

    Args:
        tries: most calls for one thing.
        backoff: seconds to wait before the second try of anything; doubled before every further one.
    """

    def __init__(self, run: RunFolder, *, goal: str, seed: int, tries: int, backoff: float = 0.0, progress: Progress | None = None) -> None:
        self.run, self.goal, self.seed, self.tries = run, goal, seed, tries
        self.counts = dict.fromkeys(COUNTS, 0)
        self.seconds = dict.fromkeys(("writer", "generator", "judge", "hold_out"), 0.0)
        self.last_reason = ""
        self.progress: Progress = progress or (lambda done, total, what: None)
        self._backoff = backoff

    def record(self, kind: str, key: str, values: Mapping[str, Any]) -> None:
        """Put an event unless it is there already, with the same values."""
        known, values = self.run.get(kind, key), plain({name: v for name, v in values.items() if name not in ("kind", "key", "time")})
        if known is None or any(known.get(name) != value for name, value in values.items()):
            self.run.put(kind, key, **values)

    def record_new(self, kind: str, events: Mapping[str, Mapping[str, Any]]) -> None:
        """Put those whose key has no event yet."""
        self.run.put_many(kind, {key: values for key, values in events.items() if self.run.get(kind, key) is None})

    def wait(self, attempt: int) -> None:
        """Before the `attempt`-th try, from 2 on."""
        if self._backoff:
            time.sleep(self._backoff * 2 ** (attempt - 2))

    def stopped(self, name: str, error: CallFailed) -> BeholderError:
        """The run ends for now: nobody answers."""
        images = sum(bool(event["file"]) for event in self.run.events("image"))
        url = name.partition("#")[0]
        said = f"{error.reason};" if error.reason.startswith(url) else f"{name} cannot be reached ({error.reason}):"  # some name themselves
        return BeholderError(
            f"{said} the {images} image{'' if images == 1 else 's'} made up to now and all answers are kept in "
            f"{self.run.folder}, and the same command goes on from there"
        )
