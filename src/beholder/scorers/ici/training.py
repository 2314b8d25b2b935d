"""The loop that phases 1 and 2 share: epochs, the best of them, and checkpoints from which a resumed training takes the very same steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from beholder.errors import BeholderError
from beholder.scorers.checkpoint import Checkpoint

Progress = Callable[[int, int, str], None]


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
