"""`beholder probe` from end to end, on tiny models; and what it says to bad input."""

import json
import shlex
import shutil

import numpy as np
import pytest

from aadb_layout import make_aadb
from beholder.scorers.linear_hidden.projection import Projection
from command_line import beholder, one_sentence
from published_layouts import make_para
from tiny_models import folder_dataset, save_clip
from tiny_vlms import save_gemma3

SIZES = {"Train": 24, "Validation": 8, "TestNew": 8}
FILES = {"probe.json", "probe.csv", "probe.md", "constant-predictions.jsonl", "layers.jsonl", "curves.png"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def aadb(tmp_path_factory):
    root = tmp_path_factory.mktemp("aadb")
    make_aadb(root, sizes=SIZES)
    return root


def refusal(*arguments):
    result = beholder("probe", *arguments)
    assert result.exit_code == 2 and not result.stdout, (result.exit_code, result.stdout)
    return one_sentence(result.stderr)


def test_a_vision_tower_on_aadb(aadb, clip, tmp_path):
    result = beholder("probe", "aadb", "--root", aadb, "--model", clip, "--out", tmp_path / "out", "--projection", tmp_path / "projection")
    assert result.exit_code == 0, result.stderr
    assert "40 images x 6 layers: their features take up to 29.4 kB" in result.stderr
    assert "VividColor" in result.stdout and "0.696" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {"heatmap-hidden.png", "heatmap-other.png"}
    summary = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert len(summary["attrs"]) == 12 and summary["dataset"]["n_train"] == 24
    assert summary["attrs"]["Light"]["best"]["test"]["rho"] > 0.6
    assert str(aadb) not in (tmp_path / "out" / "probe.json").read_text()
    made = Projection.load(tmp_path / "projection")
    assert len(made.attributes) == 11 and "score" not in made.attributes
    rho = {}
    for found in summary["attrs"].values():
        for one in found["per_layer"]:
            rho.setdefault(one["name"], []).append(one["val"]["rho"])
    assert made.layer == max(rho, key=lambda layer: np.mean(rho[layer]))  # the best on the validation images, as a tower has no LT15


def test_the_same_again_goes_on_from_what_is_there(aadb, clip, tmp_path):
    call = ("probe", "aadb", "--root", aadb, "--model", clip, "--layers", "hidden-1-3", "--out", tmp_path / "out", "--json")
    first = beholder(*call)
    assert first.exit_code == 0 and "were finished before" not in first.stderr
    again = beholder(*call)
    assert "3 of 3 layers were finished before" in again.stderr
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert [one["name"] for one in json.loads(first.stdout)["attrs"]["Light"]["per_layer"]] == ["hidden-1", "hidden-2", "hidden-3"]


def test_a_vision_language_model_with_its_sources_and_prompt(aadb, tmp_path):
    model = save_gemma3(tmp_path / "gemma")
    call = ("probe", "aadb", "--root", aadb, "--model", f"{model}[dtype=float32,device=cpu]", "--json", "--attributes", "light,VividColor,score")
    made = ("--projection", tmp_path / "projection", "--projection-layer", "LT3")
    result = beholder(*call, "--layers", "V*,LT0-2,LV4", "--prompt", "format", "--max-pixels", 4096, *made)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert list(summary["attrs"]) == ["score", "Light", "VividColor"]
    assert [one["name"] for one in summary["attrs"]["Light"]["per_layer"]] == ["V0", "V1", "V2", "V3", "LT0", "LT1", "LT2", "LT3", "LV4"]
    assert set(summary["mean_test_rho"]) == {"V", "LT", "LV"}
    assert "numeric score" in summary["config"]["prompt"]
    projection = Projection.load(tmp_path / "projection")
    assert (projection.layer, projection.prompt, projection.attributes) == ("LT3", "format", ("Light", "VividColor"))
    # the states before the first block are the words themselves, which are the same for all images
    dead = summary["attrs"]["Light"]["per_layer"][4]
    assert dead["name"] == "LT0" and not dead["test"]["defined"] and dead["test"]["rho"] == 0
    other = json.loads(beholder(*call, "--layers", "LT2", "--prompt", "unrelated").stdout)
    assert other["attrs"]["Light"]["per_layer"][0]["test"] != summary["attrs"]["Light"]["per_layer"][6]["test"]


def test_unreadable_images_are_named_and_change_the_exit_code(aadb, clip, tmp_path):
    root = tmp_path / "aadb"
    shutil.copytree(aadb, root)
    broken = sorted((root / "datasetImages_originalSize").iterdir())[3]
    broken.write_bytes(b"no picture")
    result = beholder("probe", "aadb", "--root", root, "--model", clip, "--layers", "pool", "--json")
    assert result.exit_code == 1
    assert str(broken) in result.stderr and "1 images cannot be read and are left out" in result.stderr
    summary = json.loads(result.stdout)
    assert [one["image"] for one in summary["skipped"]] == [str(broken)]
    assert sum(summary["dataset"][f"n_{part}"] for part in ("train", "validation", "test")) == 39


def test_para_and_a_folder_of_ones_own(clip, tmp_path):
    make_para(tmp_path / "para", n_raters=6, n_images=40)
    result = beholder("probe", "para", "--root", tmp_path / "para", "--model", clip, "--layers", "hidden-2", "--json")
    assert list(json.loads(result.stdout)["attrs"]) == ["score", "composition", "color", "dof", "light", "content", "disagreement"]
    folder_dataset(tmp_path / "own", n_images=30)
    result = beholder("probe", "folder", "--root", tmp_path / "own", "--model", clip, "--layers", "hidden-2", "--seed", 1)
    assert result.exit_code == 0 and "score" in result.stdout and "paper" not in result.stdout


def test_bad_input_is_one_sentence(aadb, clip, tmp_path):
    here = ("aadb", "--root", aadb, "--model", clip)
    assert "it has score, BalancingElements" in refusal(*here, "--attributes", "Light,Sharpness")
    assert "no layer 'hidden-9': it has hidden-0 to hidden-3, pool, patches_mean" in refusal(*here, "--layers", "hidden-0-9")
    assert "no layer 'LT15'" in refusal(*here, "--projection", tmp_path / "p", "--projection-layer", "LT15")
    assert "--projection DIR" in refusal(*here, "--projection-layer", "pool")
    assert "more than one layer" in refusal(*here, "--projection", tmp_path / "p", "--projection-layer", "hidden-*")
    assert "other than the overall score" in refusal(*here, "--projection", tmp_path / "p", "--attributes", "score")
    assert "leave out --prompt" in refusal(*here, "--prompt", "format")
    assert "is not a folder" in refusal("aadb", "--root", tmp_path / "none", "--model", clip)
    assert "there is no dataset 'avaa'" in refusal("avaa", "--root", aadb, "--model", clip)
    assert not (tmp_path / "p").exists()
    model = save_gemma3(tmp_path / "gemma")
    assert "V0 to V3, LT0 to LT4, LV0 to LV4, last0 to last4" in refusal("aadb", "--root", aadb, "--model", model, "--layers", "LT0-36")


def test_too_little_to_learn_from_is_one_sentence(clip, tmp_path):
    make_aadb(tmp_path / "small", sizes={"Train": 9, "Validation": 8, "TestNew": 8})
    assert "9 train images" in refusal("aadb", "--root", tmp_path / "small", "--model", clip)
    folder_dataset(tmp_path / "own", n_raters=2, n_images=30)
    assert "lower --min-ratings" in refusal("folder", "--root", tmp_path / "own", "--model", clip)
    made = make_aadb(tmp_path / "broken", sizes=SIZES)
    for part in made.values():
        for name in part:
            (tmp_path / "broken" / "datasetImages_originalSize" / name).write_bytes(b"no picture")
    result = beholder("probe", "aadb", "--root", tmp_path / "broken", "--model", clip)
    assert result.exit_code == 2 and "has no image that can be read" in result.stderr.splitlines()[-1]


def test_a_place_that_cannot_be_written_is_said_before_the_work(aadb, clip, tmp_path):
    (tmp_path / "file").write_text("")
    result = beholder("probe", "aadb", "--root", aadb, "--model", clip, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 2 and "looked at" not in result.stderr


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder of ratings by people who care about what the pictures of AADB show, and the ratings of one of them."""
    root = tmp_path_factory.mktemp("people")
    (values,) = make_aadb(root / "made", sizes={"Train": 24}, seed=5).values()
    (root / "made" / "datasetImages_originalSize").rename(root / "images")
    lines = ["rater,image,score"]
    for rater in range(6):
        random = np.random.default_rng([7, rater])
        for name, row in values.items():
            score = 3 + 1.6 * row["Light"] + random.normal(0, 0.2)
            lines.append(f"r{rater},{name},{int(np.clip(round(score), 1, 5))}")
    (root / "ratings.csv").write_text("\n".join(lines) + "\n")
    own = [line.split(",")[1:] for line in lines[1:23]]
    (root / "mine.csv").write_text("\n".join(["image,score", *(f"{root}/images/{image},{score}" for image, score in own)]) + "\n")
    return root


def use(stderr):
    """The options of the command that the probe tells."""
    (line,) = [line for line in stderr.splitlines() if "use it:" in line]
    _, _, rest = line.partition("beholder rank PATH... --rater NAME ")
    return shlex.split(rest)


@pytest.mark.parametrize("kind", ["vlm", "embedded", "tower", "efficientnet"])
def test_a_projection_serves_rank_explain_and_bench_as_the_probe_says(aadb, people, clip, tmp_path, kind):
    asked = {
        "vlm": ("--model", f"{save_gemma3(tmp_path / 'gemma')}[dtype=float32]", "--projection-layer", "LT2", "--max-pixels", 4096, "--prompt", "format"),
        "embedded": ("--model", "beholder-mini", "--layers", "LT1", "--projection-layer", "LT1"),
        "tower": ("--model", clip),
        "efficientnet": ("--model", "efficientnet-lite0", "--layers", "pool,block10"),
    }[kind]
    if kind == "embedded":  # seconds per dozen images
        aadb = tmp_path / "aadb"
        make_aadb(aadb, sizes={"Train": 10, "Validation": 3, "TestNew": 3})
    made = beholder("probe", "aadb", "--root", aadb, *asked, "--projection", tmp_path / "projection", "--json")
    assert made.exit_code == 0, made.stderr
    options = use(made.stderr)
    identity = Projection.load(tmp_path / "projection").identity
    photos, ratings = people / "images", ("--ratings", people / "mine.csv")
    ranked = beholder("rank", photos, *ratings, *options, "--json")
    assert ranked.exit_code == 0, ranked.stderr
    rows = [json.loads(line) for line in ranked.stdout.splitlines()]
    assert len(rows) == 24 and {row["version"] for row in rows} == {f"1+probe+{identity}"}
    told = beholder("explain", rows[0]["image"], *ratings, *options, "--json")
    assert told.exit_code == 0, told.stderr
    why = json.loads(told.stdout)
    assert len(why["cares"]) == 11 and {one["percentile"] for one in why["cares"]} == {None}
    assert np.clip(sum(why["parts"].values()), 1, 5) == pytest.approx(rows[0]["score"], abs=2e-3)
    sizes = ("--protocol", "support-100", "--protocol-options", "raters=2,small=3,large=14,test=5,image_disjoint=no")
    measured = beholder("bench", "folder", "--root", people, *options, *sizes, "--no-controls", "--json")
    assert measured.exit_code == 0, measured.stderr
    report = json.loads(measured.stdout)
    assert {row["version"] for row in report["results"]} == {f"1+probe+{identity}"} and not report["warnings"]
    assert all(np.isfinite(row["value"]) for row in report["results"] if row["metric"] == "mae")
    weights = tmp_path / "weights"
    trained = beholder("train", options[1], *options[2:], "--data", people, "--out", weights, "--json")
    assert trained.exit_code == 0, trained.stderr
    compared = beholder("explain", rows[0]["image"], *ratings, *options, "--weights", weights)
    assert compared.exit_code == 0 and "against others" in compared.stdout and "with a smaller weight" in compared.stdout


def test_a_projection_learned_from_the_query_images_is_named(people, clip, tmp_path):
    made = beholder("probe", "folder", "--root", people, "--model", clip, "--layers", "pool", "--projection", tmp_path / "p", "--json")
    assert made.exit_code == 0, made.stderr
    sizes = ("--protocol", "support-100", "--protocol-options", "raters=2,small=3,large=14,test=5,image_disjoint=no")
    for fit in ("--fit", "--no-fit"):
        measured = beholder("bench", "folder", "--root", people, *use(made.stderr), *sizes, fit, "--no-controls", "--json")
        (warning,) = json.loads(measured.stdout)["warnings"]
        identity = Projection.load(tmp_path / "p").identity
        assert f"query images were in the training data of the projection {identity}" in warning


def test_what_no_command_could_use_is_refused_before_the_work(aadb, clip, tmp_path):
    here = ("aadb", "--root", aadb, "--model")
    assert "without commas" in refusal(*here, clip, "--projection", tmp_path / "a,b")
    assert not (tmp_path / "a,b").exists()
    model = save_gemma3(tmp_path / "gemma")
    assert "without commas" in refusal(*here, model, "--projection", tmp_path / "p", "--prompt", "Light, or dark?")
    assert "looks at those of --layers" in refusal(*here, f"{model}[layer=LT2]", "--layers", "LT1")


def test_pictures_of_another_model_do_not_stay(aadb, clip, tmp_path):
    out = tmp_path / "out"
    for layers, kept in (("hidden-1,pool", {"heatmap-hidden.png", "heatmap-other.png"}), ("pool", {"heatmap-other.png"})):
        assert beholder("probe", "aadb", "--root", aadb, "--model", clip, "--layers", layers, "--out", out).exit_code == 0
        assert {path.name for path in out.glob("heatmap-*")} == kept
