"""The trained parts of P-MLLM: the projector and, in each of the lowest blocks, a selective fusion module (section 3.1, Eq. 1-5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from beholder.scorers.pmllm.config import FusionConfig


class Projector(nn.Sequential):
    """Linear-GELU-Linear: image features [m, tokens, image width] -> image embeddings E_I [m, tokens, D], in the width of the model."""

    def __init__(self, image_width: int, *, hidden: int, width: int) -> None:
        super().__init__(nn.Linear(image_width, hidden), nn.GELU(), nn.Linear(hidden, width))


class SelectiveFusion(nn.Module):
    """Cross-attention from text positions to image tokens with one gate per head, beside the self-attention of a block.

    The query, key and value projections and the query normalisation are the block's own, by reference and frozen. With grouped-query
    attention, query head h uses key/value head h // (H / KV), as in the block. Image tokens have no text position: no rotation, no
    causal order among them, and a softmax of their own (Eq. 2).

    Args:
        block: a decoder block of the language model.
        config: see `FusionConfig`.
        eps: of the normalisation.
    """

    def __init__(self, block: nn.Module, *, config: FusionConfig, eps: float) -> None:
        super().__init__()
        attention = block.self_attn
        self._frozen = (attention,)  # in a tuple: nothing of the block belongs to this module's parameters
        self.config = config
        self.head_dim = int(attention.head_dim)
        self.heads = attention.q_proj.out_features // self.head_dim
        self.kv_heads = attention.k_proj.out_features // self.head_dim
        self.scaling = float(attention.scaling)
        width = attention.q_proj.in_features

        self.visual_norm = nn.RMSNorm(width, eps=eps)
        if config.visual_norm == "copy":
            self.visual_norm.weight.data.copy_(block.input_layernorm.weight.data)
        if config.gate == "scalar":
            self.gate = nn.Parameter(torch.zeros(self.heads))
        else:
            self.gate = nn.Linear(width, self.heads, bias=config.gate_bias is not None)
            nn.init.zeros_(self.gate.weight) if config.gate_init == "zeros" else nn.init.normal_(self.gate.weight, std=0.02)
            if config.gate_bias is not None:
                nn.init.constant_(self.gate.bias, config.gate_bias)
        inner = self.heads * self.head_dim
        self.output: nn.Module | None = None
        if config.output == "trainable":
            self.output = nn.Linear(inner, width, bias=False)
            self.output.weight.data.copy_(attention.o_proj.weight.data)
        elif config.output == "lowrank":
            down, up = nn.Linear(inner, config.output_rank, bias=False), nn.Linear(config.output_rank, width, bias=False)
            nn.init.zeros_(up.weight)
            self.output = nn.Sequential(down, up)

    def keys_values(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image embeddings [m, t, D] -> keys and values [m, KV, t, D/H] (Eq. 1); they depend on nothing but the image."""
        (attention,) = self._frozen
        normed = self.visual_norm(embeddings).to(attention.k_proj.weight.dtype)
        shape = (*embeddings.shape[:2], self.kv_heads, self.head_dim)
        return attention.k_proj(normed).view(shape).transpose(1, 2), attention.v_proj(normed).view(shape).transpose(1, 2)

    def gates(self, raw: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """Hidden states [n, s, D] -> gates (Eq. 3), [n, s, H], or [H] for scalar gates."""
        if self.config.gate == "scalar":
            return {"raw": lambda g: g, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[self.config.scalar_gate](self.gate)
        seen = raw if self.config.gate_input == "raw" else normed
        return torch.sigmoid(self.gate(seen.to(self.gate.weight.dtype)))

    def forward(
        self,
        raw: torch.Tensor,
        normed: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        position_embeddings: Any,
        *,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What is added to the self-attention's output (Eq. 2, 4, 5).

        Args:
            raw, normed: [n, s, D] hidden states before and after the block's input normalisation.
            keys, values: [n, KV, t, D/H] of each row's image.
            position_embeddings: (cos, sin) of the positions, for `rope_queries`.
            visible: [n, s, t] bool, which image tokens each position looks at, one at least; None for all.

        Returns:
            [n, s, D] in the type of `normed`.
        """
        (attention,) = self._frozen
        n, s = normed.shape[:2]
        queries = attention.q_proj(normed).view(n, s, self.heads, self.head_dim).transpose(1, 2)
        if self.config.rope_queries:
            cos, sin = (part.unsqueeze(1) for part in position_embeddings)
            first, second = queries.chunk(2, dim=-1)
            queries = queries * cos + torch.cat([-second, first], dim=-1) * sin
        seen = F.scaled_dot_product_attention(
            queries,
            keys.to(queries.dtype),
            values.to(queries.dtype),
            attn_mask=None if visible is None else visible[:, None],
            scale=self.scaling,
            enable_gqa=self.heads != self.kv_heads,
        )
        gated = seen.transpose(1, 2) * self.gates(raw, normed).unsqueeze(-1)  # [n, s, H, D/H]
        gated = gated.reshape(n, s, -1)
        if self.output is None:
            added = attention.o_proj(gated.to(attention.o_proj.weight.dtype))
        else:
            added = self.output(gated.to(next(self.output.parameters()).dtype))
            if self.config.output == "lowrank":
                added = added + attention.o_proj(gated.to(attention.o_proj.weight.dtype))
        return added.to(normed.dtype)
