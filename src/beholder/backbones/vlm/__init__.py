"""Vision-language models: hidden states, answers and training behind one interface (`base.VisionLanguageModel`). Importing this imports no torch."""

from __future__ import annotations

import importlib
import os
import threading
from typing import TYPE_CHECKING

from beholder.backbones.weights import resolve
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.backbones.vlm.base import VisionLanguageModel

MINI = "beholder-mini"
# model_type of config.json -> where the class of the family is; the embedded model has no config.json
FAMILIES = {
    "qwen3_vl": "beholder.backbones.vlm.qwen3_vl:Qwen3VL",
    "qwen2_5_vl": "beholder.backbones.vlm.qwen2_5_vl:Qwen25VL",
    "gemma3": "beholder.backbones.vlm.gemma3:Gemma3",
    "llava": "beholder.backbones.vlm.llava:Llava",
    "idefics3": "beholder.backbones.vlm.idefics3:Idefics3",
    "smolvlm": "beholder.backbones.vlm.idefics3:Idefics3",
    MINI: "beholder.scorers.pmllm.vlm:BeholderMini",
}
KINDS = (".json", ".jinja", ".model", ".safetensors", ".txt")  # endings of the files that a model is made of
_opened: dict[tuple, VisionLanguageModel] = {}
_opening = threading.Lock()


def is_vlm(name: str | os.PathLike) -> bool:
    """Whether this is a vision-language model of a known family; False, too, if there is no such model at all."""
    try:
        return _find(name)[1] is not None
    except BeholderError:
        return False


def open_vlm(
    name: str | os.PathLike = MINI,
    *,
    max_pixels: int = 1_048_576,
    device: str = "auto",
    dtype: str = "auto",
    blocks: int | None = None,
) -> VisionLanguageModel:
    """A vision-language model by name. This is cheap: its weights are loaded when first needed.

    Whoever asks for the same model again in this process gets the same object, so that it is loaded once; those with `blocks` are their caller's own.

    Args:
        name: "beholder-mini", a folder that `beholder train pmllm` wrote (the same with these weights), a local folder, or a hub repository
            (see `weights.resolve`).
        max_pixels, device, dtype, blocks: see `base.VisionLanguageModel`.

    Raises:
        BeholderError: not found, of an unknown kind, or its folder lacks something.
    """
    folder, family, title = _find(name)
    if family is None:
        known = ", ".join(kind for kind in FAMILIES if kind != MINI)
        raise BeholderError(f"{os.fspath(name)} is no vision-language model of a known family: choose {MINI} or one of the kind {known}")
    files = () if folder is None else sorted(file for file in folder.iterdir() if file.suffix in KINDS)
    states = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)  # a folder may get another model
    key = (folder or MINI, states, max_pixels, device, dtype)
    module, _, cls = FAMILIES[family].partition(":")
    with _opening:
        if blocks is None and key in _opened:
            return _opened[key]
        for other in [one for one in _opened if one[0] == key[0] and one[1] != states]:
            del _opened[other]  # of a model that is not there any more: it is not held in memory
        options = {"max_pixels": max_pixels, "device": device, "dtype": dtype, "blocks": blocks}
        made = getattr(importlib.import_module(module), cls)(title, folder=folder, **options)
        if blocks is None:
            _opened[key] = made
        return made


def _find(name: str | os.PathLike):
    """(folder, family or None, title). Raises BeholderError if there is no such model."""
    if os.fspath(name).lower() == MINI:
        return None, MINI, MINI
    from beholder.backbones.vision_tower import _read_json

    found = resolve(name)
    if not found.path.is_dir():
        return found.path, None, found.name
    config = _read_json(found.path / "config.json")
    if config.get("scorer") in ("pmllm", "pmllm-s"):  # other weights of the embedded model
        return found.path, MINI, found.path.name
    kind = config.get("model_type")
    return found.path, kind if kind in FAMILIES else None, found.path.name if found.source == "folder" else found.name
