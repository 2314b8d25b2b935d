"""Values per image, whoever gave them: what a probe learns to read off a network. The form of datasets that know no raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class AttributeTable:
    """Attributes of images, split into three parts.

    Args:
        name: of the dataset, for tables.
        images: [n] paths that can be opened.
        image_ids: [n] the ids the dataset's own tables use.
        part: [n] text, one of `PARTS`.
        values: attribute -> [n] float64; nan where it is not known. Any scale; higher is more of it.
        overall: the attribute that is the overall score; "" if there is none.
        notes: what was noticed while reading, one sentence each.
        licence, citation: as the dataset's makers give them.
    """

    name: str
    images: tuple[Path, ...]
    image_ids: tuple[str, ...]
    part: np.ndarray
    values: Mapping[str, np.ndarray]
    overall: str = ""
    notes: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""

    def rows(self, keep: np.ndarray | Sequence[int]) -> AttributeTable:
        """The same table with these images only (boolean mask or indices, order kept as given)."""
        kept = np.arange(len(self.images))[np.asarray(keep)]
        return replace(
            self,
            images=tuple(self.images[i] for i in kept),
            image_ids=tuple(self.image_ids[i] for i in kept),
            part=self.part[kept],
            values={name: values[kept] for name, values in self.values.items()},
        )

    def places(self, part: str) -> np.ndarray:
        """[m] indices of the images of one part, ascending."""
        return np.flatnonzero(self.part == part)
