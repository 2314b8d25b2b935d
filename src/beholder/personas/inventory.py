"""Big Five inventories: statements to agree with, open questions about the same behaviour, and scores from the answers.

Shipped are the 50 Big-Five factor markers of the International Personality Item Pool (after Goldberg 1992) and the 20 of them that are the Mini-IPIP (Donnellan et al.
2006); sources, licence and norms are in `items.json`. The open questions are ours; other items, such as LMLPA's, are read from a file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from beholder.errors import BeholderError
from beholder.profile import BIG_FIVE
from beholder.ratings import read_table

BUILT_IN = ("mini-ipip", "ipip-50")
NOTICE = "IPIP items, open questions by beholder: a stand-in for LMLPA's, which are not published"
LOWEST, HIGHEST = 1, 5  # of an answer
_NEEDED = ("trait", "question", "reverse")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


@dataclass(frozen=True)
class Item:
    """One item of an inventory.

    Args:
        name: short and unique within the inventory.
        trait: one of `BIG_FIVE`.
        statement: in the first person, to be agreed with from 1 to 5; "" if there is none.
        question: open, about the same behaviour.
        reverse: agreement with the statement speaks against the trait.
    """

    name: str
    trait: str
    statement: str
    question: str
    reverse: bool


@dataclass(frozen=True)
class Inventory:
    """Items that measure the Big Five.

    Args:
        source: where the items come from.
        notice: a line to print wherever a number from the open questions is shown; "" if there is nothing to say.
    """

    name: str
    items: tuple[Item, ...]
    source: str = ""
    notice: str = ""

    @functools.cached_property
    def key(self) -> str:
        """Changes with any text, trait, key or the order of the items; not with names."""
        texts = [[item.trait, item.statement, item.question, item.reverse] for item in self.items]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]

    def trait_means(self, answers: np.ndarray) -> np.ndarray:
        """Mean answer per trait, answers to reverse items turned round.

        Args:
            answers: [..., n_items], agreement with the statements as worded, 1 to 5; nan = missing.

        Returns:
            [..., 5] in 1..5, in the order of `BIG_FIVE`; nan where no item of a trait is answered.

        Raises:
            ValueError: another number of items, or an answer outside 1 to 5.
        """
        answers = np.asarray(answers, dtype=np.float64)
        if answers.shape[-1:] != (len(self.items),):
            raise ValueError(f"{self.name} has {len(self.items)} items, the answers have the shape {answers.shape}")
        if ((answers < LOWEST) | (answers > HIGHEST)).any():
            raise ValueError(f"an answer lies outside {LOWEST} to {HIGHEST}")
        turned = np.where([item.reverse for item in self.items], LOWEST + HIGHEST - answers, answers)
        known = ~np.isnan(turned)
        member = np.array([[item.trait == trait for trait in BIG_FIVE] for item in self.items], dtype=np.float64)  # [n_items, 5]
        count = known.astype(np.float64) @ member
        total = np.where(known, turned, 0.0) @ member
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    def trait_scores(self, answers: np.ndarray) -> np.ndarray:
        """The same as `trait_means`, on the 1 to 10 of `Profile`: a mean x becomes 1 + (x - 1) * 9 / 4."""
        return out_of_ten(self.trait_means(answers))


def out_of_ten(mean):
    """A mean answer, 1 to 5, on the 1 to 10 of `Profile`."""
    return 1 + (mean - LOWEST) * 9 / (HIGHEST - LOWEST)


@dataclass(frozen=True)
class Norms:
    """What others' mean answers were.

    Args:
        n: number of people.
        sample: who they were.
        source: where the figures come from.
        caution: why not to trust them too much.
        mean, sd: trait -> of their mean answers, 1 to 5.
    """

    n: int
    sample: str
    source: str
    caution: str
    mean: Mapping[str, float]
    sd: Mapping[str, float]


@functools.cache
def norms() -> Norms:
    """Of the Mini-IPIP: the best documented figures we found. Not US students, not a sample of any population; see `items.json`."""
    entry = _data()["norms"]
    return Norms(**{name: entry[name] for name in ("n", "sample", "source", "caution", "mean", "sd")})


def percentile(trait: str, mean: float, *, norms: Norms) -> float:
    """How many of a hundred of the norms' people have a lower mean answer, 0 to 100, were their answers distributed normally.

    Args:
        mean: of the answers to the trait's items, 1 to 5, reverse ones turned round.
    """
    return 100 * NormalDist(norms.mean[trait], norms.sd[trait]).cdf(float(mean))


def load_inventory(name: str | os.PathLike = "mini-ipip") -> Inventory:
    """An inventory that is shipped, or one of your own.

    Args:
        name: "mini-ipip" (20 items), "ipip-50", or a file: CSV with the columns trait, question, reverse (yes or no) and, if you like, statement and
            name; or JSON, a list of such objects or {"name", "source", "items": [...]}.

    Raises:
        BeholderError: there is no such inventory or file, or an item is not one; with its place.
    """
    if name in BUILT_IN:
        return _built_in(str(name))
    path = Path(name)
    if not path.is_file():
        raise BeholderError(f"there is no inventory {str(name)!r}: choose {' or '.join(BUILT_IN)}, or give a CSV or JSON file")
    if path.suffix.lower() == ".json":
        title, source, rows = _read_json(path)
    else:
        title, source = path.stem, path.name
        rows = [(f"line {row.pop('_line')}", row) for row in read_table(path, what="inventory")]
    if not rows:
        raise BeholderError(f"inventory {path} has no items: give at least one, with {', '.join(_NEEDED)}")
    items: list[Item] = []
    for number, (place, row) in enumerate(rows, start=1):
        try:
            item = _item(row, number=number)
        except BeholderError as error:
            raise BeholderError(f"inventory {path} {place}: {error}") from None
        if item.name in {other.name for other in items}:
            raise BeholderError(f"inventory {path} {place}: there are two items named {item.name!r}; rename one")
        items.append(item)
    return Inventory(title, tuple(items), source=source)


@functools.cache
def _built_in(name: str) -> Inventory:
    entries = _data()["items"]
    if name == "mini-ipip":
        entries = sorted((entry for entry in entries if entry["mini"]), key=lambda entry: entry["mini"])
    items = (Item(entry["name"], entry["trait"], entry["statement"], entry["question"], entry["key"] == "-") for entry in entries)
    source = _data()["source"]
    return Inventory(name, tuple(items), source=f"{source['items']}; {source['licence']}", notice=NOTICE)


@functools.cache
def _data() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("items.json").read_text(encoding="utf-8"))


def _read_json(path: Path) -> tuple[str, str, list[tuple[str, dict[str, Any]]]]:
    """(name, source, (place, item) each) of a JSON file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BeholderError(f"inventory {path} cannot be read: {error.strerror or error}; check your rights to it") from None
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise BeholderError(f"inventory {path} is not valid JSON ({error}): mend it, or give a CSV file") from None
    head = value if isinstance(value, dict) else {}
    items = head.get("items") if head else value
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BeholderError(f'inventory {path} is not a list of items: write [{{"trait": ..., "question": ..., "reverse": ...}}, ...]')
    rows = [(f"item {number}", {str(key).strip().lower(): entry for key, entry in item.items()}) for number, item in enumerate(items, start=1)]
    return str(head.get("name") or path.stem), str(head.get("source") or path.name), rows


def _item(row: Mapping[str, Any], *, number: int) -> Item:
    for column in _NEEDED:
        if column not in row:
            raise BeholderError(f"{column} is missing: there is {', '.join(row) or 'nothing'}; give {', '.join(_NEEDED)}")
    trait = _text(row["trait"]).lower()
    if trait not in BIG_FIVE:
        raise BeholderError(f"trait = {row['trait']!r} is not one of {', '.join(BIG_FIVE)}")
    reverse = _text(row["reverse"]).lower()
    if reverse not in _YES + _NO:
        raise BeholderError(f"reverse = {row['reverse']!r} is neither {', '.join(_YES)} nor {', '.join(_NO)}")
    question = _text(row["question"])
    if not question:
        raise BeholderError("the question is empty; write one")
    return Item(_text(row.get("name")) or f"item{number}", trait, _text(row.get("statement")), question, reverse in _YES)


def _text(value: object) -> str:
    """On one line; "" for nothing."""
    return "" if value is None else " ".join(str(value).split())
