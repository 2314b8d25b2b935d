"""beholder personas search and exhaustive, from the command line to the files they write."""

import csv
import json
import math
import os
import subprocess
import sys

import pytest

from beholder.personas import respondents, search_report
from beholder.personas.inventory import NOTICE
from beholder.profile import BIG_FIVE
from command_line import beholder, one_sentence
from planted_respondents import BEST, Planted

SMALL = ["--population", 20, "--elite", 4, "--generations", 3, "--targets", 3]


@pytest.fixture
def planted(monkeypatch):
    """Respondents made, one per command; `planted.options` are those of the next."""

    class Made(list):
        def __init__(self):
            super().__init__()
            self.options = {}

    made = Made()

    def open_respondent(model, *, mode="closed", rater=None, balanced=False, rating_tokens: int | None = None):
        made.append(Planted(**made.options))
        made.named = (model, rating_tokens)
        return made[-1]

    monkeypatch.setattr(respondents, "open_respondent", open_respondent)
    return made


def done(*arguments):
    result = beholder("personas", *arguments)
    assert result.exit_code == 0, result.stderr
    return result


def test_exhaustive_finds_the_planted_format(planted, tmp_path):
    pytest.importorskip("matplotlib")
    result = done("exhaustive", "--targets", 3, "--out", tmp_path / "out")
    lines = result.stdout.splitlines()
    assert lines[2].split()[:2] == ["1", BEST] and [line.split()[0] for line in lines[11:15]] == ["10", "322", "323", "324"]
    assert "best constant of each trait" in result.stdout and NOTICE in result.stdout
    assert "20 item answers" not in result.stderr and f"{324 * 3 * 20} answers asked for" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "formats.csv", "genes.png"}
    with (tmp_path / "out" / "formats.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 324 and rows[0]["code"] == BEST and rows[0]["traits"] == BEST[1]
    assert all(row["inventory"] == "mini-ipip" and row["notice"] == NOTICE and row["revision"] == "planted" for row in rows)
    assert {row["command"] for row in rows} != {""} and {row["targets"] for row in rows} == {"3"}
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert NOTICE in page and "Which component matters" in page and f"The best format, {BEST}" in page and "Controls" in page


def test_searching_says_how_far_it_is_from_the_optimum_once_that_is_known(planted, tmp_path):
    pytest.importorskip("matplotlib")
    result = done("search", *SMALL, "--seeds", "0,1", "--parents", "all", "--out", tmp_path)
    assert "run beholder personas exhaustive" in result.stdout and NOTICE in result.stdout
    assert result.stderr.count("seed 0, generation") == result.stderr.count("seed 1, generation") == 4
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "formats.csv", "convergence.png"}
    first = json.loads(done("search", *SMALL, "--parents", "all", "--json").stdout)
    assert planted[1].asked == [] and first["optimum"] is None
    done("exhaustive", "--targets", 3)
    assert len(planted[2].asked) == 3 * 324 - len(planted[0].asked)
    known = json.loads(done("search", *SMALL, "--parents", "all", "--json").stdout)
    again = known["searches"][0]
    assert planted[3].asked == [] and again == first["searches"][0]
    assert 0 < known["optimum"]["mse"] <= again["best"]["mse"] == again["history"][-1]["best"]
    text = done("search", *SMALL, "--parents", "all").stdout
    assert "reached" in text or "% above" in text
    assert f": {known['optimum']['n_close']} of 324 formats" in text
    assert "best format" in text and "/10" in text  # the format in full


@pytest.mark.parametrize(
    ("name", "taken"), [("http://host/v1#m[rating_tokens=512]", ("http://host/v1#m", 512)), ("http://[::1]:80/v1#m", ("http://[::1]:80/v1#m", None))]
)
def test_options_of_the_model_in_brackets(planted, name, taken):
    done("exhaustive", "--formats", "00000", "--targets", 2, "--model", name)
    assert planted.named == taken
    refused = beholder("personas", "exhaustive", "--model", "http://host/v1#m[ratting_tokens=9]")
    assert refused.exit_code == 2 and "did you mean rating_tokens?" in one_sentence(refused.stderr)


def test_fourteen_formats_and_none_better_than_a_constant(planted, tmp_path):
    of_all = tuple(range(20))
    planted.options = {"missing": of_all[:-1]}  # nearly nothing is answered, what is missing counts as the middle
    codes = ",".join(f"000{i}{j}" for i in range(3) for j in range(3)) + ",00100,00101,00102,00110,00111"
    result = done("exhaustive", "--formats", codes, "--targets", 10, "--out", tmp_path / "out")
    assert "14 formats, the 10 best and the 3 worst" in " ".join(result.stdout.split())
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "The 14 formats evaluated: the 10 best and the 3 worst" in page and "| 14 |" in page and "| 11 |" not in page
    better = float(page.split("| 1 | ")[1].split(" | ")[1]) < 8.25
    assert ("no format that was tried is better than that" in result.stdout) is not better


def test_json_of_exhaustive(planted):
    found = json.loads(done("exhaustive", "--formats", f"00000,{BEST}", "--targets", 3, "--json").stdout)
    assert [one["code"] for one in found["formats"]] == [BEST, "00000"] and "effects" not in found
    assert found["formats"][0]["mse"] < found["formats"][1]["mse"] < found["mse_of_best_constant"]
    assert found["notice"] == NOTICE and found["counts"]["asked"] == 2 * 3 * 20 and found["targets"] == 3
    whole = json.loads(done("exhaustive", "--targets", 2, "--json").stdout)
    assert len(whole["formats"]) == 324 and len(whole["effects"]) == 16


def test_answers_that_are_missing_everywhere(planted):
    planted.options["missing"] = tuple(range(20))
    found = json.loads(done("exhaustive", "--formats", "00000", "--targets", 2, "--json").stdout)
    assert found["formats"][0]["mse"] is None and found["formats"][0]["missing"] == 40
    assert "nan" in done("search", *SMALL).stdout


def test_an_interruption_says_that_the_same_command_goes_on(planted):
    planted.options["stop_after"] = 25
    stopped = beholder("personas", "search", *SMALL)
    assert stopped.exit_code == 130 and "the same command goes on from there" in stopped.stderr
    planted.options.clear()
    done("search", *SMALL)
    assert set(planted[0].asked[:20]).isdisjoint(planted[1].asked)


def test_targets_from_a_file(planted, tmp_path):
    (tmp_path / "t.csv").write_text(",".join(BIG_FIVE) + "\n1,5,9,2,7\n9,2,3,8,1\n")
    found = json.loads(done("exhaustive", "--formats", BEST, "--targets", tmp_path / "t.csv", "--json").stdout)
    assert found["targets"] == 2 and "t.csv" in found["targets_seed"]
    (tmp_path / "t.csv").write_text(",".join(BIG_FIVE) + "\n1,5,12,2,7\n")
    refused = beholder("personas", "exhaustive", "--targets", tmp_path / "t.csv")
    assert refused.exit_code == 2 and "extraversion = '12' is not a number from 1 to 10" in one_sentence(refused.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["exhaustive", "--formats", "00900"], "explanation = 9"),
        (["exhaustive", "--formats", "123"], "'123' is no persona format"),
        (["exhaustive", "--formats", ","], "names no format"),
        (["exhaustive", "--targets", "0"], "at least 1"),
        (["exhaustive", "--targets", "nowhere.csv"], "cannot be read"),
        (["exhaustive", "--targets=--3"], "cannot be read"),
        (["exhaustive", "--inventory", "bfi"], "no inventory 'bfi'"),
        (["search", "--seeds", "0,0"], "different whole numbers"),
        (["search", "--seeds", "x"], "different whole numbers"),
        (["search", "--population", "5"], "at least 12"),
        (["search", "--parents", "elite"], "non-selected, all"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(planted, arguments, says):
    refused = beholder("personas", *arguments)
    assert refused.exit_code == 2 and says in one_sentence(refused.stderr) and not any(one.asked for one in planted)


def test_an_unusable_place_is_refused_before_anything_is_asked(planted, tmp_path):
    (tmp_path / "file").write_text("")
    refused = beholder("personas", "exhaustive", "--out", tmp_path / "file")
    assert refused.exit_code == 2 and "file" in one_sentence(refused.stderr) and not planted


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
def test_a_command_with_a_name_that_is_not_utf8_is_kept_byte_for_byte(planted, tmp_path, monkeypatch):
    odd = os.fsdecode(b"caf\xe9.csv")
    monkeypatch.setattr(sys, "argv", ["beholder", "personas", "exhaustive", "--targets", odd])
    done("exhaustive", "--formats", "00000,00020", "--targets", 2, "--out", tmp_path)
    assert b"caf\xe9.csv" in (tmp_path / "report.md").read_bytes()


def test_without_matplotlib_the_rest_is_written(planted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = done("exhaustive", "--formats", "00000", "--targets", 2, "--out", tmp_path)
    assert "no pictures" in result.stderr and {path.name for path in tmp_path.iterdir()} == {"report.md", "formats.csv"}


def test_pictures_show_what_was_found(planted, tmp_path):
    figure = pytest.importorskip("matplotlib.figure")
    from beholder.personas.fitness import Controls, target_profiles
    from beholder.personas.prompts import PersonaFormat
    from beholder.personas.search import Generation, GeneticConfig, Optimum, Search

    one = PersonaFormat.parse(BEST)
    history = tuple(Generation(number=k, best=5.0 - k, mean=6.0 - k, format=one, evaluations=k) for k in range(3))
    searches = [Search(GeneticConfig(seed=seed), history, {one: 3.0}) for seed in (4, 7)]
    drawn = search_report._convergence(figure.Figure(), searches, Optimum(2.5, 1, 324), Controls.of(target_profiles()))
    lines = {line.get_label(): list(line.get_ydata()) for line in drawn.axes[0].get_lines()}
    assert lines["best, seed 4"] == lines["best, seed 7"] == [5.0, 4.0, 3.0] and lines["mean, seed 4"] == [6.0, 5.0, 4.0]
    assert lines["best of all 324"] == [2.5, 2.5] and lines["control: best constant"] == [8.25, 8.25]
    words = {mse: search_report.against(searches[0], Optimum(mse, 1, 324)) for mse in (2.5, 2.98, 3.0)}
    assert words == {2.5: "20.0 % above", 2.98: "0.7 % above, within 2 %", 3.0: "reached"}


def test_help_needs_neither_torch_nor_matplotlib():
    code = "import sys; import beholder.cli.app, beholder.personas.search_report; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_two_formats_on_a_real_model(tmp_path):
    """A random Llama of a few thousand weights: everything but a good answer."""
    pytest.importorskip("torch")
    from tiny_models import save_llama

    save_llama(tmp_path / "llm")
    arguments = ["exhaustive", "--model", tmp_path / "llm", "--formats", "00000,00020", "--targets", "2", "--json"]
    found = json.loads(done(*arguments).stdout)
    assert {one["code"] for one in found["formats"]} == {"00000", "00020"} and found["counts"]["asked"] == 2 * 2 * 20
    assert all(0 < one["mse"] < 81 and math.isfinite(one["r"]) and one["missing"] == 0 for one in found["formats"])
    again = json.loads(done(*arguments).stdout)
    assert again["counts"]["asked"] == 0 and again["formats"] == found["formats"]
