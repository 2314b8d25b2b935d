"""The number in an answer. Importing this imports no torch."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")  # as published


def parse_number(text: str) -> float | None:
    """The first number of an answer; None if there is none.

    Source: Ryu & Yanaka 2026 (arXiv 2604.11374), raw text and few-shot.
    """
    found = _NUMBER.search(text)
    return float(found.group()) if found else None
