"""Rater folds and image sets that others published for PARA and LAPIS, shipped as lists of ids (manifest.json says from where).

With them, the seeded order of the same raters in which `evaluation.support_sets` chooses those it tests.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from beholder.errors import BeholderError

FOLDER = Path(__file__).parent
FILES = {"para": ("para-raters.csv", "para-images.csv"), "lapis": ("lapis-raters.csv", "lapis-images.csv.gz")}
ORDERS = {name: f"support-100-{name}.txt" for name in FILES}
ORDER_SEED = 42
FOLDS = 4


@dataclass(frozen=True)
class Split:
    """One published fold.

    Args:
        dataset: "para" or "lapis".
        fold: 1 to 4; each rater is a test rater in one of them.
        train_raters, test_raters: ids as the dataset's tables spell them, no rater in both.
        train_images, validation_images, test_images: image ids, the same in each fold. PARA: validation images only; its test images
            are those of PARA-GiaaTest.csv, the others are for training.
    """

    dataset: str
    fold: int
    train_raters: tuple[str, ...]
    test_raters: tuple[str, ...]
    train_images: tuple[str, ...]
    validation_images: tuple[str, ...]
    test_images: tuple[str, ...]


def published_split(name: str, *, fold: int = 1) -> Split:
    """A published fold of a dataset.

    Args:
        name: "para" or "lapis".
        fold: 1 to 4.

    Raises:
        BeholderError: no such dataset or fold, or a list of this installation is damaged.
    """
    if name not in FILES:
        raise BeholderError(f"there is no published split of {name!r}: there are some of {' and '.join(FILES)}")
    if fold not in range(1, FOLDS + 1):
        raise BeholderError(f"{name} has no fold {fold!r}: its published folds are 1 to {FOLDS}")
    raters, images = (_pairs(file) for file in FILES[name])
    return Split(
        dataset=name,
        fold=int(fold),
        train_raters=tuple(rater for rater, test_fold in raters if int(test_fold) != fold),
        test_raters=tuple(rater for rater, test_fold in raters if int(test_fold) == fold),
        train_images=tuple(image for image, part in images if part == "train"),
        validation_images=tuple(image for image, part in images if part == "validation"),
        test_images=tuple(image for image, part in images if part == "test"),
    )


def rater_order(name: str) -> tuple[str, ...]:
    """The raters of the published folds of "para" or "lapis", sorted and then shuffled with `random.Random(ORDER_SEED)`.

    Raises:
        BeholderError: no such dataset, or the list of this installation is damaged.
    """
    if name not in ORDERS:
        raise BeholderError(f"there is no order of the raters of {name!r}: there are some of {' and '.join(ORDERS)}")
    return tuple(_content(ORDERS[name], part="orders").decode("utf-8").split())


def _pairs(file: str) -> list[tuple[str, str]]:
    """The two columns of a list whose content is what the manifest says."""
    content = _content(file, part="files")
    text = (gzip.decompress(content) if file.endswith(".gz") else content).decode("utf-8")
    return [(first, second) for first, second in list(csv.reader(io.StringIO(text)))[1:]]


def _content(file: str, *, part: str) -> bytes:
    """A list as it lies there, if that is what the manifest says."""
    try:
        expected = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))[part][file]["sha256"]
        content = (FOLDER / file).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise BeholderError(f"the list {file} or its manifest in {FOLDER} cannot be read ({error}): install beholder anew") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise BeholderError(f"the list {FOLDER / file} is damaged, its SHA-256 is not that of the manifest: install beholder anew")
    return content
