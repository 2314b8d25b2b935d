"""What can be written in the brackets behind `pamela`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from beholder.backbones.text_encoder import DEFAULT_TEXT_ENCODER
from beholder.errors import BeholderError

# Options that weights do not settle
OF_USE = ("unseen", "context", "k", "tau", "weights", "combine", "shrink", "level", "rater", "device")


@dataclass(frozen=True)
class PamelaOptions:
    """Options of the scorer `pamela`. The paper (arXiv 2604.07427) gives context, k and tau; the other values are ours, chosen on training data.

    Args:
        demographics: the profile is read. rater_id: training raters have tokens of their own, which unseen raters borrow. metadata, prompts:
            what is known of images beside their pixels is read. joint: further datasets are learned from if `fit` is given some. Each is
            one of the paper's ablations.
        text_encoder: of profiles, prompts and metadata: an embedded part, a folder or a hub repository.
        width, layers, heads: of the transformer. 512, 2 and 8 make one of the usual size for a GPU.
        components: principal components of the image features that the image token is made of.
        product: width of a direct product of image and person that is added to the transformer's answer; 0: the transformer alone (ours: see
            docs/pamela.md for what it brings).
        dropout: within the transformer. rater_dropout: share of the examples in which the rater's token gives way to that of an unknown
            rater. field_dropout: share of those in which a field of the profile, the prompt or a kind of metadata is hidden.
        pairwise: weight of the pairwise loss between ratings of the same rater. tie_margin: pairs that differ by no more than this do not
            count in it, as a share of the scale's width.
        loss: of the ratings themselves.
        epochs: the learning rate falls to almost nothing over them, and the best of the second half is kept. patience: it ends after so many epochs without a better
            validation; 0: never.
        batch: ratings at once, `per_rater` of each rater in it.
        learning_rate, rater_learning_rate, weight_decay: of AdamW; the second is that of the raters' tokens, which are not decayed.
        base: "ridge" (ours): the score begins at a ridge regression of what raters share, on the image features and, if that is clearly
            better for images left out, on prompts and metadata; the transformer learns how raters differ. "none": the transformer learns
            everything.
        holdout_raters: share of the raters that are kept aside for early stopping, the strength of the personal part and the intervals.
        holdout: share of the image groups that are kept aside as well. 0: those raters are asked about all images, with a base that has not
            seen them: ten times as many ratings to measure on. With base=none it should be 0.1.
        seed: of every random choice.
        device: see `beholder.backbones.torch_encoder.choose_device`.
        unseen: what is done for a rater without a token: "neighbours" borrows the tokens of the most similar training raters if there are
            ratings; "demographics" never does, whatever is known of the rater (but see `rater`).
        context: ratings that similarity is judged by, at most: the first ones; 0: all.
        k, tau: how many similar raters, and the temperature of the softmax over their similarities.
        weights: of the context images in the rater's vector: the "raw" ratings, "centred" at their mean, or "residual" (ours): what the
            ratings are above what is expected of anybody with this profile, centred.
        combine: the similar raters' "embeddings" are averaged, or the "predictions" made with each.
        shrink: the personal part is made as strong as raters kept aside had it (ours); false: full strength.
        level: the mean of what is left of the rater's ratings shifts the scores, shrunk by how many there are (ours). Changes no ranks.
        rater: answer as this training rater ("DATASET/RATER") would, whoever asks.

    Raises:
        BeholderError: a number is out of range, or the width is no multiple of the heads.
    """

    demographics: bool = True
    rater_id: bool = True
    metadata: bool = True
    prompts: bool = True
    joint: bool = True
    text_encoder: str = DEFAULT_TEXT_ENCODER
    width: int = 64
    layers: int = 2
    heads: int = 4
    components: int = 64
    product: int = 32
    dropout: float = 0.1
    rater_dropout: float = 0.3
    field_dropout: float = 0.1
    pairwise: float = 0.1
    tie_margin: float = 0.1
    loss: Literal["mse", "huber"] = "mse"
    epochs: int = 8
    patience: int = 0
    batch: int = 512
    per_rater: int = 8
    learning_rate: float = 1e-3
    rater_learning_rate: float = 1e-2
    weight_decay: float = 0.05
    base: Literal["ridge", "none"] = "ridge"
    holdout_raters: float = 0.1
    holdout: float = 0.0
    seed: int = 0
    device: str = "auto"
    unseen: Literal["neighbours", "demographics"] = "neighbours"
    context: int = 15
    k: int = 5
    tau: float = 0.1
    weights: Literal["residual", "centred", "raw"] = "residual"
    combine: Literal["embeddings", "predictions"] = "embeddings"
    shrink: bool = True
    level: bool = True
    rater: str = ""

    def __post_init__(self) -> None:
        for names, known, what in (
            (("learning_rate", "rater_learning_rate", "tau"), lambda value: value > 0, "more than 0"),
            (("width", "layers", "heads", "components", "epochs", "batch", "k"), lambda value: value >= 1, "1 or more"),
            (("per_rater",), lambda value: value >= 2, "2 or more"),
            (("product", "pairwise", "weight_decay", "patience", "context", "seed"), lambda value: value >= 0, "0 or more"),
            (("holdout", "holdout_raters"), lambda value: 0 <= value <= 0.5, "from 0 to 0.5"),
            (("dropout", "rater_dropout", "field_dropout", "tie_margin"), lambda value: 0 <= value < 1, "from 0 to below 1"),
        ):
            for name in names:
                if not known(getattr(self, name)):
                    raise BeholderError(f"{name} = {getattr(self, name)} does not suit: give a number {what}")
        if self.width % self.heads:
            raise BeholderError(f"width = {self.width} is no multiple of heads = {self.heads}: change one of them")

    def of_training(self) -> dict[str, object]:
        """The options that weights settle."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in OF_USE}

    def changed_in_use(self) -> str:
        """ "-unseen=demographics" and the like, for the version; "" for the defaults."""
        names = [name for name in OF_USE if name != "device" and getattr(self, name) != getattr(PamelaOptions, name)]
        return "".join(f"-{name}={getattr(self, name)}" for name in names)
