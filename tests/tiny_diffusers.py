"""A random Stable Diffusion pipeline of the real diffusers classes, small enough for tests, as a folder on the disk."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = ("a", "boat", "on", "the", "lake", "at", "night", "red", "sky", "photo", "of", "tree", "in", "winter", "bright", "dark")
PIXELS = 32  # side of the images it makes by itself
MOST = 16  # tokens


def tokenizer():
    """A CLIP tokenizer of single letters, and a few whole words."""
    import transformers

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair, joined = (parts[0], parts[1]), parts[0] + parts[1]
            if pair not in merges:
                merges.append(pair)
                vocabulary.append(joined)
            parts = [joined, *parts[2:]]
    vocabulary = list(dict.fromkeys([*vocabulary, "<|startoftext|>", "<|endoftext|>"]))
    return transformers.CLIPTokenizer(vocab={one: place for place, one in enumerate(vocabulary)}, merges=merges, model_max_length=MOST)


def text_config(tokens, **more):
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2, "projection_dim": 24}
    special = {"bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id}
    return transformers.CLIPTextConfig(vocab_size=len(tokens), max_position_embeddings=MOST, **sizes, **special, **more)


def pipeline(*, seed=0, scheduler="DDIMScheduler", safety=False):
    """StableDiffusionPipeline on 32 x 32 pixels. safety: with a random safety checker that flags nothing (see `flag_everything`)."""
    import diffusers
    import torch
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    tokens = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = diffusers.UNet2DConditionModel(
            sample_size=PIXELS // 2,
            block_out_channels=(8, 16),
            layers_per_block=1,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=4,
        )
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 16),
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=PIXELS,
        )
        text_encoder = transformers.CLIPTextModel(text_config(tokens))
        checker = feature_extractor = None
        if safety:
            from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

            vision = {
                "hidden_size": 32,
                "intermediate_size": 37,
                "num_attention_heads": 4,
                "num_hidden_layers": 1,
                "image_size": 32,
                "patch_size": 8,
            }
            checker = StableDiffusionSafetyChecker(transformers.CLIPConfig(text_config={}, vision_config=vision, projection_dim=24))
            checker.concept_embeds.fill_(1.0)
            checker.concept_embeds_weights.fill_(2.0)  # a cosine that nothing reaches
            checker.special_care_embeds_weights.fill_(2.0)
            feature_extractor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    steps = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    if scheduler == "DDIMScheduler":
        steps["clip_sample"] = False
    return diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokens,
        unet=unet,
        scheduler=getattr(diffusers, scheduler)(**steps),
        safety_checker=checker,
        feature_extractor=feature_extractor,
        requires_safety_checker=safety,
    )


def flag_everything(pipe):
    """The safety checker of a pipeline made with safety=True now holds every image back."""
    pipe.safety_checker.concept_embeds_weights.data.fill_(-2.0)
    return pipe


def save(folder, **options):
    """`pipeline(**options)` as a folder; returns its path."""
    pipeline(**options).save_pretrained(folder, safe_serialization=True)
    assert json.loads((Path(folder) / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
    return Path(folder)
