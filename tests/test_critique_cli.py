"""beholder critique and beholder ask: what is printed, what is sent, what is skipped, and conversations on a terminal."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import subprocess
import sys
import types

import pytest

import tiny_chat_models
from beholder.cli import ask as ask_verb
from beholder.critique.base import SECTIONS, Critique, Evidence, PersonalView, Section, Weighs
from beholder.errors import UnreadableImage
from chat_server import Streamed, events, serving
from command_line import HERE, beholder, make_photos, one_sentence

SAID = {name: f"Something about {name}, in words." for name in SECTIONS}
REFUSAL = "I'm sorry, but I can't assist with that request."
VIEW = PersonalView(
    "Mia",
    3.9,
    3.0,
    4.8,
    "1-5",
    "taste 1",
    parts={"everybody": 3.5, "taste": 0.4},
    weighs=(Weighs("warmth", "colour", 0.4, 91.0, 1.2, "cares more for warm colours than 91 % of people"),),
    notes=("12 ratings are known",),
)
EVIDENCE = (Evidence("thirds", 0.4211, "share", 81.2, "How near the subject is to a line of thirds."), Evidence("horizon tilt", float("nan")))


def fine(request, number):
    return json.dumps(SAID) if "JSON" in request["text"] else f"{number}: soft light"


def rows_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    for variable in ("OPENAI_API_KEY", "BEHOLDER_CHAT_MODEL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def photos(tmp_path):
    make_photos(tmp_path, "a.png", "b.png", "c.png")
    return tmp_path


@pytest.fixture
def measured(monkeypatch):
    """Stands for the measured critique; gives the list of what it was asked."""
    asked = []

    def critique(image, *, rater=None, look_in=(), projection=None):
        asked.append((os.path.basename(image), rater, list(look_in)))
        if "bad" in str(image):
            raise UnreadableImage(image, "is broken")
        sections = {name: Section(name, text, EVIDENCE if name == "composition" else ()) for name, text in SAID.items()}
        return Critique(str(image), sections, "measured", "1", ("no model that sees is loaded",), VIEW if rater is not None else None)

    def view(image, *, rater, look_in=()):
        asked.append((os.path.basename(image), rater, list(look_in)))
        return VIEW

    import beholder.critique.measured as package

    for name, functions in {"critique": {"critique": critique}, "personal": {"view": view}, "answer": {"answer": lambda image, text: f"of {text}"}}.items():
        stub = types.ModuleType(f"beholder.critique.measured.{name}")
        vars(stub).update(functions)
        monkeypatch.setitem(sys.modules, stub.__name__, stub)
        monkeypatch.setattr(package, name, stub, raising=False)
    return asked


# critique


def test_without_a_model_it_is_measured(photos, measured):
    result = beholder("critique", photos / "a.png")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and lines[0] == f"{photos / 'a.png'} (measured: no vision-language model is loaded)"
    assert [line for line in lines[1:] if not line.startswith(" ")] == [f"{name.capitalize()}: {text}" for name, text in SAID.items()]
    assert "    thirds 0.421 share (percentile 81)" in lines, "what was not measurable is left to --details"
    assert "\x1b" not in result.stdout and one_sentence(result.stderr) == "no model that sees is loaded"
    assert measured == [("a.png", None, [])]


def test_a_photograph_that_is_named_twice_is_criticised_once(photos, measured, monkeypatch):
    monkeypatch.chdir(photos)
    rows = rows_of(beholder("critique", "b.png", photos / "a.png", "./b.png", photos, "--json"))
    assert [row["image"] for row in rows] == ["b.png", str(photos / "a.png"), str(photos / "c.png")]


def test_a_line_break_in_a_name_does_not_break_the_line(photos, measured):
    os.rename(photos / "a.png", photos / "a\nb ä.png")
    lines = beholder("critique", photos / "a\nb ä.png", "--no-details").stdout.splitlines()
    assert lines[0].startswith(f"{photos}/a?b ä.png (measured") and len(lines) == 1 + len(SAID)
    assert rows_of(beholder("critique", photos / "a\nb ä.png", "--json"))[0]["image"] == str(photos / "a\nb ä.png")


def test_a_name_that_is_no_text_can_be_written(photos, measured):
    os.rename(photos / "a.png", photos / "\udcff.png")
    result = beholder("critique", photos / "\udcff.png", "--out", photos / "out.jsonl", "--json")
    assert result.exit_code == 0 and rows_of(result)[0]["image"] == str(photos / "\udcff.png")
    assert json.loads((photos / "out.jsonl").read_text(encoding="utf-8")) == rows_of(result)[0]


def test_notes_about_some_photographs_name_them(photos, measured):
    import beholder.critique.measured.critique as stub

    plain = stub.critique

    def critique(image, **more):
        made = plain(image, **more)
        return dataclasses.replace(made, notes=(*made.notes, "known")) if str(image).endswith("b.png") else made

    stub.critique = critique
    assert beholder("critique", photos).stderr.splitlines() == ["beholder: no model that sees is loaded", f"beholder: {photos / 'b.png'}: known"]


def test_details_or_none(photos, measured):
    with_them = beholder("critique", photos / "a.png", "--details").stdout
    assert "    thirds 0.421 share, more than 81 % of photographs: How near the subject is to a line of thirds.\n" in with_them
    without = beholder("critique", photos / "a.png", "--no-details").stdout
    assert "thirds" not in without and "Composition: Something" in without


def test_json_and_a_file(photos, measured):
    result = beholder("critique", photos, "--json", "--out", photos / "new" / "out.jsonl")
    rows = rows_of(result)
    assert [row["image"] for row in rows] == [str(photos / name) for name in ("a.png", "b.png", "c.png")]
    assert rows[0]["sections"]["composition"]["evidence"][1]["value"] is None and "personal" not in rows[0]
    assert rows == [json.loads(line) for line in (photos / "new" / "out.jsonl").read_text().splitlines()]
    assert os.listdir(photos / "new") == ["out.jsonl"]
    assert beholder("critique", photos, "--out", photos / "out.jsonl").stdout == ""


def test_the_rater_s_own_part(photos, measured):
    (photos / "me.toml").write_text("age = 34\n")
    (photos / "mia.csv").write_text("image,score\na.png,5\nb.png,1\n")
    result = beholder("critique", photos / "c.png", "--profile", photos / "me.toml", "--ratings", photos / "mia.csv")
    assert "For Mia: 3.90 expected (3.00 to 4.80, 90 % interval) on 1-5; taste 1\n    +3.50 everybody: what everybody likes about it\n" in result.stdout
    assert "  - cares more for warm colours than 91 % of people\n    12 ratings are known\n" in result.stdout
    ((_, rater, look_in),) = measured
    assert rater.profile.age == 34 and len(rater.ratings) == 2 and look_in == [str(photos)]


def test_a_server_is_asked_and_gets_what_is_known_of_the_rater(photos, measured):
    (photos / "me.toml").write_text("age = 34\n")
    with serving(fine) as server:
        plain = beholder("critique", photos / "a.png", "--model", server.name(), "--json")
        personal = beholder("critique", photos / "a.png", "--model", server.name(), "--profile", photos / "me.toml", "--json")
    (row,), (own,) = rows_of(plain), rows_of(personal)
    assert row["by"] == server.name() and row["sections"]["light"] == {"text": SAID["light"], "evidence": []} and "personal" not in row
    assert own["personal"]["score"] == 3.9 and "was sent to" in own["notes"][0]
    assert plain.stderr == "" and len(server.requests) == 2
    assert "age: 34" in server.requests[1]["text"] and "warm colours" in server.requests[1]["text"] and "person" not in server.requests[0]["text"]


def test_the_environment_may_name_the_model_which_is_said(photos, measured, monkeypatch):
    with serving(fine) as server:
        monkeypatch.setenv("BEHOLDER_CHAT_MODEL", server.name())
        result = beholder("critique", photos / "a.png")
        named = beholder("critique", photos / "a.png", "--model", server.name())
    assert one_sentence(result.stderr).startswith(f"sends photographs to {server.url}") and measured == []
    assert result.stdout.splitlines()[0] == f"{photos / 'a.png'}, by {server.name()}"
    assert named.stderr == "" and named.stdout == result.stdout and len(server.requests) == 1  # kept


def test_without_a_url_nothing_is_sent(photos, measured, monkeypatch):
    import socket

    def forbidden(*_, **__):
        raise AssertionError("something was sent")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    assert beholder("critique", photos / "a.png").exit_code == beholder("ask", photos / "a.png", "why?").exit_code == 0


def test_what_is_missing_or_broken_is_named_and_the_others_go_on(photos, measured):
    (photos / "bad.jpg").write_bytes((photos / "a.png").read_bytes())
    (photos / "text.txt").write_text("words")
    result = beholder("critique", photos / "a.png", photos / "nowhere.png", photos / "bad.jpg", photos / "text.txt", photos / "b.png", "--json")
    assert result.exit_code == 1 and [row["image"] for row in rows_of(result)] == [str(photos / "a.png"), str(photos / "b.png")]
    lines = result.stderr.splitlines()
    assert len(lines) == 3 and all(any(name in line for line in lines) for name in ("nowhere.png' does not exist", "bad.jpg was skipped: is broken", "text.txt"))


@pytest.mark.parametrize("name", ["nowhere.png", "bad.png"])
def test_one_photograph_that_cannot_be_used_is_refused(photos, measured, name):
    (photos / "bad.png").write_bytes((photos / "a.png").read_bytes())
    result = beholder("critique", photos / name)
    assert result.exit_code == 2 and name in one_sentence(result.stderr)


def test_a_model_that_refuses_one_photograph_is_asked_about_the_others(photos):
    answers = {1: json.dumps(SAID), 2: REFUSAL, 3: json.dumps(SAID)}
    with serving(lambda request, number: answers[number]) as server:
        result = beholder("critique", photos, "--model", server.name(), "--json")
        again = beholder("critique", photos, "--model", server.name(), "--json")
    assert result.exit_code == again.exit_code == 1 and result.stdout == again.stdout and len(server.requests) == 3
    assert [os.path.basename(row["image"]) for row in rows_of(result)] == ["a.png", "c.png"]
    assert "b.png was skipped" in one_sentence(result.stderr) and "refused to speak" in result.stderr


def test_a_server_that_goes_away_ends_it_and_finished_ones_are_kept(photos):
    def dies(request, number):
        return (401, "key?") if number == 3 else json.dumps(SAID)

    with serving(dies) as server:
        result = beholder("critique", photos, "--model", server.name(), "--json")
        assert result.exit_code == 2 and len(rows_of(result)) == 2 and "key" in one_sentence(result.stderr)
    again = beholder("critique", photos / "a.png", photos / "b.png", "--model", server.name(), "--json")
    assert again.exit_code == 0 and again.stdout == result.stdout
    gone = beholder("critique", photos, "--model", server.name(), "--json")
    assert gone.exit_code == 2 and len(rows_of(gone)) == 2 and "cannot be reached" in one_sentence(gone.stderr)


def test_models_that_cannot_see_are_refused(photos, tmp_path):
    where = tiny_chat_models.save_llama(tmp_path / "llama")
    for verb in ("critique", "ask"):
        result = beholder(verb, photos / "a.png", *(["why?"] if verb == "ask" else []), "--model", where)
        assert result.exit_code == 2 and "reads text only" in one_sentence(result.stderr)
        result = beholder(verb, photos / "a.png", *(["why?"] if verb == "ask" else []), "--model", "beholder-mini")
        assert result.exit_code == 2 and "writes numbers" in one_sentence(result.stderr)


def test_it_may_be_read_along(photos):
    text = json.dumps(SAID)
    with serving(lambda request, number: Streamed(events(text[:50], text[50:]))) as server:
        result = beholder("critique", photos / "a.png", "--model", server.name(), "--stream", "--json")
    assert result.stderr == f"{text}\n" and rows_of(result)[0]["sections"]["overall"]["text"] == SAID["overall"]


# ask


def test_a_question_and_its_answer(photos):
    with serving(fine) as server:
        result = beholder("ask", photos / "a.png", "how is the light?", "--model", server.name())
        as_json = beholder("ask", photos / "a.png", "why?", "--model", server.name(), "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "1: soft light\n", "")
    assert rows_of(as_json) == [{"image": str(photos / "a.png"), "question": "why?", "answer": "2: soft light", "by": server.name()}]
    assert not server.requests[0]["body"]["stream"] and server.requests[0]["image"] is not None


def test_without_a_model_what_was_measured_answers(photos, measured):
    assert beholder("ask", photos / "a.png", "why?").stdout == "of why?\n"
    assert rows_of(beholder("ask", photos / "a.png", "why?", "--json"))[0]["by"] == "measured"


@pytest.mark.parametrize("more", [[], ["--json"], [" "]])
def test_no_question_and_nobody_to_ask_one(photos, more):
    result = beholder("ask", photos / "a.png", *more)
    assert result.exit_code == 2 and "question" in one_sentence(result.stderr)


def test_photographs_that_cannot_be_asked_about(photos, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no image" * 9)
    with serving(fine) as server:
        for name in ("x.jpg", "nowhere.jpg"):
            result = beholder("ask", tmp_path / name, "why?", "--model", server.name())
            assert result.exit_code == 2 and name in one_sentence(result.stderr)
    assert server.requests == []


def test_an_answer_that_breaks_off_is_said_after_what_came(photos):
    with serving(lambda request, number: Streamed(events("half an", "")[:2], dies=True)) as server:
        result = beholder("ask", photos / "a.png", "why?", "--model", server.name(), "--stream")
    assert result.exit_code == 2 and result.stdout == "half an\n" and "broke off" in one_sentence(result.stderr)


def test_a_conversation_goes_on_after_a_question_without_an_answer(photos, capsys):
    from beholder.backbones.chat import open_chat_model

    answers = {1: "one", 2: (400, "odd question"), 3: "three"}
    lines = iter(["first?", "second?", " third? ", ""])
    with serving(lambda request, number: answers[number]) as server:
        answer = ask_verb._answer_of(open_chat_model(server.name()), photos / "a.png", stream=False)
        ask_verb._talk(answer, read=lambda prompt: next(lines))
    seen = capsys.readouterr()
    assert seen.out == "one\nthree\n" and "odd question" in seen.err
    assert [message["role"] for message in server.requests[2]["body"]["messages"]] == ["system", "user", "assistant", "user"]


def on_a_terminal(arguments, *, typed="", environment=()):
    """Runs the program on a pseudo terminal; gives (exit code, what was seen)."""
    main, end = pty.openpty()
    given = os.environ | {"PYTHONPATH": str(HERE), "TERM": "xterm", "COLUMNS": "60", "LINES": "40"} | dict(environment)
    command = [sys.executable, "-c", "from beholder.cli import main; main()", *map(str, arguments)]
    child = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=given)
    os.close(end)
    os.write(main, typed.encode())
    seen = b""
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(main)
    return child.wait(timeout=60), seen.decode()


def test_on_a_terminal_answers_are_streamed_and_there_are_conversations(photos):
    def answer(request, number):
        assert request["body"]["stream"]
        return Streamed(events(f"answer {number} ", "in pieces"))

    with serving(answer) as server:
        code, seen = on_a_terminal(["ask", photos / "a.png", "--model", server.name()], typed="why?\nreally?\n\n")
    assert code == 0 and "answer 1 in pieces" in seen and "answer 2 in pieces" in seen and "an empty line ends" in seen
    assert len(server.requests[1]["body"]["messages"]) == 4


def test_on_a_terminal_names_are_bold_and_lines_wrapped(photos):
    long = SAID | {"light": "soft light " * 20}
    with serving(lambda request, number: json.dumps(long)) as server:
        code, seen = on_a_terminal(["critique", photos / "a.png", "--model", server.name()])
    assert code == 0 and "\x1b[1mLight\x1b[0m" in seen
    lines = [line for line in seen.splitlines() if "soft light" in line]
    assert len(lines) == 4 and all(line.startswith("  soft") and len(line) <= 60 for line in lines)
