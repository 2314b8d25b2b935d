"""Writing a study: images re-encoded under random names, so that neither name, nor metadata, nor order tells which arm they are of."""

from __future__ import annotations

import os
import random
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from beholder import __version__
from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import content_hash, read_photo
from beholder.steering.study.plan import Entry, StudyConfig, plan_trials
from beholder.steering.study.storage import KEY, PUBLIC, Study, key_json, public_json

QUESTION = "Which of the two images do you prefer?"
IMAGES = "images"
WRITTEN = 946684800.0  # 1 January 2000: the time that all images carry


def write_study(
    folder: str | os.PathLike, entries: Sequence[Entry], *, config: StudyConfig, question: str = QUESTION, progress: Callable[[int, int, str], None] | None = None
) -> tuple[Study, list[str]]:
    """Plan a study of these images and write it, whole or not at all; with notes (what was left out, what may give an arm away).

    Args:
        folder: new, or empty.
        question: raters are asked.

    Raises:
        BeholderError: the folder holds something; an image is missing or unreadable; see `plan_trials`.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BeholderError(f"{folder} is there already and not empty: name another folder, so that no study is overwritten")
    look = _looks(entries)
    trials, notes = plan_trials(entries, config=config, same=lambda a, b: look[a.image] == look[b.image])
    shown = sorted({side for trial in trials for side in (trial.left, trial.right)}, key=lambda one: (one.rater, one.prompt, one.arm))
    random.SystemRandom().shuffle(shown)  # neither the order in which files are written nor their names can be worked out from the seed
    names = {entry: f"{IMAGES}/{secrets.token_hex(8)}.png" for entry in shown}
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        (partial / IMAGES).mkdir(parents=True)
        sizes = {}
        for done, entry in enumerate(shown, start=1):
            image = read_photo(entry.image)
            sizes[entry] = image.size
            bare = Image.frombytes("RGB", image.size, image.tobytes())  # nothing but pixels
            bare.save(partial / names[entry], "PNG")
            os.utime(partial / names[entry], (WRITTEN, WRITTEN))
            if progress is not None:
                progress(done, len(shown), "images")
        unequal = sum(sizes[trial.left] != sizes[trial.right] for trial in trials)
        if unequal:
            notes.append(f"in {unequal} of {len(trials)} trials the two images differ in size, which may give the arms away")
        numbered = {f"{number:04d}": trial for number, trial in enumerate(trials, start=1)}
        rows = [
            {"id": name, "rater": one.rater, "prompt": one.prompt, "left": names[one.left], "right": names[one.right]} for name, one in numbered.items()
        ]
        public = public_json(rows, made_by=f"beholder {__version__}", question=question)
        key = key_json(
            public,
            seed=config.seed,
            repeats=config.repeats,
            notes=notes,
            images={names[entry]: {"arm": entry.arm, "source": str(entry.image)} for entry in shown},
            trials={name: {"left": one.left.arm, "right": one.right.arm, "repeat": one.repeat} for name, one in numbered.items()},
        )
        (partial / PUBLIC).write_bytes(public)
        (partial / KEY).write_bytes(key)
        (partial / KEY).chmod(0o600)
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    except OSError as error:
        raise BeholderError(f"the study cannot be written to {folder} ({error.strerror or error}): choose another place") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Study(folder), notes


def _looks(entries: Sequence[Entry]) -> dict[Path, str]:
    """File -> text that is the same for two that look the same, whatever their format and metadata."""
    missing = [entry for entry in entries if not entry.image.is_file()]
    if missing:
        first = missing[0]
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BeholderError(f"the image {first.image} (rater {first.rater}, arm {first.arm}{more}) does not exist: check the path")
    found: dict[Path, str] = {}
    for entry in entries:
        if entry.image not in found:
            try:
                image = read_photo(entry.image)
            except UnreadableImage as error:
                raise BeholderError(f"rater {entry.rater}, arm {entry.arm}: {error}") from None
            found[entry.image] = f"{image.size} {content_hash(image.tobytes())}"
    return found
