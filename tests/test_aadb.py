"""Reader of AADB: a made-up directory in the layout of the release, what is odd in real copies, every bad input, and what `check` finds."""

import numpy as np
import pytest
from PIL import Image

from aadb_layout import NAMES, make_aadb, write_lists
from beholder import datasets
from beholder.datasets.aadb import read_aadb
from command_line import beholder, refused

SMALL = {"Train": 6, "Validation": 3, "TestNew": 4}
RIGHT = {"BalacingElements": "BalancingElements"}  # as the release spells it -> as it is called here


def lists(root, name):
    return root / "imgListFiles_label" / f"imgList{name}.txt"


def found(root):
    return [str(one) for one in datasets.check("aadb", root)]


def expected(made, name):
    return [row[name] for part in made.values() for row in part.values()]


def test_what_is_read(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    table = read_aadb(tmp_path)
    assert table.name == "aadb" and table.overall == "score" and table.notes == ()
    assert table.part.tolist() == ["train"] * 6 + ["validation"] * 3 + ["test"] * 4
    assert table.image_ids == tuple(name for part in made.values() for name in part)
    assert all(path.parent.name == "datasetImages_originalSize" and path.is_file() for path in table.images)
    assert set(table.values) == {"score", *(RIGHT.get(name, name) for name in NAMES)}
    for name in ("score", *NAMES):
        assert table.values[RIGHT.get(name, name)].tolist() == expected(made, name)
    assert "research only" in table.licence and "Kong" in table.citation


def test_rows_keeps_everything_aligned(tmp_path):
    make_aadb(tmp_path, sizes=SMALL)
    table = read_aadb(tmp_path)
    kept = table.rows([12, 0, 7])
    assert kept.image_ids == tuple(table.image_ids[i] for i in (12, 0, 7))
    assert kept.part.tolist() == ["test", "train", "validation"]
    assert kept.values["Light"].tolist() == table.values["Light"][[12, 0, 7]].tolist()
    assert kept.places("test").tolist() == [0]
    masked = table.rows(np.arange(13) < 2)
    assert masked.image_ids == table.image_ids[:2]


@pytest.mark.parametrize("line", ["{} {}\r\n", "{}\t{}   \n\n", "  {}  {}\n"], ids=["windows", "tabs and blank lines", "blanks"])
def test_odd_lines(tmp_path, line):
    made = make_aadb(tmp_path, sizes=SMALL, line=line)
    table = read_aadb(tmp_path)
    assert table.image_ids == tuple(name for part in made.values() for name in part)
    assert table.values["Symmetry"].tolist() == expected(made, "Symmetry") and table.notes == ()


def test_the_right_spelling_is_taken_too(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL, balancing="BalancingElements")
    assert read_aadb(tmp_path).values["BalancingElements"].tolist() == expected(made, "BalacingElements")


def test_the_new_test_is_preferred_and_the_old_one_said(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL | {"Test": 2})
    assert set(read_aadb(tmp_path).image_ids) == {name for part in ("Train", "Validation", "TestNew") for name in made[part]}
    lists(tmp_path, "TestNewRegression_Light").unlink()  # an incomplete one does not count
    table = read_aadb(tmp_path)
    assert [table.image_ids[i] for i in table.places("test")] == list(made["Test"])
    assert table.notes == ("the older Test lists are read, as there are no TestNew lists",)


def test_absent_images_are_left_out_and_counted(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    gone = list(made["Train"])[1]
    (tmp_path / "datasetImages_originalSize" / gone).unlink()
    table = read_aadb(tmp_path)
    assert gone not in table.image_ids and len(table.images) == 12
    assert table.values["Light"].tolist() == [row["Light"] for part in made.values() for name, row in part.items() if name != gone]
    assert table.notes == (f"1 images are not there ({gone}): they are left out",)


def test_what_a_list_does_not_give_is_nan(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    name = list(made["TestNew"])[2]
    del made["TestNew"][name]["DoF"]
    write_lists(tmp_path, "TestNew", made["TestNew"])
    table = read_aadb(tmp_path)
    place = table.image_ids.index(name)
    assert np.flatnonzero(np.isnan(table.values["DoF"])).tolist() == [place]
    assert np.isfinite(table.values["Light"]).all()
    assert table.notes == ("images that a list does not name: 1 in DoF",)


def test_squashed_photographs_and_names_with_the_score(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL, images="datasetImages_warp256")
    (tmp_path / "AADB_newtest").mkdir()
    for name, row in made["TestNew"].items():
        (tmp_path / "datasetImages_warp256" / name).rename(tmp_path / "AADB_newtest" / f"{row['score']:.3f}_{name}")
    table = read_aadb(tmp_path)
    assert table.image_ids == tuple(name for part in made.values() for name in part)
    assert {path.parent.name for path in table.images[-4:]} == {"AADB_newtest"}
    assert len(table.notes) == 1 and "squashed to 256 x 256" in table.notes[0]


def test_originals_are_not_mixed_with_squashed_ones(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    first = next(iter(made["Train"]))
    (tmp_path / "datasetImages_warp256").mkdir()
    (tmp_path / "datasetImages_originalSize" / first).rename(tmp_path / "datasetImages_warp256" / first)
    assert first not in read_aadb(tmp_path).image_ids


def test_an_image_of_two_parts_is_kept_in_the_test(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    name = next(iter(made["TestNew"]))
    write_lists(tmp_path, "Train", made["Train"] | {name: made["TestNew"][name]})
    table = read_aadb(tmp_path)
    assert table.image_ids.count(name) == 1 and table.part[table.image_ids.index(name)] == "test"
    assert table.notes == (f"1 images are in more than one part ({name}): each is kept in the last of them only",)


def test_a_line_twice(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    name = next(iter(made["Train"]))
    with lists(tmp_path, "TrainRegression_Light").open("a") as file:
        file.write(f"{name} 0.25\n")
    table = read_aadb(tmp_path)
    assert table.values["Light"][0] == 0.25
    assert table.notes == ("1 lines of imgListTrainRegression_Light.txt name an image again: the last of them counts",)


def test_an_archive_in_a_folder_of_its_own(tmp_path):
    make_aadb(tmp_path / "AADB", sizes=SMALL)
    assert len(read_aadb(tmp_path).images) == 13


def test_what_is_missing_is_said_in_one_sentence(tmp_path):
    where = "https://github.com/aimerykong/deepImageAestheticsAnalysis"
    refused(lambda: read_aadb(tmp_path / "none"), "is not a folder", "--root", where)
    refused(lambda: read_aadb(tmp_path), "imgListFiles_label/", where, "1 more: beholder data check aadb")
    make_aadb(tmp_path, sizes=SMALL)
    lists(tmp_path, "ValidationRegression_BalacingElements").unlink()
    lists(tmp_path, "TrainRegression_score").unlink()
    refused(lambda: read_aadb(tmp_path), "has no imgListTrainRegression_score.txt", "train values", where, "(1 more: ")
    errors = [line for line in found(tmp_path) if line.startswith("error")]
    assert len(errors) == 2 and "imgListValidationRegression_BalacingElements or BalancingElements.txt" in errors[1]


@pytest.mark.parametrize("line", ["farm1_1_2_b.jpg\n", "farm1_1_2_b.jpg high\n", "farm1_1_2_b.jpg nan\n"])
def test_lines_that_say_no_number(tmp_path, line):
    make_aadb(tmp_path, sizes=SMALL)
    with lists(tmp_path, "TestNewRegression_Object").open("a") as file:
        file.write(line)
    message = refused(lambda: read_aadb(tmp_path), "imgListTestNewRegression_Object.txt line 5", "is it the published file?")
    assert repr(line.strip()) in message
    assert found(tmp_path)[0] == f"error: {message}"


def test_no_photograph_at_all(tmp_path):
    make_aadb(tmp_path, sizes=SMALL)
    for path in (tmp_path / "datasetImages_originalSize").iterdir():
        path.unlink()
    refused(lambda: read_aadb(tmp_path), "none of the 13 images", "datasetImages_originalSize/", "for example farm0_300")
    (tmp_path / "datasetImages_originalSize").rmdir()
    refused(lambda: read_aadb(tmp_path), "has no folder datasetImages_originalSize/ (or datasetImages_warp256/)")


def test_check(tmp_path):
    made = make_aadb(tmp_path, sizes=SMALL)
    assert found(tmp_path) == ["info: aadb: 13 images (6 train, 3 validation, 4 test), 12 attributes, no raters"]
    first, second = list(made["Train"])[:2]
    folder = tmp_path / "datasetImages_originalSize"
    (folder / first).write_bytes(b"no picture")
    (folder / second).unlink()
    Image.new("RGB", (8, 8)).save(folder / "more.png")
    warnings = [line for line in found(tmp_path) if line.startswith("warning")]
    assert warnings == [
        f"warning: 1 images are not there ({second}): they are left out",
        f"warning: 1 files cannot be opened as images (datasetImages_originalSize/{first}): a probe leaves them out",
    ]
    assert "info: 1 images are in no list that is read (more.png)" in found(tmp_path)


def test_on_the_command_line(tmp_path):
    make_aadb(tmp_path, sizes=SMALL)
    assert beholder("data", "check", "AADB", "--root", tmp_path).exit_code == 0
    lists(tmp_path, "TrainRegression_score").unlink()
    assert beholder("data", "check", "aadb", "--root", tmp_path).exit_code == 2


def test_who_wants_raters_of_it_is_told_what_it_is_for(tmp_path):
    refused(lambda: datasets.read("aadb", tmp_path), "none of single raters", "beholder probe aadb")
    assert "aadb" not in datasets.names()
