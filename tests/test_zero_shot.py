"""The zero-shot protocols: who is drawn, what may be learned, how draws and repeats become one number."""

import dataclasses
import gc
import json
import weakref

import numpy as np
import pytest
from scipy import stats

from beholder.errors import BeholderError
from beholder.evaluation import bench, controls, protocols
from beholder.evaluation.answering import answers_of, ask, asked_of, fold_key
from beholder.evaluation.metrics import evaluate, two_way_residuals
from beholder.evaluation.protocols import CrossValidation
from beholder.evaluation.repeats import across_repeats
from beholder.evaluation.simulate import mixed, simulate
from beholder.evaluation.zero_shot import ZeroShot, most_rated_first
from beholder.profile import Profile
from beholder.scale import Scale
from planted_scorers import Planted, noise, truth_of

SMALL = {"test_raters": 4, "query": 6, "draws": 3, "seeds": (0, 1, 2)}
NAMES = ["zero-shot", "zero-shot-strict"]


@pytest.fixture(scope="module")
def data():
    return simulate(mixed(n_raters=24, n_images=90, images_per_group=3, ratings_per_rater=50, seed=3)).dataset


def raters_of(data, rows):
    return set(data.rating_rater[rows].tolist())


def groups_of(data, rows):
    return {data.groups[image] for image in data.rating_image[rows]}


def rows_in(parts):
    return np.concatenate([np.zeros(0, dtype=int), *parts.values()])


# --- the split


@pytest.mark.parametrize("name", NAMES)
def test_who_is_tested_on_what(data, name):
    folds = ZeroShot(name=name, **SMALL).folds(data)
    assert [fold.name for fold in folds] == ["seed0", "seed1", "seed2"]
    assert len({tuple(fold.raters) for fold in folds}) == 3
    for fold in folds:
        assert len(fold.raters) == 4 and not fold.support and len(fold.draws) == 3
        for rater in fold.raters:
            drawn = [part[rater] for part in fold.draws]
            assert all(len(set(rows)) == 6 and raters_of(data, rows) == {rater} for rows in drawn)
            assert len({tuple(rows) for rows in drawn}) > 1
            assert list(fold.query[rater]) == sorted(set(np.concatenate(drawn)))
        query = rows_in(fold.query)
        assert not raters_of(data, fold.train_rows) & set(fold.raters)
        assert raters_of(data, fold.train_rows) | set(fold.raters) == set(range(24))
        shared = groups_of(data, fold.train_rows) & groups_of(data, query)
        if name == "zero-shot":
            assert len(fold.train_rows) == 20 * 50 and shared == groups_of(data, query)
        else:
            assert not shared
            images = len({data.rating_image[row] for row in query})
            assert images <= len(data.images) / 5 + 3  # one of five folds


def test_the_published_sizes_are_the_default():
    protocol = protocols.get("zero-shot")
    sizes = (protocol.test_raters, protocol.query, protocol.draws, protocol.seeds, protocol.max_records)
    assert sizes == (40, 50, 10, tuple(range(10)), 1000)
    assert (protocol.gives_support, protocol.trains, protocol.averages_repeats) == (False, True, True)


def test_folds_repeat_with_the_seed_and_do_not_depend_on_the_order_of_the_file(data):
    one, again = (ZeroShot(**SMALL).folds(data) for _ in range(2))
    assert [fold_key(fold) for fold in one] == [fold_key(fold) for fold in again]
    order = np.random.default_rng(0).permutation(len(data.rating_score))
    turned = data.rows(order)
    for fold, other in zip(one, ZeroShot(**SMALL, max_records=9).folds(turned), strict=True):
        assert fold.raters == other.raters
        for ours, theirs in zip(fold.draws, other.draws, strict=True):
            for rater in fold.raters:
                assert set(data.rating_image[ours[rater]]) == set(turned.rating_image[theirs[rater]])
    limited = [
        set(zip(d.rating_rater[f.train_rows], d.rating_image[f.train_rows], strict=True))
        for d, f in ((data, ZeroShot(**SMALL, max_records=9).folds(data)[0]), (turned, ZeroShot(**SMALL, max_records=9).folds(turned)[0]))
    ]
    assert limited[0] == limited[1]


def test_images_that_more_training_raters_rated_come_first(data):
    # image:          0  1  2  3
    # raters of it:   3  2  2  1   among the rows given
    pairs = [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (1, 2), (2, 2), (2, 0), (3, 3), (3, 3)]
    table = dataclasses.replace(
        data, rating_rater=np.array([r for r, _ in pairs]), rating_image=np.array([i for _, i in pairs]), rating_score=np.ones(len(pairs))
    )
    rows = np.arange(8)  # rater 3 is not in training: image 3 has one training rater, not three
    assert [pairs[row] for row in most_rated_first(table, rows, most=1, seed=0)] == [(0, 0), (1, 0), (2, 0)]
    assert [pairs[row] for row in most_rated_first(table, rows, most=2, seed=0) if pairs[row][0] == 0] == [(0, 0), (0, 1)]
    np.testing.assert_array_equal(most_rated_first(table, rows, most=3, seed=0), rows)
    ties = {pairs[row] for seed in range(20) for row in most_rated_first(table, rows, most=2, seed=seed) if pairs[row][0] == 1}
    assert ties == {(1, 0), (1, 1), (1, 2)}  # images 1 and 2 are equally often rated: the seed decides


def test_at_most_max_records_per_training_rater(data):
    fold = ZeroShot(**SMALL, max_records=7).folds(data)[0]
    assert set(np.bincount(data.rating_rater[fold.train_rows])) == {0, 7}
    counts = np.bincount(data.rating_image[ZeroShot(**SMALL).folds(data)[0].train_rows], minlength=len(data.images))
    for rater in raters_of(data, fold.train_rows):
        taken = set(data.rating_image[fold.train_rows][data.rating_rater[fold.train_rows] == rater])
        left = set(data.rating_image[data.rating_rater == rater]) - taken
        assert min(counts[list(taken)]) >= max(counts[list(left)])


@pytest.mark.parametrize("name", NAMES)
def test_small_datasets_shrink_the_protocol_and_say_so(data, name):
    protocol = ZeroShot(name=name, draws=2, seeds=(0, 1))
    folds = protocol.folds(data)
    assert {len(fold.raters) for fold in folds} == {6}  # a quarter of 24
    sizes = {len(rows) for fold in folds for part in fold.draws for rows in part.values()}
    notes = " ".join(protocol.notes(data))
    assert "tests 6 raters a repeat instead of 40: simulated has 24 raters" in notes
    if name == "zero-shot":
        assert sizes == {50} and "query images" not in notes
    else:
        assert max(sizes) < 20 and "query images a rater instead of 50" in notes and "too few query images and are never tested" in notes
    assert ZeroShot(**SMALL).notes(data) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": 1}, "query = 1 is too few; write 2 or more"),
        ({"test_raters": "0"}, "test_raters = 0 is too few"),
        ({"seeds": (1, 1)}, "one seed per repeat, all different"),
        ({"seeds": ()}, "one seed per repeat"),
        ({"n_folds": 5}, "no option 'n_folds'"),
        ({"query": "many"}, "query = 'many' is not a whole number"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(BeholderError, match=message):
        protocols.get("zero-shot", **options)


def test_datasets_that_are_too_small(data):
    with pytest.raises(BeholderError, match="has 3 raters, too few for zero-shot: it needs 4"):
        ZeroShot().folds(data.rows(data.rating_rater < 3))
    with pytest.raises(BeholderError, match="3 image groups, too few to keep one of 5 folds"):
        ZeroShot(name="zero-shot-strict").folds(dataclasses.replace(data, groups=tuple(f"g{i % 3}" for i in range(90))))
    _, first = np.unique(data.rating_rater, return_index=True)
    with pytest.raises(BeholderError, match="fewer than 2 ratings that may be asked"):
        ZeroShot().folds(data.rows(first))
    with pytest.raises(BeholderError, match="knows no rating of the tested raters"):
        bench.run(data, {"x": lambda: Planted(lambda *_: 1)}, protocol=ZeroShot(**SMALL), shots=(0, 5))


# --- training and asking


def test_trained_and_asked_once_per_repeat(data):
    logs = []

    def make():
        logs.append([])
        return Planted(truth_of(data), log=logs[-1])

    steps = []
    protocol = ZeroShot(**SMALL)
    report = bench.run(data, {"planted": make}, protocol=protocol, with_controls=False, draws=10, progress=lambda *s: steps.append(s))
    assert report.shots == (0,) and report.fitted
    assert len(logs) == 3
    for log, fold in zip(logs, protocol.folds(data), strict=True):
        assert [kind for kind, _ in log] == ["fit", "ask"]
        assert len(log[0][1].rating_score) == len(fold.train_rows)
        requests = log[1][1]
        assert [rater.name for _, rater in requests] == [data.raters[rater] for rater in fold.raters]
        assert [len(images) for images, _ in requests] == [len(fold.query[rater]) for rater in fold.raters]  # each pair once
        assert all(not len(rater.ratings) for _, rater in requests)
    assert (0, 3, "planted, seed0: half of it 1/2") in steps and steps[-1][:2] == (3, 3)


def test_without_training_if_asked(data):
    log = []
    report = bench.run(
        data, {"x": lambda: Planted(truth_of(data), log=log)}, protocol=ZeroShot(**SMALL), fit=False, with_controls=False, draws=5
    )
    assert not report.fitted and {kind for kind, _ in log} == {"ask"}


def test_checkpoints_of_a_training_lie_in_its_own_folder(data, tmp_path):
    given = []

    class Slow(Planted):
        def fit(self, train, *, progress=None, checkpoints=None):
            if checkpoints is not None:
                given.append((checkpoints, checkpoints.exists()))
                checkpoints.mkdir(parents=True, exist_ok=True)
                (checkpoints / "step.bin").write_text("half")
            return super().fit(train, progress=progress)

    def run(dataset=data, out=tmp_path, **options):
        given.clear()
        name = "slow[layers=5]"
        bench.run(dataset, {name: lambda: Slow(lambda *_: 1)}, protocol=ZeroShot(**SMALL), out=out, draws=5, with_controls=False, **options)
        return [folder for folder, _ in given]

    folders = run()
    assert len(set(folders)) == 3 and {folder.parent for folder in folders} == {tmp_path / "checkpoints"}
    assert [folder.name.rsplit("-", 1)[0] for folder in folders] == [f"slow-layers-5-seed{seed}" for seed in range(3)]
    assert run() == []  # all predictions are kept
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    assert run() == folders and all(found for _, found in given)  # interrupted: the training goes on from there
    assert run(resume=False) == folders and not any(found for _, found in given)
    other = data.rows(np.arange(len(data.rating_score)) > 0)
    assert not set(run(dataset=other)) & set(folders)
    assert run(out=None) == []


# --- numbers


def by_hand(data, protocol, rule, correlation):
    """[repeats] correlation per rater and draw, averaged over draws, then raters."""
    values = []
    for fold in protocol.folds(data):
        per_rater = []
        for rater in fold.raters:
            drawn = []
            for part in fold.draws:
                rows = part[rater]
                names = [data.image_ids[image] for image in data.rating_image[rows]]
                person = dataclasses.make_dataclass("Person", ["name", "profile"])(data.raters[rater], data.profiles[rater])
                guess = [rule(name, person) for name in names]
                value = correlation(guess, data.rating_score[rows]).statistic
                drawn.append(0.0 if np.isnan(value) else value)
            per_rater.append(np.mean(drawn))
        values.append(np.mean(per_rater))
    return np.array(values)


@pytest.mark.parametrize("name", NAMES)
def test_mean_and_deviation_are_those_of_scipy_and_numpy(data, name):
    rule, protocol = truth_of(data, noise_width=3.0), ZeroShot(name=name, **SMALL)
    report = bench.run(data, {"planted": lambda: Planted(rule)}, protocol=protocol, with_controls=False, draws=200)
    for metric, correlation in (("srocc", stats.spearmanr), ("plcc", stats.pearsonr)):
        expected = by_hand(data, protocol, rule, correlation)
        estimate = report.estimate("planted", shots=0, metric=metric)
        assert estimate.value == pytest.approx(expected.mean(), abs=1e-9)
        assert estimate.std == pytest.approx(np.std(expected, ddof=1), abs=1e-9) and estimate.std > 0
        assert estimate.low < estimate.value < estimate.high
        np.testing.assert_allclose(report.rows[0].evaluation.per_repeat[metric], expected)
    page = report.markdown()
    estimate = report.estimate("planted", shots=0)
    assert f"{estimate.value:.3f} ± {estimate.std:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]" in page
    assert "the 4 raters of a repeat and the 3 repeats" in page and "## personal r (rater means kept)" in page
    record = next(row for row in report.summary()["results"] if row["metric"] == "srocc")
    assert record["std"] == pytest.approx(estimate.std, abs=1e-6)


def test_an_oracle_is_perfect_and_a_constant_is_counted(data):
    scorers = {"oracle": lambda: Planted(truth_of(data)), "constant": lambda: Planted(lambda *_: 3.0)}
    report = bench.run(data, scorers, protocol=ZeroShot(**SMALL), with_controls=False, draws=50)
    for metric in ("srocc", "plcc", "personal_r", "personal_r_rater_means_kept"):
        perfect, nothing = report.estimate("oracle", shots=0, metric=metric), report.estimate("constant", shots=0, metric=metric)
        assert (perfect.value, perfect.std) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
        assert (nothing.value, nothing.std) == (0, 0)
        assert nothing.n_undefined == (3 if metric.startswith("personal") else 3 * 4 * 3)  # repeats x raters x draws


def test_personal_r_is_taken_over_the_pairs_of_a_repeat_each_once(data):
    rule, protocol = truth_of(data, noise_width=4.0), ZeroShot(**SMALL)
    report = bench.run(data, {"planted": lambda: Planted(rule)}, protocol=protocol, with_controls=False, draws=10)
    expected = []
    for fold in protocol.folds(data):
        rows = rows_in(fold.query)
        rater, image, truth = data.rating_rater[rows], data.rating_image[rows], data.rating_score[rows]
        person = dataclasses.make_dataclass("Person", ["name"])
        guess = np.array([rule(data.image_ids[i], person(data.raters[r])) for i, r in zip(image, rater, strict=True)])
        left = [two_way_residuals(rater, image, values) for values in (truth, guess)]
        expected.append(stats.pearsonr(*left).statistic)
    estimate = report.estimate("planted", shots=0, metric="personal_r")
    assert estimate.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert estimate.std == pytest.approx(np.std(expected, ddof=1), abs=1e-6)


def test_draws_that_are_all_alike_change_nothing(data):
    protocol = ZeroShot(**(SMALL | {"draws": 1}))
    fold = protocol.folds(data)[0]
    asked = asked_of(data, fold)
    answered = ask(Planted(truth_of(data, noise_width=3.0)), data, fold, asked, shots=0)
    plain = evaluate(answers_of(data, [asked], [answered]), draws=50)
    drawn = evaluate(
        answers_of(data, [asked], [answered], folds=[dataclasses.replace(fold, draws=fold.draws * 5)]), draws=50, by_repeat=True
    )
    for metric, estimate in plain.estimates.items():
        assert drawn.estimates[metric].value == pytest.approx(estimate.value), metric
        assert drawn.estimates[metric].low == pytest.approx(estimate.low), metric
    assert drawn.n_answers == plain.n_answers


def test_missing_predictions_are_left_out_of_every_draw(data):
    missing = data.image_ids[0]
    rule = truth_of(data)
    report = bench.run(
        data,
        {"gaps": lambda: Planted(lambda name, rater: np.nan if noise(name) < 0.3 or name == missing else rule(name, rater))},
        protocol=ZeroShot(**SMALL),
        with_controls=False,
        draws=10,
    )
    evaluation = report.rows[0].evaluation
    assert evaluation.n_dropped > 0 and evaluation.estimates["mae"].value == pytest.approx(0, abs=1e-9)


def test_scores_are_held_against_the_ratings_as_they_are():
    lapis = simulate(mixed(n_raters=12, n_images=40, ratings_per_rater=30, scale=Scale(0, 100, 1), seed=1)).dataset
    exact = truth_of(lapis)
    quantised = lambda name, rater: 10 * np.floor(exact(name, rater) / 10 + 0.5)  # noqa: E731
    protocol = ZeroShot(**(SMALL | {"test_raters": 3}))
    report = bench.run(lapis, {"integers": lambda: Planted(quantised)}, protocol=protocol, with_controls=False, draws=10)
    assert 2 < report.estimate("integers", shots=0, metric="mae").value < 3.5  # and not 0, as against quantised ratings
    assert 0.9 < report.estimate("integers", shots=0).value < 1


# --- profiles and controls


def reads_profile(data):
    """Follows the truth where it may: the planted taste is what `openness` of the profile shown says."""
    return lambda name, rater: (rater.profile.openness or 5.5) * noise(name) + 0.1 * (rater.profile.age_years or 30) * noise("age", name)


@pytest.fixture(scope="module")
def planted():
    """Ratings that are nothing but openness times something about the image."""
    data = simulate(mixed(n_raters=60, n_images=30, ratings_per_rater=30, seed=4)).dataset
    profiles = tuple(Profile(openness=1 + i % 10, age=20 + i) for i in range(60))
    score = np.array(
        [
            3 + 0.35 * (profiles[rater].openness - 5.5) * (noise(data.image_ids[image]) - 0.5) + 0.6 * noise("all", data.image_ids[image])
            for rater, image in zip(data.rating_rater, data.rating_image, strict=True)
        ]
    )
    return dataclasses.replace(data, profiles=profiles, rating_score=score)


def knows(name, rater):
    return 3 + 0.35 * ((rater.profile.openness or 5.5) - 5.5) * (noise(name) - 0.5) + 0.6 * noise("all", name)


def test_shuffled_profiles_are_worse_and_the_report_says_so(planted):
    protocol = ZeroShot(test_raters=15, query=12, draws=3, seeds=(0, 1, 2, 3))
    scorers = {"knows": lambda: Planted(knows, profile=True), "ignores": lambda: Planted(lambda name, rater: noise("all", name))}
    report = bench.run(planted, scorers, protocol=protocol, draws=300)
    assert [row.label for row in report.rows] == [
        "knows",
        "ignores",
        "control: knows, shuffled profiles",
        "control: knows, shuffled images",
        "control: ignores, shuffled images",
        "control: rater mean",
        "control: image mean",
    ]
    gaps = {(gap["scorer"], gap["minus"], gap["metric"]): gap for gap in report.summary()["differences"]}
    for metric in ("srocc", "personal_r", "personal_r_rater_means_kept"):
        for control in ("shuffled profiles", "shuffled images"):
            assert gaps["knows", f"knows, {control}", metric]["low"] > 0
    worse = gaps["ignores", "knows", "srocc"]
    assert worse["high"] < 0 and worse["repeats"] == 4 and worse["p_t"] < 0.05
    page = report.markdown()
    value = gaps["knows", "knows, shuffled profiles", "personal_r"]
    assert f"| knows | knows, shuffled profiles | personal r | {value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]* |" in page
    assert "## Across repeats" in page and "| ignores | knows | 0 | SROCC |" in page
    json.dumps(report.summary(), allow_nan=False)


def test_several_permutations_are_averaged(planted):
    protocol, log = ZeroShot(test_raters=8, query=10, draws=1, seeds=(0, 1)), []
    report = bench.run(planted, {"knows": lambda: Planted(knows, profile=True, log=log)}, protocol=protocol, draws=20, fit=False)
    assert len(log) == 2 * (1 + 3)
    values = np.zeros((2, 3))
    for repeat, fold in enumerate(protocol.folds(planted)):
        asked = asked_of(planted, fold)
        for index in range(3):
            profiles = controls.other_profiles(planted, fold, seed=index)
            answered = ask(Planted(knows, profile=True), planted, fold, asked, shots=0, profiles=profiles)
            values[repeat, index] = evaluate(answers_of(planted, [asked], [answered], folds=[fold]), draws=5).estimates["srocc"].value
    assert len(set(values.reshape(-1))) == 6
    estimate = report.estimate("knows, shuffled profiles", shots=0)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.std == pytest.approx(values.mean(axis=1).std(ddof=1))
    assert {row.evaluation.n_answers for row in report.rows} == {2 * 8 * 10}
    log.clear()
    bench.run(planted, {"knows": lambda: Planted(knows, profile=True, log=log)}, protocol=protocol, draws=5, fit=False, permutations=1)
    assert len(log) == 2 * 2
    log.clear()
    bench.run(planted, {"knows": lambda: Planted(knows, profile=True, log=log)}, protocol=CrossValidation(), shots=(0, 1), draws=5)
    assert len(log) == 5 * 2  # with support, one permutation


def test_profile_variants_show_less_of_the_profile(planted):
    log, protocol = [], ZeroShot(test_raters=5, query=6, draws=1, seeds=(0,))
    scorers = {"reads": lambda: Planted(reads_profile(planted), profile=True, log=log), "blind": lambda: Planted(lambda *_: 1.0)}
    report = bench.run(planted, scorers, protocol=protocol, profiles=("none", "D", "T", "D+T"), with_controls=False, draws=10, fit=False)
    seen = [[rater.profile for _, rater in requests] for requests in [content for kind, content in log if kind == "ask"]]
    assert len(seen) == 4  # D+T is the profile as it is: not asked again
    own = [planted.profiles[rater] for rater in protocol.folds(planted)[0].raters]
    assert seen[0] == own
    assert seen[1] == [Profile()] * 5
    assert seen[2] == [Profile(age=profile.age) for profile in own]
    assert seen[3] == [Profile(openness=profile.openness) for profile in own]
    labels = ["reads", "reads, profile none", "reads, profile D", "reads, profile T", "reads, profile D+T", "blind"]
    assert [row.label for row in report.rows] == labels
    assert [row.profile for row in report.rows] == ["", "none", "D", "T", "D+T", ""]
    assert report.estimate("reads, profile D+T", shots=0) == report.estimate("reads", shots=0)
    assert "blind does not look at profiles, so reduced ones are not tried" in report.notes
    gaps = {(gap["scorer"], gap["minus"]) for gap in report.differences()}
    assert ("reads", "reads, profile none") in gaps and ("blind", "reads") in gaps
    with pytest.raises(BeholderError, match="no profile variant 'X'"):
        bench.run(planted, scorers, protocol=protocol, profiles=("X",), draws=5, fit=False)


def test_personal_r_needs_images_that_several_tested_raters_saw(data):
    [note] = [
        note
        for note in bench.run(
            data, {"x": lambda: Planted(truth_of(data))}, protocol=ZeroShot(**(SMALL | {"draws": 1})), with_controls=False, draws=5
        ).notes
        if "personal r" in note
    ]
    folds = ZeroShot(**(SMALL | {"draws": 1})).folds(data)
    counts = [np.unique(data.rating_image[rows_in(fold.query)], return_counts=True)[1] for fold in folds]
    shared = sum(int(count[count > 1].sum()) for count in counts)
    assert f"personal r rests on {shared} of {3 * 4 * 6} query pairs" in note


# --- tests across repeats


def test_tests_across_repeats_are_those_of_scipy(data):
    rules = [truth_of(data, noise_width=width) for width in (3.0, 3.5)]
    protocol = ZeroShot(**(SMALL | {"seeds": range(7)}))
    scorers = {f"s{i}": (lambda rule=rule: Planted(rule)) for i, rule in enumerate(rules)}
    report = bench.run(data, scorers, protocol=protocol, with_controls=False, draws=10)
    first, second = (row.evaluation for row in report.rows)
    ours, theirs = first.per_repeat["srocc"], second.per_repeat["srocc"]
    found = across_repeats(first, second, metric="srocc", test_share=0.0)
    assert found["p_t"] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found["p_wilcoxon"] == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
    assert found["std"] == pytest.approx((ours - theirs).std(ddof=1)) and found["repeats"] == 7
    corrected = across_repeats(first, second, metric="srocc", test_share=0.2)
    t = (ours - theirs).mean() / ((ours - theirs).std(ddof=1) * np.sqrt(1 / 7 + 0.2))
    assert corrected["p_t"] == pytest.approx(2 * stats.t.sf(abs(t), df=6)) and corrected["p_t"] > found["p_t"]
    [gap] = [gap for gap in report.differences() if gap["metric"] == "srocc"]
    assert gap["p_t"] == pytest.approx(across_repeats(second, first, metric="srocc", test_share=4 / 20)["p_t"])
    assert np.isnan(across_repeats(first, first, metric="srocc", test_share=0.2)["p_t"])


def test_what_scorers_say_and_how_far_they_are_is_passed_on(data):
    class Talks(Planted):
        progress = None

        def predict_many(self, requests):
            if self.progress:
                self.progress(2, 9)
            return super().predict_many(requests)

        def notes(self):
            return [f"{len(self.logged('ask'))} times asked"]

    steps = []
    options = {"protocol": ZeroShot(**SMALL), "with_controls": False, "draws": 5, "progress": lambda *step: steps.append(step)}
    trained = bench.run(data, {"talks": lambda: Talks(lambda *_: 1)}, **options)
    assert [note for note in trained.notes if "asked" in note] == [f"talks, seed{seed}: 1 times asked" for seed in range(3)]
    assert (1, 3, "talks, seed1: asking the model 2/9") in steps
    shipped = bench.run(data, {"talks": lambda: Talks(lambda *_: 1)}, fit=False, **options)
    assert [note for note in shipped.notes if "asked" in note] == ["talks: 3 times asked"]


def test_one_trained_scorer_at_a_time(data):
    alive = weakref.WeakSet()
    most = []

    class Large(Planted):
        def predict_many(self, requests):
            gc.collect()
            most.append(len(alive))
            return super().predict_many(requests)

    def make():
        alive.add(made := Large(lambda *_: 1))
        return made

    bench.run(data, {"large": make}, protocol=ZeroShot(**SMALL), with_controls=False, draws=5)
    assert most == [1, 1, 1]
