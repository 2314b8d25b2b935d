"""Random vision-language models of the real classes, small enough for tests, each with tokenizer, chat template and preprocessor files.

The templates have the form of those of the published models: where the image stands, what is trimmed, which marks surround it.
"""

from __future__ import annotations

import string

LLAVA_TEMPLATE = (  # all images first, then all texts
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<start_of_image>' }}{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
IDEFICS_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CELLS = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]

VISION = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32}

def tokenizer(template, *, special=(), **named):
    """One token a sign; `special` marks are one token each, those in `named` known under these names."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<pad>", "<s>", "</s>", "<unk>", *named.values(), *special]
    signs = [*dict.fromkeys(marks), *string.printable]
    inner = Tokenizer(models.WordLevel({sign: number for number, sign in enumerate(signs)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens(list(special))
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )
    made.chat_template = template
    return made


def _llama(tokens, **sizes):
    from transformers import LlamaConfig

    given = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"vocab_size": len(tokens), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 8192}
    return LlamaConfig(**(given | ends | {"initializer_range": 0.15} | sizes))


def _save(folder, model, *processors):
    """Everything in one folder; the weights of normalisations spread out, so that a wrong one is noticed. Returns the folder as text."""
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    for processor in processors:
        processor.save_pretrained(folder)
    return str(folder)


def save_llava(folder, *, seed=0, layer=-2, strategy="default", vision="clip"):
    """LLaVA-1.5's make: 32-pixel squares in patches of 8, a class token with CLIP (none with SigLIP), 3 vision blocks, 4 decoder blocks."""
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

    torch.manual_seed(seed)
    tokens = tokenizer(LLAVA_TEMPLATE, image_token="<image>")
    tower = CLIPVisionConfig(**VISION, patch_size=8, initializer_range=0.15) if vision == "clip" else SiglipVisionConfig(**VISION, patch_size=8)
    config = LlavaConfig(
        vision_config=tower,
        text_config=_llama(tokens),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=layer,
        vision_feature_select_strategy=strategy,
    )
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return _save(folder, LlavaForConditionalGeneration(config), tokens, pixels)


def save_gemma3(folder, *, seed=0, window=24):
    """Gemma 3's make: 32-pixel squares, 64 patches, 4 tokens an image, 3 vision blocks; 4 decoder blocks, every second with a sliding window."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessorPil, Gemma3TextConfig, SiglipVisionConfig

    torch.manual_seed(seed)
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokens = tokenizer(GEMMA_TEMPLATE, special=["<start_of_turn>", "<end_of_turn>"], **named)
    text = Gemma3TextConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"] * 2,
        initializer_range=0.15,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=[2, tokens.convert_tokens_to_ids("<end_of_turn>")],
    )
    config = Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(**VISION, patch_size=4, vision_use_head=False),
        mm_tokens_per_image=4,
        boi_token_index=tokens.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokens.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokens.convert_tokens_to_ids("<image_soft_token>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(std=0.3)  # zeros otherwise: images would change nothing
    pixels = Gemma3ImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return _save(folder, model, tokens, pixels)


def _idefics(folder, kind, *, seed, longest, splitting):
    import torch
    import transformers

    torch.manual_seed(seed)
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<|im_start|>", "<global-img>", *CELLS]
    tokens = tokenizer(IDEFICS_TEMPLATE, special=special)
    config = getattr(transformers, f"{kind}Config")(
        vision_config=getattr(transformers, f"{kind}VisionConfig")(**VISION, patch_size=8, initializer_range=0.15).to_dict(),
        text_config=_llama(tokens),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    pixels = getattr(transformers, f"{kind}ImageProcessorPil")(
        size={"longest_edge": longest},
        max_image_size={"longest_edge": 32},
        do_image_splitting=splitting,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return _save(folder, getattr(transformers, f"{kind}ForConditionalGeneration")(config), tokens, pixels)


def save_idefics3(folder, *, seed=0, longest=96, splitting=True):
    """Idefics3's make: tiles of 32 pixels (4 tokens each), the longer side `longest`, and an overview; 3 vision blocks, 4 decoder blocks."""
    return _idefics(folder, "Idefics3", seed=seed, longest=longest, splitting=splitting)


def save_smolvlm(folder, *, seed=0, longest=96, splitting=True):
    """As `save_idefics3`, of SmolVLM's classes."""
    return _idefics(folder, "SmolVLM", seed=seed, longest=longest, splitting=splitting)
