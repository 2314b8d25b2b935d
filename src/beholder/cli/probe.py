"""beholder probe DATASET --root DIR --model NAME"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beholder.backbones.base import ImageEncoder
    from beholder.datasets.attributes import AttributeTable
    from beholder.features import FeatureStore
    from beholder.probing.layers import Layer
    from beholder.probing.probe import Probe
    from beholder.scorers.linear_hidden.projection import Projection


def probe(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="aadb, para, folder (your own data), oasis-beauty, pamela, lapis, eva, flickr-aes.", show_default=False)
    ],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder of the dataset.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME[x=1]",
            help="beholder-mini, a folder or hub repository of a VLM, of CLIP, SigLIP or DINO, or efficientnet-lite0. Options stand in brackets.",
        ),
    ] = "beholder-mini",
    layers: Annotated[
        str, typer.Option("--layers", metavar="LT0-36,V*,..", help="Which layers: names, ranges, patterns, or all.")
    ] = "all",
    attributes: Annotated[str, typer.Option("--attributes", metavar="A,B", help="Which attributes.", show_default="all")] = "",
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="NAME", help="What a VLM is asked: base, format, attributes, describe, unrelated, or a text.", show_default="base"),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", metavar="N", min=1, help="Larger images are made smaller for a VLM.", show_default="1048576")
    ] = None,
    min_ratings: Annotated[
        int, typer.Option("--min-ratings", metavar="N", min=1, help="Raters that the mean of an image needs; not for aadb.")
    ] = 3,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of parts (where a dataset has none), shuffled labels, bootstrap.")] = 0,
    projection: Annotated[
        Path | None,
        typer.Option("--projection", metavar="DIR", help="Also write the projection for linear-hidden-reduce there.", show_default=False),
    ] = None,
    projection_layer: Annotated[
        str | None,
        typer.Option("--projection-layer", metavar="LAYER", help="Its layer.", show_default="LT15 if the model has it, else the best on validation"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write probe.json, .csv, .md and pictures there; goes on there after an interruption.", show_default=False
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Which layer of a network knows which attribute of an image? One linear probe per layer and attribute, with controls.

    Trained on one part of the images, the layer chosen on a second, judged on a third. Features are kept: every layer comes from one pass.
    """
    from beholder.errors import BeholderError
    from beholder.features import FeatureStore
    from beholder.probing import report
    from beholder.probing.attributes import read_attributes
    from beholder.probing.layers import choose, known_layers, plain_name
    from beholder.probing.probe import check_parts
    from beholder.probing.probe import probe as run
    from beholder.probing.projection import PUBLISHED_LAYER, projected, usage

    if projection_layer is not None and projection is None:
        raise BeholderError("--projection-layer belongs to a projection: say with --projection DIR where it goes")
    if "layer" in plain_name(model)[1]:
        raise BeholderError(f"{model} names a layer, but a probe looks at those of --layers: leave layer=... out of the brackets")
    known = known_layers(model)
    chosen = choose(layers, known, model=model)
    if projection is not None:
        named = projection_layer or next((layer.name for layer in known if layer.name == PUBLISHED_LAYER), None)
        more = choose(named, known, model=model) if named else []
        if len(more) > 1:
            raise BeholderError(f"--projection-layer = {projection_layer} is more than one layer: name one, such as {more[0].name}")
        chosen = [layer for layer in known if layer in {*chosen, *more}]
        projection_layer = more[0].name if more else None
    table = _asked_for(read_attributes(dataset, root, seed=seed, min_ratings=min_ratings), attributes)
    for line in table.notes:
        note(line)
    check_parts(table)
    if projection is not None:
        projected(table)
        usage(projection, model=model, layer=PUBLISHED_LAYER, prompt=prompt, max_pixels=max_pixels)  # refuses what no command could use
    encoder = _encoder(model, chosen, prompt=prompt, max_pixels=max_pixels)
    for folder in (out, projection):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # a place that cannot be written to is better known before the work
    with FeatureStore() as store:
        size = len(table.images) * 4 * sum(encoder.layers.values())
        note(f"{len(table.images)} images x {len(chosen)} layers: their features take up to {_bytes(size)} in {store.folder}")
        with progress_bar("looking at photographs") as bar:
            progress = bar or lines_of_progress()
            looking = bar or partial(progress, what="photographs looked at")
            found = run(table, encoder, chosen, store=store, out=out, seed=seed, looking=looking, progress=progress)
        if found.n_resumed:
            note(f"{found.n_resumed} of {len(chosen)} layers were finished before")
        for line in found.notes[len(table.notes) :]:
            note(line)
        _say_skipped(found)
        if projection is not None:
            layer = projection_layer or found.best_layer().name
            made = _write_projection(found, encoder, layer, folder=projection, prompt=prompt or plain_name(model)[1].get("prompt"), store=store)
            note(f"wrote {projection}: {layer} to {', '.join(made.attributes)}")
            note(f"use it:  beholder rank PATH... --rater NAME {usage(projection, model=model, layer=layer, prompt=prompt, max_pixels=max_pixels)}")
    config = {"dataset": table.name, "model": model, "asked_layers": layers, "prompt": getattr(encoder, "prompt", None), "max_pixels": max_pixels}
    config |= {"attributes": list(found.attributes), "min_ratings": min_ratings}
    if out is not None:
        for path in report.write(found, out, config=config):
            note(f"wrote {path}")
        _draw(found, out)
    if as_json:
        print_json(report.summary(found, config=config))
        return
    _show(found)


def _asked_for(table: AttributeTable, text: str) -> AttributeTable:
    """The table with the attributes that were asked for only."""
    from beholder.errors import BeholderError

    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if not wanted:
        return table
    spelled = {name.casefold(): name for name in table.values}
    unknown = [name for name in wanted if name.casefold() not in spelled]
    if unknown:
        raise BeholderError(f"{table.name} has no attribute {unknown[0]!r}: it has {', '.join(table.values)}")
    chosen = {spelled[name.casefold()] for name in wanted}
    return replace(table, values={name: column for name, column in table.values.items() if name in chosen})


def _encoder(model: str, layers: Sequence[Layer], *, prompt: str | None, max_pixels: int | None) -> ImageEncoder:
    from beholder.backbones import load_encoder
    from beholder.backbones.vlm.hidden_states import HiddenStates
    from beholder.errors import BeholderError

    names = [layer.name for layer in layers]
    given = {"prompt": prompt, "max_pixels": max_pixels}
    given = {name: value for name, value in given.items() if value is not None}
    plain = load_encoder(model, layers=names)  # cheap: no weights yet
    if not given:
        return plain
    if not isinstance(plain, HiddenStates):
        raise BeholderError(f"{plain.name} is asked nothing and sees images as it was trained to: leave out --prompt and --max-pixels")
    return load_encoder(model, layers=names, **given)


def _say_skipped(found: Probe) -> None:
    """Each image that could not be read; the exit code says that there were some."""
    import warnings

    from beholder.located import SkippedInput

    for one in found.skipped:
        warnings.warn(f"{one.path} {one.reason}; left out", SkippedInput, stacklevel=2)


def _write_projection(found: Probe, encoder: ImageEncoder, layer: str, *, folder: Path, prompt: str | None, store: FeatureStore) -> Projection:
    from beholder.probing.projection import fit_projection

    made = fit_projection(found, encoder, layer, prompt=prompt or ("base" if hasattr(encoder, "prompt") else ""), store=store)
    made.save(folder)
    return made


def _draw(found: Probe, out: Path) -> None:
    from beholder.errors import MissingExtra
    from beholder.probing import plots

    try:
        for path in plots.draw(found, out):
            note(f"wrote {path}")
    except MissingExtra as missing:
        note(f"no pictures: {missing}")


def _show(found: Probe) -> None:
    from beholder.probing import report

    show_table(report.rows(found), columns=report.headings(found), title=report.protocol(found), right=report.headings(found)[2:])
    print()
    if len(found.sources) > 1:
        means = ", ".join(f"{source} {report.mean_test(found, source):.3f}" for source in found.sources)
        print(f"mean test correlation of the best layers: {means}")
    for line in report.remarks(found):
        print(line)


def _bytes(size: int) -> str:
    """ "1.3 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
