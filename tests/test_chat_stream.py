"""Answers in pieces: the same text as in one, the same cache, and what happens when a stream breaks off; conversations with a history."""

from __future__ import annotations

import itertools
import threading

import pytest

import image_files
import tiny_chat_models
from beholder.backbones.chat import ChatRequest, NoAnswer, Sampling, _surely_shown, open_chat_model
from chat_server import Streamed, completion, events, serving
from command_line import refused

HISTORY = (("what is it?", "a lake"), ("and the sky?", "red"))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def asked(server, **options):
    return open_chat_model(server.name(), **({"backoff": 0.01} | options))


def whole(stream):
    """(pieces, the value of the generator)."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def streaming(*pieces, **options):
    return lambda request, number: Streamed(events(*pieces, **options))


# servers


def test_pieces_come_before_the_answer_is_complete():
    go_on = threading.Event()
    chunks = events("The light", " is soft", ".")
    with serving(lambda request, number: Streamed([*chunks[:2], go_on, *chunks[2:]])) as server:
        model = asked(server)
        stream = model.stream(ChatRequest("a"), max_tokens=44)
        assert next(stream) == "The light"  # the server has not said more yet
        go_on.set()
        pieces, reply = whole(stream)
    assert pieces == [" is soft", "."]
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.cached) == ("The light is soft.", 100, 10, False)
    body = server.requests[0]["body"]
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True} and body["max_tokens"] == 44
    assert (model.usage.calls, model.usage.prompt_tokens, model.usage.completion_tokens) == (1, 100, 10)


def test_streamed_and_asked_replies_are_the_same_and_in_one_cache():
    with serving(lambda request, number: Streamed(events("a ", "b")) if request["body"]["stream"] else "c d") as server:
        assert whole(asked(server).stream(ChatRequest("one")))[0] == ["a", " b"]
        model = asked(server)
        assert model.ask([ChatRequest("one")])[0].text == "a b" and model.usage.cached == 1
        model.ask([ChatRequest("two")])
        pieces, reply = whole(asked(server).stream(ChatRequest("two")))
    assert pieces == ["c d"] and reply.cached
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        lambda text: b"".join(events(text)),
        lambda text: b": keep alive\r\n\r\n" + b"".join(events(text)).replace(b"\n", b"\r\n"),
        lambda text: b"".join(events(text, done=False)),  # finish_reason tells that it is whole
        lambda text: b"".join(events(text, usage=None, finish=None)),  # [DONE] tells
        lambda text: b"event: message\n" + b"".join(events(text)).replace(b"data: ", b"data:"),
        lambda text: b"".join(events(text)).removesuffix(b"\n\n"),
    ],
)
def test_letters_and_lines_that_are_cut_anywhere(body):
    text = "Größe 光 \u2028 \x85 🌅 ende"  # also signs that end lines elsewhere
    data = body(text)
    with serving(lambda request, number: Streamed([data[i : i + 1] for i in range(len(data))])) as server:
        pieces, reply = whole(asked(server, keep=False).stream(ChatRequest("a")))
    assert reply.text == "".join(pieces) == text


def test_a_server_that_does_not_stream_is_understood():
    with serving(lambda request, number: completion(" all at once ")) as server:
        pieces, reply = whole(asked(server).stream(ChatRequest("a")))
    assert pieces == ["all at once"] and reply.prompt_tokens == 100


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_events_under_another_name_are_understood(kind):
    with serving(lambda request, number: Streamed(events("a", "b"), kind=kind)) as server:
        assert whole(asked(server).stream(ChatRequest("a")))[1].text == "ab"


def test_fields_of_streaming_that_a_server_does_not_take_are_left_out():
    def picky(request, number):
        body = request["body"]
        if "stream_options" in body:
            return 400, "stream_options: extra fields not permitted"
        return (400, "'stream' is not supported by this model") if body["stream"] else "whole"

    with serving(picky) as server:
        model = asked(server)
        assert whole(model.stream(ChatRequest("a")))[0] == ["whole"]
        whole(model.stream(ChatRequest("b")))
    assert len(server.requests) == 4 and model.usage.retries == 0 and model.unsent == frozenset()


def test_before_the_first_piece_it_is_tried_again():
    answers = [
        (503, "loading"),
        Streamed(events()[:1], dies=True),
        Streamed([b'data: {"error": {"message": "engine is busy"}}\n\n']),
        Streamed([]),
        Streamed(events("fine")),
    ]
    with serving(lambda request, number: answers[number - 1]) as server:
        model = asked(server)
        assert whole(model.stream(ChatRequest("a")))[0] == ["fine"]
    assert model.usage.retries == 4 and model.usage.calls == 1


def test_an_error_in_a_stream_that_stays_open_is_no_obstacle_to_the_repetition():
    """There is one connection only: it is given up before the next attempt."""
    end = threading.Event()
    answers = [Streamed([b'data: {"error": {"message": "engine is busy"}}\n\n', end]), Streamed(events("fine"))]
    with serving(lambda request, number: answers[min(number, 2) - 1]) as server:
        try:
            assert whole(asked(server, timeout=3, retries=1).stream(ChatRequest("a")))[0] == ["fine"]
        finally:
            end.set()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "word"),
    [
        (Streamed(events()[:1], dies=True), "unreachable", "broke the connection"),
        (Streamed([b'data: {"error": "out of memory"}\n\n']), "failed", "out of memory"),
        (Streamed([b"data: <html>\n\n"]), "broken", "no chat completion ('<html>')"),
        ((200, {"error": {"message": "no"}}), "broken", "no chat completion"),
        ((500, "oops"), "failed", "oops"),
        ((400, "maximum context length is 4096 tokens"), "too long", "4096"),
    ],
)
def test_what_kind_of_failure_it_was(answer, kind, word):
    with serving(lambda request, number: answer) as server, pytest.raises(NoAnswer) as caught:
        whole(asked(server, retries=2).stream(ChatRequest("a")))
    assert caught.value.kind == kind and word in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert len(server.requests) == (3 if kind in ("unreachable", "failed") else 1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Streamed(events("half an", " answer")[:2], dies=True), "unreachable"),
        (Streamed(events("half an", " answer")[:2]), "unreachable"),  # ended politely, but neither [DONE] nor a reason
        (Streamed([*events("half an")[:2], b'data: {"error": {"message": "crashed"}}\n\n']), "unreachable"),
        (Streamed([*events("half an")[:2], b"data: {]\n\n"]), "broken"),
    ],
)
def test_an_answer_that_breaks_off_is_not_kept_and_not_begun_again(answer, kind):
    with serving(lambda request, number: answer) as server:
        stream = asked(server).stream(ChatRequest("a"))
        assert next(stream) == "half an"
        with pytest.raises(NoAnswer) as caught:
            whole(stream)
        assert caught.value.kind == kind and len(server.requests) == 1
        server.answer = lambda request, number: "a whole answer"
        assert asked(server).ask([ChatRequest("a")])[0].text == "a whole answer"


def test_a_silent_server_is_not_waited_for_without_end():
    silent = threading.Event()
    with serving(lambda request, number: Streamed([*events("half an")[:2], silent])) as server:
        with pytest.raises(NoAnswer, match="middle of its answer") as caught:
            whole(asked(server, timeout=0.3).stream(ChatRequest("a")))
        silent.set()
    assert caught.value.kind == "unreachable"


def test_stopping_early_keeps_nothing():
    with serving(lambda request, number: Streamed(events("one", " two")) if request["body"]["stream"] else "asked") as server:
        model = asked(server)
        stream = model.stream(ChatRequest("a"))
        next(stream)
        stream.close()
        assert model.usage.calls == 0
        assert asked(server).ask([ChatRequest("a")])[0].text == "asked"
    assert len(server.requests) == 2


def test_thoughts_are_not_shown_wherever_they_are_cut():
    text = "A <b> thing. <think>maybe < 3,\nor 4</think> Soft <th light"
    for size in (1, 2, 3, 7, 60):
        with serving(streaming(*[text[i : i + size] for i in range(0, len(text), size)])) as server:
            pieces, reply = whole(asked(server, keep=False).stream(ChatRequest("a")))
        assert "".join(pieces) == reply.text == "A <b> thing.  Soft <th light"
    with serving(streaming("<think>", "for ever", reasoning_content="and ever")) as server:
        assert whole(asked(server, keep=False).stream(ChatRequest("a")))[0] == []


def test_what_was_shown_is_never_taken_back():
    text = "  a<think>b</think>\n\nc <thinkable> <think> d"
    shown = [_surely_shown(text[:i]) for i in range(len(text) + 1)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    assert shown[-1] == "a\n\nc <thinkable>"


def test_refusals_in_streams_are_counted():
    answers = {
        "filter": Streamed(events("", finish="content_filter")),
        "field": Streamed(events(refusal="I will not.")),
        "words": Streamed(events("I'm sorry, but I can't ", "assist with that.")),
        "azure": (400, {"error": {"message": "filtered", "code": "content_filter"}}),
        "fine": Streamed(events("A fine lake.")),
    }
    with serving(lambda request, number: answers[request["text"]]) as server:
        model = asked(server)
        replies = [whole(model.stream(ChatRequest(text)))[1] for text in answers]
    assert [reply.refused for reply in replies] == [True, True, True, True, False]
    assert replies[1].text == "I will not." and model.usage.refusals == 4


def test_a_model_that_only_reads_and_a_bad_photograph_are_refused_before_anything_is_sent(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image at all" * 50)
    with serving(streaming("a")) as server:
        refused(lambda: whole(asked(server).stream(ChatRequest("?", image=tmp_path / "a.jpg"))), "a.jpg")
    assert server.requests == []
    where = tiny_chat_models.save_llama(tmp_path / "llama")
    refused(lambda: open_chat_model(where).stream(ChatRequest("?", image=tmp_path / "a.jpg")), "reads text only")


# conversations


def test_a_history_is_sent_as_messages_with_the_image_in_the_first(tmp_path):
    image_files.picture(60, 40).save(tmp_path / "a.png")
    with serving(lambda request, number: "fine") as server:
        asked(server).ask([ChatRequest("why?", system="be kind", image=tmp_path / "a.png", history=HISTORY)])
    messages = server.requests[0]["body"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[1]["content"][0]["type"] == "image_url" and messages[1]["content"][1]["text"] == "what is it?"
    assert [message["content"] for message in messages[2:]] == ["a lake", "and the sky?", "red", "why?"]


def test_a_history_makes_another_request_of_it_and_none_leaves_the_key_as_it_was():
    model = open_chat_model("http://127.0.0.1:9/v1#m", keep=False)
    drawn = Sampling(0.5)
    requests = [ChatRequest("t", history=HISTORY[:n], sampling=way) for n in range(3) for way in (None, drawn)]
    assert len({model._key(request, None, max_tokens=9) for request in requests}) == 6
    assert model._key(ChatRequest("t", history=()), None, max_tokens=9) == model._key(ChatRequest("t"), None, max_tokens=9)
