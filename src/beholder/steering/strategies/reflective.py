"""Reflective search: the writer is told why a prompt got its reward and rewrites it, one prompt at a time, with GEPA's evolution around it.

GEPA (Agrawal et al. 2025, "Reflective Prompt Evolution Can Outperform Reinforcement Learning") keeps a pool of prompts, draws the next parent from
those that are best for the reward or for one of the raters, and lets a rewrite in if its reward is above that of its parent. To use it on prompts of
images, and the words below, are ours; the PAMELA paper uses the search of `mils`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from beholder.errors import MissingExtra
from beholder.steering.base import CallFailed
from beholder.steering.prompt_list import parse_one

try:  # when the strategy is named, before anything is rendered
    import gepa
except ImportError as error:
    raise MissingExtra("gepa", extra="t2i", purpose="the strategy reflect") from error
if TYPE_CHECKING:
    from beholder.steering.trial import Candidate, SteerConfig, Trial

BARREN = 10  # reflections in a row without a prompt that can be tried: the writer has no more
SHOWN = 10  # most prompts told beside the parent, the best of all
FAILED = -1.0  # reward of a prompt without an image, below everything that can be reached
PART = "prompt"  # GEPA's name for the one text there is
PENALTIES = {"drift": "it says something else than the goal", "unfaithful": "the image does not show what the goal says"}


def run(trial: Trial, *, goal: str, config: SteerConfig) -> None:
    """Search until iterations x per_iteration prompts were tried, the budget is spent, or the writer gives nothing new.

    Raises:
        BeholderError: the writer cannot reflect, and whatever `Trial` raises.
    """
    adapter = _Adapter(trial, goal=goal, config=config)
    gepa.optimize(
        {PART: goal},
        trainset=[goal],
        adapter=adapter,
        frontier_type="objective",
        skip_perfect_score=False,  # a reward of 1 is no end: raters have scales of their own
        reflection_minibatch_size=1,
        stop_callbacks=lambda state: adapter.finished,
        logger=_Silent(),
        seed=config.seed,
        track_best_outputs=False,
    )
    if adapter.error is not None:
        raise adapter.error


class _Silent:
    """GEPA logs by printing; the run folder has all of it."""

    def log(self, message: str) -> None:
        pass


class _Adapter:
    """What GEPA asks for: rewards of prompts, what to tell of them, and rewrites."""

    def __init__(self, trial: Trial, *, goal: str, config: SteerConfig) -> None:
        self._trial, self._goal, self._config = trial, goal, config
        self._known: dict[str, Candidate | None] = {goal: None if math.isnan(trial.start.reward) else trial.start}
        self._tried = self._reflections = self._barren = 0
        self._unusable = ""  # the latest rewrite that could not be tried
        self.error: Exception | None = None

    @property
    def finished(self) -> bool:
        enough = self._tried >= self._config.iterations * self._config.per_iteration
        return self.error is not None or enough or self._barren >= BARREN or self._trial.images_left < self._config.images_per_prompt

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """The reward of a prompt that was tried, and each rater's score as an aim of its own: GEPA may go on from the favourite of any of them."""
        found = self._known[candidate[PART]]
        aims = {"reward": FAILED if found is None else found.reward}
        aims |= {} if found is None else {name: value for name, value in found.parts.items() if _is_rater(name) and math.isfinite(value)}
        n = len(batch)
        return gepa.EvaluationBatch([found] * n, [aims["reward"]] * n, trajectories=[found] * n, objective_scores=[aims] * n)

    def make_reflective_dataset(self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]) -> dict[str, list[dict[str, str]]]:
        return {PART: [{"Feedback": _feedback(self._known[candidate[PART]])}]}

    def propose_new_texts(
        self, candidate: dict[str, str], reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]], components_to_update: list[str]
    ) -> dict[str, str]:
        """One rewrite that was tried; {} if the answer held none that can be.

        GEPA would swallow errors raised here and go on: they are kept, and end the search.
        """
        try:
            text = self._reflect(candidate[PART], reflective_dataset[PART][0]["Feedback"])
            return {PART: text} if text else {}
        except Exception as error:
            self.error = error
            return {}

    def _reflect(self, parent: str, feedback: str) -> str:
        """The new prompt, rendered and judged; "" if there is none."""
        self._reflections += 1
        question = _question(
            self._goal, parent=parent, feedback=feedback, best=self._best(), unusable=self._unusable, max_words=self._config.max_words
        )
        self._barren += 1
        try:
            written = parse_one(self._trial.complete(question, self._reflections))
        except CallFailed as error:
            if error.kind == "unreachable":
                raise
            return ""
        found = self._trial.try_out([written], 1 + self._tried // self._config.per_iteration) if written else []
        new = bool(found) and found[0].prompt not in self._known
        self._unusable = "" if new else written
        if not new:
            return ""
        self._known[found[0].prompt] = found[0]
        self._tried, self._barren = self._tried + 1, 0
        return found[0].prompt

    def _best(self) -> list[Candidate]:
        known = [one for one in self._known.values() if one is not None]
        return sorted(known, key=lambda one: -one.reward)[: min(SHOWN, self._config.keep)]


def _is_rater(part: str) -> bool:
    return part.startswith("rater ")


def _feedback(found: Candidate | None) -> str:
    """The reward and what it is made of, one thing a line. Raters are numbered: whoever answers need not learn their names."""
    if found is None:
        return "No image of it could be made or rated."
    lines = [f"Rating: {found.reward:.3f} (higher is better)"]
    raters = [value for name, value in found.parts.items() if _is_rater(name)]
    lines += [f"- rater {number}: {value:.3f}, on a scale from 0 to 1" for number, value in enumerate(raters, start=1)]
    for name, value in found.parts.items():
        if value and not _is_rater(name):
            why = f" because {PENALTIES[name]}" if name in PENALTIES else ""
            lines.append(f"- taken off{why} ({name}): {abs(value):.3f}")
    return "\n".join(lines)


def _question(goal: str, *, parent: str, feedback: str, best: Sequence[Candidate], unusable: str, max_words: int) -> str:
    text = (
        f"You improve a prompt for a text-to-image model, one step at a time. People with tastes of their own rate the image it makes.\n\n"
        f"Goal: {goal}\n\nThe prompt to improve: {parent}\n{feedback}\n"
    )
    if best:
        text += "\nThe best up to now, with their ratings:\n" + "\n".join(f"{one.reward:.3f}: {one.prompt}" for one in best) + "\n"
    if unusable:
        text += f"\nYour last answer could not be used, as it was too long, too like an earlier one, or made no image: {unusable}\n"
    return text + (
        "\nSay briefly what the better ones have in common and what holds this prompt back. Then rewrite it so that its image is rated higher. "
        f"It has to show the subject of the goal, have fewer than {max_words} words, and be none of the prompts above. End with one line of this form:\n"
        "PROMPT: the new prompt"
    )
