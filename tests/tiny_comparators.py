"""What public scorers need, small enough for tests: a random CLIP and a random SigLIP as folders, heads of known numbers as files, photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import tiny_diffusers
from encoder_checks import pictures

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
PROJECTED, POOLED = 24, 32  # values of CLIP's embedding, of SigLIP's
STACK = (1024, 128, 64, 16, 1)


def _filled(model, *, seed):
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return model.eval()


def save_clip(folder, *, scale=4.6, projected=PROJECTED):
    """Both halves, tokenizer, image processor: 32-pixel squares in patches of 8."""
    import transformers

    tokens = tiny_diffusers.tokenizer()
    ends = {"eos_token_id": tokens.eos_token_id, "bos_token_id": tokens.bos_token_id}
    text = SIZES | ends | {"vocab_size": len(tokens), "max_position_embeddings": 16}
    vision = SIZES | {"image_size": 32, "patch_size": 8}
    model = _filled(
        transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=projected)), seed=0
    )
    model.logit_scale.data.fill_(scale)
    model.visual_projection.weight.data *= 10  # embeddings of a length far from 1
    model.vision_model.embeddings.patch_embedding.weight.data *= 5  # images that differ
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    crop = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor", **crop}))
    return Path(folder)


def save_siglip(folder):
    """SigLIP's image half: 32-pixel squares in patches of 8."""
    import transformers

    config = transformers.SiglipVisionConfig(**SIZES, image_size=32, patch_size=8)
    model = _filled(transformers.SiglipVisionModel(config), seed=1)
    next(value for name, value in model.named_parameters() if "patch_embedding.weight" in name).data *= 5
    model.save_pretrained(folder)
    pixels = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(pixels))
    return Path(folder)


def stack(*, width, prefix="layers.", places=(0, 2, 4, 6, 7), seed=0, sizes=STACK):
    """name -> tensor of five linear layers, random; the last bias is 5."""
    import torch

    make = torch.Generator().manual_seed(seed)
    found, before = {}, width
    for place, size in zip(places, sizes, strict=True):
        found[f"{prefix}{place}.weight"] = torch.randn(size, before, generator=make) * (2 / before**0.5)
        found[f"{prefix}{place}.bias"] = 0.1 * torch.randn(size, generator=make) + (5.0 if place == places[-1] else 0.0)
        before = size
    return found


def single(*, width, seed=0):
    """weight and bias of one linear layer."""
    import torch

    make = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(1, width, generator=make), "bias": torch.tensor([5.0])}


def save_head(file, tensors):
    """As .pth or .safetensors, by the file's name."""
    import torch
    from safetensors.torch import save_file

    (save_file if str(file).endswith(".safetensors") else torch.save)(tensors, file)
    return file


def sequential(tensors, *, relu):
    """The same head as a torch.nn.Sequential: an arithmetic that is not ours."""
    from torch import nn

    layers = []
    weights = [value for name, value in tensors.items() if name.endswith("weight")]
    for place, weight in enumerate(weights):
        layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
        layers += [nn.ReLU()] if relu and place < len(weights) - 1 else []
    made = nn.Sequential(*layers)
    made.load_state_dict(dict(zip(made.state_dict(), tensors.values(), strict=True)))
    return made.double()


def save_photos(folder, n=6):
    """n different photographs of several shapes; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    sizes = ((60, 50), (40, 62), (48, 48))  # below twice the 32 pixels that are needed: nothing is made smaller beforehand
    for number, image in enumerate(pictures(n, seed=3, sizes=sizes)):
        image.save(folder / f"{number:02d}.png")
        paths.append(str(folder / f"{number:02d}.png"))
    return paths


def rated(values, *, images=(), raters=30, slope=0.08, middle=0.5, noise=0.12, curve=None, seed=0, scale=None, prompts=()):
    """A dataset in which every rater rates every image: rating (0..1) = curve or a line of the image's native value, plus noise; 1-5 by default."""
    from beholder.datasets.base import Dataset
    from beholder.profile import Profile
    from beholder.scale import Scale

    scale = scale or Scale(1, 5, 0)
    values = np.asarray(values, dtype=np.float64)
    rater, image = (part.ravel() for part in np.mgrid[:raters, : len(values)])
    mean = curve(values) if curve else middle + slope * (values - values.mean())
    unit = np.clip(mean[image] + np.random.default_rng(seed).normal(0, noise, len(image)), 0, 1)
    names = tuple(map(str, images)) or tuple(f"{i}.png" for i in range(len(values)))
    return Dataset(
        name="planted",
        scale=scale,
        raters=tuple(f"r{i}" for i in range(raters)),
        profiles=(Profile(),) * raters,
        images=tuple(map(Path, names)),
        image_ids=names,
        groups=names,
        rating_rater=rater,
        rating_image=image,
        rating_score=scale.from_unit(unit),
        prompts=tuple(prompts),
    )
