"""`q-align`: a vision-language model says how beautiful an image is with one of five words; their probabilities make a score from 1 to 5.

Source: Wu et al. 2024, Q-Align (ICML; arXiv 2312.17090): question, beginning of the answer, words, and the expected value of their levels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from beholder.backbones.vision_tower import _read_json
from beholder.backbones.vlm import open_vlm
from beholder.backbones.weights import resolve
from beholder.errors import BeholderError
from beholder.scorers.base import FeatureSource
from beholder.scorers.comparators.facts import Facts
from beholder.scorers.comparators.large import LargeScorer
from beholder.scorers.comparators.options import QAlignOptions

if TYPE_CHECKING:
    from PIL import Image

    from beholder.backbones.vlm.base import PreparedImage, VisionLanguageModel

QUESTION = "How would you rate the aesthetics of this image?"
BEGINNING = "The aesthetics of the image is"  # of the answer; one of the words follows
LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
BARS = (122, 116, 104)  # the mean colour that CLIP's preprocessing takes off, as published
ORIGINAL = "mplug_owl2"  # model_type of the published checkpoints


class QAlign(LargeScorer):
    """The mean of the levels 1 to 5 under the probabilities of the first tokens of excellent, good, fair, poor and bad (softmax over these five only).

    Any model that `open_vlm` knows can be asked so; only one that was trained for it (a converted OneAlign, or a fine-tuned one) gives what the paper
    measures. The published checkpoints need the code that lies beside them: `remote_code`, see `original`.

    Raises:
        BeholderError: no model named, not found, the original without `remote_code`, or a tokenizer that begins two of the words alike.
    """

    name = "q-align"
    slow_part = "the vision-language model"
    Options = QAlignOptions
    facts = Facts(
        what="Q-Align / OneAlign: a vision-language model that was trained to rate with five words",
        trained_on="aesthetics: AVA (OneAlign: image and video quality data as well)",
        low=1.0,
        high=5.0,
        range="1 (bad) to 5 (excellent), never outside; most photographs lie between 2 and 4",
        prompt="none",
        get="the hub repository q-future/one-align as a local folder (with remote_code=true), or any vision-language model that beholder reads",
        code_licence="S-Lab Licence 1.0 (the original's code, only used with remote_code)",
        weights_licence="MIT (q-future/one-align); of another model its own",
        citation="Wu et al. 2024, Q-Align (ICML; arXiv 2312.17090)",
        restricted="S-Lab Licence: non-commercial use only",
    )

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        given = self.options
        if not given.model.strip():
            raise BeholderError(f"{self.name} does not know which model to ask: write  {self.name}[model=FOLDER-OR-HUB-REPOSITORY]")
        self.original = _is_original(given.model)
        if self.original:
            from beholder.scorers.comparators.original_q_align import OriginalQAlign

            self.asked: Any = OriginalQAlign(given)
        else:
            self.asked = AskedWords(given)

    @property
    def source(self) -> str:
        return self.asked.source

    def compute(self, images: Sequence[str], prompts: Sequence[str]) -> list[tuple[float, float]]:
        return [(value, 0.0) for value in self.asked.scores(images)]

    def frozen_models(self) -> list[Any]:
        return [] if self.original else [self.asked.vlm]


class AskedWords:
    """A vision-language model of beholder's families, asked for one of the five words."""

    def __init__(self, options: QAlignOptions) -> None:
        self.vlm: VisionLanguageModel = open_vlm(options.model, max_pixels=options.max_pixels, device=options.device, dtype=options.dtype)
        self.fit, self.max_pixels = options.fit, options.max_pixels

    @property
    def source(self) -> str:
        """Model, preprocessing, precision, and the words."""
        words = hashlib.sha256("|".join([QUESTION, BEGINNING, *LEVELS]).encode()).hexdigest()[:6]
        return f"{self.vlm.name}@{self.vlm.revision}/{self.vlm.processing}/{self.vlm.dtype_name}/{self.fit}-{words}"

    def prepare(self, image: Image.Image) -> PreparedImage:
        """RGB image -> what the model sees of it."""
        return self.vlm.prepare(padded(image) if self.fit == "pad" else image)

    @cached_property
    def images(self):
        """Reads and prepares files, a few ahead."""
        from beholder.backbones.vlm.prepared_images import PreparedImages

        return PreparedImages(self, memory=0)

    def scores(self, images: Sequence[str]) -> list[float]:
        """1..5 of each image; all of them in one batch."""
        logits = self.logits(images)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return list(weights @ np.array(list(LEVELS.values())) / weights.sum(axis=1))

    def logits(self, images: Sequence[str]) -> np.ndarray:
        """[n, 5] float64 of the first tokens of the words, in the order of `LEVELS`.

        Raises:
            BeholderError: not even one image fits into memory.
        """
        from beholder.backbones.vlm.answers import unless_too_large

        prepared = self.images(images)
        with self.vlm.lock:
            found = unless_too_large(self.vlm, len(images), lambda: self._logits(prepared))
        if found is None:
            half = len(images) // 2
            return np.concatenate([self.logits(images[:half]), self.logits(images[half:])])
        return found

    def _logits(self, images: Sequence[PreparedImage]) -> np.ndarray:
        import torch
        from torch.nn import functional as F

        tokens, from_end = self._places
        word = next(iter(LEVELS))
        with torch.no_grad():
            batch = self.vlm.batch([self.vlm.turn([image, QUESTION], answer=f"{BEGINNING} {word}") for image in images], side="right")
            hidden = self.vlm.forward(batch, logits=False).last_hidden_state
            rows = torch.arange(len(images), device=hidden.device)
            before = hidden[rows, batch.mask.sum(1) - from_end - 1]  # knows nothing of the word that stands after it
            head, exact = self.vlm.model.get_output_embeddings(), torch.promote_types(hidden.dtype, torch.float32)
            bias = None if head.bias is None else head.bias[tokens].to(exact)
            return F.linear(before.to(exact), head.weight[tokens].to(exact), bias).double().cpu().numpy()

    @cached_property
    def _places(self) -> tuple[list[int], int]:
        """(first token of each word, how far from the end of a conversation with the first word it stands)."""
        answers = [self.vlm.turn([QUESTION], answer=f"{BEGINNING} {word}").ids for word in LEVELS]
        first = next((place for place, tokens in enumerate(zip(*answers, strict=False)) if len(set(tokens)) > 1), None)
        tokens = [] if first is None else [ids[first] for ids in answers]
        if len(set(tokens)) < len(LEVELS):
            raise BeholderError(f"the tokenizer of {self.vlm.name} begins two of the words {', '.join(LEVELS)} alike: name another model")
        return tokens, len(answers[0]) - first


def padded(image: Image.Image) -> Image.Image:
    """The image in the middle of a square of CLIP's mean colour."""
    from PIL import Image

    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), BARS)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def _is_original(model: str) -> bool:
    if model.lower() == "beholder-mini":
        return False
    folder = resolve(model).path
    return folder.is_dir() and _read_json(folder / "config.json").get("model_type") == ORIGINAL
