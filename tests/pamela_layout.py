"""Made-up releases in the layout of PAMELA: real names of files and fields where they are known, random content. The same arguments give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GROUPS = ("abstract", "animal", "portrait_art", "portrait_photorealism", "street")
STYLES = ("impressionism", "pop art")
PARTS = ("train", "val_seen", "val_unseen", "test_seen", "test_unseen")


def entries_of(*, n_seen: int = 4, n_unseen: int = 3, n_images: int = 12, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Part -> entries. Seen raters rate every image: eight in ten for training, the others for validation and test; unseen ones half of them."""
    random = np.random.default_rng(seed)
    people = [
        {
            "age": int(random.integers(19, 61)),
            "gender": ("male", "female")[i % 2],
            "nationality": ("Belgium", "South Africa", "Poland")[i % 3],
            "art_experience": ("novice", "amateur", "expert")[i % 3],
        }
        for i in range(n_seen + n_unseen)
    ]
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for rater in range(n_seen + n_unseen):
        for image in random.permutation(n_images):
            if rater < n_seen:
                part = ("test_seen", "val_seen", *["train"] * 8)[(image + rater) % 10]
            elif image % 2:
                continue
            else:
                part = "val_unseen" if rater == n_seen else "test_unseen"
            found[part].append(entry(rater, int(image), person=people[rater], score=float(random.uniform(1, 5))))
    return found


def entry(rater: int, image: int, *, person: dict[str, Any], score: float) -> dict[str, Any]:
    art = image % 2 == 0
    return {
        "participant_id": 100 + rater,
        "image_id": f"img_{image:04d}",
        "image_path": f"images/img_{image:04d}.png",
        "original_score": round(score, 3),
        "prompt": f"a picture of thing {image},\n in  fog",
        "demographics": dict(person),
        "image_metadata": {
            "group": GROUPS[image % len(GROUPS)],
            "type": "art" if art else "photorealism",
            "style": STYLES[image // 2 % 2] if art else None,
            "width": 1024,
            "mean_score": 3.2,
        },
    }


def make_pamela(
    root: Path,
    *,
    change: Callable[[dict[str, Any]], Any] | None = None,
    file_name: str = "pamela_{part}.json",
    folder: str = "annotations",
    wrap: str = "",
    parts: Sequence[str] = PARTS,
    **size: int,
) -> Path:
    """A release in `root`: <folder>/pamela_train.json, ... and images/img_0000.png, ...

    Args:
        change: gets each entry and changes it, or gives another one.
        file_name: of a part; lines of JSON if it ends in .jsonl.
        wrap: put each list into an object, under this key.
        parts: which are written.
        size: see `entries_of`.
    """
    entries = entries_of(**size)
    images = {int(one["image_id"][-4:]) for part in parts for one in entries[part]}
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for part in parts:
        rows = [(change(one) or one) if change else one for one in entries[part]]
        path = root / folder / file_name.format(part=part)
        if path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            path.write_text(json.dumps({wrap: rows} if wrap else rows), encoding="utf-8")
    for image in images:
        noise = np.random.default_rng([image, 3]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((40, 30)).save(root / "images" / f"img_{image:04d}.png")
    return root
