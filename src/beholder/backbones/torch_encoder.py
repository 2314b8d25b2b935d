"""What all image encoders that run on torch share: lazy loading, devices, threads, and batches that cannot change an answer."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from beholder.backbones import threads
from beholder.backbones.base import ImageEncoder
from beholder.errors import BeholderError, MissingExtra

CUDA_BATCH = 32


class TorchEncoder(ImageEncoder):
    """An image encoder on torch. Making one is cheap and imports no torch; the weights are loaded when first needed.

    On a CPU every image is computed by itself, one image per core: this is the fastest there, and an image's vector
    cannot depend on its batch. On a GPU images of equal shape are computed together.

    Args:
        device: "auto" (a CUDA GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
    """

    concurrent = True  # `encode` may be called by several threads at once

    def __init__(self, *, device: str = "auto") -> None:
        self._device_wish = device
        self._device: str | None = None
        self._network = None
        self._loading = threading.RLock()
        self._executor: ThreadPoolExecutor | None = None

    @property
    def device(self) -> str:
        """The device in use. Imports torch."""
        with self._loading:
            if self._device is None:
                self._device = choose_device(self._device_wish)
            return self._device

    @property
    def batch_size(self) -> int:
        """How many inputs `encode` computes together. Imports torch."""
        return 1 if self.device == "cpu" else CUDA_BATCH

    def load(self) -> None:
        """Load the weights now instead of at the first `encode`."""
        with self._loading:
            if self._network is None:
                self._network = self._load(self.device)

    @abstractmethod
    def _load(self, device: str) -> object:
        """The network, ready to compute on `device`."""

    @abstractmethod
    def _forward(self, network, batch: np.ndarray, device: str) -> dict[str, np.ndarray]:
        """One batch of equal inputs [n, ...] -> layer -> [n, dim] float32. Runs without gradients, in several threads at once."""

    def encode(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs of `preprocess` (shapes may differ) -> for each layer [n, dim] float32, in their order."""
        if not len(inputs):
            return {layer: np.zeros((0, dim), dtype=np.float32) for layer, dim in self.layers.items()}
        self.load()
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(inputs):
            groups.setdefault(np.shape(one), []).append(place)
        chunks = [places[i : i + self.batch_size] for places in groups.values() for i in range(0, len(places), self.batch_size)]
        if self.device == "cpu" and not threads.is_worker():  # a lone image too: torch's own threads would round differently
            parts = list(self._workers().map(self._encode_chunk, [[inputs[i] for i in chunk] for chunk in chunks]))
        else:
            parts = [self._encode_chunk([inputs[i] for i in chunk]) for chunk in chunks]
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([np.asarray(chunk) for chunk in chunks]))
        return {layer: np.concatenate([part[layer] for part in parts])[order] for layer in self.layers}

    def _encode_chunk(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        if threads.is_worker():
            threads.limit_torch()
        batch = np.ascontiguousarray(inputs[0])[None] if len(inputs) == 1 else np.stack(inputs)
        if self.device == "cpu":
            with torch.inference_mode():
                return self._forward(self._network, batch, self.device)
        # One batch at a time is enough for a GPU. The flags are global; they keep the full precision of float32.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with self._loading, torch.inference_mode(), exact:
            return self._forward(self._network, batch, self.device)

    def _workers(self) -> ThreadPoolExecutor:
        with self._loading:
            if self._executor is None:
                import torch

                self._executor = ThreadPoolExecutor(
                    max_workers=torch.get_num_threads(), thread_name_prefix="beholder-encode", initializer=threads.mark_worker
                )
            return self._executor

    def __getstate__(self) -> dict:  # for processes of a cluster: locks, threads and weights stay behind
        return self.__dict__ | {"_loading": None, "_executor": None, "_network": None, "_device": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _loading=threading.RLock())


def choose_device(wish: str) -> str:
    """The device for "auto" (of several processes on one machine, each its own GPU), or the wished one if torch has it.

    Raises:
        BeholderError: it has not.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("torch", extra="local", purpose="computing features of images") from error
    if wish == "auto":
        rank = os.environ.get("LOCAL_RANK")  # set by accelerate launch and torchrun
        return ("cuda" if rank is None else f"cuda:{rank}") if torch.cuda.is_available() else "cpu"
    kind = wish.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        have = ", ".join(name for name, there in available.items() if there)
        raise BeholderError(f"device = {wish!r} is not available here: choose one of auto, {have}")
    return wish
