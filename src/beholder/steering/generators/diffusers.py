"""`diffusers:...`: any text-to-image pipeline in the diffusers layout, from a local folder, the Hugging Face cache or the hub."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra
from beholder.options import from_texts
from beholder.steering.base import CallFailed, Generator

INDEX = "model_index.json"
# what a pipeline's call names these options
_NAMES = {"steps": "num_inference_steps", "guidance": "guidance_scale", "width": "width", "height": "height", "negative": "negative_prompt"}


@dataclass(frozen=True)
class DiffusersOptions:
    """Options in brackets; what is not given is as the pipeline has it.

    Args:
        steps: of denoising. guidance: scale of classifier-free guidance.
        width, height: pixels; most models take multiples of 8 only.
        dtype: of the weights; "auto" is float32 on a CPU, else bfloat16 where the device has it, else float16.
        negative: prompt of what should not be there; it may hold commas.
        batch: images computed at once; more are faster on a GPU. The images are the same but for rounding.
    """

    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    negative: str = ""
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "width", "height", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BeholderError(f"{name} = {value} of a diffusers pipeline is too small: give 1 or more")


class DiffusersGenerator(Generator):
    """A text-to-image pipeline. The noise of an image is drawn on the CPU from its own seed: the same prompt and seed give the same image
    alone or among others, and nearly the same one on any device. Making one loads no weights.

    Args:
        text: "FOLDER-OR-HUB-NAME[steps=20,guidance=5,negative=blurry, text]". Pickled weights and code from the hub are never loaded.
        size: (width, height); those in the brackets take precedence.
        device: "auto" (a CUDA GPU if there is one), "cpu", "cuda", "mps".

    Attributes:
        version: of the weights, the configuration and the options.

    Raises:
        BeholderError: not found, without safetensors weights, or an unknown option.
        MissingExtra: diffusers is not installed.
    """

    def __init__(self, text: str, *, size: tuple[int, int] | None = None, device: str = "auto") -> None:
        wanted, texts = split_options(text)
        if importlib.util.find_spec("diffusers") is None:
            raise MissingExtra("diffusers", extra="t2i", purpose=f"the generator diffusers:{wanted}")
        options = from_texts(DiffusersOptions, texts, of=f"the generator diffusers:{wanted}")
        if size is not None:
            options = replace(options, width=options.width or size[0], height=options.height or size[1])
        found = resolve(wanted, file=INDEX, fetch=_download)
        self.name, self.options = f"diffusers:{text.strip()}", options
        self._folder, self._device_wish = found.path, device
        weights = sorted(self._folder.glob("*/*.safetensors"))
        if not weights:
            raise BeholderError(
                f"{wanted} has no safetensors weights: save it with  pipeline.save_pretrained(FOLDER)  and name that folder"
            )
        files = [self._folder / INDEX, *sorted(self._folder.glob("*/*.json")), *weights]
        chosen = {name: value for name, value in asdict(options).items() if name != "batch"}
        digest = hashlib.blake2b(json.dumps(chosen, sort_keys=True).encode(), digest_size=4).hexdigest()
        self.version = f"{fingerprint(*files)}-{digest}"
        self._pipeline: Any = None
        self._loading = threading.RLock()
        self._cut = 0

    def generate(self, prompt: str, *, seed: int) -> Image.Image:
        result = self._render([(prompt, seed)])[0]
        if isinstance(result, CallFailed):
            raise result
        return result

    def generate_many(self, requests: Sequence[tuple[str, int]]) -> Iterator[tuple[int, Image.Image | CallFailed]]:
        for start in range(0, len(requests), self.options.batch):
            yield from enumerate(self._render(requests[start : start + self.options.batch]), start)

    def notes(self) -> list[str]:
        if not self._cut:
            return []
        most = _longest(self._pipeline)
        return [
            f"{self._cut} prompts were longer than the {most} tokens that {self.name} reads, so it never saw their ends: ask for fewer words"
        ]

    def load(self) -> Any:
        """The pipeline, loaded when first needed. It takes one call at a time."""
        with self._loading:
            if self._pipeline is None:
                self._pipeline = self._loaded()
            return self._pipeline

    def _loaded(self) -> Any:
        device = choose_device(self._device_wish)
        import torch

        name = self.options.dtype
        if name == "auto":
            half = "float16" if device.startswith("cuda") and not torch.cuda.is_bf16_supported() else "bfloat16"
            name = "float32" if device == "cpu" else half
        diffusers = _diffusers()
        modern = tuple(int(part) for part in diffusers.__version__.split(".")[:2]) >= (0, 42)  # older ones only know the other name
        options = {"local_files_only": True, "use_safetensors": True, ("dtype" if modern else "torch_dtype"): getattr(torch, name)}
        try:
            with quiet():
                try:
                    pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(str(self._folder), **options)
                except ValueError:  # a pipeline that its list of tasks does not know
                    pipeline = diffusers.DiffusionPipeline.from_pretrained(str(self._folder), **options)
                pipeline.set_progress_bar_config(disable=True)
                pipeline = pipeline.to(device)
        except Exception as error:  # whatever a damaged folder makes it raise
            if _out_of_memory(error):
                raise BeholderError(
                    f"{self.name} does not fit into the memory of {device}: give dtype=float16, or a smaller model"
                ) from None
            raise BeholderError(f"{self.name} cannot be loaded ({_said(error)}): download or save it again") from error
        takes = inspect.signature(pipeline.__call__).parameters
        lacking = [option for option, wanted in _NAMES.items() if getattr(self.options, option) and wanted not in takes]
        if "prompt" not in takes or lacking:
            what = f"takes no {', '.join(lacking)}" if lacking else "takes no prompt"
            raise BeholderError(
                f"{self.name} is a {type(pipeline).__name__}, which {what}: leave that out, or name another text-to-image pipeline"
            )
        return pipeline

    def _render(self, requests: Sequence[tuple[str, int]]) -> list[Image.Image | CallFailed]:
        pipeline = self.load()
        import torch

        given = {_NAMES[name]: value for name in _NAMES if (value := getattr(self.options, name))}
        if self.options.guidance is not None:
            given["guidance_scale"] = self.options.guidance  # 0 is a wish, too
        if "negative_prompt" in given:
            given["negative_prompt"] = [self.options.negative] * len(requests)
        generators = [torch.Generator(device="cpu").manual_seed(seed) for _, seed in requests]
        with self._loading:
            self._cut += sum(_is_cut(pipeline, prompt) for prompt, _ in requests)
            try:
                with quiet(), torch.inference_mode():
                    made = pipeline(prompt=[prompt for prompt, _ in requests], generator=generators, output_type="pil", **given)
            except Exception as error:  # the libraries below raise every kind
                if _out_of_memory(error):
                    smaller = "a smaller batch" if len(requests) > 1 else "a smaller width and height, or dtype=float16"
                    raise BeholderError(f"{self.name} ran out of memory: give {smaller} in the brackets") from None
                raise BeholderError(f"{self.name} made no image ({_said(error)}): mend its options in the brackets") from error
        flagged = getattr(made, "nsfw_content_detected", None) or [False] * len(requests)
        if isinstance(flagged, bool):
            flagged = [flagged] * len(requests)
        return [self._checked(image, bad) for image, bad in zip(made.images, flagged, strict=True)]

    def _checked(self, image: Image.Image | None, flagged: bool) -> Image.Image | CallFailed:
        if flagged or image is None:
            return CallFailed(f"the safety checker of {self.name} held the image back", kind="refused")
        image = image.convert("RGB")
        if not image.getbbox():  # numbers that are none become black
            return CallFailed(f"{self.name} made nothing but black, as if its numbers had overflowed: give dtype=float32", kind="broken")
        return image


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """ "DIR[steps=5,negative=blurry, text]" -> ("DIR", {"steps": "5", "negative": "blurry, text"}): a comma splits only where an option follows.

    What is there as a folder is no name with options, whatever brackets it has.
    """
    text = text.strip()
    if Path(text).expanduser().exists():
        return text, {}
    plain, bracket, rest = text.partition("[")
    if text.endswith("]"):  # a folder's own brackets come first
        start = next((i for i, sign in reversed(list(enumerate(text))) if sign == "[" and Path(text[:i]).expanduser().exists()), len(plain))
        plain, bracket, rest = text[:start], text[start], text[start + 1 :]
    if not bracket:
        return plain, {}
    pairs = [part.partition("=") for part in re.split(r",(?=\s*[A-Za-z_-]+\s*=)", rest.removesuffix("]")) if part.strip()]
    if not rest.endswith("]") or not all(key.strip() and equals for key, equals, _ in pairs):
        raise BeholderError(
            f"the generator diffusers:{text} cannot be understood: options are written diffusers:NAME[option=value,option=value]"
        )
    return plain.strip(), {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no notes of diffusers and transformers; the settings of others are put back."""
    from diffusers.utils import logging as their_logging

    from beholder.backbones.vision_tower import quiet_transformers

    logger = logging.getLogger("diffusers")
    level, bars = logger.level, their_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    their_logging.disable_progress_bar()
    try:
        with quiet_transformers():
            yield
    finally:
        logger.setLevel(level)
        if bars:
            their_logging.enable_progress_bar()


def _diffusers() -> Any:
    from beholder.backbones.vision_tower import quiet_transformers

    with quiet_transformers():  # it imports image processors, which complain that torchvision is missing
        import diffusers
    return diffusers


def _download(name: str) -> Path:
    """From the hub: the files that the pipeline is made of, not every variant of them."""
    diffusers = _diffusers()
    with quiet():
        return Path(diffusers.DiffusionPipeline.download(name, use_safetensors=True))


def _tokenizers(pipeline: Any) -> list[Any]:
    return [part for part in getattr(pipeline, "components", {}).values() if hasattr(part, "model_max_length")]


def _longest(pipeline: Any) -> int:
    """Tokens of the text encoder that reads most."""
    return max((tokenizer.model_max_length for tokenizer in _tokenizers(pipeline)), default=0)


def _is_cut(pipeline: Any, prompt: str) -> bool:
    with quiet():
        return bool(_tokenizers(pipeline)) and all(len(one(prompt)["input_ids"]) > one.model_max_length for one in _tokenizers(pipeline))


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error)


def _said(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {line[:200].rstrip('.')}"
