"""beholder bench aesbench, from the command line: models and a judge behind a real server, answers made elsewhere, everything that is refused."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys

import pytest

import aesbench_layout as layout
import tiny_vlms
from beholder.cli.bench_aesbench import _labels
from beholder.critique.aesbench.reading import read
from beholder.critique.aesbench.submission import write_submission
from chat_server import serving
from command_line import beholder, one_sentence, process

N = 12
OPTION = re.compile(r"^([A-D])\) ?(.*)$", re.MULTILINE)
FEELINGS = {"dark": "gloomy", "middle": "calm", "bright": "cheerful"}
GRADES = {"dark": "low", "middle": "medium", "bright": "high"}

def run(*arguments):
    return beholder("bench", "aesbench", *arguments)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def root(tmp_path):
    return layout.write_official(tmp_path / "data", N)


def looks(request, number):
    """A model "good" that answers from pixels, and one "bad" that always says B; a judge that grades by words in common with the experts."""
    text, model = request["text"], request["body"]["model"]
    if '"relevance"' in text:
        reference, answer = re.findall(r"<<<\n(.*?)\n>>>", text, re.DOTALL)
        common = len(set(reference.split()) & set(answer.split())) / len(set(reference.split()))
        jitter = random.Random(f"{answer}{request['body'].get('seed')}").choice([0, 0, 0, 1])
        return json.dumps({"relevance": 2 if common > 0.3 else 0, "precision": round(2 * common), "completeness": min(2, round(common) + jitter)})
    if model == "bad":
        return "B" if OPTION.search(text) else "Nice."
    colour, brightness = layout.seen(request["image"])
    options = dict(OPTION.findall(text))
    if not options:
        return f"The image is plain {colour} and {brightness}, which gives it a calm look."
    wanted = GRADES[brightness] if "High" in options.values() else FEELINGS[brightness] if "feel" in text.split("\n")[0] else colour
    if set(options.values()) == {"Yes", "No"}:
        wanted = "yes" if colour == "red" else "no"
    return next((f"{letter}) {said}" for letter, said in options.items() if wanted in said.lower()), "I cannot tell.")


def by_hand(root, folder, **wrong):
    """Official answer files with the right answers; `wrong`: part -> how many answers are D."""
    benchmark = read(root, needs_images=False)
    given = layout.right_answers(N)
    for part, n in wrong.items():
        given[part] |= dict.fromkeys(list(given[part])[:n], "A, B, C and D")
    write_submission(given, folder, benchmark=benchmark)
    return folder


def test_two_models_and_a_judge_behind_a_server(root, tmp_path):
    with serving(looks) as server:
        done = run("--root", root, "--model", f"{server.name('good')},{server.name('bad')}", "--base", server.name("bad"), "--judge", server.name("judge"), "--out", tmp_path / "out")
        assert done.exit_code == 0, done.stderr
        asked = len(server.requests)
        assert asked == 2 * 4 * N + 2 * 5 * N  # every question of both models; every explanation five times by the judge
        found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
        good, bad = found["models"]
        assert good["estimates"]["AesP"]["value"] == 100 and bad["estimates"]["AesP"]["value"] < 60
        assert good["judge"]["repeats"] == 5 and good["judge"]["shown"] and good["estimates"]["AesI"]["value"] > 1.4 > bad["estimates"]["AesI"]["value"]
        assert good["gains"]["overall"]["value"] > 30 and good["gains"]["overall"]["low"] > 0
        pages = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
        assert "improvement over" in pages and "AesExpert (LLaVA-1.5-13B)" in pages and "paper: GPT judge, 2,800 images" in pages
        assert "data:image/jpeg" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert "Overall" in done.stdout and "not comparable" in pages and "not comparable" in done.stderr
        assert (good["name"], bad["name"], found["protocol"]["models"]["good"]) == ("good", "bad", server.name("good"))
        again = run("--root", root, "--model", f"{server.name('good')},{server.name('bad')}", "--base", server.name("bad"), "--judge", server.name("judge"), "--out", tmp_path / "out")
        assert again.exit_code == 0 and len(server.requests) == asked  # nothing is asked twice
    folders = sorted(path.name for path in (tmp_path / "out" / "submission").iterdir())
    assert len(folders) == 2 and json.loads((tmp_path / "out" / "submission" / folders[0] / "test_AesA1.json").read_text(encoding="utf-8"))


def test_answers_made_elsewhere_need_no_model_no_images_and_no_torch(root, tmp_path):
    ours = by_hand(root, tmp_path / "ours", AesP=3)
    theirs = by_hand(root, tmp_path / "theirs", AesP=6, AesA=6)
    done = run("--root", root, "--answers", ours, "--answers", f"before={theirs}", "--base", "before", "--json")
    assert done.exit_code == 0, done.stderr
    one, two = json.loads(done.stdout)["models"]
    assert (one["name"], two["name"]) == ("ours", "before")
    assert one["estimates"]["AesP"]["value"] == 75 and two["estimates"]["AesA"]["value"] == 50
    assert one["parts"]["AesP"]["groups"]["AesP"]["unparsable"] == 3
    assert one["gains"]["AesP"]["value"] == 25 and one["gains"]["AesA"]["value"] == 50 and "overall" not in one["estimates"]
    assert not (tmp_path / "aesbench-results").exists()
    code = (
        "import sys; from beholder.cli.bench_aesbench import bench_aesbench; from pathlib import Path; "
        f"bench_aesbench(root=Path({str(root)!r}), answers=[{str(ours)!r}]); assert not {{'torch', 'transformers', 'httpx'}} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_a_judge_for_answers_made_elsewhere(root, tmp_path):
    ours = by_hand(root, tmp_path / "ours")
    with serving(looks) as server:
        done = run("--root", root, "--answers", ours, "--judge", server.name("judge"), "--no-judge-images", "--repeats", 2, "--out", tmp_path / "out")
        assert done.exit_code == 0, done.stderr
        assert all(request["image"] is None for request in server.requests)
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["models"][0]
    assert found["estimates"]["overall"]["value"] > 110 and found["judge"]["repeats"] == 2 and not found["judge"]["shown"]
    assert "not shown the images" in done.stderr


def test_a_judge_that_only_talks_is_counted(root, tmp_path):
    with serving(lambda request, _: "What a lovely answer.") as server:
        done = run("--root", root, "--answers", by_hand(root, tmp_path / "ours"), "--judge", server.name("judge"), "--repeats", 1, "--json")
        assert len(server.requests) == 2 * N  # each once more
    found = json.loads(done.stdout)["models"][0]
    assert done.exit_code == 1 and f"{N} of {N} answers of ours were left unjudged" in done.stderr
    assert found["judge"]["n_judged"] == 0 and found["judge"]["why"] == {"no scores": N}
    assert found["missing"] == {"AesI": "nothing could be judged"}


def test_a_part_of_the_questions(root, tmp_path):
    done = run("--root", root, "--answers", by_hand(root, tmp_path / "ours", AesE=2), "--parts", "aese,AesA1", "--limit", 4, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert found["models"][0]["estimates"]["AesE"] | {"low": 0, "high": 0} == {"value": 50, "low": 0, "high": 0, "n": 4}
    assert found["benchmark"]["images"] == 4 and found["benchmark"]["images_of_the_whole"] == N
    assert "here: n = 4 (a part)" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert "first 4 of 12 images" in done.stdout


def test_hidden_answers_give_files_for_submission_only(tmp_path):
    root = layout.write_official(tmp_path / "hidden", 3, answers="none")
    with serving(looks) as server:
        done = run("--root", root, "--model", server.name("good"), "--out", tmp_path / "out")
        assert done.exit_code == 0 and "only the files for submission were written" in done.stderr
    assert len(list((tmp_path / "out" / "submission").glob("*/test_Aes*.json"))) == 4 and not (tmp_path / "out" / "results.json").exists()
    folder = next((tmp_path / "out" / "submission").iterdir())
    done = run("--root", root, "--answers", folder)
    assert done.exit_code == 2 and "not published" in one_sentence(done.stderr)


def test_answers_beside_the_questions_are_found(tmp_path):
    root = layout.write_official(tmp_path / "beside", N, answers="json")
    done = run("--root", root, "--answers", by_hand(root, tmp_path / "ours"), "--json")
    assert json.loads(done.stdout)["models"][0]["estimates"]["AesP"]["value"] == 100


def test_a_table_of_vlmevalkit_without_interpretation(tmp_path):
    file = layout.write_tsv(tmp_path / "table", 6)
    with serving(looks) as server:
        done = run("--root", file, "--model", server.name("good"), "--out", tmp_path / "out", "--json")
        assert done.exit_code == 0, done.stderr
        assert len(server.requests) == 18
        refused = run("--root", file, "--model", server.name("good"), "--judge", server.name("judge"))
        assert refused.exit_code == 2 and "AesI" in one_sentence(refused.stderr)
    found = json.loads(done.stdout)
    assert found["models"][0]["estimates"]["AesA"]["value"] == 100 and found["models"][0]["missing"] == {"AesI": "not among the questions"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--model", "--answers"]),
        (["--answers", "ours", "--base", "other"], ["other", "not among"]),
        (["--answers", "ours", "--base", "ours"], ["only model"]),
        (["--answers", "ours", "--answers", "more/ours"], ["same name", "NAME=DIR"]),
        (["--answers", "ours", "--parts", "AesX"], ["AesX", "AesP"]),
        (["--answers", "ours", "--judge-images"], ["--judge"]),
        (["--answers", "nowhere"], ["nowhere", "test_AesP.json"]),
        (["--answers", "broken"], ["test_AesP.json", "JSON"]),
        (["--answers", "ours", "--prompts", "mine"], ["mine", "official"]),
        (["--model", "http://127.0.0.1:9/v1"], ["#"]),
        (["--model", "http://127.0.0.1:9/v1#a,http://127.0.0.1:9/v1#a"], ["twice"]),
    ],
)
def test_what_cannot_be_done_is_one_sentence(root, tmp_path, arguments, words):
    by_hand(root, tmp_path / "ours")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "test_AesP.json").write_text('{"a.jpg": ', encoding="utf-8")
    done = run("--root", root, *arguments)
    message = one_sentence(done.stderr)
    assert done.exit_code == 2 and all(word in message for word in words), message


def test_models_are_named_as_shortly_as_can_be():
    named = _labels(["http://h/v1#a", "http://h/v1#b", "http://i/v1#b", "models/llava", "org/llava-7b"])
    assert list(named) == ["a", "http://h/v1#b", "http://i/v1#b", "llava", "llava-7b"] and named["a"] == "http://h/v1#a"


def test_a_model_that_judges_itself_is_said(root, tmp_path):
    with serving(looks) as server:
        done = run("--root", root, "--model", server.name("good"), "--judge", server.name("good"), "--limit", 2, "--repeats", 1, "--out", tmp_path / "out")
        assert done.exit_code == 0 and "judges its own answers" in done.stderr


def test_answers_that_are_missing_are_named_and_count_as_wrong(root, tmp_path):
    ours = by_hand(root, tmp_path / "ours")
    given = json.loads((ours / "test_AesP.json").read_text(encoding="utf-8"))
    given.pop(next(iter(given)))
    (ours / "test_AesP.json").write_text(json.dumps(given), encoding="utf-8")
    done = run("--root", root, "--answers", ours, "--json")
    found = json.loads(done.stdout)["models"][0]
    assert done.exit_code == 1 and found["parts"]["AesP"]["groups"]["AesP"]["unanswered"] == 1
    assert found["estimates"]["AesP"]["value"] == pytest.approx(100 * (N - 1) / N, abs=1e-3)


def test_a_random_llava_is_asked_and_scored(root, tmp_path):
    folder = tiny_vlms.save_llava(tmp_path / "tiny-llava")
    with serving(looks) as server:
        done = run("--root", root, "--model", folder, "--limit", 2, "--max-tokens", 8, "--judge", server.name("judge"), "--repeats", 2, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["models"][0]
    assert found["parts"]["AesA"]["groups"]["AesA"]["n"] == 2 and found["parts"]["AesP"]["groups"]["AesP"]["unanswered"] == 0
    assert found["estimates"]["overall"]["value"] <= 125 and found["judge"]["n_judged"] == 2


def test_it_is_reached_as_bench_aesbench():
    done = process("bench", "aesbench", "--help")
    assert done.returncode == 0 and "--judge" in done.stdout and "--answers" in done.stdout


def test_a_part_is_never_written_as_files_to_send_in(root, tmp_path):
    hidden = layout.write_official(tmp_path / "hidden", 3, answers="none")
    with serving(looks) as server:
        done = run("--root", root, "--model", server.name("good"), "--limit", 2, "--out", tmp_path / "out")
        none = run("--root", hidden, "--model", server.name("good"), "--limit", 2, "--out", tmp_path / "none")
    assert (tmp_path / "out" / "results.json").exists() and not (tmp_path / "out" / "submission").exists()
    assert done.exit_code == none.exit_code == 0
    assert "the answers are kept in" in none.stderr and not (tmp_path / "none" / "submission").exists()


def test_the_report_is_there_even_if_nobody_reads_the_table(root, tmp_path, monkeypatch):
    from beholder.cli import bench_aesbench

    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr(bench_aesbench, "_show", closed)
    run("--root", root, "--answers", by_hand(root, tmp_path / "ours"), "--out", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()
