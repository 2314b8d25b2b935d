"""The published Q-Align checkpoints (mPLUG-Owl2), which only the Python files beside their weights can compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.vision_tower import quiet_transformers
from beholder.backbones.weights import fingerprint
from beholder.errors import BeholderError, MissingExtra
from beholder.photos import read_photo
from beholder.scorers.comparators.options import QAlignOptions

KINDS = (".bin", ".json", ".model", ".py", ".safetensors")


class OriginalQAlign:
    """The model's own `score(images, task_="aesthetics", input_="image")`, which asks, pads and weighs as published.

    Raises:
        BeholderError: `remote_code` is not set, or the model is not a local folder that holds the code.
    """

    def __init__(self, options: QAlignOptions) -> None:
        folder = Path(options.model).expanduser()
        if not options.remote_code:
            raise BeholderError(
                f"{options.model} can only be computed by the Python files that lie beside it, which are not run unasked: read them, "
                f"then add remote_code=true; or name a converted model"
            )
        if not folder.is_dir() or not list(folder.glob("*.py")):
            raise BeholderError(
                f"remote_code=true takes a local folder with the model's Python files, which {options.model} is not: download the whole hub repository "
                f"q-future/one-align into a folder, and name that"
            )
        self.folder, self.options = folder.absolute(), options
        self._model: Any = None

    @property
    def source(self) -> str:
        """Weights, code and precision."""
        files = sorted(file for file in self.folder.iterdir() if file.suffix in KINDS)
        return f"{self.folder.name}@{fingerprint(*files)}/original/{self.options.dtype}"

    def scores(self, images: Sequence[str]) -> list[float]:
        """1..5 of each image."""
        photos = [read_photo(image) for image in images]
        made = self.model.score(photos, task_="aesthetics", input_="image")
        return [float(value) for value in made.float().cpu().reshape(-1)]

    @property
    def model(self) -> Any:
        """Loaded when first needed."""
        if self._model is None:
            try:
                import transformers
            except ImportError as error:
                raise MissingExtra("transformers", extra="local", purpose="the original Q-Align") from error
            options: dict[str, Any] = {"trust_remote_code": True, "local_files_only": True}
            if self.options.dtype != "auto":
                options["torch_dtype"] = self.options.dtype
            try:
                with quiet_transformers():
                    made = transformers.AutoModelForCausalLM.from_pretrained(self.folder, **options)
            except Exception as error:  # code for another version of transformers raises every kind
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise BeholderError(
                    f"the code of {self.folder.name} cannot be loaded with transformers {transformers.__version__} ({lines[0][:200].rstrip('.')}): "
                    f"it was written for 4.36, so install that in an environment of its own"
                ) from error
            self._model = made.eval().requires_grad_(False).to(choose_device(self.options.device))
        return self._model
