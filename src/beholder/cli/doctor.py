"""beholder doctor"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from beholder.cli import options
from beholder.cli.output import print_json, show_table

EXTRAS = {
    "local": ("running encoders here", ("torch", "transformers", "accelerate", "efficientnet_lite_pytorch")),
    "api": ("asking models over HTTP", ("httpx",)),
    "photo": ("HEIC and RAW photographs", ("pillow_heif", "rawpy")),
    "eval": ("learning curves", ("matplotlib",)),
}
PACKAGES = ("beholder", "numpy", "scipy", "scikit-learn", "pillow", "safetensors", "torch", "transformers", "typer", "rich")
TRAINED_FIRST = ("linear-hidden-reduce", "ici")  # no weights of these come with the package


@dataclass(frozen=True)
class Check:
    """One line: what, how it is ("ok", "missing", "failed", "optional"), and details or what to do."""

    what: str
    state: str
    detail: str


def doctor(encoder: options.EncoderName = "efficientnet-lite0", as_json: options.AsJson = False) -> None:
    """What is installed, which weights are found where, and one picture from end to end. Exit code 1 if something needed is missing."""
    checks = []
    for group in (_system, _packages, _extras, _folders, _weights):
        checks += group()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scorers remark about the made-up picture
        checks += _self_test(encoder)
    if as_json:
        for one in checks:
            print_json({"what": one.what, "state": one.state, "detail": one.detail})
    else:
        show_table([[one.what, one.state, one.detail] for one in checks], columns=["what", "state", "detail"])
    if any(one.state in ("missing", "failed") for one in checks):
        raise typer.Exit(1)


def _system() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield Check("system", "ok", f"{platform.platform()}, {os.cpu_count()} cores")


def _packages() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    for name in PACKAGES:
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            needed = name not in ("torch", "transformers")  # they belong to an extra, which has its own line
            yield Check(name, "missing" if needed else "optional", "run  pip install beholder" if needed else "not installed")


def _extras() -> Iterator[Check]:
    from importlib.util import find_spec

    for extra, (purpose, modules) in EXTRAS.items():
        absent = [name for name in modules if find_spec(name) is None]
        if absent:
            state = "missing" if extra == "local" else "optional"
            yield Check(f"extra {extra}", state, f"{purpose}: {', '.join(absent)} not installed; run  pip install 'beholder[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", purpose)


def _folders() -> Iterator[Check]:
    from beholder.paths import cache_dir
    from beholder.store import home_dir

    for what, folder, variable in (("cache folder", cache_dir(), "BEHOLDER_CACHE"), ("raters folder", home_dir(), "BEHOLDER_HOME")):
        if _writable(folder):
            yield Check(what, "ok", f"{folder}, {_size(folder) / 1e6:.1f} MB")
        else:
            yield Check(what, "failed", f"{folder} cannot be written: mend the rights, or name another folder with {variable}")


def _weights() -> Iterator[Check]:
    from beholder.backbones.weights import embedded_parts, resolve
    from beholder.errors import BeholderError

    for part, _ in embedded_parts():
        try:
            found = resolve(part.name)
        except BeholderError:
            state = "missing" if part.purpose == "image encoder" else "optional"
            yield Check(f"weights {part.name}", state, f"{part.purpose}: run  {part.pip}")
        else:
            yield Check(f"weights {part.name}", "ok", f"{part.purpose}, from {found.source}: {found.path}")


def _self_test(encoder: str) -> Iterator[Check]:
    """A generated picture, encoded and scored by every scorer that comes with the package, in a folder that is removed again."""
    import tempfile

    from beholder import scorers
    from beholder.errors import BeholderError
    from beholder.features import FeatureStore

    with tempfile.TemporaryDirectory(prefix="beholder-doctor-") as folder:
        picture = Path(folder) / "picture.png"
        _picture().save(picture)
        for name in scorers.SCORERS:
            try:
                if not scorers.scorer_class(name).self_contained:
                    yield Check(f"self-test {name}", "optional", "left out, as it asks a model that you have to name")
                    continue
                if name in TRAINED_FIRST:
                    yield Check(f"self-test {name}", "optional", f"left out, as it has to learn first: beholder train {name} --data DIR --out DIR")
                    continue
                with scorers.load(name, encoder=encoder, store=FeatureStore(Path(folder) / "features")) as eye:
                    score = eye.score([picture])[0]
                yield Check(f"self-test {name}", "ok", f"a made-up picture scores {score.score:.2f} ({score.low:.2f} to {score.high:.2f})")
            except BeholderError as error:
                yield Check(f"self-test {name}", "failed", str(error))
            except Exception as error:  # whatever is broken in the installation: that is what is looked for
                yield Check(f"self-test {name}", "failed", f"{type(error).__name__}: {error}")
        yield _critique(picture)


def _critique(picture: Path) -> Check:
    """The critique without a model."""
    from beholder.critique.measured.critique import critique
    from beholder.errors import BeholderError

    try:
        return Check("self-test critique", "ok", critique(picture).sections["light"].text)
    except BeholderError as error:
        return Check("self-test critique", "failed", str(error))
    except Exception as error:  # as above
        return Check("self-test critique", "failed", f"{type(error).__name__}: {error}")


def _picture():
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:240, 0:320] / 240.0
    return Image.fromarray((np.stack([x / 1.34, 1 - y, 0.5 + 0.5 * np.sin(9 * x * y)], axis=-1) * 255).astype(np.uint8))


def _writable(folder: Path) -> bool:
    existing: Path = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total
