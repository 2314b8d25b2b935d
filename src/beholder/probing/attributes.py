"""Attributes of images from any dataset: AADB as it is, the others as means over their raters.

PARA: score, composition, color, dof, light, content as means over the raters; quality as PARA-GiaaTrain and -GiaaTest give it, whose lists
of images are the parts. Other datasets of raters: the mean score, the mean of each attribute, and disagreement, the standard deviation of
the scores over raters. Numeric columns of a folder's images.csv are attributes, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from beholder import datasets
from beholder.datasets.attributes import PARTS, AttributeTable
from beholder.datasets.base import Dataset
from beholder.datasets.table import number, read_columns, some
from beholder.errors import BeholderError
from beholder.ratings import IMAGE_COLUMNS

MIN_RATINGS = 3  # raters that a mean needs
MIN_SPREAD = 5  # raters that a standard deviation needs
SHARES = (0.6, 0.8)  # train ends here, then validation, of the images
VALIDATION_SHARE = 0.1  # of PARA's training images
PARA = ("composition", "color", "dof", "light", "content")


def read_attributes(name: str, root: str | os.PathLike, *, seed: int = 0, min_ratings: int = MIN_RATINGS) -> AttributeTable:
    """The attributes of a dataset's images.

    Args:
        name: aadb, or one of `datasets.names()`.
        root: the folder of the dataset.
        seed: of the parts, where the dataset has none of its own.
        min_ratings: raters that a mean needs; images with fewer are left out. No matter for AADB, which comes as means.

    Raises:
        BeholderError: no such dataset, its files are missing or wrong, or no image has enough ratings.
    """
    spelled = str(name).strip().lower().replace("_", "-")
    if spelled in datasets.ATTRIBUTE_READERS:
        from beholder.datasets.aadb import read_aadb

        return read_aadb(root)
    try:
        spelled = datasets.known(name)
    except BeholderError as error:
        raise BeholderError(f"{error}; probes also read {', '.join(datasets.ATTRIBUTE_READERS)}") from None
    dataset = datasets.read(spelled, root)
    more = _folder_columns(dataset, Path(root)) if spelled == "folder" else {}
    only = PARA if spelled == "para" else tuple(dataset.attributes)
    table, groups = of_ratings(dataset, attributes=only, more=more, min_ratings=min_ratings)
    if spelled == "para":
        return _para_parts(table, root, seed=seed)
    return replace(table, part=parts_by_group(groups, seed=seed))


def of_ratings(
    dataset: Dataset, *, attributes: tuple[str, ...], more: Mapping[str, np.ndarray], min_ratings: int = MIN_RATINGS
) -> tuple[AttributeTable, tuple[str, ...]]:
    """Means over raters, all images in the part "train"; and [n] the group of each image.

    Args:
        attributes: of the dataset, those to take.
        more: name -> [n_images of the dataset], further attributes; a name that is taken gets "(images.csv)" behind it.
        min_ratings: raters that the score needs; images with fewer are left out. Attributes with fewer are nan.
    """
    n = len(dataset.images)
    ratings = np.bincount(dataset.rating_image, minlength=n)
    kept = ratings >= max(1, min_ratings)
    if not kept.any():
        raise BeholderError(
            f"no image of {dataset.name} has {min_ratings} ratings (the most is {ratings.max(initial=0)}): lower --min-ratings to take the means of fewer"
        )
    mean, spread = _moments(dataset.rating_image, dataset.rating_score, size=n, fewest=min_ratings)
    values = {"score": mean}
    for name in attributes:
        values[name] = _moments(dataset.rating_image, dataset.attributes[name], size=n, fewest=min_ratings)[0]
    enough = ratings >= max(MIN_SPREAD, min_ratings)
    if enough.any():
        values["disagreement"] = np.where(enough, spread, np.nan)
    for name, column in more.items():
        values[f"{name} (images.csv)" if name in values else name] = column
    notes = list(dataset.notes)
    if not kept.all():
        notes.append(f"{int((~kept).sum())} of {n} images have fewer than {min_ratings} ratings and are left out")
    table = AttributeTable(
        name=dataset.name,
        images=dataset.images,
        image_ids=dataset.image_ids,
        part=np.full(n, PARTS[0], dtype=f"<U{max(map(len, PARTS))}"),
        values=values,
        overall="score",
        notes=tuple(notes),
        licence=dataset.licence,
        citation=dataset.citation,
    )
    return table.rows(kept), tuple(group for group, keep in zip(dataset.groups, kept, strict=True) if keep)


def parts_by_group(groups: tuple[str, ...], *, seed: int) -> np.ndarray:
    """[n] train, validation, test: about 60, 20 and 20 % of the images, whole groups, drawn by the seed."""
    names, group, sizes = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng([seed, 11]).permutation(len(names))
    middles = (np.cumsum(sizes[order]) - sizes[order] / 2) / max(1, len(groups))
    part = np.empty(len(names), dtype=np.int64)
    part[order] = np.searchsorted(SHARES, middles, side="right")
    return np.array(PARTS)[part[group.reshape(-1)]]


def _moments(image: np.ndarray, values: np.ndarray, *, size: int, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """[size] mean and standard deviation (n - 1) of the finite values of each image; nan with fewer than `fewest` (2)."""
    known = np.isfinite(values)
    image, values = image[known], values[known]
    count = np.bincount(image, minlength=size)
    mean = np.bincount(image, values, minlength=size) / np.maximum(count, 1)
    square = np.bincount(image, (values - mean[image]) ** 2, minlength=size)
    spread = np.sqrt(square / np.maximum(count - 1, 1))
    return np.where(count >= max(1, fewest), mean, np.nan), np.where(count >= max(2, fewest), spread, np.nan)


def _folder_columns(dataset: Dataset, root: Path) -> dict[str, np.ndarray]:
    """Attribute -> [n_images], from columns of images.csv that hold numbers, and nothing else, in at least one row."""
    path = root / "images.csv"
    if not path.is_file():
        return {}
    from beholder.datasets.images import ImageFolder

    table = read_columns(path, what="images")
    place = {name: i for i, name in enumerate(dataset.image_ids)}
    folder = ImageFolder(root / "images")
    rows = [place.get(folder.find(name) or "") if name else None for name in table.column(*IMAGE_COLUMNS)]
    found = {}
    for name, cells in table.columns.items():
        if name in ("group", "caption", *IMAGE_COLUMNS) or not any(cells):
            continue
        if any(cell and not np.isfinite(number(cell)) for cell in cells):
            continue
        found[name] = np.full(len(dataset.images), np.nan)
        for row, cell in zip(rows, cells, strict=True):
            if row is not None and cell:
                found[name][row] = number(cell)
    return found


def _para_parts(table: AttributeTable, root: str | os.PathLike, *, seed: int) -> AttributeTable:
    """The parts of PARA-GiaaTrain and -GiaaTest, a seeded tenth of the former for validation, and their mean quality."""
    from beholder.datasets.para import LAYOUT

    base, notes = LAYOUT.base(Path(root)), list(table.notes)
    sources = {part: LAYOUT.sources[f"crowd, {what}"] for part, what in (("train", "training"), ("test", "test"))}
    if any(source.find(base) is None for source in sources.values()):
        names = " and ".join(Path(source.paths[0]).name for source in sources.values())
        notes.append(f"{names} are not both there: the parts are drawn by the seed, not the official ones")
        return replace(table, part=parts_by_group(table.image_ids, seed=seed), notes=tuple(notes))
    part = {}
    quality: dict[str, float] = {}
    for name, source in sources.items():
        lists = replace(source, columns=(("imageName",),), optional=("qualityScore_mean",)).read(base)
        images = lists.column("imagename")
        part |= dict.fromkeys(images, name)
        if "qualityscore_mean" in lists.columns:
            quality |= dict(zip(images, lists.numbers("qualityscore_mean"), strict=True))
    kept = np.array([image in part for image in table.image_ids], dtype=bool)
    if not kept.all():
        absent = [image for image, keep in zip(table.image_ids, kept, strict=True) if not keep]
        notes.append(f"{len(absent)} images are in neither of the official parts ({some(absent)}): they are left out")
    if not kept.any():
        raise BeholderError(f"none of the images of {base} is in its lists PARA-GiaaTrain and PARA-GiaaTest: are they of the same release?")
    table = table.rows(kept)
    parts = np.array([part[image] for image in table.image_ids], dtype=table.part.dtype)
    train = np.flatnonzero(parts == "train")
    parts[np.random.default_rng([seed, 12]).permutation(train)[: round(VALIDATION_SHARE * len(train))]] = "validation"
    values = {"score": table.values["score"]}
    if quality:
        known = np.array([quality.get(image, np.nan) for image in table.image_ids])
        values["quality"] = np.where(np.isfinite(known), known, np.nan)
    return replace(table, part=parts, values=values | dict(table.values), notes=tuple(notes))
