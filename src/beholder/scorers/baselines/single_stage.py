"""`single-stage`: a general vision-language model is given the profile as system message and asked for the score (P-MLLM, appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from beholder.backbones.chat import ChatRequest, Reply
from beholder.personas import prompts
from beholder.profile import Profile
from beholder.scorers.baselines.chat_scorer import QUESTION, ChatOptions, ChatScorer


@dataclass(frozen=True)
class SingleStageOptions(ChatOptions):
    """See `ChatOptions`; `model` must see."""


class SingleStageScorer(ChatScorer):
    """One question per image and profile: system = the profile, user = the image and the published question.

    In the paper with Qwen2.5-VL-7B and GPT-4o-mini.
    """

    name = "single-stage"
    Options: ClassVar[type] = SingleStageOptions

    def _replies(self, pairs: Sequence[tuple[Path, Profile]]) -> list[Reply]:
        requests = [
            ChatRequest(QUESTION.text, system=prompts.render(profile, style=self.options.style), image=Path(image)) for image, profile in pairs
        ]
        return self.model.ask(requests, max_tokens=self.options.max_tokens, progress=self.progress)
