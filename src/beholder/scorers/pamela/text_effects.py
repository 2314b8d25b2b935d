"""What prompts and metadata tell of how an image is liked by everybody, beyond its features: a second ridge regression (ours).

It is learned on what the ridge on features leaves of images that it has not seen, and kept only if it predicts images of left-out groups
clearly better. So images of which nothing is known, and data whose texts tell nothing, have the scores of the features alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

PENALTIES = np.logspace(-4, 1, 16)  # per image, where each kind of text has the variance 1 in all
LEAST_GAIN = 0.03  # share of the left-out squared error that texts must take away
LEAST_SURE = 2.0  # standard errors that the gain must be above 0
FEWEST = 10  # groups to learn from, at least
FOLDS = 5
SMALLEST = 1e-6  # variances this much smaller than the first are rounding errors


@dataclass(frozen=True)
class TextEffects:
    """Vectors of texts -> what they add to the effect of an image, on 0..1.

    Args:
        means: [kinds, d] float32 of the vectors of known texts; the kinds are the prompt, if it is read, and each kind of metadata.
        coefficients: [kinds, d] float32.
    """

    means: np.ndarray
    coefficients: np.ndarray

    def __call__(self, words: np.ndarray, known: np.ndarray) -> np.ndarray:
        """words: [n, kinds, d]; known: [n, kinds] bool -> [n] float64; an unknown text counts as the mean one and adds 0."""
        mean = np.einsum("kd,kd->k", self.means, self.coefficients, dtype=np.float64)
        added = np.einsum("nkd,kd->nk", words, self.coefficients, dtype=np.float64) - mean
        return np.where(known, added, 0.0).sum(1)


@dataclass(frozen=True)
class Learned:
    """effects: on all images learned from. left_out: [n] what texts add for each image, by a ridge without its group.

    gain: share of the left-out squared error that they take away.
    """

    effects: TextEffects
    left_out: np.ndarray
    gain: float


def learn_text_effects(words: np.ndarray, texts: np.ndarray, rest: np.ndarray, *, groups: np.ndarray) -> Learned | None:
    """None if texts do not help clearly.

    Args:
        words: [t, d] vectors of texts. texts: [n, kinds] rows of `words`, 0: unknown.
        rest: [n] effects of the images less what their features tell without their group. groups: [n].
    """
    blocks = [_block(words, column) for column in texts.T]
    x = np.concatenate([np.zeros((len(rest), 0)), *(block for block, _, _ in blocks)], axis=1)
    if not x.shape[1] or len(np.unique(groups)) < FEWEST:
        return None
    guesses = np.zeros((len(PENALTIES), len(rest)))
    for known, asked in GroupKFold(FOLDS).split(x, groups=groups):
        guesses[:, asked] = _ridges(x[known], rest[known]) @ x[asked].T
    best = int(np.argmin(((rest - guesses) ** 2).sum(1)))
    gains = rest**2 - (rest - guesses[best]) ** 2
    of_group = np.bincount(np.unique(groups, return_inverse=True)[1], gains)
    gain = float(gains.sum() / max((rest**2).sum(), 1e-12))
    if gain < LEAST_GAIN or of_group.sum() < LEAST_SURE * of_group.std() * len(of_group) ** 0.5:
        return None
    ends = np.cumsum([block.shape[1] for block, _, _ in blocks])[:-1]
    parts = np.split(_ridges(x, rest)[best], ends)
    coefficients = np.stack([axes @ part for (_, _, axes), part in zip(blocks, parts, strict=True)])
    means = np.stack([mean for _, mean, _ in blocks])
    return Learned(TextEffects(means.astype(np.float32), coefficients.astype(np.float32)), guesses[best], gain)


def _block(words: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One kind of text: ([n, r] principal components, 0 where unknown; [d] mean; [d, r] axes); r = 0 if all that is known is one text."""
    known = texts > 0
    vectors = words[texts[known]].astype(np.float64)
    mean = vectors.mean(0) if len(vectors) else np.zeros(words.shape[1])
    vectors -= mean
    total = float((vectors**2).sum(1).mean()) if len(vectors) else 0.0
    if total < SMALLEST:
        return np.zeros((len(texts), 0)), mean, np.zeros((words.shape[1], 0))
    values, axes = np.linalg.eigh(vectors.T @ vectors)
    axes = axes[:, values > SMALLEST * values[-1]] / total**0.5
    block = np.zeros((len(texts), axes.shape[1]))
    block[known] = vectors @ axes
    return block, mean, axes


def _ridges(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[penalties, r] coefficients without an intercept: nothing known adds nothing."""
    values, axes = np.linalg.eigh(x.T @ x)
    return (axes.T @ (x.T @ y) / (np.maximum(values, 0.0) + PENALTIES[:, None] * len(x))) @ axes.T
