"""Free-text answers (AesI) graded by a model: our rubric, several times, everything kept. No torch.

The paper's score is by a GPT whose version and prompt are not published, so what is measured here is comparable within one judge only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beholder.backbones.chat import GOES_ON, ChatModel, ChatRequest, NoAnswer, Reply, Sampling
from beholder.critique.aesbench import rubric
from beholder.critique.aesbench.judged import JudgedAnswer, JudgeResult
from beholder.critique.aesbench.questions import Benchmark, Question
from beholder.critique.aesbench.rubric import CRITERIA, RUBRIC_VERSION
from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import content_hash

REPEATS = 5
TEMPERATURE = 0.7  # of the judge, so that repeats can differ
MAX_TOKENS = 400
_BATCH = 32  # requests between two writes
_HOPELESS = 8  # failures in a row that are not about single answers
_OF_THIS_ANSWER = ("failed", "broken", "too long")  # kinds of NoAnswer that may concern one answer only
Progress = Callable[[int, int, str], None]


@dataclass
class _Ask:
    """One repeat of one answer."""

    place: int
    repeat: int
    key: str
    request: ChatRequest


def judge(
    benchmark: Benchmark,
    answers: Mapping[str, str],
    *,
    chat: ChatModel,
    repeats: int = REPEATS,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    shown: bool | None = None,
    ledger: Path | None = None,
    judged: str = "",
    progress: Progress | None = None,
) -> JudgeResult:
    """Grade the AesI answers of one model.

    A reply without grades, a refusal or a failure is asked for once more; then that repeat counts as missing, and an answer without any repeat
    is left unjudged and named. Empty and missing answers get 0 without a call.

    Args:
        answers: image -> answer.
        chat: the judge.
        temperature: above 0.
        shown: whether the judge is shown the images; None = if it takes any.
        ledger: a JSON Lines file, one line for each reply; replies in it are not asked for again.
        judged: name of the model whose answers these are, to say if it judges itself.
        progress: called with (replies, of how many, "judging").

    Raises:
        BeholderError: no AesI questions; repeats below 1; the judge cannot be reached, or fails for everything.
    """
    questions = benchmark.of_part("AesI")
    if not questions:
        raise BeholderError(f"{benchmark.name} has no questions of AesI, so there is nothing to judge: leave the judge out")
    if repeats < 1:
        raise BeholderError(f"repeats = {repeats} is no number of judgements: give 1 or more")
    shown = chat.sees if shown is None else shown
    if shown and not chat.sees:
        raise BeholderError(f"the judge {chat.name} reads text only: let it judge without images, or name a vision-language model")
    texts = [(answers.get(question.image) or "").strip() for question in questions]
    asks = list(_asks(benchmark, questions, texts, chat=chat, repeats=repeats, temperature=temperature, seed=seed, shown=shown))
    book = _Ledger(ledger, about={"judge": chat.name, "judge_version": chat.version, "rubric": RUBRIC_VERSION, "temperature": temperature})
    waiting = [ask for ask in asks if ask.key not in book.scores]
    done, again, why = len(asks) - len(waiting), set(book.again), {}
    for attempt in (1, 2):
        left: list[_Ask] = []
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            lines = []
            for ask, reply in zip(batch, _replies(chat, [_request(ask, attempt) for ask in batch], give_up=not book.scores), strict=True):
                scores, reason = _read(reply)
                if scores:
                    about = {"image": questions[ask.place].image, "repeat": ask.repeat, "seed": seed + ask.repeat}
                    lines.append({"key": ask.key, "scores": scores, "again": attempt > 1} | about)
                else:
                    why[ask.key] = reason
                    again.add(ask.key)
                    left.append(ask)
            book.add(lines)
            if progress:
                progress(done + start + len(batch) - (len(left) if attempt == 1 else 0), len(asks), "judging")
        done, waiting = len(asks) - len(left), left
    own: defaultdict[int, list[_Ask]] = defaultdict(list)
    for ask in asks:
        own[ask.place].append(ask)
    graded = tuple(
        _graded(question, text, own[place], book.scores, why, again)
        for place, (question, text) in enumerate(zip(questions, texts, strict=True))
    )
    result = JudgeResult(chat.name, chat.version, RUBRIC_VERSION, temperature, repeats, seed, shown, graded)
    return replace(result, notes=tuple(_notes(result, chat=chat, judged=judged)))


def _asks(
    benchmark: Benchmark,
    questions: Sequence[Question],
    texts: Sequence[str],
    *,
    chat: ChatModel,
    repeats: int,
    temperature: float,
    seed: int,
    shown: bool,
) -> Iterator[_Ask]:
    for place, (question, text) in enumerate(zip(questions, texts, strict=True)):
        if not text:
            continue
        image = benchmark.path(question.image) if shown else None
        prompt = rubric.prompt(question.text, text, reference=question.reference, sees=shown)
        content = _content(image)
        for repeat in range(repeats):
            request = ChatRequest(prompt, system=rubric.SYSTEM, image=image, sampling=Sampling(temperature, seed=seed + repeat))
            known = [chat.name, chat.version, RUBRIC_VERSION, rubric.SYSTEM, prompt, content, temperature, seed + repeat]
            yield _Ask(place, repeat, hashlib.blake2b(json.dumps(known).encode(), digest_size=16).hexdigest(), request)


def _request(ask: _Ask, attempt: int) -> ChatRequest:
    """The second time with other words: the same ones would get the same reply."""
    return ask.request if attempt == 1 else replace(ask.request, text=f"{ask.request.text}\n\n{rubric.AGAIN}")


def _read(reply: Reply | BeholderError) -> tuple[dict[str, float], str]:
    """Grades, or why there are none."""
    if isinstance(reply, BeholderError):
        return {}, reply.kind if isinstance(reply, NoAnswer) else "image cannot be read"
    scores, reason = rubric.read_scores(reply.text)
    return scores, "refused" if not scores and reply.refused else reason


def _replies(chat: ChatModel, requests: Sequence[ChatRequest], *, give_up: bool) -> list[Reply | BeholderError]:
    """A reply for each request, or the error it got where that concerns this request only.

    Args:
        give_up: nothing has been graded so far: stop after `_HOPELESS` failures.
    """
    out: list[Reply | BeholderError] = []
    try:
        return list(chat.ask(requests, max_tokens=MAX_TOKENS))
    except (NoAnswer, UnreadableImage) as error:
        _raise_unless_of_this_answer(error)
    for request in requests:  # what was answered in the meantime is in the cache
        try:
            out += chat.ask([request], max_tokens=MAX_TOKENS)
        except (NoAnswer, UnreadableImage) as error:
            _raise_unless_of_this_answer(error)
            out.append(error)
        if give_up and len(out) >= _HOPELESS and all(isinstance(one, NoAnswer) for one in out):
            raise BeholderError(f"the judge {chat.name} answers nothing ({out[-1]}); {GOES_ON}")
    return out


def _raise_unless_of_this_answer(error: BeholderError) -> None:
    if isinstance(error, NoAnswer) and error.kind not in _OF_THIS_ANSWER:
        raise error


def _content(image: Path | None) -> str:
    """Hash of what the judge is shown; "" for nothing."""
    try:
        return "" if image is None else content_hash(image)
    except UnreadableImage:
        return ""


def _graded(
    question: Question, text: str, asks: Sequence[_Ask], scores: Mapping[str, Mapping[str, float]], why: Mapping[str, str], again: set[str]
) -> JudgedAnswer:
    if not text:
        return JudgedAnswer(question, text, empty=True)
    return JudgedAnswer(
        question,
        text,
        scores=tuple(scores[ask.key] for ask in asks if ask.key in scores),
        why=dict(Counter(why[ask.key] for ask in asks if ask.key not in scores)),
        asked_again=sum(ask.key in again for ask in asks),
    )


def _notes(result: JudgeResult, *, chat: ChatModel, judged: str) -> Iterator[str]:
    n = len(result.answers)
    if judged and judged == result.judge:
        yield f"{judged} judges its own answers: models tend to prefer those, so name another judge"
    if not result.shown:
        yield "the judge is not shown the images, so what it says of precision rests on " + (
            "the experts' texts"
            if any(one.question.reference for one in result.answers)
            else "nothing but plausibility, as there are no experts' texts either"
        )
    if chat.unsent & {"seed", "temperature"}:
        yield f"the judge does not take {' and '.join(sorted(chat.unsent))}, so its repeats are drawn as it likes, and another run may differ"
    full = [one for one in result.answers if len(one.scores) > 1]
    if len(full) > 1 and all(one.spread == 0 for one in full):
        yield f"all repeats of the judge agree on all {len(full)} answers: it may ignore the seeds, so the repeats add nothing"
    if result.n_empty:
        yield f"AesI: {result.n_empty} of {n} questions have no answer, or an empty one, and get 0 without asking the judge"
    if result.unjudged:
        names = [one.question.image for one in result.unjudged]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield f"AesI: {len(names)} of {n} answers are left unjudged ({shown}) and do not count: {', '.join(f'{count} x {why}' for why, count in result.why.items())}"


class _Ledger:
    """Grades by key, on disk before they are used.

    Attributes:
        scores: key -> {criterion: 0..2}. again: keys that were asked for twice.
    """

    def __init__(self, path: Path | None, *, about: Mapping[str, Any]) -> None:
        self._path, self._about = path, about
        self.scores: dict[str, dict[str, float]] = {}
        self.again: set[str] = set()
        if path is None or not path.is_file():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                kept = json.loads(line)
                scores = {name: float(kept["scores"][name]) for name in CRITERIA}
                self.scores[str(kept["key"])] = scores
            except (ValueError, KeyError, TypeError):
                continue  # cut off when the computer went down: asked again
            if kept.get("again"):
                self.again.add(str(kept["key"]))

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Lines with key and scores; they are on disk when this returns."""
        self.scores |= {line["key"]: dict(line["scores"]) for line in lines}
        if self._path is None or not lines:
            return
        text = "".join(json.dumps(dict(line) | dict(self._about), ensure_ascii=False) + "\n" for line in lines)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                if file.tell() and not _ends_line(self._path):
                    file.write(b"\n")
                file.write(text.encode("utf-8", errors="backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BeholderError(
                f"{self._path} cannot be written ({error.strerror or error}): choose another place for what is judged"
            ) from None


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
