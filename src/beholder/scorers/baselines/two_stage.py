"""`two-stage`: a model that knows aesthetics but no profiles describes the image, an LLM with the profile scores the description.

The serial approach of P-MLLM (appendix C, figure 10), there with AesExpert or Q-Instruct and Llama-3.1-8B-Instruct. The paper gives the describer's
question in full, and of the LLM's only the answer format. Our reading: the LLM gets the profile as system message, then the description, then the
single-stage question, which ends with that very answer format. The describer's own score, which its question asks for, stays in the description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from beholder.backbones.chat import ChatModel, ChatRequest, Reply
from beholder.personas import prompts, questions
from beholder.profile import Profile
from beholder.scorers.base import FeatureSource
from beholder.scorers.baselines.chat_scorer import QUESTION, ChatOptions, ChatScorer

DESCRIBE = questions.BASELINES["two_stage_describe"]
SCORE = "Here is a description of an image:\n\n{description}\n\n{question}"


@dataclass(frozen=True)
class TwoStageOptions(ChatOptions):
    """As `ChatOptions`, where `model` is the LLM that scores, and:

    Args:
        describer: the model that sees; must be given.
        per_rater: give the describer the profile, too, and let it describe every image for every rater. The models of the paper ignore
            profiles, so one description per image is the default.
        description_tokens: of a description at most.
        describer_prices, describer_key_env: of the describer; the latter is that of `model` if not given.
    """

    describer: str = ""
    per_rater: bool = False
    description_tokens: int = 512
    describer_prices: str = ""
    describer_key_env: str = ""


class TwoStageScorer(ChatScorer):
    """Describe, then score. An image that the describer refuses or says nothing of has no score."""

    name = "two-stage"
    Options: ClassVar[type] = TwoStageOptions

    def __init__(self, *, features: FeatureSource | None = None, options: TwoStageOptions | None = None) -> None:
        super().__init__(features=features, options=options)
        key = self.options.describer_key_env or self.options.api_key_env
        self.describer = self._open(self.options.describer, "describer", prices=self.options.describer_prices, api_key_env=key)

    def models(self) -> dict[str, ChatModel]:
        return {"describer": self.describer, "model": self.model}

    def _settings(self) -> str:
        return f"{super()._settings()}/{'each' if self.options.per_rater else 'once'}{self.options.description_tokens}"

    def _replies(self, pairs: Sequence[tuple[Path, Profile]]) -> list[Reply]:
        personas = [prompts.render(profile, style=self.options.style) for _, profile in pairs]
        looks = [
            ChatRequest(DESCRIBE, system=persona if self.options.per_rater else "", image=Path(image))
            for (image, _), persona in zip(pairs, personas, strict=True)
        ]
        distinct = list(dict.fromkeys(looks))
        told = self.describer.ask(distinct, max_tokens=self.options.description_tokens, progress=self.progress)
        description = dict(zip(distinct, told, strict=True))
        replies = [description[look] for look in looks]
        useful = [place for place, reply in enumerate(replies) if reply.text and not reply.refused]
        requests = [
            ChatRequest(SCORE.format(description=replies[place].text, question=QUESTION.text), system=personas[place]) for place in useful
        ]
        scored = self.model.ask(requests, max_tokens=self.options.max_tokens, progress=self.progress)
        for place, reply in zip(useful, scored, strict=True):
            replies[place] = reply  # what was refused or left empty stays: it has no score
        return replies
