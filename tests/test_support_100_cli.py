"""Every system of the probing paper on one command line, from generated copies of the datasets to the tables, with tiny models of the real classes."""

import csv
import json
import math

import pytest

import tiny_qwen
import tiny_vlms
from command_line import beholder
from published_layouts import make_lapis, make_para

SMALL = "raters=2,small=3,large=6,test=5,min_ratings=14,image_disjoint=no"
SCORERS = (
    "linear-hidden",
    "linear-hidden[labels=giaa]",
    "linear-hidden-reduce",
    "population",
    "raw-text",
    "adjust-bias[giaa=population]",
    "few-shot",
    "lora[epochs=1]",
    "lora-tokencls[epochs=1]",
    "ici[generic_epochs=1,prior_epochs=1,adapt_epochs=1]",
)
MODELS = {"qwen3_vl": tiny_qwen.save_qwen3_vl, "gemma3": tiny_vlms.save_gemma3, "llava": tiny_vlms.save_llava}


def para(folder):
    return make_para(folder, n_raters=8, n_images=24, per_rater=18)


def lapis(folder):
    return make_lapis(folder, n_raters=8, n_images=24, per_rater=18)


def own(folder):
    """PARA's images and ratings as anyone's own folder."""
    para(folder / "from")
    with (folder / "from" / "annotation" / "PARA-Images.csv").open() as file:
        rows = [(row["userId"], f"{row['sessionId']}/{row['imageName']}", row["aestheticScore"]) for row in csv.DictReader(file)]
    (folder / "from" / "imgs").rename(folder / "images")
    (folder / "ratings.csv").write_text("rater,image,score\n" + "".join(",".join(row) + "\n" for row in rows))
    return folder


@pytest.mark.filterwarnings("ignore")  # tiny random models write no numbers, which is said
@pytest.mark.parametrize(("dataset", "make", "family"), [("para", para, "qwen3_vl"), ("lapis", lapis, "gemma3"), ("folder", own, "llava")])
def test_every_scorer_from_files_to_tables(tmp_path, dataset, make, family):
    root = make(tmp_path / "data")
    model = MODELS[family](tmp_path / family)
    done = beholder(
        *("bench", dataset, "--root", root, "--scorer", ",".join(SCORERS), "--model", f"{model}[layer=LT1]"),
        *("--protocol", "support-100", "--protocol-options", SMALL, "--shots", "3,6", "--encoder", "efficientnet-lite0[size=64]"),
        *("--no-controls", "--out", tmp_path / "out"),
    )
    assert done.exit_code == 1, done.stderr  # as random models write no numbers, and that is said
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {(row["scorer"], row["shots"]): row for row in report["results"] if row["metric"] == "srocc"}
    assert set(found) == {(scorer, shots) for scorer in SCORERS for shots in (3, 6)}
    assert all(math.isfinite(row["value"]) and row["n_raters"] == 2 and row["n_dropped"] == 0 for row in found.values())
    for scorer in ("linear-hidden", "few-shot", "lora[epochs=1]"):
        assert f"{scorer}" in done.stdout
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert ("0.611" in tables) == (dataset == "para") and ("0.401" in tables) == (dataset == "lapis")
