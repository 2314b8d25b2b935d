"""Answers drawn at random, the same again for the same seed. Importing this imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beholder.errors import BeholderError

if TYPE_CHECKING:
    import torch

SEEDS = 2**31  # what every server takes as a seed


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn.

    Args:
        temperature: above 0; the larger, the more varied. No `Sampling` at all = the most probable words.
        top_p: above 0, up to 1: words are drawn from the fewest that are together this probable.
        seed: 0 to 2**31 - 1. The same request with the same seed gets the same answer as far as the model can be made to.

    Raises:
        BeholderError: a number is out of range.
    """

    temperature: float
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise BeholderError(f"temperature = {self.temperature} cannot be sampled with: give a number above 0, such as 0.7")
        if not 0 < self.top_p <= 1:
            raise BeholderError(f"top_p = {self.top_p} is no share of the probability: give a number above 0, up to 1")
        if not 0 <= self.seed < SEEDS:
            raise BeholderError(f"seed = {self.seed} is out of range: give a whole number from 0 to {SEEDS - 1}")


class SeededDraws:
    """Turns greedy generation of transformers into sampling, each row with a random generator of its own: use it as a logits processor, once.

    The word drawn is the one with the largest log-probability plus Gumbel noise, which has the distribution of the usual draw. Noise belongs to
    words, not to ranks, so that logits that are rounded a little differently in another batch still give the same word but for rare ties.

    Args:
        rows: for each row how it is drawn; None = the most probable words.
    """

    def __init__(self, rows: Sequence[Sampling | None]) -> None:
        import torch

        self._rows = rows
        self._random = [torch.Generator().manual_seed(row.seed) if row else None for row in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[n, s] tokens, [n, words] logits -> logits in which the drawn word is the only one possible."""
        import torch

        made = scores.clone()
        for row, (sampling, random) in enumerate(zip(self._rows, self._random, strict=True)):
            if sampling is not None:
                word = _draw(scores[row], sampling, random)
                made[row] = -torch.inf
                made[row, word] = 0.0
        return made


def _draw(logits: torch.Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """[words] logits -> a word."""
    import torch

    logits = logits.detach().cpu().double() / sampling.temperature  # on the CPU: every device gets the same noise
    noise = -torch.empty_like(logits).exponential_(generator=random).log()  # Gumbel: minus the logarithm of an exponential
    if sampling.top_p < 1:
        ranked, order = logits.softmax(dim=0).sort(descending=True, stable=True)
        dropped = ranked.cumsum(dim=0) - ranked >= sampling.top_p  # the first word always stays
        logits = logits.index_fill(0, order[dropped], -torch.inf)
    return int((logits + noise).argmax())
