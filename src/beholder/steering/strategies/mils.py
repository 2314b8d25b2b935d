"""MILS, as PAMELA uses it: a language model varies the prompt, and is shown the best of what it wrote before, with rewards.

Ashutosh et al. 2025, "LLMs can see and hear without any training"; PAMELA asks for 20 variants an iteration. MILS keeps the best 20 of the earlier
and the new prompts, and so does this. Ours: the goal itself is one of them from the second iteration on, so that the writer sees what it has to beat.
"""

from __future__ import annotations

from beholder.steering.trial import SteerConfig, Trial, best_first, shown


def run(trial: Trial, *, goal: str, config: SteerConfig) -> None:
    """Until the iterations or the budget are spent. The first call has an empty history: it is the same as in `random_search`."""
    pool = trial.candidates  # the goal, if it has a reward
    history = []
    for iteration in range(1, config.iterations + 1):
        n = min(config.per_iteration, trial.prompts_left)
        if not n:
            break
        prompts = trial.write(n, history, call=iteration)
        pool = best_first([*pool, *trial.try_out(prompts, iteration)])[: config.keep]
        history = shown(pool)
