"""A conversation about one image with a model that sees. Ours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator
from pathlib import Path

from beholder.backbones.chat import ChatModel, ChatRequest, NoAnswer, Reply
from beholder.errors import BeholderError

MAX_TOKENS = 400
SYSTEM = "You talk with somebody about an image. You say in a few sentences what can be seen in it, kindly and honestly, and that you do not know what cannot."


class Conversation:
    """Questions and answers about one image, which is shown with the first of them; each question is asked with all that was said before.

    Where that is more than the model can read at once, the oldest questions and answers are left out, which is said once (a warning).

    Args:
        chat: a model that sees.
        image: the same during the whole conversation.
        max_tokens: of an answer.

    Attributes:
        history: questions with their answers, the oldest first; those that were left out are gone.
        left_out: how many were left out.

    Raises:
        BeholderError: the model reads text only.
    """

    def __init__(self, chat: ChatModel, image: str | os.PathLike, *, max_tokens: int = MAX_TOKENS) -> None:
        if not chat.sees:
            raise BeholderError(f"the model {chat.name} reads text only, and cannot be asked about an image: name a vision-language model instead")
        self.chat, self.image, self._max_tokens = chat, Path(image), max_tokens
        self.history: list[tuple[str, str]] = []
        self.left_out = 0

    def ask(self, question: str) -> str:
        """The answer.

        Raises:
            UnreadableImage, NoAnswer, BeholderError: see `ChatModel.ask`; nothing is added to the history then.
        """
        while True:
            try:
                return self._answered(question, self.chat.ask([self._request(question)], max_tokens=self._max_tokens)[0])
            except NoAnswer as error:
                self._shorten(error)

    def stream(self, question: str) -> Generator[str, None, str]:
        """The answer in pieces, as they come; its value is the whole. Closed early, or broken off, it adds nothing to the history."""
        while True:
            try:
                reply = yield from self.chat.stream(self._request(question), max_tokens=self._max_tokens)
                break
            except NoAnswer as error:
                self._shorten(error)  # too long is known before the first piece
        return self._answered(question, reply)

    def _request(self, question: str) -> ChatRequest:
        if not question.strip():
            raise BeholderError("the question is empty: ask something about the image")
        return ChatRequest(question.strip(), system=SYSTEM, image=self.image, history=tuple(self.history))

    def _answered(self, question: str, reply: Reply) -> str:
        if not reply.text:
            what = "refused to answer" if reply.refused else "answered nothing"
            raise BeholderError(f"{self.chat.name} {what} when it was asked {question.strip()!r}: ask in another way, or another model")
        self.history.append((question.strip(), reply.text))
        return reply.text

    def _shorten(self, error: NoAnswer) -> None:
        """Leaves out the oldest question and answer, if that is what helps; raises the error otherwise."""
        if error.kind != "too long" or not self.history:
            raise error
        if not self.left_out:
            warnings.warn(
                f"the conversation has become longer than {self.chat.name} can read at once: its oldest questions and answers are left out from now on",
                UserWarning,
                stacklevel=3,
            )
        del self.history[0]
        self.left_out += 1
