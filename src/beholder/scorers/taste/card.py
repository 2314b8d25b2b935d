"""The model card that goes with taste weights."""

from __future__ import annotations

from collections.abc import Mapping

from beholder.scorers.taste.model import TasteModel


def model_card(model: TasteModel, trained: Mapping[str, object], *, features: str) -> str:
    """Markdown: what it is, data, licence, numbers, command, limits."""
    spread = model.spread
    rows = "\n".join(f"| {int(n)} | {width:.3f} |" for n, width in zip(model.shots, model.widths, strict=True))
    return f"""# taste: a personal scorer of photographs

How much will this person like this image, from no rating to hundreds: a Gaussian process per rater on frozen image features.
Code: beholder, `scorers/taste`. Licence of the weights: Apache-2.0; of the training data: {trained.get("licence") or "see its source"}.

## Trained on
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images, scale {trained.get("scale")}.
{trained.get("citation", "")}

No photograph and no rating is stored: the weights hold compressed features of the training images (the anchors of the crowd's
Gaussian process), variances, and 8-byte fingerprints of the images, so that an evaluation on the same images can be flagged.

- features: `{features}`
- layers: {", ".join(model.layers)}
- command: `beholder train taste --data DIR --out DIR`

## What was learned (standard deviations, as shares of the scale)
| part | sd |
|---|---|
| severity of a rater | {spread * model.severity**0.5:.3f} |
| trust: deviation of a rater's slope on the crowd from 1 (no unit) | {model.trust**0.5:.3f} |
| noise of one rating | {spread * model.noise**0.5:.3f} |
| crowd: what looks do not explain | {spread * model.crowd.own**0.5:.3f} |

Factor of the 90 % interval's half width, measured on training raters and unseen images:

| ratings | factor |
|---|---|
{rows}

## Limits
It has seen the taste of the raters above only: mostly what such people say of such photographs. For other pictures (paintings,
product shots, portraits of friends) the crowd part says less, and a rater's own ratings are needed. It judges liking, not technical quality.
Accuracy: docs/benchmarks.md, measured on raters and images that were left out of training.
"""
