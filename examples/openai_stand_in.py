"""A server on this machine that speaks like an OpenAI-compatible one, without any model: to try commands that take URLs, and to test programs of yours.

    python examples/openai_stand_in.py --port 8901
    beholder steer "a house by the sea" --writer http://127.0.0.1:8901/v1#phrases --generator http://127.0.0.1:8901/v1#scenes
    beholder aesmmit build --feedback feedback.jsonl --images photos --writer http://127.0.0.1:8901/v1#rules --out built
    beholder critique photo.jpg --model http://127.0.0.1:8901/v1#pixels

POST /v1/chat/completions answers with variants of the goal that the question names, with questions made of feedback, with grades, or with what pixel means
tell of an image (rules, no language model; "stream": true gives it in pieces); POST /v1/images/generations draws test scenes.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where this file is imported from elsewhere

import openai_stand_in_critique as critique

from beholder.steering.base import Shown
from beholder.steering.generators.scenes import SceneGenerator
from beholder.steering.phrases import PhraseWriter

HISTORY = re.compile(r"^(-?\d+\.\d{3}): (.+)$", re.MULTILINE)
GOAL = re.compile(r"^Goal: (.+)$", re.MULTILINE)
WANTED = re.compile(r"\b(\d+) new prompts?\b")
WORDS = re.compile(r"fewer than (\d+) words")


def variants(question: str, *, seed: int) -> str:
    """A numbered list of prompts, as a chat model would answer the question of `beholder steer`."""
    goal, wanted, words = GOAL.search(question), WANTED.search(question), WORDS.search(question)
    history = [Shown(prompt, float(score)) for score, prompt in HISTORY.findall(question)]
    proposal = PhraseWriter().propose(
        goal[1] if goal else question.strip().splitlines()[0],
        n=int(wanted[1]) if wanted else 5,
        history=history,
        seed=seed,
        max_words=int(words[1]) if words else 77,
    )
    return "\n".join(f"{number}. {prompt}" for number, prompt in enumerate(proposal.prompts, start=1))


def chat(body: dict) -> dict:
    content = body["messages"][-1]["content"]
    question = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    seed = int(body.get("seed") or 0)
    text = critique.answer(question, critique.picture_of(body["messages"]), seed=seed) or variants(question, seed=seed)
    usage = {"prompt_tokens": len(question.split()), "completion_tokens": len(text.split())}
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], "usage": usage}


def image(body: dict) -> dict:
    buffer = io.BytesIO()
    SceneGenerator().generate(body["prompt"], seed=int(body.get("seed") or 0)).save(buffer, "PNG")
    return {"created": 0, "data": [{"b64_json": base64.b64encode(buffer.getvalue()).decode()}]}


ANSWERS = {"/v1/chat/completions": chat, "/v1/images/generations": image}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        answer = ANSWERS.get(self.path)
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            status, found = (200, answer(body)) if answer else (404, {"error": {"message": f"there is nothing at {self.path}"}})
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:  # OSError: an image that is none
            status, found = 400, {"error": {"message": f"the request cannot be understood ({type(error).__name__}: {error})"}}
        if status == 200 and answer is chat and body.get("stream"):
            self.stream(found, usage=bool((body.get("stream_options") or {}).get("include_usage")))
            return
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, found: dict, *, usage: bool) -> None:
        """The answer word by word, as server-sent events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        pieces = re.findall(r"\s*\S+\s*?", found["choices"][0]["message"]["content"])
        events = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage:
            events.append({"choices": [], "usage": found["usage"]})
        for event in [*map(json.dumps, events), "[DONE]"]:
            self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.flush()


def serve(port: int) -> ThreadingHTTPServer:
    """A server on this machine only; port 0 chooses a free one (`server_port` tells)."""
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8901)
    port = parser.parse_args().port
    try:
        server = serve(port)
    except OSError as error:
        raise SystemExit(f"port {port} cannot be used ({error.strerror}): name another one with --port") from None
    print(f"listening on http://127.0.0.1:{server.server_port}/v1, Ctrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
