"""`command:...`: any program that writes an image, called without a shell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from beholder.backbones.weights import fingerprint
from beholder.errors import BeholderError
from beholder.steering.base import CallFailed, Generator
from beholder.steering.generators.decoding import decoded

SIZE = (512, 512)  # for {width} and {height} if no size was given
_PLACES = re.compile(r"\{(prompt|seed|out|width|height)\}")
_EXAMPLE = "write for example  command:render --prompt {prompt} --seed {seed} --out {out}"


class CommandGenerator(Generator):
    """Runs a program for every image.

    The template is split into words as a shell would, and only then are {prompt}, {seed}, {out}, {width} and {height} put into the
    words: a prompt stays within its word whatever it holds, and no shell ever reads it. A word that is the prompt alone and would begin with "-" gets a
    blank in front, so that the program does not take it for an option.

    Args:
        template: has {prompt} and {out}, the PNG or JPEG file that the program is to write; {seed} if it takes one.
        size: (width, height) in pixels for {width} and {height}.
        timeout: seconds for one image; then the program, and what it started, is ended.

    Attributes:
        version: of the template, the size, and the content of the program and of every file that the template names.

    Raises:
        BeholderError: the template cannot be understood, or the program is not there.
    """

    def __init__(self, template: str, *, size: tuple[int, int] | None = None, timeout: float = 300.0) -> None:
        try:
            self._words = shlex.split(template)
        except ValueError as error:
            raise BeholderError(f"the command {template!r} cannot be understood ({error}): {_EXAMPLE}") from None
        missing = [place for place in ("{prompt}", "{out}") if not any(place in word for word in self._words[1:])]
        if missing:
            raise BeholderError(f"the command {template!r} has no {' and no '.join(missing)}: {_EXAMPLE}")
        if size is not None and not any(place in template for place in ("{width}", "{height}")):
            raise BeholderError(
                f"the command {template!r} has neither {{width}} nor {{height}}, so it cannot be told a size: add them, or give no size"
            )
        program = shutil.which(self._words[0])
        if program is None:
            raise BeholderError(
                f"the program {self._words[0]!r} of the command was not found or may not be run: give its path, or install it"
            )
        self.name, self._program = f"command:{template.strip()}", program
        self._size, self._timeout = size or SIZE, timeout
        files = [program, *(word for word in self._words[1:] if os.path.isfile(word))]
        said = json.dumps([self._words, self._size, fingerprint(*files)])
        self.version = hashlib.blake2b(said.encode(errors="surrogateescape"), digest_size=6).hexdigest()
        self._takes_seed = "{seed}" in template

    def generate(self, prompt: str, *, seed: int) -> Image.Image:
        with tempfile.TemporaryDirectory(prefix="beholder-image-", ignore_cleanup_errors=True) as folder:
            out = Path(folder) / "image.png"
            status, complaint = self._run(self._filled(prompt, seed=seed, out=out))
            if status:
                how = f"exit code {status}" if status > 0 else f"signal {-status}"
                raise CallFailed(f"{self._words[0]} ended with {how}{f': {complaint}' if complaint else ' and said nothing'}")
            if not out.is_file():
                raise CallFailed(f"{self._words[0]} wrote no file {{out}}{f' ({complaint})' if complaint else ''}", kind="broken")
            return decoded(out, of=self._words[0])

    def notes(self) -> list[str]:
        return (
            []
            if self._takes_seed
            else [f"the command has no {{seed}}, so all images of one prompt may be the same, or none twice: {self._words[0]}"]
        )

    def _filled(self, prompt: str, *, seed: int, out: Path) -> list[str]:
        prompt = prompt.replace("\0", " ")  # no argument can hold it
        values = {"prompt": prompt, "seed": str(seed), "out": str(out), "width": str(self._size[0]), "height": str(self._size[1])}
        words = [_PLACES.sub(lambda found: values[found[1]], word) for word in self._words[1:]]
        alone = {place for place, word in enumerate(self._words[1:]) if word.startswith("{prompt}")}
        return [self._program, *(f" {word}" if place in alone and word.startswith("-") else word for place, word in enumerate(words))]

    def _run(self, words: list[str]) -> tuple[int, str]:
        """Exit code, and the last line that the program complained with."""
        with tempfile.TemporaryFile() as complaints:  # a file never fills up, as a pipe would
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints, start_new_session=True
                )
            except OSError as error:
                raise BeholderError(
                    f"the program {self._words[0]!r} of the command cannot be run ({error.strerror or error}): mend it"
                ) from None
            try:
                status = process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                raise CallFailed(f"{self._words[0]} made no image within {self._timeout:g} s") from None
            finally:  # also after Ctrl-C
                if process.poll() is None:
                    _end(process)
            complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 4096))
            lines = [line.strip() for line in complaints.read().decode(errors="replace").splitlines() if line.strip()]
            return status, lines[-1][:200].rstrip(".") if lines else ""


def _end(process: subprocess.Popen) -> None:
    """The program and everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
