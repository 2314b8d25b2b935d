"""Calls of a writer, answered from the run folder where they were made before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from beholder.steering.base import CallFailed, Proposal, Shown, Writer
from beholder.steering.ledger import Ledger
from beholder.steering.run_folder import RunFolder, short_hash


@dataclass(frozen=True)
class Proposed(Proposal):
    """A proposal, or why there is none: kind_of_failure is "" if there is one."""

    error: str = ""
    kind_of_failure: str = ""


class _Answers:
    """See `base.Kept`: the events "answer" of one try of one call."""

    def __init__(self, run: RunFolder, key: str) -> None:
        self._run, self._key = run, key

    def get(self, number: int) -> dict | None:
        return self._run.get("answer", f"{self._key}.{number}")

    def put(self, number: int, **values: Any) -> dict:
        return self._run.put("answer", f"{self._key}.{number}", **values)


class RecordedWriter:
    """Asks a writer, once only.

    Args:
        max_words: longest prompt it is asked for.
    """

    def __init__(self, writer: Writer, *, book: Ledger, max_words: int) -> None:
        self._writer, self._book, self._max_words = writer, book, max_words

    def propose(self, call: int | str, attempt: int, *, n: int, history: Sequence[Shown], iteration: int) -> Proposed:
        """One try of one call."""
        key, seed = f"{call}.{attempt}", self._writer_seed(call, attempt)

        def ask() -> dict[str, Any]:
            self._writer.kept = _Answers(self._book.run, key)
            answer = self._writer.propose(self._book.goal, n=n, history=history, seed=seed, max_words=self._max_words)
            return {"prompts": list(answer.prompts), "raw": answer.raw}

        fixed = {"iteration": iteration, "call": str(call), "attempt": attempt, "goal": self._book.goal, "n": n, "seed": seed}
        fixed["history"] = [[one.prompt, one.score] for one in history]
        event = self._book.run.get("proposal", key) or self._ask(ask, "proposal", key, fixed, empty={"prompts": [], "raw": ""})
        self._count_writer(event)
        return Proposed(tuple(event["prompts"]), event["raw"], error=event["error"], kind_of_failure=event["kind_of_failure"])

    def complete(self, text: str, call: int | str, attempt: int) -> dict:
        """One try of one call; the event "reflection". An answer that was recorded for another text does not count."""
        key, seed = f"{call}.{attempt}", self._writer_seed(call, attempt)
        event = self._book.run.get("reflection", key)
        if event is None or event["text"] != text:
            fixed = {"call": str(call), "attempt": attempt, "text": text, "seed": seed}
            event = self._ask(lambda: {"answer": self._writer.complete(text, seed=seed)}, "reflection", key, fixed, empty={"answer": ""})
        self._count_writer(event)
        return event

    def _ask(self, ask: Callable[[], dict], kind: str, key: str, fixed: dict, *, empty: dict) -> dict:
        if fixed["attempt"] > 1:
            self._book.wait(fixed["attempt"])
        started, failure = time.monotonic(), {"error": "", "kind_of_failure": ""}
        try:
            answer = ask()
        except CallFailed as error:
            if error.kind == "unreachable":
                raise self._book.stopped(self._writer.name, error) from error
            answer, failure = empty, {"error": error.reason, "kind_of_failure": error.kind}
        return self._book.run.put(kind, key, **fixed, **answer, **failure, seconds=round(time.monotonic() - started, 4))

    def _count_writer(self, event: dict) -> None:
        self._book.counts["writer_calls"] += 1
        self._book.seconds["writer"] += event["seconds"] or 0.0
        if event["kind_of_failure"]:
            self._book.counts[f"writer_{event['kind_of_failure']}"] += 1
            self._book.last_reason = event["error"]

    def _writer_seed(self, call: int | str, attempt: int) -> int:
        """Grows with every try: a call repeated with the same seed would give the same wrong answer."""
        return int(short_hash(self._book.seed, call)[:7], 16) + attempt - 1
