"""beholder: how much will this person like this image?

    eye = beholder.load()
    me = beholder.Rater(profile=beholder.Profile(age=34), ratings=beholder.Ratings.from_csv("ratings.csv"))
    for p in eye.rank("Photos/trip", rater=me):
        print(p.image, p.score, p.low, p.high)

Importing this module imports neither torch nor numpy: every name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "load": "beholder.scorers",
    "Scorer": "beholder.scorers",
    "Profile": "beholder.profile",
    "Rater": "beholder.rater",
    "Rating": "beholder.ratings",
    "Ratings": "beholder.ratings",
    "Choice": "beholder.ratings",
    "Choices": "beholder.ratings",
    "Scale": "beholder.scale",
    "Prediction": "beholder.prediction",
    "Predictions": "beholder.prediction",
    "BeholderError": "beholder.errors",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from beholder.errors import BeholderError
    from beholder.prediction import Prediction, Predictions
    from beholder.profile import Profile
    from beholder.rater import Rater
    from beholder.ratings import Choice, Choices, Rating, Ratings
    from beholder.scale import Scale
    from beholder.scorers import Scorer, load


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'beholder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
