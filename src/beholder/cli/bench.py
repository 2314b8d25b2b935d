"""beholder bench DATASET --root DIR --scorer A,B --protocol NAME"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from beholder.datasets.base import Dataset
    from beholder.evaluation.protocols import Protocol
    from beholder.evaluation.report import Report
    from beholder.scorers.base import Scorer

SHOWN = ("srocc", "mae", "personal_r", "coverage", "choice_accuracy")
SHOWN_ZERO_SHOT = ("srocc", "plcc", "personal_r", "personal_r_rater_means_kept", "mae", "coverage")
COMPARED = ("srocc", "personal_r", "personal_r_rater_means_kept")
PAPER_DATASETS = ("para", "lapis")


def bench(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="folder (your own data), oasis-beauty, pamela, para, lapis, eva, flickr-aes.", show_default=False),
    ],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder of the dataset.", show_default=False)],
    scorer: Annotated[
        str, typer.Option("--scorer", metavar="A,B[x=1]", help="Compared; the first is the reference. Options stand in brackets.")
    ] = "taste,population",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="new-rater-new-image, new-rater, new-image, choices, seen-unseen, zero-shot, zero-shot-strict, support-100, "
            "support-100-strict, published-folds or published-parts (pamela).",
        ),
    ] = "new-rater-new-image",
    others: options.Others = None,
    protocol_options: Annotated[
        str,
        typer.Option("--protocol-options", metavar="A=1,B=2", help="Sizes, such as test_raters=10,query=20,draws=2.", show_default=False),
    ] = "",
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="FILE.csv", help="rater,image,role instead of a protocol.", show_default=False),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option("--shots", metavar="0,5,..", help="Numbers of support ratings.", show_default="0,5,10,20,50,100; others their own"),
    ] = None,
    fit: Annotated[
        bool | None,
        typer.Option(
            "--fit/--no-fit",
            help="Train the scorers on each fold first, or use them as shipped.",
            show_default="zero-shot, support-100, seen-unseen, published-parts: --fit; others: --no-fit",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="0,1 or 0-9", help="Repeats.", show_default="0; support-100: 42; zero-shot: 0-9")] = None,
    folds: Annotated[int | None, typer.Option("--folds", metavar="K", min=2, help="Folds per repeat.", show_default="5")] = None,
    max_raters: Annotated[
        int | None, typer.Option("--max-raters", metavar="N", min=1, help="Test raters per fold.", show_default="all")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", metavar="POINTS", min=0, help="Pairs rated closer than this count as ties.")] = 0.0,
    controls: Annotated[bool, typer.Option("--controls/--no-controls", help="Means and shuffled inputs beside the scorers.")] = True,
    permutations: Annotated[
        int | None,
        typer.Option("--permutations", metavar="N", min=1, help="Of shuffled profiles, averaged.", show_default="3 at N = 0 only, else 1"),
    ] = None,
    profiles: Annotated[
        str,
        typer.Option(
            "--profiles", metavar="none,D,T,D+T", help="Also with parts of the profiles: demographics, Big Five.", show_default=False
        ),
    ] = "",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="A,B", help="Measures shown here; files have them all.", show_default=False)
    ] = "",
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    model: options.ModelName = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE.csv", help="Write every prediction there.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write report.json, .csv, .md, tables.md, learning-curves.png, tie-margins.csv and more there; goes on there after an "
            "interruption.",
            show_default=False,
        ),
    ] = None,
    diverging: Annotated[
        int,
        typer.Option(
            "--diverging", metavar="N", min=0, help="Pairs that two raters order differently, shown in diverging.html of --out; 0: no page."
        ),
    ] = 12,
    as_json: options.AsJson = False,
) -> None:
    """Measure how well scorers predict people's ratings, by number of ratings known; with intervals and controls."""
    from beholder.datasets import read
    from beholder.errors import BeholderError
    from beholder.evaluation import bench as measuring
    from beholder.evaluation import details, paper_tables, seen_unseen_tables
    from beholder.scorers import split_names

    names = split_names(scorer)
    if weights is not None and len(names) != 1:
        raise BeholderError(f"--weights belong to one scorer, but {len(names)} are asked for ({scorer}): run them one by one")
    shown, variants = _measures(metrics), _variants(profiles)
    chosen = _protocol(protocol, protocol_options, split=split, seeds=seeds, folds=folds, max_raters=max_raters)
    if weights is not None and fit:
        raise BeholderError("--fit trains anew and --weights uses what was trained: give one of them")
    ratings = read(dataset, root)
    parts = chosen.folds(ratings)
    fit = (measuring.trains(chosen, parts) and weights is None) if fit is None else fit
    if chosen.trains:
        once = "repeat" if len(parts) == len(chosen.seeds) else "fold"
        note(f"{chosen.name} trains each scorer once per {once} (--no-fit: as shipped)" if fit else f"{chosen.name} without training")
    wanted_shots = _numbers(shots, option="--shots") if shots is not None else None
    images = {train: measuring.needed_images(ratings, parts, train=train) for train in {False, fit}}
    more = _further(others, beside=ratings, names=names, fit=fit)
    if more:
        images[True] = list(dict.fromkeys([*images[True], *(str(one.images[image]) for one in more for image in one.used_images)]))
    makers = _makers(names, images, encoder=encoder, model=model, weights=weights, trained=not fit)
    with progress_bar("measuring") as progress:
        report = measuring.run(
            ratings,
            makers,
            protocol=chosen,
            shots=wanted_shots,
            fit=fit,
            out=out,
            with_controls=controls,
            profiles=variants,
            others=more,
            permutations=permutations,
            margin=margin,
            progress=progress or lines_of_progress(),
        )
    labelled = seen_unseen_tables.records(report) if seen_unseen_tables.applies(report) else []
    tables = paper_tables.tables(report) if paper_tables.has_tables(report) else ""
    if out is not None:
        for path in report.write(out):
            note(f"wrote {path}")
        _draw(report, out)
        paths, remarks = details.write(report, out, show=diverging, gaps=labelled)
        for line in (*(f"wrote {path}" for path in paths), *remarks):
            note(line)
        if tables:
            (out / paper_tables.NAME).write_text(tables, encoding="utf-8")
            note(f"wrote {out / paper_tables.NAME}")
    if predictions is not None:
        report.write_predictions(predictions)
        note(f"wrote {predictions}")
    if as_json:
        print_json(report.summary() | ({"seen_unseen": seen_unseen_tables.plain(labelled)} if labelled else {}))
    else:
        _show(report, shown, chosen.measures)
        if labelled:
            print(f"\n{seen_unseen_tables.markdown(report, labelled)}", end="")
        if tables and (report.dataset.name in PAPER_DATASETS or report.averages_repeats):
            print(f"\n{tables}", end="")


def _further(given: list[str] | None, *, beside: Dataset, names: list[str], fit: bool) -> tuple[Dataset, ...]:
    """The datasets that are learned from beside the folds of `beside`; refused before anything long is done."""
    from beholder.cli.joint import check_learned_from, further
    from beholder.errors import BeholderError

    if given and not fit:
        raise BeholderError(f"--with {given[0]} is learned from as well, but nothing is trained: leave it out, or write --fit")
    if given:
        check_learned_from(names)
    return further(given, beside=beside)


def _protocol(name: str, sizes: str, *, split: Path | None, seeds: str | None, folds: int | None, max_raters: int | None) -> Protocol:
    from beholder.errors import BeholderError
    from beholder.evaluation import protocols
    from beholder.evaluation.split_file import SplitFile

    given: dict[str, object] = {}
    for part in filter(str.strip, sizes.split(",")):
        option, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not option or not value:
            raise BeholderError(f"--protocol-options = {sizes!r} is not a list of sizes: write for example test_raters=10,query=20")
        given[option.replace("-", "_")] = value
    given |= {"n_folds": folds} if folds is not None else {}
    given |= {"max_raters": max_raters} if max_raters is not None else {}
    if split is not None:
        if given or seeds is not None:
            raise BeholderError("--split says who is tested on what: leave out --seeds, --folds, --max-raters and --protocol-options")
        return SplitFile(split)
    return protocols.get(name, **given, **({"seeds": tuple(_numbers(seeds, option="--seeds"))} if seeds is not None else {}))


def _measures(text: str) -> tuple[str, ...]:
    """The measures to be shown, if any were asked for."""
    from beholder.errors import BeholderError
    from beholder.evaluation.metrics import METRICS

    wanted = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in wanted if name not in METRICS]
    if unknown:
        raise BeholderError(f"there is no measure {unknown[0]!r}: known are {', '.join(METRICS)}")
    return wanted


def _variants(text: str) -> tuple[str, ...]:
    """Profile variants as `personas.prompts.reduced` spells them."""
    from beholder.errors import BeholderError
    from beholder.personas.prompts import VARIANTS

    spelled = {variant.lower(): variant for variant in VARIANTS}
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in spelled]
    if unknown:
        raise BeholderError(f"--profiles: there is no profile variant {unknown[0]!r}: known are {', '.join(VARIANTS)}")
    return tuple(spelled[part] for part in wanted)


def _makers(
    names: list[str],
    images: Mapping[bool, list[str]],
    *,
    encoder: str,
    model: str | None,
    weights: Path | None,
    trained: bool,
) -> dict[str, Callable[[], Scorer]]:
    """Name -> a function that makes the scorer. The images are encoded once, for the layers that any of them wants.

    Args:
        images: with (True) and without (False) those of training; what nobody learns from is not looked at.
    """
    from beholder import scorers
    from beholder.datasets.table import some
    from beholder.engine.local import index
    from beholder.errors import BeholderError, UnreadableImage
    from beholder.features import FeatureStore
    from beholder.scorers.feature_sources import sources, takes_model, with_model

    full = {name: with_model(name, model) for name in names}
    if model is not None and not any(takes_model(name) for name in names):
        raise BeholderError(f"--model = {model!r}, but none of {', '.join(names)} takes one: leave it out, or give it as --encoder")
    store = FeatureStore()
    seen = sources(list(full.values()), encoder=encoder, store=store)
    for network in seen.encoders:
        users = [asked for asked, source in seen.by_name.items() if any(part.encoder is network for part in getattr(source, "parts", [source]))]
        learned = not trained and any(_fits_features(asked) for asked in users)
        with progress_bar("looking at photographs") as progress:
            found = index(images[learned], encoder=network, store=store, progress=progress, collect=False)
        if found.skipped:
            first, *others = found.skipped
            more = f" (and {len(others)} more: {some([one.path for one in others])})" if others else ""
            raise UnreadableImage(first.path, f"{first.reason}, or take it out of the dataset{more}")
    return {
        name: partial(scorers.make, asked, features=seen.by_name[asked], weights=weights, trained=trained) for name, asked in full.items()
    }


def _fits_features(name: str) -> bool:
    """Whether a scorer that is trained needs the features of training images."""
    from beholder import scorers

    cls = scorers.scorer_class(name)
    chosen = scorers.typed_options(cls, scorers.parse_name(name)[1]).get("options")
    return getattr(chosen, "fits_features", True)


def _draw(report: Report, out: Path) -> None:
    from beholder.errors import MissingExtra
    from beholder.evaluation.plots import learning_curves

    try:
        note(f"wrote {learning_curves(report.records(), out / 'learning-curves.png', title=report.protocol)}")
    except MissingExtra as missing:
        note(f"no learning-curves.png: {missing}")


def _show(report: Report, wanted: tuple[str, ...], usual: tuple[str, ...]) -> None:
    from beholder.evaluation.metrics import METRICS
    from beholder.evaluation.page import estimate_text

    print(f"{report.dataset.name}: {report.protocol}")
    for metric in wanted or usual or (SHOWN_ZERO_SHOT if report.shots == (0,) else SHOWN):
        rows: dict[str, dict[int, str]] = {}
        for row in report.rows:
            estimate = row.evaluation.estimates.get(metric)
            if estimate is not None:
                rows.setdefault(row.label, {})[row.shots] = estimate_text(estimate, spread=report.averages_repeats)
        if rows:
            print()
            columns = [METRICS[metric][0], *(f"N = {n}" for n in report.shots)]
            show_table([[label, *(found.get(n, "") for n in report.shots)] for label, found in rows.items()], columns=columns)
    if report.shots == (0,) or usual:
        _show_differences(report, usual)
    for line in (*report.warnings, *report.notes):
        note(line)


def _show_differences(report: Report, usual: tuple[str, ...]) -> None:
    """Scorers minus the first one and minus their controls: one line each for every N."""
    from beholder.evaluation.controls import SHUFFLED_IMAGES
    from beholder.evaluation.metrics import METRICS
    from beholder.evaluation.report import COMPARED as PAIRED

    compared = [metric for metric in usual if metric in PAIRED] if usual else COMPARED
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for gap in report.differences():
        if usual and gap["minus"].endswith(SHUFFLED_IMAGES):
            continue  # in report.md: here several N need the room
        clear = "*" if gap["low"] > 0 or gap["high"] < 0 else ""
        text = f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]{clear}"
        rows.setdefault((gap["scorer"], gap["minus"], str(gap["shots"])), {})[gap["metric"]] = text
    if rows:
        print("\npaired differences, 95 % interval over raters; * = without 0")
        columns = ["scorer", "minus", "N", *(METRICS[metric][0] for metric in compared)]
        show_table([[*pair, *(found.get(metric, "") for metric in compared)] for pair, found in rows.items()], columns=columns)


def _numbers(text: str, *, option: str) -> list[int]:
    """ "0,5,10" or "0-9" as numbers."""
    from beholder.errors import BeholderError

    found: list[int] = []
    try:
        for part in filter(str.strip, text.split(",")):
            first, dash, last = part.strip().partition("-")
            found += range(int(first), int(last) + 1) if dash and first else [int(part)]
    except ValueError:
        raise BeholderError(f"{option} = {text!r} is not a list of whole numbers: write for example 0,5,10 or 0-9") from None
    return found
