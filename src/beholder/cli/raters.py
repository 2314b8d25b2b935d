"""beholder raters list|add|show|profile|rename|delete"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import print_json, show_table

app = typer.Typer(no_args_is_help=True, help="The people whose taste you keep.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The rater.", show_default=False)]


@app.callback()
def _raters() -> None:
    pass


@app.command("list")
def list_(as_json: options.AsJson = False) -> None:
    """Everybody, with the number of rated images and of choices."""
    from beholder.store import Store

    with Store() as store:
        entries = store.entries()
    if as_json:
        for one in entries:
            print_json({"rater": one.name, "ratings": one.n_ratings, "choices": one.n_choices, "scale": str(one.scale)})
    elif entries:
        rows = [[one.name, one.n_ratings, one.n_choices, one.scale] for one in entries]
        show_table(rows, columns=["rater", "ratings", "choices", "scale"], right=["ratings", "choices"])
    else:
        print("nobody yet; add someone with  beholder raters add NAME")


@app.command()
def add(name: Name, profile: options.ProfileFile = None, scale: options.ScaleText = None, as_json: options.AsJson = False) -> None:
    """Add a rater."""
    from beholder.profile import Profile
    from beholder.scale import Scale
    from beholder.store import Store

    known = Profile.from_toml(profile) if profile is not None else None
    with Store() as store:
        name = store.add(name, profile=known, scale=Scale.parse(scale) if scale else None)
    _done(name, "added", as_json=as_json)


@app.command()
def show(name: Name, as_json: options.AsJson = False) -> None:
    """The profile of a rater, and how much is known."""
    from beholder.store import Store

    with Store() as store:
        rater = store.get(name)
    known = rater.profile.known()
    if as_json:
        numbers = {"ratings": len(rater.ratings), "choices": len(rater.choices), "scale": str(rater.scale)}
        print_json({"rater": rater.name, "profile": {key: _plain(value) for key, value in known.items()}} | numbers)
    else:
        title = f"{rater.name}: {len(rater.ratings)} rated images, {len(rater.choices)} choices, scale {rater.scale}"
        show_table(known.items(), columns=["field", "value"], title=title)


@app.command()
def profile(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The new profile.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """Replace the profile of a rater."""
    from beholder.profile import Profile
    from beholder.store import Store

    with Store() as store:
        store.set_profile(name, Profile.from_toml(file))
    _done(name, "profile replaced", as_json=as_json)


@app.command()
def rename(
    name: Name,
    to: Annotated[str, typer.Argument(metavar="NEW", help="The new name.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """Give a rater another name."""
    from beholder.store import Store

    with Store() as store:
        _done(store.rename(name, to=to), f"was {name}", as_json=as_json)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Remove a rater and everything that rater said, for good."""
    from beholder.errors import BeholderError
    from beholder.store import Store

    with Store() as store:
        rater = store.get(name)
        if not yes:
            raise BeholderError(
                f"{rater.name} has {len(rater.ratings)} ratings and {len(rater.choices)} choices, which would be gone for good: "
                "say --yes if you mean it"
            )
        store.delete(name)
    _done(rater.name, "deleted", as_json=as_json)


def _done(name: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"rater": name, "done": what})
    else:
        print(f"{name}: {what}")


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)
