"""What can be written in the brackets behind `aesexpert`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from beholder.errors import BeholderError

HERE = Path(__file__).parent
READY = {"fsdp": HERE / "fsdp.json", "deepspeed": HERE / "deepspeed_zero3.json"}
GLOBAL_BATCH = 128
RATES = {"full": 2e-5, "lora": 2e-4}
# Which of them may differ when an interrupted run goes on: they change how fast it is, not what is learned
FREE = ("save_every", "workers", "gradient_checkpointing")


@dataclass(frozen=True)
class TuningOptions:
    """How a model is tuned. The defaults are those of LLaVA-1.5, which AesExpert kept; its vision tower stays frozen.

    Args:
        method: "full" trains the projector and the whole language model; "lora" (the small way; not in the paper) low-rank adapters on the language
            model and the whole projector.
        epochs: how often each item is learned from.
        batch: items that go through the model at once, on each device.
        accumulate: batches for one step; None: so that a step has 128 items on all devices together.
        learning_rate: the highest; None: 2e-5, with LoRA 2e-4.
        weight_decay, warmup_ratio, schedule: of AdamW, and of the learning rate.
        max_length: tokens of a conversation with its image; longer ones are cut at their end.
        precision: "bf16" computes in bfloat16 on weights of float32, "float32" in float32; "auto": bf16 on a GPU that can, else float32.
        gradient_checkpointing: compute again what would take memory: slower, and the same.
        group_by_length: batches of conversations that are about equally long.
        template: "v1": of conversations as LLaVA-1.5 was trained with (Vicuna's); "own": that of the model.
        pad: bars of the mean colour make each image square, as in LLaVA-1.5; else the model's own preprocessing, which may cut off its margins.
        seed: of the order of items, of the adapters, and of dropout.
        fsdp, deepspeed: a configuration file (JSON) for training on several GPUs; "default" for the one that comes along.
        rank, alpha, dropout: of the adapters of LoRA.
        save_every: steps between checkpoints; 0 for none but that of an interruption.
        workers: processes that prepare images; None: 4 beside a GPU, else none.
        device: "auto" (GPUs if there are any) or "cpu".
    """

    method: Literal["full", "lora"] = "full"
    epochs: int = 1
    batch: int = 16
    accumulate: int | None = None
    learning_rate: float | None = None
    weight_decay: float = 0.0
    warmup_ratio: float = 0.03
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    max_length: int = 2048
    precision: Literal["auto", "bf16", "float32"] = "auto"
    gradient_checkpointing: bool = True
    group_by_length: bool = True
    template: Literal["v1", "own"] = "v1"
    pad: bool = True
    seed: int = 0
    fsdp: str = ""
    deepspeed: str = ""
    rank: int = 128
    alpha: float = 256.0
    dropout: float = 0.05
    save_every: int = 100
    workers: int | None = None
    device: Literal["auto", "cpu"] = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "max_length", "rank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BeholderError(f"{name} = {value} is too small: give 1 or more")
        for name in ("save_every", "workers", "weight_decay", "seed"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise BeholderError(f"{name} = {value} is too small: give 0 or more")
        for name in ("learning_rate", "alpha"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BeholderError(f"{name} = {value} is not above 0: give a positive number")
        for name in ("warmup_ratio", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise BeholderError(f"{name} = {getattr(self, name)} is no share: give 0 or more, and less than 1")
        if self.seed >= 2**32:
            raise BeholderError(f"seed = {self.seed} is too large: give one below {2**32}")
        if self.fsdp and self.deepspeed:
            raise BeholderError("fsdp and deepspeed do the same work, so one of them is enough: leave the other out")

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return RATES[self.method] if self.learning_rate is None else self.learning_rate

    def accumulated(self, devices: int) -> int:
        """Batches for one step."""
        return max(1, GLOBAL_BATCH // (self.batch * devices)) if self.accumulate is None else self.accumulate

    def distributed(self, kind: Literal["fsdp", "deepspeed"]) -> dict[str, Any] | None:
        """What stands in the configuration file; None if none is wanted."""
        named = getattr(self, kind)
        if not named:
            return None
        path = READY[kind] if named == "default" else Path(named).expanduser()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BeholderError(f"{kind} = {named!r} cannot be read ({error}): give a JSON file, or  {kind}=default") from None
        if not isinstance(found, dict):
            raise BeholderError(f"{kind} = {named!r} holds no object of settings: give a configuration file of {kind}, or  {kind}=default")
        return found
