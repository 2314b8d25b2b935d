"""Answers of a vision-language model: several conversations at once, after a kept beginning or from the start; numbers read from them."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch.nn import functional as F
from transformers.cache_utils import Cache

from beholder.backbones.sampling import Sampling, SeededDraws
from beholder.backbones.vlm.base import Batch, Turn, VisionLanguageModel, is_out_of_memory
from beholder.backbones.vlm.kept_prefix import KeptPrefix, RoomyLayer, keep
from beholder.backbones.vlm.number import parse_number
from beholder.errors import BeholderError

__all__ = ["Answer", "Answerer", "parse_number"]

Result = TypeVar("Result")
MAX_NEW_TOKENS = 16  # as published
INTEGERS = (1, 2, 3, 4, 5)
TOKENS = 32_768  # in one batch, with what is kept of those before: about 5 GB of keys and values of a model of 4 B parameters


@dataclass(frozen=True)
class Answer:
    """What the model says to one conversation.

    Args:
        text: without special tokens.
        expected: mean of the integers 1 to 5 under the probabilities of the token with which the answer writes one of them (of its first token,
            if it writes none); nan if the model does not write each of them as one token.
        prompt_tokens, new_tokens: how many were read, and written.
    """

    text: str
    expected: float
    prompt_tokens: int
    new_tokens: int


@dataclass
class _Written:
    """Answers that are being written.

    Args:
        tokens: [n, most tokens]; those behind `lengths` [n] are padding.
        expected: [n], see `Answer`.
        ended: nothing will be added.
    """

    vlm: VisionLanguageModel
    turns: Sequence[Turn]
    tokens: torch.Tensor
    lengths: torch.Tensor
    expected: torch.Tensor
    ended: bool = False

    def text(self, row: int) -> str:
        return self.vlm.tokenizer.decode(self.tokens[row, : int(self.lengths[row])].tolist(), skip_special_tokens=True)

    def answer(self, row: int) -> Answer:
        n_in, n_out = len(self.turns[row].ids), int(self.lengths[row])
        return Answer(self.text(row).strip(), float(self.expected[row]), prompt_tokens=n_in, new_tokens=n_out)


class Answerer:
    """Lets a vision-language model answer, greedily unless it is said how an answer is drawn.

    An answer depends on its conversation only: in float32 the logits agree within 1e-4 whether conversations are answered alone, together, or after
    a kept beginning. Where the model computes in bfloat16, two words that are about equally likely may change places.

    Args:
        vlm: the whole model (not with `blocks`).
        max_new_tokens: where an answer is cut off.
        rows: conversations answered together at most; halved where the memory does not suffice.
        whole: False if only `expected` is of interest: conversations go on no longer than until that is known for all that are answered together.
    """

    def __init__(self, vlm: VisionLanguageModel, *, max_new_tokens: int = MAX_NEW_TOKENS, rows: int = 8, whole: bool = True) -> None:
        self.vlm, self.max_new_tokens, self.rows, self.whole = vlm, max_new_tokens, rows, whole

    def keep(self, turn: Turn) -> KeptPrefix:
        """What comes before the last image of a conversation, through the model; `answers` can go on from it."""
        return unless_too_large(self.vlm, 1, lambda: keep(self.vlm, turn))

    def answers(
        self, turns: Sequence[Turn], *, prefix: KeptPrefix | None = None, sampling: Sequence[Sampling | None] | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """(place in `turns`, answer), in an order of its own; each comes as soon as it is there.

        Args:
            turns: made with `reply=True`.
            prefix: what all of them begin with.
            sampling: how each answer is drawn; None = the most probable words.

        Raises:
            BeholderError: not even one fits into memory. (If several do not, fewer are answered together from then on, which is said.)
        """
        lengths = [len(turn.ids) for turn in turns]
        left = deque(_batches(lengths, rows=self.rows, equal=prefix is not None and self._windows))
        while left:
            places = left.popleft()
            some = [turns[place] for place in places[: self.rows]]
            drawn = [sampling[place] for place in places[: self.rows]] if sampling is not None else None
            with self.vlm.lock:
                found = unless_too_large(self.vlm, len(some), lambda some=some, drawn=drawn: self._together(some, prefix, drawn))
            if found is None:
                self._halve(len(some))
                left.appendleft(places)
                continue
            if places[len(some) :]:
                left.appendleft(places[len(some) :])
            yield from zip(places, found, strict=False)

    def stream(self, turn: Turn, *, sampling: Sampling | None = None) -> Generator[str, None, Answer]:
        """One answer in pieces, as the words are written; its value is the whole, the same that `answers` gives. May be closed early.

        Others may use the model between two pieces.

        Raises:
            BeholderError: it does not fit into memory.
        """
        steps, given, made = self._steps([turn], None, [sampling]), "", None
        while True:
            with self.vlm.lock:
                made = unless_too_large(self.vlm, 1, lambda: next(steps, False)) or made
            if made is None or made.ended:
                break
            text = made.text(0).removesuffix("\ufffd")  # the first bytes of a letter
            if text.startswith(given) and len(text) > len(given):
                yield text[len(given) :]
                given = text
        return made.answer(0)

    def logits(self, turns: Sequence[Turn], *, prefix: KeptPrefix | None = None) -> torch.Tensor:
        """[n, words] float32: of the first token of each answer. All conversations in one batch."""
        with self.vlm.lock, torch.no_grad():
            hidden, _ = self._read(turns, prefix, room=0)
            return self._head(hidden).float()

    @cached_property
    def context(self) -> int | None:
        """Tokens that the model can read at once; None if it does not say."""
        return getattr(self.vlm.decoder.config, "max_position_embeddings", None)

    @cached_property
    def stop(self) -> tuple[int, ...]:
        """Tokens that end an answer: those that the model names, and the mark that its chat template puts there."""
        vlm, ends = self.vlm, []
        for config in (getattr(vlm.model, "generation_config", None), vlm.decoder.config):
            named = getattr(config, "eos_token_id", None)
            ends += [named] if isinstance(named, int) else list(named or ())
        ends += [vlm.tokenizer.eos_token_id] if vlm.tokenizer.eos_token_id is not None else []
        turn = vlm.turn(["?"], answer="1")
        special = set(vlm.tokenizer.all_special_ids)
        ends += [token for token, answered in zip(turn.ids, turn.answer_mask, strict=True) if answered and token in special][:1]
        return tuple(dict.fromkeys(ends))

    @cached_property
    def _windows(self) -> bool:
        """Whether a block sees only so many tokens back: it counts padding, too, which must not stand between beginning and end then."""
        return "sliding_attention" in (getattr(self.vlm.decoder.config, "layer_types", None) or ())

    @cached_property
    def _integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens that write one of the integers, with or without a space before it, and which integers; none if not all are one token."""
        tokenizer = self.vlm.tokenizer
        special = set(tokenizer.all_special_ids)
        found = {}
        for integer in INTEGERS:
            for text in (f"{integer}", f" {integer}"):
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                if len(ids) == 1 and ids[0] not in special:  # special: the mark of what the tokenizer cannot write
                    found[ids[0]] = integer
                elif ids and tokenizer.decode(ids[-1:]).strip() == f"{integer}":  # a space that is a token of its own
                    found[ids[-1]] = integer
        found = found if set(found.values()) == set(INTEGERS) else {}
        return torch.tensor(list(found), dtype=torch.long, device=self.vlm.device), torch.tensor(list(found.values()), dtype=torch.float64)

    def _halve(self, tried: int) -> None:
        self.rows = tried // 2
        warnings.warn(
            f"the memory does not suffice for {tried} conversations at a time: {self.vlm.name} goes on with {self.rows}",
            RuntimeWarning,
            stacklevel=3,
        )

    def _read(self, turns: Sequence[Turn], prefix: KeptPrefix | None, *, room: int) -> tuple[torch.Tensor, tuple]:
        """([n, D] last hidden state of the last token, what `_together` needs to go on)."""
        vlm, n = self.vlm, len(turns)
        batch = vlm.batch([prefix.rest(turn) for turn in turns] if prefix else turns, side="left")
        positions, length = vlm.positions(batch), batch.inputs["input_ids"].shape[1]
        if prefix:
            positions = positions + prefix.next_position
            cache = prefix.cache(rows=n, room=length + room)
            batch = prefix.before(batch)
        else:
            cache = Cache(layers=[RoomyLayer(room) for _ in range(vlm.n_blocks)])
        hidden = vlm.forward(batch, cache=cache, logits=False, position_ids=positions).last_hidden_state[:, -1]
        return hidden, (batch, cache, positions[..., -1:])

    def _head(self, hidden: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """[n, D] -> logits of all words in the type of the model; of some `tokens` not rounded to it."""
        head = self.vlm.model.get_output_embeddings()
        if tokens is None:
            return head(hidden)
        exact = torch.promote_types(hidden.dtype, torch.float32)
        bias = None if head.bias is None else head.bias[tokens].to(exact)
        return F.linear(hidden.to(exact), head.weight[tokens].to(exact), bias)

    def _together(self, turns: Sequence[Turn], prefix: KeptPrefix | None, sampling: Sequence[Sampling | None] | None = None) -> list[Answer]:
        *_, made = self._steps(turns, prefix, sampling)
        return [made.answer(row) for row in range(len(turns))]

    @torch.no_grad()
    def _steps(self, turns: Sequence[Turn], prefix: KeptPrefix | None, sampling: Sequence[Sampling | None] | None) -> Iterator[_Written]:
        """What is written after each further token, always the same object; the last time it is marked as ended."""
        vlm, n = self.vlm, len(turns)
        draws = SeededDraws(sampling) if sampling is not None and any(sampling) else None
        hidden, (batch, cache, positions) = self._read(turns, prefix, room=self.max_new_tokens)
        mask = batch.inputs["attention_mask"]
        stop = torch.tensor(self.stop, device=mask.device)
        tokens = torch.full((n, self.max_new_tokens), vlm.padding, dtype=torch.long, device=mask.device)
        lengths = torch.zeros(n, dtype=torch.long, device=mask.device)
        going = torch.ones(n, dtype=torch.bool, device=mask.device)
        integers, values = self._integers
        settled = torch.zeros(n, dtype=torch.bool)
        made = _Written(vlm, turns, tokens, lengths, torch.full((n,), torch.nan, dtype=torch.float64))
        for step in range(self.max_new_tokens):
            logits = self._head(hidden)
            token = (logits if draws is None else draws(tokens, logits)).argmax(dim=-1)
            going = going & ~torch.isin(token, stop)
            writes = torch.isin(token, integers) & going
            now = torch.ones_like(settled) if step == 0 else writes.cpu() & ~settled
            if len(integers) and bool(now.any()):
                made.expected = torch.where(now, self._head(hidden, integers).softmax(dim=-1).double().cpu() @ values, made.expected)
                settled |= writes.cpu()
            tokens[:, step] = torch.where(going, token, vlm.padding)
            lengths += going
            wanted = going if self.whole else going & ~settled.to(going.device)
            made.ended = step + 1 == self.max_new_tokens or not bool(wanted.any())
            yield made
            if made.ended:
                break
            mask = torch.cat([mask, mask.new_ones((n, 1))], dim=1)
            positions = positions + 1
            hidden = self._next(batch, tokens[:, step : step + 1], mask, positions, cache)

    def _next(self, batch, token: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """[n, D] last hidden state of one more token."""
        here = torch.ones_like(token, dtype=torch.bool)
        step = Batch({"input_ids": token, "attention_mask": mask}, batch.turns, mask=here, image_mask=~here, prompt_mask=~here)
        return self.vlm.forward(step, cache=cache, logits=False, position_ids=positions).last_hidden_state[:, -1]


def unless_too_large(vlm: VisionLanguageModel, rows: int, run: Callable[[], Result]) -> Result | None:
    """What `run` gives; None if the memory does not suffice for so many conversations, so that fewer may be tried when all this is gone.

    Raises:
        BeholderError: it does not suffice for one.
    """
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if vlm.device.startswith("cuda"):
        torch.cuda.empty_cache()
    if rows == 1:
        raise BeholderError(
            f"what {vlm.name} is asked does not fit into the memory of {vlm.device}: set max_pixels={max(1, vlm.max_pixels // 2)} or smaller"
        )
    return None


def _batches(lengths: Sequence[int], *, rows: int, equal: bool) -> Iterator[list[int]]:
    """Places of conversations of about the same length (with `equal` of the same), the longest first: whether the memory suffices shows at once."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    for end in range(1, len(order) + 1):
        longest, count = lengths[order[start]], end - start
        full = end == len(order) or count == rows or (count + 1) * longest > TOKENS
        if full or (equal and lengths[order[end]] != longest):
            yield order[start:end]
            start = end
