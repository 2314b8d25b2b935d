"""What looks on while a model is tuned: it says how far it is, stops it where it leads nowhere, and lets it be interrupted."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback

from beholder.critique.tuning import runs
from beholder.errors import BeholderError


class TuningFailed(BeholderError):
    """Something went wrong in one of the processes after the training had begun."""


class Watch(TrainerCallback):
    """Looks at each step: whether the loss is a number, whether somebody wants it to stop, and what is to be said."""

    def __init__(self, trainer: Trainer, *, out: Path, progress: Callable[[int, int, str], None], name: str) -> None:
        self.trainer, self.out, self.progress, self.name = trainer, out, progress, name
        self.stop = False

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if args.world_size > 1:  # all of them, or none
            asked = torch.tensor(float(self.stop), device=args.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            self.stop = bool(asked)
        if self.stop and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        for name in ("loss", "grad_norm"):
            if logs and name in logs and not math.isfinite(logs[name]):
                what = "loss" if name == "loss" else "gradient"
                raise TuningFailed(
                    f"the {what} of {self.name} was no number in step {state.global_step}, so training was stopped: lower learning_rate (now "
                    f"{args.learning_rate:g}), or try  precision=float32"
                )
        if logs and "loss" in logs:
            self.progress(state.global_step, state.max_steps, f"loss {logs['loss']:.4f}")

    def on_save(self, args, state, control, **kwargs) -> None:
        self.trainer.accelerator.wait_for_everyone()
        if not args.process_index:
            runs.complete(self.out, state.global_step)


@contextlib.contextmanager
def stoppable(watch: Watch) -> Iterator[None]:
    """While it lasts, Ctrl-C (and the signal that ends processes) lets the step end and a checkpoint be written; a second one stops at once.

    Of several processes all stop after the same step, and a second interruption changes nothing; torchrun gives them 30 seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame) -> None:
        if watch.stop and watch.trainer.args.world_size == 1:  # torchrun passes one interruption on several times
            raise KeyboardInterrupt
        watch.stop = True
        if not watch.trainer.args.process_index:
            again = "; interrupt again to stop at once" if watch.trainer.args.world_size == 1 else ""
            warnings.warn(f"stopping: this step is finished and a checkpoint written{again}", UserWarning, stacklevel=2)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
