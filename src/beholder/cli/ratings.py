"""beholder ratings import|export FILE.csv --rater NAME"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import note, print_json

app = typer.Typer(no_args_is_help=True, help="What your raters said: ratings and choices.")
Name = Annotated[str, typer.Option("--rater", metavar="NAME", help="The rater; added if new.", show_default=False)]


@app.callback()
def _ratings() -> None:
    pass


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns image, score; or left, right, chosen.", show_default=False)],
    rater: Name,
    scale: options.ScaleText = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Where the images lie, if not here or beside the file.", show_default=False),
    ] = None,
    named: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="The rater's name in the file, if it is another one.", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Keep the ratings or choices of a file. Of several ratings of an image the latest counts."""
    from beholder.evidence import raters_in, read_evidence
    from beholder.folders import find_photos
    from beholder.located import find_files
    from beholder.ratings import Choice, Choices, Rating, Ratings
    from beholder.scale import Scale
    from beholder.store import Store

    asked = Scale.parse(scale) if scale else None
    found = read_evidence(file, scale=asked, rater=(named or rater) if raters_in(file) else None)
    photos = find_photos(root).photos if root is not None else []
    beside = [folder for folder in (root, file.absolute().parent) if folder is not None]
    where = {name: os.path.abspath(path) for name, path in find_files(found.images, photos=photos, folders=beside).items()}
    unknown = [name for name in found.images if name not in where]
    with Store() as store:
        is_new = rater not in store
        if is_new:
            store.add(rater, scale=asked)
        if isinstance(found, Choices):
            n = store.add_choices(rater, Choices(tuple(Choice(where.get(c.chosen, c.chosen), where.get(c.other, c.other)) for c in found)))
        else:
            entries = [Rating(where.get(r.image, r.image), r.score, r.time) for r in found]
            n = store.add_ratings(rater, Ratings(entries, scale=found.scale))
        kept = store.get(rater)
    what = "choices" if isinstance(found, Choices) else "ratings"
    replaced = getattr(found, "n_replaced", 0)
    if replaced:
        note(f"{replaced} ratings of {file} were replaced by a later one of the same image")
    if unknown:
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        note(f"{len(unknown)} of {len(found.images)} images are not found from here ({names}): they are kept by name; or give  --root DIR")
    if as_json:
        print_json({"rater": kept.name, "added": n, "ratings": len(kept.ratings), "choices": len(kept.choices), "not_found": len(unknown)})
    else:
        print(
            f"{kept.name}{' (new)' if is_new else ''}: {n} {what} added; now {len(kept.ratings)} rated images, "
            f"{len(kept.choices)} choices, scale {kept.scale}"
        )


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="The file to write.", show_default=False)],
    rater: Annotated[str, typer.Option("--rater", metavar="NAME", help="The rater.", show_default=False)],
    choices: Annotated[bool, typer.Option("--choices", help="The choices instead of the ratings.")] = False,
    scale: options.ScaleText = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a rater's ratings, or choices, to a file that import reads."""
    from beholder.scale import Scale
    from beholder.store import Store

    with Store() as store:
        kept = store.get(rater)
    given = kept.choices if choices else kept.ratings.to_scale(Scale.parse(scale)) if scale else kept.ratings
    given.to_csv(file, rater=kept.name)
    if as_json:
        print_json({"rater": kept.name, "file": str(file), "rows": len(given)})
    else:
        print(f"{kept.name}: {len(given)} {'choices' if choices else 'ratings'} written to {file}")
