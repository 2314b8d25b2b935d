"""What phases 1 and 2 show their networks: batches of images, batches of ratings, and what both are validated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn.functional import mse_loss

from beholder.datasets.base import Dataset
from beholder.scorers.ici.backbone import LOOKED_AT
from beholder.scorers.ici.model import Heads, Prior, heads_loss
from beholder.scorers.ici.nodes import ProfileNodes
from beholder.scorers.ici.options import ICIOptions
from beholder.scorers.ici.targets import Targets

VALIDATED_AT = 1024  # ratings at once
Inputs = Callable[[np.ndarray], torch.Tensor]


class ImagePhase:
    """Batches of images for phase 1.

    Args:
        inputs: gives features or pixels by place. rows: which of them the targets belong to.
        learned, held: places of the targets to learn from, and of those to validate on (may be none).
    """

    def __init__(
        self,
        heads: Heads,
        inputs: Inputs,
        rows: np.ndarray,
        *,
        targets: Targets,
        learned: np.ndarray,
        held: np.ndarray,
        options: ICIOptions,
    ) -> None:
        self.heads, self.inputs, self.rows, self.options = heads, inputs, rows, options
        self.wanted, self.shares = torch.from_numpy(targets.wanted), torch.from_numpy(targets.shares)
        self.learned, self.held = learned, held

    def losses(self, epoch: int) -> Iterator[torch.Tensor]:
        order = np.random.default_rng([self.options.seed, 1, epoch]).permutation(self.learned)
        for start in range(0, len(order), self.options.generic_batch):
            yield self._loss(order[start : start + self.options.generic_batch])

    def validate(self) -> float | None:
        """The same loss on the images kept aside."""
        parts = [self.held[start : start + LOOKED_AT] for start in range(0, len(self.held), LOOKED_AT)]
        return sum(float(self._loss(part)) * len(part) for part in parts) / len(self.held) if parts else None

    def look(self, places: np.ndarray) -> torch.Tensor:
        """[n, k + bins] of any of the inputs."""
        with torch.inference_mode():
            parts = [torch.cat(self.heads(self._inputs(places[i : i + LOOKED_AT])), dim=1).cpu() for i in range(0, len(places), LOOKED_AT)]
        return torch.cat(parts).clone()

    def _loss(self, which: np.ndarray) -> torch.Tensor:
        attributes, distribution = self.heads(self._inputs(self.rows[which]))
        device = attributes.device
        return heads_loss(attributes, distribution, wanted=self.wanted[which].to(device), shares=self.shares[which].to(device))

    def _inputs(self, places: np.ndarray) -> torch.Tensor:
        found = self.inputs(places)
        return found.to(self.heads.attributes.weight.device)


class RaterPhase:
    """Batches of ratings for phase 2. looks: of the dataset's used images; kept: the ratings of the raters kept aside."""

    def __init__(self, prior: Prior, dataset: Dataset, looks: torch.Tensor, *, learned: Dataset, kept: Dataset, nodes, options) -> None:
        self.prior, self.options = prior, options
        device, k = prior.ids.device, prior.graph.attribute_scale.shape[1]
        self.attributes, self.distribution = looks[:, :k].to(device), looks[:, k:].to(device)
        self.learned = _Rows(learned, images=dataset.used_images, nodes=nodes, device=device)
        self.kept = _Rows(kept, images=dataset.used_images, nodes=nodes, device=device)

    def losses(self, epoch: int) -> Iterator[torch.Tensor]:
        random, rows, options = np.random.default_rng([self.options.seed, 2, epoch]), self.learned, self.options
        order = random.permutation(len(rows.score))[: options.prior_ratings or None]
        for start in range(0, len(order), options.prior_batch):
            which = order[start : start + options.prior_batch]
            n, who = len(which), rows.rater[which]
            ids = self.prior.ids[who]
            as_new = self._mask(random.random((n, 1)) < options.id_dropout)
            ids = torch.where(as_new, self.prior.ids.mean(0, keepdim=True), ids)
            hidden = random.random((n, 1)) < options.field_dropout
            n_words, n_numbers = rows.words.shape[1], rows.numbers.shape[1]
            words = rows.words[who].masked_fill(self._mask(hidden | (random.random((n, n_words)) < options.field_dropout)), 0)
            numbers = rows.numbers[who].masked_fill(self._mask(hidden | (random.random((n, n_numbers)) < options.field_dropout)), torch.nan)
            image = rows.image[which]
            yield mse_loss(self.prior.graph(self.attributes[image], self.distribution[image], ids, words, numbers), rows.score[which])

    def validate(self) -> float | None:
        """Mean squared error on the raters kept aside, of whom only the profile is known."""
        rows, mean, total = self.kept, self.prior.ids.mean(0, keepdim=True), 0.0
        for start in range(0, len(rows.score), VALIDATED_AT):
            which = slice(start, start + VALIDATED_AT)
            who, image = rows.rater[which], rows.image[which]
            made = self.prior.graph(
                self.attributes[image], self.distribution[image], mean.expand(len(who), -1), rows.words[who], rows.numbers[who]
            )
            total += float(((made - rows.score[which]) ** 2).sum())
        return total / len(rows.score) if len(rows.score) else None

    def _mask(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.prior.ids.device)


class _Rows:
    """Ratings as tensors: rater (place among those used) and image (place in `images`) [n], score on 0..1 [n]; codes by rater."""

    def __init__(self, part: Dataset, *, images: np.ndarray, nodes: ProfileNodes, device: torch.device) -> None:
        raters = part.used_raters
        self.rater = torch.from_numpy(np.searchsorted(raters, part.rating_rater)).to(device)
        self.image = torch.from_numpy(np.searchsorted(images, part.rating_image)).to(device)
        self.score = torch.from_numpy(part.scale.to_unit(part.rating_score).astype(np.float32)).to(device)
        self.words, self.numbers = (torch.from_numpy(codes).to(device) for codes in nodes([part.profiles[u] for u in raters]))
