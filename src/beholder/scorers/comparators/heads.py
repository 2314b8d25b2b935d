"""Small heads of linear layers: our own reader of the files in which others publish them, and the arithmetic in numpy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError, MissingExtra

# Where linear layers stand in their torch.nn.Sequential -> whether a ReLU follows each but the last. What stands between them is Dropout otherwise,
# which does nothing once training is over.
STACKS = {(0, 2, 4, 6, 7): False, (0, 2, 4, 6, 8): False, (0, 3, 6, 9, 11): True}


@dataclass(frozen=True)
class Head:
    """Linear layers one after the other.

    Args:
        layers: (weight [out, in], bias [out]) float64 each; the last has one output.
        relu: whether negative values become 0 between them.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    relu: bool = False

    @property
    def width(self) -> int:
        """Of the vectors it reads."""
        return self.layers[0][0].shape[1]

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """[n, width] -> [n] float64."""
        values = np.asarray(vectors, dtype=np.float64)
        for place, (weight, bias) in enumerate(self.layers):
            values = values @ weight.T + bias
            if self.relu and place < len(self.layers) - 1:
                values = np.maximum(values, 0.0)
        return values[:, 0]


def read_head(file: str | Path, *, stacked: bool, get: str) -> Head:
    """Read a head.

    Args:
        file: .safetensors, or what torch.save wrote; of such a file only tensors are read, no code in it is run.
        stacked: five layers with numbered names ("layers.0.weight"), else one ("weight").
        get: where the right file is to be had, for messages.

    Raises:
        BeholderError: not there, unreadable, or of another shape.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise BeholderError(f"there is no file {file}: get {get}, and give its path as weights=FILE")
    tensors = _tensors(path, get=get)
    try:
        return _stack(tensors) if stacked else _single(tensors)
    except ValueError as error:
        raise BeholderError(f"{file} is another kind of head ({error}): get {get}") from None


def _tensors(path: Path, *, get: str) -> dict[str, np.ndarray]:
    """Name -> float64 array."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return {name: np.asarray(value, dtype=np.float64) for name, value in load_file(path).items()}
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("torch", extra="local", purpose=f"reading {path.name}") from error
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.detach().double().numpy() for name, value in found.items()}
    except MissingExtra:
        raise
    except Exception as error:  # a web page, half a file, a pickle with code in it: every kind is raised
        raise BeholderError(
            f"{path} cannot be read as weights ({type(error).__name__}; a web page saved in place of the file?): get {get}"
        ) from None


def _single(tensors: Mapping[str, np.ndarray]) -> Head:
    if set(tensors) != {"weight", "bias"}:
        raise ValueError(f"it holds {_named(tensors)}, not weight and bias")
    return _checked([(tensors["weight"], tensors["bias"])], relu=False)


def _stack(tensors: Mapping[str, np.ndarray]) -> Head:
    matched = {name: re.fullmatch(r"(.*?)(\d+)\.(weight|bias)", name) for name in tensors}
    if not matched or not all(matched.values()) or len({match[1] for match in matched.values()}) > 1:
        raise ValueError(f"it holds {_named(tensors)}, not the layers of one stack")
    places = tuple(sorted({int(match[2]) for match in matched.values()}))
    if places not in STACKS:
        raise ValueError(f"its layers are numbered {', '.join(map(str, places))}")
    prefix = next(iter(matched.values()))[1]
    wanted = [(f"{prefix}{place}.weight", f"{prefix}{place}.bias") for place in places]
    missing = [name for pair in wanted for name in pair if name not in tensors]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return _checked([(tensors[weight], tensors[bias]) for weight, bias in wanted], relu=STACKS[places])


def _checked(layers: list[tuple[np.ndarray, np.ndarray]], *, relu: bool) -> Head:
    """Layers that fit each other and end in one number."""
    for place, (weight, bias) in enumerate(layers):
        before = layers[place - 1][0].shape[0] if place else None
        if weight.ndim != 2 or bias.shape != (weight.shape[0],) or before not in (None, weight.shape[1]):
            raise ValueError(f"layer {place + 1} of shape {weight.shape} does not fit")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {place + 1} holds values that are no numbers")
    if layers[-1][0].shape[0] != 1:
        raise ValueError(f"it gives {layers[-1][0].shape[0]} values, not one")
    return Head(tuple(layers), relu)


def _named(tensors: Mapping[str, np.ndarray]) -> str:
    return ", ".join(list(tensors)[:3]) or "nothing"
