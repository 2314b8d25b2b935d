"""Feedback on images: what is accepted, from which files, and the descriptions made of it."""

from __future__ import annotations

import csv
import json
import threading
import warnings

import pytest

from beholder.critique.aesmmit.descriptions import PHRASINGS, descriptions
from beholder.critique.aesmmit.feedback import GRADES, QUESTIONS, Feedback, append_feedback, read_feedback
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from command_line import refused

ANNA = Feedback("a/1.jpg", "anna", 5, "It is beautiful.", "The light is warm.", "It makes me calm.")
BEN = Feedback("2.jpg", "ben", None, "", "Too dark", "", suggestion="Open the aperture", source="AI", dataset="BAID", time="2024-05-01T10:00:00+00:00")


def test_the_three_questions_go_from_coarse_to_fine_and_name_what_the_paper_names():
    assert list(QUESTIONS) == ["evaluation", "reasons", "feeling"]
    for word in ("clarity", "colour", "light", "composition"):
        assert word in QUESTIONS["reasons"]
    assert "emotion" in QUESTIONS["feeling"]
    assert sorted(GRADES) == [1, 2, 3, 4, 5]


def test_values_are_tidied():
    one = Feedback("a\\b.jpg", 17, "4", " two\n lines ", "", "", source="NIs")
    assert (one.image, one.subject, one.grade, one.evaluation, one.source) == ("a/b.jpg", "17", 4, "two lines", "natural")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"image": ""}, "no image"),
        ({"image": "/etc/passwd"}, "leads out"),
        ({"image": "../x.jpg"}, "leads out"),
        ({"image": "C:\\x.jpg"}, "leads out"),
        ({"grade": 6}, "grade"),
        ({"grade": 2.5}, "grade"),
        ({"grade": True}, "grade"),
        ({"grade": "good"}, "grade"),
        ({"grade": float("nan")}, "grade"),
        ({"source": "painted"}, "source"),
        ({"evaluation": ["a"]}, "not text"),
        ({"evaluation": " ", "reasons": "", "feeling": ""}, "no text"),
    ],
)
def test_wrong_values_are_refused(changes, word):
    values = {"image": "a.jpg", "subject": "anna", "grade": 3, "evaluation": "fine", "reasons": "", "feeling": ""}
    refused(lambda: Feedback(**values | changes), word)


def test_all_three_kinds_of_files_say_the_same(tmp_path):
    append_feedback(tmp_path / "f.jsonl", ANNA)
    append_feedback(tmp_path / "f.jsonl", BEN)
    (tmp_path / "f.json").write_text(json.dumps([ANNA.to_json(), BEN.to_json()]), encoding="utf-8")
    head = "image;subject;grade;evaluation;reasons;feeling;suggestion;source;dataset;time"
    rows = [
        "a/1.jpg;anna;5;It is beautiful.;The light is warm.;It makes me calm.;;;;",
        '2.jpg;ben;;;"Too\ndark";;Open the aperture;artistic;BAID;2024-05-01T10:00:00+00:00',
    ]
    (tmp_path / "f.csv").write_text("\ufeff" + "\n".join([head, *rows]), encoding="utf-8")
    for name in ("f.jsonl", "f.json", "f.csv"):
        assert read_feedback(tmp_path / name) == [ANNA, BEN], name


def test_every_bad_line_is_named_with_its_number_and_the_others_are_read(tmp_path):
    good = [json.dumps(Feedback(f"{n}.jpg", "a", 3, "fine", "", "").to_json()) for n in range(3)]
    lines = [good[0], '{"image": "x.jpg", "grade": 9, "evaluation": "a"}', "", good[1], '{"image": "cut', "[1]", good[2]]
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(SkippedInput) as said:
        found = read_feedback(path)
    assert [one.image for one in found] == ["0.jpg", "1.jpg", "2.jpg"]
    texts = [str(one.message) for one in said]
    assert [text.split(",")[1].split(" is ")[0].strip() for text in texts] == ["line 2", "line 5", "line 6"]
    assert "grade = 9" in texts[0] and "broken JSON" in texts[1] and "not an object" in texts[2]


def test_bad_rows_of_a_csv_are_named_by_the_line_they_begin_on(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text('image,subject,grade,evaluation\na.jpg,x,3,"two\nlines"\nb.jpg,x,7,bad\nc.jpg,x,4\nd.jpg,x,4,fine\n', encoding="utf-8")
    with pytest.warns(SkippedInput) as said:
        found = read_feedback(path)
    assert [one.image for one in found] == ["a.jpg", "d.jpg"]
    assert "line 4" in str(said[0].message) and "line 5" in str(said[1].message) and "3 cells" in str(said[1].message)


def test_quotes_that_do_not_close_swallow_nothing_and_cells_may_be_long(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text('image,evaluation\na.jpg,"never closed\nb.jpg,fine\nc.jpg,good\n')
    refused(lambda: read_feedback(path), "line 2", "quotes")
    limit = csv.field_size_limit()
    path.write_text(f"image,evaluation\na.jpg,{'long ' * 40_000}\nb.jpg,fine\n")
    assert [len(one.evaluation.split()) for one in read_feedback(path)] == [40_000, 1]
    assert csv.field_size_limit() == limit
    path.write_text("image,evaluation,Evaluation\na.jpg,first,second\n")
    refused(lambda: read_feedback(path), "two columns  evaluation")


@pytest.mark.parametrize("digits", [400, 5000])  # more than a float, more than Python reads
def test_numbers_of_any_length_are_no_grades(tmp_path, digits):
    bad = '{"image": "b.jpg", "evaluation": "x", "grade": ' + "9" * digits + "}"
    (tmp_path / "f.jsonl").write_text(json.dumps(ANNA.to_json()) + "\n" + bad + "\n")
    with pytest.warns(SkippedInput, match="line 2") as said:
        assert read_feedback(tmp_path / "f.jsonl") == [ANNA]
    assert len(str(said[0].message)) < 300 + len(str(tmp_path))
    (tmp_path / "f.json").write_text(f"[{bad}]")
    refused(lambda: read_feedback(tmp_path / "f.json"), "f.json")


def test_halves_of_characters_are_marked_and_no_names(tmp_path):
    assert Feedback("a.jpg", "x", 3, "half \ud83d", "\ud83d\ude00 whole", "").reasons == "\U0001f600 whole"
    assert Feedback("a.jpg", "x", 3, "half \ud83d light", "", "").evaluation == "half \ufffd light"
    refused(lambda: Feedback("bad\udce9.jpg", "x", 3, "fine", "", ""), "rename")


def test_hundreds_of_bad_lines_are_all_named(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(ANNA.to_json()) + "\n" + "{}\n" * 300, encoding="utf-8")
    with pytest.warns(SkippedInput) as said:
        assert read_feedback(path) == [ANNA]
    everything = " ".join(str(one.message) for one in said)
    assert len(said) == 21 and all(f"line {n}" in everything for n in range(2, 302))


def test_files_of_which_nothing_can_be_used_are_refused(tmp_path):
    def written(text, name="f.jsonl"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return lambda: read_feedback(tmp_path / name)

    refused(lambda: read_feedback(tmp_path / "none.jsonl"), "cannot be read")
    refused(written(""), "no feedback")
    refused(written("{}\n{}"), "no feedback", "line 1", "no image")
    refused(written(b"\xff\xfe\x00a"), "UTF-8")
    refused(written('[{"image": "a.jpg",\n "grade": }]'), "line 2", "column 11")
    refused(written("name,grade\na,1\n", "f.csv"), "no column  image")


def test_unknown_columns_are_said_and_not_used(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(ANNA.to_json() | {"reason": "typing error"}), encoding="utf-8")
    with pytest.warns(UserWarning, match="reason is not part of feedback") as said:
        assert read_feedback(path) == [ANNA]
    assert not any(issubclass(one.category, SkippedInput) for one in said)


def test_the_later_of_two_by_the_same_subject_stands_but_nameless_ones_are_many_people(tmp_path):
    path = tmp_path / "f.jsonl"
    other = Feedback("a/1.jpg", "anna", 2, "On second thought, no.", "Noise", "Cold")
    nobody = [Feedback("a/1.jpg", "", 3, text, "", "") for text in ("fine", "fine", "poor")]
    for one in (ANNA, BEN, other, *nobody):
        append_feedback(path, one)
    assert read_feedback(path) == [other, BEN, *nobody]


def test_lines_added_at_the_same_time_are_all_whole(tmp_path):
    path = tmp_path / "new" / "f.jsonl"
    many = [Feedback(f"{n}.jpg", "anna", 3, "fine " * 200, "é" * 300, "") for n in range(40)]
    threads = [threading.Thread(target=lambda part: [append_feedback(path, one) for one in part], args=(many[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.image for one in read_feedback(path)) == sorted(one.image for one in many)


def test_a_line_that_was_cut_off_does_not_take_the_next_one_with_it(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(ANNA.to_json()) + '\n{"image": "half', encoding="utf-8")
    append_feedback(path, BEN)
    with pytest.warns(SkippedInput, match="line 2"):
        assert read_feedback(path) == [ANNA, BEN]


def test_descriptions_hold_what_was_said_and_nothing_else():
    made = descriptions([ANNA, BEN])
    by_kind = {item.id.split("-")[1]: item for item in made if item.subject == "anna"}
    assert set(by_kind) == {"evaluation", "reasons", "feeling", "whole"}  # no suggestion was made
    for name in ("evaluation", "reasons", "feeling"):
        assert by_kind[name].turns[0][1] == getattr(ANNA, name)
        assert by_kind[name].turns[0][0] in PHRASINGS[name]
    assert by_kind["whole"].turns[0][1] == "It is beautiful. The light is warm. It makes me calm."
    ben = [item for item in made if item.subject == "ben"]
    assert [item.turns[0][1] for item in ben] == ["Too dark", "Open the aperture", "Too dark. Open the aperture."]
    assert all(item.more == {"source": "artistic", "dataset": "BAID"} and item.image == "2.jpg" for item in ben)
    assert {item.type for item in made} == {"description"} and len({item.id for item in made}) == len(made)
    assert [item.dimension for item in ben] == ["attribute", "enhancement", "interpretation"]


def test_descriptions_do_not_depend_on_the_order_and_use_every_phrasing():
    many = [Feedback(f"{n}.jpg", "anna", 3, "fine", "light", "calm", "crop") for n in range(60)]
    forth = {item.id: item for item in descriptions(many)}
    back = {item.id: item for item in descriptions(many[::-1])}
    assert forth == back and len(forth) == 300
    asked = {item.turns[0][0] for item in forth.values()}
    assert asked == {text for texts in PHRASINGS.values() for text in texts}
    # the first wording is the question that people were asked
    assert all(PHRASINGS[name][0] == text for name, text in QUESTIONS.items())


def test_two_feedbacks_of_nameless_people_on_one_image_have_different_ids():
    twice = [Feedback("a.jpg", "", 3, "fine", "", ""), Feedback("a.jpg", "", 4, "lovely", "", "")]
    assert len({item.id for item in descriptions(twice)}) == 2


def test_an_answer_that_cannot_be_stored_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with warnings.catch_warnings(), pytest.raises(BeholderError, match="cannot be written"):
        append_feedback(tmp_path / "file" / "f.jsonl", ANNA)
