"""The example that makes up feedback and a benchmark: what it writes is what the commands read, and its benchmark holds no image of its people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from beholder.critique.aesbench.reading import read
from beholder.critique.aesmmit.checks import ERROR, check
from beholder.critique.aesmmit.descriptions import descriptions
from beholder.critique.aesmmit.feedback import read_feedback

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "made_up_aesthetics.py"


def run(*arguments):
    return subprocess.run([sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_what_it_writes_is_read_and_held_apart(tmp_path):
    assert run(tmp_path, "--images", 16).returncode == 0
    train, bench = tmp_path / "train", tmp_path / "aesbench"
    feedback = read_feedback(train / "feedback.jsonl")
    assert len(feedback) == 36 and {one.grade for one in feedback} == {2, 3, 4, 5}
    found = read(bench)
    assert len(found.questions) == 16 and all(question.answer or question.reference for question in found.questions)
    items = descriptions(feedback)
    kinds = {one.kind for one in check(items, images=train / "images", against=[bench]) if one.severity == ERROR}
    assert not kinds
    assert "test image" in {one.kind for one in check(items, images=train / "images", against=[train / "images"])}


def test_too_few_images_are_refused(tmp_path):
    made = run(tmp_path / "out", "--images", 12)
    assert made.returncode == 2 and "16" in made.stderr and "Traceback" not in made.stderr
    assert not (tmp_path / "out").exists()
