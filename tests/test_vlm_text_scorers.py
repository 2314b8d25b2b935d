"""`raw-text`, `few-shot` and `adjust-bias` with a planted model: prompts, scales, intervals, counts, what is kept; and with a real tiny one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_qwen
from beholder import load
from beholder.backbones.vlm import answers, prompts
from beholder.backbones.vlm.base import PreparedImage
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError, UnreadableImage
from beholder.located import SkippedInput
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers import make
from beholder.scorers.answer_calibration import Calibration
from beholder.scorers.vlm_text import asking
from beholder.scorers.vlm_text.adjust_bias import AdjustBiasScorer

SHADES = (0, 64, 128, 192, 255)


@dataclass
class Planted:
    """A model whose answers are known, in the place of a `VisionLanguageModel` and its `Answerer` at once.

    Args:
        says: (brightness 0..1 of the image, the ratings shown, the last text) -> answer.

    Attributes:
        conversations: [parts], images as brightness.
        kept: how many beginnings went through it.
    """

    says: object
    context: int | None = None
    revision: str = "0123456789ab"
    name, processing, dtype_name, max_pixels = "planted", "as it is", "float32", 10**6
    conversations: list = field(default_factory=list)
    kept: int = 0
    fails_after: int | None = None

    def prepare(self, image):
        return PreparedImage({"pixels": np.asarray(image, dtype=np.float32) / 255}, 1, "")

    def turn(self, parts, *, reply):
        assert reply
        return Said([part if isinstance(part, str) else float(part.arrays["pixels"].mean()) for part in parts])

    def keep(self, turn):
        self.kept += 1
        return len(turn.parts) - 2

    def answers(self, turns, *, prefix=None):
        for place in reversed(range(len(turns))):
            if self.fails_after is not None and len(self.conversations) >= self.fails_after:
                raise KeyboardInterrupt
            parts = turns[place].parts
            self.conversations.append(parts)
            shown = [float(found[1]) for part in parts if isinstance(part, str) and (found := re.search(r"image ([\d.]+) out of 5", part))]
            text = self.says(parts[-2], shown, parts[-1])
            yield place, answers.Answer(str(text), answers.parse_number(str(text)) or 3.0, len(turns[place].ids), 1)


@dataclass
class Said:
    parts: list

    @property
    def ids(self):
        return "".join(map(str, self.parts)).split()


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """Gives a function that puts a model in the place of every model."""
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "cache"))

    def put(says, **more):
        model = Planted(says, **more)
        monkeypatch.setattr(asking, "open_vlm", lambda name, **options: model)
        monkeypatch.setattr(asking, "_answerer", lambda vlm, options: vlm)
        return model

    return put


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for shade in SHADES:
        Image.new("RGB", (32, 24), (shade,) * 3).save(tmp_path / "photos" / f"{shade}.png")
    return [str(tmp_path / "photos" / f"{shade}.png") for shade in SHADES]


def bright(value, shown, text):
    return f"I say {1 + 4 * value:.2f}, or so"


def rater(photos, scores, *, scale=None, name="me"):
    return Rater(name=name, ratings=Ratings(list(zip(photos, scores, strict=False)), scale=scale or Scale(1, 5, 0)))


# raw-text


def test_raw_text_asks_the_published_question_once_per_image(planted, photos):
    model = planted(bright)
    scorer = make("raw-text", features=None)
    one, other = scorer.predict_many([(photos, Rater()), (photos[::-1], rater(photos, [1, 2]))])
    assert len(model.conversations) == 5 and model.kept == 0
    assert {(len(parts), parts[1]) for parts in model.conversations} == {(2, prompts.PROMPTS["format"])}
    assert np.allclose(one.score, 1 + 4 * np.array(SHADES) / 255, atol=0.01)
    assert np.array_equal(one.score, other.score[::-1])
    assert (one.low == 1).all() and (one.high == 5).all()
    assert not scorer.uses_ratings and not scorer.uses_profile
    assert scorer.notes() == ["raw-text: planted answered 5 questions, 0 answers were already known"]


@pytest.mark.parametrize(("scale", "expected"), [(Scale(0, 100, 0), (0, 25, 50, 75, 100)), (Scale(1, 7), (1, 2.5, 4, 5.5, 7))])
def test_numbers_are_mapped_between_the_ends_of_the_scale(planted, photos, scale, expected):
    planted(bright)
    found = make("raw-text", features=None).predict(photos, Rater(ratings=Ratings([], scale=scale)))
    assert np.allclose(found.score, expected, atol=0.02 * scale.width)
    assert (found.low == scale.low).all() and (found.high == scale.high).all()


@pytest.mark.parametrize(("said", "score"), [("4.5", 4.5), ("Score: 3/5", 3), ("+2 stars", 2), ("9", 5), ("-3", 1), ("2.", 2), ("1e3", 1)])
def test_the_first_number_counts_cut_off_at_the_ends(planted, photos, said, score):
    planted(lambda *_: said)
    assert make("raw-text", features=None).predict(photos[:1], Rater()).score == [score]


def test_answers_without_a_number_are_counted_and_get_the_middle(planted, photos):
    planted(lambda value, *_: "lovely!" if value > 0.9 else "4")
    scorer = make("raw-text", features=None)
    with pytest.warns(SkippedInput, match="1 of 5 answers of planted hold no number .*255.png: 'lovely!'") as caught:
        found = scorer.predict(photos, Rater())
    assert len(caught) == 1 and found.score.tolist() == [4, 4, 4, 4, 3] and scorer.unparsed == 1
    assert scorer.notes()[1] == "raw-text: 1 images without a number in the answer"


def test_answers_are_kept_and_an_interrupted_run_goes_on(planted, photos):
    model = planted(bright, fails_after=3)
    scorer = make("raw-text", features=None)
    done = []
    scorer.progress = lambda *at: done.append(at)
    with pytest.raises(KeyboardInterrupt):
        scorer.predict(photos, Rater())
    assert done == [(0, 5), (1, 5), (2, 5), (3, 5)]
    model.fails_after = None
    again = make("raw-text", features=None)
    again.progress = lambda *at: done.append(at)
    found = again.predict(photos, Rater())
    assert len(model.conversations) == 5 and done[4:] == [(3, 5), (4, 5), (5, 5)]
    assert again.notes() == ["raw-text: planted answered 2 questions, 3 answers were already known"]
    assert np.array_equal(make("raw-text", features=None).predict(photos, Rater()).score, found.score) and len(model.conversations) == 5
    make("raw-text[keep=false]", features=None).predict(photos, Rater())
    assert len(model.conversations) == 10


def test_what_is_kept_is_known_by_content_model_and_settings(planted, photos, tmp_path):
    model = planted(bright)
    make("raw-text", features=None).predict(photos, Rater())
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(photos[2]).read_bytes())
    make("raw-text", features=None).predict([str(copy)], Rater())
    assert len(model.conversations) == 5
    Image.new("RGB", (32, 24), (9, 9, 9)).save(photos[2])
    make("raw-text", features=None).predict(photos, Rater())
    assert len(model.conversations) == 6
    make("raw-text[max_new_tokens=5]", features=None).predict(photos, Rater())
    make("raw-text[read=expected]", features=None).predict(photos, Rater())
    assert len(model.conversations) == 16
    model.revision = "ba9876543210"
    make("raw-text", features=None).predict(photos, Rater())
    assert len(model.conversations) == 21


def test_expected_scores_are_read_from_probabilities_not_from_words(planted, photos):
    planted(lambda value, *_: "no idea")  # without a number: the planted mean is 3
    assert make("raw-text[read=expected]", features=None).predict(photos, Rater()).score.tolist() == [3] * 5


def test_an_image_that_cannot_be_read_is_an_error_here_and_named(planted, photos, tmp_path):
    planted(bright)
    (tmp_path / "no.png").write_bytes(b"a shopping list\n" * 30)
    for gone in ("no.png", "nowhere.png"):
        with pytest.raises(UnreadableImage, match=gone):
            make("raw-text", features=None).predict([photos[0], str(tmp_path / gone)], Rater())


def dataset(photos, *, n_raters=12, seed=0):
    """Ratings = 2 + 2 x brightness + noise of .25: flatter and higher than the answers 1 + 4 x brightness."""
    rng = np.random.default_rng(seed)
    who, image = (a.ravel() for a in np.meshgrid(np.arange(n_raters), np.arange(len(photos)), indexing="ij"))
    return Dataset(
        name="planted",
        scale=Scale(1, 5, 0),
        raters=tuple(f"r{u}" for u in range(n_raters)),
        profiles=(Profile(),) * n_raters,
        images=tuple(map(Path, photos)),
        image_ids=tuple(map(str, SHADES)),
        groups=tuple(map(str, SHADES)),
        rating_rater=who,
        rating_image=image,
        rating_score=np.clip(2 + 2 * np.array(SHADES)[image] / 255 + rng.normal(0, 0.25, len(who)), 1, 5),
    )


def test_fit_learns_level_slope_and_error(planted, photos):
    model = planted(bright)
    scorer = make("raw-text[fit_ratings=50]", features=None)
    before = scorer.version
    assert scorer.fit(dataset(photos)) is scorer and len(model.conversations) == 5
    assert scorer.version != before
    found = scorer.predict(photos, Rater())
    assert np.abs(found.score - (2 + 2 * np.array(SHADES) / 255)).max() < 0.25
    assert 0.3 < ((found.high - found.low) / 2).mean() < 0.7
    unfitted = make("raw-text", features=None).fit(dataset(photos))
    assert unfitted.calibration is None and unfitted.version == before


def test_fit_needs_answers_with_numbers(planted, photos):
    planted(lambda *_: "nice")
    with pytest.warns(SkippedInput), pytest.raises(BeholderError, match="only 0 of 30 answers of planted hold a number"):
        make("raw-text[fit_ratings=30]", features=None).fit(dataset(photos))


def test_the_line_is_least_squares_and_never_turns_a_ranking_round():
    rng = np.random.default_rng(0)
    said = rng.uniform(size=200)
    truth = 0.2 + 0.5 * said + rng.normal(0, 0.05, 200)
    line = Calibration.of(said, truth)
    assert np.allclose([line.slope, line.intercept], np.polyfit(said, truth, 1))
    assert 0.89 < (np.abs(truth - line(said)) <= line.half_width).mean() < 0.93
    assert Calibration.of(said, -truth).slope == 0 == Calibration.of(np.full(20, 0.5), truth[:20]).slope


# few-shot


def test_few_shot_shows_the_first_ratings_in_the_published_words(planted, photos):
    model = planted(lambda value, shown, text: np.mean(shown))
    scorer = make("few-shot[examples=3]", features=None)
    me = rater(photos[1:], [100, 0, 25, 50], scale=Scale(0, 100, 0))
    found = scorer.predict(photos[:1], me)
    parts = model.conversations[0]
    assert parts[0] == prompts.FEW_SHOT_INTRO and parts[-1] == prompts.FEW_SHOT_QUESTION
    assert parts[2:-2:2] == [
        f"Example {i}: This user rated this image {score} out of 5." for i, score in ((1, "5.00"), (2, "1.00"), (3, "2.00"))
    ]
    assert np.allclose(parts[1:-1:2], [shade / 255 for shade in (*SHADES[1:4], SHADES[0])], atol=0.01)
    assert found.score == pytest.approx([(8 / 3 - 1) / 4 * 100]) and (found.low[0], found.high[0]) == (0, 100)
    assert scorer.uses_ratings


def test_examples_go_through_the_model_once_per_rater(planted, photos):
    model = planted(lambda value, shown, text: shown[0])
    me, twin, other = rater(photos[:2], [1, 2]), rater(photos[:2], [1, 2], name="twin"), rater(photos[:2], [4, 2], name="other")
    found = make("few-shot[batch=1]", features=None).predict_many([(photos, me), (photos[2:], other), (photos[1:], twin)])
    assert model.kept == 2 and len(model.conversations) == 5 + 3
    assert [set(p.score.tolist()) for p in found] == [{1}, {4}, {1}] and [len(p) for p in found] == [5, 3, 4]
    plain = make("few-shot[share_prefix=false]", features=None).predict(photos, me)
    assert model.kept == 2 and len(model.conversations) == 13, "what was answered after a kept beginning does not stand for the plain way"
    assert plain.score.tolist() == [1] * 5


def test_a_rater_without_ratings_gets_the_question_without_examples(planted, photos):
    model = planted(bright)
    found = make("few-shot", features=None).predict(photos, Rater())
    assert {parts[-1] for parts in model.conversations} == {prompts.PROMPTS["format"]} and model.kept == 0
    assert np.array_equal(found.score, make("raw-text", features=None).predict(photos, Rater()).score)
    assert len(model.conversations) == 5


def test_other_ratings_or_images_are_another_question(planted, photos):
    model = planted(lambda value, shown, text: shown[-1])
    for who in (rater(photos, [1, 2]), rater(photos, [1, 3]), rater(photos[1:], [1, 2]), rater(photos, [1, 2, 3]), rater(photos, [1, 2])):
        make("few-shot", features=None).predict(photos[-1:], who)
    assert len(model.conversations) == 4


def test_rated_images_that_cannot_be_read_are_left_out_and_said(planted, photos, tmp_path):
    model = planted(lambda value, shown, text: shown[0])
    (tmp_path / "no.png").write_bytes(b"a shopping list\n" * 30)
    names = [str(tmp_path / "gone.png"), str(tmp_path / "no.png"), *photos]
    one, other = rater(names, [5, 4, 3, 2, 1]), rater(photos, [2, 2], name="other")
    for turn in range(2):
        with pytest.warns(SkippedInput, match=r"2 rated images are left out.*gone.png.*no.png") as caught:
            found = make("few-shot[examples=2]", features=None).predict_many([(photos[2:], one), (photos[3:], other)])
        assert len(caught) == 1 and [p.score.tolist() for p in found] == [[3] * 3, [2] * 2]
        assert len(model.conversations) == 5, f"round {turn}"
    assert all(len(parts) == 7 for parts in model.conversations)
    with pytest.raises(UnreadableImage, match=r"no\.png"):
        make("few-shot", features=None).predict([names[1]], other)


def test_raters_who_rated_the_same_unreadable_image(planted, photos, tmp_path):
    model = planted(lambda value, shown, text: shown[0])
    names = [tmp_path / "no.png", tmp_path / "copy.png"]  # two names of the same content share their answers, and their error
    for name in names:
        name.write_bytes(b"a shopping list\n" * 30)
    raters = [rater([str(name), photos[0]], [5, 2], name=str(number)) for number, name in enumerate([names[0], names[0], names[1]])]
    with pytest.warns(SkippedInput, match="2 rated images are left out"):
        found = make("few-shot", features=None).predict_many([(photos[1:3], one) for one in raters])
    assert [p.score.tolist() for p in found] == [[2, 2]] * 3
    assert len(model.conversations) == 2


def test_a_conversation_that_is_too_long_is_one_sentence(planted, photos):
    planted(bright, context=100)
    with pytest.raises(BeholderError, match=r"takes \d+ tokens, and it can read 100: show fewer examples, or make max_pixels smaller"):
        make("few-shot", features=None).predict(photos[:1], rater(photos, [1, 2]))
    planted(bright, context=20)
    with pytest.raises(BeholderError, match=r"can read 20: make max_pixels smaller"):
        make("raw-text", features=None).predict(photos[:1], Rater())


@pytest.mark.parametrize("options", ["examples=0", "batch=0", "max_new_tokens=0"])
def test_options_out_of_range_are_refused(planted, options):
    planted(bright)
    with pytest.raises(BeholderError, match=f"{options.replace('=', ' = ')} is too small: give 1 or more"):
        make(f"few-shot[{options}]", features=None)


# adjust-bias


def test_the_bias_is_the_mean_difference(planted, photos):
    planted(bright)
    me = rater(photos[:3], [2, 3, 2.6])
    found = make("adjust-bias", features=None).predict(photos[3:], me)
    general = np.round(1 + 4 * np.array(SHADES) / 255, 2)
    bias = np.mean(general[:3] - [2, 3, 2.6])
    assert np.allclose(found.score, np.clip(general[3:] - bias, 1, 5))
    spread = np.std(general[:3] - [2, 3, 2.6], ddof=1)
    assert found.high[0] - found.score[0] == pytest.approx(min(2.919986 * spread * np.sqrt(4 / 3), 5 - found.score[0]))
    assert found.scorer == "adjust-bias" and "raw-text" in found.version


def test_without_ratings_it_is_the_general_score_and_few_give_no_interval(planted, photos):
    planted(bright)
    scorer = make("adjust-bias", features=None)
    none, two = scorer.predict(photos, Rater()), scorer.predict(photos, rater(photos, [5, 5]))
    assert np.array_equal(none.score, make("raw-text", features=None).predict(photos, Rater()).score)
    for found in (none, two):
        assert (found.low == 1).all() and (found.high == 5).all()
    assert two.score[2] > none.score[2]


def test_equal_differences_do_not_make_it_sure_of_itself(planted, photos):
    planted(bright)
    general = np.round(1 + 4 * np.array(SHADES) / 255, 2)
    found = make("adjust-bias", features=None).predict(photos[4:], rater(photos[:4], general[:4]))
    assert found.score == pytest.approx([5]) and found.low[0] < 4.95


def test_images_without_a_number_get_the_mean_rating_and_do_not_count_as_difference(planted, photos):
    planted(lambda value, *_: "lovely" if value in (0, 1) else 3)
    with pytest.warns(SkippedInput, match="2 of 5 answers"):
        found = make("adjust-bias", features=None).predict(photos[2:], rater([photos[0], photos[1], photos[3]], [5, 2, 2]))
    assert found.score.tolist() == [2, 2, 3] and (found.low[2], found.high[2]) == (1, 5)


def test_all_raters_are_asked_for_at_once_and_broken_ratings_are_left_out(planted, photos, tmp_path):
    model = planted(bright)
    broken = str(tmp_path / "broken.jpg")
    Path(broken).write_bytes(b"\xff\xd8\xff" + b"0" * 500)
    with pytest.warns(SkippedInput, match=r"1 rated images are left out.*broken.jpg"):
        found = make("adjust-bias", features=None).predict_many(
            [(photos, rater([broken, photos[2]], [1, 4])), (photos, rater(photos[2:3], [4])), ([], Rater())]
        )
    assert np.array_equal(found[0].score, found[1].score) and len(found[2]) == 0 and len(model.conversations) == 5
    with pytest.raises(UnreadableImage, match="broken"):
        make("adjust-bias", features=None).predict([broken], Rater())


class Columns:
    """Features that are the brightness of an image."""

    dim, key = 1, "brightness"

    def __call__(self, images):
        for image in images:
            if not Path(image).is_file():
                raise UnreadableImage(image, "is gone")
        return np.array([[int(Path(image).stem) / 255] for image in images], dtype=np.float32)


def test_population_can_give_the_general_score(planted, photos, tmp_path):
    model = planted(bright)
    scorer = make("adjust-bias[giaa=population]", features=Columns(), trained=False)
    assert scorer.fit(dataset(photos)) is scorer
    population = scorer.general.predict(photos, Rater())
    assert population.scorer == "population" and model.conversations == []
    assert scorer.trained_on(photos) == 5 and scorer.frozen_models() == []
    me = rater([photos[0], str(tmp_path / "7.png"), photos[2]], [4, 4, 5])
    with pytest.warns(SkippedInput, match="1 rated images are left out"):
        found = scorer.predict(photos, me)
    bias = np.mean(population.score[[0, 2]] - [4, 5])
    assert np.allclose(found.score, np.clip(population.score - bias, 1, 5))
    nobody = scorer.predict(photos, Rater())
    assert all(np.allclose(getattr(nobody, end), getattr(population, end)) for end in ("score", "low", "high"))
    scorer.save_pretrained(tmp_path / "weights")
    again = make("adjust-bias[giaa=population]", features=Columns(), weights=tmp_path / "weights")
    with pytest.warns(SkippedInput):
        assert np.allclose(again.predict(photos, me).score, found.score)
    assert (
        again.version == scorer.version
        and AdjustBiasScorer.layers_of(scorer.options)
        and not AdjustBiasScorer.layers_of(replace(scorer.options, giaa="raw-text"))
    )


def test_it_takes_the_options_of_raw_text(planted, photos):
    planted(bright)
    scorer = make("adjust-bias[fit_ratings=50,read=expected]", features=None)
    steps = []
    scorer.fit(dataset(photos), progress=lambda *step: steps.append(step))
    assert scorer.general.calibration is not None and len(steps) == 2 and "expected" in scorer.version
    scorer.progress = lambda *at: steps.append(at)
    found = scorer.predict(photos, Rater())
    assert np.array_equal(
        found.low, make("raw-text[fit_ratings=50,read=expected]", features=None).fit(dataset(photos)).predict(photos, Rater()).low
    )
    assert scorer.trained_on(photos) == 0 and scorer.frozen_models() == [scorer.general.asker.vlm]
    assert len(steps) == 3 and "adjust-bias" not in scorer.notes()[0]


# all of them


@pytest.mark.parametrize("name", ["raw-text", "few-shot", "adjust-bias"])
def test_there_is_always_an_answer(planted, photos, name):
    planted(lambda value, shown, text: "3" if value < 0.9 else "")
    one_rating, same = rater(photos, [5]), rater(photos, [2] * 4)
    with pytest.warns(SkippedInput):
        found = make(name, features=None).predict_many([(photos, one_rating), (photos, same), (photos, Rater()), ([], same)])
    for predictions in found:
        for values in (predictions.score, predictions.low, predictions.high):
            assert np.isfinite(values).all() and (values >= 1).all() and (values <= 5).all()
        assert (predictions.low <= predictions.score).all() and (predictions.score <= predictions.high).all()
    assert make(name, features=None).predict_many([]) == []


@pytest.mark.parametrize("name", ["few-shot[examples=3,{}]", "adjust-bias[{}]"])
def test_a_real_model_answers_alike_in_every_way(photos, tmp_path, monkeypatch, name):
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "cache"))
    model = tiny_qwen.save_qwen2_5_vl(tmp_path / "model")
    options = f"model={model},dtype=float32,device=cpu,read=expected,max_new_tokens=3"
    me = rater(photos[:3], [1, 5, 2])
    together = make(name.format(options), features=None).predict(photos, me)
    alone = make(name.format(f"{options},keep=false,batch=1"), features=None)
    assert np.allclose([alone.predict([photo], me).score[0] for photo in photos], together.score, atol=1e-4)
    assert np.ptp(together.score) > 1e-3
    if name.startswith("few-shot"):
        plain = make(name.format(f"{options},share_prefix=false"), features=None).predict(photos, me)
        assert np.allclose(plain.score, together.score, atol=1e-4)
        assert (
            np.abs(make(name.format(options), features=None).predict(photos, rater(photos[:3], [5, 1, 4])).score - together.score).max()
            > 1e-3
        )


def test_in_an_eye_bad_files_are_named_and_equal_ones_found(planted, photos, tmp_path):
    model = planted(bright)
    (tmp_path / "photos" / "text.png").write_bytes(b"a shopping list\n" * 30)
    (tmp_path / "photos" / "zebra.png").write_bytes(Path(photos[4]).read_bytes())
    with load("few-shot[examples=2]") as eye, pytest.warns(SkippedInput, match="1 of 3 ratings are left out"):
        found = eye.rank(tmp_path / "photos", rater=Rater(ratings=Ratings([("0.png", 5), ("64.png", 1), ("gone.png", 3)])))
    assert [p.image.rpartition("/")[2] for p in found] == [f"{shade}.png" for shade in SHADES[::-1]] + ["text.png"]
    assert found[0].duplicates == (str(tmp_path / "photos" / "zebra.png"),) and found[-1].skipped_reason
    assert len(model.conversations) == 5 and all(len(parts) == 7 for parts in model.conversations)
