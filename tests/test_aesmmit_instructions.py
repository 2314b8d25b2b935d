"""LLaVA's format: what is read is written back as it was; what is new is what LLaVA expects. And statistics over it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from beholder.critique.aesmmit.instructions import (
    Instruction,
    choice_of,
    choice_question,
    conversation,
    read_instructions,
    stem,
    write_instructions,
)
from beholder.critique.aesmmit.statistics import PAPER_COUNTS, PAPER_DATASETS, PAPER_SOURCES, STOP_WORDS, draw, statistics
from command_line import refused

ASKED = {"from": "human", "value": "<image>\nIs it beautiful?"}
TOLD = {"from": "gpt", "value": "Yes."}
ITEMS = [
    {"id": "baid_1", "image": "baid_1.jpg", "conversations": [ASKED, TOLD], "type": "VQA", "qtype": "Yes-or-No"},
    {"id": 17, "image": "b.jpg", "conversations": [{"from": "human", "value": "Why?\n<image>"}, {"from": "gpt", "value": " The light. \n"}]},
    {"conversations": [{"from": "human", "value": "Hello"}, TOLD, {"from": "human", "value": "More?"}, {"from": "gpt", "value": "No."}], "id": "text"},
    {"image": "no id.jpg", "conversations": [ASKED, TOLD], "weight": 1.0, "nested": {"a": [1, None, "ü\u2028"]}, "type": None, "options": "A) x"},
    {"id": "odd", "image": None, "model": "", "subject": "", "conversations": [{"from": "system", "value": "Be kind."}, TOLD, ASKED], "answer": ""},
    {"id": "roles", "image": "c.jpg", "conversations": [{"role": "user", "content": "<image>Who?"}, {"role": "assistant", "content": "x", "score": 2}]},
    {"id": "pair \ud83d half", "conversations": [], "qtype": ["a"]},
    {"id": "c", "image": "d.jpg", "conversations": [ASKED, {"from": "gpt", "value": "B"}], "options": ["p", "q"], "answer": "B", "dimension": "emotion"},
]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_what_is_read_is_written_back_as_it_was(tmp_path, ending):
    source, copy = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    source.write_text(json.dumps(ITEMS) if ending == "json" else "\n".join(map(json.dumps, ITEMS)) + "\n\n", encoding="utf-8")
    write_instructions(copy, read_instructions(source))
    text = copy.read_text(encoding="utf-8")
    again = json.loads(text) if ending == "json" else [json.loads(line) for line in text.split("\n") if line]
    assert again == ITEMS
    assert [list(item) for item in again] == [list(item) for item in ITEMS]  # the order of the names as well
    assert read_instructions(copy) == read_instructions(source)


def test_what_the_items_say_is_understood(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(json.dumps(ITEMS), encoding="utf-8")
    vqa, seventeen, text, nameless, odd, roles, empty, choice = read_instructions(path)
    assert vqa.turns == (("Is it beautiful?", "Yes."),) and (vqa.type, vqa.qtype) == ("VQA", "Yes-or-No")
    assert seventeen.id == "17" and seventeen.turns == (("Why?", "The light."),)
    assert text.image == "" and text.turns == (("Hello", "Yes."), ("More?", "No."))
    assert nameless.id == "" and nameless.more == {"weight": 1.0, "nested": {"a": [1, None, "ü\u2028"]}, "type": None, "options": "A) x"}
    assert odd.turns == (("", "Yes."), ("Is it beautiful?", "")) and odd.more == {"model": ""}
    assert roles.turns == (("Who?", "x"),)
    assert empty.turns == () and empty.question == "" and empty.qtype == ""
    assert (choice.options, choice.answer, choice.dimension) == (("p", "q"), "B", "emotion")
    assert [role for role, _ in conversation(odd)] == ["system", "gpt", "human"]


def test_what_was_changed_is_written_and_the_rest_stays(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(json.dumps(ITEMS), encoding="utf-8")
    items = read_instructions(path)
    items[0] = replace(items[0], turns=(("Is it bright?", "No."), ("Why?", "Night.")), dimension="attribute")
    items[1] = replace(items[1], image="", more={"dataset": "PARA"})
    items[3] = replace(items[3], more={}, type="open", id="new")
    write_instructions(path, items)
    first, second, _, fourth, *rest = json.loads(path.read_text(encoding="utf-8"))
    assert first["conversations"][0] == {"from": "human", "value": "<image>\nIs it bright?"}
    assert [message["from"] for message in first["conversations"]] == ["human", "gpt"] * 2 and first["dimension"] == "attribute"
    assert second == {"id": 17, "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "The light."}], "dataset": "PARA"}
    assert fourth == {"image": "no id.jpg", "conversations": [ASKED, TOLD], "type": "open", "id": "new"}
    assert rest == ITEMS[4:]


def test_new_items_are_as_llava_expects(tmp_path):
    made = Instruction("1", "a.jpg", (("How?", "So."),), type="open", options=("x", "y"), answer="A", more={"source": "natural", "id": "not this"})
    plain = Instruction("2", "", (("Hello", "Hi"),))
    write_instructions(tmp_path / "out.json", [made, plain])
    first, second = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert first == {
        "id": "1",
        "image": "a.jpg",
        "conversations": [{"from": "human", "value": "<image>\nHow?"}, {"from": "gpt", "value": "So."}],
        "type": "open",
        "options": ["x", "y"],
        "answer": "A",
        "source": "natural",
    }
    assert second == {"id": "2", "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]}
    assert read_instructions(tmp_path / "out.json") == [replace(made, more={"source": "natural"}), plain]


def test_no_items_make_an_empty_list(tmp_path):
    write_instructions(tmp_path / "out.json", [])
    assert json.loads((tmp_path / "out.json").read_text()) == [] and read_instructions(tmp_path / "out.json") == []


def test_a_built_dataset_may_be_named_by_its_folder(tmp_path):
    write_instructions(tmp_path / "aesmmit.json", [Instruction("1", "a.jpg", (("How?", "So."),))])
    assert [item.id for item in read_instructions(tmp_path)] == ["1"]


def test_writing_that_fails_leaves_the_old_file(tmp_path):
    path = write_instructions(tmp_path / "out.json", [Instruction("1", "", (("a", "b"),))])
    before = path.read_bytes()

    def items():
        yield Instruction("2", "", (("a", "b"),))
        raise ValueError

    with pytest.raises(ValueError):
        write_instructions(path, items())
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"id": 1,\n  "conversations": [}]', ("line 2", "column 21")),
        ('{"id": 1, "conversations": []}\n{"id": 2', ("line 2", "column")),
        ('[{"id": 1, "conversations": []}, 5]', ("item 2", "not an object")),
        ('[{"id": 1}]', ("item 1", "conversations")),
        ('[{"conversations": [{"from": "human", "value": 3}]}]', ("item 1", "conversations")),
        ('[{"conversations": [], "image": ["a.jpg", "b.jpg"]}]', ("item 1", "several images")),
        ("id,image\n", ("no instruction data",)),
        ("", ("no instruction data",)),
        ("[" * 100_000, ("nested",)),
    ],
)
def test_broken_files_say_where(tmp_path, text, words):
    path = tmp_path / "in.json"
    path.write_text(text, encoding="utf-8")
    refused(lambda: read_instructions(path), str(path), *words)


def test_choices_are_known_by_their_fields_or_by_the_lines_of_the_question():
    options = ("the sky", "the sea")
    asked = choice_question("What is blue?", options)
    assert asked == "What is blue?\nA) the sky\nB) the sea"
    named = Instruction("1", "a.jpg", ((asked, "B) the sea"),), options=options, answer="B")
    assert choice_of(named) == (options, "B") and stem(named) == "What is blue?"
    for lines, answer in ((asked, "B) the sea"), ("What is blue?\n(A) the sky\n(B) the sea", "(B)"), ("What is blue?\nA. the sky\nB. the sea", "B")):
        assert choice_of(Instruction("2", "a.jpg", ((lines, answer),))) == (options, "B")
    assert choice_of(Instruction("3", "", ((asked, "Both of them"),))) == (options, "")
    assert choice_of(Instruction("4", "", (("A. Is it so?", "A sea"),))) is None
    assert choice_of(Instruction("5", "", ())) is None


def test_statistics_count_what_was_planted():
    asked = choice_question("What shines?", ("the moon", "the lamp"))
    items = [
        Instruction("1", "baid_1.jpg", (("Describe the moonlight.", "Soft moonlight, soft shadow"),), type="description", subject="anna"),
        Instruction("2", "baid_1.jpg", (("Is there moonlight?", "Yes, soft."), ("Is it day?", "No")), type="open", qtype="yes-no", subject="ben"),
        Instruction("3", "x.jpg", ((asked, "A) the moon"),), type="choice", qtype="what", options=("the moon", "the lamp"), answer="A", more={"dataset": "para"}),
        Instruction("4", "", (("Hello", "Hi"),)),
    ]
    found = statistics(iter(items))
    assert (found.items, found.images, found.subjects, found.turns, found.descriptions) == (4, 2, 2, 5, 1)
    assert found.types == {"choice": 1, "description": 1, "open": 1, "not said": 1}
    assert found.sources == {"artistic": 1, "natural": 1} and found.datasets == {"BAID": 1, "PARA": 1}
    assert found.answer_positions == {2: {"A": 1}} and found.yes_no == {"no": 1, "yes": 1}
    assert found.question_words.most == 3 and found.answer_words.most == 4  # options of a choice are not words of its question
    assert found.top_words[:2] == (("moonlight", 3), ("soft", 3)) and "the" not in dict(found.top_words)
    json.dumps(found.to_json())
    assert found.to_json()["paper"]["counts"]["images"] == 21_904
    table = str(found)
    assert "here" in table.splitlines()[0] and "paper" in table.splitlines()[0] and "409K" in table and "21,904" in table


def test_the_papers_numbers_agree_with_each_other():
    assert sum(count for _, count in PAPER_DATASETS.values()) == PAPER_COUNTS["images"] == 21_904 == sum(PAPER_SOURCES.values())
    for source, total in PAPER_SOURCES.items():
        assert sum(count for kind, count in PAPER_DATASETS.values() if kind == source) == total
    assert "beautiful" not in STOP_WORDS and "image" in STOP_WORDS


def test_statistics_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    found = statistics([Instruction("1", "a.jpg", (("Why?", "Because of the $light$"),), type="open")])
    assert draw(found, tmp_path / "s.png", title="of $one$").read_bytes().startswith(b"\x89PNG")
    refused(lambda: draw(found, tmp_path / "none" / "s.png"), "cannot be written")
    refused(lambda: draw(statistics([]), tmp_path / "e.png"), "nothing to draw")
