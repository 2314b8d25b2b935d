"""`http(s)://host/v1#model`: text-to-image models behind an OpenAI-compatible URL."""

from __future__ import annotations

import base64
import binascii
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from PIL import Image

from beholder.backbones.http_calls import (
    AGAIN,
    LARGEST_BACKOFF,
    LONGEST_WAIT,
    authorization,
    in_threads,
    is_filter,
    is_here,
    key_advice,
    message_of,
    no_money,
    open_client,
    retry_after,
    short,
    split_name,
)
from beholder.errors import BeholderError, MissingExtra
from beholder.steering.base import CallFailed, Generator
from beholder.steering.generators.decoding import LARGEST, decoded

if TYPE_CHECKING:
    import httpx

ENDING = "/images/generations"
BUSY = frozenset({429, 502, 503, 520, 529})  # too much to do, or away behind its proxy: nothing is wrong with the request
BUSY_RETRIES = 6  # so often at least; about a minute
_FILTERED = ("moderation", "safety system", "safety filter", "nsfw", "content_filtered", "content filtered")
_UNKNOWN = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|not supported|support[^.]{0,20}\bnot\b|does ?n[o']t support|extra|not permitted|not allowed|no such",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"prompt.{0,40}(?:long|length|exceed|characters|tokens)|(?:long|length|characters|tokens).{0,40}prompt", re.IGNORECASE
)


class ImagesEndpoint(Generator):
    """POST URL/images/generations, with as many requests at once as the server is said to bear.

    A server that does not know one of the fields response_format, seed or size is asked again without it, from then on. Errors of the server (5xx),
    timeouts and lost connections are tried again a few times, full queues (429, 503) and proxies without their server (502) for about a minute, after the
    time the server asks for or 1, 2, 4, ... seconds; what stays so, and connections that are lost each time, count as "unreachable", so that no prompt
    pays for an outage. Redirections are not followed. An image that the server gives as an address is fetched if that is on the same host, or anywhere over https, as vendors
    keep images elsewhere; the key is sent along to the same host only. For this machine's own addresses no proxy is used.

    Args:
        name: "URL#model".
        size: (width, height) in pixels; as the server likes if not given.
        api_key_env: environment variable with the key. That of the default name is sent over https and to this machine only.
        others: see `open_generator`. backoff: seconds before the first repetition; doubled each time.

    Attributes:
        version: of the size; what the server changes cannot be known from here.
    """

    def __init__(
        self,
        name: str,
        *,
        size: tuple[int, int] | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 300.0,
        retries: int = 2,
        concurrency: int = 4,
        backoff: float = 1.0,
    ) -> None:
        self._url, self.model = split_name(name, ending=ENDING)
        self.name = f"{self._url}#{self.model}"
        self.version = "any size" if size is None else f"{size[0]}x{size[1]}"
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("httpx", extra="api", purpose=f"asking {self._url}") from error
        self._httpx = httpx
        self._key_variable, self._headers = api_key_env, authorization(self._url, variable=api_key_env)
        self._timeout, self._retries, self._concurrency, self._backoff = timeout, retries, concurrency, backoff
        self._fields = {"response_format": "b64_json", "size": None if size is None else f"{size[0]}x{size[1]}"}
        self._refused: set[str] = set()  # fields that the server does not know
        self._lock = threading.Lock()
        self._reached = self._understood = False
        self._not_before = 0.0  # time.monotonic(): until then the server wants to be left alone

    def generate(self, prompt: str, *, seed: int) -> Image.Image:
        with closing(self.generate_many([(prompt, seed)])) as results:
            result = next(results)[1]
        if isinstance(result, CallFailed):
            raise result
        return result

    def generate_many(self, requests: Sequence[tuple[str, int]]) -> Iterator[tuple[int, Image.Image | CallFailed]]:
        if not requests:
            return
        with open_client(self._httpx, self._url, headers=self._headers, timeout=self._timeout, concurrency=self._concurrency) as client:

            def answer(one: tuple[int, tuple[str, int]], stopped: threading.Event) -> tuple[int, Image.Image | CallFailed]:
                place, (prompt, seed) = one
                try:
                    return place, self._ask(client, prompt, seed=seed, stopped=stopped)
                except CallFailed as failure:
                    return place, failure

            yield from in_threads(list(enumerate(requests)), answer, concurrency=self._concurrency, name="beholder-images")

    def notes(self) -> list[str]:
        notes = []
        if "seed" in self._refused:
            notes.append(f"{self.name} takes no seed: the same prompt gives another image every time")
        if "size" in self._refused:
            notes.append(f"{self.name} takes no size and chose it itself")
        return notes

    def _ask(self, client: httpx.Client, prompt: str, *, seed: int, stopped: threading.Event) -> Image.Image:
        """One image, with repetitions."""
        attempt = 0
        while True:
            rest = self._not_before - time.monotonic()
            if stopped.wait(rest) if rest > 0 else stopped.is_set():
                raise CallFailed("nobody waits for it any more")
            wait, kind, retries = None, "failed", self._retries
            sent = {"model": self.model, "prompt": prompt, "n": 1} | {
                field: value for field, value in {**self._fields, "seed": seed}.items() if value is not None and field not in self._refused
            }
            try:
                response = client.post(f"{self._url}{ENDING}", json=sent)
            except self._httpx.ReadTimeout:
                why = f"gave no image within {self._timeout:g} s"
            except self._httpx.TransportError as error:
                if not self._reached:  # a server that is not there will not come by itself
                    raise CallFailed(self._unreachable(error), kind="unreachable") from None
                why, kind = f"broke the connection ({short(str(error)) or type(error).__name__})", "unreachable"
            except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
                raise BeholderError(self._unreachable(error)) from None
            else:
                self._reached = True
                if response.status_code == 200:
                    return self._read(client, response)
                message = message_of(response)
                if self._adapt(response, sent):
                    continue
                if response.status_code not in AGAIN or no_money(message):
                    raise self._complaint(response, message)
                why = f"answered {response.status_code} ({message})"
                if response.status_code in BUSY:
                    kind, retries = "unreachable", max(retries, BUSY_RETRIES)
                wait = retry_after(response.headers.get("retry-after"))
                if wait is not None and wait > LONGEST_WAIT:
                    raise CallFailed(f"{self.name} {why} and wants to be asked again in {wait:.0f} s", kind="unreachable")
            attempt += 1
            if attempt > retries:
                raise CallFailed(f"{self.name} {why}, {attempt} times", kind=kind)
            if wait is not None:
                with self._lock:  # the others had better wait, too
                    self._not_before = max(self._not_before, time.monotonic() + wait)
            stopped.wait(max(wait or 0.0, min(self._backoff * 2 ** (attempt - 1), LARGEST_BACKOFF) * random.uniform(0.75, 1.25)))

    def _read(self, client: httpx.Client, response: httpx.Response) -> Image.Image:
        """The image in an answer: as base64, or at an address."""
        try:
            answer = response.json()
            entries = answer["data"]
            entry = entries[0] if entries else {}
            text, address = entry.get("b64_json"), entry.get("url")
            if not isinstance(text, str | None) or not isinstance(address, str | None):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            start = " ".join(response.text.split())[:80]
            if self._understood:  # the URL is right
                raise CallFailed(f"{self.name} answered something that holds no images ({start!r})", kind="broken") from None
            raise BeholderError(
                f"{self._url} answered something that holds no images ({start!r}): give the URL of an OpenAI-compatible server, "
                f"which mostly ends in /v1"
            ) from None
        self._understood = True
        if address and address.startswith("data:"):
            text = address
        if text:
            try:
                image = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
            except (binascii.Error, ValueError):
                raise CallFailed(f"{self.name} gave no image that can be read (it is no base64)", kind="broken") from None
        elif address:
            image = self._fetched(client, address)
        else:
            small = {name: value for name, value in answer.items() if name != "data"} | {"data": [entry]}
            if _is_filtered(short(str(small)), response):
                raise CallFailed(f"{self.name} would not make the image ({short(str(entry))})", kind="refused")
            raise CallFailed(f"{self.name} answered without an image", kind="broken")
        return decoded(image, of=self.name)

    def _fetched(self, client: httpx.Client, address: str) -> bytes:
        """The file at an address that the server gave."""
        own, there = urlsplit(self._url), urlsplit(address)
        same = there.scheme in ("http", "https") and there.hostname == own.hostname
        if not same and there.scheme != "https":
            raise CallFailed(f"{self.name} gave its image as {address[:100]}, which is neither on its own host nor https", kind="broken")
        exact = (there.scheme, there.netloc) == (own.scheme, own.netloc)
        reader = client if exact else self._httpx.Client(timeout=client.timeout, trust_env=not is_here(address))
        try:
            with reader.stream("GET", address) as response:
                if response.status_code != 200:
                    raise CallFailed(f"the image of {self.name} at {there.hostname} answered {response.status_code}", kind="broken")
                image = b""
                for piece in response.iter_bytes(1 << 20):
                    image += piece
                    if len(image) > LARGEST:
                        raise CallFailed(f"the image of {self.name} at {there.hostname} is larger than {LARGEST >> 20} MB", kind="broken")
                return image
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise CallFailed(
                f"the image of {self.name} at {there.hostname} cannot be fetched ({short(str(error)) or type(error).__name__})"
            ) from None
        finally:
            if reader is not client:
                reader.close()

    def _adapt(self, response: httpx.Response, sent: Mapping[str, Any]) -> bool:
        """Leaves out a field that the server says it does not know. Returns whether another attempt makes sense."""
        if response.status_code not in (400, 422):
            return False
        said = response.text[:4000].replace(str(sent["prompt"]), "")
        if not _UNKNOWN.search(said) and "extra_forbidden" not in said:
            return False
        for field in ("response_format", "seed", "size"):
            if field in sent and re.search(rf"\b{field}\b", said):
                with self._lock:
                    self._refused.add(field)
                return True
        return False

    def _complaint(self, response: httpx.Response, message: str) -> BeholderError:
        """What an answer means that will not get better."""
        status, what = response.status_code, f"{self._url} answered {response.status_code} ({message})"
        if status in (400, 403, 422, 451) and _is_filtered(message, response):
            return CallFailed(f"{self.name} would not make the image ({message})", kind="refused")
        if status in (401, 403):
            return BeholderError(f"{what}: {key_advice(self._key_variable, sent='Authorization' in self._headers)}")
        if status == 404:
            return BeholderError(f"{what}: it has no model {self.model!r} that makes images, or the URL is not the one that ends in /v1")
        if status == 402 or no_money(message):
            return BeholderError(
                f"{what}: the account has nothing left to spend; images that were made are kept, so the same command goes on later"
            )
        if 300 <= status < 400:
            return BeholderError(
                f"{what}, which points elsewhere: give the final URL, as prompts are not sent to another place than the one named"
            )
        if status in (400, 413, 422) and _TOO_LONG.search(message):
            return CallFailed(f"{self.name} takes no prompt of this length ({message})", kind="refused")
        return BeholderError(f"{what}: mend what it complains of, such as the size or the model")

    def _unreachable(self, error: Exception) -> str:
        reason = short(str(error)) or type(error).__name__
        return f"{self._url} cannot be reached ({reason}): start the server there, or mend the URL; check with  curl {self._url}/models"


def _is_filtered(message: str, response: httpx.Response) -> bool:
    """A filter or the model would not make this image."""
    text = f"{message} {response.text[:2000]}".lower()
    return is_filter(message, response) or any(sign in text for sign in _FILTERED)
