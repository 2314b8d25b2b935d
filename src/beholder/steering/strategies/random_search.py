"""The same calls as MILS with nothing fed back: what the feedback is worth is the difference. Ours."""

from __future__ import annotations

from beholder.steering.trial import SteerConfig, Trial


def run(trial: Trial, *, goal: str, config: SteerConfig) -> None:
    """Until the iterations or the budget are spent."""
    for iteration in range(1, config.iterations + 1):
        n = min(config.per_iteration, trial.prompts_left)
        if not n:
            break
        trial.try_out(trial.write(n, [], call=iteration), iteration)
