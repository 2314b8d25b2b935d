"""beholder personas search|exhaustive|consistency|show"""

from __future__ import annotations

import math
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, note_wait, print_json, progress_bar, show_table
from beholder.cli.personas_consistency import consistency
from beholder.cli.personas_show import show
from beholder.errors import BeholderError, MissingExtra

if TYPE_CHECKING:
    from beholder.personas.fitness import Evaluation, Fitness
    from beholder.personas.prompts import PersonaFormat
    from beholder.personas.search import Generation, Optimum, Search
    from beholder.personas.search_report import Setting

app = typer.Typer(no_args_is_help=True, help="Profiles as text for language models: which format works, and does the model stay the person.")

Model = Annotated[str, typer.Option("--model", metavar="NAME", help="An embedded LLM, a folder or hub repository, or http(s)://host/v1#model; options in brackets (docs/personas.md).")]
ModeName = Annotated[
    str, typer.Option("--mode", metavar="closed|open", help="Likert questions, or open questions whose answers a rater LLM reads.")
]
RaterModel = Annotated[
    str | None, typer.Option("--rater", metavar="NAME", help="The LLM that reads open answers.", show_default="the model itself")
]
Balanced = Annotated[
    bool, typer.Option("--balanced", help="Closed: ask with the scale in both directions, so that a liking for one end cancels out.")
]
InventoryName = Annotated[
    str, typer.Option("--inventory", metavar="NAME", help="mini-ipip, ipip-50, or a CSV or JSON file: trait, question, reverse, statement.")
]
Targets = Annotated[str, typer.Option("--targets", metavar="N", help="Number of target profiles, or a CSV file with the five traits, 1 to 10.")]
TargetsSeed = Annotated[int, typer.Option("--targets-seed", metavar="N", min=0, help="Of the target profiles drawn.")]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write report.md, formats.csv and pictures there.", show_default=False),
]


@app.callback()
def _personas() -> None:
    pass


@app.command()
def search(
    model: Model = "smollm2-135m-instruct",
    mode: ModeName = "closed",
    rater: RaterModel = None,
    balanced: Balanced = False,
    inventory: InventoryName = "mini-ipip",
    targets: Targets = "10",
    targets_seed: TargetsSeed = 0,
    seeds: Annotated[str, typer.Option("--seeds", "--seed", metavar="0,1,..", help="Of the searches, one each.")] = "0",
    population: Annotated[int, typer.Option("--population", metavar="N", help="Formats per generation.")] = 50,
    generations: Annotated[int, typer.Option("--generations", metavar="N", help="After the first population.")] = 10,
    elite: Annotated[int, typer.Option("--elite", metavar="N", help="Kept of a generation.")] = 10,
    mutation: Annotated[float, typer.Option("--mutation", metavar="P", help="Probability per gene.")] = 0.1,
    crossover: Annotated[str, typer.Option("--crossover", metavar="NAME", help="uniform or one-point.")] = "uniform",
    parents: Annotated[
        str, typer.Option("--parents", metavar="NAME", help="non-selected (as published) or all (finds the best far more often).")
    ] = "non-selected",
    out: OutFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Search the profile format with which an LLM shows the traits it is given, by a genetic algorithm.

    Answers are kept: after an interruption the same command goes on where it was. All 324 formats are fewer than the algorithm may ask for, so  beholder
    personas exhaustive  is the surer way.
    """
    from beholder.personas.prompts import all_formats
    from beholder.personas.search import GeneticConfig, Optimum, genetic_search

    sizes = {"population": population, "generations": generations, "elite": elite, "mutation": mutation, "crossover": crossover, "parents": parents}
    configs = [GeneticConfig(**sizes, seed=seed) for seed in _seeds(seeds)]
    respondent = {"mode": mode, "rater": rater, "balanced": balanced}
    run = _Run.start(model, **respondent, inventory=inventory, targets=targets, targets_seed=targets_seed, out=out, seeds=seeds)
    with progress_bar("asking") as bar:
        run.fitness.progress = bar or _lines()
        searches = [genetic_search(run.fitness, config=config, progress=_said(config.seed)) for config in configs]
    asked = run.fitness.evaluate(list(dict.fromkeys(one for each in searches for one in each.fitness)))
    known = run.fitness.known(all_formats())
    optimum = Optimum.of(one.mse for one in known) if len(known) == len(all_formats()) else None
    run.write(out, evaluations=asked, searches=searches, optimum=optimum)
    if as_json:
        print_json(run.json(asked) | {"optimum": vars(optimum) if optimum else None, "searches": [_as_dict(one, run.fitness) for one in searches]})
        return
    _show_searches(run, searches, optimum)
    best = min(searches, key=lambda one: (math.isnan(one.mse), one.mse)).best
    run.show_best(best)


@app.command()
def exhaustive(
    model: Model = "smollm2-135m-instruct",
    mode: ModeName = "closed",
    rater: RaterModel = None,
    balanced: Balanced = False,
    inventory: InventoryName = "mini-ipip",
    targets: Targets = "10",
    targets_seed: TargetsSeed = 0,
    formats: Annotated[
        str | None, typer.Option("--formats", metavar="00000,00020", help="Only these, for a trial.", show_default="all 324")
    ] = None,
    out: OutFolder = None,
    as_json: options.AsJson = False,
) -> None:
    """Try all 324 profile formats on an LLM: which one shows the traits best, and which component matters.

    Answers are kept: after an interruption the same command goes on where it was.
    """
    from beholder.personas.prompts import PersonaFormat, all_formats
    from beholder.personas.search import exhaustive as every_format
    from beholder.personas.search_report import gene_effects

    chosen = all_formats() if formats is None else tuple(PersonaFormat.parse(code.strip()) for code in formats.split(",") if code.strip())
    if not chosen:
        raise BeholderError("--formats names no format: write codes such as 00000,00020, or leave it out for all")
    respondent = {"mode": mode, "rater": rater, "balanced": balanced}
    run = _Run.start(model, **respondent, inventory=inventory, targets=targets, targets_seed=targets_seed, out=out)
    with progress_bar("asking") as bar:
        run.fitness.progress = bar or _lines()
        ranked = run.fitness.evaluate(list(every_format(run.fitness, formats=chosen)))
    run.write(out, evaluations=ranked)
    whole = len(ranked) == len(all_formats())
    if as_json:
        effects = {"effects": [{name: _plain(value) for name, value in vars(one).items()} for one in gene_effects(ranked)]} if whole else {}
        print_json(run.json(ranked) | effects)
        return
    _show_formats(run, ranked)
    if whole:
        _show_effects(run, ranked)
    run.show_best(ranked[0].format)


app.command("consistency")(consistency)
app.command("show")(show)


@dataclass
class _Run:
    """Who is asked what, for how long."""

    fitness: Fitness
    setting: Setting
    began: float

    @classmethod
    def start(
        cls,
        model: str,
        *,
        mode: str,
        rater: str | None,
        balanced: bool,
        inventory: str,
        targets: str,
        targets_seed: int,
        out: Path | None,
        seeds: str = "",
    ) -> _Run:
        from beholder.options import keywords_from_texts, parse_brackets
        from beholder.personas.fitness import Fitness, read_targets, target_profiles
        from beholder.personas.inventory import load_inventory
        from beholder.personas.ledger import Ledger
        from beholder.personas.respondents import open_respondent
        from beholder.personas.search_report import Setting

        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written to is better known before the work
        items = load_inventory(inventory)
        drawn = re.fullmatch(r"\s*-?\d+\s*", targets) is not None
        profiles = target_profiles(int(targets), seed=targets_seed) if drawn else read_targets(targets)
        name, given = parse_brackets(model, of="the model") if model.rstrip().endswith("]") else (model, {})
        chosen = keywords_from_texts(open_respondent, given, of=f"the model {name}", without=("mode", "rater", "balanced"))
        note_wait(name)
        respondent = open_respondent(name, mode=mode, rater=rater, balanced=balanced, **chosen)
        fitness = Fitness(respondent, items, targets=profiles, ledger=Ledger())
        setting = Setting(
            model=model,
            revision=respondent.version,
            mode=mode + (f", rated by {rater}" if rater else "") + (", balanced" if balanced else ""),
            inventory=items.name,
            notice=items.notice,
            targets=len(profiles),
            targets_seed=f"drawn with seed {targets_seed}" if drawn else f"from {targets}",
            seeds=seeds,
            command=shlex.join(["beholder", *sys.argv[1:]]),
            controls=fitness.controls,
        )
        return cls(fitness, setting, time.monotonic())

    def write(
        self, out: Path | None, *, evaluations: Sequence[Evaluation], searches: Sequence[Search] = (), optimum: Optimum | None = None
    ) -> None:
        from beholder.personas import search_report

        if out is None:
            return
        what = {"setting": self.setting, "evaluations": evaluations, "searches": searches, "optimum": optimum}
        paths = search_report.write(out, **what)
        try:
            paths += search_report.draw(out, **what)
        except MissingExtra as missing:
            note(f"no pictures: {missing}")
        for path in paths:
            note(f"wrote {path}")

    def title(self, what: str) -> str:
        of = self.setting
        return f"{what}: {of.model}, {of.mode}, {of.inventory}, {of.targets} target profiles {of.targets_seed}; revision {of.revision}"

    def show_best(self, best: PersonaFormat) -> None:
        """The format in full, the controls, and what it took."""
        of, text = self.setting, self.fitness.personas(best)[0]
        print(f"\nbest format {best.code}, with the first target profile:\n\n{text}\n")
        print(
            f"controls, MSE of a model that ignores the profile: {of.controls.middle:.3f} if it answers 5.5 everywhere, "
            f"{of.controls.best_constant:.3f} with the best constant of each trait"
        )
        if self.fitness([best])[0] >= of.controls.best_constant:
            print("no format that was tried is better than that: this model does not follow the profiles")
        if of.notice:
            print(of.notice)
        note(self.effort())

    def effort(self) -> str:
        counts, seconds = self.fitness.respondent.counts, time.monotonic() - self.began
        speed = f" ({counts.asked / seconds:.1f} {self.fitness.respondent.unit} a second)" if counts.asked and seconds else ""
        return f"{counts} in {seconds:.0f} s{speed}; what had been answered before was not asked again"

    def json(self, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        from beholder.personas.search_report import ranking

        counts, seconds = self.fitness.respondent.counts, time.monotonic() - self.began
        facts: dict[str, Any] = self.setting.facts() | {"counts": vars(counts), "seconds": round(seconds, 1)}
        return facts | {"formats": [_evaluation(one) for one in ranking(evaluations)]}


def _evaluation(one: Evaluation) -> dict[str, Any]:
    values = {name: _plain(value) for name, value in vars(one).items() if name not in ("format", "trait_mse")}
    return {"code": one.format.code} | values | {"trait_mse": [_plain(value) for value in one.trait_mse]}


def _as_dict(one: Search, fitness: Fitness) -> dict[str, Any]:
    history = [{**{k: _plain(v) for k, v in vars(state).items() if k != "format"}, "code": state.format.code} for state in one.history]
    best = fitness.evaluate([one.best])[0]
    return {"seed": one.config.seed, "best": _evaluation(best), "evaluations": len(one.fitness), "history": history, "config": vars(one.config)}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _said(seed: int) -> Callable[[Generation], None]:
    def line(state: Generation) -> None:
        note(
            f"seed {seed}, generation {state.number}: best MSE {state.best:.3f} ({state.format.code}), mean {state.mean:.3f}, "
            f"{state.evaluations} formats evaluated"
        )

    return line


def _show_searches(run: _Run, searches: Sequence[Search], optimum: Optimum | None) -> None:
    from beholder.personas.search_report import against

    rows = []
    for one in searches:
        best = run.fitness.evaluate([one.best])[0]
        measured = [f"{best.mse:.3f}", f"{best.r:+.3f}", f"{best.shuffled_mse:.3f}", best.missing]
        rows.append([one.config.seed, one.best.code, *measured, len(one.fitness), against(one, optimum)])
    columns = ["seed", "best", "MSE", "r", "shuffled", "missing", "evaluated", "against the exhaustive optimum"]
    show_table(rows, columns=columns, title=run.title("genetic search"), right=columns[2:7])
    if optimum is not None:
        print(optimum)


def _show_formats(run: _Run, ranked: Sequence[Evaluation]) -> None:
    from beholder.personas.search_report import BOTTOM, TOP, shown

    some = shown(ranked)
    rows = [[place, one.format.code, f"{one.mse:.3f}", f"{one.r:+.3f}", f"{one.shuffled_mse:.3f}", one.missing] for place, one in some]
    columns = ["rank", "format", "MSE", "r", "shuffled", "missing"]
    which = f", the {TOP} best and the {BOTTOM} worst" if len(some) < len(ranked) else ""
    show_table(rows, columns=columns, title=run.title(f"{len(ranked)} formats{which}"), right=columns[2:])


def _show_effects(run: _Run, ranked: Sequence[Evaluation]) -> None:
    from beholder.personas.search_report import gene_effects

    print()
    rows = [
        [one.component, one.gene, f"{one.mean:.3f}", f"{one.spread:.3f}", f"{one.effect:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"]
        for one in gene_effects(ranked)
    ]
    columns = ["component", "gene", "mean MSE", "sd", "effect, 95 % over formats"]
    show_table(rows, columns=columns, right=columns[2:4])


def _seeds(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found):
        raise BeholderError(f"--seeds = {text!r} is not a list of different whole numbers: write for example 0,1,2")
    return found


def _lines() -> Callable[[int, int], None]:
    line = lines_of_progress()
    return lambda done, total: line(done, total, "item answers")
