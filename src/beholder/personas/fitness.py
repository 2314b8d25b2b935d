"""How well a language model shows the traits that a profile format gives it: the fitness of P-MLLM's format search (arXiv 2604.17233, appendix B)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beholder.errors import BeholderError
from beholder.personas.ledger import Ledger, Progress, Respondent, answered
from beholder.personas.prompts import PersonaFormat, render
from beholder.profile import BIG_FIVE, Profile
from beholder.ratings import read_table

if TYPE_CHECKING:
    from beholder.personas.inventory import Inventory

LOW, HIGH = 1, 10  # of a trait
DRAWS = 200  # Latin hypercubes among which the least correlated one is taken


def target_profiles(n: int = 10, *, seed: int = 0) -> tuple[Profile, ...]:
    """Profiles of the Big Five alone, whole numbers 1 to 10, a Latin hypercube: with n = 10 every trait takes each value once.

    Of many such hypercubes it is the one whose traits are least correlated, so that a model that mixes up traits is found out.

    Raises:
        BeholderError: n is below 1.
    """
    if n < 1:
        raise BeholderError(f"{n} target profiles: give at least 1")
    values = LOW + np.floor((HIGH - LOW + 1) * (np.arange(n) + 0.5) / n).astype(int)
    rng = np.random.default_rng(seed)
    draws = [np.stack([rng.permutation(values) for _ in BIG_FIVE], axis=1) for _ in range(DRAWS if n > 2 else 1)]
    best = min(draws, key=_correlation) if n > 2 else draws[0]
    return tuple(Profile(**{trait: int(value) for trait, value in zip(BIG_FIVE, row, strict=True)}) for row in best)


def read_targets(path: str | os.PathLike) -> tuple[Profile, ...]:
    """Target profiles from a CSV file with the columns openness ... neuroticism, numbers 1 to 10; other columns are not read.

    Raises:
        BeholderError: the file cannot be read, a column is missing, or a value is not a number from 1 to 10; the message says where.
    """
    path = Path(path)
    rows = read_table(path, what="target profiles")
    if not rows:
        raise BeholderError(f"target profiles {path} has no rows: give at least one")
    missing = [trait for trait in BIG_FIVE if trait not in rows[0]]
    if missing:
        raise BeholderError(f"target profiles {path} has no column {missing[0]}: it needs the columns {', '.join(BIG_FIVE)}")
    return tuple(Profile(**{trait: _trait(row, trait, path=path) for trait in BIG_FIVE}) for row in rows)


@dataclass(frozen=True)
class Evaluation:
    """What a format does.

    Args:
        format: the format.
        mse: (target - measured)^2, mean over target profiles and traits on 1 to 10; lower is better; nan if no trait could be measured.
        r: correlation of target and measured over the profiles, mean over the traits; a trait measured the same in all counts as 0; nan if the targets
            do not vary.
        trait_mse: [5], in the order of `BIG_FIVE`.
        shuffled_mse: the same answers against the targets of each other profile; nan if there is no other. At or below `mse`, the answers do not follow
            the profiles.
        missing: item answers that were not given, of all.
        unmeasured: trait scores without any answer; they count as 5.5, the middle, in all means but r.
    """

    format: PersonaFormat
    mse: float
    r: float
    trait_mse: tuple[float, ...]
    shuffled_mse: float
    missing: int
    unmeasured: int


@dataclass(frozen=True)
class Controls:
    """MSE of a model that ignores the profile.

    Args:
        middle: every trait measured as 5.5.
        best_constant: every trait measured as the mean of its targets: the best that any constant answers can do.
    """

    middle: float
    best_constant: float

    @classmethod
    def of(cls, targets: Sequence[Profile]) -> Controls:
        values = traits(targets)
        return cls(middle=float(np.mean((values - (LOW + HIGH) / 2) ** 2)), best_constant=float(np.mean((values - values.mean(axis=0)) ** 2)))


class Fitness:
    """Formats -> MSE. Each format is evaluated once; the answers are in the ledger.

    Args:
        respondent: who answers.
        inventory: what is asked.
        targets: profiles of which all five traits are known, see `target_profiles`.
        ledger: where answers are kept.
        chunk: personas asked at once, and lost at most if the process is killed; see `ledger.answered`.
        progress: called with (item answers given, of how many) while formats are evaluated.

    Raises:
        BeholderError: there are no targets, or one lacks a trait.
    """

    def __init__(
        self,
        respondent: Respondent,
        inventory: Inventory,
        *,
        targets: Sequence[Profile],
        ledger: Ledger,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not targets or any(getattr(profile, trait) is None for profile in targets for trait in BIG_FIVE):
            raise BeholderError(f"target profiles need all of {', '.join(BIG_FIVE)}, and there must be one at least")
        self.respondent, self.inventory, self.targets = respondent, inventory, tuple(targets)
        self.ledger, self.chunk, self.progress = ledger, chunk, progress
        self.controls = Controls.of(targets)
        self._known: dict[PersonaFormat, Evaluation] = {}

    def __call__(self, formats: Sequence[PersonaFormat]) -> np.ndarray:
        """MSE of each format, [n_formats]; nan where no trait could be measured."""
        return np.array([one.mse for one in self.evaluate(formats)], dtype=float)

    def evaluate(self, formats: Sequence[PersonaFormat]) -> list[Evaluation]:
        """What each format does; only what is not known is asked."""
        new = [one for one in dict.fromkeys(formats) if one not in self._known]
        if new:
            # one profile after the other: its texts in several formats begin alike, which a respondent may use
            personas = [text for same in zip(*map(self.personas, new), strict=True) for text in same]
            answers = answered(self.respondent, self.inventory, personas, ledger=self.ledger, chunk=self.chunk, progress=self.progress)
            self._keep(new, answers.reshape(len(self.targets), len(new), -1).swapaxes(0, 1))
        return [self._known[one] for one in formats]

    def known(self, formats: Sequence[PersonaFormat]) -> list[Evaluation]:
        """Of these formats those that need no asking, because all their answers are in the ledger."""
        texts = {one: self.personas(one) for one in formats}
        found = self.ledger.known(self.respondent.version, self.inventory, [text for several in texts.values() for text in several])
        whole = [one for one in formats if all(text in found for text in texts[one])]
        if whole:
            self._keep(whole, np.stack([found[text] for one in whole for text in texts[one]]))
        return [self._known[one] for one in whole]

    def personas(self, one: PersonaFormat) -> list[str]:
        """The texts of all target profiles in a format."""
        return [render(profile, style=one) for profile in self.targets]

    def _keep(self, formats: Sequence[PersonaFormat], answers: np.ndarray) -> None:
        """answers: [n_formats * n_targets, n_items]."""
        answers = answers.reshape(len(formats), len(self.targets), -1)
        measured = self.inventory.trait_scores(answers)
        for one, given, scores in zip(formats, answers, measured, strict=True):
            self._known[one] = evaluation(one, targets=traits(self.targets), measured=scores, missing=int(np.isnan(given).sum()))


def traits(profiles: Sequence[Profile]) -> np.ndarray:
    """The Big Five, [n, 5], 1 to 10."""
    return np.array([[getattr(profile, trait) for trait in BIG_FIVE] for profile in profiles], dtype=float)


def evaluation(one: PersonaFormat, *, targets: np.ndarray, measured: np.ndarray, missing: int = 0) -> Evaluation:
    """Compare target and measured traits, both [n_profiles, 5] on 1 to 10; nan in `measured` counts as 5.5."""
    # a trait without an answer counts as the middle of the scale: no format gets better by being refused an answer
    counted = np.full_like(measured, np.nan) if np.isnan(measured).all() else np.where(np.isnan(measured), (LOW + HIGH) / 2, measured)
    errors = (targets - counted) ** 2
    n = len(targets)
    others = (targets[:, None] - counted[None]) ** 2  # [target, measured, trait]
    correlations = [_r(targets[:, place], measured[:, place]) for place in range(targets.shape[1])]
    return Evaluation(
        format=one,
        mse=_mean(errors),
        r=_mean(np.array(correlations)),
        trait_mse=tuple(_mean(errors[:, place]) for place in range(targets.shape[1])),
        shuffled_mse=_mean(others[~np.eye(n, dtype=bool)]),
        missing=missing,
        unmeasured=int(np.isnan(measured).sum()),
    )


def _r(target: np.ndarray, measured: np.ndarray) -> float:
    there = np.isfinite(measured)
    if there.sum() < 2 or np.ptp(target[there]) == 0:
        return float("nan")
    if np.ptp(measured[there]) < 1e-9:
        return 0.0
    return float(np.corrcoef(target[there], measured[there])[0, 1])


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")


def _correlation(rows: np.ndarray) -> float:
    """The largest correlation of two traits, without its sign."""
    return float(np.abs(np.corrcoef(rows.T) - np.eye(rows.shape[1])).max())


def _trait(row: dict[str, str], trait: str, *, path: Path) -> float:
    try:
        number = float(row[trait])
    except ValueError:
        number = float("nan")
    if not LOW <= number <= HIGH:
        raise BeholderError(
            f"target profiles {path} line {row['_line']}: {trait} = {row[trait]!r} is not a number from {LOW} to {HIGH}, the scale of traits: mend it"
        )
    return number
