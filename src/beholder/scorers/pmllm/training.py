"""Training P-MLLM: only projector, fusion modules and gates; log, checkpoints, and resumption to the very same steps."""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beholder.errors import BeholderError, MissingExtra
from beholder.scorers.pmllm.batches import Batch, Batches
from beholder.scorers.pmllm.loss import Step
from beholder.scorers.pmllm.recipes import Training
from beholder.scorers.pmllm.sampler import BatchSampler

Progress = Callable[[int, int, str], None]
STATE = "state.pt"
LOG = "training.jsonl"
PLOT = "loss.png"


def train(
    step: Step,
    batches: Batches,
    *,
    config: Training,
    folder: Path | None = None,
    identity: str = "",
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train until done; goes on from the last checkpoint in `folder` if there is one of the same training.

    Args:
        step: its model's parameters are changed in place.
        batches: makes the batches of the sampler's rows.
        folder: for checkpoints, log and plot; nothing is kept without.
        identity: what the training depends on beside `config`; a checkpoint of another one is refused.
        progress: called with (step, steps in all, text).

    Returns:
        The log: one row per `log_every` steps, with step, loss, its parts, learning_rate and seconds.

    Raises:
        BeholderError: the folder holds another training, or cannot be written; the loss is no number any more.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingExtra("accelerate", extra="local", purpose="training P-MLLM") from error
    on_cpu = step.model.language_model.device == "cpu"
    accelerator = Accelerator(cpu=on_cpu, gradient_accumulation_steps=1)
    sampler = BatchSampler(
        batches.examples,
        batch_size=config.batch_size,
        mode=config.sampling,
        raters_per_batch=config.raters_per_batch,
        disagreement=config.disagreement,
        seed=config.seed,
    )
    total = config.steps or max(1, round(config.epochs * sampler.steps_per_epoch))
    optimizer = torch.optim.AdamW(_groups(step.model, config), lr=config.learning_rate, betas=(0.9, config.beta2))
    keeper = _Keeper(folder, identity=f"{identity}|{config}", main=accelerator.is_main_process)
    done, log = keeper.load(step.model, optimizer)
    wrapped = accelerator.prepare_model(step, evaluation_mode=False) if accelerator.num_processes > 1 else step
    started, sums, counted = time.monotonic(), {}, 0
    step.train()
    while done < total:
        epoch, number = divmod(done, sampler.steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = config.rate(done, steps=total)
        rows = sampler.batch(epoch, number)
        optimizer.zero_grad(set_to_none=True)
        for batch in parts_of(rows, batches, config=config, accelerator=accelerator, step=done):
            loss, parts = wrapped(batch)
            accelerator.backward(loss * batch.weight)
            for name, value in {"loss": loss.detach(), **parts}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * batch.weight
        accelerator.clip_grad_norm_(step.model.parameters(), config.clip)
        optimizer.step()
        done, counted = done + 1, counted + 1
        if not math.isfinite(sums["loss"]):
            raise BeholderError(f"the loss is no number any more at step {done}: lower learning_rate (now {config.learning_rate:g})")
        if done % config.log_every == 0 or done == total:
            row = {"step": done, **{name: value / counted for name, value in sums.items()}}
            row |= {"learning_rate": optimizer.param_groups[0]["lr"], "seconds": round(time.monotonic() - started, 2)}
            log.append(row)
            keeper.write(row)
            if progress:
                rate = counted * config.batch_size / max(row["seconds"], 1e-9)
                progress(done, total, f"training P-MLLM: loss {row['loss']:.3f}, {rate:.0f} examples/s")
            started, sums, counted = time.monotonic(), {}, 0
        if done % config.save_every == 0 or done == total:
            keeper.save(step.model, optimizer, done, log)
    keeper.plot(log)
    step.eval()
    return log


def parts_of(rows: np.ndarray, batches: Batches, *, config: Training, accelerator, step: int) -> list[Batch]:
    """The rows of a step as this process's batches, one for each part of the accumulation; weights sum to the number of processes.

    The weights make the sum of the parts' mean losses the mean over the step.
    """
    share = np.array_split(rows, accelerator.num_processes)[accelerator.process_index]
    chunks = [chunk for chunk in np.array_split(share, config.accumulate) if len(chunk)]
    made = []
    for part, chunk in enumerate(chunks or [rows[:1]]):
        weight = len(chunk) * accelerator.num_processes / len(rows) if chunks else 0.0
        batch = batches(chunk, draw=(config.seed, step, accelerator.process_index, part))
        made.append(Batch(**{name: getattr(batch, name) for name in Batch.__dataclass_fields__ if name != "weight"}, weight=weight))
    return made


def _groups(model: torch.nn.Module, config: Training) -> list[dict[str, Any]]:
    """Matrices of projector and output are decayed; gates, norms and biases are not."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (free if parameter.ndim < 2 or "gate" in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]


class _Keeper:
    """Checkpoints and log in a folder. A checkpoint is one file, replaced as a whole: a kill in the middle leaves the one before."""

    def __init__(self, folder: Path | None, *, identity: str, main: bool) -> None:
        self.folder, self.identity, self.main = folder, identity, main
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BeholderError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from None

    def load(self, model, optimizer) -> tuple[int, list[dict[str, float]]]:
        """(steps done, log) of the checkpoint, put into model and optimizer; (0, []) if there is none."""
        path = self.folder / STATE if self.folder is not None else None
        if path is None or not path.exists():
            self._rewrite([])
            return 0, []
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise BeholderError(f"the checkpoint {path} is damaged ({type(error).__name__}): remove it to begin anew") from None
        if not isinstance(kept, dict) or kept.get("identity") != self.identity:
            raise BeholderError(
                f"{path} is the checkpoint of another training (other data, model or options): remove it to begin anew, or choose another --out"
            )
        model.load_trained(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        self._rewrite(kept["log"])  # lines after the checkpoint are written again
        return int(kept["done"]), list(kept["log"])

    def save(self, model, optimizer, done: int, log: list[dict[str, float]]) -> None:
        if self.folder is None or not self.main:
            return
        state = {"identity": self.identity, "done": done, "log": log, "model": model.trained_state(), "optimizer": optimizer.state_dict()}
        partial = self.folder / f".{STATE}.partial"
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.folder / STATE)
        except (OSError, RuntimeError) as error:
            raise BeholderError(f"the checkpoint cannot be written to {self.folder}: {error}; make room, then start again") from None

    def write(self, row: dict[str, float]) -> None:
        if self.folder is not None and self.main:
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _rewrite(self, log: list[dict[str, float]]) -> None:
        if self.folder is not None and self.main:
            (self.folder / LOG).write_text("".join(json.dumps(row) + "\n" for row in log), encoding="utf-8")

    def plot(self, log: list[dict[str, float]]) -> None:
        """loss.png, if matplotlib is there."""
        if self.folder is None or not self.main or not log:
            return
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.subplots()
        for name in [name for name in log[-1] if name not in ("step", "learning_rate", "seconds")]:
            axes.plot([row["step"] for row in log if name in row], [row[name] for row in log if name in row], label=name)
        axes.set_xlabel("step")
        axes.set_ylabel(f"mean over {log[0]['step']} steps")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(self.folder / PLOT, dpi=120)
