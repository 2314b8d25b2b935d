"""P-MLLM: a frozen language model that sees images through selective fusion modules (arXiv 2604.17233, section 3.1).

    profile tokens ─────────────┐ (computed once per profile: nothing trained acts on them)
    question, answer tokens ─ block 0 ─ block 1 ─ block 2 ─ block 3 ... last ─ next token
                                 ↑ +       ↑ +       ↑ +      selective fusion, beside self-attention
    image ─ encoder ─ projector ─┴─────────┴─────────┘
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from beholder.backbones.language_model import LanguageModel
from beholder.backbones.shared_prefix import Prefix, SharedPrefixModel
from beholder.errors import BeholderError
from beholder.scorers.pmllm.config import FusionConfig
from beholder.scorers.pmllm.fusion import Projector, SelectiveFusion


@dataclass(frozen=True)
class ImageTokens:
    """Keys and values of images in every fused block: one tensor per block, [m, KV, t, D/H]."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    def rows(self, index: torch.Tensor | slice) -> ImageTokens:
        """The images at `index`, any number of times."""
        return ImageTokens(tuple(k[index] for k in self.keys), tuple(v[index] for v in self.values))


@dataclass
class _Fusing:
    """One forward pass: what the hooks of the fused blocks need.

    Args:
        images: of the n rows.
        mask: [n, s] True at question and answer positions; None for all.
        visible: [n, s, t] which of the image tokens each position looks at; None for all.
        raw: the hidden states as they entered the present block.
    """

    images: ImageTokens
    mask: torch.Tensor | None
    visible: torch.Tensor | None = None
    raw: torch.Tensor | None = None


class PMLLM(nn.Module):
    """A frozen language model with a trained projector and trained selective fusion modules.

    `parameters()` are only the trained ones: the language model is held beside, and nothing ever writes to it.

    Args:
        language_model: of the Llama architecture; hooks are put on its lowest blocks, so give each PMLLM its own.
        image_width: width of the image encoder's tokens.
        config: see `FusionConfig`.

    Raises:
        BeholderError: the language model has fewer blocks than are to be fused.
    """

    def __init__(self, language_model: LanguageModel, *, image_width: int, config: FusionConfig | None = None) -> None:
        super().__init__()
        config = config or FusionConfig()
        model = language_model.model
        if config.layers > len(model.model.layers):
            raise BeholderError(f"{language_model.name} has {len(model.model.layers)} blocks, {config.layers} cannot be fused: choose fewer layers")
        self._shared = SharedPrefixModel(language_model)  # no submodule: nothing of it is trained
        self.config, self.image_width = config, image_width
        width = model.config.hidden_size
        self.projector = Projector(image_width, hidden=config.projector_width or width, width=width)
        self.fusion = nn.ModuleList(
            SelectiveFusion(block, config=config, eps=model.config.rms_norm_eps) for block in model.model.layers[: config.layers]
        )
        self.float().to(language_model.device)
        self._state = threading.local()
        self._hooks = []
        for fusion, block in zip(self.fusion, model.model.layers, strict=False):
            self._hooks.append(block.register_forward_pre_hook(self._keep_raw, with_kwargs=True))
            self._hooks.append(block.self_attn.register_forward_hook(self._adder(fusion), with_kwargs=True))

    def detach(self) -> LanguageModel:
        """Take the hooks off; gives back the language model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.language_model.model.set_attn_implementation("sdpa")
        return self.language_model

    @property
    def language_model(self) -> LanguageModel:
        return self._shared.language_model

    @property
    def language(self) -> nn.Module:
        """The frozen transformers model."""
        return self._shared.language_model.model

    # --- images and profiles, each computed once

    def image_tokens(self, features: torch.Tensor) -> ImageTokens:
        """Encoder tokens [m, t, image width] -> their keys and values in the fused blocks."""
        embeddings = self.projector(features.to(self.projector[0].weight.dtype))
        pairs = [fusion.keys_values(embeddings) for fusion in self.fusion]
        return ImageTokens(tuple(k for k, _ in pairs), tuple(v for _, v in pairs))

    def prefixes(self, texts: list[list[int]], *, after: Prefix | None = None) -> Prefix:
        """Token ids of profile texts -> their keys and values in all blocks. Never depends on an image or on trained weights."""
        return self._shared.prefixes(texts, after=after)

    # --- forward passes

    def after_prefix(
        self, tokens: torch.Tensor, *, prefix: Prefix, images: ImageTokens | None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Question and answer tokens of many (profile, image) pairs -> their last hidden states.

        Args:
            tokens: [n, s], padded on the right; rows of the same profile together, n / r rows each.
            prefix: [r] profiles.
            images: [n] images; None for the language model alone.
            mask: [n, s] where fusion acts; everywhere if None.

        Returns:
            [n, s, D] after the final normalisation; `logits` makes scores of tokens of them.
        """
        with self.seeing(images, mask=mask):
            return self._shared.after_prefix(tokens, prefix=prefix)

    def forward(
        self, tokens: torch.Tensor, *, images: ImageTokens | None, mask: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The plain path: whole conversations, profile included. -> logits [n, s, vocabulary].

        Args:
            tokens: [n, s].
            mask: [n, s] True at question and answer positions: fusion acts there and nowhere else.
            attention_mask: [n, s] 0 at padding.
        """
        with self.seeing(images, mask=mask):
            return self.language(input_ids=tokens, attention_mask=attention_mask, use_cache=False).logits

    @torch.no_grad()
    def generate(
        self,
        tokens: torch.Tensor,
        *,
        images: ImageTokens | None,
        mask: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        max_new_tokens: int = 64,
        **options,
    ) -> torch.Tensor:
        """Greedy continuation of whole conversations by transformers' `generate` (key/value cache, one image per row).

        Args:
            tokens: [n, s], padded on the left.
            options: passed on; beams and several answers per row are refused, as images are not repeated.

        Returns:
            [n, s + new] tokens.
        """
        if options.get("num_beams", 1) != 1 or options.get("num_return_sequences", 1) != 1:
            raise BeholderError("P-MLLM gives one answer per row without beams: leave num_beams and num_return_sequences out")
        language = self.language_model
        defaults = {} if options.get("do_sample") else {"do_sample": False, "temperature": None, "top_p": None}
        defaults |= {"eos_token_id": language.stop, "pad_token_id": language.padding}
        with self.seeing(images, mask=mask):
            return self.language.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens) if attention_mask is None else attention_mask,
                max_new_tokens=max_new_tokens,
                **(defaults | options),
            )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Last hidden states [..., D] -> logits [..., vocabulary] in float32 (float64 from a float64 model)."""
        head = self.language.lm_head
        flat = hidden.reshape(-1, hidden.shape[-1])  # a part of a larger tensor would be multiplied row by row, with a copy of the matrix each
        found = head(flat.to(head.weight.dtype))
        return found.to(torch.promote_types(found.dtype, torch.float32)).view(*hidden.shape[:-1], -1)

    def logits_of(self, hidden: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """As `logits`, of some tokens only, [..., m], and not rounded to the type of the model."""
        return self._shared.logits_of(hidden, tokens)

    # --- the hooks

    @contextmanager
    def seeing(
        self, images: ImageTokens | None, *, mask: torch.Tensor | None = None, visible: torch.Tensor | None = None
    ) -> Iterator[None]:
        """Within it, forward passes of the language model in this thread see these images; row by row.

        Args:
            images: [n] one for each row; or the tokens of several behind each other, of which `visible` shows each position its own.
            mask: [n, s] where fusion acts; everywhere if None.
            visible: [n, s, t] bool; every position looks at one token at least, whether fusion acts there or not.
        """
        before = getattr(self._state, "fusing", None)
        self._state.fusing = _Fusing(images, None if mask is None else mask.bool(), visible) if images is not None else None
        try:
            yield
        finally:
            self._state.fusing = before

    def _keep_raw(self, block: nn.Module, args: tuple, kwargs: dict) -> None:
        fusing = getattr(self._state, "fusing", None)
        if fusing is not None:
            fusing.raw = args[0] if args else kwargs["hidden_states"]

    def _adder(self, fusion: SelectiveFusion):
        index = len(self._hooks) // 2

        def add(attention: nn.Module, args: tuple, kwargs: dict, output: tuple):
            fusing = getattr(self._state, "fusing", None)
            if fusing is None:
                return output
            normed = args[0] if args else kwargs["hidden_states"]
            images, mask, visible = fusing.images, fusing.mask, fusing.visible
            if visible is not None and visible.shape[1] != normed.shape[1]:  # a decoding step: its one token looks where the last one did
                visible = visible[:, -1:]
            added = fusion(
                fusing.raw, normed, images.keys[index], images.values[index], kwargs.get("position_embeddings"), visible=visible
            )
            if mask is not None and mask.shape[1] == normed.shape[1]:  # else a decoding step: its one token is part of the answer
                added = torch.where(mask[..., None], added, 0)
            return (output[0] + added, *output[1:])

        return add

    # --- what is trained

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Name -> tensor of everything trained; nothing of the language model or the encoder is among them."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_trained(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put in what `trained_state` gave.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape.
        """
        own = self.state_dict()
        for name in {*own, *tensors}:
            if name not in tensors or name not in own:
                raise ValueError(f"{name} is {'missing' if name in own else 'unknown'}")
            if own[name].shape != tensors[name].shape:
                raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}")
        self.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})
