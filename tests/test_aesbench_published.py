"""The paper's Tables 3 to 7: whole, in agreement with each other, and reproduced by the overall score."""

from __future__ import annotations

import math

import pytest

from beholder.critique.aesbench.estimates import Key
from beholder.critique.aesbench.overall import MOST, interpretation, missing, overall
from beholder.critique.aesbench.published import published
from beholder.critique.aesbench.questions import DIMENSIONS, PARTS, QTYPES, SOURCES

TABLES = published().tables
WHOLE = {part: Key(part) for part in (*PARTS, "overall")}


def test_every_table_is_there_with_all_its_rows_and_columns():
    assert list(TABLES) == ["3", "4", "5", "6", "7"]
    assert [(len(table.rows), len(table.columns)) for table in TABLES.values()] == [(19, 13), (9, 12), (9, 12), (9, 4), (9, 4)]
    assert all(math.isfinite(value) for table in TABLES.values() for row in table.rows for value in row.values.values())
    assert [row.rank for row in TABLES["3"].rows] == list(range(1, 20))
    assert "2404.09624" in published().source and any("no relative gains" in remark for remark in published().remarks)


def test_columns_have_the_names_that_questions_have():
    for table in TABLES.values():
        for key in table.columns:
            known = {"dimension": DIMENSIONS.get(key.part, ()), "source": SOURCES, "type": QTYPES, "criterion": ("relevance", "precision", "completeness")}
            assert not key.by or key.name in known[key.by], key


@pytest.mark.parametrize("row", TABLES["3"].rows, ids=lambda row: row.label)
def test_overall_of_every_model_follows_from_its_parts(row):
    made = overall({part: row.values[WHOLE[part]] for part in PARTS})
    assert made == pytest.approx(row.values[WHOLE["overall"]], abs=0.01)


def test_ranks_are_those_of_the_overall_scores():
    scores = [row.values[WHOLE["overall"]] for row in TABLES["3"].rows]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("row", [row for row in TABLES["7"].rows if row.kind != "improvement"], ids=lambda row: row.label)
def test_interpretation_is_the_mean_of_its_three_criteria(row):
    criteria = {key.name: value for key, value in row.values.items() if key.by == "criterion"}
    assert len(criteria) == 3
    assert interpretation(criteria) == pytest.approx(row.values[WHOLE["AesI"]], abs=0.001)


def test_every_improvement_is_a_difference_not_a_relative_gain():
    checked = 0
    for number in "4567":
        rows, times = TABLES[number].rows, 100 if number == "7" else 1
        for base, tuned, gain in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            assert (base.kind, tuned.kind, gain.kind) == ("base", "tuned", "improvement") and base.base == tuned.base == gain.base
            for key, value in gain.values.items():
                assert value == pytest.approx(times * (tuned.values[key] - base.values[key]), abs=0.006), (number, base.label, key)
                checked += 1
    assert checked == 96


def test_tables_4_to_7_repeat_table_3():
    of_3 = {row.label: row.values for row in TABLES["3"].rows}
    repeated = 0
    for number in "4567":
        for row in TABLES[number].rows:
            for key, value in row.values.items():
                if row.kind != "improvement" and key in TABLES["3"].columns:
                    assert of_3[row.label][key] == value, (number, row.label, key)
                    repeated += 1
    assert repeated == 6 * (5 + 5 + 1 + 1)


def test_overall_needs_all_four_parts():
    whole = {"AesP": 100.0, "AesE": 100.0, "AesA": 100.0, "AesI": 2.0}
    assert overall(whole) == MOST
    assert math.isnan(overall({part: value for part, value in whole.items() if part != "AesI"}))
    assert missing(whole | {"AesE": math.nan}) == ("AesE",) and math.isnan(overall(whole | {"AesE": math.nan}))
    assert math.isnan(interpretation({}))
