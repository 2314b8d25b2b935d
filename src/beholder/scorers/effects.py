"""Ratings as rater means plus image effects."""

from __future__ import annotations

import numpy as np


def image_effects(
    rater: np.ndarray, image: np.ndarray, value: np.ndarray, *, n_raters: int, n_images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split ratings into rater means and image effects (additive two-way table, alternating means).

    Returns:
        rater means [n_raters] and image effects [n_images] (mean 0 over the ratings); nan where there is no rating.
    """
    per_rater = np.bincount(rater, minlength=n_raters).astype(float)
    per_image = np.bincount(image, minlength=n_images).astype(float)
    raters, images = np.zeros(n_raters), np.zeros(n_images)
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(50):
            before = images
            raters = np.bincount(rater, value - images[image], minlength=n_raters) / per_rater
            images = np.bincount(image, value - np.nan_to_num(raters)[rater], minlength=n_images) / per_image
            images = images - np.nansum(images * per_image) / per_image.sum()
            if np.nanmax(np.abs(images - np.nan_to_num(before))) < 1e-6:
                break
    return raters, images
