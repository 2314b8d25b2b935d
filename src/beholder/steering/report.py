"""The page of a run: what was asked, what was found, every image tried with its reward. One HTML file beside the images; no script, no network."""

from __future__ import annotations

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from beholder.steering.page import facts, line_chart, page, table, write
from beholder.steering.run_folder import REPORT, RunFolder

GAMED_RISE, GAMED_FALL = 0.01, 0.02  # on 0..1 (ours): less than that is noise
_FAILURES = {"refused": "refused", "broken": "broken answer", "failed": "failed"}


@dataclass
class _Tried:
    """One prompt that was accepted, with what became of it."""

    prompt: str
    iteration: int
    why_not: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)
    judged: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # (image key, role)

    def mean(self, role: str) -> float:
        """Of its images; nan if none was judged."""
        values = [_number(one.get("reward")) for (_, its), one in self.judged.items() if its == role and not one.get("skipped")]
        values = [value for value in values if math.isfinite(value)]
        return math.fsum(values) / len(values) if values else math.nan


def write_report(run: RunFolder) -> Path:
    """Write report.html into the run's folder, for what there is up to now; returns its path.

    Raises:
        BeholderError: it cannot be written.
    """
    return write(run.folder / REPORT, page(f"Steering: {run.settings.get('goal', '')}", _body(run)))


def reward_hacking(iterations: list[dict[str, Any]]) -> str:
    """A warning in plain words if the reward went on rising after the scorer that looks on had been at its best; "" if not.

    Args:
        iterations: the events, in order; best_reward and best_hold_out of each are compared (the same prompt, seen by both).
    """
    known = [one for one in iterations if math.isfinite(_number(one.get("best_hold_out"))) and math.isfinite(_number(one.get("best_reward")))]
    if len(known) < 2:
        return ""
    peak, last = max(known, key=lambda one: one["best_hold_out"]), known[-1]
    rise, fall = last["best_reward"] - peak["best_reward"], peak["best_hold_out"] - last["best_hold_out"]
    if peak["number"] >= last["number"] or rise <= GAMED_RISE or fall <= GAMED_FALL:
        return ""
    return (
        f"since iteration {peak['number']} the reward of the best prompt rose by {rise:.3f} while the scorer that only looks on went down by {fall:.3f} "
        f"(from {peak['best_hold_out']:.3f} to {last['best_hold_out']:.3f}): the search may be pleasing the scorer instead of the person; look at the images, "
        f"and consider the prompt that was best then: {peak.get('best_prompt', '')}"
    )


def _body(run: RunFolder) -> Iterator[str]:
    settings, done = run.settings, run.get("done", "done") or {}
    tried = _tried(run)
    iterations = sorted(run.events("iteration"), key=lambda event: event["number"])
    start, best = _ends(done, iterations, tried)
    kept = done.get("kept") or []
    yield _head(settings, start=start, best=best)
    if not done.get("complete"):
        yield (
            '<p class="warning"><strong>This run is not finished.</strong> The page shows what there is up to now. The same <code>beholder steer</code> command with '
            f"<code>--out {escape(shlex.quote(str(run.folder)))}</code> goes on where it stopped; nothing that was answered is asked again.</p>"
        )
    warning = reward_hacking(iterations)
    if warning:
        yield f'<p class="warning"><strong>Warning:</strong> {escape(warning)}.</p>'
    yield from _side_by_side(start, best)
    yield from _curves(iterations, settings)
    yield from _grids(tried, {file for one in kept or [best] for file in one.get("images") or []})
    yield from _not_tried(run)
    counts = done.get("counts") or (iterations[-1].get("counts") if iterations else None)
    yield "<h2>Counts</h2>"
    yield facts((name.replace("_", " "), value) for name, value in counts.items() if value) if counts else '<p class="dim">Nothing was counted yet.</p>'
    if done.get("notes"):
        yield "<h2>Notes</h2><ul>" + "".join(f"<li>{escape(str(note))}</li>" for note in done["notes"]) + "</ul>"
    yield "<h2>Settings</h2>"
    yield facts((name.replace("_", " "), _said(value)) for name, value in settings.items())


def _tried(run: RunFolder) -> dict[str, _Tried]:
    """Accepted prompts in the order in which they came, with images and what judges said; also of an iteration that is not finished."""
    found: dict[str, _Tried] = {}
    for event in run.events("candidate"):
        if event.get("accepted"):
            found[event["prompt"]] = _Tried(event["prompt"], int(event.get("iteration") or 0), why_not=event.get("dropped") or "")
    by_key: dict[str, _Tried] = {}
    for event in run.events("image"):
        one = found.setdefault(event["prompt"], _Tried(event["prompt"], int(event.get("iteration") or 0)))
        one.images.append(event)
        by_key[event["key"]] = one
    for event in run.events("judged"):
        one = by_key.get(event.get("image", ""))
        if one is not None:
            one.judged[event["image"], event.get("role", "reward")] = event
    return found


def _ends(done: Mapping[str, Any], iterations: list[dict[str, Any]], tried: Mapping[str, _Tried]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The start and the best, as a finished run records them, else up to now: prompt, reward, hold_out, images; {} for what there is not."""
    if done.get("best"):
        return done.get("start") or {}, done["best"]
    start = next((one for one in tried.values() if one.iteration == 0), None)
    judged = [one for one in tried.values() if math.isfinite(one.mean("reward"))]
    best = tried.get((iterations[-1].get("best_prompt") or "") if iterations else "") or max(judged, key=lambda one: one.mean("reward"), default=None)
    return tuple({} if one is None else _as_candidate(one) for one in (start, best))


def _as_candidate(one: _Tried) -> dict[str, Any]:
    files = [image["file"] for image in one.images if image.get("file")]
    return {"prompt": one.prompt, "reward": one.mean("reward"), "hold_out": one.mean("hold_out"), "images": files}


def _head(settings: Mapping[str, Any], *, start: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    pairs: list[tuple[str, object]] = [("prompt asked for", settings.get("goal", ""))]
    if settings.get("pick"):
        pairs.append(("best of", f"{settings['pick'][0]} kept of {settings['pick'][1]} images of this prompt"))
    elif best:
        pairs.append(("best prompt", best["prompt"]))
    for name, label in (("reward", "reward"), ("hold_out", "judge that looks on")):
        before, after = (_number(one.get(name)) for one in (start, best))
        if math.isfinite(before) or math.isfinite(after):
            change = f" ({after - before:+.3f})" if math.isfinite(after - before) else ""
            pairs.append((label, f"{_shown(before)} at the start, {_shown(after)} at the end{change}"))
    pairs.append(("for", ", ".join(map(str, settings.get("raters") or [])) or "nobody in particular"))
    parts = (("judge", "maximised"), ("hold_out", "looks on"), ("writer", "writer"), ("generator", "generator"), ("seed", "seed"))
    pairs += [(label, settings[name]) for name, label in parts if settings.get(name) is not None]
    return facts(pairs)


def _side_by_side(start: Mapping[str, Any], best: Mapping[str, Any]) -> Iterator[str]:
    yield '<div class="two">'
    for name, one in (("Start", start), ("Best", best)):
        if one.get("images"):
            text = f"{name}, reward {_shown(_number(one.get('reward')))}: {one['prompt']}"
            yield f'<figure><figcaption>{escape(text)}</figcaption><img loading="lazy" src="{_link(one["images"][0])}" alt="{escape(text)}"></figure>'
    yield "</div>"


def _curves(iterations: list[dict[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
    if len(iterations) < 2:
        return
    x = [event["number"] for event in iterations]

    def of(name: str) -> list[float | None]:
        return [event.get(name) for event in iterations]

    reward = line_chart(
        x,
        {"best up to now": of("best_reward"), "mean of the iteration": of("reward_mean")},
        caption=f"Reward by iteration: {settings.get('judge') or 'the judge that is maximised'}",
        spoken=f"Reward by iteration: the best went from {_shown(_number(iterations[0].get('best_reward')))} to {_shown(_number(iterations[-1].get('best_reward')))}",
    )
    onlooker = line_chart(
        x,
        {"of the best prompt": of("best_hold_out"), "mean of the iteration": of("hold_out_mean")},
        caption=f"The judge that only looks on: {settings.get('hold_out') or ''}",
        spoken=f"Judge that looks on: the best prompt went from {_shown(_number(iterations[0].get('best_hold_out')))} to {_shown(_number(iterations[-1].get('best_hold_out')))}",
    )
    if reward or onlooker:
        yield f'<h2>Curves</h2><div class="two">{reward}{onlooker}</div>'
    yield from table(
        ["iteration", "best reward", "mean", "looking on (best)", "looking on (mean)", "images"],
        [
            [event["number"]]
            + [_shown(_number(event.get(name))) for name in ("best_reward", "reward_mean", "best_hold_out", "hold_out_mean")]
            + [event.get("images_made", "")]
            for event in iterations
        ],
        numbers=range(6),
    )


def _grids(tried: Mapping[str, _Tried], marked: Collection[str]) -> Iterator[str]:
    """A grid for each iteration, best first; what has no image or no reward comes last. marked: files of the best images."""
    groups: dict[int, list[_Tried]] = defaultdict(list)
    for one in tried.values():
        groups[one.iteration].append(one)
    for number, prompts in sorted(groups.items()):
        n = sum(bool(image.get("file")) for one in prompts for image in one.images)
        name = "The prompt as it was asked for" if number == 0 else f"Iteration {number}"
        count = f"{_count(len(prompts), 'prompt')}, {_count(n, 'image')}"
        yield f'<details class="block" open><summary><h2>{name}</h2> <span class="dim">{count}</span></summary><ul class="grid">'
        cells = [(one, image) for one in prompts for image in one.images or [None]]
        for one, image in sorted(cells, key=lambda cell: -_or_low(_reward_of(*cell))):
            yield from _cell(one, image, best=image is not None and image.get("file") in marked)
        yield "</ul></details>"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _reward_of(one: _Tried, image: Mapping[str, Any] | None) -> float:
    said = one.judged.get((image["key"], "reward")) if image else None
    return _number(said.get("reward")) if said and not said.get("skipped") else math.nan


def _cell(one: _Tried, image: Mapping[str, Any] | None, *, best: bool) -> Iterator[str]:
    if image is None:
        yield from _card("", score=math.nan, prompt=one.prompt, lines=[], best=best, why=one.why_not or "no image yet")
        return
    reward, onlooker = (one.judged.get((image["key"], role)) for role in ("reward", "hold_out"))
    lines = [f"seed {image.get('seed')}"] + (_parts(reward) if reward else [])
    if onlooker:
        lines.append(f"looking on: {onlooker['skipped'] if onlooker.get('skipped') else _shown(_number(onlooker.get('reward')))}")
    why = ""
    if not image.get("file"):
        kind = _FAILURES.get(image.get("kind_of_failure") or "", "no image")
        why = f"{kind}: {image.get('error') or 'no reason given'}"
    elif reward is None or reward.get("skipped"):
        lines.insert(0, f"not judged: {reward['skipped'] if reward else 'not yet'}")
    yield from _card(image.get("file") or "", score=_reward_of(one, image), prompt=one.prompt, lines=lines, best=best, why=why)


def _card(file: str, *, score: float, prompt: str, lines: list[str], best: bool, why: str = "") -> Iterator[str]:
    yield f'<li class="card{" best" if best else ""}">'
    if file:
        yield f'<img loading="lazy" src="{_link(file)}" alt="{escape(prompt)}" title="{escape(prompt)}">'
    else:
        yield f'<div class="none">{escape(why)}</div>'
    yield f'<details><summary><span class="score">{_shown(score)}</span><span class="text" title="{escape(prompt)}">{escape(prompt)}</span></summary>'
    yield "".join(f'<p class="dim">{escape(line)}</p>' for line in lines) + "</details></li>"


def _not_tried(run: RunFolder) -> Iterator[str]:
    rows = [[event.get("iteration", ""), event.get("why", ""), event.get("prompt", "")] for event in run.events("candidate") if not event.get("accepted")]
    rows += [[event.get("iteration", ""), f"writer: {event.get('kind_of_failure')}", event["error"]] for event in run.events("proposal") if event.get("error")]
    if rows:
        yield f'<details class="block"><summary><h2>Not tried</h2> <span class="dim">{len(rows)} proposals and calls without one</span></summary>'
        yield from table(["iteration", "why", "prompt or reason"], rows)
        yield "</details>"


def _parts(judged: Mapping[str, Any]) -> list[str]:
    return [f"{name} {_number(value) + 0.0:+.3f}" if name in ("drift", "unfaithful") else f"{name} {_shown(_number(value))}" for name, value in (judged.get("parts") or {}).items()]


def _link(file: str) -> str:
    return escape(quote(file))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _or_low(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _shown(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
