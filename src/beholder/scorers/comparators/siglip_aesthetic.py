"""`siglip-aesthetic`: a head in the style of Aesthetic Predictor V2.5 on SigLIP. The file is read by our own code; nothing of theirs is used."""

from __future__ import annotations

from typing import ClassVar

from beholder.scorers.comparators.facts import Facts
from beholder.scorers.comparators.on_encoder import HeadScorer
from beholder.scorers.comparators.options import SIGLIP_384, SiglipOptions


class SiglipAesthetic(HeadScorer):
    """Five linear layers on SigLIP's attention-pooled embedding scaled to length 1 (so400m: 1152 values)."""

    name = "siglip-aesthetic"
    Options = SiglipOptions
    encoder_types: ClassVar[tuple[str, ...]] = ("siglip", "siglip_vision_model")
    stacked = True
    facts = Facts(
        what="Aesthetic Predictor V2.5: five layers on SigLIP so400m",
        trained_on="not published",
        low=1.0,
        high=10.0,
        range="1 to 10, not cut off there; its makers call 5.5 and more great",
        prompt="none",
        get=f"aesthetic_predictor_v2_5.pth from the GitHub repository discus0434/aesthetic-predictor-v2-5, and the hub repository {SIGLIP_384}",
        code_licence="AGPL-3.0 (not used here)",
        weights_licence="AGPL-3.0, as they come with that code (SigLIP: Apache-2.0)",
        citation="github discus0434/aesthetic-predictor-v2-5, 2024",
        restricted="AGPL: whoever offers a service with it, or passes it on, has to offer the source of the whole under the same licence",
    )
