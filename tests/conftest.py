"""What every test has: its own cache and its own raters, never those of the person who runs the tests."""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples in every run: a red run is then the change's own doing. `HYPOTHESIS_PROFILE=explore pytest` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """Sets BEHOLDER_CACHE and BEHOLDER_HOME; returns the folder they are in."""
    folder = tmp_path_factory.mktemp("beholder")
    monkeypatch.setenv("BEHOLDER_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BEHOLDER_HOME", str(folder / "home"))
    return folder
