"""Running the program in tests: in this process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import image_files
from beholder.errors import BeholderError

STUB = ["--scorer", "stub_scorers:Stub"]  # a scorer that needs no weights
HERE = Path(__file__).parent


def beholder(*arguments):
    """Run in this process. The result has exit_code, stdout, stderr; an exception that is not an exit is raised."""
    from beholder.cli.app import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, prog_name="beholder")


def process(*arguments, **options):
    """Run as a process. The result has returncode, stdout, stderr (text)."""
    environment = os.environ | {"PYTHONPATH": str(HERE), "PYTHONUTF8": "1"} | options.pop("env", {})
    command = [sys.executable, "-c", "from beholder.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", env=environment, timeout=120, **options)


def make_photos(folder, *names, start=0):
    """Write a different picture under each name (a path below the folder); returns the paths as text."""
    paths = []
    for seed, name in enumerate(names or ("a.png", "b.png", "c.png", "d.png"), start=start):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = image_files.picture(seed=seed)
        picture.rotate(40 * seed).save(path, "PNG")
        paths.append(str(path))
    return paths


def one_sentence(stderr):
    """The message, after checking that it is one line without a traceback."""
    lines = stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("beholder: "), stderr
    assert "Traceback" not in stderr
    return lines[0].removeprefix("beholder: ")


def refused(call, *words):
    """The message with which a call is refused: one line that holds these words."""
    with pytest.raises(BeholderError) as caught:
        call()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 1
    return message
