"""Phase 1 on pixels: a network that is trained end to end, and the images it is shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from beholder.backbones.threads import usable_cores
from beholder.backbones.vision_tower import quiet_transformers
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra
from beholder.photos import read_photo

EFFICIENTNET = "efficientnet-lite0"
RESIZE, CROP = 256, 224  # pixels: of the shorter side, and of the square in the middle of it
SCALING = {  # mean and standard deviation of the pixels, of 0..1
    EFFICIENTNET: ([0.498] * 3, [0.502] * 3),
    "resnet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
LOOKED_AT = 256  # images at once when nothing is learned
ROOM = 2 << 30  # bytes of pixels kept in memory between epochs


class PixelBody(nn.Module):
    """uint8 [n, 3, 224, 224] -> [n, width]: the network's mean over the cells of its last map."""

    def __init__(self, network: nn.Module, *, kind: str, width: int) -> None:
        super().__init__()
        self.network, self.kind, self.width = network, kind, width

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        mean, sd = (torch.tensor(values, device=pixels.device)[:, None, None] for values in SCALING[self.kind])
        x = (pixels.float() / 255 - mean) / sd
        last = self.network.extract_features(x) if self.kind == EFFICIENTNET else self.network(pixel_values=x).last_hidden_state
        return last.mean((2, 3))


def open_body(name: str) -> tuple[PixelBody, dict[str, Any], str]:
    """A pretrained network.

    Args:
        name: "efficientnet-lite0", or a folder or hub repository of a ResNet with safetensors weights.

    Returns:
        The network, a description that `make_body` takes, and 12 digits that stand for the weights.

    Raises:
        BeholderError: not found, or of another kind.
    """
    if name.lower() == EFFICIENTNET:
        body, file = make_body({"kind": EFFICIENTNET}), resolve(EFFICIENTNET).path
        body.network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        return body, {"kind": EFFICIENTNET}, fingerprint(file)
    import transformers

    folder = resolve(name).path
    if folder.is_dir():
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        weights = sorted(folder.glob("*.safetensors"))
        if config.model_type == "resnet" and weights:
            with quiet_transformers():
                network = transformers.ResNetModel.from_pretrained(folder, local_files_only=True, dtype="float32", use_safetensors=True)
            body = PixelBody(network, kind="resnet", width=config.hidden_sizes[-1])
            return body, {"kind": "resnet", "config": config.to_diff_dict()}, fingerprint(folder / "config.json", *weights)
    raise BeholderError(
        f"backbone = {name} is no ResNet with safetensors weights: give features, {EFFICIENTNET}, or a folder that  "
        "transformers.ResNetModel.save_pretrained  wrote"
    )


def make_body(description: dict[str, Any]) -> PixelBody:
    """The network of a description, with weights yet to be loaded."""
    if description["kind"] == EFFICIENTNET:
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingExtra("efficientnet-lite-pytorch", extra="local", purpose=f"the backbone {EFFICIENTNET}") from error
        # Without the random loss of whole blocks in training: a resumed training must draw nothing it cannot draw again.
        return PixelBody(EfficientNet.from_name(EFFICIENTNET, drop_connect_rate=0.0), kind=EFFICIENTNET, width=1280)
    import transformers

    config = transformers.ResNetConfig(**{key: value for key, value in description["config"].items() if key != "transformers_version"})
    return PixelBody(transformers.ResNetModel(config), kind="resnet", width=config.hidden_sizes[-1])


class Pixels:
    """Images by place, decoded by several threads; those that fit into `ROOM` are decoded once."""

    def __init__(self, images: Sequence[str | os.PathLike]) -> None:
        self.images = [os.fspath(image) for image in images]
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.images)

    def __call__(self, places: np.ndarray) -> torch.Tensor:
        """uint8 [n, 3, 224, 224].

        Raises:
            UnreadableImage: one of them cannot be read.
        """
        missing = [int(place) for place in places if int(place) not in self._kept]
        with ThreadPoolExecutor(usable_cores()) as pool:
            made = dict(zip(missing, pool.map(lambda place: cropped(self.images[place]), missing), strict=True))
        found = np.stack([self._kept[int(place)] if int(place) in self._kept else made[int(place)] for place in places])
        free = ROOM // found[0].nbytes - len(self._kept)
        self._kept.update(list(made.items())[: max(free, 0)])
        return torch.from_numpy(found)


def cropped(image: str | os.PathLike) -> np.ndarray:
    """uint8 [3, 224, 224]: the shorter side made 256 pixels long, the square of 224 in the middle."""
    photo = read_photo(image, min_side=RESIZE)
    short = min(photo.size)
    # Only the middle is looked at, and a strip of 1 : 1000 would be resized to an image of many megapixels.
    photo = _middle(photo, *(min(side, 2 * short) for side in photo.size))
    photo = photo.resize(tuple(max(RESIZE, round(side * RESIZE / short)) for side in photo.size), Image.Resampling.BILINEAR)
    return np.asarray(_middle(photo, CROP, CROP)).transpose(2, 0, 1).copy()


def _middle(photo: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (photo.width - width) // 2, (photo.height - height) // 2
    return photo.crop((left, top, left + width, top + height))


def state_of(image: str | os.PathLike) -> tuple:
    """A file's path and state, so that an image that was replaced is not mistaken for the old one; the path alone if there is no file."""
    try:
        state = os.stat(image)
    except OSError:
        return (os.fspath(image),)  # reading it will say why
    return (os.fspath(image), state.st_size, state.st_mtime_ns)
