"""A real HTTP server that behaves like an OpenAI-compatible images endpoint, for tests; what it answers is a function given by the test."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from image_files import encoded


class ImageServer:
    """Attributes: url; bodies (of POST); headers and paths (of all); most = largest number of POSTs at once; files: path -> bytes or (status, headers)."""

    def __init__(self, answer):
        self.answer, self.bodies, self.headers, self.paths, self.files = answer, [], [], [], {}
        self.most = self._now = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.seen(self)
                    number = len(outer.bodies)
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                try:
                    given = outer.answer(body, number)
                finally:
                    with outer.lock:
                        outer._now -= 1
                status, payload, *headers = given if isinstance(given, tuple) else (200, given)
                payload = {"error": {"message": payload}} if isinstance(payload, str) else payload
                self.reply(status, json.dumps(payload).encode(), *headers)

            def do_GET(self):
                with outer.lock:
                    outer.seen(self)
                found = outer.files.get(self.path, (404, {}))
                self.reply(200, found) if isinstance(found, bytes) else self.reply(found[0], b"", found[1])

            def reply(self, status, data, headers=()):
                try:
                    self.send_response(status)
                    for name, value in dict(headers).items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client would not wait

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that goes away must not write into another test's output
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.root}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def seen(self, handler):
        self.headers.append(dict(handler.headers))
        self.paths.append(handler.path)


@contextmanager
def serving(answer):
    """A running server; `answer(body, number)` gives a payload, or (status, payload or message[, headers])."""
    server = ImageServer(answer)
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()


def image_of(body):
    """A plain image whose colour depends on prompt and seed only."""
    size = tuple(int(side) for side in body.get("size", "24x16").split("x"))
    colour = np.random.default_rng([sum(map(ord, body["prompt"])), body.get("seed") or 0]).integers(0, 256, 3)
    return Image.new("RGB", size, tuple(colour.tolist()))


def base64_of(image):
    return base64.b64encode(encoded(image, "PNG")).decode()


def draws(body, number):
    """The usual answer."""
    return {"created": 1, "data": [{"b64_json": base64_of(image_of(body))}]}
