"""Asking a model all questions. Every answer is on disk before the next batch is asked, so that a run that was stopped goes on.

OUT/answers/MODEL/AesP.jsonl, AesE.jsonl, ...: one line for each answer, only ever added to: {"key", "image", "id", "text", "refused"}. The key is a hash of all
that decides an answer (model and version, prompt, content of the image, length): answers to other prompts, or of another version of the model,
stay in the file and are not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from beholder.backbones.chat import GOES_ON, ChatModel, ChatRequest, NoAnswer, Reply
from beholder.critique.aesbench.prompts import prompt
from beholder.critique.aesbench.questions import Benchmark, Question
from beholder.datasets.table import some
from beholder.errors import BeholderError, UnreadableImage
from beholder.located import SkippedInput
from beholder.photos import content_hash

HOPELESS = 8  # questions that fail one after the other before anything is answered
BATCH = 32  # questions between two writes
MAX_TOKENS = 512  # of an answer: explanations of AesI are long, and some models think aloud
Progress = Callable[[int, int, str], None]


def answers_folder(out: str | os.PathLike, model: str) -> Path:
    """Where the answers of a model are kept: OUT/answers/ and the end of its name with a hash of all of it."""
    end = re.sub(r"[^\w.-]+", "-", re.split(r"[#/\\]", model.rstrip("/\\"))[-1]).strip("-.")[:60] or "model"
    return Path(out) / "answers" / f"{end}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def answers(
    benchmark: Benchmark,
    *,
    chat: ChatModel,
    out: str | os.PathLike,
    parts: Sequence[str] | None = None,
    style: str = "official",
    batch: int = BATCH,
    max_tokens: int = MAX_TOKENS,
    progress: Progress | None = None,
) -> dict[str, dict[str, str]]:
    """Ask what is not answered yet, and give all answers: part -> image -> text, in the order of the benchmark.

    A question that cannot be answered (a broken image, a server that fails on it, a text too long for the model) is left out and named by
    a `SkippedInput` warning; the next run asks it again. Interrupted, at most the latest batch is lost, and of that what the
    model's own cache keeps is not lost either.

    Args:
        out: folder of the run.
        parts: all that the benchmark has, if not given.
        style: of the prompts, see `prompts.STYLES`.
        batch: questions asked at once.
        max_tokens: of an answer.
        progress: called with (answered, of how many, part).

    Raises:
        BeholderError: the model cannot be reached at all, the folder cannot be written, or not one question was answered.
    """
    if batch < 1:
        raise BeholderError(f"batch = {batch} asks nothing: give 1 or more")
    narrowed = benchmark.narrowed(parts=parts)
    folder = answers_folder(out, chat.name)
    total, done = len(narrowed.questions), 0
    found: dict[str, dict[str, str]] = {}
    failed: dict[str, str] = {}
    hashes: dict[str, str] = {}  # image -> hash of its content, or "" if it cannot be read
    for part in narrowed.parts:
        questions, keys = [], {}
        for question in narrowed.of_part(part):
            key = _key(question, narrowed, chat=chat, style=style, max_tokens=max_tokens, hashes=hashes, failed=failed)
            if key:
                questions.append(question)
                keys[question.image] = key
        book = _Book(folder / f"{part}.jsonl")
        known = {question.image: book.texts[keys[question.image]] for question in questions if keys[question.image] in book.texts}
        done += len(known)
        _tell(progress, done, total, part)
        waiting = [question for question in questions if question.image not in known]
        for start in range(0, len(waiting), batch):
            asked = waiting[start : start + batch]
            requests = [ChatRequest(prompt(question, style=style), image=narrowed.path(question.image)) for question in asked]
            inner = _inner(progress, done, total, part)
            replies = _replies(chat, requests, asked, max_tokens=max_tokens, failed=failed, progress=inner, give_up=not done)
            book.add([_line(question, keys[question.image], reply) for question, reply in replies])
            known |= {question.image: reply.text for question, reply in replies}
            done += len(replies)
            _tell(progress, done, total, part)
        found[part] = {question.image: known[question.image] for question in questions if question.image in known}
    if not any(found.values()):
        raise BeholderError(
            f"{chat.name} answered none of {total} questions ({_reasons(failed)}): see to that, and give the same command again"
        )
    if failed:
        said = f"{len(failed)} of {total} questions were not answered by {chat.name} ({_reasons(failed)})"
        warnings.warn(f"{said}: they count as wrong until the same command has asked them again", SkippedInput, stacklevel=2)
    return found


class _Book:
    """The answers of one part on disk.

    Attributes:
        texts: key -> text.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.texts: dict[str, str] = {}
        try:
            data = file.read_bytes() if file.exists() else b""
        except OSError as error:
            raise BeholderError(f"{file} cannot be read ({error.strerror or error}): see to it, or name another folder") from None
        for line in data.split(b"\n"):
            try:
                entry = json.loads(line)
                self.texts[entry["key"]] = str(entry["text"])
            except (ValueError, KeyError, TypeError):
                continue  # cut off by the end of a process, or damaged: asked again

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add answers; they are on disk when this returns."""
        if not lines:
            return
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "replace")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a+b") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    data = data if file.read(1) == b"\n" else b"\n" + data  # half a line would spoil the next one
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BeholderError(
                f"{self.file} cannot be written ({error.strerror or error}): see to it, and give the same command again"
            ) from None


def _replies(
    chat: ChatModel,
    requests: Sequence[ChatRequest],
    asked: Sequence[Question],
    *,
    max_tokens: int,
    failed: dict[str, str],
    progress: Callable[[int, int], None] | None,
    give_up: bool,
) -> list[tuple[Question, Reply]]:
    """The replies there are, in order. If the batch fails because of one question, each is asked alone.

    Args:
        give_up: nothing has been answered so far: stop after `HOPELESS` failures.
    """
    try:
        return list(zip(asked, chat.ask(requests, max_tokens=max_tokens, progress=progress), strict=True))
    except (NoAnswer, UnreadableImage) as error:
        if _hopeless(error):
            raise
        if len(asked) == 1:
            failed[asked[0].id] = str(error)
            return []
    found: list[tuple[Question, Reply]] = []
    for done, (question, request) in enumerate(zip(asked, requests, strict=True)):
        found += _replies(chat, [request], [question], max_tokens=max_tokens, failed=failed, progress=None, give_up=False)
        if give_up and done + 1 >= HOPELESS and not found:  # each of them was tried several times, with pauses: thousands would take days
            raise BeholderError(f"{chat.name} answers nothing ({failed[question.id]}); {GOES_ON}")
    return found


def _hopeless(error: BeholderError) -> bool:
    """Nobody is there: no other question would be answered either."""
    return isinstance(error, NoAnswer) and error.kind == "unreachable"


def _key(
    question: Question,
    benchmark: Benchmark,
    *,
    chat: ChatModel,
    style: str,
    max_tokens: int,
    hashes: dict[str, str],
    failed: dict[str, str],
) -> str:
    """Of everything that decides the answer; "" if the image cannot be read."""
    if question.image not in hashes:
        try:
            hashes[question.image] = content_hash(benchmark.path(question.image))
        except UnreadableImage as error:
            hashes[question.image] = ""
            failed[question.id] = str(error)
    if not hashes[question.image]:
        failed.setdefault(question.id, f"{question.image} cannot be read")
        return ""
    parts = [chat.name, chat.version, prompt(question, style=style), hashes[question.image], max_tokens, question.id]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _line(question: Question, key: str, reply: Reply) -> dict[str, Any]:
    return {"key": key, "image": question.image, "id": question.id, "text": reply.text, "refused": reply.refused}


def _reasons(failed: dict[str, str]) -> str:
    shown = [f"{name}: {reason}" for name, reason in list(failed.items())[:3]]
    return some([*shown, *list(failed)[3:]], most=3)


def _tell(progress: Progress | None, done: int, total: int, what: str) -> None:
    if progress:
        progress(done, total, what)


def _inner(progress: Progress | None, before: int, total: int, part: str) -> Callable[[int, int], None] | None:
    return (lambda done, of: progress(before + done, total, part)) if progress else None
