"""Chat models over HTTP: what is sent, what is kept, what is tried again, and what every failure says."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import warnings
from email.utils import formatdate
from pathlib import Path

import pytest
from PIL import Image

import image_files
from beholder.backbones import chat_endpoint
from beholder.backbones.chat import ChatRequest, Reply, is_refusal, open_chat_model
from beholder.backbones.reply_cache import ReplyCache, ReplyCacheWarning
from beholder.errors import MissingExtra, UnreadableImage
from chat_server import brightness, completion, serving, slowly
from command_line import refused


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def asked(server, **options):
    return open_chat_model(server.name(), **({"backoff": 0.01} | options))


def echo(request, number):
    return f"{request['system']}|{request['text']}"


def questions(n):
    return [ChatRequest(f"question {i}") for i in range(n)]


# what is sent


def test_the_request_is_that_of_the_openai_interface(tmp_path):
    image_files.picture(300, 200).save(tmp_path / "a.png")
    with serving(echo) as server:
        reply = asked(server).ask([ChatRequest("how nice?", system="you are Mara", image=tmp_path / "a.png")], max_tokens=33)
    assert reply == [Reply("you are Mara|how nice?", prompt_tokens=100, completion_tokens=10)]
    assert server.paths == ["/v1/chat/completions"]
    body = server.requests[0]["body"]
    assert (body["model"], body["max_tokens"], body["temperature"], body["stream"]) == ("tiny", 33, 0, False)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "Authorization" not in server.headers[0]


def test_without_system_and_image_the_content_is_plain_text():
    with serving(echo) as server:
        asked(server).ask([ChatRequest("only text")])
    assert server.requests[0]["body"]["messages"] == [{"role": "user", "content": "only text"}]


def test_the_photograph_is_sent_upright_small_and_without_its_exif_data(tmp_path):
    stored, exif = image_files.turned(image_files.picture(1200, 800), 6)
    exif[0x010F] = "SECRET CAMERA"
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    with serving(echo) as server:
        asked(server, image_size=240).ask([ChatRequest("?", image=tmp_path / "a.jpg")])
    sent = server.requests[0]["image"]
    assert sent.format == "JPEG" and sent.size == (240, 160)
    assert b"SECRET" not in server.requests[0]["raw"] and not sent.getexif()
    assert image_files.difference(sent.convert("RGB"), image_files.picture(1200, 800).resize((240, 160), Image.Resampling.LANCZOS)) < 3


def test_a_small_photograph_is_not_made_larger(tmp_path):
    image_files.picture(60, 40).save(tmp_path / "a.png")
    with serving(echo) as server:
        asked(server, image_size=500).ask([ChatRequest("?", image=tmp_path / "a.png")])
    assert server.requests[0]["image"].size == (60, 40)


def test_an_unreadable_photograph_is_refused_before_anything_is_sent(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image at all" * 50)
    with serving(echo) as server, pytest.raises(UnreadableImage):
        asked(server).ask([ChatRequest("?", image=tmp_path / "a.jpg")])
    assert server.requests == []


def test_replies_come_in_the_order_of_the_requests_and_several_are_under_way_at_once():
    with serving(slowly(lambda request, number: request["text"], 0.1)) as server:
        model = asked(server, concurrency=4)
        seen = []
        replies = model.ask(questions(12), progress=lambda done, total: seen.append((done, total)))
    assert [reply.text for reply in replies] == [f"question {i}" for i in range(12)]
    assert 2 <= server.most <= 4
    assert seen[0] == (0, 12) and seen[-1] == (12, 12)


def test_one_at_a_time_if_so_wished():
    with serving(slowly(echo, 0.02)) as server:
        asked(server, concurrency=1).ask(questions(5))
    assert server.most == 1


def test_the_key_comes_from_the_environment_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("MY_KEY", "sk-two")
    with serving(echo) as server:
        asked(server).ask([ChatRequest("a")])
        asked(server, api_key_env="MY_KEY").ask([ChatRequest("b")])
    assert [headers.get("Authorization") for headers in server.headers] == ["Bearer sk-one", "Bearer sk-two"]


def test_the_default_key_is_not_sent_unencrypted_to_other_machines(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("MY_KEY", "sk-two")

    def sent(url, **options):
        return open_chat_model(f"{url}#m", keep=False, **options)._headers.get("Authorization")

    assert sent("http://gpu-box.example:8000/v1") is None
    assert sent("http://gpu-box.example:8000/v1", api_key_env="MY_KEY") == "Bearer sk-two"
    assert sent("https://vendor.example/v1") == sent("http://[::1]:8000/v1") == sent("http://localhost/v1") == "Bearer sk-one"


def test_nothing_is_sent_if_the_name_is_no_url(monkeypatch, tmp_path):
    import socket

    def forbidden(*_, **__):
        raise AssertionError("something was sent")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "create_connection", forbidden)
    monkeypatch.setenv("BEHOLDER_OFFLINE", "1")
    refused(lambda: open_chat_model("gpt-4o-mini"), "gpt-4o-mini", "not found")


def test_making_a_model_sends_nothing():
    with serving(echo) as server:
        model = asked(server)
    assert server.requests == [] and model.usage.calls == 0


def test_redirections_are_not_followed():
    with serving(echo) as other, serving(lambda request, number: (307, "elsewhere", {"Location": f"{other.url}/chat/completions"})) as server:
        refused(lambda: asked(server).ask([ChatRequest("a")]), server.url, "307", "final URL")
    assert other.requests == []


def test_no_proxy_stands_before_this_machine(monkeypatch):
    with serving(echo) as proxy, serving(echo) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        asked(server).ask([ChatRequest("a")])
    assert len(server.requests) == 1 and proxy.requests == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http://127.0.0.1:9/v1", ["names no model", "#model"]),
        ("http://#tiny", ["is not a URL"]),
        ("http://host:port/v1#tiny", ["is not a URL"]),
        ("https://me:secret@host/v1#tiny", ["environment variable"]),
    ],
)
def test_odd_urls_are_refused(name, words):
    message = refused(lambda: open_chat_model(name), *words)
    assert "secret" not in message


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"image_size": 3}, {"retries": -1}, {"prices": (1.0,)}, {"prices": (-1.0, 2.0)}])
def test_odd_numbers_are_refused(options):
    refused(lambda: open_chat_model("http://127.0.0.1:9/v1#m", **options), next(iter(options)))


def test_the_url_may_end_in_a_slash_or_in_the_path_of_the_request():
    with serving(echo) as server:
        for url in (f"{server.url}/", f"{server.url}/chat/completions"):
            open_chat_model(f"{url}#tiny", keep=False).ask([ChatRequest("a")])
    assert server.paths == ["/v1/chat/completions"] * 2


def test_httpx_missing_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'beholder\[api\]'"):
        open_chat_model("http://127.0.0.1:9/v1#m")


# what is tried again


def test_full_queues_and_errors_of_the_server_are_tried_again():
    statuses = {1: (429, "slow down"), 2: (500, "oops"), 3: (503, "loading")}
    with serving(lambda request, number: statuses.get(number, "fine")) as server:
        model = asked(server)
        assert model.ask([ChatRequest("a")])[0].text == "fine"
    assert model.usage.retries == 3 and model.usage.calls == 1 and len(server.requests) == 4


@pytest.mark.parametrize("value", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_the_server_says_when_to_come_back(value):
    times = []

    def busy(request, number):
        times.append(time.monotonic())
        return (429, "busy", {"Retry-After": value()}) if number == 1 else "fine"

    with serving(busy) as server:
        assert asked(server).ask([ChatRequest("a")])[0].text == "fine"
    assert times[1] - times[0] > 0.9


def test_when_one_request_is_told_to_wait_the_others_wait_too():
    times = []

    def busy(request, number):
        times.append(time.monotonic())
        return (429, "busy", {"Retry-After": "1"}) if number == 1 else "fine"

    with serving(busy) as server:
        asked(server, concurrency=1).ask([ChatRequest("a")])
        del times[1:]
        model = asked(server, concurrency=2)
        model._not_before = time.monotonic() + 1
        begun = time.monotonic()
        model.ask(questions(2))
    assert min(times[1:]) - begun > 0.9


def test_a_server_that_says_tomorrow_is_not_waited_for():
    with serving(lambda request, number: (429, "daily limit", {"Retry-After": "40000"})) as server:
        refused(lambda: asked(server).ask([ChatRequest("a")]), "daily limit", "40000 s", "finished replies are kept")
    assert len(server.requests) == 1


def test_an_empty_account_is_not_waited_for():
    with serving(lambda request, number: (429, "You exceeded your current quota, please check your plan and billing details")) as server:
        refused(lambda: asked(server).ask([ChatRequest("a")]), "nothing left to spend")
    assert len(server.requests) == 1


def test_it_gives_up_in_the_end():
    with serving(lambda request, number: (502, "bad gateway")) as server:
        refused(lambda: asked(server, retries=3).ask([ChatRequest("a")]), server.name(), "502", "bad gateway", "4 times", "kept")
    assert len(server.requests) == 4


def test_late_answers_are_asked_for_again():
    def late_at_first(request, number):
        if number == 1:
            time.sleep(1.5)
        return "fine"

    with serving(late_at_first) as server:
        model = asked(server, timeout=0.5)
        assert model.ask([ChatRequest("a")])[0].text == "fine"
    assert model.usage.retries == 1


def test_a_server_that_is_always_late_is_left_after_three_times():
    with serving(slowly(echo, 1.0)) as server:
        refused(lambda: asked(server, timeout=0.2).ask([ChatRequest("a")]), "no answer within 0.2 s", "timeout=SECONDS", "3 times")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "Incorrect API key provided", ["401", "Incorrect API key", "OPENAI_API_KEY is not set"]),
        (403, "no access", ["403", "OPENAI_API_KEY"]),
        (404, "The model `tiny` does not exist.", ["404", "'tiny'", "/models"]),
        (400, "maximum context length is 4096 tokens", ["400", "4096", "longer context"]),
        (413, "too large", ["413"]),
        (402, "top up", ["402", "nothing left to spend"]),
    ],
)
def test_what_the_server_refuses_is_not_tried_again(status, message, words):
    with serving(lambda request, number: (status, message)) as server:
        refused(lambda: asked(server, concurrency=1).ask(questions(3)), server.url, *words)
    assert len(server.requests) == 1


def test_a_wrong_key_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with serving(lambda request, number: (401, "Incorrect API key")) as server:
        message = refused(lambda: asked(server).ask([ChatRequest("a")]), "not accepted")
    assert "sk-wrong" not in message


def test_the_error_names_the_photograph(tmp_path):
    image_files.picture().save(tmp_path / "a.png")
    with serving(lambda request, number: (400, "At most 0 image(s) may be provided")) as server:
        refused(lambda: asked(server).ask([ChatRequest("a", image=tmp_path / "a.png")]), "a.png", "0 image(s)")


def test_nobody_there():
    with serving(echo) as server:
        pass
    message = refused(lambda: asked(server).ask(questions(20)), server.url, "cannot be reached", "start the server")
    assert "Traceback" not in message


@pytest.mark.parametrize(
    "payload",
    [b"<html>welcome</html>", b'{"choices": []}', b'{"choices": [{}]}', b"[1, 2]", b'{"choices": [{"message": {"content": 3}}]}', b""],
)
def test_something_else_than_a_completion(payload):
    with serving(lambda request, number: (200, payload)) as server:
        refused(lambda: asked(server).ask([ChatRequest("a")]), server.url, "no chat completion", "/v1")


def test_fields_that_newer_models_refuse_are_left_out():
    def picky(request, number):
        body = request["body"]
        if "max_tokens" in body:
            return 400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        if "temperature" in body:
            return 400, "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
        return f"{body['max_completion_tokens']}"

    with serving(picky) as server:
        model = asked(server, concurrency=2)
        replies = model.ask(questions(6), max_tokens=77)
        sent = len(server.requests)
        model.ask([ChatRequest("later")])
    assert {reply.text for reply in replies} == {"77"}
    assert sent <= 6 + 2 * 2 and len(server.requests) == sent + 1  # learned once


# replies


def test_thoughts_are_no_part_of_the_answer():
    texts = {"a": "<think>maybe 3, or 4</think>\nmy score is 7.", "b": "<think>let me see, 3 is too"}
    with serving(lambda request, number: texts[request["text"]]) as server:
        replies = asked(server).ask([ChatRequest("a"), ChatRequest("b")])
    assert [reply.text for reply in replies] == ["my score is 7.", ""]


def test_contents_in_parts_and_missing_contents():
    answers = {"a": completion([{"type": "text", "text": "my "}, {"type": "text", "text": "score"}]), "b": completion(None)}
    del answers["b"]["usage"]
    with serving(lambda request, number: answers[request["text"]]) as server:
        replies = asked(server).ask([ChatRequest("a"), ChatRequest("b")])
    assert replies == [Reply("my score", prompt_tokens=100, completion_tokens=10), Reply("")]


def test_refusals_of_every_kind_are_counted():
    answers = {
        "filter": completion("", finish_reason="content_filter"),
        "field": completion(None, refusal="I will not rate this person."),
        "words": "I'm sorry, but I can't assist with that request.",
        "azure": (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}),
        "fine": "my score is 6.",
    }
    with serving(lambda request, number: answers[request["text"]]) as server:
        model = asked(server)
        replies = model.ask([ChatRequest(text) for text in answers])
        again = model.ask([ChatRequest(text) for text in answers])
    assert [reply.refused for reply in replies] == [reply.refused for reply in again] == [True, True, True, True, False]
    assert replies[1].text == "I will not rate this person."
    assert model.usage.refusals == 8 and model.usage.calls == 5 and model.usage.retries == 0


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("I'm sorry, but I cannot help with rating this image.", True),
        ("I\u2019m unable to view images.", True),
        ("As a language model I can't provide a subjective score from 0 to 10.", True),
        ("Unfortunately, I won't be able to do that. I am not able to rate people.", True),
        ("I cannot help but love this picture; a 9.", False),
        ("I'm sorry to be harsh, but regarding the aesthetics of this image, my score is 2.", False),
        ("I can't rate it any higher: my score is **10**.", False),
        ("A quiet lake at dusk. The light cannot be better.", False),
        ("7", False),
        ("", False),
    ],
)
def test_what_sounds_like_a_refusal(text, is_one):
    assert is_refusal(text) is is_one


def test_usage_and_cost():
    with serving(echo) as server:
        model = asked(server, prices=(2.0, 10.0))
        model.ask([*questions(3), ChatRequest("question 0")])
        model.ask(questions(4))
        unpriced = asked(server, keep=False)
        unpriced.ask(questions(1))
    usage = model.usage
    assert (usage.calls, usage.cached, usage.prompt_tokens, usage.completion_tokens) == (4, 4, 400, 40)
    assert usage.cost == pytest.approx((400 * 2 + 40 * 10) / 1e6)
    assert unpriced.usage.cost is None
    assert "4 calls (400 tokens in, 40 out), 4 replies already known, cost 0.0012" in str(usage)


# the cache


def test_the_second_run_sends_nothing(tmp_path):
    image_files.picture().save(tmp_path / "a.png")
    requests = [ChatRequest("a", system="s", image=tmp_path / "a.png"), *questions(3)]
    with serving(echo) as server:
        first = asked(server).ask(requests)
        second_model = asked(server)
        second = second_model.ask(requests)
    assert len(server.requests) == 4
    assert [reply.text for reply in second] == [reply.text for reply in first]
    assert all(reply.cached for reply in second) and not any(reply.cached for reply in first)
    assert second_model.usage.cached == 4 and second_model.usage.calls == 0


def test_what_makes_a_reply_another_one(tmp_path):
    for name, seed in (("a", 0), ("same", 0), ("b", 1)):
        image_files.picture(seed=seed).save(tmp_path / f"{name}.png")
    base = ChatRequest("t", system="s", image=tmp_path / "a.png")
    with serving(echo) as server, serving(echo) as elsewhere:
        asked(server).ask([base])

        def new(request=base, where=server, model="tiny", **options):
            before = len(where.requests)
            tokens = {"max_tokens": options.pop("max_tokens")} if "max_tokens" in options else {}
            open_chat_model(where.name(model), **options).ask([request], **tokens)
            return len(where.requests) - before

        assert new() == 0
        assert new(ChatRequest("t", system="s", image=tmp_path / "same.png")) == 0  # its content counts, not its path
        assert new(ChatRequest("t", system="s", image=tmp_path / "b.png")) == 1
        assert new(ChatRequest("t2", system="s", image=tmp_path / "a.png")) == 1
        assert new(ChatRequest("t", system="", image=tmp_path / "a.png")) == 1
        assert new(ChatRequest("s", system="t", image=tmp_path / "a.png")) == 1
        assert new(ChatRequest("t", system="s")) == 1
        assert new(max_tokens=7) == 1
        assert new(model="larger") == 1
        assert new(image_size=64) == 1
        assert new(where=elsewhere) == 1  # another server may have another model of that name
        assert new(keep=False) == 1
        assert new(cache=tmp_path / "mine") == 1 and (tmp_path / "mine" / "replies.sqlite").exists()


def test_the_cache_holds_neither_prompts_nor_photographs(tmp_path, own_folders):
    with serving(lambda request, number: "fine") as server:
        asked(server).ask([ChatRequest("a private question", system="Mara Musterfrau, 34")])
    kept = b"".join(path.read_bytes() for path in (own_folders / "cache" / "replies").iterdir())
    assert b"fine" in kept and b"Mara" not in kept and b"private" not in kept


def test_after_a_failure_the_finished_replies_are_there():
    def fails_at_five(request, number):
        return (400, "broken") if request["text"] == "question 5" else "fine"

    with serving(fails_at_five) as server:
        refused(lambda: asked(server, concurrency=1).ask(questions(9)), "broken")
        server.answer = lambda request, number: "fine"
        before = len(server.requests)
        model = asked(server)
        model.ask(questions(9))
    assert before == 6 and model.usage.cached == 5 and model.usage.calls == 4


def test_interrupted_from_the_keyboard_it_goes_on_from_there():
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with serving(echo) as server:
        with pytest.raises(KeyboardInterrupt):
            asked(server, concurrency=1).ask(questions(8), progress=interrupt)
        model = asked(server)
        model.ask(questions(8))
    assert model.usage.cached >= 3 and model.usage.cached + model.usage.calls == 8


def test_a_killed_process_loses_no_finished_reply(tmp_path):
    with serving(slowly(echo, 0.05)) as server:
        code = (
            "from beholder.backbones.chat import *\n"
            f"m = open_chat_model({server.name()!r}, cache={str(tmp_path)!r}, concurrency=1)\n"
            "m.ask([ChatRequest(f'question {i}') for i in range(400)], progress=lambda done, total: print(done, flush=True))\n"
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            if int(line) >= 10:
                child.kill()
                break
        child.wait()
        child.stdout.close()
        model = asked(server, cache=tmp_path, concurrency=8)
        model.ask(questions(20))
    assert model.usage.cached >= 10 and model.usage.calls <= 10


def test_many_threads_and_two_caches_on_one_file(tmp_path):
    caches = [ReplyCache(tmp_path), ReplyCache(tmp_path)]

    def write(number):
        for i in range(25):
            caches[number % 2].put(f"{number}-{i}", Reply(f"text {number} {i}"))

    workers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = ReplyCache(tmp_path).get_many([f"{n}-{i}" for n in range(6) for i in range(25)] + ["unknown"])
    assert len(found) == 150 and found["3-7"] == Reply("text 3 7", cached=True)


def test_a_damaged_cache_is_begun_anew_and_said(tmp_path):
    (tmp_path / "replies.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.warns(ReplyCacheWarning, match="damaged"):
        cache = ReplyCache(tmp_path)
    cache.put("a", Reply("b"))
    assert ReplyCache(tmp_path).get_many(["a"])["a"].text == "b"
    assert (tmp_path / "replies.damaged").exists()


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(ReplyCacheWarning, match="cannot be kept") as caught:
        cache = ReplyCache(tmp_path / "file")
        cache.put("a", Reply("b"))
        assert cache.get_many(["a"])["a"].text == "b"
    assert len(caught) == 1


def test_the_cache_goes_on_in_memory_when_the_disk_fails_later(tmp_path):
    cache = ReplyCache(tmp_path)
    cache._table._db.execute("DROP TABLE replies")
    with pytest.warns(ReplyCacheWarning, match="no such table"):
        cache.put("a", Reply("b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get_many(["a"])["a"].text == "b"


def test_a_photograph_asked_about_often_is_encoded_once(tmp_path, monkeypatch):
    for seed in range(2):
        image_files.picture(seed=seed).save(tmp_path / f"{seed}.png")
    read = []
    monkeypatch.setattr(chat_endpoint, "read_photo", lambda path, **options: read.append(path) or Image.open(path).convert("RGB"))
    with serving(lambda request, number: f"{brightness(request['image']):.2f}") as server:
        model = asked(server, concurrency=1)
        model.ask([ChatRequest(f"{i}", image=Path(tmp_path / f"{i % 2}.png")) for i in range(10)])
    assert len(read) == 2 and len(server.requests) == 10
