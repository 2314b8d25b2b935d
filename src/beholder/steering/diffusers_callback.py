"""Steering while an image is still being denoised: previews scored on the way, and the unpromising ones given up. Ours.

`PreviewScores` is a diffusers `callback_on_step_end`; `best_with_pruning` makes the best of several seeds of one prompt with it.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from beholder.errors import BeholderError
from beholder.rater import Rater

if TYPE_CHECKING:
    import torch

    from beholder.eye import Eye

Score = Callable[[Sequence[Image.Image]], Sequence[float]]  # images -> how much they are liked, higher = better


@dataclass(frozen=True)
class Preview:
    """One look at an unfinished image. step: steps done (from 1). score: of the preview; only comparable with others after as many steps."""

    step: int
    score: float


@dataclass
class PreviewScores:
    """Give it to a pipeline as `callback_on_step_end`, for one image at a time; `previews` is the curve afterwards.

    Early previews are mostly noise, and a scorer knows photographs: a score says something only beside those of other seeds after as many steps.

    Args:
        score: see `scores_of`, or any function of Pillow images.
        every: steps between two previews.
        side: pixels; the latents are made smaller before decoding, so that the longer side of a preview is about this: a 64 x 64 preview of a
            512 x 512 image costs about 1/64 of its decoding.
        stop: is given the curve after each preview; true ends the denoising. What the pipeline then returns is unfinished.
        decode: latents -> image, for pipelines whose latents are not [n, channels, height, width] for `pipe.vae`.

    Attributes:
        previews: the curve. stopped_at: steps done when it was given up, None if it was not.

    Raises:
        BeholderError: while denoising: the latents cannot be decoded, or the pipeline cannot be interrupted.
    """

    score: Score
    every: int = 5
    side: int = 128
    stop: Callable[[Sequence[Preview]], bool] | None = None
    decode: Callable[[Any, torch.Tensor], Image.Image] | None = None
    previews: list[Preview] = field(default_factory=list)
    stopped_at: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or self.side < 8:
            raise BeholderError(f"every = {self.every}, side = {self.side}: give 1 or more steps and 8 or more pixels")

    def __call__(self, pipe: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:
        if step == 0:
            self.previews.clear()
            self.stopped_at = None
        done = step + 1
        if self.stopped_at is not None or done % self.every or done >= (getattr(pipe, "num_timesteps", 0) or math.inf):
            return callback_kwargs  # the finished image needs no preview
        image = (self.decode or self._decoded)(pipe, callback_kwargs["latents"])
        self.previews.append(Preview(done, float(self.score([image])[0])))
        if self.stop is not None and self.stop(self.previews):
            if not hasattr(pipe, "_interrupt"):
                raise BeholderError(f"a {type(pipe).__name__} cannot be interrupted: leave `stop` out, or name another pipeline")
            pipe._interrupt = True
            self.stopped_at = done
        return callback_kwargs

    def _decoded(self, pipe: Any, latents: torch.Tensor) -> Image.Image:
        return decode_preview(pipe, latents, side=self.side)


def decode_preview(pipe: Any, latents: torch.Tensor, *, side: int = 128) -> Image.Image:
    """The first of the latents [n, channels, height, width] as a small RGB image, by the pipeline's own decoder.

    Args:
        side: pixels of the longer side, about; latents are averaged down to it, which also takes noise away.

    Raises:
        BeholderError: there is no such decoder, or the latents are of another form.
    """
    import torch

    vae = getattr(pipe, "vae", None)
    if vae is None or latents.ndim != 4:
        raise BeholderError(
            f"the latents of a {type(pipe).__name__} cannot be shown as they are: give a function `decode` that makes an image of them"
        )
    with torch.inference_mode():
        small = latents[:1].float()
        factor = getattr(pipe, "vae_scale_factor", 8)
        height, width = small.shape[-2:]
        shrink = min(1.0, side / (factor * max(height, width)))
        if shrink < 1:
            small = torch.nn.functional.adaptive_avg_pool2d(small, (max(1, round(height * shrink)), max(1, round(width * shrink))))
        small = small / (getattr(vae.config, "scaling_factor", None) or 1.0) + (getattr(vae.config, "shift_factor", None) or 0.0)
        pixels = vae.decode(small.to(vae.dtype), return_dict=False)[0][0]
        pixels = ((pixels.float() / 2 + 0.5).clamp(0, 1).nan_to_num(0.5) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels, "RGB" if pixels.shape[2] == 3 else None)


def scores_of(eye: Eye, *, rater: Rater | None = None) -> Score:
    """An `Eye` as a function of Pillow images; what it gives is on 0..1 of the rater's scale. The images are written to a temporary folder that is
    removed at once; their features stay in the eye's feature store, so give `load` a store of its own if that should not grow.

    Raises:
        BeholderError: from the function: an image cannot be scored.
    """
    someone = rater or Rater()

    def score(images: Sequence[Image.Image]) -> list[float]:
        with tempfile.TemporaryDirectory(prefix="beholder-preview-") as folder:
            paths = [str(Path(folder) / f"{place:04d}.png") for place in range(len(images))]
            for image, path in zip(images, paths, strict=True):
                image.save(path, compress_level=1)
            found = {path: one for one in eye.score(paths, rater=someone) for path in (one.image, *one.duplicates)}
        bad = next((one for one in found.values() if one.score is None), None)
        if bad is not None:
            raise BeholderError(f"a preview could not be scored: {bad.skipped_reason}")
        return [float(someone.scale.to_unit(found[path].score)) for path in paths]

    return score


@dataclass(frozen=True)
class Tried:
    """One seed. image and score: None and nan if it was given up. previews: its curve. stopped_at: steps done then; None = finished."""

    seed: int
    image: Image.Image | None
    score: float
    previews: tuple[Preview, ...]
    stopped_at: int | None


def best_with_pruning(
    pipe: Any,
    prompt: str,
    *,
    seeds: Sequence[int],
    score: Score,
    every: int = 5,
    patience: float = 0.4,
    least: int = 3,
    side: int = 128,
    **options: Any,
) -> list[Tried]:
    """The same prompt with several seeds, best first; given up ones last.

    An image is given up when its newest preview scores below the median of those that finished, after as many steps. The first `least` seeds are
    always finished, and no image is given up in the first part of its steps, where previews are noise.

    Args:
        pipe: a text-to-image pipeline of diffusers.
        seeds: of the noise, drawn on the CPU.
        score: of previews and of finished images, see `scores_of`.
        every, side: see `PreviewScores`.
        patience: share of the steps, 0..1, before which nothing is given up.
        least: finished images before anything is given up, 1 or more.
        options: for the pipeline: num_inference_steps, guidance_scale, ...

    Raises:
        BeholderError: no seeds, or as for `PreviewScores`.
    """
    if not seeds or least < 1 or not 0 <= patience <= 1:
        raise BeholderError(f"{len(seeds)} seeds, least = {least}, patience = {patience}: give at least one seed, 1 or more, and 0 to 1")
    import torch

    finished: list[Tried] = []
    given_up: list[Tried] = []

    def unpromising(curve: Sequence[Preview]) -> bool:
        newest = curve[-1]
        total = getattr(pipe, "num_timesteps", 0)
        if len(finished) < least or newest.step < patience * total:
            return False
        others = [one.score for tried in finished for one in tried.previews if one.step == newest.step]
        return bool(others) and newest.score < statistics.median(others)

    for seed in seeds:
        watch = PreviewScores(score, every=every, side=side, stop=unpromising)
        made = pipe(prompt, generator=torch.Generator(device="cpu").manual_seed(seed), callback_on_step_end=watch, **options)
        if watch.stopped_at is not None:
            given_up.append(Tried(seed, None, math.nan, tuple(watch.previews), watch.stopped_at))
        else:
            image = made.images[0].convert("RGB")
            finished.append(Tried(seed, image, float(score([image])[0]), tuple(watch.previews), None))
    return sorted(finished, key=lambda tried: -tried.score) + given_up
