"""Probes: planted attributes are found where they were planted, by the rules of the game; and everything around them."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aadb_layout import make_aadb
from beholder.backbones import load_encoder
from beholder.datasets.aadb import read_aadb
from beholder.engine.source import Features
from beholder.errors import MissingExtra
from beholder.features import FeatureStore
from beholder.probing import plots, report
from beholder.probing.attributes import parts_by_group, read_attributes
from beholder.probing.fits import LAYERS_FILE, SHUFFLES
from beholder.probing.layers import choose, described, in_order, known_layers
from beholder.probing.measures import score, spearman_interval
from beholder.probing.probe import probe
from beholder.probing.projection import fit_projection
from beholder.ridge import ALPHAS
from beholder.scorers.linear_hidden.projection import Projection
from command_line import refused
from planted_layers import PlantedLayers, numbered, planted_table
from published_layouts import make_eva, make_flickr_aes, make_lapis, make_para
from tiny_models import folder_dataset, save_clip

DRAWS = 200
QUICK = {"draws": DRAWS}


def planted(folder, *, n=120, seed=0, noise=0.3):
    """Layers LT0 (nothing), LT1 (half of it), LT2 (all) and V0 (colour only) of the attributes score, colour; and the table."""
    random = np.random.default_rng(seed)
    taste, colour = random.normal(size=(2, n))
    mixing = random.normal(size=(2, 12))
    rows = {
        "V0": np.outer(colour, mixing[1]) + noise * random.normal(size=(n, 12)),
        "LT0": random.normal(size=(n, 12)),
        "LT1": np.stack([taste, colour], axis=1) @ mixing + 6 * noise * random.normal(size=(n, 12)),
        "LT2": np.stack([taste, colour], axis=1) @ mixing + noise * random.normal(size=(n, 12)),
    }
    return PlantedLayers(rows), planted_table(folder, {"score": taste, "colour": colour})


def as_dicts(found):
    return [fit.to_dict() for fit in found.fits]


# What is found


def test_planted_attributes_are_found_where_they_were_planted(tmp_path):
    encoder, table = planted(tmp_path / "images")
    found = probe(table, encoder, encoder.ordered, **QUICK)
    assert found.sources == ("V", "LT") and found.attributes == ("score", "colour")
    rho = {(fit.attribute, fit.layer): fit.test.rho for fit in found.fits}
    assert found.best("score").layer == "LT2" and rho["score", "LT2"] > 0.9
    assert rho["score", "LT0"] < rho["score", "LT1"] < rho["score", "LT2"]
    assert abs(rho["score", "V0"]) < 0.5 < 0.9 < rho["colour", "V0"]
    assert found.best("score", source="V").layer == "V0"
    assert found.best_layer().name == "LT2"
    best = found.best("score")
    assert best.low < best.test.rho < best.high


def test_the_real_encoder_reads_what_is_seen_in_the_pictures(tmp_path):
    make_aadb(tmp_path)
    table = read_aadb(tmp_path)
    layers = choose("block10-15,pool", known_layers("efficientnet-lite0"), model="efficientnet-lite0")
    encoder = load_encoder("efficientnet-lite0", size=224, layers=[layer.name for layer in layers])
    found = probe(table, encoder, layers, **QUICK)
    for name in ("score", "Light", "ColorHarmony", "Repetition", "VividColor"):
        assert found.best(name).test.rho > 0.6, name
    for name in ("Content", "Object", "RuleOfThirds", "DoF"):  # noise
        assert found.best(name).test.rho < 0.6, name


def test_only_the_validation_images_choose_the_layer(tmp_path):
    n = 150
    random = np.random.default_rng(3)
    y = random.normal(size=n)
    table = planted_table(tmp_path / "images", {"score": y})
    validation, test = table.places("validation"), table.places("test")
    honest, trap = y[:, None] + 0.05 * random.normal(size=(n, 4)), y[:, None] + 0.05 * random.normal(size=(n, 4))
    honest[test] = random.normal(size=(len(test), 4))  # good on the validation images, useless on the test images
    trap[validation] = random.normal(size=(len(validation), 4))  # perfect on the test images
    found = probe(table, encoder := PlantedLayers({"LT0": honest, "LT1": trap}), encoder.ordered, **QUICK)
    assert found.of("score")[1].test.rho > 0.95
    assert found.best("score").layer == "LT0" and abs(found.best("score").test.rho) < 0.5


def test_probes_are_those_of_scikit_learn(tmp_path):
    encoder, table = planted(tmp_path / "images")
    table.values["colour"][table.places("train")[::3]] = np.nan  # known for fewer images
    table.values["colour"][table.places("test")[:4]] = np.nan
    found = probe(table, encoder, encoder.ordered, **QUICK)
    for fit in found.fits:
        x, y = encoder.rows[fit.layer].astype(np.float64), table.values[fit.attribute]
        known = {part: (at := table.places(part))[np.isfinite(y[at])] for part in ("train", "validation", "test")}
        theirs = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(x[known["train"]], y[known["train"]])
        assert fit.alpha == pytest.approx(theirs[-1].alpha_)
        for part, rows in known.items():
            ours, predicted = getattr(fit, part), theirs.predict(x[rows])
            error = np.mean((predicted - y[rows]) ** 2)
            assert ours.n == len(rows) and ours.defined
            assert ours.rho == pytest.approx(spearmanr(predicted, y[rows]).statistic, abs=1e-9)
            assert ours.r2 == pytest.approx(1 - error / (np.var(y[rows]) + 1e-12), abs=1e-6)
            assert ours.rmse == pytest.approx(error**0.5, abs=1e-6)
    assert len(ALPHAS) == 13


def test_shuffled_labels_are_not_read(tmp_path):
    encoder, table = planted(tmp_path / "images", n=400)
    found = probe(table, encoder, encoder.ordered, **QUICK)
    for name in found.attributes:
        control = found.control(name)
        assert len(control) == SHUFFLES and len(set(control)) == SHUFFLES
        assert abs(np.mean(control)) < 0.5 < found.best(name).test.rho
        for turn, rho in enumerate(control):  # each chosen by its own validation correlation
            layer = max(found.of(name), key=lambda fit: fit.control_validation[turn])
            assert rho == layer.control_test[turn]


def test_other_seeds_change_the_controls_and_nothing_else(tmp_path):
    encoder, table = planted(tmp_path / "images")
    one, other = (probe(table, encoder, encoder.ordered, seed=seed, **QUICK) for seed in (0, 1))
    assert [fit.test for fit in one.fits] == [fit.test for fit in other.fits]
    assert [fit.control_test for fit in one.fits] != [fit.control_test for fit in other.fits]


def test_constant_predictions_count_as_nothing_and_are_listed(tmp_path):
    encoder, table = planted(tmp_path / "images")
    rows = encoder.rows | {"LT3": np.full((len(table.images), 5), 2.5)}
    found = probe(table, encoder := PlantedLayers(rows), encoder.ordered, **QUICK)
    dead = found.of("score")[-1]
    mean = table.values["score"][table.places("train")].mean()
    assert dead.layer == "LT3" and not dead.test.defined and dead.test.rho == 0
    assert dead.constant == pytest.approx(dict.fromkeys(("train", "validation", "test"), mean))
    assert dead.control_test == (0.0,) * SHUFFLES
    assert found.best("score").layer == "LT2"
    paths = report.write(found, tmp_path / "out", config={})
    lines = [json.loads(line) for line in paths[-1].read_text().splitlines()]
    assert len(lines) == 6 and {line["name"] for line in lines} == {"LT3"} and {line["part"] for line in lines} == {"train", "val", "test"}
    assert report.summary(found, config={})["undefined"] == 6


# Which images


def test_images_that_cannot_be_read_leave_features_and_values_together(tmp_path):
    encoder, table = planted(tmp_path / "images")
    whole = probe(table, encoder, encoder.ordered, store=FeatureStore(tmp_path / "a"), **QUICK)
    broken = [0, 17, 44, 60, 119]
    for i in broken:
        table.images[i].write_bytes(b"no picture")
    found = probe(table, encoder, encoder.ordered, store=FeatureStore(tmp_path / "b"), **QUICK)
    kept = np.setdiff1d(np.arange(120), broken)
    assert [one.path for one in found.skipped] == [str(table.images[i]) for i in broken]
    assert found.table.image_ids == tuple(table.image_ids[i] for i in kept)
    alone = probe(table.rows(kept), encoder, encoder.ordered, store=FeatureStore(tmp_path / "b"), **QUICK)
    assert as_dicts(found) == as_dicts(alone) != as_dicts(whole)
    assert found.best("score").test.rho > 0.9  # one place further, and nothing could be read
    assert "5 images cannot be read and are left out" in found.notes[0]


def test_copies_across_parts_are_not_learned(tmp_path):
    encoder, table = planted(tmp_path / "images")
    train, validation, test = (table.places(part) for part in ("train", "validation", "test"))
    for copy, original in ((train[0], test[0]), (train[1], validation[1]), (validation[2], test[2]), (train[3], train[4])):
        table.images[copy].write_bytes(table.images[original].read_bytes())
    found = probe(table, encoder, encoder.ordered, **QUICK)
    gone = {table.image_ids[i] for i in (train[0], train[1], validation[2])}
    assert set(table.image_ids) - set(found.table.image_ids) == gone
    assert "3 images have the content of one in a later part" in found.notes[0]


def test_attributes_that_say_nothing_are_left_out(tmp_path):
    encoder, table = planted(tmp_path / "images")
    train = table.places("train")
    few = np.full(120, np.nan)
    few[train[:9]] = 1.0
    values = {**table.values, "few": few, "flat": np.full(120, 3.0)}
    found = probe(replace(table, values=values), encoder, encoder.ordered, **QUICK)
    assert found.attributes == ("score", "colour")
    assert any("few is left out: it is known for too few images (9 train, 0 validation, 0 test)" in note for note in found.notes)
    assert any("flat is left out: it is the same for all images of a part" in note for note in found.notes)
    only = replace(table, values={"flat": values["flat"]})
    refused(lambda: probe(only, encoder, encoder.ordered), "no attribute of planted can be probed", "flat is left out")


def test_too_few_images(tmp_path):
    encoder, table = planted(tmp_path / "images")
    few = table.rows(np.concatenate([table.places("train")[:9], table.places("validation"), table.places("test")]))
    refused(lambda: probe(few, encoder, encoder.ordered), "9 train images", "at least 10")
    none = table.rows(table.places("train"))
    refused(lambda: probe(none, encoder, encoder.ordered), "0 validation images", "at least 3")
    for path in table.images:
        path.write_bytes(b"no picture")
    refused(lambda: probe(table, encoder, encoder.ordered), "no image that can be read", str(table.images[0]))


# One pass, and going on


def test_one_pass_over_the_images_for_all_layers(tmp_path):
    encoder, table = planted(tmp_path / "images")
    store = FeatureStore(tmp_path / "store")
    first = probe(table, encoder, encoder.ordered, store=store, **QUICK)
    assert encoder.n_encoded == 120 == first.n_computed
    again = probe(table, encoder, encoder.ordered, store=store, **QUICK)
    assert encoder.n_encoded == 120 and again.n_computed == 0
    assert as_dicts(first) == as_dicts(again)


def test_going_on_after_an_interruption_gives_the_same(tmp_path):
    encoder, table = planted(tmp_path / "images")
    layers = encoder.ordered
    straight = probe(table, encoder, layers, out=tmp_path / "straight", **QUICK)
    assert straight.n_resumed == 0

    def stop(done, total, what):
        assert total == len(layers)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(table, encoder, layers, out=tmp_path / "halted", progress=stop, **QUICK)
    file = tmp_path / "halted" / LAYERS_FILE
    with file.open("a") as lines:  # as a kill leaves it
        lines.write(file.read_text().strip().splitlines()[0][:100])
    resumed = probe(table, encoder, layers, out=tmp_path / "halted", **QUICK)
    assert resumed.n_resumed == 2
    assert as_dicts(resumed) == as_dicts(straight)
    last = probe(table, encoder, layers, out=tmp_path / "halted", **QUICK)
    assert last.n_resumed == len(layers) and as_dicts(last) == as_dicts(straight)
    texts = [json.dumps(report.summary(one, config={})) for one in (straight, resumed, last)]
    assert texts[0] == texts[1] == texts[2]


def test_what_was_finished_with_other_settings_is_not_taken_up(tmp_path):
    encoder, table = planted(tmp_path / "images")
    layers, out = encoder.ordered, tmp_path / "out"

    def resumed(table=table, encoder=encoder, **given):
        return probe(table, encoder, layers, out=out, store=FeatureStore(tmp_path / "store"), **(QUICK | given)).n_resumed

    assert resumed() == 0 and resumed() == 4
    assert resumed(seed=1) == 0
    assert resumed(encoder=PlantedLayers(encoder.rows, revision="ba9876543210")) == 0
    other = replace(table, values={"score": table.values["score"], "colour": -table.values["colour"]})
    assert resumed(table=other) == 0
    assert resumed(table=replace(table, part=np.roll(table.part, 1))) == 0
    assert resumed() == 4  # the first ones are still there


def test_layers_finished_in_another_order_still_get_their_interval(tmp_path):
    encoder, table = planted(tmp_path / "images")
    layers = {layer.name: layer for layer in encoder.ordered}
    probe(table, encoder, [layers["LT2"], layers["LT1"]], out=tmp_path / "out", **QUICK)  # LT1 never led
    found = probe(table, encoder, [layers["LT1"]], out=tmp_path / "out", **QUICK)
    assert all(np.isfinite([fit.low, fit.high]).all() for fit in found.fits)
    assert as_dicts(found) == as_dicts(probe(table, encoder, [layers["LT1"]], **QUICK))


# Numbers


def test_scores_are_what_they_say():
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    found = score(truth, np.array([1.0, 2.0, 3.0, 8.0]))
    assert found.rho == 1 and found.rmse == 2 and found.n == 4
    assert found.r2 == pytest.approx(1 - 4 / (1.25 + 1e-12))
    assert score(truth, -truth).rho == -1
    flat = score(truth, np.full(4, 2.5))
    assert flat.rho == 0 and not flat.defined and flat.r2 == pytest.approx(0)
    noisy = score(truth, 2.5 + 1e-13 * np.array([1, -1, 1, -1.0]))
    assert not noisy.defined  # rounding errors are no opinion


def test_small_predictions_are_an_opinion():
    assert score(np.arange(5.0), 1e-12 * np.arange(5.0)).rho == 1


def test_the_interval_is_the_bootstrap_with_ranks_taken_anew():
    random = np.random.default_rng(0)
    truth = np.round(random.normal(size=40), 1)  # with ties
    predicted = truth + random.normal(size=40)
    low, high = spearman_interval(truth, predicted, seed=5, draws=100)
    weights = np.random.default_rng([5, 13, 0]).multinomial(40, np.full(40, 1 / 40), size=100)
    samples = [spearmanr(np.repeat(truth, row), np.repeat(predicted, row)).statistic for row in weights]
    assert (low, high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])), abs=1e-9)
    assert spearman_interval(truth, np.ones(40), seed=5, draws=100) == (0, 0)


# Layers


KNOWN = in_order([*(f"V{i}" for i in range(4)), *(f"LT{i}" for i in range(5)), *(f"hidden-{i}" for i in range(3)), "pool", "block14_std"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", [layer.name for layer in KNOWN]),
        ("LT1-3", ["LT1", "LT2", "LT3"]),
        ("LT3, V*", ["V0", "V1", "V2", "V3", "LT3"]),
        ("hidden-1", ["hidden-1"]),
        ("hidden-0-1,pool", ["hidden-0", "hidden-1", "pool"]),
        ("hidden-*", ["hidden-0", "hidden-1", "hidden-2"]),
        ("lt0,POOL", ["LT0", "pool"]),
        ("block14_std", ["block14_std"]),
    ],
)
def test_layers_are_chosen(text, names):
    assert [layer.name for layer in choose(text, KNOWN, model="net")] == names


@pytest.mark.parametrize(
    ("text", "which"), [("LT5", "LT5"), ("LT3-9", "LT9"), ("LT7-9", "LT7"), ("X*", "X*"), ("LV0", "LV0"), ("V-1", "V-1"), ("hidden-3", "hidden-3"), ("15", "15")]
)
def test_layers_that_are_not_there(text, which):
    refused(lambda: choose(text, KNOWN, model="net"), "net", repr(which), "it has V0 to V3, LT0 to LT4, hidden-0 to hidden-2, pool, block14_std")


def test_layers_that_make_no_sense():
    refused(lambda: choose("LT3-1", KNOWN, model="net"), "ends before it begins", "LT1-3")
    refused(lambda: choose(" , ", KNOWN, model="net"), "names no layer")


def test_order_of_layers():
    assert [tuple(layer) for layer in in_order(["LT10", "pool", "LT2", "V0"])] == [
        ("LT2", "LT", 2),
        ("LT10", "LT", 10),
        ("V0", "V", 0),
        ("pool", "other", 0),
    ]


def test_the_layers_of_a_tower_and_of_the_embedded_encoder(tmp_path):
    save_clip(tmp_path / "clip")
    assert described(known_layers(tmp_path / "clip")) == "hidden-0 to hidden-3, pool, patches_mean"
    assert described(known_layers(f"{tmp_path / 'clip'}[fit=pad]")) == "hidden-0 to hidden-3, pool, patches_mean"
    names = [layer.name for layer in known_layers("efficientnet-lite0")]
    assert {"block10", "pool", "pool@half"} <= set(names) and not {"map", "map@half"} & set(names)
    assert not any(name.endswith("@half") for name in (layer.name for layer in known_layers("efficientnet-lite0[fit=area]")))
    encoder = load_encoder("efficientnet-lite0", layers=names)
    assert list(encoder.layers) == names


# Where attributes come from


def test_aadb_keeps_its_parts(tmp_path):
    make_aadb(tmp_path, sizes={"Train": 5, "Validation": 3, "TestNew": 4})
    assert read_attributes("AADB", tmp_path).part.tolist() == read_aadb(tmp_path).part.tolist()


def para(root):
    make_para(root, n_raters=8, n_images=40)
    for part in ("Train", "Test"):  # with a column that the release has and the ratings do not give
        path = root / "annotation" / f"PARA-Giaa{part}.csv"
        head, *lines = path.read_text().splitlines()
        path.write_text("\n".join([head + ",qualityScore_mean", *(f"{line},{2 + i / 10}" for i, line in enumerate(lines))]) + "\n")
    return root


def test_para_are_means_in_the_official_parts(tmp_path):
    from beholder.datasets import read

    table, data = read_attributes("para", para(tmp_path)), read("para", tmp_path)
    assert list(table.values) == ["score", "quality", "composition", "color", "dof", "light", "content", "disagreement"]
    for i, image in enumerate(table.image_ids):
        rows = data.rating_image == data.image_ids.index(image)
        assert table.values["score"][i] == pytest.approx(data.rating_score[rows].mean())
        assert table.values["disagreement"][i] == pytest.approx(data.rating_score[rows].std(ddof=1))
        assert table.values["light"][i] == pytest.approx(data.attributes["light"][rows].mean())
    test = {f"iaa_pub{i}_.jpg" for i in range(1, 41, 10)}
    assert {table.image_ids[i] for i in table.places("test")} == test
    assert len(table.places("validation")) == 4 and len(table.places("train")) == 32
    first = table.values["quality"][table.image_ids.index("iaa_pub2_.jpg")]
    assert first == 2.0
    assert read_attributes("para", tmp_path, seed=1).part.tolist() != table.part.tolist()
    assert {table.image_ids[i] for i in read_attributes("para", tmp_path, seed=1).places("test")} == test


def test_para_without_its_lists(tmp_path):
    para(tmp_path)
    (tmp_path / "annotation" / "PARA-GiaaTest.csv").unlink()
    table = read_attributes("para", tmp_path)
    assert "quality" not in table.values and "not the official ones" in table.notes[-1]
    assert [len(table.places(part)) for part in ("train", "validation", "test")] == [24, 8, 8]


@pytest.mark.parametrize(("name", "make", "values"), [
    ("lapis", make_lapis, ["score", "disagreement"]),
    ("eva", make_eva, ["score", "composition", "content", "disagreement"]),
    ("flickr-aes", make_flickr_aes, ["score", "disagreement"]),
])
def test_datasets_of_raters(tmp_path, name, make, values):
    make(tmp_path, n_raters=7, n_images=20)
    table = read_attributes(name, tmp_path)
    assert list(table.values) == values and table.overall == "score" and table.citation
    assert [len(table.places(part)) for part in ("train", "validation", "test")] == [12, 4, 4]


def test_a_folder_of_ones_own(tmp_path):
    folder_dataset(tmp_path, n_raters=6, n_images=20)
    lines = ["image,group,sharpness,camera", *(f"{i:02d}.png,g{i // 4},{i / 10},leica" for i in range(20))]
    lines[3] = "02.png,g0,,leica"
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    table = read_attributes("folder", tmp_path)
    assert list(table.values) == ["score", "disagreement", "sharpness"]
    assert np.isnan(table.values["sharpness"][2]) and table.values["sharpness"][3] == 0.3
    parts = {frozenset(table.part[4 * group : 4 * group + 4].tolist()) for group in range(5)}
    assert all(len(part) == 1 for part in parts) and len(parts) == 3  # a group is in one part
    assert read_attributes("folder", tmp_path, seed=3).part.tolist() != table.part.tolist()


def test_images_with_few_ratings_are_left_out(tmp_path):
    folder_dataset(tmp_path, n_raters=4, n_images=12)
    path = tmp_path / "ratings.csv"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("r1,00.png", "r2,00.png"))]
    path.write_text("\n".join(kept) + "\n")
    table = read_attributes("folder", tmp_path)
    assert "00.png" not in table.image_ids and list(table.values) == ["score"]  # 4 raters are too few for a spread
    assert "1 of 12 images have fewer than 3 ratings and are left out" in table.notes
    assert "00.png" in read_attributes("folder", tmp_path, min_ratings=2).image_ids
    refused(lambda: read_attributes("folder", tmp_path, min_ratings=9), "has 9 ratings", "the most is 4", "--min-ratings")
    refused(lambda: read_attributes("aadbb", tmp_path), "there is no dataset 'aadbb'", "aadb")


def test_parts_by_group():
    groups = tuple(f"g{i % 40}" for i in range(400))
    part = parts_by_group(groups, seed=0)
    assert {name: int((part == name).sum()) for name in ("train", "validation", "test")} == {"train": 240, "validation": 80, "test": 80}
    assert all(len(set(part[i::40])) == 1 for i in range(40))
    assert parts_by_group(groups, seed=0).tolist() == part.tolist() != parts_by_group(groups, seed=1).tolist()


# Projection


def test_the_projection_is_one_regression_to_all_attributes_but_the_overall_score(tmp_path):
    encoder, table = planted(tmp_path / "images")
    values = {**table.values, "light": table.values["colour"] + 0.5 * np.random.default_rng(1).normal(size=120)}
    found = probe(replace(table, values=values), encoder, encoder.ordered, **QUICK)
    made = fit_projection(found, encoder, "LT2", prompt="base")
    assert made.attributes == ("colour", "light") and (made.layer, made.prompt) == ("LT2", "base")
    assert made.feature_key == Features(encoder, layers=["LT2"]).key
    x, train, test = encoder.rows["LT2"].astype(np.float64), table.places("train"), table.places("test")
    y = np.stack([values["colour"], values["light"]], axis=1)
    theirs = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(x[train], y[train])
    np.testing.assert_allclose(made(x), theirs.predict(x), atol=1e-4)
    assert made.scores["colour test rho"] == pytest.approx(spearmanr(made(x[test])[:, 0], y[test][:, 0]).statistic)
    made.save(tmp_path / "projection")
    np.testing.assert_array_equal(Projection.load(tmp_path / "projection")(x), made(x))
    overall = replace(found, table=replace(table, values={"score": table.values["score"]}))
    refused(lambda: fit_projection(overall, encoder, "LT2"), "other than the overall score")


# Files and pictures


def test_files(tmp_path):
    encoder, table = planted(tmp_path / "images")
    table = replace(table, name="aadb", values={"score": table.values["score"], "VividColor": table.values["colour"]})
    found = probe(table, encoder, encoder.ordered, **QUICK)
    report.write(found, tmp_path / "out", config={"model": "planted"})
    summary = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert summary["config"]["model"] == "planted" and summary["config"]["layers"] == "V0, LT0 to LT2"
    layers = summary["attrs"]["VividColor"]["per_layer"]
    assert [(one["source"], one["layer"]) for one in layers] == [("V", 0), ("LT", 0), ("LT", 1), ("LT", 2)]
    assert set(layers[0]) == {"source", "layer", "name", "alpha", "train", "val", "test"}
    best = summary["attrs"]["VividColor"]["best"]
    assert best["paper"] == 0.696 and best["name"] == found.best("VividColor").layer
    assert best["test"]["rho"] == pytest.approx(found.best("VividColor").test.rho, abs=1e-6)
    lines = (tmp_path / "out" / "probe.csv").read_text().splitlines()
    assert lines[0].split(",") == list(report.COLUMNS) and len(lines) == 1 + 2 * 4 * 3
    page = (tmp_path / "out" / "probe.md").read_text()
    assert "| score | LT2 |" in page and "| 0.727 |" in page and "arXiv 2604.11374" in page and "2 of 2 attributes" in page


def test_other_datasets_are_not_compared_with_the_paper(tmp_path):
    encoder, table = planted(tmp_path / "images")
    found = probe(table, encoder, encoder.ordered, **QUICK)
    assert "paper" not in report.headings(found) and "Paper" not in "\n".join(report.page(found))
    assert report.summary(found, config={})["attrs"]["score"]["best"]["paper"] is None


def test_pictures(tmp_path):
    encoder, table = planted(tmp_path / "images")
    rows = encoder.rows | {"pool": encoder.rows["V0"][:, :3]}
    found = probe(table, encoder := PlantedLayers(rows), encoder.ordered, **QUICK)
    paths = plots.draw(found, tmp_path)
    assert [path.name for path in paths] == ["heatmap-V.png", "heatmap-LT.png", "heatmap-other.png", "curves.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    refused(lambda: plots.heat_map(found, "LT", tmp_path / "none" / "x.png"), "cannot be written")


def test_no_pictures_without_matplotlib(tmp_path, monkeypatch):
    encoder, table = planted(tmp_path / "images")
    found = probe(table, encoder, encoder.ordered, **QUICK)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra):
        plots.draw(found, tmp_path)


def test_numbered_pictures_say_their_number(tmp_path):
    paths = numbered(tmp_path, 300)
    encoder = PlantedLayers({"LT0": np.arange(300.0)[:, None]})
    made = [encoder.encode([encoder.preprocess(Image.open(path).convert("RGB"))])["LT0"][0, 0] for path in paths[::37]]
    assert made == list(range(0, 300, 37))
