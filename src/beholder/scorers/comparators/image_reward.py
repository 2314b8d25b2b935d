"""`imagereward`: a reward model on BLIP, through the package of its makers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.weights import fingerprint, offline
from beholder.errors import BeholderError
from beholder.photos import read_photo
from beholder.scorers.base import FeatureSource
from beholder.scorers.comparators.facts import Facts, missing_package
from beholder.scorers.comparators.large import LargeScorer
from beholder.scorers.comparators.options import IMAGE_REWARD, ImageRewardOptions

PACKAGE = "image-reward==1.5"


class ImageReward(LargeScorer):
    """The package's `score` for one prompt and one image. It reads 35 tokens of the prompt; the rest is cut off. Images are read here, upright.

    Raises:
        BeholderError: the package is missing, a file is not there, or nothing may be fetched.
    """

    name = "imagereward"
    slow_part = "ImageReward"
    Options = ImageRewardOptions
    facts = Facts(
        what="ImageReward: BLIP with a head for human preference",
        trained_on="137,000 expert comparisons of generated images of the same prompt",
        low=-2.0,
        high=2.0,
        range="mean 0 and standard deviation 1 over its makers' test images, of which 98 % lie between -2 and 2; below 0 is no error, only less liked",
        prompt="required",
        get=f"the package {PACKAGE}, which fetches ImageReward.pt and med_config.json of the hub repository THUDM/ImageReward; or these two files",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0",
        citation="Xu et al. 2023, ImageReward (NeurIPS; arXiv 2304.05977)",
    )

    def __init__(self, *, features: FeatureSource | None = None, options: Any = None) -> None:
        super().__init__(features=features, options=options)
        weights, config = self.options.weights, self.options.med_config
        self._files = {name: Path(given).expanduser() for name, given in (("weights", weights), ("med_config", config)) if given}
        if weights == IMAGE_REWARD:
            del self._files["weights"]
        for option, file in self._files.items():
            if not file.is_file():
                raise BeholderError(f"there is no file {file}: get {self.facts.get}, and give its path as {option}=FILE")
        if len(self._files) < 2 and offline():
            raise BeholderError(
                "the package image-reward would fetch its files, and BEHOLDER_OFFLINE or HF_HUB_OFFLINE forbids it: "
                "give both as  imagereward[weights=ImageReward.pt,med_config=med_config.json]"
            )
        self._package = _package()
        self._model: Any = None

    @property
    def source(self) -> str:
        files = {option: fingerprint(file) for option, file in self._files.items()}
        return f"{IMAGE_REWARD}@{files.get('weights', 'package')}/{files.get('med_config', 'package')}"

    def compute(self, images: Sequence[str], prompts: Sequence[str]) -> list[tuple[float, float]]:
        import torch

        with torch.no_grad():
            return [(float(self.model.score(prompt, read_photo(image))), 0.0) for image, prompt in zip(images, prompts, strict=True)]

    @property
    def model(self) -> Any:
        """Loaded when first needed. What the package prints goes where messages go, not among the results."""
        if self._model is None:
            given = {"med_config": str(self._files["med_config"])} if "med_config" in self._files else {}
            name = str(self._files.get("weights", IMAGE_REWARD))
            with contextlib.redirect_stdout(sys.stderr):
                self._model = self._package.load(name=name, device=choose_device(self.options.device), **given)
        return self._model


def _package() -> Any:
    try:
        import ImageReward
    except ImportError as error:
        raise missing_package("imagereward", PACKAGE, pins="timm 0.6.13 and an old transformers") from error
    return ImageReward
