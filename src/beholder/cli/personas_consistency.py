"""beholder personas consistency --photos DIR"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, note_wait, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from beholder.datasets.base import Dataset
    from beholder.personas.consistency import Study
    from beholder.personas.ledger import Respondent
    from beholder.profile import Profile
    from beholder.scorers.pmllm.scorer import PMLLMScorer

MODES = ("closed", "open")


def consistency(
    models: Annotated[
        str, typer.Option("--models", metavar="A,B", help="pmllm, pmllm-s, or names of your own for --weights; options in brackets.")
    ] = "pmllm,pmllm-s",
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="NAME=DIR", help="What beholder train wrote, for a model; may be repeated.", show_default="those in the package"),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option("--photos", metavar="DIR", help="Where the random images come from.", show_default="those of the dataset"),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Profiles of its raters: para, folder, ...", show_default="made-up profiles")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", metavar="DIR", help="The folder of the dataset.", show_default=False)] = None,
    profiles: Annotated[int, typer.Option("--profiles", metavar="N", min=3, help="How many.")] = 300,
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, help="Most photographs used, drawn from those found.")] = 300,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of profiles and images.")] = 0,
    style: Annotated[str, typer.Option("--format", metavar="CODE", help="Of the profiles: published, short, or five digits.")] = "00020",
    inventory: Annotated[str, typer.Option("--inventory", metavar="NAME", help="mini-ipip, ipip-50, or a CSV or JSON file.")] = "mini-ipip",
    mode: Annotated[
        str, typer.Option("--mode", metavar="closed|open", help="Likert questions, or open questions whose answers a rater LLM reads.")
    ] = "closed",
    rater: Annotated[
        str | None,
        typer.Option("--rater", metavar="NAME", help="The LLM that reads open answers.", show_default="the models' own language model"),
    ] = None,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Closed: ask with the scale in both directions, so that a liking for one end cancels out.")
    ] = False,
    other_images: Annotated[
        bool, typer.Option("--other-images/--no-other-images", help="Ask the models again with other images: how stable are they?")
    ] = True,
    dtype: Annotated[
        str,
        typer.Option("--dtype", metavar="NAME", help="float32, bfloat16 or auto; the rounding of bfloat16 counts as disagreement."),
    ] = "float32",
    encoder: options.EncoderName = "efficientnet-lite0",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write report.md, consistency.csv and consistency.png there.", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Does a P-MLLM stay the person its language model is? Trait scores of both for the same profiles, and ICC(3,1) per trait.

    Answers are kept: after an interruption the same command goes on where it was.
    """
    from beholder.errors import BeholderError
    from beholder.personas.consistency import study
    from beholder.personas.inventory import load_inventory
    from beholder.personas.ledger import Ledger
    from beholder.personas.prompts import style_of

    if mode not in MODES:
        raise BeholderError(f"there is no mode {mode!r}: choose one of {', '.join(MODES)}")
    if rater is not None and mode == "closed":
        raise BeholderError("--rater reads open answers, and the mode closed has none: leave it out, or choose --mode open")
    if balanced and mode == "open":
        raise BeholderError("--balanced belongs to the mode closed: leave it out here")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written to is better known before the work
    if (dataset is None) != (root is None):
        raise BeholderError("--dataset NAME and --root DIR go together: give both, or neither")
    if dataset is None and not photos:
        raise BeholderError("each item is shown with a random image, and there are none: say --photos DIR, or --dataset NAME --root DIR")
    wanted = _wanted(models, weights or [])
    items, chosen_style = load_inventory(inventory), style_of(style)
    ratings = _dataset(dataset, root)
    people, from_where = _profiles(ratings, profiles, seed=seed)
    pool, of_what = _photographs(photos, ratings, most=images, seed=seed)
    note_wait("the language models")
    opened = _opened(wanted, pool, encoder=encoder, dtype=dtype)
    with_whom = f"mode open, answers rated by {rater or 'the language model itself'}" if mode == "open" else "mode closed" + (", balanced" * balanced)
    n_images = len(opened[0].images)
    setting = (from_where, f"format {style}", with_whom, f"{n_images} images of {of_what}, seed {seed}", opened[0].dtype)
    base, others, again = _respondents(opened, mode=mode, rater=rater, balanced=balanced, seed=seed, other_images=other_images)
    with progress_bar("asking") as bar:
        found = study(
            base,
            others,
            profiles=people,
            inventory=items,
            style=chosen_style,
            ledger=Ledger(),
            again=again,
            kinds={one.label: one.scorer.name for one in opened},
            seed=seed,
            setting=setting,
            progress=bar or lines_of_progress(),
        )
    _finish(found, out=out, as_json=as_json, asked={base.name: base} | others | {f"{label}, other images": one for label, one in again.items()})


@dataclass(frozen=True)
class _Wanted:
    """A model as it was asked for: its label, the scorer's name with options, and the folder of its weights (None: those in the package)."""

    label: str
    scorer: str
    folder: str | None


@dataclass(frozen=True)
class _Opened:
    """A model, loaded, and the tokens [m, t, width] of the images for it."""

    label: str
    scorer: PMLLMScorer
    images: np.ndarray

    @property
    def dtype(self) -> str:
        return str(self.scorer.model.language_model.dtype).removeprefix("torch.")


def _wanted(models: str, weights: Sequence[str]) -> list[_Wanted]:
    from beholder.errors import BeholderError
    from beholder.scorers import SCORERS, parse_name, scorer_class, split_names
    from beholder.scorers.feature_scorer import CONFIG_FILE

    labels = split_names(models)
    if not labels or len(set(labels)) < len(labels):
        raise BeholderError(f"--models = {models!r} is not a list of different names: write for example pmllm,pmllm-s")
    folders: dict[str, str] = {}
    for text in weights:
        label = next((label for label in labels if text.startswith(f"{label}=")), None)
        if label is None or label in folders or not text[len(label) + 1 :]:
            raise BeholderError(f"--weights {text} does not say which model's, once for each: write NAME=DIR with one of {', '.join(labels)}")
        folders[label] = text[len(label) + 1 :]
    found = []
    for label in labels:
        name, given = parse_name(label)
        if name.lower() not in SCORERS and label in folders:
            name = _kind(Path(folders[label]) / CONFIG_FILE)
        cls = scorer_class(name)
        if cls.name not in ("pmllm", "pmllm-s"):
            raise BeholderError(f"{label} is no P-MLLM, so it has no language model that it could be compared with: choose among pmllm and pmllm-s")
        found.append(_Wanted(label, name + (f"[{','.join(f'{key}={value}' for key, value in given.items())}]" if given else ""), folders.get(label)))
    return found


def _kind(config: Path) -> str:
    """The scorer that weights are for."""
    import json

    from beholder.errors import BeholderError

    try:
        return str(json.loads(config.read_text(encoding="utf-8"))["scorer"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BeholderError(f"{config.parent} holds no weights of a scorer: give the folder that  beholder train pmllm  wrote") from None


def _dataset(name: str | None, root: Path | None) -> Dataset | None:
    from beholder.datasets import read

    if name is None or root is None:
        return None
    ratings = read(name, root)
    for line in ratings.notes:
        note(line)
    return ratings


def _profiles(ratings: Dataset | None, n: int, *, seed: int) -> tuple[tuple[Profile, ...], str]:
    """Profiles, and where they are from."""
    from beholder.personas.consistency import made_up_profiles, sampled_profiles

    if ratings is None:
        return made_up_profiles(n, seed=seed), f"made up, whole numbers 1 to 10, seed {seed}"
    return sampled_profiles(ratings, n, seed=seed), f"of raters of {ratings.name}, seed {seed}"


def _photographs(photos: list[Path] | None, ratings: Dataset | None, *, most: int, seed: int) -> tuple[list[str], str]:
    """Some of the photographs, and where they are from."""
    import numpy as np

    from beholder.errors import BeholderError
    from beholder.folders import find_photos, nothing_found

    if photos:
        found = find_photos(photos)
        if not found.photos:
            raise BeholderError(nothing_found(photos, found=found))
        pool, of_what = found.photos, ", ".join(photo.resolve().name for photo in photos)
    else:
        pool, of_what = [str(ratings.images[place]) for place in ratings.used_images], ratings.name
    if len(pool) > most:
        pool = [pool[place] for place in np.sort(np.random.default_rng([seed, 3]).choice(len(pool), size=most, replace=False))]
    return pool, of_what


def _opened(wanted: Sequence[_Wanted], pool: Sequence[str], *, encoder: str, dtype: str) -> list[_Opened]:
    import numpy as np

    from beholder import scorers
    from beholder.engine.local import index
    from beholder.engine.source import Features
    from beholder.errors import BeholderError
    from beholder.features import FeatureStore

    names = [one.scorer for one in wanted]
    network, store = scorers.encoder_for(names, encoder=encoder), FeatureStore()
    with progress_bar("looking at photographs") as progress:
        seen = index(pool, encoder=network, store=store, progress=progress, collect=False)
    for one in seen.skipped:
        note(f"{one.path} {one.reason}; left out")
    if not seen.images:
        raise BeholderError("none of the photographs can be read: choose another folder with --photos")
    source = Features(network, layers=scorers.feature_layers(names[0], encoder=encoder), store=store)
    opened: list[_Opened] = []
    for one in wanted:
        name, given = scorers.parse_name(one.scorer)
        options = {"dtype": dtype} | given
        scorer = scorers.make(f"{name}[{','.join(f'{key}={value}' for key, value in options.items())}]", features=source, weights=one.folder)
        # a copy: what the source keeps must not be written to, and torch warns of it
        opened.append(_Opened(one.label, scorer, opened[0].images if opened else np.array(scorer.tokens(seen.images))))
    first = opened[0]
    for one in opened[1:]:
        mine, theirs = first.scorer.model.language_model, one.scorer.model.language_model
        if (mine.revision, mine.dtype) != (theirs.revision, theirs.dtype):
            raise BeholderError(
                f"{first.label} is made of the language model {mine.name} ({mine.revision}, {first.dtype}), {one.label} of {theirs.name} "
                f"({theirs.revision}, {one.dtype}): only models of the same one can be compared with it, so run them one by one"
            )
    return opened


def _respondents(
    opened: Sequence[_Opened], *, mode: str, rater: str | None, balanced: bool, seed: int, other_images: bool
) -> tuple[Respondent, dict[str, Respondent], dict[str, Respondent]]:
    """The language model, the models, and the models with other images. All models see the same image with the same item."""
    if mode == "closed":
        from beholder.personas.closed_form import ClosedForm

        base: Any = ClosedForm(opened[0].scorer.model.language_model, balanced=balanced)

        def made(one: _Opened, seed: int) -> Respondent:
            return ClosedForm.of_pmllm(one.scorer.model, one.images, seed=seed, balanced=balanced)

    else:
        from beholder.backbones.chat import open_chat_model
        from beholder.backbones.reply_cache import ReplyCache
        from beholder.personas.open_ended import OpenEnded
        from beholder.personas.pmllm_chat import PMLLMChat

        cache = ReplyCache()
        alone = PMLLMChat(opened[0].scorer.model, cache=cache)
        reads = alone if rater is None else open_chat_model(rater)
        base = OpenEnded(alone, reads)

        def made(one: _Opened, seed: int) -> Respondent:
            return OpenEnded(PMLLMChat(one.scorer.model, one.images, seed=seed, cache=cache), reads)

    return base, {one.label: made(one, seed) for one in opened}, {one.label: made(one, seed + 1) for one in opened} if other_images else {}


def _finish(found: Study, *, out: Path | None, as_json: bool, asked: Mapping[str, Respondent]) -> None:
    from beholder.errors import MissingExtra
    from beholder.personas import consistency_report as report
    from beholder.profile import BIG_FIVE

    if out is not None:
        paths = report.write(found, out)
        try:
            paths.append(report.draw(found, out / report.PICTURE))
        except MissingExtra as missing:
            note(f"no {report.PICTURE}: {missing}")
        for path in paths:
            note(f"wrote {path}")
    if as_json:
        print_json(report.summary(found))
        return
    show_table(report.rows(found), columns=report.headings(found), title=report.protocol(found))
    print()
    show_table(report.reactions(found), columns=report.REACTIONS, right=report.REACTIONS[2:])
    if found.differences:
        print("\npaired differences of ICC, 95 % interval over profiles; * = without 0")
        show_table(report.differences(found), columns=["model", "minus", *(trait[0].upper() for trait in BIG_FIVE)])
    print()
    for line in (found.inventory.notice, report.PAPER_SETTING, *report.remarks(found)):
        if line:
            print(line)
    counts = [f"{label}: {one.counts}" for label, one in asked.items() if one.counts.asked]
    note("; ".join(counts) if counts else "every answer was known")
