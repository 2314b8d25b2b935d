"""Another scorer as prior mean of `taste`: mixed in as given, corrected by ratings and choices, named wherever it counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import beholder
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Choices, Ratings
from beholder.scale import Scale
from beholder.scorers import make
from beholder.scorers.taste.prior import TOGETHER, TasteOptions
from beholder.scorers.taste.scorer import TasteScorer
from image_files import picture
from prior_scorers import Knows
from taste_worlds import FAST, N_TRAINING, fitted, images_of, part, person, rows_of, world

NEW = range(N_TRAINING, 100)


@pytest.fixture(scope="module")
def simulation():
    return world("mixed")


@pytest.fixture(scope="module")
def images(simulation):
    return images_of(simulation)


@pytest.fixture(scope="module")
def own():
    return fitted("mixed")


@pytest.fixture(scope="module")
def population_folder(simulation, tmp_path_factory):
    """Weights of `population`, learned from few raters, so that it differs from what `own` learned."""
    scorer = make("population", features=simulation.features, trained=False).fit(part(simulation, range(3)))
    return scorer.save_pretrained(tmp_path_factory.mktemp("population"))


def with_prior(own, prior, *, share=0.5, weights=None):
    """The same learned model with another prior."""
    scorer = TasteScorer(
        features=own.features, model=own.model, options=TasteOptions(prior=prior, prior_share=share, prior_weights=weights)
    )
    scorer.trained = own.trained
    return scorer


def named(simulation, rater, n=0, *, choices=()):
    return replace(person(simulation, rater, n, choices=choices), name=str(rater))


def quality(scorer, simulation, n, raters=NEW):
    """Mean rank correlation with the ratings after the first n."""
    values = []
    for u in raters:
        rows = rows_of(simulation, u)[50:]
        asked = [images_of(simulation)[i] for i in simulation.dataset.rating_image[rows]]
        score = scorer.predict(asked, named(simulation, u, n)).score
        ranks = [np.argsort(np.argsort(values)) for values in (score, simulation.dataset.rating_score[rows])]
        values.append(np.corrcoef(*ranks)[0, 1])
    return float(np.mean(values))


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("score", "low", "high"))


# --- what is mixed


@pytest.mark.parametrize("n", [0, 15])
def test_without_another_prior_it_is_crowd_plus_profile_plus_posterior_to_the_bit(own, simulation, images, n):
    rater, model = named(simulation, 60, n, choices=[(1, 2)] if n else []), own.model
    known = list(dict.fromkeys([*rater.ratings.images, *rater.choices.images]))
    looks = model.look(own.features(images))
    at = np.array([known.index(image) if image in known else -1 for image in images])
    mean, _ = own.posterior(rater).predict(looks, same=at)
    score = mean + looks.crowd + model.profile_effect(rater.profile, looks)
    expected = np.clip(rater.scale.from_unit(model.centre + model.spread * score), 1, 5)
    found = own.predict(images, rater)
    assert np.array_equal(found.score, expected) and found.version == own.version and "*" not in own.version
    assert same(with_prior(own, "own").predict(images, rater), found)


@pytest.mark.parametrize("n", [0, 15])
def test_no_share_is_no_prior(own, simulation, images, n):
    rater = named(simulation, 60, n, choices=[(1, 2), (5, 3)])
    assert same(with_prior(own, "prior_scorers:Mistaken", share=0).predict(images, rater), own.predict(images, rater))


def test_the_whole_share_without_ratings_is_the_prior(own, simulation, images, population_folder):
    for prior, weights in (("prior_scorers:Knows", None), ("population", population_folder)):
        alone = make(prior, features=simulation.features, weights=weights)
        for scale in (Scale(1, 5, 0), Scale(0, 100, 0)):
            rater = Rater(name="70", profile=simulation.dataset.profiles[70], ratings=Ratings(scale=scale))
            found = with_prior(own, prior, share=1, weights=weights).predict(images, rater)
            assert np.abs(found.score - alone.predict(images, rater).score).max() < 1e-9 * scale.width
            assert np.all(found.low <= found.score) and np.all(found.score <= found.high)


def test_shares_mix_linearly(own, simulation, images, population_folder):
    rater = named(simulation, 70)
    none, some, whole = (
        with_prior(own, "population", share=s, weights=population_folder).predict(images, rater).score for s in (0, 0.3, 1)
    )
    inside = (np.minimum(none, whole) > 1.01) & (np.maximum(none, whole) < 4.99)  # not cut at the ends of the scale
    assert inside.sum() > 50 and np.abs(none - whole)[inside].max() > 0.05
    assert np.abs(some - 0.7 * none - 0.3 * whole)[inside].max() < 1e-9


# --- what ratings and choices do with it


def test_a_prior_that_knows_helps_and_ratings_repair_one_that_is_mistaken(own, simulation):
    good, bad = with_prior(own, "prior_scorers:Knows"), with_prior(own, "prior_scorers:Mistaken")
    found = {(name, n): quality(s, simulation, n) for name, s in (("own", own), ("good", good), ("bad", bad)) for n in (0, 50)}
    print({key: round(value, 3) for key, value in found.items()})
    assert found["good", 0] > found["own", 0] + 0.15
    assert found["good", 50] > found["own", 50] - 0.01
    assert found["bad", 0] < found["own", 0] - 0.3
    assert found["own", 50] - found["bad", 50] < 0.3 * (found["own", 0] - found["bad", 0])


def test_a_rated_image_is_expected_to_be_rated_so_again_whatever_the_prior(own, simulation, images):
    """Needs the prior's mean of rated images, too: without it the residual of a mistaken prior would be added to it."""
    rater = named(simulation, 62, 40)
    found = with_prior(own, "prior_scorers:Mistaken").predict(rater.ratings.images, rater).score
    assert np.corrcoef(found, rater.ratings.scores)[0, 1] > 0.9
    assert np.abs(found - rater.ratings.scores).mean() < 0.3


def test_choices_are_held_against_the_prior(own, simulation, images):
    scorer = with_prior(own, "prior_scorers:Knows", share=1)
    rater = Rater(name="63", ratings=Ratings(scale=Scale(1, 5, 0)))
    feels = scorer.predict(images, rater).score
    best, worst = images[int(np.argmax(feels))], images[int(np.argmin(feels))]

    def after(chosen, other):
        asked = replace(rater, choices=Choices(((chosen, other),)))
        assert scorer.posterior(asked).evidence.offset * scorer.model.spread * 4 == pytest.approx(
            (1 if chosen == best else -1) * (feels.max() - feels.min())
        )
        return scorer.predict(images, asked).score

    expected, surprising = (np.abs(after(*pair) - feels).mean() for pair in ((best, worst), (worst, best)))
    assert surprising > 5 * expected > 0


# --- the same answer however it is asked


@pytest.mark.parametrize("n", [0, 12])
def test_batches_and_order_do_not_matter(own, simulation, images, population_folder, n):
    scorer = with_prior(own, "population", weights=population_folder)
    rater, other = named(simulation, 60, n, choices=[(1, 2)] if n else []), named(simulation, 61, 5)
    many = images * (TOGETHER // len(images) + 2)
    whole = scorer.predict(many, rater)
    order = np.random.default_rng(0).permutation(len(many))
    shuffled = scorer.predict([many[i] for i in order], rater)
    together = scorer.predict_many([(many, rater), (images[:20], other), ([], other)])
    single = np.array([scorer.predict([image], rater).score[0] for image in images[:15]])
    for found, expected in (
        (shuffled.score, whole.score[order]),
        (shuffled.low, whole.low[order]),
        (together[0].high, whole.high),
        (together[1].score, scorer.predict(images[:20], other).score),
        (single, whole.score[:15]),
    ):
        assert np.abs(found - expected).max() < 4e-5
    assert len(together[2]) == 0


def test_the_prior_is_asked_once_for_each_image_and_in_bounded_requests(own, simulation, images, monkeypatch):
    monkeypatch.setattr(Knows, "asked", [])
    monkeypatch.setattr("beholder.scorers.taste.prior.TOGETHER", 50)
    scorer = with_prior(own, "prior_scorers:Knows")
    assert Knows.asked == []
    scorer.predict([*images, *images], named(simulation, 60, 12))  # rated ones are among the images
    assert Knows.asked == [50, 50, 20]
    Knows.asked.clear()
    scorer.explain(images[0], named(simulation, 60, 12))
    assert sum(Knows.asked) <= 13


# --- reasons, and what to ask next


def test_the_parts_of_an_explanation_name_the_prior_and_add_up(own, simulation, images):
    scorer, rater = with_prior(own, "prior_scorers:Knows"), named(simulation, 67, 20, choices=[(1, 2), (7, 3)])
    for image in [*images[:10], *rater.ratings.images[:5]]:
        found, p = scorer.explain(image, rater), scorer.predict([image], rater)[0]
        assert list(found.parts) == ["everybody", "profile", "prior knows", "severity", "crowd", "taste"]
        assert np.clip(sum(found.parts.values()), 1, 5) == pytest.approx(p.score, abs=1e-6)
        assert (found.score, found.low, found.high) == pytest.approx((p.score, p.low, p.high))
        feels = Knows(features=None).predict([image], Rater(name="67")).score[0]
        assert found.parts["prior knows"] == pytest.approx(0.5 * (feels - found.parts["everybody"] - found.parts["profile"]))


def test_intervals_without_ratings_and_suggestions_are_those_of_the_own_prior(own, simulation, images):
    scorer, rater = with_prior(own, "prior_scorers:Knows"), named(simulation, 66)
    asked = [image for image, p in zip(images, own.predict(images, rater), strict=True) if p.low > 1.2 and p.high < 4.8]
    ours, theirs = own.predict(asked, rater), scorer.predict(asked, rater)
    unclipped = (theirs.low > 1) & (theirs.high < 5)
    assert unclipped.sum() >= 3
    assert np.abs((ours.high - ours.low) - (theirs.high - theirs.low))[unclipped].max() < 1e-9
    assert scorer.suggest(images, rater, n=8) == own.suggest(images, rater, n=8)


# --- by name; saved and read again


def test_by_name_with_its_weights(own, simulation, images, population_folder, tmp_path):
    folder = own.save_pretrained(tmp_path / "taste")
    text = f"taste[prior=population,prior_weights={population_folder},prior_share=0.25]"
    scorer = make(text, features=simulation.features, weights=folder)
    rater = named(simulation, 68, 10)
    expected = with_prior(own, "population", share=0.25, weights=population_folder).predict(images, rater)
    found = scorer.predict(images, rater)
    assert np.abs(found.score - expected.score).max() < 4e-4
    assert found.scorer == "taste"
    population = make("population", features=simulation.features, weights=population_folder)
    assert found.version == scorer.version == f"{own.version}+0.25*population({population.version})"
    # the prior is no part of the weights
    again = scorer.save_pretrained(tmp_path / "again")
    assert {file.name: file.read_bytes() for file in again.iterdir()}.keys() == {file.name for file in folder.iterdir()}
    assert "population" not in (again / "config.json").read_text()
    assert make("taste", features=simulation.features, weights=again).version == own.version


def test_fit_leaves_the_prior_as_it_is_and_says_so(own, simulation, images):
    scorer = make("taste[prior=prior_scorers:Chatty]", features=simulation.features, trained=False)
    assert scorer.version.endswith("+untrained+0.5*prior_scorers:Chatty(7)")
    scorer.config = FAST
    scorer.fit(part(simulation, range(N_TRAINING)))  # `Knows.fit` would raise
    assert scorer.version == f"{own.version}+0.5*prior_scorers:Chatty(7)"
    given, paid = scorer.notes()
    assert "chatty was not trained with it" in given and paid == "chatty: 3 replies were paid"
    assert with_prior(own, "prior_scorers:Chatty").notes() == own.notes() == []  # never asked


def test_progress_is_handed_on(own, simulation, images):
    scorer, seen = with_prior(own, "prior_scorers:Chatty"), []
    assert hasattr(scorer, "progress") and not hasattr(own, "progress")
    scorer.progress = lambda done, total: seen.append((done, total))
    scorer.predict(images, named(simulation, 60))
    assert seen == [(len(images), len(images))]


def test_images_that_the_prior_was_trained_on_count(own, simulation, images):
    unseen = with_prior(own, "prior_scorers:Chatty")  # its own fingerprints are not set here
    assert unseen.trained_on(images) == 1 and unseen.trained_on(images[1:]) == 0
    assert with_prior(own, "prior_scorers:Knows").trained_on(images) == 0
    own_too = make("taste[prior=prior_scorers:Chatty]", features=simulation.features, trained=False)
    own_too._seen = own._seen
    assert own_too.trained_on(images) == len(images)  # one that both know is one


def test_photographs_with_shipped_weights(tmp_path):
    """With an encoder the prior has features of its own, from the same store."""
    for seed in range(3):
        picture(seed=seed).rotate(90 * seed).save(tmp_path / f"{seed}.png")
    me = Rater(profile=Profile(age=30, openness=8), ratings=Ratings({str(tmp_path / "0.png"): 5}, scale=Scale(1, 7)))
    blank = replace(me, ratings=Ratings(scale=Scale(1, 7)))
    found = {}
    for name in ("taste", "population", "taste[prior=population]", "taste[prior=population,prior_share=1]"):
        with beholder.load(name) as eye:
            found[name] = [np.array([p.score for p in eye.score(tmp_path, rater=rater)]) for rater in (blank, me)]
            if "prior" in name:
                assert eye.scorer.prior.scorer.features is not eye.features
                assert eye.scorer.prior.scorer.features.store is eye.features.store
    half = (found["taste"][0] + found["population"][0]) / 2
    assert found["taste[prior=population]"][0] == pytest.approx(half, abs=1e-6)
    assert found["taste[prior=population,prior_share=1]"][0] == pytest.approx(found["population"][0], abs=1e-6)
    assert found["taste[prior=population]"][1][0] > half[0] + 0.1  # rated 7 of 7: more is expected


# --- bad input


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("prior=populaton", "there is no scorer 'populaton': did you mean population"),
        ("prior=population,prior_share=1.5", "prior_share = 1.5 is not a share"),
        ("prior=population,prior_share=nan", "prior_share = nan is not a share"),
        ("prior=population,prior_share=half", "not a number"),
        ("prior_weights=somewhere", "name it, such as prior=pmllm"),
        ("prior_wieghts=somewhere", "did you mean prior_weights"),
    ],
)
def test_options_that_cannot_be_are_refused(simulation, options, why):
    with pytest.raises(BeholderError) as refused:
        make(f"taste[{options}]", features=simulation.features, trained=False)
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_a_prior_that_cannot_answer_is_refused(own, simulation, images, tmp_path):
    rater = named(simulation, 60, 5)
    with pytest.raises(BeholderError, match=f"the prior speechless gave no number for {images[1]}"):
        with_prior(own, "prior_scorers:Speechless").predict(images, rater)
    with pytest.raises(BeholderError, match="is missing"):
        with_prior(own, "population", weights=tmp_path / "nowhere").predict(images, rater)
    with pytest.raises(BeholderError, match="not learned"):
        make("taste[prior=prior_scorers:Knows]", features=simulation.features, trained=False).predict(images, rater)
