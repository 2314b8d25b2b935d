"""A rater: the person whose eye it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from beholder.profile import Profile
from beholder.ratings import Choices, Ratings
from beholder.scale import Scale


@dataclass(frozen=True)
class Rater:
    """A person: a name, a profile, ratings and choices; each may be empty.

    Args:
        name: how the store and tables call this person.
        profile: demographics, experience, Big Five.
        ratings: what this person rated; may be empty (zero-shot).
        choices: pairs this person chose between; may be empty.
        known_as: "DATASET/RATER", under which training data may know this person; "" if nowhere. A scorer that learned something of
            exactly this rater may use it.
    """

    name: str = ""
    profile: Profile = field(default_factory=Profile)
    ratings: Ratings = field(default_factory=Ratings)
    choices: Choices = field(default_factory=Choices)
    known_as: str = ""

    @property
    def scale(self) -> Scale:
        """The scale predictions for this rater are given on."""
        return self.ratings.scale
