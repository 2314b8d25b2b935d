"""The networks of PIAA-ICI: what an image is like (phase 1), and the two graphs in which rater and image meet (phases 2 and 3).

Source: the interaction graphs of personalized image aesthetics assessment with internal and collaborative interaction, in the form in which
Ryu & Yanaka 2026 (arXiv 2604.11374) ran them as a baseline. Scores and attributes are on 0..1 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

WIDTH = 64  # of a node
HIDDEN = 256


class FeatureBody(nn.Module):
    """Frozen features [n, d] float32 -> [n, 256]: standardised, then one hidden layer."""

    def __init__(self, mean: torch.Tensor, sd: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.hidden = nn.Linear(len(mean), HIDDEN)
        self.width = HIDDEN

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.hidden((features - self.mean) / self.sd))


class Heads(nn.Module):
    """Phase 1: a body, the mean of each attribute over raters, and the distribution of the overall score.

    Args:
        body: gives [n, body.width].
        start: [k] the mean of each attribute's targets; shares: [bins] the mean distribution. Untrained heads answer just these: what a
            hidden layer on thousands of features says at random would have to be unlearned first (ours).
    """

    def __init__(self, body: nn.Module, *, start: torch.Tensor, shares: torch.Tensor) -> None:
        super().__init__()
        self.body = body
        self.attributes = nn.Linear(body.width, len(start))
        self.distribution = nn.Linear(body.width, len(shares))
        with torch.no_grad():
            for head, bias in ((self.attributes, start), (self.distribution, shares.clamp(min=1e-4).log())):
                head.weight.zero_()
                head.bias.copy_(bias)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attributes [n, k] and probabilities [n, bins]."""
        seen = self.body(inputs)
        return self.attributes(seen), functional.softmax(self.distribution(seen), dim=-1)


def heads_loss(
    attributes: torch.Tensor, distribution: torch.Tensor, *, wanted: torch.Tensor, shares: torch.Tensor, weight: float = 0.1
) -> torch.Tensor:
    """Mean squared error of the attributes plus `weight` times the mean distance of the cumulative distributions.

    Args:
        attributes, wanted: [n, k]; where `wanted` is nan nothing is asked.
        distribution, shares: [n, bins], rows sum to 1.
    """
    asked = ~torch.isnan(wanted)
    squared = ((attributes - torch.nan_to_num(wanted)) ** 2 * asked).sum() / asked.sum().clamp(min=1)
    return squared + weight * (distribution.cumsum(-1) - shares.cumsum(-1)).abs().mean()


class PairMLP(nn.Module):
    """Complete graph with self-pairs: each node gets the sum over all nodes of MLP([node, other]), 128 -> 256 -> 64."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2 * WIDTH, HIDDEN)
        self.second = nn.Linear(HIDDEN, WIDTH)

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        """[b, n, 64] -> [b, n, 64]. The first layer is computed per node instead of per pair, the second once per sum: the same numbers."""
        own = functional.linear(nodes, self.first.weight[:, :WIDTH], self.first.bias)
        other = functional.linear(nodes, self.first.weight[:, WIDTH:])
        together = functional.relu(own[:, :, None] + other[:, None]).sum(2)
        return functional.linear(together, self.second.weight, nodes.shape[1] * self.second.bias)


class InteractionGraph(nn.Module):
    """Phase 2: the rater's graph and the image's graph, each looking into itself and (full mode) at the other; then one score.

    Internal interaction: `PairMLP`, one per graph. External: sum of element-wise products with the other graph's nodes, then a linear
    layer. Both, put together by a shared linear layer, are the input of a GRU cell (one per graph) whose state is the node. The
    sums over the nodes go through an MLP; a linear layer on the image's distribution of scores is added.

    Ours: the rater's id is a node in full mode, too, so that there is something of the rater's own to learn; a profile field that is
    missing has a vector of its own; attributes come standardised; the last linear layer starts as the mean of the distribution.

    Args:
        attributes: [2, k] mean and standard deviation of each attribute over the training images.
        words: number of words of each choice in the profile.
        numbers: how many numbers of the profile.
        bins: [bins] the score that each bin stands for, on 0..1.
        full: with external interaction.
    """

    def __init__(self, *, attributes: torch.Tensor, words: Sequence[int], numbers: int, bins: torch.Tensor, full: bool) -> None:
        super().__init__()
        self.full = full
        self.register_buffer("attribute_scale", attributes)
        self.register_buffer("first_word", torch.tensor([0, *words], dtype=torch.int64).cumsum(0)[:-1] + torch.arange(len(words)))

        def stretched(n: int) -> nn.Parameter:  # as the weights and biases of n layers Linear(1 -> 64)
            return nn.Parameter(torch.rand(n, WIDTH) * 2 - 1)

        self.attribute_weight, self.attribute_bias = stretched(attributes.shape[1]), stretched(attributes.shape[1])
        self.number_weight, self.number_bias, self.number_unknown = stretched(numbers), stretched(numbers), stretched(numbers)
        self.word_vectors = nn.Parameter(0.5 * torch.randn(sum(words) + len(words), WIDTH))
        self.within_rater, self.within_image = PairMLP(), PairMLP()
        self.across = nn.Linear(WIDTH, WIDTH)
        self.fusion = nn.Linear(2 * WIDTH, WIDTH)
        self.rater_cell, self.image_cell = nn.GRUCell(WIDTH, WIDTH), nn.GRUCell(WIDTH, WIDTH)
        self.bias = nn.Sequential(nn.Linear(2 * WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        self.from_bins = nn.Linear(len(bins), 1)
        with torch.no_grad():
            self.from_bins.weight.copy_(bins[None])
            self.from_bins.bias.zero_()

    def rater_nodes(self, ids: torch.Tensor, words: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """[b, 64] vectors, [b, choices] int (0 = unknown), [b, numbers] (nan = unknown) -> [b, 1 + choices + numbers, 64]."""
        known = torch.nan_to_num(numbers)[:, :, None] * self.number_weight + self.number_bias
        stretched = torch.where(torch.isnan(numbers)[:, :, None], self.number_unknown, known)
        return torch.cat([ids[:, None], self.word_vectors[self.first_word + words], stretched], dim=1)

    def image_nodes(self, attributes: torch.Tensor) -> torch.Tensor:
        """[b, k] on 0..1 -> [b, k, 64]."""
        mean, sd = self.attribute_scale
        return ((attributes - mean) / sd)[:, :, None] * self.attribute_weight + self.attribute_bias

    def forward(
        self, attributes: torch.Tensor, distribution: torch.Tensor, ids: torch.Tensor, words: torch.Tensor, numbers: torch.Tensor
    ) -> torch.Tensor:
        """Scores [n] on 0..1 (not clipped).

        Args:
            attributes, distribution: [n, k], [n, bins] of phase 1.
            ids, words, numbers: see `rater_nodes`; n rows, or one row for one rater who looks at all the images.
        """
        image, rater = self.image_nodes(attributes), self.rater_nodes(ids, words, numbers)
        for_rater, for_image = self.within_rater(rater), self.within_image(image)
        n = len(image)
        rater, for_rater = (x.expand(n, -1, -1) for x in (rater, for_rater))
        if self.full:
            to_rater = self.across(rater * image.sum(1, keepdim=True))
            to_image = self.across(image * rater.sum(1, keepdim=True))
        else:
            to_rater, to_image = torch.zeros_like(for_rater), torch.zeros_like(for_image)
        pooled_rater = self._updated(rater, to_rater, for_rater, self.rater_cell).sum(1)
        pooled_image = self._updated(image, to_image, for_image, self.image_cell).sum(1)
        own = self.bias(torch.cat([pooled_rater, pooled_image], dim=1))
        return (own + self.from_bins(distribution))[:, 0]

    def _updated(self, nodes: torch.Tensor, external: torch.Tensor, internal: torch.Tensor, cell: nn.GRUCell) -> torch.Tensor:
        message = self.fusion(torch.cat([external, internal], dim=-1))
        return cell(message.flatten(0, 1), nodes.flatten(0, 1)).view_as(nodes)


class Prior(nn.Module):
    """What phase 2 trains: the graphs and a vector per training rater."""

    def __init__(self, graph: InteractionGraph, *, n_raters: int) -> None:
        super().__init__()
        self.graph = graph
        self.ids = nn.Parameter(0.1 * torch.randn(n_raters, WIDTH))
