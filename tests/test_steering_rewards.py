"""The reward: a scorer's predictions for raters on 0..1, less penalties."""

import math
import shutil

import numpy as np
import pytest

import beholder
from beholder.engine.source import Features
from beholder.eye import Eye
from beholder.features import FeatureStore
from beholder.located import SkippedInput
from beholder.steering.rewards import Penalty, ScorerJudge
from command_line import make_photos, refused
from slow_encoder import SlowEncoder
from stub_scorers import Stub


class Told(Stub):
    """Remembers what it was told of images."""

    name = "told"

    def tell(self, about):
        self.about = dict(about)


class Measure:
    """A drift and a match that are known by name."""

    name, version = "measure", "1"

    def drift(self, prompts, goal):
        return np.array([float(prompt != goal) for prompt in prompts])

    def match(self, images, text):
        return np.array([0.25 if "b.png" in str(image) else 1.0 for image in images])


@pytest.fixture
def eye(tmp_path):
    features = Features(SlowEncoder(), store=FeatureStore(tmp_path / "features"))
    with Eye(Told(features=features), features=features) as eye:
        yield eye


@pytest.fixture
def images(tmp_path):
    return make_photos(tmp_path / "images", "a.png", "b.png", "c.png")


def judged(judge, images, prompts=None):
    return judge.judge(images, prompts=prompts or ["boat"] * len(images), goal="boat")


def test_the_reward_is_the_prediction_on_0_to_1_whatever_the_scale(eye, images):
    wide = beholder.Rater(ratings=beholder.Ratings(scale=beholder.Scale(0, 100, 0)))
    for rater in (beholder.Rater(), wide):
        found = judged(ScorerJudge(eye, raters={"me": rater}), images)
        expected = [float(rater.scale.to_unit(p.score)) for p in eye.score(images, rater=rater)]
        assert [one.reward for one in found] == pytest.approx(expected, abs=1e-12)
        assert all(one.parts == {"rater me": one.reward} and not one.skipped for one in found)


def test_several_raters_are_averaged_and_shown_apart(eye, images):
    people = {"open": beholder.Rater(profile=beholder.Profile(openness=10)), "closed": beholder.Rater(profile=beholder.Profile(openness=1))}
    found = judged(ScorerJudge(eye, raters=people), images)
    for one in found:
        assert one.parts["rater open"] == pytest.approx(one.parts["rater closed"] + 0.18)
        assert one.reward == pytest.approx((one.parts["rater open"] + one.parts["rater closed"]) / 2)


def test_a_reward_depends_on_no_other_image_and_equal_images_get_equal_rewards(eye, images, tmp_path):
    judge = ScorerJudge(eye, raters={"me": beholder.Rater()})
    twin = shutil.copy(images[0], tmp_path / "twin.png")
    together = judged(judge, [*images, str(twin)])
    alone = [judged(judge, [path])[0] for path in images]
    assert together[:3] == alone
    assert together[3].reward == together[0].reward


def test_penalties_are_taken_off_and_shown(eye, images):
    plain = judged(ScorerJudge(eye, raters={"me": beholder.Rater()}), images)
    penalty = Penalty(drift=0.5, unfaithful=0.4, of_prompt=Measure(), of_image=Measure())
    found = judged(ScorerJudge(eye, raters={"me": beholder.Rater()}, penalty=penalty), images, ["boat", "boat", "ship"])
    assert [before.reward - after.reward for before, after in zip(plain, found, strict=True)] == pytest.approx([0.0, 0.3, 0.5])
    assert found[1].parts["unfaithful"] == pytest.approx(-0.3) and found[2].parts["drift"] == pytest.approx(-0.5)
    assert found[0].parts["rater me"] == plain[0].parts["rater me"]


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_judged(eye, images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    judge = ScorerJudge(eye, raters={"me": beholder.Rater()}, penalty=Penalty(drift=1.0, of_prompt=Measure()))
    found = judged(judge, [images[0], str(broken), images[1]])
    assert found[1].skipped and math.isnan(found[1].reward)
    assert found[0].reward == judged(judge, [images[0]])[0].reward
    assert judged(judge, [str(broken)])[0].skipped


def test_the_scorer_is_told_the_prompts(eye, images):
    judged(ScorerJudge(eye, raters={"me": beholder.Rater()}), images, ["one", "two", "three"])
    assert sorted(about.prompt for about in eye.scorer.about.values()) == ["one", "three", "two"]


def test_the_version_changes_with_whatever_decides_a_reward(eye, images):
    rated = beholder.Rater(ratings=beholder.Ratings([(images[0], 5)]))
    judges = [
        ScorerJudge(eye, raters={"me": beholder.Rater()}),
        ScorerJudge(eye, raters={"me": rated}),
        ScorerJudge(eye, raters={"me": beholder.Rater(profile=beholder.Profile(age=30))}),
        ScorerJudge(eye, raters={"me": beholder.Rater(), "you": beholder.Rater()}),
        ScorerJudge(eye, raters={"me": beholder.Rater()}, penalty=Penalty(drift=0.1, of_prompt=Measure())),
    ]
    assert len({judge.version for judge in judges}) == len(judges)
    assert ScorerJudge(eye, raters={"me": rated}).version == judges[1].version


def test_bad_rewards_are_refused(eye, images):
    refused(lambda: ScorerJudge(eye, raters={}), "no rater")
    refused(lambda: Penalty(drift=-1.0, of_prompt=Measure()), "drift", "from 0")
    refused(lambda: Penalty(unfaithful=0.5), "unfaithful", "nothing that measures")
    refused(lambda: ScorerJudge(eye, raters={"me": beholder.Rater()}).judge(images, prompts=["one"], goal="x"), "3 images", "1 prompts")


def test_a_rater_whose_images_are_all_gone_is_refused_and_one_who_lost_some_is_not(eye, images, tmp_path):
    gone = beholder.Rater(ratings=beholder.Ratings([("nowhere/x.png", 5), ("nowhere/y.png", 1)]))
    refused(lambda: ScorerJudge(eye, raters={"anna": gone}), "none of the 2 images that anna rated", "nowhere/x.png")
    some = beholder.Rater(ratings=beholder.Ratings([("nowhere/x.png", 5), (images[0], 1)]))
    with pytest.warns(SkippedInput, match="x.png"):
        judged(ScorerJudge(eye, raters={"anna": some}), images)
    relative = beholder.Rater(ratings=beholder.Ratings([("a.png", 5), ("b.png", 1)]))
    assert not judged(ScorerJudge(eye, raters={"anna": relative}, look_in=[tmp_path / "images"]), images)[0].skipped
