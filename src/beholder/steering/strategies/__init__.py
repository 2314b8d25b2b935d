"""Strategies: which prompts to ask for and to try. Each module has `run(trial, *, goal, config)`. Importing this imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from beholder.errors import BeholderError

STRATEGIES = {"mils": "mils", "random": "random_search", "reflect": "reflective"}  # name -> module here


def open_strategy(name: str) -> Callable[..., None]:
    """The `run` of a strategy.

    Raises:
        BeholderError: there is none of that name. MissingExtra: a package it needs is not installed.
    """
    if name not in STRATEGIES:
        raise BeholderError(f"there is no strategy {name!r}: name one of {', '.join(STRATEGIES)}")
    return importlib.import_module(f"{__name__}.{STRATEGIES[name]}").run
