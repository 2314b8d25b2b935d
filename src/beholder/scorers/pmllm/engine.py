"""Scores of many (rater, image) pairs: profiles and images computed once each, one forward pass over question and answer beginning per pair."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from beholder.personas.questions import Question
from beholder.scorers.pmllm.batches import PrefixStore
from beholder.scorers.pmllm.model import PMLLM, ImageTokens
from beholder.scorers.pmllm.prompts import Prompter

IMAGE_BYTES = 1 << 30
IMAGES_TOGETHER = 64
TOKENS = {"cpu": 1024, "cuda": 32768}  # question and answer tokens per forward pass


@dataclass(frozen=True)
class Scores:
    """What the model says about n pairs, on the question's scale.

    Args:
        expected: [n] float64 mean of the integers under the model's probabilities: no ties, better for ranking.
        integer: [n] int, the score that greedy decoding would write.
    """

    expected: np.ndarray
    integer: np.ndarray


class ScoringEngine:
    """Keeps what is shared between pairs: keys and values of profiles (all blocks) and of images (fused blocks).

    Args:
        model, prompter: see there.
        question: asked for the score.
        tokens: most question and answer tokens per forward pass; a fitting number for the device if None.
        image_memory: bytes of image keys and values kept; the least recently used are let go.
    """

    def __init__(
        self, model: PMLLM, prompter: Prompter, *, question: Question, tokens: int | None = None, image_memory: int = IMAGE_BYTES
    ) -> None:
        self.model, self.question = model, question
        self.readout = prompter.readout(question)
        self.tokens = tokens or TOKENS.get(model.language_model.device.split(":")[0], TOKENS["cpu"])
        self.prefixes = PrefixStore(model, prompter, room=len(self.readout.tokens))
        self._images: OrderedDict[bytes, ImageTokens] = OrderedDict()
        self._image_memory = image_memory

    @property
    def pairs_together(self) -> int:
        """Pairs per forward pass."""
        return max(1, self.tokens // len(self.readout.tokens))

    def score(
        self,
        pairs: Sequence[tuple[str, np.ndarray]],
        features: np.ndarray,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Scores]:
        """Scores of some images for each of several profiles.

        Args:
            pairs: (profile text, [k] indices into `features`) per rater; "" for no profile.
            features: [m, t, width] encoder tokens of the images.
            progress: called with (pairs done, of how many).

        Returns:
            One `Scores` per entry of `pairs`. They depend on profile and image only, up to rounding (see docs/pmllm.md).
        """
        texts = list(dict.fromkeys(text for text, _ in pairs))  # raters of the same profile are one here
        place = {text: i for i, text in enumerate(texts)}
        who = np.concatenate([np.full(len(images), place[text]) for text, images in pairs] or [np.zeros(0, dtype=int)]).astype(int)
        which = np.concatenate([np.asarray(images, dtype=int) for _, images in pairs] or [np.zeros(0, dtype=int)])
        found = np.empty((2, len(who)))
        with torch.inference_mode():
            done = 0
            for rows in self._groups(who):
                found[:, rows] = self._forward([texts[i] for i in who[rows]], features, which[rows])
                done += len(rows)
                if progress:
                    progress(done, len(who))
        ends = np.cumsum([len(images) for _, images in pairs]).astype(int)
        return [
            Scores(found[0, end - len(images) : end], found[1, end - len(images) : end].astype(int))
            for end, (_, images) in zip(ends, pairs, strict=True)
        ]

    def _groups(self, who: np.ndarray) -> list[np.ndarray]:
        """Places of the pairs of each forward pass. A rater with many pairs has passes of its own, equal in size; small ones share."""
        most, groups, small = self.pairs_together, [], []
        for rater in np.unique(who):
            places = np.flatnonzero(who == rater)
            if len(places) >= most // 2:
                groups += np.array_split(places, -(-len(places) // most))
                continue
            if sum(map(len, small)) + len(places) > most:
                groups.append(np.concatenate(small))
                small = []
            small.append(places)
        return groups + ([np.concatenate(small)] if small else [])

    def _forward(self, texts: list[str], features: np.ndarray, which: np.ndarray) -> np.ndarray:
        """[2, n] expected score and integer of n pairs; rows of the same profile text stand together."""
        distinct = list(dict.fromkeys(texts))
        counts = [texts.count(text) for text in distinct]
        prefix = self.prefixes(distinct)
        if len(set(counts)) > 1:  # each row brings its own copy of the profile then
            prefix = prefix.rows(torch.tensor([distinct.index(text) for text in texts], device=prefix.lengths.device))
        pictures, index = np.unique(which, return_inverse=True)
        images = self.images(features, pictures).rows(torch.from_numpy(index).to(self.model.language_model.device))
        tokens = torch.tensor(self.readout.tokens, device=self.model.language_model.device).expand(len(texts), -1)
        hidden = self.model.after_prefix(tokens, prefix=prefix.trimmed(), images=images)[:, self.readout.places]
        legal = self.readout.vocabulary
        logits = self.model.logits_of(hidden, legal)
        integers = torch.tensor(self.readout.integers, dtype=torch.float64, device=logits.device)
        expected = self.readout.probabilities(logits, tokens=legal).double() @ integers
        written = self.readout.integer(logits.to(hidden.dtype), tokens=legal)  # rounded, as decoding sees them
        return torch.stack([expected, written.double()]).cpu().numpy()

    def images(self, features: np.ndarray, which: np.ndarray) -> ImageTokens:
        """Keys and values of the images at `which` in `features`; computed once per image, known by content."""
        keys = [hashlib.blake2b(np.ascontiguousarray(features[i]).data, digest_size=16).digest() for i in which]
        missing = {key: i for key, i in zip(keys, which.tolist(), strict=True) if key not in self._images}
        kept = {key: self._images[key] for key in keys if key in self._images}
        places = list(missing.items())
        for start in range(0, len(places), IMAGES_TOGETHER):
            chunk = places[start : start + IMAGES_TOGETHER]
            batch = torch.from_numpy(np.stack([features[i] for _, i in chunk])).to(self.model.language_model.device)
            made = self.model.image_tokens(batch)
            kept |= {key: made.rows(slice(row, row + 1)) for row, (key, _) in enumerate(chunk)}
        for key, tokens in kept.items():
            self._images[key] = tokens
            self._images.move_to_end(key)
        size = sum(k.numel() * k.element_size() for k in next(iter(kept.values())).keys) * 2 if kept else 1
        while len(self._images) > max(1, self._image_memory // size):
            self._images.popitem(last=False)
        blocks = range(self.model.config.layers)
        return ImageTokens(
            tuple(torch.cat([kept[key].keys[b] for key in keys]) for b in blocks),
            tuple(torch.cat([kept[key].values[b] for key in keys]) for b in blocks),
        )
