"""What can be written in the brackets behind `raw-text`, `few-shot` and `adjust-bias`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class VLMTextOptions:
    """What all of them can be told.

    Args:
        model: "beholder-mini", a folder or a hub repository, see `beholder.backbones.vlm.open_vlm`.
        max_pixels: a larger image is made smaller before the model's own preprocessing.
        dtype, device: of the model, see there.
        read: "number" takes the first number of the answer, as published; "expected" the mean of the integers 1 to 5 under the model's
            probabilities, which has no ties and is there for every image.
        max_new_tokens: of an answer.
        batch: images answered together at most.
        keep: whether answers are kept on disk.
    """

    model: str = "beholder-mini"
    max_pixels: int = 1_048_576
    dtype: str = "auto"
    device: str = "auto"
    read: Literal["number", "expected"] = "number"
    max_new_tokens: int = 16
    batch: int = 8
    keep: bool = True


@dataclass(frozen=True)
class RawTextOptions(VLMTextOptions):
    """See `VLMTextOptions`.

    Args:
        fit_ratings: how many training ratings `fit` learns the level, the slope and the error of the answers from; 0 = it learns nothing.
    """

    fit_ratings: int = 0


@dataclass(frozen=True)
class FewShotOptions(VLMTextOptions):
    """See `VLMTextOptions`.

    Args:
        examples: how many of the rater's ratings are shown, the first ones.
        share_prefix: whether the examples go through the model once for each rater; False for each image again, which gives the same.
    """

    examples: int = 10
    share_prefix: bool = True


@dataclass(frozen=True)
class AdjustBiasOptions(RawTextOptions):
    """See `RawTextOptions`; with `giaa=population` they change nothing.

    Args:
        giaa: who says how much people in general like an image: "raw-text" or "population", the scorers of these names.
    """

    giaa: Literal["raw-text", "population"] = "raw-text"
