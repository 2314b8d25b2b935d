"""Whether a prompt and an image still say what was asked for: text against text (a sentence encoder), image against text (CLIP, SigLIP, SigLIP 2).

That both are measured, and how, is ours. Neither is a judgement of quality: they only tell whether a search strays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from beholder.backbones import threads
from beholder.backbones.text_encoder import DEFAULT_TEXT_ENCODER, TextEncoder
from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.vision_tower import VisionTower, _read_json, quiet_transformers
from beholder.backbones.weights import resolve
from beholder.errors import BeholderError, MissingExtra
from beholder.photos import read_photo

PAIRED = ("clip", "siglip", "siglip2")  # model_type of a folder with both halves
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
CHUNK = 32  # images held at once


class TextDrift:
    """How far a prompt has strayed from the goal: 1 - cosine of their sentence vectors, clipped to 0..1; 0 = the same meaning.

    Args:
        name: of a sentence encoder, see `TextEncoder`.
        device: "auto", "cpu", "cuda", ...

    Raises:
        BeholderError: the encoder was not found.
    """

    def __init__(self, name: str = DEFAULT_TEXT_ENCODER, *, device: str = "auto") -> None:
        self._encoder = TextEncoder(name, device=device)
        self.name, self.version = self._encoder.name, self._encoder.revision

    def drift(self, prompts: Sequence[str], goal: str) -> np.ndarray:
        """[n] prompts -> [n] float64 in 0..1, higher = farther from `goal`. A prompt's value depends on no other prompt."""
        vectors = self._encoder.encode([goal, *prompts]).astype(np.float64)
        return np.clip(1.0 - vectors[1:] @ vectors[0], 0.0, 1.0)


class ImageTextMatch:
    """Cosine of image and text in the common space of a CLIP, SigLIP or SigLIP 2 model: what the model itself calls their similarity, without
    its learned scale. -1..1, higher = the image shows the text better; each model has its own usual range (CLIP about 0.2 to 0.35).

    Args:
        name: a folder or hub repository with both halves, tokenizer and image processor (see `weights.resolve`).
        device: see `TorchEncoder`. Computes in float32; one image's value depends on no other image.

    Raises:
        BeholderError: not found, or a model without a text half.
    """

    def __init__(self, name: str | os.PathLike, *, device: str = "auto") -> None:
        found = resolve(name)
        self._folder: Path = found.path
        self._config = _read_json(found.path / "config.json")
        self._type = self._config.get("model_type")
        if self._type not in PAIRED:
            raise BeholderError(
                f"{name} is of type {self._type!r}, which compares no image with a text: name a CLIP, SigLIP or SigLIP 2 model"
            )
        if not any((self._folder / file).is_file() for file in TOKENIZERS):  # transformers would make an empty one
            raise BeholderError(f"{name} has no tokenizer: save it there with  tokenizer.save_pretrained({str(self._folder)!r})")
        self._tower = VisionTower(name, layers=["pool"], device=device)
        self.name, self.version = found.name, f"{self._tower.revision}-{self._tower.preprocessing}"
        self._device_wish = device
        self._loaded: tuple | None = None
        self._loading = threading.RLock()
        self._known: tuple[str, np.ndarray] | None = None

    def match(self, images: Sequence[str | os.PathLike | Image.Image], text: str) -> np.ndarray:
        """[n] images (paths or Pillow images) -> [n] float64 cosines with the text.

        Raises:
            UnreadableImage: one of them.
        """
        found = np.zeros(len(images))
        if not len(images):
            return found
        with self._loading:  # the goal stays the same over a whole run
            if self._known is None or self._known[0] != text:
                self._known = text, self.text_vector(text)
            vector = self._known[1]
        for start in range(0, len(images), CHUNK):
            some = [self._tower.preprocess(read_photo(one)) for one in images[start : start + CHUNK]]
            rows = self._tower.encode(some)["pool"].astype(np.float64)
            found[start : start + CHUNK] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ vector
        return found

    def text_vector(self, text: str) -> np.ndarray:
        """A text -> [dim] float64 of length 1. What is longer than the model reads is cut off."""
        tokenizer, model, device = self._text_half()
        import torch

        if threads.is_worker():
            threads.limit_torch()
        most = model.config.text_config.max_position_embeddings
        if self._type == "clip":
            tokens = tokenizer([text], truncation=True, max_length=most, return_tensors="pt")
            inputs = {"input_ids": tokens["input_ids"].to(device), "attention_mask": tokens["attention_mask"].to(device)}
        else:
            # They were trained on lower case, always padded to the full length, and without a mask: the padding is part of the text.
            tokens = tokenizer([text.lower()], padding="max_length", truncation=True, max_length=most, return_tensors="pt")
            inputs = {"input_ids": tokens["input_ids"].to(device)}
        with torch.inference_mode():
            made = model.get_text_features(**inputs)
        vector = (made if isinstance(made, torch.Tensor) else made.pooler_output)[0].double().cpu().numpy()
        return vector / np.linalg.norm(vector)

    def _text_half(self) -> tuple:
        with self._loading:
            if self._loaded is None:
                device = choose_device(self._device_wish)
                try:
                    import transformers
                except ImportError as error:
                    raise MissingExtra("transformers", extra="local", purpose=f"comparing images with texts by {self.name}") from error
                with quiet_transformers():
                    try:
                        tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
                    except Exception as error:  # damaged, or one that needs another package; every kind is raised
                        line = str(error).strip().splitlines()[0][:200].rstrip(".") if str(error).strip() else type(error).__name__
                        raise BeholderError(
                            f"the tokenizer of {self.name} cannot be loaded ({line}): save it beside the weights as tokenizer.json"
                        ) from None
                    model = transformers.AutoModel.from_pretrained(
                        self._folder, local_files_only=True, dtype="float32", use_safetensors=True
                    )
                model.vision_model = None  # the tower has its own
                self._loaded = tokenizer, model.eval().requires_grad_(False).to(device), device
            return self._loaded
