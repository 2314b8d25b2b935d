"""How images and conversations are shown to the model that is tuned, and to everybody who reads it afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beholder.backbones.vlm.base import IGNORED, Turn
from beholder.backbones.vlm.llava import Llava
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from PIL import Image

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to "
    "the user's questions."
)
# LLaVA-1.5's conversation "v1", which is Vicuna's: an end mark after each answer, earlier ones included; all images of a message first
V1 = (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}"
    "{{ (said if said is string else said[0]['text']) + ' ' }}{% else %}{{ \"" + SYSTEM + " \" }}{% endif %}"
    "{% for message in messages if message['role'] != 'system' %}"
    "{% set text = message['content'] if message['content'] is string else "
    "message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' }}{% if message['content'] is not string %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}{% endif %}{{ text + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + text + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


class Conversations(Llava):
    """The model before it is tuned, with the preprocessing and the chat template that it will have afterwards. Its weights are not touched.

    Args:
        template: "v1" or "own".
        pad: whether bars of the mean colour make images square.
    """

    def __init__(self, name: str, *, folder: Path, template: str, pad: bool, **options: Any) -> None:
        super().__init__(name, folder=folder, **options)
        self._wanted_template, self.pad = template, pad

    @cached_property
    def _template(self) -> str:
        return V1 if self._wanted_template == "v1" else super()._template

    @cached_property
    def processor(self) -> Any:
        """The image processor, on Pillow and numpy; with `pad` LLaVA's, which the tuned model gets, too."""
        own = super().processor
        if not self.pad:
            return own
        known = {name: value for name, value in own.to_dict().items() if not name.endswith("processor_type") and name != "processor_class"}
        return self._transformers.LlavaImageProcessorPil(**known | {"do_pad": True})

    @cached_property
    def n_around(self) -> int:
        """Tokens that stand around one question and its answer, at most."""
        return len(self.turn(["?"], answer="!").ids)

    @cached_property
    def image_tokens_each(self) -> int:
        """Tokens of any image."""
        return self.prepare(self.blank).n_tokens

    @property
    def blank(self) -> Image.Image:
        """A small image that stands for any."""
        from PIL import Image

        return Image.new("RGB", (8, 8))

    def conversation(self, turns: Sequence[tuple[str, str]], image: Any = None) -> Turn:
        """A whole conversation about an image (None: about none), every answer marked."""
        *earlier, (question, answer) = turns
        seen = [] if image is None else [self.prepare(image)]
        return self.turn([*seen, question], answer=answer, history=earlier)

    def labelled(self, turn: Turn, *, max_length: int) -> tuple[list[int], list[int], bool]:
        """([s] tokens, [s] labels: -100 wherever no answer stands; whether the end was cut off). s is at most `max_length`."""
        labels = [token if said else IGNORED for token, said in zip(turn.ids, turn.answer_mask, strict=True)]
        return list(turn.ids[:max_length]), labels[:max_length], len(turn.ids) > max_length


def check_base(config: dict[str, Any], *, name: str) -> None:
    """Raises BeholderError with what to do if this config.json is not of a LLaVA that transformers reads."""
    kinds = [str(config.get("model_type", "")), *map(str, config.get("architectures") or ())]
    original = "mm_vision_tower" in config or any(kind.lower().startswith(("llava_llama", "llavallama", "llava_mistral")) for kind in kinds)
    if original:
        raise BeholderError(
            f"{name} is a checkpoint of the original LLaVA code, which transformers cannot read: take a converted one, such as "
            "llava-hf/llava-1.5-7b-hf, or convert it with transformers' convert_llava_weights_to_hf.py"
        )
    if config.get("model_type") != "llava":
        raise BeholderError(
            f"{name} is of the kind {config.get('model_type') or 'unknown'!r}, which cannot be tuned here: take a LLaVA-1.5, such as "
            "llava-hf/llava-1.5-7b-hf, a folder of that kind, or tiny-random to try things out"
        )
