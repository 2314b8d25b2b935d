"""Answers of a writer on disk: one line for each image and call, so that an interrupted build repeats none that was answered."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from beholder.critique.aesmmit.writers import Answer
from beholder.errors import BeholderError
from beholder.locking import lock

FILE = "written.jsonl"


class Ledger:
    """(key of an image, number of the call) -> answer, on disk before `put` returns. One process at a time.

    Args:
        folder: made if missing.
        settings: what all answers in the file depend on; the first line of a new file.

    Raises:
        BeholderError: the file was begun with other settings, another process writes to it, or it cannot be written.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        self._answers: dict[tuple[str, int], Answer] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(self.path, "ab+", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise BeholderError(f"{self.path} cannot be written ({error.strerror or error}): name another folder with --out") from None
        try:
            if not lock(self._file):
                raise BeholderError(f"another process writes to {self.path}: wait for it, or name another folder with --out")
            self._read(settings)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str, call: int) -> Answer | None:
        return self._answers.get((key, call))

    def put(self, key: str, call: int, answer: Answer, *, image: str) -> None:
        """Keep an answer. One that failed is not kept: the next run asks again."""
        if answer.failed:
            return
        self._answers[key, call] = answer
        line = {"key": key, "call": call, "image": image, "text": answer.text, "refused": answer.refused}
        self._append(line | {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens})

    def _append(self, line: Mapping[str, Any]) -> None:
        data = memoryview(json.dumps(line).encode() + b"\n")
        try:
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BeholderError(f"{self.path} cannot be written ({error.strerror or error}): make room, and the same command goes on from there") from None

    def _read(self, settings: Mapping[str, Any]) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # the process was killed while it wrote
            self._file.truncate(whole)
        lines = data[:whole].split(b"\n")[:-1]
        if not lines:
            self._append({"settings": dict(settings)})
            return
        damaged = []
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
                if number == 1:
                    if len(lines) > 1:
                        self._compare(value["settings"], settings)
                    elif value["settings"] != settings:  # no answer came: what it was begun with binds nobody
                        self._file.truncate(0)
                        self._append({"settings": dict(settings)})
                    continue
                answer = Answer(value["text"], value["refused"], prompt_tokens=value["prompt_tokens"], completion_tokens=value["completion_tokens"])
                self._answers[value["key"], value["call"]] = answer
            except (ValueError, KeyError, TypeError):
                if number == 1:
                    raise BeholderError(f"{self.path} does not say what it was made with: delete it, or name another folder with --out") from None
                damaged.append(number)
        if damaged:
            warnings.warn(f"{self.path}, line {', '.join(map(str, damaged[:5]))} cannot be read: what it held is asked again", UserWarning, stacklevel=4)

    def _compare(self, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        differing = [f"{name} {there.get(name)!r} there, {here.get(name)!r} here" for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
        if differing:
            raise BeholderError(
                f"{self.path} was begun with other settings ({'; '.join(differing)}): repeat those, or name another folder with --out"
            )
