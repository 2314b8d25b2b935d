"""What the form has on its mind: the images, what was said of them, and which one is next."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from beholder.critique.aesmmit.feedback import QUESTIONS, Feedback, append_feedback, read_feedback
from beholder.errors import BeholderError, UnreadableImage
from beholder.folders import find_photos, nothing_found
from beholder.photos import read_photo

MIN_SIDE, MOST_SIDE = 1080, 2400  # pixels of the picture that is shown
_KEPT = 4  # pictures in memory: this one, the next, and those gone back to
_TEXTS = (*QUESTIONS, "suggestion")
UNFIT = "has a name that feedback cannot hold (blanks around it, a backslash, or no valid text): rename it"


@dataclass(frozen=True)
class Collected:
    """What a session of the form came to.

    Args:
        given: answers stored in this session; changed ones count again.
        done, total: images that have feedback of this subject, and all images.
        unreadable: (path, reason) of images that could not be shown.
    """

    given: int
    done: int
    total: int
    unreadable: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """What is asked for cannot be done; the message is for the page."""


class Session:
    """The images, what was said of them, and which one is next. Safe to call from many threads."""

    def __init__(self, images: Path, out: Path, *, subject: str, source: str, dataset: str) -> None:
        found = find_photos(images)
        if not found.photos:
            raise BeholderError(nothing_found(images, found=found))
        self.names = [Path(photo).relative_to(images).as_posix() for photo in found.photos]
        self.images, self.out, self.subject = images, out, subject
        self.facts = {"source": source, "dataset": dataset}
        numbers = {name: number for number, name in enumerate(self.names)}
        self.answers: dict[int, Feedback] = {}  # in the order in which they were given
        if out.exists() and out.stat().st_size:
            for one in read_feedback(out):
                if one.subject == subject and one.image in numbers:
                    self.answers[numbers[one.image]] = one
        self.unreadable: dict[int, str] = {number: UNFIT for name, number in numbers.items() if not _can_be_kept(name)}
        self.waiting = deque(number for number in range(len(self.names)) if number not in self.answers and number not in self.unreadable)
        self.given = 0
        self._pictures: OrderedDict[int, bytes] = OrderedDict()
        self._lock, self._reading = threading.RLock(), threading.Lock()

    def next(self) -> dict[str, Any]:
        """The next image that can be shown, or that all are done."""
        while True:
            with self._lock:
                if not self.waiting:
                    return self._about(None)
                number = self.waiting[0]
            try:
                self.picture(number)
            except UnreadableImage as error:
                with self._lock:
                    self.unreadable[number] = error.reason
                    if self.waiting and self.waiting[0] == number:
                        self.waiting.popleft()
                continue
            with self._lock:
                return self._about(number)

    def at(self, number: int) -> dict[str, Any]:
        """One that has been answered, to be changed."""
        with self._lock:
            if number not in self.answers:
                raise Refused("that image has no answer yet")
            return self._about(number)

    def answer(self, number: int, values: dict[str, Any]) -> dict[str, Any]:
        """Store an answer, unless it is there already (a second click), and give what comes next."""
        if not 0 <= number < len(self.names):
            raise Refused("there is no such image")
        missing = ["a grade"] if values.get("grade") is None else []
        texts = {name: values.get(name, "") for name in _TEXTS}
        if not all(isinstance(text, str) for text in texts.values()):
            raise Refused("the answers are not text")
        missing += [f"an answer to question {place}" for place, name in enumerate(QUESTIONS, start=1) if not texts[name].strip()]
        if missing:
            raise Refused(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        time = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            made = Feedback(self.names[number], self.subject, values["grade"], **texts, **self.facts, time=time)
        except BeholderError as error:
            raise Refused(str(error)) from None
        with self._lock:
            if not _same(self.answers.get(number), made):
                append_feedback(self.out, made)
                self.given += 1
                self.answers[number] = made
                if number in self.waiting:
                    self.waiting.remove(number)
        return self.next()

    def skip(self, number: int) -> dict[str, Any]:
        """To the end of those that wait."""
        with self._lock:
            if number in self.waiting:
                self.waiting.remove(number)
                self.waiting.append(number)
        return self.next()

    def picture(self, number: int) -> bytes:
        """JPEG, upright, in sRGB.

        Raises:
            UnreadableImage: it cannot be shown.
        """
        with self._reading:
            if number not in self._pictures:
                photo = read_photo(self.images / self.names[number], min_side=MIN_SIDE)
                photo.thumbnail((MOST_SIDE, MOST_SIDE))
                buffer = io.BytesIO()
                photo.save(buffer, "JPEG", quality=90)
                self._pictures[number] = buffer.getvalue()
                while len(self._pictures) > _KEPT:
                    self._pictures.popitem(last=False)
            self._pictures.move_to_end(number)
            return self._pictures[number]

    def collected(self) -> Collected:
        with self._lock:
            unreadable = tuple((str(self.images / self.names[number]), reason) for number, reason in self.unreadable.items())
            return Collected(self.given, len(self.answers), len(self.names), unreadable)

    def _about(self, number: int | None) -> dict[str, Any]:
        order = list(self.answers)
        place = order.index(number) if number in self.answers else len(order)
        answer = self.answers.get(number) if number is not None else None
        waiting = list(self.waiting)
        return {
            "number": number,
            "name": None if number is None else self.names[number],
            "done": len(self.answers),
            "total": len(self.names),
            "unreadable": len(self.unreadable),
            "previous": order[place - 1] if place else None,
            "following": next((one for one in waiting if one != number), None),
            "answer": None if answer is None else {"grade": answer.grade} | {name: getattr(answer, name) for name in _TEXTS},
        }


def _can_be_kept(name: str) -> bool:
    """Whether feedback names the same file when it is read again."""
    try:
        return Feedback(name, "", None, "-", "", "").image == name
    except BeholderError:
        return False


def _same(left: Feedback | None, right: Feedback) -> bool:
    """Whether two answers say the same, whenever they were given."""
    return left is not None and all(getattr(left, name) == getattr(right, name) for name in ("grade", *_TEXTS))
