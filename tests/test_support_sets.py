"""The protocols with a small and a large support set: who is tested, what is apart from what, and what N gives."""

import dataclasses
import importlib
import random
from functools import partial

import numpy as np
import pytest
from scipy import stats

from beholder.datasets import splits
from beholder.engine import local
from beholder.errors import BeholderError
from beholder.evaluation import bench, controls, protocols
from beholder.evaluation.answering import asked_of, fold_key, rater_with
from beholder.evaluation.simulate import mixed, simulate
from beholder.evaluation.support_sets import SupportSets, hard_images, hard_raters, rater_order
from command_line import beholder
from planted_scorers import Planted, truth_of
from tiny_models import folder_dataset

SMALL = {"raters": 6, "small": 3, "large": 20, "test": 10}
NAMES = ["support-100", "support-100-strict"]


@pytest.fixture(scope="module")
def data():
    """18 raters of 180 of 300 images in groups of 3; of rater r, the first 10 r ratings are left out."""
    world = simulate(mixed(n_raters=18, n_images=300, images_per_group=3, ratings_per_rater=180, seed=4)).dataset
    nth = np.zeros(len(world.rating_score), dtype=int)
    for rows in protocols.rows_by(world.rating_rater).values():
        nth[rows] = np.arange(len(rows))
    return world.rows(nth >= 10 * world.rating_rater)


def names_of(data, rows):
    return [data.image_ids[image] for image in data.rating_image[rows]]


def groups_of(data, rows):
    return {data.groups[image] for image in data.rating_image[rows]}


def parts_of(fold, rater):
    return [set(part[rater].tolist()) for part in (fold.small_support, fold.support, fold.query)]


def rows_in(parts):
    return np.concatenate([np.zeros(0, dtype=int), *parts.values()])


def turned(data, seed):
    """The same ratings with rows, raters and images in another order."""
    generator = np.random.default_rng(seed)
    raters, images = generator.permutation(len(data.raters)), generator.permutation(len(data.images))
    order = generator.permutation(len(data.rating_score))
    return dataclasses.replace(
        data,
        raters=tuple(data.raters[i] for i in raters),
        profiles=tuple(data.profiles[i] for i in raters),
        images=tuple(data.images[i] for i in images),
        image_ids=tuple(data.image_ids[i] for i in images),
        groups=tuple(data.groups[i] for i in images),
        rating_rater=np.argsort(raters)[data.rating_rater][order],
        rating_image=np.argsort(images)[data.rating_image][order],
        rating_score=data.rating_score[order],
    )


def test_the_published_sizes_are_the_default():
    protocol = protocols.get("support-100")
    assert (protocol.seeds, protocol.raters, protocol.small, protocol.large, protocol.test) == ((42,), 200, 10, 100, 50)
    assert (protocol.shots, protocol.trains, protocol.gives_support, protocol.averages_repeats) == ((10, 100), True, True, False)
    assert "160 ratings or more" in protocol.line() and "near-duplicates may be on both sides" in protocol.line()
    strict = protocols.get("support-100-strict").line()
    assert "fifth of the image groups that neither support nor training has" in strict and "near-duplicates" not in strict
    assert protocols.get("support-100", seeds=(1, 2)).averages_repeats


def test_sizes_and_what_is_disjoint_as_published(data):
    [fold] = protocols.get("support-100", raters="2").folds(data)
    assert len(fold.raters) == 2 and min(np.bincount(data.rating_rater)[fold.raters]) >= 160
    for rater in fold.raters:
        small, large, query = parts_of(fold, rater)
        assert (len(small), len(large), len(query)) == (10, 100, 50) and len(small | large | query) == 160
        assert set(data.rating_rater[sorted(small | large | query)]) == {rater}
        assert names_of(data, fold.support[rater]) != sorted(names_of(data, fold.support[rater]))
    assert not set(data.rating_rater[fold.train_rows]) & set(fold.raters)


def test_what_n_shots_are(data):
    [fold] = SupportSets(**SMALL).folds(data)
    rater = fold.raters[0]
    images = {n: rater_with(data, fold, rater, shots=n).ratings.images for n in (0, 2, 3, 4, 20, 500)}
    paths = {
        name: [str(data.images[image]) for image in data.rating_image[part[rater]]]
        for name, part in vars(fold).items()
        if name in ("support", "small_support")
    }
    assert images[0] == [] and images[3] == paths["small_support"]
    assert images[2] == paths["support"][:2] and images[4] == paths["support"][:4] and images[20] == images[500] == paths["support"]
    assert not set(images[3]) & set(images[500])
    without = dataclasses.replace(fold, small_support={})
    assert rater_with(data, without, rater, shots=3).ratings.images == images[4][:3]
    assert fold_key(without) != fold_key(fold)  # or answers to one would be taken for answers to the other
    assert fold.n_evidence(rater) == 20


def test_the_rater_mean_knows_the_same_support(data):
    [fold] = SupportSets(**SMALL).folds(data)
    asked = asked_of(data, fold)
    at = {n: controls.rater_mean(data, fold, asked, shots=n).score for n in (3, 4)}
    for change, differs in (("small_support", 3), ("support", 4)):
        harsh = {rater: rows[:0] for rater, rows in getattr(fold, change).items()}
        other = dataclasses.replace(fold, **{change: harsh})
        moved = {n: not np.allclose(controls.rater_mean(data, other, asked, shots=n).score, at[n]) for n in (3, 4)}
        assert moved[differs] and (change == "small_support" or not moved[3])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("subset", ["all", "hard-images", "hard-raters"])
def test_nothing_depends_on_the_order_of_the_file(data, name, subset):
    protocol = SupportSets(name=name, subset=subset, **SMALL | {"min_query": 2})
    [fold] = protocol.folds(data)
    for seed in range(3):
        other_data = turned(data, seed)
        [other] = protocol.folds(other_data)
        assert [data.raters[rater] for rater in fold.support] == [other_data.raters[rater] for rater in other.support]
        for ours, theirs in zip(fold.support, other.support, strict=True):
            for part in ("small_support", "support"):
                assert names_of(data, getattr(fold, part)[ours]) == names_of(other_data, getattr(other, part)[theirs])
            assert set(names_of(data, fold.query[ours])) == set(names_of(other_data, other.query[theirs]))
        assert len(fold.train_rows) == len(other.train_rows)


def test_raters_are_the_first_with_enough_ratings_in_a_shuffled_order_of_all_ids(data):
    order = sorted(data.raters)
    random.Random(42).shuffle(order)
    count = dict(zip(data.raters, np.bincount(data.rating_rater), strict=True))
    assert rater_order(data.raters[::-1], seed=42) == order
    for least in (33, 100, 150):
        [fold] = SupportSets(**SMALL, min_ratings=least).folds(data)
        expected = [rater for rater in order if count[rater] >= least][:6]
        assert {data.raters[rater] for rater in fold.raters} == set(expected)
    # a rating more or less of somebody who is far from the limit changes nobody
    fewer = data.rows(np.arange(len(data.rating_score)) != np.flatnonzero(data.rating_rater == 0)[0])
    assert SupportSets(**SMALL).folds(fewer)[0].raters == SupportSets(**SMALL).folds(data)[0].raters
    one, other = SupportSets(**SMALL, seeds=(1, 2)).folds(data)
    assert one.raters != other.raters and [one.name, other.name] == ["seed1", "seed2"]


def test_fewer_raters_than_asked_are_all_tested_and_it_is_said(data):
    protocol = SupportSets()
    [fold] = protocol.folds(data)
    assert sorted(fold.raters) == [0, 1, 2]  # 180, 170 and 160 ratings; 150 are too few
    assert any("tests 3 of 18 raters instead of 200" in note for note in protocol.notes(data))
    assert not any("instead of" in note for note in SupportSets(**SMALL).notes(data))
    [fold] = SupportSets(**SMALL | {"raters": 18}).folds(data)
    assert len(fold.raters) == 15 and not len(fold.train_rows[np.isin(data.rating_rater[fold.train_rows], fold.raters)])


@pytest.mark.parametrize("subset", ["all", "hard-images"])
def test_strict_shares_no_image_group(data, subset):
    protocol = SupportSets(name="support-100-strict", subset=subset, min_query=3, **SMALL)
    [fold] = protocol.folds(data)
    asked = groups_of(data, rows_in(fold.query))
    assert not asked & groups_of(data, rows_in(fold.support)) and not asked & groups_of(data, rows_in(fold.small_support))
    assert not asked & groups_of(data, fold.train_rows)
    assert len(asked) <= 20 and len(fold.raters) == (6 if subset == "all" else 2)  # few have 3 hard images in a fifth of the groups
    for rater in fold.raters:
        small, large, query = parts_of(fold, rater)
        assert (len(small), len(large)) == (3, 20) and 3 <= len(query) <= 10 and not small & large
    plain = SupportSets(**SMALL).folds(data)[0]
    assert groups_of(data, rows_in(plain.query)) & groups_of(data, rows_in(plain.support))  # the published one does share groups


def test_strict_asks_for_what_there_is(data):
    protocol = SupportSets(name="support-100-strict", raters=4, small=3, large=20, test=50)
    [fold] = protocol.folds(data)
    sizes = [len(rows) for rows in fold.query.values()]
    assert min(sizes) >= 10 and max(sizes) < 50
    assert any(f"asks for {min(sizes)} to {max(sizes)} query images a rater instead of 50" in note for note in protocol.notes(data))


def test_training_keeps_away_from_tested_raters_images_if_it_can(data):
    few = SMALL | {"raters": 1}
    made = {how: SupportSets(**few, image_disjoint=how) for how in ("auto", "yes", "no")}
    folds = {how: protocol.folds(data)[0] for how, protocol in made.items()}
    [rater] = folds["auto"].raters
    used = set().union(*(names_of(data, part[rater]) for part in (folds["auto"].support, folds["auto"].small_support, folds["auto"].query)))
    assert len(used) == 33
    assert not used & set(names_of(data, folds["auto"].train_rows))
    np.testing.assert_array_equal(folds["auto"].train_rows, folds["yes"].train_rows)
    np.testing.assert_array_equal(folds["no"].train_rows, np.flatnonzero(data.rating_rater != rater))
    shares = {how: any("training shares images" in note for note in protocol.notes(data)) for how, protocol in made.items()}
    assert shares == {"auto": False, "yes": False, "no": True}


def test_images_are_shared_where_hardly_any_would_be_left(data):
    wide = {"raters": 8, "small": 5, "large": 90, "test": 15}
    [fold], [apart] = SupportSets(**wide).folds(data), SupportSets(**wide, image_disjoint="yes").folds(data)
    assert len(np.unique(data.rating_image[apart.train_rows])) < 30  # of 300
    np.testing.assert_array_equal(fold.train_rows, np.flatnonzero(~np.isin(data.rating_rater, fold.raters)))
    notes = SupportSets(**wide).notes(data)
    assert any("training shares images" in note and "fewer than 10 %" in note for note in notes)
    assert any(note.startswith("training: 10 raters, ") for note in notes)
    strict = SupportSets(name="support-100-strict", **wide | {"min_query": 2}).folds(data)[0]
    assert not groups_of(data, strict.train_rows) & groups_of(data, rows_in(strict.query))


def test_hard_images_are_those_with_the_largest_variance(data):
    variance = {}
    for image in data.used_images:
        scores = data.rating_score[data.rating_image == image]
        if len(scores) >= 3:
            variance[int(image)] = scores.var()
    hard = set(np.flatnonzero(hard_images(data)))
    assert len(hard) == int(np.ceil(0.1 * len(variance)))
    assert min(variance[image] for image in hard) >= max(value for image, value in variance.items() if image not in hard)
    [fold] = SupportSets(**SMALL | {"test": 8}, min_query=4, subset="hard-images").folds(data)
    assert {int(image) for image in data.rating_image[rows_in(fold.query)]} <= hard
    assert all(4 <= len(rows) <= 8 for rows in fold.query.values())
    assert not any(set(fold.query[rater]) & (set(fold.support[rater]) | set(fold.small_support[rater])) for rater in fold.raters)


def test_hard_raters_agree_least_with_the_others(data):
    order = hard_raters(data)
    agreement = {}
    for rater in data.used_raters:
        own = {data.rating_image[row]: data.rating_score[row] for row in np.flatnonzero(data.rating_rater == rater)}
        others = {image: data.rating_score[(data.rating_image == image) & (data.rating_rater != rater)] for image in own}
        both = [image for image in own if len(others[image])]
        if len(both) >= 30:
            agreement[int(rater)] = stats.spearmanr([own[image] for image in both], [others[image].mean() for image in both])[0]
    assert order == sorted(agreement, key=lambda rater: round(agreement[rater], 9)) and len(order) > 10
    [fold] = SupportSets(**SMALL, subset="hard-raters").folds(data)
    enough = [rater for rater in order if (data.rating_rater == rater).sum() >= 33]
    assert list(fold.support) == enough[:6]
    assert "50 raters that agree least" in SupportSets(subset="hard-raters").line()


# --- the shipped orders


@pytest.mark.parametrize(("name", "size"), [("para", 438), ("lapis", 532)])
def test_shipped_orders_are_the_shuffled_ids_of_the_published_folds(name, size):
    split = splits.published_split(name)
    ids = sorted([*split.train_raters, *split.test_raters])
    random.Random(splits.ORDER_SEED).shuffle(ids)
    assert list(splits.rater_order(name)) == ids and len(ids) == size == len(set(ids))


def test_shipped_orders_are_checked(tmp_path, monkeypatch):
    for file in ("manifest.json", "support-100-para.txt"):
        (tmp_path / file).write_bytes((splits.FOLDER / file).read_bytes() + b" " * (file != "manifest.json"))
    monkeypatch.setattr(splits, "FOLDER", tmp_path)
    with pytest.raises(BeholderError, match=r"support-100-para\.txt is damaged"):
        splits.rater_order("para")
    with pytest.raises(BeholderError, match="no order of the raters of 'eva'"):
        splits.rater_order("eva")


def test_a_dataset_with_other_ids_keeps_the_shipped_order_and_says_so(data):
    known = splits.rater_order("lapis")
    ids = [*known[3:18], "1-new", "2-new", "3-new"]
    lapis = dataclasses.replace(data, name="lapis", raters=tuple(ids[i] for i in np.random.default_rng(0).permutation(18)))
    order = rater_order(lapis.raters, seed=42, known=known)
    assert order[:15] == list(known[3:18]) and sorted(order[15:]) == ["1-new", "2-new", "3-new"]
    [fold] = SupportSets(**SMALL).folds(lapis)
    count = dict(zip(lapis.raters, np.bincount(lapis.rating_rater), strict=True))
    assert [lapis.raters[rater] for rater in fold.support] == [rater for rater in order if count[rater] >= 33][:6]
    assert (
        "517 of the 532 raters in the shipped order of lapis are not in this dataset, and 3 of its raters are not in that order: they come "
        "after all others"
    ) in SupportSets(**SMALL).notes(lapis)
    assert not any("shipped order" in note for note in SupportSets(**SMALL).notes(data))


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rater": "50"}, "has no option 'rater': did you mean raters"),
        ({"raters": "many"}, "not a whole number"),
        ({"raters": "0"}, "raters = 0 is too few"),
        ({"small": "100"}, "make them differ"),
        ({"min_ratings": "100"}, "support and query take 160 ratings"),
        ({"image_disjoint": "perhaps"}, "not one of auto, yes, no"),
        ({"subset": "hard"}, "not one of all, hard-images, hard-raters"),
        ({"seeds": ()}, "one seed per repeat"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(BeholderError, match=message):
        protocols.get("support-100", **options)


def test_options_come_as_texts():
    protocol = protocols.get("support-100-strict", raters="50", min_ratings="200", small="5", large="40", test="20", image_disjoint="no")
    assert (protocol.raters, protocol.min_ratings, protocol.shots, protocol.test) == (50, 200, (5, 40), 20)
    with pytest.raises(BeholderError, match="did you mean support-100"):
        protocols.get("support-10")


def test_too_small_datasets_name_what_there_is(data):
    small = data.rows(data.rating_rater > 9)  # at most 80 ratings
    with pytest.raises(BeholderError, match=r"the most is 80: pass --protocol-options small=5,large=50,test=25") as refused:
        SupportSets().folds(small)
    assert len(SupportSets(small=5, large=50, test=25).folds(small)[0].raters) == 1
    assert "160 ratings that support-100 needs" in str(refused.value)
    with pytest.raises(BeholderError, match="the most is 3: use another protocol"):
        SupportSets().folds(data.rows(np.flatnonzero(data.rating_rater == 0)[:3]))
    with pytest.raises(BeholderError, match="outside the image groups of the queries"):
        SupportSets(name="support-100-strict", small=30, large=130, test=10).folds(data)
    grouped = dataclasses.replace(data, groups=("a", "b", "c") * 100)
    with pytest.raises(BeholderError, match="3 image groups, too few to keep a fifth"):
        SupportSets(name="support-100-strict").folds(grouped)
    with pytest.raises(BeholderError, match="leave out subset=hard-raters"):
        SupportSets(**SMALL, subset="hard-raters").folds(data.rows(data.rating_rater == 0))


# --- in the bench


class Shown(Planted):
    """Answers with the number of ratings it was shown, so that what N gives can be seen in the report."""

    uses_ratings = True

    def __init__(self, log):
        super().__init__(lambda name, rater: len(rater.ratings) + len(name) / 100, log=log)


def test_the_bench_takes_shots_and_training_from_the_protocol(data, tmp_path):
    log = []
    report = bench.run(data, {"shown": partial(Shown, log)}, protocol=SupportSets(**SMALL), out=tmp_path, draws=20)
    assert report.shots == (3, 20) and report.fitted and report.protocol_name == "support-100"
    assert [kind for kind, _ in log].count("fit") == 1
    assert {len(rater.ratings) for kind, requests in log if kind == "ask" for _, rater in requests} == {3, 20}
    log.clear()
    again = bench.run(data, {"shown": partial(Shown, log)}, protocol=SupportSets(**SMALL), out=tmp_path, draws=20)
    assert not log and again.summary() == report.summary()
    other = bench.run(data, {"shown": partial(Shown, log)}, protocol=SupportSets(**SMALL), shots=(0, 4), draws=20)
    assert other.shots == (0, 4)


def test_without_ratings_to_learn_from_scorers_are_as_shipped(data):
    alone = data.rows(data.rating_rater < 3)
    log = []
    report = bench.run(alone, {"shown": partial(Shown, log)}, protocol="support-100", draws=20)
    assert not report.fitted and not any(kind == "fit" for kind, _ in log)
    assert any("no ratings are left to learn from" in note for note in report.notes)
    with pytest.raises(BeholderError, match=r"no training ratings.*--no-fit"):
        bench.run(alone, {"shown": partial(Shown, log)}, protocol="support-100", fit=True)


def test_paired_differences_at_every_n(data):
    scorers = {"good": partial(Planted, truth_of(data, noise_width=0.5)), "bad": partial(Planted, truth_of(data, noise_width=6))}
    report = bench.run(data, scorers, protocol=SupportSets(**SMALL), draws=200)
    gaps = {(gap["shots"], gap["metric"]): gap for gap in report.differences() if (gap["scorer"], gap["minus"]) == ("bad", "good")}
    assert {shots for shots, _ in gaps} == {3, 20} and {"srocc", "r2"} <= {metric for _, metric in gaps}
    for shots in (3, 20):
        assert gaps[shots, "srocc"]["high"] < 0 and gaps[shots, "r2"]["high"] < 0
        expected = report.estimate("bad", shots=shots, metric="r2").value - report.estimate("good", shots=shots, metric="r2").value
        assert gaps[shots, "r2"]["value"] == pytest.approx(expected)
    page = report.markdown()
    assert "## R2 (higher is better)" in page and "| bad | good | R2 |" in page and "| N = 3 | N = 20 |" in page


def test_two_seeds_are_two_repeats(data):
    report = bench.run(
        data, {"good": partial(Planted, truth_of(data, noise_width=2))}, protocol=SupportSets(**SMALL, seeds=(1, 2)), draws=20
    )
    assert report.averages_repeats and len(report.folds) == 2
    assert report.estimate("good", shots=20).std > 0


def test_a_small_set_that_is_the_larger_one_is_no_short_support(data):
    (fold,) = protocols.get("support-100", raters=2, small=20, large=10, test=10).folds(data)
    assert [fold.n_evidence(rater, shots=n) for rater in fold.raters[:1] for n in (10, 20, 15)] == [10, 20, 10]


def test_training_images_are_looked_at_only_for_scorers_that_learn_from_them(tmp_path, monkeypatch):
    importlib.import_module("beholder.engine.source")  # it keeps the true `index`, whichever tests ran before
    root, looked, original = folder_dataset(tmp_path / "data", n_raters=4, n_images=30), [], local.index
    monkeypatch.setattr(local, "index", lambda images, **options: looked.append(len(images)) or original(images, **options))
    call = ("bench", "folder", "--root", root, "--encoder", "efficientnet-lite0[size=64]", "--no-controls", "--protocol", "support-100")
    for scorer, n in (
        ("linear-hidden", 18),
        ("linear-hidden[labels=giaa]", 18),
        ("linear-hidden[target=residual]", 30),
        ("linear-hidden,linear-hidden[target=residual]", 30),
        ("linear-hidden[target=residual],linear-hidden --no-fit", 18),
    ):
        looked.clear()
        name, *more = scorer.split()
        result = beholder(*call, "--protocol-options", "raters=1,small=3,large=10,test=5", "--scorer", name, *more)
        assert looked == [n], (scorer, looked, result.stderr)
        assert (result.exit_code == 0) == (not more), result.stderr  # a variant that has learned nothing is refused
