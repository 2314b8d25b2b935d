"""The loop that phases 1 and 2 share: epochs, the best of them, and checkpoints from which a resumed training takes the very same steps."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from beholder.errors import BeholderError

Progress = Callable[[int, int, str], None]


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
        phase: names the file.
        identity: what the training depends on; the file of another one is refused.
    """

    def __init__(self, folder: Path | None, *, phase: str, identity: str) -> None:
        self.path = None if folder is None else folder / f"{phase}.pt"
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


def train(
    module: nn.Module,
    *,
    losses: Callable[[int], Iterable[torch.Tensor]],
    validate: Callable[[], float | None],
    epochs: int,
    learning_rate: float,
    patience: int,
    checkpoint: Checkpoint,
    say: Callable[[int, str], None],
) -> dict[str, float | None]:
    """Adam until the epochs are over or nothing gets better; leaves the best epoch's parameters in `module`, in evaluation mode.

    Args:
        losses: epoch -> the loss of each batch, computed when it is asked for; whatever is random in it follows from the epoch's number.
        validate: the lower the better; None if there is nothing to validate on: the last epoch is then the best.
        patience: epochs without a better validation before it stops; 0: never.
        say: called with (epochs done, text).

    Returns:
        {"epochs": done, "best_epoch": 1 for the first, "validation": of the best, None without}.

    Raises:
        BeholderError: the loss is no number any more, or the checkpoint cannot be used.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    done, best_epoch, best_value, best = 0, 0, math.inf, None
    kept = checkpoint.load()
    if kept is not None:
        module.load_state_dict(kept["module"])
        optimizer.load_state_dict(kept["optimizer"])
        done, best_epoch, best_value, best = (kept[name] for name in ("done", "best_epoch", "best_value", "best"))
        say(done, f"going on after epoch {done}")
    while done < epochs and not (patience and best_epoch and done - best_epoch >= patience):
        module.train()
        total, steps = 0.0, 0
        for loss in losses(done):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total, steps = total + float(loss.detach()), steps + 1
        if not math.isfinite(total):
            raise BeholderError(f"the loss is no number any more in epoch {done + 1}: lower the learning rate (now {learning_rate:g})")
        module.eval()
        with torch.inference_mode():
            value = validate()
        done += 1
        if value is None or value < best_value or best is None:
            best_epoch, best_value = done, math.inf if value is None else value
            best = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "done": done}
        checkpoint.save(state | {"best_epoch": best_epoch, "best_value": best_value, "best": best})
        validated = "" if value is None else f", validation {value:.4f} (best {best_value:.4f} in epoch {best_epoch})"
        say(done, f"epoch {done}: loss {total / max(steps, 1):.4f}{validated}")
    module.load_state_dict(best)
    module.eval().requires_grad_(False)
    return {"epochs": done, "best_epoch": best_epoch, "validation": best_value if math.isfinite(best_value) else None}
