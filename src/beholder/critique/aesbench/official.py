"""AesBench_evaluation.json, as the benchmark is given out, and the right answers in it or beside it.

{"baid_1.jpg": {"AesP_data": {"Question": ..., "Options": "A) ...\\nB) ..."}, "AesE_data": {...}, "AesA1_data": {...}, "AesI_data": {"Question": ...}}}

Spellings without "_data", in small letters, AesA for AesA1, options as list or mapping, and lists of objects with an image are read as well. The
right answers are not given out for the test set: they stand in the same objects (Answer), or in one of `TRUTH` beside the file, as
{image: {part: answer}} or as columns image, AesP, AesE, AesA, AesI.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from beholder.critique.aesbench.fields import dimension_of, letter_of, options_of, plain, question_type, source_of, told_source, told_type
from beholder.critique.aesbench.questions import PARTS, Benchmark, Question
from beholder.datasets.table import read_columns, some
from beholder.errors import BeholderError

FILE = "AesBench_evaluation.json"
TRUTH = ("result.json", "answers.json", "ground_truth.json", "labels.json", "answers.csv", "ground_truth.csv", "labels.csv")
PART_KEYS = {part: (plain(part), f"{plain(part)}data") for part in PARTS} | {"AesA": ("aesa1data", "aesa1", "aesadata", "aesa")}
IMAGE_KEYS = ("image", "img", "imgname", "imagename", "filename", "name")
ANSWER_KEYS = ("answer", "correctanswer", "label", "groundtruth", "gt", "correct", "reference")


def read_official(path: Path) -> Benchmark:
    """The questions of an official file, whether or not their images are there.

    Raises:
        BeholderError: no JSON of this form, or no question in it that can be read.
    """
    twice: Counter[str] = Counter()
    entries = _entries(_json(path, twice=twice), path=path)
    questions: list[Question] = []
    skipped: list[str] = []
    notes = [f"{len(twice)} keys of {path.name} stand there more than once ({some(list(twice))}): the last counts"] if twice else []
    inferred: Counter[str] = Counter()
    for image, item in entries.items():
        fields = {plain(key): value for key, value in item.items()}
        source = told_source(next((fields[key] for key in ("source", "imagesource", "imagetype") if key in fields), ""))
        inferred["source"] += not source
        for part in PARTS:
            value = next((fields[key] for key in PART_KEYS[part] if key in fields), None)
            if value is None:
                continue
            question = _question(image, part, value, source=source or source_of(image), inferred=inferred)
            if isinstance(question, Question):
                questions.append(question)
            else:
                skipped.append(f"{part} of {image} {question}")
    if not questions:
        why = f": {skipped[0]}" if skipped else ""
        raise BeholderError(f"{path} holds no question of AesBench that can be read{why}; give the official {FILE}")
    if skipped:
        notes.append(f"{len(skipped)} questions cannot be read and are left out ({some(skipped)})")
    if inferred["source"]:
        notes.append(
            f"the source (NI, AI, AGI) of {inferred['source']} of {len(entries)} images is inferred from their names, as the file does not tell it"
        )
    if inferred["qtype"]:
        notes.append(
            f"the type of {inferred['qtype']} questions (yes-no, what, how, why) is inferred from their first words, as the file does not tell it"
        )
    if inferred["answer"]:
        notes.append(f"{inferred['answer']} right answers name none of their options: those questions are not scored")
    return Benchmark(path.stem, tuple(_with_truth(questions, path.parent, notes=notes)), notes=tuple(notes))


def _json(path: Path, *, twice: Counter[str]) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(key for key, _ in found)
        twice.update({key: n for key, n in counts.items() if n > 1})
        return dict(found)

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=pairs)
    except OSError as error:
        raise BeholderError(f"{path} cannot be read: {error.strerror or error}; give the path of the benchmark's file") from None
    except UnicodeDecodeError:
        raise BeholderError(f"{path} is not UTF-8 text: unpack the benchmark again") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise BeholderError(f"{path} is not valid JSON ({error}): unpack the benchmark again") from None


def _entries(content: Any, *, path: Path) -> dict[str, Mapping[str, Any]]:
    """Image -> object."""
    if isinstance(content, list) and all(isinstance(item, Mapping) for item in content):
        named: dict[str, Mapping[str, Any]] = {}
        for number, item in enumerate(content, start=1):
            fields = {plain(key): value for key, value in item.items()}
            image = next((str(fields[key]) for key in IMAGE_KEYS if fields.get(key)), "")
            if not image:
                raise BeholderError(f'{path} entry {number} names no image: add it as "image"')
            named[image] = {**named.get(image, {}), **item}  # parts of one image may stand apart
        content = named
    if not isinstance(content, Mapping) or not content:
        raise BeholderError(f"{path} is no object of images with their questions: give the official {FILE}")
    odd = next((image for image, item in content.items() if not isinstance(item, Mapping)), None)
    if odd is not None:
        raise BeholderError(f"{path}: {odd!r} is no object with AesP_data, AesE_data, AesA1_data or AesI_data: give the official {FILE}")
    return dict(content)


def _question(image: str, part: str, value: Any, *, source: str, inferred: Counter[str]) -> Question | str:
    """The question, or a clause that says why there is none."""
    if isinstance(value, str) and part == "AesI":
        value = {"question": value}
    if not isinstance(value, Mapping):
        return "is no object with a question"
    fields = {plain(key): inner for key, inner in value.items()}
    text = str(fields.get("question") or "").strip()
    if not text:
        return "has no question"
    answer = next((fields[key] for key in ANSWER_KEYS if fields.get(key) not in (None, "")), "")
    made = Question(image, part, text, source=source, id=f"{part}/{image}")
    if part == "AesI":
        return replace(made, reference=str(answer).strip())
    raw = next((fields[key] for key in ("options", "choices") if fields.get(key)), "")
    options = options_of(raw)
    if not options:
        return "has no options"
    letter = letter_of(answer, options)
    inferred["answer"] += bool(str(answer).strip()) and not letter
    qtype = ""
    if part != "AesA":
        qtype = told_type(next((fields[key] for key in ("qtype", "questiontype", "type") if key in fields), ""))
        inferred["qtype"] += not qtype
        qtype = qtype or question_type(text)
    dimension = dimension_of(
        next((fields[key] for key in ("dimension", "subdimension", "category", "attribute") if fields.get(key)), ""), part=part
    )
    return replace(made, options=options, answer=letter, dimension=dimension, qtype=qtype, shown=raw if isinstance(raw, str) else "")


def _with_truth(questions: list[Question], folder: Path, *, notes: list[str]) -> list[Question]:
    """The questions with the answers of a file beside them, where they have none of their own."""
    path = next((folder / name for name in TRUTH if (folder / name).is_file()), None)
    if path is None:
        return questions
    truth = _truth(path)
    found, strange, taken, differing = [], 0, 0, []
    for question in questions:
        value = truth.get(question.image, {}).get(question.part, "")
        if value and question.part == "AesI":
            question = question if question.reference else replace(question, reference=str(value).strip())
            taken += 1
        elif value:
            letter = letter_of(value, question.options)
            strange += not letter
            if question.answer and letter and letter != question.answer:
                differing.append(question.id)
            taken += bool(letter) and not question.answer
            question = question if question.answer else replace(question, answer=letter)
        found.append(question)
    notes.append(f"{taken} right answers were read from {path.name}")
    if strange:
        notes.append(f"{strange} answers of {path.name} name none of their options: those questions are not scored by it")
    if differing:
        notes.append(
            f"{len(differing)} answers of {path.name} differ from those beside the questions ({some(differing)}): the latter count"
        )
    unknown = sorted(set(truth) - {question.image for question in questions})
    if unknown:
        notes.append(f"{len(unknown)} images of {path.name} are not in the benchmark ({some(unknown)})")
    return found


def _truth(path: Path) -> dict[str, dict[str, Any]]:
    """Image -> part -> answer as it stands there."""
    keys = {spelling: part for part, spellings in PART_KEYS.items() for spelling in spellings}
    if path.suffix == ".csv":
        table = read_columns(path, what="the right answers")
        images = table.column(*IMAGE_KEYS, "image_name", "file_name")
        columns = {part: table.columns[name] for name in table.columns if (part := keys.get(plain(name)))}
        return {image: {part: values[row] for part, values in columns.items()} for row, image in enumerate(images)}
    content = _entries(_json(path, twice=Counter()), path=path)
    found: dict[str, dict[str, Any]] = {}
    for image, item in content.items():
        for key, value in item.items():
            if part := keys.get(plain(key)):
                if isinstance(value, Mapping):
                    value = next((inner for name, inner in value.items() if plain(name) in ANSWER_KEYS), "")
                found.setdefault(image, {})[part] = value
    return found
