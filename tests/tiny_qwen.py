"""Random Qwen3-VL and Qwen2.5-VL models of the real classes, small enough for tests, with their files: weights, tokenizer, template, image processor."""

from __future__ import annotations

import json
import string
from pathlib import Path

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
# What the published template does with users, assistants and systems
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": None,
    "eos_token_id": SPECIAL.index("<|im_end|>"),
    "pad_token_id": SPECIAL.index("<|endoftext|>"),
}
VISION = {"intermediate_size": 48, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2, "depth": 4, "hidden_size": 24}
ENDS = {
    "image_token_id": SPECIAL.index("<|image_pad|>"),
    "video_token_id": SPECIAL.index("<|video_pad|>"),
    "vision_start_token_id": SPECIAL.index("<|vision_start|>"),
    "vision_end_token_id": SPECIAL.index("<|vision_end|>"),
}


def tokenizer(template=TEMPLATE):
    """Special tokens, then one token a sign."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    signs = [*SPECIAL, "<unk>", *string.printable]
    inner = Tokenizer(models.WordLevel({sign: number for number, sign in enumerate(signs)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=SPECIAL[0], eos_token="<|im_end|>", unk_token="<unk>", additional_special_tokens=list(SPECIAL)
    )
    made.chat_template = template
    return made


def save_qwen3_vl(folder, *, seed=0, template=TEMPLATE, text=None, vision=None, std=0.2):
    """A Qwen3-VL with DeepStack after two of its vision blocks; returns the folder as text. `text` and `vision` change sizes."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    text = TEXT | {"head_dim": 8, "rope_parameters": rope, "vocab_size": 128} | (text or {})
    vision = VISION | {"patch_size": 8, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 2]} | (vision or {})
    config = Qwen3VLConfig(text_config=text, vision_config=vision | {"out_hidden_size": text["hidden_size"]}, tie_word_embeddings=True, **ENDS)
    return _save(folder, Qwen3VLForConditionalGeneration, config, template, vision, seed, std)


def save_qwen2_5_vl(folder, *, seed=0, template=TEMPLATE, text=None, vision=None, std=0.2):
    """A Qwen2.5-VL whose vision blocks but one see windows of 2 x 2 tokens; returns the folder as text."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    text = TEXT | {"rope_parameters": rope, "vocab_size": 128} | (text or {})
    vision = VISION | {"patch_size": 8, "window_size": 32, "fullatt_block_indexes": [2]} | (vision or {})
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision | {"out_hidden_size": text["hidden_size"]}, tie_word_embeddings=False, **ENDS)
    return _save(folder, Qwen2_5_VLForConditionalGeneration, config, template, vision, seed, std)


def _save(folder, maker, config, template, vision, seed, std):
    """std: of all weights; wide enough for the blocks to differ."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = maker(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.normal_(0, std)
    model.save_pretrained(folder)
    made = tokenizer(template)
    if template is None:
        made.chat_template = None
    made.save_pretrained(folder)
    pixels = {"image_processor_type": "Qwen2VLImageProcessor", "size": {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}}
    pixels |= {"patch_size": vision["patch_size"], "merge_size": 2, "temporal_patch_size": 2}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(pixels | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    return str(folder)
