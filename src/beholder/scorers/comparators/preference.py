"""`pickscore`: a CLIP fine-tuned on choices between generated images; how well an image goes with its prompt, in people's eyes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.vision_tower import quiet_transformers
from beholder.backbones.weights import resolve
from beholder.errors import BeholderError, MissingExtra
from beholder.scorers.base import FeatureSource
from beholder.scorers.comparators.base import Measured
from beholder.scorers.comparators.facts import Facts
from beholder.scorers.comparators.on_encoder import OnEncoder
from beholder.scorers.comparators.options import PICKSCORE, PickScoreOptions

TOKENIZERS = ("tokenizer.json", "vocab.json")


class PickScore(OnEncoder):
    """exp(logit_scale) times the cosine of image and prompt. Longer prompts are cut off where the model stops reading (77 tokens).

    Images come through the feature store; a prompt is computed once.

    Raises:
        BeholderError: not a CLIP with both halves and a tokenizer.
    """

    name = "pickscore"
    slow_part = "PickScore"
    Options = PickScoreOptions
    encoder_types: ClassVar[tuple[str, ...]] = ("clip",)
    facts = Facts(
        what="PickScore: CLIP ViT-H/14 fine-tuned on choices between two generated images",
        trained_on="Pick-a-Pic v1: 500,000 choices between images of the same prompt",
        low=17.0,
        high=24.0,
        range="logit_scale (100) times a cosine: no fixed ends, usually 17 to 24; only differences between images of the same prompt were trained",
        prompt="required",
        get=f"the hub repository {PICKSCORE}",
        code_licence="MIT",
        weights_licence="not stated in its model card (code: MIT; CLIP-H: MIT, LAION)",
        citation="Kirstain et al. 2023, Pick-a-Pic (arXiv 2305.01569)",
    )

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        self._folder = resolve(self.options.model).path
        if not any((self._folder / file).is_file() for file in TOKENIZERS):  # transformers would make an empty one
            raise BeholderError(
                f"{self.options.model} has no tokenizer: save it there with  tokenizer.save_pretrained({str(self._folder)!r})"
            )
        self._loaded: tuple | None = None
        self._loading = threading.RLock()
        self._texts: dict[str, np.ndarray] = {}

    def measured(self, images: Sequence[str]) -> Measured:
        prompts = self.prompts(images)
        if not images:
            return Measured.of(np.zeros(0))
        texts = np.stack([self.text_vector(prompt) for prompt in prompts])
        cosines = np.einsum("nd,nd->n", self.vectors(images), texts)
        return Measured.of(self._text_half()[3] * cosines)

    def text_vector(self, text: str) -> np.ndarray:
        """A text -> [dim] float64 of length 1."""
        with self._loading:
            if text not in self._texts:
                import torch

                tokenizer, model, device, _ = self._text_half()
                most = model.config.text_config.max_position_embeddings
                tokens = tokenizer([text], truncation=True, max_length=most, return_tensors="pt")
                inputs = {name: tokens[name].to(device) for name in ("input_ids", "attention_mask")}
                with torch.inference_mode():
                    made = model.get_text_features(**inputs)
                vector = (made if isinstance(made, torch.Tensor) else made.pooler_output)[0].double().cpu().numpy()
                self._texts[text] = vector / np.linalg.norm(vector)
            return self._texts[text]

    def _text_half(self) -> tuple:
        """(tokenizer, model without its image half, device, scale of the cosine); loaded when first needed."""
        with self._loading:
            if self._loaded is None:
                device = choose_device(self.options.device)
                try:
                    import transformers
                except ImportError as error:
                    raise MissingExtra("transformers", extra="local", purpose=f"the scorer {self.name}") from error
                with quiet_transformers():
                    tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
                    model = transformers.CLIPModel.from_pretrained(
                        self._folder, local_files_only=True, dtype="float32", use_safetensors=True
                    )
                model.vision_model = None  # the encoder has its own
                scale = float(model.logit_scale.detach().double().exp())
                self._loaded = tokenizer, model.eval().requires_grad_(False).to(device), device, scale
            return self._loaded
