"""A real HTTP server that behaves like an OpenAI-compatible endpoint, for tests; what it answers is a function given by the test."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


class ChatServer:
    """Attributes: url ("http://127.0.0.1:PORT/v1"); requests: bodies (with "system", "text", "image"); headers; most = largest number at once."""

    def __init__(self, answer):
        self.answer, self.requests, self.headers, self.paths = answer, [], [], []
        self.most = self._now = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.serve(self, body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that goes away must not write into another test's output
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serve(self, handler, body):
        request = understood(body)
        with self.lock:
            self.requests.append(request)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            number = len(self.requests)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            answered = self.answer(request, number)
            if isinstance(answered, Streamed):
                answered.send(handler)
                return
            status, payload, headers = response_of(answered)
        finally:
            with self.lock:
                self._now -= 1
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        try:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            pass  # the client would not wait

    def name(self, model="tiny"):
        return f"{self.url}#{model}"


@contextmanager
def serving(answer):
    """A running server; `answer(request, number)` gives text, (status, payload), (status, payload, headers), a whole completion, or `Streamed`."""
    server = ChatServer(answer)
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()


class Streamed:
    """An answer that comes in chunks, as given: bytes, or an event that is waited for before the next one.

    Args:
        chunks: of the body; `events` makes them.
        dies: the connection is cut after them, in the middle of the answer.
        kind: content type.
    """

    def __init__(self, chunks, *, dies=False, kind="text/event-stream"):
        self.chunks, self.dies, self.kind = chunks, dies, kind

    def send(self, handler):
        try:
            handler.send_response(200)
            handler.send_header("Content-Type", self.kind)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for chunk in self.chunks:
                if isinstance(chunk, threading.Event):
                    chunk.wait(20)
                    continue
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                handler.wfile.flush()
            if not self.dies:
                handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the client has heard enough
        handler.close_connection = self.dies


def events(*pieces, usage=(100, 10), finish="stop", done=True, **more):
    """Server-sent events of a streamed completion, one chunk each; `more` goes into the last delta."""
    begin = {"role": "assistant", "content": ""}
    deltas = [begin, *({"content": piece} for piece in pieces), more]
    made = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    made[-1]["choices"][0]["finish_reason"] = finish
    if usage:
        made.append({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
    lines = [f"data: {json.dumps(one, ensure_ascii=False)}\n\n".encode() for one in made]
    return [*lines, b"data: [DONE]\n\n"] if done else lines


def understood(body):
    """The body, and what a server reads from it: system, text, image (Pillow) or None."""
    found = {"system": "", "text": "", "image": None, "raw": b"", "body": body}
    for message in body["messages"]:
        parts = message["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            if part["type"] == "text":
                found["system" if message["role"] == "system" else "text"] += part["text"]
            else:
                head, _, data = part["image_url"]["url"].partition(",")
                assert head == "data:image/jpeg;base64"
                found["raw"] = base64.b64decode(data)
                found["image"] = Image.open(io.BytesIO(found["raw"]))
    return found


def response_of(answer):
    """(status, payload, headers) from what a test's function gave."""
    if isinstance(answer, str):
        return 200, completion(answer), {}
    if isinstance(answer, dict):
        return 200, answer, {}
    status, payload, *headers = answer
    if isinstance(payload, str):
        payload = {"error": {"message": payload, "type": "error"}}
    return status, payload, headers[0] if headers else {}


def completion(text, **more):
    """A chat completion; `more` goes into the message or, for finish_reason, beside it."""
    choice = {"index": 0, "finish_reason": more.pop("finish_reason", "stop"), "message": {"role": "assistant", "content": text, **more}}
    return {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}


def brightness(image) -> float:
    """0..1."""
    return float(np.asarray(image.convert("L")).mean() / 255)


def slowly(answer, seconds=0.15):
    """The same answers, late."""

    def late(request, number):
        time.sleep(seconds)
        return answer(request, number)

    return late
