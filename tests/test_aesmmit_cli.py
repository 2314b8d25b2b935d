"""beholder aesmmit: collect, convert, check and stats on the command line."""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from beholder.critique.aesmmit.feedback import Feedback, append_feedback
from beholder.critique.aesmmit.instructions import Instruction, choice_question, read_instructions, write_instructions
from command_line import HERE, beholder, make_photos, one_sentence, process


@pytest.fixture
def feedback(tmp_path):
    make_photos(tmp_path / "images", "a.png", "b.png")
    path = tmp_path / "feedback.jsonl"
    append_feedback(path, Feedback("a.png", "anna", 5, "Beautiful.", "Warm light.", "Calm.", source="natural", dataset="PARA"))
    append_feedback(path, Feedback("b.png", "ben", 2, "Unattractive.", "Noise everywhere.", "", suggestion="More light."))
    return path


def test_feedback_becomes_descriptions_that_check_and_count_clean(feedback, tmp_path):
    out = tmp_path / "aesmmit.json"
    made = beholder("aesmmit", "convert", feedback, "--out", out)
    assert made.exit_code == 0 and "8 descriptions of 2 feedbacks on 2 images" in made.stdout
    assert len(read_instructions(out)) == 8
    checked = beholder("aesmmit", "check", tmp_path)  # the folder, and its images in it
    assert checked.exit_code == 0 and "8 items: 0 errors, 0 warnings" in checked.stdout and checked.stderr == ""
    counted = beholder("aesmmit", "stats", tmp_path)
    assert counted.exit_code == 0
    assert re.search(r"images\s+2\s+21,904", counted.stdout) and re.search(r"items\s+8\s+409K", counted.stdout)
    assert re.search(r"PARA\s+1\s+3,694", counted.stdout) and "paper" in counted.stdout


def test_json_says_the_same(feedback, tmp_path):
    out = tmp_path / "aesmmit.json"
    made = json.loads(beholder("aesmmit", "convert", feedback, "--out", out, "--json").stdout)
    assert made == {"feedback": 2, "images": 2, "items": 8, "out": str(out)}
    checked = json.loads(beholder("aesmmit", "check", out, "--json").stdout)
    assert checked == {"items": 8, "images": str(tmp_path / "images"), "errors": 0, "warnings": 0, "findings": []}
    counted = json.loads(beholder("aesmmit", "stats", out, "--json").stdout)
    assert counted["items"] == 8 and counted["paper"]["counts"]["items"] == 409_000 and counted["types"] == {"description": 8}


def test_skipped_lines_are_named_and_the_command_exits_with_1(feedback, tmp_path):
    feedback.write_text(feedback.read_text() + '{"image": "c.png", "grade": 12, "evaluation": "x"}\n')
    made = beholder("aesmmit", "convert", feedback, "--out", tmp_path / "out.json")
    assert made.exit_code == 1 and "line 3" in one_sentence(made.stderr) and (tmp_path / "out.json").exists()


def test_errors_exit_with_2_and_warnings_do_not(tmp_path):
    make_photos(tmp_path / "images", "a.png", "b.png")
    fine = Instruction("1", "a.png", (("What is it?", "Lovely light."),), type="open")
    path = write_instructions(tmp_path / "data.json", [fine, Instruction("1", "b.png", (("What is it?", "Cold light."),), type="open")])
    warned = beholder("aesmmit", "check", path)
    assert warned.exit_code == 0 and "same id" in warned.stdout and "0 errors, 1 warnings" in warned.stdout
    options = ("a lake", "a town")
    wrong = [Instruction(f"w{n}", "gone.png" if n else "a.png", ((choice_question("What?", options), "C"),), options=options, answer="C") for n in range(30)]
    write_instructions(path, [fine, *wrong])
    found = beholder("aesmmit", "check", path)
    assert found.exit_code == 2 and "missing image" in found.stdout and "and 20 more of this kind" in found.stdout
    everything = beholder("aesmmit", "check", path, "--json")
    told = json.loads(everything.stdout)
    assert everything.exit_code == 2 and sum(one["kind"] == "answer letter" for one in told["findings"]) == 30
    assert set(told["findings"][0]) == {"severity", "kind", "item", "text"}


def test_test_images_are_refused_by_check(tmp_path):
    make_photos(tmp_path / "images", "a.png", "b.png")
    make_photos(tmp_path / "bench" / "images", "other.png", start=0)  # the same picture as a.png
    path = write_instructions(tmp_path / "data.json", [Instruction("1", "a.png", (("What is it?", "Lovely light."),), type="open")])
    assert beholder("aesmmit", "check", path).exit_code == 0
    found = beholder("aesmmit", "check", path, "--against", tmp_path / "bench")
    assert found.exit_code == 2 and "test image" in found.stdout and "other.png" in found.stdout


def test_images_that_were_not_looked_at_are_said(tmp_path):
    path = write_instructions(tmp_path / "data.json", [Instruction("1", "a.png", (("What is it?", "Lovely light."),))])
    found = beholder("aesmmit", "check", path)
    assert found.exit_code == 0 and "--images" in one_sentence(found.stderr)
    assert json.loads(beholder("aesmmit", "check", path, "--json").stdout)["images"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "none.jsonl", "--out", "out.json"], ["none.jsonl", "cannot be read"]),
        (["convert", "feedback.jsonl", "--out", "out"], ["out", ".json"]),
        (["convert", "feedback.jsonl", "--out", "./feedback.jsonl"], ["feedback itself"]),
        (["check", "none.json"], ["none.json"]),
        (["check", "data.json", "--images", "none"], ["none", "not a folder"]),
        (["check", "data.json", "--against", "none"], ["none", "does not exist"]),
        (["stats", "broken.json"], ["line 1, column 2"]),
        (["stats", "data.json", "--plot", "none/plot.png"], ["cannot be written"]),
        (["collect", "--images", "none", "--out", "f.jsonl", "--subject", "anna"], ["not a folder"]),
        (["collect", "--images", "images", "--out", "f.csv", "--subject", "anna"], ["JSON Lines"]),
        (["collect", "--images", "images", "--out", "f.jsonl", "--subject", ""], ["--subject"]),
    ],
)
def test_mistakes_are_one_sentence(feedback, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_instructions("data.json", [Instruction("1", "a.png", (("What is it?", "Lovely light."),))])
    (tmp_path / "broken.json").write_text("[}")
    result = beholder("aesmmit", *arguments)
    assert result.exit_code == 2 and all(word in one_sentence(result.stderr) for word in words)


def test_statistics_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    path = write_instructions(tmp_path / "data.json", [Instruction("1", "a.png", (("What is it?", "Lovely light."),))])
    drawn = beholder("aesmmit", "stats", path, "--plot", tmp_path / "s.png")
    assert drawn.exit_code == 0 and (tmp_path / "s.png").exists() and "wrote" in drawn.stderr


@pytest.mark.parametrize("ending", ["stop", "ctrl-c"])
def test_collect_prints_the_address_and_ends_cleanly(feedback, tmp_path, ending):
    out = tmp_path / "new.jsonl"
    command = [sys.executable, "-c", "from beholder.cli import main; main()", "aesmmit", "collect", "--images", str(tmp_path / "images")]
    command += ["--out", str(out), "--subject", "anna", "--no-open", "--json"]
    environment = os.environ | {"PYTHONPATH": str(HERE), "PYTHONUTF8": "1"}
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # tests started in the background ignore it
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heard)
    try:
        port, path = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+/)", running.stderr.readline()).groups()
        said = json.dumps({"grade": 3, "evaluation": "Average.", "reasons": "Flat light.", "feeling": "Nothing much."})
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("POST", f"{path}answer/1", said, {"Content-Type": "application/json"})
        assert connection.getresponse().read()
        if ending == "stop":
            connection.request("POST", f"{path}stop", "{}", {"Content-Type": "application/json"})
            assert json.loads(connection.getresponse().read()) == {"given": 1, "done": 1, "total": 2}
        else:
            running.send_signal(signal.SIGINT)
        printed, errors = running.communicate(timeout=30)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0 and errors == ""
    assert json.loads(printed) == {"given": 1, "done": 1, "total": 2, "out": str(out)}
    assert json.loads(out.read_text())["image"] == "b.png"


def test_help_needs_no_heavy_package():
    code = "import sys; from beholder.cli.aesmmit import app; print(sorted({'torch', 'numpy', 'scipy', 'PIL', 'matplotlib'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "[]", found.stderr
    helped = process("aesmmit", "--help")
    assert helped.returncode == 0 and all(verb in helped.stdout for verb in ("collect", "convert", "build", "check", "stats"))
