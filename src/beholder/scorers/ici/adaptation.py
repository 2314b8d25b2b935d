"""Phase 3: the prior becomes one rater's own, by a few steps on this rater's ratings."""

from __future__ import annotations

import numpy as np
import torch
from torch.func import functional_call
from torch.nn.functional import mse_loss

from beholder.scorers.ici.model import InteractionGraph
from beholder.scorers.ici.options import ICIOptions

HEAD = ("bias.", "from_bins.")
CHUNK = 512  # images whose pairs of nodes are in memory at once


class RatersGraph:
    """The prior with what one rater changed in it. The prior itself never changes.

    Args:
        graph: the prior.
        start: [64] the rater's id vector.
        words, numbers: [1, ..] codes of the profile.
    """

    def __init__(self, graph: InteractionGraph, *, start: torch.Tensor, words: np.ndarray, numbers: np.ndarray) -> None:
        device = start.device
        self.graph, self.id = graph, start.detach().clone()
        self.words, self.numbers = torch.from_numpy(words).to(device), torch.from_numpy(numbers).to(device)
        self.changed: dict[str, torch.Tensor] = {}

    def adapt(self, looks: tuple[torch.Tensor, torch.Tensor], scores: torch.Tensor, *, options: ICIOptions) -> RatersGraph:
        """Adam on the mean squared error, all ratings at each step. Returns self.

        Args:
            looks: attributes and distributions of the rated images.
            scores: [n] on 0..1.
        """
        own = {name: value.detach().clone() for name, value in self.graph.named_parameters() if _is_own(name, scope=options.scope)}
        tensors = [*own.values(), self.id]
        for tensor in tensors:
            tensor.requires_grad_(True)
        optimizer = torch.optim.Adam(tensors, lr=options.adapt_learning_rate)
        for _ in range(options.adapt_epochs):
            optimizer.zero_grad(set_to_none=True)
            mse_loss(functional_call(self.graph, own, (*looks, self.id[None], self.words, self.numbers)), scores).backward()
            optimizer.step()
        for tensor in tensors:
            tensor.requires_grad_(False)
        self.changed = own
        return self

    def predict(self, looks: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
        """[n] float64 scores on 0..1, not clipped."""
        with torch.inference_mode():
            parts = [
                functional_call(self.graph, self.changed, (*part, self.id[None], self.words, self.numbers))
                for part in zip(*(look.split(CHUNK) for look in looks), strict=True)
                if len(part[0])
            ]
        return torch.cat(parts).cpu().numpy().astype(np.float64) if parts else np.zeros(0)


def _is_own(name: str, *, scope: str) -> bool:
    return scope == "all" or (scope == "user_plus_head" and name.startswith(HEAD))
