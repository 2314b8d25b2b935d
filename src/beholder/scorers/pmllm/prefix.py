"""Attention to profile tokens that were computed before and are shared: by all pairs of one rater, in scoring and in training.

Profile tokens never see an image, nor a trained weight: they come before every fused position, and attention looks back only. So their
keys and values are computed once per profile, without gradient. Queries of all rows of a rater then meet them in one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

NAME = "beholder_prefix"


@dataclass(frozen=True)
class Prefix:
    """Keys and values of profile texts in every block.

    Args:
        keys, values: one tensor per block, [r, KV, p, D/H], keys rotated to their positions; padded on the right.
        lengths: [r] int, tokens without the padding.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    lengths: torch.Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Padded length p."""
        return self.keys[0].shape[2]

    def rows(self, index: torch.Tensor) -> Prefix:
        """The prefixes at `index`, any number of times."""
        return Prefix(tuple(k[index] for k in self.keys), tuple(v[index] for v in self.values), self.lengths[index])

    @classmethod
    def stack(cls, parts: Sequence[Prefix]) -> Prefix:
        """Several prefixes, padded to the longest."""
        if len(parts) == 1:
            return parts[0]
        longest = max(part.tokens for part in parts)

        def joined(name: str, block: int) -> torch.Tensor:
            tensors = [getattr(part, name)[block] for part in parts]
            return torch.cat([F.pad(tensor, (0, 0, 0, longest - tensor.shape[2])) for tensor in tensors])

        blocks = range(len(parts[0].keys))
        return cls(
            tuple(joined("keys", block) for block in blocks),
            tuple(joined("values", block) for block in blocks),
            torch.cat([part.lengths for part in parts]),
        )

    def trimmed(self) -> Prefix:
        """Without padding that no row needs."""
        longest = int(self.lengths.max())
        if longest == self.tokens:
            return self
        return Prefix(tuple(k[:, :, :longest] for k in self.keys), tuple(v[:, :, :longest] for v in self.values), self.lengths)

    @property
    def visible(self) -> torch.Tensor | None:
        """[r, p] True where there is a token; None if all are."""
        if int(self.lengths.min()) == self.tokens:
            return None
        return torch.arange(self.tokens, device=self.lengths.device)[None] < self.lengths[:, None]


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    prefix: Prefix | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers; with `prefix`, rows also see the profile they belong to.

    Args:
        query, key, value: [n, H or KV, s, D/H] of the tokens after the profile; nothing else is cached. Rows of the same profile stand
            together, n / r rows each.
        prefix: [r] profiles.

    Returns:
        [n, s, H, D/H]: the same as attention over the concatenation of profile and tokens.
    """
    if prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    n, heads, s, d = query.shape
    kv, r = key.shape[1], len(prefix)
    rows, repeat = n // r, heads // kv
    profile_keys, profile_values = prefix.keys[module.layer_idx], prefix.values[module.layer_idx]
    p = profile_keys.shape[2]
    out = query.dtype
    if query.device.type == "cpu" and out != torch.float64:
        # on a CPU small bfloat16 products, and above all their gradients, cost several times those in float32
        query, key, value = query.float(), key.float(), value.float()
        profile_keys, profile_values = profile_keys.float(), profile_values.float()
    query = (query * scaling).contiguous()
    # [r, KV, rows * repeat * s, d]: all that meets the same profile keys, in one matrix
    by_profile = query.view(r, rows, kv, repeat, s, d).transpose(1, 2).reshape(r, kv, rows * repeat * s, d)
    to_profile = by_profile @ profile_keys.transpose(2, 3)
    visible = prefix.visible
    if visible is not None:
        to_profile = to_profile.masked_fill(~visible[:, None, None, :], -torch.inf)
    to_profile = to_profile.view(r, kv, rows, repeat * s, p).transpose(1, 2).reshape(n, kv, repeat * s, p)
    to_tokens = query.view(n, kv, repeat * s, d) @ key.transpose(2, 3)
    later = torch.ones(s, s, dtype=torch.bool, device=query.device).triu(1).repeat(repeat, 1)
    to_tokens = to_tokens.masked_fill(later, -torch.inf)
    computed = torch.float32 if query.dtype in (torch.bfloat16, torch.float16) else query.dtype
    weights = torch.cat([to_profile, to_tokens], dim=-1).softmax(dim=-1, dtype=computed).to(query.dtype)
    on_profile = weights[..., :p].view(r, rows, kv, repeat * s, p).transpose(1, 2).reshape(r, kv, rows * repeat * s, p)
    seen = (on_profile @ profile_values).view(r, kv, rows, repeat * s, d).transpose(1, 2).reshape(n, kv, repeat * s, d)
    seen = seen + weights[..., p:] @ value
    return seen.reshape(n, heads, s, d).transpose(1, 2).to(out), None


def register() -> None:
    """Make the function known to transformers under `NAME`; its masks are those of its sdpa attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
