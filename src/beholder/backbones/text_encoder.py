"""The text encoder: sentences to vectors, for profiles and prompts."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from beholder.backbones import threads
from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.vision_tower import _read_json, quiet_transformers
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra

DEFAULT_TEXT_ENCODER = "all-minilm-l6-v2"
BATCH = 32


class TextEncoder:
    """A sentence transformer: mean over the tokens of the last hidden state, scaled to length 1.

    Making one imports no torch; the weights are loaded when first needed. Texts of equal token count are computed together
    and nothing is padded, so a text's vector does not depend on the others (differences up to about 1e-6 come from
    the order in which batches of different sizes are summed).

    Args:
        name: an embedded part, a local folder or a hub repository (see `weights.resolve`).
        device: "auto", "cpu", "cuda", ...

    Attributes:
        name, revision, dim: of the model; `dim` is the length of a vector.
        max_tokens: longer texts are cut off.

    Raises:
        BeholderError: not found, or without safetensors weights.
    """

    def __init__(self, name: str = DEFAULT_TEXT_ENCODER, *, device: str = "auto") -> None:
        found = resolve(name)
        self.name, self._folder, self._device_wish = found.name, found.path, device
        weights = sorted(self._folder.glob("*.safetensors"))
        if not weights:
            raise BeholderError(f"{name} has no safetensors weights: save it with  model.save_pretrained(FOLDER)  and name that folder")
        config = _read_json(self._folder / "config.json")
        self.revision = fingerprint(self._folder / "config.json", *weights)
        self.dim: int = config["hidden_size"]
        self.max_tokens: int = config["max_position_embeddings"]
        if (self._folder / "sentence_bert_config.json").is_file():
            self.max_tokens = _read_json(self._folder / "sentence_bert_config.json").get("max_seq_length") or self.max_tokens
        self._loaded: tuple | None = None
        self._loading = threading.RLock()

    def load(self) -> None:
        """Load the weights now instead of at the first `encode`."""
        with self._loading:
            if self._loaded is not None:
                return
            device = choose_device(self._device_wish)
            try:
                import transformers
            except ImportError as error:
                raise MissingExtra("transformers", extra="local", purpose=f"the text encoder {self.name}") from error
            with quiet_transformers():
                tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
                model = transformers.AutoModel.from_pretrained(self._folder, local_files_only=True, dtype="float32", use_safetensors=True)
            self._loaded = tokenizer, model.eval().requires_grad_(False).to(device), device

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> [n, dim] float32, each of length 1, in their order.

        Raises:
            BeholderError: one text instead of a list of texts.
        """
        if isinstance(texts, str):
            raise BeholderError("encode takes a list of texts, not one text: put it into a list")
        found = np.zeros((len(texts), self.dim), dtype=np.float32)
        if not len(texts):
            return found
        self.load()
        import torch

        if threads.is_worker():
            threads.limit_torch()
        tokenizer, model, device = self._loaded
        with self._loading:  # the tokenizer is not made for several threads
            tokens = tokenizer(list(texts), truncation=True, max_length=self.max_tokens, padding=False)["input_ids"]
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(place)
        with torch.inference_mode():
            for places in by_length.values():
                for start in range(0, len(places), BATCH):
                    chunk = places[start : start + BATCH]
                    ids = torch.tensor([tokens[place] for place in chunk], device=device)
                    mean = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)
                    found[chunk] = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
        return found
