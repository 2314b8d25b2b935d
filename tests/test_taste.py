"""`taste` as a scorer: any number of ratings, any batch, any scale; honest intervals; reasons; saved and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.rater import Rater
from beholder.ratings import Choices, Ratings
from beholder.scale import Scale
from beholder.scorers import make
from beholder.scorers.taste.posterior import SCREEN
from beholder.scorers.taste.scorer import TasteScorer
from taste_worlds import N_TRAINING, fitted, images_of, part, person, rows_of, world

BATCH = 1e-5  # of the scale's width: how much predictions may differ between batches


@pytest.fixture(scope="module")
def simulation():
    return world("mixed")


@pytest.fixture(scope="module")
def scorer():
    return fitted("mixed")


@pytest.fixture(scope="module")
def images(simulation):
    return images_of(simulation)


NEW = range(N_TRAINING, 100)


def split(simulation, rater, n):
    """A rater with n ratings, and (images, ratings) of some others."""
    rows = rows_of(simulation, rater)[n:]
    names = images_of(simulation)
    return person(simulation, rater, n), [names[i] for i in simulation.dataset.rating_image[rows]], simulation.dataset.rating_score[rows]


def correlation(scorer, simulation, n, raters=NEW):
    values = []
    for u in raters:
        rater, asked, given = split(simulation, u, n)
        values.append(np.corrcoef(scorer.predict(asked[:40], rater).score, given[:40])[0, 1])
    return float(np.nanmean(values))


def gap(a, b):
    return max(np.abs(getattr(a, name) - getattr(b, name)).max() for name in ("score", "low", "high")) / a.scale.width


# --- the same answer however it is asked


@pytest.mark.parametrize("n", [0, 12])
def test_batch_of_1_is_batch_of_n_in_any_order(scorer, simulation, images, n):
    rater = person(simulation, 60, n)
    many = images * 5  # more than are computed at once in float64
    whole = scorer.predict(many, rater)
    order = np.random.default_rng(0).permutation(len(many))
    shuffled = scorer.predict([many[i] for i in order], rater)
    back = np.argsort(order)
    single = [scorer.predict([image], rater)[0] for image in images[:15]]
    differences = {
        "shuffled": np.abs(shuffled.score[back] - whole.score).max() / 4,
        "one by one": max(abs(p.score - s) for p, s in zip(single, whole.score, strict=False)) / 4,
        "ends, one by one": max(abs(p.low - s) for p, s in zip(single, whole.low, strict=False)) / 4,
        "several raters": gap(scorer.predict_many([(many, rater), (images, person(simulation, 61, 5))])[0], whole),
    }
    print({name: f"{value:.1e}" for name, value in differences.items()}, "of the scale; allowed", BATCH)
    assert max(differences.values()) < BATCH


def test_the_order_of_ratings_and_choices_does_not_matter(scorer, simulation, images):
    rater = person(simulation, 55, 20, choices=[(1, 2), (7, 3), (5, 2)])
    turned = Rater(
        profile=rater.profile,
        ratings=Ratings(list(rater.ratings)[::-1], scale=rater.scale),
        choices=Choices(rater.choices.choices[::-1]),
    )
    assert gap(scorer.predict(images, rater), scorer.predict(images, turned)) < 1e-6


def test_predict_many_is_predict_for_each(scorer, simulation, images):
    requests = [(images[:30], person(simulation, 51, 0)), (images[20:70], person(simulation, 52, 9)), ([], person(simulation, 53, 3))]
    together = scorer.predict_many(requests)
    assert [len(p) for p in together] == [30, 50, 0]
    for (asked, rater), found in zip(requests[:2], together, strict=False):
        assert gap(found, scorer.predict(asked, rater)) < BATCH


# --- any amount of evidence


def test_the_interval_lies_in_the_scale_and_around_the_score(scorer, simulation, images):
    for n in (0, 1, 30):
        p = scorer.predict(images, person(simulation, 50, n))
        assert p.low.min() >= 1 and p.high.max() <= 5
        assert np.all(p.low <= p.score) and np.all(p.score <= p.high)
        assert (p.high - p.low).mean() > 0.1


def test_more_ratings_make_it_better_and_surer(scorer, simulation):
    found = {n: correlation(scorer, simulation, n) for n in (0, 10, 50)}
    rows = [rows_of(simulation, u)[:40] for u in NEW]
    truth = [
        np.corrcoef(simulation.shared_taste[simulation.dataset.rating_image[r]], simulation.dataset.rating_score[r])[0, 1] for r in rows
    ]
    assert found[0] > 0.9 * np.mean(truth) > 0.2
    assert found[10] > found[0] + 0.03
    assert found[50] > found[10] + 0.03
    widths = []
    for n in (0, 10, 50):
        rater, asked, _ = split(simulation, 65, n)
        p = scorer.predict(asked[-40:], rater)
        widths.append((p.high - p.low).mean())
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("scores", [[3], [1], [5] * 12, [1] * 12])
def test_one_rating_and_constant_ratings(scorer, images, scores):
    p = scorer.predict(images, Rater(ratings=Ratings(list(zip(images, scores, strict=False)), scale=Scale(1, 5, 0))))
    assert np.isfinite(p.score).all() and np.all(p.low <= p.score) and np.all(p.score <= p.high)
    plain = scorer.predict(images, Rater(ratings=Ratings(scale=Scale(1, 5, 0))))
    if scores[0] != 3:
        assert np.sign((p.score - plain.score).mean()) == np.sign(scores[0] - 3)


def test_hundreds_of_ratings(simulation, images):
    scorer, n = fitted("mixed"), SCREEN + 100
    rng = np.random.default_rng(0)
    more = {f"more-{i}.png": row for i, row in enumerate(rng.standard_normal((n, simulation.features.dim)).astype(np.float32))}
    features = type(simulation.features)(simulation.features.table | more, dim=simulation.features.dim, key=simulation.features.key)
    large = TasteScorer(features=features, model=scorer.model)
    direction = rng.standard_normal(features.dim) * 0.4
    liking = {name: float(np.clip(3 + row @ direction, 1, 5)) for name, row in features.table.items()}
    p = large.predict(images, Rater(ratings=Ratings({name: liking[name] for name in more}, scale=Scale(1, 5, 0))))
    truth = [liking[image.rsplit("/", 1)[-1]] for image in images]
    assert np.corrcoef(p.score, truth)[0, 1] > 0.95


def test_choices_alone_teach(scorer, simulation, images):
    """A rater whose taste is the opposite of the crowd's, known from choices only."""
    rng = np.random.default_rng(3)
    liking = -simulation.shared_taste
    pairs = [(i, j) if liking[i] > liking[j] else (j, i) for i, j in (rng.permutation(len(images))[:2] for _ in range(80))]
    names = images_of(simulation)
    rater = Rater(choices=Choices(tuple((names[i], names[j]) for i, j in pairs)))
    before, after = (np.corrcoef(scorer.predict(images, r).score, liking)[0, 1] for r in (Rater(), rater))
    assert before < -0.8
    assert after > 0.5


def test_choices_help_beside_ratings(scorer, simulation):
    gains = []
    for u in NEW:
        rater, asked, given = split(simulation, u, 5)
        rows = rows_of(simulation, u)[40:]
        image, score = simulation.dataset.rating_image[rows], simulation.dataset.rating_score[rows]
        pairs = [(image[i], image[i + 1]) if score[i] > score[i + 1] else (image[i + 1], image[i]) for i in range(0, len(rows) - 1, 2)]
        with_choices = Rater(profile=rater.profile, ratings=rater.ratings, choices=person(simulation, u, 0, choices=pairs).choices)
        gains.append(np.subtract(*(np.corrcoef(scorer.predict(asked[:35], r).score, given[:35])[0, 1] for r in (with_choices, rater))))
    assert np.mean(gains) > 0.05


def test_choices_among_the_same_images_are_not_taken_for_independent(scorer, simulation, images):
    """All pairs of four images say what their order says, not six times as much."""
    p = {}
    for pairs in ([(0, 30), (30, 60), (60, 90)], [(0, 30), (30, 60), (60, 90), (0, 60), (0, 90), (30, 90)]):
        post = scorer.posterior(person(simulation, 60, 0, choices=pairs))
        mean, sd = post.predict(scorer._looks(images))
        p[len(pairs)] = (np.abs(mean).mean(), sd.mean())
    assert p[6][0] < 1.5 * p[3][0]


def test_a_rated_image_is_expected_to_be_rated_so_again(scorer, simulation, images):
    rater = person(simulation, 60, 20)
    name = rater.ratings.images[0]
    for score in (1.0, 5.0):
        changed = rater.ratings.merged(Ratings({name: score}, scale=rater.scale))
        found = scorer.predict([name], Rater(profile=rater.profile, ratings=changed))[0]
        without = Ratings([r for r in rater.ratings if r.image != name], scale=rater.scale)
        before = scorer.predict([name], Rater(profile=rater.profile, ratings=without))[0]
        assert abs(found.score - score) < abs(before.score - score)


def test_missing_and_unknown_profile_fields(scorer, simulation, images):
    nothing = scorer.predict(images, Rater())
    strange = scorer.predict(images, Rater(profile=Profile(age=99, gender="other", free={"shoe size": 44, "x": float("inf")})))
    assert gap(nothing, strange) < 1e-9


# --- scales


def test_the_same_person_on_another_scale(scorer, simulation, images):
    rater = person(simulation, 64, 25)
    hundred = Rater(profile=rater.profile, ratings=rater.ratings.to_scale(Scale(0, 100, 0)))
    stars, points = scorer.predict(images, rater), scorer.predict(images, hundred)
    for name in ("score", "low", "high"):
        assert np.abs(Scale(1, 5).convert(getattr(stars, name), to=Scale(0, 100)) - getattr(points, name)).max() < 1e-6
    assert str(points.scale) == "0-100/0"


def test_severity_is_learnt(scorer, simulation, images):
    rater = person(simulation, 64, 15)
    strict = Ratings([(r.image, max(1.0, r.score - 0.8)) for r in rater.ratings], scale=rater.scale)
    mild = Ratings([(r.image, min(5.0, r.score + 0.8)) for r in rater.ratings], scale=rater.scale)
    severe, generous = (scorer.predict(images, Rater(ratings=ratings)).score.mean() for ratings in (strict, mild))
    assert generous - severe > 0.6


def test_an_opposite_taste_is_learnt(scorer, simulation, images):
    liking = simulation.dataset.scale.middle - simulation.shared_taste
    known = np.random.default_rng(1).permutation(len(images))[:60]
    rater = Rater(ratings=Ratings([(images[i], float(np.clip(liking[i], 1, 5))) for i in known], scale=simulation.dataset.scale))
    rest = np.setdiff1d(np.arange(len(images)), known)
    assert np.corrcoef(scorer.predict([images[i] for i in rest], rater).score, liking[rest])[0, 1] > 0.8


# --- honest intervals


@pytest.mark.parametrize("n", [0, 10, 50])
def test_intervals_cover_nine_in_ten(scorer, simulation, n):
    inside = []
    for u in NEW:
        rater, asked, given = split(simulation, u, n)
        p = scorer.predict(asked, rater)
        inside.append(np.mean((given >= p.low) & (given <= p.high)))
    print(f"{n} ratings: covers {np.mean(inside):.3f}")
    assert 0.85 < np.mean(inside) < 0.95


# --- reasons, and what to ask next


def test_the_parts_of_an_explanation_add_up(scorer, simulation, images):
    rater = person(simulation, 67, 20, choices=[(1, 2), (7, 3)])
    model = scorer.model
    for image in [*images[:10], *rater.ratings.images[:5], images[7]]:
        found = scorer.explain(image, rater)
        p = scorer.predict([image], rater)[0]
        assert list(found.parts) == ["everybody", "profile", "severity", "crowd", "taste"]
        assert np.clip(sum(found.parts.values()), 1, 5) == pytest.approx(p.score, abs=1e-6)
        assert (found.score, found.low, found.high) == pytest.approx((p.score, p.low, p.high))
        assert sum(points for _, points in found.influences) == pytest.approx(found.parts["crowd"] + found.parts["taste"], abs=1e-9)
        assert {name for name, _ in found.influences} == {*rater.ratings.images, *rater.choices.images}
        strengths = [abs(points) for _, points in found.influences]
        assert strengths == sorted(strengths, reverse=True)
        looks = scorer._looks([image])
        assert found.parts["everybody"] == pytest.approx(1 + 4 * (model.centre + model.spread * looks.crowd[0]))


def test_without_evidence_there_is_the_crowd_and_the_profile(scorer, simulation, images):
    found = scorer.explain(images[0], person(simulation, 67, 0))
    assert found.influences == [] and found.parts["severity"] == found.parts["crowd"] == found.parts["taste"] == 0


def test_a_rated_image_matters_most_for_itself(scorer, simulation):
    rater = person(simulation, 67, 20)
    own = [scorer.explain(image, rater).influences[0][0] == image for image in rater.ratings.images]
    assert np.mean(own) > 0.3  # by chance 0.05


def test_suggested_images_teach_more_than_random_ones(scorer, simulation, images):
    rater = person(simulation, 66, 5)
    suggested = scorer.suggest(images, rater, n=8)
    assert len(set(suggested)) == 8 and not set(suggested) & set(rater.ratings.images)

    def doubt(rated):
        """Mean variance of the differences between images once these are rated."""
        covariance, noise = scorer.posterior(rater).joint(scorer._looks(images))
        at = [images.index(image) for image in rated]
        across = covariance[:, at]
        left = covariance - across @ np.linalg.solve(covariance[np.ix_(at, at)] + noise * np.eye(len(at)), across.T)
        return np.trace(left) / len(left) - left.mean()

    rng = np.random.default_rng(0)
    free = [image for image in images if image not in rater.ratings.images]
    chance = [doubt([free[i] for i in rng.permutation(len(free))[:8]]) for _ in range(20)]
    assert doubt(suggested) < min(chance)
    assert doubt(suggested[:1]) <= min(doubt([image]) for image in free) + 1e-9


def test_suggest_at_the_ends(scorer, simulation, images):
    rater = person(simulation, 66, 10)
    assert scorer.suggest([], rater) == []
    assert scorer.suggest(rater.ratings.images, rater) == []
    free = [image for image in images if image not in rater.ratings.images]
    assert sorted(scorer.suggest(images, rater, n=10_000)) == sorted(free)
    assert scorer.suggest(images, rater, n=3) == scorer.suggest([*images, *images[:5]], rater, n=3)
    assert len(scorer.suggest(images, Rater(), n=4)) == 4


# --- profiles


def test_the_planted_effect_of_the_profile_is_found():
    simulation = world("profile")
    scorer = fitted("profile", 50)
    images = images_of(simulation)
    high, low = (scorer.predict(images, Rater(profile=Profile(openness=o))).score for o in (10, 1))
    raters = [u for u in range(50) if simulation.dataset.profiles[u].openness >= 9]
    assert np.corrcoef(high - low, simulation.personal_taste[raters].mean(axis=0))[0, 1] > 0.8
    without = []
    for u in range(50, 80):
        personal = scorer.predict(images, person(simulation, u, 0)).score - scorer.predict(images, Rater()).score
        if np.std(personal) > 1e-9:
            without.append(np.corrcoef(personal, simulation.personal_taste[u])[0, 1])
    assert np.mean(without) > 0.4  # personal at N = 0


# --- other worlds


def test_where_nothing_is_shared_it_is_as_good_as_the_raters_own_ridge():
    simulation = world("nothing shared")
    ours = correlation(fitted("nothing shared"), simulation, 100, raters=range(N_TRAINING, 50))
    theirs = correlation(make("linear-hidden", features=simulation.features), simulation, 100, raters=range(N_TRAINING, 50))
    assert ours > 0.95 * theirs > 0.5


def test_where_all_share_one_taste_it_is_as_good_as_population():
    simulation = world("one taste")
    population = make("population", features=simulation.features, trained=False).fit(part(simulation, range(N_TRAINING)))
    ours, theirs = (correlation(s, simulation, 0, raters=range(N_TRAINING, 50)) for s in (fitted("one taste"), population))
    assert ours > 0.98 * theirs > 0.5


# --- saved and read again


def test_saved_and_read_again(scorer, simulation, images, tmp_path):
    folder = scorer.save_pretrained(tmp_path / "weights")
    again = make("taste", features=simulation.features, weights=folder)
    for n in (0, 15):
        rater = person(simulation, 68, n, choices=[(1, 2)] if n else [])
        assert gap(again.predict(images, rater), scorer.predict(images, rater)) < 1e-4
    assert again.version == scorer.version
    assert scorer.trained_on(images) == again.trained_on(images) == len(images)
    assert again.trained_on(["elsewhere.jpg", images[0]]) == 1
    card = (folder / "README.md").read_text()
    assert "4000 ratings by 40 raters of 120 images" in card and simulation.features.key in card
    assert not any(name in card + (folder / "config.json").read_text() for name in images)  # photographs are private


def test_weights_for_other_features_are_refused_naming_both(scorer, simulation, tmp_path):
    folder = scorer.save_pretrained(tmp_path)
    other = type(simulation.features)(simulation.features.table, dim=simulation.features.dim, key="other-encoder")
    with pytest.raises(BeholderError) as refused:
        make("taste", features=other, weights=folder)
    assert "other-encoder" in str(refused.value) and simulation.features.key in str(refused.value)


def test_damaged_and_wrong_folders_are_refused_in_one_sentence(scorer, simulation, tmp_path):
    def refusal(folder):
        with pytest.raises(BeholderError) as refused:
            make("taste", features=simulation.features, weights=folder)
        assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
        return str(refused.value)

    assert "is missing" in refusal(tmp_path / "nowhere")
    folder = scorer.save_pretrained(tmp_path / "weights")
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, settings = weights.read_bytes(), config.read_text()
    for damage in (whole[: len(whole) // 2], whole[:4], b"", b"\xff" * 100):
        weights.write_bytes(damage)
        refusal(folder)
    weights.unlink()
    assert "model.safetensors is missing" in refusal(folder)
    weights.write_bytes(whole)
    for damage in (settings[:50], "", "[1]", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
        config.write_text(damage)
        refusal(folder)
    less = json.loads(settings)
    for name in ("features", "trained", "layers", "noise"):
        config.write_text(json.dumps({key: value for key, value in less.items() if key != name}))
        refusal(folder)
    config.write_text(json.dumps(less | {"noise": "much", "layers": {"other": 3}}))
    refusal(folder)
    population = make("population", features=simulation.features, trained=False).fit(simulation.dataset)
    assert "population" in refusal(population.save_pretrained(tmp_path / "population"))


def test_refuses_what_it_cannot_do(simulation):
    unfitted = TasteScorer(features=simulation.features)
    with pytest.raises(BeholderError, match="not learned"):
        unfitted.predict(images_of(simulation), Rater())
    with pytest.raises(BeholderError, match="not learned"):
        unfitted.save_pretrained("nowhere")
    with pytest.raises(BeholderError, match="at least 50 by 3 of 10"):
        unfitted.fit(part(simulation, range(2)))
    with pytest.raises(BeholderError, match="at least 50 by 3 of 10"):
        unfitted.fit(simulation.dataset.rows(np.flatnonzero(simulation.dataset.rating_image < 9)))
