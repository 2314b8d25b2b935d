"""What a model of transformers writes, word by word, while `generate` goes on in a thread of its own. Importing this imports no torch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence


def tokens_of(generate: Callable[..., object]) -> Iterator[int]:
    """The tokens of one answer as they are written. Closing it early stops the model after the next token.

    Args:
        generate: calls transformers' `generate` for one conversation, with the keyword arguments that it gets.
    """
    import torch
    from transformers import StoppingCriteriaList

    written: queue.SimpleQueue = queue.SimpleQueue()  # (token, None), or (None, exception or None) at the end
    stopped = threading.Event()

    class Streamer:
        prompt = True  # comes first

        def put(self, tokens: torch.Tensor) -> None:
            if not self.prompt:
                for token in tokens.flatten().tolist():
                    written.put((token, None))
            self.prompt = False

        def end(self) -> None:
            pass

    def stop(ids: torch.Tensor, *_, **__) -> torch.Tensor:
        return torch.full((len(ids),), stopped.is_set(), device=ids.device)

    def work() -> None:
        error = None
        try:
            generate(streamer=Streamer(), stopping_criteria=StoppingCriteriaList([stop]))
        except BaseException as found:
            error = found
        written.put((None, error))

    thread = threading.Thread(target=work, name="beholder-generate", daemon=True)
    thread.start()
    try:
        while True:
            token, error = written.get()
            if error is not None:
                raise error
            if token is None:
                return
            yield token
    finally:
        stopped.set()
        thread.join()


def pieces_of(tokens: Iterator[int], decode: Callable[[Sequence[int]], str]) -> Generator[str, None, list[int]]:
    """The text of tokens as it grows; its value is all of them. Half letters are held back until they are whole."""
    ids: list[int] = []
    given = ""
    for token in tokens:
        ids.append(token)
        text = decode(ids).rstrip("\ufffd")
        if text.startswith(given) and len(text) > len(given):
            yield text[len(given) :]
            given = text
    return ids
