"""AesBench in all its layouts, and what is said when something is wrong with it."""

import csv
import hashlib
import json
import shutil

import pytest

import aesbench_layout as layout
from beholder.critique.aesbench import tsv as tables
from beholder.critique.aesbench.fields import letter_of, options_of, question_type, source_of
from beholder.critique.aesbench.prompts import prompt
from beholder.critique.aesbench.questions import Question, known_parts
from beholder.critique.aesbench.reading import read
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from beholder.photos import content_hash


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def essence(benchmark, parts=("AesP", "AesE", "AesA")):
    return [
        (q.part, q.text, q.options, q.answer, q.dimension, content_hash(benchmark.path(q.image)))
        for part in parts
        for q in benchmark.of_part(part)
    ]


def edited(root, change):
    """The official file after `change(content)`."""
    file = root / "AesBench_evaluation.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return root


def test_all_layouts_say_the_same(tmp_path):
    official = essence(read(layout.write_official(tmp_path / "0")))
    assert len(official) == 36
    number = 0
    for spelling in ("data", "plain"):
        for answers in ("inside", "json", "csv"):
            for options in ("text", "tight", "list", "dict"):
                number += 1
                root = layout.write_official(tmp_path / str(number), spelling=spelling, answers=answers, options=options)
                assert essence(read(root)) == official, (spelling, answers, options)
    for images in ("base64", "reference", "path"):
        assert essence(read(layout.write_tsv(tmp_path / images, images=images))) == official, images


def test_answers_and_references_are_those_of_the_file(tmp_path):
    benchmark = read(layout.write_official(tmp_path))
    right = layout.right_answers()
    for question in benchmark.questions:
        assert (question.answer or question.reference) == right[question.part][question.image]
    assert [q.source for q in benchmark.of_part("AesP")][:3] == ["NI", "AI", "AGI"]
    assert {q.qtype for q in benchmark.of_part("AesP")} == {"yes-no", "what", "how", "why"}
    assert {q.qtype for q in benchmark.of_part("AesA")} == {""}
    assert len({q.id for q in benchmark.questions}) == len(benchmark.questions) == 48


def test_what_was_inferred_is_said(tmp_path):
    benchmark = read(layout.write_official(tmp_path, extras=False))
    told = read(layout.write_official(tmp_path / "told"))
    assert [q.source for q in benchmark.questions] == [q.source for q in told.questions]
    assert any("source" in note and "12 of 12 images is inferred" in note for note in benchmark.notes)
    assert not any("source" in note for note in told.notes)
    assert any("type of 24 questions" in note and "inferred" in note for note in told.notes)


def test_hidden_answers_are_no_error(tmp_path):
    benchmark = read(layout.write_official(tmp_path, answers="none"))
    assert {(q.answer, q.reference) for q in benchmark.questions} == {("", "")}
    assert any("12 of 12 of AesP" in note and "only AesI, by a judge" in note for note in benchmark.notes)


def test_missing_images_are_named_and_left_out(tmp_path):
    root = layout.write_official(tmp_path)
    gone = sorted((root / "images").iterdir())[:2]
    for path in gone:
        path.unlink()
    with pytest.warns(SkippedInput, match="2 of 12 images") as caught:
        benchmark = read(root)
    assert all(path.name in str(caught[0].message) for path in gone)
    assert len(benchmark.questions) == 40
    assert len(read(root, needs_images=False).questions) == 48
    shutil.rmtree(root / "images")
    with pytest.raises(BeholderError, match=r"12 of 12 images .* put the images into"):
        read(root)


def test_images_elsewhere_and_respelled(tmp_path):
    root = layout.write_official(tmp_path / "a")
    (root / "images").rename(tmp_path / "pictures")
    first = min((tmp_path / "pictures").iterdir())
    first.rename(first.with_name(first.name.upper()))
    benchmark = read(root, images=tmp_path / "pictures")
    assert len(benchmark.questions) == 48
    assert all(benchmark.path(q.image).is_file() for q in benchmark.questions)


def test_the_right_folder_is_found(tmp_path):
    layout.write_official(tmp_path / "AesBench")
    assert len(read(tmp_path).questions) == 48
    assert len(read(tmp_path / "AesBench" / "AesBench_evaluation.json").questions) == 48
    with pytest.raises(BeholderError, match=r"looked for AesBench_evaluation\.json and \*\.tsv"):
        read(tmp_path / "AesBench" / "images")
    with pytest.raises(BeholderError, match="does not exist"):
        read(tmp_path / "nothing")
    layout.write_tsv(tmp_path / "two", name="one.tsv")
    layout.write_tsv(tmp_path / "two", name="two.tsv")
    with pytest.raises(BeholderError, match=r"several tables \(one.tsv, two.tsv\)"):
        read(tmp_path / "two")


def test_broken_official_files_are_refused_in_one_sentence(tmp_path):
    file = tmp_path / "AesBench_evaluation.json"
    for content, said in (
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[1]", "no object of images"),
        (b"{}", "no object of images"),
        (b'{"a.jpg": 3}', "'a.jpg' is no object"),
        (b'{"a.jpg": {"AesX": {}}}', "holds no question of AesBench"),
        (b'{"a.jpg": {"AesP": {"question": "What?", "options": "A) one"}}}', "AesP of a.jpg has no options"),
    ):
        file.write_bytes(content)
        with pytest.raises(BeholderError, match=said) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_questions_that_cannot_be_read_are_named(tmp_path):
    def change(content):
        content["1000.png"]["AesP_data"]["Question"] = " "
        content["baid_1001.png"]["AesE_data"]["Options"] = ""
        content["baid_1001.png"]["AesP_data"]["Answer"] = "Purple"

    benchmark = read(edited(layout.write_official(tmp_path), change))
    assert len(benchmark.questions) == 46
    assert any("AesP of 1000.png has no question, AesE of baid_1001.png has no options" in note for note in benchmark.notes)
    assert any("1 right answers name none of their options" in note for note in benchmark.notes)
    assert next(q for q in benchmark.of_part("AesP") if q.image == "baid_1001.png").answer == ""


def test_answers_beside_that_differ_are_named(tmp_path):
    root = layout.write_official(tmp_path)
    (root / "result.json").write_text(json.dumps({"1000.png": {"AesP": "A) Yes", "AesA1": "Z"}, "strange.png": {"AesP": "A"}}))
    benchmark = read(root)
    said = " ".join(benchmark.notes)
    right = layout.right_answers()["AesP"]["1000.png"]
    assert right == "B"
    assert "1 answers of result.json differ from those beside the questions (AesP/1000.png)" in said
    assert "strange.png" in said
    assert "1 answers of result.json name none of their options" in said
    assert benchmark.questions[0].answer == right


def test_a_table_with_an_official_name_must_be_the_official_one(tmp_path, monkeypatch):
    file = layout.write_tsv(tmp_path, name="AesBench_VAL.tsv")
    with pytest.raises(BeholderError, match=r"is not the published file: its MD5 is [0-9a-f]{32}, not 3edb0c319e9187aa0b97fe7a11700a8c"):
        read(tmp_path)
    assert any("not the published file" in note for note in read(tmp_path, allow_changed=True).notes)
    monkeypatch.setitem(tables.MD5, "AesBench_VAL.tsv", hashlib.md5(file.read_bytes()).hexdigest())
    assert any("is the published file" in note for note in read(tmp_path).notes)


def test_images_of_a_table_are_decoded_once(tmp_path, cache):
    file = layout.write_tsv(tmp_path / "t")
    limit = csv.field_size_limit()
    first = read(file)
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    times = [path.stat().st_mtime_ns for path in files]
    assert len(files) == 12  # 36 rows
    assert {path.suffix for path in files} == {".png"}
    assert [path.stem for path in files] == [content_hash(path) for path in files]
    assert first == read(file)
    assert [path.stat().st_mtime_ns for path in files] == times
    files[0].write_bytes(b"cut off")
    read(file)
    assert content_hash(files[0]) == files[0].stem
    assert csv.field_size_limit() == limit


def test_long_images_do_not_change_the_limit_of_csv(tmp_path, monkeypatch):
    limit = csv.field_size_limit(1000)
    try:
        pixels = layout.png(layout.made(1)[0])
        monkeypatch.setattr(layout, "png", lambda one: pixels + bytes(200_000) + one["image"].encode())
        assert len(read(layout.write_tsv(tmp_path)).questions) == 36
        assert csv.field_size_limit() == 1000
        (tmp_path / "AesBench_SMALL.tsv").write_bytes(b"index\tquestion\tA\tB\timage\n0\tWhat?\tx\ty\t" + b"!" * 5000)
        with pytest.raises(BeholderError, match="line 2"):
            read(tmp_path)
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0\tWhat?\tx\ty\t" + "?" * 100, r"line 2 \(index 0\): the image is no base64"),
        ("0\tWhat?\tx\ty\t" + "QUJD" * 100, r"line 2 \(index 0\): the image is base64, but of no known format"),
        ("0\tWhat?\tx\ty\t7", "its image is '7', which is neither base64 nor the index"),
        ("0\tWhat?\tx\ty\t0", "its image is '0'"),
        ("0\tWhat?\tx\ty\t", "neither an image nor an image_path"),
        ("0\tWhat?\tx\ty\t1\tmore", "6 values for 5 columns"),
        ("0\tWhat?\tx\t\t1", "no question with options"),
    ],
)
def test_broken_rows_are_named(tmp_path, row, said):
    (tmp_path / "t.tsv").write_text(f"index\tquestion\tA\tB\timage\n{row}\n", encoding="utf-8")
    with pytest.raises(BeholderError, match=said) as caught:
        read(tmp_path)
    assert len(str(caught.value)) < 400


def test_parts_of_a_table(tmp_path):
    layout._write_images(tmp_path / "images", 2, seed=0)
    rows = [
        ("0", "What?", "x", "y", "", "1000.png", "AesE", "Vibe"),
        ("1", "What?", "High", "Low", "Medium", "1000.png", "", ""),
        ("2", "What?", "x", "y", "", "1000.png", "Composition", ""),
        ("3", "What?", "None", "nan", "z", "1000.png", "strange", ""),
    ]
    head = "index\tquestion\tA\tB\tC\timage_path\tcategory\tl2-category\n"
    (tmp_path / "t.tsv").write_text(head + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    benchmark = read(tmp_path)
    found = [(q.part, q.dimension, q.image) for q in benchmark.questions]
    assert found == [
        ("AesE", "vibe", "1000.png"),
        ("AesA", "", "1000.png"),
        ("AesP", "composition", "1000.png"),
        ("AesP", "strange", "1000~3.png"),
    ]
    assert benchmark.path("1000~3.png") == benchmark.path("1000.png")
    assert benchmark.questions[3].options == (("A", "None"), ("C", "z"))
    said = " ".join(benchmark.notes)
    assert "1 questions are taken for AesA" in said
    assert "1 questions are taken for AesP" in said
    assert "NAME~INDEX" in said


def test_fields():
    expected = (("A", "High"), ("B", "Medium"), ("C", "Low"))
    for value in (
        *("A) High\nB) Medium\nC) Low", "A)High\nB)Medium\nC)Low", "(A) High\n(B) Medium\n(C) Low", "A. High\nB. Medium\nC. Low"),
        *("A) High B) Medium C) Low", "A: High, B: Medium, C: Low", "a) High\r\nb) Medium\r\nc) Low\r\n", "High\nMedium\nLow"),
        *(
            ["A) High", "B) Medium", "C) Low"],
            ["High", "Medium", "Low"],
            {"A": "High", "B": "Medium", "C": "Low"},
            {"1": "High", "2": "Medium", "3": "Low"},
        ),
    ):
        assert options_of(value) == expected, value
    assert options_of("A) A photo of a cat (B. Smith)\nB) A dog") == (("A", "A photo of a cat (B. Smith)"), ("B", "A dog"))
    assert options_of("A) only one") == options_of("") == options_of(None) == ()
    for value in ("B", "b", "(B)", "B)", "B.", "B) Medium", "b. medium", "Medium", "medium."):
        assert letter_of(value, expected) == "B", value
    for value in ("", None, "D", "Mediocre", "B) Low"):
        assert letter_of(value, expected) == "", value
    kinds = [question_type(text) for text in ("Is it?", "Does it?", "Which one?", "How is it?", "Why?", "In what way?", "")]
    assert kinds == ["yes-no", "yes-no", "what", "how", "why", "other", "other"]
    assert [source_of(name) for name in ("baid_1.jpg", "x/artemis_2.jpg", "cad3.png", "diffusiondb_1.png", "AGIQA_1.png", "1234.jpg")] == [
        *["AI"] * 3,
        "AGI",
        "AGI",
        "NI",
    ]
    assert known_parts(["aesi", "AesA1", "AesP"]) == ("AesP", "AesA", "AesI")
    with pytest.raises(BeholderError, match="no part 'AesX'"):
        known_parts(["AesX"])


def test_narrowed(tmp_path):
    benchmark = read(layout.write_official(tmp_path))
    small = benchmark.narrowed(parts=["AesI", "AesP"], limit=2)
    assert [(q.part, q.image) for q in small.questions] == [
        (part, image) for image in ("1000.png", "baid_1001.png") for part in ("AesP", "AesI")
    ]
    with pytest.raises(BeholderError, match="limit = 0"):
        benchmark.narrowed(limit=0)
    with pytest.raises(BeholderError, match="no questions of AesP"):
        small.narrowed(parts=["AesI"]).narrowed(parts=["AesP"])


def test_prompts_are_those_of_the_benchmark_and_of_vlmevalkit():
    question = Question("a.jpg", "AesP", "What is {this}?", (("A", "One"), ("B", "Two {question}")), hint="Look.")
    text = "What is {this}? Choose one from the following options:\nA) One\nB) Two {question}\nYou should output a correct option without explanation."
    assert prompt(question) == text
    raw = Question("a.jpg", "AesA", "How?", (("A", "One"), ("B", "Two")), shown="A)One\nB) Two")
    assert prompt(raw) == "How? Choose one from the following options:\nA)One\nB) Two\nYou should output a correct option."
    kit = "Hint: Look.\nQuestion: What is {this}?\nOptions:\nA. One\nB. Two {question}\nPlease select the correct answer from the options above. \n"
    assert prompt(question, style="vlmevalkit") == kit
    assert prompt(Question("a.jpg", "AesI", "Why?"), style="vlmevalkit") == prompt(Question("a.jpg", "AesI", "Why?")) == "Why?"
    with pytest.raises(BeholderError, match="official or vlmevalkit"):
        prompt(question, style="other")
