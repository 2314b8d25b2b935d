"""Look at hidden states while a forward pass goes by, and end it after the last one that is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from beholder.backbones.vlm.base import Batch, VisionLanguageModel

See = Callable[[int, "Tensor"], None]  # number of the hidden state, the state


class Enough(Exception):
    """All that was wanted has been seen."""


def watch(
    vlm: VisionLanguageModel, batch: Batch, *, vision: Collection[int], decoder: Collection[int], see_vision: See, see_decoder: See
) -> None:
    """One forward pass without LM head, ended after the last state wanted; without any of the decoder's, the decoder is not run at all.

    Args:
        vision: hidden states of the vision encoder: 0 goes into its first block, i comes out of block i.
        decoder: those of the decoder, counted alike; `vlm.n_blocks` is what the final norm makes of the last one. They are those of
            transformers' `output_hidden_states`.
        see_vision, see_decoder: called with each of them; nothing is kept here.
    """
    with vlm.lock, contextlib.ExitStack() as hooks:  # in this order: nobody gets the model while hooks are on it
        if vision:
            _attach(hooks, list(vlm.vision_blocks), None, vision, see_vision, ends=not decoder)
        if decoder:
            blocks, norm = list(vlm.decoder.layers), vlm.decoder.norm
            _attach(hooks, blocks, norm if vlm.n_blocks in decoder else None, decoder, see_decoder, ends=True)
        with contextlib.suppress(Enough):
            vlm.forward(batch, logits=False)


def _attach(hooks: contextlib.ExitStack, blocks: list, norm: Any, wanted: Collection[int], see: See, *, ends: bool) -> None:
    """Hooks on the blocks. `norm`, if given, comes after the last of them and makes its state."""
    last = max(wanted)

    def seen(number: int, state: Any) -> None:
        see(number, state[0] if isinstance(state, tuple) else state)
        if ends and number == last:
            raise Enough

    for number in wanted:
        if number == 0:
            handle = blocks[0].register_forward_pre_hook(
                lambda _, given, named: seen(0, given[0] if given else named["hidden_states"]), with_kwargs=True
            )
        else:
            module = norm if norm is not None and number == len(blocks) else blocks[number - 1]
            handle = module.register_forward_hook(lambda _, given, made, number=number: seen(number, made))
        hooks.callback(handle.remove)
