"""The page of Markdown that a report is read as."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from beholder.evaluation.controls import SHUFFLED_IMAGES
from beholder.evaluation.metrics import METRICS, Estimate
from beholder.evaluation.repeats import FEWEST

if TYPE_CHECKING:
    from beholder.evaluation.report import Report

_TABLES = ("srocc", "plcc", "personal_r", "personal_r_rater_means_kept", "pairwise", "pairwise_within_group", "choice_accuracy")
_TABLES += ("mae", "r2", "coverage", "width")
_DIFFERENCES = ("srocc", "r2", "personal_r", "personal_r_rater_means_kept", "mae", "choice_accuracy")
_TESTED = ("srocc", "plcc", "personal_r", "personal_r_rater_means_kept")


def page(report: Report) -> Iterator[str]:
    """Its lines: what was run, one table per measure (scorers x N), paired differences, tests across repeats, warnings and notes."""
    evaluations = [row.evaluation for row in report.rows]
    n_raters = sorted({len(evaluation.raters) for evaluation in evaluations})
    n_answers = sorted({evaluation.n_answers for evaluation in evaluations})
    yield f"# {report.dataset.name}: {len({row.scorer for row in report.rows if not row.control_of})} scorers\n"
    yield f"- Protocol: {report.protocol}."
    yield f"- Scorers {'trained on the training ratings of each fold' if report.fitted else 'as shipped, not trained on this dataset'}."
    for key in dict.fromkeys(report.features.values()):
        yield f"- Features of {', '.join(name for name, own in report.features.items() if own == key)}: `{key}`."
    yield (
        f"- {_range(n_raters)} test raters, {_range(n_answers)} query ratings in {len(report.folds)} folds, seeds {_range(report.seeds)}, "
        f"scale {report.dataset.scale}; N = support ratings (or choices) given."
    )
    if report.averages_repeats:
        yield (
            f"- Per rater, then mean over the draws of query images, the {_range(report.n_tests)} raters of a repeat and the "
            f"{len(report.folds)} repeats, ± standard deviation over repeats."
        )
    yield (
        f"- Mean over raters [95 % interval, {report.draws} bootstrap resamples of the raters]. Undefined correlations "
        "(constant predictions, or none at all) count as 0, an undefined R2 (constant ratings) does not count; *u* is how many query sets, "
        "of all raters, folds, draws and permutations, had none. Controls are marked."
    )
    dropped = [f"{row.label} (N = {row.shots}) {row.evaluation.n_dropped}" for row in report.rows if row.evaluation.n_dropped]
    if dropped:
        yield f"- Query ratings or choices without a prediction, left out: {', '.join(dropped)}."
    yield (
        "- Personal r: one correlation over all query pairs after image means and rater means are removed from predictions and ratings, "
        "0 for any scorer that treats all raters alike; its interval resamples raters with these residuals as they are. With rater means "
        "kept, only image means are removed: severity counts, too.\n"
    )
    for warning in report.warnings:
        yield f"**Warning: {warning}.**\n"
    for metric in _TABLES:
        if any(metric in evaluation.estimates for evaluation in evaluations):
            label, higher = METRICS[metric]
            direction = {True: " (higher is better)", False: " (lower is better)", None: " (should be 0.90)"}[higher]
            yield f"## {label}{direction}\n"
            yield from _table(report, metric)
    gaps = report.differences()
    few = report.shots == (0,)  # one column: then there is room for every comparison
    differences = [gap for gap in gaps if gap["metric"] in _DIFFERENCES and (few or not gap["minus"].endswith(SHUFFLED_IMAGES))]
    if differences:
        yield "## Paired differences\n"
        yield "The same raters on both sides; an interval without 0 is marked with *.\n"
        yield "| scorer | minus | measure | " + " | ".join(f"N = {n}" for n in report.shots) + " |"
        yield "|---|---|---|" + "---|" * len(report.shots)
        cells: dict[tuple, dict[int, str]] = {}
        for gap in differences:
            clear = "*" if gap["low"] > 0 or gap["high"] < 0 else ""
            cells.setdefault((gap["scorer"], gap["minus"], gap["metric"]), {})[gap["shots"]] = (
                f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]{clear}"
            )
        for (ours, theirs, metric), found in cells.items():
            yield f"| {ours} | {theirs} | {METRICS[metric][0]} | " + " | ".join(found.get(n, "") for n in report.shots) + " |"
        yield ""
    yield from _tests(report, gaps)
    if report.notes:
        yield "## Notes\n"
        yield from (f"- {note}" for note in report.notes)
        yield ""
    if report.dataset.citation:
        yield f"Data: {report.dataset.citation}" + (f" ({report.dataset.licence})" if report.dataset.licence else "")


def _table(report: Report, metric: str) -> Iterator[str]:
    yield "| scorer | " + " | ".join(f"N = {n}" for n in report.shots) + " |"
    yield "|---|" + "---|" * len(report.shots)
    lines: dict[str, dict[int, Estimate]] = {}
    for row in report.rows:
        if metric in row.evaluation.estimates:
            lines.setdefault(row.label, {})[row.shots] = row.evaluation.estimates[metric]
    for label, found in lines.items():
        yield f"| {label} | " + " | ".join(_cell(report, found.get(n)) for n in report.shots) + " |"
    yield ""


def _cell(report: Report, estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    undefined = f" *u {estimate.n_undefined}*" if estimate.n_undefined and math.isfinite(estimate.value) else ""
    return estimate_text(estimate, spread=report.averages_repeats) + undefined


def _tests(report: Report, gaps: Sequence[dict]) -> Iterator[str]:
    """Tests across repeats, if there are enough of them."""
    tested = [gap for gap in gaps if gap["metric"] in _TESTED and gap.get("repeats", 0) >= FEWEST]
    if not tested:
        return
    yield "## Across repeats\n"
    yield (
        "Differences of the repeats' numbers, ± their standard deviation. The t test is corrected for what the repeats share (Nadeau & "
        "Bengio 2003); Wilcoxon's test is not, so it is too sure.\n"
    )
    yield "| scorer | minus | N | measure | difference | t test | Wilcoxon |"
    yield "|---|---|---|---|---|---|---|"
    for gap in tested:
        tests = [f"p = {gap[name]:.3g}" if math.isfinite(gap[name]) else "-" for name in ("p_t", "p_wilcoxon")]
        yield (
            f"| {gap['scorer']} | {gap['minus']} | {gap['shots']} | {METRICS[gap['metric']][0]} | {gap['value']:+.3f} ± {gap['std']:.3f} "
            f"| {tests[0]} | {tests[1]} |"
        )
    yield ""


def estimate_text(estimate: Estimate, *, spread: bool) -> str:
    """Value, standard deviation over repeats if `spread` (and if there is one), interval."""
    if not math.isfinite(estimate.value):
        return "-"
    over = f" ± {estimate.std:.3f}" if spread and math.isfinite(estimate.std) else ""
    return f"{estimate.value:.3f}{over} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _range(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) if values else "none"
