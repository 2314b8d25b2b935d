"""The beginning that several conversations share, computed once: its keys and values, and what a conversation that goes on from it still needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from transformers.cache_utils import Cache, DynamicLayer

from beholder.backbones.vlm.base import Batch, PreparedImage, Turn, VisionLanguageModel

BY_TOKEN = ("attention_mask", "token_type_ids")  # inputs of transformers that tell of every token, of those in the cache, too


class RoomyLayer(DynamicLayer):
    """Keys and values of one block in a buffer that is as long as it will ever get: transformers' own copies all of them for every new token.

    All tokens are kept, also of blocks with a sliding window: the mask hides what lies outside of it.

    Args:
        room: tokens that will come at most.
        keys, values: [1, KV, p, D/H] that they come after, the same in all rows; None for nothing.
        rows: of the batch; only needed with `keys`.
    """

    def __init__(self, room: int, *, keys: torch.Tensor | None = None, values: torch.Tensor | None = None, rows: int = 1) -> None:
        super().__init__()
        self._room, self._length = room, 0
        self._buffers: list[torch.Tensor] = []
        if keys is not None:
            self._begin(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))

    def _begin(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        n, heads, length, _ = keys.shape
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._buffers = [one.new_empty((n, heads, length + self._room, one.shape[-1])) for one in (keys, values)]
        self._write(keys, values)

    def _write(self, *new: torch.Tensor) -> None:
        before, self._length = self._length, self._length + new[0].shape[2]
        for buffer, one in zip(self._buffers, new, strict=True):
            buffer[:, :, before : self._length] = one
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        if self._buffers:
            self._write(key_states, value_states)
        else:
            self._begin(key_states, value_states)
        return self.keys, self.values


@dataclass(frozen=True)
class KeptPrefix:
    """The beginning of conversations, through the model.

    Args:
        ids: its p tokens.
        images: in it.
        layers: [blocks] (keys, values), each [1, KV, p, D/H].
        by_token: name -> [1, p], of BY_TOKEN, those that the model knows.
        next_position: of the token that follows.
    """

    ids: tuple[int, ...]
    images: tuple[PreparedImage, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    by_token: dict[str, torch.Tensor]
    next_position: int

    def __len__(self) -> int:
        return len(self.ids)

    def cache(self, *, rows: int, room: int) -> Cache:
        """One that goes on from here, in so many rows and for so many tokens more."""
        return Cache(layers=[RoomyLayer(room, keys=keys, values=values, rows=rows) for keys, values in self.layers])

    def rest(self, turn: Turn) -> Turn:
        """What of a conversation comes after this beginning.

        Raises:
            ValueError: it begins in another way.
        """
        start, known = len(self), len(self.images)
        if turn.ids[:start] != self.ids or any(one is not other for one, other in zip(turn.images[:known], self.images, strict=True)):
            raise ValueError("the conversation does not begin with what was kept")
        return replace(
            turn,
            ids=turn.ids[start:],
            images=turn.images[known:],
            image_mask=turn.image_mask[start:],
            prompt_mask=turn.prompt_mask[start:],
            places=tuple(place - start for place in turn.places[known:]),
            answer_mask=turn.answer_mask[start:],
        )

    def before(self, batch: Batch) -> Batch:
        """The batch with inputs that also tell of the tokens in the cache."""
        longer = {name: torch.cat([kept.expand(len(batch.turns), -1), batch.inputs[name]], dim=1) for name, kept in self.by_token.items()}
        return replace(batch, inputs=batch.inputs | longer)


def beginning(turn: Turn) -> Turn:
    """All of a conversation up to the last word or image before its last image: what it shares with the same one about another image.

    The marks around an image are not in it, as they may depend on its size. Attention looks back only, or within an image, so nothing in it
    depends on what follows.
    """
    end = turn.places[-1]
    if turn.images[-1].n_tokens:
        end = 1 + max((place for place in range(end) if turn.prompt_mask[place] or turn.image_mask[place]), default=-1)
    known = sum(place < end for place in turn.places[:-1])
    return Turn(turn.ids[:end], turn.images[:known], turn.image_mask[:end], turn.prompt_mask[:end], turn.places[:known])


def keep(vlm: VisionLanguageModel, turn: Turn) -> KeptPrefix:
    """The `beginning` of a conversation through the model."""
    start = beginning(turn)
    with vlm.lock, torch.no_grad():
        batch = vlm.batch([start])
        cache = Cache(layers=[RoomyLayer(0) for _ in range(vlm.n_blocks)])
        positions = vlm.positions(batch)
        vlm.forward(batch, cache=cache, logits=False, position_ids=positions)
        return KeptPrefix(
            ids=start.ids,
            images=start.images,
            layers=tuple((layer.keys, layer.values) for layer in cache.layers),
            by_token={name: batch.inputs[name] for name in BY_TOKEN if name in batch.inputs},
            next_position=int(positions.max()) + 1,
        )
