"""`hpsv3`: a reward model on Qwen2-VL, through the package of its makers; it says how sure it is."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.weights import fingerprint, offline, resolve
from beholder.errors import BeholderError
from beholder.photos import read_photo
from beholder.scorers.base import FeatureSource
from beholder.scorers.comparators.facts import Facts, missing_package
from beholder.scorers.comparators.large import LargeScorer
from beholder.scorers.comparators.options import HPSV3, HPSv3Options

FILE = "HPSv3.safetensors"
PACKAGE = "hpsv3==1.0.0"


class HPSv3(LargeScorer):
    """The package gives [mu, log sigma] for each image: mu is the value, sigma = exp(log sigma) its standard deviation, as its training reads them.

    Everything is passed by name, as the order of the arguments differs between versions of the package. Images are read here, upright.

    Raises:
        BeholderError: the package or the weights are missing, the package is of an unknown version, or it would fetch what may not be fetched.
    """

    name = "hpsv3"
    slow_part = "HPSv3, a model of 7 billion parameters"
    Options = HPSv3Options
    facts = Facts(
        what="HPSv3: Qwen2-VL-7B with a head for human preference",
        trained_on="HPDv3: 1.17 million choices between generated images and photographs",
        low=-4.0,
        high=14.0,
        range="no fixed ends (only differences were trained); means of whole generators lie between -0.2 (SD 2) and 10.6 (Kolors), good photographs above",
        prompt="optional",
        get=f"the package {PACKAGE} and the hub repository {HPSV3} ({FILE}); the package fetches Qwen/Qwen2-VL-7B-Instruct as well",
        code_licence="MIT",
        weights_licence="MIT (Qwen2-VL-7B: Apache-2.0)",
        citation="Ma et al. 2025, HPSv3 (ICCV; arXiv 2508.03789)",
    )

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        self._maker = _package()
        if offline() and not os.environ.get("HF_HUB_OFFLINE", "").strip():
            raise BeholderError(
                "the package hpsv3 would fetch Qwen/Qwen2-VL-7B-Instruct, and BEHOLDER_OFFLINE forbids it without the package knowing: set HF_HUB_OFFLINE=1 "
                "as well, with that model in the hub's cache"
            )
        found = resolve(self.options.weights, file=FILE).path
        self._file = found / FILE if found.is_dir() else found
        self._inferencer: Any = None

    @property
    def source(self) -> str:
        return f"{Path(self._file).name}@{fingerprint(self._file)}"

    def compute(self, images: Sequence[str], prompts: Sequence[str]) -> list[tuple[float, float]]:
        import torch

        with torch.inference_mode():
            made = self.inferencer.reward(image_paths=[read_photo(image) for image in images], prompts=list(prompts))
        if made.ndim != 2 or made.shape[1] != 2:
            raise BeholderError(f"the package hpsv3 gives {tuple(made.shape)} values, not mu and sigma for each image: install {PACKAGE}")
        return [(float(mu), math.exp(float(log_sigma))) for mu, log_sigma in made.float().cpu().tolist()]

    @property
    def inferencer(self) -> Any:
        """Loaded when first needed."""
        if self._inferencer is None:
            self._inferencer = self._maker(checkpoint_path=str(self._file), device=choose_device(self.options.device))
        return self._inferencer


def _package() -> Any:
    """The class `HPSv3RewardInferencer`, whose `reward` takes what is passed by name."""
    try:
        from hpsv3 import HPSv3RewardInferencer
    except ImportError as error:
        raise missing_package(
            "hpsv3", PACKAGE, pins="transformers 4.45.2 and deepspeed, and puts modules called evaluate and generate there"
        ) from error
    taken = set(inspect.signature(HPSv3RewardInferencer.reward).parameters)
    if not {"image_paths", "prompts"} <= taken:
        raise BeholderError(
            f"this version of the package hpsv3 takes {', '.join(sorted(taken))}, not image_paths and prompts: install {PACKAGE}"
        )
    return HPSv3RewardInferencer
