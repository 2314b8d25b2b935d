"""Questions without a model: from what was said, and nothing else; duplicates, and where the right option stands."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.critique.aesmmit import rule_words as known
from beholder.critique.aesmmit.balance import arranged, longest_share, positions
from beholder.critique.aesmmit.duplicates import MOST_ALIKE, alike, distinct, overlap, too_common
from beholder.critique.aesmmit.questions import DIMENSIONS, QTYPES, Written, prompt, said, understood
from beholder.critique.aesmmit.rules import written_by_rules
from beholder.critique.aesmmit.writers import RuleWriter, open_question_writer
from feedback_worlds import feedback_world

EVERY = 1000  # more than there are


def by_rules(feedback, *, n=EVERY, seed=0, before=()):
    return written_by_rules(said(feedback), n=n, seed=seed, before=before)


def of_image(name, **options):
    return [one for one in feedback_world(**options) if one.image == name]


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_was_said(seed):
    for image in ("p00.png", "p01.png"):
        feedback = of_image(image, seed=seed)
        texts = [text for one in feedback for text in (one.reasons, one.feeling, one.suggestion)]
        spoken = {sentence for text in texts for sentence in known.sentences(text)}
        found = by_rules(feedback, seed=seed)
        assert len(found) > 10
        for one in found:
            assert one.qtype in QTYPES and one.dimension in DIMENSIONS
            assert one.answer in spoken | {"Yes", "No"} | {grade.capitalize() for grade in known.QUALITY}
            assert one.answer not in one.wrong and len(set(one.wrong)) == len(one.wrong)


def test_all_kinds_and_dimensions_of_liked_and_disliked_images():
    found = by_rules(of_image("p00.png")) + by_rules(of_image("p01.png"))
    assert {one.qtype for one in found} == set(QTYPES)
    assert {one.dimension for one in found} == set(DIMENSIONS) - {"context"}  # nobody spoke of a scene
    few = by_rules(of_image("p01.png"), n=6)
    assert len({(one.qtype, one.dimension) for one in few}) == 6, "a few questions are of different kinds"


def test_grades_decide_yes_and_no():
    liked, disliked = ({one.question: one.answer for one in by_rules(of_image(name))} for name in ("p00.png", "p01.png"))
    assert liked["Is this image beautiful?"] == "Yes" and disliked["Is this image beautiful?"] == "No"
    assert liked["Would most people dislike this image?"] == "No" and disliked["Would most people dislike this image?"] == "Yes"
    assert liked["What is the aesthetic quality of this image?"] in ("Good", "Excellent")
    assert disliked["What is the aesthetic quality of this image?"] in ("Very poor", "Poor")


def test_grades_that_contradict_each_other_say_nothing():
    torn = [{"person": 1, "grade, 1 to 5": 1}, {"person": 2, "grade, 1 to 5": 5}]
    assert written_by_rules(torn, n=EVERY, seed=0) == []
    assert written_by_rules([], n=EVERY, seed=0) == []


def test_people_who_contradict_each_other_about_the_light_make_no_yes_or_no_question_of_it():
    told = [{"reasons": "The light is soft. The colours are dull."}, {"reasons": "The light is harsh."}]
    asked = {one.question for one in written_by_rules(told, n=EVERY, seed=0) if one.qtype == "yes-no"}
    assert not any("light" in question for question in asked)
    assert any("colour" in question for question in asked)


@pytest.mark.parametrize(
    ("sentence", "attribute", "leaning"),
    [
        ("The light is soft.", "light", 1),
        ("The light is not soft.", "light", -1),
        ("The lake is too bright.", "light", -1),
        ("There is no distracting noise.", "clarity", 1),
        ("The colours are dull.", "colour", -1),
        ("Never boring, a lovely scene.", "scene", 1),
        ("The colours are dull but the light is soft.", "colour", 0),
        ("It is a picture.", "", 0),
    ],
)
def test_attribute_and_praise(sentence, attribute, leaning):
    assert known.attribute_of(sentence) == attribute
    assert known.leaning(sentence) == leaning


def test_contraries_lean_the_other_way():
    for number in (0, 1):
        for one in by_rules(of_image(f"p0{number}.png")):
            sign = known.leaning(one.answer)
            if one.dimension == "attribute" and sign and one.qtype != "yes-no":
                assert one.wrong and all(known.leaning(wrong) != sign for wrong in one.wrong)
    assert known.contrary("The light is soft and warm.") == "The light is harsh and cold."
    assert known.contrary("A lake.") == ""


def test_the_same_call_gives_the_same_questions_and_before_is_not_asked_again():
    feedback = of_image("p01.png")
    first = by_rules(feedback, n=5, seed=3)
    assert by_rules(feedback, n=5, seed=3) == first
    rest = by_rules(feedback, seed=3, before=[one.question for one in first])
    assert rest and not {one.question for one in rest} & {one.question for one in first}


def test_writer_of_rules_by_name():
    writer = open_question_writer("Rules")
    assert isinstance(writer, RuleWriter) and writer.name == "rules"
    assert 0 < len(writer.write(of_image("p01.png"), n=6, seed=0)) <= 6


def test_a_prompt_can_be_read_back():
    feedback = of_image("p01.png")
    text = prompt(feedback, n=4, before=("Is it {sharp}?",), rejected={"answer is missing": 2})
    shown, before, n = understood(text)
    assert (shown, before, n) == (said(feedback), ["Is it {sharp}?"], 4)
    assert "2 x: answer is missing" in text and "Somebody" not in text and "p01" not in text
    assert understood("What is the light like?") is None


# --- duplicates ---


def question(text, answer="Soft", qtype="what", wrong=("a", "b", "c")):
    return Written(text, answer, qtype, "attribute", wrong)


def test_questions_of_one_image_that_are_nearly_the_same():
    light = question("What is the light in this image like?")
    assert distinct([light, question("What is the light like in the picture?")]) == [light]
    assert distinct([light, question("WHAT is the light, in this image, like?!", "Harsh")]) == [light]
    assert len(distinct([light, question("What is the colour in this image like?")])) == 2
    assert alike(question("What mood does the soft light create?", "Calm"), question("What mood does the light create here?", "calm!"))
    assert not alike(question("Is it sharp and lively?", "Yes", "yes-no"), question("Is it calm and lively?", "Yes", "yes-no"))
    assert not alike(question("Is the light soft and warm?", "Yes", "yes-no"), question("Why is the light soft and warm?", "Dawn", "why"))
    assert overlap("", "") == 1 and overlap("this image", "the picture") == 0


def test_a_question_with_the_same_answer_stands_with_few_images():
    many = [(f"p{number}.png", question("Is it beautiful?", "Yes", "yes-no")) for number in range(3 * MOST_ALIKE)]
    others = [(f"p{number}.png", question("Is it beautiful?", "No", "yes-no")) for number in range(MOST_ALIKE)]
    dropped = too_common(many + others)
    assert len(dropped) == 2 * MOST_ALIKE and max(dropped) < len(many)
    names = {many[place][0] for place in dropped}
    turned = (many + others)[::-1]
    assert {turned[place][0] for place in too_common(turned)} == names, "which are dropped does not depend on the order"


# --- places ---


@given(st.lists(st.tuples(st.integers(2, 4), st.sampled_from(("what", "how", "yes"))), max_size=120), st.integers(0, 5))
def test_right_options_stand_everywhere_as_often(kinds, seed):
    items = [(f"id{number}", count, group) for number, (count, group) in enumerate(kinds)]
    found = positions(items, seed=seed)
    for count in {count for _, count, _ in items}:
        places = [at for at, item in zip(found, items, strict=True) if item[1] == count]
        seen = [places.count(letter) for letter in range(count)]
        assert sum(seen) == len(places) and max(seen) - min(seen) <= 1
        for group in {item[2] for item in items}:
            inner = Counter(at for at, item in zip(found, items, strict=True) if item[1] == count and item[2] == group)
            assert max(inner.values(), default=0) - min(inner[letter] for letter in range(count)) <= 2
    turned = positions(items[::-1], seed=seed)
    assert turned[::-1] == found


def test_places_follow_the_seed_and_no_pattern():
    items = [(f"id{number}", 4, "what") for number in range(400)]
    one, other = positions(items, seed=0), positions(items, seed=1)
    assert one != other
    after = Counter(pairwise(one))
    assert len(after) == 16 and max(after.values()) < 60, "the letter says nothing of the next one"


def test_options_are_arranged():
    found = arranged("right", ("x", "y", "z"), at=2, id="a", seed=0)
    assert found[2] == "right" and sorted(found) == ["right", "x", "y", "z"]
    assert arranged("right", ("x", "y", "z"), at=2, id="a", seed=0) == found
    assert len({arranged("right", ("x", "y", "z"), at=0, id=str(number), seed=0) for number in range(60)}) == 6


def test_length_that_gives_answers_away():
    planted = [("a long and careful answer", ("short", "brief", "tiny"))] * 50
    fair = [("word", ("more", "less", "none"))] * 50
    assert longest_share(planted)["telltale"] and longest_share(planted)["share"] == 1
    assert not longest_share(fair)["telltale"] and longest_share(fair)["chance"] == 0.25
    assert longest_share([("Yes", ("No",))]) == {"n": 0, "share": None, "chance": None, "telltale": False}
    assert not longest_share(planted[:2])["telltale"], "two questions are no proof"
