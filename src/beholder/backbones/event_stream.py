"""Chat completions that come in pieces: server-sent events of OpenAI-compatible servers, read as they arrive. Sends nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from beholder.backbones.http_calls import short

EVENTS = "text/event-stream"


class BrokenOff(Exception):
    """The stream ended before the answer did, or told of an error; the message is the reason.

    Args:
        lost: the connection; else the server said so itself.
    """

    def __init__(self, reason: str, *, lost: bool) -> None:
        super().__init__(reason)
        self.lost = lost


class NoCompletion(Exception):
    """This is no stream of a chat completion; the message is what came instead."""


@dataclass
class EventStream:
    """The pieces of one answer. After the last one the attributes say what came of it.

    Args:
        chunks: bytes of the response; a chunk may end anywhere, also within a letter.

    Attributes:
        text: of all pieces.
        refusal: what came as the model's refusal; "" if nothing.
        finish: why the model stopped; "" if it was not said.
        prompt_tokens, completion_tokens: as counted by the server; 0 if it does not tell.
    """

    chunks: Iterator[bytes]
    text: str = ""
    refusal: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _done: bool = field(default=False, repr=False)

    def __iter__(self) -> Iterator[str]:
        """Pieces of text, none of them empty.

        Raises:
            BrokenOff, NoCompletion: see there.
        """
        for line in self._lines():
            name, _, value = line.partition(":")
            if name != "data":  # comments that keep the connection alive, names of events
                continue
            if value.strip() == "[DONE]":
                self._done = True
                return
            try:
                piece = self._read(value)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError):
                raise NoCompletion(value) from None
            if piece:
                self.text += piece
                yield piece
        if not self._done and not self.finish:
            raise BrokenOff("the answer ended in the middle", lost=True)

    def _read(self, value: str) -> str:
        """The text of one event."""
        event = json.loads(value)
        if not isinstance(event, dict):
            raise ValueError(value)
        if event.get("error"):
            error = event["error"]
            raise BrokenOff(short(error.get("message") or str(error) if isinstance(error, dict) else str(error)), lost=False)
        usage = event.get("usage") or {}
        self.prompt_tokens = int(usage.get("prompt_tokens") or self.prompt_tokens)
        self.completion_tokens = int(usage.get("completion_tokens") or self.completion_tokens)
        choices = event.get("choices") or []  # none in the event that brings the usage
        if not choices:
            return ""
        delta: dict[str, Any] = choices[0].get("delta") or {}
        self.finish = choices[0].get("finish_reason") or self.finish
        refusal, content = delta.get("refusal"), delta.get("content")
        self.refusal += refusal if isinstance(refusal, str) else ""
        if isinstance(content, list):  # some servers give parts
            content = "".join(part.get("text") or "" for part in content)
        return content if isinstance(content, str) else ""

    def _lines(self) -> Iterator[str]:
        """Lines end at line feeds only: JSON may hold other signs that count as ends of lines elsewhere."""
        left = b""
        for chunk in self.chunks:
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                yield line.rstrip(b"\r").decode("utf-8", errors="replace")
        if left:
            yield left.decode("utf-8", errors="replace")
