"""Generators by name. Importing this imports neither torch nor diffusers; a generator's module is imported when it is asked for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence

from beholder.errors import BeholderError
from beholder.steering.base import Generator

KNOWN = "scenes, diffusers:FOLDER-OR-HUB-NAME[steps=20,guidance=5], http(s)://host/v1#model, command:PROGRAM --prompt {prompt} --out {out}, module:Class"


def open_generator(
    uri: str,
    *,
    size: str | Sequence[int] | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    timeout: float = 300.0,
    retries: int = 2,
    concurrency: int = 4,
    device: str = "auto",
) -> Generator:
    """A generator by name; weights are loaded when the first image is asked for.

    Args:
        uri: "scenes" (drawn, without a model); "diffusers:ID-or-folder[steps=20,guidance=5]"; "http(s)://host/v1#model" (a server's
            images/generations); "command:render --prompt {prompt} --seed {seed} --out {out}"; "module:Class" of your own, made without arguments.
        size: of the images in pixels, "WIDTHxHEIGHT" or (width, height); what the generator makes by itself if not given.
        api_key_env: environment variable with the key of a server.
        timeout: seconds for one image of a server or a command.
        retries: how often one request to a server is sent again; the loop repeats failures as well, so few.
        concurrency: requests under way at once, to a server.
        device: of a diffusers pipeline.

    Raises:
        BeholderError: there is no such generator, or an argument does not suit.
        MissingExtra: diffusers or httpx is not installed.
    """
    uri = str(uri).strip()
    pixels = parse_size(size)
    if timeout <= 0 or retries < 0 or concurrency < 1:
        raise BeholderError(
            f"timeout = {timeout:g}, retries = {retries}, concurrency = {concurrency}: give more than 0, 0 or more, and 1 or more"
        )
    kind, _, rest = uri.partition(":")
    if kind == "diffusers":
        from beholder.steering.generators.diffusers import DiffusersGenerator

        return DiffusersGenerator(rest, size=pixels, device=device)
    if kind == "command":
        from beholder.steering.generators.command import CommandGenerator

        return CommandGenerator(rest, size=pixels, timeout=timeout)
    if re.match(r"https?://", uri, re.IGNORECASE):
        from beholder.steering.generators.endpoint import ImagesEndpoint

        return ImagesEndpoint(uri, size=pixels, api_key_env=api_key_env, timeout=timeout, retries=retries, concurrency=concurrency)
    if uri == "scenes":
        from beholder.steering.generators.scenes import SceneGenerator

        return SceneGenerator(size=pixels)
    if rest:
        return _own(uri)
    raise BeholderError(f"there is no generator {uri!r}: give one of {KNOWN}")


def parse_size(size: str | Sequence[int] | None) -> tuple[int, int] | None:
    """ "640x480" or (640, 480) -> (width, height)."""
    if size is None:
        return None
    parts = re.split(r"\s*[xX×]\s*", size.strip()) if isinstance(size, str) else size
    try:
        width, height = (int(part) for part in parts)
        if min(width, height) < 1:
            raise ValueError
    except (TypeError, ValueError):
        raise BeholderError(f"the size {size!r} is not WIDTHxHEIGHT in pixels: write for example 512x512") from None
    return width, height


def _own(uri: str) -> Generator:
    module, _, attribute = uri.partition(":")
    found = None
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name and module != error.name and not module.startswith(f"{error.name}."):
            raise BeholderError(f"{module} cannot be imported, as it needs {error.name}: install that") from error
    except (ValueError, TypeError):  # no name of a module at all
        pass
    if not (isinstance(found, type) and issubclass(found, Generator)):
        raise BeholderError(f"{uri!r} is no generator: give one of {KNOWN}, where Class is derived from beholder.steering.base.Generator")
    return found()
