"""Chat models behind an OpenAI-compatible URL: vLLM, Ollama, llama.cpp, vendors. The only module that sends anything to a chat server."""

from __future__ import annotations

import base64
import contextlib
import io
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from beholder.backbones.chat import GOES_ON, ChatModel, ChatRequest, NoAnswer
from beholder.backbones.event_stream import EVENTS, BrokenOff, EventStream, NoCompletion
from beholder.backbones.http_calls import (
    AGAIN,
    LARGEST_BACKOFF,
    LONGEST_WAIT,
    authorization,
    in_threads,
    is_filter,
    key_advice,
    message_of,
    no_money,
    open_client,
    retry_after,
    short,
    split_name,
)
from beholder.backbones.reply_cache import Reply, ReplyCache
from beholder.errors import BeholderError, MissingExtra
from beholder.photos import content_hash, read_photo

if TYPE_CHECKING:
    import httpx

Begun = TypeVar("Begun")
JPEG_QUALITY = 90
BROKE = frozenset({409, 500})  # something in the server, perhaps because of this request; the other statuses of AGAIN: come back later
LATE = 2  # repetitions after a timeout
IMAGES_KEPT = 64  # encoded, in memory: the same photograph is mostly asked about for many raters at once


class Endpoint(ChatModel):
    """POST URL/chat/completions, with as many requests at once as the server is said to bear.

    Full queues (429), errors of the server (5xx), timeouts and lost connections are tried again, after the time the server asks
    for (Retry-After) or after 1, 2, 4, ... seconds with some jitter; what the server refuses (other 4xx) is not. Redirections are not followed,
    so that no photograph goes to another place than the one named; for this machine's own addresses no proxy is used.

    Args:
        name: "URL#model".
        api_key_env: environment variable with the key. That of the default name is sent over https and to this machine only.
        others: see `open_chat_model`.
    """

    def __init__(
        self,
        name: str,
        *,
        cache: ReplyCache | None,
        prices: tuple[float, float] | None,
        api_key_env: str,
        concurrency: int,
        image_size: int,
        timeout: float,
        retries: int,
        backoff: float,
    ) -> None:
        super().__init__(cache=cache, prices=prices)
        self._url, self.model = split_name(name, ending="/chat/completions")
        self.name = f"{self._url}#{self.model}"
        self.version = f"{image_size}px"
        self._key_variable = api_key_env
        self._concurrency, self._image_size = concurrency, image_size
        self._timeout, self._retries, self._backoff = timeout, retries, backoff
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("httpx", extra="api", purpose=f"asking {self._url}") from error
        self._httpx = httpx
        self._headers = authorization(self._url, variable=api_key_env)
        self._lock = threading.Lock()
        self._reached = False
        self._not_before = 0.0  # time.monotonic(): until then the server wants to be left alone
        self._length_field = "max_tokens"  # newer vendor models want another one; learned from their answers, as `unsent` is
        self._streams = self._counts = True  # whether it gives answers in pieces, and takes the option to count tokens then; learned, too
        self._images: OrderedDict[str, str] = OrderedDict()

    def _answers(self, requests: Sequence[tuple[str, ChatRequest]], *, max_tokens: int) -> Iterator[tuple[str, Reply]]:
        with open_client(self._httpx, self._url, headers=self._headers, timeout=self._timeout, concurrency=self._concurrency) as client:

            def answer(one: tuple[str, ChatRequest], stopped: threading.Event) -> tuple[str, Reply]:
                return one[0], self._answer(client, *one, max_tokens=max_tokens, stopped=stopped)

            yield from in_threads(requests, answer, concurrency=self._concurrency, name="beholder-chat")

    def _answer(self, client: httpx.Client, key: str, request: ChatRequest, *, max_tokens: int, stopped: threading.Event) -> Reply:
        """One request, with repetitions."""

        def whole(response: httpx.Response) -> httpx.Response:
            response.read()
            return response

        response = self._begun(client, request, whole, max_tokens=max_tokens, stopped=stopped)
        return self._done(key, "", refused=True) if response is None else self._done(key, **self._read(response))

    def _pieces(self, key: str, request: ChatRequest, *, max_tokens: int) -> Generator[str, None, Reply]:
        """Repetitions up to the first piece only: whoever reads along cannot be given another beginning."""
        with contextlib.ExitStack() as opened:

            def begin(response: httpx.Response) -> tuple[str, Iterator[str], EventStream] | httpx.Response:
                if EVENTS not in response.headers.get("content-type", ""):
                    response.read()
                    if not response.content.lstrip().startswith(b"data:"):
                        return response
                answer = EventStream(response.iter_bytes())
                pieces = iter(answer)
                try:
                    first = next(pieces, "")
                except BaseException:
                    response.close()  # the connection is needed for the repetition
                    raise
                opened.callback(response.close)
                return first, pieces, answer

            client = opened.enter_context(open_client(self._httpx, self._url, headers=self._headers, timeout=self._timeout, concurrency=1))
            begun = self._begun(client, request, begin, max_tokens=max_tokens, stopped=threading.Event(), stream=True)
            if begun is None:
                return self._done(key, "", refused=True)
            if not isinstance(begun, tuple):  # it does not stream, and has answered all the same
                read = self._read(begun)
                yield read["text"]
                return self._done(key, **read)
            first, pieces, answer = begun
            try:
                yield first
                yield from pieces
            except (self._httpx.TransportError, BrokenOff) as error:
                why = str(error) or type(error).__name__
                raise NoAnswer(f"{self.name} broke off in the middle of its answer ({short(why)}): ask again", kind="unreachable") from None
            except NoCompletion as error:
                raise self._no_completion(str(error)) from None
        refused = bool(answer.refusal) or answer.finish == "content_filter"
        tokens = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
        return self._done(key, answer.text or answer.refusal, refused=refused, **tokens)

    def _begun(
        self,
        client: httpx.Client,
        request: ChatRequest,
        begin: Callable[[httpx.Response], Begun],
        *,
        max_tokens: int,
        stopped: threading.Event,
        stream: bool = False,
    ) -> Begun | None:
        """What `begin` makes of the first good response, after repetitions; None if a filter would not let the request through.

        Args:
            begin: reads a response of status 200, of which nothing was read, as far as a failure shall lead to a repetition.
            stream: ask for the answer in pieces.
        """
        attempt = 0
        while True:
            self._wait(stopped)
            wait, why, kind = None, "", "unreachable"
            try:
                payload = self._payload(request, max_tokens=max_tokens, stream=stream)
                response = client.send(client.build_request("POST", f"{self._url}/chat/completions", json=payload), stream=True)
                self._reached = True
                if response.status_code == 200:
                    return begin(response)
                response.read()
            except self._httpx.ReadTimeout:
                why = f"gave no answer within {self._timeout:g} s (give it more time with  timeout=SECONDS)"
                if attempt >= LATE:  # each of them may have been computed, and paid, all the same
                    raise NoAnswer(f"{self.name} {why}, {attempt + 1} times: {GOES_ON}", kind="unreachable") from None
            except self._httpx.TransportError as error:
                if not self._reached:  # a server that is not there will not come by itself
                    raise NoAnswer(self._unreachable(str(error) or type(error).__name__), kind="unreachable") from None
                why = f"broke the connection ({error or type(error).__name__})"
            except BrokenOff as error:
                kind = "unreachable" if error.lost else "failed"
                why = f"broke the connection ({error})" if error.lost else f"answered an error ({error})"
            except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
                raise BeholderError(self._unreachable(str(error) or type(error).__name__)) from None
            except NoCompletion as error:
                raise self._no_completion(str(error)) from None
            else:
                message = message_of(response)
                if response.status_code in (400, 422) and self._adapt(message, payload):
                    continue
                if response.status_code == 400 and is_filter(message, response):
                    return None
                if response.status_code == 400 and _is_too_long(message):
                    raise NoAnswer(self._refused(response.status_code, message, request), kind="too long")
                if response.status_code not in AGAIN or no_money(message):
                    raise BeholderError(self._refused(response.status_code, message, request))
                kind = "failed" if response.status_code in BROKE else "unreachable"
                why = f"answered {response.status_code} ({message})"
                wait = retry_after(response.headers.get("retry-after"))
                if wait is not None and wait > LONGEST_WAIT:
                    raise NoAnswer(f"{self.name} {why} and wants to be asked again in {wait:.0f} s: {GOES_ON}", kind="unreachable")
            attempt += 1
            if attempt > self._retries:
                raise NoAnswer(f"{self.name} {why}, {attempt} times: {GOES_ON}", kind=kind)
            self._retried()
            if wait is not None:
                with self._lock:  # the others had better wait, too
                    self._not_before = max(self._not_before, time.monotonic() + wait)
            jittered = min(self._backoff * 2 ** (attempt - 1), LARGEST_BACKOFF) * random.uniform(0.75, 1.25)
            if stopped.wait(max(wait or 0.0, jittered)):
                raise _Stopped

    def _wait(self, stopped: threading.Event) -> None:
        while (rest := self._not_before - time.monotonic()) > 0 or stopped.is_set():
            if stopped.wait(max(rest, 0.0)):
                raise _Stopped

    def _payload(self, request: ChatRequest, *, max_tokens: int, stream: bool) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        for question, answer in request.history:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages.append({"role": "user", "content": request.text})
        if request.image is not None:
            shown = {"type": "image_url", "image_url": {"url": self._data_url(request.image)}}
            messages[0]["content"] = [shown, {"type": "text", "text": messages[0]["content"]}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        sampling = request.sampling
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed} if sampling else {"temperature": 0}
        drawn = {field: value for field, value in drawn.items() if field not in self.unsent}
        streamed = {"stream": stream and self._streams}
        if streamed["stream"] and self._counts:
            streamed["stream_options"] = {"include_usage": True}
        return {"model": self.model, "messages": messages, self._length_field: max_tokens} | streamed | drawn

    def _data_url(self, image: Path) -> str:
        """The photograph as a small JPEG. Without EXIF data: nobody's place and camera are sent along."""
        content = content_hash(image)
        with self._lock:
            if content in self._images:
                self._images.move_to_end(content)
                return self._images[content]
        photo = read_photo(image, min_side=self._image_size)
        photo.thumbnail((self._image_size, self._image_size), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=JPEG_QUALITY)
        url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        with self._lock:
            self._images[content] = url
            while len(self._images) > IMAGES_KEPT:
                self._images.popitem(last=False)
        return url

    def _read(self, response) -> dict[str, Any]:
        """What `_done` wants to know, from a chat completion."""
        try:
            answer = response.json()
            choice = answer["choices"][0]
            message, usage = choice["message"], answer.get("usage") or {}
            content = message.get("content")
            if isinstance(content, list):  # some servers give parts
                content = "".join(part.get("text") or "" for part in content)
            if not isinstance(content, str | None):
                raise TypeError
            refusal = message.get("refusal")
            return {
                "text": content or (refusal if isinstance(refusal, str) else ""),
                "refused": bool(refusal) or choice.get("finish_reason") == "content_filter",
                "prompt_tokens": int(usage.get("prompt_tokens") or 0),
                "completion_tokens": int(usage.get("completion_tokens") or 0),
            }
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise self._no_completion(response.text) from None

    def _no_completion(self, text: str) -> NoAnswer:
        start = " ".join(text.split())[:80]
        return NoAnswer(
            f"{self._url} answered something that is no chat completion ({start!r}): give the URL of an OpenAI-compatible server, "
            f"which mostly ends in /v1",
            kind="broken",
        )

    def _adapt(self, message: str, sent: Mapping[str, Any]) -> bool:
        """Newer models refuse max_tokens, or a temperature; some servers know no seed, or cannot stream. Returns whether another attempt in another form makes sense."""
        if "max_tokens" in sent and "max_completion_tokens" in message:
            self._length_field = "max_completion_tokens"
            return True
        if "stream_options" in sent and "stream_options" in message:
            self._counts = False
            return True
        if _NOT_TAKEN.search(message):
            if sent["stream"] and re.search(r"\bstream(?:ing)?\b", message):
                self._streams = False
                return True
            for field in ("seed", "top_p", "temperature"):  # of two that exclude each other the temperature stays
                if field in sent and re.search(rf"\b{field}\b", message):
                    self.unsent |= {field}
                    return True
        return False

    def _refused(self, status: int, message: str, request: ChatRequest) -> str:
        what = f"{self._url} answered {status} ({message})"
        if status in (401, 403):
            return f"{what}: {key_advice(self._key_variable, sent='Authorization' in self._headers)}"
        if status == 404:
            advice = f"list its models with  curl {self._url}/models"
            return f"{what}: it has no model {self.model!r}, or the URL is not the one that ends in /v1; {advice}"
        if status == 402 or no_money(message):
            return f"{what}: the account has nothing left to spend; {GOES_ON}"
        if 300 <= status < 400:
            return f"{what}, which points elsewhere: give the final URL, as photographs are not sent to another place than the one named"
        about = f" about {request.image}" if request.image is not None else ""
        return f"{what} to a request{about}: mend what it complains of, or ask a model with a longer context that takes images"

    def _unreachable(self, reason: str) -> str:
        return f"{self._url} cannot be reached ({short(reason)}): start the server there, or mend the URL; check with  curl {self._url}/models"


# what servers say of a field that they do not take: vendors, FastAPI, llama.cpp, gateways
_NOT_TAKEN = re.compile(r"support|permitted|forbidden|not allowed|unknown|unrecogni[sz]ed|unexpected|both be|deprecated", re.IGNORECASE)


class _Stopped(Exception):
    """Another request failed, or the user interrupted: nobody reads this."""


def _is_too_long(message: str) -> bool:
    """A question, with the answer it may have, beyond what the model can read."""
    return bool(re.search(r"context[ _](?:length|size|window)|maximum context|prompt is too long|too many tokens", message, re.IGNORECASE))
