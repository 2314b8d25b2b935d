"""Tables with the paper's numbers beside ours, and the bench on the command line that makes them."""

import csv
import dataclasses
import json
from functools import partial

import pytest

from beholder.cli.output import lines_of_progress
from beholder.errors import BeholderError
from beholder.evaluation import bench, paper_tables
from beholder.evaluation.simulate import mixed, simulate
from beholder.evaluation.support_sets import SupportSets
from beholder.evaluation.zero_shot import ZeroShot
from beholder.profile import Profile
from command_line import beholder, one_sentence
from planted_scorers import Planted, noise, truth_of
from published_layouts import make_lapis, make_para

SIZES = "test_raters=3,query=5,draws=2"


@pytest.fixture(scope="module")
def data():
    world = simulate(mixed(n_raters=16, n_images=40, ratings_per_rater=30, seed=7)).dataset
    return dataclasses.replace(world, profiles=tuple(Profile(age=20 + i, openness=1 + i % 9) for i in range(16)))


def measured(data, name, scorers, **options):
    dataset = dataclasses.replace(data, name=name)
    rules = {scorer: truth_of(data, noise_width=width) for scorer, width in scorers.items()}
    made = {scorer: partial(Planted, rule, profile=scorer.startswith(("pmllm", "single"))) for scorer, rule in rules.items()}
    options = {"protocol": ZeroShot(test_raters=4, query=8, draws=2, seeds=(0, 1)), "draws": 20} | options
    return bench.run(dataset, made, **options)


def tables_in(text):
    """Title -> rows of cells, the header left out."""
    found, title = {}, ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif line.startswith("| ") and title:
            found.setdefault(title, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return {title: rows[1:] for title, rows in found.items()}


def ours(report, scorer):
    cells = []
    for metric in ("srocc", "plcc"):
        estimate = report.estimate(scorer, shots=0, metric=metric)
        cells.append(f"{estimate.value:.3f} ± {estimate.std:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]")
    return [scorer, *cells]


def test_published_numbers_are_whole():
    paper = paper_tables.published()
    assert [table["number"] for table in paper["tables"]] == ["1", "2", "3", "5"]  # table 6 is a copy slip
    assert "2604.17233" in paper["source"] and "Table 6" in paper["left_out"]
    by_number = {table["number"]: {row["label"]: row for row in table["rows"]} for table in paper["tables"]}
    assert by_number["1"]["P-MLLM 8B"]["srocc"] == [0.557, 0.019] and by_number["1"]["P-MLLM 8B"]["plcc"] == [0.608, 0.013]
    assert by_number["3"]["P-MLLM-S 8B"]["srocc"] == [0.339, 0.022]
    assert by_number["2"]["P-MLLM, D"]["plcc"] == [0.548, 0.017]
    for rows in by_number.values():
        for row in rows.values():
            for value in filter(None, (row["srocc"], row["plcc"])):
                assert 0 < value[1] < 0.05 < value[0] < 1


def test_para_has_tables_1_2_and_5_with_both_numbers(data):
    scorers = {
        "pmllm": 2.0,
        "pmllm-s": 2.5,
        "pmllm[layers=5]": 2.2,
        "pmllm[layers=2]": 2.8,
        "single-stage[model=http://x/v1#gpt-4o-mini]": 3.0,
        "two-stage[describer=local/AesExpert-7B,model=llama-3.1-8b-instruct]": 3.5,
        "population": 4.0,
    }
    report = measured(data, "para", scorers, profiles=("none", "D"))
    text = paper_tables.tables(report)
    tables = tables_in(text)
    assert [title.split(":")[0] for title in tables] == ["Table 1", "Table 2", "Table 5"]
    one, two, five = tables.values()
    assert ["P-MLLM 8B", "0.557 ± 0.019", "0.608 ± 0.013", *ours(report, "pmllm")] in one
    assert ["P-MLLM-S 8B", "0.518 ± 0.014", "0.557 ± 0.017", *ours(report, "pmllm-s")] in one
    gpt, aesexpert = list(scorers)[4:6]
    assert ["GPT-4o-mini", "0.494 ± 0.026", "0.509 ± 0.025", *ours(report, gpt)] in one
    assert ["AesExpert 7B, described, then scored", "0.498 ± 0.019", "0.514 ± 0.019", *ours(report, aesexpert)] in one
    assert ["Q-Instruct 7B, described, then scored", "0.390 ± 0.018", "0.499 ± 0.020", "", "", ""] in one  # not llama's "instruct"
    assert ["", "", "", *ours(report, "population")] in one
    assert any(row[3] == "control: pmllm, shuffled profiles" for row in one)
    assert not any("layers=5" in row[3] or "profile none" in row[3] for row in one)
    assert ["P-MLLM, none", "0.238 ± 0.014", "0.303 ± 0.017", *ours(report, "pmllm, profile none")] in two
    assert ["P-MLLM, D+T", "0.557 ± 0.019", "0.608 ± 0.013", *ours(report, "pmllm")] in two
    assert ["GPT-4o-mini, D+T", "0.494 ± 0.026", "0.509 ± 0.025", *ours(report, gpt)] in two
    assert ["", "", "", *ours(report, "pmllm-s, profile D")] in two and not any(row[3] == "population" for row in two)
    assert [row[:3] for row in five] == [
        ["P-MLLM, 3 layers", "0.557 ± 0.019", "0.608 ± 0.013"],
        ["P-MLLM, 5 layers", "0.546 ± 0.013", "0.594 ± 0.015"],
        ["P-MLLM, 7 layers", "", ""],
        ["", "", ""],
    ]
    assert [row[3] for row in five] == ["pmllm", "pmllm[layers=5]", "", "pmllm[layers=2]"]
    assert "copy slip" in text and report.protocol in text and paper_tables.published()["source"] in text


def test_lapis_has_table_3_only(data):
    report = measured(data, "lapis", {"pmllm": 2.0})
    tables = tables_in(paper_tables.tables(report))
    assert list(tables) == ["Table 3: Results on LAPIS"]
    assert ["P-MLLM 8B", "0.413 ± 0.029", "0.411 ± 0.028", *ours(report, "pmllm")] in tables["Table 3: Results on LAPIS"]


def test_other_datasets_have_the_same_shape_without_the_papers_column(data):
    report = measured(data, "folder", {"pmllm": 2.0, "pmllm[layers=5]": 2.0, "population": 3.0}, profiles=("none", "D", "D+T"))
    text = paper_tables.tables(report)
    results, profiles, layers = tables_in(text).values()
    assert results[0] == ours(report, "pmllm") and ours(report, "population") in results
    assert [row[0] for row in profiles[:3]] == ["pmllm, profile none", "pmllm, profile D", "pmllm, profile D+T"]  # the whole one once
    assert [row[0] for row in layers] == ["pmllm", "pmllm[layers=5]"]
    assert "0.557" not in text and "Paper:" not in text
    assert len(tables_in(paper_tables.tables(measured(data, "folder", {"population": 3.0})))) == 1


def test_scorers_measured_one_by_one_share_a_table(data):
    one, other = measured(data, "para", {"pmllm": 2.0}), measured(data, "para", {"pmllm-s": 2.5})
    table = tables_in(paper_tables.tables([one, other]))["Table 1: Results on PARA"]
    assert {"pmllm", "pmllm-s"} <= {row[3] for row in table}
    few = measured(data, "para", {"taste": 2.0}, protocol="new-rater", shots=(5,))
    with pytest.raises(BeholderError, match="measure with 0 among the shots"):
        paper_tables.tables(few)


# --- on the command line


def test_bench_para_runs_the_whole_protocol(tmp_path):
    root, out = make_para(tmp_path / "PARA", n_raters=16, n_images=20), tmp_path / "out"
    options = ["--root", root, "--scorer", "stub_scorers:Stub,stub_scorers:Plain", "--protocol", "zero-shot", "--protocol-options", SIZES]
    result = beholder("bench", "para", *options, "--seeds", "0-2", "--profiles", "NONE,d", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "3 repeats (seeds 0, 1, 2)" in result.stdout and "zero-shot trains each scorer once per repeat" in result.stderr
    for text in ("## Table 1: Results on PARA", "P-MLLM 8B | 0.557 ± 0.019", "personal r (rater means kept)", "paired differences"):
        assert text in result.stdout
    assert "stub_scorers:Stub, profile none" in result.stdout and "control: stub_scorers:Stub, shuffled profiles" in result.stdout
    assert (out / "tables.md").read_text(encoding="utf-8") in result.stdout
    summary = json.loads((out / "report.json").read_text())
    assert (summary["folds"], summary["draws_of_query_images"], summary["fitted"], summary["shots"]) == (3, 2, True, [0])
    assert {gap["metric"] for gap in summary["differences"]} >= {"srocc", "personal_r", "personal_r_rater_means_kept"}
    with (out / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["profile"] for row in rows} == {"", "none", "D"} and all(row["std"] for row in rows if row["metric"] == "mae")
    again = beholder("bench", "para", *options, "--seeds", "0,1,2", "--profiles", "none,D", "--out", out)
    assert again.stdout == result.stdout  # from what was kept


def test_bench_lapis_strict_and_as_shipped(tmp_path):
    root = make_lapis(tmp_path / "LAPIS", n_raters=16, n_images=30)
    options = [
        "--root",
        root,
        "--scorer",
        "stub_scorers:Stub",
        "--protocol",
        "zero-shot-strict",
        "--protocol-options",
        SIZES,
        "--seeds",
        "0",
    ]
    result = beholder("bench", "lapis", *options, "--no-fit", "--no-controls", "--metrics", "srocc")
    assert result.exit_code == 0, result.stderr
    assert "Table 3: Results on LAPIS" in result.stdout and "without training" in result.stderr
    assert "MAE" not in result.stdout and "control" not in result.stdout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--protocol", "zero-shot", "--protocol-options", "tests=3"], "no option 'tests'"),
        (["--protocol", "zero-shot", "--protocol-options", "query"], "is not a list of sizes"),
        (["--protocol", "zero-shot", "--folds", "3"], "no option 'n_folds'"),
        (["--protocol", "zero-short"], "did you mean zero-shot"),
        (["--profiles", "none,E"], "no profile variant 'e'"),
        (["--metrics", "srcc"], "no measure 'srcc'"),
        (["--seeds", "0-x"], "not a list of whole numbers"),
        (["--split", "s.csv", "--seeds", "1"], "leave out --seeds"),
        (["--fit", "--weights", "w"], "give one of them"),
        (["--scorer", "stub_scorers:Stub[layers=5]"], "has no options, but layers was given"),
        (["--scorer", "stub_scorers:Stub[layers"], "cannot be understood"),
    ],
)
def test_wrong_wishes_are_one_sentence(tmp_path, wrong, message):
    root = make_para(tmp_path / "PARA", n_raters=6, n_images=6)
    scorer = [] if "--scorer" in wrong else ["--scorer", "stub_scorers:Stub"]
    result = beholder("bench", "para", "--root", root, *scorer, *wrong)
    assert result.exit_code == 2 and message in one_sentence(result.stderr)


def test_shots_are_refused_where_no_rating_is_known(tmp_path):
    root = make_para(tmp_path / "PARA", n_raters=8, n_images=8)
    options = ["--root", root, "--scorer", "stub_scorers:Stub", "--protocol", "zero-shot", "--no-fit", "--shots", "0,5"]
    result = beholder("bench", "para", *options)
    assert result.exit_code == 2 and "knows no rating of the tested raters" in result.stderr


def test_a_long_training_says_a_line_now_and_then(capsys):
    lines_of_progress(every=0.0)(3, 7, "pmllm, seed0: loss 1.2 40/100")
    assert "3/7 pmllm, seed0: loss 1.2 40/100" in capsys.readouterr().err
    lines_of_progress(every=3600.0)(3, 7, "pmllm")
    assert not capsys.readouterr().err


# --- the probing paper's table


@pytest.fixture(scope="module")
def many():
    return simulate(mixed(n_raters=14, n_images=200, ratings_per_rater=170, seed=8)).dataset


class Rates(Planted):
    """A planted scorer whose answers depend on how many ratings it is shown."""

    uses_ratings = True

    def predict_many(self, requests):
        rule = self.rule
        self.rule = lambda name, rater: rule(name, rater) + 20 / (5 + len(rater.ratings)) * (len(name) % 2 + noise(name, rater.name, "n"))
        try:
            return super().predict_many(requests)
        finally:
            self.rule = rule


PROBING = {
    "raw-text": 4.0,
    "few-shot": 5.0,
    "lora[rank=4]": 3.0,
    "linear-hidden": 2.0,
    "linear-hidden[labels=giaa]": 2.2,
    "linear-hidden-reduce": 2.1,
    "ici": 2.5,
    "adjust-bias": 3.0,
}


def probing(many, name, scorers=tuple(PROBING), **options):
    rules = {scorer: truth_of(many, noise_width=PROBING.get(scorer, 2.3)) for scorer in scorers}
    made = {scorer: partial(Planted if scorer == "raw-text" else Rates, rule) for scorer, rule in rules.items()}
    options = {"protocol": SupportSets(raters=5), "draws": 20} | options
    return bench.run(dataclasses.replace(many, name=name), made, **options)


def probed(report, scorer, shots, *, shown=None):
    """The cells that a row must have."""
    rho, r2 = (report.estimate(scorer, shots=shots, metric=metric) for metric in ("srocc", "r2"))
    return [scorer, str(shown or shots), *(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in (rho, r2)), "", "0 / 0", "0"]


def rows_of(text):
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    return rows[0], rows[1:]


def test_published_probing_numbers():
    paper = paper_tables.published()["probing"]
    assert "2604.11374" in paper["source"] and "200 raters" in paper["protocol"] and "LoRA" in paper["left_out"]
    by_label = {row["label"]: row for row in paper["rows"]}
    assert by_label["Linear-Hidden, Qwen3-VL 4B"]["para"] == [0.611, 0.362] and by_label["Linear-Hidden, Qwen3-VL 4B"]["lapis"] == [
        0.401,
        0.138,
    ]
    assert by_label["Linear-Hidden Reduce"]["lapis"] == [0.315, 0.061] and by_label["Raw text, Qwen3-VL 4B"]["para"] == [0.570, -1.277]
    assert by_label["Few-shot (10)"]["shots"] == 10 and by_label["LoRA (100)"]["shots"] == 100
    assert all(set(row) & {"para", "lapis"} for row in paper["rows"])


def test_para_has_the_probing_table_with_both_numbers(many):
    report = probing(many, "para")
    text = paper_tables.tables(report)
    columns, rows = rows_of(text)
    assert columns[:5] == ["paper", "SROCC (paper)", "R2 (paper)", "here", "N"]
    for expected in (
        ["Raw text, Qwen3-VL 4B", "0.570", "-1.277", *probed(report, "raw-text", 100, shown="any")],
        ["Few-shot (10)", "0.197", "-1.576", *probed(report, "few-shot", 10)],
        ["LoRA (100)", "0.578", "-1.751", *probed(report, "lora[rank=4]", 100)],
        ["Linear-Hidden, Qwen3-VL 4B", "0.611", "0.362", *probed(report, "linear-hidden", 100)],
        ["Linear-Hidden, mean ratings as labels", "0.603", "", *probed(report, "linear-hidden[labels=giaa]", 100)],
        ["Linear-Hidden Reduce", "0.597", "0.382", *probed(report, "linear-hidden-reduce", 100)],
        ["PIAA-ICI, in-domain", "0.590", "0.303", *probed(report, "ici", 100)],
        ["", "", "", *probed(report, "few-shot", 100)],
        ["", "", "", *probed(report, "linear-hidden", 10)],
        ["", "", "", *probed(report, "adjust-bias", 100)],
    ):
        assert rows.count(expected) == 1, expected
    assert not any("cross-domain" in row[0] for row in rows)
    assert sum(row[3] == "raw-text" for row in rows) == 1  # it looks at no rating: one row for every N
    assert sum(row[3].startswith("control: image mean") for row in rows) == 1
    constant = next(row for row in rows if row[3] == "control: rater mean" and row[4] == "10")
    assert constant[5:] == ["0.000 [0.000, 0.000]", constant[6], "-", "5 / 0", "0"]
    assert report.protocol in text and "0.319" not in text and "in the authors' scripts" in text


def test_lapis_has_the_cross_domain_row_for_scorers_that_were_not_trained_there(many):
    for fit in (True, False):
        report = probing(many, "lapis", ("linear-hidden", "ici"), fit=fit)
        _, rows = rows_of(paper_tables.tables(report))
        cells = ["PIAA-ICI, cross-domain", "0.277", "-0.120"]
        assert ([*cells, *probed(report, "ici", 100)] in rows) == (not fit)
        assert ([*cells, *[""] * 7] in rows) == fit
        assert ["Linear-Hidden, Qwen3-VL 4B", "0.401", "0.138", *probed(report, "linear-hidden", 100)] in rows
        assert not any("Few-shot" in row[0] for row in rows)


def test_other_datasets_have_the_probing_table_without_the_papers_column(many):
    first, second = (probing(many, "folder", (scorer,), with_controls=False) for scorer in ("linear-hidden", "few-shot"))
    text = paper_tables.tables([first, second])
    columns, rows = rows_of(text)
    assert columns == ["here", "N", "SROCC", "R2", "defined", "undefined", "dropped"]
    assert rows == [probed(report, name, n) for report, name in ((first, "linear-hidden"), (second, "few-shot")) for n in (10, 100)]
    assert "0.611" not in text and "Paper:" not in text


def test_tables_are_chosen_by_the_protocol(many, data):
    zero = measured(data, "para", {"pmllm": 2.0})
    with_support = probing(many, "para", ("linear-hidden",), shots=(0, 10))
    text = paper_tables.tables([zero, with_support])
    assert "Linear-Hidden Reduce" in text and "Table 1: Results on PARA" in text
    assert paper_tables.has_tables(zero) and paper_tables.has_tables(with_support)
    assert "Table 1" not in paper_tables.tables(with_support)
    assert not paper_tables.has_tables(measured(data, "para", {"taste": 2.0}, protocol="new-rater", shots=(5,)))


def test_variants_of_linear_hidden_do_not_stand_beside_the_papers_numbers(many):
    variants = ["linear-hidden[labels=own]", "linear-hidden[target=residual]", "linear-hidden[head=mlp]", "linear-hidden[labels=giaa,target=residual]"]
    _, rows = rows_of(paper_tables.tables(probing(many, "para", variants, with_controls=False)))
    assert {row[3]: row[1] for row in rows if row[4] == "100"} == dict.fromkeys(variants, "") | {"linear-hidden[labels=own]": "0.611"}
