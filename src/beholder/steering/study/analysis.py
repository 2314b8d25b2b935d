"""What the answers of a study say. Intervals are 95 %; the order of arms in print (own, other, unoptimised, then generic) is only a point of orientation.

Strengths are those of `bradley_terry`, twice: without and with a term for the side. Their intervals come from a bootstrap that draws raters and,
independently, prompts (ours): trials of one rater, or of one prompt, are not independent. They err on the wide side: where raters do not differ at all they
hold the truth nearly always, where they differ about as often as they say. Where a number cannot be had, `words` says why.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from beholder.evaluation.resampling import interval
from beholder.steering.study import bradley_terry
from beholder.steering.study.plan import GENERIC, OTHER, OWN, UNOPTIMISED, in_order
from beholder.steering.study.storage import SIDES, Study

LEVEL = 0.95
DRAWS = 1000
FEW = 20  # answers; below, every interval is so wide that it says little
FEW_RATERS = 5
_EXACT = 12  # units up to which all sign changes are tried
_BLOCK = 2_000_000  # numbers of a block of resamples, 16 MB


@dataclass(frozen=True)
class Outcome:
    """One answered trial; unit identifies the comparison, whose repetitions share it."""

    rater: str
    prompt: str
    left: str
    right: str
    chose_left: bool

    @property
    def unit(self) -> tuple[str, str, str, str]:
        return (self.rater, self.prompt, *sorted((self.left, self.right)))


@dataclass(frozen=True)
class Share:
    """n of which k; value = k / n, low and high a Wilson interval that takes trials as independent; nan if n is 0."""

    k: int
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Strength:
    """Of one arm, in points (mean 1000, 400 = odds of 10 : 1); beside: the same from the fit with a term for the side. nan if never shown."""

    arm: str
    points: float
    low: float
    high: float
    beside: float
    beside_low: float
    beside_high: float
    trials: int
    wins: int


@dataclass(frozen=True)
class Against:
    """How often `arm` was chosen over `other`.

    Args:
        p_trials: two-sided binomial test of one half over trials, as if these were independent.
        p_units: two-sided test by changes of sign over raters (prompts, if there is one rater only); the mean over units of (share - 1/2). nan
            with fewer than two units.
        n_units: how many raters (prompts) have compared the two.
    """

    arm: str
    other: str
    share: Share
    p_trials: float
    p_units: float
    n_units: int


@dataclass(frozen=True)
class Side:
    """The left side: how often it was chosen, the binomial test of one half, and what it is worth in points whichever arms are shown."""

    share: Share
    p: float
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class OfRater:
    """One rater: strengths by arm in points (bootstrap over this rater's prompts), the share of left, and how often own beat other."""

    rater: str
    planned: int
    answered: int
    strengths: tuple[Strength, ...]
    left: Share
    own_over_other: Share


@dataclass(frozen=True)
class Analysis:
    """Everything. units: what was drawn in the bootstrap; seconds: median of the answers that have some, nan if none."""

    planned: int
    answered: int
    units: str
    draws: int
    strengths: tuple[Strength, ...]
    pairs: tuple[Against, ...]
    own_tests: tuple[Against, ...]
    side: Side
    agreement: Share
    raters: tuple[OfRater, ...]
    seconds: float
    words: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is not defined is None."""
        return _plain(asdict(self))


def outcomes(study: Study) -> list[Outcome]:
    """The answered trials with their arms. Ends the blinding."""
    key, found = study.key, []
    for answer in study.answers():
        trial, arms = study.trials[answer.trial], key[answer.trial]
        found.append(Outcome(trial.rater, trial.prompt, arms.left, arms.right, answer.chosen == SIDES[0]))
    return found


def analyse_study(study: Study, *, draws: int = DRAWS, seed: int = 0) -> Analysis:
    """All of it, for the answers there are up to now."""
    planned: dict[str, int] = defaultdict(int)
    for trial in study.trials.values():
        planned[trial.rater] += 1
    arms = in_order([arm for one in study.key.values() for arm in (one.left, one.right)])
    seconds = [answer.seconds for answer in study.answers() if answer.seconds is not None]
    return analyse(outcomes(study), arms=arms, planned=planned, seconds=seconds, draws=draws, seed=seed)


def analyse(
    found: Sequence[Outcome], *, arms: Sequence[str], planned: Mapping[str, int], seconds: Sequence[float] = (), draws: int = DRAWS, seed: int = 0
) -> Analysis:
    """The same from outcomes.

    Args:
        arms: all that were planned. planned: rater -> number of trials.
        draws: of the bootstrap. seed: of these and of the tests by changes of sign.
    """
    units = _units_drawn(found)
    pairs = tuple(_against(found, a, b, seed=seed) for a, b in combinations(arms, 2))
    tests = tuple(_against(found, OWN, other, seed=seed) for other in (OTHER, GENERIC, UNOPTIMISED) if OWN in arms and other in arms)
    strengths, points, low, high = _strengths(found, arms, units=units, draws=draws, seed=seed)
    left = sum(one.chose_left for one in found)
    side = Side(_share(left, len(found)), _binomial(left, len(found)), points, low, high)
    of_raters = []
    for rater, n in planned.items():
        own = [one for one in found if one.rater == rater]
        own_strengths = _strengths(own, arms, units=_units_drawn(own), draws=draws, seed=seed)[0]
        own_left = _share(sum(one.chose_left for one in own), len(own))
        of_raters.append(OfRater(rater, n, len(own), own_strengths, own_left, _against(own, OWN, OTHER, seed=seed).share))
    return Analysis(
        planned=sum(planned.values()),
        answered=len(found),
        units=units,
        draws=draws,
        strengths=strengths,
        pairs=pairs,
        own_tests=tests,
        side=side,
        agreement=_agreement(found),
        raters=tuple(of_raters),
        seconds=float(np.median(seconds)) if len(seconds) else math.nan,
        words=tuple(_words(found, arms=arms, planned=planned, side=side, units=units)),
    )


def _units_drawn(found: Sequence[Outcome]) -> str:
    """What the bootstrap draws: both ways where there is more than one, else what there is."""
    raters, prompts = (len({getattr(one, name) for one in found}) > 1 for name in ("rater", "prompt"))
    return "raters and prompts" if raters and prompts else "raters" if raters else "prompts" if prompts else "trials"


def _strengths(found: Sequence[Outcome], arms: Sequence[str], *, units: str, draws: int, seed: int) -> tuple[tuple[Strength, ...], float, float, float]:
    """Of every arm; and the side's points, low, high."""
    n = len(arms)
    wins, shown = _counts(found, arms, units=units)
    total_wins, total_shown = wins.sum((0, 1)), shown.sum((0, 1))
    drawn_wins, drawn_shown = _resampled(wins, shown, draws=draws, seed=seed)
    fits = []
    for with_side in (False, True):
        value, side = bradley_terry.fit(total_wins[None], total_shown[None], n_arms=n, side=with_side)
        samples, sides = bradley_terry.fit(drawn_wins, drawn_shown, n_arms=n, side=with_side)
        bounds = [interval(bradley_terry.elo(samples[:, place])) for place in range(n)]
        fits.append((bradley_terry.elo(value[0]), bounds))
    empty = not total_shown.sum()
    sides = sides[drawn_shown.sum(axis=1) > 0] * bradley_terry.POINTS
    strengths = []
    for place, arm in enumerate(arms):
        (plain, bounds), (beside, beside_bounds) = fits
        mine = [one for one in found if arm in (one.left, one.right)]
        won = sum((one.left if one.chose_left else one.right) == arm for one in mine)
        limits = (bounds[place]["low"], bounds[place]["high"], float(beside[place]), beside_bounds[place]["low"], beside_bounds[place]["high"])
        strengths.append(Strength(arm, float(plain[place]), *limits, trials=len(mine), wins=won))
    limits = interval(sides)
    return tuple(strengths), math.nan if empty else float(side[0] * bradley_terry.POINTS), limits["low"], limits["high"]


def _counts(found: Sequence[Outcome], arms: Sequence[str], *, units: str) -> tuple[np.ndarray, np.ndarray]:
    """[raters, prompts, cells] times the left was chosen, and shown. Where trials are the units, each is a "prompt" of its own."""
    raters = {name: place for place, name in enumerate(sorted({one.rater for one in found}))}
    prompts = {name: place for place, name in enumerate(sorted({one.prompt for one in found}))}
    columns = {(arms[i], arms[j]): place for place, (i, j) in enumerate(bradley_terry.cells(len(arms)))}
    alone = units == "trials"
    shape = (max(len(raters), 1), max(len(found) if alone else len(prompts), 1), len(columns))
    wins, shown = np.zeros(shape), np.zeros(shape)
    for number, one in enumerate(found):
        place = raters[one.rater], number if alone else prompts[one.prompt], columns[one.left, one.right]
        wins[place] += one.chose_left
        shown[place] += 1
    return wins, shown


def _resampled(wins: np.ndarray, shown: np.ndarray, *, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[draws, cells] each: raters and prompts drawn with replacement, a trial counting as often as its rater times its prompt."""
    dice = np.random.default_rng([seed, 1])
    n_raters, n_prompts, n_cells = wins.shape
    by_rater = dice.multinomial(n_raters, np.full(n_raters, 1 / n_raters), size=draws).astype(float)
    by_prompt = dice.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=draws).astype(float)
    rows = max(1, _BLOCK // max(n_prompts * n_cells, 1))
    sums = []
    for counts in (wins, shown):
        blocks = [
            np.einsum("dp,dpc->dc", by_prompt[at : at + rows], np.tensordot(by_rater[at : at + rows], counts, axes=1)) for at in range(0, draws, rows)
        ]
        sums.append(np.concatenate(blocks))
    return sums[0], sums[1]


def _against(found: Sequence[Outcome], arm: str, other: str, *, seed: int) -> Against:
    between = [one for one in found if {one.left, one.right} == {arm, other}]
    won = [(one.left if one.chose_left else one.right) == arm for one in between]
    by = "rater" if len({one.rater for one in found}) > 1 else "prompt"
    shares: dict[str, list[bool]] = defaultdict(list)
    for one, win in zip(between, won, strict=True):
        shares[getattr(one, by)].append(win)
    over_half = np.array([np.mean(wins) - 0.5 for wins in shares.values()])
    return Against(arm, other, _share(sum(won), len(won)), _binomial(sum(won), len(won)), _sign_changes(over_half, seed=seed), len(shares))


def _agreement(found: Sequence[Outcome]) -> Share:
    """Of pairs of showings of the same comparison, how often the same arm was chosen."""
    chosen: dict[tuple, list[str]] = defaultdict(list)
    for one in found:
        chosen[one.unit].append(one.left if one.chose_left else one.right)
    pairs = [a == b for arms in chosen.values() for a, b in combinations(arms, 2)]
    return _share(sum(pairs), len(pairs))


def _share(k: int, n: int) -> Share:
    """With the interval of Wilson (1927)."""
    if not n:
        return Share(0, 0, math.nan, math.nan, math.nan)
    z = 1.959963984540054
    middle, half = (k + z * z / 2) / (n + z * z), z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return Share(int(k), n, k / n, max(0.0, middle - half), min(1.0, middle + half))


def _binomial(k: int, n: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(int(k), n).pvalue) if n else math.nan


def _sign_changes(values: np.ndarray, *, seed: int) -> float:
    """Two-sided: how often the sum is as far from 0 if every unit's sign is left to chance; all changes of sign for a few units, else 9999 of them."""
    if len(values) < 2:
        return math.nan
    if len(values) <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
    else:
        signs = np.concatenate([np.ones((1, len(values))), np.random.default_rng([seed, 2]).choice((1.0, -1.0), size=(9999, len(values)))])
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= abs(values.sum()) - 1e-9))


def _words(found: Sequence[Outcome], *, arms: Sequence[str], planned: Mapping[str, int], side: Side, units: str) -> list[str]:
    """What has to be said beside the numbers, or instead of them."""
    if not found:
        return ["no trial has been answered yet, so nothing is known"]
    words = []
    if len(found) < sum(planned.values()):
        words.append(f"{sum(planned.values()) - len(found)} of {sum(planned.values())} trials are not answered yet, which may upset the balance of sides and pairs")
    if len(found) < FEW:
        words.append(f"only {len(found)} answers: the numbers are there for trying things out, not for conclusions")
    n_raters = len({one.rater for one in found})
    if n_raters == 1:
        words.append(f"one rater only, so the intervals are over {units} and say nothing about other people")
    elif n_raters < FEW_RATERS:
        words.append(f"only {n_raters} raters: a bootstrap over so few gives rough intervals, and the test over raters cannot give p below {2 / 2**n_raters:.3g}")
    wins, shown = (counts.sum((0, 1)) for counts in _counts(found, arms, units=units))
    unseen = [arm for arm in arms if not any(arm in (one.left, one.right) for one in found)]
    if unseen:
        words.append(f"no answered trial shows {_and(unseen)}, so nothing is known of {'it' if len(unseen) == 1 else 'them'}")
    for above, below in bradley_terry.unbounded(wins, shown, n_arms=len(arms)):
        strong, weak = [arms[place] for place in above], [arms[place] for place in below]
        met = any({one.left, one.right} & set(strong) and {one.left, one.right} & set(weak) for one in found)
        if met:
            words.append(f"{_and(strong)} never lost to {_and(weak)}: how far apart they are has no upper bound, and the points shown come from the ridge alone")
        else:
            words.append(f"{_and(strong)} {'was' if len(strong) == 1 else 'were'} never compared with {_and(weak)}, so their points cannot be compared either")
    if side.low > 0 or side.high < 0:
        favoured = "left" if side.points > 0 else "right"
        words.append(f"the {favoured} side is favoured whatever it shows ({abs(side.points):.0f} points): read the strengths beside the side term")
    if OWN in arms and OTHER not in arms:
        words.append("there is no arm other, so a better own arm may be better for everybody: that it is personal is not tested")
    return words


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
