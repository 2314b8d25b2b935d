"""beholder personas show --profile me.toml"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import note, print_json

if TYPE_CHECKING:
    from beholder.profile import Profile


def show(
    profile: options.ProfileFile = None,
    style: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="published, short, or five digits: header, traits, explanation, instruction, constraint."),
    ] = "published",
    variant: Annotated[
        str, typer.Option("--variant", metavar="WHAT", help="What is kept of the profile: D (all but the Big Five), T (only these), D+T, none.")
    ] = "D+T",
    template: Annotated[
        str | None,
        typer.Option("--template", metavar="NAME", help="Only the fields that raters of para or lapis have.", show_default="everything known"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """The text that a language model gets as its system message for a profile."""
    from beholder.errors import BeholderError
    from beholder.personas.prompts import PersonaFormat, reduced, render, style_of
    from beholder.profile import Profile

    if profile is None:
        raise BeholderError("no profile was given to show: say --profile FILE.toml;  beholder profile new  writes one")
    chosen = style_of(style)
    left = reduced(Profile.from_toml(profile), variant)
    text = render(left, style=chosen, template=template)
    if as_json:
        genes = PersonaFormat() if chosen == "published" else chosen
        code = genes.code if isinstance(genes, PersonaFormat) else None
        facts = {"format": style, "code": code, "variant": variant, "template": template}
        print_json({"text": text} | facts | {"characters": len(text), "words": len(text.split())})
    elif text:
        print(text)
    if text:
        _say_what_became_of_fields(left, template=template)
    else:
        note("nothing is left of the profile: the model gets no system message, as for somebody of whom nothing is known")


def _say_what_became_of_fields(profile: Profile, *, template: str | None) -> None:
    """Fields that are no known ones, and those that a template leaves out."""
    from beholder.personas.prompts import fields_of

    if template is not None:
        left_out = [name for name in profile.known() if name in profile.free or name not in fields_of(template)]
        if left_out:
            note(f"the template {template} has no place for {', '.join(left_out)}: left out")
        return
    slips = profile.probable_slips()
    for name, meant in slips.items():
        note(f"{name} is no known field and kept as a line of its own; did you mean {meant}?")
    others = [name for name in profile.free if name not in slips]
    if others:
        note(f"{', '.join(others)}: no known {'field' if len(others) == 1 else 'fields'}, kept as {'a line' if len(others) == 1 else 'lines'} of text")
