"""beholder ask IMAGE ["QUESTION"] [--model NAME]"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beholder.cli import chat_model, options
from beholder.cli.output import note, on_terminal, print_json

if TYPE_CHECKING:
    from beholder.backbones.chat import ChatModel

PROMPT = "> "
Answer = Callable[[str], Iterator[str]]  # a question -> pieces of its answer


def ask(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph.", show_default=False)],
    question: Annotated[str | None, typer.Argument(metavar="[QUESTION]", help="About it; none on a terminal: a conversation.", show_default=False)] = None,
    model: chat_model.Model = None,
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="Show the answer while it is written.", show_default="on a terminal")
    ] = None,
    api_key_env: chat_model.KeyVariable = "OPENAI_API_KEY",
    as_json: options.AsJson = False,
) -> None:
    """Ask about a photograph: a model that sees, or else what was measured."""
    from beholder.errors import BeholderError
    from beholder.photos import read_photo

    if question is None and (as_json or not sys.stdin.isatty()):
        raise BeholderError(f'there is no question, and nobody at a terminal to ask one: write  beholder ask {image} "QUESTION"')
    if question is not None and not question.strip():
        raise BeholderError("the question is empty: ask something about the image")
    read_photo(image, min_side=64)  # before a model is loaded
    chat = chat_model.named_model(model, api_key_env=api_key_env)
    answer = _answer_of(chat, image, stream=on_terminal() if stream is None else stream)
    if question is None:
        _talk(answer)
    elif as_json:
        text = "".join(answer(question))
        print_json({"image": str(image), "question": question.strip(), "answer": text, "by": chat.name if chat is not None else "measured"})
    else:
        _show(answer(question))


def _answer_of(chat: ChatModel | None, image: Path, *, stream: bool) -> Answer:
    if chat is None:
        from beholder.critique.measured.answer import answer

        return lambda question: iter([answer(image, question)])
    from beholder.critique.ask import Conversation

    conversation = Conversation(chat, image)
    return conversation.stream if stream else lambda question: iter([conversation.ask(question)])


def _talk(answer: Answer, *, read: Callable[[str], str] = input) -> None:
    """Questions and answers until an empty line or the end of input. A question that cannot be answered ends nothing."""
    from beholder.errors import BeholderError

    if read is input:
        import contextlib

        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  lines can be edited, and earlier ones called back
    note("an empty line ends the conversation")
    while True:
        try:
            question = read(PROMPT).strip()
        except EOFError:
            print()
            return
        if not question:
            return
        try:
            _show(answer(question))
        except BeholderError as error:
            note(" ".join(str(error).split()))


def _show(pieces: Iterator[str]) -> None:
    """As they come, and a line break."""
    begun = False
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
            begun = True
    finally:
        if begun:
            print(flush=True)
