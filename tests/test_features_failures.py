"""The feature store when disks, files and processes fail: nothing lost, nothing wrong, nothing finished computed twice."""

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from beholder import features
from beholder.engine.local import index
from beholder.features import FeatureStore, FeatureStoreWarning
from beholder.photos import content_hash, read_photo
from beholder.shards import Shard
from slow_encoder import SPACE, NeverEncoder, SlowEncoder, expected, fill, fingerprint, make_photos, some

HERE = Path(__file__).parent


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


def names(paths):
    encoder = SlowEncoder()
    return {str(fingerprint(encoder.preprocess(read_photo(path, min_side=8)))): path for path in paths}


# ---- damage ---------------------------------------------------------------------------------------------------------


def damage_bits(path):
    with open(path, "r+b") as file:
        file.seek(-200, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))


def damage_header(path):
    with open(path, "r+b") as file:
        file.write(b"\xff" * 20)


DAMAGES = {
    "flipped bit": damage_bits,
    "header": damage_header,
    "cut off": lambda path: os.truncate(path, os.path.getsize(path) - 30),
    "cut to a stump": lambda path: os.truncate(path, 5),
    "empty": lambda path: os.truncate(path, 0),
    "gone": os.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("reopen", [True, False])
def test_damaged_shard_is_named_and_computed_again(tmp_path, photos, damage, reopen, monkeypatch):
    monkeypatch.setattr(features, "FLUSH_IMAGES", 10)
    store = FeatureStore(tmp_path / "store")
    index(photos, encoder=SlowEncoder(), store=store)
    shards = sorted((tmp_path / "store" / "shards").iterdir())
    assert len(shards) == 4
    damage(shards[1])
    if reopen:
        store.close()
        store = FeatureStore(tmp_path / "store")
    encoder = SlowEncoder()
    with pytest.warns(FeatureStoreWarning, match=shards[1].name):
        again = index(photos, encoder=encoder, store=store)
    assert encoder.n_encoded == 10
    assert np.array_equal(again.features, expected(photos))
    store.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = SlowEncoder()
        once_more = index(photos, encoder=encoder, store=FeatureStore(tmp_path / "store"))
    assert encoder.n_encoded == 0
    assert np.array_equal(once_more.features, expected(photos))


def test_swapped_shards_are_noticed(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(features, "FLUSH_IMAGES", 20)
    with FeatureStore(tmp_path / "store") as store:
        index(photos, encoder=SlowEncoder(), store=store)
    one, two = sorted((tmp_path / "store" / "shards").iterdir())
    one.rename(tmp_path / "kept")
    two.rename(one)
    (tmp_path / "kept").rename(two)
    with pytest.warns(FeatureStoreWarning):
        again = index(photos, encoder=SlowEncoder(), store=FeatureStore(tmp_path / "store"))
    assert np.array_equal(again.features, expected(photos))


@pytest.mark.parametrize("damage", ["gone", "overwritten", "garbage in the middle"])
def test_index_is_rebuilt_from_the_shards(tmp_path, damage):
    contents, layers = some(400)
    with FeatureStore(tmp_path) as store:
        fill(store, contents, layers)
    file = tmp_path / "index.sqlite"
    if damage == "gone":
        file.unlink()
    elif damage == "overwritten":
        file.write_bytes(b"no database at all" * 100)
    else:
        data = bytearray(file.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        file.write_bytes(data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        store = FeatureStore(tmp_path)
        rows, found = store.load(SPACE, contents, layers={"a": 6})
    assert [w.category for w in said] == ([] if damage == "gone" else [FeatureStoreWarning])
    assert found.all()
    assert np.array_equal(rows, layers["a"])


# ---- processes that die, processes that run at once -----------------------------------------------------------------


def start(photos, store, log, *more):
    command = [sys.executable, str(HERE / "slow_encoder.py"), str(Path(photos[0]).parent), str(store), str(log), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def on_disk(store):
    """Content hashes in complete shards, indexed or not."""
    found = set()
    for path in (store / "shards").glob("*.safetensors"):
        with Shard(path) as shard:
            found.update(shard.contents)
    return found


def encoded(log, photos):
    """Content hashes of what a process encoded, as often as it did."""
    paths = names(photos)
    return [content_hash(paths[line]) for line in log.read_text().split()] if log.exists() else []


def test_kill_at_any_moment_then_go_on(tmp_path, photos):
    store, rng, finished = tmp_path / "store", np.random.default_rng(3), set()
    for run in range(4):
        log = tmp_path / f"log{run}"
        process = start(photos, store, log)
        deadline = time.monotonic() + 60
        while not log.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)  # until it has begun to encode
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        again = finished & set(encoded(log, photos))
        assert not again, "a finished image was computed twice"
        finished = on_disk(store)
    log = tmp_path / "log-last"
    process = start(photos, store, log)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert set(encoded(log, photos)) == {content_hash(path) for path in photos} - finished
    assert np.array_equal(index(photos, encoder=NeverEncoder(), store=FeatureStore(store)).features, expected(photos))


@pytest.mark.parametrize("when", ["die-before-rename", "die-before-index", "die-after-index"])
def test_kill_at_the_worst_moment(tmp_path, photos, when):
    store = tmp_path / "store"
    process = start(photos, store, tmp_path / "log1", when)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    finished = on_disk(store)
    assert len(finished) == (4 if when == "die-before-rename" else 8)
    process = start(photos, store, tmp_path / "log2")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert sorted(encoded(tmp_path / "log2", photos)) == sorted({content_hash(path) for path in photos} - finished)
    assert np.array_equal(index(photos, encoder=NeverEncoder(), store=FeatureStore(store)).features, expected(photos))


def test_two_processes_at_once(tmp_path, photos):
    store = tmp_path / "store"
    processes = [start(photos, store, tmp_path / f"log{i}") for i in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "Warning" not in said
    with FeatureStore(store) as opened:
        found = index(photos, encoder=NeverEncoder(), store=opened)
        assert np.array_equal(found.features, expected(photos))
        assert opened.info()["images"] == 40
        opened.prune()
        assert np.array_equal(index(photos, encoder=NeverEncoder(), store=opened).features, expected(photos))


# ---- places where nothing can be written ----------------------------------------------------------------------------


def check_goes_on_in_memory(photos, store, *, said):
    found = index(photos, encoder=SlowEncoder(), store=store)
    assert np.array_equal(found.features, expected(photos))
    assert np.array_equal(index(photos, encoder=NeverEncoder(), store=store).features, expected(photos))
    assert not store.writable
    assert len(said) == 1, [str(w.message) for w in said]
    assert "in memory" in str(said[0].message)


def test_folder_is_a_file(tmp_path, photos):
    (tmp_path / "store").write_text("not a folder")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_goes_on_in_memory(photos, FeatureStore(tmp_path / "store"), said=said)


def test_disk_becomes_full(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(features, "FLUSH_IMAGES", 8)
    write, calls = features.write_shard, []

    def full(*args):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*args)

    monkeypatch.setattr(features, "write_shard", full)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_goes_on_in_memory(photos, FeatureStore(tmp_path / "store"), said=said)
    assert len(on_disk(tmp_path / "store")) == 16


def test_disk_refuses_in_the_middle_of_a_file(tmp_path, photos):
    """A real failure: the system lets no file grow beyond 64 KB, which the index soon does."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(HERE)!r})
import numpy as np
from beholder.engine.local import index
from beholder.features import FeatureStore
from beholder.folders import find_photos
from slow_encoder import SlowEncoder
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
found = index(find_photos([{str(Path(photos[0]).parent)!r}]).photos, encoder=SlowEncoder(), store=FeatureStore({str(tmp_path / "store")!r}))
sys.stdout.buffer.write(found.features.tobytes())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.decode().count("FeatureStoreWarning") == 1
    assert np.array_equal(np.frombuffer(done.stdout, dtype=np.float32).reshape(40, -1), expected(photos))
    assert not list((tmp_path / "store").glob("shards/.*"))


def test_read_only_store_is_still_read(tmp_path, photos, monkeypatch):
    with FeatureStore(tmp_path / "store") as store:
        index(photos[:30], encoder=SlowEncoder(), store=store)
    make_read_only(monkeypatch)
    encoder = SlowEncoder()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        store = FeatureStore(tmp_path / "store")
        found = index(photos, encoder=encoder, store=store)
    assert encoder.n_encoded == 10
    assert len(said) == 1
    assert not store.writable
    assert np.array_equal(found.features, expected(photos))


def make_read_only(monkeypatch):
    """As if the folder were on a read-only disk. (Rights do not stop the superuser, under whom tests may run.)"""
    import sqlite3

    connect = sqlite3.connect

    def read_only(database, **options):
        if str(database) == ":memory:" or options.get("uri"):
            return connect(database, **options)
        return connect(f"file:{database}?mode=ro", uri=True, **options)

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("beholder.feature_index.sqlite3.connect", read_only)
    monkeypatch.setattr(features, "write_shard", refuse)


def test_unreadable_shard_is_left_alone(tmp_path, monkeypatch):
    contents, layers = some(4)
    store = FeatureStore(tmp_path)
    fill(store, contents, layers)

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(features, "Shard", refuse)
    with pytest.warns(FeatureStoreWarning, match="cannot be read"):
        assert not store.load(SPACE, contents, layers={"a": 6})[1].any()
    monkeypatch.undo()
    assert FeatureStore(tmp_path).load(SPACE, contents, layers={"a": 6})[1].all()
