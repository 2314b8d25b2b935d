"""Which option an answer means: a set of awkward answers judged by hand, and the rules one by one."""

import json
import random
import re
from pathlib import Path

import pytest

from beholder.critique.aesbench import extraction_letters
from beholder.critique.aesbench.extraction import HOWS, extract

ANSWERS = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "aesbench_answers.jsonl").read_text(encoding="utf-8").splitlines()
]
EMOTIONS = {"A": "Joy", "B": "Sadness", "C": "Calm", "D": "Fear"}
GRADES = {"A": "High", "B": "Medium", "C": "Low"}
# where the rules of VLMEvalKit (2024) give a letter that a reader would not: the answer, what it gives, and why that is not followed
DEVIATIONS = {
    '```json\n{"answer": "A", "reason": "C and D do not fit"}\n```': ("D", "letters in quotation marks are not seen there"),
    "A painting of a lake": ("A", "an article is taken for a letter"),
    "A cat and a dog": ("A", "an article is taken for a letter"),
    "A gloomy vibe is conveyed by the grey sky.": ("A", "an article is taken for a letter"),
    "A nice picture": ("A", "an article is taken for a letter"),
    "A calm mood comes from the soft light.": ("A", "an article is taken for a letter"),
    "A sense of sadness": ("A", "an article is taken for a letter"),
    "not D": ("D", "a denial is taken for an answer"),
    "Good morning! Happy to help.": ("B", "the word 'good' of a greeting is taken for an option"),
    "Fearful": ("D", "an option is found inside another word"),
    "It is not of high quality.": ("A", "a denial is taken for an answer"),
}
REASONING = ("Let me think step by step.", "Step 1: Look at the light.")  # letters named on the way are taken for the answer there


def test_answers_judged_by_hand_are_read_right():
    assert len(ANSWERS) >= 200
    assert len({(one["answer"], *one["options"].values()) for one in ANSWERS}) == len(ANSWERS)
    wrong = [
        (one["answer"], one["expected"], found)
        for one in ANSWERS
        if (found := extract(one["answer"], one["options"])).letter != one["expected"]
    ]
    assert len(wrong) <= 0.01 * len(ANSWERS), wrong


def test_how_fits_the_letter():
    for one in ANSWERS:
        found = extract(one["answer"], one["options"])
        assert found.how in HOWS
        assert bool(found.letter) == (found.how in ("letter", "text", "elimination")), one
    assert {extract(one["answer"], one["options"]).how for one in ANSWERS} == set(HOWS)
    for kind in ("refused", "several", "nothing"):
        hows = {extract(one["answer"], one["options"]).how for one in ANSWERS if one["kind"] == kind and not one["expected"]}
        assert hows == {kind} or (kind == "nothing" and hows <= {"nothing", "several"}), (kind, hows)


@pytest.mark.parametrize("form", ["vlmevalkit", "vlmevalkit_later"])
def test_agrees_with_vlmevalkit_where_that_is_right(form):
    right = [one for one in ANSWERS if one[form] == one["expected"] != ""]
    assert len(right) > 70
    assert [one["answer"] for one in right if extract(one["answer"], one["options"]).letter != one[form]] == []


def test_deviations_from_vlmevalkit_are_known():
    wrong = {one["answer"]: one["vlmevalkit"] for one in ANSWERS if one["vlmevalkit"] not in ("", "none", one["expected"])}
    assert {answer: letter for answer, letter in wrong.items() if not answer.startswith(REASONING)} == {
        k: v for k, (v, _) in DEVIATIONS.items()
    }
    for one in ANSWERS:
        if one["answer"] in wrong:
            assert extract(one["answer"], one["options"]).letter == one["expected"] != one["vlmevalkit"]


@pytest.mark.parametrize(
    "form",
    [
        *(
            "{0}",
            "({0})",
            "{0})",
            "{0}.",
            "**{0}**",
            "`{0}`",
            "Answer: {0}",
            "The answer is {0}.",
            "Option {0}",
            "Option ({0})",
            "\\boxed{{{0}}}",
            "<answer>{0}</answer>",
        ),
        *(
            "{0}) {1}",
            "({0}) {1}",
            "{0}. {1}",
            "{0}: {1}",
            "**{0}) {1}**",
            "{1}",
            "The correct option is {0}) {1}.",
            "答案是{0}",
            "Final answer: ({0}) {1}",
        ),
        *("Some thoughts about light first.\n\nTherefore, the answer is {0}.", "{0}) {1}\n\nThe light is what makes it so."),
    ],
)
def test_every_letter_in_every_wrapping(form):
    for options in (
        EMOTIONS,
        GRADES,
        {"A": "Yes", "B": "No"},
        {"A": "Sharp", "B": "Not sharp"},
        {"A": "None", "B": "A dog", "C": "Not a dog", "D": "I cannot tell"},
    ):
        for letter, text in options.items():
            found = extract(form.format(letter, text), options)
            assert found.letter == letter, (form.format(letter, text), found)


def test_the_last_statement_counts():
    for first in "ABCD":
        for last in set("ABCD") - {first}:
            assert extract(f"The answer is {first}. Wait, actually the answer is {last}.", EMOTIONS).letter == last
            assert extract(f"I first thought of {first}.\nFinal answer: {last}", EMOTIONS).letter == last
            assert extract(f"<think>It must be {first}.</think> {last}", EMOTIONS).letter == last


def test_a_letter_beats_a_text_that_disagrees():
    found = extract("C) Joy", EMOTIONS)
    assert (found.letter, found.how) == ("C", "letter")


def test_levels_count_only_where_they_are_said_of_the_quality():
    assert extract("A high-resolution picture taken in low light.", GRADES).letter == ""
    assert extract("The aesthetic quality is low, although the resolution is high.", GRADES).letter == "C"
    assert extract("High quality", GRADES).letter == "A"
    for text in ("medium to high", "between low and medium", "medium/high", "The aesthetic quality is medium to high."):
        assert extract(text, GRADES).how == "several", text


def test_nothing_is_guessed_from_noise():
    draw = random.Random(7)
    words = re.findall(r"\w+", "the light falls softly on an old wall while people walk by in grey coats and trees bend over water")
    for _ in range(300):
        assert extract(" ".join(draw.choices(words, k=draw.randint(1, 30))), EMOTIONS).letter == ""


def test_odd_answers_do_not_stop_it():
    draw = random.Random(3)
    signs = "ABCDabcd ().:,\n*$\\{}<>\"'-–/是不Ж\u200b\x00 answer is not option"
    for _ in range(2000):
        found = extract("".join(draw.choices(signs, k=draw.randint(0, 60))), EMOTIONS)
        assert found.letter in ("", *EMOTIONS)
    assert extract("x " * 20000 + "The answer is B.", EMOTIONS).letter == "B"
    assert extract("A B C D " * 200, EMOTIONS).how == "several"
    assert extract(None, EMOTIONS).how == "nothing"


def test_long_answers_are_read_at_both_ends_only(monkeypatch):
    """So that a model that goes round in circles costs no minutes: the work is bounded, whatever the length."""
    looked = []
    monkeypatch.setattr(
        extraction_letters, "_is_letter", lambda *a, _real=extraction_letters._is_letter, **k: looked.append(a) or _real(*a, **k)
    )
    for text in ("A B C D " * 50_000, "B. " * 100_000, "option C, " * 50_000):
        looked.clear()
        extract(text, EMOTIONS)
        assert 0 < len(looked) <= 2 * extraction_letters.MOST
    assert extract("B) Sadness\n\n" + "The sky is grey and wide. " * 5000, EMOTIONS).letter == "B"
    assert extract("The sky is grey and wide. " * 5000 + "So I choose C.", EMOTIONS).letter == "C"
    assert extract("The sky is grey and wide. " * 5000 + "So I choose C. " + "The sky is grey and wide. " * 5000, EMOTIONS).letter == ""
    for n in range(40):  # no word is cut into a letter
        assert extract("x" * n + " and bad food " * 3000, EMOTIONS).letter == ""


def test_shared_words_and_degrees_may_be_left_out():
    tones = {"A": "Warm tones", "B": "Cool tones", "C": "Monochrome", "D": "Neutral tones"}
    assert extract("Cool.", tones).letter == "B"
    assert extract("The palette is quite warm, with much orange.", tones).letter == "A"
    assert extract("The palette is not warm.", tones).letter == ""
    assert extract("The palette is warm, the shadows are cool.", tones).how == "several"
    assert extract("A warm coat in a cool room.", tones).letter == ""
    depth = {"A": "Shallow depth of field", "B": "Deep depth of field", "C": "No depth of field"}
    assert extract("The depth of field is shallow.", depth).letter == "A"
    assert extract("The depth of field is pleasant.", depth).letter == ""  # "No depth of field" is not "No, depth of field"
    assert extract("No depth of field", depth).letter == "C"
    grades = {"A": "Very clear", "B": "Clear", "C": "Not clear", "D": "Unclear"}
    assert [extract(text, grades).letter for text in grades.values()] == list(grades)
    assert extract("very", grades).letter == ""
    reasons = {"A": "Because the background is cluttered", "B": "Because the sky is too dark"}
    assert extract("The background is really cluttered.", reasons).letter == "A"
    assert extract("Because the sky is dark", reasons).letter == "B"


def test_a_letter_below_the_options_is_the_answer():
    assert extract("A) High\nB) Medium\nC) Low\n\nB", GRADES).letter == "B"
    assert extract("A) High\nB) Medium\nC) Low\n\n**C.**", GRADES).letter == "C"
    assert extract("A\nB\nC", GRADES).how == "several"
    assert extract("A or B, leaning towards B", GRADES).letter == "B"


def test_all_of_the_above():
    options = {"A": "Joy", "B": "Calm", "C": "Fear", "D": "All of the above"}
    assert extract("All of these", options).letter == "D"
    assert extract("All of them: joy, calm and fear.", options).letter == "D"
    assert extract("All of these are possible, but joy is what is shown most.", options).letter == "A"
    assert extract("Joy, calm and fear", options).letter == ""


def test_what_comes_after_a_refusal_counts_if_it_is_an_answer():
    assert extract("I cannot determine the emotion from the image, but B) Sadness fits.", EMOTIONS).letter == "B"
    for text in (
        "I cannot answer this question, but feel free to ask another.",
        "I can't view the image; however, I cannot say whether it is joy.",
    ):
        assert extract(text, EMOTIONS).how == "refused", text
