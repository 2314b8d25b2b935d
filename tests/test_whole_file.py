"""Files are replaced whole: what cannot be written leaves the old one, and nothing beside it."""

import os

import pytest

from beholder.whole_file import replace_file, write_whole
from command_line import refused


def test_a_file_is_made_and_replaced_with_its_folder(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert write_whole(path, "one\ud800") == path
    assert path.read_text() == "one\\ud800"
    replace_file(path, b"two")
    assert path.read_bytes() == b"two" and [one.name for one in path.parent.iterdir()] == ["a.txt"]


def test_what_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        replace_file(path, b"new")
    refused(lambda: write_whole(path, "new", advice="make room"), "No space left", "make room")
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["a.txt"]
