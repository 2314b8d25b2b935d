"""What is written beside a tuned model: its card and its losses."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beholder import __version__
from beholder.critique.tuning.data import Kept
from beholder.critique.tuning.options import TuningOptions
from beholder.critique.tuning.tiny import NAME
from beholder.whole_file import replace_file

SHOWN = 12  # points of the loss curve
LICENCES = {"llava-hf/llava-1.5-7b-hf": "llama2", "llava-hf/llava-1.5-13b-hf": "llama2"}
COLUMNS = ("step", "loss", "learning_rate", "grad_norm")


def write_losses(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """A line for each step: mean cross-entropy of an answer's token (nats), learning rate, length of the gradient."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    replace_file(path, lines.getvalue().encode())


def text(
    result: Mapping[str, Any],
    *,
    kept: Kept,
    options: TuningOptions,
    counts: Mapping[str, tuple[int, int]],
    history: Sequence[Mapping[str, Any]],
    base: Path,
    command: str,
    devices: int,
) -> str:
    """The model card, in Markdown."""
    name, licence = result["model"], licence_of(base, result["model"])
    lines = [
        "---",
        *([f"license: {licence}"] if licence else []),
        "pipeline_tag: image-text-to-text",
        "tags: [image aesthetics, critique, llava]",
        "---",
        "",
        f"# {Path(name).name}, tuned to critique images",
        "",
        _what_it_is(name),
        "",
        f"- Base model: {Path(name).name}; licence: {licence or 'not stated in its folder: look it up before you pass this model on'}",
        f"- Made with: beholder {__version__}" + (f", `{command}`" if command else ""),
        "- Intended use: research on image aesthetics: describing and judging photographs, art and generated images in words. Not for decisions about people.",
        "- **Not evaluated.** Nothing but the loss on the data below is known of it:  beholder bench aesbench  measures more.",
        "",
        "## Data",
        "",
        *_data(kept),
        "",
        "## Recipe",
        "",
        f"{'Everything but the vision tower' if options.method == 'full' else 'Low-rank adapters on the language model, and the projector'} was trained "
        "on the answers' tokens only (AesExpert, arXiv 2404.09624, section 4, with the settings of LLaVA-1.5).",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in _recipe(options, devices=devices, steps=result["steps"]).items()),
        "",
        "| part | trained weights | all weights |",
        "|---|---:|---:|",
        *(f"| {part} | {trained:,} | {whole:,} |" for part, (trained, whole) in counts.items()),
        "",
        "## Loss",
        "",
        "Mean cross-entropy of an answer's token in nats; every step is in loss.csv.",
        "",
        "| step | loss |",
        "|---:|---:|",
        *(f"| {entry['step']} | {entry['loss']:.4f} |" for entry in _some(history)),
        "",
    ]
    return "\n".join(lines)


def licence_of(base: Path, name: str) -> str:
    """As the card of the base model states it; "" if it does not."""
    try:
        lines = (base / "README.md").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return LICENCES.get(name, "")
    if lines and lines[0].strip() == "---":
        for line in lines[1:]:
            key, _, value = line.partition(":")
            if line.strip() == "---":
                break
            if key.strip() in ("license", "licence") and value.strip():
                return value.strip().strip("'\"")
    return LICENCES.get(name, "")


def _what_it_is(name: str) -> str:
    if name == NAME:
        return (
            "A tiny model with random weights, tuned to try things out: it knows nothing but the data below, sees 16 patches of an image, and is of "
            "no use for anything else."
        )
    return "LLaVA-1.5, tuned on instructions about the aesthetics of images, as AesExpert was."


def _data(kept: Kept) -> list[str]:
    items = kept.items
    turns = [turn for item in items for turn in item.turns]
    images = len({item.image for item in items if item.image})
    words = [sum(len(turn[place].split()) for turn in turns) / len(turns) for place in (0, 1)]
    lines = [
        f"- {len(items)} items with {len(turns)} questions, about {images} images; {sum(not item.image for item in items)} items without an image",
        f"- {words[0]:.1f} words a question, {words[1]:.1f} an answer",
    ]
    for title, field in (("type", "type"), ("kind of question", "qtype"), ("dimension", "dimension")):
        counted = Counter(getattr(item, field) for item in items if getattr(item, field))
        if counted:
            lines.append(f"- by {title}: " + ", ".join(f"{name} {count}" for name, count in counted.most_common()))
    if kept.cut:
        lines.append(f"- {kept.cut} items were longer than the model may see, and lost their end")
    lines += [f"- {sentence}" for sentence in kept.left_out]
    return lines


def _recipe(options: TuningOptions, *, devices: int, steps: int) -> dict[str, Any]:
    accumulate = options.accumulated(devices)
    made = {
        "method": options.method,
        "epochs": options.epochs,
        "steps": steps,
        "items a step": f"{options.batch * accumulate * devices} ({options.batch} at once x {accumulate} x {devices} processes)",
        "learning rate": f"{options.rate:g}, {options.schedule}, warm-up {options.warmup_ratio:g} of all steps",
        "weight decay": options.weight_decay,
        "precision": options.precision,
        "longest conversation": f"{options.max_length} tokens",
        "images": "made square with bars of the mean colour" if options.pad else "as the base model prepares them",
        "conversations": "LLaVA-1.5's v1 (Vicuna)" if options.template == "v1" else "the base model's own template",
        "batches": "of conversations about equally long" if options.group_by_length else "at random",
        "seed": options.seed,
    }
    if options.method == "lora":
        made["adapters"] = f"rank {options.rank}, alpha {options.alpha:g}, dropout {options.dropout:g}; merged here, and alone in  adapter/"
    return made


def _some(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Up to `SHOWN` of the steps, the first and the last among them."""
    if len(history) <= SHOWN:
        return list(history)
    return [history[round(number * (len(history) - 1) / (SHOWN - 1))] for number in range(SHOWN)]
