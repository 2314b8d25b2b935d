"""The eye: finds, encodes, resolves the rater's images, scores, sorts."""

import os
import shutil
import warnings

import numpy as np
import pytest

import beholder
from beholder import eye as eye_module
from beholder.engine import source as source_module
from beholder.engine.local import index
from beholder.engine.source import Features
from beholder.errors import BeholderError
from beholder.eye import Eye
from beholder.features import FeatureStore
from beholder.located import SkippedInput, find_files, locate
from beholder.scorers import make, scorer_class
from command_line import make_photos
from slow_encoder import SlowEncoder
from stub_scorers import Plain, Stub


@pytest.fixture
def eye(tmp_path):
    features = Features(SlowEncoder(), store=FeatureStore(tmp_path / "features"))
    with Eye(Stub(features=features), features=features) as eye:
        yield eye


@pytest.fixture
def photos(tmp_path):
    make_photos(tmp_path / "photos", "a.png", "b.png", "sub/c.png", "sub/d.png")
    return tmp_path / "photos"


def rater(*entries, **more):
    return beholder.Rater(name="me", ratings=beholder.Ratings(entries), **more)


def test_rank_is_score_sorted(eye, photos):
    scored = eye.score(photos)
    assert [os.path.relpath(p.image, photos) for p in scored] == ["a.png", "b.png", "sub/c.png", "sub/d.png"]
    ranked = eye.rank(photos)
    assert ranked == sorted(scored, key=lambda p: -p.score)
    assert [p.percentile for p in ranked] == [87.5, 62.5, 37.5, 12.5]
    assert eye.rank(photos, top=2) == ranked[:2]
    assert {p.scorer for p in ranked} == {"stub"} and {p.version for p in ranked} == {"1+0"}


def test_scores_are_those_of_the_scorer(eye, photos):
    me = rater((str(photos / "a.png"), 5), (str(photos / "sub" / "d.png"), 1))
    paths = [str(photos / name) for name in ("a.png", "b.png")]
    direct = Stub(features=eye.features).predict(paths, me)
    assert [(p.score, p.low, p.high) for p in eye.score(paths, rater=me)] == [(p.score, p.low, p.high) for p in direct]


def test_bad_files_come_last_with_their_reason_and_in_place_in_score(eye, photos):
    (photos / "aa.jpg").write_bytes(b"")
    scored = eye.score(photos)
    assert [os.path.basename(p.image) for p in scored] == ["a.png", "aa.jpg", "b.png", "c.png", "d.png"]
    assert scored[1].score is None and scored[1].percentile is None and "empty" in scored[1].skipped_reason
    ranked = eye.rank(photos, top=1)
    assert len(ranked) == 2 and ranked[-1] == scored[1]
    assert sorted(p.percentile for p in scored if p.score is not None) == [12.5, 37.5, 62.5, 87.5]


def test_equal_content_is_one_photograph(eye, photos):
    shutil.copy(photos / "a.png", photos / "sub" / "again.png")
    scored = eye.score(photos)
    assert len(scored) == 4
    assert scored[0].duplicates == (str(photos / "sub" / "again.png"),)
    # a rating of either file is a rating of both, the later one counts
    me = rater((str(photos / "a.png"), 1), (str(photos / "sub" / "again.png"), 5))
    eye.score(photos, rater=me)
    assert list(eye.scorer.asked[-1][1].ratings) == [beholder.Rating(str(photos / "a.png"), 5.0)]


def test_names_are_resolved(eye, photos, tmp_path, monkeypatch):
    (outside,) = make_photos(tmp_path / "elsewhere", "far.png", start=7)
    monkeypatch.chdir(tmp_path)
    me = rater(("photos/a.png", 5), ("sub/c.png", 4), ("D.png", 3), (outside, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eye.score(photos, rater=me)
    images, asked = eye.scorer.asked[-1]
    assert asked.ratings.images == [str(photos / name) for name in ("a.png", "sub/c.png", "sub/d.png")] + [outside]
    assert outside not in images  # it counts as evidence, but is not ranked
    eye.score(photos, rater=rater(("far.png", 1)), look_in=[tmp_path / "elsewhere"])
    assert eye.scorer.asked[-1][1].ratings.images == [outside]


def test_a_name_that_could_be_two_is_not_guessed(photos):
    twice = [*make_photos(photos, "sub/a.png", start=9), str(photos / "a.png")]
    assert find_files(["x/a.png", "sub/a.png"], photos=twice) == {"sub/a.png": twice[0]}
    found = locate(rater(("a.png", 5)), photos=twice)
    assert not len(found.rater.ratings) and found.ratings_gone == ("a.png",)


def test_gone_images_are_said(eye, photos):
    (photos / "broken.jpg").write_bytes(b"no image at all, just words " * 9)
    entries = [(f"gone{i}.png", 1) for i in range(5)] + [("a.png", 5), ("broken.jpg", 2)]
    choices = beholder.Choices((("a.png", "b.png"), ("a.png", "gone9.png")))
    with pytest.warns(SkippedInput) as said:
        eye.rank(photos / "a.png", rater=rater(*entries, choices=choices))
    messages = [str(one.message) for one in said]
    assert messages[0].startswith("6 of 7 ratings are left out") and "gone0.png, gone1.png, gone2.png and 3 more" in messages[0]
    assert messages[1].startswith("1 of 2 choices are left out") and "gone9.png" in messages[1]
    asked = eye.scorer.asked[-1][1]
    assert [os.path.basename(c.chosen) for c in asked.choices] == ["a.png"]


def test_nothing_to_rank(eye, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BeholderError, match="no photographs in"):
        eye.rank(empty)
    (empty / "x.jpg").write_bytes(b"")
    with pytest.raises(BeholderError, match="is empty"):
        eye.rank(empty)
    with pytest.raises(BeholderError, match="does not exist"):
        eye.rank(tmp_path / "nowhere")


def test_explain_and_suggest(eye, photos):
    me = rater(("b.png", 5), ("sub/d.png", 2))
    why = eye.explain(photos / "a.png", rater=rater(("b.png", 5)))
    assert sum(why.parts.values()) == pytest.approx(why.score)
    assert [os.path.basename(image) for image, _ in why.influences] == ["b.png"]
    assert eye.suggest(photos, rater=me, n=5) == [str(photos / "sub" / "c.png"), str(photos / "a.png")]
    with pytest.raises(BeholderError, match="rated already"):
        eye.suggest(photos / "b.png", rater=me)
    plain = Eye(Plain(features=eye.features), features=eye.features)
    for call in (lambda: plain.explain(photos / "a.png"), lambda: plain.suggest(photos)):
        with pytest.raises(BeholderError, match=r"plain cannot .*: use taste"):
            call()


def test_a_second_look_encodes_nothing(eye, photos):
    first = eye.rank(photos)
    before = eye.features.encoder.n_encoded
    assert eye.rank(photos) == first
    assert eye.features.encoder.n_encoded == before == 4


def test_more_features_than_memory_give_the_same(eye, photos, tmp_path, monkeypatch):
    shutil.copy(photos / "a.png", photos / "sub" / "again.png")
    (photos / "bad.png").write_bytes(b"")
    me = rater((str(photos / "a.png"), 5), ("d.png", 1))
    whole = eye.rank(photos, rater=me)

    collected = []

    def counted(*arguments, **more):
        collected.append(more["collect"])
        return index(*arguments, **more)

    monkeypatch.setattr(source_module, "index", counted)
    for limit, together in ((4 * 9 * 6, True), (4 * 9 * 6 - 1, False)):  # six files of nine numbers
        monkeypatch.setattr(eye_module, "LARGE", limit)
        features = Features(SlowEncoder(), store=FeatureStore(tmp_path / str(limit)))
        with Eye(Stub(features=features), features=features) as other:
            assert other.rank(photos, rater=me) == whole
        assert features.encoder.n_encoded == 4
        assert collected[0] is together
        collected.clear()


def test_scorers_by_name(eye):
    with pytest.raises(BeholderError, match=r"no scorer 'tast': did you mean taste\? Known are taste, population, linear-hidden"):
        scorer_class("tast")
    assert scorer_class("stub_scorers:Stub") is Stub
    for bad in ("stub_scorers:Nothing", "no_such_module:X", "beholder.scale:Scale", ":x"):
        with pytest.raises(BeholderError, match="is not a scorer"):
            scorer_class(bad)
    with pytest.raises(BeholderError, match="no trained weights"):
        make("stub_scorers:Plain", features=eye.features, weights="somewhere")


def test_loaded_as_in_the_readme(photos):
    profile = beholder.Profile(age=34, gender="female", openness=8)
    me = beholder.Rater(profile=profile, ratings=beholder.Ratings([("a.png", 5), ("sub/d.png", 1)]))
    with beholder.load("stub_scorers:Stub") as eye:
        ranked = eye.rank(photos, rater=me)
    assert ranked[0].image == str(photos / "a.png") and ranked[-1].image == str(photos / "sub" / "d.png")
    assert all(p.low <= p.score <= p.high for p in ranked)
    assert np.all(np.diff([p.score for p in ranked]) <= 0)
