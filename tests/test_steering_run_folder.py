"""The record of a run: nothing that was put is lost, damage is found and named, one process at a time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from beholder.errors import BeholderError
from beholder.steering.run_folder import RunFolder, RunFolderWarning, differences, short_hash

SETTINGS = {"goal": "a cat", "budget": 100, "penalty": {"drift": 0.5, "unfaithful": 0.0}}


def test_what_was_put_is_there_for_the_next_process_and_for_readers(tmp_path):
    with RunFolder(tmp_path / "run", settings=SETTINGS) as run:
        run.put("image", "a", prompt="first\nline \ud83d", tries=1, reward=math.nan, size=(3, np.float32(0.5)))
        run.put("image", "b", prompt="other", tries=1)
        run.put("image", "a", prompt="first\nline \ud83d", tries=2)
        reader = RunFolder.open(tmp_path / "run")  # while it is written
        assert [event["key"] for event in reader.events("image")] == ["a", "b"]
    with RunFolder(tmp_path / "run", settings=SETTINGS) as again:
        assert again.events() == run.events() == reader.events()
        assert again.get("image", "a")["tries"] == 2 and again.get("image", "a")["prompt"] == "first\nline \ud83d"
        assert again.get("image", "c") is None and again.get("judged", "a") is None
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and lines[0]["reward"] is None and lines[0]["size"] == [3, 0.5] and lines[0]["time"] > 1e9
    with pytest.raises(BeholderError, match="reading only"):
        reader.put("image", "d")


def test_a_last_line_that_was_not_finished_is_cut_off_and_named(tmp_path):
    with RunFolder(tmp_path, settings=SETTINGS) as run:
        run.put("image", "a", tries=1)
        run.put("image", "b", tries=1)
    log = tmp_path / "events.jsonl"
    whole = log.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first + 1, len(whole)):
        log.write_bytes(whole[:end])
        assert [event["key"] for event in RunFolder.open(tmp_path).events()] == ["a"]
        assert len(log.read_bytes()) == end  # readers change nothing
        with pytest.warns(RunFolderWarning, match=r"last line of .*events.jsonl was not finished and is cut off"), RunFolder(tmp_path, settings=SETTINGS) as run:
            assert [event["key"] for event in run.events()] == ["a"]
            run.put("image", "c", tries=1)
        assert [event["key"] for event in RunFolder.open(tmp_path).events()] == ["a", "c"]


def test_a_damaged_line_in_the_middle_is_left_out_and_named(tmp_path):
    with RunFolder(tmp_path, settings=SETTINGS) as run:
        for key in "abc":
            run.put("image", key, tries=1)
    log = tmp_path / "events.jsonl"
    lines = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([lines[0], b"\0" * 30, lines[2], b""]))
    with pytest.warns(RunFolderWarning, match="line 2 cannot be read"), RunFolder(tmp_path, settings=SETTINGS) as run:
        assert [event["key"] for event in run.events()] == ["a", "c"]


def test_a_second_process_is_told_so_in_one_sentence(tmp_path):
    code = f"from beholder.steering.run_folder import RunFolder\nRunFolder({str(tmp_path)!r}, settings={SETTINGS!r})"
    with RunFolder(tmp_path, settings=SETTINGS):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert other.returncode == 1 and "is in use by process " in other.stderr and "name another folder" in other.stderr
        with pytest.raises(BeholderError, match="is in use"):
            RunFolder(tmp_path, settings=SETTINGS)
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_other_settings_are_named_and_the_folder_stays_free(tmp_path):
    RunFolder(tmp_path, settings=SETTINGS).close()
    with pytest.raises(BeholderError, match=r"other settings \(budget: 100 there, 50 here; penalty.drift: 0.5 there, not set here\)"):
        RunFolder(tmp_path, settings=SETTINGS | {"budget": 50, "penalty": {"unfaithful": 0.0}})
    RunFolder(tmp_path, settings=dict(reversed(SETTINGS.items()))).close()
    assert differences({"a": None}, {}) == ["a: null there, not set here"]


def test_folders_that_hold_no_run_are_refused(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(BeholderError, match=r"holds other files \(photo.jpg\) and no run"):
        RunFolder(tmp_path, settings=SETTINGS)
    with pytest.raises(BeholderError, match="holds no run"):
        RunFolder.open(tmp_path)
    with pytest.raises(BeholderError, match="cannot be kept in"):
        RunFolder(tmp_path / "photo.jpg", settings=SETTINGS)
    RunFolder(tmp_path / "run", settings=SETTINGS).close()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(BeholderError, match=r"run.json is damaged"):
        RunFolder(tmp_path / "run", settings=SETTINGS)


def test_images_carry_prompt_and_seed_and_what_a_killed_process_left_is_cleared(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    with RunFolder(tmp_path, settings=SETTINGS) as run:
        file = run.add_image("k", image, prompt="schön \ud800 猫", seed=7)
        run.add_image("alpha", Image.new("RGBA", (4, 4)), prompt="")
    assert file == tmp_path / "images" / "k.png"
    with Image.open(file) as read:
        assert read.mode == "RGB" and np.array_equal(np.asarray(read), np.asarray(image))
        assert read.text["prompt"] == "schön ? 猫" and read.text["seed"] == "7"
    (tmp_path / "images" / ".x.png.part").write_bytes(b"half")
    RunFolder(tmp_path, settings=SETTINGS).close()
    assert sorted(entry.name for entry in (tmp_path / "images").iterdir()) == ["alpha.png", "k.png"]


def test_a_full_disk_is_one_sentence_and_spoils_no_line(tmp_path, monkeypatch):
    import beholder.steering.run_folder as module

    with RunFolder(tmp_path, settings=SETTINGS) as run:
        run.put("image", "a")
        true = module._write_all

        def full(file, data):
            file.write(data[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "_write_all", full)
        with pytest.raises(BeholderError, match=r"cannot be written \(No space left on device\).*give the same command again"):
            run.put("image", "b")
        assert run.get("image", "b") is None
        monkeypatch.setattr(module, "_write_all", true)
        run.put("image", "c")
    with warnings.catch_warnings(), RunFolder(tmp_path, settings=SETTINGS) as run:
        warnings.simplefilter("error")
        assert [event["key"] for event in run.events()] == ["a", "c"]


def test_hashes_keep_their_parts_apart():
    assert short_hash("a", "bc") != short_hash("ab", "c") and short_hash("\ud800") and short_hash("a", 1) == short_hash("a", "1")
