"""What is trained: the answer's tokens, and, if wanted, the expected score and its contrast between raters and images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from beholder.scorers.pmllm.batches import Batch
from beholder.scorers.pmllm.model import PMLLM
from beholder.scorers.pmllm.prompts import ReadOut
from beholder.scorers.pmllm.recipes import Training


class Step(nn.Module):
    """Batch -> loss; the module that accelerate wraps, so that gradients are shared between processes.

    Args:
        model: trained. readout: of the question for a score (its integers and their tokens); None if expected scores are not trained.
        config: weights of the parts.
    """

    def __init__(self, model: PMLLM, *, readout: ReadOut | None, config: Training) -> None:
        super().__init__()
        self.model, self.readout, self.config = model, readout, config

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and its parts without gradient."""
        images = self.model.image_tokens(batch.features).rows(batch.image)
        hidden = self.model.after_prefix(batch.tokens, prefix=batch.prefix, images=images)
        return self.of_hidden(hidden, batch)

    def of_hidden(self, hidden: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As `forward`, from last hidden states [n, s, D] however they were computed."""
        config = self.config
        loss, parts = hidden.new_zeros((), dtype=torch.float32), {}
        if config.answers:
            logits = self.model.logits(hidden[:, :-1][batch.answer[:, :-1]])
            part = F.cross_entropy(logits, batch.tokens[:, 1:][batch.answer[:, :-1]])
            loss, parts["answers"] = loss + config.answers * part, part.detach()
        scored = torch.isfinite(batch.target) & (batch.place >= 0)
        if (config.expectation or config.contrast) and bool(scored.any()):
            expected = self.expected(hidden[scored, batch.place[scored]])
            target = batch.target[scored].to(expected.dtype)
            if config.expectation:
                part = F.mse_loss(expected, target)
                loss, parts["expectation"] = loss + config.expectation * part, part.detach()
            if config.contrast:
                part = contrast(expected - target, rater=batch.rater[scored], image=batch.picture[scored])
                loss, parts["contrast"] = loss + config.contrast * part, part.detach()
        return loss, parts

    def expected(self, hidden: torch.Tensor) -> torch.Tensor:
        """[n, D] at the place of the integer -> [n] expected score."""
        chances = self.model.logits_of(hidden, list(self.readout.first)).softmax(-1)
        return chances @ torch.tensor(self.readout.integers, dtype=chances.dtype, device=hidden.device)


def contrast(error: torch.Tensor, *, rater: torch.Tensor, image: torch.Tensor, sweeps: int = 3) -> torch.Tensor:
    """Mean square of what is left of errors [n] after the means of images and of raters are taken off: what the metric personal r looks at.

    Args:
        rater, image: [n] of each row; any integers.
        sweeps: both means are taken off so many times, as they overlap where not everybody rated everything.
    """
    rater, image = (torch.unique(index, return_inverse=True)[1] for index in (rater, image))
    for _ in range(sweeps):
        for index in (image, rater):
            sums = torch.zeros(int(index.max()) + 1, dtype=error.dtype, device=error.device).index_add(0, index, error)
            error = error - (sums / torch.bincount(index))[index]
    return error.square().mean()
