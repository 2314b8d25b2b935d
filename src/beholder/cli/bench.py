"""beholder bench DATASET --root DIR --scorer A,B --protocol NAME"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import note, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from beholder.datasets.base import Dataset
    from beholder.evaluation.report import Report
    from beholder.scorers.base import Scorer

SHOWN = ("srocc", "mae", "personal_r", "coverage", "choice_accuracy")


def bench(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="folder (your own data), oasis-beauty.", show_default=False)],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder of the dataset.", show_default=False)],
    scorer: Annotated[str, typer.Option("--scorer", metavar="A,B", help="Compared; the first is the reference.")] = "taste,population",
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="NAME", help="new-rater-new-image, new-rater, new-image or choices.")
    ] = "new-rater-new-image",
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="FILE.csv", help="rater,image,role instead of a protocol.", show_default=False),
    ] = None,
    shots: Annotated[str, typer.Option("--shots", metavar="0,5,..", help="Numbers of support ratings.")] = "0,5,10,20,50,100",
    fit: Annotated[bool, typer.Option("--fit", help="Train the scorers on each fold first, instead of using them as shipped.")] = False,
    seeds: Annotated[str, typer.Option("--seeds", metavar="0,1", help="Repeats.")] = "0",
    folds: Annotated[int, typer.Option("--folds", metavar="K", min=2, help="Folds per repeat.")] = 5,
    max_raters: Annotated[
        int | None, typer.Option("--max-raters", metavar="N", min=1, help="Test raters per fold.", show_default="all")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", metavar="POINTS", min=0, help="Pairs rated closer than this count as ties.")] = 0.0,
    controls: Annotated[bool, typer.Option("--controls/--no-controls", help="Means and shuffled inputs beside the scorers.")] = True,
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE.csv", help="Write every prediction there.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write report.json, .csv, .md and learning-curves.png there.", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure how well scorers predict people's ratings, by number of ratings known; with intervals and controls."""
    from beholder.datasets import read
    from beholder.errors import BeholderError
    from beholder.evaluation import bench as measuring
    from beholder.evaluation import protocols
    from beholder.evaluation.split_file import SplitFile

    names = [name.strip() for name in scorer.split(",") if name.strip()]
    if weights is not None and len(names) != 1:
        raise BeholderError(f"--weights belong to one scorer, but {len(names)} are asked for ({scorer}): run them one by one")
    repeats = tuple(_numbers(seeds, option="--seeds"))
    if split is not None:
        chosen = SplitFile(split)
    else:
        chosen = protocols.get(protocol, n_folds=folds, seeds=repeats, max_raters=max_raters)
    wanted_shots = _numbers(shots, option="--shots")
    ratings = read(dataset, root)
    images = measuring.query_images(ratings, chosen.folds(ratings)) if not fit else []
    makers = _makers(names, ratings, images=images, encoder=encoder, weights=weights, trained=not fit)
    with progress_bar("measuring") as progress:
        report = measuring.run(
            ratings,
            makers,
            protocol=chosen,
            shots=wanted_shots,
            fit=fit,
            out=out,
            with_controls=controls,
            margin=margin,
            progress=progress,
        )
    if out is not None:
        for path in report.write(out):
            note(f"wrote {path}")
        _draw(report, out)
    if predictions is not None:
        report.write_predictions(predictions)
        note(f"wrote {predictions}")
    if as_json:
        print_json(report.summary())
    else:
        _show(report)


def _makers(
    names: list[str], ratings: Dataset, *, images: list[str], encoder: str, weights: Path | None, trained: bool
) -> dict[str, Callable[[], Scorer]]:
    """Name -> a function that makes the scorer. All images are encoded once, for the layers that any of them wants."""
    from beholder import scorers
    from beholder.engine.local import index
    from beholder.engine.source import Features
    from beholder.errors import UnreadableImage
    from beholder.features import FeatureStore

    network, store = scorers.encoder_for(names, encoder=encoder), FeatureStore()
    layers = {name: scorers.feature_layers(name, encoder=encoder) for name in names}
    used = [str(ratings.images[image]) for image in ratings.used_images]
    with progress_bar("looking at photographs") as progress:
        found = index(list(dict.fromkeys([*used, *images])), encoder=network, store=store, progress=progress)
    if found.skipped:
        raise UnreadableImage(found.skipped[0].path, f"{found.skipped[0].reason}, or take it out of the dataset")
    sources: dict[tuple | None, Features] = {}
    makers = {}
    for name in names:
        key = tuple(layers[name]) if layers[name] is not None else None
        if key not in sources:
            sources[key] = Features(network, layers=layers[name], store=store)
        makers[name] = partial(scorers.make, name, features=sources[key], weights=weights, trained=trained)
    return makers


def _draw(report: Report, out: Path) -> None:
    from beholder.errors import MissingExtra
    from beholder.evaluation.plots import learning_curves

    try:
        note(f"wrote {learning_curves(report.records(), out / 'learning-curves.png', title=report.protocol)}")
    except MissingExtra as missing:
        note(f"no learning-curves.png: {missing}")


def _show(report: Report) -> None:
    from beholder.evaluation.metrics import METRICS

    print(f"{report.dataset.name}: {report.protocol}")
    for metric in SHOWN:
        rows: dict[str, dict[int, str]] = {}
        for row in report.rows:
            estimate = row.evaluation.estimates.get(metric)
            if estimate is not None:
                rows.setdefault(row.label, {})[row.shots] = f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
        if rows:
            print()
            columns = [METRICS[metric][0], *(f"N = {n}" for n in report.shots)]
            show_table([[label, *(found.get(n, "") for n in report.shots)] for label, found in rows.items()], columns=columns)
    for line in (*report.warnings, *report.notes):
        note(line)


def _numbers(text: str, *, option: str) -> list[int]:
    from beholder.errors import BeholderError

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BeholderError(f"{option} = {text!r} is not a list of whole numbers: write for example 0,5,10") from None
