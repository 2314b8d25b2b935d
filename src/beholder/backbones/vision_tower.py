"""Vision towers of the Hugging Face kind: CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3 - any size, with safetensors weights."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from beholder.backbones.torch_encoder import TorchEncoder
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra

if TYPE_CHECKING:
    import torch
    from PIL import Image

# model_type of config.json -> how many tokens stand before those of the patches (class token; registers come on top)
PREFIX = {
    "clip": 1,
    "clip_vision_model": 1,
    "siglip": 0,
    "siglip_vision_model": 0,
    "siglip2": 0,
    "siglip2_vision_model": 0,
    "dinov2": 1,
    "dinov2_with_registers": 1,
    "dinov3_vit": 1,
}
# What a config.json may leave out: models saved by some versions of transformers hold only what differs from these.
DEFAULTS = {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 16, "projection_dim": 512}
DEFAULT_PATCH = {"clip": 32, "clip_vision_model": 32, "dinov2": 14}
DEFAULT_LAYERS = ("pool", "patches_mean")


class VisionTower(TorchEncoder):
    """The image half of a pretrained model.

    Layers ([n, dim] float32):
        pool: the model's own summary: CLIP's projected image embedding, SigLIP's attention pool, DINO's class token.
        patches_mean: mean over the patches of the last hidden state.
        hidden-K: mean over the patches of hidden state K; 0 = before the first block. Blocks above K + 1 are not run.
        tokens: every patch of the last hidden state but one, flattened as (row, column, value): what LLaVA-1.5 shows its language model
            (mm_vision_select_layer -2, "patch"; for CLIP ViT-L/14-336 576 tokens of 1024). Only for towers with one size of input.

    Args:
        name: a local folder or a hub repository (see `weights.resolve`).
        layers: "pool" and "patches_mean" if not given.
        fit: "processor" prepares the pixels as the model's folder says, which for CLIP cuts off what lies outside the central square. "pad"
            first adds bars of the processor's mean colour that make the image square, so that all of it is seen in its proportions
            (LLaVA-1.5: image_aspect_ratio pad).
        device: see `TorchEncoder`. Always computes in float32.

    Raises:
        BeholderError: not found, another kind of model, no safetensors weights, or an unknown layer.
    """

    def __init__(
        self,
        name: str | os.PathLike,
        *,
        layers: Sequence[str] | None = None,
        fit: Literal["processor", "pad"] = "processor",
        device: str = "auto",
    ) -> None:
        super().__init__(device=device)
        if fit not in ("processor", "pad"):
            raise BeholderError(f"fit = {fit!r} is unknown: choose processor or pad")
        found = resolve(name)
        self._folder = found.path
        self.name = found.path.name if found.source == "folder" else found.name
        self._config = _read_json(self._folder / "config.json")
        self._type = self._config.get("model_type")
        if self._type not in PREFIX:
            raise BeholderError(f"{name} is of type {self._type!r}, which is no known vision tower: choose one of {', '.join(PREFIX)}")
        weights = sorted(self._folder.glob("*.safetensors"))
        if not weights:
            raise BeholderError(f"{name} has no safetensors weights: save it with  model.save_pretrained(FOLDER)  and name that folder")
        self.revision = fingerprint(self._folder / "config.json", *weights)
        patch = {"patch_size": DEFAULT_PATCH.get(self._type, DEFAULTS["patch_size"])}
        self._vision = DEFAULTS | patch | self._config.get("vision_config", self._config)
        self._processing = _processor_config(self._folder)
        self.known_layers = known = self._known_layers()
        unknown = [layer for layer in layers or () if layer not in known]
        if unknown:
            why = ", as its images differ in size" if unknown[0] == "tokens" else ""
            raise BeholderError(f"{self.name} has no layer {unknown[0]!r}{why}: choose from {', '.join(known)}")
        self.layers = {layer: known[layer] for layer in (DEFAULT_LAYERS if layers is None else layers)}
        self.token_widths = {layer: self._vision["hidden_size"] for layer in self.layers if layer == "tokens"}
        self.fit = fit
        text = json.dumps(self._processing, sort_keys=True)
        self.preprocessing = f"{self._type}-{hashlib.sha256(text.encode()).hexdigest()[:8]}" + ("-pad" if fit == "pad" else "")
        self._processor = None
        self._making_processor = threading.Lock()

    def _known_layers(self) -> dict[str, int]:
        width, patch = self._vision["hidden_size"], self._vision["patch_size"]
        pool = self._config.get("projection_dim", DEFAULTS["projection_dim"]) if self._projects else width
        size = _input_size(self._processing)
        tokens = {"tokens": (size[0] // patch) * (size[1] // patch) * width} if size else {}
        return {"pool": pool, "patches_mean": width, **tokens, **{f"hidden-{k}": width for k in range(self._blocks + 1)}}

    @property
    def _blocks(self) -> int:
        return self._vision["num_hidden_layers"]

    @property
    def _projects(self) -> bool:
        return self._type == "clip" or "CLIPVisionModelWithProjection" in (self._config.get("architectures") or ())

    @property
    def read_size(self) -> int:
        if "max_num_patches" in self._processing:
            return int(np.ceil(self._processing["max_num_patches"] ** 0.5)) * self._processing.get("patch_size", 16)
        size = self._processing.get("size") or {}
        if isinstance(size, int):  # as it was written before there were names for the sides
            return size
        return size.get("shortest_edge") or max(size.get("height", 224), size.get("width", 224))

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """RGB image -> [3, height, width] float32; for towers of variable shape [rows, columns, values of a patch] float32."""
        with self._making_processor:
            if self._processor is None:
                self._processor = _processor(self._folder, self._processing)
        if self.fit == "pad":
            image = _padded(image, self._processor.image_mean)
        made = self._processor(images=image, return_tensors="np")
        pixels = np.asarray(made["pixel_values"][0], dtype=np.float32)
        if "spatial_shapes" not in made:
            return pixels
        rows, columns = (int(side) for side in made["spatial_shapes"][0])
        return pixels[: rows * columns].reshape(rows, columns, -1)  # the rest is padding

    def _load(self, device: str):
        try:
            import transformers
        except ImportError as error:
            raise MissingExtra("transformers", extra="local", purpose=f"the vision tower {self.name}") from error
        loader = transformers.AutoModel
        if self._projects and self._type != "clip":
            loader = transformers.CLIPVisionModelWithProjection
        with quiet_transformers():
            model = loader.from_pretrained(self._folder, local_files_only=True, dtype="float32", use_safetensors=True)
        if hasattr(model, "text_model"):
            model.text_model = None  # the other half is of no use here
        deepest = self._deepest()
        if deepest is not None:
            blocks = _blocks(model)
            del blocks[deepest:]
        return model.eval().requires_grad_(False).to(device)

    def _deepest(self) -> int | None:
        """How many blocks are needed; None if all. One more than the last wanted: some models normalise their last state."""
        if any(layer in ("pool", "patches_mean") for layer in self.layers):
            return None
        return min(max(self._state(layer) for layer in self.layers) + 1, self._blocks)

    def _state(self, layer: str) -> int:
        """Which of the hidden states a layer is made of."""
        return self._blocks - 1 if layer == "tokens" else int(layer.removeprefix("hidden-"))

    def _forward(self, network, batch: np.ndarray, device: str) -> dict[str, np.ndarray]:
        import torch

        tower = network.vision_model if "vision_config" in self._config else network
        pixels = torch.from_numpy(batch).to(device)
        inputs = {"pixel_values": pixels}
        if "max_num_patches" in self._processing:
            n, rows, columns = batch.shape[:3]
            inputs["pixel_values"] = pixels.flatten(1, 2)
            inputs["spatial_shapes"] = torch.tensor([[rows, columns]] * n, device=device)
            named = inspect.signature(tower.forward).parameters  # its name differs between versions of transformers
            mask = "pixel_attention_mask" if "pixel_attention_mask" in named else "attention_mask"
            inputs[mask] = torch.ones(n, rows * columns, dtype=torch.int64, device=device)
        made = tower(**inputs, output_hidden_states=any(layer not in DEFAULT_LAYERS for layer in self.layers))
        return {layer: self._layer(layer, network, made).float().cpu().numpy() for layer in self.layers}

    def _layer(self, layer: str, network, made) -> torch.Tensor:
        """[n, dim]: a layer out of what the tower returned."""
        if layer == "pool":
            if "image_embeds" in made:
                return made.image_embeds
            return network.visual_projection(made.pooler_output) if self._projects else made.pooler_output
        state = made.last_hidden_state if layer == "patches_mean" else made.hidden_states[self._state(layer)]
        patches = state[:, PREFIX[self._type] + self._vision.get("num_register_tokens", 0) :]
        return patches.flatten(1) if layer == "tokens" else patches.mean(1)


def _blocks(model):
    """The list of transformer blocks, wherever the architecture keeps it."""
    import torch

    lists = [
        module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList) and name.endswith(("layers", "layer"))
    ]
    return max(lists, key=len)


def _processor(folder: Path, config: dict):
    """The image processor, on Pillow and numpy. transformers has DINOv3's for torchvision only: ViT's does the same there."""
    import transformers

    with quiet_transformers():
        kind = str(config.get("image_processor_type", ""))
        if kind.startswith("DINOv3ViT"):
            keep = ("do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
            maker = getattr(transformers, "ViTImageProcessorPil", None) or transformers.ViTImageProcessor
            return maker(**{key: config[key] for key in keep if config.get(key) is not None})
        modern = int(transformers.__version__.partition(".")[0]) >= 5
        return transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, **({"backend": "pil"} if modern else {"use_fast": False})
        )


def _processor_config(folder: Path) -> dict:
    """What is done to the pixels, as the model's folder says."""
    for name, below in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        if (folder / name).is_file():
            config = _read_json(folder / name)
            config = config if below is None else config.get(below)
            if config:
                return config
    raise BeholderError(f"{folder} has no preprocessor_config.json: save it there with  processor.save_pretrained({str(folder)!r})")


def _input_size(processing: dict) -> tuple[int, int] | None:
    """(height, width) of what the image processor makes of every image; None if they differ."""
    crop = processing.get("do_center_crop", True) and processing.get("crop_size")
    size = crop or (processing.get("size") if processing.get("do_resize", True) else None)
    if isinstance(size, int):  # without a crop it is the length of the shorter side only
        return (size, size) if crop else None
    if "max_num_patches" in processing or not size or not {"height", "width"} <= set(size):
        return None
    return size["height"], size["width"]


def _padded(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """The image in the middle of a square of the mean colour (each channel 0 to 1), as LLaVA-1.5 does it."""
    from PIL import Image

    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BeholderError(f"{path} cannot be read ({error}): download the model again") from None


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no notes while a model is loaded; the settings of others are put back."""
    from transformers.utils import logging as their_logging

    logger = logging.getLogger("transformers")
    level, bars = logger.level, their_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    their_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            their_logging.enable_progress_bar()
