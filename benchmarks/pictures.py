"""Generated photographs for the benchmarks: smooth colours with some grain, so that they compress and decode like real ones."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image


def picture(size: tuple[int, int], *, seed: int, grain: int = 12) -> Image.Image:
    """One picture of `size` (width, height)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, size[1] // 40), max(2, size[0] // 40), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    smooth += rng.integers(-grain, grain + 1, smooth.shape, dtype=np.int16)
    return Image.fromarray(smooth.clip(0, 255).astype(np.uint8))


def write_jpegs(folder: Path, n: int, *, size: tuple[int, int] = (500, 400), distinct: int = 40) -> list[str]:
    """n different JPEGs: parts of `distinct` pictures, each shifted and turned differently. Existing ones are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    margin = 40
    sources = [picture((size[0] + margin, size[1] + margin), seed=seed) for seed in range(min(n, distinct))]
    paths = []
    for i in range(n):
        path = folder / f"{i:06d}.jpg"
        paths.append(str(path))
        if path.exists():
            continue
        source, left, up = sources[i % len(sources)], (i * 7) % margin, (i // margin * 11) % margin
        part = source.crop((left, up, left + size[0], up + size[1]))
        part = part.transpose(list(Image.Transpose)[i % 2]) if i % 3 else part
        comment = b"%d" % i  # so that no two files are equal, whatever the crops
        data = io.BytesIO()
        part.save(data, "JPEG", quality=90, comment=comment)
        path.write_bytes(data.getvalue())
    return paths


def write_large(folder: Path, n: int, *, kind: str = "jpeg", size: tuple[int, int] = (6000, 4000), distinct: int = 4) -> list[str]:
    """n files of 24 megapixels with different bytes: a few pictures, and behind the end of each a number that decoders ignore."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"jpeg": {"quality": 85}, "progressive": {"quality": 85, "progressive": True}, "png": {"compress_level": 1}}[kind]
    sources = []
    for seed in range(min(n, distinct)):
        data = io.BytesIO()
        picture(size, seed=seed, grain=3).save(data, "PNG" if kind == "png" else "JPEG", **options)
        sources.append(data.getvalue())
    paths = []
    for i in range(n):
        path = folder / f"{i:06d}.{'png' if kind == 'png' else 'jpg'}"
        with open(path, "wb") as file:
            file.write(sources[i % len(sources)])
            file.write(b"%d" % i)
        os.utime(path, (10**9, 10**9))
        paths.append(str(path))
    return paths
