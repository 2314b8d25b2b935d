"""The model that `critique` and `ask` speak with, from --model or the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli.output import note, note_wait

if TYPE_CHECKING:
    from beholder.backbones.chat import ChatModel

VARIABLE = "BEHOLDER_CHAT_MODEL"
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|URL#MODEL",
        help=f"A vision-language model: a folder, a hub repository, or http(s)://HOST/v1#MODEL of a server, which then gets the photographs. "
        f"{VARIABLE} may name one, too.",
        show_default="none: measured, not seen",
    ),
]
KeyVariable = Annotated[
    str, typer.Option("--api-key-env", metavar="VARIABLE", help="The environment variable that holds the key of a server.")
]


def named_model(model: str | None, *, api_key_env: str) -> ChatModel | None:
    """The model, or None if none is named. If the environment names a server, it is said that photographs go there.

    Raises:
        BeholderError: it cannot be found, or takes no images.
    """
    name = (model if model is not None else os.environ.get(VARIABLE, "")).strip()
    if not name and model is None:
        return None
    from beholder.backbones.chat import open_chat_model
    from beholder.critique.by_model import is_url
    from beholder.errors import BeholderError

    found = open_chat_model(name, api_key_env=api_key_env)
    if not found.sees:
        raise BeholderError(f"the model {found.name} reads text only, and cannot say anything about an image: name a vision-language model")
    if model is None and is_url(name):
        note(f"sends photographs to {found.name.partition('#')[0]}, as the environment variable {VARIABLE} says")
    if not is_url(name):
        note_wait(found.name)
    return found
