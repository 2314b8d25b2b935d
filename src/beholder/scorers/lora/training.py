"""One rater's adapter from the rater's ratings: the image is shown, and only the answer counts in the loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from beholder.backbones.vlm.base import IGNORED, Batch, VisionLanguageModel, is_out_of_memory
from beholder.errors import BeholderError
from beholder.scorers.base import COVERAGE
from beholder.scorers.lora.model import WIDTH, Attached
from beholder.scorers.lora.options import LoRAOptions

if TYPE_CHECKING:
    from beholder.backbones.vlm.base import Turn
    from beholder.scorers.lora.forms import Form

LARGEST = 65_504  # of the numbers that float16 has, in which adapters are kept
FEWEST = 9  # errors: of fewer, none has a 90 % chance to be larger than that of a new image


def learn(
    form: Form,
    adapter: Attached,
    *,
    images: Sequence[str],
    scores: np.ndarray,
    options: LoRAOptions,
    together: Together,
    progress: Callable[[int], None],
) -> float:
    """Train the adapter that is on the model; dropout draws from torch's random numbers, which `attached` has seeded.

    Before the images of the second half of the first epoch are learned from, they are answered: the errors of these answers, on images that the
    adapter has not seen, give the interval. The adapter still learns after that, so that the interval is rather too wide than too narrow, as long
    as more epochs do more good than harm.

    Args:
        form: of the answers, with the model.
        images, scores: [n] of the ratings, on 1..5.
        together: how many images fit into memory at once.
        progress: called with the steps done.

    Returns:
        90 % of those errors are not larger, on 1..5; 4 (the whole scale) if there were fewer than 9.

    Raises:
        BeholderError: the loss or a weight is no number any more (or too large to be kept), or one image does not fit into memory.
    """
    order, n = np.random.default_rng(options.seed), len(scores)
    total, done, errors = math.ceil(n / options.batch) * options.epochs, 0, []
    parameters = list(adapter.parameters.values())
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate)
    for epoch in range(options.epochs):
        rows = order.permutation(n)
        for start in range(0, n, options.batch):
            here = rows[start : start + options.batch]
            shown, truth = [images[place] for place in here], scores[here]
            if epoch == 0 and start + options.batch > n // 2 >= FEWEST:
                given = form.answers(shown)
                errors.append(np.where(np.isfinite(given), np.abs(given - truth), WIDTH))
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * rate(done, total)
            adapter.dropping(True)
            loss = together.gradients(form, parameters, form.turns(shown, truth))
            adapter.dropping(False)
            if not math.isfinite(loss):
                raise BeholderError(
                    f"the loss of LoRA is no number any more at step {done + 1}: lower learning_rate (now {options.learning_rate:g})"
                )
            optimizer.step()
            done += 1
            progress(done)
    # False for nan, too, which the last step leaves if its gradients overflow
    if not all(bool(parameter.abs().amax() <= LARGEST) for parameter in parameters):
        raise BeholderError(
            f"the weights of LoRA are no numbers any more after the last step: lower learning_rate (now {options.learning_rate:g})"
        )
    return half_width(np.concatenate(errors) if errors else np.zeros(0))


def rate(step: int, total: int) -> float:
    """Share of the learning rate in a step (0 is the first): linear warm-up over min(10, total // 10) steps, then linearly down to 0.

    As published, with transformers' get_linear_schedule_with_warmup: with a warm-up the first step changes nothing.
    """
    warmup = min(10, total // 10)
    return step / warmup if step < warmup else (total - step) / max(1, total - warmup)


def half_width(errors: np.ndarray) -> float:
    """The smallest bound that a new error stays below with a chance of 90 %, if it comes from where these [m] errors come from."""
    rank = math.ceil((len(errors) + 1) * COVERAGE)
    return float(min(np.sort(errors)[rank - 1], WIDTH)) if rank <= len(errors) else WIDTH


def answer_loss(vlm: VisionLanguageModel, batch: Batch, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Sum of the cross-entropies of the labelled tokens, in float32, and how many they are. The LM head computes nothing else."""
    hidden = vlm.forward(batch, logits=False).last_hidden_state
    wanted = labels[:, 1:] != IGNORED  # the token is foretold at the place before it
    logits = vlm.model.get_output_embeddings()(hidden[:, :-1][wanted])
    return F.cross_entropy(logits.float(), labels[:, 1:][wanted], reduction="sum"), int(wanted.sum())


class Together:
    """How many images go through the model at once: halved, and said, where memory is short. Steps stay the same.

    Args:
        most: to begin with.
    """

    def __init__(self, most: int) -> None:
        self.size = most
        self._said = False

    def gradients(self, form: Form, parameters: Sequence[torch.nn.Parameter], turns: Sequence[Turn]) -> float:
        """Set the parameters' gradients to those of the mean loss over all labelled tokens of the turns; returns that loss."""
        while True:
            for parameter in parameters:
                parameter.grad = None
            try:
                loss, count = self._passes(form, turns)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.size == 1 or len(turns) == 1:
                    vlm = form.vlm
                    raise BeholderError(
                        f"training {vlm.name} on one image does not fit into memory: lower max_pixels (now {vlm.max_pixels}), or take a smaller model"
                    ) from None
            self._halve(min(self.size, len(turns)), form.vlm)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= count
        return loss / count

    def _passes(self, form: Form, turns: Sequence[Turn]) -> tuple[float, int]:
        """Add up gradients of the summed loss; (that loss, labelled tokens). A function of its own: when it fails, nothing of it stays in memory."""
        loss, count = 0.0, 0
        for start in range(0, len(turns), self.size):
            batch = form.vlm.batch(turns[start : start + self.size], side="right", answers=True)
            part, tokens = answer_loss(form.vlm, batch, form.labels(batch))
            part.backward()
            loss, count = loss + float(part.detach()), count + tokens
        return loss, count

    def _halve(self, tried: int, vlm: VisionLanguageModel) -> None:
        self.size = tried // 2
        if vlm.device.startswith("cuda"):
            torch.cuda.empty_cache()
        if not self._said:
            self._said = True
            warnings.warn(
                f"{tried} images at once do not fit into memory when {vlm.name} is trained: fewer go through it at a time, "
                "which takes longer and gives the same; lower max_pixels to be faster",
                UserWarning,
                stacklevel=2,
            )
