"""`beholder steer` as people run it: without a model, against servers, interrupted, and with wrong options."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import HERE, beholder, make_photos, one_sentence, process

STUB = ["--scorer", "stub_scorers:Stub", "--hold-out", "none"]
LOCAL = ["--writer", "phrases", "--generator", "scenes"]
SMALL = ["--iterations", "2", "--per-iteration", "3"]


def events(folder, kind):
    whole = (Path(folder) / "events.jsonl").read_text(encoding="utf-8").rpartition("\n")[0]  # the last line may be under way
    return [one for one in map(json.loads, whole.splitlines()) if one["kind"] == kind]


def complaint(stderr):
    """The one sentence beside the note that nobody is named."""
    return one_sentence("\n".join(line for line in stderr.splitlines() if "nobody is named" not in line))


class Asked(list):
    """Paths that were asked for and answered; beyond `at_most` of them the server is away."""

    at_most = 10**6


@contextmanager
def stand_in():
    """The server of examples/, in a thread; gives its URL and the list of paths that were asked for."""
    path = HERE.parent / "examples" / "openai_stand_in.py"
    spec = importlib.util.spec_from_file_location("openai_stand_in", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = Asked()

    class Counting(module.Handler):
        def do_POST(self):
            if len(asked) >= asked.at_most:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(503)
                self.send_header("Retry-After", "4000")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked.append(self.path)
            super().do_POST()

        def log_message(self, *_):
            pass

    server = module.serve(0)
    server.RequestHandlerClass = Counting
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()


def test_a_run_without_any_model_gives_a_folder_with_everything(tmp_path):
    out = tmp_path / "run"
    found = beholder("steer", "a boat on a lake", *LOCAL, *STUB, *SMALL, "--age", "20-29", "--out", out, "--json")
    assert found.exit_code == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["complete"] and said["reward"] >= said["start_reward"]
    assert "boat on a lake" in said["prompt"]
    assert len(events(out, "image")) == said["counts"]["images"] == 7
    assert all(set(one) >= {"prompt", "seed", "file"} for one in events(out, "image"))
    assert sorted(path.name for path in (out / "images").iterdir()) == sorted(Path(one["file"]).name for one in events(out, "image"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert said["prompt"] in page and "a boat on a lake" in page


def test_the_reward_is_the_score_of_beholder_score(tmp_path):
    """Steering must reward what the person is told everywhere else."""
    profile = tmp_path / "me.toml"
    profile.write_text("age = 30\nopenness = 9\n")
    out = tmp_path / "run"
    said = json.loads(beholder("steer", "a boat", *LOCAL, *STUB, *SMALL, "--profile", profile, "--out", out, "--json").stdout)
    row = json.loads(beholder("score", said["images"][0], "--scorer", "stub_scorers:Stub", "--profile", profile, "--json").stdout)
    assert said["reward"] == pytest.approx((row["score"] - 1) / 4, abs=1e-4)  # rows are rounded


def test_both_servers_are_asked_and_a_second_run_asks_nothing(tmp_path):
    with stand_in() as (url, asked):
        command = ("steer", "a boat", "--writer", f"{url}#phrases", "--generator", f"{url}#scenes", *STUB, *SMALL, "--out", tmp_path / "run", "--json")
        first = beholder(*command)
        assert first.exit_code == 0, first.stderr
        assert asked.count("/v1/images/generations") == 7 and asked.count("/v1/chat/completions") >= 2
        del asked[:]
        again = beholder(*command)
    assert asked == []
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_a_killed_run_goes_on_without_a_repeated_call(tmp_path):
    with stand_in() as (url, asked):
        command = ["steer", "a boat", "--writer", f"{url}#phrases", "--generator", f"{url}#scenes", *STUB, *SMALL]
        whole = beholder(*command, "--out", tmp_path / "whole", "--json")
        calls = sorted(asked)
        del asked[:]
        out = tmp_path / "killed"
        run = [sys.executable, "-c", "from beholder.cli import main; main()", *command, "--out", str(out), "--json"]
        child = subprocess.Popen(run, env=os.environ | {"PYTHONPATH": str(HERE)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = out / "events.jsonl"
        deadline = time.monotonic() + 90
        while not (log.is_file() and len(events(out, "image")) >= 3):
            assert child.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        time.sleep(0.3)  # the server may be answering one call whose asker is dead
        kept = len(events(out, "image"))
        before = len(asked)
        resumed = beholder(*command, "--out", out, "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert 3 <= kept <= 7
    assert len(asked) > before or kept == 7
    # whatever was answered and kept is not asked again; what was under way when the program died is
    assert sum(path.endswith("generations") for path in asked[before:]) == 7 - kept
    assert len(asked) - len(calls) <= 8, "more than what was under way was repeated"
    same, other = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert (same["prompt"], same["reward"], same["counts"]) == (other["prompt"], other["reward"], other["counts"])


def test_a_server_that_goes_away_stops_the_run_and_nothing_is_lost(tmp_path):
    command = ["steer", "a boat", "--writer", "phrases", *STUB, *SMALL, "--out", tmp_path / "run", "--json"]
    with stand_in() as (url, asked):
        first = beholder(*command, "--generator", f"{url}#scenes", "--budget", "7")
        assert first.exit_code == 0 and len(asked) == 7
    gone = beholder(*command[:-3], "--out", tmp_path / "other", "--generator", f"{url}#scenes")
    assert gone.exit_code == 2
    assert url in complaint(gone.stderr)


def test_an_outage_in_the_middle_leaves_a_report_and_the_same_command_goes_on(tmp_path):
    with stand_in() as (url, asked):
        command = ("steer", "a boat", "--writer", "phrases", "--generator", f"{url}#scenes", "--age", "20-29", *STUB, *SMALL, "--concurrency", "1")
        whole = beholder(*command, "--out", tmp_path / "whole", "--json")
        del asked[:]
        asked.at_most = 3
        stopped = beholder(*command, "--out", tmp_path / "run", "--json")
        assert stopped.exit_code == 2
        message = one_sentence(stopped.stderr)
        assert "503" in message and "the 3 images made up to now" in message and str(tmp_path / "run") in message
        page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
        assert "not finished" in page and page.count("<img") >= 3
        del asked[:]
        asked.at_most = 99
        resumed = beholder(*command, "--out", tmp_path / "run", "--json")
    assert len(asked) == 4
    same, other = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert (same["prompt"], same["reward"], same["counts"]) == (other["prompt"], other["reward"], other["counts"])


def test_a_prompt_of_blanks_makes_no_folder(tmp_path):
    found = beholder("steer", "  ", *LOCAL, *STUB, "--out", tmp_path / "run")
    assert found.exit_code == 2 and "empty" in complaint(found.stderr) and not (tmp_path / "run").exists()


def test_best_of_n_keeps_the_best_of_some_seeds(tmp_path):
    found = beholder("steer", "a boat", "--generator", "scenes", *STUB, "--pick", "2", "of", "5", "--out", tmp_path / "run", "--json")
    assert found.exit_code == 0, found.stderr
    said = json.loads(found.stdout)
    judged = sorted((one["reward"] for one in events(tmp_path / "run", "judged")), reverse=True)
    assert len(events(tmp_path / "run", "image")) == 5
    assert said["reward"] == pytest.approx(judged[0], abs=1e-6)
    rows = [json.loads(beholder("score", path, "--scorer", "stub_scorers:Stub", "--json").stdout) for path in said["images"]]
    assert [(row["score"] - 1) / 4 for row in rows] == pytest.approx(judged[: len(rows)], abs=1e-4)


def test_several_raters_are_pleased_on_average(tmp_path):
    photos = make_photos(tmp_path / "photos", "a.png", "b.png")
    table = tmp_path / "ratings.csv"
    table.write_text(f"image,score\n{photos[0]},5\n{photos[1]},1\n")
    beholder("raters", "add", "anna")
    beholder("ratings", "import", table, "--rater", "anna")
    beholder("raters", "add", "ben")
    found = beholder("steer", "a boat", *LOCAL, *STUB, *SMALL, "--rater", "anna", "--rater", "ben", "--age", "60-69", "--out", tmp_path / "run", "--json")
    assert found.exit_code == 0, found.stderr
    for one in events(tmp_path / "run", "judged"):
        assert set(one["parts"]) == {"rater anna", "rater ben", "rater age 60-69"}
        assert one["reward"] == pytest.approx(sum(one["parts"].values()) / 3)


def test_drift_is_taken_off(tmp_path):
    common = ("steer", "a boat", *LOCAL, *STUB, *SMALL, "--drift", "0.5", "--out", tmp_path / "run", "--json")
    assert beholder(*common).exit_code == 0
    judged = {one["reward"]: one["parts"] for one in events(tmp_path / "run", "judged")}
    strayed = [parts["drift"] for parts in judged.values()]
    assert max(strayed) == pytest.approx(0, abs=1e-6) and min(strayed) < -0.01
    for reward, parts in judged.items():
        assert reward == pytest.approx(parts["rater everybody"] + parts["drift"])


@pytest.mark.parametrize(
    "options, words",
    [
        (["--writer", "phrases"], ["--generator is missing", "scenes"]),
        (["--generator", "scenes"], ["--writer is missing", "phrases"]),
        ([*LOCAL, "--pick", "5", "of", "2"], ["--pick", "1 of 16"]),
        ([*LOCAL, "--pick", "1", "of", "2"], ["leave out", "--writer"]),
        (["--generator", "scenes", "--pick", "1", "of", "9", "--budget", "2"], ["leave out", "--budget"]),
        ([*LOCAL, "--faithful", "0.5"], ["--faithful-model"]),
        ([*LOCAL, "--size", "big"], ["size", "512x512"]),
        ([*LOCAL, "--strategy", "luck"], ["luck", "mils"]),
        ([*LOCAL, "--rater", "nobody-i-know"], ["nobody-i-know"]),
        (["--writer", "phrases", "--generator", "http://127.0.0.1:9"], ["#"]),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path, options, words):
    found = beholder("steer", "a boat", *options, *STUB, *SMALL, "--out", tmp_path / "run")
    assert found.exit_code == 2
    message = complaint(found.stderr)
    assert all(word in message for word in words), message
    assert not (tmp_path / "run" / "images").exists()


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    common = ("steer", "a boat", *LOCAL, *STUB, *SMALL, "--age", "20-29", "--out", tmp_path / "run")
    assert beholder(*common).exit_code == 0
    other = beholder(*common, "--seed", "5")
    assert other.exit_code == 2 and "seed" in one_sentence(other.stderr)


def test_a_scorer_that_looks_on_at_itself_is_said(tmp_path):
    common = ("steer", "a boat", *LOCAL, "--scorer", "stub_scorers:Stub", *SMALL, "--age", "20-29")
    same = beholder(*common, "--hold-out", "stub_scorers:Stub", "--out", tmp_path / "same")
    other = beholder(*common, "--hold-out", "population", "--out", tmp_path / "other")
    assert (same.exit_code, other.exit_code) == (0, 0), same.stderr + other.stderr
    assert "looks on at itself" in same.stderr and "looks on at itself" not in other.stderr


def test_more_iterations_go_on_with_a_finished_run(tmp_path):
    with stand_in() as (url, asked):
        command = ("steer", "a boat", "--writer", f"{url}#phrases", "--generator", f"{url}#scenes", *STUB, "--per-iteration", "3", "--json")
        beholder(*command, "--iterations", "1", "--out", tmp_path / "run")
        longer = beholder(*command, "--iterations", "2", "--out", tmp_path / "run")
        calls = sorted(asked)
        del asked[:]
        whole = beholder(*command, "--iterations", "2", "--out", tmp_path / "whole")
        assert sorted(asked) == calls
        fewer = beholder(*command, "--iterations", "1", "--out", tmp_path / "run")
    assert longer.exit_code == 0, longer.stderr
    same, other = json.loads(longer.stdout), json.loads(whole.stdout)
    assert (same["prompt"], same["reward"], same["counts"]) == (other["prompt"], other["reward"], other["counts"])
    assert fewer.exit_code == 2 and "iterations: 2 there, 1 here" in complaint(fewer.stderr)


def test_without_out_the_same_command_finds_its_folder_again(tmp_path):
    command = ("steer", "a boat", *LOCAL, *STUB, *SMALL, "--age", "20-29", "--json")
    first, second = (process(*command, cwd=tmp_path) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert [path.name[:6] for path in (tmp_path / "steered").iterdir()] == ["a-boat"]
