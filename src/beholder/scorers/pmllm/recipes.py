"""How a P-MLLM is trained: the paper's numbers by default, and the recipe of the small shipped model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from beholder.errors import BeholderError
from beholder.scorers.pmllm.config import FusionConfig, PromptConfig


@dataclass(frozen=True)
class Training:
    """Optimisation (P-MLLM, section 4.3), and what is ours (from `sampling` on, but for `answers`; all off in the paper's recipe).

    Args:
        batch_size: examples per step, over all processes.
        accumulate: parts that a step is computed in, for machines that cannot hold it at once. The gradient is the same.
        epochs: passes over the examples. steps: if given, so many steps instead.
        learning_rate, final_learning_rate: AdamW, rising linearly for `warmup` steps (a tenth of all at most), then a cosine.
        weight_decay: of matrices; gates, norms and biases are not decayed.
        beta2, clip: second moment of AdamW, and largest norm of the gradient; not given in the paper.
        sampling, raters_per_batch, disagreement: see `sampler.BatchSampler`.
        answers: weight of the loss of P-MLLM: cross-entropy of the answer's tokens.
        expectation: weight of the squared error of the expected score, in units of the question's scale.
        contrast: weight of the squared error of what is left of it after the means of the batch's images and raters are taken off.
        guide: weight with which the zero-shot answers of `guide_scorer`, trained on the same ratings, stand for the ratings themselves
            in these two (0 = ratings, 1 = guide): they are the same taste with less noise.
        guide_scorer: its name.
        token_dropout: share of an image's tokens left out at each step, drawn anew: a crop in features, against learning images by heart.
        log_every, save_every: steps between lines of the log, and between checkpoints.
        seed: of weights and batches.
    """

    batch_size: int = 24
    accumulate: int = 1
    epochs: float = 2.0
    steps: int | None = None
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    warmup: int = 1000
    beta2: float = 0.999
    clip: float = 1.0
    sampling: Literal["shuffle", "crossed"] = "shuffle"
    raters_per_batch: int = 8
    disagreement: float = 0.0
    answers: float = 1.0
    expectation: float = 0.0
    contrast: float = 0.0
    guide: float = 0.0
    guide_scorer: str = "taste"
    token_dropout: float = 0.0
    log_every: int = 10
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "log_every", "save_every", "raters_per_batch"):
            if getattr(self, name) < 1:
                raise BeholderError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.batch_size % self.accumulate:
            raise BeholderError(f"batch_size = {self.batch_size} cannot be computed in {self.accumulate} equal parts: choose a divisor")
        if not self.learning_rate > 0 or (self.steps is not None and self.steps < 1) or not self.epochs > 0:
            raise BeholderError(f"learning_rate, epochs and steps must be above 0; got {self.learning_rate}, {self.epochs}, {self.steps}")

    def rate(self, step: int, *, steps: int) -> float:
        """Learning rate of a step, counted from 0, of so many steps in all."""
        warmup = min(self.warmup, max(steps // 10, 1))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(steps - warmup, 1)
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training gives, beside the data.

    Args:
        language_model: name for `load_language_model`.
        fusion, prompt, training: see there.
        tasks: of the examples ("piaa", "subjective", "caption").
        n_attributes, max_records_per_rater, subjective_images, caption_share: see `examples.ExamplesConfig`.
        captions: where captions come from, in order of choice: "column", the name of a model that sees (`backbones.chat`), "stand-in".
        holdout: share of the training raters that are only used to set the width of the intervals.
    """

    language_model: str = "smollm2-135m-instruct"
    fusion: FusionConfig = field(default_factory=FusionConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    training: Training = field(default_factory=Training)
    tasks: tuple[str, ...] = ("piaa", "subjective", "caption")
    n_attributes: int = 1
    max_records_per_rater: int = 1000
    subjective_images: int = 10
    caption_share: float = 0.1
    captions: tuple[str, ...] = ("column", "stand-in")
    holdout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise BeholderError(f"holdout = {self.holdout} must be at least 0 and less than 1: it is a share of the raters")

    def changed(self, **changes: Any) -> Recipe:
        """With other values; names of the nested configs are found by themselves, values that are None are left as they are."""
        parts: dict[str, dict[str, Any]] = {"fusion": {}, "prompt": {}, "training": {}, "": {}}
        for name, value in changes.items():
            if value is None:
                continue
            place = next((part for part in ("fusion", "prompt", "training") if name in {f.name for f in fields(getattr(self, part))}), "")
            parts[place][name] = value
        nested = {part: replace(getattr(self, part), **values) for part, values in parts.items() if part and values}
        return replace(self, **nested, **parts[""])


PAPER = Recipe()
# docs/pmllm.md has the experiments behind these
MINI = Recipe(
    prompt=PromptConfig(layout="plain", persona="levels", question="brief", asked=None),
    training=Training(
        batch_size=48,
        steps=300,
        learning_rate=1e-3,
        final_learning_rate=5e-5,
        warmup=20,
        beta2=0.98,
        sampling="crossed",
        raters_per_batch=4,
        answers=0.2,
        expectation=1.0,
        contrast=50.0,
        guide=1.0,
    ),
    tasks=("piaa",),
)
RECIPES = {"paper": PAPER, "mini": MINI}
