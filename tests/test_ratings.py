"""Scales, ratings, choices and predictions: known answers, and CSV there and back."""

import csv
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.errors import BeholderError
from beholder.evidence import name_key, read_evidence
from beholder.prediction import COLUMNS, Prediction, Predictions, best_first, percentiles
from beholder.ratings import Choice, Choices, Rating, Ratings, write_table
from beholder.scale import Scale

NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=15).map(str.strip).filter(bool)
SCALES = st.sampled_from([Scale(1, 5), Scale(1, 7, 0.5), Scale(0, 100, 0), Scale(-2, 2)])


@st.composite
def some_ratings(draw):
    scale = draw(SCALES)
    scores = st.floats(scale.low, scale.high).map(lambda score: float(f"{score:.12g}"))
    times = st.none() | st.floats(0, 2e9)
    return Ratings(draw(st.lists(st.builds(Rating, NAMES, scores.filter(scale.contains), times), max_size=8)), scale=scale)


@given(some_ratings(), st.booleans())
def test_ratings_round_trip(tmp_path_factory, ratings, named):
    path = tmp_path_factory.getbasetemp() / "ratings.csv"
    ratings.to_csv(path, rater="me" if named else None)
    again = Ratings.from_csv(path, scale=None if len(ratings) else ratings.scale)
    assert list(again) == list(ratings) and again.scale == ratings.scale


@given(st.lists(st.tuples(NAMES, NAMES).filter(lambda pair: pair[0] != pair[1]), max_size=6))
def test_choices_round_trip(tmp_path_factory, pairs):
    choices = Choices(tuple(pairs))
    path = tmp_path_factory.getbasetemp() / "choices.csv"
    choices.to_csv(path)
    # an image may be called "right": then the column chosen is read as the image, which it is
    if not any({"left", "right"} & set(pair) for pair in pairs):
        assert Choices.from_csv(path) == choices


@given(some_ratings(), SCALES)
def test_conversion_keeps_order_and_ends(ratings, scale):
    there = ratings.to_scale(scale)
    assert np.all((there.scores >= scale.low) & (there.scores <= scale.high))
    np.testing.assert_allclose(there.to_scale(ratings.scale).scores, ratings.scores, atol=1e-9 * ratings.scale.width)
    assert Scale(1, 5).convert(1, to=scale) == scale.low and Scale(1, 5).convert(5, to=scale) == scale.high


def test_scale():
    assert Scale.parse("1-7") == Scale(1, 7) and Scale.parse("0-100/0") == Scale(0, 100, 0)
    assert Scale.parse(" -2-2/0.5 ") == Scale(-2, 2, 0.5)
    assert [str(Scale.parse(text)) for text in ("1-5", "1-5/0.5", "-2-2")] == ["1-5", "1-5/0.5", "-2-2"]
    assert Scale(1, 5).to_unit(3) == 0.5 and Scale(0, 10).from_unit(0.25) == 2.5
    for bad in ("5", "a-b", "5-1", "1-5/9", "1-inf", ""):
        with pytest.raises(BeholderError):
            Scale.parse(bad)


def test_the_latest_of_duplicates_counts():
    ratings = Ratings([("a", 1), ("b", 2), ("a", 5)])
    assert [(r.image, r.score) for r in ratings] == [("b", 2), ("a", 5)] and ratings.n_replaced == 1
    timed = Ratings([Rating("a", 5, 200.0), Rating("a", 1, 100.0)])
    assert timed[0].score == 5 and timed.n_replaced == 1
    assert list(timed.merged(Ratings({"a": 3}, scale=Scale(1, 3)))) == [Rating("a", 5.0)]


@pytest.mark.parametrize("score", [0, 6, math.nan, math.inf, "good", None, True])
def test_scores_off_the_scale_are_refused(score):
    with pytest.raises(BeholderError, match=r"score = .* of a\.jpg"):
        Ratings([("a.jpg", score)])


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_tables_as_people_write_them(tmp_path):
    path = tmp_path / "r.csv"
    for text in ("File;Stars;Scale\na.jpg;7;1-7\n\n b.jpg ;2;1-7\n", "path\trating\tscale\r\na.jpg\t7\t1-7\r\nb.jpg\t2\t\r\n"):
        ratings = Ratings.from_csv(written(path, text, "utf-8-sig"))
        assert ratings.scale == Scale(1, 7) and {r.image: r.score for r in ratings} == {"a.jpg": 7, "b.jpg": 2}
    assert len(Ratings.from_csv(written(path, ""))) == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,score\na,9\n", "line 2: score = 9 of a is outside the scale 1 to 5"),
        ("image,score\na,NaN\n", "line 2: score = 'NaN' of a is not a number"),
        ("image,score\n,3\n", "line 2: the image is empty"),
        ("picture,score\na,3\n", "has no column image: it has picture, score"),
        ("image,points\na,3\n", "has no column score"),
        ("image,score,scale\na,3,1-5\nb,3,1-7\n", "mixes scales"),
        ("image,score\na,3,4\n", "line 2: 3 values for 2 columns"),
        ("image,image\na,3\n", "a column name occurs twice"),
        ("rater,image,score\nx,a,3\ny,a,4\n", "holds the ratings of 2 raters (x, y)"),
        ("image,score,time\na,3,noon\n", "line 2: time = 'noon'"),
    ],
)
def test_wrong_tables_are_refused_with_their_line(tmp_path, text, sentence):
    with pytest.raises(BeholderError) as refused:
        Ratings.from_csv(written(tmp_path / "r.csv", text))
    assert sentence in str(refused.value)


def test_choices_files(tmp_path):
    path = tmp_path / "c.csv"
    found = Choices.from_csv(written(path, "left,right,chosen\na,b,left\na,b,right\na,b,b\n"))
    assert found == Choices((("a", "b"), ("b", "a"), ("b", "a"))) and found.images == ["a", "b"]
    for row, sentence in (("a,b,c", "chosen = 'c'"), ("a,a,left", "two different images"), ("a,,left", "chosen = 'left'")):
        with pytest.raises(BeholderError, match=f"line 2: .*{sentence}"):
            Choices.from_csv(written(path, f"left,right,chosen\n{row}\n"))
    with pytest.raises(BeholderError, match="twice"):
        Choice("a", "a")


def test_evidence_of_one_of_several(tmp_path):
    path = written(tmp_path / "r.csv", "rater,image,score\nAnna,a,3\nBob,a,4\n")
    assert read_evidence(path, rater=" anna ")[0].score == 3
    path = written(tmp_path / "c.csv", "rater,left,right,chosen\nAnna,a,b,left\n")
    assert read_evidence(path, rater="ANNA") == Choices((("a", "b"),))
    path = written(tmp_path / "r.csv", "rater,image,score\nAnna,a,3\nanna,a,4\n")
    with pytest.raises(BeholderError, match=r"two raters of the same name \('Anna', 'anna'"):
        read_evidence(path, rater="anna")
    assert name_key(" Ü  x") == name_key("u\u0308 X")


def test_tables_take_odd_names_and_never_stay_half(tmp_path):
    path = tmp_path / "out.csv"
    odd = os.fsdecode(b"caf\xe9.jpg")
    write_table(path, [{"image": odd}, {"image": 'a,"b"\n.jpg'}], columns=["image"])
    assert b"caf\xe9.jpg" in path.read_bytes()
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [odd, 'a,"b"\n.jpg']

    def rows():
        yield {"image": "a"}
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    with pytest.raises(BeholderError, match="No space left on device"):
        write_table(path, rows(), columns=["image"])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["out.csv"]


def test_percentiles_and_order():
    np.testing.assert_array_equal(percentiles(np.array([3.0, 1.0, 3.0, 9.0])), [50, 12.5, 50, 87.5])
    assert len(percentiles(np.zeros(0))) == 0
    predictions = list(Predictions(("b", "a", "c"), [2, 2, 3], [1, 1, 2], [3, 3, 4], Scale(), "x", "1"))
    skipped = Prediction("0", None, None, None, None, Scale(), "x", "1", skipped_reason="is empty")
    assert [p.image for p in best_first([skipped, *predictions])] == ["c", "a", "b", "0"]
    assert tuple(skipped.row()) == COLUMNS and skipped.row()["score"] is None
    assert predictions[2].row() == dict(zip(COLUMNS, ["c", 3.0, 2.0, 4.0, 83.3333, "1-5", "x", "1", ""], strict=True))
