"""Readers: good folders, every bad input, and what `check` finds. All files are made here."""

import re

import numpy as np
import pytest
from PIL import Image

from beholder import datasets
from beholder.about import About
from beholder.datasets.table import latest_rows, read_columns
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.scale import Scale

RATINGS = """rater,image,score
ann,lakes/a.jpg,5
bob,lakes/a.jpg,2
ann,b.jpg,1
bob,c.jpg,4
ann,c.jpg,3
"""


def put_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), "teal").save(path)


@pytest.fixture
def root(tmp_path):
    for name in ("lakes/a.jpg", "b.jpg", "c.jpg"):
        put_image(tmp_path / "images" / name)
    (tmp_path / "ratings.csv").write_text(RATINGS)
    return tmp_path


def rows_of(data):
    return [
        (data.raters[rater], data.image_ids[image], score)
        for rater, image, score in zip(data.rating_rater, data.rating_image, data.rating_score, strict=True)
    ]


def read(root):
    return datasets.read("folder", root)


def levels(findings):
    return {str(finding).split(":")[0] for finding in findings}


def found(root, *, name="folder"):
    return "\n".join(map(str, datasets.check(name, root)))


def test_the_least_there_can_be(root):
    data = read(root)
    assert rows_of(data) == [
        ("ann", "lakes/a.jpg", 5),
        ("bob", "lakes/a.jpg", 2),
        ("ann", "b.jpg", 1),
        ("bob", "c.jpg", 4),
        ("ann", "c.jpg", 3),
    ]
    assert all(path.is_file() for path in data.images)
    assert (data.name, data.scale, data.notes) == (root.name, Scale(1, 5, 1), ())
    assert data.groups == data.image_ids
    assert data.profiles == (Profile(), Profile())
    assert "error" not in levels(datasets.check("folder", root))


def test_everything_there_can_be(root):
    (root / "dataset.toml").write_text('name = "mine"\nlicence = "CC0"\ncitation = "me"\n[scale]\nlow = 0\nhigh = 10\nstep = 0.5\n')
    (root / "raters.csv").write_text(
        "rater,Age,gender,shoe size,likes,art_interest\nbob,25-34,Male,44,3 cats,7\nann,NA,,39.5,,\neve,50,,,,\n"
    )
    (root / "images.csv").write_text("image,group,author\nb.jpg,sea,x\nc.jpg,sea,y\nlakes/a.jpg,,z\nnot.jpg,sea,z\n")
    (root / "choices.csv").write_text(
        "rater,left,right,chosen,role\nann,b.jpg,c.jpg,left,query\nzoe,c.jpg,b.jpg,b.jpg,support\nann,c.jpg,no.jpg,left,\n"
    )
    data = read(root)
    assert (data.name, data.licence, data.citation, data.scale) == ("mine", "CC0", "me", Scale(0, 10, 0.5))
    assert data.raters == ("ann", "bob", "zoe")
    assert data.profiles[0] == Profile(free={"shoe size": 39.5})
    assert data.profiles[1] == Profile(age="25-34", gender="male", art_interest=7, free={"shoe size": 44, "likes": "3 cats"})
    assert dict(zip(data.image_ids, data.groups, strict=True)) == {"b.jpg": "sea", "c.jpg": "sea", "lakes/a.jpg": "lakes/a.jpg"}
    chosen = [
        (data.raters[r], data.image_ids[a], data.image_ids[b])
        for r, a, b in zip(data.choice_rater, data.choice_chosen, data.choice_other, strict=True)
    ]
    assert chosen == [("ann", "b.jpg", "c.jpg"), ("zoe", "b.jpg", "c.jpg")]
    assert data.choice_role == ("query", "support")
    assert any("1 choices dropped" in note for note in data.notes)


def test_captions(root):
    assert read(root).captions == ()
    (root / "images.csv").write_text('image,caption\nc.jpg,"A boat,\n at night."\nb.jpg,\nc.jpg,another\nnot.jpg,x\n')
    data = read(root)
    assert dict(zip(data.image_ids, data.captions, strict=True)) == {"b.jpg": "", "c.jpg": "A boat, at night.", "lakes/a.jpg": ""}
    assert data.notes == () and data.rows([0]).captions == data.captions
    (root / "images.csv").write_text("image,caption\nc.jpg,\n")
    assert read(root).captions == ()
    (root / "images.csv").write_text("image,author\nc.jpg,me\n")
    assert read(root).notes == ("images.csv has no column group: every image is a group of its own",)


def test_prompts_and_metadata(root):
    (root / "images.csv").write_text(
        'image,prompt,Style,sharpness,group,caption\nb.jpg,"a cat,\n in  fog",oil,0.5,g,A cat.\nlakes/a.jpg,,n/a,2,,\nc.jpg,two words,,,,\nx.jpg,lost,ink,1,,\n'
    )
    data = read(root)
    assert data.image_ids == ("b.jpg", "c.jpg", "lakes/a.jpg")
    assert data.prompts == ("a cat, in fog", "two words", "")
    assert data.metadata == {"style": ("oil", "", "")}  # numbers are for probes
    assert (data.groups[0], data.captions[0]) == ("g", "A cat.")
    assert data.about() == {
        str(root / "images" / "b.jpg"): About("a cat, in fog", {"style": "oil"}),
        str(root / "images" / "c.jpg"): About("two words"),
    }
    assert "info: images.csv gives prompts or metadata: prompt (2 images), style (1 images)" in found(root)
    (root / "images.csv").write_text("image,caption\nb.jpg,A cat.\n")
    data = read(root)
    assert (data.prompts, data.metadata, data.about()) == ((), {}, {})
    assert "prompts or metadata" not in found(root)
    (root / "images.csv").write_text("image,prompt\nb.jpg,1984\n")  # a prompt may be a number
    assert read(root).prompts == ("1984", "", "")
    assert read(root).notes == ()


def test_other_separators_aliases_and_a_byte_order_mark(root):
    (root / "ratings.csv").write_bytes("\ufeffRater;Path;Stars\r\nann; b.jpg ;4\r\n\r\nbob;c.jpg;5;;\r\n".encode())
    assert rows_of(read(root)) == [("ann", "b.jpg", 4), ("bob", "c.jpg", 5)]


def test_missing_images_are_dropped_and_counted(root):
    (root / "images" / "c.jpg").unlink()
    data = read(root)
    assert len(data.rating_score) == 3 and data.raters == ("ann", "bob")
    assert data.notes == ("1 images are not in images/ (c.jpg): 2 ratings dropped",)
    assert "warning: 1 of 3 images of ratings.csv are not in" in found(root)


def test_of_duplicates_the_latest_counts(root):
    (root / "ratings.csv").write_text(RATINGS + "ann,b.jpg,4\n")
    data = read(root)
    assert rows_of(data)[-1] == ("ann", "b.jpg", 4) and len(data.rating_score) == 5
    assert "1 ratings were replaced" in data.notes[0]
    assert "line 4: the same rater rates the same image again" in found(root)
    (root / "ratings.csv").write_text("rater,image,score,time\nann,b.jpg,4,20\nann,b.jpg,2,10\n")
    assert rows_of(read(root)) == [("ann", "b.jpg", 4)]


def test_other_spellings_of_file_names(root):
    put_image(root / "images" / "Caf\u00e9.JPG")
    (root / "ratings.csv").write_text(
        "rater,image,score\nann,Lakes\\A.jpg,5\nbob,cafe\u0301.jpg,4\nbob,images/b.jpg,3\nann,lakes/a.jpg,2\n"
    )
    data = read(root)
    assert rows_of(data) == [("bob", "Caf\u00e9.JPG", 4), ("bob", "b.jpg", 3), ("ann", "lakes/a.jpg", 2)]
    assert any("3 image names are spelled differently" in note for note in data.notes)


def test_bad_profile_values_cost_only_that_field(root):
    (root / "raters.csv").write_text("rater,age,gender,openness\nann,old,female,3\nbob,40,male,99\n")
    data = read(root)
    assert data.profiles == (Profile(gender="female", openness=3), Profile(age=40, gender="male"))
    assert "age of 1 raters is left empty (ann: age = 'old' is not an age" in data.notes[0]
    assert "openness of 1 raters is left empty" in data.notes[1]
    assert "warning: raters.csv: age of 1 raters" in found(root)


def test_scores_at_the_very_ends_are_kept(root):
    (root / "ratings.csv").write_text("rater,image,score\nann,b.jpg,5.0000001\nbob,b.jpg,1\n")
    assert read(root).rating_score.tolist() == [5, 1]


WRONG = {
    "no folder": (lambda root: None, None, "is not a folder"),
    "no ratings": (lambda root: (root / "ratings.csv").unlink(), None, "has no ratings.csv"),
    "no images folder": (lambda root: (root / "images").rename(root / "pictures"), None, "has no folder images/"),
    "no rater": ("ratings.csv", "image,score\nb.jpg,3\n", "has no column rater: it has image, score"),
    "no image": ("ratings.csv", "rater,score\nann,3\n", "has no column image"),
    "no score": ("ratings.csv", "rater,image\nann,b.jpg\n", "has no column score"),
    "empty file": ("ratings.csv", "", "has no column rater: it has none"),
    "empty rater": ("ratings.csv", "rater,image,score\n,b.jpg,3\n", "line 2: rater is empty"),
    "empty image": ("ratings.csv", "rater,image,score\nann,b.jpg,3\nann,,3\n", "line 3: image is empty"),
    "empty score": ("ratings.csv", "rater,image,score\nann,b.jpg,\n", "line 2: score = '' is not a number"),
    "word": ("ratings.csv", "rater,image,score\nann,b.jpg,3\nbob,b.jpg,good\n", "line 3: score = 'good' is not a number"),
    "infinite": ("ratings.csv", "rater,image,score\nann,b.jpg,inf\n", "line 2: score = 'inf' is not a number"),
    "off scale": (
        "ratings.csv",
        "rater,image,score\nann,b.jpg,3\n\nbob,b.jpg,7\nbob,c.jpg,9\n",
        r"line 4: score = 7 is outside the scale 1-5.*and 1 more",
    ),
    "too many values": ("ratings.csv", "rater,image,score\nann,b,1.jpg,3\n", "line 2: 4 values for 3 columns"),
    "outside": ("ratings.csv", "rater,image,score\nann,../ratings.csv,3\n", "points outside"),
    "absolute": ("ratings.csv", "rater,image,score\nann,/etc/passwd,3\n", "points outside"),
    "none there": ("ratings.csv", "rater,image,score\nann,x.jpg,3\nann,y.jpg,3\n", "none of the 2 images"),
    "column twice": ("ratings.csv", "rater,image,score,score\nann,b.jpg,3,3\n", "a column name occurs twice"),
    "two profiles": ("raters.csv", "rater,age\nann,3\nbob,4\nann,5\n", "lines 2 and 4 both describe rater 'ann'"),
    "profile without rater": ("raters.csv", "name,age\nann,30\n", "has no column rater"),
    "nameless profile": ("raters.csv", "rater,age\n,30\n", "line 2: rater is empty"),
    "two groups": ("images.csv", "image,group\nb.jpg,x\nc.jpg,x\nb.jpg,y\n", "image b.jpg is in group x and in y"),
    "groups without image": ("images.csv", "photo,group\nb.jpg,x\n", "has no column image"),
    "bad choice": ("choices.csv", "rater,left,right,chosen\nann,b.jpg,c.jpg,up\n", "line 2: chosen = 'up'"),
    "same choice": ("choices.csv", "rater,left,right,chosen\nann,b.jpg,b.jpg,left\n", "line 2: a choice needs two different images"),
    "bad role": ("choices.csv", "rater,left,right,chosen,role\nann,b.jpg,c.jpg,left,test\n", "line 2: role = 'test'"),
    "choice without column": ("choices.csv", "rater,left,right\nann,b.jpg,c.jpg\n", "has no column chosen"),
    "bad toml": ("dataset.toml", "scale = ", "is not valid TOML"),
    "bad scale": ("dataset.toml", "[scale]\nlow = 5\nhigh = 1\n", "low = 5 is not below high = 1"),
    "odd scale": ("dataset.toml", "[scale]\nmin = 1\n", "scale has no min"),
    "scale text": ("dataset.toml", 'scale = "five stars"', "is not LOW-HIGH"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_tolerated(root, case):
    change, text, message = WRONG[case]
    if case == "no folder":
        root = root / "nowhere"
    elif text is None:
        change(root)
    else:
        (root / change).write_text(text)
    with pytest.raises(BeholderError, match=message) as caught:
        read(root)
    assert "\n" not in str(caught.value)
    findings = datasets.check("folder", root)
    assert findings[0].level == "error"


def test_latin_1_is_refused_by_name(root):
    (root / "ratings.csv").write_bytes("rater,image,score\nJos\u00e9,b.jpg,3\n".encode("latin-1"))
    with pytest.raises(BeholderError, match=r"is not UTF-8 text"):
        read(root)


def test_check_names_every_wrong_line(root):
    (root / "ratings.csv").write_text("rater,image,score\nann,b.jpg,9\nann,c.jpg,x\n,b.jpg,3\nbob,b.jpg,2.5\nbob,c.jpg,8\n")
    text = found(root)
    assert "error: ratings.csv 2 lines (2, 6): score is outside the scale 1-5" in text
    assert "error: ratings.csv line 3: score is not a number" in text
    assert "error: ratings.csv line 4: rater is empty" in text
    assert "warning: ratings.csv line 5: score lies between the steps" in text
    assert [finding.lines for finding in datasets.check("folder", root) if "outside" in finding.message] == [(2, 6)]


def test_check_finds_what_is_odd(root):
    put_image(root / "images" / "unrated.png")
    (root / "images" / "notes.txt").write_text("not an image")
    (root / "images" / "b.jpg").write_text("not an image either")
    (root / "ratings.csv").write_text(RATINGS + "eve,b.jpg,3\neve,c.jpg,3\n")
    (root / "raters.csv").write_text("rater,age,mood\nann,30,\nzoe,4,\n")
    text = found(root)
    assert "info: 1 images in" in text and "(unrated.png)" in text
    assert "warning: 1 files cannot be opened as images (b.jpg)" in text
    assert "warning: 2 raters have no row in raters.csv (bob, eve)" in text
    assert "info: 1 raters of raters.csv have no rating (zoe)" in text
    assert "warning: raters.csv: columns without any value: mood" in text
    assert "warning: 1 raters gave every image the same score (eve)" in text
    assert "warning: 3 raters have fewer than 12 ratings" in text
    assert "info: every image is a group of its own" in text
    assert "3 raters, 3 rated images in 3 groups, 7 ratings on 1-5, 0 choices" in text
    (root / "images.csv").write_text("image,group\nb.jpg,x\nc.jpg,x\n")
    assert "there are only 2 image groups" in found(root)


def test_names_of_datasets():
    assert {"folder", "oasis-beauty"} <= set(datasets.names())
    with pytest.raises(BeholderError, match=r"did you mean oasis-beauty\? Known are eva, flickr-aes, folder"):
        datasets.read("oasis_beuty", "x")
    with pytest.raises(BeholderError, match="there is no dataset 'xyz'"):
        datasets.check("xyz", "x")


def test_latest_rows():
    first, second = np.array([0, 1, 0, 0, 1]), np.array([5, 5, 5, 6, 5])
    assert latest_rows(first, second).tolist() == [2, 3, 4]
    assert latest_rows(first, second, time=np.array([9, 2, 1, np.nan, 1])).tolist() == [0, 1, 3]
    assert latest_rows(first[:0], second[:0]).tolist() == []


def test_lines_count_quoted_line_breaks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n"x\ny",1\n\nz,2\n')
    table = read_columns(path, what="table")
    assert (table.columns["a"], table.lines) == (["x\ny", "z"], [3, 5])


# OASIS-beauty: the same columns as the release, made-up numbers

STUDY = """"","subjID","item","beauty","age","gender","education","TEPS_ant","TEPS_con","ZIP_curr"
"1",1,1,5,30,1,4,2.5,3.25,90210
"2",2,1,NaN,41,2,-99,NaN,4,90211
"3",1,2,7,30,1,4,2.5,3.25,90210
"4",2,2,1,41,2,-99,NaN,4,90211
"5",2,3,4,41,2,-99,NaN,4,90211
"6",1,4,2,30,1,4,2.5,3.25,90210
"""
MEANS = "item,beauty_mean,Theme,Category,,\n1,4.8,Lake1,Scene,,\n2,4.2,Lake 2,Scene,,6\n3,3.3,Redfox10,Animal,,\n4,3.3,Gone1,Animal,,\n"


@pytest.fixture
def oasis(tmp_path):
    (tmp_path / "OASIS-beauty").mkdir()
    (tmp_path / "OASIS-beauty" / "depthDat.CSV").write_text(STUDY)
    (tmp_path / "OASIS-beauty" / "means_per_image.csv").write_text(MEANS)
    (tmp_path / "OASIS-beauty" / "repeated_measures.csv").write_text("subjID,repetition,item,beauty\n" + "1,1,1,7\n" * 100)
    for name in ("Lake 1.jpg", "lake2.JPG", "Redfox10.jpg", "Other3.jpg"):
        put_image(tmp_path / "photos" / "Images" / name)
    return tmp_path


def test_oasis(oasis):
    data = datasets.read("OASIS_beauty", oasis)
    assert rows_of(data) == [("1", "Lake1.jpg", 5), ("1", "Lake 2.jpg", 7), ("2", "Lake 2.jpg", 1), ("2", "Redfox10.jpg", 4)]
    assert data.metadata == {"category": ("Scene", "Scene", "Animal")}
    assert dict(zip(data.image_ids, data.groups, strict=True)) == {"Lake1.jpg": "Lake", "Lake 2.jpg": "Lake", "Redfox10.jpg": "Redfox"}
    assert data.profiles == (
        Profile(age=30, gender="male", education="college degree", free={"teps_anticipatory": 2.5, "teps_consummatory": 3.25}),
        Profile(age=41, gender="female", free={"teps_consummatory": 4.0}),
    )
    assert "90210" not in str(data.profiles)  # postcodes are not read
    assert all(path.is_file() for path in data.images)
    assert data.scale == Scale(1, 7, 1)
    assert data.notes == ("1 photographs are not there (Gone1): 1 ratings dropped",)
    text = found(oasis, name="oasis-beauty")
    assert "warning: 1 photographs are not there" in text and "error" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "OASIS-beauty" / "depthDat.CSV").unlink(), "columns subjID, item, beauty of the main study"),
        (lambda root: (root / "OASIS-beauty" / "means_per_image.csv").unlink(), "columns item, Theme"),
        (lambda root: (root / "photos").rename(root.parent / f"{root.name}-moved"), r"none of the 4 images \(such as Gone1.jpg\)"),
        (
            lambda root: (root / "OASIS-beauty" / "depthDat.CSV").write_text(STUDY.replace(",1,5,30", ",1,50,30")),
            "line 2: beauty = 50 is outside the scale 1-7",
        ),
        (
            lambda root: (root / "OASIS-beauty" / "means_per_image.csv").write_text(MEANS + "1,2,Lake9,Scene,,\n"),
            "line 6: item 1 is Lake1 and Lake9",
        ),
    ],
)
def test_oasis_that_cannot_be_read(oasis, change, message):
    change(oasis)
    with pytest.raises(BeholderError, match=message):
        datasets.read("oasis-beauty", oasis)
    assert re.search(message, found(oasis, name="oasis-beauty"))


def test_oasis_needs_a_folder(tmp_path):
    with pytest.raises(BeholderError, match="is not a folder"):
        datasets.read("oasis-beauty", tmp_path / "none")
