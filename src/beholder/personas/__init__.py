"""Profiles and questions as text for language models: the published prompts, and short ones for small models. No torch."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any


@functools.cache
def templates() -> dict[str, Any]:
    """The published prompts with their source, from templates.json; not to be changed by the caller."""
    return json.loads(Path(__file__).with_name("templates.json").read_text(encoding="utf-8"))
