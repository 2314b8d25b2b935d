"""`laion-aesthetic-v1` and `laion-aesthetic-v2`: LAION's linear head, and the "improved" one of five layers, on OpenAI's CLIP.

Both read CLIP's projected image embedding scaled to length 1; without that scaling the values come out at 20 to 30.
"""

from __future__ import annotations

from typing import ClassVar

from beholder.scorers.comparators.facts import Facts
from beholder.scorers.comparators.on_encoder import HeadScorer
from beholder.scorers.comparators.options import CLIP_L14, LaionOptions

CLIP_LICENCE = "MIT (CLIP: MIT, OpenAI)"


class LaionAestheticV1(HeadScorer):
    """One linear layer on CLIP's normalised image embedding: ViT-L/14 (768 values), or ViT-B/32 (512) with the head of that name."""

    name = "laion-aesthetic-v1"
    Options = LaionOptions
    encoder_types: ClassVar[tuple[str, ...]] = ("clip", "clip_vision_model")
    stacked = False
    facts = Facts(
        what="LAION's aesthetic predictor, version 1: one linear layer on CLIP",
        trained_on="Simulacra Aesthetic Captions: ratings 1 to 10 of generated images",
        low=1.0,
        high=10.0,
        range="1 to 10 like the ratings it learned, not cut off there; most photographs lie between 4 and 6.5",
        prompt="none",
        get=f"sa_0_4_vit_l_14_linear.pth (or its sister for ViT-B/32) from the GitHub repository LAION-AI/aesthetic-predictor, and the hub repository {CLIP_L14}",
        code_licence="MIT",
        weights_licence=CLIP_LICENCE,
        citation="Schuhmann et al. 2022, LAION-5B (arXiv 2210.08402); github LAION-AI/aesthetic-predictor",
    )


class LaionAestheticV2(HeadScorer):
    """Five linear layers, 768-1024-128-64-16-1, on the normalised image embedding of CLIP ViT-L/14.

    The heads called linearMSE have nothing but dropout between their layers, so that they are one linear function; reluMSE has ReLU there, which is
    recognised by the numbers of its layers.
    """

    name = "laion-aesthetic-v2"
    Options = LaionOptions
    encoder_types: ClassVar[tuple[str, ...]] = ("clip", "clip_vision_model")
    stacked = True
    facts = Facts(
        what="LAION's improved aesthetic predictor: five layers on CLIP ViT-L/14",
        trained_on="Simulacra Aesthetic Captions, LAION-Logos and AVA (file sac+logos+ava1), ratings 1 to 10",
        low=1.0,
        high=10.0,
        range="1 to 10 like the ratings it learned, not cut off there; most images lie between 4 and 7, and LAION called those above 6.5 aesthetic",
        prompt="none",
        get=f"sac+logos+ava1-l14-linearMSE.pth from the GitHub repository christophschuhmann/improved-aesthetic-predictor, and the hub repository {CLIP_L14}",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0 (CLIP: MIT, OpenAI)",
        citation="Schuhmann et al. 2022, LAION-5B (arXiv 2210.08402); github christophschuhmann/improved-aesthetic-predictor",
    )
