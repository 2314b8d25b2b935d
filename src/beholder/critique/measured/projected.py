"""Attributes of a projection that `beholder probe` learned from people's ratings of attributes (AADB, PARA, ...), as evidence of a critique."""

from __future__ import annotations

import os

from beholder.backbones import load_encoder
from beholder.critique.base import Evidence
from beholder.engine.source import Features
from beholder.errors import BeholderError
from beholder.scorers.linear_hidden.projection import Projection

# Words in the names of attributes of AADB, PARA, EVA and others -> the section they belong to; the first that fits counts
_BELONGS = (
    ("colour", ("color", "colour", "vivid")),
    ("light", ("light", "exposure", "brightness", "contrast")),
    ("focus", ("dof", "depth", "motionblur", "blur", "sharp", "clarity", "quality", "technical")),
    ("composition", ("composition", "balanc", "thirds", "symmetry", "repetition", "pattern", "perspective")),
    ("subject", ("object", "content", "subject", "semantic")),
    ("feeling", ("emotion", "feeling", "mood", "interest", "unique", "vibe")),
)


def projected(image: str | os.PathLike, folder: str | os.PathLike) -> dict[str, list[Evidence]]:
    """Section -> the attributes of the projection that belong to it; those that belong to none are in "overall".

    Raises:
        BeholderError: there is no projection, or it belongs to features of another encoder.
        UnreadableImage: the image cannot be read.
    """
    found = Projection.load(folder)
    layers = [layer for layer in found.layer.split("+") if layer]
    encoder = load_encoder("efficientnet-lite0", layers=layers) if set(layers) <= set(load_encoder("efficientnet-lite0").known_layers) else None
    source = Features(encoder, layers=layers) if encoder is not None and layers else None
    if source is None or source.key != found.feature_key:
        raise BeholderError(
            f"the projection {os.fspath(folder)} was learned from features {found.feature_key}, and the critique reads those of the embedded encoder: "
            "give one that  beholder probe --model efficientnet-lite0  wrote"
        )
    values = found(source([os.fspath(image)]))[0]
    made: dict[str, list[Evidence]] = {}
    for name, value in zip(found.attributes, values, strict=True):
        plain = "".join(sign for sign in name.lower() if sign.isalnum())
        section = next((section for section, words in _BELONGS if any(word in plain for word in words)), "overall")
        rho = found.scores.get(f"{name} test rho")
        how = "Linear probe on the image encoder's features, in the units of the data it was learned from"
        how += f"; its correlation with people's ratings of other images is {rho:.2f}." if rho is not None else "."
        made.setdefault(section, []).append(Evidence(name, float(value), "", None, how))
    return made
