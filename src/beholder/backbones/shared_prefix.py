"""One beginning, many continuations: a frozen language model whose keys and values of shared beginnings are computed once.

A profile stands before all that is asked about it. Attention looks back only, so its tokens depend on nothing that follows: their keys and
values are computed once, without gradient, and queries of all that follows meet them in one product. Scoring, training and questionnaires use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from beholder.backbones.language_model import LanguageModel

NAME = "beholder_prefix"


@dataclass(frozen=True)
class Prefix:
    """Keys and values of beginnings (profile texts) in every block.

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
    """An attention function of transformers; with `prefix`, rows also see the beginning (profile) they belong to.

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
    profile_keys, profile_values = prefix.keys[module.layer_idx], prefix.values[module.layer_idx]
    if query.device.type == "cpu" and not torch.is_grad_enabled() and int(prefix.lengths.min()) > 0:
        return _attend_in_parts(query, key, value, profile_keys, profile_values, visible=prefix.visible, scaling=scaling), None
    n, heads, s, d = query.shape
    kv, r = key.shape[1], len(prefix)
    rows, repeat = n // r, heads // kv
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


def _attend_in_parts(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    profile_keys: torch.Tensor,
    profile_values: torch.Tensor,
    *,
    visible: torch.Tensor | None,
    scaling: float,
) -> torch.Tensor:
    """`attend` without gradient, about twice as fast on a CPU: PyTorch's fused kernel once over the profile and once over the tokens.

    Both give the logarithm of the sum of their weights, and that says how the two are to be mixed.
    """
    n, heads, s, d = query.shape
    kv, r, out = key.shape[1], len(profile_keys), query.dtype
    rows, repeat = n // r, heads // kv
    exact = torch.promote_types(out, torch.float32)  # as fast as bfloat16 here, and not rounded
    query, key, value, profile_keys, profile_values = (tensor.to(exact) for tensor in (query, key, value, profile_keys, profile_values))
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    mask = None if visible is None else torch.zeros_like(visible, dtype=exact).masked_fill_(~visible, -torch.inf)[:, None, None, :]
    by_profile = query.reshape(r, rows, kv, repeat, s, d).transpose(1, 2).reshape(r, kv, rows * repeat * s, d)
    profile, profile_weight = fused(by_profile, profile_keys, profile_values, attn_mask=mask, scale=scaling)
    tokens, token_weight = fused(query, key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1), is_causal=True, scale=scaling)
    profile = profile.reshape(r, kv, rows, repeat, s, d).transpose(1, 2).reshape(n, heads, s, d)
    profile_weight = profile_weight.reshape(r, kv, rows, repeat, s).transpose(1, 2).reshape(n, heads, s)
    share = torch.sigmoid(profile_weight - token_weight)[..., None].to(exact)
    return torch.lerp(tokens, profile, share).transpose(1, 2).to(out)


def register() -> None:
    """Make the function known to transformers under `NAME`; its masks are those of its sdpa attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


class SharedPrefixModel:
    """A frozen language model that continues from kept keys and values.

    Args:
        language_model: of the Llama architecture. Nothing is put on it but the attention function, which does the usual without a prefix.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self.language_model = language_model
        self._attach()

    def _attach(self) -> None:
        model = self.language_model.model
        if model.config._attn_implementation != NAME:  # another owner of the model may have taken it off since: prefixes would be ignored
            register()
            model.set_attn_implementation(NAME)

    @torch.no_grad()
    def prefixes(self, texts: list[list[int]], *, after: Prefix | None = None) -> Prefix:
        """Token ids of beginnings -> their keys and values in all blocks.

        Args:
            after: one prefix that all of them continue; it is part of what is given back.
        """
        self._attach()
        language = self.language_model
        lengths = torch.tensor([len(ids) for ids in texts])
        longest = max(1, int(lengths.max()))  # there may be nothing before what follows: one token that nobody sees
        tokens = torch.full((len(texts), longest), language.padding, dtype=torch.long)
        for row, ids in enumerate(texts):
            tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        tokens, lengths = tokens.to(language.device), lengths.to(language.device)
        more = {}
        if after is not None:
            places = torch.arange(after.tokens, after.tokens + longest, device=language.device)
            more = {"prefix": after, "position_ids": places.expand(len(texts), -1)}
        layers = language.model.model(input_ids=tokens, use_cache=True, **more).past_key_values.layers
        made = Prefix(tuple(layer.keys for layer in layers), tuple(layer.values for layer in layers), lengths)
        if after is None:
            return made
        return Prefix(
            tuple(torch.cat([before.expand(len(texts), -1, -1, -1), new], dim=2) for before, new in zip(after.keys, made.keys, strict=True)),
            tuple(torch.cat([before.expand(len(texts), -1, -1, -1), new], dim=2) for before, new in zip(after.values, made.values, strict=True)),
            after.tokens + lengths,
        )

    def after_prefix(self, tokens: torch.Tensor, *, prefix: Prefix) -> torch.Tensor:
        """Tokens that follow kept beginnings -> their last hidden states.

        Args:
            tokens: [n, s], padded on the right; rows of the same beginning together, n / r rows each.
            prefix: [r] beginnings.

        Returns:
            [n, s, D] after the final normalisation; `logits_of` makes scores of tokens of them.
        """
        self._attach()
        starts = prefix.lengths.repeat_interleave(len(tokens) // len(prefix))
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        return self.language_model.model.model(input_ids=tokens, position_ids=positions, use_cache=False, prefix=prefix).last_hidden_state

    def logits_of(self, hidden: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """Last hidden states [..., D] -> logits of some tokens, [..., m], float32 (float64 from a float64 model), not rounded to the type of the model.

        Logits of 20 are 0.125 apart in bfloat16: more than what a profile changes, so expected scores must not be read from rounded ones.
        """
        exact = torch.promote_types(hidden.dtype, torch.float32)
        return F.linear(hidden.to(exact), self.language_model.model.lm_head.weight[tokens].to(exact))
