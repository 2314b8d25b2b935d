"""What can be written in the brackets behind `ici`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from beholder.errors import BeholderError

FEATURES = "features"
OF_USE = ("scope", "new_rater", "adapt_epochs", "adapt_learning_rate", "device")  # options that weights do not settle


@dataclass(frozen=True)
class ICIOptions:
    """Options of the scorer `ici`. Numbers are the published ones where nothing else is said.

    Args:
        backbone: what phase 1 sees an image with. "features" (ours): one hidden layer on the frozen features of the run's encoder, minutes
            on a laptop. "efficientnet-lite0", or the folder of a ResNet as transformers saves it: trained end to end on the pixels. A
            ResNet-50 is the published one; its weights are no part of this package, and on a processor it takes days.
        mode: "full" (profile, with external interaction), "reduced" (the rater's id only, without) or "auto": full if any training rater
            has a profile.
        scope: what the ratings of a rater change: "all" of phase 2, "user_only" (the rater's id vector) or "user_plus_head" (that and the
            last layers).
        new_rater: the id vector of a new rater starts at the "mean" of the learned ones (ours) or at "random" (published).
        generic_epochs, generic_learning_rate, generic_batch: phase 1; batches of images.
        prior_epochs, prior_learning_rate, prior_batch: phase 2; batches of ratings.
        prior_ratings: at most so many ratings per epoch of phase 2, drawn anew in each; 0: all. For large datasets on small machines.
        adapt_epochs, adapt_learning_rate: phase 3; each epoch is one step on all ratings of the rater. The published rate moves little.
        holdout: share of the images that phase 1 is validated on; whole groups of images.
        holdout_raters: share of the raters that phases 1 and 2 do not see, and that phase 2 and the intervals are validated on (ours);
            0: none.
        patience: a phase ends after so many epochs without a better validation (ours); 0: it runs to its end. The best epoch is kept
            anyway.
        id_dropout: share of the examples of phase 2 in which the rater's id vector gives way to the mean of all, as for a new rater (ours).
        field_dropout: share of the examples in which a field of the profile is hidden, and of those in which all of it is (ours).
        seed: of every random choice.
        device: see `beholder.backbones.torch_encoder.choose_device`.

    Raises:
        BeholderError: a number is out of range.
    """

    backbone: str = FEATURES
    mode: Literal["auto", "full", "reduced"] = "auto"
    scope: Literal["all", "user_only", "user_plus_head"] = "all"
    new_rater: Literal["mean", "random"] = "mean"
    generic_epochs: int = 50
    generic_learning_rate: float = 1e-4
    generic_batch: int = 64
    prior_epochs: int = 50
    prior_learning_rate: float = 1e-4
    prior_batch: int = 256
    prior_ratings: int = 0
    adapt_epochs: int = 50
    adapt_learning_rate: float = 1e-5
    holdout: float = 0.1
    holdout_raters: float = 0.1
    patience: int = 10
    id_dropout: float = 0.5
    field_dropout: float = 0.1
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.backbone.strip():
            raise BeholderError("backbone is empty: give features, efficientnet-lite0 or the folder of a ResNet")
        for names, known, what in (
            (("generic_learning_rate", "prior_learning_rate", "adapt_learning_rate"), lambda value: value > 0, "more than 0"),
            (("generic_epochs", "prior_epochs", "generic_batch", "prior_batch"), lambda value: value >= 1, "1 or more"),
            (("prior_ratings", "adapt_epochs", "patience", "seed"), lambda value: value >= 0, "0 or more"),
            (("holdout", "holdout_raters"), lambda value: 0 <= value <= 0.5, "from 0 to 0.5"),
            (("id_dropout", "field_dropout"), lambda value: 0 <= value < 1, "from 0 to below 1"),
        ):
            for name in names:
                if not known(getattr(self, name)):
                    raise BeholderError(f"{name} = {getattr(self, name)} does not suit: give a number {what}")

    @property
    def sees_pixels(self) -> bool:
        return self.backbone != FEATURES

    def of_training(self) -> dict[str, object]:
        """The options that weights settle."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in OF_USE}

    def changed_in_use(self) -> str:
        """ "-scope=user_only" and the like, for the version; "" for the defaults."""
        names = [name for name in OF_USE if name != "device" and getattr(self, name) != getattr(ICIOptions, name)]
        return "".join(f"-{name}={getattr(self, name)}" for name in names)
