"""An interrupted run: what it is of, and from where it goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from beholder.critique.tuning.options import FREE, TuningOptions
from beholder.errors import BeholderError
from beholder.locking import lock
from beholder.whole_file import replace_file

CHECKPOINTS, RUN, WHOLE, FINISHED = "checkpoints", "run.json", "complete", "tuned.json"
LOCK = "lock"


def identity(*, model: str, revision: str, data: str, items: int, options: TuningOptions, processes: int) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    settings = {name: value for name, value in asdict(options).items() if name not in FREE}
    return {"model": model, "revision": revision, "data": data, "items": items, "processes": processes, "options": settings}


def finished(out: Path, run: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """What is known of the finished model in a folder; None if there is none.

    Args:
        run: the one that is to be done now.

    Raises:
        BeholderError: the folder holds another model.
    """
    path = out / FINISHED
    if not path.is_file():
        if (out / CHECKPOINTS / RUN).is_file():  # ours: killed while its files were put in their places
            return None
        if (out / "config.json").exists():
            raise BeholderError(f"{out} holds a model already, which was not made by this command: choose another --out")
        if other := next((out / name for name in ("README.md", "loss.csv") if (out / name).exists()), None):
            raise BeholderError(f"{other} was not made by this command and would be lost: choose another --out")
        return None
    known = _read(path)
    if run is not None:
        _same(known.get("run", {}), run, f"{out} holds a finished model that was tuned with", "choose another --out")
    return known


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Raises BeholderError if another process tunes into the same folder. Several that work together ask for it in the first one only."""
    (out / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    with open(out / CHECKPOINTS / LOCK, "ab") as file:
        if not lock(file):
            raise BeholderError(f"another process tunes a model in {out}: wait for it, or choose another --out")
        yield


def begin(out: Path, run: Mapping[str, Any]) -> None:
    """Note what the run is of. Raises BeholderError if checkpoints of another one lie there."""
    path = out / CHECKPOINTS / RUN
    if path.is_file():
        _same(
            _read(path), run, f"the checkpoints in {out / CHECKPOINTS} are of a run with", "give the same again, delete them, or choose another --out"
        )
        return
    write_json(path, run)


def latest(out: Path) -> Path | None:
    """The last checkpoint that is whole. Those that are not, of a process that was killed, are deleted."""
    found = sorted((out / CHECKPOINTS).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if (path / WHOLE).is_file()]
    for path in set(found) - set(whole):
        shutil.rmtree(path, ignore_errors=True)
    return whole[-1] if whole else None


def complete(out: Path, step: int) -> None:
    """Mark the checkpoint of a step as whole, and delete those before it."""
    path = out / CHECKPOINTS / f"checkpoint-{step}"
    (path / WHOLE).write_text("", encoding="utf-8")
    for other in (out / CHECKPOINTS).glob("checkpoint-*"):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    replace_file(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        reason = "no object"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise BeholderError(f"{path} cannot be read ({reason}): delete the folder that it is in, or choose another --out")


def _same(known: Mapping[str, Any], run: Mapping[str, Any], what: str, advice: str) -> None:
    flat, wanted = ({**one, **one.get("options", {})} for one in (known, run))
    for name in wanted:
        if name not in ("options", "items", "revision") and flat.get(name) != wanted[name]:
            change = f"other data ({flat.get('items')} items)" if name == "data" else f"{name} = {flat.get(name)!r}, not {wanted[name]!r}"
            raise BeholderError(f"{what} {change}: {advice}")
    if known.get("revision") != run.get("revision"):
        raise BeholderError(f"{what} other weights of {run.get('model')}: {advice}")
