"""What can be written in the brackets behind `pmllm` and `pmllm-s`, and the recipe that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from beholder.backbones.weights import EMBEDDED
from beholder.personas import questions
from beholder.scale import Scale
from beholder.scorers.pmllm.config import persona_style
from beholder.scorers.pmllm.recipes import RECIPES, Recipe


@dataclass(frozen=True)
class PMLLMOptions:
    """Options of the scorers `pmllm` and `pmllm-s`; None leaves the recipe's or the weights' own value.

    Args:
        read: "expected" (mean of the integers under the model's probabilities) or "integer" (what greedy decoding writes, as in the paper).
        device, dtype: of the language model, see `load_language_model`.
        recipe: of a training: "mini" for the embedded language model, else "paper". What follows changes it.
        language_model: local folder, hub repository or the embedded one.
        layers, gate_input, gate_init, gate_bias, scalar_gate, output, output_rank, visual_norm, rope_queries, mask_from, projector_width:
            see `FusionConfig`.
        layout, persona, question, asked: see `PromptConfig`.
        batch_size, accumulate, epochs, steps, learning_rate, final_learning_rate, weight_decay, warmup, clip, sampling, raters_per_batch,
            disagreement, answers, expectation, contrast, guide, guide_scorer, token_dropout, log_every, save_every, seed: see `Training`.
        tasks: of the examples, joined by "+": piaa+subjective+caption. captions: sources in order of choice, joined by "+".
        n_attributes, max_records_per_rater, subjective_images, caption_share, holdout: see `Recipe`.
    """

    read: Literal["expected", "integer"] = "expected"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    recipe: Literal["mini", "paper"] | None = None
    language_model: str | None = None
    layers: int | None = None
    gate_input: Literal["raw", "normed"] | None = None
    gate_init: Literal["normal", "zeros"] | None = None
    gate_bias: float | None = None
    scalar_gate: Literal["raw", "tanh", "sigmoid"] | None = None
    output: Literal["trainable", "frozen", "lowrank"] | None = None
    output_rank: int | None = None
    visual_norm: Literal["copy", "ones"] | None = None
    rope_queries: bool | None = None
    mask_from: Literal["content", "header"] | None = None
    projector_width: int | None = None
    layout: Literal["chat", "plain"] | None = None
    persona: str | None = None
    question: Literal["published", "short", "brief"] | None = None
    asked: Literal["published", "evaluation", "short", "brief"] | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    epochs: float | None = None
    steps: int | None = None
    learning_rate: float | None = None
    final_learning_rate: float | None = None
    weight_decay: float | None = None
    warmup: int | None = None
    clip: float | None = None
    sampling: Literal["shuffle", "crossed"] | None = None
    raters_per_batch: int | None = None
    disagreement: float | None = None
    answers: float | None = None
    expectation: float | None = None
    contrast: float | None = None
    guide: float | None = None
    guide_scorer: str | None = None
    token_dropout: float | None = None
    log_every: int | None = None
    save_every: int | None = None
    seed: int | None = None
    tasks: str | None = None
    captions: str | None = None
    n_attributes: int | None = None
    max_records_per_rater: int | None = None
    subjective_images: int | None = None
    caption_share: float | None = None
    holdout: float | None = None

    def __post_init__(self) -> None:
        if self.persona is not None:
            persona_style(self.persona)  # refused here too: not every use goes on to a training

    def training_recipe(self, *, gate: str, scale: Scale) -> Recipe:
        """The recipe of a training on ratings of `scale`, with everything that was given changed."""
        name = self.recipe or ("mini" if (self.language_model or "").lower() in ("", *EMBEDDED) else "paper")
        own = {"read", "device", "dtype", "recipe", "tasks", "captions"}
        changes = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in own}
        for listed in ("tasks", "captions"):
            if getattr(self, listed) is not None:
                changes[listed] = tuple(part.strip() for part in getattr(self, listed).split("+"))
        recipe = RECIPES[name].changed(**changes, gate=gate)
        if recipe.prompt.question in questions.OURS:
            asked = questions.suited(recipe.prompt.question, scale=scale)
            recipe = recipe.changed(low=asked.low, high=asked.high)
        return recipe
