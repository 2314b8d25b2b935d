"""The feature store: nothing twice, nothing lost, nothing wrong - also when disks, files and processes fail."""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from beholder import features
from beholder.features import FeatureSpace, FeatureStore
from beholder.photos import content_hash
from beholder.shards import checksums
from slow_encoder import SPACE, fill, make_photos, some


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


# ---- what goes in comes out -----------------------------------------------------------------------------------------


def test_what_goes_in_comes_out_to_the_bit(tmp_path):
    contents, layers = some(50)
    with FeatureStore(tmp_path) as store:
        fill(store, contents, layers)
    with FeatureStore(tmp_path) as store:
        rows, found = store.load(SPACE, contents[::-1], layers={"b": 3, "a": 6})
    assert found.all()
    assert np.array_equal(rows, np.concatenate([layers["b"], layers["a"]], axis=1)[::-1])


def test_before_the_flush_it_is_there_too(tmp_path):
    contents, layers = some(3)
    store = FeatureStore(tmp_path)
    store.add(SPACE, contents[1], {layer: rows[1] for layer, rows in layers.items()})
    rows, found = store.load(SPACE, contents, layers={"a": 6})
    assert found.tolist() == [False, True, False]
    assert np.array_equal(rows[1], layers["a"][1])


def test_layers_of_several_shards_are_put_together(tmp_path):
    contents, layers = some(10)
    store = FeatureStore(tmp_path)
    fill(store, contents, {"a": layers["a"]})
    fill(store, contents[:5], {"b": layers["b"][:5]})
    rows, found = store.load(SPACE, contents, layers={"a": 6, "b": 3})
    assert found.tolist() == [True] * 5 + [False] * 5
    assert np.array_equal(rows[:5], np.concatenate([layers["a"], layers["b"]], axis=1)[:5])


@pytest.mark.parametrize(
    "other", [FeatureSpace("net", "1" * 12, "8x8"), FeatureSpace("net", "0" * 12, "9x9"), FeatureSpace("n", "0" * 12, "8x8")]
)
def test_other_weights_or_preprocessing_are_other_features(tmp_path, other):
    contents, layers = some(4)
    store = FeatureStore(tmp_path)
    fill(store, contents, layers)
    assert not store.load(other, contents, layers={"a": 6})[1].any()
    assert not store.load(SPACE, contents, layers={"c": 6})[1].any()


def test_few_rows_far_apart(tmp_path):
    contents, layers = some(200)
    store = FeatureStore(tmp_path)
    fill(store, contents, layers)
    wanted = [199, 0, 100]
    rows, found = store.load(SPACE, [contents[i] for i in wanted], layers={"a": 6})
    assert found.all()
    assert np.array_equal(rows, layers["a"][wanted])


def test_small_shards_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FLUSH_IMAGES", 10)
    contents, layers = some(23)
    with FeatureStore(tmp_path) as store:
        for start in range(0, 23, 3):
            fill(store, contents[start : start + 3], {layer: rows[start : start + 3] for layer, rows in layers.items()})
    with FeatureStore(tmp_path) as store:
        assert store.info()["shards"] == len(list((tmp_path / "shards").iterdir())) == 2
        assert np.array_equal(store.load(SPACE, contents, layers={"a": 6})[0], layers["a"])


@pytest.mark.parametrize("adopted", [True, False])
def test_another_process_may_read_while_shards_are_merged(tmp_path, adopted):
    contents, layers = some(6)
    writer = FeatureStore(tmp_path)
    fill(writer, contents[:3], {layer: rows[:3] for layer, rows in layers.items()})
    reader = FeatureStore(tmp_path)
    fill(writer, contents[3:], {layer: rows[3:] for layer, rows in layers.items()})
    find = reader._index.find

    def find_then_merge(*question):
        found = find(*question)
        writer.close()
        reader._index.find = find
        return found

    small = [(shard.name, shard.contents) for one in writer._small.values() for shard in one]
    if adopted:  # the reader looked at the folder between the merging and the removal of what was merged
        writer.close()
        for name, held in small:
            reader._index.enter_shard(name, size=1, space=SPACE.key, layers={"a": 6, "b": 3}, contents=held)
    else:
        reader._index.find = find_then_merge
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, found = reader.load(SPACE, contents, layers={"a": 6})
    assert found.all()
    assert np.array_equal(rows, layers["a"])
    assert reader.info()["shards"] == 1


@pytest.mark.parametrize("dim", [1, 2, 7, 8])
def test_checksum_sees_every_flipped_bit(dim):
    rows = np.random.default_rng(0).standard_normal((4, dim), dtype=np.float32)
    before = checksums(rows)
    for byte in range(rows.nbytes):
        flipped = rows.copy()
        flipped.view(np.uint8).reshape(-1)[byte] ^= 1 << byte % 8
        assert (checksums(flipped) != before).sum() == 1


# ---- files, size ----------------------------------------------------------------------------------------------------


def test_unchanged_files_are_known(tmp_path, photos):
    store = FeatureStore(tmp_path / "store")
    states = [os.stat(path) for path in photos]
    for path, state in zip(photos, states, strict=True):
        store.remember_file(path, state, content_hash(path))
    store.close()
    store = FeatureStore(tmp_path / "store")
    assert store.known_files(photos, states) == [content_hash(path) for path in photos]
    os.utime(photos[3])
    known = store.known_files([*photos, "/none"], [*map(os.stat, photos), None])
    assert [place for place, content in enumerate(known) if content is None] == [3, 40]


def test_file_changed_a_moment_ago_is_not_trusted(tmp_path):
    path = tmp_path / "new.png"
    path.write_bytes(b"x")
    store = FeatureStore(tmp_path / "store")
    now = time.time_ns() | 1
    os.utime(path, ns=(now, now))
    store.remember_file(str(path), os.stat(path), content_hash(path))
    assert store.known_files([str(path)], [os.stat(path)]) == [None]


def test_names_that_are_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    try:
        Path(path).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    os.utime(path, ns=(10**18 + 7, 10**18 + 7))
    with FeatureStore(tmp_path / "store") as store:
        store.remember_file(path, os.stat(path), "0" * 32)
    with FeatureStore(tmp_path / "store") as store:
        assert store.known_files([path], [os.stat(path)]) == ["0" * 32]


def test_info_and_prune(tmp_path):
    contents, layers = some(20)
    store = FeatureStore(tmp_path)
    fill(store, contents, {"a": layers["a"]})
    fill(store, contents[:10], {"a": layers["a"][:10], "b": layers["b"][:10]})
    fill(store, contents, layers)  # makes the first two superfluous
    leftover = tmp_path / "shards" / ".x.safetensors.partial"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1, 1))
    assert store.info()["shards"] == 3
    assert store.info()["spaces"][SPACE.key]["images"] == 20
    assert store.prune() > 0
    assert store.info()["shards"] == 1
    assert not leftover.exists()
    assert store.load(SPACE, contents, layers={"a": 6, "b": 3})[1].all()
    assert store.prune(max_bytes=0) > 0
    assert store.info()["bytes"] == 0
    assert not list((tmp_path / "shards").iterdir())
