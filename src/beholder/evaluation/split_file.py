"""A split somebody wrote down: rater,image,role with role train, support, query or ignore."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beholder.datasets.base import Dataset
from beholder.datasets.images import loose
from beholder.datasets.table import Table, read_columns, some
from beholder.errors import BeholderError
from beholder.evaluation.protocols import Fold, Protocol, rows_by
from beholder.ratings import IMAGE_COLUMNS

ROLES = ("train", "support", "query", "ignore")


@dataclass(frozen=True)
class SplitFile(Protocol):
    """The one fold that a file describes; ratings it does not list are ignored.

    Support ratings are given in the order of the file. Choices of the dataset whose role is support or query are used as they are.

    Args:
        path: CSV with columns rater, image, role.

    Raises:
        BeholderError (from `folds`): an unknown role, two roles for one rating, or no rating listed that the dataset has.
    """

    path: str | os.PathLike
    name: str = "split"

    def line(self) -> str:
        return f"split file {Path(self.path).name}: training, support and query ratings as listed there"

    def folds(self, dataset: Dataset) -> list[Fold]:
        table = read_columns(Path(self.path), what="split", only={"rater", "role", *IMAGE_COLUMNS})
        roles = [role.lower() for role in table.column("role")]
        for role, line in zip(roles, table.lines, strict=True):
            if role not in ROLES:
                raise BeholderError(f"{table.path} line {line}: role = {role!r}; write {', '.join(ROLES[:-1])} or {ROLES[-1]}")
        rows = _rating_rows(table, dataset=dataset)
        _refuse_two_roles(table, rows=rows, roles=roles)
        if len(table) and not (rows >= 0).any():
            raise BeholderError(
                f"{table.path} lists no rating that {dataset.name} has: rater and image must be spelled as in its ratings.csv"
            )
        by_role = {role: rows[np.array([given == role for given in roles], dtype=bool) & (rows >= 0)] for role in ROLES}
        by_role = {role: _first_occurrences(listed) for role, listed in by_role.items()}
        fold = Fold(
            name="split",
            seed=0,
            train_rows=np.sort(by_role["train"]),
            support=_by_rater(dataset, by_role["support"]),
            query={rater: np.sort(listed) for rater, listed in _by_rater(dataset, by_role["query"]).items()},
            support_choices=_choices(dataset, "support"),
            query_choices=_choices(dataset, "query"),
        )
        if not fold.raters:
            raise BeholderError(f"{table.path} has no row with role query, so there is nothing to measure: add some")
        return [fold]

    def notes(self, dataset: Dataset) -> list[str]:
        """What is odd about the file, one sentence each: rows without a rating, groups on both sides."""
        table = read_columns(Path(self.path), what="split", only={"rater", "role", *IMAGE_COLUMNS})
        rows = _rating_rows(table, dataset=dataset)
        found = []
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            lines = some([table.lines[row] for row in unknown])
            found.append(
                f"{len(unknown)} rows of {table.path.name} name a rating that {dataset.name} does not have (lines {lines}): ignored"
            )
        fold = self.folds(dataset)[0]
        groups = np.array(dataset.groups, dtype=object)
        train = set(groups[dataset.rating_image[fold.train_rows]])
        asked = np.concatenate([np.zeros(0, dtype=np.int64), *fold.query.values()])
        shared = sum(groups[image] in train for image in np.unique(dataset.rating_image[asked]))
        if shared:
            found.append(f"{shared} query images are of a group that is in training: numbers for new images would be lower")
        straddling = sum(
            bool(set(groups[dataset.rating_image[fold.support.get(rater, asked[:0])]]) & set(groups[dataset.rating_image[rows]]))
            for rater, rows in fold.query.items()
        )
        if straddling:
            found.append(f"{straddling} raters have support and query images of the same group")
        tested_in_train = len(set(dataset.rating_rater[fold.train_rows].tolist()) & set(fold.raters))
        if tested_in_train:
            found.append(f"{tested_in_train} of {len(fold.raters)} test raters have ratings in training")
        return found


def _rating_rows(table: Table, *, dataset: Dataset) -> np.ndarray:
    """[n] rating row of each line of the table; -1 where the dataset has none."""
    rater_index = {rater: i for i, rater in enumerate(dataset.raters)}
    image_index = {loose(image): i for i, image in enumerate(dataset.image_ids)}
    image_index |= {image: i for i, image in enumerate(dataset.image_ids)}
    spelled = {name: image_index.get(name, image_index.get(loose(name), -1)) for name in set(table.column(*IMAGE_COLUMNS))}
    rater = np.array([rater_index.get(name, -1) for name in table.column("rater")], dtype=np.int64)
    image = np.array([spelled[name] for name in table.column(*IMAGE_COLUMNS)], dtype=np.int64)
    width = max(len(dataset.images), 1)
    keys = dataset.rating_rater * width + dataset.rating_image
    if not len(keys):
        return np.full(len(table), -1, dtype=np.int64)
    order = np.argsort(keys)
    wanted = rater * width + image
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    hit = (rater >= 0) & (image >= 0) & (keys[order][place] == wanted)
    return np.where(hit, order[place], -1)


def _refuse_two_roles(table: Table, *, rows: np.ndarray, roles: list[str]) -> None:
    first: dict[int, int] = {}
    for index, row in enumerate(rows.tolist()):
        before = first.setdefault(row, index) if row >= 0 else index
        if roles[before] != roles[index]:
            raise BeholderError(
                f"{table.path} lines {table.lines[before]} and {table.lines[index]} give the same rating the roles {roles[before]} "
                f"and {roles[index]}: keep one"
            )


def _first_occurrences(rows: np.ndarray) -> np.ndarray:
    _, where = np.unique(rows, return_index=True)
    return rows[np.sort(where)]


def _by_rater(dataset: Dataset, rows: np.ndarray) -> dict[int, np.ndarray]:
    return {rater: rows[places] for rater, places in rows_by(dataset.rating_rater[rows]).items()}


def _choices(dataset: Dataset, role: str) -> dict[int, np.ndarray]:
    """Rater -> [c, 2] (chosen, other) of the dataset's choices of that role, in file order."""
    rows = np.flatnonzero(np.array([given == role for given in dataset.choice_role], dtype=bool))
    pairs = np.stack([dataset.choice_chosen[rows], dataset.choice_other[rows]], axis=1) if len(rows) else np.zeros((0, 2), dtype=np.int64)
    return {rater: pairs[places] for rater, places in rows_by(dataset.choice_rater[rows]).items()}
