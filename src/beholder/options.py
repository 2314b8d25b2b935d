"""Options that come as text (in brackets behind a name, from --set) become the fields of a dataclass or keyword arguments."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from beholder.errors import BeholderError

T = TypeVar("T")
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def parse_brackets(text: str, *, of: str) -> tuple[str, dict[str, str]]:
    """ "name[layers=5,gate=scalar]" -> ("name", {"layers": "5", "gate": "scalar"}).

    Args:
        of: what is named, for the message: "the scorer".

    Raises:
        BeholderError: the brackets or what is in them cannot be understood.
    """
    plain, bracket, rest = text.strip().partition("[")
    if not bracket:
        return plain, {}
    pairs = [part.partition("=") for part in rest.removesuffix("]").split(",") if part.strip()]
    if not rest.endswith("]") or not all(key.strip() and equals for key, equals, _ in pairs):
        raise BeholderError(f"{of} {text!r} cannot be understood: options are written name[option=value,option=value]")
    return plain.strip(), {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}


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
    return cls(**_all_typed(given, {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}, of=of))


def keywords_from_texts(function: Callable, given: Mapping[str, str], *, of: str, without: Collection[str] = ()) -> dict[str, Any]:
    """Keyword arguments of a function from texts, as `from_texts` for the fields of a dataclass.

    Args:
        without: those of its keyword arguments that are no options.

    Raises:
        BeholderError: see `from_texts`.
    """
    hints = typing.get_type_hints(function)
    keywords = [one.name for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return _all_typed(given, {name: hints[name] for name in keywords if name not in without}, of=of)


def _all_typed(given: Mapping[str, str], known: Mapping[str, Any], *, of: str) -> dict[str, Any]:
    """The texts as what `known` (name -> type) says they are."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise BeholderError(f"{of} has no option {name!r}: {hint}Known are {', '.join(known)}")
    return {name: _typed(text, known[name], name=name) for name, text in given.items()}


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
