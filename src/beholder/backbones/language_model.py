"""Frozen causal language models of the Llama architecture, and their tokenizers.

A GGUF file (the embedded SmolLM2) is unpacked once into bfloat16 safetensors in the cache: reading it directly takes 17 s each time.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beholder.backbones.chat import NoAnswer
from beholder.backbones.sampling import Sampling, SeededDraws
from beholder.backbones.torch_encoder import choose_device
from beholder.backbones.vision_tower import quiet_transformers
from beholder.backbones.weights import fingerprint, resolve
from beholder.errors import BeholderError, MissingExtra
from beholder.paths import cache_dir

if TYPE_CHECKING:
    import torch

DEFAULT_LANGUAGE_MODEL = "smollm2-135m-instruct"
READY = "config.json"  # written last: its presence says that the unpacked folder is whole
_unpacking = threading.Lock()


@dataclass
class LanguageModel:
    """A frozen language model.

    Args:
        name, revision: of the weights; other weights, other revision.
        model: a transformers causal LM without gradients, in evaluation mode.
        tokenizer: the model's own, with its chat template.
        device: where the model is.
    """

    name: str
    revision: str
    model: Any
    tokenizer: Any
    device: str
    _chat: ChatLayout | None = field(default=None, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @property
    def context(self) -> int:
        """The most tokens the model can see at once."""
        return int(self.model.config.max_position_embeddings)

    @property
    def chat(self) -> ChatLayout:
        """How a conversation is written for this model."""
        if self._chat is None:
            self._chat = ChatLayout.of(self.tokenizer)
        return self._chat

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; no begin or end token is added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def harmless(self, text: str) -> str:
        """The text with marks of the chat layout taken apart: what people wrote cannot end its own turn."""
        for mark in self.tokenizer.added_tokens_decoder.values():  # all_special_tokens lacks Llama 3's header marks
            if mark.special:
                text = text.replace(mark.content, " ".join(mark.content))
        return text

    def prompt(self, system: str, user: str, history: Sequence[tuple[str, str]] = ()) -> list[int]:
        """Tokens of a conversation up to where the answer begins.

        Args:
            history: earlier questions and answers.
        """
        text = self.chat.before_user(self.harmless(system))
        for question, answer in history:
            text += self.harmless(question) + self.chat.after_user + self.harmless(answer) + self.chat.after_answer + self.chat.user[0]
        return self.encode(text + self.harmless(user) + self.chat.after_user)

    def must_fit(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        """Raises `NoAnswer` if a prompt with its answer is longer than the model's context."""
        longest = max(map(len, prompts))
        if longest + max_new_tokens > self.context:
            raise NoAnswer(
                f"a prompt has {longest} tokens, the language model {self.name} sees {self.context} at most: shorten it", kind="too long"
            )

    def generation(self, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, drawn: Sequence[Sampling | None] = ()) -> dict[str, Any]:
        """What `generate` of transformers is told for prompts that are answered together: greedy, or drawn row by row."""
        tokens, mask = self.left_padded(prompts)
        processors = [SeededDraws(drawn)] if any(drawn) else None
        ends = {"eos_token_id": self.stop, "pad_token_id": self.padding}
        greedy = {"do_sample": False, "temperature": None, "top_p": None}
        return {"input_ids": tokens, "attention_mask": mask, "max_new_tokens": max_new_tokens, "logits_processor": processors} | ends | greedy

    def answer(
        self,
        prompts: Sequence[tuple[str, str]],
        *,
        max_new_tokens: int = 96,
        batch_size: int = 8,
        sampling: Sequence[Sampling | None] | None = None,
        histories: Sequence[Sequence[tuple[str, str]]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """Answers to (system text or "", user text), in their order.

        Args:
            sampling: of each answer; None = the most probable words. An answer is the same whatever others are in its batch.
            histories: of each conversation the earlier questions and answers.

        Raises:
            NoAnswer: a prompt is longer than the model's context.
        """
        import torch

        ids = [self.prompt(*prompt, history) for prompt, history in zip(prompts, histories or [()] * len(prompts), strict=True)]
        if ids:
            self.must_fit(ids, max_new_tokens)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        answers = [""] * len(ids)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            drawn = [sampling[place] for place in places] if sampling is not None else []
            given = self.generation([ids[place] for place in places], max_new_tokens=max_new_tokens, drawn=drawn)
            with torch.inference_mode():
                made = self.model.generate(**given)
            for row, place in enumerate(places):
                answers[place] = self.tokenizer.decode(made[row, given["input_ids"].shape[1] :], skip_special_tokens=True).strip()
            if progress:
                progress(min(start + batch_size, len(order)), len(order))
        return answers

    def left_padded(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts of n conversations -> (tokens, attention mask), [n, longest] int64: all rows end where the answer begins."""
        import torch

        width = max(map(len, ids))
        tokens = torch.full((len(ids), width), self.padding, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, one in enumerate(ids):
            tokens[row, width - len(one) :] = torch.tensor(one)
            mask[row, width - len(one) :] = 1
        return tokens.to(self.device), mask.to(self.device)

    @cached_property
    def stop(self) -> list[int]:
        """Tokens that end an answer."""
        found = self.encode(self.chat.after_answer)[:1] if self.chat.after_answer else []
        ends = self.model.generation_config.eos_token_id or self.model.config.eos_token_id
        found += [ends] if isinstance(ends, int) else list(ends or ())
        return list(dict.fromkeys(found))

    @property
    def padding(self) -> int:
        known = self.tokenizer.pad_token_id
        return known if known is not None else (self.stop[0] if self.stop else 0)


@dataclass(frozen=True)
class ChatLayout:
    """The text around the messages of a conversation, found by filling in the tokenizer's own chat template.

    Args:
        system: (before, after) the system message; the begin-of-text token is included.
        user: (before, after) the user's message, up to where the assistant's answer begins.
        alone: before the user's message where there is no system message.
        after_answer: what ends the assistant's answer.
    """

    system: tuple[str, str]
    user: tuple[str, str]
    alone: str
    after_answer: str

    def before_user(self, system: str) -> str:
        """Everything before the user's words. An empty system text gives no system message at all.

        Templates that put a system message of their own where there is none (a name, a date) are not let do so.
        """
        return self.system[0] + system + self.system[1] + self.user[0] if system else self.alone

    @property
    def after_user(self) -> str:
        return self.user[1]

    @classmethod
    def of(cls, tokenizer) -> ChatLayout:
        """From the template; models without one get plain lines ("Question: ... Answer: ...")."""
        begin = tokenizer.bos_token or ""
        if not getattr(tokenizer, "chat_template", None):
            return cls(system=(begin, "\n\n"), user=("Question: ", "\nAnswer: "), alone=begin + "Question: ", after_answer="\n")
        marks = {"system": "\u2460SYSTEM\u2460", "user": "\u2461USER\u2461", "assistant": "\u2462ASSISTANT\u2462"}
        messages = [{"role": role, "content": mark} for role, mark in marks.items()]

        def fill(messages: list[dict[str, str]], **options) -> str:
            return tokenizer.apply_chat_template(messages, tokenize=False, date_string="26 Jul 2024", **options)

        try:
            whole = fill(messages)
            before_system, rest = whole.split(marks["system"])
            between, rest = rest.split(marks["user"])
            after_answer = rest.split(marks["assistant"])[1]
            before_answer = fill(messages[:2], add_generation_prompt=True).split(marks["user"])[1]
            alone = fill(messages[1:2]).split(marks["user"])[0]
        except Exception as error:  # templates raise whatever they like, such as for roles they do not know
            raise BeholderError(
                f"the chat template of the language model cannot be used ({type(error).__name__}: {error}): "
                "it must accept system, user and assistant messages"
            ) from error
        # Between system and user stand the end of the one turn, which is also what ends an answer, and the beginning of the other.
        end = _common_beginning(between, after_answer)
        start = between[len(end) :]
        if before_system in alone and alone.endswith(between):  # the template put in a system message of its own
            alone = start if begin in start else begin + start
        return cls(system=(before_system, end), user=(start, before_answer), alone=alone, after_answer=after_answer)


class NotLlama(BeholderError):
    """A language model without the layers of the Llama architecture: it can answer in words, and nothing can be put on it."""


def load_language_model(
    name: str | os.PathLike = DEFAULT_LANGUAGE_MODEL, *, dtype: str = "auto", device: str = "auto", only_words: bool = False
) -> LanguageModel:
    """A frozen language model by name.

    Args:
        name: the embedded part, a local folder, a GGUF file, or a hub repository (see `weights.resolve`).
        dtype: "auto" (bfloat16 where the processor computes in it, else float32), "float32", "bfloat16", "float64".
        device: "auto", "cpu", "cuda", ...
        only_words: it is only used for `answer`, which any causal language model can give.

    Raises:
        NotLlama: not of the Llama architecture, and more than words are wanted.
        BeholderError: not found.
    """
    found = resolve(name)
    if found.path.is_file() and found.path.suffix != ".gguf":
        raise BeholderError(f"{name} is no language model: name an LLM in the layout of transformers, a GGUF file, or smollm2-135m-instruct")
    folder = unpacked(found.path) if found.path.is_file() else found.path
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", extra="local", purpose=f"the language model {name}") from error
    device = choose_device(device)
    wanted = getattr(torch, dtype) if dtype != "auto" else best_dtype(device)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BeholderError(f"{name} has no safetensors weights: save it with  model.save_pretrained(FOLDER)  and name that folder")
    with quiet_transformers():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=wanted, use_safetensors=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    suits = hasattr(getattr(model, "model", None), "layers") and hasattr(model.model.layers[0].self_attn, "q_proj")
    if not suits and not only_words:
        raise NotLlama(f"{name} is of type {model.config.model_type!r}, not of the Llama architecture: choose such a model")
    title = found.name if found.source != "folder" else found.path.name
    model = model.eval().requires_grad_(False).to(device)
    # of an unpacked file its own hash: what comes of it depends on the versions of the libraries in details that do not matter
    revision = fingerprint(found.path) if found.path.is_file() else fingerprint(*weights)
    return LanguageModel(title, revision, model, tokenizer, device)


def best_dtype(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device != "cpu":
        return torch.float32
    try:
        return torch.bfloat16 if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    except (AttributeError, RuntimeError):
        return torch.float32


def unpacked(file: Path) -> Path:
    """The folder with the safetensors of a GGUF file, made now if it is not there.

    Raises:
        BeholderError: the file cannot be read, or the folder not be written.
    """
    folder = cache_dir("models", f"{file.stem.lower()}-{fingerprint(file)}")
    with _unpacking:
        if (folder / READY).is_file():
            return folder
        try:
            import gguf  # noqa: F401  transformers reads GGUF files with it
            import torch
            import transformers
            from safetensors.torch import save_file
        except ImportError as error:
            raise MissingExtra("gguf", extra="local", purpose=f"the language model {file.stem}") from error
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):  # its bar of tensors cannot be switched off
                model = transformers.AutoModelForCausalLM.from_pretrained(
                    file.parent, gguf_file=file.name, dtype=torch.float32, quantization_config=transformers.GgufConfig(dequantize=True)
                )
                tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
            if model.config.tie_word_embeddings:
                tensors.pop("lm_head.weight", None)
            save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
            tokenizer.save_pretrained(partial)
            config = model.config
            config.dtype = "bfloat16"
            if hasattr(config, "quantization_config"):
                del config.quantization_config
            config.save_pretrained(partial)
            if not folder.exists():
                os.replace(partial, folder)
        except OSError as error:
            raise BeholderError(f"the language model cannot be unpacked into {folder}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _common_beginning(one: str, other: str) -> str:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]
