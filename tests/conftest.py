"""What every test has: its own cache and its own raters, never those of the person who runs the tests."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """Sets BEHOLDER_CACHE and BEHOLDER_HOME; returns the folder they are in."""
    folder = tmp_path_factory.mktemp("beholder")
    monkeypatch.setenv("BEHOLDER_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BEHOLDER_HOME", str(folder / "home"))
    return folder
