"""Options that come as text (from brackets behind a scorer's name, from --set) become the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from beholder.errors import BeholderError

T = TypeVar("T")
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def from_texts(cls: type[T], given: Mapping[str, str], *, of: str) -> T:
    """A dataclass from texts; fields that are not given keep their defaults.

    Args:
        cls: a dataclass whose fields are str, int, float, bool, Path, a Literal of texts, or one of these or None.
        given: field -> text.
        of: what the options belong to, for the message.

    Raises:
        BeholderError: there is no such option, or its value is of the wrong kind.
    """
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise BeholderError(f"{of} has no option {name!r}: {hint}Known are {', '.join(known)}")
    return cls(**{name: _typed(text, hints[name], name=name) for name, text in given.items()})


def _typed(text: Any, wanted: Any, *, name: str) -> Any:
    if not isinstance(text, str):
        return text
    origin = typing.get_origin(wanted)
    if origin in (types.UnionType, typing.Union):
        if text.lower() in ("none", ""):
            return None
        return _typed(text, next(part for part in typing.get_args(wanted) if part is not type(None)), name=name)
    if origin is typing.Literal:
        if text not in typing.get_args(wanted):
            raise BeholderError(f"{name} = {text!r} is not one of {', '.join(map(str, typing.get_args(wanted)))}")
        return text
    if wanted is bool:
        if text.lower() not in TRUE + FALSE:
            raise BeholderError(f"{name} = {text!r} is neither true nor false")
        return text.lower() in TRUE
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            raise BeholderError(f"{name} = {text!r} is not a {'whole number' if wanted is int else 'number'}") from None
    return Path(text) if wanted is Path else text
