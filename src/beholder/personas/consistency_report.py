"""What a consistency study found: a table shaped like the paper's, a page, all scores as CSV, and a picture."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from beholder.errors import BeholderError, MissingExtra
from beholder.personas.consistency import Study
from beholder.personas.icc import ICC
from beholder.profile import BIG_FIVE
from beholder.ratings import write_table

PAGE, TABLE, PICTURE = "report.md", "consistency.csv", "consistency.png"
PAPER_SETTING = (
    "Paper: P-MLLM (arXiv 2604.17233), table 4: Llama-3.1-8B-Instruct, 300 profiles of PARA, LMLPA's questionnaire in words. "
    "Another language model, questionnaire and training: no number of ours is to be expected to equal one of its."
)
IDENTICAL = "Base and models read identical prompts (the language model's chat layout, the profile in the format named), whatever prompt the weights were trained with"
REACTIONS = ("model", "trait", "SD base", "SD model", "mean |difference|", "mean difference", "r base", "r model", "shuffled", "other images")
UNMOVED = 0.1  # standard deviation on 1 to 10 below which the profile makes next to no difference
# Okabe & Ito: told apart with any colour vision
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def headings(study: Study) -> list[str]:
    """Of the columns of `rows`."""
    found = ["Trait"]
    for model in study.models:
        found += [f"{model} ICC", "CI95%"] + (["paper ICC", "paper CI95%"] if study.paper(model) else [])
    return found


def rows(study: Study) -> list[list[str]]:
    """The table shaped like the paper's table 4: traits O, C, E, A, N; per model ICC with the base and 95 % interval, the paper's beside them."""
    found = []
    for place, trait in enumerate(BIG_FIVE):
        row = [trait[0].upper()]
        for model in study.models:
            row += _cells(study.agreements[model][place].icc)
            if paper := study.paper(model):
                value, low, high = paper[trait]
                row += [f"{value:.3f}", f"[{low:.3f}, {high:.3f}]"]
        found.append(row)
    return found


def table(study: Study) -> str:
    """The table in Markdown, with everything that has to stand beside its numbers."""
    lines = [*_markdown(headings(study), rows(study)), "", f"{_sentence(protocol(study))}"]
    if study.inventory.notice:
        lines.append(f"{_sentence(study.inventory.notice)}")
    if any(study.paper(model) for model in study.models):
        lines.append(PAPER_SETTING)
    return "\n".join(lines) + "\n"


def protocol(study: Study) -> str:
    """One line: how the numbers came about."""
    distinct = len({tuple(profile.known().items()) for profile in study.profiles})
    same = "" if distinct == len(study.profiles) else f" ({distinct} different ones)"
    parts = [f"{len(study.profiles)} profiles{same}", *study.setting, f"inventory {study.inventory.name} ({len(study.inventory.items)} items)"]
    return "; ".join([*parts, f"base {study.base}", "ICC(3,1) of trait scores on 1 to 10"])


def remarks(study: Study) -> list[str]:
    """What makes the numbers mean less than they seem to, one sentence each."""
    found = []
    still = [trait for trait, own in zip(BIG_FIVE, study.agreements[study.models[0]], strict=True) if own.base_spread < UNMOVED]
    if still:
        found.append(
            f"The language model hardly reacts to the profiles in {', '.join(still)} (standard deviation below {UNMOVED} on 1 to 10): "
            "agreement there is about its noise, not about personas."
        )
    for model in study.models:
        agreements = study.agreements[model]
        still = [own.trait for own in agreements if own.spread < UNMOVED <= own.base_spread]
        if still:
            found.append(f"{model} hardly reacts to the profiles in {', '.join(still)}, where the language model does.")
        undefined = [f"{own.trait} ({own.icc.reason})" for own in agreements if own.icc.reason]
        if undefined:
            found.append(f"The ICC of {model} is not defined for {', '.join(undefined)}.")
        dropped = [f"{own.icc.dropped} for {own.trait}" for own in agreements if own.icc.dropped]
        if dropped:
            found.append(f"Profiles left out because {model} or the base gave no answer: {', '.join(dropped)}.")
    given = len(study.profiles) * len(study.inventory.items)
    found += [f"{who}: {count} of {given} item answers are missing." for who, count in study.missing.items() if count]
    return found


def page(study: Study) -> Iterator[str]:
    """Lines of report.md."""
    yield f"# Consistency of {', '.join(study.models)} with {study.base}\n"
    yield f"- Protocol: {protocol(study)}."
    yield f"- {IDENTICAL}; each item is paired with an image drawn by a hash of seed, profile and item."
    yield "- ICC(3,1), single measure, consistency; 95 % interval from the F distribution. 1 = the same scores but for a constant; 0 = unrelated."
    if study.inventory.notice:
        yield f"- **{study.inventory.notice}.**"
    yield "\n## Agreement with the language model, as in the paper's table 4\n"
    yield from _markdown(headings(study), rows(study))
    if any(study.paper(model) for model in study.models):
        yield f"\n{PAPER_SETTING}"
    yield "\n## Do they react to the profiles at all?\n"
    yield (
        "Scores are on 1 to 10. SD over profiles; r is the correlation of the score with the profile's own trait; shuffled is the mean ICC with the model's profiles "
        "permuted [95 % of permutations], which should be about 0; other images is the ICC of the model with itself on another draw of images.\n"
    )
    yield from _markdown([column.replace("|", "\\|") for column in REACTIONS], reactions(study))
    if study.differences:
        yield "\n## Paired differences of ICC\n"
        yield "The same profiles on both sides; 95 % interval by bootstrap over profiles; * = without 0.\n"
        yield from _markdown(["Model", "minus", *(trait[0].upper() for trait in BIG_FIVE)], differences(study))
    if noticed := remarks(study):
        yield "\n## To be kept in mind\n"
        yield from (f"- {remark}" for remark in noticed)
    yield "\n## Versions\n"
    yield from (f"- {who}: `{version}`" for who, version in study.versions.items())


def reactions(study: Study) -> list[list[str]]:
    """Cells of the columns `REACTIONS`, one row per model and trait."""
    found = []
    for model in study.models:
        for own in study.agreements[model]:
            low, high = own.shuffled_range
            shuffled = f"{_shown(own.shuffled, 2)} [{low:.2f}, {high:.2f}]" if math.isfinite(low) else ""
            numbers = [_shown(value, 2) for value in (own.base_spread, own.spread, own.gap, own.shift, own.base_follows, own.follows)]
            again = "not asked" if own.again is None else " ".join(_cells(own.again)).strip()
            found.append([model, own.trait[0].upper(), *numbers, shuffled, again])
    return found


def differences(study: Study) -> list[list[str]]:
    """Cells of the paired differences: model, minus, one per trait."""
    found = []
    for (one, other), gaps in study.differences.items():
        cells = [f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{'*' if gap.clear else ''}" if math.isfinite(gap.value) else "" for gap in gaps]
        found.append([one, other, *cells])
    return found


def summary(study: Study) -> dict[str, object]:
    """Everything but the scores, ready for JSON; numbers that are not defined are None."""
    models = {}
    for model in study.models:
        paper = study.paper(model)
        models[model] = {
            own.trait: {
                "icc": _icc(own.icc),
                "paper": None if paper is None else dict(zip(("value", "low", "high"), paper[own.trait], strict=True)),
                "mean_absolute_difference": _number(own.gap),
                "mean_difference": _number(own.shift),
                "sd_base": _number(own.base_spread),
                "sd": _number(own.spread),
                "r_base": _number(own.base_follows),
                "r": _number(own.follows),
                "shuffled": _number(own.shuffled),
                "shuffled_low": _number(own.shuffled_range[0]),
                "shuffled_high": _number(own.shuffled_range[1]),
                "other_images": None if own.again is None else _icc(own.again),
            }
            for own in study.agreements[model]
        }
    gaps = [
        {"model": one, "minus": other, "trait": trait, "value": _number(gap.value), "low": _number(gap.low), "high": _number(gap.high)}
        for (one, other), found in study.differences.items()
        for trait, gap in zip(BIG_FIVE, found, strict=True)
    ]
    facts = {"base": study.base, "profiles": len(study.profiles), "inventory": study.inventory.name, "notice": study.inventory.notice}
    facts |= {"protocol": protocol(study), "seed": study.seed, "models": models, "differences": gaps}
    return facts | {"missing": dict(study.missing), "versions": dict(study.versions), "remarks": remarks(study)}


def write(study: Study, folder: str | os.PathLike) -> list[Path]:
    """Write report.md and consistency.csv (profile, model, trait, score, and the profile's own trait); returns their paths. For the picture see `draw`.

    Raises:
        BeholderError: the folder cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text("\n".join(page(study)) + "\n", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise BeholderError(f"{folder} cannot be written to: {error.strerror or error}; choose another place with --out") from None
    write_table(folder / TABLE, _scores(study), columns=["profile", "model", "trait", "score", "profile_trait"])
    return [folder / PAGE, folder / TABLE]


def draw(study: Study, path: str | os.PathLike) -> Path:
    """Small multiples, one row per model and one column per trait: its scores against the language model's, one dot per profile.

    Args:
        path: of the picture; its ending says the kind (.png, .svg, .pdf).

    Raises:
        MissingExtra: matplotlib is not installed.
        BeholderError: the picture cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", extra="eval", purpose="drawing the scores") from None
    lines, columns = len(study.models), len(BIG_FIVE)
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}):
        figure = Figure(figsize=(2.5 * columns, 2.6 * lines + 0.8), layout="constrained")
        axes = np.atleast_1d(figure.subplots(lines, columns, squeeze=False))
        for line, model in enumerate(study.models):
            for column, own in enumerate(study.agreements[model]):
                axis, x, y = axes[line, column], study.base_scores[:, column], study.scores[model][:, column]
                axis.scatter(x, y, s=7, alpha=0.5, linewidths=0, color=_COLOURS[line % len(_COLOURS)])
                shown = np.concatenate([x, y])[np.isfinite(np.concatenate([x, y]))]
                if len(shown):
                    margin = 0.05 * (float(np.ptp(shown)) or 1.0)
                    ends = (float(shown.min()) - margin, float(shown.max()) + margin)
                    axis.plot(ends, ends, color="black", linewidth=0.8, linestyle=":")
                    axis.set_xlim(ends)
                    axis.set_ylim(ends)
                axis.set_aspect("equal")
                axis.set_title(f"{own.trait}\nICC {own.icc if not own.icc.reason else 'not defined'}", loc="left", fontsize=8)
                axis.grid(linewidth=0.4, alpha=0.5)
                axis.tick_params(labelsize=7)
                if line == lines - 1:
                    axis.set_xlabel("language model", fontsize=8)
            axes[line, 0].set_ylabel(model, fontsize=9)
        notice = f" {_sentence(study.inventory.notice)}" if study.inventory.notice else ""
        figure.suptitle(textwrap.fill(f"{_sentence(protocol(study))}{notice} Dotted: equal scores.", 170), fontsize=8, x=0.01, ha="left")
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise BeholderError(f"{path} cannot be written: {error}; choose another place, ending in .png, .svg or .pdf") from None
    return Path(path)


def _scores(study: Study) -> Iterator[dict[str, object]]:
    everybody = [(study.base, study.base_scores), *study.scores.items(), *((f"{one}, other images", scores) for one, scores in study.again.items())]
    for model, scores in everybody:
        for number, (profile, row) in enumerate(zip(study.profiles, scores, strict=True), start=1):
            for trait, score in zip(BIG_FIVE, row, strict=True):
                cell = round(float(score), 6) if math.isfinite(score) else ""
                yield {"profile": number, "model": model, "trait": trait, "score": cell, "profile_trait": getattr(profile, trait)}


def _cells(icc: ICC) -> list[str]:
    return ["not defined", ""] if icc.reason else [f"{icc.value:.3f}", f"[{icc.low:.3f}, {icc.high:.3f}]"]


def _markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    yield from (f"| {' | '.join(line)} |" for line in lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _shown(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _icc(icc: ICC) -> dict[str, object]:
    facts = {"value": _number(icc.value), "low": _number(icc.low), "high": _number(icc.high), "n": icc.n, "dropped": icc.dropped}
    return facts | ({"reason": icc.reason} if icc.reason else {})
