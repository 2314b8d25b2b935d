"""From feedback to a dataset: what is made of it, what is named when it fails, and that nothing paid for is asked twice."""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from beholder.critique.aesmmit import ledger as ledger_module
from beholder.critique.aesmmit.build import CHOOSE, build
from beholder.critique.aesmmit.descriptions import descriptions
from beholder.critique.aesmmit.feedback import Feedback
from beholder.critique.aesmmit.instructions import LETTERS, read_instructions
from beholder.critique.aesmmit.questions import understood
from beholder.critique.aesmmit.rules import written_by_rules
from beholder.critique.aesmmit.writers import RuleWriter, open_question_writer
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from chat_server import serving
from command_line import refused
from feedback_worlds import feedback_world, save_world

N = 6


@pytest.fixture
def world(tmp_path):
    feedback = feedback_world(N)
    images, file = save_world(tmp_path, feedback)
    return feedback, images, file


def by_rules(request, number=0):
    """What a server answers that follows the rules."""
    feedback, before, n = understood(request["text"])
    return json.dumps([one.to_json() for one in written_by_rules(feedback, n=n, seed=0, before=before)])


def writer_at(server, **options):
    return open_question_writer(server.name(), retries=0, backoff=0.01, **options)


def forget_replies(own_folders):
    shutil.rmtree(own_folders / "cache", ignore_errors=True)


def items_of(folder):
    return [json.loads(json.dumps(one)) for one in json.loads((folder / "aesmmit.json").read_text())]


def test_descriptions_open_questions_and_choices(world, tmp_path):
    feedback, images, _ = world
    result = build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", per_image=5, licence="CC BY 4.0")
    items = read_instructions(tmp_path / "out")
    types = Counter(item.type for item in items)
    assert types == {"description": result.descriptions, "open": result.open, "choice": result.choice}
    assert result.descriptions == len(descriptions(feedback)) and result.images == N
    assert 3 * N < result.open <= 5 * N and result.choice == result.open and result.calls == N
    assert len({item.id for item in items}) == len(items)
    asked = {item.id.removesuffix("-open"): item for item in items if item.type == "open"}
    for item in items:
        if item.type == "choice":
            twin = asked[item.id.removesuffix("-choice")]
            lines = item.question.splitlines()
            assert lines[0] == twin.question and lines[-1] == CHOOSE
            assert lines[1:-1] == [f"{letter}) {text}" for letter, text in zip(LETTERS, item.options, strict=False)]
            assert item.options[LETTERS.index(item.answer)] == twin.turns[0][1] and item.turns[0][1] == item.answer
            assert item.more["writer"] == "rules" and item.more["source"] == "natural"
            assert (len(item.options) == 2) == (item.qtype == "yes-no")
    for counts in result.positions.values():
        assert max(counts.values()) - min(counts.values()) <= 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: CC BY 4.0" in card and f"| choice | {result.choice} |" in card and "rules without a model" in card
    kept = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert kept["build"]["open"] == result.open and str(tmp_path) not in json.dumps(kept) + card
    assert not list((tmp_path / "out").glob(".*")), "no temporary file is left"


def test_the_same_call_gives_the_same_file(world, tmp_path):
    feedback, images, _ = world
    for name in ("one", "two"):
        build(feedback, images=images, writer=RuleWriter(), out=tmp_path / name, seed=4)
    build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "other", seed=5)
    one, two, other = ((tmp_path / name / "aesmmit.json").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_a_finished_build_asks_nothing_again(world, tmp_path, own_folders):
    feedback, images, _ = world
    with serving(by_rules) as server:
        first = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out", per_image=4)
        kept = (tmp_path / "out" / "aesmmit.json").read_bytes()
        forget_replies(own_folders)
        again = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out", per_image=4)
        assert len(server.requests) == N == first.calls == again.calls == again.kept_calls
    assert (tmp_path / "out" / "aesmmit.json").read_bytes() == kept
    assert first.kept_calls == 0 and first.prompt_tokens == again.prompt_tokens == 100 * N


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_repeats_no_call(world, tmp_path, own_folders, error):
    feedback, images, _ = world

    def stop(done, total, what):
        if done == 3:
            raise error

    with serving(by_rules) as server:
        with pytest.raises(error):
            build(feedback, images=images, writer=writer_at(server, concurrency=1), out=tmp_path / "out", progress=stop)
        done = len((tmp_path / "out" / "written.jsonl").read_text().splitlines()) - 1
        assert done == 3 and not (tmp_path / "out" / "aesmmit.json").exists()
        for thread in threading.enumerate():
            if thread.name.startswith(("beholder-writer", "beholder-chat")):
                thread.join(10)
        asked = len(server.requests)
        assert asked <= 4, "one may have been under way"
        build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
        assert len(server.requests) == N, "that one was kept with the replies of chat models"
    whole = tmp_path / "whole"
    with serving(by_rules) as server:
        build(feedback, images=images, writer=writer_at(server), out=whole)
    assert [one | {"writer": ""} for one in items_of(tmp_path / "out")] == [one | {"writer": ""} for one in items_of(whole)]


def test_an_answer_is_on_disk_before_the_next_image(world, tmp_path, own_folders):
    feedback, images, _ = world
    lines = []

    def watch(done, total, what):
        lines.append(len((tmp_path / "out" / "written.jsonl").read_text().splitlines()) - 1)

    with serving(by_rules) as server:
        build(feedback, images=images, writer=writer_at(server, concurrency=1), out=tmp_path / "out", progress=watch)
    assert lines == list(range(N + 1))


def test_a_line_that_was_torn_is_asked_again(world, tmp_path, own_folders):
    feedback, images, _ = world
    with serving(by_rules) as server:
        build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
        before = (tmp_path / "out" / "aesmmit.json").read_bytes()
        file = tmp_path / "out" / "written.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([*lines[:2], b"{broken\n", *lines[3:-1], lines[-1][:50]]))
        forget_replies(own_folders)
        with pytest.warns(UserWarning, match="line 3 cannot be read"):
            build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
        assert len(server.requests) == N + 2
    assert (tmp_path / "out" / "aesmmit.json").read_bytes() == before
    assert file.read_bytes().endswith(b"\n")


def test_other_settings_in_the_same_folder_are_refused(world, tmp_path):
    feedback, images, _ = world
    build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", per_image=3)
    refused(lambda: build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", per_image=4), "per_image 3 there, 4 here", "--out")
    refused(lambda: build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", per_image=3, seed=1), "seed 0 there, 1 here")
    (tmp_path / "out" / "written.jsonl").write_text("{}\n")
    refused(lambda: build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", per_image=3), "does not say what it was made with")


def test_settings_of_a_writer_that_never_answered_bind_nobody(world, tmp_path):
    feedback, images, _ = world
    away = open_question_writer("http://127.0.0.1:9/v1#gone", retries=0)
    refused(lambda: build(feedback, images=images, writer=away, out=tmp_path / "out"), "127.0.0.1:9")
    assert build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out").open
    first = json.loads((tmp_path / "out" / "written.jsonl").read_text().splitlines()[0])
    assert first["settings"]["writer"] == "rules"


def test_a_readme_of_somebody_else_is_not_replaced(world, tmp_path):
    feedback, images, _ = world
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("# My project\n")
    refused(lambda: build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out"), "README.md", "--out")
    assert (tmp_path / "out" / "README.md").read_text() == "# My project\n"
    (tmp_path / "out" / "README.md").unlink()
    build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", licence="mine: all of it")
    header = (tmp_path / "out" / "README.md").read_text().split("---")[1]
    assert 'license: "mine: all of it"' in header, "a colon would break the header"
    build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", licence="cc-by-4.0")
    assert "license: cc-by-4.0\n" in (tmp_path / "out" / "README.md").read_text()


def test_halves_of_characters_reach_no_server_and_no_file(world, tmp_path, own_folders):
    feedback, images, _ = world
    half = Feedback(feedback[0].image, "zoe", 4, "Half \ud83d light", "", "")
    with serving(lambda request, number: by_rules(request).replace("light", "li\\ud83dght")) as server:
        build([half, *feedback], images=images, writer=writer_at(server), out=tmp_path / "out")
        assert any("Half \ufffd light" in request["text"] for request in server.requests)
    text = (tmp_path / "out" / "aesmmit.json").read_text(encoding="utf-8")
    assert "li\ufffdght" in text and "\\ud83d" not in text


def test_two_processes_do_not_write_the_same_ledger(tmp_path):
    with ledger_module.Ledger(tmp_path, settings={"seed": 0}):
        refused(lambda: ledger_module.Ledger(tmp_path, settings={"seed": 0}), "another process")
    ledger_module.Ledger(tmp_path, settings={"seed": 0}).__exit__()


def test_more_feedback_asks_only_about_the_images_it_concerns(world, tmp_path, own_folders):
    feedback, images, _ = world
    more = [*feedback, Feedback("p02.png", "Late", 5, "Lovely.", "The light is gentle.", "Joyful and free.")]
    with serving(by_rules) as server:
        build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
        result = build(more, images=images, writer=writer_at(server), out=tmp_path / "out")
        assert len(server.requests) == N + 1
    assert result.kept_calls == N - 1 and result.descriptions > len(descriptions(feedback))


# --- what goes wrong ---


def test_images_that_are_missing_or_none_are_named_and_left_out(world, tmp_path):
    feedback, images, _ = world
    (images / "p01.png").unlink()
    (images / "p02.png").write_text("no image")
    shutil.copy(images / "p00.png", images / "alone.png")
    with pytest.warns(SkippedInput) as caught:
        result = build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out")
    texts = [str(one.message) for one in caught]
    assert "p01.png is missing" in texts[0] and "p02.png" in texts[1] and len(texts) == 2
    assert set(result.skipped) == {"p01.png", "p02.png"} and result.images == N - 2
    assert not {"p01.png", "p02.png"} & {item.image for item in read_instructions(tmp_path / "out")}
    assert result.notes == (f"1 images in {images} have no feedback: alone.png",)


def test_nothing_to_make_data_of(world, tmp_path):
    feedback, images, _ = world
    refused(lambda: build(feedback, images=tmp_path / "none", writer=RuleWriter(), out=tmp_path / "out"), "is no folder")
    (tmp_path / "empty").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(lambda: build(feedback, images=tmp_path / "empty", writer=RuleWriter(), out=tmp_path / "out"), "no image with feedback")
    refused(lambda: build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "out", per_image=0), "per_image = 0")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    refused(lambda: build(feedback, images=images, writer=RuleWriter(), out=tmp_path / "file" / "out"), "cannot be written")


def test_a_writer_that_goes_away_loses_nothing(world, tmp_path, own_folders):
    feedback, images, _ = world

    def answer(request, number):
        return by_rules(request) if number <= 2 or number > 3 else (503, "full")

    with serving(answer) as server:
        message = refused(lambda: build(feedback, images=images, writer=writer_at(server, concurrency=1), out=tmp_path / "out"), "503", "goes on from there")
        assert f"2 of {N} images are done" in message
        forget_replies(own_folders)
        result = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
        assert len(server.requests) == N + 1 and result.kept_calls == 2 and not result.failed


def test_one_image_that_fails_or_is_refused_is_named_and_keeps_its_descriptions(world, tmp_path, own_folders):
    feedback, images, _ = world

    def answer(request, number):
        text = request["text"]
        if "holiday" in text:
            return 500, "something broke"
        return "I'm sorry, but I can't help with that." if "secret" in text else by_rules(request)

    odd = [Feedback(one.image, one.subject, one.grade, one.evaluation, one.reasons, {"p03.png": "Like a holiday.", "p04.png": "A secret."}.get(one.image, one.feeling)) for one in feedback]
    with serving(answer) as server:
        with pytest.warns(SkippedInput, match=r"of 2 images \(p03.png: .*500.*; p04.png: the writer refused\)"):
            result = build(odd, images=images, writer=writer_at(server), out=tmp_path / "out")
        items = read_instructions(tmp_path / "out")
        assert {item.image for item in items} == {f"p{number:02}.png" for number in range(N)}
        assert {item.type for item in items if item.image in ("p03.png", "p04.png")} == {"description"}
        assert result.rejected == {"refused": 1} and set(result.failed) == {"p03.png", "p04.png"}
        asked = len(server.requests)
        with pytest.warns(SkippedInput):
            again = build(odd, images=images, writer=writer_at(server), out=tmp_path / "out")
        assert again.rejected == {"refused": 1} and set(again.failed) == {"p03.png", "p04.png"}, "no answer is not an answer that cannot be read"
        assert len(server.requests) == asked + 1, "what failed is asked again, what was refused is not"


def test_a_writer_that_never_gives_a_list_is_stopped(tmp_path, own_folders):
    feedback = feedback_world(30, n_people=1)
    images, _ = save_world(tmp_path, feedback)
    with serving(lambda request, number: "Nice picture!") as server:
        said = refused(lambda: build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out"), "no usable question of 10 images", "nothing readable")
        assert "goes on" not in said, "it would lead nowhere"
        assert len(server.requests) <= 10 + 4, "those under way come in"
    assert len((tmp_path / "out" / "written.jsonl").read_text().splitlines()) > 1


def test_rejected_and_mended_answers_are_counted(world, tmp_path, own_folders):
    feedback, images, _ = world

    def answer(request, number):
        good = json.loads(by_rules(request))
        return json.dumps([*good, good[0] | {"answer": ""}, good[1] | {"qtype": "poem", "question": "Which?"}])

    with serving(answer) as server:
        result = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
    assert result.rejected == {"answer is missing": N, "qtype is none of yes-no, what, how, why": N}
    assert result.calls == N and result.duplicates == 0


def test_answers_in_another_script_are_marked(world, tmp_path, own_folders):
    feedback, images, _ = world
    made = [{"question": "Каков свет?", "answer": "Мягкий", "qtype": "what", "dimension": "attribute", "wrong": ["Резкий", "Тусклый", "Серый"]}]
    with serving(lambda request, number: json.dumps(made, ensure_ascii=False)) as server:
        result = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
    marked = [item for item in read_instructions(tmp_path / "out") if "flag" in item.more]
    assert result.other_script == result.open == N and len(marked) == 2 * N
    own = [Feedback(one.image, one.subject, one.grade, "Красиво", "Свет мягкий", "Спокойно") for one in feedback]
    with serving(lambda request, number: json.dumps(made, ensure_ascii=False)) as server:
        assert build(own, images=images, writer=writer_at(server), out=tmp_path / "own").other_script == 0


def test_a_tell_tale_length_is_said(world, tmp_path, own_folders):
    feedback, images, _ = world

    def answer(request, number):
        subjects = ("sky", "river", "bridge", "tower", "meadow")
        made = [{"question": f"What about the {one}?", "answer": f"A long and careful answer {one} {number}", "qtype": "what", "dimension": "attribute", "wrong": ["No", "Nothing", "Dim"]} for one in subjects]
        return json.dumps(made)

    with serving(answer) as server:
        result = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
    assert result.longest["telltale"] and "longest in 100%" in result.notes[0]
    assert "about as long as the right answer" in server.requests[0]["text"]
    assert result.notes[0] in (tmp_path / "out" / "README.md").read_text()


def test_a_question_that_stands_with_too_many_images_is_dropped(tmp_path, own_folders):
    feedback = feedback_world(14, n_people=1)
    images, _ = save_world(tmp_path, feedback)
    made = [{"question": "Is it beautiful?", "answer": "Yes", "qtype": "yes-no", "dimension": "quality", "wrong": ["No"]}]
    with serving(lambda request, number: json.dumps(made)) as server:
        result = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
    assert result.too_common == 4 and result.open == 10 and result.positions == {"2": {"A": 5, "B": 5}}


def test_a_question_that_people_were_asked_is_not_asked_again(world, tmp_path, own_folders):
    feedback, images, _ = world
    told = {item.image: item.question for item in descriptions(feedback)}
    made = {"answer": "By soft light", "qtype": "how", "dimension": "enhancement", "wrong": ["By harsh light"]}
    by_said = {one.image: one.whole() for one in feedback}

    def answer(request, number):
        shown = understood(request["text"])[0]
        image = next(name for name, text in by_said.items() if all(str(shown[-1].get(part, "")) in text for part in ("evaluation", "reasons", "feeling")))
        return json.dumps([made | {"question": told[image].upper()}, made | {"question": "How could the light be better?", "answer": f"Softer {number}"}])

    with serving(answer) as server:
        result = build(feedback, images=images, writer=writer_at(server), out=tmp_path / "out")
    assert result.open == N and result.duplicates == N


# --- on the command line ---


@contextmanager
def stand_in():
    """The server of examples/, in a thread."""
    path = Path(__file__).parent.parent / "examples" / "openai_stand_in.py"
    spec = importlib.util.spec_from_file_location("openai_stand_in", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.serve(0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def run(*arguments):
    from beholder.cli.aesmmit_build import build as command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def test_the_stand_in_writes_what_the_rules_write(world, tmp_path):
    _, images, file = world
    common = ("--feedback", file, "--images", images, "--per-image", "5")
    with stand_in() as url:
        shown = run(*common, "--writer", f"{url}#rules", "--out", tmp_path / "served", "--json", "--prices", "1", "2")
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert result["open"] > 3 * N and result["calls"] == N and result["cost"] > 0
    assert "calls" in shown.stderr
    assert run(*common, "--writer", "rules", "--out", tmp_path / "here").exit_code == 0
    served, here = items_of(tmp_path / "served"), items_of(tmp_path / "here")
    assert [{**one, "writer": ""} for one in served] == [{**one, "writer": ""} for one in here]


def test_the_table_says_what_was_made(world, tmp_path):
    _, images, file = world
    shown = run("--feedback", file, "--images", images, "--writer", "rules", "--out", tmp_path / "out")
    assert shown.exit_code == 0
    for words in ("descriptions", "open questions", "multiple choice", "right among 4", "calls of the writer"):
        assert words in shown.stdout
    assert "aesmmit.json" in shown.stderr


def test_the_stand_in_answers_400_to_what_is_no_request():
    import httpx

    with stand_in() as url:
        for body in (b"not json", b"{}", b'{"messages": []}', b'{"messages": "x", "stream": true}', b"[]"):
            assert httpx.post(f"{url}/chat/completions", content=body).status_code == 400
        assert httpx.post(f"{url}/images/generations", content=b"{}").status_code == 400
        assert httpx.post(f"{url}/nothing", content=b"{}").status_code == 404


def test_the_stand_in_talks_about_images_in_pieces_and_grades(tmp_path):
    import httpx

    from beholder.backbones.chat import ChatRequest, open_chat_model
    from beholder.critique.aesbench.rubric import prompt, read_scores
    from beholder.critique.ask import Conversation
    from beholder.critique.base import SECTIONS
    from beholder.critique.by_model import critique

    images, _ = save_world(tmp_path, feedback_world(2, n_people=1))
    with stand_in() as url:
        model = open_chat_model(f"{url}#pixels", keep=False)
        light, colour, letter = model.ask(
            [
                ChatRequest("What is the light like?", image=images / "p00.png"),
                ChatRequest("What are the colours like?", image=images / "p00.png"),
                ChatRequest("Is it good? Choose one from the following options:\nA) High\nB) Low\nAnswer.", image=images / "p00.png"),
            ]
        )
        assert light.text.startswith("The image is")
        assert colour.text.startswith("The colours are")
        assert letter.text in ("A) High", "B) Low")
        said = critique(images / "p00.png", chat=model)
        assert set(said.sections) == set(SECTIONS) and not said.notes
        assert said.sections["light"].text == light.text
        assert "pixel" in said.sections["subject"].text
        talk = Conversation(model, images / "p00.png")
        pieces = list(talk.stream("How is the light?"))
        assert len(pieces) > 5 and "".join(pieces) == light.text and talk.ask("And the colours?") == colour.text
        good, bad = (
            read_scores(reply.text)[0]
            for reply in model.ask([ChatRequest(prompt("Why?", text, reference="The gentle light shapes every wave.", sees=False)) for text in ("The gentle light shapes every wave.", "No idea.")])
        )
        assert sum(good.values()) > sum(bad.values()) and set(good) == {"relevance", "precision", "completeness"}
        body = {"stream": True, "messages": [{"role": "user", "content": "Goal: a lake\nWrite 2 new prompts"}]}
        lines = [line for line in httpx.post(f"{url}/chat/completions", json=body).text.splitlines() if line]
        assert lines[-1] == "data: [DONE]" and len(lines) > 4
        text = "".join(choice["delta"].get("content", "") for line in lines[:-1] for choice in json.loads(line.removeprefix("data: "))["choices"])
        assert text == open_chat_model(f"{url}#x", keep=False).ask([ChatRequest("Goal: a lake\nWrite 2 new prompts")])[0].text


def test_a_folder_of_photographs_is_not_filled(world, tmp_path):
    feedback, images, _ = world
    before = sorted(images.iterdir())
    with pytest.raises(BeholderError, match="is a folder of photographs"):
        build(feedback, images=images, writer=open_question_writer("rules"), out=images)
    assert sorted(images.iterdir()) == before
    mine = tmp_path / "mine"
    build(feedback, images=images, writer=open_question_writer("rules"), out=mine)
    (mine / "a.png").write_bytes(before[0].read_bytes())
    assert build(feedback, images=images, writer=open_question_writer("rules"), out=mine).images, "a dataset of ours may hold images"
