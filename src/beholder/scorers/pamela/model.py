"""The transformer: a few tokens of the image, a few of the person, one answer.

Tokens (after Fig. 3 of arXiv 2604.07427; the form of each is ours): [CLS]; image features; prompt; one for each kind of metadata; the rater;
one for each field of the profile; the dataset. A token that would say the same in every training example is left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

SMALL = 0.02  # standard deviation that learned tokens begin with
PRODUCT_SCALE = 0.1  # of the direct product: tokens of ordinary size then change a score by little


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer.

    Args:
        inputs: numbers that describe an image. text: width of the text encoder.
        fields, metadata, datasets: how many tokens of each kind there are; datasets = 1: none.
        raters: training raters with a token; 0: no rater token.
        prompts: whether there is a prompt token.
    """

    inputs: int
    text: int
    fields: int
    metadata: int
    datasets: int
    raters: int
    prompts: bool
    width: int
    layers: int
    heads: int
    product: int
    dropout: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Side(NamedTuple):
    """One side of an example. tokens: [n, t, width]; factor: [n, product], what enters the direct product."""

    tokens: torch.Tensor
    factor: torch.Tensor

    def rows(self, which: torch.Tensor) -> Side:
        return Side(self.tokens[which], self.factor[which])


class Block(nn.Module):
    """Attention and a small network, each on normalised tokens and added to what was there."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm_attention, self.norm_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, *, first_only: bool) -> torch.Tensor:
        """[n, t, width] -> the same, or [n, 1, width]: only the first token is needed after the last block."""
        n, t, width = x.shape
        seen = self.norm_attention(x)
        key, value = self.key_value(seen).view(n, t, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if first_only:
            x, seen = x[:, :1], seen[:, :1]
        query = self.query(seen).view(n, -1, self.heads, width // self.heads).transpose(1, 2)
        attention = ((query @ key.transpose(-1, -2)) / (width // self.heads) ** 0.5).softmax(-1)
        x = x + self.dropout(self.out((attention @ value).transpose(1, 2).reshape(n, -1, width)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm_network(x)))))


class PersonalTransformer(nn.Module):
    """Images and persons -> scores.

    What an image and what a person brings is computed once for each (`images`, `persons`) and then paired (`forward`).

    Beside the transformer's head stands a direct product of image and person (ours, `product` > 0): a dot product is what differences in taste
    are mostly made of, and a transformer as shallow as this one learns it slowly.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width

        def token(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*size, width) * SMALL)

        self.cls = token(1)
        self.image, self.image_kind = nn.Linear(shape.inputs, width), token(1)
        texts_of_image = int(shape.prompts) + shape.metadata
        if texts_of_image:
            self.about, self.about_kind, self.about_missing = nn.Linear(shape.text, width), token(texts_of_image), token(texts_of_image)
        if shape.fields:
            self.field, self.field_kind, self.field_missing = nn.Linear(shape.text, width), token(shape.fields), token(shape.fields)
            self.field_number = nn.Parameter(torch.zeros(shape.fields, width))
        if shape.raters:
            self.rater, self.unknown_rater, self.rater_kind = token(shape.raters), nn.Parameter(torch.zeros(width)), token(1)
        if shape.datasets > 1:
            self.dataset = token(shape.datasets)
        if shape.product:
            self.image_factor, self.person_factor = nn.Linear(shape.inputs, shape.product), nn.Linear(width, shape.product, bias=False)
            if texts_of_image:
                self.about_factor = nn.Linear(width, shape.product, bias=False)
        self.blocks = nn.ModuleList([Block(width, heads=shape.heads, dropout=shape.dropout) for _ in range(shape.layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def images(self, inputs: torch.Tensor, about: torch.Tensor, known: torch.Tensor) -> Side:
        """What images bring.

        Args:
            inputs: [n, inputs].
            about: [n, prompt and metadata, text] vectors; known: [n, the same] bool, False: the learned "none" stands in.
        """
        tokens = [(self.image(inputs) + self.image_kind)[:, None]]
        factor = self.image_factor(inputs) if self.shape.product else inputs[:, :0]
        if about.shape[1]:
            texts = torch.where(known[..., None], self.about(about) + self.about_kind, self.about_missing)
            tokens.append(texts)
            if self.shape.product:
                factor = factor + self.about_factor(texts.mean(1))
        return Side(torch.cat(tokens, 1), factor)

    def persons(self, words: torch.Tensor, numbers: torch.Tensor, known: torch.Tensor, rater: torch.Tensor, dataset: torch.Tensor) -> Side:
        """What persons bring.

        Args:
            words: [n, fields, text] vectors; numbers: [n, fields]; known: [n, fields] bool, False: the learned "missing" stands in.
            rater: [n, width] token of the rater (see `rater_tokens`). dataset: [n] int.
        """
        tokens, taste = [], rater.new_zeros(len(dataset), self.shape.width)
        if self.shape.raters:
            tokens.append((rater + self.rater_kind)[:, None])
            taste = taste + rater
        if self.shape.fields:
            given = self.field(words) + numbers[..., None] * self.field_number + self.field_kind
            fields = torch.where(known[..., None], given, self.field_missing)
            tokens.append(fields)
            taste = taste + fields.mean(1)
        if self.shape.datasets > 1:
            tokens.append(self.dataset[dataset][:, None])
        found = torch.cat(tokens, 1) if tokens else taste[:, None, :][:, :0]
        return Side(found, self.person_factor(taste) if self.shape.product else taste[:, :0])

    def rater_tokens(self, places: torch.Tensor) -> torch.Tensor:
        """[n] places of training raters, -1 = unknown -> [n, width]; zeros without rater tokens."""
        if not self.shape.raters:
            return self.cls.new_zeros(len(places), self.shape.width)
        return torch.where((places >= 0)[:, None], self.rater[places.clamp(min=0)], self.unknown_rater)

    def forward(self, images: Side, persons: Side) -> torch.Tensor:
        """[n] answers: what is added to the base, or a logit without one."""
        x = torch.cat([self.cls.expand(len(images.tokens), 1, -1), images.tokens, persons.tokens], 1)
        for place, block in enumerate(self.blocks):
            x = block(x, first_only=place == len(self.blocks) - 1)
        return self.head(self.norm(x[:, 0]))[:, 0] + PRODUCT_SCALE * (images.factor * persons.factor).sum(1)
