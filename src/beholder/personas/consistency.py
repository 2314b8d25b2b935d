"""Is a P-MLLM still the person that its language model is? Trait scores of both for the same profiles, and how well they agree (P-MLLM, sections 4.2 and 4.4.2).

Base and models read the same text, whatever prompt the models were trained with: the chat layout of the language model, and the profile in one format. The models
see a random image with each item. Agreement alone can mislead: models that react to no profile may agree by a fixed answer per trait, or not at all by noise. So
the spread over profiles, the correlation with the profiles' own traits, shuffled profiles and other images stand beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from beholder.errors import BeholderError
from beholder.personas.fitness import target_profiles, traits
from beholder.personas.icc import FEWEST, ICC, Difference, icc31, paired_difference
from beholder.personas.ledger import Ledger, Respondent, answered
from beholder.personas.prompts import LevelFormat, PersonaFormat, reduced, render
from beholder.profile import BIG_FIVE, Profile

if TYPE_CHECKING:
    from beholder.datasets.base import Dataset
    from beholder.personas.inventory import Inventory

PERMUTATIONS = 100
# P-MLLM (arXiv 2604.17233), table 4: trait -> ICC and its interval
PAPER = {
    "pmllm-s": {
        "openness": (0.806, 0.77, 0.84),
        "conscientiousness": (0.850, 0.82, 0.88),
        "extraversion": (0.678, 0.62, 0.73),
        "agreeableness": (0.681, 0.62, 0.73),
        "neuroticism": (0.641, 0.57, 0.70),
    },
    "pmllm": {
        "openness": (0.903, 0.88, 0.92),
        "conscientiousness": (0.870, 0.84, 0.89),
        "extraversion": (0.787, 0.74, 0.82),
        "agreeableness": (0.721, 0.67, 0.77),
        "neuroticism": (0.656, 0.59, 0.71),
    },
}
Steps = Callable[[int, int, str], None]  # answers given, of how many, who is asked


@dataclass(frozen=True)
class Agreement:
    """A model and its base on one trait, over the profiles; numbers are nan where they are not defined.

    Args:
        icc: of the two scores.
        gap: mean absolute difference of the scores, 0 to 9. shift: mean of model - base.
        base_spread, spread: standard deviations over profiles; near 0, the profile makes no difference.
        base_follows, follows: correlations with the profile's own trait.
        shuffled: mean ICC over permutations of the model's profiles, which should be about 0; `shuffled_range` holds 95 % of them.
        again: ICC of the model and itself with other images; None if it was not asked again.
    """

    trait: str
    icc: ICC
    gap: float
    shift: float
    base_spread: float
    spread: float
    base_follows: float
    follows: float
    shuffled: float
    shuffled_range: tuple[float, float]
    again: ICC | None = None


@dataclass(frozen=True)
class Study:
    """What a consistency study found. Scores are [n, 5], traits in the order of `BIG_FIVE`, 1 to 10, nan where no item of a trait was answered.

    Args:
        base: name of the language model.
        base_scores: of it.
        scores: label of a model -> its scores.
        again: label -> its scores with other images.
        kinds: label -> "pmllm" or "pmllm-s": which column of the paper's table stands beside it.
        profiles: [n] Big Five alone.
        inventory: what was asked.
        seed: of shuffling and resampling.
        missing: who -> item answers that were not given, of all.
        versions: who -> version.
        setting: what else a reader must know of how it was done, one clause each.
    """

    base: str
    base_scores: np.ndarray
    scores: Mapping[str, np.ndarray]
    profiles: tuple[Profile, ...]
    inventory: Inventory
    again: Mapping[str, np.ndarray] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    setting: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.scores)

    def paper(self, model: str) -> Mapping[str, tuple[float, float, float]] | None:
        """The paper's numbers for a model of this kind; None if it has none."""
        return PAPER.get(self.kinds.get(model, model))

    @functools.cached_property
    def agreements(self) -> dict[str, tuple[Agreement, ...]]:
        """Model -> one per trait."""
        return {model: tuple(self._agreement(model, place) for place in range(len(BIG_FIVE))) for model in self.models}

    @functools.cached_property
    def differences(self) -> dict[tuple[str, str], tuple[Difference, ...]]:
        """(model, other) -> ICC of the one with the base minus that of the other, per trait; every pair, in the order given."""
        pairs = [(one, other) for i, one in enumerate(self.models) for other in self.models[i + 1 :]]
        places = range(len(BIG_FIVE))
        return {
            (one, other): tuple(
                paired_difference(self.base_scores[:, i], self.scores[one][:, i], self.scores[other][:, i], seed=self.seed) for i in places
            )
            for one, other in pairs
        }

    def _agreement(self, model: str, place: int) -> Agreement:
        base, own = self.base_scores[:, place], self.scores[model][:, place]
        target = traits(self.profiles)[:, place]
        both = np.isfinite(base) & np.isfinite(own)
        difference = own[both] - base[both]
        shuffled = self._shuffled(base, own)
        again = self.again.get(model)
        return Agreement(
            trait=BIG_FIVE[place],
            icc=icc31(base, own),
            gap=_mean(np.abs(difference)),
            shift=_mean(difference),
            base_spread=_spread(base),
            spread=_spread(own),
            base_follows=_correlation(base, target),
            follows=_correlation(own, target),
            shuffled=_mean(shuffled),
            shuffled_range=tuple(np.quantile(shuffled, (0.025, 0.975)).tolist()) if len(shuffled) else (np.nan, np.nan),
            again=None if again is None else icc31(own, again[:, place]),
        )

    def _shuffled(self, base: np.ndarray, own: np.ndarray) -> np.ndarray:
        """ICC with the model's profiles permuted; those that are defined."""
        random = np.random.default_rng([self.seed, 1])
        values = np.array([icc31(base, own[random.permutation(len(own))]).value for _ in range(PERMUTATIONS)])
        return values[np.isfinite(values)]


def study(
    base: Respondent,
    others: Mapping[str, Respondent],
    *,
    profiles: Sequence[Profile],
    inventory: Inventory,
    style: str | PersonaFormat | LevelFormat,
    ledger: Ledger,
    again: Mapping[str, Respondent] | None = None,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    setting: Sequence[str] = (),
    chunk: int | None = None,
    progress: Steps | None = None,
) -> Study:
    """Ask everybody everything, as every profile; what the ledger knows is not asked again.

    Args:
        base: the language model.
        others: label -> a model made of it.
        profiles: of each the Big Five are used, and nothing else.
        style: for `render`; the same for all.
        again: label -> the same model with other images.
        kinds, seed, setting: see `Study`.
        chunk: see `ledger.answered`.
        progress: called with (answers given, of how many, who is asked).

    Raises:
        BeholderError: fewer than 3 profiles, a profile without all five traits, nobody to compare, or labels that do not fit.
    """
    again = again or {}
    if not others:
        raise BeholderError("there is no model to compare with the base: give at least one")
    if base.name in others or not set(again) <= set(others):
        raise BeholderError(f"the labels {', '.join([base.name, *others, *again])} do not fit: each model needs one of its own, and the same with other images")
    if len(profiles) < FEWEST:
        raise BeholderError(f"{len(profiles)} profiles are too few for an agreement: give {FEWEST} or more")
    if any(getattr(profile, trait) is None for profile in profiles for trait in BIG_FIVE):
        raise BeholderError(f"a profile lacks one of {', '.join(BIG_FIVE)}: leave it out")
    profiles = tuple(reduced(profile, "T") for profile in profiles)
    personas = [render(profile, style=style) for profile in profiles]
    asked = [(base.name, base), *others.items(), *((f"{label}, other images", one) for label, one in again.items())]
    each = len(set(personas)) * len(inventory.items)
    scores, missing, versions = {}, {}, {}
    for place, (label, respondent) in enumerate(asked):
        given = answered(
            respondent, inventory, personas, ledger=ledger, chunk=chunk, progress=_part(progress, label, before=place * each, total=len(asked) * each)
        )
        scores[label] = inventory.trait_scores(given)
        missing[label], versions[label] = int(np.isnan(given).sum()), respondent.version
    return Study(
        base=base.name,
        base_scores=scores[base.name],
        scores={label: scores[label] for label in others},
        again={label: scores[f"{label}, other images"] for label in again},
        kinds=dict(kinds or {}),
        profiles=profiles,
        inventory=inventory,
        seed=seed,
        missing=missing,
        versions=versions,
        setting=tuple(setting),
    )


def sampled_profiles(dataset: Dataset, n: int, *, seed: int = 0) -> tuple[Profile, ...]:
    """The Big Five of n raters of a dataset, drawn without replacement among those of whom all five are known.

    Raises:
        BeholderError: there are fewer such raters.
    """
    whole = [profile for profile in dataset.profiles if all(getattr(profile, trait) is not None for trait in BIG_FIVE)]
    if len(whole) < n:
        raise BeholderError(
            f"{dataset.name} has {len(whole)} raters with all of the Big Five, {n} profiles were asked for: ask for fewer, or leave the dataset out for made-up ones"
        )
    chosen = np.sort(np.random.default_rng([seed, 2]).choice(len(whole), size=n, replace=False))
    return tuple(reduced(whole[place], "T") for place in chosen)


def made_up_profiles(n: int, *, seed: int = 0) -> tuple[Profile, ...]:
    """Whole numbers 1 to 10 of the Big Five, each equally often, the traits nearly uncorrelated; see `fitness.target_profiles`."""
    return target_profiles(n, seed=seed)


def _part(progress: Steps | None, label: str, *, before: int, total: int) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, of: progress(before + done, total, f"asking {label}")


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _spread(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _correlation(score: np.ndarray, target: np.ndarray) -> float:
    """nan where the target does not vary; 0 where the score does not: it follows nothing."""
    there = np.isfinite(score)
    score, target = score[there], target[there]
    if len(score) < FEWEST or np.ptp(target) == 0:
        return float("nan")
    return float(np.corrcoef(score, target)[0, 1]) if np.ptp(score) > 1e-9 else 0.0
