"""What a search over profile formats found, as a page, a table and pictures."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError, MissingExtra
from beholder.personas.fitness import Controls, Evaluation
from beholder.personas.prompts import all_formats
from beholder.personas.search import COMPONENTS, Optimum, Search, gene_counts
from beholder.profile import BIG_FIVE
from beholder.ratings import write_table

PAGE, TABLE, CONVERGENCE, GENES = "report.md", "formats.csv", "convergence.png", "genes.png"
TOP, BOTTOM = 10, 3
# Okabe & Ito: told apart with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_CONTROL = "#666666"


@dataclass(frozen=True)
class Setting:
    """How the numbers of a table came about; stands in every one of them.

    Args:
        model: as named by the user.
        revision: version of the respondent: weights, prompts, mode.
        mode: "closed" or "open", with the rater and other choices.
        inventory: name of the questionnaire.
        notice: what has to be said about it wherever a number is shown, or "".
        targets: number of target profiles.
        targets_seed: of which they were drawn, or the file they are from.
        seeds: of the searches, "" for none.
        command: that was given.
        controls: what a model that ignores the profile would get.
    """

    model: str
    revision: str
    mode: str
    inventory: str
    notice: str
    targets: int
    targets_seed: str
    seeds: str
    command: str
    controls: Controls

    def facts(self) -> dict[str, object]:
        """As columns of a table."""
        facts = {name: value for name, value in vars(self).items() if name != "controls"}
        return facts | {"mse_of_5.5": round(self.controls.middle, 4), "mse_of_best_constant": round(self.controls.best_constant, 4)}

    def lines(self) -> Iterator[str]:
        """As text."""
        yield f"- Model {self.model}, revision `{self.revision}`, mode {self.mode}."
        yield f"- Inventory {self.inventory}." + (f" **{self.notice}.**" if self.notice else "")
        yield f"- {self.targets} target profiles ({self.targets_seed})." + (f" Search seeds {self.seeds}." if self.seeds else "")
        yield (
            f"- Controls, MSE of a model that ignores the profile: {self.controls.middle:.3f} if it answers 5.5 everywhere, "
            f"{self.controls.best_constant:.3f} with the best constant of each trait."
        )
        yield f"- Command: `{self.command}`"


@dataclass(frozen=True)
class GeneEffect:
    """What a gene does to the MSE.

    Args:
        component, gene: which one; gene is the digit in the code.
        mean, spread: mean and standard deviation of the MSE over the formats that have it.
        effect: MSE minus the mean over all genes of the component with the other four components alike; below 0 is good.
        low, high: 95 % interval of the effect over these combinations; nan with fewer than two of them.
        n: number of combinations in which all genes of the component were measured.
    """

    component: str
    gene: int
    mean: float
    spread: float
    effect: float
    low: float
    high: float
    n: int


def gene_effects(evaluations: Sequence[Evaluation]) -> list[GeneEffect]:
    """Effects of all genes, by component; over the formats that could be measured."""
    from scipy import stats

    table = np.full(gene_counts(), np.nan)
    for one in evaluations:
        table[tuple(getattr(one.format, name) for name in COMPONENTS)] = one.mse
    effects = []
    for axis, component in enumerate(COMPONENTS):
        rows = np.moveaxis(table, axis, 0).reshape(table.shape[axis], -1)  # [gene, combination of the others]
        whole = rows[:, np.isfinite(rows).all(axis=0)]
        differences = whole - whole.mean(axis=0)
        n = differences.shape[1]
        for gene in range(len(rows)):
            values = rows[gene][np.isfinite(rows[gene])]
            effect = float(differences[gene].mean()) if n else float("nan")
            half = float(stats.t.ppf(0.975, n - 1) * differences[gene].std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
            mean, spread = (float(values.mean()), float(values.std())) if values.size else (float("nan"), float("nan"))
            effects.append(GeneEffect(component, gene, mean, spread, effect, effect - half, effect + half, n))
    return effects


def write(
    folder: str | os.PathLike, *, setting: Setting, evaluations: Sequence[Evaluation], searches: Sequence[Search] = (), optimum: Optimum | None = None
) -> list[Path]:
    """Write report.md and formats.csv; returns their paths. For the pictures see `draw`.

    Args:
        evaluations: of all formats that were asked.
        searches: by the genetic algorithm.
        optimum: of all 324 formats, if known.

    Raises:
        BeholderError: a file cannot be written.
    """
    folder = Path(folder)
    ranked = ranking(evaluations)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = "\n".join(_page(setting, ranked, searches, optimum)) + "\n"
        (folder / PAGE).write_text(page, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise BeholderError(f"{folder} cannot be written to: {error.strerror or error}; choose another place") from None
    facts = setting.facts()
    rows = [_row(one) | facts for one in ranked]
    write_table(folder / TABLE, rows, columns=list(rows[0]))
    return [folder / PAGE, folder / TABLE]


def draw(
    folder: str | os.PathLike, *, setting: Setting, evaluations: Sequence[Evaluation], searches: Sequence[Search] = (), optimum: Optimum | None = None
) -> list[Path]:
    """Draw convergence.png if there are searches, and genes.png if all formats were evaluated; returns their paths.

    Raises:
        MissingExtra: matplotlib is not installed.
        BeholderError: a picture cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", extra="eval", purpose="drawing the search") from None
    folder = Path(folder)
    title = f"{setting.model}, {setting.mode}, {setting.inventory}, {setting.targets} target profiles. {setting.notice}"
    paths = []
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        pictures = {}
        if searches:
            pictures[CONVERGENCE] = _convergence(Figure(figsize=(7, 4.2), layout="constrained"), searches, optimum, setting.controls)
        if len(evaluations) == len(all_formats()):
            pictures[GENES] = _genes(Figure(figsize=(10, 3.8), layout="constrained"), evaluations)
        for name, figure in pictures.items():
            figure.suptitle(textwrap.fill(title, 100), fontsize=8, x=0.01, ha="left")
            try:
                figure.savefig(folder / name, dpi=150)
            except OSError as error:
                raise BeholderError(f"{folder / name} cannot be written: {error.strerror or error}; choose another place") from None
            paths.append(folder / name)
    return paths


def ranking(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The lowest MSE first, what could not be measured last."""
    return sorted(evaluations, key=lambda one: (np.isnan(one.mse), one.mse, one.format.code))


def shown(ranked: Sequence[Evaluation]) -> list[tuple[int, Evaluation]]:
    """(rank, evaluation) of the best and the worst, or of all if these are few."""
    return [(place, one) for place, one in enumerate(ranked, start=1) if place <= TOP or place > len(ranked) - BOTTOM]


def _row(one: Evaluation) -> dict[str, object]:
    row: dict[str, object] = {"code": one.format.code} | {name: getattr(one.format, name) for name in COMPONENTS}
    row |= {"mse": _number(one.mse), "r": _number(one.r), "shuffled_mse": _number(one.shuffled_mse)}
    row |= {"missing": one.missing, "unmeasured": one.unmeasured}
    return row | {f"mse_{trait}": _number(value) for trait, value in zip(BIG_FIVE, one.trait_mse, strict=True)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def _page(setting: Setting, ranked: list[Evaluation], searches: Sequence[Search], optimum: Optimum | None) -> Iterator[str]:
    yield f"# Profile formats for {setting.model}\n"
    yield from setting.lines()
    yield (
        "- MSE between target and measured Big Five, both on 1 to 10, mean over traits and target profiles; r: correlation over the profiles, mean over "
        "the traits (0 where a trait is measured the same in all); shuffled: the same answers against the other profiles' targets; missing: item answers "
        "that were not given.\n"
    )
    if searches:
        yield "## Genetic search\n"
        yield from _searches(searches, optimum)
    whole = len(ranked) == len(all_formats())
    some = f": the {TOP} best and the {BOTTOM} worst" if len(shown(ranked)) < len(ranked) else ""
    yield f"## {'All' if whole else 'The'} {len(ranked)} formats evaluated{some}\n"
    yield "| rank | code | MSE | r | shuffled | missing | " + " | ".join(BIG_FIVE) + " |"
    yield "|---|---|---|---|---|---|" + "---|" * len(BIG_FIVE)
    for place, one in shown(ranked):
        cells = [str(place), one.format.code, f"{one.mse:.3f}", f"{one.r:+.3f}", f"{one.shuffled_mse:.3f}", str(one.missing)]
        yield "| " + " | ".join([*cells, *(f"{value:.2f}" for value in one.trait_mse)]) + " |"
    yield ""
    if whole:
        yield "## Which component matters\n"
        yield (
            "Effect: MSE minus the mean over the genes of the component, the other four components alike; 95 % interval over the combinations of these. "
            "It says how steady the effect is across formats, for these targets and items, not for others.\n"
        )
        yield "| component | gene | mean MSE | sd | effect [95 %] |"
        yield "|---|---|---|---|---|"
        for one in gene_effects(ranked):
            yield f"| {one.component} | {one.gene} | {one.mean:.3f} | {one.spread:.3f} | {one.effect:+.3f} [{one.low:+.3f}, {one.high:+.3f}] |"
        yield ""
    yield f"## The best format, {ranked[0].format.code}\n"
    for name in COMPONENTS:
        yield f"{name}:\n"
        yield "```\n" + (ranked[0].format.gene(name) or "(none)") + "\n```\n"


def _searches(searches: Sequence[Search], optimum: Optimum | None) -> Iterator[str]:
    config = searches[0].config
    yield (
        f"Population {config.population}, {config.generations} generations, elite {config.elite}, {config.crossover} crossover, mutation "
        f"{config.mutation:g} per gene, parents {config.parents}.\n"
    )
    yield "| seed | best code | MSE | formats evaluated | against the exhaustive optimum |"
    yield "|---|---|---|---|---|"
    for one in searches:
        yield f"| {one.config.seed} | {one.best.code} | {one.mse:.3f} | {len(one.fitness)} of {len(all_formats())} | {against(one, optimum)} |"
    if optimum is not None:
        yield f"\nFormats {optimum}."
    yield "\n| generation | " + " | ".join(f"best (mean), seed {one.config.seed}" for one in searches) + " |"
    yield "|---|" + "---|" * len(searches)
    for states in zip(*(one.history for one in searches), strict=True):
        yield f"| {states[0].number} | " + " | ".join(f"{state.best:.3f} ({state.mean:.3f})" for state in states) + " |"
    yield ""


def against(search: Search, optimum: Optimum | None) -> str:
    """How a search stands against the exhaustive optimum, in words."""
    if optimum is None:
        return "not known: run beholder personas exhaustive"
    if search.mse <= optimum.mse:
        return "reached"
    share = f"{100 * (search.mse / optimum.mse - 1):.1f} % above" if optimum.mse > 0 else "above"
    return share + (", within 2 %" if search.close(optimum.mse) else "")


def _convergence(figure, searches: Sequence[Search], optimum: Optimum | None, controls: Controls):
    axis = figure.subplots()
    many = len(searches) > 4  # then one entry stands for all
    for place, one in enumerate(searches):
        colour = _COLOURS[place % len(_COLOURS)]
        of = f", a line for each of {len(searches)} seeds" if many else f", seed {one.config.seed}"
        hidden = "_" if many and place else ""
        numbers = [state.number for state in one.history]
        axis.plot(numbers, [state.best for state in one.history], color=colour, linewidth=1.8, marker="o", markersize=3.5, label=f"{hidden}best{of}")
        axis.plot(numbers, [state.mean for state in one.history], color=colour, linewidth=1, alpha=0.6, label=f"{hidden}mean{of}")
    if optimum is not None:
        axis.axhline(optimum.mse, color="black", linewidth=1, linestyle=(0, (4, 2)), label="best of all 324")
    axis.axhline(controls.best_constant, color=_CONTROL, linewidth=1, linestyle=(0, (1, 1.5)), label="control: best constant")
    axis.set_xlabel("generation")
    axis.set_ylabel("MSE of the Big Five, lower is better")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    return figure


def _genes(figure, evaluations: Sequence[Evaluation]):
    axes = figure.subplots(1, len(COMPONENTS), sharey=True)
    effects = gene_effects(evaluations)
    for axis, component, colour in zip(axes, COMPONENTS, _COLOURS, strict=False):
        mine = [one for one in effects if one.component == component]
        for one in mine:
            values = [each.mse for each in evaluations if getattr(each.format, component) == one.gene]
            # spread over a little width, evenly and always the same way
            places = (np.arange(len(values)) * 0.618) % 1 - 0.5
            axis.scatter(one.gene + 0.5 * places, values, s=3, color=colour, alpha=0.3, linewidths=0)
        axis.errorbar(
            [one.gene for one in mine], [one.mean for one in mine], yerr=[one.spread for one in mine], fmt="o", color="black", markersize=4, capsize=3
        )
        axis.set_title(component, loc="left", fontsize=10)
        axis.set_xticks([one.gene for one in mine])
        axis.set_xlabel("gene")
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes[0].set_ylabel("MSE, mean ± sd over formats")
    return figure
