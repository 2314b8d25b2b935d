"""What has to be known of a public scorer before it is used, and the one sentence about its licence that is said first."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

from beholder.errors import BeholderError

_told: set[str] = set()


class LicenceNotice(UserWarning):
    """Under which licences a scorer's code and weights stand; said once in a process for each scorer, before its weights are loaded."""


@dataclass(frozen=True)
class Facts:
    """Of one public scorer. All of them say more for what is liked more.

    Args:
        what: in a few words.
        trained_on: ratings or preferences it learned from.
        low, high: native values that are mapped to the ends of the rater's scale as long as nothing is fitted.
        range: what native values mean, which are usual, and where `low` and `high` come from.
        prompt: whether it needs the text an image was made from: "none" does not read it, "required" refuses images without one, "optional" takes
            the empty text instead.
        get: what to get, by its public name.
        code_licence, weights_licence: as its makers give them.
        restricted: what they forbid or ask for, in plain words; "" if they are permissive.
        citation: paper or repository.
    """

    what: str
    trained_on: str
    low: float
    high: float
    range: str
    prompt: Literal["none", "required", "optional"]
    get: str
    code_licence: str
    weights_licence: str
    citation: str
    restricted: str = ""
    direction: str = "higher is better"


def say_licence(name: str, facts: Facts) -> None:
    """A `LicenceNotice`, the first time for each scorer."""
    if name in _told:
        return
    _told.add(name)
    plainly = f" - {facts.restricted}" if facts.restricted else ""
    warnings.warn(
        f"{name}: licence of the code {facts.code_licence}, of the weights {facts.weights_licence}{plainly}", LicenceNotice, stacklevel=4
    )


def missing_package(scorer: str, package: str, *, pins: str) -> BeholderError:
    """The error for a package that goes with no extra of beholder, as it would change packages that others need.

    Args:
        package: as pip knows it.
        pins: what it brings along that does not go with the rest.
    """
    return BeholderError(
        f"{scorer} needs the package {package.partition('==')[0]}, which is not installed: run  pip install {package}  "
        f"in an environment of its own with beholder, as it wants {pins}"
    )
