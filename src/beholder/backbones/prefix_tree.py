"""Prefixes of many texts that begin alike: what several share is computed once, as in a tree, and what is left in padded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from beholder.backbones.shared_prefix import Prefix

WORTH = 64  # tokens that must be saved for a forward pass more
KEPT = 8192  # tokens whose keys and values are given out at once


def grown(
    texts: Sequence[list[int]], *, make: Callable[..., Prefix], tokens: int, kept: int = KEPT, worth: int = WORTH
) -> Iterator[tuple[list[int], Prefix]]:
    """Token ids of texts -> (places in `texts`, their prefixes), batch by batch; each place comes once, in an order of its own.

    Args:
        texts: token ids; texts that begin alike may stand anywhere among them.
        make: such as `SharedPrefixModel.prefixes`.
        tokens: most tokens per forward pass, padding included; a longer text is alone.
        kept: most tokens of the prefixes given out at once, likewise.
        worth: least tokens that a shared part must save.
    """
    order = sorted(range(len(texts)), key=lambda place: texts[place])  # texts that share a beginning stand together
    shared = [0, *(common([texts[one], texts[other]]) for one, other in pairwise(order))]  # of each with the one before
    # runs of rows, how much they share, and the prefix that they go on from with its length; depth first, so that few prefixes are in memory
    branches: list[tuple[range, int, Prefix | None, int]] = [(range(len(order)), 0, None, 0)]
    while branches:
        rows, known, prefix, before = branches.pop()
        if known > before:
            prefix = make([texts[order[rows[0]]][before:known]], after=prefix)
        leaves, undivided = [], [(rows, known)]
        while undivided:
            for family in _families(*undivided.pop(), shared):
                end = min((shared[row] for row in family[1:]), default=0)
                if len(family) == 1 or end == len(texts[order[family[-1]]]):  # alone, or all equal
                    leaves += [order[row] for row in family]
                elif (len(family) - 1) * (end - known) >= worth:
                    branches.append((family, end, prefix, known))
                else:
                    undivided.append((family, end))
        leaves.sort(key=lambda place: len(texts[place]))  # little padding
        for batch in _batches([len(texts[place]) for place in leaves], known=known, tokens=tokens, kept=kept):
            places = leaves[batch.start : batch.stop]
            yield places, make([texts[place][known:] for place in places], after=prefix)


def _families(rows: range, at: int, shared: list[int]) -> Iterator[range]:
    """Runs of rows that share more than `at` tokens."""
    start = rows.start
    for row in rows[1:]:
        if shared[row] <= at:
            yield range(start, row)
            start = row
    if len(rows):
        yield range(start, rows.stop)


def _batches(lengths: list[int], *, known: int, tokens: int, kept: int) -> Iterator[range]:
    """Runs of ascending lengths that stay within both budgets."""
    start = 0
    for row, length in enumerate(lengths):
        count = row - start + 1
        if row > start and (count * (length - known) > tokens or count * length > kept):
            yield range(start, row)
            start = row
    if start < len(lengths):
        yield range(start, len(lengths))


def common(texts: Sequence[list[int]]) -> int:
    """How many tokens all of some texts share at their beginning."""
    first, last = min(texts), max(texts)  # what these share, all share
    for place, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return place
    return len(first)
