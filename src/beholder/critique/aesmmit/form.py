"""A page on which one person gives feedback on a folder of images, one at a time. Served to this machine only."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import threading
import warnings
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from beholder.critique.aesmmit.feedback import GRADES, QUESTIONS, SUGGESTION, Feedback
from beholder.critique.aesmmit.form_session import Collected, Refused, Session
from beholder.errors import BeholderError, UnreadableImage
from beholder.located import SHOWN, SkippedInput

HOST = "127.0.0.1"
_MOST_BYTES = 100_000  # of one answer
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'nonce-{0}'; script-src 'nonce-{0}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def serve_form(
    images: Path,
    out: Path,
    *,
    subject: str,
    source: str = "",
    dataset: str = "",
    port: int = 0,
    ready: Callable[[str], None] | None = None,
) -> Collected:
    """Serve the form until it is stopped, on the page or with Ctrl-C.

    Each answer is in `out` before the next image is shown. Images of which `out` has feedback of this subject are not asked for again; skipped ones
    come again, at the end or next time. Only this machine is served, only to who has the random token of the address, and only the images found.

    Args:
        images: folder. out: JSON Lines file of feedback, made if missing.
        subject: name of who answers.
        source, dataset: stored with each answer; see `Feedback`.
        port: 0 = any that is free.
        ready: called with the address once it can be opened.

    Raises:
        BeholderError: there are no images, the file cannot be used, the subject has no name, or the port is taken.
    """
    images, out = Path(images), Path(out)
    if not subject.strip():
        raise BeholderError("the subject has no name: say who answers, such as  --subject anna")
    if out.suffix.lower() not in (".jsonl", ".ndjson"):
        raise BeholderError(f"{out} is not a name for JSON Lines: give one that ends in .jsonl")
    if not images.is_dir():
        raise BeholderError(f"{images} is not a folder: give the folder of the images")
    Feedback("-", subject, None, "-", "", "", source=source, dataset=dataset)  # a wrong source is better known before the work
    session = Session(images, out, subject=" ".join(subject.split()), source=source, dataset=dataset)
    _try_to_write(out)
    server = _server(session, port=port)
    with server:
        if ready is not None:
            ready(f"http://{HOST}:{server.server_port}/{server.token}/")
        with contextlib.suppress(KeyboardInterrupt):  # the usual way to stop
            server.serve_forever(poll_interval=0.1)
    collected = session.collected()
    if collected.unreadable:
        names = ", ".join(f"{path} {reason}" for path, reason in collected.unreadable[:SHOWN])
        more = f" and {len(collected.unreadable) - SHOWN} more" if len(collected.unreadable) > SHOWN else ""
        warnings.warn(f"{len(collected.unreadable)} images could not be shown: {names}{more}", SkippedInput, stacklevel=2)
    return collected


def _try_to_write(out: Path) -> None:
    """Better known before somebody has thought about an answer."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(out, "ab") as file:
            empty = not file.tell()
        if empty:
            out.unlink()
    except OSError as error:
        raise BeholderError(f"{out} cannot be written ({error.strerror or error}): choose another place") from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    session: Session
    token: str
    page: str
    words: str

    def handle_error(self, request, client_address) -> None:
        """A browser that goes away in the middle is no error of ours; everything else is shown as it is by default."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _server(session: Session, *, port: int) -> _Server:
    try:
        server = _Server((HOST, port), _Handler)
    except (OSError, OverflowError) as error:
        raise BeholderError(f"port {port} cannot be used ({getattr(error, 'strerror', None) or error}): choose another, or 0 for any") from None
    server.session, server.token = session, secrets.token_urlsafe(24)
    words = {"questions": dict(QUESTIONS), "suggestion": SUGGESTION, "grades": GRADES, "subject": session.subject}
    server.page = (Path(__file__).parent / "form.html").read_text(encoding="utf-8")
    server.words = json.dumps(words).replace("<", "\\u003c")
    return server


class _Handler(BaseHTTPRequestHandler):
    """Paths below the token: "" (the page), next, at/N, images/N; and by POST answer/N, skip/N, stop."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds without a word, after which a connection is let go

    def do_GET(self) -> None:
        self._serve({"": self._page, "next": self._next, "at": self._at, "images": self._image})

    def do_POST(self) -> None:
        self._serve({"answer": self._answer, "skip": self._skip, "stop": self._stop})

    def _serve(self, actions: dict[str, Callable[[int | None], None]]) -> None:
        try:
            self._allowed_action(actions)
        except Refused as error:
            self._json({"error": str(error)}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        except UnreadableImage as error:
            self._json({"error": error.reason}, status=HTTPStatus.NOT_FOUND)
        except BeholderError as error:  # the file can no longer be written
            self._json({"error": str(error)}, status=HTTPStatus.INTERNAL_SERVER_ERROR)
        except OSError:
            self.close_connection = True  # the page was closed

    def _allowed_action(self, actions: dict[str, Callable[[int | None], None]]) -> None:
        here = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        token, _, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        origin = self.headers.get("Origin")
        # A page elsewhere may send its name to this address (DNS rebinding), or post to it; it can do neither with our name in these.
        allowed = self.headers.get("Host", "") in here and (origin is None or origin.removeprefix("http://") in here)
        if not allowed or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._send(b"403: open the address that the program printed\n", "text/plain; charset=utf-8", status=HTTPStatus.FORBIDDEN)
            return
        name, _, number = rest.partition("/")
        numbered = name in ("at", "images", "answer", "skip")
        if name not in actions or numbered != bool(number) or not (number.isascii() and number.isdigit() if numbered else True) or len(number) > 9:
            self._send(b"404: there is nothing here\n", "text/plain; charset=utf-8", status=HTTPStatus.NOT_FOUND)
            return
        actions[name](int(number) if numbered else None)

    def _page(self, _: int | None) -> None:
        nonce = secrets.token_urlsafe(12)
        text = self.server.page.replace("{{nonce}}", nonce).replace("{{words}}", self.server.words)
        self._send(text.encode(), "text/html; charset=utf-8", policy=_POLICY.format(nonce))

    def _next(self, _: int | None) -> None:
        self._json(self.server.session.next())

    def _at(self, number: int | None) -> None:
        self._json(self.server.session.at(number))

    def _image(self, number: int | None) -> None:
        session = self.server.session
        if number >= len(session.names):
            raise Refused("there is no such image")
        self._send(session.picture(number), "image/jpeg", cache="private, max-age=600")

    def _answer(self, number: int | None) -> None:
        values = self._body()
        self._json(self.server.session.answer(number, values))

    def _skip(self, number: int | None) -> None:
        self._body()
        self._json(self.server.session.skip(number))

    def _stop(self, _: int | None) -> None:
        self._body()
        collected = self.server.session.collected()
        self._json({"given": collected.given, "done": collected.done, "total": collected.total})
        threading.Thread(target=self.server.shutdown, daemon=True).start()  # waits for the loop, so not in its own thread

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > _MOST_BYTES:
            self.close_connection = True
            raise Refused("the answer is too long, or none")
        data = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":
            raise Refused("the answer is not JSON")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise Refused("the answer is not JSON") from None
        if not isinstance(value, dict):
            raise Refused("the answer is not an object")
        return value

    def _json(self, value: dict[str, Any], *, status: int = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status=status)

    def _send(self, data: bytes, kind: str, *, status: int = HTTPStatus.OK, policy: str = "default-src 'none'", cache: str = "no-store") -> None:
        if status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True  # its body, if there is one, may not have been read
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Cache-Control": cache,
            "Content-Security-Policy": policy,
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass  # requests hold the token
