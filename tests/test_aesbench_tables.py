"""Tables and report: the paper's rows beside ours, gains over a base model, what is missing and why, a page that needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

import aesbench_layout as layout
from beholder.critique.aesbench import report, tables
from beholder.critique.aesbench.compare import Answered, compare, digest
from beholder.critique.aesbench.estimates import Key
from beholder.critique.aesbench.judged import JudgedAnswer, JudgeResult
from beholder.critique.aesbench.published import published
from beholder.critique.aesbench.reading import read
from command_line import refused

N = 40


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return read(layout.write_official(tmp_path_factory.mktemp("aesbench"), N))


def answered(benchmark, name, *, wrong=0, silent=0, value=None):
    """Right answers but for the first `wrong` of each part, which say D or C, and the next `silent`, which say nothing of use; AesI judged as `value`."""
    given = {}
    for part, right in layout.right_answers(N).items():
        letters = list(right.items())
        given[part] = {image: "None of it <b>fits</b> | at all" if wrong <= i < wrong + silent else text for i, (image, text) in enumerate(letters)}
        for image, text in letters[:wrong] if part != "AesI" else []:
            given[part][image] = "B" if text == "A" else "A"
    judged = None
    if value is not None:
        scores = tuple({"relevance": value, "precision": value, "completeness": value} for _ in range(2))
        graded = tuple(JudgedAnswer(question, given["AesI"][question.image], scores) for question in benchmark.of_part("AesI"))
        judged = JudgeResult("grader", "7", "1", 0.7, 2, 0, True, graded)
    return Answered(name, given, judged=judged, version="v1")


@pytest.fixture(scope="module")
def comparison(benchmark):
    return compare(benchmark, [answered(benchmark, "tuned", wrong=4, value=1.5), answered(benchmark, "base|model", wrong=16, silent=4, value=1.0)], base="base|model")


def by_title(comparison, words):
    (found,) = [table for table in tables.tables(comparison) if table.title.startswith(words)]
    return found


def test_table_3_has_the_papers_rows_beside_ours(comparison):
    table = by_title(comparison, "Table 3")
    ours, paper = [row for i, row in enumerate(table.rows) if i in table.ours], [row for i, row in enumerate(table.rows) if i not in table.ours]
    assert [row[0] for row in ours] == ["tuned", "base|model"] and len(paper) == 19
    assert all(row[1] == "here: n = 40, judge grader" for row in ours)
    assert {row[1] for row in paper} == {"paper: GPT judge, 2,800 images"}
    assert paper[0][2:] == tuple("70.83 80.63 81.75 76.60 79.54 82.94 80.65 93.10 88.56 84.89 59.57 1.340 89.50".split())  # noqa: SIM905
    assert ours[0][table.columns.index("AesP")].startswith("90.00 [") and ours[0][-1].startswith("105.00 [")  # (90 + 90 + 90 + 150) / 4
    assert any("not comparable" in note and "grader (version 7)" in note and "rubric of ours (version 1)" in note for note in table.notes)


@pytest.mark.parametrize(("number", "part"), tables.PART_OF.items())
def test_tables_4_to_7_show_base_model_gain_and_the_paper(comparison, number, part):
    table = by_title(comparison, f"Table {number}")
    names = [row[0] for row in table.rows]
    assert names[:3] == ["base|model", "tuned", "improvement over base|model"] and table.ours == {0, 1, 2}
    assert names[3:] == [row.label for row in published().tables[number].rows] and len(names) == 12
    column = table.columns.index(part)
    value = table.rows[2][column]
    assert re.fullmatch(r"\+50\.00 \[\+50\.00, \+50\.00\]\*" if part == "AesI" else r"\+40\.00 \[\+[\d.]+, \+[\d.]+\]\*", value), value
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_gains_are_paired(comparison):
    gain = comparison.gains["tuned"][Key("AesP")]
    assert gain.value == pytest.approx(40) and gain.n == N and list(comparison.gains) == ["tuned"]
    overall = comparison.gains["tuned"][Key("overall")]
    assert overall.value == pytest.approx((40 + 40 + 40 + 50) / 4) and overall.low > 0


def test_without_a_judge_there_is_no_overall_score_and_it_is_said_why(benchmark):
    found = compare(benchmark, [answered(benchmark, "one")])
    table = by_title(found, "Table 3")
    assert table.rows[0][-2:] == ("-", "-") and table.columns[-2:] == ("AesI", "Overall")
    assert any("no overall score" in line and "AesI: not judged (no --judge)" in line for line in tables.remarks(found))
    assert not any(one.title.startswith("Table 7") for one in tables.tables(found))
    assert found.parts == ("AesP", "AesE", "AesA")


def test_a_part_that_is_missing_is_said(benchmark):
    given = answered(benchmark, "one")
    some = compare(benchmark, [Answered("one", {"AesP": given.answers["AesP"]})])
    assert some.models[0].missing == {"AesE": "not answered", "AesA": "not answered", "AesI": "not answered"}
    narrowed = compare(benchmark.narrowed(parts=["AesA"]), [given])
    assert narrowed.models[0].missing["AesP"] == "not among the questions"
    assert [table.title[:7] for table in tables.tables(narrowed) if table.title.startswith("Table")] == ["Table 3", "Table 6"]


def test_a_part_of_the_images_is_marked(benchmark):
    found = compare(benchmark.narrowed(limit=10), [answered(benchmark, "one")], n_whole=N)
    assert by_title(found, "Table 3").rows[0][1] == "here: n = 10 (a part)"
    assert "a part: the first 10 of 40 images" in tables.markdown(found)


def test_markdown_is_whole_tables(comparison):
    text = tables.markdown(comparison)
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(blocks) == len(tables.tables(comparison)) >= 9
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "base\\|model" in text and "4 of 40 answers give no single option" in text
    assert "Table 7 are printed in %" in text


def test_results_json_has_everything_and_is_the_same_every_time(comparison, benchmark, tmp_path):
    paths = report.write(comparison, tmp_path / "out")
    assert [path.name for path in paths] == ["results.json", "tables.md", "report.html"]
    found = json.loads(paths[0].read_text(encoding="utf-8"))
    assert found["benchmark"]["md5"] == digest(benchmark) and found["protocol"]["seed"] == 0 and found["base"] == "base|model"
    one = found["models"][1]
    assert one["estimates"]["AesP"]["value"] == 50 and one["estimates"]["AesP"]["n"] == N and one["version"] == "v1"
    assert one["parts"]["AesP"]["groups"]["AesP"]["unparsable"] == 4 and sum(one["parts"]["AesP"]["given"].values()) == N
    assert set(one["parts"]["AesA"]["confusion"]) == {"High", "Medium", "Low"} and len(one["marked"]["AesE"]) == N
    assert one["judge"]["judge"] == "grader" and len(one["judge"]["answers"]) == N
    assert found["models"][0]["gains"]["AesI"]["value"] == 0.5 and "published" in found
    again = [path.read_bytes() for path in report.write(comparison, tmp_path / "again")]
    assert again == [path.read_bytes() for path in paths]
    small = report.summary(comparison)
    assert "marked" not in small["models"][0] and "answers" not in small["models"][0]["judge"]


class Tags(HTMLParser):
    VOID = ("meta", "img", "link", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.sources, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_else_and_escapes_what_models_say(comparison):
    text = "\n".join(report.page(comparison))
    page = Tags(text)
    assert page.open == [] and page.sources and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "<b>fits</b>" not in text and "None of it <b>fits</b> | at all" in page.text
    assert "prefers-color-scheme: dark" in text and "http" not in re.sub(r"data:[^\"]+", "", text)
    cards = [attributes for tag, attributes in page.seen if tag == "li" and attributes.get("class") == "card"]
    assert len(cards) == report.EXAMPLES
    marks = [attributes["class"] for tag, attributes in page.seen if attributes.get("class", "").startswith("mark ")]
    assert {"mark right", "mark wrong", "mark none"} == set(marks)
    assert "no option (" in page.text and "Experts: " in page.text


def test_a_page_without_images_names_them(benchmark, tmp_path):
    bare = layout.write_official(tmp_path, N)
    found = read(bare, needs_images=False)
    text = "\n".join(report.page(compare(found, [answered(found, "one", wrong=3)])))
    assert "no image here" in text and "<img" not in text


def test_more_models_than_examples_still_show_at_most_as_many(benchmark):
    found = compare(benchmark.narrowed(limit=3), [answered(benchmark, f"m{i}") for i in range(30)])
    assert "\n".join(report.page(found)).count('<li class="card">') == report.EXAMPLES


def test_a_place_that_cannot_be_written_is_one_sentence(comparison, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(lambda: report.write(comparison, tmp_path / "file"), "cannot be written", "another place")
