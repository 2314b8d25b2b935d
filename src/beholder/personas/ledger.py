"""What a respondent answered to an inventory as whom, kept in one SQLite file: a search that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from beholder.kept_table import KeptTable
from beholder.paths import cache_dir

if TYPE_CHECKING:
    from beholder.personas.inventory import Inventory

FILE = "answers.sqlite"
CHUNK = 10  # personas asked at once, and lost at most if the process is killed
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (respondent TEXT NOT NULL, inventory TEXT NOT NULL, persona TEXT NOT NULL, answers TEXT NOT NULL,
    PRIMARY KEY (respondent, inventory, persona)) WITHOUT ROWID
"""
Progress = Callable[[int, int], None]  # answers given, of how many


@dataclass(frozen=True)
class Counts:
    """What a respondent did since it was made.

    Args:
        asked: answers asked for, the second times not counted.
        retried: asked once more, after a refusal or an answer off the scale.
        refused: answers, first or second, that were refusals.
        missing: without an answer after all; nan in the result.
    """

    asked: int = 0
    retried: int = 0
    refused: int = 0
    missing: int = 0

    def __str__(self) -> str:
        text = f"{self.asked} answers asked for"
        text += f", {self.retried} asked once more" if self.retried else ""
        text += f", {self.refused} refused" if self.refused else ""
        return text + (f", {self.missing} missing" if self.missing else "")


class Respondent(Protocol):
    """Somebody, or something, that answers the items of an inventory as a given persona.

    Attributes:
        name: as given by the user.
        version: changes whenever an answer might (weights, prompts, mode).
        unit: what its progress counts, "item answers".
        counts: what it did since it was made.
        together: how many personas at once suit it; may be left out.
    """

    name: str
    version: str
    unit: str
    counts: Counts

    def answers(self, personas: Sequence[str], inventory: Inventory, *, progress: Progress | None = None) -> np.ndarray:
        """Persona texts ("" = nobody) -> agreement with each statement as worded, [n_personas, n_items], 1 to 5, nan = missing."""
        ...


class LedgerWarning(UserWarning):
    """Answers cannot be kept; those given are right all the same."""


class Ledger:
    """(respondent version, inventory key, persona text) -> answers. Of the persona only a hash is kept.

    `keep` is one transaction; when it returns, the answers outlive the process, however that ends (a power cut may take the latest). Any number of
    threads and processes may use it at once. If the file cannot be read or written, it says so once and goes on in memory.

    Args:
        folder: made if missing. `cache_dir("personas")` if not given.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.file = (Path(folder) if folder is not None else cache_dir("personas")) / FILE
        self._table = KeptTable(self.file, table="answers", schema=SCHEMA, what="answers", warning=LedgerWarning)

    def known(self, version: str, inventory: Inventory, personas: Sequence[str]) -> dict[str, np.ndarray]:
        """Persona text -> answers [n_items], nan = missing; of those personas that are known."""
        texts = {_hash(text): text for text in personas}
        sql = (
            "SELECT a.persona, a.answers FROM json_each(?) AS asked "
            "CROSS JOIN answers AS a ON a.respondent = ? AND a.inventory = ? AND a.persona = asked.value"
        )
        rows = self._table.read(sql, (json.dumps(sorted(texts)), version, inventory.key))
        found = {texts[key]: np.array(json.loads(text), dtype=float) for key, text in rows}  # null becomes nan
        return {text: values for text, values in found.items() if values.shape == (len(inventory.items),)}

    def keep(self, version: str, inventory: Inventory, answers: Mapping[str, np.ndarray]) -> None:
        """Keep answers [n_items] of some personas, all or none of them."""
        rows = [(version, inventory.key, _hash(text), _json(values)) for text, values in answers.items()]
        self._table.write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)


def answered(
    respondent: Respondent,
    inventory: Inventory,
    personas: Sequence[str],
    *,
    ledger: Ledger,
    chunk: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Answers of every persona, [n_personas, n_items], 1 to 5, nan = missing. Only what the ledger does not know is asked, each persona once.

    Each chunk is kept before the next is asked: a process killed in between loses at most one chunk.

    Args:
        personas: texts for the system message; "" = nobody.
        chunk: personas asked at once; what the respondent says is good for it (`together`), else 10.
        progress: called with (answers given, of how many), those known before included.

    Raises:
        ValueError: the respondent gave an array of another shape, or an answer outside 1 to 5.
    """
    n_items = len(inventory.items)
    found = ledger.known(respondent.version, inventory, personas)
    missing = [text for text in dict.fromkeys(personas) if text not in found]
    total = (len(found) + len(missing)) * n_items
    if progress:
        progress(len(found) * n_items, total)
    chunk = chunk or getattr(respondent, "together", CHUNK)
    for start in range(0, len(missing), chunk):
        texts = missing[start : start + chunk]
        before = len(found) * n_items
        inner = _part(progress, before=before, n=len(texts) * n_items, total=total) if progress else None
        answers = np.asarray(respondent.answers(texts, inventory, progress=inner), dtype=float)
        if answers.shape != (len(texts), n_items) or np.any((answers < 1) | (answers > 5)):
            raise ValueError(f"{respondent.name}: answers must be {len(texts)} x {n_items} numbers from 1 to 5 or nan, these are {answers.shape}")
        new = dict(zip(texts, answers, strict=True))
        ledger.keep(respondent.version, inventory, new)
        found |= new
        if progress:
            progress(len(found) * n_items, total)
    return np.stack([found[text] for text in personas]) if len(personas) else np.zeros((0, n_items))


def _part(progress: Progress, *, before: int, n: int, total: int) -> Progress:
    """Progress within a chunk as progress of the whole."""

    def report(done: int, of: int) -> None:
        progress(before + (n * done) // max(of, 1), total)

    return report


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _json(values: np.ndarray) -> str:
    return json.dumps([None if np.isnan(value) else float(value) for value in values])
