"""Indexing: same features in any order, batch and process; unreadable files named; equal files encoded once."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beholder.backbones.weights import EMBEDDED
from beholder.engine import local
from beholder.engine.local import index
from beholder.engine.source import Features
from beholder.errors import BeholderError, UnreadableImage
from beholder.features import FeatureStore, FeatureStoreWarning
from slow_encoder import NeverEncoder, SlowEncoder, expected, make_photos

HERE = Path(__file__).parent


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("concurrent", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_features_are_those_of_the_encoder(photos, store, batch_size, concurrent, workers):
    encoder = SlowEncoder(batch_size=batch_size, concurrent=concurrent)
    found = index(photos, encoder=encoder, store=store, workers=workers)
    assert found.images == photos
    assert found.n_computed == encoder.n_encoded == len(photos)
    assert np.array_equal(found.features, expected(photos))
    assert max(encoder.batches) <= batch_size
    assert len(encoder.batches) <= -(-len(photos) // batch_size) + workers


def test_cached_shuffled_and_resumed_are_the_same(photos, store):
    index(photos[10:20], encoder=SlowEncoder(), store=store)
    shuffled = [photos[i] for i in np.random.default_rng(0).permutation(len(photos))]
    encoder = SlowEncoder(batch_size=4)
    resumed = index(shuffled, encoder=encoder, store=store)
    assert encoder.n_encoded == 30
    assert np.array_equal(resumed.features, expected(shuffled))
    assert np.array_equal(index(photos, encoder=NeverEncoder(), store=store).features, expected(photos))


def test_layers_in_the_order_asked_for(photos, store):
    whole = expected(photos)
    found = index(photos, encoder=SlowEncoder(), store=store, layers=["b", "a"])
    assert np.array_equal(found.features, np.concatenate([whole[:, 6:], whole[:, :6]], axis=1))
    assert np.array_equal(index(photos, encoder=NeverEncoder(), store=store, layers=["b"]).features, whole[:, 6:])
    with pytest.raises(BeholderError, match="no layer 'c' here: choose from a, b"):
        index(photos, encoder=SlowEncoder(), store=store, layers=["c"])


def test_nothing_given(store):
    found = index([], encoder=NeverEncoder(), store=store)
    assert found.images == [] and found.features.shape == (0, 9)


def test_unreadable_files_are_named_and_the_rest_goes_on(photos, store, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(photos[0]).read_bytes()[:40])
    same = tmp_path / "same.jpg"
    shutil.copy(bad, same)
    given = [*photos[:3], str(bad), "/gone.jpg", str(same), *photos[3:], "/gone.jpg", str(tmp_path)]
    for _ in range(2):
        found = index(given, encoder=SlowEncoder(), store=store)
        assert found.images == photos
        assert np.array_equal(found.features, expected(photos))
        assert [skipped.path for skipped in found.skipped] == [str(bad), "/gone.jpg", str(same), "/gone.jpg", str(tmp_path)]
        assert all(skipped.reason for skipped in found.skipped)
        assert not found.duplicates


def test_equal_content_is_encoded_once(photos, store, tmp_path):
    copies = [str(shutil.copy(photos[i], tmp_path / f"copy{i}.png")) for i in (0, 1)]
    given = [copies[0], *photos, *copies, photos[0]]
    encoder = SlowEncoder()
    found = index(given, encoder=encoder, store=store)
    assert encoder.n_encoded == len(photos)
    assert np.array_equal(found.features, expected(given))
    assert found.duplicates == {copies[0]: (photos[0],), photos[0]: (copies[0],), copies[1]: (photos[1],), photos[1]: (copies[1],)}
    assert index(given, encoder=NeverEncoder(), store=store).duplicates == found.duplicates


def test_renamed_files_are_recognised(photos, store, tmp_path):
    index(photos, encoder=SlowEncoder(), store=store)
    moved = [shutil.move(path, tmp_path / f"moved{i}.png") for i, path in enumerate(photos)]
    assert np.array_equal(index(moved, encoder=NeverEncoder(), store=store).features, expected(moved))


def test_replaced_file_is_computed_again(photos, store):
    index(photos, encoder=SlowEncoder(), store=store)
    Image.new("RGB", (12, 10), "red").save(photos[5])
    encoder = SlowEncoder()
    assert np.array_equal(index(photos, encoder=encoder, store=store).features, expected(photos))
    assert encoder.n_encoded == 1


def test_known_file_state_never_stands_for_the_content(photos, store):
    """Same size, time and inode, other pixels, another encoder: the features must be those of the pixels."""
    index(photos[:1], encoder=SlowEncoder(), store=store)
    state = os.stat(photos[0])
    data = bytearray(Path(photos[1]).read_bytes())
    data = data[: state.st_size].ljust(state.st_size, b"\0")
    with open(photos[0], "r+b") as file:
        file.write(data)
    os.utime(photos[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    other = SlowEncoder()
    other.revision = "f" * 12
    found = index(photos[:2], encoder=other, store=store)
    assert np.array_equal(found.features, expected(photos[:2]))
    assert np.array_equal(index([photos[1]], encoder=other, store=store).features, expected([photos[1]]))


def test_file_that_changes_while_it_is_read(photos, store, monkeypatch):
    from beholder.engine import pipeline

    read, calls = pipeline.read_photo, []

    def read_and_change(path, **options):
        if path == photos[0] and not calls:
            calls.append(1)
            shutil.copy(photos[1], path)
        return read(path, **options)

    monkeypatch.setattr(pipeline, "read_photo", read_and_change)
    found = index(photos[:1], encoder=SlowEncoder(), store=store)
    assert np.array_equal(found.features, expected([photos[1]]))
    assert np.array_equal(index([photos[1]], encoder=NeverEncoder(), store=store).features, expected([photos[1]]))


def test_progress_ends_with_all(photos, store):
    for _ in range(2):
        calls = []
        index([*photos, "/gone.png"], encoder=SlowEncoder(), store=store, progress=lambda *call, calls=calls: calls.append(call))
        assert calls[-1] == (41, 41)
        assert calls == sorted(calls)
        assert all(total == 41 for _, total in calls)


def test_error_in_the_encoder_comes_through_and_loses_nothing(photos, store):
    before = set(threading.enumerate())  # of other tests, whose servers may not have answered yet

    class Failing(SlowEncoder):
        def encode(self, inputs):
            if self.n_encoded >= 15:
                raise MemoryError("no room")
            return super().encode(inputs)

    with pytest.raises(MemoryError, match="no room"):
        index(photos, encoder=Failing(), store=store, workers=2)
    encoder = SlowEncoder()
    assert np.array_equal(index(photos, encoder=encoder, store=store).features, expected(photos))
    assert encoder.n_encoded == 25
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("beholder-")]


def test_ctrl_c_keeps_what_is_finished(photos, tmp_path):
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with Ctrl-C ignored
import sys
sys.path.insert(0, {str(HERE)!r})
from beholder.engine import local
from beholder.engine.local import index
from beholder.features import FeatureStore, FeatureStoreWarning
from beholder.folders import find_photos
from slow_encoder import SlowEncoder
def progress(done, total):
    print(done, flush=True)
store = FeatureStore({str(tmp_path / "store")!r})
found = find_photos([{str(Path(photos[0]).parent)!r}])
index(found.photos, encoder=SlowEncoder(seconds=0.05), store=store, progress=progress, workers=2)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 10:
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    encoder = SlowEncoder()
    found = index(photos, encoder=encoder, store=FeatureStore(tmp_path / "store"))
    assert encoder.n_encoded <= 30
    assert np.array_equal(found.features, expected(photos))


def test_without_a_matrix_everything_is_in_the_store(photos, store, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "CHUNK_BYTES", 3 * 9 * 4)
    loads = []
    load = store.load

    def counted(space, contents, **more):
        loads.append(len(contents))
        return load(space, contents, **more)

    monkeypatch.setattr(store, "load", counted)
    again, broken = tmp_path / "again.png", tmp_path / "broken.png"
    shutil.copy(photos[3], again)
    broken.write_bytes(b"nothing")
    paths = [*photos, str(again), photos[0], str(broken)]
    encoder, steps = SlowEncoder(batch_size=4), []
    found = index(paths, encoder=encoder, store=store, collect=False, progress=lambda *step: steps.append(step))
    assert found.features.shape == (0, 9) and encoder.n_encoded == found.n_computed == len(photos)
    assert max(loads) <= 3 and steps[-1] == (43, 43)
    whole = index(paths, encoder=NeverEncoder(), store=store)
    assert (found.images, found.duplicates, found.skipped) == (whole.images, whole.duplicates, whole.skipped)
    assert np.array_equal(whole.features, expected(whole.images))
    loads.clear()
    again = index(paths, encoder=NeverEncoder(), store=store, collect=False)
    assert (again.images, again.n_computed) == (found.images, 0) and max(loads) <= 3 and sum(loads) >= len(photos)


def test_without_a_matrix_what_the_store_lost_is_computed(photos, store):
    index(photos, encoder=SlowEncoder(), store=store, collect=False)
    store.close()
    for shard in (store.folder / "shards").iterdir():
        shard.write_bytes(shard.read_bytes()[:100])
    encoder = SlowEncoder()
    with pytest.warns(FeatureStoreWarning, match="damaged"):
        assert index(photos, encoder=encoder, store=FeatureStore(store.folder), collect=False).images == photos
    assert encoder.n_encoded == len(photos)


# ---- features for scorers -------------------------------------------------------------------------------------------


def test_feature_source(photos, store):
    source = Features(SlowEncoder(), layers=["b", "a"], store=store)
    assert source.dim == 9
    assert source.key == "slow@0123456789ab/8x8/b+a"
    assert source.layers == {"b": slice(0, 3), "a": slice(3, 9)}
    whole = expected(photos)[:, [6, 7, 8, 0, 1, 2, 3, 4, 5]]
    assert np.array_equal(source(photos[:5]), whole[:5])
    assert np.array_equal(source(photos[3:8]), whole[3:8])
    assert np.array_equal(source([photos[7], photos[0], photos[7]]), whole[[7, 0, 7]])
    assert source([]).shape == (0, 9)
    assert source.encoder.n_encoded == 8
    assert not source(photos[:2]).flags.writeable
    with pytest.raises(UnreadableImage, match="gone"):
        source([photos[0], "/gone.png"])


def test_feature_source_notices_another_file_of_the_same_name(photos, store):
    source = Features(SlowEncoder(), store=store)
    source(photos)
    shutil.copy(photos[1], photos[0])
    assert np.array_equal(source(photos), expected(photos))


def test_feature_source_in_little_memory(photos, store):
    source = Features(SlowEncoder(), store=store, memory=5 * 9 * 4)
    for _ in range(2):
        assert np.array_equal(source(photos), expected(photos))
    assert source.encoder.n_encoded == len(photos)


# ---- without torch --------------------------------------------------------------------------------------------------


def test_warm_run_imports_no_torch(tmp_path):
    pytest.importorskip("torch")
    if EMBEDDED["efficientnet-lite0"].path is None:
        pytest.skip("the weights are not installed")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (40, 30), (i * 80, 10, 20)).save(folder / f"{i}.jpg")
    script = f"""
import sys
from beholder.backbones import load_encoder
from beholder.engine import local
from beholder.engine.local import index
from beholder.features import FeatureStore, FeatureStoreWarning
from beholder.folders import find_photos
encoder = load_encoder("efficientnet-lite0", size=64, layers=["pool", "block14"])
with FeatureStore({str(tmp_path / "store")!r}) as store:
    found = index(find_photos([{str(folder)!r}]).photos, encoder=encoder, store=store)
print(found.n_computed, found.features.shape, any(name.split(".")[0] in ("torch", "transformers") for name in sys.modules))
"""
    said = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120) for _ in range(2)]
    assert [one.stdout.strip() for one in said] == ["3 (3, 1472) True", "0 (3, 1472) False"], said[0].stderr + said[1].stderr
