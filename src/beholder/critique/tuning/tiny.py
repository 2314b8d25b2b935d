"""A tiny random LLaVA of the real classes, so that tuning can be tried without a download. It knows nothing but what it is tuned to."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from beholder.backbones.vision_tower import quiet_transformers
from beholder.critique.tuning.conversation import V1
from beholder.paths import cache_dir

NAME = "tiny-random"
WORDS = 1024  # tokens at most, bytes included
SIDE, PATCH = 32, 8  # pixels
VERSION = "2"  # of what is made of the same texts


def tiny_llava(texts: Iterable[str], *, seed: int = 0) -> Path:
    """The folder of a tiny model whose tokenizer has read these texts; made if it is not in the cache yet. The same texts give the same model."""
    texts = sorted(set(texts))
    folder = cache_dir("tiny-llava") / hashlib.sha256("\0".join([VERSION, str(seed), *texts]).encode()).hexdigest()[:16]
    if not (folder / "config.json").is_file():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        make_tiny_llava(partial, texts, seed=seed)
        try:
            os.replace(partial, folder)
        except OSError:  # another process was faster
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def make_tiny_llava(folder: Path, texts: Iterable[str], *, seed: int = 0) -> Path:
    """Write it: 32-pixel squares in 16 patches, 2 vision blocks, 2 decoder blocks, 0.3 million weights; a byte-level BPE tokenizer.

    Returns:
        The folder.
    """
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = _tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        config = LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=PATCH
            ),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=96,
                intermediate_size=192,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=2048,
                initializer_range=0.1,  # wide enough that LoRA, which leaves the head as it is, can be sure of a word
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            ),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
        model = LlavaForConditionalGeneration(config)
        for name, weights in model.model.vision_tower.named_parameters():
            if weights.ndim > 1 and "position" not in name:
                torch.nn.init.normal_(weights, std=weights[0].numel() ** -0.5)  # CLIP's own beginning lets hardly anything of the image through
    with quiet_transformers():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return Path(folder)


def _tokenizer(texts: Iterable[str]):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = ["<pad>", "<s>", "</s>", "<image>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        sorted({*texts, "USER: ASSISTANT: \n"}),
        trainers.BpeTrainer(vocab_size=WORDS, special_tokens=marks, initial_alphabet=letters, show_progress=False),
    )
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    made.chat_template = V1
    return made
