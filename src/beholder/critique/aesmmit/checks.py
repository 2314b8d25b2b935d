"""What is wrong with instruction data: broken items, images that are gone, answers that give themselves away, and test images among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import cpu_count
from pathlib import Path

from beholder.critique.aesmmit.answer_bias import answer_bias, words
from beholder.critique.aesmmit.held_out import HeldOutImage, held_out_images
from beholder.critique.aesmmit.instructions import (
    ANSWER_ROLES,
    IMAGE_MARK,
    LETTERS,
    QUESTION_ROLES,
    Instruction,
    choice_of,
    conversation,
    stem,
)
from beholder.critique.aesmmit.near_copies import SIDE, Sign, copies, sign_of
from beholder.errors import UnreadableImage
from beholder.photos import content_hash, read_photo

ERROR, WARNING = "error", "warning"
Progress = Callable[[int, int, str], None]
_TELLING_WORDS = 2  # an answer of fewer words may stand in its question ("Is it blurry or sharp?")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        severity: "error" (must be mended) or "warning" (look at it).
        kind: the check that found it, such as "missing image".
        item: id of the item, the first of several; "" for what is said of all.
        text: one sentence.
    """

    severity: str
    kind: str
    item: str
    text: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def check(
    items: Sequence[Instruction], *, images: Path | None, against: Sequence[Path] = (), progress: Progress | None = None
) -> list[Finding]:
    """Look for whatever spoils training on these items, or a test after it.

    Args:
        items: as read.
        images: folder of the images; None = images are not looked at (their names still are).
        against: test sets that must not be trained on: an AesBench folder or file, a TSV of VLMEvalKit, LLaVA JSON, or a folder of images.
        progress: called with (done, total, what).

    Returns:
        Errors first, then warnings, each in the order of the items.

    Raises:
        BeholderError: a test set cannot be read.
    """
    found = [*_shape(items), *_ids(items), *_choices(items), *_told(items), *_repeated(items)]
    found += [Finding(WARNING, kind, "", text) for kind, text in answer_bias(items)]
    tests = [one for path in against for one in held_out_images(Path(path))]
    found += _images(items, images=images, tests=tests, progress=progress or (lambda done, total, what: None))
    return sorted(found, key=lambda one: one.severity != ERROR)


def _shape(items: Sequence[Instruction]) -> Iterator[Finding]:
    """Roles, "<image>", and empty questions and answers."""
    for item in items:
        stored = conversation(item)
        roles = ["q" if role.casefold() in QUESTION_ROLES else "a" if role.casefold() in ANSWER_ROLES else role for role, _ in stored]
        plain = [role for role in roles if role != "system"]
        if not plain:
            yield Finding(ERROR, "empty", item.id, "the conversation holds no question and no answer")
            continue
        if roles.index(plain[0]) != roles.count("system") or plain != ["q", "a"] * (len(plain) // 2):
            said = ", ".join(role or "nobody" for role, _ in stored[:6])
            yield Finding(ERROR, "odd roles", item.id, f"the messages come from {said}: human and gpt have to take turns, human first")
        for number, (question, answer) in enumerate(item.turns, start=1):
            for what, text in (("question", question), ("answer", answer)):
                if not text.strip():
                    yield Finding(ERROR, "empty", item.id, f"{what} {number} is empty")
        marks = [(role, text.count(IMAGE_MARK)) for role, text in stored]
        total = sum(count for _, count in marks)
        if total and not item.image:
            yield Finding(ERROR, "image mark", item.id, f"{IMAGE_MARK} stands in the text, but the item names no image")
        elif total > 1 or (total == 1 and not marks[0][1] and stored[0][0] != "system"):
            yield Finding(ERROR, "image mark", item.id, f"{IMAGE_MARK} has to stand once, in the first question")
        elif item.image and not total:
            yield Finding(WARNING, "image mark", item.id, f"there is an image, but no {IMAGE_MARK} in the first question: other trainers need it")


def _ids(items: Sequence[Instruction]) -> Iterator[Finding]:
    seen: dict[str, int] = defaultdict(int)
    for item in items:
        seen[item.id] += 1
    for id, count in seen.items():
        if id and count > 1:
            yield Finding(WARNING, "same id", id, f"{count} items have this id")


def _choices(items: Sequence[Instruction]) -> Iterator[Finding]:
    for item in items:
        choice = choice_of(item)
        if choice is None:
            if item.type == "choice":
                yield Finding(ERROR, "options", item.id, "it is a multiple choice, but has no options")
            continue
        options, letter = choice
        if len(options) < 2 or len(options) > len(LETTERS):
            yield Finding(ERROR, "options", item.id, f"it has {len(options)} options: 2 to {len(LETTERS)} are possible")
            continue
        plain = [words(option) or [option.strip()] for option in options]
        same = next((number for number, one in enumerate(plain) if one in plain[:number]), None)
        if same is not None:
            yield Finding(ERROR, "same options", item.id, f"options {LETTERS[plain.index(plain[same])]} and {LETTERS[same]} say the same ({options[same]})")
        if any(not option.strip() for option in options):
            yield Finding(ERROR, "options", item.id, "an option is empty")
        if len(letter) != 1 or letter not in LETTERS[: len(options)]:
            yield Finding(ERROR, "answer letter", item.id, f"the answer {letter!r} is none of the options A to {LETTERS[len(options) - 1]}")
            continue
        told = item.turns[0][1] if item.turns else ""
        begins = choice_of(Instruction("", "", ((item.question, told),), options=options))
        if begins and begins[1] and begins[1] != letter:
            yield Finding(ERROR, "answer letter", item.id, f"the answer is {letter}, but the text begins with {begins[1]}")
        if item.options and any(option.strip() not in item.question for option in options):
            yield Finding(WARNING, "options", item.id, "an option does not stand in the question, so a model does not get to see it")


def _told(items: Sequence[Instruction]) -> Iterator[Finding]:
    """Questions that hold their answer."""
    for item in items:
        choice = choice_of(item)
        if choice is not None:
            options, letter = choice
            if letter not in LETTERS[: len(options)] or not letter:
                continue
            asked = words(stem(item))
            held = [option for option in options if _holds(asked, words(option))]
            if held == [options[LETTERS.index(letter)]] and len("".join(words(held[0]))) > 3:
                yield Finding(ERROR, "answer in question", item.id, f"the right option ({held[0]}) stands in the question, and no other does")
            continue
        for question, answer in item.turns:
            said = words(answer)
            if len(said) >= _TELLING_WORDS and _holds(words(question), said):
                yield Finding(ERROR, "answer in question", item.id, f"the answer ({_short(answer)}) stands in the question")


def _repeated(items: Sequence[Instruction]) -> Iterator[Finding]:
    """The same question on the same image, openly or with options. Descriptions may be asked for again: another person answers."""
    groups: dict[tuple, list[Instruction]] = defaultdict(list)
    for item in items:
        if item.turns:
            groups[item.image, choice_of(item) is not None, len(item.turns), *words(stem(item))].append(item)
    for group in groups.values():
        by_answer: dict[tuple, list[Instruction]] = defaultdict(list)
        for item in group:
            by_answer[_right(item)].append(item)
        for same in by_answer.values():
            if len(same) > 1:
                yield Finding(WARNING, "repeated", same[1].id, f"image, question and answer are those of {same[0].id}{_more(len(same) - 2)}")
        if len(by_answer) > 1 and any(item.type == "open" or choice_of(item) for item in group):
            first, other = (same[0] for same in list(by_answer.values())[:2])
            yield Finding(WARNING, "contradiction", other.id, f"image and question are those of {first.id}, but the answer is another one")


def _right(item: Instruction) -> tuple:
    """The answers, compared: by text where there are options, since they may stand in another order."""
    choice = choice_of(item)
    if choice is not None and choice[1] and choice[1] in LETTERS[: len(choice[0])]:
        return ("choice", *words(choice[0][LETTERS.index(choice[1])]))
    return tuple((*words(question), "?", *words(answer)) for question, answer in item.turns)


def _images(items: Sequence[Instruction], *, images: Path | None, tests: Sequence[HeldOutImage], progress: Progress) -> Iterator[Finding]:
    used: dict[str, list[Instruction]] = defaultdict(list)
    for item in items:
        if item.image:
            used[item.image].append(item)
    by_hash = {one.content: one for one in tests if one.content}
    signed = [one for one in tests if one.sign is not None]
    by_name = {one.name.casefold(): one for one in tests if not one.content}  # a test set without its images: names are all there is
    looked = _looked_at(list(used), images=images, sign=bool(tests), progress=progress) if images is not None else {}
    near = dict(zip(looked, _nearest(list(looked.values()), signed), strict=True))
    for image, group in used.items():
        first, more = group[0].id, _more(len(group) - 1, "item")
        seen = looked.get(image)
        if seen is not None and seen.wrong:
            kind = "missing image" if "does not exist" in seen.wrong else "unreadable image"
            yield Finding(ERROR, kind, first, f"{image} {seen.wrong}{more}")
        elif seen is not None and seen.content in by_hash:
            yield Finding(ERROR, "test image", first, f"{image} is the test image {by_hash[seen.content].place}{more}")
        elif near.get(image) is not None:
            yield Finding(WARNING, "like a test image", first, f"{image} looks like a copy of the test image {near[image].place}{more}")
        elif (name := Path(image.replace("\\", "/")).name.casefold()) in by_name:
            yield Finding(WARNING, "name of a test image", first, f"{image} has the name of the test image {by_name[name].place}{more}")


@dataclass(frozen=True)
class _Looked:
    wrong: str = ""
    content: str = ""
    sign: Sign | None = None


def _looked_at(names: Sequence[str], *, images: Path, sign: bool, progress: Progress) -> dict[str, _Looked]:
    """Every image decoded once; several at a time, as decoding leaves the interpreter free."""

    def look(name: str) -> _Looked:
        inside = Path(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts:
            return _Looked(f"leads out of {images}: give paths relative to that folder")
        path = images / inside
        try:
            photo = read_photo(path, min_side=SIDE)
            return _Looked(content=content_hash(path), sign=sign_of(photo)) if sign else _Looked()
        except UnreadableImage as error:
            return _Looked(error.reason)

    found: dict[str, _Looked] = {}
    with ThreadPoolExecutor(cpu_count() or 1) as workers:
        for name, one in zip(names, workers.map(look, names), strict=True):
            found[name] = one
            progress(len(found), len(names), "images")
    return found


def _nearest(looked: Sequence[_Looked], signed: Sequence[HeldOutImage]) -> list[HeldOutImage | None]:
    places = [number for number, one in enumerate(looked) if one.sign is not None]
    nearest: list[HeldOutImage | None] = [None] * len(looked)
    for number, place in zip(places, copies([looked[number].sign for number in places], [one.sign for one in signed]), strict=True):
        nearest[number] = None if place is None else signed[place]
    return nearest


def _holds(text: Sequence[str], part: Sequence[str]) -> bool:
    """Whether the words of `part` stand in `text` one after the other."""
    return bool(part) and f" {' '.join(part)} " in f" {' '.join(text)} "


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _more(count: int, what: str = "") -> str:
    return f" (and {count} more{f' {what}s' if what else ''})" if count > 0 else ""
