"""The shipped lists of published folds: complete, without overlap, and refused when damaged."""

import json
import shutil

import pytest

from beholder import datasets
from beholder.datasets import splits
from beholder.datasets.splits import published_split
from beholder.errors import BeholderError
from published_layouts import make_para

SIZES = {"para": (438, [110, 110, 109, 109], (0, 2822, 0)), "lapis": (532, [133] * 4, (8205, 1173, 2345))}


@pytest.mark.parametrize("name", SIZES)
def test_each_rater_is_tested_once(name):
    total, sizes, n_images = SIZES[name]
    folds = [published_split(name, fold=fold) for fold in (1, 2, 3, 4)]
    tested = [rater for split in folds for rater in split.test_raters]
    assert len(tested) == len(set(tested)) == total
    for split in folds:
        assert set(split.train_raters) == set(tested) - set(split.test_raters)
        assert len(split.train_raters) == total - len(split.test_raters)
        images = (split.train_images, split.validation_images, split.test_images)
        assert tuple(map(len, images)) == n_images
        assert len(set().union(*images)) == sum(n_images)
    assert [len(split.test_raters) for split in folds] == sizes


def test_known_ids():
    """From the published lists: the first lines of some files."""
    assert {"A580790", "Bbd8203", "A405edf"} <= set(published_split("para").test_raters)
    assert {"A19895a", "A61b1b4", "Be537dd"} <= set(published_split("para", fold=1).train_raters)
    assert {"B24ef4b", "Ad17b4a"} <= set(published_split("para", fold=3).test_raters)
    assert "iaa_pub24763_.jpg" in published_split("para").validation_images
    assert {"1411", "315", "1756"} <= set(published_split("lapis").test_raters)
    assert "boris-kustodiev_shells-1918.jpg" in published_split("lapis", fold=4).train_images
    assert "lovis-corinth_portrait-of-the-painter-benno-becker-1892.jpg" in published_split("lapis").test_images


def test_ids_are_those_of_the_reader(tmp_path):
    split = published_split("para", fold=2)
    raters = [*split.train_raters[:4], *split.test_raters[:3]]
    data = datasets.read("para", make_para(tmp_path, n_raters=7, n_images=3, raters=raters))
    assert set(data.raters) & set(split.test_raters) == set(raters[4:])


@pytest.mark.parametrize(
    ("name", "fold", "message"), [("eva", 1, "no published split of 'eva'"), ("para", 5, "no fold 5"), ("lapis", 0, "1 to 4")]
)
def test_no_such_split(name, fold, message):
    with pytest.raises(BeholderError, match=message):
        published_split(name, fold=fold)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    folder = tmp_path / "splits"
    shutil.copytree(splits.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(splits, "FOLDER", folder)
    return folder


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in splits.FILES.items() for file in files])
def test_a_damaged_list_is_refused(copy, name, file):
    assert published_split(name).test_raters
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(BeholderError, match=rf"{file} is damaged.*install beholder anew"):
        published_split(name)
    (copy / file).unlink()
    with pytest.raises(BeholderError, match=rf"{file} or its manifest .* cannot be read"):
        published_split(name)


def test_a_list_that_the_manifest_does_not_name_is_refused(copy):
    (copy / "manifest.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(BeholderError, match=r"para-raters.csv or its manifest"):
        published_split("para")


def test_the_manifest_says_where_the_lists_are_from():
    manifest = json.loads((splits.FOLDER / "manifest.json").read_text())
    assert "MIT" in manifest["licence"] and "commit 7271851a" in manifest["source"]
    assert set(manifest["files"]) == {file for files in splits.FILES.values() for file in files}
    assert all(entry["made_from"] for entry in manifest["files"].values())
