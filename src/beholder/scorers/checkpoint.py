"""What scorers that train small networks share: checkpoints after each epoch, and torch on one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from beholder.errors import BeholderError


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """On a processor torch computes with one thread inside.

    The graphs are small: several threads bring little, and while anything else runs they wait for each other (one rater's adaptation was
    seen to take 20 times longer with two threads on two busy cores).
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if device.type == "cpu":
            torch.set_num_threads(before)


class Checkpoint:
    """One file, replaced as a whole after each epoch: a kill in the middle leaves the one before.

    Args:
        folder: nothing is kept without.
        name: of the file.
        identity: what the training depends on; the file of another one is refused.
    """

    def __init__(self, folder: Path | None, *, name: str, identity: str) -> None:
        self.path = None if folder is None else folder / f"{name}.pt"
        self.identity = identity

    def load(self) -> dict[str, Any] | None:
        """What `save` wrote; None if there is nothing.

        Raises:
            BeholderError: it is damaged or of another training.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # the reader of torch raises nearly every kind on broken files
            raise BeholderError(f"the checkpoint {self.path} is damaged ({type(error).__name__}): remove it to begin anew") from None
        if not isinstance(kept, dict) or kept.get("identity") != self.identity:
            raise BeholderError(
                f"{self.path} is the checkpoint of another training (other data, features or options): remove it to begin anew, or choose "
                "another --out"
            )
        return kept

    def save(self, state: dict[str, Any]) -> None:
        if self.path is None:
            return
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(state | {"identity": self.identity}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:
            raise BeholderError(f"the checkpoint cannot be written to {self.path.parent}: {error}; make room, then start again") from None
