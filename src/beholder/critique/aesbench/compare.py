"""Several models on the same questions: values with intervals, and what was gained over a base model. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beholder.critique.aesbench.accuracy import PartAccuracy, accuracies
from beholder.critique.aesbench.estimates import DRAWS, OVERALL, Estimate, Key, Sums, differences, estimates
from beholder.critique.aesbench.judged import JudgeResult
from beholder.critique.aesbench.questions import CHOICE_PARTS, Benchmark
from beholder.errors import BeholderError


@dataclass(frozen=True)
class Answered:
    """The answers of one model, and their grades.

    Args:
        name: of the model.
        answers: part -> image -> answer as it was given.
        judged: grades of AesI; None = not judged.
        version: of the model, "" if the answers were made elsewhere.
        notes: one sentence each: what has to be known of these answers.
    """

    name: str
    answers: Mapping[str, Mapping[str, str]]
    judged: JudgeResult | None = None
    version: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """One model, measured.

    Args:
        accuracies: by part, of the multiple-choice parts with known right answers.
        estimates: by key; see `estimates.Key`.
        missing: part -> why it has no score.
        remarks: one sentence each: what has to be known of these values.
    """

    answered: Answered
    accuracies: Mapping[str, PartAccuracy]
    estimates: Mapping[Key, Estimate]
    missing: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.answered.name

    @property
    def sums(self) -> Sums:
        return _sums(self.accuracies, self.answered.judged)

    @property
    def why_no_overall(self) -> str:
        """ "" if there is an overall score."""
        return "" if Key(OVERALL) in self.estimates else "; ".join(f"{part}: {why}" for part, why in self.missing.items())


@dataclass(frozen=True)
class Comparison:
    """What was measured on one benchmark.

    Args:
        base: name of the model that the others are compared with; "" for none.
        gains: model -> key -> difference from base, paired over images.
        n_images, n_whole: images that were asked about, and those of the whole benchmark.
        draws, seed: of the bootstrap.
        made: how the answers were made (prompts, length of answers, ...), for results.json.
    """

    benchmark: Benchmark
    models: tuple[Scored, ...]
    base: str
    gains: Mapping[str, Mapping[Key, Estimate]]
    n_images: int
    n_whole: int
    draws: int
    seed: int
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Those that at least one model has a score for."""
        return tuple(part for part in self.benchmark.parts if any(Key(part) in model.estimates for model in self.models))

    def model(self, name: str) -> Scored:
        return next(model for model in self.models if model.name == name)


def compare(
    benchmark: Benchmark,
    answered: Sequence[Answered],
    *,
    base: str = "",
    n_whole: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    made: Mapping[str, Any] | None = None,
) -> Comparison:
    """Measure every model, and the differences from `base` where one is named.

    Args:
        n_whole: images of the whole benchmark, if `benchmark` is a part of it.

    Raises:
        BeholderError: no model, two of one name, or a base that is none of them.
    """
    names = [one.name for one in answered]
    check_names(names, base=base)
    models = tuple(_scored(benchmark, one, draws=draws, seed=seed) for one in answered)
    n_images = len(benchmark.image_names)
    gains = {}
    if base:
        reference = next(model for model in models if model.name == base).sums
        gains = {model.name: differences(model.sums, reference, draws=draws, seed=seed) for model in models if model.name != base}
    return Comparison(benchmark, models, base, gains, n_images, n_whole or n_images, draws, seed, made or {})


def check_names(names: Sequence[str], *, base: str = "") -> None:
    """Refuse what cannot be compared, before anything is asked.

    Raises:
        BeholderError: see `compare`.
    """
    if not names:
        raise BeholderError("there is no model to be measured: name one, or give answers that were made elsewhere")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BeholderError(f"{twice[0]} is named twice: give each model once")
    if base and base not in names:
        raise BeholderError(f"the base model {base!r} is not among those measured ({', '.join(names)}): name it as one of them as well")
    if base and len(names) == 1:
        raise BeholderError(f"{base} is the only model, so there is nothing to compare it with: name another one as well")


def digest(questions: Benchmark | Mapping[str, Mapping[str, str]]) -> str:
    """32 hexadecimal digits (MD5): of the questions, options, right answers and references as read; or of answers."""
    if isinstance(questions, Benchmark):
        said: Any = [
            [q.id, q.image, q.part, q.text, q.options, q.answer, q.reference, q.dimension, q.source, q.qtype] for q in questions.questions
        ]
    else:
        said = {part: dict(sorted(found.items())) for part, found in sorted(questions.items())}
    return hashlib.md5(json.dumps(said).encode(), usedforsecurity=False).hexdigest()


def _scored(benchmark: Benchmark, answered: Answered, *, draws: int, seed: int) -> Scored:
    found = accuracies(benchmark, answered.answers)
    values = estimates(_sums(found, answered.judged), draws=draws, seed=seed)
    missing = {
        part: why
        for part in ("AesP", "AesE", "AesA", "AesI")
        if (why := _why_missing(benchmark, answered, part, known=Key(part) in values))
    }
    remarks = [*answered.notes, *(line for one in found.values() for line in one.remarks(values)), *_about_judge(answered)]
    return Scored(answered, found, values, missing, tuple(dict.fromkeys(remarks)))


def _sums(found: Mapping[str, PartAccuracy], judged: JudgeResult | None) -> Sums:
    return {key: sums for one in found.values() for key, sums in one.sums.items()} | (judged.sums if judged is not None else {})


def _why_missing(benchmark: Benchmark, answered: Answered, part: str, *, known: bool) -> str:
    if known:
        return ""
    if part not in benchmark.parts:
        return "not among the questions"
    if part not in answered.answers:
        return "not answered"
    if part in CHOICE_PARTS:
        return "the right answers are not published"
    return "nothing could be judged" if answered.judged is not None else "not judged (no --judge)"


def _about_judge(answered: Answered) -> Iterator[str]:
    if answered.judged is not None:
        yield from answered.judged.notes
