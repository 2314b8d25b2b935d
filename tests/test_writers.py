"""Writers: what a language model is asked, what is read from its answers, what its failures are called, and how writers are named."""

from __future__ import annotations

import re
import subprocess
import sys
import types
import warnings

import pytest

import tiny_chat_models
from beholder.backbones.chat import open_chat_model
from beholder.errors import BeholderError
from beholder.steering.base import CallFailed, Proposal, Shown, Writer
from beholder.steering.ledger import Ledger
from beholder.steering.recorded_writer import RecordedWriter
from beholder.steering.run_folder import RunFolder, RunFolderWarning
from beholder.steering.writers import ChatWriter, instruction, open_writer
from chat_server import completion, serving
from command_line import refused

HISTORY = [Shown("a lake at dawn", 0.7312), Shown("a lake in fog", 0.5), Shown("a lake", -0.04)]
CALL = {"n": 3, "history": (), "seed": 5, "max_words": 30}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def writer_at(server, **options):
    model = open_chat_model(server.name(), keep=False, backoff=0.01, retries=options.pop("retries", 2), prices=options.pop("prices", None))
    return ChatWriter(model, **options)


def wanted(request):
    return int(re.search(r"Write (\d+) new", request["text"])[1])


def obliging(request, number):
    """As many as asked for, never the same."""
    return "\n".join(f"{i}. a lake, try {number}, number {i}" for i in range(1, wanted(request) + 1))


def numbered(*prompts):
    return "\n".join(f"{number}. {prompt}" for number, prompt in enumerate(prompts, 1))


def failure(call, kind):
    with pytest.raises(CallFailed) as caught:
        call()
    assert caught.value.kind == kind and len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# what is asked


def test_the_instruction_shows_goal_rules_and_history_best_first():
    text = instruction("a lake", n=4, history=HISTORY, max_words=30)
    assert text.index("Goal: a lake") < text.index("fewer than 30 words") < text.index("0.731: a lake at dawn") < text.index("0.500: a lake in fog")
    assert text.index("0.500") < text.index("-0.040: a lake\n") < text.index("Write 4 new prompts for this goal: a lake")
    assert "Tried before" not in instruction("a lake", n=4, history=(), max_words=30)
    text = instruction("a lake", n=1, history=(), before=["one", "two"], max_words=30)
    assert text.endswith("- one\n- two\n\nWrite 1 new prompt for this goal: a lake")


def test_a_call_sends_sampling_and_reads_the_list():
    with serving(obliging) as server:
        writer = writer_at(server, temperature=0.9, top_p=0.8, max_tokens=500)
        found = writer.propose("a lake", n=3, history=HISTORY, seed=5, max_words=30)
    assert found == Proposal(("a lake, try 1, number 1", "a lake, try 1, number 2", "a lake, try 1, number 3"), raw=obliging(server.requests[0], 1))
    body = server.requests[0]["body"]
    assert (body["temperature"], body["top_p"], body["seed"], body["max_tokens"]) == (0.9, 0.8, 5, 500)
    assert "0.731: a lake at dawn" in server.requests[0]["text"] and server.requests[0]["system"]


def test_temperature_0_takes_the_most_probable_words():
    with serving(obliging) as server:
        writer_at(server, temperature=0).propose("a lake", **CALL)
    assert server.requests[0]["body"]["temperature"] == 0 and "seed" not in server.requests[0]["body"]


def test_nothing_is_kept_between_writers(tmp_path, own_folders):
    with serving(obliging) as server:
        for _ in range(2):
            open_writer(server.name()).propose("a lake", **CALL)
    assert len(server.requests) == 2 and not (own_folders / "cache" / "replies").exists()


def test_a_model_that_gives_few_is_asked_for_the_rest_in_portions_it_can_do():
    def two_at_most(request, number):
        return numbered(*[f"a lake {number}.{i}" for i in range(min(2, wanted(request)))])

    with serving(two_at_most) as server:
        found = writer_at(server).propose("a lake", **CALL | {"n": 5})
    assert len(found.prompts) == 5 and len(set(found.prompts)) == 5
    assert [wanted(request) for request in server.requests] == [5, 2, 1]
    assert len({request["body"]["seed"] for request in server.requests}) == 3
    assert "- a lake 1.0\n- a lake 1.1\n" in server.requests[1]["text"] and "- a lake 2.1\n" in server.requests[2]["text"]
    assert found.raw.count("\n\n") == 2


def test_a_model_that_repeats_itself_is_left_in_peace():
    with serving(lambda request, number: numbered("A lake", "a lake")) as server:
        assert writer_at(server).propose("a lake", **CALL).prompts == ("A lake",)
    assert len(server.requests) == 2


def test_the_last_prompt_of_a_cut_answer_is_dropped():
    with serving(lambda request, number: completion(numbered("a lake in fog", "a lake under"))) as server:  # 10 tokens are counted
        assert writer_at(server, max_tokens=64).propose("a lake", **CALL | {"n": 2}).prompts == ("a lake in fog", "a lake under")
        cut = completion(numbered("a lake in fog", "a lake under"))
        cut["usage"]["completion_tokens"] = 64
        server.answer = lambda request, number: cut
        assert writer_at(server, max_tokens=64).propose("a lake", **CALL | {"n": 1}).prompts == ("a lake in fog",)


def test_complete_gives_any_answer():
    with serving(lambda request, number: f"<think>hm</think>{request['text']}|{request['system']}|{request['body']['seed']}") as server:
        assert writer_at(server).complete("why?", seed=8) == "why?||8"


# failures


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("I'm sorry, but I can't help with that request.", "refused", "can't help"),
        (completion(None, refusal="No."), "refused", "No."),
        (completion("", finish_reason="content_filter"), "refused", "without a word"),
        ((400, {"error": {"message": "filtered", "code": "content_filter"}}), "refused", "refused"),
        ("", "broken", "nothing that can be read"),
        ("Here are 3 prompts:", "broken", "Here are 3"),
        ((500, "oops"), "failed", "oops"),
        ((503, "loading"), "unreachable", "loading"),
        ((429, "busy"), "unreachable", "busy"),
    ],
)
def test_failures_by_kind(answer, kind, words):
    with serving(lambda request, number: answer) as server:
        writer = writer_at(server)
        assert words in failure(lambda: writer.propose("a lake", **CALL), kind)
        if kind != "broken":
            failure(lambda: writer.complete("why?", seed=1), kind)


@pytest.mark.parametrize(("status", "message"), [(401, "no key"), (404, "The model `tiny` does not exist."), (402, "pay"), (422, "odd")])
def test_what_cannot_mend_stops_the_run_with_a_sentence(status, message):
    with serving(lambda request, number: (status, message)) as server, pytest.raises(BeholderError) as caught:
        writer_at(server).propose("a lake", **CALL)
    assert not isinstance(caught.value, CallFailed) and message.split()[-1].rstrip(".") in str(caught.value)
    assert len(server.requests) == 1


def test_a_list_in_which_somebody_cannot_see_is_no_refusal():
    with serving(lambda request, number: numbered("a lake so wide you can't see the shore", "a lake", "a pond")) as server:
        assert len(writer_at(server).propose("a lake", **CALL).prompts) == 3


def test_full_queues_are_waited_for():
    with serving(lambda request, number: (429, "slow down") if number < 3 else obliging(request, number)) as server:
        assert len(writer_at(server).propose("a lake", **CALL).prompts) == 3


def test_a_server_that_goes_away_in_the_middle_is_unreachable():
    with serving(obliging) as server:
        writer = writer_at(server, retries=1)
        writer.propose("a lake", **CALL)
    assert "broke the connection" in failure(lambda: writer.propose("a lake", **CALL), "unreachable")
    with serving(obliging) as gone:
        other = writer_at(gone)
    assert "cannot be reached" in failure(lambda: other.propose("a lake", **CALL), "unreachable")


def test_garbage_is_broken_once_and_a_wrong_url_from_the_start():
    with serving(lambda request, number: (200, b"<html>welcome</html>")) as server:
        with pytest.raises(BeholderError) as caught:
            writer_at(server).propose("a lake", **CALL)
        assert not isinstance(caught.value, CallFailed) and "/v1" in str(caught.value)
        writer = writer_at(server)
        server.answer = obliging
        writer.propose("a lake", **CALL)
        server.answer = lambda request, number: (200, b"<html>restarting</html>")
        assert "restarting" in failure(lambda: writer.propose("a lake", **CALL), "broken")


@pytest.mark.parametrize(("answer", "kind"), [((500, "oops"), None), ("I'm sorry, I can't help with that.", None), ((503, "gone"), "unreachable")])
def test_a_failure_of_a_further_question_keeps_what_there_is(answer, kind):
    with serving(lambda request, number: numbered("a lake in fog") if number == 1 else answer) as server:
        writer = writer_at(server)
        if kind:
            failure(lambda: writer.propose("a lake", **CALL), kind)
        else:
            assert writer.propose("a lake", **CALL).prompts == ("a lake in fog",)


@pytest.mark.parametrize("killed", [False, True])
def test_a_call_given_up_between_two_questions_asks_neither_answered_one_again(tmp_path, killed):
    """Whether the server went away or the program was killed: what was answered is in the run's folder."""

    def short(request, number):
        return numbered(f"a lake, try {number}") if number != 3 else (503, "gone")

    def proposal(writer):
        with RunFolder(tmp_path / "run", settings={}) as run:
            book = Ledger(run, goal="a lake", seed=0, tries=3)
            return RecordedWriter(writer, book=book, max_words=30).propose(1, 1, n=4, history=(), iteration=1)

    with serving(short) as server:
        with pytest.raises(BeholderError, match=r"answered 503 \(gone\), 1 times; the 0 images .* same command goes on from there") as caught:
            proposal(writer_at(server, retries=0))
        assert str(caught.value).count("goes on") == 1
        if killed:  # in the middle of a line
            with (tmp_path / "run" / "events.jsonl").open("ab") as log:
                log.write(b'{"kind": "ans')
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunFolderWarning)
            found = proposal(writer_at(server))
    assert found.prompts == ("a lake, try 1", "a lake, try 2", "a lake, try 4", "a lake, try 5")
    assert len(server.requests) == 5
    assert "a lake, try 2" in server.requests[3]["text"], "it goes on with what was there"


def test_histories_longer_than_the_context_of_a_server_are_shortened_from_their_end():
    def small(request, number):
        tokens = len(request["text"]) // 4 + request["body"]["max_tokens"]
        return (400, "This model's maximum context length is 1000 tokens.") if tokens > 1000 else obliging(request, number)

    history = [Shown(f"a lake, number {i}, " + "in fog " * 10, 1 - i / 100) for i in range(20)]
    with serving(small) as server:
        writer = writer_at(server, max_tokens=800)
        assert len(writer.propose("a lake", **CALL | {"history": history}).prompts) == 3
    shown = re.findall(r"\d\.\d{3}: a lake, number (\d+)", server.requests[-1]["text"])
    assert shown == [str(i) for i in range(len(shown))] and 5 <= len(shown) < 20
    assert f"as few as {len(shown)} of up to 20 prompts" in writer.notes()[1]


def test_a_context_too_small_for_anything_is_said():
    with serving(lambda request, number: (400, "maximum context length is 16 tokens")) as server:
        message = refused(lambda: writer_at(server).propose("a lake", **CALL | {"history": HISTORY}), "16 tokens", "without any history")
    assert "\n" not in message and len(server.requests) < 15


def test_notes_say_usage_cost_and_what_was_not_sent():
    with serving(lambda request, number: (400, "seed is not supported") if "seed" in request["body"] else obliging(request, number)) as server:
        writer = writer_at(server, prices=(2.0, 10.0))
        writer.propose("a lake", **CALL)
        first, second = writer.notes()
    assert first == f"writer {server.name()}: 1 calls (100 tokens in, 10 out), 0 replies already known, cost 0.0003"
    assert "does not take seed" in second


# this machine


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return tiny_chat_models.save_llama(tmp_path_factory.mktemp("models") / "llama")


def test_a_model_on_this_machine_writes_the_same_for_the_same_seed(reader):
    def said(seed, history=()):
        writer = open_writer(reader, temperature=1.0, max_tokens=64, device="cpu")
        try:
            return writer.propose("a lake", n=2, history=history, seed=seed, max_words=30)
        except CallFailed as error:
            return str(error)

    assert said(1) == said(1) != said(2)
    assert said(1, HISTORY) != said(1)


def test_its_context_shortens_the_history(reader, monkeypatch):
    writer = open_writer(reader, max_tokens=2000)  # it reads 2048 signs
    shown = []
    read = writer.model._answers

    def noted(requests, **options):
        shown.append((requests[0][1].text, options))
        return read(requests, **options)

    monkeypatch.setattr(writer.model, "_answers", noted)
    monkeypatch.setattr(writer, "_read", lambda reply: ("a", "b", "c"))
    writer.propose("a lake", n=2, history=[Shown(f"a lake {i} " + "in fog " * 15, 0.5) for i in range(20)], seed=1, max_words=30)
    text, options = shown[-1]
    assert "a lake 0 " in text and "a lake 19 " not in text and len(text) + options["max_tokens"] < 2048
    assert "was too small in 1 calls" in writer.notes()[1]


# names


class Mine(Writer):
    name = "mine"

    def propose(self, goal, *, n, history, seed, max_words):
        return Proposal((goal,) * n)


def test_a_class_of_your_own(monkeypatch):
    module = types.ModuleType("some_writers")
    module.Mine, module.number = Mine, 3
    monkeypatch.setitem(sys.modules, "some_writers", module)
    writer = open_writer("some_writers:Mine")
    assert writer.propose("a", n=2, history=(), seed=0, max_words=9).prompts == ("a", "a")
    refused(lambda: writer.complete("why?", seed=0), "mine", "chat model")
    for name in ("some_writers:number", "some_writers:Absent", "no_such_module:Mine", "beholder.errors:BeholderError"):
        refused(lambda name=name: open_writer(name), name, "not a writer")


def test_the_rules_need_no_model():
    assert open_writer("phrases").name == "phrases"


def test_a_url_without_a_model_is_refused():
    refused(lambda: open_writer("http://127.0.0.1:9/v1"), "names no model", "#model")


@pytest.mark.parametrize("options", [{"temperature": -1}, {"top_p": 0}, {"max_tokens": 5}])
def test_odd_numbers_are_refused(options):
    refused(lambda: open_writer("http://127.0.0.1:9/v1#m", **options), next(iter(options)))


def test_the_version_changes_with_what_changes_answers():
    versions = {open_writer("http://127.0.0.1:9/v1#m", **options).version for options in ({}, {"temperature": 1}, {"top_p": 0.5}, {"max_tokens": 99})}
    assert len(versions) == 4


def test_importing_needs_no_torch():
    code = "import sys; import beholder.steering.writers; sys.exit('torch' in sys.modules or 'httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
