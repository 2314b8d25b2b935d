"""Learning the population model: one ridge regression on image effects.

beholder train population --data DIR --out DIR
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.scorers.baselines.model import PopulationModel
from beholder.scorers.effects import image_effects
from beholder.scorers.profile_features import ProfileEncoder

ALPHAS = np.logspace(0, 6, 25)
PROFILE_AXES = 16

Progress = Callable[[int, int, str], None]


def fit_population(train: Dataset, features: np.ndarray, *, use_profile: bool, progress: Progress | None = None) -> PopulationModel:
    """Fit.

    Args:
        features: [n, d] of `train.used_images`, in that order.
        use_profile: learn the interaction with the profile, too.

    Raises:
        BeholderError: fewer than 2 raters or 5 images.
    """
    say = progress or (lambda done, total, text: None)
    raters, images = train.used_raters, train.used_images
    if len(raters) < 2 or len(images) < 5:
        raise BeholderError(
            f"{train.name} has {len(raters)} raters and {len(images)} images to learn from: population needs at least 2 and 5"
        )
    say(0, 2, "ridge regression")
    row = np.searchsorted(images, train.rating_image)
    who = np.searchsorted(raters, train.rating_rater)
    unit = train.scale.to_unit(train.rating_score)
    means, effects = image_effects(who, row, unit, n_raters=len(raters), n_images=len(images))
    x = np.asarray(features, dtype=np.float64)
    pipeline = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(x, effects)
    scaler, ridge = pipeline[0], pipeline[1]
    coefficients = ridge.coef_ / scaler.scale_

    groups = np.array([train.groups[i] for i in images])
    folds = min(5, len(np.unique(groups)))
    fitted = pipeline.predict(x)
    honest = fitted
    if folds >= 2:  # the errors on groups of images that were left out, for an honest interval
        left_out = make_pipeline(StandardScaler(), RidgeCV(np.array([ridge.alpha_])))
        honest = cross_val_predict(left_out, x, effects, groups=groups, cv=GroupKFold(folds))
    errors = np.abs(unit - means.mean() - honest[row])

    say(1, 2, "profiles")
    encoder = ProfileEncoder.learn([train.profiles[u] for u in raters]) if use_profile else ProfileEncoder()
    axes, profile_weights = np.zeros((x.shape[1], 0)), np.zeros((0, 1))
    if encoder.dim:
        scaled = (x - scaler.mean_) / scaler.scale_
        _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
        keep = min(PROFILE_AXES, int((singular > 1e-6 * singular[0]).sum()))
        axes = directions[:keep].T * (np.sqrt(len(x)) / singular[:keep]) / scaler.scale_[:, None]
        codes = np.stack([encoder(train.profiles[u]) for u in raters])
        design = np.column_stack([np.ones(len(x)), (x - scaler.mean_) @ axes])
        # One row per rating would be n_ratings x (p * (1 + k)): the normal equations by rater are much smaller.
        size = codes.shape[1] * design.shape[1]
        gram, pull = np.zeros((size, size)), np.zeros(size)
        for u in range(len(raters)):
            mine = np.flatnonzero(who == u)
            part, rest = design[row[mine]], unit[mine] - means.mean() - effects[row[mine]]
            gram += np.kron(np.outer(codes[u], codes[u]), part.T @ part)
            pull += np.kron(codes[u], part.T @ rest)
        penalty = 0.05 * np.trace(gram) / size  # raters are few compared with their ratings: shrink firmly
        profile_weights = np.linalg.solve(gram + penalty * np.eye(size), pull).reshape(codes.shape[1], design.shape[1])
    say(2, 2, "done")
    return PopulationModel(
        mean=scaler.mean_.astype(np.float32),
        coefficients=coefficients.astype(np.float32),
        intercept=float(means.mean() + ridge.intercept_),
        alpha=float(ridge.alpha_),
        half_width=float(np.quantile(errors, 0.9)),
        axes=axes.astype(np.float32),
        encoder=encoder,
        profile_weights=profile_weights,
    )
