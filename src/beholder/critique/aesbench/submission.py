"""Answers as AesBench wants them sent in: test_AesP.json, test_AesE.json, test_AesA1.json, test_AesI.json; and read back, to score others' answers.

{"baid_1.jpg": {"AesP_response": "B) Cool colors"}, ...}, UTF-8, in the order of the benchmark.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beholder.critique.aesbench.questions import PARTS, Benchmark
from beholder.datasets.images import loose
from beholder.datasets.table import some
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from beholder.whole_file import write_whole

NAMES = {"AesP": "AesP", "AesE": "AesE", "AesA": "AesA1", "AesI": "AesI"}


def write_submission(answers: Mapping[str, Mapping[str, str]], folder: str | os.PathLike, *, benchmark: Benchmark) -> list[Path]:
    """Write one file for each part that has answers, each whole or not at all.

    Images without an answer, and answers to images that are not in the benchmark, are named by a `SkippedInput` warning and left out.

    Args:
        answers: part -> image -> text.

    Returns:
        The files.
    """
    folder = Path(folder)
    files = []
    for part in PARTS:
        if not answers.get(part):
            continue
        given = answers[part]
        wanted = [question.image for question in benchmark.of_part(part)]
        _complain(f"test_{NAMES[part]}.json in {folder}", part, wanted=wanted, given=given)
        content = {image: {f"{NAMES[part]}_response": given[image]} for image in wanted if image in given}
        file = folder / f"test_{NAMES[part]}.json"
        files.append(write_whole(file, json.dumps(content, ensure_ascii=False, indent=1), advice="name another folder"))
    if not files:
        raise BeholderError(f"there are no answers to write to {folder}: ask a model first")
    return files


def read_submission(folder: str | os.PathLike, *, benchmark: Benchmark) -> dict[str, dict[str, str]]:
    """The answers that such files hold: part -> image -> text, in the order of the benchmark.

    Images that the files lack, and those that the benchmark lacks, are named by a `SkippedInput` warning.

    Raises:
        BeholderError: no such file, or one that is not of this form.
    """
    folder = Path(folder)
    looked = {part: list(dict.fromkeys((f"test_{NAMES[part]}.json", f"test_{part}.json"))) for part in PARTS}
    found: dict[str, dict[str, str]] = {}
    for part, names in looked.items():
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None or part not in benchmark.parts:
            continue
        wanted = [question.image for question in benchmark.of_part(part)]
        there = set(wanted)
        spelled = {loose(image): image for image in wanted}
        given = {}
        content, twice = _content(file)
        if twice:
            said = f"{file}: {len(twice)} images stand there more than once ({some(twice)})"
            warnings.warn(f"{said}: the last answer counts", SkippedInput, stacklevel=2)
        for image, value in content.items():
            given[image if image in there else spelled.get(loose(image), image)] = _text(value, part, where=f"{file}: {image}")
        _complain(str(file), part, wanted=wanted, given=given)
        found[part] = {image: given[image] for image in wanted if image in given}
        if not found[part]:
            raise BeholderError(f"{file} holds no image of {benchmark.name}: are these answers to another benchmark?")
    if not found:
        names = ", ".join(name for part in benchmark.parts for name in looked[part][:1])
        raise BeholderError(f"{folder} holds no answers: looked for {names}")
    return found


def _complain(what: str, part: str, *, wanted: list[str], given: Mapping[str, str]) -> None:
    missing = [image for image in wanted if image not in given]
    extra = sorted(set(given) - set(wanted))
    if missing:
        said = f"{what}: {len(missing)} of {len(wanted)} images have no answer of {part} ({some(missing)})"
        warnings.warn(f"{said}: they count as wrong", SkippedInput, stacklevel=3)
    if extra:
        said = f"{what}: {len(extra)} answers of {part} are to images that are not in the benchmark ({some(extra)})"
        warnings.warn(f"{said}: they are left out", SkippedInput, stacklevel=3)


def _content(file: Path) -> tuple[dict[str, Any], list[str]]:
    """What is in the file, and the keys that stand there more than once."""
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(key for key, n in Counter(key for key, _ in found).items() if n > 1)
        return dict(found)

    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=pairs)
    except OSError as error:
        raise BeholderError(f"{file} cannot be read: {error.strerror or error}; see to it") from None
    except (ValueError, RecursionError):
        raise BeholderError(f"{file} is not valid JSON in UTF-8: write it again") from None
    if not isinstance(content, Mapping):
        raise BeholderError(f"{file} is no object of images with their answers: write {{image: {{part_response: text}}}}")
    return dict(content), twice


def _text(value: Any, part: str, *, where: str) -> str:
    if isinstance(value, Mapping):
        keys = (f"{NAMES[part]}_response", f"{part}_response", "response", "answer")
        there = [value[key] for key in keys if key in value]
        value = there[0] if there else value
        value = "" if there and value is None else value  # as programs write that a model gave nothing
    if not isinstance(value, str):
        raise BeholderError(f"{where} has no text under {NAMES[part]}_response: write the answer there")
    return value.encode("utf-8", "replace").decode()  # half of an emoji, where an answer was cut off, could not be sent to a judge
