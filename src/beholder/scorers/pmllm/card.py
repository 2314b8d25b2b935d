"""The model card that goes with P-MLLM weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(name: str, config: Mapping[str, Any], model: Any) -> str:
    """Markdown: what it is, data, licence, prompt, command, limits."""
    trained, fusion, prompt, training = config["trained"], config["fusion"], config["prompt"], config["training"]
    size = sum(parameter.numel() for parameter in model.parameters())
    tasks = [f"weight {training[part]:g} {what}" for part, what in _PARTS.items() if training[part]]
    led = f" Targets of the expected score are led by the zero-shot answers of `{training['guide_scorer']}` (share {training['guide']:g})." if training["guide"] else ""
    return f"""# {name}: zero-shot scores from a profile

P-MLLM (arXiv 2604.17233) as beholder implements it: a frozen language model reads who the viewer is, sees the image through selective
fusion modules in its lowest {fusion["layers"]} blocks, and gives a score. {"One learned number per head gates the image (P-MLLM-S)." if fusion["gate"] == "scalar" else "Gates depend on the hidden state (P-MLLM)."}
Code: beholder, `scorers/pmllm`. Licence of the weights: Apache-2.0; of the training data: {trained.get("licence") or "see its source"}.

- trained: {size:,} numbers (projector, fusion modules, gates), stored in float16; nothing of the language model or the encoder is stored
- language model: {config["language_model"]["name"]}, revision {config["language_model"]["revision"]}
- image tokens: `{config["features"]}`
- prompt: layout {prompt["layout"]}, profile "{prompt["persona"]}", question "{prompt["question"]}", integers {prompt["low"]} to {prompt["high"]}

## Trained on
{trained.get("dataset")}: {trained.get("ratings")} ratings by {trained.get("raters")} raters of {trained.get("images")} images, scale {trained.get("scale")}.
{trained.get("citation", "")}
{trained.get("examples", "")}.{"".join(f" {note}." for note in trained.get("notes", []))}

No photograph and no rating is stored; 8-byte fingerprints of the images are, so that an evaluation on the same images can be flagged.

- loss: {", ".join(tasks)}.{led}
- {trained.get("steps")} steps of {training["batch_size"]}, learning rate {training["learning_rate"]:g}, sampling "{training["sampling"]}", seed {training["seed"]}
- command: `beholder train {name} --data DIR --out DIR`
- half width of the 90 % interval: {trained.get("half_width", float("nan")):.2f} on the question's scale, measured on raters and images kept aside

## Limits
It knows the taste of the raters above only, and of profiles only what they share. What a profile tells about taste is little: see
docs/benchmarks.md for the numbers, measured on raters and images left out of training, and for the controls. {"Its prompt is short, unlike the published one; free text of it means little." if prompt["question"] != "published" else ""}
"""


_PARTS = {
    "answers": "on the answer's tokens (cross-entropy)",
    "expectation": "on the squared error of the expected score",
    "contrast": "on that error between raters and images of a batch",
}
