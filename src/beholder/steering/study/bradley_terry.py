"""Strengths of arms from choices between two of them (Bradley & Terry 1952), with a term for the side, for many resamples at once.

log odds that the left one is chosen = strength(left) - strength(right) + side. A small ridge (ours) keeps what the choices do not bound finite and
makes the strengths sum to 0; with both arms beaten now and then it moves a difference of d by about 0.005 d / (trials p (1 - p)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RIDGE = 0.01
POINTS = 400 / math.log(10)  # of the chess scale: 400 more = 10 : 1
MEAN = 1000.0
_STEPS = 100
_LARGEST_STEP = 2.0  # where an arm always wins, a Newton step may go much too far


def cells(n_arms: int) -> list[tuple[int, int]]:
    """(left arm, right arm): what the columns of `fit` stand for."""
    return [(i, j) for i in range(n_arms) for j in range(n_arms) if i != j]


def fit(wins: np.ndarray, shown: np.ndarray, *, n_arms: int, side: bool, ridge: float = RIDGE) -> tuple[np.ndarray, np.ndarray]:
    """Strengths and side terms, in log odds.

    Args:
        wins, shown: [draws, cells] how often the left arm was chosen, and how often the two were shown so; counts, which may be weighted.
        side: with a term for the side; else it is 0.

    Returns:
        [draws, n_arms] strengths, mean 0 over the arms that were shown, nan for arms that were not; [draws] side, above 0 = the left is favoured.
    """
    design = np.zeros((len(cells(n_arms)), n_arms + side))
    for row, (left, right) in enumerate(cells(n_arms)):
        design[row, left], design[row, right] = 1.0, -1.0
    if side:
        design[:, n_arms] = 1.0
    beta = np.zeros((len(wins), design.shape[1]))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-beta @ design.T))
        slope = (wins - shown * chance) @ design - ridge * beta
        weights = shown * chance * (1 - chance)
        curvature = np.einsum("dc,ci,cj->dij", weights, design, design, optimize=True) + ridge * np.eye(design.shape[1])
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        beta += step * np.minimum(1.0, _LARGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    strengths = beta[:, :n_arms]
    there = (shown @ np.abs(design[:, :n_arms])) > 0
    strengths = np.where(there, strengths, np.nan)
    with np.errstate(invalid="ignore"):
        strengths = strengths - (np.nansum(strengths, axis=1) / np.maximum(there.sum(axis=1), 1))[:, None]
    return strengths, beta[:, n_arms] if side else np.zeros(len(wins))


def elo(strength: np.ndarray | float) -> np.ndarray | float:
    """On the scale of chess: mean 1000, 400 points = odds of 10 to 1."""
    return MEAN + POINTS * strength


def unbounded(wins: Sequence[float], shown: Sequence[float], *, n_arms: int) -> list[tuple[list[int], list[int]]]:
    """Why choices alone give no finite strengths (Ford 1957): (arms, other arms) of which the first were never beaten by the others. Empty if they do.

    Where no arm of the first was ever shown with one of the others, both (a, b) and (b, a) would hold; only one is listed.

    Args:
        wins, shown: [cells] as in `fit`, of one data set; arms that were never shown do not count.
    """
    beats = np.zeros((n_arms, n_arms), dtype=bool)
    there = np.zeros(n_arms, dtype=bool)
    for (left, right), won, n in zip(cells(n_arms), wins, shown, strict=True):
        if n:
            there[[left, right]] = True
            beats[left, right] |= won > 0
            beats[right, left] |= won < n
    reach = beats | np.eye(n_arms, dtype=bool)
    for middle in range(n_arms):
        reach |= reach[:, [middle]] & reach[[middle], :]
    arms = [int(arm) for arm in np.flatnonzero(there)]
    found: list[tuple[list[int], list[int]]] = []
    for arm in arms:
        above = [other for other in arms if reach[other, arm]]  # nobody else has beaten one of these, directly or through others
        below = [other for other in arms if not reach[other, arm]]
        if below and (above, below) not in found and (below, above) not in found:
            found.append((above, below))
    return found
