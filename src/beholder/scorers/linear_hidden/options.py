"""What can be written in the brackets behind `linear-hidden` and `linear-hidden-reduce`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HiddenStateOptions:
    """Where features come from.

    Args:
        model: a vision-language model whose hidden states are read (`beholder.backbones.vlm.open_vlm`); "" = the features of --encoder.
            What follows is for such a model only.
        layer: LT15, as published: the mean over the text tokens after 15 blocks; "LT15+V12" puts two layers one after the other.
        prompt: name of a prompt, or its text.
        text: which tokens LT is the mean of: "all" but those of the image, as published, or those of the "prompt" alone.
        max_pixels: a larger image is made smaller first.
        dtype, device: of the model.
    """

    model: str = ""
    layer: str = "LT15"
    prompt: str = "base"
    text: Literal["all", "prompt"] = "all"
    max_pixels: int = 1_048_576
    dtype: str = "auto"
    device: str = "auto"


@dataclass(frozen=True)
class LinearHiddenOptions(HiddenStateOptions):
    """As `HiddenStateOptions`, and the variants.

    Args:
        labels: "giaa" is the control that asks what the rater's own ratings bring: the mean score that other raters gave replaces each of
            them; images that nobody else rated are left out.
        target: "residual" lets the regression predict how far the rater is off the general score, which is a ridge regression of other raters' image
            means on the same features; the prediction is their sum.
        head: "mlp" puts a small network in the place of the ridge regression.
    """

    labels: Literal["own", "giaa"] = "own"
    target: Literal["rating", "residual"] = "rating"
    head: Literal["ridge", "mlp"] = "ridge"

    @property
    def fits_features(self) -> bool:
        """Whether features of training images are needed: mean scores alone need none."""
        return self.target == "residual"

    @property
    def learns(self) -> bool:
        """Whether something comes from other raters."""
        return self.labels == "giaa" or self.target == "residual"


@dataclass(frozen=True)
class ReduceOptions(HiddenStateOptions):
    """As `HiddenStateOptions`, and:

    Args:
        projection: folder of a projection from the same features to attributes, as `beholder probe` writes it; "" = the one that `fit` learned.
    """

    projection: str = ""
