"""What P-MLLM needs, small enough for tests, as folders on the disk: a random Llama, a random CLIP tower, a dataset; and image tokens by name."""

from __future__ import annotations

import csv
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from beholder.evaluation.simulate import mixed, simulate
from tiny_llama import IMAGE_TOKENS, IMAGE_WIDTH, llama

# A training of seconds: the small prompt, and six steps of eight examples
QUICK = {
    "recipe": "mini",
    "dtype": "float32",
    "layers": 2,
    "layout": "chat",
    "persona": "short",
    "question": "short",
    "steps": 6,
    "batch_size": 8,
    "raters_per_batch": 4,
    "learning_rate": 1e-3,
    "expectation": 1,
    "contrast": 1,
    "guide": 0,
    "log_every": 1,
}


def save_llama(folder, *, seed=0, **sizes):
    """A random Llama (2 blocks) with its tokenizer, as `load_language_model(folder)` reads it."""
    made = llama(seed=seed, **({"num_hidden_layers": 2} | sizes))
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return Path(folder)


def save_clip(folder, *, seed=0):
    """A random CLIP tower that makes 16 tokens of width 32 of an image."""
    import torch
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = transformers.CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.CLIPVisionModelWithProjection(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.1)
    model.save_pretrained(folder)
    pixels = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(pixels))
    return Path(folder)


def named(scorer, language_model, **options):
    """The scorer's name with the options of a quick training in brackets."""
    given = QUICK | {"language_model": language_model} | options
    return f"{scorer}[{','.join(f'{name}={value}' for name, value in given.items())}]"


def options(language_model, **changes):
    """As `named`, as the scorer's options."""
    from beholder.scorers.pmllm.options import PMLLMOptions

    return PMLLMOptions(**(QUICK | {"language_model": str(language_model)} | changes))


@dataclass
class Tokens:
    """A `FeatureSource` of image tokens that depend on the image's name only. `asked`: the lists of images it was called with."""

    key: str = "tokens-by-name"
    layer: str = "tokens"
    width: int = IMAGE_WIDTH
    asked: list = field(default_factory=list)

    @property
    def dim(self):
        return IMAGE_TOKENS * self.width

    @property
    def layers(self):
        return {self.layer: slice(0, self.dim)}

    @property
    def token_widths(self):
        return {self.layer: self.width}

    def __call__(self, images):
        self.asked.append(list(images))
        rows = [np.random.default_rng(zlib.crc32(Path(image).name.encode())).standard_normal(self.dim) for image in images]
        return np.array(rows, dtype=np.float32).reshape(len(images), self.dim)


def ratings(**sizes):
    """Simulated ratings; the images are names only."""
    return simulate(mixed(**({"n_raters": 6, "n_images": 18, "ratings_per_rater": 12, "profile_effect": 0.9, "seed": 2} | sizes))).dataset


def folder_dataset(root, *, n_raters=6, n_images=10):
    """ratings.csv, raters.csv and images/ of plain colours; everybody rates everything, from 1 to 5."""
    random = np.random.default_rng(4)
    root = Path(root)
    (root / "images").mkdir(parents=True)
    shade = random.random(n_images)
    for i in range(n_images):
        pixels = np.clip(255 * shade[i] + random.normal(0, 12, (40, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i:02d}.png")
    openness = random.integers(1, 11, n_raters)
    with (root / "ratings.csv").open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["rater", "image", "score"])
        for rater in range(n_raters):
            for image in range(n_images):
                write.writerow([f"r{rater}", f"{image:02d}.png", int(np.clip(round(1 + 4 * shade[image] + random.normal(0, 0.7)), 1, 5))])
    with (root / "raters.csv").open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["rater", "age", "gender", "openness"])
        write.writerows([f"r{i}", 20 + 3 * i, ("female", "male")[i % 2], openness[i]] for i in range(n_raters))
    return root
