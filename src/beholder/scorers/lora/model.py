"""Low-rank adapters (LoRA, Hu et al. 2021) on the decoder of a shared vision-language model: put on, trained or loaded, taken off again.

Source of the settings: Ryu & Yanaka 2026, "What Do Vision-Language Models Encode for Personalized Image Aesthetics Assessment?"
(arXiv 2604.11374). There, targets are found by name in the whole model, so that some vision towers are adapted too; here only the decoder is.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beholder.errors import BeholderError, MissingExtra
from beholder.paths import cache_dir
from beholder.scorers.lora.options import LoRAOptions

if TYPE_CHECKING:
    import torch

    from beholder.backbones.vlm.base import VisionLanguageModel

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NAME = "rater"
WIDTH = 4.0  # of the scale 1..5, on which models answer
IN_MEMORY = 8  # adapters; one of a model with 4 billion weights takes 33 MB


@dataclass(frozen=True)
class Facts:
    """What is known of a trained adapter beside its weights.

    Args:
        half_width: of the 90 % intervals, on 1..5.
        steps: of the training.
        left_out: ratings whose images could not be read.
    """

    half_width: float
    steps: int
    left_out: int


@dataclass(frozen=True)
class Adapter:
    """A trained adapter: name -> float16 tensor on the CPU, and its facts."""

    tensors: dict[str, torch.Tensor]
    facts: Facts


class Attached:
    """An adapter that is on the decoder now; see `attached`."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        from peft.tuners.lora import LoraLayer

        self.layers = {name: layer for name, layer in decoder.named_modules() if isinstance(layer, LoraLayer)}
        self.parameters: dict[str, torch.nn.Parameter] = {}
        for name, layer in self.layers.items():
            for part in (layer.lora_A[NAME], layer.lora_B[NAME]):
                part.float()  # steps of the optimizer are smaller than what bfloat16 resolves
            self.parameters |= {f"{name}.A": layer.lora_A[NAME].weight, f"{name}.B": layer.lora_B[NAME].weight}
        self.dropping(False)

    @property
    def n_weights(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())

    def dropping(self, on: bool) -> None:
        """Switch the adapter's dropout on or off; the frozen model stays in evaluation mode."""
        for layer in self.layers.values():
            layer.lora_dropout[NAME].train(on)

    def tensors(self) -> dict[str, torch.Tensor]:
        """A copy of the weights, as they are kept."""
        import torch

        return {name: parameter.detach().to("cpu", torch.float16, copy=True) for name, parameter in self.parameters.items()}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Raises ValueError if they are those of an adapter of another shape."""
        import torch

        if {name: value.shape for name, value in tensors.items()} != {name: value.shape for name, value in self.parameters.items()}:
            raise ValueError("the adapter has another shape")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[name])


@contextmanager
def attached(vlm: VisionLanguageModel, *, options: LoRAOptions) -> Iterator[Attached]:
    """A new adapter on the linear layers `TARGETS` of the decoder, for as long as the context lasts; it changes nothing until it is trained.

    The weights of the decoder are never written to: what comes out afterwards is what came out before, to the bit. Torch's random numbers come from
    the options' seed inside; those outside go on as if nothing had been drawn. Hold the model's lock.

    Raises:
        BeholderError: the decoder has no such layers.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise MissingExtra("peft", extra="local", purpose="adapting a model to a rater (LoRA)") from error
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=list(TARGETS), bias="none")
    decoder = vlm.decoder
    with _seeded(options.seed, device=vlm.device):
        try:
            try:
                LoraModel(decoder, config, NAME)
            except ValueError:
                raise BeholderError(
                    f"the decoder of {vlm.name} has none of the layers {', '.join(TARGETS)}: LoRA needs one of the Llama kind"
                ) from None
            yield Attached(decoder)
        finally:
            _take_off(decoder)


def _take_off(decoder: torch.nn.Module) -> None:
    """Put the layers back that an adapter stands before, also of one that was put on only in part (full memory, Ctrl-C)."""
    from peft.tuners.lora import LoraLayer

    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                setattr(parent, name, child.get_base_layer())
    if hasattr(decoder, "peft_config"):
        del decoder.peft_config


@contextmanager
def _seeded(seed: int, *, device: str) -> Iterator[None]:
    """Context with torch's random numbers from a seed; those outside go on as if nothing had been drawn."""
    import torch

    devices = []
    if device.startswith("cuda"):
        index = torch.device(device).index
        devices = [torch.cuda.current_device() if index is None else index]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that one reaches devices which are not restored
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


class Adapters:
    """Trained adapters by key: the latest in memory, all of them in the cache folder if wanted.

    A folder that cannot be written is said once; a damaged file counts as not there.

    Args:
        keep: whether they are written to the folder.
    """

    def __init__(self, *, keep: bool) -> None:
        self.folder: Path | None = cache_dir("adapters") if keep else None
        self._latest: OrderedDict[str, Adapter] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        """Whether `get` will most likely find it; a damaged file is seen only then."""
        return key in self._latest or (self.folder is not None and self._path(key).is_file())

    def get(self, key: str) -> Adapter | None:
        found = self._latest.get(key) or self._read(key)
        if found is not None:
            self._remember(key, found)
        return found

    def put(self, key: str, adapter: Adapter) -> None:
        self._remember(key, adapter)
        if self.folder is None:
            return
        from safetensors.torch import save

        path = self._path(key)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(save(adapter.tensors, metadata={"facts": json.dumps(asdict(adapter.facts))}))
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            warnings.warn(
                f"adapters cannot be kept in {self.folder} ({error.strerror or error}): they are forgotten when this ends; "
                "make room, or set BEHOLDER_CACHE to another folder",
                UserWarning,
                stacklevel=2,
            )
            self.folder = None

    def _read(self, key: str) -> Adapter | None:
        if self.folder is None or not self._path(key).is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path(key), framework="pt") as file:
                facts: dict[str, Any] = json.loads(file.metadata()["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
            return Adapter(tensors, Facts(float(facts["half_width"]), int(facts["steps"]), int(facts["left_out"])))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, key: str, adapter: Adapter) -> None:
        self._latest[key] = adapter
        self._latest.move_to_end(key)
        while len(self._latest) > IN_MEMORY:
            self._latest.popitem(last=False)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"
