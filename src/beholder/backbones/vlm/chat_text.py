"""Chat templates of vision-language models, filled in so that it stays known which characters are the prompt's own words and where images stand."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from beholder.errors import BeholderError

MARK = "\u2460{}\u2460"  # stands for a text while the layout around it is looked for


@dataclass(frozen=True)
class Filled:
    """A conversation as one string.

    Args:
        text: with all images expanded.
        words: (start, end) of the characters of each text of the one who asks.
        images: start of the characters of each image.
        answers: (start, end) of the characters of each earlier answer, with its end mark if the template writes one between messages.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    images: tuple[int, ...]
    answers: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Tokens:
    """[s] token ids, and the characters (start, end) that each one stands for."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    def first_at(self, place: int) -> int:
        """The first token that begins at this character or after it."""
        return next((number for number, (start, end) in enumerate(self.spans) if start >= place and end > start), len(self.ids))

    def within(self, ranges: Sequence[tuple[int, int]]) -> tuple[bool, ...]:
        """[s] whether a token has characters of one of the ranges."""
        return tuple(any(start < last and end > first for first, last in ranges) for start, end in self.spans)

    def inside(self, ranges: Sequence[tuple[int, int]]) -> tuple[bool, ...]:
        """[s] whether all characters of a token, at least one, are of one of the ranges."""
        return tuple(any(first <= start < end <= last for first, last in ranges) for start, end in self.spans)


class ChatText:
    """The chat template of one model.

    Args:
        tokenizer: of transformers, a fast one.
        template: Jinja text.
        placeholder: what the template writes where an image stands.
        name: of the model, for messages.
    """

    def __init__(self, tokenizer: Any, template: str, *, placeholder: str, name: str) -> None:
        self._tokenizer, self._template, self._placeholder, self._name = tokenizer, template, placeholder, name

    def fill(
        self, parts: Sequence[str | None], images: Sequence[str], *, reply: bool = False, history: Sequence[tuple[str, str]] = (), system: str = ""
    ) -> Filled:
        """One user message, after earlier questions and answers if there are any.

        Args:
            parts: texts, and None for each image.
            images: what each of them becomes.
            reply: with the generation prompt.
            history: earlier questions and answers; the images stand before the first question then.
            system: of a system message, or before the words of the first question if the template takes none.
        """
        messages = [("user", list(parts))]
        if history:
            seen, words = [None] * len(images), [part for part in parts if part is not None]
            messages = [turn for question, answer in history for turn in (("user", [question]), ("assistant", [answer]))]
            messages = [("user", [*seen, *messages[0][1]]), *messages[1:], ("user", words)]
        system = system.strip()
        if system and self._takes_system:
            messages.insert(0, ("system", [system]))
        elif system:
            content = messages[0][1]
            place = next((number for number, part in enumerate(content) if part is not None), len(content))
            content[place : place + 1] = [f"{system}\n\n{content[place]}" if place < len(content) else system]
        given = [(role, self.harmless(part)) for role, content in messages for part in content if part is not None]
        frame = re.split("\u2460\\d+\u2460", self._render(self._messages(messages, [MARK.format(i) for i in range(len(given))]), reply))
        rendered = self._render(self._messages(messages, [text for _, text in given]), reply)
        for trimmed in ((), ("user", "assistant"), ("assistant",), ("user",)):  # as some templates do it
            texts = [text.strip() if role in trimmed else text for role, text in given]
            if len(frame) == len(texts) + 1 and _woven(frame, texts) == rendered:
                break
        else:
            raise BeholderError(f"the chat template of {self._name} does not keep the words of a message as they are: name another model")
        if sum(piece.count(self._placeholder) for piece in frame) != len(images):
            raise BeholderError(
                f"the chat template of {self._name} does not write {self._placeholder} for each image: name an instruction-tuned model that sees"
            )
        gap, end = self._around() if history else ("", "")
        left, made, words, places, answers = iter(images), "", [], [], []
        for number, piece in enumerate(frame):
            first, *others = piece.split(self._placeholder)
            made += first
            for other in others:
                places.append(len(made))
                made += next(left) + other
            if number == len(texts):
                break
            start, made = len(made), made + texts[number]
            if given[number][0] == "user":
                words.append((start, len(made)))
            elif given[number][0] == "assistant":
                before = len(gap) if piece.endswith(gap) else 0
                answers.append((start - before, len(made) + (len(end) if frame[number + 1].startswith(end) else 0)))
        return Filled(made, tuple(words), tuple(places), tuple(answers))

    @cached_property
    def _takes_system(self) -> bool:
        """Whether a system message gets into the text: some templates refuse it, others leave it out."""
        system, user = MARK.format(0), self._message(["question"], ["question"])
        try:
            return system in self._render([{"role": "system", "content": [{"type": "text", "text": system}]}, *user], True)
        except BeholderError:
            return False

    def answered(self, answer: str) -> tuple[str, str]:
        """What a reply adds to the generation prompt: (the answer, with a space before it if the template has one there; its end mark)."""
        gap, end = self._around()
        return gap + self.harmless(answer), end or self._tokenizer.eos_token or ""

    def _around(self) -> tuple[str, str]:
        """What the template writes between the generation prompt and an answer, and its end mark; "" if it has none."""
        mark = MARK.format(1)
        user = self._message(["question"], ["question"])
        before = self._render(user, True)
        whole = self._render([*user, {"role": "assistant", "content": [{"type": "text", "text": mark}]}], False)
        frame, _, tail = whole.partition(mark)
        gap = frame[len(before) :] if frame.startswith(before) else ""
        ends = [(tail.index(one), one) for one in self._special() if one in tail]
        if not ends:
            return gap, ""
        start, end = min(ends)
        return gap, tail[: start + len(end)]

    def with_answer(self, question: str, answer: str, *, earlier: Sequence[tuple[int, int]] = ()) -> tuple[Tokens, tuple[bool, ...]]:
        """Tokens of a question with its answer, and which of them are the answer's. The question's are those it has without an answer.

        Args:
            earlier: (start, end) of the characters of answers within the question: of the conversation before. Their tokens count as answers, too,
                but for one that has characters of both.
        """
        said, end = self.answered(answer)
        asked, whole = self.tokens(question), self.tokens(question + said + end)
        n = len(asked.ids)
        if whole.ids[:n] != asked.ids:  # the first letters of the answer would join the last ones of the question
            added = self.tokens(said + end, begin=False)
            spans = tuple((start + len(question), stop + len(question)) for start, stop in added.spans)
            whole = Tokens(asked.ids + added.ids, asked.spans + spans)
        return whole, asked.inside(earlier) + (True,) * (len(whole.ids) - n)

    def harmless(self, text: str) -> str:
        """The text with marks of the layout taken apart: words cannot end their own turn, nor stand for an image."""
        for mark in (*self._special(), self._placeholder):
            text = text.replace(mark, " ".join(mark))
        return text

    def tokens(self, text: str, *, begin: bool = True) -> Tokens:
        """As the model's own processor does it: a token that begins texts comes first, unless the template has written it."""
        known = self._tokenizer.bos_token
        special = begin and not (known and text.startswith(known))
        made = self._tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        return Tokens(tuple(made["input_ids"]), tuple(map(tuple, made["offset_mapping"])))

    def _special(self) -> list[str]:
        return [mark.content for mark in self._tokenizer.added_tokens_decoder.values() if mark.special]

    def _message(self, parts: Sequence[str | None], texts: Sequence[str]) -> list[dict]:
        return self._messages([("user", parts)], texts)

    def _messages(self, messages: Sequence[tuple[str, Sequence[str | None]]], texts: Sequence[str]) -> list[dict]:
        """Messages (role, parts) as templates want them, with these texts in place of their own."""
        left = iter(texts)
        return [
            {"role": role, "content": [{"type": "image"} if part is None else {"type": "text", "text": next(left)} for part in parts]}
            for role, parts in messages
        ]

    def _render(self, messages: list[dict], reply: bool) -> str:
        try:
            return self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, tokenize=False, add_generation_prompt=reply, date_string="26 Jul 2024"
            )
        except Exception as error:  # templates raise what they like
            reason = " ".join(str(error).split())[:200]
            raise BeholderError(f"the chat template of {self._name} cannot be used ({reason}): name an instruction-tuned model that sees") from None


def template_of(folder: Path, tokenizer: Any, *, name: str) -> str:
    """The chat template of a model: the processor's before the tokenizer's.

    Raises:
        BeholderError: there is none.
    """
    try:
        if (folder / "chat_template.jinja").is_file():
            return (folder / "chat_template.jinja").read_text(encoding="utf-8")
        for file in ("chat_template.json", "processor_config.json"):
            found = json.loads((folder / file).read_text(encoding="utf-8")).get("chat_template") if (folder / file).is_file() else None
            if isinstance(found, str):
                return found
    except (OSError, ValueError) as error:
        raise BeholderError(f"the chat template in {folder} cannot be read ({error}): download the model again") from None
    found = getattr(tokenizer, "chat_template", None)
    found = found.get("default") if isinstance(found, dict) else found
    if not found:
        raise BeholderError(f"{name} has no chat template: copy its chat_template.jinja (or .json), too, or name an instruction-tuned model")
    return found


def _woven(frame: Sequence[str], texts: Sequence[str]) -> str:
    return "".join(piece + text for piece, text in itertools.zip_longest(frame, texts, fillvalue=""))
