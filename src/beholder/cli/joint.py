"""Which ratings are learned from: the training part of a dataset, and further datasets beside it (--with NAME=DIR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from beholder.cli.output import note

if TYPE_CHECKING:
    from beholder.datasets.base import Dataset

TRAINING = "train"


def further(given: Sequence[str] | None, *, beside: Dataset) -> tuple[Dataset, ...]:
    """The datasets that --with names, of each the part that is for training.

    Args:
        given: "NAME=DIR" each; NAME as `datasets.READERS` spells it.
        beside: the dataset that is trained or measured on.

    Raises:
        BeholderError: no "NAME=DIR", no such dataset, its files are wrong, or two datasets of one name: measured on it, what was learned
            from its other copy would be no surprise.
    """
    from beholder.datasets import read
    from beholder.errors import BeholderError

    found: list[Dataset] = []
    for text in given or ():
        name, equals, folder = (part.strip() for part in text.partition("="))
        if not (equals and name and folder):
            raise BeholderError(f"--with = {text!r} does not say where the dataset is: write NAME=DIR, such as para=/data/PARA")
        other = training_part(read(name, folder))
        if other.name in {beside.name, *(before.name for before in found)}:
            raise BeholderError(
                f"--with = {text!r} names {other.name}, which is there already: leave it out, or give the folder another name"
            )
        found.append(other)
    return tuple(found)


def check_learned_from(names: Sequence[str]) -> None:
    """Refuse further datasets that none of the scorers would learn from: none can, or none is to (joint=false).

    Args:
        names: as on the command line, with options in brackets.
    """
    from beholder import scorers
    from beholder.errors import BeholderError
    from beholder.eye import check_takes_others, takes_others

    classes = [scorers.scorer_class(name) for name in names]
    check_takes_others(*classes)
    able = [(name, cls) for name, cls in zip(names, classes, strict=True) if takes_others(cls)]
    chosen = [scorers.typed_options(cls, scorers.parse_name(name)[1]).get("options") for name, cls in able]
    if not any(getattr(options, "joint", True) for options in chosen):
        raise BeholderError(
            f"{', '.join(name for name, _ in able)} learns from one dataset alone (joint=false): leave out --with or joint=false"
        )


def training_part(dataset: Dataset) -> Dataset:
    """The ratings of the published training part, if the dataset has parts; else all of them.

    Raises:
        BeholderError: there are parts, but none for training.
    """
    import numpy as np

    from beholder.errors import BeholderError

    if not dataset.parts:
        return dataset
    kept = np.flatnonzero(np.array(dataset.parts) == TRAINING)
    if not len(kept):
        have = ", ".join(sorted(set(dataset.parts)))
        raise BeholderError(f"{dataset.name} has no ratings in the part {TRAINING}, only in {have}: get the file of that part, too")
    note(
        f"{dataset.name}: only the {len(kept)} ratings of the part {TRAINING} are learned from, not the other {len(dataset.parts) - len(kept)}"
    )
    return dataset.rows(kept)
