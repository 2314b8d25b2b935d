"""The model card that goes with pamela weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(config: Mapping[str, Any]) -> str:
    """Markdown: what it is, data, licence, numbers, command, limits."""
    trained, training, shape = config["trained"], config["training"], config["shape"]
    data = "\n".join(
        f"- {one.get('dataset')}: {one.get('ratings')} ratings by {one.get('raters')} raters of {one.get('images')} images, "
        f"scale {one.get('scale')}; licence: {one.get('licence') or 'see its source'}. {one.get('citation', '')}".rstrip()
        for one in (trained, *trained.get("others", ()))
    )
    fields = ", ".join(field["name"] for field in config["profile_fields"]) or "none"
    validation = "none" if trained["validation"] is None else f"{trained['validation']:.5f}"
    strengths = "\n".join(f"| {n:g} | {value:.2f} |" for n, value in zip(config["contexts"], config["strengths"], strict=True))
    gain = trained.get("text_gain")
    texts = "not used" if gain is None else f"used, {gain:.1%} less squared error on images left out"
    widths = "\n".join(f"| {n:g} | {value:.3f} |" for n, value in zip(config["shots"], config["widths"], strict=True))
    return f"""# pamela: a personal reward model

A small transformer reads tokens of the image (frozen features, prompt, metadata) and of the person (profile, a token of the rater); unseen
raters borrow the tokens of similar training raters. After arXiv 2604.07427, with the changes named in the code.
Code: beholder, `scorers/pamela`. Licence of the weights: Apache-2.0; of the training data: see below.

## Trained on
{data}

No photograph, no rating and no rater's name is stored: a token and a vector stand for each training rater, under an 8-byte hash; fingerprints of
the images are kept so that an evaluation on the same images can be flagged.

- features: `{config["features"]}`
- text encoder: `{config["text_encoder"] or "none needed"}`
- fields of the profile: {fields}
- prompts: {"read" if shape["prompts"] else "none in the data"}; metadata: {", ".join(config["metadata"]) or "none"}; in the base: {texts}
- transformer: {shape["layers"]} layers of width {shape["width"]} with {shape["heads"]} heads; base: {training["base"]}; direct product: {shape["product"]}
- command: `beholder train pamela --data DIR --out DIR`
- epochs: {trained["epochs"]}, best {trained["best_epoch"]}, validation {validation} (kept aside: {trained["held_out"]})

Share of the personal part that counts, by the number of context images:

| images | share |
|---|---|
{strengths}

Half width of the 90 % interval as a share of the scale:

| ratings | half width |
|---|---|
{widths}

## Limits
It judges liking, not quality. With few ratings the personal part is small; for pictures unlike those above all of it says less.
"""
