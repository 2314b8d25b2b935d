"""What the transformer is trained on: the ratings, and which of two images a rater liked better."""

from __future__ import annotations

import torch
from torch.nn import functional as F

TEMPERATURE = 0.1  # difference of two scores, on 0..1, at which the pairwise loss is log(1 + 1/e)
HUBER = 0.2  # from this error on, on 0..1, the Huber loss grows linearly


def rating_loss(scores: torch.Tensor, ratings: torch.Tensor, *, kind: str) -> torch.Tensor:
    """Mean squared or Huber error of scores [n] on 0..1."""
    return F.mse_loss(scores, ratings) if kind == "mse" else F.huber_loss(scores, ratings, delta=HUBER)


def pairwise_loss(scores: torch.Tensor, ratings: torch.Tensor, *, margin: float) -> torch.Tensor:
    """Mean of log(1 + exp(-(s_i - s_j) / 0.1)) over the pairs of a row with rating i above rating j by more than the margin; 0 without pairs.

    Args:
        scores, ratings: [raters, ratings of each], on 0..1.
        margin: two ratings that are no farther apart are a tie.
    """
    better = ratings[:, :, None] - ratings[:, None, :] > margin + 1e-6  # rounding makes no pair
    if not bool(better.any()):
        return scores.sum() * 0.0
    return F.softplus((scores[:, None, :] - scores[:, :, None])[better] / TEMPERATURE).mean()
