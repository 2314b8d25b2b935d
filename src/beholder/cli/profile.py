"""beholder profile new|show"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beholder.cli import options
from beholder.cli.output import note, print_json, show_table
from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.personas.profile_form import Draft, Field, Form, Result

app = typer.Typer(no_args_is_help=True, help="Who a rater is: age, interests, Big Five.")

STOPPED = 130  # as after Ctrl-C elsewhere
BACK, CLEAR = "b", "-"


@app.callback()
def _profile() -> None:
    pass


@app.command()
def new(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.toml", help="Where to write the profile.")] = Path("me.toml"),
    without_inventory: Annotated[bool, typer.Option("--without-inventory", help="Leave out the 20 statements about personality.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Answer questions about yourself and write a profile. Each can be skipped; Ctrl-C stops, and the same command goes on from there."""
    from beholder.personas.profile_form import draft_path, profile_form, read_draft, write_text

    form = profile_form(with_inventory=not without_inventory)
    _check_place(out, force=force)
    kept = draft_path(out)
    print(f"Nothing you say leaves this computer: it goes into {out} and, until you are done, into {kept}.")
    draft = read_draft(kept, form=form)
    if draft is not None:
        note(f"going on where you stopped, {len(draft.answers)} of {len(form.fields)} questions done; to begin anew, delete {kept}")
    print(f"Enter skips a question, {BACK} goes back to the one before, Ctrl-C stops: the same command then goes on from there.")
    result = form.result(_ask(form, draft, kept=kept))
    write_text(out, result.toml(), mode=0o600)  # a personality is nobody else's business
    kept.unlink(missing_ok=True)
    _show(result)
    if result.profile:
        print(f"\nwrote {out}; use it with  beholder rank PHOTOS --profile {out}")
    else:
        print(f"\nwrote {out}, which says nothing about you, as you skipped everything")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="A profile.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """What a profile says, and which of its fields are probably misspelt."""
    from beholder.profile import Profile

    profile = Profile.from_toml(file)
    known = {name: _plain(value) for name, value in profile.known().items()}
    if as_json:
        print_json(known)
    elif known:
        show_table(known.items(), columns=["field", "value"])
    else:
        print(f"{file} says nothing")
    for name, meant in profile.probable_slips().items():
        note(f"{name} is no field of a profile and is kept as it is; did you mean {meant}?")


def _plain(value: Any) -> str | int | float:
    """For a table and JSON, which has neither dates nor infinity."""
    return value if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)) else str(value)


def _check_place(out: Path, *, force: bool) -> None:
    """Refuse a place before anything is asked; ask before a file is replaced."""
    if out.is_dir():
        raise BeholderError(f"{out} is a folder: give --out a file in it, such as {out / 'me.toml'}")
    if not out.parent.is_dir():
        raise BeholderError(f"the folder {out.parent} does not exist: create it, or give another --out")
    if not out.exists() or force:
        return
    if sys.stdin.isatty():
        try:
            if _typed(f"{out} exists. Replace it when you are done? y or n: ").lower() in ("y", "yes"):
                return
        except (EOFError, KeyboardInterrupt):
            print()
    raise BeholderError(f"{out} exists and is left as it is: give --force to replace it, or another --out")


def _ask(form: Form, draft: Draft | None, *, kept: Path) -> dict[str, Any]:
    """Name -> value for all fields; after each answer the draft is written.

    Raises:
        typer.Exit: the person stopped.
    """
    from beholder.personas.profile_form import ANSWERS, INSTRUCTION, Draft, write_draft

    fields = form.fields
    answers = dict(draft.answers) if draft else {}
    place = draft.place(fields) if draft else 0
    explained = False
    with contextlib.suppress(AttributeError, ValueError):  # what is not text in the terminal's encoding is refused as an answer
        sys.stdin.reconfigure(errors="surrogateescape")
    try:
        while place < len(fields):
            field = fields[place]
            if field.is_item and not explained:
                print(f"\n{INSTRUCTION}\n" + ", ".join(f"{number} {word}" for number, word in enumerate(ANSWERS, start=1)))
                explained = True
            step, value = _answer(field, answers=answers, heading=f"[{place + 1}/{len(fields)}] {field.text}")
            if step < 0 and place == 0:
                print("this is the first question")
                continue
            place += step
            if step > 0:
                answers[field.name] = value
            write_draft(kept, Draft(answers, at=_name_at(fields, place)))
    except (EOFError, KeyboardInterrupt):
        print()
        if answers:  # once more: the writing itself may have been interrupted
            write_draft(kept, Draft(answers, at=_name_at(fields, place)))
        note(f"stopped; what you said is kept in {kept}, so the same command goes on from there" if answers else "stopped; nothing was said")
        raise typer.Exit(STOPPED) from None
    return answers


def _name_at(fields: Sequence[Field], place: int) -> str:
    return fields[place].name if place < len(fields) else ""


def _answer(field: Field, *, answers: dict[str, Any], heading: str) -> tuple[int, Any]:
    """(1, value) or (-1, None) for going back; asks again until it is an answer."""
    if field.choices:
        heading += ": " + ", ".join(f"{number} {choice}" for number, choice in enumerate(field.choices, start=1))
    known = answers.get(field.name)
    if known is not None:
        heading += f" (now {known}; Enter keeps it, {CLEAR} clears it)"
    while True:
        typed = _typed(f"{heading}: " if not heading.endswith(".") else f"{heading} ")
        if not sys.stdin.isatty():
            print(typed)  # so that the transcript reads like one
        if typed.lower() == BACK:
            return -1, None
        if typed == CLEAR:
            return 1, None
        if not typed:
            return 1, known
        try:
            return 1, field.parse(typed)
        except BeholderError as error:
            print(error)


def _typed(prompt: str) -> str:
    """The next line. Not by `input`, which on a terminal does not notice Ctrl-C between its prompt and its reading.

    Raises:
        EOFError: there is none (Ctrl-D).
    """
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _show(result: Result) -> None:
    from beholder.personas.profile_form import LEAST, about_percentiles

    if not result.traits:
        return
    rows = []
    for trait in result.traits:
        if trait.score is None:
            rows.append([trait.name, "-", "-", f"{trait.answered} of {trait.asked}: left out, {LEAST} are needed"])
        else:
            rows.append([trait.name, f"{trait.score:.2f}", f"{trait.percentile:.0f}", f"{trait.answered} of {trait.asked}"])
    print()
    show_table(rows, columns=["Big Five", "1 to 10", "percentile", "statements"], right=["1 to 10", "percentile"])
    if any(trait.score is not None for trait in result.traits):
        print(*about_percentiles(), sep="\n")
