"""What the clients of OpenAI-compatible servers share: names, keys, and what a server's answers mean. Sends nothing itself."""

from __future__ import annotations

import email.utils
import ipaddress
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from beholder.errors import BeholderError

if TYPE_CHECKING:
    import httpx

Question, Answer = TypeVar("Question"), TypeVar("Answer")

DEFAULT_KEY = "OPENAI_API_KEY"
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})  # may be right the next time
LONGEST_WAIT = 300.0  # seconds: who says "come back later than that" means "not today"
LARGEST_BACKOFF = 60.0
SHOWN = 200  # characters of a server's message


def split_name(name: str, *, ending: str) -> tuple[str, str]:
    """ "URL#model" -> URL without a slash at its end, model.

    Args:
        ending: of the address that is asked, such as "/chat/completions": people copy it along.
    """
    url, _, model = name.partition("#")
    url = url.strip().rstrip("/").removesuffix(ending).rstrip("/")
    form = "write  http(s)://host:port/v1#model"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise BeholderError(f"{url!r} is not a URL: {form}")
    if parts.username or parts.password:
        raise BeholderError(
            f"the URL of {host} holds a name or password, which would be shown and kept: put the key into an environment variable"
        )
    if not model.strip():
        raise BeholderError(f"{url} names no model: {form}; list its models with  curl {url}/models")
    return url, model.strip()


def is_here(url: str) -> bool:
    """Whether it is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def authorization(url: str, *, variable: str) -> dict[str, str]:
    """The header with the key in this environment variable; that of the default name is sent over https and to this machine only."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BeholderError(f"the environment variable {variable} holds no key (odd signs): copy the key again")
    safe = url.startswith("https:") or is_here(url) or variable != DEFAULT_KEY
    return {"Authorization": f"Bearer {key}"} if key and safe else {}


def key_advice(variable: str, *, sent: bool) -> str:
    """What to do about a key that is missing or not accepted."""
    state = "is set, but not accepted" if sent else "is not set"
    if not sent and os.environ.get(variable):
        state = "is not sent over plain http to another machine"
    return f"the key in the environment variable {variable} {state}; set it, or name another variable with api_key_env"


def message_of(response) -> str:
    """What the server says is wrong, in one line."""
    try:
        body = response.json()
        error = body.get("error", body)
        text = error.get("message") or error.get("detail") or str(error) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = response.text
    return short(text) or response.reason_phrase or "no reason given"


def short(text: str) -> str:
    """One line of at most `SHOWN` characters, without a full stop."""
    text = " ".join(str(text).split())
    return (text[: SHOWN - 3] + "..." if len(text) > SHOWN else text).rstrip(".")


def is_filter(message: str, response) -> bool:
    """Some vendors answer 400 where their filter will not let a question or an image through."""
    text = f"{message} {response.text[:2000]}".lower()
    return any(sign in text for sign in ("content_filter", "content_policy", "content policy", "responsibleai"))


def no_money(message: str) -> bool:
    """429 also means that an account is empty; waiting does not fill it."""
    return any(sign in message.lower() for sign in ("insufficient_quota", "exceeded your current quota", "billing"))


def retry_after(value: str | None) -> float | None:
    """Seconds, from the header's number or date."""
    if not value:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def open_client(library: Any, url: str, *, headers: dict[str, str], timeout: float, concurrency: int) -> httpx.Client:
    """A client for so many requests at once; for this machine's own addresses no proxy is used. library: the module httpx."""
    return library.Client(
        headers=headers,
        timeout=library.Timeout(timeout, connect=min(timeout, 20.0), pool=None),
        limits=library.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        trust_env=not is_here(url),
    )


def in_threads(
    questions: Sequence[Question], answer: Callable[[Question, threading.Event], Answer], *, concurrency: int, name: str
) -> Iterator[Answer]:
    """Answers as they get ready, of several threads at once; the first exception is raised. Closing it early stops the threads.

    Args:
        answer: called with a question and an event that is set when nobody waits for answers any more.
        name: of the threads.
    """
    # Daemon threads instead of an executor: after Ctrl-C nobody wants to wait for what is still being made.
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for one in questions:
        waiting.put(one)
    done: queue.SimpleQueue = queue.SimpleQueue()  # (answer, None) or (None, exception)
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            try:
                question = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((answer(question, stopped), None))
            except BaseException as error:
                done.put((None, error))
                return

    for number in range(min(concurrency, len(questions))):
        threading.Thread(target=work, name=f"{name}-{number}", daemon=True).start()
    try:
        for _ in questions:
            found, error = done.get()
            if error is not None:
                raise error
            yield found
    finally:
        stopped.set()
