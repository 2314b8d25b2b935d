"""beholder steer "PROMPT" --rater NAME --writer URI --generator URI"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, print_json, progress_bar
from beholder.cli.people import who

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beholder.rater import Rater
    from beholder.steering.base import Generator, Writer
    from beholder.steering.loop import SteerResult
    from beholder.steering.rewards import Penalty, ScorerJudge
    from beholder.steering.run_folder import RunFolder

EVERYBODY = "everybody"
OTHER_EYE = {"taste": "pamela", "pamela": "taste"}  # who looks on while a scorer is optimised; population for all others
SHOWN = 5  # prompts on the terminal


def steer(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the image should show.", show_default=False)],
    rater: Annotated[list[str] | None, typer.Option("--rater", metavar="NAME", help="Whom it should please; several: on average.", show_default=False)] = None,
    profile: Annotated[list[Path] | None, typer.Option("--profile", metavar="FILE.toml", help="The same, by profile; one --profile with one --rater: her profile for this run.", show_default=False)] = None,
    age: Annotated[list[str] | None, typer.Option("--age", metavar="20-29", help="People of that age (20-29, or 35).", show_default=False)] = None,
    ratings: options.RatingsFile = None,
    scale: options.ScaleText = None,
    generator: Annotated[
        str,
        typer.Option("--generator", metavar="URI", help="diffusers:NAME\\[steps=20], http://HOST/v1#MODEL, 'command:PROGRAM {prompt} {seed} {out}', scenes, or your own module:Class."),
    ] = "",
    writer: Annotated[
        str,
        typer.Option("--writer", metavar="URI", help="http://HOST/v1#MODEL, a folder or hub name of an LLM, smollm2-135m-instruct, phrases, or your own module:Class."),
    ] = "",
    scorer: options.ScorerName = "taste",
    weights: options.WeightsFolder = None,
    encoder: options.EncoderName = "efficientnet-lite0",
    strategy: Annotated[str, typer.Option("--strategy", metavar="NAME", help="mils (the best prompts are fed back), reflect (gepa), random (no feedback).")] = "mils",
    iterations: Annotated[int, typer.Option("--iterations", metavar="N", min=1)] = 10,
    per_iteration: Annotated[int, typer.Option("--per-iteration", metavar="N", min=1, help="Prompts tried in each.")] = 20,
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=1, help="Of the best prompts, fed back.")] = 20,
    images_per_prompt: Annotated[int, typer.Option("--images-per-prompt", metavar="N", min=1, help="Seeds; a prompt's reward is the mean.")] = 1,
    budget: Annotated[int | None, typer.Option("--budget", metavar="N", min=1, help="Images at most, failed ones included.", show_default="iterations x prompts + 1")] = None,
    pick: Annotated[tuple[int, str, int] | None, typer.Option("--pick", metavar="K of N", help="Leave the prompt as it is: render N images, keep the best K.", show_default=False)] = None,
    hold_out: Annotated[str | None, typer.Option("--hold-out", metavar="NAME", help="A scorer that looks on without being optimised; none for none.", show_default="pamela, or taste beside pamela")] = None,
    drift: Annotated[float, typer.Option("--drift", metavar="WEIGHT", min=0, help="Taken off: how far the prompt strays from yours.")] = 0.0,
    faithful: Annotated[float, typer.Option("--faithful", metavar="WEIGHT", min=0, help="Taken off: how little the image shows your prompt.")] = 0.0,
    faithful_model: Annotated[str | None, typer.Option("--faithful-model", metavar="NAME", help="CLIP or SigLIP that measures it.", show_default=False)] = None,
    max_words: Annotated[int, typer.Option("--max-words", metavar="N", min=1, help="Longer prompts are not tried.")] = 77,
    near_duplicate: Annotated[float, typer.Option("--near-duplicate", metavar="SHARE", min=0, max=1, help="Prompts with more in common than this are not tried.")] = 0.9,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0)] = 0,
    size: Annotated[str | None, typer.Option("--size", metavar="WxH", help="Pixels of an image.", show_default="as the generator has it")] = None,
    temperature: Annotated[float, typer.Option("--temperature", metavar="T", min=0, help="Of the writer.")] = 0.7,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Without a sign of a server, for one answer or image.")] = 300.0,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Images that a server is asked for at once.")] = 4,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Of models on this machine: auto, cpu, cuda, ...")] = "auto",
    api_key_env: Annotated[str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable with the key of the servers named.")] = "OPENAI_API_KEY",
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run's folder; the same command goes on there.", show_default="steered/PROMPT-...")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Steer an image generator by one person's taste: a writer varies the prompt, the generator renders, a scorer says how much this person will like it.

    Every prompt, image and score is kept in the run's folder with report.html; after an interruption the same command goes on there and repeats no call. Nothing leaves this
    machine but prompts and their rewards, to the servers that --writer and --generator name.
    """
    from beholder import scorers
    from beholder.errors import BeholderError
    from beholder.steering.generators import open_generator
    from beholder.steering.loop import SteerConfig
    from beholder.steering.report import reward_hacking, write_report
    from beholder.steering.rewards import ScorerJudge
    from beholder.steering.run_folder import RunFolder
    from beholder.steering.settings import settings_of
    from beholder.steering.strategies import open_strategy
    from beholder.steering.writers import open_writer

    keeps = _kept_of(pick)
    if not generator or not (writer or keeps):
        missing = "--generator" if not generator else "--writer"
        raise BeholderError(f"{missing} is missing: name one, or try  --writer phrases --generator scenes, which need no model")
    if keeps and (writer or budget is not None):
        raise BeholderError("--pick leaves the prompt as it is and makes as many images as it says: leave out --writer and --budget")
    if not prompt.strip():
        raise BeholderError("the prompt is empty: say what the image is to show")
    open_strategy(strategy)  # says now what is wrong with it
    config = SteerConfig(
        strategy=strategy,
        iterations=iterations,
        per_iteration=per_iteration,
        keep=keep,
        images_per_prompt=images_per_prompt,
        budget=budget,
        seed=seed,
        max_words=max_words,
        near_duplicate=near_duplicate,
    )
    calls = {"api_key_env": api_key_env, "timeout": timeout, "device": device}
    painter = open_generator(generator, size=size, concurrency=concurrency, **calls)
    author = None if keeps else open_writer(writer, temperature=temperature, **calls)
    raters, look_in = _raters(rater or [], profile or [], age or [], ratings=ratings, scale=scale)
    if EVERYBODY in raters:
        note("nobody is named, so the images are steered by what people in general like: name somebody with --rater, --profile or --age")
    penalty = _penalty(drift=drift, faithful=faithful, model=faithful_model)
    other = OTHER_EYE.get(scorers.parse_name(scorer)[0], "population") if hold_out is None else hold_out
    with ExitStack() as opened:
        eye = opened.enter_context(scorers.load(scorer, weights=weights, encoder=encoder))
        judge = ScorerJudge(eye, raters=raters, look_in=look_in, penalty=penalty)
        watching = None
        if other != "none":
            watching = ScorerJudge(opened.enter_context(scorers.load(other)), raters=raters, look_in=look_in)
            if (watching.eye.scorer.name, watching.eye.scorer.version) == (eye.scorer.name, eye.scorer.version):
                note(f"{other} looks on at itself, which shows nothing: name another scorer with --hold-out")
        settings = settings_of(prompt, writer=author, generator=painter, judge=judge, hold_out=watching, config=config, pick=keeps)
        run = opened.enter_context(RunFolder(out or _default_out(prompt, settings), settings=settings))
        try:
            with progress_bar("steering") as progress:
                result = _run(prompt, author, painter, judge, watching, config, run, keeps, progress or lines_of_progress())
        except BaseException:  # it stops here and goes on later
            with suppress(BeholderError):  # the reason why it stopped says more
                write_report(run)
            raise
        report = write_report(run)
        warning = reward_hacking(sorted(run.events("iteration"), key=lambda event: event["number"]))
        remarks = (*result.notes, *eye.scorer.notes(), *([warning] if warning else []))
    for line in remarks:
        note(line)
    _show(result, folder=run.folder, report=report, as_json=as_json)


def _run(
    prompt: str,
    writer: Writer | None,
    generator: Generator,
    judge: ScorerJudge,
    hold_out: ScorerJudge | None,
    config,
    run: RunFolder,
    keeps: tuple[int, int] | None,
    progress,
) -> SteerResult:
    from beholder.steering.loop import steer as steer_prompts
    from beholder.steering.pick import best_of

    if keeps:
        return best_of(prompt, generator=generator, judge=judge, hold_out=hold_out, keep=keeps[0], of=keeps[1], seed=config.seed, run=run, progress=progress)
    return steer_prompts(prompt, writer=writer, generator=generator, judge=judge, hold_out=hold_out, config=config, run=run, progress=progress)


def _raters(
    names: list[str], profiles: list[Path], ages: list[str], *, ratings: Path | None, scale: str | None
) -> tuple[Mapping[str, Rater], list[str]]:
    """Label -> rater, and the folders in which their images may lie. One --rater with one --profile is one person with that profile."""
    from beholder.errors import BeholderError
    from beholder.profile import Profile
    from beholder.rater import Rater

    one = len(names) <= 1 and len(profiles) <= 1
    asked = [(names[0] if names else None, profiles[0] if profiles else None)] if one and (names or profiles or ratings) else []
    asked = asked or [(name, None) for name in names] + [(None, path) for path in profiles]
    if ratings is not None and (len(asked) > 1 or ages):
        raise BeholderError("--ratings are of one person, but several are named: import them with  beholder ratings import FILE.csv --rater NAME")
    found: dict[str, Rater] = {}
    look_in: list[str] = []
    for name, path in asked:
        person = who(rater=name, profile=path, ratings=ratings, scale=scale)
        label = person.rater.name or (path.stem if path is not None else "you")
        found[label if label not in found else f"{label} ({len(found) + 1})"] = person.rater
        look_in += person.look_in
    found |= {f"age {band}": Rater(profile=Profile(age=band)) for band in ages}
    return found or {EVERYBODY: Rater()}, look_in


def _penalty(*, drift: float, faithful: float, model: str | None) -> Penalty:
    from beholder.errors import BeholderError
    from beholder.steering.rewards import Penalty

    if faithful and model is None:
        raise BeholderError("--faithful needs a model that sees and reads: name a CLIP or SigLIP with --faithful-model")
    if model is not None and not faithful:
        raise BeholderError("--faithful-model measures nothing without a weight: add --faithful 0.5, or leave it out")
    if not drift and not faithful:
        return Penalty()
    from beholder.steering.faithfulness import ImageTextMatch, TextDrift

    found = Penalty(drift=drift, of_prompt=TextDrift() if drift else None)
    return replace(found, unfaithful=faithful, of_image=ImageTextMatch(model)) if faithful else found


def _kept_of(pick: tuple[int, str, int] | None) -> tuple[int, int] | None:
    from beholder.errors import BeholderError

    if pick is None:
        return None
    keep, word, of = pick
    if word.lower() != "of" or not 1 <= keep <= of:
        raise BeholderError(f"--pick {keep} {word} {of} cannot be understood: write for example  --pick 1 of 16")
    return keep, of


def _default_out(prompt: str, settings: Mapping[str, object]) -> Path:
    """The same command gives the same folder, so that it goes on there."""
    from beholder.evaluation.answering import readable_name, short_hash

    return Path("steered") / f"{readable_name(prompt)[:40]}-{short_hash(dict(settings))}"


def _show(result: SteerResult, *, folder: Path, report: Path, as_json: bool) -> None:
    best, start = result.best, result.start
    if as_json:
        print_json(
            {
                "prompt": best.prompt,
                "reward": _number(best.reward),
                "start_reward": _number(start.reward),
                "hold_out": _number(best.hold_out),
                "start_hold_out": _number(start.hold_out),
                "images": [str(path) for path in best.images],
                "iteration": best.iteration,
                "complete": result.complete,
                "counts": dict(result.counts),
                "folder": str(folder),
                "report": str(report),
            }
        )
        return
    print("the best")
    for one in result.candidates[:SHOWN]:
        print(f"{one.reward:.3f}  {one.prompt}")
        print("       " + ", ".join(str(path) for path in one.images))
    print(f"reward {start.reward:.3f} at the start, {best.reward:.3f} now" + _said_of_hold_out(start.hold_out, best.hold_out))
    print("; ".join(f"{name.replace('_', ' ')} {count}" for name, count in result.counts.items() if count))
    print(f"report: {report}")


def _said_of_hold_out(start: float, best: float) -> str:
    return "" if start != start or best != best else f"; the scorer that looks on: {start:.3f} at the start, {best:.3f} now"


def _number(value: float) -> float | None:
    return None if value != value else round(float(value), 6)
