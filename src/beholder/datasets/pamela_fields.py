"""The fields of PAMELA's entries: how each may be spelled, what an entry says of its image and what of its rater."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from beholder.about import one_line
from beholder.datasets.table import is_missing, number
from beholder.profile import EXPERIENCE_LEVELS, Profile

# what is needed -> how it may be spelled, the best first; an image may be named by its id, its path or both
NEEDED = {
    "rater": ("participantid", "participant", "userid", "user", "raterid", "rater", "subjectid", "workerid", "annotatorid"),
    "image": ("imageid", "imgid", "imagepath", "imgpath", "imagefile", "filename", "imagename", "path", "image", "file"),
    "score": ("originalscore", "score", "rating", "originalrating", "userscore", "response"),
}
IDS = {spelling for spellings in NEEDED.values() for spelling in spellings}
PATHS = ("imagepath", "imgpath", "imagefile", "filename", "path", "file", "imagename", "image")
PROMPTS = ("prompt", "textprompt", "imageprompt", "generationprompt", "prompttext", "fullprompt")
TEXTS = ("group", "style", "type", "domain", "category", "theme", "subject", "generator", "generationmodel", "imagemodel", "model")
# inner objects: a rater's have one of these words in their name; else an image's begin with "image" or are called metadata
PEOPLE_OBJECTS = ("demographic", "participant", "user", "rater", "profile", "questionnaire", "survey")
PREFIX = re.compile(r"^(?:[Dd]emographics?|[Dd]emo|[Pp]articipant|[Uu]ser|[Rr]ater)(?:[\W_]+|(?=[A-Z]))(?=.)")
PEOPLE = {
    "age": ("age", "ageyears", "agegroup", "agerange", "ageband", "agebin"),
    "gender": ("gender", "sex", "genderidentity"),
    "nationality": ("nationality", "country", "countryoforigin", "countryofbirth", "countryofresidence", "citizenship"),
    "education": ("education", "educationlevel", "educationallevel", "edu", "highesteducation"),
    "art_experience": ("artexperience", "artsexperience", "artexpertise", "arttraining", "arteducation"),
    "art_interest": ("artinterest", "interestinart", "artsinterest"),
    "photography_experience": ("photographyexperience", "photoexperience", "photographyexpertise"),
    "photography_interest": ("photographyinterest", "interestinphotography", "photointerest"),
}
GENDERS = {"m": "male", "man": "male", "f": "female", "w": "female", "woman": "female", "nonbinary": "non-binary"}
UNSAID = re.compile(r"not (to )?(say|said|disclose)|undisclosed|rather not|^unknown$", re.IGNORECASE)
LEVELS = {
    **{level: level for level in EXPERIENCE_LEVELS},
    **dict.fromkeys(("no", "novice", "no experience", "low"), "beginner"),
    **dict.fromkeys(("some", "amateur", "hobbyist", "intermediate", "medium"), "competent"),
    **dict.fromkeys(("advanced", "high"), "proficient"),
    **dict.fromkeys(("professional", "very high"), "expert"),
}
OF_RATINGS = re.compile(
    r"^(mean|avg|average|std|count|number|num)(of)?.*(rating|score)|(rating|score)s?(mean|avg|average|std|count)$"
    r"|^(mean|avg|average|median|std|sd|var|variance|count)$"
)


def of_image(entry: Mapping[str, Any]) -> dict[str, str]:
    """What an entry says of its image in words: "prompt" and metadata by name, none of it empty. Numbers are left out."""
    found: dict[str, str] = {}
    for path, value in _leaves(entry):
        name, is_known = _image_field(path)
        if not name or isinstance(value, int | float):
            continue
        text = text_of(value)
        if not is_missing(text) and (is_known or not np.isfinite(number(text))):
            found.setdefault(name, one_line(text if name == "prompt" else text.replace("_", " ")))
    return found


def of_rater(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of its rater: known fields by their names in `Profile`, others by their own. Averages of ratings are left out."""
    told: dict[str, tuple[str, Any]] = {}  # plain name without prefix -> name, value; what stands in the entry itself comes first
    for path, value in _leaves(entry):
        key, name = _rater_field(path)
        if not key or key in told:
            continue
        text = text_of(value)
        if not is_missing(text) and not UNSAID.search(text):
            told[key] = (name, value if isinstance(value, int | float) and not isinstance(value, bool) else text)
    found: dict[str, Any] = {}
    for field, spellings in PEOPLE.items():
        given = next((spelling for spelling in spellings if spelling in told), None)
        if given is not None:
            found |= _known(field, told.pop(given)[1])
    for name, value in told.values():
        free = _name(name)
        found.setdefault(f"{free}_given" if free in Profile.__dataclass_fields__ else free, value)
    return found


def _known(name: str, value: Any) -> dict[str, Any]:
    """A demographic value in the words of `Profile`; under another name where those do not fit."""
    if name == "gender":
        return {name: GENDERS.get(plain(value), str(value))}
    if name in ("nationality", "education"):
        return {name: str(value)}
    if name.endswith("_experience"):
        level = LEVELS.get(str(value).strip().lower())
        return {name: level} if level else {f"{name}_given": value}
    if name == "age" and isinstance(value, str):
        return {name: re.sub(r"\s*years?( old)?$", "", value)}
    if name.endswith("_interest") and isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value):
        return {name: float(value)}
    return {name: value}


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Everything in an entry that is no object, with the names that lead there; the outer ones first."""
    for key, inner in value.items():
        if not isinstance(inner, dict):
            yield (*path, key), inner
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, (*path, key))


@cache  # here and below: a release has some twenty names, and 70,000 entries
def _image_field(path: tuple[str, ...]) -> tuple[str, bool]:
    """The name under which a field tells something of the image ("" if it does not), and whether it is one that is known to."""
    key, of = plain(path[-1]), _belongs(path)
    if of == "rater" or key in IDS or not (key in PROMPTS or key in TEXTS or of == "image"):
        return "", False
    return ("prompt", True) if key in PROMPTS else (_name(path[-1]), key in TEXTS)


@cache
def _rater_field(path: tuple[str, ...]) -> tuple[str, str]:
    """The plain name of a field that tells something of the rater, without prefix ("" if it does not), and the name as it is written."""
    of, name = _belongs(path), PREFIX.sub("", path[-1])
    key = plain(name)
    asked = of == "rater" or (not of and (name != path[-1] or any(key in spellings for spellings in PEOPLE.values())))
    if not asked or key == "id" or plain(path[-1]) in IDS or OF_RATINGS.search(key):
        return "", ""
    return key, name


@cache
def _belongs(path: tuple[str, ...]) -> str:
    """Whom the inner object that a value stands in is about: "image", "rater" or "" (nobody knows, or it is the entry itself). The innermost name that tells counts."""
    for name in map(plain, reversed(path[:-1])):
        if any(word in name for word in PEOPLE_OBJECTS):
            return "rater"
        if name.startswith(("image", "img")) or name == "metadata":
            return "image"
    return ""


@cache
def _name(key: str) -> str:
    """A key as a name: lower case, underscores for blanks and signs."""
    return re.sub(r"[\W_]+", "_", key.strip().lower()).strip("_")


@cache
def plain(name: object) -> str:
    """A name without case, blanks and underscores."""
    return re.sub(r"[\W_]+", "", str(name)).lower()


def text_of(value: Any) -> str:
    """A value as text; "" for null, an object or an empty list."""
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(text_of, value)))
    return str(value).strip()
