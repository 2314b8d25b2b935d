"""How wide an honest interval is: measured where neither the rater nor the image group was learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from beholder.datasets.base import Dataset
from beholder.scorers.taste.model import TasteModel
from beholder.scorers.taste.posterior import Evidence

if TYPE_CHECKING:
    from beholder.scorers.taste.training import TasteConfig

ENOUGH = 200  # ratings below which a quantile is not worth taking


def measure_widths(
    train: Dataset, features: np.ndarray, *, learn: Callable[[np.ndarray], tuple[Dataset, TasteModel]], config: TasteConfig
) -> np.ndarray:
    """Factors of the interval's half width so that 90 % of new raters' ratings of new images fall inside, [len(config.shots)].

    The data are split as in the protocol new-rater-new-image, everything is learned from one part and measured on the other; support
    ratings are on images of the learned part. 1 where there are too few ratings to measure.

    Args:
        features: [n, d] of `train.used_images`.
        learn: mask of rating rows -> those rows as a dataset, and what was learned from them.
    """
    rng = np.random.default_rng(config.seed)
    raters, images = train.used_raters, train.used_images
    groups = np.array([train.groups[i] for i in images])
    names = rng.permutation(np.unique(groups))
    none = np.ones(len(config.shots))
    if len(names) < 2 * config.width_folds or len(raters) < 4 * config.width_folds:
        return none
    group_fold = dict(zip(names.tolist(), (np.arange(len(names)) % config.width_folds).tolist(), strict=True))
    fold_of_image = np.array([group_fold[g] for g in groups.tolist()])
    row_image, row_rater = np.searchsorted(images, train.rating_image), np.searchsorted(raters, train.rating_rater)
    shuffled = rng.permutation(len(raters))
    ratios: list[list[np.ndarray]] = [[] for _ in config.shots]
    for fold in range(config.width_folds):
        left_out = shuffled[fold :: config.width_folds][: config.width_raters]
        inside = fold_of_image[row_image] != fold
        kept, model = learn(inside & ~np.isin(row_rater, left_out))
        if len(kept.rating_score) < ENOUGH:
            return none
        model = replace(model, widths=none)
        looks = model.look(features)
        values = (train.scale.to_unit(train.rating_score) - model.centre) / model.spread
        for rater in left_out:
            mine = np.flatnonzero(row_rater == rater)
            known, asked = rng.permutation(mine[inside[mine]]), mine[~inside[mine]]
            if not len(asked):
                continue
            prior = looks.crowd + model.profile_effect(train.profiles[raters[rater]], looks)
            error = values - prior[row_image]
            for place, n in enumerate(config.shots):
                if n > len(known):
                    continue
                posterior = model.learn(looks[row_image[known[:n]]], Evidence.of_ratings(error[known[:n]]))
                mean, sd = posterior.predict(looks[row_image[asked]])
                ratios[place].append(np.abs(error[asked] - mean) / posterior.half_width(sd))
    widths = [float(np.quantile(np.concatenate(r), 0.9)) if sum(map(len, r)) >= ENOUGH else np.nan for r in ratios]
    measured = np.flatnonzero(np.isfinite(widths))
    return np.interp(np.arange(len(widths)), measured, np.array(widths)[measured]) if len(measured) else none
