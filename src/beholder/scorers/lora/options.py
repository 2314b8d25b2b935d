"""What can be written in the brackets behind `lora` and `lora-tokencls`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beholder.errors import BeholderError


@dataclass(frozen=True)
class LoRAOptions:
    """Options of the scorer `lora`. Rank, alpha, dropout, learning rate, epochs and batch are the published ones.

    Args:
        model: a vision-language model, see `beholder.backbones.vlm.open_vlm`.
        max_pixels: a larger image is made smaller before it is shown to the model.
        dtype: of the frozen model; adapters are trained in float32 whatever it is.
        device: "auto", "cpu", "cuda", ...
        rank, alpha, dropout: of the adapter: its output is scaled by alpha / rank, its input is dropped with this chance in training.
        learning_rate: the highest, after the warm-up.
        epochs: how often each rating is learned from.
        batch: ratings for one step.
        seed: of the adapter's first weights, the order of the ratings, and dropout.
        keep: whether adapters are kept in the cache folder, so that an interrupted run trains none again.
    """

    model: str = "beholder-mini"
    max_pixels: int = 1_048_576
    dtype: str = "auto"
    device: str = "auto"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    learning_rate: float = 1e-4
    epochs: int = 3
    batch: int = 4
    seed: int = 0
    keep: bool = True

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise BeholderError(f"{name} = {getattr(self, name)} is too small: give 1 or more")
        for name in ("alpha", "learning_rate"):
            if not getattr(self, name) > 0:
                raise BeholderError(f"{name} = {getattr(self, name)} is not above 0: give a positive number")
        if not 0 <= self.dropout < 1:
            raise BeholderError(f"dropout = {self.dropout} is no share: give 0 or more, and less than 1")


@dataclass(frozen=True)
class LoRATokenOptions(LoRAOptions):
    """Options of the scorer `lora-tokencls`: those of `lora`, and how the answer is read.

    Args:
        read: "expected" (mean of 1 to 5 under the model's probabilities) or "argmax" (the most probable of them, as published).
    """

    read: Literal["expected", "argmax"] = "expected"
