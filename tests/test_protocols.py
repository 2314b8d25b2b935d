"""Splits: who and what is disjoint from what, orders, repeats, files."""

import dataclasses

import numpy as np
import pytest

from beholder.datasets.splits import published_split
from beholder.errors import BeholderError
from beholder.evaluation import protocols
from beholder.evaluation.answering import fold_key, rater_with
from beholder.evaluation.choice_protocol import ChoicesFromRatings, choices_from_ratings
from beholder.evaluation.protocols import CrossValidation, group_folds
from beholder.evaluation.simulate import mixed, simulate
from beholder.evaluation.split_file import SplitFile

SEEDS = range(12)


@pytest.fixture(scope="module")
def data():
    return simulate(mixed(n_raters=23, n_images=61, images_per_group=4, ratings_per_rater=30, seed=5)).dataset


def raters_of(data, rows):
    return set(data.rating_rater[rows].tolist())


def groups_of(data, rows):
    return {data.groups[image] for image in data.rating_image[rows]}


def rows_in(parts):
    return np.concatenate([np.zeros(0, dtype=int), *parts.values()])


@pytest.mark.parametrize("name", ["new-rater-new-image", "new-rater", "new-image"])
def test_what_is_disjoint(data, name):
    for fold in CrossValidation(name=name, seeds=SEEDS).folds(data):
        for rater, query in fold.query.items():
            support = fold.support[rater]
            assert raters_of(data, query) == {rater}
            assert raters_of(data, support) <= {rater}
            assert not groups_of(data, support) & groups_of(data, query)
            assert not set(query) & set(fold.train_rows)
        train, query = fold.train_rows, rows_in(fold.query)
        assert (raters_of(data, train) & set(fold.raters) == set()) == (name != "new-image")
        assert (groups_of(data, train) & groups_of(data, query) == set()) == (name != "new-rater")
        if name == "new-image":
            assert set(rows_in(fold.support)) <= set(train)
        else:
            assert not set(rows_in(fold.support)) & set(train)


@pytest.mark.parametrize("name", ["new-rater-new-image", "new-rater"])
def test_every_rater_is_tested_once_per_seed(data, name):
    folds = CrossValidation(name=name, seeds=(0, 1), min_query=1).folds(data)
    for seed in (0, 1):
        tested = [rater for fold in folds if fold.seed == seed for rater in fold.raters]
        assert sorted(tested) == list(range(23))


def test_every_rating_is_a_query_once_per_seed_with_known_raters(data):
    folds = CrossValidation(name="new-image", min_query=1).folds(data)
    assert sorted(np.concatenate([rows_in(fold.query) for fold in folds])) == list(range(len(data.rating_score)))


def test_group_folds_are_whole_and_balanced(data):
    for seed in SEEDS:
        folds = group_folds(data, n_folds=5, seed=seed)
        by_group = {}
        for image, fold in enumerate(folds):
            assert by_group.setdefault(data.groups[image], fold) == fold
        sizes = np.bincount(folds)
        assert sizes.max() - sizes.min() <= 4  # one group


def test_group_folds_stay_balanced_with_one_large_group(data):
    groups = tuple("large" if image < 12 else f"g{image}" for image in range(len(data.images)))
    sizes = np.bincount(group_folds(dataclasses.replace(data, groups=groups), n_folds=5, seed=0))
    assert sizes.max() - sizes.min() <= 1


def test_folds_repeat_with_the_seed_and_change_with_it(data):
    one, again = (CrossValidation(seeds=(3, 4)).folds(data) for _ in range(2))
    assert [fold_key(fold) for fold in one] == [fold_key(fold) for fold in again]
    assert len({fold_key(fold) for fold in one}) == 10
    assert [fold.name for fold in one][:2] == ["seed3-fold0", "seed3-fold1"]


def test_support_order_is_random_but_does_not_depend_on_the_file(data):
    generator = np.random.default_rng(0)
    order = generator.permutation(len(data.rating_score))
    turned = data.rows(order)
    for fold, other in zip(CrossValidation().folds(data), CrossValidation().folds(turned), strict=True):
        assert fold.raters == other.raters
        for rater in fold.raters:
            ours, theirs = data.rating_image[fold.support[rater]], turned.rating_image[other.support[rater]]
            np.testing.assert_array_equal(ours, theirs)
            assert list(ours) != sorted(ours)


def test_an_n_shot_run_uses_the_first_n(data):
    fold = CrossValidation().folds(data)[0]
    rater = fold.raters[0]
    known = [rater_with(data, fold, rater, shots=n).ratings for n in (0, 5, 10, 1000)]
    assert [len(ratings) for ratings in known] == [0, 5, 10, len(fold.support[rater])]
    assert known[1].images == known[2].images[:5]
    assert known[2].images == [str(data.images[image]) for image in data.rating_image[fold.support[rater][:10]]]
    assert known[0].scale == data.scale


def test_limits(data):
    folds = CrossValidation(max_raters=2, max_query=3).folds(data)
    assert all(len(fold.raters) <= 2 for fold in folds)
    assert all(len(rows) <= 3 for fold in folds for rows in fold.query.values())
    plain = CrossValidation().folds(data)
    for fold, full in zip(folds, plain, strict=True):
        for rater in fold.raters:
            np.testing.assert_array_equal(fold.support[rater], full.support[rater])
            assert set(fold.query[rater]) <= set(full.query[rater])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: protocols.get("new-ratter"), "did you mean new-rater"),
        (lambda: protocols.get("new-rater", n_folds=1), "at least 2 folds"),
        (lambda: CrossValidation(seeds=()), "a seed"),
    ],
)
def test_wrong_protocols(make, message):
    with pytest.raises(BeholderError, match=message):
        make()


def test_too_small_datasets(data):
    with pytest.raises(BeholderError, match="image groups, too few for 30 folds"):
        CrossValidation(n_folds=30).folds(data)
    with pytest.raises(BeholderError, match="3 raters, too few for 5 folds"):
        CrossValidation().folds(data.rows(data.rating_rater < 3))
    with pytest.raises(BeholderError, match="leaves no rater"):
        CrossValidation(min_query=50).folds(data)


def test_choices_come_from_pairs_of_a_group_with_differing_scores(data):
    rows = np.flatnonzero(data.rating_rater == 2)
    score = dict(zip(data.rating_image[rows], data.rating_score[rows], strict=True))
    pairs = choices_from_ratings(data, rows, seed=0)
    expected = {(a, b) for a in score for b in score if score[a] > score[b] and data.groups[a] == data.groups[b]}
    assert len(pairs) == len(expected) > 0
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(choices_from_ratings(data, rows, seed=0, within_group=False)) > len(pairs)
    assert len(choices_from_ratings(data, rows, seed=0, margin=1.0)) < len(pairs)
    assert choices_from_ratings(data, rows[:0], seed=0).shape == (0, 2)
    np.testing.assert_array_equal(pairs, choices_from_ratings(data, rows[::-1], seed=0))


def test_choices_protocol(data):
    for fold in protocols.get("choices", seeds=(0, 1)).folds(data):
        assert not fold.support
        for rater in fold.raters:
            support, query = (
                {data.groups[image] for image in part[rater].reshape(-1)} for part in (fold.support_choices, fold.query_choices)
            )
            assert not support & query
            assert fold.n_evidence(rater) == len(fold.support_choices[rater])
        rater = max(fold.raters, key=fold.n_evidence)
        known = rater_with(data, fold, rater, shots=3)
        assert (len(known.choices), len(known.ratings)) == (3, 0)
    limited = ChoicesFromRatings(max_support=2, max_query=1).folds(data)
    assert {len(pairs) for fold in limited for pairs in fold.query_choices.values()} == {1}
    assert max(len(pairs) for fold in limited for pairs in fold.support_choices.values()) == 2
    lonely = dataclasses.replace(data, groups=data.image_ids)
    with pytest.raises(BeholderError, match=r"choices need groups"):
        protocols.get("choices").folds(lonely)


def split_of(tmp_path, lines):
    path = tmp_path / "split.csv"
    path.write_text("rater,image,role\n" + "\n".join(lines) + "\n")
    return SplitFile(path)


def lines_of(data, rows, role):
    return [f"{data.raters[data.rating_rater[row]]},{data.image_ids[data.rating_image[row]]},{role}" for row in rows]


def test_split_file(data, tmp_path):
    rows = np.flatnonzero(data.rating_rater == 1)
    train = np.flatnonzero(data.rating_rater > 3)
    support, query = rows[[5, 2, 9]], rows[10:14]
    lines = [
        *lines_of(data, query, "query"),
        *lines_of(data, train, "train"),
        *lines_of(data, support, "SUPPORT"),
        *lines_of(data, rows[15:], "ignore"),
    ]
    choices = dataclasses.replace(
        data,
        choice_rater=np.array([1, 1, 1, 6]),
        choice_chosen=np.array([1, 2, 3, 4]),
        choice_other=np.array([5, 6, 7, 8]),
        choice_role=("support", "", "query", "query"),
    )
    protocol = split_of(tmp_path, [*lines, "nobody,none.png,train"])
    [fold] = protocol.folds(choices)
    np.testing.assert_array_equal(fold.support[1], support)  # in the order of the file
    np.testing.assert_array_equal(fold.query[1], query)
    np.testing.assert_array_equal(fold.train_rows, train)
    assert {rater: pairs.tolist() for rater, pairs in fold.support_choices.items()} == {1: [[1, 5]]}
    assert {rater: pairs.tolist() for rater, pairs in fold.query_choices.items()} == {1: [[3, 7]], 6: [[4, 8]]}
    assert fold.raters == [1, 6]
    notes = " ".join(protocol.notes(choices))
    assert "1 rows of split.csv name a rating that simulated does not have" in notes
    assert "of a group that is in training" in notes


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["r0000,{image},test"], "line 2: role = 'test'"),
        (["r0000,{image},query", "r0000,{image},train"], "lines 2 and 3 give the same rating the roles query and train"),
        (["r0000,nothing.png,query"], "lists no rating"),
        (["r0000,{image},train"], "no row with role query"),
    ],
)
def test_wrong_split_files(data, tmp_path, lines, message):
    image = data.image_ids[data.rating_image[data.rating_rater == 0][0]]
    with pytest.raises(BeholderError, match=message):
        split_of(tmp_path, [line.format(image=image) for line in lines]).folds(data)


def test_missing_split_file(data, tmp_path):
    with pytest.raises(BeholderError, match="cannot be read"):
        SplitFile(tmp_path / "no.csv").folds(data)


# --- folds that others published


@pytest.fixture(scope="module", params=["para", "lapis"])
def published(request):
    """A few raters and images of the published lists, each rater with 12 ratings."""
    split = published_split(request.param)
    raters = [*split.train_raters[:8], *split.test_raters[:3], "nobody"]
    asked = (split.test_images or split.validation_images)[:6]
    learned = split.train_images[:9] or tuple(f"iaa_pub{i}_x.jpg" for i in range(9))
    images = [f"style/{name}" for name in (*asked, *learned, *split.validation_images[-2:])]
    world = simulate(mixed(n_raters=len(raters), n_images=len(images), images_per_group=1, ratings_per_rater=len(images), seed=1)).dataset
    named = dataclasses.replace(world, name=request.param, raters=tuple(raters), image_ids=tuple(images), groups=tuple(images))
    return named, split, set(asked), set(learned)


def test_published_folds(published):
    data, split, asked, learned = published
    if data.name == "para":
        asked = asked | set(split.validation_images[-2:])  # the list of PARA has no test images: these are asked
    folds = protocols.get("published-folds", seeds=(0, 1)).folds(data)
    tested = [rater for fold in folds if fold.seed == 0 for rater in fold.raters]
    assert sorted(tested) == list(range(len(data.raters) - 1))  # each once, and not the one without a fold
    for fold in folds:
        names = {
            part: {data.image_ids[image].rsplit("/", 1)[-1] for image in data.rating_image[rows]}
            for part, rows in (("train", fold.train_rows), ("query", rows_in(fold.query)), ("support", rows_in(fold.support)))
        }
        assert names["query"] == asked and names["support"] == learned
        assert names["train"] in (learned, set()) and not raters_of(data, fold.train_rows) & set(fold.raters)
        assert len(data.raters) - 1 not in raters_of(data, fold.train_rows)
        number = int(fold.name[-1])
        assert {data.raters[rater] for rater in fold.raters} <= set(published_split(data.name, fold=number).test_raters)
    assert not np.array_equal(folds[0].support[folds[0].raters[0]], folds[-1].support.get(folds[0].raters[0], ()))
    notes = protocols.get("published-folds").notes(data)
    assert notes == [f"1 of {len(data.raters)} raters are in no published fold or have too few query ratings"]
    few = protocols.get("published-folds", max_query=3).folds(data)
    assert {len(rows) for fold in few for rows in fold.query.values()} == {3}


def test_published_folds_of_other_data_are_refused(data, published):
    with pytest.raises(BeholderError, match="published-folds are known of para and lapis, not of simulated"):
        protocols.get("published-folds").folds(data)
    with pytest.raises(BeholderError, match="is it the whole dataset, with its own ids"):
        protocols.get("published-folds").folds(dataclasses.replace(data, name=published[0].name))
