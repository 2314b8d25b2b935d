"""`single-stage` and `two-stage` against a server with a known taste: the published prompts, scores, intervals, counts, and the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_chat_models
from beholder import load
from beholder.backbones.no_encoder import NoEncoder
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation import bench
from beholder.evaluation.protocols import get
from beholder.located import SkippedInput
from beholder.personas import prompts, questions
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers import encoder_for, make, scorer_class
from beholder.scorers.baselines.chat_scorer import Calibration
from beholder.scorers.baselines.two_stage import SCORE
from chat_server import brightness, completion, serving, slowly
from command_line import beholder, one_sentence

SHADES = {"black": 0, "dark": 75, "grey": 128, "light": 180, "white": 255}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def photos(tmp_path):
    """Five photographs from black to white, as paths in that order."""
    (tmp_path / "photos").mkdir()
    for name, shade in SHADES.items():
        Image.new("RGB", (40, 30), (shade,) * 3).save(tmp_path / "photos" / f"{name}.png")
    return [str(tmp_path / "photos" / f"{name}.png") for name in SHADES]


def taste(request, number):
    """Who is open likes what is bright, everybody else what is dark; 0 to 10."""
    openness = re.search(r"openness\D*(\d+)", request["system"], re.IGNORECASE)
    bright = brightness(request["image"])
    liked = bright if openness and int(openness[1]) > 5 else 1 - bright
    return f"Regarding the aesthetics of this image, my score is {round(10 * liked)}."


def describes(request, number):
    return f"A picture of brightness {brightness(request['image']):.2f}. I give it 3 out of 10."


def reads(request, number):
    value = float(re.search(r"brightness ([\d.]+)", request["text"])[1].rstrip("."))
    return f"Regarding the aesthetics of this image, my score is {round(10 * value)}."


OPEN, CLOSED = Rater(profile=Profile(openness=9)), Rater(profile=Profile(openness=2))


def single(server, more=""):
    return make(f"single-stage[model={server.name()}{more}]", features=None)


def test_the_published_question_and_the_profile_are_sent(photos):
    with serving(taste) as server:
        single(server).predict(photos[:1], OPEN)
        single(server).predict(photos[:1], Rater())
        single(server, ",style=short").predict(photos[:1], OPEN)
    known, nothing, short = server.requests
    assert known["text"] == nothing["text"] == questions.BASELINES["single_stage"]
    assert known["text"].startswith("Rate the aesthetics of this image based on the persona you are embodying.")
    assert known["system"] == prompts.render(OPEN.profile) and "Openness" in known["system"]
    assert short["system"] == prompts.render(OPEN.profile, style="short") != known["system"]
    assert [message["role"] for message in nothing["body"]["messages"]] == ["user"]
    assert known["image"].size == (40, 30)


def test_scores_follow_picture_and_profile(photos):
    with serving(taste) as server:
        scorer = single(server)
        bright, dark = scorer.predict(photos, OPEN), scorer.predict(photos, CLOSED)
    assert bright.score.tolist() == [1, 1.5, 2.5, 3.5, 5]  # 0, 3, 5, 7, 10 of ten are halved, and cut off at 1
    assert dark.score.tolist() == [5, 3.5, 2.5, 1.5, 1]
    assert (bright.low == 1).all() and (bright.high == 5).all()
    assert (bright.scorer, bright.scale, bright.images) == ("single-stage", Scale(), tuple(photos))
    assert scorer.uses_profile and not scorer.uses_ratings


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(Scale(0, 100, 0), [0, 30, 50, 70, 100]), (Scale(1, 7), [1, 2.8, 4, 5.2, 7]), (Scale(1, 10), [1, 3, 5, 7, 10])],
)
def test_scores_are_on_the_scale_of_the_rater(photos, scale, expected):
    with serving(taste) as server:
        found = single(server).predict(photos, Rater(profile=OPEN.profile, ratings=Ratings([], scale=scale)))
    assert np.allclose(found.score, expected)
    assert (found.low == scale.low).all() and (found.high == scale.high).all()


def test_ratings_do_not_change_the_answer(photos):
    rated = Rater(profile=OPEN.profile, ratings=Ratings([(photos[0], 5), (photos[4], 1)]))
    with serving(taste) as server:
        assert np.array_equal(single(server).predict(photos, rated).score, single(server).predict(photos, OPEN).score)


def test_several_raters_are_asked_for_at_once(photos):
    with serving(slowly(taste, 0.15)) as server:
        scorer = single(server, ",concurrency=6")
        # one picture each: only across raters can there be more than one at a time
        found = scorer.predict_many([(photos[i : i + 1], OPEN if i % 2 else CLOSED) for i in range(5)])
    assert server.most >= 3
    assert [p.score[0] for p in found] == [5, 1.5, 2.5, 3.5, 1]


def test_raters_with_the_same_profile_cost_one_request(photos):
    with serving(taste) as server:
        scorer = single(server, ",prices=1/10")
        scorer.predict_many([(photos, OPEN), (photos, Rater(name="twin", profile=OPEN.profile)), (photos, CLOSED)])
    assert len(server.requests) == 10 and scorer.model.usage.cached == 5
    assert scorer.notes() == [
        f"single-stage: {server.name()}: 10 calls (1000 tokens in, 100 out), 5 replies already known, cost 0.0020"
    ]


def test_no_image_and_no_rater(photos):
    with serving(taste) as server:
        scorer = single(server)
        assert len(scorer.predict([], OPEN)) == 0 and scorer.predict_many([]) == []
    assert server.requests == []


def test_replies_without_a_score_are_counted_and_never_zero(photos):
    answers = ["I love it, what a picture!", completion("", finish_reason="content_filter"), "my score is 11.", "I cannot rate from 0 to 10.", "8"]

    def odd(request, number):
        shade = round(brightness(request["image"]) * 255)
        return answers[min(range(5), key=lambda place: abs(list(SHADES.values())[place] - shade))]

    with serving(odd) as server:
        scorer = single(server)
        with pytest.warns(SkippedInput, match="4 of 5 replies hold no score, 2 of them refusals") as caught:
            found = scorer.predict(photos, OPEN)
    assert found.score.tolist() == [3, 3, 3, 3, 4]
    assert (found.low == 1).all() and (found.high == 5).all()
    assert scorer.unparsed == 4 and "4 images without a score" in scorer.notes()[-1]
    assert "black.png" in str(caught[0].message) and "what a picture" in str(caught[0].message)


def test_version_tells_model_prompt_and_program(photos):
    with serving(taste) as server:
        versions = [single(server, more).version for more in ("", ",style=short", ",max_tokens=9", ",image_size=99")]
        other = make(f"single-stage[model={server.name('large')}]", features=None).version
        assert len({*versions, other}) == 5 and server.name() in versions[0]
        assert single(server).predict(photos[:1], OPEN).version == versions[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("single-stage", r"does not know whom to ask: write  single-stage\[model="),
        ("two-stage[describer=http://127.0.0.1:9/v1#a]", r"two-stage\[model="),
        ("two-stage[model=http://127.0.0.1:9/v1#a]", r"two-stage\[describer="),
        ("single-stage[model=http://127.0.0.1:9/v1#a,prices=cheap]", "write IN/OUT"),
        ("single-stage[model=http://127.0.0.1:9/v1#a,style=long]", "style = 'long' is not one of published, short"),
        ("single-stage[modle=x]", "did you mean model"),
    ],
)
def test_odd_options_are_refused(name, words):
    with pytest.raises(BeholderError, match=words):
        make(name, features=None)


# two stages


def two(describer, model, more=""):
    return make(f"two-stage[describer={describer.name('eyes')},model={model.name('words')}{more}]", features=None)


def test_describe_then_score(photos):
    with serving(describes) as eyes, serving(reads) as words:
        found = two(eyes, words).predict_many([(photos, OPEN), (photos, CLOSED), (photos[:2], OPEN)])
    assert [p.score.tolist() for p in found] == [[1, 1.5, 2.5, 3.5, 5]] * 2 + [[1, 1.5]]
    assert len(eyes.requests) == 5 and len(words.requests) == 10  # one description an image, one score an image and profile
    assert {request["text"] for request in eyes.requests} == {questions.BASELINES["two_stage_describe"]}
    assert {request["system"] for request in eyes.requests} == {""}
    assert {request["system"] for request in words.requests} == {prompts.render(OPEN.profile), prompts.render(CLOSED.profile)}
    assert all(request["image"] is None for request in words.requests)
    told = "A picture of brightness 1.00. I give it 3 out of 10."
    expected = SCORE.format(description=told, question=questions.BASELINES["single_stage"])
    assert expected in [request["text"] for request in words.requests]
    assert expected.endswith(questions.BASELINES["two_stage_score"])
    assert {request["body"]["max_tokens"] for request in eyes.requests} == {512}


def test_a_description_for_every_rater_if_so_wished(photos):
    with serving(describes) as eyes, serving(reads) as words:
        scorer = two(eyes, words, ",per_rater=true,describer_prices=1/1")
        scorer.predict_many([(photos, OPEN), (photos, CLOSED)])
        assert scorer.version != two(eyes, words).version
    assert len(eyes.requests) == 10 and {request["system"] for request in eyes.requests} == {prompts.render(r.profile) for r in (OPEN, CLOSED)}
    usages = scorer.notes()
    assert len(usages) == 2 and "cost" in usages[0] and "cost" not in usages[1]


def test_what_is_not_described_is_not_scored(photos):
    def picky(request, number):
        if brightness(request["image"]) < 0.4:
            return "I'm sorry, I can't help with images that dark, not even 7 of them."
        return describes(request, number)

    with serving(picky) as eyes, serving(reads) as words:
        scorer = two(eyes, words)
        with pytest.warns(SkippedInput, match="2 of 5 replies hold no score, 2 of them refusals"):
            found = scorer.predict(photos, OPEN)
    assert found.score.tolist() == [3, 3, 2.5, 3.5, 5] and scorer.unparsed == 2
    assert len(words.requests) == 3


def test_keys_of_two_vendors(photos, monkeypatch):
    monkeypatch.setenv("EYES", "sk-eyes")
    monkeypatch.setenv("WORDS", "sk-words")
    with serving(describes) as eyes, serving(reads) as words:
        two(eyes, words, ",describer_key_env=EYES,api_key_env=WORDS").predict(photos[:1], OPEN)
    assert eyes.headers[0]["Authorization"] == "Bearer sk-eyes" and words.headers[0]["Authorization"] == "Bearer sk-words"


def test_both_stages_on_this_machine(photos, tmp_path):
    eyes, words = tiny_chat_models.save_llava(tmp_path / "eyes"), tiny_chat_models.save_llama(tmp_path / "words")
    scorer = make(f"two-stage[describer={eyes},model={words},max_tokens=6,description_tokens=6,style=short]", features=None)
    with pytest.warns(SkippedInput):  # random weights give no scores
        found = scorer.predict(photos, OPEN)
    assert scorer.describer.usage.calls == 5 and scorer.model.usage.calls >= 1
    assert (found.score >= 1).all() and (found.score <= 5).all() and "@" in found.version


# learning the level


def dataset(photos, *, n_raters=12, seed=0):
    """Ratings = 2 + 2 x brightness + noise of .25: flatter and higher than the answers of an open rater, 1 + 4 x brightness."""
    rng = np.random.default_rng(seed)
    rater, image = (a.ravel() for a in np.meshgrid(np.arange(n_raters), np.arange(len(photos)), indexing="ij"))
    shade = np.array(list(SHADES.values()))[image] / 255
    score = np.clip(2 + 2 * shade + rng.normal(0, 0.25, len(rater)), 1, 5)
    return Dataset(
        name="planted",
        scale=Scale(1, 5, 0),
        raters=tuple(f"r{u}" for u in range(n_raters)),
        profiles=tuple(Profile(openness=9, age=20 + u) for u in range(n_raters)),
        images=tuple(map(Path, photos)),
        image_ids=tuple(SHADES),
        groups=tuple(SHADES),
        rating_rater=rater,
        rating_image=image,
        rating_score=score,
    )


def test_fit_learns_level_slope_and_error(photos):
    train = dataset(photos)
    with serving(taste) as server:
        scorer = single(server, ",fit_ratings=50").fit(train)
        assert len(server.requests) == 50 and "/fit" in scorer.version
        found = scorer.predict(photos, OPEN)
    truth = 2 + 2 * np.array(list(SHADES.values())) / 255
    assert np.abs(found.score - truth).max() < 0.25
    wide = (found.high - found.low) / 2
    assert 0.3 < wide.mean() < 0.7
    assert ((found.low <= found.score) & (found.score <= found.high)).all()


def test_without_fit_ratings_nothing_is_learned_or_sent(photos):
    with serving(taste) as server:
        scorer = single(server)
        assert scorer.fit(dataset(photos)) is scorer and scorer.calibration is None
    assert server.requests == []


def test_fit_needs_replies_with_scores(photos):
    with serving(lambda request, number: "nice") as server, pytest.warns(SkippedInput), pytest.raises(BeholderError, match="only 0 of 30"):
        single(server, ",fit_ratings=30").fit(dataset(photos))


def test_the_line_is_least_squares_and_never_turns_a_ranking_round():
    rng = np.random.default_rng(0)
    answers = rng.uniform(size=200)
    truth = 0.2 + 0.5 * answers + rng.normal(0, 0.05, 200)
    line = Calibration.of(answers, truth)
    assert np.allclose([line.slope, line.intercept], np.polyfit(answers, truth, 1))
    assert 0.89 < (np.abs(truth - line.intercept - line.slope * answers) <= line.half_width).mean() < 0.93
    against = Calibration.of(answers, -truth)
    assert against.slope == 0 and against.intercept == pytest.approx(-truth.mean())
    assert Calibration.of(np.full(20, 0.5), truth[:20]).slope == 0


# what surrounds a scorer


def test_no_image_is_encoded_for_them(photos, tmp_path):
    assert isinstance(encoder_for(["single-stage", "two-stage[model=a]"], encoder="owner/some-clip"), NoEncoder)
    assert not isinstance(encoder_for(["single-stage", "population"], encoder="efficientnet-lite0"), NoEncoder)
    assert scorer_class("single-stage").feature_layers == ()


def test_ranking_names_bad_files_and_finds_equal_ones(photos, tmp_path):
    (tmp_path / "photos" / "text.png").write_bytes(b"a shopping list\n" * 30)
    (tmp_path / "photos" / "zebra.png").write_bytes((tmp_path / "photos" / "white.png").read_bytes())
    with serving(taste) as server, load(f"single-stage[model={server.name()}]") as eye:
        found = eye.rank(tmp_path / "photos", rater=OPEN)
    assert [p.image.rpartition("/")[2] for p in found] == [f"{name}.png" for name in [*list(SHADES)[::-1], "text"]]
    assert found[0].duplicates == (str(tmp_path / "photos" / "zebra.png"),) and found[-1].skipped_reason and len(server.requests) == 5


def test_on_the_command_line(photos, tmp_path):
    (tmp_path / "me.toml").write_text("openness = 9\n")
    with serving(taste) as server:
        scorer = f"single-stage[model={server.name()},prices=10/10]"
        command = ["score", tmp_path / "photos", "--profile", tmp_path / "me.toml", "--scorer", scorer, "--json"]
        first, second = beholder(*command), beholder(*command)
    assert first.exit_code == second.exit_code == 0, first.stderr
    rows = {row["image"].rpartition("/")[2]: row for row in map(json.loads, first.stdout.splitlines())}
    assert [rows[f"{name}.png"]["score"] for name in SHADES] == [1, 1.5, 2.5, 3.5, 5]
    assert {row["scorer"] for row in rows.values()} == {"single-stage"}
    assert first.stdout == second.stdout and len(server.requests) == 5
    assert "5 calls (500 tokens in, 50 out), 0 replies already known, cost 0.0055" in first.stderr
    assert "0 calls" in second.stderr and "5 replies already known" in second.stderr


def test_replies_without_a_score_end_with_exit_code_1(photos, tmp_path):
    with serving(lambda request, number: "nice") as server:
        result = beholder("score", tmp_path / "photos", "--scorer", f"single-stage[model={server.name()}]")
    assert result.exit_code == 1 and "5 of 5 replies hold no score" in result.stderr


def test_an_endpoint_that_is_not_there_is_one_sentence(photos, tmp_path):
    with serving(taste) as server:
        pass
    result = beholder("rank", tmp_path / "photos", "--scorer", f"single-stage[model={server.name()}]")
    assert result.exit_code == 2
    message = one_sentence(result.stderr)
    assert server.url in message and "start the server" in message


def test_the_bench_measures_them_and_says_what_was_sent(photos):
    with serving(taste) as server:
        report = bench.run(
            dataset(photos), {"vlm": lambda: single(server)}, protocol=get("new-rater", n_folds=2), shots=[0, 2], with_controls=False, draws=20
        )
    by_shots = {row.shots: row.evaluation.estimates["srocc"].value for row in report.rows if row.scorer == "vlm"}
    assert by_shots[0] > 0.7 and by_shots[0] == by_shots[2]
    assert any(server.name() in note and "calls" in note for note in report.notes)


def test_the_doctor_asks_nobody(monkeypatch):
    from beholder import scorers

    monkeypatch.setattr(scorers, "SCORERS", {"single-stage": scorers.SCORERS["single-stage"]})
    rows = {row["what"]: row for row in map(json.loads, beholder("doctor", "--json").stdout.splitlines())}
    assert rows["self-test single-stage"]["state"] == "optional" and rows["extra api"]["state"] == "ok"
