"""What a bench writes beside its report: tie margins, diverging pairs, grids over k; with answers that can be counted by hand."""

import csv
import dataclasses
import itertools
import os
import re
import sys

import numpy as np
import pytest

from beholder.evaluation import bench, details, diverging, diverging_page, neighbours, tie_margins
from beholder.evaluation.metrics import Answers
from beholder.evaluation.rater_values import answers_by_label, values
from beholder.evaluation.simulate import mixed, simulate
from beholder.scale import Scale
from command_line import beholder, make_photos, refused
from pamela_layout import make_pamela
from planted_scorers import Planted, noise, truth_of


@pytest.fixture(scope="module")
def data():
    return simulate(mixed(n_raters=12, n_images=40, ratings_per_rater=30, seed=8)).dataset


def measured(data, **rules):
    options = {"protocol": "new-image", "shots": (0, 5), "draws": 50, "with_controls": False}
    return bench.run(data, {name: lambda rule=rule: Planted(rule) for name, rule in rules.items()}, **options)


def answers(truth, score, rater=None):
    n = len(truth)
    rater = np.zeros(n, dtype=int) if rater is None else np.array(rater)
    nothing = np.full(n, np.nan)
    return Answers(np.zeros(n, dtype=int), rater, np.arange(n), np.array(truth, float), np.array(score, float), nothing, nothing)


# tie margins


def test_pairs_within_the_margin_are_left_out():
    # differences 1, 2, 2.5, 1, 1.5, 0.5; of these the first is wrong and the last a tie of the predictions
    one = answers([1, 2, 3, 3.5], [2, 1, 3, 3])
    expected = {0: 4.5 / 6, 0.25: 4.5 / 6, 0.5: 4 / 5, 0.75: 4 / 5, 1.0: 3 / 3, 2.5: np.nan}
    for margin, value in expected.items():
        np.testing.assert_allclose(values(one, "pairwise", margin=margin).value, [value])
    rounding = answers([2.7, 3.7, 1.7], [1, 2, 3])  # 3.7 - 2.7 is a little more than 1 on a computer
    np.testing.assert_allclose(values(rounding, "pairwise", margin=1.0).value, [0])
    one_pass = tie_margins.accuracy_by_margin(
        np.zeros(4, int), np.array([1, 2, 3, 3.5]), np.array([2, 1, 3, 3]), size=1, margins=list(expected)
    )
    np.testing.assert_allclose(one_pass[:, 0], list(expected.values()))
    two = answers([1, 2, 1, 2], [1, 2, 2, 1], rater=[0, 0, 7, 7])
    found = values(two, "pairwise")
    assert (found.rater.tolist(), found.value.tolist(), found.mean) == ([0, 7], [1, 0], 0.5)


def test_what_an_anchor_is():
    assert tie_margins.anchor(Scale(1, 5, 0)) == 1 and tie_margins.anchor(Scale(0, 100, 0)) == 25
    assert tie_margins.anchor(Scale(1, 7, 1)) == 1 and tie_margins.anchor(Scale(1, 5, 0.5)) == 0.5
    assert tie_margins.anchor(Scale(0, 10, 1)) == 1 and tie_margins.anchor(Scale(0, 100, 1)) == 25  # a slider with whole numbers
    assert tie_margins.margins_of(Scale(1, 5, 0)) == tie_margins.margins_of(Scale(0, 100, 1)) == (0, 0.25, 0.5, 0.75, 1.0)
    assert tie_margins.margins_of(Scale(1, 7, 1)) == (0, 1, 2, 3) and tie_margins.margins_of(Scale(1, 3, 1)) == (0, 1)


def test_accuracy_rises_with_the_margin_and_is_that_of_the_report_at_none(data, tmp_path):
    report = measured(data, some=truth_of(data, noise_width=2.5), constant=lambda image, rater: 3.0)
    found = tie_margins.records(report)
    assert len(found) == 2 * 2 * 5 and {row["raters"] for row in found} == {"all"}
    some = [row for row in found if (row["scorer"], row["shots"]) == ("some", 5)]
    assert [row["margin"] for row in some] == [0, 0.25, 0.5, 0.75, 1.0]
    assert some[0]["pairwise"] == pytest.approx(report.estimate("some", shots=5, metric="pairwise").value)
    for row in found:  # one pass over the pairs gives what one pass for each margin gives
        again = values(answers_by_label(report, report.predictions[row["scorer"], row["shots"]])["all"], "pairwise", margin=row["margin"])
        assert row["pairwise"] == pytest.approx(again.mean)
    assert all(before["pairwise"] < after["pairwise"] for before, after in itertools.pairwise(some))
    assert all(row["low"] < row["pairwise"] < row["high"] and row["n_raters"] == 12 for row in some)
    assert {row["pairwise"] for row in found if row["scorer"] == "constant"} == {0.5}
    rows = list(csv.DictReader(tie_margins.write(found, tmp_path).open()))
    assert list(rows[0]) == list(tie_margins.COLUMNS) and float(rows[0]["pairwise"]) == pytest.approx(found[0]["pairwise"], abs=1e-6)
    assert tie_margins.picture(found, tmp_path).stat().st_size > 5000


# diverging pairs


def by_hand(data, report, *, least, margin=0.0):
    """(fold, x, y, a, b) of every diverging pair, x < y, x preferring a."""
    score = {(r, i): s for r, i, s in zip(data.rating_rater, data.rating_image, data.rating_score, strict=True)}
    found = set()
    for index, fold in enumerate(report.folds):
        images = {rater: set(data.rating_image[rows]) for rater, rows in fold.query.items()}
        for x, y in itertools.combinations(sorted(images), 2):
            for a, b in itertools.permutations(images[x] & images[y], 2):
                gaps = score[x, a] - score[x, b], score[y, b] - score[y, a]
                if min(gaps) >= least and min(gaps) > margin:
                    found.add((index, x, y, a, b))
    return found


def test_all_pairs_are_found(data):
    report = measured(data, truth=truth_of(data))
    expected = by_hand(data, report, least=1.0)
    found = diverging.diverging(report, show=10_000)
    assert 20 < found.n == len(expected) and (found.scorer, found.shots, found.least) == ("truth", 5, 1.0)
    assert {(case.fold, case.x, case.y, case.a, case.b) for case in found.shown} == expected
    assert len({(case.fold, case.x, case.y) for case in found.shown}) == found.n_pairs_of_raters <= found.looked_at == found.in_all
    truth = truth_of(data)
    for case in found.shown[:10]:
        for rater in (case.x, case.y):
            named = type("Rater", (), {"name": data.raters[rater]})
            assert case.rated[rater] == tuple(truth(data.image_ids[image], named) for image in (case.a, case.b))
            assert case.predicted[rater] == pytest.approx(case.rated[rater])
    wider = dataclasses.replace(report, margin=1.5)
    assert diverging.diverging(wider, show=0).n == len(by_hand(data, report, least=1.0, margin=1.5)) < found.n


def test_who_gets_how_many_right(data):
    truth = truth_of(data)
    rules = {
        "constant": lambda image, rater: 3.0,
        "crowd": lambda image, rater: noise(image),
        "truth": truth,
        "reverse": lambda image, rater: -truth(image, rater),
        "half": lambda image, rater: truth(image, rater) if int(rater.name[1:]) % 2 else 3.0,
    }
    report = measured(data, **rules)
    shares = {name: diverging.diverging(report, scorer=name, show=0) for name in rules}
    for name in ("constant", "crowd"):
        assert shares[name].shares == {"both": 0, "one": 1, "none": 0, "right": 0.5}
        assert set(shares[name].intervals.values()) == {(0, 0), (1, 1), (0.5, 0.5)}
    assert shares["truth"].shares == {"both": 1, "one": 0, "none": 0, "right": 1}
    assert shares["reverse"].shares == {"both": 0, "one": 0, "none": 1, "right": 0}
    # a rater known and a rater guessed: one and a half right, half of that in "both", half in "one"
    pairs = by_hand(data, report, least=1.0)
    known = np.array([x % 2 + y % 2 for _, x, y, _, _ in pairs])
    half = shares["half"]
    assert half.shares["both"] == pytest.approx((known == 2).mean() + (known == 1).mean() / 2)
    assert half.shares["none"] == 0 and half.shares["right"] == pytest.approx(0.5 + known.mean() / 4)
    assert half.intervals["right"][0] < half.shares["right"] < half.intervals["right"][1]


def test_shown_pairs_are_drawn_at_random_and_again_the_same(data):
    report = measured(data, some=truth_of(data, noise_width=2.0))
    everything = diverging.diverging(report, show=10_000)
    few, again, other = (diverging.diverging(report, show=8, seed=seed) for seed in (0, 0, 1))
    assert few.shown == again.shown == everything.shown[:8] != other.shown
    assert few.shares == other.shares == everything.shares
    drawn = [diverging.diverging(report, show=8, seed=seed) for seed in range(40)]
    right = np.mean([case.predicted[case.x][0] > case.predicted[case.x][1] for found in drawn for case in found.shown])
    assert right == pytest.approx(everything.shares["right"], abs=0.12)  # neither the best nor the worst


def test_with_too_many_pairs_of_raters_some_are_drawn(data, monkeypatch):
    report = measured(data, some=truth_of(data, noise_width=2.0))
    monkeypatch.setattr(diverging, "_CELLS", 20 * diverging._LEAST)
    found = diverging.diverging(report, show=3)
    assert found.looked_at == 20 * len(report.folds) < found.in_all
    assert found.n < len(by_hand(data, report, least=1.0)) and len(found.shown) == 3


def test_the_page_shows_the_pictures(data, tmp_path):
    photos = make_photos(tmp_path, *(f"{i:02d}.png" for i in range(len(data.images))))
    paths = [type(data.images[0])(photo) for photo in photos]
    os.remove(paths[0])
    with_photos = dataclasses.replace(data, images=tuple(paths), raters=("<b>r</b>", *data.raters[1:]))
    truth = truth_of(data, noise_width=2.0)
    known = {photo.name: name for photo, name in zip(paths, data.image_ids, strict=True)}
    named = {name: type("Rater", (), {"name": old}) for name, old in zip(with_photos.raters, data.raters, strict=True)}
    report = measured(with_photos, some=lambda image, rater: truth(known[image], named[rater.name]))
    found = diverging.diverging(report, show=500)
    page = diverging_page.write(report, found, tmp_path).read_text()
    shown = {image for case in found.shown for image in (case.a, case.b)}
    assert page.count("<section") == len(found.shown) and 0 in shown
    assert page.count("data:image/jpeg;base64,") == sum((case.a > 0) + (case.b > 0) for case in found.shown)
    assert f"{data.image_ids[0]} (cannot be shown)" in page and "&lt;b&gt;r&lt;/b&gt;" in page and "<b>r</b>" not in page
    assert "drawn at random with a fixed seed" in page and f"Over all {found.n} diverging pairs" in page and "http" not in page
    widths = [float(width) for width in re.findall(r'<i style="width: ([0-9.]+)%"', page)]
    assert len(widths) == 8 * len(found.shown) and all(0 <= width <= 100 for width in widths)
    rows = list(csv.DictReader(diverging.write_shown(report, found, tmp_path).open()))
    assert list(rows[0]) == list(diverging.COLUMNS) and len(rows) == len(found.shown)
    for row in rows:
        assert float(row["rated_x_a"]) - float(row["rated_x_b"]) >= 0.999 and float(row["rated_y_b"]) - float(row["rated_y_a"]) >= 0.999


def test_where_all_agree_there_is_nothing_to_show(data, tmp_path):
    agreed = dataclasses.replace(data, rating_score=data.rating_image % 5 + 1.0)
    report = measured(agreed, constant=lambda image, rater: 3.0)
    found = diverging.diverging(report, show=5)
    assert found.n == 0 and not found.shown and np.isnan(found.shares["right"])
    assert "no two raters" in diverging_page.write(report, found, tmp_path).read_text()
    refused(lambda: diverging.diverging(report, show=-1), "-1 diverging pairs", "write 0")
    refused(lambda: diverging.diverging(report, show=1, scorer="nobody"), "no predictions of 'nobody'")
    refused(lambda: details.write(report, tmp_path, show=-2), "-2 diverging pairs")


# numbers of neighbours


def test_families_of_k():
    names = ["pamela[k=5,context=0]", "pamela[context=0,k=1]", "pamela[k=1]", "taste", "other[k=2]", "other[k=3]", "other[k=x]"]
    found = neighbours.families(names)
    assert found == {"pamela[context=0]": {1: names[1], 5: names[0]}, "other": {2: "other[k=2]", 3: "other[k=3]"}}
    assert list(found["pamela[context=0]"]) == [1, 5]
    usual = ["pamela[tau=1]", "pamela[tau=1,k=9]", "taste", "nobody", "nobody[k=2]"]  # 5 is what pamela takes unasked
    assert neighbours.families(usual) == {"pamela[tau=1]": {5: usual[0], 9: usual[1]}}


def test_a_grid_over_n_and_k(data, tmp_path):
    widths = {1: 4.0, 5: 1.0, 20: 2.0}
    rules = {f"near[k={k}]": truth_of(data, noise_width=width) for k, width in widths.items()}
    report = measured(data, **rules, alone=truth_of(data))
    points = neighbours.grid(report)
    assert [(p.family, p.metric, p.k, p.shots) for p in points][:4] == [("near", "srocc", 1, 0), ("near", "srocc", 1, 5)] + [
        ("near", "srocc", 5, n) for n in (0, 5)
    ]
    assert len(points) == 3 * 2 * 2 and {point.raters for point in points} == {"all"}
    for point in points:
        assert point.value == pytest.approx(report.estimate(f"near[k={point.k}]", shots=point.shots, metric=point.metric).value)
        assert point.low < point.value < point.high
    text = neighbours.write(points, tmp_path).read_text()
    assert "| N | k = 1 | k = 5 | k = 20 |" in text and "## SROCC of near, all raters" in text
    for line in text.splitlines():
        if line.startswith(("| 0 |", "| 5 |")):
            cells = line.strip("| ").split(" | ")
            assert ["**" in cell for cell in cells[1:]] == [False, True, False]
    assert neighbours.picture(points, tmp_path).stat().st_size > 5000
    assert neighbours.grid(measured(data, alone=truth_of(data))) == []


def test_grids_are_of_unseen_raters_where_they_are_known(data):
    scorers = {f"near[k={k}]": lambda k=k: Planted(truth_of(data, noise_width=k)) for k in (1, 3)}
    report = bench.run(data, scorers, protocol="seen-unseen", shots=(0,), draws=20)
    assert {point.raters for point in neighbours.grid(report)} == {"unseen"}


# all together


def test_everything_is_written_and_what_is_missing_is_said(data, tmp_path, monkeypatch):
    scorers = {f"near[k={k}]": lambda k=k: Planted(truth_of(data, noise_width=k)) for k in (1, 3)}
    report = bench.run(data, scorers, protocol="seen-unseen", shots=(0, 5), draws=20)
    everything = {"seen-unseen.json", "seen-unseen.csv", "seen-unseen.md", "tie-margins.csv", "tie-margins.png", "neighbours.md"}
    everything |= {"neighbours.png", "diverging.html", "diverging.csv"}
    paths, remarks = details.write(report, tmp_path / "a")
    assert {path.name for path in paths} == everything == set(os.listdir(tmp_path / "a"))
    assert len(remarks) == 1 and "50 %" in remarks[0] and "near[k=1] at N = 5" in remarks[0]
    details.write(report, tmp_path / "b", show=0)
    assert set(os.listdir(tmp_path / "b")) == everything - {"diverging.html", "diverging.csv"}
    plain = bench.run(data, {"one": scorers["near[k=1]"]}, shots=(0,), draws=20)
    assert {path.name for path in details.write(plain, tmp_path / "c", show=0)[0]} == {"tie-margins.csv", "tie-margins.png"}
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    paths, remarks = details.write(report, tmp_path / "d")
    assert {path.name for path in paths} == {name for name in everything if not name.endswith(".png")}
    assert any("beholder[eval]" in line for line in remarks)
    (tmp_path / "file").write_text("")
    refused(lambda: details.write(report, tmp_path / "file" / "below"), "cannot be written")


def test_on_the_command_line(tmp_path):
    root = tmp_path / "data"
    make_photos(root / "images", *(f"{i:02d}.png" for i in range(12)))
    lines = [f"r{r},{i:02d}.png,{1 + 4 * noise(r, i):.2f}" for r in range(8) for i in range(12)]
    (root / "ratings.csv").write_text("rater,image,score\n" + "\n".join(lines) + "\n")
    options = ["--root", root, "--scorer", "stub_scorers:Stub", "--protocol", "seen-unseen", "--shots", "0,4", "--folds", "2"]
    options += ["--encoder", "efficientnet-lite0[size=64]"]
    done = beholder("bench", "folder", *options, "--out", tmp_path / "out", "--diverging", "3")
    assert done.exit_code == 0, done.stderr
    assert "| stub_scorers:Stub | 4 |" in done.stdout and "seen - unseen" in done.stdout
    page = (tmp_path / "out" / "diverging.html").read_text()
    assert page.count("<section") == 3 and page.count("data:image/jpeg") == 6
    assert "of " in done.stderr and "diverging pairs" in done.stderr
    summary = beholder("bench", "folder", *options, "--out", tmp_path / "out", "--diverging", "0", "--json")
    assert '"seen_unseen": [' in summary.stdout
    bad = beholder("bench", "folder", *options, "--diverging", "-1")
    assert bad.exit_code == 2


def test_a_release_of_pamela_on_the_command_line(tmp_path):
    root = make_pamela(tmp_path / "data", n_images=40)
    options = [
        "--root",
        root,
        "--scorer",
        "stub_scorers:Stub",
        "--out",
        tmp_path / "out",
        "--diverging",
        "2",
        "--protocol-options",
        "max_support=4",
    ]
    done = beholder(
        "bench", "pamela", *options, "--protocol", "published-parts", "--shots", "0,4", "--encoder", "efficientnet-lite0[size=64]"
    )
    assert done.exit_code == 0, done.stderr
    assert "| published | PAMELA | | 0.451 | 0.472 | 0.663 |" in done.stdout and "| here | stub_scorers:Stub | 4 |" in done.stdout
    assert "seen (4 raters) | unseen (2 raters)" in done.stdout and "trains each scorer once per repeat" in done.stderr
    assert "up to 4 of their own ratings in val_unseen first" in done.stderr
    rows = list(csv.DictReader((tmp_path / "out" / "seen-unseen.csv").open()))
    assert {row["n_unseen"] for row in rows} == {"2"} and len(rows) == 2 * 5
