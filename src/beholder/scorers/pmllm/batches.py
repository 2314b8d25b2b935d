"""Training examples as tensors: tokens, images, and where the loss acts. Profile keys and values are computed once per profile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from beholder.backbones.shared_prefix import Prefix
from beholder.errors import BeholderError
from beholder.personas.questions import Question
from beholder.scorers.pmllm.example_table import NO_INTEGER, Examples
from beholder.scorers.pmllm.model import PMLLM
from beholder.scorers.pmllm.prompts import Prompter

PREFIX_BYTES = 4 << 30
TOGETHER = 32  # profiles computed at once


class PrefixStore:
    """Keys and values of profile texts; the least recently used are let go beyond `memory` bytes, and computed again when needed.

    Args:
        together: profiles computed at once. Their last bits depend on the company; with 1 they do not, as a resumed training needs it.
    """

    def __init__(self, model: PMLLM, prompter: Prompter, *, memory: int = PREFIX_BYTES, room: int = 0, together: int = TOGETHER) -> None:
        self.model, self.prompter, self.memory, self.room, self.together = model, prompter, memory, room, together
        self._kept: OrderedDict[str, Prefix] = OrderedDict()
        self._bytes = 0

    def __call__(self, texts: Sequence[str]) -> Prefix:
        """[r] prefixes of profile texts, in their order."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._kept]
        found = {text: self._kept[text] for text in dict.fromkeys(texts) if text in self._kept}
        ids = {text: self.prompter.prefix(text, room=self.room) for text in missing}
        missing.sort(key=lambda text: len(ids[text]))  # little padding
        for start in range(0, len(missing), self.together):
            chunk = missing[start : start + self.together]
            made = self.model.prefixes([ids[text] for text in chunk])
            for row, text in enumerate(chunk):
                found[text] = _alone(made, row)
        for text, prefix in found.items():
            if text not in self._kept:
                self._bytes += _size(prefix)
            self._kept[text] = prefix
            self._kept.move_to_end(text)
        while self._bytes > self.memory and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return Prefix.stack([found[text] for text in texts])


@dataclass(frozen=True)
class Batch:
    """One training step, or a part of one.

    Args:
        tokens: [n, s] question and answer, padded on the right.
        answer: [n, s] True where the next token is part of the answer, its end included.
        prefix: [r] profiles; n / r rows each.
        features: [m, t, width] image tokens. image: [n] indices into them.
        place: [n] position whose next token is the first of the integer; -1 where no score is read.
        target: [n] what the expected score should be, on the question's scale; nan where there is none.
        rater, picture: [n] who and what, for the contrast.
        weight: share of the whole step.
    """

    tokens: torch.Tensor
    answer: torch.Tensor
    prefix: Prefix
    features: torch.Tensor
    image: torch.Tensor
    place: torch.Tensor
    target: torch.Tensor
    rater: torch.Tensor
    picture: torch.Tensor
    weight: float = 1.0


class Batches:
    """Makes batches of examples.

    Args:
        examples: see there; rows of a batch must be sorted by rater.
        features: indices of images -> [m, t, width] float32.
        prefixes: of profiles.
        expects: whether expected scores are trained, so that the place of the integer is needed.
        guide: [n_raters, n_images] targets on the question's scale that replace the ratings by this `share`; None without.
        dropout: share of the image tokens left out, drawn for each image and step.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        prompter: Prompter,
        prefixes: PrefixStore,
        features: Callable[[np.ndarray], np.ndarray],
        expects: bool = False,
        guide: np.ndarray | None = None,
        share: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        self.examples, self.prompter, self.prefixes, self.features = examples, prompter, prefixes, features
        self.guide, self.share, self.expects, self.dropout = guide, share, expects, dropout
        self._written: dict[tuple[int, int], tuple[list[int], int, int]] = {}
        for question in examples.questions:
            if expects and isinstance(question, Question) and prompter.readout(question).shared is not None:
                raise BeholderError(
                    f"the expected score cannot be trained on {question.low} to {question.high}: an integer there is more than one token of "
                    f"{prompter.language_model.name}; use a question up to 9, or expectation = contrast = 0"
                )

    def __call__(self, rows: np.ndarray, *, draw: tuple[int, ...] = (0,)) -> Batch:
        """[n] example indices, sorted by rater -> a batch; `draw` decides which image tokens are left out."""
        examples, device = self.examples, self.prompter.language_model.device
        written = [self._text(int(row)) for row in rows]
        longest = max(len(ids) for ids, _, _ in written)
        tokens = torch.full((len(rows), longest), self.prompter.language_model.padding, dtype=torch.long)
        answer = torch.zeros(len(rows), longest, dtype=torch.bool)
        place = torch.full((len(rows),), -1)
        for i, (ids, asked, at) in enumerate(written):
            tokens[i, : len(ids)] = torch.tensor(ids)
            answer[i, asked - 1 : len(ids) - 1] = True
            place[i] = at
        rater, image = examples.rater[rows].astype(np.int64), examples.image[rows].astype(np.int64)
        pictures, index = np.unique(image, return_inverse=True)
        raters, counts = np.unique(rater, return_counts=True)
        each = raters if len(set(counts.tolist())) == 1 else rater
        prefix = self.prefixes([self.examples.profiles[who] if who >= 0 else "" for who in each])
        return Batch(
            tokens=tokens.to(device),
            answer=answer.to(device),
            prefix=prefix.trimmed(),
            features=torch.from_numpy(self._tokens(pictures, draw)).to(device),
            image=torch.from_numpy(index).to(device),
            place=place.to(device),
            target=torch.from_numpy(self._targets(rows, rater, image)).to(device),
            rater=torch.from_numpy(rater).to(device),
            picture=torch.from_numpy(image).to(device),
        )

    def _tokens(self, pictures: np.ndarray, draw: tuple[int, ...]) -> np.ndarray:
        """[m, t, width] image tokens, a random part of each image's."""
        features = self.features(pictures)
        if not self.dropout:
            return np.array(features)  # its own memory: what the source keeps must not be written to
        left = max(1, round((1 - self.dropout) * features.shape[1]))
        order = np.random.default_rng(list(draw)).random(features.shape[:2]).argsort(axis=1)[:, :left]
        return np.take_along_axis(features, np.sort(order, axis=1)[..., None], axis=1)

    def _text(self, row: int) -> tuple[list[int], int, int]:
        """Tokens of question and answer, how many are the question's, and the place of the integer (-1 for none)."""
        key = (int(self.examples.question[row]), int(self.examples.answer[row]))
        if key not in self._written:
            asked = self.prompter.asking(self.examples.question_text(row))
            question = self.examples.questions[key[0]]
            scored = self.expects and isinstance(question, Question) and self.examples.integer[row] != NO_INTEGER
            place = self.prompter.readout(question).place if scored else -1
            self._written[key] = (asked + self.prompter.answering(self.examples.answers[key[1]]), len(asked), place)
        return self._written[key]

    def _targets(self, rows: np.ndarray, rater: np.ndarray, image: np.ndarray) -> np.ndarray:
        integers = self.examples.integer[rows]
        target = np.where(integers == NO_INTEGER, np.nan, integers).astype(np.float32)
        if self.guide is not None and self.share > 0:
            led = np.array([getattr(self.examples.questions[q], "name", "") == "aesthetic" for q in self.examples.question[rows]])
            target = np.where(led, (1 - self.share) * target + self.share * self.guide[rater, image], target).astype(np.float32)
        return target


def _alone(prefix: Prefix, row: int) -> Prefix:
    length = int(prefix.lengths[row])
    cut = (slice(row, row + 1), slice(None), slice(0, length))
    return Prefix(tuple(k[cut].clone() for k in prefix.keys), tuple(v[cut].clone() for v in prefix.values), prefix.lengths[row : row + 1])


def _size(prefix: Prefix) -> int:
    return 2 * sum(k.numel() * k.element_size() for k in prefix.keys)
