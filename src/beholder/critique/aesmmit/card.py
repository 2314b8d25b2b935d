"""The card of a built dataset: what it holds, what it was made of and by whom, what it is not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from beholder.critique.aesmmit.instructions import Instruction

if TYPE_CHECKING:
    from beholder.critique.aesmmit.build import BuildResult


TITLE = "# Aesthetic instruction data"


def card(result: BuildResult, items: Sequence[Instruction], *, settings: Mapping[str, Any], licence: str) -> str:
    """README.md, with the header that dataset hubs read."""
    asked = [item for item in items if item.type == "open"]
    sources = Counter(str(item.more.get("dataset") or item.more.get("source") or "not said") for item in items)
    by_rules = result.writer == "rules"
    lines = [
        "---",
        f"license: {_plain(licence) if licence else 'unknown'}",
        "task_categories: [visual-question-answering]",
        "---",
        "",
        TITLE,
        "",
        f"{len(items)} items on {result.images} images, made from what people said of them, in the way of AesMMIT (Huang et al. 2024, section 3.3).",
        "The images are not part of it: `image` is a path below the folder that they were read from.",
        "",
        "| type | items | what |",
        "| --- | ---: | --- |",
        f"| description | {result.descriptions} | the questions that people were asked, with what they said |",
        f"| open | {result.open} | questions with a brief answer |",
        f"| choice | {result.choice} | the same questions with options; the answer is a letter |",
        "",
        "The paper made 88K descriptions and, with open and multiple-choice questions, 409K items of 21,904 images.",
        "",
        "## Made by",
        "",
        "Descriptions: people, word for word. Questions, answers and wrong alternatives: "
        + (
            "rules without a model (`rules`): the answers are grades and sentences that people said, the wrong alternatives contraries from a list. "
            "An example and a baseline, not a replacement for a language model."
            if by_rules
            else f"`{result.writer}`, which was shown what people said of an image and not the image. Nobody has checked them one by one."
        ),
        "The wording of the request is ours: that of the paper is unpublished.",
        "",
        *(f"- {name}: {value}" for name, value in settings.items()),
        f"- calls: {result.calls}",
        f"- licence: {licence or 'not said; it follows that of the feedback and the terms of the writer'}",
        "",
        *_table("Where the images come from", sources),
        *_table("Kinds of questions", Counter(item.qtype for item in asked)),
        *_table("Dimensions", Counter(item.dimension for item in asked)),
        "## Left out",
        "",
        *(f"- {count} x {reason}" for reason, count in result.rejected.items()),
        f"- {result.duplicates} x the same question of the same image",
        f"- {result.too_common} x the same question and answer with too many images",
        f"- {len(result.skipped)} images whose file cannot be read; {len(result.failed)} of which the writer made nothing, or not all",
        "",
        "## Letters of the right options",
        "",
        *(f"- {count} options: {', '.join(f'{letter} {n}' for letter, n in letters.items())}" for count, letters in result.positions.items()),
    ]
    if result.longest["share"] is not None:
        lines.append(f"- the right option is the longest in {result.longest['share']:.1%} (by chance at most {result.longest['chance']:.1%})")
    if result.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in result.notes)]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """As YAML: in quotes where it holds more than letters, digits, blanks, hyphens and stops."""
    return text if text[0].isalnum() and all(sign.isalnum() or sign in " -." for sign in text) else json.dumps(text, ensure_ascii=False)


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    rows = [f"| {name} | {count} |" for name, count in sorted(counts.items(), key=lambda row: (-row[1], row[0]))]
    return [f"## {title}", "", "| | items |", "| --- | ---: |", *rows, ""]
