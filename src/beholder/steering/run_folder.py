"""One run on disk: what was asked and answered, in order, so that a run killed at any point goes on without asking anything twice.

A run folder holds run.json (the settings), events.jsonl (one JSON object a line, only ever added to), images/KEY.png and, once written,
report.html. Every event has `kind`, `key` and `time` (seconds since 1970), and these fields; a missing number (nan) is null:

=========== ==================================================================================================================================
kind        key and fields
=========== ==================================================================================================================================
proposal    key "CALL.TRY": one call of a writer. iteration (the one the prompts are for), call, attempt (1, 2, ...), goal, n, seed, history
            ([[prompt, reward]], best first), prompts (as parsed), raw, error, kind_of_failure ("" = an answer came), seconds
answer      key "CALL.TRY.NUMBER": to one of several questions that a writer asked for one call, as it keeps it; the proposal has all of them
reflection  key "CALL.TRY": one call of `Writer.complete`. call, attempt, text, answer, seed, error, kind_of_failure, seconds
candidate   key: hash of the prompt (with the call and place if it was not accepted). prompt, iteration, call, accepted, why ("", "duplicate",
            "near duplicate", "empty", "too long", "spare": more than were asked for), dropped ("": it was judged; else a clause: why an accepted
            prompt has no reward). The goal is a candidate of iteration 0.
image       key: hash of prompt, seed and generator. prompt, seed, iteration, generator, file ("images/KEY.png", "" = none), sha256, width,
            height, tries (made up to now, this one included), error, kind_of_failure ("", "failed", "refused", "broken"), seconds (of all tries)
judged      key: hash of the image's key, the judge and the role. image (its key), sha256, prompt, iteration, role ("reward", "hold_out"), judge,
            reward, parts ({name: number}), skipped ("" = judged), seconds
iteration   key: its number. number, best_prompt, best_reward, best_hold_out (of all up to then, by reward; best_hold_out is that prompt's),
            reward_mean, hold_out_mean, top_reward, top_hold_out (of this iteration alone; top = its best by reward), images_made (all up to
            then, failed tries as well), counts (see below; all up to then), candidates ([{prompt, iteration, reward, hold_out, parts, images
            (["images/KEY.png"]), seeds}], in the order they were tried)
done        key "done": the run ended by itself. what ("steer", "pick"), goal, complete, best and start (as in `candidates`), kept (pick: the
            images kept, as in `candidates`), counts, notes, seconds ({writer, generator, judge, hold_out}: spent in them, as recorded)
=========== ==================================================================================================================================

counts: images (failed tries as well), writer_calls, proposed, duplicates, near_duplicates, empty, too_long, spare, over_budget (accepted, but
not tried), refused, failed, broken (prompts without an image, by the reason), failed_tries (of images), writer_refused, writer_failed,
writer_broken (calls), not_judged (prompts), hold_out_not_judged (images), judged (prompts with a reward).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import time
import warnings
import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from beholder.errors import BeholderError
from beholder.locking import lock

FORMAT = 1
SETTINGS, EVENTS, IMAGES, LOCK, REPORT = "run.json", "events.jsonl", "images", "lock", "report.html"
GROW = ("iterations",)  # settings that a finished run may be given more of
COMPRESSION = {"compress_level": 1, "compress_type": zlib.Z_RLE}  # of PNG: several times as fast as the defaults, and photographs come out smaller


class RunFolderWarning(UserWarning):
    """Something recorded is lost; the run makes it again."""


class RunFolder:
    """One run on disk, see the module.

    Made if it is not there; opened if it is there with equal settings (or with more iterations). Used by one process at a time. Also a context manager; `close` or its end
    gives the folder free.

    Args:
        folder: made with its parents.
        settings: everything that may change the result, as JSON knows it.

    Raises:
        BeholderError: other settings (they are named), another process, a folder of something else, a folder that cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, *, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.settings: dict = json.loads(json.dumps(plain(settings)))
        held = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = _locked(self.folder)
            self._claim()
            (self.folder / IMAGES).mkdir(exist_ok=True)
            for part in (self.folder / IMAGES).glob(".*.part"):
                part.unlink()  # of a process that was killed
            self._events = self._read(cut=True)
            self._log: IO[bytes] | None = (self.folder / EVENTS).open("ab", buffering=0)
        except BaseException as error:
            if held is not None:
                held.close()
            if isinstance(error, OSError):
                raise BeholderError(f"the run cannot be kept in {self.folder} ({error.strerror or error}): name another folder") from error
            raise
        self._release = weakref.finalize(self, _close_all, self._log, held)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> RunFolder:
        """For reading only, also while another process writes it: what was recorded up to now."""
        run = cls.__new__(cls)
        run.folder, run._log, run._release = Path(folder), None, lambda: None
        try:
            run.settings = run._kept_settings()
            run._events = run._read(cut=False)
        except OSError as error:
            raise BeholderError(f"{folder} holds no run ({error.strerror or error}): name the folder that `beholder steer` wrote") from error
        return run

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder free; what was recorded stays readable here."""
        self._log = None
        self._release()

    def get(self, kind: str, key: str) -> dict | None:
        """The event that was recorded last under the key; None if there is none. Not to be changed."""
        return self._events.get((kind, key))

    def put(self, kind: str, key: str, **values: Any) -> dict:
        """Record one event and return it. It is on disk before this returns."""
        return self.put_many(kind, {key: values})[0]

    def put_many(self, kind: str, events: Mapping[str, Mapping[str, Any]]) -> list[dict]:
        """Record several, key -> values, with one wait for the disk."""
        made = [{"kind": kind, "key": key, "time": round(time.time(), 3), **plain(values)} for key, values in events.items()]
        if self._log is None:
            raise BeholderError(f"{self.folder} is open for reading only: nothing can be recorded in it")
        if made:
            before = os.fstat(self._log.fileno()).st_size
            try:
                _write_all(self._log, "".join(json.dumps(event, allow_nan=False) + "\n" for event in made).encode())
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._log.truncate(before)  # half a line would spoil the next one
                raise self._full(error) from error
        self._events.update({(kind, event["key"]): event for event in made})
        return made

    def events(self, kind: str | None = None) -> list[dict]:
        """The latest event of every key, in the order the keys were first recorded; of one kind, or of all. Not to be changed."""
        return [event for event in self._events.values() if kind is None or event["kind"] == kind]

    def image_file(self, key: str) -> Path:
        """Where the image of this key is, or would be."""
        return self.folder / IMAGES / f"{key}.png"

    def add_image(self, key: str, image: Image.Image, *, prompt: str = "", seed: int | None = None) -> Path:
        """Write an image as images/KEY.png, whole or not at all; the prompt and seed are also in it, as PNG text."""
        info = PngInfo()
        info.add_itxt("prompt", prompt.encode("utf-8", "replace").decode())
        info.add_text("seed", "" if seed is None else str(seed))
        pixels = image if image.mode in ("RGB", "L") else image.convert("RGB")
        packed = io.BytesIO()
        pixels.save(packed, "PNG", pnginfo=info, **COMPRESSION)
        try:
            write_whole(self.image_file(key), packed.getvalue())
        except OSError as error:
            raise self._full(error) from error
        return self.image_file(key)

    def _full(self, error: OSError) -> BeholderError:
        return BeholderError(
            f"{self.folder} cannot be written ({error.strerror or error}): see to it, and give the same command again; all up to here is kept"
        )

    def _kept_settings(self) -> dict:
        try:
            kept = json.loads((self.folder / SETTINGS).read_bytes())
            if kept["format"] != FORMAT:
                raise BeholderError(f"the run in {self.folder} was written by another version of beholder: use that version, or another folder")
            return dict(kept["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise BeholderError(f"{self.folder / SETTINGS} is damaged: name another folder, or put the file back from a copy") from error

    def _claim(self) -> None:
        """The folder is ours: new, or of a run with these settings."""
        if (self.folder / SETTINGS).exists():
            kept = self._kept_settings()
            grown = [name for name in GROW if _more(kept.get(name), self.settings.get(name))]
            different = differences({**kept, **{name: self.settings[name] for name in grown}}, self.settings)
            if not different and grown:  # the same steps up to the old end, and then some
                self._write_settings()
            if different:
                raise BeholderError(
                    f"{self.folder} holds a run with other settings ({'; '.join(different)}): go on with the same settings, or name another folder"
                )
            return
        others = sorted(entry.name for entry in self.folder.iterdir() if entry.name != LOCK and not entry.name.startswith("."))
        if others:
            raise BeholderError(f"{self.folder} holds other files ({others[0]}) and no run: name a new folder")
        self._write_settings()

    def _write_settings(self) -> None:
        from beholder import __version__

        text = json.dumps({"format": FORMAT, "beholder": __version__, "settings": self.settings}, indent=1)
        write_whole(self.folder / SETTINGS, text.encode())

    def _read(self, *, cut: bool) -> dict[tuple[str, str], dict]:
        """The recorded events; lines that cannot be read are left out, and a last one that was not finished is cut off the file."""
        file = self.folder / EVENTS
        if not file.exists():
            return {}
        data = file.read_bytes()
        whole = data.rfind(b"\n") + 1
        events: dict[tuple[str, str], dict] = {}
        damaged = []
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
            try:
                event = json.loads(line)
                events[event["kind"], event["key"]] = event
            except (ValueError, KeyError, TypeError):
                damaged.append(number)
        if cut and whole < len(data):
            with file.open("r+b") as log:
                log.truncate(whole)
                os.fsync(log.fileno())
            lost = data[whole : whole + 60].decode("utf-8", "replace")
            self._warn(f"the last line of {file} was not finished and is cut off ({lost!r} ...): what it was about is asked again")
        if cut and damaged:
            self._warn(f"{file}: line {', '.join(map(str, damaged[:5]))} cannot be read and is left out: what it was about is asked again")
        return events

    def _warn(self, text: str) -> None:
        warnings.warn(text, RunFolderWarning, stacklevel=4)


def short_hash(*parts: object) -> str:
    """20 hexadecimal digits of the parts in this order; the same in every process."""
    text = json.dumps([str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def plain(value: Any) -> Any:
    """The value as JSON keeps it: nan and infinite numbers are None, tuples are lists, paths text, numbers of numpy numbers."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "item"):
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} cannot be recorded")


def differences(kept: Mapping, given: Mapping, *, prefix: str = "") -> list[str]:
    """What differs between two settings, one "NAME: X there, Y here" each."""
    found = []
    for name in sorted({*kept, *given}):
        there, here = kept.get(name), given.get(name)
        if isinstance(there, dict) and isinstance(here, dict):
            found += differences(there, here, prefix=f"{prefix}{name}.")
        elif there != here or (name in kept) != (name in given):
            found.append(f"{prefix}{name}: {_shown(kept, name)} there, {_shown(given, name)} here")
    return found


def _more(there: object, here: object) -> bool:
    """Both are whole numbers, and the second is larger."""
    return isinstance(there, int) and isinstance(here, int) and here > there


def _shown(settings: Mapping, name: str) -> str:
    if name not in settings:
        return "not set"
    text = json.dumps(settings[name], ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def write_whole(file: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    The folder is not waited for: an image whose name a power cut took is found missing, and made again.
    """
    part = file.with_name(f".{file.name}.part")
    with part.open("wb", buffering=0) as handle:
        _write_all(handle, data)
    os.replace(part, file)


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())


def _locked(folder: Path) -> IO[bytes]:
    """An open file that keeps other processes out until it is closed, which the end of the process does, too."""
    file = (folder / LOCK).open("a+b", buffering=0)
    if not lock(file):
        file.seek(0)
        holder = file.read(20).decode("ascii", "replace").strip()
        file.close()
        who = f"process {holder}" if holder else "another process"
        raise BeholderError(f"{folder} is in use by {who}: wait for it to end, or name another folder")
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    return file


def _close_all(*files: IO[bytes]) -> None:
    for file in files:
        file.close()
