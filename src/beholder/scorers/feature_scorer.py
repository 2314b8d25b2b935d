"""What scorers on frozen image features share: where features come from, which of a rater's ratings speak of which image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from beholder.errors import BeholderError
from beholder.scorers.base import FeatureSource, Scorer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
SHIPPED = Path(__file__).parent / "weights"


class FeatureScorer(Scorer):
    """A scorer that sees images through the features of a frozen encoder.

    Args:
        features: gives them; its `key` must be the one that the weights were trained with.
    """

    feature_layers: ClassVar[tuple[str, ...]] = tuple(
        layer + scale for scale in ("", "@half") for layer in ("pool", "max", "block10", "block14", "block15")
    )  # of the embedded encoder; docs/decisions.md has what each of them is worth

    def __init__(self, *, features: FeatureSource) -> None:
        self.features = features

    def layer_widths(self) -> dict[str, int]:
        """Feature layer -> width, in the order of the columns; one layer if the source does not tell."""
        layers = getattr(self.features, "layers", None)
        if not layers:
            return {"features": self.features.dim}
        return {name: columns.stop - columns.start for name, columns in layers.items()}

    def check_features(self, key: str, *, folder: object) -> None:
        """Refuse weights that were trained on features of another kind."""
        if key != self.features.key:
            raise BeholderError(
                f"the {self.name} weights in {folder} were trained on features {key}, these are {self.features.key}: "
                f"use the same --encoder, or train with  beholder train {self.name} --data DIR --out DIR --encoder THIS-ONE"
            )


def unique_rows(lists: Sequence[Sequence[str]]) -> tuple[list[str], list[np.ndarray]]:
    """Several lists of images -> the distinct ones in order of first appearance, and each list as indices into them."""
    place: dict[str, int] = {}
    rows = [np.array([place.setdefault(os.fspath(image), len(place)) for image in images], dtype=np.int64) for images in lists]
    return list(place), rows


def write_weights(folder: str | os.PathLike, *, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], card: str) -> Path:
    """config.json, model.safetensors and README.md, each through a temporary file: never half a checkpoint."""
    from safetensors.numpy import save

    folder = Path(folder)
    contents = {
        WEIGHTS_FILE: save({name: np.ascontiguousarray(value) for name, value in tensors.items()}),
        CARD_FILE: card.encode(),
        CONFIG_FILE: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),  # last: its presence says all is there
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            partial = folder / f".{name}.{os.getpid()}.partial"
            partial.write_bytes(data)
            os.replace(partial, folder / name)
    except OSError as error:
        raise BeholderError(f"the weights cannot be written to {folder}: {error.strerror or error}; choose another --out") from None
    return folder


def read_weights(folder: str | os.PathLike, *, scorer: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write_weights` wrote.

    Raises:
        BeholderError: nothing there, damaged, or the weights of another scorer.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load((folder / WEIGHTS_FILE).read_bytes())
    except FileNotFoundError as error:
        raise BeholderError(
            f"{folder} holds no {scorer} weights ({Path(error.filename).name} is missing): give the folder that `beholder train {scorer}` wrote"
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        raise BeholderError(f"the weights in {folder} cannot be read ({error}): copy or train them again") from None
    if not isinstance(config, dict) or config.get("scorer") != scorer:
        kind = config.get("scorer") if isinstance(config, dict) else None
        raise BeholderError(f"{folder} holds weights of the scorer {kind!r}, not {scorer!r}: use --scorer {kind}")
    return config, tensors


@contextmanager
def understanding(folder: str | os.PathLike, *, scorer: str) -> Iterator[None]:
    """Weights that can be read but lack something, or hold something of another shape, end in one sentence."""
    try:
        yield
    except BeholderError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise BeholderError(
            f"the weights in {folder} are damaged or of another version of beholder ({what}): "
            f"train them again with  beholder train {scorer} --data DIR --out DIR"
        ) from None
