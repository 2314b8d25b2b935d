"""The command line: every verb, its output, its exit codes."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stub_scorers
from beholder import __version__
from beholder.prediction import COLUMNS
from beholder.store import Store
from command_line import HERE, STUB, beholder, make_photos, process

VERBS = ("rank", "score", "ratings", "explain", "suggest", "raters", "train", "bench", "data", "doctor")


@pytest.fixture
def photos(tmp_path):
    make_photos(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def likes(tmp_path):
    path = tmp_path / "likes.csv"
    path.write_text("image,score\na.png,5\nd.png,1\n")
    return path


def rows_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def folder_dataset(root, *, n_raters=8, n_images=12):
    """A dataset whose raters agree on the order of the images but for noise; six groups."""
    rng = np.random.default_rng(0)
    names = [f"{i:02d}.png" for i in range(n_images)]
    make_photos(root / "images", *names)
    liked = rng.normal(3, 1, n_images)
    lines = ["rater,image,score"]
    for rater in range(n_raters):
        for image, name in enumerate(names):
            lines.append(f"r{rater},{name},{np.clip(round(liked[image] + rng.normal(0, 0.5)), 1, 5)}")
    (root / "ratings.csv").write_text("\n".join(lines) + "\n")
    (root / "images.csv").write_text("\n".join(["image,group", *(f"{name},g{i % 6}" for i, name in enumerate(names))]) + "\n")
    return root


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom beholder.cli import main\nsys.argv = ['beholder', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'torch', 'numpy', 'scipy', 'sklearn', 'PIL', 'transformers', 'matplotlib', 'sqlite3', 'huggingface_hub'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    for verb in VERBS:
        assert verb in done.stdout


def test_version_and_help_of_every_verb():
    assert beholder("--version").stdout == f"beholder {__version__}\n"
    assert beholder().exit_code in (0, 2)  # the help, whichever code this typer gives
    for verb in VERBS:
        assert beholder(verb, "--help").exit_code == 0


def test_wrong_usage_is_refused():
    for arguments in (["rank"], ["rank", ".", "--topp", "3"], ["nonsense"], ["rank", ".", "--top", "0"], ["bench", "folder"]):
        result = beholder(*arguments)
        assert result.exit_code == 2 and not result.stdout


def test_rank_prints_rows_in_the_agreed_columns(photos, likes, tmp_path):
    out = tmp_path / "ranking.csv"
    result = beholder("rank", photos, "--ratings", likes, *STUB, "--json", "--out", out)
    rows = rows_of(result)
    assert result.exit_code == 0 and [tuple(row) for row in rows] == [COLUMNS] * 4
    assert rows[0]["image"] == str(photos / "a.png") and rows[-1]["image"] == str(photos / "d.png")
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(1 <= row["low"] <= row["score"] <= row["high"] <= 5 for row in rows)
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [tuple(row) for row in written] == [COLUMNS] * 4
    assert [float(row["score"]) for row in written] == [row["score"] for row in rows]
    # into a pipe: the same as CSV
    piped = beholder("rank", photos, "--ratings", likes, *STUB)
    assert list(csv.DictReader(io.StringIO(piped.stdout))) == written and not piped.stderr


def test_score_keeps_the_order(photos):
    given = [photos / name for name in ("c.png", "a.png", "d.png")]
    assert [row["image"] for row in rows_of(beholder("score", *given, *STUB, "--json"))] == list(map(str, given))


def test_top_keeps_percentiles_and_skipped(photos):
    (photos / "bad.jpg").write_bytes(b"")
    result = beholder("rank", photos, *STUB, "--top", 1, "--json")
    rows = rows_of(result)
    assert result.exit_code == 1 and len(rows) == 2
    assert rows[0]["percentile"] == 87.5 and rows[1]["image"] == str(photos / "bad.jpg") and rows[1]["score"] is None
    assert "1 of 5 files were skipped" in result.stderr and "is empty" in result.stderr


def test_a_terminal_gets_a_table(photos, likes):
    """A real terminal: a pseudo one, of which nothing is known to the program but that it is one."""
    main, end = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(HERE), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-c", "from beholder.cli import main; main()", "rank", str(photos), "--ratings", str(likes), *STUB]
    child = subprocess.Popen(command, stdout=end, stderr=end, env=environment)
    os.close(end)
    seen = b""
    while True:
        try:
            chunk = os.read(main, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(main)
    assert child.wait(timeout=60) == 0
    text = seen.decode()
    assert "4 photographs (2 ratings); stub 1+0, scale 1-5" in text and "90 % interval" in text and "●" in text
    assert "looking at photographs" in text  # the progress bar


def test_profile_and_scale(photos, tmp_path):
    profile = tmp_path / "me.toml"
    profile.write_text("openness = 10\n")
    plain = rows_of(beholder("score", photos, *STUB, "--json"))
    open_minded = rows_of(beholder("score", photos, "--profile", profile, *STUB, "--json"))
    assert all(b["score"] > a["score"] for a, b in zip(plain, open_minded, strict=True))
    hundred = rows_of(beholder("score", photos, "--scale", "0-100/0", *STUB, "--json"))
    assert [row["scale"] for row in hundred] == ["0-100/0"] * 4
    np.testing.assert_allclose([row["score"] for row in hundred], [25 * (row["score"] - 1) for row in plain], atol=0.01)


def test_a_rater_is_kept_and_used(photos, likes, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    assert "Mia (new): 2 ratings added" in beholder("ratings", "import", likes, "--rater", "Mia").stdout
    monkeypatch.chdir(tmp_path)
    assert beholder("raters", "list", "--json").stdout == '{"rater": "Mia", "ratings": 2, "choices": 0, "scale": "1-5"}\n'
    kept = rows_of(beholder("rank", photos, "--rater", " mia ", *STUB, "--json"))
    assert kept == rows_of(beholder("rank", photos, "--ratings", likes, *STUB, "--json"))

    more = tmp_path / "more.csv"  # for this run only
    more.write_text("image,score\nb.png,5\na.png,1\n")
    with_more = rows_of(beholder("rank", photos, "--rater", "mia", "--ratings", more, *STUB, "--json"))
    assert with_more[0]["image"] == str(photos / "b.png")
    assert kept == rows_of(beholder("rank", photos, "--rater", "mia", *STUB, "--json"))

    profile = tmp_path / "p.toml"
    profile.write_text("openness = 9\nshoe = 43\n")
    beholder("raters", "profile", "mia", profile)
    assert json.loads(beholder("raters", "show", "mia", "--json").stdout)["profile"] == {"openness": 9, "shoe": 43}
    assert beholder("raters", "rename", "mia", "Pia").exit_code == 0
    exported = tmp_path / "out.csv"
    assert beholder("ratings", "export", exported, "--rater", "pia").exit_code == 0
    with exported.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rater"], row["image"], row["score"]) for row in rows] == [
        ("Pia", str(photos / "a.png"), "5"),
        ("Pia", str(photos / "d.png"), "1"),
    ]
    beholder("ratings", "import", exported, "--rater", "Copy", "--from", "pia")
    with Store() as store:
        assert list(store.get("copy").ratings) == list(store.get("pia").ratings)
    assert beholder("raters", "delete", "pia").exit_code == 2
    assert beholder("raters", "delete", "pia", "--yes").exit_code == 0
    assert [row["rater"] for row in rows_of(beholder("raters", "list", "--json"))] == ["Copy"]


def test_choices_in_and_out(photos, tmp_path):
    path = tmp_path / "choices.csv"
    path.write_text("left,right,chosen\na.png,b.png,right\na.png,lost.png,left\n")
    result = beholder("ratings", "import", path, "--rater", "Kim", "--root", photos)
    assert "2 choices added" in result.stdout and "1 of 3 images are not found" in result.stderr
    exported = tmp_path / "out.csv"
    beholder("ratings", "export", exported, "--rater", "kim", "--choices")
    assert exported.read_text().splitlines()[1] == f"Kim,{photos / 'b.png'},{photos / 'a.png'},left"
    ranked = beholder("rank", photos, "--rater", "kim", *STUB, "--json")
    assert ranked.exit_code == 1 and "1 of 2 choices are left out" in ranked.stderr
    directly = beholder("rank", photos, "--ratings", path, *STUB, "--json")
    assert rows_of(directly) == rows_of(ranked)


def test_a_file_of_several_raters(photos, tmp_path):
    path = tmp_path / "all.csv"
    path.write_text("rater,image,score\nxi,a.png,5\nxi,b.png,1\nyo,a.png,1\nyo,b.png,5\n")
    first = [rows_of(beholder("rank", photos, "--ratings", path, "--rater", name, *STUB, "--json"))[0]["image"] for name in ("Xi", "Yo")]
    assert [os.path.basename(image) for image in first] == ["a.png", "b.png"]
    refused = beholder("rank", photos, "--ratings", path, *STUB)
    assert refused.exit_code == 2 and "say which one with --rater NAME" in refused.stderr


def test_explain_and_suggest(photos, likes):
    why = json.loads(beholder("explain", photos / "b.png", "--ratings", likes, *STUB, "--json").stdout)
    assert sum(why["parts"].values()) == pytest.approx(why["score"], abs=1e-3)
    assert [one["image"] for one in why["influences"]] == [str(photos / "a.png"), str(photos / "d.png")]
    text = beholder("explain", photos / "b.png", "--ratings", likes, *STUB).stdout
    assert "everybody" in text and "because of what you said of" in text
    suggested = beholder("suggest", photos, "--ratings", likes, "-n", 1, *STUB)
    assert suggested.stdout == f"{photos / 'c.png'}\n"
    assert beholder("explain", photos / "b.png", "--scorer", "stub_scorers:Plain").exit_code == 2


def test_train_and_use(tmp_path):
    root = folder_dataset(tmp_path / "data")
    out = tmp_path / "weights"
    trained = json.loads(beholder("train", "stub_scorers:Stub", "--data", root, "--out", out, "--json").stdout)
    assert (trained["raters"], trained["images"], trained["ratings"]) == (8, 12, 96)
    scored = rows_of(beholder("score", root / "images" / "00.png", *STUB, "--weights", out, "--json"))
    assert scored[0]["version"] == trained["version"] != "1+0"
    assert "nothing to train" in beholder("train", "stub_scorers:Plain", "--data", root, "--out", out).stderr
    assert "did you mean folder" in beholder("train", "taste", "--dataset", "foldr", "--data", root, "--out", out).stderr


def test_bench_writes_everything(tmp_path):
    root, out = folder_dataset(tmp_path / "data"), tmp_path / "out"
    options = ["--root", root, "--scorer", "stub_scorers:Stub,stub_scorers:Plain", "--shots", "0,4", "--folds", "2"]
    result = beholder("bench", "folder", *options, "--out", out, "--predictions", tmp_path / "p.csv", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["shots"] == [0, 4] and summary["folds"] == 2
    assert {"report.json", "report.csv", "report.md", "per_rater.csv", "learning-curves.png"} <= set(os.listdir(out))
    with (tmp_path / "p.csv").open(newline="") as file:
        predicted = list(csv.DictReader(file))
    assert set(predicted[0]) == {"rater", "image", "shots", "score", "low", "high", "scorer"}
    again = beholder("bench", "folder", *options, "--out", out, "--json")
    assert json.loads(again.stdout) == summary
    table = beholder("bench", "folder", *options, "--no-controls", "--fit").stdout
    assert "SROCC" in table and "N = 4" in table and "control" not in table


def test_bench_with_a_split_file(tmp_path):
    root = folder_dataset(tmp_path / "data")
    split = tmp_path / "split.csv"
    roles = ["support"] * 4 + ["query"] * 8
    split.write_text("\n".join(["rater,image,role", *(f"r0,{i:02d}.png,{role}" for i, role in enumerate(roles))]) + "\n")
    options = ["--root", root, "--scorer", "stub_scorers:Stub", "--shots", "0,4", "--split", split, "--predictions", tmp_path / "p.csv"]
    assert beholder("bench", "folder", *options).exit_code == 0
    with (tmp_path / "p.csv").open(newline="") as file:
        predicted = list(csv.DictReader(file))
    assert list(predicted[0]) == ["rater", "image", "shots", "score", "low", "high"] and len(predicted) == 16
    for wrong in (["--shots", "a"], ["--protocol", "new-ratr"], ["--scorer", "tast"]):
        refused = beholder("bench", "folder", "--root", root, *wrong)
        assert refused.exit_code == 2 and refused.stderr.startswith("beholder: ")


def test_data_check(tmp_path):
    root = folder_dataset(tmp_path / "data", n_raters=3)
    assert beholder("data", "check", "folder", "--root", root).exit_code == 0
    (root / "images" / "00.png").unlink()
    result = beholder("data", "check", "folder", "--root", root, "--json")
    assert result.exit_code == 1 and any("00.png" in row["message"] for row in rows_of(result) if row["level"] == "warning")
    (root / "ratings.csv").write_text("rater,image,score\nr,01.png,9\n")
    assert beholder("data", "check", "folder", "--root", root).exit_code == 2


def test_doctor_finds_what_is_missing(monkeypatch, tmp_path):
    from beholder import scorers

    monkeypatch.setattr(scorers, "SCORERS", {"stub": "stub_scorers:Stub"})
    result = beholder("doctor", "--encoder", "efficientnet-lite0", "--json")
    states = {row["what"]: row["state"] for row in rows_of(result)}
    assert states["python"] == states["cache folder"] == states["weights efficientnet-lite0"] == "ok"
    monkeypatch.setattr(scorers, "SCORERS", {"stub": "stub_scorers:Stub", "broken": "stub_scorers:Broken"})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEHOLDER_HOME", str(tmp_path / "file" / "below"))
    result = beholder("doctor", "--json")
    rows = {row["what"]: row for row in rows_of(result)}
    assert result.exit_code == 1
    assert rows["self-test broken"]["state"] == "failed" and "is not a scorer" in rows["self-test broken"]["detail"]
    assert rows["raters folder"]["state"] == "failed" and "BEHOLDER_HOME" in rows["raters folder"]["detail"]


def test_doctor_does_not_fail_for_scorers_that_learn_first(monkeypatch):
    from beholder import scorers
    from beholder.cli.doctor import TRAINED_FIRST

    monkeypatch.setattr(scorers, "SCORERS", {name: scorers.SCORERS[name] for name in TRAINED_FIRST})
    rows = {row["what"]: row for row in rows_of(beholder("doctor", "--encoder", "efficientnet-lite0", "--json"))}
    for name in TRAINED_FIRST:
        assert rows[f"self-test {name}"]["state"] == "optional" and f"beholder train {name}" in rows[f"self-test {name}"]["detail"]


def test_contact_sheet(photos, likes, tmp_path):
    (photos / "<b>&.png").write_bytes(b"")
    page = tmp_path / "sheet.html"
    result = beholder("rank", photos, "--ratings", likes, *STUB, "--contact-sheet", page)
    assert result.exit_code == 1 and f"wrote {page}" in result.stderr
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 4 and "&lt;b&gt;&amp;.png" in text and "<b>&.png" not in text
    assert "http://" not in text and "https://" not in text


def test_interruption_is_said(photos, monkeypatch):
    def interrupted(self, images, rater):
        raise KeyboardInterrupt

    monkeypatch.setattr(stub_scorers.Stub, "predict", interrupted)
    result = beholder("rank", photos, *STUB)
    assert result.exit_code == 130 and "what was finished is kept" in result.stderr and not result.stdout


def test_a_real_interruption(tmp_path):
    """Ctrl-C while the photographs are looked at."""
    make_photos(tmp_path, *(f"{i:03d}.png" for i in range(60)))
    code = (
        "import os, signal, threading\nimport beholder.engine.local as local\nfrom beholder.cli import main\n"
        "def hit(run, done, places, take=local._Run._take):\n"
        "    take(run, done, places)\n"
        "    if run.n_computed == 5:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "local._Run._take = hit\nmain()"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    command = [sys.executable, "-c", code, "rank", str(tmp_path), *STUB]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, preexec_fn=restore)
    assert done.returncode == 130 and done.stderr.startswith("beholder: interrupted") and "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error(photos):
    command = [sys.executable, "-c", "from beholder.cli import main; main()", "score", str(photos), *STUB, "--json"]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    child.stdout.close()  # as head does when it has seen enough
    assert child.stderr.read() == b""
    assert child.wait(timeout=60) in (0, 141)


def test_as_a_process(photos, likes):
    done = process("rank", str(photos), "--ratings", str(likes), *STUB, "--json")
    assert done.returncode == 0 and not done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == rows_of(beholder("rank", photos, "--ratings", likes, *STUB, "--json"))


def test_the_demo(tmp_path):
    pytest.importorskip("skimage")
    demo = Path(__file__).parents[1] / "examples" / "demo.py"
    command = [sys.executable, str(demo), "--out", str(tmp_path / "demo"), "--scorer", "stub_scorers:Stub"]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Mara, with 8 ratings" in done.stdout and "Jonas, with 8 ratings" in done.stdout and "flower.jpg" in done.stdout
    assert (tmp_path / "demo" / "contact-sheet.html").read_text().count("data:image/jpeg") == 30


@pytest.mark.parametrize(("arguments", "meant"), [(("bench", "aesbanch"), "beholder bench aesbench"), (("train", "aesexprt[epochs=2]"), "beholder train aesexpert")])
def test_a_slip_in_what_stands_behind_a_verb(arguments, meant):
    result = beholder(*arguments)
    assert result.exit_code == 2 and f"did you mean {meant}?" in result.stderr
