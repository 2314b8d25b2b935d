"""Tests across repeats: is one scorer better than another whichever raters are drawn and whichever training comes out?"""

from __future__ import annotations

import numpy as np

from beholder.evaluation.metrics import Evaluation

FEWEST = 3  # repeats that a test needs


def across_repeats(first: Evaluation, second: Evaluation, *, metric: str, test_share: float) -> dict[str, float]:
    """`first` minus `second` in one measure, repeat by repeat.

    The t test is paired and corrected for what random splits share (Nadeau & Bengio 2003): the variance of the mean of k differences is
    taken as (1/k + test/train) times their variance, not as 1/k times it. Wilcoxon's signed-rank test knows no such correction.

    Args:
        test_share: tested raters / training raters of a repeat.

    Returns:
        repeats, std (of the differences), p_t, p_wilcoxon (two-sided); nan with fewer than 3 repeats or differences that are all alike.
    """
    from scipy import stats

    gaps = first.per_repeat[metric] - second.per_repeat[metric]
    gaps = gaps[np.isfinite(gaps)]
    found = {"repeats": len(gaps), "std": float("nan"), "p_t": float("nan"), "p_wilcoxon": float("nan")}
    if len(gaps) > 1:
        found["std"] = float(gaps.std(ddof=1))
    if len(gaps) >= FEWEST and found["std"] > 1e-12:
        error = found["std"] * np.sqrt(1 / len(gaps) + test_share)
        found["p_t"] = float(2 * stats.t.sf(abs(gaps.mean()) / error, df=len(gaps) - 1))
        found["p_wilcoxon"] = float(stats.wilcoxon(gaps).pvalue)
    return found
