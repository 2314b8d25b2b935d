"""Whose eye it is, from the options --rater, --profile, --ratings and --scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from beholder.cli.output import note

if TYPE_CHECKING:
    from beholder.rater import Rater
    from beholder.ratings import Ratings


@dataclass(frozen=True)
class Who:
    """The rater, and the folders in which images may lie beside the ranked ones."""

    rater: Rater
    look_in: list[str]


def who(*, rater: str | None, profile: Path | None, ratings: Path | None, scale: str | None) -> Who:
    """Put the rater together; nothing is kept.

    Raises:
        BeholderError: one of the files is wrong, or nobody knows a rater of that name.
    """
    from beholder.evidence import name_key, raters_in, read_evidence
    from beholder.profile import Profile
    from beholder.rater import Rater
    from beholder.ratings import Choices, Ratings
    from beholder.scale import Scale

    asked = Scale.parse(scale) if scale else None
    someone = Rater(ratings=Ratings(scale=asked))
    named_in_file = rater is not None and ratings is not None and name_key(rater) in map(name_key, raters_in(ratings))
    if rater is not None:
        someone = replace(someone, name=rater) if named_in_file and not _kept(rater) else _from_store(rater)
    if profile is not None:
        someone = replace(someone, profile=Profile.from_toml(profile))
        slips = someone.profile.probable_slips()
        for name, meant in slips.items():
            note(f"{profile}: {name} is kept as a free field; did you mean {meant}?")
        unknown = [name for name in someone.profile.free if name not in slips]
        if unknown:
            note(f"{profile}: {', '.join(unknown)} kept as free text, which only scorers that read text (pmllm) understand")
    look_in = []
    if ratings is not None:
        more = read_evidence(ratings, scale=asked, rater=rater if named_in_file else None)
        look_in.append(str(ratings.absolute().parent))
        if isinstance(more, Choices):
            someone = replace(someone, choices=Choices((*someone.choices, *more)))
        else:
            someone = replace(someone, ratings=someone.ratings.merged(more) if len(someone.ratings) else more)
    if asked is not None and someone.scale != asked:
        someone = replace(someone, ratings=someone.ratings.to_scale(asked))
    _say_what_is_thin(someone.ratings)
    return Who(someone, look_in)


def _kept(name: str) -> bool:
    from beholder.store import Store

    with Store() as store:
        return name in store


def _from_store(name: str) -> Rater:
    from beholder.store import Store

    with Store() as store:
        return store.get(name)


def _say_what_is_thin(ratings: Ratings) -> None:
    scores = set(ratings.scores.tolist())
    if len(ratings) == 1:
        note("one rating says little about a taste: the ranking is mostly that of everybody; rate a few more")
    elif len(ratings) > 1 and len(scores) == 1:
        note(
            f"all {len(ratings)} ratings are {scores.pop():g}: they say how generous this rater is, not what this rater likes; "
            "rate some images differently"
        )
