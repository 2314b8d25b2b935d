"""Vision-language models in a folder in the layout of transformers, without torchvision: image processor and tokenizer are put together by hand."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from beholder.backbones.vision_tower import _processor, _processor_config, _read_json, quiet_transformers
from beholder.backbones.vlm.base import History, PreparedImage, Turn, VisionLanguageModel, is_out_of_memory
from beholder.backbones.vlm.chat_text import ChatText, template_of
from beholder.backbones.weights import fingerprint
from beholder.errors import BeholderError, MissingExtra

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What the text becomes depends on these, as far as they are there; on the last one where an answer ends
OLDEST = 5  # transformers
TEXT_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "generation_config.json"),
)


class FolderModel(VisionLanguageModel):
    """What all families of transformers share. A family says how many tokens an image takes, where the blocks are, and what else is special.

    Attributes:
        placeholder: what the chat template writes where an image stands.
        processor_options: for the image processor, whatever its own configuration says.

    Raises:
        BeholderError: the folder has no safetensors weights.
    """

    placeholder: str
    processor_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str, *, folder: Path, **options) -> None:
        super().__init__(name, folder=folder, **options)
        self.config = _read_json(folder / "config.json")
        self.family = self.config["model_type"]
        self._weights = sorted(folder.glob("*.safetensors"))
        if not self._weights:
            raise BeholderError(f"{name} has no safetensors weights: save it with  model.save_pretrained(FOLDER)  and name that folder")

    # What is known without the weights

    @cached_property
    def revision(self) -> str:
        return fingerprint(self.folder / "config.json", *self._weights)

    @cached_property
    def processing(self) -> str:
        files = [self.folder / name for name in TEXT_FILES if (self.folder / name).is_file()]
        parts = [json.dumps(_processor_config(self.folder), sort_keys=True), self._template, *map(fingerprint, files)]
        return f"{self.family}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:8]}-{self.max_pixels}px"

    @property
    def n_blocks(self) -> int:
        return self._size("text_config", "num_hidden_layers")

    @property
    def width(self) -> int:
        return self._size("text_config", "hidden_size")

    @property
    def n_vision_blocks(self) -> int:
        return self._size("vision_config", "num_hidden_layers", "depth")

    @property
    def vision_width(self) -> int:
        return self._size("vision_config", "hidden_size")

    @property
    def image_token_id(self) -> int:
        """The token that stands for a piece of an image."""
        return self._size("", "image_token_id", "image_token_index")

    def _size(self, section: str, *names: str) -> int:
        """A number of config.json; transformers knows those that the file leaves out because they are the default."""
        inside = self.config.get(section) or {}
        for name in names:
            for place in (inside, {} if section == "vision_config" else self.config):
                if isinstance(place.get(name), int):
                    return place[name]
        whole = self._transformers_config
        place = {"": whole, "text_config": whole.get_text_config(), "vision_config": getattr(whole, "vision_config", None)}[section]
        return next(getattr(place, name) for name in names if hasattr(place, name))

    @cached_property
    def _transformers_config(self) -> Any:
        try:
            return self._transformers.AutoConfig.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # an architecture it does not know, or a number it does not accept
            raise BeholderError(f"the config.json of {self.name} cannot be used ({_short(error)}): try a newer transformers") from None

    @property
    def _transformers(self) -> Any:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtra("transformers", extra="local", purpose=f"the vision-language model {self.name}") from error
        if int(transformers.__version__.partition(".")[0]) < OLDEST:  # other names of processors, other arguments of positions
            raise BeholderError(
                f"vision-language models need transformers {OLDEST} or newer, {transformers.__version__} is installed: pip install -U transformers"
            )
        return transformers

    @cached_property
    def tokenizer(self) -> Any:
        transformers = self._transformers
        with self.reading, quiet_transformers():
            made = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        if not made.is_fast:
            raise BeholderError(f"{self.name} has no tokenizer.json: save its tokenizer with a version of transformers that writes one")
        return made

    @cached_property
    def _template(self) -> str:
        return template_of(self.folder, self.tokenizer, name=self.name)

    @cached_property
    def chat(self) -> ChatText:
        return ChatText(self.tokenizer, self._template, placeholder=self.placeholder, name=self.name)

    # From images and words to tokens

    @cached_property
    def processor(self) -> Any:
        """The image processor, on Pillow and numpy."""
        with self.reading:
            return _processor(self.folder, _processor_config(self.folder))

    def at_most(self, image: Image.Image) -> Image.Image:
        """The image with no more than `max_pixels`, its proportions kept."""
        from PIL import Image

        width, height = image.size
        if width * height <= self.max_pixels:
            return image
        scale = math.sqrt(self.max_pixels / (width * height))
        size = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

    def processed(self, image: Image.Image) -> dict[str, np.ndarray]:
        """What the image processor makes of an image, made smaller before if it is too large."""
        made = self.processor(images=self.at_most(image), return_tensors="np", **self.processor_options)
        return {name: np.asarray(one) for name, one in made.items()}

    def turn(
        self, parts: Sequence[str | PreparedImage], *, answer: str | None = None, reply: bool = False, history: History = (), system: str = ""
    ) -> Turn:
        images = tuple(part for part in parts if not isinstance(part, str))
        words = [part if isinstance(part, str) else None for part in parts]
        filled = self.chat.fill(words, [image.text for image in images], reply=reply or answer is not None, history=history, system=system)
        if answer is None:
            tokens, answer_mask = self.chat.tokens(filled.text), ()
        else:
            tokens, answer_mask = self.chat.with_answer(filled.text, answer, earlier=filled.answers)
        image_mask = tuple(token == self.image_token_id for token in tokens.ids)
        if sum(image_mask) != sum(image.n_tokens for image in images):
            raise BeholderError(f"the tokenizer of {self.name} does not know its image token: copy its tokenizer files again, all of them")
        its_places, places = [place for place, is_image in enumerate(image_mask) if is_image], []
        for number, image in enumerate(images):
            used = sum(other.n_tokens for other in images[:number])
            places.append(its_places[used] if image.n_tokens else tokens.first_at(filled.images[number]))
        return Turn(tokens.ids, images, image_mask, tokens.within(filled.words), tuple(places), answer_mask)

    # The loaded model

    def _load(self) -> Any:
        transformers, config = self._transformers, copy.deepcopy(self._transformers_config)
        if self.blocks is not None:
            text = config.get_text_config()
            text.num_hidden_layers = min(self.blocks, text.num_hidden_layers)
            if getattr(text, "layer_types", None) is not None:
                text.layer_types = text.layer_types[: text.num_hidden_layers]
        maker = transformers.AutoModelForImageTextToText if self.blocks is None else transformers.AutoModel
        options = {"local_files_only": True, "dtype": self.dtype, "use_safetensors": True, "output_loading_info": True}
        try:
            with quiet_transformers():
                made, found = maker.from_pretrained(self.folder, config=config, **options)
            made = made.eval().requires_grad_(False).to(self.device)
        except Exception as error:  # from a damaged file to a full memory
            advice = "download it again"
            if is_out_of_memory(error):
                advice = "choose a smaller model or, if it is not the one in use, dtype=bfloat16"
            raise BeholderError(f"{self.name} cannot be loaded ({_short(error)}): {advice}") from error
        if found["missing_keys"]:
            raise BeholderError(f"the weights of {self.name} lack {min(found['missing_keys'])}: download the model again")
        return made

    @property
    def inner(self) -> torch.nn.Module:
        return self.model.model if self.blocks is None else self.model

    @property
    def decoder(self) -> torch.nn.Module:
        return self.inner.language_model


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
