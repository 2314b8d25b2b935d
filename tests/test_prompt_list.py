"""Prompts read from what language models write: known answers."""

from __future__ import annotations

import json

import pytest

from beholder.steering.prompt_list import parse_one, parse_prompts

LAKE, HILL, WOOD = "a lake at dawn, mist", "a hill under snow", "a wood in autumn light"
THREE = (LAKE, HILL, WOOD)


def lines(*marks):
    return "\n".join(f"{mark}{text}" for mark, text in zip(marks, THREE, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        lines("1. ", "2. ", "3. "),
        lines("1) ", "2) ", "3) "),
        lines("(1) ", "(2) ", "(3) "),
        lines("[1] ", "[2] ", "[3]: "),
        lines("1: ", "2: ", "3: "),
        lines("1.", "2.", "3."),
        lines("**1.** ", "**2.** ", "**3.** "),
        lines("**1. ", "2. ", "3. "),
        lines("#1 ", "#2 ", "#3 "),
        lines("### 1. ", "### 2. ", "### 3. "),
        lines("Prompt 1: ", "Prompt 2: ", "Prompt 3: "),
        lines("**Variant 1:** ", "**Variant 2:** ", "**Variant 3:** "),
        lines("- ", "- ", "- "),
        lines("* ", "* ", "* "),
        lines("• ", "• ", "• "),
        lines("- 1. ", "- 2. ", "- 3. "),
        lines("", "", ""),
        lines("0.731: ", "0.702: ", "0.650: "),
        lines("1. 0.731: ", "2. 0.702: ", "3. .65: "),
        lines("1. (0.731) ", "2. [0.702] ", "3. score 0.65: "),
        lines("1. Score: 0.731 | ", "2. score=0.7 - ", "3. rating 0.65 – "),
        lines('1. **Quiet dawn**: ', "2. **White hill:** ", "3. **In the wood** - "),
        "\n".join(f"**{i}. Title {i}:** {text}" for i, text in enumerate(THREE, 1)),
        "\n".join(f"**{i}. {text}**" for i, text in enumerate(THREE, 1)),
        "\n".join(f'{i}. "{text}"' for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. “{text}”" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. *{text}*" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. **{text}**" for i, text in enumerate(THREE, 1)),
        "\n".join(f'{i}. **"{text}"**' for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. `{text}`" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. {text} (0.75)" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. {text} (12 words)" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. Prompt: {text}" for i, text in enumerate(THREE, 1)),
        "\n\n".join(f"{i}. {text}  " for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}.\n   {text}" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. **Title {i}:**\n   {text}" for i, text in enumerate(THREE, 1)),
        "\n".join(f"{i}. {text}\n   - Style: oil\n   - Why: it is calm" for i, text in enumerate(THREE, 1)),
        f"1. a lake at dawn,\n   mist\n2. {HILL}\n3. {WOOD}",
        f"1. {LAKE} 2. {HILL} 3. {WOOD}",
        ";\n".join(THREE) + ",",
        "Here are 3 prompts:\n\n" + lines("1. ", "2. ", "3. ") + "\n\nI hope you like them! Let me know if you want more.",
        "Sure! Below are three variants.\n\n" + lines("- ", "- ", "- ") + "\n\nAll of them keep the subject.",
        "Here are 3 prompts:\n" + lines("", "", "") + "\nI hope this helps.",
        "Certainly, here they are:\n\n" + lines("", "", "").replace("\n", "\n\n") + "\n\nFeel free to ask.",
        "```\n" + lines("1. ", "2. ", "3. ") + "\n```",
        "```text\n" + lines("", "", "") + "\n```",
        "<think>\n1. a dog\n2. a cat\n</think>\n" + lines("1. ", "2. ", "3. "),
        "1. a dog, perhaps\n</think>\n\n" + lines("1. ", "2. ", "3. "),
        json.dumps(THREE),
        "Here you are:\n```json\n" + json.dumps(THREE, indent=2) + "\n```\nEnjoy.",
        json.dumps({"prompts": THREE, "n": 3}),
        json.dumps([{"prompt": text, "score": 0.7, "reason": "it is so very calm, and everybody likes calm images"} for text in THREE]),
        json.dumps({"1": LAKE, "2": HILL, "3": WOOD}),
        json.dumps({"prompt 1": LAKE, "prompt 2": HILL, "prompt 3": WOOD}),
        '[\n  "' + '",\n  "'.join(THREE) + '",\n',  # cut off
        "\r\n".join(f"{i}. {text}" for i, text in enumerate(THREE, 1)),
    ],
)
def test_lists_of_every_kind(text):
    assert parse_prompts(text).prompts == THREE


@pytest.mark.parametrize(
    "prompt",
    [
        "3 cats on a sofa",
        "16:9 photograph of a lake",
        "35mm film photo of a lake",
        "1920s street scene, sepia",
        "2001: A Space Odyssey, film poster",
        "4k, a lake",
        "a sign that says \"OPEN\"",
        "\"OPEN\" on a sign, and \"CLOSED\" on another",
        "a lake (oil on canvas)",
        "a lake **at dawn**",
        "a lake, 50% fog - a quiet one: still",
        "lake_at_dawn, __detailed__ mist",
        "Below the bridge, a boat",
        "These hills in fog",
        "the artist's lake, don't smile",
        "Ein See im Morgengrauen, Öl",
        "夜明けの湖",
    ],
)
def test_prompts_stay_as_they_are(prompt):
    assert parse_prompts(f"1. {prompt}\n2. {HILL}").prompts == (prompt, HILL)
    if not prompt.endswith(":"):
        assert parse_prompts(f"{HILL}\n{prompt}").prompts == (HILL, prompt)


@pytest.mark.parametrize(
    "text",
    ["", "   \n\n", "...", "1.\n2.\n3.", "Here are 20 prompts:", "<think>1. a dog\n2. a cat", "[]", "{}", "Sure!", "0.731", "1. 0.5"],
)
def test_nothing_there(text):
    assert parse_prompts(text).prompts == ()


def test_equal_prompts_are_all_there():
    assert parse_prompts(f"1. {LAKE}\n2. {LAKE}").prompts == (LAKE, LAKE)


def test_lists_are_told_from_bare_lines():
    assert parse_prompts(f"1. {LAKE}").listed and parse_prompts(f"- {LAKE}").listed and parse_prompts(json.dumps([LAKE])).listed
    assert not parse_prompts(LAKE).listed and not parse_prompts("I'm sorry, but I can't help with that.").listed


def test_a_numbered_remark_before_bullets():
    assert parse_prompts("1. As you wished:\n" + lines("- ", "- ", "- ")).prompts == THREE


@pytest.mark.parametrize(
    "text",
    [
        f"The better ones are calm.\n\nPROMPT: {LAKE}",
        f"Old prompt: {HILL}\nNow mine.\n**PROMPT:** {LAKE}\n\nI hope you like it.",
        f"**New prompt**: \"{LAKE}\"",
        f"PROMPT:\n{LAKE}",
        f"PROMPT:\n```\n{LAKE}\n```",
        f"Think of dawn.\n```\n{LAKE}\n```",
        f"1. {HILL}\n2. {LAKE}",
        f"<think>PROMPT: {HILL}</think>PROMPT: {LAKE}",
        LAKE,
    ],
)
def test_the_one_prompt_of_an_answer(text):
    assert parse_one(text) == LAKE


@pytest.mark.parametrize("text", ["", "PROMPT:", "PROMPT: ...", "Sure!"])
def test_no_prompt_in_an_answer(text):
    assert parse_one(text) == ""
