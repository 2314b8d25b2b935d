"""The reward: what a beholder scorer expects people to give an image, less what it has strayed from the prompt that was asked for."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from beholder.about import About
from beholder.errors import BeholderError
from beholder.located import locate
from beholder.rater import Rater
from beholder.steering.base import Judge, Judged

if TYPE_CHECKING:
    from beholder.eye import Eye


class Drift(Protocol):
    """How far prompts are from the goal: [n], 0 = the same meaning, 1 = nothing in common (`faithfulness.TextDrift`)."""

    name: str
    version: str

    def drift(self, prompts: Sequence[str], goal: str) -> np.ndarray: ...


class Match(Protocol):
    """How well images show a text: [n] cosines, higher = better (`faithfulness.ImageTextMatch`)."""

    name: str
    version: str

    def match(self, images: Sequence[str | os.PathLike], text: str) -> np.ndarray: ...


@dataclass(frozen=True)
class Penalty:
    """What is taken off a reward.

    Args:
        drift: weight of how far the prompt is from the goal; `of_prompt` measures it.
        unfaithful: weight of 1 - cosine between the image and the goal; `of_image` measures it.
    """

    drift: float = 0.0
    unfaithful: float = 0.0
    of_prompt: Drift | None = None
    of_image: Match | None = None

    def __post_init__(self) -> None:
        for name, weight, measure in (("drift", self.drift, self.of_prompt), ("unfaithful", self.unfaithful, self.of_image)):
            if not (math.isfinite(weight) and weight >= 0):
                raise BeholderError(f"the weight of the penalty {name} is {weight}: give a number from 0 on")
            if weight and measure is None:
                raise BeholderError(f"the penalty {name} has nothing that measures it: name a model for it")


class ScorerJudge(Judge):
    """Mean over raters of a scorer's prediction on 0..1, less the penalties.

    Args:
        eye: of any scorer; closed by whoever made it.
        raters: label -> rater; nobody in particular is written {"everybody": Rater()}. Each rater's prediction is put on 0..1 by the rater's own scale.
        look_in: folders in which the images that raters rated may lie.
        penalty: see there.

    Raises:
        BeholderError: no rater, or none of the images that a rater rated can be found.
    """

    def __init__(self, eye: Eye, *, raters: Mapping[str, Rater], look_in: Sequence[str | os.PathLike] = (), penalty: Penalty | None = None) -> None:
        if not raters:
            raise BeholderError("there is no rater to please: give one or more")
        self.eye, self.raters, self.look_in = eye, dict(raters), tuple(look_in)
        self.penalty = penalty or Penalty()
        for label, rater in self.raters.items():
            _check_found(label, rater, look_in=self.look_in)
        self.name = f"{eye.scorer.name} for {', '.join(self.raters)}"
        self.version = self._version()

    def judge(self, images: Sequence[str | os.PathLike], *, prompts: Sequence[str], goal: str) -> list[Judged]:
        paths = [os.path.abspath(os.fsdecode(image)) for image in images]
        if len(prompts) != len(paths):
            raise BeholderError(f"{len(paths)} images were given with {len(prompts)} prompts: give one prompt for each image")
        if not paths:
            return []
        parts: list[dict[str, float]] = [{} for _ in paths]
        why = [""] * len(paths)
        about = {path: About(prompt=prompt) for path, prompt in zip(paths, prompts, strict=True)}
        for label, rater in self.raters.items():
            for place, (unit, reason) in enumerate(self._units(paths, rater=rater, about=about)):
                why[place] = why[place] or reason
                parts[place][f"rater {label}"] = unit
        rewards = [_mean(list(part.values())) for part in parts]  # before penalties join the parts
        readable = [place for place in range(len(paths)) if not why[place]]
        for name, values in self._penalties([paths[i] for i in readable], [prompts[i] for i in readable], goal=goal).items():
            for place, value in zip(readable, values, strict=True):
                parts[place][name] = -float(value)
                rewards[place] -= float(value)
        return [
            Judged(math.nan, skipped=reason) if reason else Judged(reward, parts=part)
            for reward, part, reason in zip(rewards, parts, why, strict=True)
        ]

    def _units(self, paths: list[str], *, rater: Rater, about: Mapping[str, About]) -> list[tuple[float, str]]:
        """For each path (prediction on 0..1, "") or (nan, why there is none); equal images are looked at once."""
        try:
            predictions = self.eye.score(list(dict.fromkeys(paths)), rater=rater, look_in=self.look_in, about=about)
        except BeholderError as error:
            if len(paths) == 1:
                return [(math.nan, str(error))]
            alone = [self._units([path], rater=rater, about=about)[0] for path in paths]
            if all(reason for _, reason in alone):
                raise  # it is not the images
            return alone
        found = {path: p for p in predictions for path in (p.image, *p.duplicates)}
        units = []
        for path in paths:
            one = found[path]
            units.append((math.nan, one.skipped_reason) if one.score is None else (float(rater.scale.to_unit(one.score)), ""))
        return units

    def _penalties(self, paths: Sequence[str], prompts: Sequence[str], *, goal: str) -> dict[str, np.ndarray]:
        penalty, out = self.penalty, {}
        if penalty.drift and paths:
            out["drift"] = penalty.drift * penalty.of_prompt.drift(prompts, goal)
        if penalty.unfaithful and paths:
            out["unfaithful"] = penalty.unfaithful * (1.0 - penalty.of_image.match(paths, goal))
        return out

    def _version(self) -> str:
        """Everything that decides a reward: the scorer, whom it is for, what they rated, the penalties."""
        said = [
            [label, sorted((k, str(v)) for k, v in rater.profile.known().items()), str(rater.scale), rater.known_as]
            + [[os.path.basename(image), float(score)] for image, score in zip(rater.ratings.images, rater.ratings.scores, strict=True)]
            + [[os.path.basename(one.chosen), os.path.basename(one.other)] for one in rater.choices]
            for label, rater in self.raters.items()
        ]
        measures = [
            [weight, measure.name, measure.version]
            for weight, measure in ((self.penalty.drift, self.penalty.of_prompt), (self.penalty.unfaithful, self.penalty.of_image))
            if weight
        ]
        digest = hashlib.blake2b(json.dumps([said, measures], default=str).encode(errors="surrogateescape"), digest_size=6).hexdigest()
        return f"{self.eye.scorer.name} {self.eye.scorer.version} {digest}"


def _check_found(label: str, rater: Rater, *, look_in: Sequence[str | os.PathLike]) -> None:
    """Some missing images are said and left out; a rater of whom nothing is left would be pleased as nobody in particular."""
    names = [*rater.ratings.images, *rater.choices.images]
    found = locate(rater, photos=(), folders=look_in).rater if names else rater
    if names and not (len(found.ratings) or len(found.choices)):
        raise BeholderError(
            f"none of the {len(set(names))} images that {label} rated can be found ({os.fsdecode(names[0])}, ...): start where the paths begin, or name the "
            "folder with look_in (ratings of the command line: import them with --root FOLDER)"
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
