"""beholder train aesexpert: what it says, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tuning_worlds
from beholder.backbones.vlm import is_vlm
from command_line import beholder, one_sentence

BRACKETS = "aesexpert[precision=float32,device=cpu,batch=4,accumulate=1,learning_rate=2e-3,gradient_checkpointing=false,save_every=0,epochs=3{}]"


def run(*arguments, more=""):
    return beholder("train", BRACKETS.format(more), *arguments)


@pytest.fixture
def data(tmp_path):
    items = tuning_worlds.world(tmp_path / "data" / "images", 8)
    return tuning_worlds.as_file(tmp_path / "data" / "items.json", items)


def test_a_model_is_tuned_and_then_it_is_finished(data, tmp_path):
    out = tmp_path / "out"
    command = ["--data", data, "--model", "tiny-random", "--out", out]
    made = run(*command)
    assert made.exit_code == 0, made.stderr
    assert "learned from 8 items about 8 images in 6 steps; the loss fell from" in made.stdout
    assert is_vlm(out) and "--model tiny-random" in (out / "README.md").read_text()
    again = run(*command, "--json")
    found = json.loads(again.stdout)
    assert again.exit_code == 0 and found["before"] and found["items"] == 8 and found["trained"]["vision tower"] == 0
    assert "finished already" in run(*command).stdout
    other = run(*command, more=",epochs=2")
    assert other.exit_code == 2 and "epochs = 3, not 2" in one_sentence(other.stderr)


def test_a_bad_image_is_named_and_makes_the_exit_code_1(data, tmp_path):
    (data.parent / "images" / "2.png").write_text("nothing")
    made = run("--data", data, "--model", "tiny-random", "--out", tmp_path / "out", "--json")
    assert made.exit_code == 1 and "2.png" in one_sentence(made.stderr)
    assert json.loads(made.stdout)["items"] == 7


def test_what_is_missing_or_wrong_is_refused_in_one_sentence(data, tmp_path):
    def says(*arguments, more=""):
        made = run(*arguments, more=more)
        assert made.exit_code == 2 and not made.stdout
        return one_sentence(made.stderr)

    whole = ["--data", data, "--model", "tiny-random", "--out", tmp_path / "out"]
    assert "--data is missing" in says(*whole[2:])
    assert "--model is missing" in says(*whole[:2], *whole[4:])
    assert "--out is missing" in says(*whole[:4])
    assert "has no option 'epoch'" in says(*whole, more=",epoch=2") and "did you mean epochs" in says(*whole, more=",epoch=2")
    assert "method = 'tune' is not one of full, lora" in says(*whole, more=",method=tune")
    assert "folder of images" in says(*whole, "--images", tmp_path / "gone")
    assert "gone.json" in says("--data", tmp_path / "gone.json", *whole[2:])
    data.write_text("[]")
    assert "no items to learn from" in says(*whole)


def test_naming_it_imports_nothing_heavy():
    code = "import sys, beholder.cli.train_aesexpert, beholder.critique.tuning; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
