"""The one form that every dataset reader gives: raters, images, ratings, choices, groups, all as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from beholder.about import About
from beholder.profile import Profile
from beholder.scale import Scale


@dataclass(frozen=True)
class Dataset:
    """Ratings of many raters.

    Args:
        name: of the dataset, for tables.
        scale: the scale of every score.
        raters: [n_raters] ids.
        profiles: [n_raters], in the order of `raters`; an empty profile where nothing is known.
        images: [n_images] paths that can be opened.
        image_ids: [n_images] the ids the dataset's own tables use (for folder datasets: path relative to images/).
        groups: [n_images] group names; a group never straddles a train/test split. One image = its own group where unknown.
        rating_rater, rating_image: [n_ratings] int, indices into `raters` and `images`.
        rating_score: [n_ratings] float64 on `scale`. Rows keep the order of the file; one row per (rater, image).
        choice_rater, choice_chosen, choice_other: [n_choices] int, indices.
        choice_role: [n_choices] "", "support" or "query".
        licence, citation: as the dataset's makers give them.
        notes: what was noticed while reading (skipped rows, missing images), one sentence each.
        attributes: name -> [n_ratings] float64, what the same rater said of the same image beside the score (composition, color, ...);
            nan where nothing was said. Empty where the dataset has none.
        attribute_scales: name -> scale of that attribute; the same names as `attributes`.
        captions: [n_images] one factual sentence or two about each image, "" where there is none; () when there are none at all.
        prompts: [n_images] the text each generated image was made from, "" where there is none; () when there are none at all.
        metadata: name ("group", "style", "type", "category", ...) -> [n_images] text, "" where unknown; {} when there is none. Such a
            "group" is a theme and nothing that a split must not straddle: that is `groups`.
        parts: [n_ratings] the part of the dataset's published split that each rating belongs to ("train", "val_seen", "test_unseen", ...);
            () when none is published.
    """

    name: str
    scale: Scale
    raters: tuple[str, ...]
    profiles: tuple[Profile, ...]
    images: tuple[Path, ...]
    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    rating_rater: np.ndarray
    rating_image: np.ndarray
    rating_score: np.ndarray
    choice_rater: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choice_chosen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choice_other: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    choice_role: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)
    attribute_scales: Mapping[str, Scale] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    def rows(self, keep: np.ndarray | Sequence[int]) -> Dataset:
        """The same dataset with only these rating rows, their attributes and parts (boolean mask or indices, order as given), no choices.

        Raters and images keep their indices, so that rows of two such parts can be compared; use `used_raters` and
        `used_images` for those that still have ratings.
        """
        keep = np.asarray(keep)
        empty = np.zeros(0, dtype=np.int64)
        return replace(
            self,
            rating_rater=self.rating_rater[keep],
            rating_image=self.rating_image[keep],
            rating_score=self.rating_score[keep],
            choice_rater=empty,
            choice_chosen=empty,
            choice_other=empty,
            choice_role=(),
            attributes={name: values[keep] for name, values in self.attributes.items()},
            parts=tuple(np.array(self.parts, dtype=object)[keep]) if self.parts else (),
        )

    def about(self) -> dict[str, About]:
        """Path as text -> what is known of that image beside its pixels; only images of which a prompt or metadata is known."""
        found = {}
        for i, path in enumerate(self.images):
            metadata = {name: values[i] for name, values in self.metadata.items() if values[i]}
            about = About(self.prompts[i] if self.prompts else "", metadata)
            if about:
                found[str(path)] = about
        return found

    @property
    def used_raters(self) -> np.ndarray:
        """Indices of the raters that have a rating, ascending."""
        return np.unique(self.rating_rater)

    @property
    def used_images(self) -> np.ndarray:
        """Indices of the images that have a rating, ascending."""
        return np.unique(self.rating_image)
