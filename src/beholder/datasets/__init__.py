"""Readers of public datasets and of one's own folder; all give `datasets.base.Dataset`."""

from __future__ import annotations

import difflib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from beholder.errors import BeholderError

if TYPE_CHECKING:
    from beholder.datasets.base import Dataset
    from beholder.datasets.checks import Finding

# name -> module:function; the function takes the folder and gives a Dataset
READERS = {
    "folder": "beholder.datasets.folder:read_folder",
    "oasis-beauty": "beholder.datasets.oasis:read_oasis",
    "pamela": "beholder.datasets.pamela:read_pamela",
    "para": "beholder.datasets.para:read_para",
    "lapis": "beholder.datasets.lapis:read_lapis",
    "eva": "beholder.datasets.eva:read_eva",
    "flickr-aes": "beholder.datasets.flickr_aes:read_flickr_aes",
}
# Datasets of images without raters: name -> module:function; the function takes the folder and gives an AttributeTable
ATTRIBUTE_READERS = {
    "aadb": "beholder.datasets.aadb:read_aadb",
}


def names() -> list[str]:
    """The datasets that `read` knows."""
    return sorted(READERS)


def read(name: str, root: str | os.PathLike) -> Dataset:
    """Read a dataset from the folder that holds its files.

    Args:
        name: one of `names()`; "folder" is anyone's own data.
        root: the folder.

    Raises:
        BeholderError: no such dataset, or its files are missing or wrong; says which and what to do.
    """
    if _spelled(name) in ATTRIBUTE_READERS:
        raise BeholderError(f"{name} has scores of images, but none of single raters: use it with  beholder probe {name} --root DIR")
    module, _, function = READERS[known(name)].partition(":")
    return getattr(importlib.import_module(module), function)(root)


def check(name: str, root: str | os.PathLike) -> list[Finding]:
    """What is wrong or odd with a dataset's files, worst first; reading nothing but those files.

    Raises:
        BeholderError: no such dataset. Wrong files do not raise: they are findings.
    """
    from beholder.datasets.checks import check_files

    if _spelled(name) in ATTRIBUTE_READERS:
        reader = importlib.import_module(ATTRIBUTE_READERS[_spelled(name)].partition(":")[0])
        return reader.findings(Path(root))
    return check_files(known(name), root)


def known(name: str) -> str:
    """`name` as `READERS` spells it."""
    spelled = _spelled(name)
    if spelled in READERS:
        return spelled
    close = difflib.get_close_matches(spelled, READERS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise BeholderError(f"there is no dataset {name!r}: {hint}Known are {', '.join(names())}; your own data is read by folder")


def _spelled(name: str) -> str:
    return str(name).strip().lower().replace("_", "-")
