"""What a P-MLLM is made of: every choice that the paper leaves open is a field here, with the reading that is taken by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from beholder.errors import BeholderError
from beholder.personas.prompts import LevelFormat, PersonaFormat, style_of

LEVELS = "levels"


@dataclass(frozen=True)
class FusionConfig:
    """The selective fusion modules and the projector (P-MLLM, section 3.1).

    Args:
        layers: fused blocks, the lowest ones (section 4.3: 3; appendix D compares 3, 5 and 7).
        gate: "embedding": one gate per head and position, from the hidden state there (Eq. 3); "scalar": one learned number per head
            (P-MLLM-S).
        gate_input: what the embedding gate reads: the hidden state as it enters the block ("raw", Eq. 3 to the letter) or after the
            block's normalisation ("normed", as in Gated Attention).
        gate_init: "normal" (standard deviation 0.02) or "zeros"; both start at gates of about one half.
        gate_bias: start of a learned bias of the embedding gate; None for no bias (Eq. 3 has none), -4 starts nearly closed.
        scalar_gate: what is done to the number of a scalar gate, which starts at 0: nothing ("raw"), "tanh" (LLaMA-Adapter) or "sigmoid".
        output: "transformed and added": "trainable" is an output matrix of its own that starts as a copy of the block's, "frozen" shares
            the block's, "lowrank" is the block's plus a trainable matrix of rank `output_rank`.
        visual_norm: the normalisation of the image embeddings, which is trained, starts as a copy of the block's ("copy") or with "ones".
        rope_queries: turn the queries by their positions, as LLaMA-Adapter does; Eq. 1 does not.
        mask_from: fusion acts from the first token of the question ("content") or of the user's turn ("header") on.
        projector_width: hidden width of the projector Linear-GELU-Linear; None for that of the language model (4096 in the paper).
    """

    layers: int = 3
    gate: Literal["embedding", "scalar"] = "embedding"
    gate_input: Literal["raw", "normed"] = "raw"
    gate_init: Literal["normal", "zeros"] = "normal"
    gate_bias: float | None = None
    scalar_gate: Literal["raw", "tanh", "sigmoid"] = "raw"
    output: Literal["trainable", "frozen", "lowrank"] = "trainable"
    output_rank: int = 16
    visual_norm: Literal["copy", "ones"] = "copy"
    rope_queries: bool = False
    mask_from: Literal["content", "header"] = "content"
    projector_width: int | None = None

    def __post_init__(self) -> None:
        if self.layers < 1 or self.output_rank < 1:
            raise BeholderError(f"fusion needs at least one block and rank 1; got layers = {self.layers}, output_rank = {self.output_rank}")


@dataclass(frozen=True)
class PromptConfig:
    """What the language model reads.

    Args:
        layout: "chat": profile = system message, question = user's turn, answer = assistant's. "plain": one line about the viewer, and
            one to be completed, for small models.
        persona: how a profile becomes text: "published" (the paper's components), five digits for other genes of them (see `PersonaFormat.code`), "short",
            or "levels" (short, numbers as words).
        question: family of the questions that are trained: "published", "short" or "brief" (see `personas.questions`).
        asked: family of the question that is asked for a score; None for the trained one. The paper trains with an image tag in the
            question and asks without ("evaluation").
        low, high: ends of the integers of the short and the brief question; the published ones have 0 to 10.
        cuts: limits of the words of "levels", from the training profiles.

    Raises:
        BeholderError: there is no such persona, or the ends do not make a scale.
    """

    layout: Literal["chat", "plain"] = "chat"
    persona: str = "published"
    question: Literal["published", "short", "brief"] = "published"
    asked: Literal["published", "evaluation", "short", "brief"] | None = "evaluation"
    low: int = 0
    high: int = 9
    cuts: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cuts", tuple((str(name), tuple(limits)) for name, limits in self.cuts))
        persona_style(self.persona)
        if not 0 <= self.low < self.high <= 19:
            raise BeholderError(f"scores from {self.low} to {self.high} cannot be asked for: the ends must be ascending, from 0 to 19")

    @property
    def style(self) -> str | PersonaFormat | LevelFormat:
        """For `personas.prompts.render`."""
        return persona_style(self.persona, cuts=self.cuts)


def persona_style(persona: str, *, cuts: tuple[tuple[str, tuple[float, ...]], ...] = ()) -> str | PersonaFormat | LevelFormat:
    """What `personas.prompts.render` takes as style, from the text of an option.

    Raises:
        BeholderError: there is no such persona.
    """
    if persona == LEVELS:
        return LevelFormat(cuts)
    try:
        return style_of(persona)
    except BeholderError as error:
        raise BeholderError(f"persona = {persona!r}: {error}; or {LEVELS} (short, numbers as words)") from None


def from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    """A config from what `asdict` gave; fields that a later version added keep their defaults, unknown ones are an error.

    Raises:
        KeyError: there is a field that this version does not know.
    """
    known = {field.name for field in fields(cls)}
    for name in values:
        if name not in known:
            raise KeyError(name)
    return cls(**values)
