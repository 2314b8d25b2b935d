"""The nodes. ComfyUI imports this at its start, so beholder is imported only when a node runs.

IMAGE is a float tensor [batch, height, width, channels], 0 to 1. BEHOLDER_RATER is a `beholder.Rater`.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

CATEGORY = "beholder"
MODEL_INPUTS = {
    "scorer": ("STRING", {"default": "taste", "tooltip": "As on the command line: taste, pamela, ici[...], module:Class"}),
    "encoder": ("STRING", {"default": "efficientnet-lite0", "tooltip": "Trained weights need the encoder they were trained with"}),
    "weights": ("STRING", {"default": "", "tooltip": "Folder that  beholder train  wrote; empty = those in the package"}),
}
_eyes: dict[tuple[str, str, str], object] = {}
_one_at_a_time = threading.Lock()


class BeholderRater:
    """Who looks: a rater kept by `beholder raters`, a profile as a TOML file, fields as TOML lines, or several of them (later ones add to the earlier)."""

    CATEGORY = CATEGORY
    FUNCTION = "rater"
    RETURN_TYPES = ("BEHOLDER_RATER",)
    RETURN_NAMES = ("rater",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {},
            "optional": {
                "name": ("STRING", {"default": "", "tooltip": "A rater you keep: see  beholder raters"}),
                "profile": ("STRING", {"default": "", "tooltip": "Path of a TOML file: see  beholder profile new"}),
                "fields": ("STRING", {"default": "", "multiline": True, "tooltip": "Lines such as  age = 34  and  openness = 8"}),
            },
        }

    @classmethod
    def IS_CHANGED(cls, name="", profile="", fields=""):
        """Ratings in the store may have changed since, and so may the file; nan = always run again."""
        if name.strip():
            return float("nan")
        file = Path(profile.strip()).expanduser()
        return f"{file.stat().st_mtime_ns if file.is_file() else ''} {fields}"

    def rater(self, name="", profile="", fields=""):
        import tomllib
        from dataclasses import replace

        from beholder import BeholderError, Profile, Rater
        from beholder.store import Store

        someone = Rater()
        if name.strip():
            with Store() as store:
                someone = store.get(name)
        if profile.strip():
            someone = replace(someone, profile=Profile.from_toml(Path(profile.strip()).expanduser()))
        if fields.strip():
            try:
                more = tomllib.loads(fields)
            except tomllib.TOMLDecodeError as error:
                raise BeholderError(
                    f'the fields are not valid TOML ({error}): write lines such as  age = 34  and  gender = "female"'
                ) from None
            someone = replace(someone, profile=Profile.from_dict({**someone.profile.known(), **more}))
        return (someone,)


class BeholderScore:
    """How much the rater is expected to like each image of the batch, on the rater's scale, higher = better."""

    CATEGORY = CATEGORY
    FUNCTION = "score"
    RETURN_TYPES = ("FLOAT", "STRING")
    RETURN_NAMES = ("scores", "report")
    OUTPUT_IS_LIST = (True, False)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "rater": ("BEHOLDER_RATER",)}, "optional": dict(MODEL_INPUTS)}

    def score(self, images, rater, scorer="taste", encoder="efficientnet-lite0", weights=""):
        found = predictions(images, rater, scorer=scorer, encoder=encoder, weights=weights)
        return [one.score for one in found], report(found)


class BeholderTopK:
    """The k images of the batch that the rater is expected to like most, best first, and their scores; all of them if there are fewer."""

    CATEGORY = CATEGORY
    FUNCTION = "best"
    RETURN_TYPES = ("IMAGE", "FLOAT")
    RETURN_NAMES = ("best", "scores")
    OUTPUT_IS_LIST = (False, True)

    @classmethod
    def INPUT_TYPES(cls):
        k = ("INT", {"default": 1, "min": 1, "max": 4096})
        return {"required": {"images": ("IMAGE",), "rater": ("BEHOLDER_RATER",), "k": k}, "optional": dict(MODEL_INPUTS)}

    def best(self, images, rater, k=1, scorer="taste", encoder="efficientnet-lite0", weights=""):
        found = predictions(images, rater, scorer=scorer, encoder=encoder, weights=weights)
        order = sorted(range(len(found)), key=lambda place: -found[place].score)[: max(1, int(k))]  # equal ones stay in their order
        return images[order], [found[place].score for place in order]


def predictions(images, rater, *, scorer, encoder, weights):
    """One `beholder.Prediction` for each image of the batch, in its order. The files it takes are removed at once."""
    from beholder import BeholderError

    if images.ndim != 4 or not len(images):
        raise BeholderError(f"the images have the shape {list(images.shape)}: give a batch [n, height, width, channels] of one or more")
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="beholder-comfyui-") as folder:
        paths = [str(Path(folder) / f"{place:05d}.png") for place in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            to_pillow(image).save(path, compress_level=1)
        found = eye(scorer, encoder, weights).score(paths, rater=rater)
    by_path = {path: one for one in found for path in (one.image, *one.duplicates)}  # equal images are scored once
    skipped = next((one for one in found if one.score is None), None)
    if skipped is not None:
        raise BeholderError(f"image {paths.index(skipped.image) + 1} of the batch cannot be scored: {skipped.skipped_reason}")
    return [by_path[path] for path in paths]


def to_pillow(image):
    """[height, width, 1, 3 or 4] float 0..1 -> Pillow image with the very bytes that ComfyUI's own SaveImage writes."""
    import numpy as np
    from PIL import Image

    values = np.clip(255.0 * np.nan_to_num(image.detach().cpu().float().numpy()), 0, 255).astype(np.uint8)
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)


def eye(scorer, encoder, weights):
    """A loaded scorer, kept for the next run of the workflow."""
    import beholder

    key = (scorer.strip() or "taste", encoder.strip() or "efficientnet-lite0", weights.strip())
    if key not in _eyes:
        _eyes[key] = beholder.load(key[0], encoder=key[1], weights=key[2] or None)
    return _eyes[key]


def report(found):
    """A line for each image, best first."""
    first = found[0]
    lines = [f"{len(found)} images; {first.scorer} {first.version}, scale {first.scale}, in brackets the 90 % interval"]
    for rank, place in enumerate(sorted(range(len(found)), key=lambda place: -found[place].score), start=1):
        one = found[place]
        lines.append(f"{rank}. image {place + 1}: {one.score:.2f} ({one.low:.2f} to {one.high:.2f})")
    return "\n".join(lines)
