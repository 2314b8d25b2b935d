"""`beholder-mini`: the embedded parts as a vision-language model. SmolLM2-135M sees EfficientNet-Lite0 through the shipped P-MLLM weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from beholder.backbones.efficientnet_lite import HEAD, EfficientNetLite
from beholder.backbones.language_model import DEFAULT_LANGUAGE_MODEL, load_language_model, unpacked
from beholder.backbones.vision_tower import _read_json, quiet_transformers
from beholder.backbones.vlm.base import Batch, PreparedImage, Turn, VisionLanguageModel
from beholder.backbones.vlm.folder_model import FolderModel
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError
from beholder.scorers import provenance
from beholder.scorers.feature_scorer import CONFIG_FILE, SHIPPED, WEIGHTS_FILE, read_weights, understanding
from beholder.scorers.pmllm import config as configs

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

KINDS = ("pmllm", "pmllm-s")
WEIGHTS = SHIPPED / KINDS[0]
ENCODER_LAYER = "map@half"  # what the fusion modules were trained on
BLOCKS, WIDTH = 30, 576  # of the language model that the weights belong to; `_load` refuses any other
# Channels after the stem, after each of the encoder's 16 blocks, and of its head map
VISION_WIDTHS = (32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320, HEAD)
# ChatML as in the tokenizer's own template, with two differences. There is no system message: the shipped weights have never seen one (they were
# trained on plain lines), and the words that the template would put there are about somebody else. And after an image between two texts a new line
# begins; the sign for it looks at this image already, so that all before the place of an image is the same whatever image stands there.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' if loop.first else '<image>\\n' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class BeholderMini(FolderModel):
    """The default vision-language model: everything in it is embedded, so it needs neither hub nor GPU. It shares with models in a folder how
    conversations are written.

    Images take no places in the decoder. Tokens look at the last image before them through the fusion modules of the three lowest blocks; tokens
    before the first image look at none. Of two images with no words between them the first is seen by nobody.

    The vision encoder has V0 (after the stem), V1 to V16 (after each block) and V17 (the head map), at 224 x 224 pixels as the fusion modules get
    it. They are feature maps, and their positions the tokens. The encoder and the fusion modules compute in float32 whatever the `dtype`.

    Args:
        folder: of weights that `beholder train pmllm` wrote; those that come with the package if None.
    """

    model_types = ("beholder-mini",)
    placeholder = "<image>"
    image_tokens = False
    _template = TEMPLATE

    def __init__(self, name: str, *, folder: Path | None = None, **options) -> None:
        VisionLanguageModel.__init__(self, name, folder=None, **options)
        self.weights = WEIGHTS if folder is None else folder
        self._language_file = resolve(DEFAULT_LANGUAGE_MODEL).path
        self._seen: np.ndarray | None = None
        self._encoder = EfficientNetLite(layers=[ENCODER_LAYER], device=self._device_wish)

    # What is known without the weights

    @cached_property
    def revision(self) -> str:
        own = fingerprint(self.weights / CONFIG_FILE, self.weights / WEIGHTS_FILE, self._language_file)
        return hashlib.sha256(f"{own} {self._encoder.revision}".encode()).hexdigest()[:12]

    @cached_property
    def processing(self) -> str:
        return f"{self.family}-{hashlib.sha256(TEMPLATE.encode()).hexdigest()[:8]}-{self._encoder.preprocessing}-{self.max_pixels}px"

    n_blocks = BLOCKS
    width = WIDTH
    n_vision_blocks = len(VISION_WIDTHS) - 1
    vision_width = HEAD
    vision_widths = VISION_WIDTHS
    image_token_id = -1  # none

    @cached_property
    def tokenizer(self) -> Any:
        transformers = self._transformers
        with self.reading, quiet_transformers():
            return transformers.AutoTokenizer.from_pretrained(unpacked(self._language_file), local_files_only=True)

    # From images and words to tensors

    def prepare(self, image: Image.Image) -> PreparedImage:
        return PreparedImage({"pixel_values": self._encoder.preprocess(self.at_most(image))[None]}, 0, "")

    def batch(self, turns: Sequence[Turn], *, side: Literal["left", "right"] = "right", answers: bool = False) -> Batch:
        """As for all models; `looks_at` [n, s] tells which image of the batch each token looks at, -1 for none."""
        import torch

        made = super().batch(turns, side=side, answers=answers)
        if "pixel_values" in made.inputs:
            longest, first, rows = made.mask.shape[1], 0, []
            for turn in turns:
                row = np.searchsorted(turn.places, np.arange(len(turn.ids)), side="right") - 1
                rows.append(np.pad(np.where(row < 0, -1, row + first), _padding(longest - len(row), side=side), mode="edge"))
                first += len(turn.images)
            made.inputs["looks_at"] = torch.from_numpy(np.stack(rows)).to(self.device)
        return made

    # The loaded model

    def _load(self) -> torch.nn.Module:
        import torch

        from beholder.scorers.pmllm.mini import MiniForAnswers, MiniModel, Tower
        from beholder.scorers.pmllm.model import PMLLM

        config, tensors = self._read()
        with understanding(self.weights, scorer=config["scorer"]):
            language = load_language_model(DEFAULT_LANGUAGE_MODEL, dtype=self.dtype_name, device=self.device)
            layers, sizes = language.model.model.layers, language.model.config
            key = f"{self._encoder.name}@{self._encoder.revision}/{self._encoder.preprocessing}/{ENCODER_LAYER}"
            here, wanted = f"{key} and {language.revision}", f"{config['features']} and {config['language_model']['revision']}"
            if here != wanted or (len(layers), sizes.hidden_size) != (BLOCKS, WIDTH):
                raise BeholderError(
                    f"{self.name} was trained on {wanted}, installed are {here}: install the embedded parts again, see  beholder doctor"
                )
            fused = PMLLM(
                language, image_width=int(config["image_width"]), config=configs.from_dict(configs.FusionConfig, config["fusion"])
            )
            tensors.pop("seen")
            fused.load_trained({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
        if self.blocks is not None:
            del layers[self.blocks :]
            sizes.num_hidden_layers = len(layers)
        inner = MiniModel(fused, Tower(self._encoder.network))
        made = inner if self.blocks is not None else MiniForAnswers(inner)
        return made.eval().requires_grad_(False)

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        kind = _read_json(self.weights / CONFIG_FILE).get("scorer")
        return read_weights(self.weights, scorer=kind if kind in KINDS else KINDS[0])

    def trained_on(self, images: Sequence[str | os.PathLike]) -> int:
        if self._seen is None:
            self._seen = self._read()[1]["seen"]
        return int(np.isin(provenance.fingerprints(images), self._seen).sum())

    @property
    def vision_blocks(self) -> Sequence[torch.nn.Module]:
        return self.inner.visual.blocks

    def vision_tokens(self, output: Tensor, batch: Batch) -> Sequence[Tensor]:
        """[m, channels, h, w] -> [h * w, channels] for each image."""
        return output.flatten(2).transpose(1, 2)

    def image_embeddings(self, batch: Batch) -> Sequence[Tensor]:
        """[49, 576] for each image: what P-MLLM's projector makes of the encoder's head map (E_I)."""
        return self.inner.fused.projector(self.inner.visual(batch.inputs["pixel_values"]))


def _padding(n: int, *, side: str) -> tuple[int, int]:
    return (n, 0) if side == "left" else (0, n)
