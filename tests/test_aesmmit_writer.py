"""What language models answer when they are asked for questions: read however it is written, validated, asked again."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.backbones.chat import ChatModel, NoAnswer
from beholder.critique.aesmmit.feedback import Feedback
from beholder.critique.aesmmit.questions import Written, said, understood
from beholder.critique.aesmmit.reading import read, validated
from beholder.critique.aesmmit.writers import Asked, ChatQuestionWriter, open_question_writer
from beholder.errors import BeholderError
from chat_server import serving
from command_line import refused
from feedback_worlds import feedback_world

ITEMS = [
    {"question": "What is the light like?", "answer": "Soft and warm", "qtype": "what", "dimension": "attribute", "wrong": ["Harsh, cold", "Dim", "Grey"]},
    {"question": "Is the image sharp?", "answer": "No", "qtype": "yes-no", "dimension": "quality", "wrong": ["Yes"]},
    {"question": "Why does it appeal?", "answer": "It has a \"golden\" glow", "qtype": "why", "dimension": "interpretation", "wrong": ["a b", "c d", "e f"]},
]  # fmt: skip
PLAIN = json.dumps(ITEMS, indent=1)
FEEDBACK = [one for one in feedback_world() if one.image == "p01.png"]


def item(**changes):
    made = dict(ITEMS[0]) | changes
    return {name: value for name, value in made.items() if value is not ...}


def items(n, start=0):
    subjects = ("sky", "river", "bridge", "tower", "meadow", "child", "window", "boat", "garden", "market")
    return [item(question=f"What about the {subjects[number]}?", answer=f"It is nice {number}") for number in range(start, start + n)]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"Sure! Here it is [as asked]:\n```json\n{PLAIN}\n```\nTell me {{if}} you want more.",
        PLAIN.replace("}\n]", "},\n]").replace('"f"', '"f",'),
        repr(ITEMS),
        json.dumps({"questions": ITEMS, "count": 3}),
        "\n".join(json.dumps(one) for one in ITEMS),
        "\n".join(f"{number}. {json.dumps(one)}" for number, one in enumerate(ITEMS, 1)),
        PLAIN.replace('"question"', "question"),
        PLAIN.replace('"question"', "“question”"),
        PLAIN.replace("},\n", "}\n"),
        PLAIN.replace("Soft and warm", "Soft\nand warm"),
        f'<think>[{{"question": "draft"}}]</think>{PLAIN}',
    ],
    ids=["plain", "fence and prose", "trailing commas", "single quotes", "in an object", "lines", "numbered", "bare names", "curly", "no commas", "newline", "thought"],
)
def test_lists_are_read_however_they_are_written(text):
    found = read(text)
    assert [one.question for one in found.written] == [one["question"] for one in ITEMS]
    assert found.written[0] == Written("What is the light like?", "Soft and warm", "what", "attribute", ("Harsh, cold", "Dim", "Grey"))
    assert found.whole and not found.rejected


@pytest.mark.parametrize("text", [PLAIN[:-40], json.dumps({"questions": ITEMS})[:-40]])
def test_of_a_list_that_was_cut_off_the_whole_items_are_kept(text):
    found = read(text)
    assert [one.question for one in found.written] == [one["question"] for one in ITEMS[:2]]
    assert not found.whole


def test_an_item_that_cannot_be_read_costs_no_other():
    found = read(PLAIN.replace('\\"', '"'))
    assert len(found.written) == 2 and found.rejected == {"an item is no object": 1}


@pytest.mark.parametrize("text", ["", "The image is nice.", "I cannot do that.", PLAIN[:100]])
def test_nothing_readable(text):
    assert read(text).written == () and read(text).rejected == {"nothing readable": 1}


@pytest.mark.parametrize("text", ['{"a":' * 3000, "[{" * 2000, "{[1]: 2}", r"{'a': '\.', 'b': 1}", "[{}]", "[[]]", "[1, 2]", "{", "[{'a': 'it's'}]"])
def test_odd_texts_are_read_without_an_error(text, recwarn):
    found = read(text)
    assert found.written == () and not recwarn.list
    assert found.rejected or found.whole


@given(st.text(alphabet='[]{}",:\\\'` ab\n', max_size=60), st.integers(0, len(PLAIN)))
def test_whatever_is_written_is_read(noise, place):
    found = read(PLAIN[:place] + noise + PLAIN[place:])
    assert all(one.question and one.answer not in one.wrong for one in found.written)


def test_an_empty_list_is_an_answer():
    assert read("[]").whole and not read("[]").rejected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("text", "an item is no object"),
        (item(question=...), "question is missing"),
        (item(answer=""), "answer is missing"),
        (item(answer=["Soft"]), "answer is no text"),
        (item(qtype="poem"), "qtype is none"),
        (item(dimension="weight"), "dimension is none"),
        (item(question="Is the light soft and warm here?"), "the answer stands in the question"),
        (item(question="Is it B) or option B?"), "speaks of options"),
        (item(question="What is the light like, according to the comments?"), "speaks of options"),
        (item(question="What did the image above said of light?"), "speaks of options"),
        (item(answer="Person 2 says that it is soft"), "speaks of options"),
        (item(answer="Yes"), "a what question is answered by Yes or No"),
        (item(qtype="yes-no"), "answered by neither"),
        (item(answer="word " * 70), "longer than"),
        (item(answer="?!"), "no word"),
    ],
)
def test_what_cannot_be_used_has_a_reason(value, reason):
    found = validated(value, mended=Counter())
    assert isinstance(found, str) and reason in found


@pytest.mark.parametrize(
    ("given", "kept", "mended"),
    [
        (["Harsh", "Dim", "Grey", "Cold"], ("Harsh", "Dim", "Grey"), {}),
        (["A) Harsh", "soft AND warm!", "Dim"], ("Harsh", "Dim"), {"a wrong alternative is the right one", "fewer than 3 wrong alternatives"}),
        (["Harsh", "harsh.", 7], ("Harsh",), {"a wrong alternative is there twice", "a wrong alternative is no text", "fewer than 3 wrong alternatives"}),
        (["Soft and warm"], (), {"a wrong alternative is the right one", "no wrong alternative is left"}),
        ("Harsh", ("Harsh",), {"fewer than 3 wrong alternatives"}),
        (None, (), {"wrong alternatives are missing"}),
    ],
)
def test_wrong_alternatives(given, kept, mended):
    counted = Counter()
    found = validated(item(wrong=given), mended=counted)
    assert found.wrong == kept and set(counted) == set(mended)


@pytest.mark.parametrize(
    ("qtype", "dimension", "expected"),
    [
        ("What-style", "Attributes", ("what", "attribute")),
        ("what", "color", ("what", "attribute")),
        ("WHAT", "enhancment", ("what", "enhancement")),
        ("how", "context reasoning", ("how", "context")),
    ],
)
def test_near_spellings(qtype, dimension, expected):
    found = validated(item(qtype=qtype, dimension=dimension), mended=Counter())
    assert (found.qtype, found.dimension) == expected


@pytest.mark.parametrize("name", ["yes-no", "Yes/No", "yes_or_no", "Yes-or-No-style", "boolean"])
@pytest.mark.parametrize(("answer", "word"), [("No, it is blurred.", "No"), ("yes", "Yes"), (False, "No"), ("A) Yes", "Yes")])
def test_yes_no_questions_are_answered_by_one_word(name, answer, word):
    found = validated(item(question="Is it sharp?", qtype=name, answer=answer, wrong=None), mended=Counter())
    assert (found.answer, found.wrong, found.qtype) == (word, ("No" if word == "Yes" else "Yes",), "yes-no")


def test_words_that_only_begin_like_no():
    assert "neither" in validated(item(question="Is it sharp?", qtype="yes-no", answer="Nobody knows"), mended=Counter())


# --- asking ---


def writer_at(server, **options):
    return open_question_writer(server.name(), retries=0, backoff=0.01, **options)


def test_a_server_is_shown_what_was_said_and_nothing_else():
    with serving(lambda request, number: json.dumps(items(5))) as server:
        found = writer_at(server).write(FEEDBACK, n=5, seed=1)
    (request,) = server.requests
    assert len(found) == 5 and request["image"] is None
    shown, before, n = understood(request["text"])
    assert shown == said(FEEDBACK) and before == [] and n == 5
    assert "Somebody" not in request["text"] and "p01" not in request["text"]
    assert request["body"]["temperature"] == 0.7 and "list" in request["system"]
    assert request["body"]["max_tokens"] >= 5 * 150, "room for five questions with their alternatives"


def test_too_few_good_ones_are_asked_for_again_with_the_reasons():
    broken = [item(qtype="poem"), item(qtype="poem"), item(answer="")]

    def answer(request, number):
        return json.dumps(items(2) + broken) if number == 1 else json.dumps(items(4, start=1))

    with serving(answer) as server:
        found = writer_at(server).write(FEEDBACK, n=6, seed=0)
    assert [one.question for one in found] == [one["question"] for one in items(5)], "nothing twice, and no more than wanted"
    second = server.requests[1]["text"]
    _, before, n = understood(second)
    assert before == [one["question"] for one in items(2)] and n == 4
    assert "2 x: qtype is none" in second and "1 x: answer is missing" in second
    assert server.requests[0]["body"]["seed"] != server.requests[1]["body"]["seed"]


def test_it_is_asked_three_times_at_most():
    with serving(lambda request, number: "What a nice picture.") as server:
        assert writer_at(server).write(FEEDBACK, n=6, seed=0) == []
    assert len(server.requests) == 3


def test_a_short_list_without_faults_is_all_there_is():
    with serving(lambda request, number: json.dumps(items(2))) as server:
        assert len(writer_at(server).write(FEEDBACK, n=6, seed=0)) == 2
    assert len(server.requests) == 1, "asking for more would be asking for inventions"


def test_the_rest_of_a_list_that_was_cut_off_is_asked_for():
    with serving(lambda request, number: json.dumps(items(6))[: None if number > 1 else 420]) as server:
        found = writer_at(server).write(FEEDBACK, n=6, seed=0)
    assert len(found) == 6 and len(server.requests) == 2
    assert "the list was cut off" in server.requests[1]["text"]


def test_a_refusal_is_not_argued_with():
    with serving(lambda request, number: "I'm sorry, but I can't help with that.") as server:
        assert writer_at(server).write(FEEDBACK, n=6, seed=0) == []
    assert len(server.requests) == 1


def test_several_images_at_once():
    at_once = threading.Barrier(3, timeout=20)

    def answer(request, number):
        at_once.wait()
        return json.dumps(items(3))

    asked = [Asked(tuple(FEEDBACK[:count]), 3, seed=0) for count in (1, 2, 3)]
    with serving(answer) as server:
        answers = dict(writer_at(server, concurrency=3).answers(asked))
    assert sorted(answers) == [0, 1, 2] and server.most == 3


def test_unknown_writers_and_servers_that_are_not_there():
    refused(lambda: open_question_writer("rule"), "there is no writer", "rules")
    refused(lambda: open_question_writer(""), "there is no writer")
    refused(lambda: open_question_writer("http://127.0.0.1:9/v1#x", temperature=-1), "temperature")
    with pytest.raises(BeholderError, match="cannot be reached"):
        open_question_writer("http://127.0.0.1:9/v1#x", retries=0).write(FEEDBACK, n=2, seed=0)


class Local(ChatModel):
    """A model on this machine; notes the sizes of the batches it is given."""

    name, version, sees = "local", "1", False

    def __init__(self):
        super().__init__(cache=None, prices=None)
        self.batches = []

    def _answers(self, requests, *, max_tokens):
        self.batches.append(len(requests))
        for key, request in requests:
            if "endless" in request.text:
                raise NoAnswer("the question is too long", kind="too long")
            yield key, self._done(key, json.dumps(items(2)))


def test_a_model_on_this_machine_is_asked_in_batches_and_one_long_question_harms_no_other():
    odd = Feedback("long.png", "x", 3, "endless", "", "")
    asked = [Asked((one,), 2, seed=number) for number, one in enumerate([*FEEDBACK, odd, *FEEDBACK])]
    model = Local()
    writer = ChatQuestionWriter(model, temperature=0.7, top_p=0.9, concurrency=0)
    answers = dict(writer.answers(asked))
    assert [bool(answers[place].failed) for place in range(7)] == [False] * 3 + [True] + [False] * 3
    assert "too long" in answers[3].failed and model.batches[0] == 4 and model.batches[-1] == 3
