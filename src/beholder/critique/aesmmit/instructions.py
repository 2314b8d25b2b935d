"""Instructions as LLaVA stores them: items of an image and a conversation. What is read is written back as it was."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beholder.critique.aesmmit.feedback import json_lines, parse_json, read_text
from beholder.errors import BeholderError

FILE = "aesmmit.json"  # of a built dataset, in its folder
TYPES = ("description", "open", "choice")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IMAGE_MARK = "<image>"
QUESTION_ROLES, ANSWER_ROLES = ("human", "user"), ("gpt", "assistant")
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(r"^\(?([A-Z])(?:[).:]|\s*$)")
_OWN_TEXTS = ("type", "qtype", "dimension", "answer", "subject")
_OWN = ("id", "image", "conversations", "options", *_OWN_TEXTS)


@dataclass(frozen=True)
class Instruction:
    """One item of instruction data.

    Args:
        id: of the item; "" where what was read has none.
        image: path of the image, relative to the folder of images; "" for none.
        turns: (question, answer) of the conversation, without "<image>". The question of a multiple choice holds its options as well,
            since this is all a model gets to see (`choice_question`).
        type: "description", "open" or "choice"; in other data sets whatever they say; "" for nothing.
        qtype: "yes-no", "what", "how", "why", ...
        dimension: "quality", "attribute", "emotion", "interpretation", "enhancement" or "context".
        options: texts of a multiple choice, in the order A, B, ...; () for other items.
        answer: letter of the right option; "" for other items.
        subject: whose feedback it was made of; "" for several or unknown.
        more: what else is stored with it, by name, such as {"source": "natural", "dataset": "PARA"}.
        read: the item as it was read, so that it can be written back as it was; None for new ones. Not compared.
    """

    id: str
    image: str
    turns: tuple[tuple[str, str], ...]
    type: str = ""
    qtype: str = ""
    dimension: str = ""
    options: tuple[str, ...] = ()
    answer: str = ""
    subject: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def question(self) -> str:
        """The first question; "" if there is none."""
        return self.turns[0][0] if self.turns else ""


def choice_question(question: str, options: Sequence[str]) -> str:
    """A question with its options below it, each on a line behind its letter: "A) ...". """
    return "\n".join([question.strip(), *(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))])


def choice_of(item: Instruction) -> tuple[tuple[str, ...], str] | None:
    """(options, letter of the right one) of a multiple choice; None for other items.

    Where the item does not name its options, lines "A) ...", "B) ..." of its first question are taken, and the letter its answer begins with; the
    letter is "" if there is none.
    """
    options, letter = item.options, item.answer
    if not options:
        if "\n" not in item.question:
            return None
        lines = _OPTION.findall(item.question)
        if len(lines) < 2 or "".join(mark for mark, _ in lines) != LETTERS[: len(lines)]:
            return None
        options = tuple(text for _, text in lines)
    if not letter and item.turns:
        begins = _LETTER.match(item.turns[0][1])
        letter = begins[1] if begins else ""
    return options, letter


def stem(item: Instruction) -> str:
    """The first question without its options and what stands behind them ("Answer with the letter ...")."""
    return (_OPTION.split(item.question, maxsplit=1)[0].strip() or _OPTION.sub("", item.question).strip()) if choice_of(item) else item.question


def read_instructions(path: str | os.PathLike) -> list[Instruction]:
    """Read a JSON list or JSON Lines of LLaVA items, or the folder of a built dataset.

    Items are objects with "conversations": [{"from": "human" | "gpt", "value": text}, ...] and mostly "id" and "image". Roles in another
    order are kept, with "" for the question or answer that is missing: `checks.check` names them.

    Raises:
        BeholderError: the file cannot be read, is broken (with the line), or an item is none of these (with its number).
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    text = read_text(path)
    start = text.lstrip()[:1]
    if start == "[":
        found = list(enumerate(parse_json(text, path=path), start=1))
        what = "item"
    elif start == "{":
        found, what = list(json_lines(text)), "line"
    else:
        raise BeholderError(f"{path} is no instruction data: give a JSON list, or JSON Lines, of items with  conversations")
    del text  # may be hundreds of megabytes
    return [_from_item(value, place=f"{path}, {what} {number}") for number, value in found]


def write_instructions(path: str | os.PathLike, items: Iterable[Instruction]) -> Path:
    """Write items whole or not at all: JSON Lines if the name ends in .jsonl, else a JSON list with one item a line.

    Items that were read and not changed are written as they were; of changed ones, what was not changed. The order of the names is kept.

    Returns:
        The file.

    Raises:
        BeholderError: it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    lines = path.suffix.lower() in (".jsonl", ".ndjson")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(b"" if lines else b"[")
            for number, item in enumerate(items):
                file.write((b"" if number == 0 else b"\n") if lines else (b"\n" if number == 0 else b",\n"))
                file.write(_encoded(to_item(item)))
            file.write(b"\n" if lines else b"\n]\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BeholderError(f"{path} cannot be written ({error.strerror or error}): choose another place") from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def to_item(item: Instruction) -> dict[str, Any]:
    """The item as it is stored. `more` never overwrites what has a field of its own, unless that is empty."""
    was = dict(item.read or {})
    before = _from_item(was, place="") if item.read is not None else None
    gone = before.more.keys() - item.more.keys() if before is not None else ()
    made: dict[str, Any] = {name: value for name, value in was.items() if name not in gone}

    def put(name: str, value: Any, *, old: Any) -> None:
        if before is not None and value == old:
            return  # as it was, the number that an id is and the empty text included
        if value or name in ("id", "conversations"):
            made[name] = value
        else:
            made.pop(name, None)

    put("id", item.id, old=before and before.id)
    put("image", item.image, old=before and before.image)
    if before is None or item.turns != before.turns or bool(item.image) != bool(before.image):
        made["conversations"] = _conversation(item)
    for name in _OWN_TEXTS:
        put(name, getattr(item, name), old=before and getattr(before, name))
    put("options", list(item.options), old=before and list(before.options))
    made.update((name, value) for name, value in item.more.items() if not (name in _OWN and (name == "conversations" or getattr(item, name))))
    return made


def conversation(item: Instruction) -> list[tuple[str, str]]:
    """(role, text) of each message as it is stored, "<image>" included."""
    stored = item.read["conversations"] if item.read is not None else _conversation(item)
    return [(str(message.get("from", message.get("role", ""))), _value(message) or "") for message in stored]


def _conversation(item: Instruction) -> list[dict[str, str]]:
    made = []
    for number, (question, answer) in enumerate(item.turns):
        mark = f"{IMAGE_MARK}\n" if number == 0 and item.image else ""
        made += [{"from": "human", "value": mark + question}, {"from": "gpt", "value": answer}]
    return made


def _from_item(value: Any, *, place: str) -> Instruction:
    if isinstance(value, BeholderError):
        raise BeholderError(f"{place}: {value}")
    if not isinstance(value, dict):
        raise BeholderError(f"{place} is not an object with  id, image  and  conversations: check the file")
    messages = value.get("conversations")
    if not isinstance(messages, list) or not all(isinstance(message, dict) and _value(message) is not None for message in messages):
        raise BeholderError(f'{place} has no  conversations  that are a list of {{"from": ..., "value": text}}: check the file')
    image = value.get("image")
    if not isinstance(image, str | None):
        raise BeholderError(f"{place} has an  image  that is not one path: items with several images cannot be used, so leave them out")
    name = value.get("id")
    own = {key: value[key] for key in _OWN_TEXTS if isinstance(value.get(key), str)}
    options = value.get("options")
    if isinstance(options, list) and all(isinstance(one, str) for one in options):
        own["options"] = tuple(options)
    taken = {"id", "image", "conversations", *own}
    return Instruction(
        id="" if name is None else str(name),
        image=image or "",
        turns=_turns(messages),
        **own,
        more={key: kept for key, kept in value.items() if key not in taken},
        read=value,
    )


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    turns: list[tuple[str, str]] = []
    question: str | None = None
    for message in messages:
        role = str(message.get("from", message.get("role", ""))).casefold()
        text = _value(message) or ""
        if role in QUESTION_ROLES:
            if question is not None:
                turns.append((question, ""))
            question = text.replace(IMAGE_MARK, "").strip()
        elif role in ANSWER_ROLES:
            turns.append((question or "", text.strip()))
            question = None
    if question is not None:
        turns.append((question, ""))
    return tuple(turns)


def _value(message: Mapping[str, Any]) -> str | None:
    """The text of a message; None if it has none."""
    value = message.get("value", message.get("content"))
    return value if isinstance(value, str) else None


def _encoded(item: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(item, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # half a pair of surrogates, as JSON allows
        return json.dumps(item).encode("ascii")
