"""Chat templates of vision-language models, filled in so that it stays known which characters are the prompt's own words and where images stand."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beholder.errors import BeholderError

MARK = "\u2460{}\u2460"  # stands for a text while the layout around it is looked for


@dataclass(frozen=True)
class Filled:
    """A conversation as one string.

    Args:
        text: with all images expanded.
        words: (start, end) of the characters of each text part.
        images: start of the characters of each image.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    images: tuple[int, ...]


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

    def fill(self, parts: Sequence[str | None], images: Sequence[str], *, reply: bool = False) -> Filled:
        """One user message.

        Args:
            parts: texts, and None for each image.
            images: what each of them becomes.
            reply: with the generation prompt.
        """
        texts = [self.harmless(part) for part in parts if part is not None]
        frame = re.split("\u2460\\d+\u2460", self._render(self._message(parts, [MARK.format(i) for i in range(len(texts))]), reply))
        rendered = self._render(self._message(parts, texts), reply)
        if _woven(frame, texts) != rendered:
            texts = [text.strip() for text in texts]  # as some templates do it
        if len(frame) != len(texts) + 1 or _woven(frame, texts) != rendered:
            raise BeholderError(f"the chat template of {self._name} does not keep the words of a message as they are: name another model")
        if sum(piece.count(self._placeholder) for piece in frame) != len(images):
            raise BeholderError(
                f"the chat template of {self._name} does not write {self._placeholder} for each image: name an instruction-tuned model that sees"
            )
        left, made, words, places = iter(images), "", [], []
        for piece, text in itertools.zip_longest(frame, texts):
            first, *others = piece.split(self._placeholder)
            made += first
            for other in others:
                places.append(len(made))
                made += next(left) + other
            if text is not None:
                words.append((len(made), len(made) + len(text)))
                made += text
        return Filled(made, tuple(words), tuple(places))

    def answered(self, answer: str) -> tuple[str, str]:
        """What a reply adds to the generation prompt: (the answer, with a space before it if the template has one there; its end mark)."""
        mark = MARK.format(1)
        user = self._message(["question"], ["question"])
        before = self._render(user, True)
        whole = self._render([*user, {"role": "assistant", "content": [{"type": "text", "text": mark}]}], False)
        frame, _, tail = whole.partition(mark)
        gap = frame[len(before) :] if frame.startswith(before) else ""
        ends = [(tail.index(one), one) for one in self._special() if one in tail]
        if not ends:
            return gap + self.harmless(answer), self._tokenizer.eos_token or ""
        start, end = min(ends)
        return gap + self.harmless(answer), tail[: start + len(end)]

    def with_answer(self, question: str, answer: str) -> tuple[Tokens, tuple[bool, ...]]:
        """Tokens of a question with its answer, and which of them are the answer's. The question's are those it has without an answer."""
        said, end = self.answered(answer)
        asked, whole = self.tokens(question), self.tokens(question + said + end)
        n = len(asked.ids)
        if whole.ids[:n] != asked.ids:  # the first letters of the answer would join the last ones of the question
            added = self.tokens(said + end, begin=False)
            spans = tuple((start + len(question), stop + len(question)) for start, stop in added.spans)
            whole = Tokens(asked.ids + added.ids, asked.spans + spans)
        return whole, (False,) * n + (True,) * (len(whole.ids) - n)

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
        left = iter(texts)
        content = [{"type": "image"} if part is None else {"type": "text", "text": next(left)} for part in parts]
        return [{"role": "user", "content": content}]

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
