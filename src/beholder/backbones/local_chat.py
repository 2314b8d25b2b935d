"""Chat models on this machine: any vision-language model or LLM that transformers knows, and the embedded LLM."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from beholder.backbones.chat import ChatModel, ChatRequest, NoAnswer
from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.backbones.sampling import SeededDraws
from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.vision_tower import _read_json, quiet_transformers
from beholder.backbones.vlm import FAMILIES, MINI
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra
from beholder.photos import read_photo

if TYPE_CHECKING:
    from beholder.backbones.language_model import LanguageModel

TEXT_BATCH = 8


def open_local(name: str, *, cache: ReplyCache | None, prices: tuple[float, float] | None, image_size: int, device: str) -> ChatModel:
    """A model on this machine by name; see `open_chat_model`. Weights are loaded at the first question that is not in the cache."""
    found = None if name.lower() == MINI else resolve(name, file="config.json")
    if found is None or (found.path.is_dir() and "scorer" in _read_json(found.path / "config.json")):
        raise BeholderError(
            f"{name} writes numbers, no words: give a vision-language model that chats (a folder, a hub repository), or URL#model of a server"
        )
    if found.path.is_file() and found.path.suffix != ".gguf":
        raise BeholderError(f"{name} is no chat model: name an LLM or a vision-language model, or URL#model of a server")
    if found.path.is_dir() and _kind(name, found.path) == "sees":
        if _read_json(found.path / "config.json").get("model_type") in FAMILIES:
            from beholder.backbones.vlm_chat import VlmChat

            return VlmChat(found.name, found.path, cache=cache, prices=prices, image_size=image_size, device=device)
        return VisionChat(found.name, found.path, cache=cache, prices=prices, image_size=image_size, device=device)
    return TextChat(found.name, found.path, cache=cache, prices=prices, device=device)


def _kind(name: str, folder: Path) -> str:
    """ "sees" for a vision-language model, "reads" for an LLM."""
    try:
        from transformers.models.auto import modeling_auto as known
    except ImportError as error:
        raise MissingExtra("transformers", extra="local", purpose=f"the chat model {name}") from error
    config = _read_json(folder / "config.json")
    kind, architecture = config.get("model_type"), str((config.get("architectures") or [""])[0])
    if kind in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not architecture.endswith("ForCausalLM"):
        return "sees"
    if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "reads"
    raise BeholderError(
        f"{name} is of the kind {architecture or kind!r}, which transformers cannot ask questions: convert it to the layout of transformers "
        f"(first LLaVA checkpoints need that), or serve it with its own code and give the URL"
    )


class TextChat(ChatModel):
    """An LLM without eyes, through `load_language_model`.

    Questions are answered in batches padded on the left. Where the model computes in bfloat16, another batch may round differently
    and so, where two words are about equally likely, go on with the other one; what was answered stays in the cache.
    """

    sees = False

    def __init__(self, name: str, path: Path, *, cache: ReplyCache | None, prices: tuple[float, float] | None, device: str) -> None:
        super().__init__(cache=cache, prices=prices)
        self.name, self._path, self._device = name, path, device
        self._model: LanguageModel | None = None
        self._loading = threading.RLock()

    @property
    def version(self) -> str:
        """The weights."""
        files = [self._path] if self._path.is_file() else [self._path / "config.json", *sorted(self._path.glob("*.safetensors"))]
        return fingerprint(*files)

    def _answers(self, requests: Sequence[tuple[str, ChatRequest]], *, max_tokens: int) -> Iterator[tuple[str, Reply]]:
        model = self._load()
        for start in range(0, len(requests), TEXT_BATCH):
            chunk = requests[start : start + TEXT_BATCH]
            with self._loading:
                special: dict[str, Any] = {"sampling": drawn} if any(drawn := [request.sampling for _, request in chunk]) else {}
                special |= {"histories": before} if any(before := [request.history for _, request in chunk]) else {}
                asked = [(request.system, request.text) for _, request in chunk]
                texts = model.answer(asked, max_new_tokens=max_tokens, batch_size=TEXT_BATCH, **special)
            for (key, request), text in zip(chunk, texts, strict=True):
                yield key, self._written(key, request, text)

    def _pieces(self, key: str, request: ChatRequest, *, max_tokens: int) -> Generator[str, None, Reply]:
        import torch

        from beholder.backbones.written_pieces import pieces_of, tokens_of

        model = self._load()
        prompt = model.prompt(request.system, request.text, request.history)
        model.must_fit([prompt], max_tokens)
        given = model.generation([prompt], max_new_tokens=max_tokens, drawn=[request.sampling])

        def generate(**more: object) -> None:
            with self._loading, torch.inference_mode():
                model.model.generate(**given, **more)

        def decode(ids: Sequence[int]) -> str:
            return model.tokenizer.decode(ids, skip_special_tokens=True)

        with closing(tokens_of(generate)) as tokens:
            ids = yield from pieces_of(tokens, decode)
        return self._written(key, request, decode(ids).strip())

    def _written(self, key: str, request: ChatRequest, text: str) -> Reply:
        """An answer is kept and counted."""
        encode = self._load().encode
        read = [request.system, request.text, *(part for turn in request.history for part in turn)]
        return self._done(key, text, prompt_tokens=sum(len(encode(part)) for part in read), completion_tokens=len(encode(text)))

    def _load(self) -> LanguageModel:
        from beholder.backbones.language_model import load_language_model

        with self._loading:
            if self._model is None:
                self._model = load_language_model(self.name, device=self._device, only_words=True)
        return self._model


class VisionChat(ChatModel):
    """A vision-language model of transformers, of any family. Questions are answered one by one, so that no answer can depend on the others.

    Args:
        folder: in the Hugging Face layout, with safetensors weights and a chat template.
        image_size: a larger photograph is made smaller before the model's own preprocessing.

    Raises:
        BeholderError: no safetensors weights.
    """

    def __init__(
        self, name: str, folder: Path, *, cache: ReplyCache | None, prices: tuple[float, float] | None, image_size: int, device: str
    ) -> None:
        super().__init__(cache=cache, prices=prices)
        self.name, self._folder, self._image_size, self._device_wish = name, folder, image_size, device
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise BeholderError(f"{name} has no safetensors weights: save it with  model.save_pretrained(FOLDER)  and name that folder")
        self._files = [folder / "config.json", *weights]
        self._loaded: tuple[Any, Any] | None = None
        self._loading = threading.RLock()

    @property
    def version(self) -> str:
        """Weights and image size."""
        return f"{fingerprint(*self._files)}/{self._image_size}px"

    def _answers(self, requests: Sequence[tuple[str, ChatRequest]], *, max_tokens: int) -> Iterator[tuple[str, Reply]]:
        for key, request in requests:
            with self._loading:
                text, n_in, n_out = self._generate(request, max_tokens=max_tokens)
            yield key, self._done(key, text, prompt_tokens=n_in, completion_tokens=n_out)

    def _generate(self, request: ChatRequest, *, max_tokens: int) -> tuple[str, int, int]:
        """Text, tokens in, tokens out."""
        import torch

        processor, model = self._load()
        given, n_in = self._given_to(processor, model, request, max_tokens=max_tokens)
        with torch.inference_mode(), quiet_transformers():
            ids = model.generate(**given)[0, n_in:]
        return processor.batch_decode(ids[None], skip_special_tokens=True)[0], n_in, len(ids)

    def _pieces(self, key: str, request: ChatRequest, *, max_tokens: int) -> Generator[str, None, Reply]:
        import torch

        from beholder.backbones.written_pieces import pieces_of, tokens_of

        with self._loading:
            processor, model = self._load()
        given, n_in = self._given_to(processor, model, request, max_tokens=max_tokens)

        def generate(**more: object) -> None:
            with self._loading, torch.inference_mode(), quiet_transformers():
                model.generate(**given, **more)

        def decode(ids: Sequence[int]) -> str:
            return processor.batch_decode([list(ids)], skip_special_tokens=True)[0]

        with closing(tokens_of(generate)) as tokens:
            ids = yield from pieces_of(tokens, decode)
        return self._done(key, decode(ids), prompt_tokens=n_in, completion_tokens=len(ids))

    def _given_to(self, processor, model, request: ChatRequest, *, max_tokens: int) -> tuple[dict[str, Any], int]:
        """(what `generate` is told, tokens in)."""
        inputs = {"text": [self._prompt(processor, request)], "return_tensors": "pt"}
        if request.image is not None:
            photo = read_photo(request.image, min_side=self._image_size)
            photo.thumbnail((self._image_size, self._image_size), Image.Resampling.LANCZOS)
            inputs["images"] = [photo]
        tensors = processor(**inputs).to(model.device, dtype=model.dtype)
        n_in = tensors["input_ids"].shape[1]
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context and n_in + max_tokens > context:
            raise NoAnswer(
                f"the question to {self.name} takes {n_in} tokens and its answer up to {max_tokens}, more than the {context} it can read: "
                f"shorten the profile, or make image_size smaller",
                kind="too long",
            )
        drawn = {"logits_processor": [SeededDraws([request.sampling])]} if request.sampling else {}
        return dict(tensors) | {"max_new_tokens": max_tokens, "do_sample": False, "num_beams": 1} | drawn, n_in

    def _prompt(self, processor, request: ChatRequest) -> str:
        """The chat template filled in. Models whose template knows no system message get it before the question."""
        picture = [{"type": "image"}] if request.image is not None else []

        def filled(system: str, before: str = "") -> str:
            said = [("user", request.text)]
            said[:0] = [turn for question, answer in request.history for turn in (("user", question), ("assistant", answer))]
            messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
            messages[0]["content"] = [*picture, {"type": "text", "text": before + said[0][1]}]
            if system:
                messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
            return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

        if request.system:
            try:
                prompt = filled(request.system)
            except Exception:  # templates raise what they like
                prompt = ""
            if request.system.strip() in prompt:
                return prompt
        try:
            return filled("", before=f"{request.system}\n\n" if request.system else "")
        except Exception as error:
            raise BeholderError(f"{self.name} has no chat template that can be used ({error}): name an instruction-tuned model") from None

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            device = choose_device(self._device_wish)
            import transformers

            with quiet_transformers():
                try:
                    processor = transformers.AutoProcessor.from_pretrained(self._folder, local_files_only=True)
                except Exception as error:  # a missing package shows as any kind of error
                    reason = " ".join(str(error).split())[:200]
                    missing = "torchvision" in str(error) or isinstance(error, AttributeError)
                    advice = "install the torchvision that belongs to your torch" if missing else "copy its preprocessor and tokenizer files, too"
                    raise BeholderError(f"the processor of {self.name} cannot be loaded ({reason}): {advice}, or give the URL of a server") from None
                if not hasattr(processor, "image_processor"):
                    raise BeholderError(f"{self.name} has no image processor: copy its preprocessor_config.json, too")
                model = transformers.AutoModelForImageTextToText.from_pretrained(
                    self._folder, local_files_only=True, dtype="auto", use_safetensors=True
                )
            self._loaded = processor, model.eval().requires_grad_(False).to(device)
        return self._loaded
