"""What is known of images beside their pixels: reading it, and how it comes to a scorer through the eye and the command line."""

import json
import shutil
import warnings

import pytest

from beholder.about import About, read_about
from beholder.engine.source import Features
from beholder.eye import Eye
from beholder.features import FeatureStore
from beholder.located import SkippedInput
from beholder.rater import Rater
from beholder.ratings import Ratings
from command_line import STUB, beholder, make_photos, one_sentence, process, refused
from joint_scorers import Joint
from slow_encoder import SlowEncoder
from stub_scorers import Stub

TABLE = """image,prompt,Style,year
a.png,"a cat,
in  fog",oil,1999
sub/b.png,,,
sub/c.png,,oil on wood,
d.png,two words,,
"""
JOINT = ["--scorer", "joint_scorers:Joint"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "about.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture
def photos(tmp_path):
    make_photos(tmp_path / "photos", "a.png", "sub/b.png", "sub/c.png", "d.png")
    return tmp_path / "photos"


@pytest.fixture
def eye(tmp_path):
    features = Features(SlowEncoder(), store=FeatureStore(tmp_path / "features"))
    with Eye(Joint(features=features), features=features) as eye:
        yield eye


def test_read(table):
    about = read_about(table)
    assert about == {
        "a.png": About("a cat, in fog", {"style": "oil", "year": "1999"}),
        "sub/c.png": About("", {"style": "oil on wood"}),
        "d.png": About("two words"),
    }
    assert set(read_about(table, "/x")) == {"/x/a.png", "/x/sub/c.png", "/x/d.png"}
    assert bool(about["d.png"]) and bool(about["sub/c.png"]) and not About()


def test_other_separators_and_names(tmp_path):
    path = tmp_path / "about.csv"
    path.write_text("filename;prompt\n/abs/a.png;one, two\n/abs/a.png;one,  two\n", encoding="utf-8-sig")
    assert read_about(path, "/x") == {"/abs/a.png": About("one, two")}
    path.write_text("image,prompt\n")
    assert read_about(path) == {}


BAD = {
    "nothing there": (None, "prompts and metadata", "cannot be read"),
    "no image": ("picture,prompt\na,b\n", "has no column image: it has picture, prompt; rename one to image"),
    "empty image": ("image,prompt\n,b\n", "line 2: the image is empty; give its path"),
    "twice": ("image,prompt\na,b\nc,d\na,e\n", "lines 2 and 4 say different things of a: keep one"),
    "too many values": ("image,prompt\na,b,c\n", "line 2: 3 values for 2 columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tmp_path, case):
    content, *words = BAD[case]
    path = tmp_path / "about.csv"
    if content is not None:
        path.write_text(content)
    refused(lambda: read_about(path), "about.csv", *words)


@pytest.mark.parametrize("named", ["below the folder", "absolute", "by name"])
def test_the_scorer_is_told_under_the_paths_it_predicts(eye, photos, monkeypatch, named):
    monkeypatch.chdir(photos.parent)
    name = {"below the folder": "sub/c.png", "absolute": str(photos / "sub" / "c.png"), "by name": "c.png"}[named]
    scored = {p.image: p.score for p in eye.score("photos", about={name: About("one two three"), "elsewhere.png": About("x")})}
    assert eye.scorer.about == {"photos/sub/c.png": About("one two three")}
    assert scored["photos/sub/c.png"] == pytest.approx(1 + 4 * 0.4) and scored["photos/a.png"] == pytest.approx(1 + 4 * 0.1)
    assert eye.rank("photos", about={name: About("one two three")})[0].image == "photos/sub/c.png"


def test_rated_images_are_told_of_too(eye, photos, tmp_path):
    make_photos(tmp_path / "more", "rated.png", start=9)
    rater = Rater(ratings=Ratings([("rated.png", 5)]))
    eye.score(photos, rater=rater, look_in=[tmp_path / "more"], about={"rated.png": About("one")})
    assert eye.scorer.about == {str(tmp_path / "more" / "rated.png"): About("one")}


def test_of_equal_files_the_one_that_is_scored_counts(eye, photos):
    shutil.copy(photos / "a.png", photos / "z.png")
    eye.score(photos, about={"z.png": About("copy"), "a.png": About("original")})
    assert eye.scorer.about == {str(photos / "a.png"): About("original")}
    eye.scorer.about = {}
    eye.score(photos, about={"z.png": About("copy")})
    assert eye.scorer.about == {str(photos / "a.png"): About("copy")}


def test_about_that_fits_no_photograph_is_said(eye, photos):
    with pytest.warns(SkippedInput, match=r"none of the 1 images with a prompt or metadata \(gone\.png\) is among the photographs"):
        eye.score(photos, about={"gone.png": About("x")})
    assert eye.scorer.about == {}


def test_scorers_that_read_pixels_only_ignore_it(eye, photos):
    plain = Eye(Stub(features=eye.features), features=eye.features)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plain.score(photos, about={"a.png": About("x")}) == plain.score(photos)


@pytest.mark.parametrize("verb", ["rank", "score"])
def test_command_line(photos, table, verb):
    result = beholder(verb, photos, *JOINT, "--about", table, "--json")
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    scores = {row["image"]: row["score"] for row in rows}
    assert scores[str(photos / "a.png")] == pytest.approx(1 + 4 * 0.5) and scores[str(photos / "d.png")] == pytest.approx(1 + 4 * 0.3)
    assert scores[str(photos / "sub" / "c.png")] == pytest.approx(1 + 4 * 0.1)


def test_paths_in_the_table_may_start_at_the_table(tmp_path, photos, monkeypatch):
    (tmp_path / "about.csv").write_text("image,prompt\nphotos/sub/c.png,one two three\n")
    monkeypatch.chdir("/")
    result = beholder("rank", photos, *JOINT, "--about", tmp_path / "about.csv", "--json")
    assert json.loads(result.stdout.splitlines()[0])["image"] == str(photos / "sub" / "c.png")


def test_command_line_says_what_comes_of_it(photos, table):
    result = beholder("rank", photos, *STUB, "--about", table)
    assert result.exit_code == 0 and "--about changes nothing here: stub reads neither prompts nor metadata" in result.stderr
    table.write_text("picture,prompt\na,b\n")
    result = process("rank", str(photos), *JOINT, "--about", str(table))
    assert result.returncode == 2 and "has no column image" in one_sentence(result.stderr)
