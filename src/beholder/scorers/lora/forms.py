"""The two forms of an answer: a number with two decimals, or one of five integers; how each is written, learned and read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional as F

from beholder.backbones.vlm.answers import Answerer, parse_number, unless_too_large
from beholder.backbones.vlm.base import IGNORED, Batch, Turn, VisionLanguageModel
from beholder.backbones.vlm.prepared_images import PreparedImages
from beholder.backbones.vlm.prompts import LORA_DECIMAL, LORA_INTEGER
from beholder.errors import BeholderError

INTEGERS = (1, 2, 3, 4, 5)
ROWS = 4  # images answered together


class Form(ABC):
    """How a model is asked for a score on 1..5; the image comes before the prompt, as published.

    Args:
        images: prepares those that are named.

    Attributes:
        prompt: the published one.
    """

    prompt: str

    def __init__(self, vlm: VisionLanguageModel, *, images: PreparedImages) -> None:
        self.vlm, self.images = vlm, images

    def turns(self, images: Sequence[str], scores: Sequence[float]) -> list[Turn]:
        """The conversations to learn from: image, prompt, answer."""
        pairs = zip(self.images(images), scores, strict=True)
        return [self.vlm.turn([image, self.prompt], answer=self.text(float(score))) for image, score in pairs]

    @abstractmethod
    def text(self, score: float) -> str:
        """The answer that stands for a score on 1..5."""

    @abstractmethod
    def labels(self, batch: Batch) -> torch.Tensor:
        """[n, s] the tokens that count in the loss, -100 everywhere else; of a batch padded on the right."""

    def answers(self, images: Sequence[str]) -> np.ndarray:
        """What the model, as it is now, answers: [n] float64 on 1..5; nan where that is no number.

        Raises:
            UnreadableImage: one of the images cannot be read.
            BeholderError: not even one of them fits into memory.
        """
        parts = [self._few(images[start : start + ROWS]) for start in range(0, len(images), ROWS)]
        return np.concatenate(parts) if parts else np.zeros(0)

    @abstractmethod
    def _few(self, images: Sequence[str]) -> np.ndarray:
        """As `answers`, of images that are answered together."""


class Decimal(Form):
    """ "3.25": all tokens of the answer and its end mark are learned; the first number of the greedy answer is read."""

    prompt = LORA_DECIMAL

    def text(self, score: float) -> str:
        return f"{score:.2f}"

    def labels(self, batch: Batch) -> torch.Tensor:
        return batch.labels

    def _few(self, images: Sequence[str]) -> np.ndarray:
        found = np.full(len(images), np.nan)
        turns = [self.vlm.turn([image, self.prompt], reply=True) for image in self.images(images)]
        for place, answer in self._answerer.answers(turns):
            number = parse_number(answer.text)
            if number is not None:
                found[place] = np.clip(number, INTEGERS[0], INTEGERS[-1])
        return found

    @cached_property
    def _answerer(self) -> Answerer:
        return Answerer(self.vlm, rows=ROWS)


class Integer(Form):
    """ "3": the one token that tells the five answers apart is learned, and the five are weighed at its place, whatever else the model would say there.

    Args:
        expected: the mean of the integers under their probabilities; else the most probable one.

    Raises:
        BeholderError: the model does not write the five integers with one token each.
    """

    prompt = LORA_INTEGER

    def __init__(self, vlm: VisionLanguageModel, *, images: PreparedImages, expected: bool) -> None:
        super().__init__(vlm, images=images)
        self.expected = expected
        answers = [vlm.turn([self.prompt], answer=str(integer)).ids for integer in INTEGERS]
        lengths = {len(ids) for ids in answers}
        differ = [place for place, tokens in enumerate(zip(*answers, strict=False)) if len(set(tokens)) > 1]
        if len(lengths) > 1 or len(differ) != 1 or len({ids[differ[0]] for ids in answers}) < len(INTEGERS):
            raise BeholderError(
                f"{vlm.name} does not write the integers 1 to 5 as one token each: use the scorer lora, which learns numbers of any length"
            )
        self.tokens = [ids[differ[0]] for ids in answers]
        self.from_end = lengths.pop() - differ[0]  # of the conversation: what follows is the same whatever comes before

    def text(self, score: float) -> str:
        """Of half scores the even neighbour, as published: half of them go up, half of them go down."""
        return str(int(np.clip(round(score), INTEGERS[0], INTEGERS[-1])))

    def labels(self, batch: Batch) -> torch.Tensor:
        labels = torch.full_like(batch.labels, IGNORED)
        rows, places = self._places(batch)
        labels[rows, places] = batch.labels[rows, places]
        return labels

    def _few(self, images: Sequence[str]) -> np.ndarray:
        found = unless_too_large(self.vlm, len(images), lambda: self._weighed(images))
        if found is None:
            half = len(images) // 2
            found = np.concatenate([self._few(images[:half]), self._few(images[half:])])
        return found

    @torch.no_grad()  # not inference mode: what a model keeps from it could not be used in training
    def _weighed(self, images: Sequence[str]) -> np.ndarray:
        batch = self.vlm.batch(self.turns(images, [INTEGERS[0]] * len(images)), side="right")
        hidden = self.vlm.forward(batch, logits=False).last_hidden_state
        rows, places = self._places(batch)
        before = hidden[rows, places - 1]  # knows nothing of the answer that stands there
        logits = self._logits(before).double().cpu()
        if self.expected:
            return logits.softmax(-1).numpy() @ np.array(INTEGERS, dtype=np.float64)
        return logits.argmax(-1).numpy() + float(INTEGERS[0])

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[n, D] -> [n, 5] of the integers, in float32 at least: in bfloat16 logits of 20 are 0.125 apart."""
        head, exact = self.vlm.model.get_output_embeddings(), torch.promote_types(hidden.dtype, torch.float32)
        bias = None if head.bias is None else head.bias[self.tokens].to(exact)
        return F.linear(hidden.to(exact), head.weight[self.tokens].to(exact), bias)

    def _places(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.arange(len(batch.turns), device=batch.mask.device)
        return rows, batch.mask.sum(1) - self.from_end
