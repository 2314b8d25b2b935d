"""A small dataset with files, and a language model that may break down, for the tests of P-MLLM's training data."""

import json

import numpy as np
from PIL import Image

from beholder.datasets.base import Dataset
from beholder.profile import Profile
from beholder.scale import Scale

N_RATERS, N_IMAGES = 12, 30


def make_dataset(folder, *, attributes=("composition", "light", "content"), per_rater=18, captions=(), scale=None, seed=0) -> Dataset:
    """12 raters, 30 small images, each rater rated `per_rater` of them; the first 10 images by everybody."""
    random = np.random.default_rng(seed)
    scale = scale or Scale(1, 5, 0.5)
    paths = []
    for i in range(N_IMAGES):
        path = folder / f"image {i}.png"
        if not path.exists():
            Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    shown = [np.concatenate([np.arange(10), 10 + random.permutation(N_IMAGES - 10)[: per_rater - 10]]) for _ in range(N_RATERS)]
    image = np.concatenate(shown)
    profiles = tuple(Profile(age=20 + i // 2, openness=1 + i // 2) if i < N_RATERS - 1 else Profile() for i in range(N_RATERS))
    n = len(image)
    values = {name: random.integers(1, 6, n).astype(float) for name in attributes}
    for column in values.values():
        column[random.random(n) < 0.1] = np.nan
    return Dataset(
        name="small",
        scale=scale,
        raters=tuple(f"r{i}" for i in range(N_RATERS)),
        profiles=profiles,
        images=tuple(paths),
        image_ids=tuple(path.name for path in paths),
        groups=tuple("sea_side" if i % 2 else path.name for i, path in enumerate(paths)),
        rating_rater=np.repeat(np.arange(N_RATERS), per_rater),
        rating_image=image,
        rating_score=np.asarray(scale.low + np.round(random.random(n) * 8) / 8 * scale.width),
        attributes=values,
        attribute_scales={name: Scale(1, 5) for name in attributes},
        captions=tuple(captions),
    )


class Speaker:
    """A language model that says something of its own on each prompt, and may break down."""

    name, revision = "speaker", "1"

    def __init__(self, *, breaks_after: int | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.breaks_after = breaks_after

    def answer(self, prompts, *, max_new_tokens):
        if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
            raise KeyboardInterrupt
        self.asked += prompts
        return [f"I am {json.dumps(prompt)} " for prompt in prompts]


def table(examples):
    return [examples[i] for i in range(len(examples))]
