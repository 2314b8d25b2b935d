"""Does a scorer know that a photograph was made worse? Copies with less light, muted colours, blur, a tilt ... scored beside the original.

    python benchmarks/edited_copies.py --train DIR --test DIR [--images 100]

Both are folder datasets; photographs of --train are left out of --test. The answer decides whether `beholder critique` may suggest the edit that a scorer likes
best: it may not (docs/aesexpert.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageFilter

import beholder
from beholder import scorers
from beholder.datasets import read
from beholder.photos import content_hash, read_photo
from beholder.scorers.feature_sources import sources

SIDE = 768  # pixels of the longer side, of copies and original
LINEAR = np.where(np.arange(256) <= 10, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4)


def exposure(image: Image.Image, stops: float) -> Image.Image:
    light, gain = LINEAR[np.asarray(image)], 2.0**stops
    light = 1 - (1 - light) ** gain if gain > 1 else light * gain
    return plain(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def contrast(image: Image.Image, factor: float) -> Image.Image:
    pixels = np.asarray(image).astype(np.float32)
    return plain((pixels - pixels.mean()) * factor + pixels.mean())


def saturation(image: Image.Image, factor: float) -> Image.Image:
    pixels = np.asarray(image).astype(np.float32)
    grey = (pixels @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32))[..., None]
    return plain(grey + (pixels - grey) * factor)


def warmth(image: Image.Image, amount: float) -> Image.Image:
    return plain(np.asarray(image).astype(np.float32) * np.array([1 + amount, 1.0, 1 - amount], dtype=np.float32))


def tilted(image: Image.Image, degrees: float) -> Image.Image:
    """Turned, the largest upright part of the same proportions cut out."""
    width, height = image.size
    sine, cosine = abs(np.sin(np.radians(degrees))), np.cos(np.radians(degrees))
    share = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
    return centre(image.rotate(degrees, resample=Image.Resampling.BICUBIC), share)


def centre(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return image.crop((left, top, width - left, height - top))


def plain(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a stop darker": lambda image: exposure(image, -1),
    "a stop brighter": lambda image: exposure(image, 1),
    "contrast x 0.6": lambda image: contrast(image, 0.6),
    "contrast x 1.5": lambda image: contrast(image, 1.5),
    "saturation x 0.5": lambda image: saturation(image, 0.5),
    "saturation x 1.6": lambda image: saturation(image, 1.6),
    "black and white": lambda image: saturation(image, 0),
    "much warmer": lambda image: warmth(image, 0.2),
    "much cooler": lambda image: warmth(image, -0.2),
    "tilted by 5 degrees": lambda image: tilted(image, 5),
    "blurred (sigma 3 of 768)": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "centre cut out (80 %)": lambda image: centre(image, 0.8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, type=Path)
    parser.add_argument("--test", required=True, type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--scorer", default="population")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train = read("folder", given.train)
    known = {content_hash(image) for image in train.images}
    test = [image for image in read("folder", given.test).images if content_hash(image) not in known]
    chosen = np.random.default_rng(given.seed).choice(len(test), min(given.images, len(test)), replace=False)
    features = sources([given.scorer], encoder="efficientnet-lite0").by_name[given.scorer]
    scorer = scorers.make(given.scorer, features=features, trained=False).fit(train)
    with TemporaryDirectory() as folder:
        files = []
        for number, place in enumerate(chosen):
            photo = read_photo(test[place], min_side=SIDE)
            photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            for other, edit in enumerate([lambda image: image, *EDITS.values()]):
                files.append(Path(folder) / f"{number}-{other}.png")
                edit(photo).save(files[-1], compress_level=1)
        scores = scorer.predict([str(file) for file in files], beholder.Rater()).score.reshape(len(chosen), -1)
    spread = scores[:, 0].std()
    print(f"{given.scorer} trained on {len(train.images)} photographs, {len(chosen)} others edited; change in sd of the originals' scores\n")
    print("| copy | scored below the original | mean change, sd | spread of the change, sd |\n|---|---|---|---|")
    for place, name in enumerate(EDITS, start=1):
        change = (scores[:, place] - scores[:, 0]) / spread
        print(f"| {name} | {np.mean(change < 0):.0%} | {change.mean():+.2f} | {change.std():.2f} |")


if __name__ == "__main__":
    main()
