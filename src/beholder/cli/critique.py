"""beholder critique IMAGE... [--model NAME] [--rater NAME]"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import chat_model, options
from beholder.cli.output import json_line, note, on_terminal, print_json, progress_bar
from beholder.cli.people import Who, who

if TYPE_CHECKING:
    from beholder.backbones.chat import ChatModel
    from beholder.critique.base import Critique

_NAMED = 3  # photographs that a note is about


def critique(
    paths: options.Paths,
    model: chat_model.Model = None,
    profile: options.ProfileFile = None,
    rater: options.RaterName = None,
    ratings: options.RatingsFile = None,
    scale: options.ScaleText = None,
    projection: Annotated[
        Path | None,
        typer.Option("--projection", metavar="DIR", help="What beholder probe wrote: its attributes are shown with what is measured.", show_default=False),
    ] = None,
    details: Annotated[
        bool | None,
        typer.Option("--details/--no-details", help="What was measured: each with a sentence, or not at all.", show_default="names and values"),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Show what a model writes on standard error while it writes.")] = False,
    api_key_env: chat_model.KeyVariable = "OPENAI_API_KEY",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.jsonl", help="Write all of it there, a line each.", show_default=False)] = None,
    as_json: options.AsJson = False,
) -> None:
    """What is good and bad about photographs, and what would help: measured, or said by a model that sees."""
    from beholder.errors import BeholderError

    someone = who(rater=rater, profile=profile, ratings=ratings, scale=scale) if any((rater, profile, ratings)) else None
    photos = _photos(paths)
    chat = chat_model.named_model(model, api_key_env=api_key_env)
    if chat is not None and projection is not None:
        raise BeholderError("--projection is about what is measured, and a model says this critique: leave one of them out")
    made: list[Critique] = []
    shown = as_json or out is None or on_terminal()
    # On a terminal the critiques themselves show how far it is; a bar would be in their way.
    with progress_bar("looking at photographs") if len(photos) > 1 and not on_terminal() else contextlib.nullcontext(None) as progress:
        for number, one in enumerate(_critiques(photos, chat=chat, someone=someone, projection=projection, stream=_to_stderr if stream else None)):
            if progress:
                progress(number + 1, len(photos))
            if one is None:
                continue
            made.append(one)
            if as_json:
                print_json(one.to_json())
            elif shown:
                from beholder.cli.critique_text import show

                show(one, details=details, first=len(made) == 1)
            sys.stdout.flush()
    if not as_json and shown:
        for text in dict.fromkeys(text for one in made for text in one.notes):
            about = [one.image for one in made if text in one.notes]
            note(text if len(about) == len(made) else f"{', '.join(about[:_NAMED])}{' and others' if len(about) > _NAMED else ''}: {text}")
    if out is not None:
        _write(out, made)
        note(f"wrote {len(made)} critique{'' if len(made) == 1 else 's'} to {out}")


def _critiques(
    photos: list[str], *, chat: ChatModel | None, someone: Who | None, projection: Path | None, stream: Callable[[str], None] | None
) -> Iterator[Critique | None]:
    """One after another, None for those that were skipped (which is said)."""
    from beholder.backbones.chat import NoAnswer
    from beholder.critique.by_model import Refused, Unreadable
    from beholder.errors import UnreadableImage
    from beholder.located import SkippedInput

    for photo in photos:
        try:
            yield _critique(photo, chat=chat, someone=someone, projection=projection, stream=stream)
        except (UnreadableImage, Refused, Unreadable, NoAnswer) as error:
            if len(photos) == 1 or getattr(error, "kind", "") == "unreachable":  # nobody there: the others would fail alike
                raise
            warnings.warn(f"{photo} was skipped: {str(error).removeprefix(f'{photo}: ')}", SkippedInput, stacklevel=2)
            yield None


def _critique(
    photo: str, *, chat: ChatModel | None, someone: Who | None, projection: Path | None, stream: Callable[[str], None] | None
) -> Critique:
    rater, look_in = (someone.rater, someone.look_in) if someone is not None else (None, [])
    if chat is None:
        from beholder.critique.measured.critique import critique as measured

        return measured(photo, rater=rater, look_in=look_in, projection=projection)
    from beholder.critique.by_model import about_rater
    from beholder.critique.by_model import critique as by_model

    view = None
    if rater is not None:
        from beholder.critique.measured import personal

        view = personal.view(photo, rater=rater, look_in=look_in)
    text = about_rater(rater, view=view) if rater is not None else ""
    made = by_model(photo, chat=chat, rater_text=text, stream=stream, personal=view)
    if stream is not None:
        stream("\n")
    return made


def _photos(paths: list[Path]) -> list[str]:
    """Photographs in files and folders. What is not there or no photograph is named, and the others go on; nothing at all is refused."""
    from beholder.errors import BeholderError
    from beholder.folders import Found, find_photos, nothing_found
    from beholder.located import SkippedInput

    photos, problems = [], []
    for path in paths:
        try:
            found = find_photos(path)
        except BeholderError as error:
            problems.append(str(error))
            continue
        photos += found.photos
        problems += [f"{one.path} was skipped: {one.reason}" for one in found.skipped]
    if not photos:
        raise BeholderError(problems[0] if problems else nothing_found(paths, found=Found()))
    for problem in problems:
        warnings.warn(problem, SkippedInput, stacklevel=2)
    once: dict[str, str] = {}
    for photo in photos:
        once.setdefault(os.path.abspath(photo), photo)
    return list(once.values())


def _to_stderr(piece: str) -> None:
    print(piece, end="", file=sys.stderr, flush=True)


def _write(out: Path, made: list[Critique]) -> None:
    """All lines at once: never half a file."""
    from beholder.whole_file import write_whole

    write_whole(out, "".join(json_line(one.to_json()) + "\n" for one in made), advice="choose another file for --out")
