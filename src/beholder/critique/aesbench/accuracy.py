"""How many multiple-choice questions were answered rightly, by part, dimension, source and type; and what chance and habit would give. No torch.

An answer that gives no letter, or none at all, is wrong and counted as such: leaving such answers out would reward them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from beholder.critique.aesbench.estimates import DRAWS, GRADE, Estimate, Key, estimates
from beholder.critique.aesbench.extraction import extract
from beholder.critique.aesbench.questions import CHOICE_PARTS, Benchmark, Question

WHY_NONE = {"refused": "refused", "several": "name several", "nothing": "name none"}  # by what `extract` says
NONE = "none"  # the answer of whoever gave no letter, in tables
_ONE_LETTER = 0.2  # share of answers that one letter may have beyond its share of right answers without being said
_FEWEST = 30  # questions from which on something is said about them


@dataclass(frozen=True)
class Marked:
    """One answer, marked.

    Args:
        text: the answer as it was given; "" if it was empty, None if there was none.
        letter: what was read from it; "" if nothing.
        how: as `extraction.extract` says; "unanswered" if there was no answer, or an empty one.
    """

    question: Question
    text: str | None
    letter: str
    how: str

    @property
    def right(self) -> bool:
        return bool(self.letter) and self.letter == self.question.answer

    @property
    def unanswered(self) -> bool:
        return not (self.text or "").strip()

    @property
    def unparsable(self) -> bool:
        """There is an answer, but it gives no single letter."""
        return not self.letter and not self.unanswered


@dataclass(frozen=True)
class Group:
    """Counts over some questions.

    Args:
        n: questions whose right answer is known.
        right: rightly answered.
        unparsable: answers without a single letter (refusals among them); wrong.
        unanswered: empty or missing answers; wrong.
        chance: % that guessing gives: mean of 1 / options.
        one_letter, one_letter_right: the letter that is right most often, and % that always giving it is right.
    """

    n: int
    right: int
    unparsable: int
    unanswered: int
    chance: float
    one_letter: str
    one_letter_right: float

    @property
    def accuracy(self) -> float:
        """% right."""
        return 100.0 * self.right / self.n

    def to_json(self) -> dict[str, Any]:
        made = {name: getattr(self, name) for name in ("n", "right", "unparsable", "unanswered", "one_letter")}
        return made | {name: round(getattr(self, name), 4) for name in ("accuracy", "chance", "one_letter_right")}


@dataclass(frozen=True)
class PartAccuracy:
    """One part.

    Args:
        marked: the answers to all questions whose right answer is known, in the order of the benchmark.
        n_unknown: questions whose right answer is not published; they do not count.
    """

    part: str
    marked: tuple[Marked, ...]
    n_unknown: int = 0

    @cached_property
    def groups(self) -> dict[Key, Group]:
        """The whole part first, then dimensions, sources, types, and for AesA the grades (by the right answer)."""
        return {key: _group(found) for key, found in self._members.items()}

    @property
    def whole(self) -> Group:
        return self.groups[Key(self.part)]

    @property
    def given(self) -> dict[str, int]:
        """How often each letter was given; "none" for answers without one."""
        return dict(sorted(Counter(one.letter or NONE for one in self.marked).items()))

    @property
    def right_letters(self) -> dict[str, int]:
        """How often each letter is right."""
        return dict(sorted(Counter(one.question.answer for one in self.marked).items()))

    @property
    def how(self) -> dict[str, int]:
        """How the letters were read, or why there are none: the most frequent first."""
        return dict(Counter(one.how for one in self.marked).most_common())

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """Right grade -> given grade -> answers (AesA); {} for other parts. "none" = no letter."""
        if self.part != "AesA":
            return {}
        grades = list(dict.fromkeys(_grade(text) for one in self.marked for _, text in one.question.options))
        table = {grade: dict.fromkeys([*grades, NONE], 0) for grade in grades}
        for one in self.marked:
            options = dict(one.question.options)
            if one.question.answer in options:
                table[_grade(options[one.question.answer])][_grade(options[one.letter]) if one.letter in options else NONE] += 1
        return table

    @cached_property
    def sums(self) -> dict[Key, dict[str, tuple[float, float]]]:
        """For `estimates`: key -> image -> (right, questions)."""
        return {key: _by_image(found) for key, found in self._members.items()}

    @cached_property
    def _members(self) -> dict[Key, list[Marked]]:
        found: dict[Key, list[Marked]] = {Key(self.part): list(self.marked)}
        for by, name_of in (
            ("dimension", lambda q: q.dimension),
            ("source", lambda q: q.source),
            ("type", lambda q: q.qtype),
            (GRADE, _right_grade),
        ):
            named: dict[Key, list[Marked]] = {}
            for one in self.marked:
                if name := name_of(one.question):
                    named.setdefault(Key(self.part, by, name), []).append(one)
            found |= named
        return found

    def remarks(self, intervals: Mapping[Key, Estimate]) -> list[str]:
        """What a reader of the accuracy has to know, one sentence each."""
        whole, out = self.whole, []
        if whole.unparsable:
            reasons = ", ".join(
                f"{count} {WHY_NONE.get(how, how)}"
                for how, count in Counter(one.how for one in self.marked if one.unparsable).most_common()
            )
            out.append(f"{self.part}: {whole.unparsable} of {whole.n} answers give no single option ({reasons}) and count as wrong")
        if whole.unanswered:
            out.append(f"{self.part}: {whole.unanswered} of {whole.n} questions have no answer and count as wrong")
        if self.n_unknown:
            out.append(f"{self.part}: the right answer to {self.n_unknown} questions is not published, so they do not count")
        if whole.n < _FEWEST:
            return out
        low = intervals[Key(self.part)].low
        beyond = max(whole.chance, whole.one_letter_right)
        if low <= beyond:
            out.append(
                f"{self.part}: {whole.accuracy:.2f} % cannot be told from guessing ({whole.chance:.2f} %) or always answering {whole.one_letter} "
                f"({whole.one_letter_right:.2f} %)"
            )
        for letter, count in self.given.items():
            share, fair = count / whole.n, self.right_letters.get(letter, 0) / whole.n
            if letter != NONE and share > fair + _ONE_LETTER:
                out.append(
                    f"{self.part}: {letter} is {share:.0%} of the answers but right for {fair:.0%} of the questions: the place of an option decides"
                )
        return out


def accuracies(benchmark: Benchmark, answers: Mapping[str, Mapping[str, str]]) -> dict[str, PartAccuracy]:
    """The multiple-choice parts that were answered at all and have known right answers.

    Args:
        answers: part -> image -> answer as it was given.
    """
    found = {}
    for part in CHOICE_PARTS:
        questions = benchmark.of_part(part)
        known = [question for question in questions if question.answer]
        if part in answers and known:
            marked = tuple(mark(question, answers[part].get(question.image)) for question in known)
            found[part] = PartAccuracy(part, marked, n_unknown=len(questions) - len(known))
    return found


def mark(question: Question, text: str | None) -> Marked:
    """One answer; None = there is none."""
    if not (text or "").strip():
        return Marked(question, text, "", "unanswered")
    read = extract(text, dict(question.options))
    return Marked(question, text, read.letter, read.how)


def intervals(found: Mapping[str, PartAccuracy], *, draws: int = DRAWS, seed: int = 0) -> dict[Key, Estimate]:
    """% right with a 95 % interval for every group (bootstrap over images, seeded; ours: the paper gives none)."""
    return estimates({key: sums for one in found.values() for key, sums in one.sums.items()}, draws=draws, seed=seed)


def _group(found: Sequence[Marked]) -> Group:
    letters = Counter(one.question.answer for one in found)
    letter, often = max(sorted(letters.items()), key=lambda pair: pair[1])
    return Group(
        n=len(found),
        right=sum(one.right for one in found),
        unparsable=sum(one.unparsable for one in found),
        unanswered=sum(one.unanswered for one in found),
        chance=100.0 * sum(1 / max(len(one.question.options), 1) for one in found) / len(found),
        one_letter=letter,
        one_letter_right=100.0 * often / len(found),
    )


def _by_image(found: Iterable[Marked]) -> dict[str, tuple[float, float]]:
    sums: dict[str, tuple[float, float]] = {}
    for one in found:
        right, n = sums.get(one.question.image, (0.0, 0.0))
        sums[one.question.image] = (right + one.right, n + 1)
    return sums


def _grade(text: str) -> str:
    return " ".join(text.split()).rstrip(".").capitalize()


def _right_grade(question: Question) -> str:
    return _grade(dict(question.options).get(question.answer, "")) if question.part == "AesA" else ""
