"""Grades that a judge gave to free-text answers (AesI), and what they come to. No torch."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from beholder.critique.aesbench.estimates import Key
from beholder.critique.aesbench.questions import Question
from beholder.critique.aesbench.rubric import CRITERIA


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer and its grades.

    Args:
        scores: one {criterion: 0..2} for each repeat that gave all three; () = left unjudged, unless `empty`.
        why: reason -> repeats that gave no grades, after they were asked once more.
        asked_again: repeats that gave none at first.
        empty: there is no answer: 0 on all criteria, without a call.
    """

    question: Question
    answer: str
    scores: tuple[Mapping[str, float], ...] = ()
    why: Mapping[str, int] | None = None
    asked_again: int = 0
    empty: bool = False

    @property
    def judged(self) -> bool:
        return self.empty or bool(self.scores)

    @property
    def criteria(self) -> dict[str, float]:
        """Criterion -> mean over repeats, 0 to 2."""
        if self.empty:
            return dict.fromkeys(CRITERIA, 0.0)
        return {name: statistics.fmean(one[name] for one in self.scores) for name in CRITERIA} if self.scores else {}

    @property
    def value(self) -> float:
        """Mean of the three criteria, 0 to 2; nan if unjudged."""
        return statistics.fmean(self.criteria.values()) if self.judged else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of that mean over repeats; nan with fewer than two."""
        means = [statistics.fmean(one[name] for name in CRITERIA) for one in self.scores]
        return statistics.stdev(means) if len(means) > 1 else math.nan


@dataclass(frozen=True)
class JudgeResult:
    """The grades of one model's answers.

    Args:
        judge, version: of the chat model that judged; `rubric_version`: of the prompt.
        temperature, repeats, seed: repeat r is drawn with seed + r.
        shown: whether the judge was shown the images.
        answers: in the order of the benchmark, unjudged ones included.
        notes: one sentence each: what has to be known of this judge and these grades.
    """

    judge: str
    version: str
    rubric_version: str
    temperature: float
    repeats: int
    seed: int
    shown: bool
    answers: tuple[JudgedAnswer, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_judged(self) -> int:
        return sum(one.judged for one in self.answers)

    @property
    def n_empty(self) -> int:
        return sum(one.empty for one in self.answers)

    @property
    def unjudged(self) -> list[JudgedAnswer]:
        return [one for one in self.answers if not one.judged]

    @property
    def why(self) -> dict[str, int]:
        """Reason -> replies without grades, counted after asking again."""
        return dict(sum((Counter(one.why or {}) for one in self.answers), Counter()).most_common())

    @property
    def sums(self) -> dict[Key, dict[str, tuple[float, float]]]:
        """For `estimates`: AesI and its criteria, by image; unjudged answers take no part."""
        judged = [one for one in self.answers if one.judged]
        made = {Key("AesI"): {one.question.image: (one.value, 1.0) for one in judged}}
        for name in CRITERIA:
            made[Key("AesI", "criterion", name)] = {one.question.image: (one.criteria[name], 1.0) for one in judged}
        for one in judged:
            if one.question.source:
                made.setdefault(Key("AesI", "source", one.question.source), {})[one.question.image] = (one.value, 1.0)
        return made if judged else {}

    @property
    def agreement(self) -> dict[str, dict[str, float]]:
        """Criterion -> {"same": share of pairs of repeats with the same grade, "apart": mean distance in points}; {} without pairs."""
        out = {}
        for name in CRITERIA:
            pairs = [(a[name], b[name]) for one in self.answers for a, b in combinations(one.scores, 2)]
            if pairs:
                same, apart = (statistics.fmean(values) for values in zip(*((a == b, abs(a - b)) for a, b in pairs), strict=True))
                out[name] = {"same": round(same, 4), "apart": round(apart, 4)}
        return out

    @property
    def by_repeat(self) -> list[float]:
        """AesI of each repeat alone, over answers that all repeats graded: how far a single run would have been off."""
        full = [one for one in self.answers if len(one.scores) == self.repeats]
        return [statistics.fmean(statistics.fmean(one.scores[r].values()) for one in full) for r in range(self.repeats)] if full else []

    def to_json(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in ("judge", "version", "rubric_version", "temperature", "repeats", "seed", "shown")}
        said |= {
            "n": len(self.answers),
            "n_judged": self.n_judged,
            "n_empty": self.n_empty,
            "n_asked_again": sum(one.asked_again for one in self.answers),
        }
        said |= {"unjudged": [one.question.image for one in self.unjudged], "why": self.why, "agreement": self.agreement}
        said |= {"by_repeat": [round(value, 4) for value in self.by_repeat], "notes": list(self.notes)}
        said["answers"] = [
            {
                "image": one.question.image,
                "scores": [dict(score) for score in one.scores],
                "mean": round(one.value, 4) if one.judged else None,
                "spread": round(one.spread, 4) if math.isfinite(one.spread) else None,
            }
            for one in self.answers
        ]
        return said
