"""Training examples as columns, with their way to a file that people and other tools can read."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from beholder.errors import BeholderError
from beholder.personas import questions
from beholder.personas.questions import Question

if TYPE_CHECKING:
    from beholder.datasets.base import Dataset

TASKS = ("piaa", "subjective", "caption")
NO_RATER = -1
NO_INTEGER = -1


@dataclass(frozen=True)
class Example:
    """One (profile, image, question, answer).

    Args:
        task: "piaa" (a score), "subjective" (the base LLM's own answer, whatever the image) or "caption".
        rater: index into the dataset's raters; -1 = no profile.
        image: index into the dataset's images.
        question: a `Question`, or the text of one whose answer is free text.
        answer: text to be learned.
        integer: the score in the answer; None if there is none.
        source: "ratings", "model NAME", "column" or "stand-in".
    """

    task: Literal["piaa", "subjective", "caption"]
    rater: int
    image: int
    question: Question | str
    answer: str
    integer: int | None
    source: str


@dataclass(frozen=True)
class Examples:
    """Many examples in little memory: 24 bytes each beside the texts, which are kept once.

    Args:
        task: [n] int8, index into `TASKS`.
        rater, image: [n] int32, see `Example`.
        question, answer, source: [n] int32, indices into `questions`, `answers`, `sources`.
        integer: [n] int16, -1 = none.
        profiles: [n_raters of the dataset] rendered profiles; "" where nothing is known, or no example needs it.
        notes: what users must know, one sentence each.
    """

    task: np.ndarray
    rater: np.ndarray
    image: np.ndarray
    question: np.ndarray
    answer: np.ndarray
    source: np.ndarray
    integer: np.ndarray
    questions: tuple[Question | str, ...]
    answers: tuple[str, ...]
    sources: tuple[str, ...]
    profiles: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Example], *, profiles: Sequence[str], notes: Sequence[str] = ()) -> Examples:
        """From single examples."""
        pools = {name: list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("question", "answer", "source")}
        places = {name: {value: i for i, value in enumerate(pool)} for name, pool in pools.items()}
        return cls(
            task=np.array([TASKS.index(row.task) for row in rows], dtype=np.int8),
            rater=np.array([row.rater for row in rows], dtype=np.int32),
            image=np.array([row.image for row in rows], dtype=np.int32),
            **{name: np.array([place[getattr(row, name)] for row in rows], dtype=np.int32) for name, place in places.items()},
            integer=np.array([NO_INTEGER if row.integer is None else row.integer for row in rows], dtype=np.int16),
            questions=tuple(pools["question"]),
            answers=tuple(pools["answer"]),
            sources=tuple(pools["source"]),
            profiles=tuple(profiles),
            notes=tuple(notes),
        )

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, row: int) -> Example:
        integer = int(self.integer[row])
        return Example(
            task=TASKS[self.task[row]],
            rater=int(self.rater[row]),
            image=int(self.image[row]),
            question=self.questions[self.question[row]],
            answer=self.answers[self.answer[row]],
            integer=None if integer == NO_INTEGER else integer,
            source=self.sources[self.source[row]],
        )

    def rows(self, keep: np.ndarray | Sequence[int]) -> Examples:
        """Only these rows (boolean mask or indices, order kept as given)."""
        keep = np.arange(len(self))[np.asarray(keep, dtype=None if len(keep) else np.int64)]
        columns = ("task", "rater", "image", "question", "answer", "source", "integer")
        return replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def profile_of(self, row: int) -> str:
        """The rendered profile of an example; "" for none."""
        return self.profiles[self.rater[row]] if self.rater[row] != NO_RATER else ""

    def question_text(self, row: int) -> str:
        question = self.questions[self.question[row]]
        return question.text if isinstance(question, Question) else question

    def summary(self) -> str:
        """One line: how many of which task, from which sources."""
        counts = Counter(zip(self.task.tolist(), self.source.tolist(), strict=True))
        parts = [f"{count} {TASKS[task]} ({self.sources[source]})" for (task, source), count in sorted(counts.items())]
        return f"{len(self)} examples: {', '.join(parts)}"

    def variation(self) -> dict[str, float]:
        """How far the controlled variation of P-MLLM holds (section 3.2): the share of distinct pairs of two inputs that occur with at least two values
        of the third, captions left out. "image, question" with several profiles, "profile, image" with several questions, "profile, question" with
        several images. 1 = always; nan without rows."""
        keep = self.rater != NO_RATER
        columns = {"profile": self.rater[keep], "image": self.image[keep], "question": self.question[keep]}
        distinct = np.unique(np.stack(list(columns.values()), axis=1), axis=0)
        shares = {}
        for first, second in (("image", "question"), ("profile", "image"), ("profile", "question")):
            pair = distinct[:, [list(columns).index(first), list(columns).index(second)]]
            counts = np.unique(pair, axis=0, return_counts=True)[1]
            shares[f"{first}, {second}"] = float((counts > 1).mean()) if len(counts) else float("nan")
        return shares

    def write_jsonl(self, path: str | os.PathLike, *, dataset: Dataset) -> Path:
        """One JSON object per line: task, rater, image (ids of the dataset), profile, question, answer, integer, source; of a question for a score also
        its attribute, family and scale. Complete or not there at all.

        Raises:
            BeholderError: it cannot be written.
        """
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                for row in range(len(self)):
                    file.write(json.dumps(self._entry(row, dataset), ensure_ascii=False) + "\n")
            os.replace(partial, path)
        except OSError as error:
            raise BeholderError(f"the examples cannot be written to {path}: {error.strerror or error}; choose another place") from None
        return path

    def _entry(self, row: int, dataset: Dataset) -> dict[str, Any]:
        example = self[row]
        question = example.question
        entry = {
            "task": example.task,
            "rater": dataset.raters[example.rater] if example.rater != NO_RATER else None,
            "image": dataset.image_ids[example.image],
            "profile": self.profile_of(row),
            "question": self.question_text(row),
            "answer": example.answer,
            "integer": example.integer,
            "source": example.source,
        }
        if isinstance(question, Question):
            entry |= {"attribute": question.name, "family": question.family, "low": question.low, "high": question.high}
        return entry


def read_jsonl(path: str | os.PathLike, *, dataset: Dataset) -> Examples:
    """What `Examples.write_jsonl` wrote, or the same made by other tools.

    Raises:
        BeholderError: a line is not such an object, or names a rater or an image that the dataset does not have.
    """
    path = Path(path)
    raters = {name: i for i, name in enumerate(dataset.raters)}
    images = {name: i for i, name in enumerate(dataset.image_ids)}
    profiles = [""] * len(raters)
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row, profile = _parsed(json.loads(line), raters=raters, images=images)
                except (ValueError, TypeError, KeyError, AttributeError, BeholderError) as error:
                    what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
                    raise BeholderError(f"{path} line {number} is not a training example ({what}): correct it or remove the line") from None
                rows.append(row)
                if row.rater != NO_RATER:
                    profiles[row.rater] = profile
    except OSError as error:
        raise BeholderError(f"the examples {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BeholderError(f"the examples {path} are not UTF-8 text: save them as UTF-8") from None
    return Examples.of(rows, profiles=profiles)


def _parsed(entry: dict[str, Any], *, raters: dict[str, int], images: dict[str, int]) -> tuple[Example, str]:
    task, rater, image = entry["task"], entry.get("rater"), entry["image"]
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r}, there are {', '.join(TASKS)}")
    if rater is not None and rater not in raters:
        raise ValueError(f"the dataset has no rater {rater!r}")
    if image not in images:
        raise ValueError(f"the dataset has no image {image!r}")
    question: Question | str = str(entry["question"])
    integer = entry.get("integer")
    if task == "piaa":
        question = replace(questions.scoring(entry["family"], entry["attribute"]), text=question, low=int(entry["low"]), high=int(entry["high"]))
        integer = questions.parse_integer(entry["answer"], question) if integer is None else int(integer)
        if integer not in question.integers:
            raise ValueError(f"the answer {entry['answer']!r} gives no integer from {question.low} to {question.high}")
    example = Example(
        task=task,
        rater=NO_RATER if rater is None else raters[rater],
        image=images[image],
        question=question,
        answer=str(entry["answer"]),
        integer=integer,
        source=str(entry.get("source", "file")),
    )
    return example, str(entry.get("profile", ""))
