"""The model card that goes with ici weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(config: Mapping[str, Any]) -> str:
    """Markdown: what it is, data, licence, numbers, command, limits."""
    trained, training = config["trained"], config["training"]
    fields = ", ".join(field["name"] for field in config["profile_fields"]) or "none"
    sees = "the frozen features below" if config["backbone"] is None else f"pixels, {training['backbone']} trained end to end"
    rows = "\n".join(f"| {shots} | {width:.3f} |" for shots, width in zip(config["shots"], config["widths"], strict=True))
    phases = "\n".join(_row(what, trained[name]) for what, name in (("1, images", "generic"), ("2, raters", "prior")))
    return f"""# ici: PIAA-ICI, a personal scorer by interaction graphs

What an image is like is predicted first; a graph of these attributes and a graph of the rater then interact, and a copy of
them is trained on each rater's own ratings. The form is the baseline of arXiv 2604.11374, with the changes named in the code.
Code: beholder, `scorers/ici`. Licence of the weights: Apache-2.0; of the training data: {trained.get("licence") or "see its source"}.

## Trained on
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images, scale {trained.get("scale")}.
{trained.get("citation", "")}

No photograph, no rating and no rater's own vector is stored; 8-byte fingerprints of the images are, so that an evaluation on the same
images can be flagged.

- sees: {sees}
- features: `{config["features"]}`
- attributes: {", ".join(config["attributes"])}; bins of the score: {config["bins"]}
- mode: {config["mode"]}; fields of the profile: {fields}
- command: `beholder train ici --data DIR --out DIR`

| phase | epochs | best epoch | its validation loss |
|---|---|---|---|
{phases}

Half width of the 90 % interval as a share of the scale, {trained["width_from"]}:

| ratings | half width |
|---|---|
{rows}

## Limits
Adapting changes little at the published learning rate: predictions stay near what the profile and the crowd say. For other pictures than
those above the attributes say less. It judges liking, not technical quality.
"""


def _row(what: str, facts: Mapping[str, Any]) -> str:
    loss = "none" if facts["validation"] is None else f"{facts['validation']:.4f}"
    return f"| {what} | {facts['epochs']} | {facts['best_epoch']} | {loss} |"
