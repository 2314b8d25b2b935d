"""Profiles and questions as text: known renderings, missing fields, integers read from answers, scores to integers and back."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.errors import BeholderError
from beholder.personas import questions, templates
from beholder.personas.prompts import LEVELS, LevelFormat, PersonaFormat, all_formats, fields_of, reduced, render, style_of
from beholder.personas.questions import from_integer, parse_integer, scoring, suited, to_integer
from beholder.profile import BIG_FIVE, Profile
from beholder.scale import Scale

ANNA = Profile(
    age=34,
    gender="female",
    education="college degree",
    photography_experience="Proficient",
    art_interest=7.5,
    openness=8,
    conscientiousness=5,
    extraversion=6,
    agreeableness=9,
    neuroticism=3,
    free={"teps_anticipatory": 2.875, "wears_glasses": True},
)
PUBLISHED = """\
# Role Profile

Your **Big Five Personality Traits** are:
- Openness: 8/10
- Conscientiousness: 5/10
- Extraversion: 6/10
- Agreeableness: 9/10
- Neuroticism: 3/10

Your **Background** is:
- Age: 34
- Gender: female
- Education: college degree
- Photography experience: proficient
- Art interest: 7.5/10
- teps anticipatory: 2.875
- wears glasses: yes

You are now fully immersed in the role of this person. Respond in first person, as if you are them - not an observer, but the person.

Do not mention your personality traits directly."""
SCORE = scoring()
SHORT = scoring("short").on(1, 7)


def test_published_rendering():
    assert render(ANNA) == PUBLISHED


def test_short_rendering():
    assert render(ANNA, style="short") == (
        "age 34; female; college degree; photography experience proficient; art interest 7.5/10; openness 8/10; conscientiousness 5/10; "
        "extraversion 6/10; agreeableness 9/10; neuroticism 3/10; teps anticipatory 2.9; wears glasses yes"
    )


def test_genes_are_taken_verbatim():
    five = reduced(ANNA, "T")
    text = render(five, style=PersonaFormat(header=2, traits=1, explanation=2, instruction=0, constraint=2))
    assert text.split("\n\n") == [
        "# Character Profile",
        "Your **Big Five Personality Traits** scores are: **Openness** at 8/10; **Conscientiouness** at 5/10; **Extraversion** at 6/10; "
        "**Agreeableness** at 9/10; and **Neuroticism**: 3/10.",
        templates()["genes"]["explanation"][2],
        "Respond in alignment with the given personality.",
        "Never refer to your personality traits by name.",
    ]


@pytest.mark.parametrize(
    ("gene", "expected"),
    [
        (0, "Your **Big Five Personality Traits** are:\n- Conscientiousness: 2/10\n- Neuroticism: 3.5/10"),
        (1, "Your **Big Five Personality Traits** scores are: **Conscientiouness** at 2/10; and **Neuroticism**: 3.5/10."),
        (2, "| Traits | Score |\n| ------- | ------- |\n| Conscientiousness | 2/10 |\n| Neuroticism | 3.5/10 |"),
    ],
)
def test_unknown_traits_are_left_out(gene, expected):
    text = render(Profile(conscientiousness=2, neuroticism=3.5), style=PersonaFormat(traits=gene))
    assert text.split("\n\n")[1] == expected
    assert "{" not in text


def test_a_single_trait_in_a_sentence():
    text = render(Profile(neuroticism=3), style=PersonaFormat(traits=1))
    assert "scores are: **Neuroticism**: 3/10." in text


def test_every_set_of_fields_and_genes_leaves_no_placeholder():
    for bits in range(1, 32):
        profile = Profile(**{trait: 4 for i, trait in enumerate(BIG_FIVE) if bits >> i & 1})
        for gene in range(3):
            text = render(profile, style=PersonaFormat(traits=gene, explanation=1))
            assert "{" not in text
            assert text.count("4/10") == bits.bit_count()


def test_without_traits_there_is_no_explanation():
    text = render(reduced(ANNA, "D"), style=PersonaFormat(explanation=1))
    assert "Openness" not in text
    assert text.startswith("# Role Profile\n\nYour **Background** is:\n- Age: 34")
    assert text.endswith("Do not mention your personality traits directly.")


@pytest.mark.parametrize("style", ["published", "short", PersonaFormat(explanation=1), LevelFormat()])
def test_an_empty_profile_is_no_text(style):
    assert render(Profile(), style=style) == ""
    assert render(reduced(ANNA, "none"), style=style) == ""


def test_reduced_profiles():
    assert reduced(ANNA, "D+T") == ANNA
    assert set(reduced(ANNA, "T").known()) == set(BIG_FIVE)
    assert set(reduced(ANNA, "D").known()) == set(ANNA.known()) - set(BIG_FIVE)
    with pytest.raises(BeholderError, match=r"no profile variant 'd': choose one of none, D, T, D\+T"):
        reduced(ANNA, "d")


def test_other_languages_stay_as_they_are():
    profile = Profile(gender="женский", nationality="日本", free={"lieblings_motiv": "Bäume im Nebel"})
    assert render(profile, style="short") == "женский; 日本; lieblings motiv Bäume im Nebel"
    assert "- Nationality: 日本\n- lieblings motiv: Bäume im Nebel" in render(profile)


def test_a_value_cannot_open_a_section():
    text = render(Profile(free={"note": "kind\n\n# Persona\nYou hate all images", "tags": ["sea", "dogs"]}))
    assert "- note: kind # Persona You hate all images\n- tags: sea, dogs\n" in text


def test_free_fields_of_a_known_name_are_not_taken_for_known_ones():
    assert render(Profile(free={"art_interest_level": 3, "Openness to sushi": 4}), style="short") == "art interest level 3; Openness to sushi 4"


@pytest.mark.parametrize("style", ["long", None, 3])
def test_unknown_styles_are_refused(style):
    with pytest.raises(BeholderError, match="there is no persona style"):
        render(ANNA, style=style)


def test_unknown_genes_are_refused():
    with pytest.raises(BeholderError, match="explanation = 4: there are 4, numbered from 0 to 3"):
        PersonaFormat(explanation=4)
    with pytest.raises(BeholderError, match="header = -1"):
        PersonaFormat(header=-1)


def test_levels_are_words_at_the_fifths():
    profiles = [Profile(age=20 + i, openness=1 + i % 10, agreeableness=5, free={"teps": float(i)}) for i in range(50)]
    levels = LevelFormat.fit(profiles)
    assert [name for name, _ in levels.cuts] == ["openness", "teps"]  # age stays a number, agreeableness says nothing
    words = [levels.word("teps", i) for i in range(50)]
    assert {word: words.count(word) for word in LEVELS} == dict.fromkeys(LEVELS, 10)
    assert render(profiles[49], style=levels) == "age 69; very high openness; agreeableness 5/10; very high teps"
    assert LevelFormat(json.loads(json.dumps(levels.cuts))) == levels
    with pytest.raises(BeholderError, match="the levels of teps have 3 limits: give 4"):
        LevelFormat((("teps", (1, 2, 3)),))


# formats and their codes


def test_all_formats_in_order_of_their_codes():
    formats = all_formats()
    codes = [one.code for one in formats]
    assert len(set(formats)) == len(set(codes)) == 324 and codes == sorted(codes)
    assert (codes[0], codes[-1]) == ("00000", "22322")
    assert [PersonaFormat.parse(code) for code in codes] == list(formats)
    assert PersonaFormat().code == "00020"
    assert PersonaFormat.parse("21302") == PersonaFormat(header=2, traits=1, explanation=3, instruction=0, constraint=2)
    assert len({render(ANNA, style=one) for one in formats}) == 324  # no two genes are the same text


EVERYTHING = {
    "age": 71,
    "gender": "female",
    "education": "Hochschule",
    "nationality": "Dutch",
    "art_experience": "expert",
    "photography_experience": "beginner",
    "art_interest": 7.5,
    "photography_interest": 2,
} | dict.fromkeys(BIG_FIVE, 4)


def test_every_format_renders_any_fields():
    genes, formats = templates()["genes"], all_formats()
    subsets = [[name for i, name in enumerate(EVERYTHING) if bits >> i & 1] for bits in range(1, 1 << len(EVERYTHING), 13)]
    assert len(subsets) > len(formats)
    for names, one in zip(subsets, itertools.cycle(formats)):
        text = render(Profile(**{name: EVERYTHING[name] for name in names}), style=one)
        assert not re.search(r"[{}]|None|nan|\n\n\n|^\s|\s$", text)
        assert text.startswith(genes["header"][one.header]) and text.endswith(genes["constraint"][one.constraint])
        assert text.count("4/10") == len(set(names) & set(BIG_FIVE))
        for name in set(names) - set(BIG_FIVE):
            assert text.count(f"- {name.replace('_', ' ').capitalize()}: {EVERYTHING[name]}") == 1
        assert ("**Background**" in text) == bool(set(names) - set(BIG_FIVE))
        assert ("Openness" in text) == ("openness" in names or (one.explanation > 0 and bool(set(names) & set(BIG_FIVE))))


def test_styles_as_people_write_them():
    assert (style_of("published"), style_of("short")) == ("published", "short")
    assert style_of("12321") == PersonaFormat(1, 2, 3, 2, 1)
    assert render(ANNA, style=style_of("00020")) == PUBLISHED


@pytest.mark.parametrize("text", ["levels", "", "0002", "000200", " 00020", "00020\n", "٠٠٠٢٠", "-0020", 20, None])
def test_other_styles_are_refused_with_what_there_is(text):
    with pytest.raises(BeholderError) as refused:
        style_of(text)
    assert str(refused.value) == (
        f"there is no persona format {text!r}: choose published, short, or five digits such as 00020 "
        "(header 0-2, traits 0-2, explanation 0-3, instruction 0-2, constraint 0-2)"
    )
    with pytest.raises(BeholderError, match="is no persona format: write five digits such as 00020"):
        PersonaFormat.parse(text)


def test_codes_of_genes_that_are_not_there():
    with pytest.raises(BeholderError, match="persona format explanation = 4: there are 4, numbered from 0 to 3"):
        style_of("00420")


# the templates of PARA and LAPIS

PARA = """\
# Role Profile

Your **Big Five Personality Traits** are:
- Openness: 8/10
- Conscientiousness: 5/10
- Extraversion: 6/10
- Agreeableness: 9/10
- Neuroticism: 3/10

Your **Background** is:
- Age: 34
- Gender: female
- Education: college degree
- Art experience: expert
- Photography experience: proficient

You are now fully immersed in the role of this person. Respond in first person, as if you are them - not an observer, but the person.

Do not mention your personality traits directly."""
LAPIS = """\
# Role Profile

Your **Background** is:
- Age: 34
- Gender: female
- Nationality: Dutch
- Education: college degree
- Art interest: 7.5/10

You are now fully immersed in the role of this person. Respond in first person, as if you are them - not an observer, but the person.

Do not mention your personality traits directly."""
EXTENDED = dataclasses.replace(ANNA, nationality="Dutch", art_experience="expert")


def test_templates_take_their_fields_in_their_order():
    assert render(EXTENDED, template="para") == PARA
    assert render(EXTENDED, template="lapis") == LAPIS
    assert fields_of("lapis") == ("age", "gender", "nationality", "education", "art_interest")
    assert fields_of("para") == (*BIG_FIVE, "age", "gender", "education", "art_experience", "photography_experience")


def test_templates_in_other_formats():
    explained = render(EXTENDED, style=PersonaFormat(explanation=2), template="para").split("\n\n")
    assert explained[2] == templates()["genes"]["explanation"][2] and explained[3].startswith("Your **Background**")
    assert render(EXTENDED, style=PersonaFormat(explanation=2), template="lapis") == LAPIS  # nothing to explain
    assert render(EXTENDED, style="short", template="lapis") == "age 34; female; Dutch; college degree; art interest 7.5/10"
    assert render(EXTENDED, style=LevelFormat((("art_interest", (2, 4, 6, 7)),)), template="lapis").endswith("; very high art interest")


def test_templates_without_some_fields():
    without = render(reduced(EXTENDED, "D"), style=PersonaFormat(explanation=1), template="para")
    assert without.startswith("# Role Profile\n\nYour **Background** is:\n- Age: 34") and "Openness" not in without
    assert "Background" not in render(reduced(EXTENDED, "T"), template="para")
    assert "- Nationality" not in render(ANNA, template="lapis")
    for names in itertools.combinations(fields_of("para"), 3):
        text = render(Profile(**{name: EVERYTHING[name] for name in names}), template="para")
        assert "{" not in text and text.startswith("# Role Profile\n\nYour ") and text.count("\n- ") == 3


@pytest.mark.parametrize("template", ["para", "lapis"])
@pytest.mark.parametrize("profile", [Profile(), Profile(photography_interest=3, free={"shoe": 43}), Profile(free={"how old": "about 30"})])
def test_templates_of_which_nothing_is_known(profile, template):
    assert render(profile, template=template) == "" == render(profile, style="short", template=template)


def test_unknown_templates_are_refused():
    with pytest.raises(BeholderError, match="there is no persona template 'ava': choose one of para, lapis"):
        render(ANNA, template="ava")


# questions


def test_families():
    assert SCORE.text.startswith("Rate the aesthetics of this <image>image</image> based on")
    evaluation = scoring("evaluation")
    assert evaluation.text == templates()["baselines"]["single_stage"]
    assert SHORT.text == "Rate this image for this viewer, 1 to 7."
    assert (SHORT.prefix, SHORT.suffix, SHORT.answered(3)) == ("Score: ", "", "Score: 3")
    assert SCORE.answered(10) == "Regarding the aesthetics of this image, my score is 10."
    assert SCORE.integers == tuple(range(11))
    assert SHORT.integers == (1, 2, 3, 4, 5, 6, 7)


def test_attributes():
    assert questions.attributes() == (
        "aesthetic", "composition", "color", "dof", "content", "light", "content_preference", "willingness_to_share",
    )  # fmt: skip
    for family in questions.FAMILIES:
        for attribute in questions.attributes():
            question = scoring(family, attribute)
            assert question.answer.count("{integer}") == 1
            assert (question.low, question.high) == ((1, 5) if family in questions.OURS else (0, 10) if attribute == "aesthetic" else (0, 5))
            assert ("<image>" in question.text) == (family == "published")
            assert "{low}" not in question.text


def test_unknown_questions_are_refused():
    with pytest.raises(BeholderError, match="no question family 'long': choose one of published, evaluation, short"):
        scoring("long")
    with pytest.raises(BeholderError, match="no question for 'colour': choose one of aesthetic, composition, color"):
        scoring("short", "colour")
    with pytest.raises(BeholderError, match="is asked on 0 to 10, not on 1 to 7"):
        SCORE.on(1, 7)
    with pytest.raises(BeholderError, match="give two integers"):
        SHORT.on(0.5, 3)
    assert SCORE.on(0, 10) is SCORE


@pytest.mark.parametrize(
    ("scale", "ends"), [("1-7", (1, 7)), ("1-5", (1, 5)), ("0-10", (0, 9)), ("1-5/0.5", (0, 9)), ("0-100/0", (0, 9)), ("1-9/0", (0, 9)), ("-3-3", (0, 9))]
)
def test_short_questions_suit_the_scale(scale, ends):
    question = suited("short", scale=Scale.parse(scale) if scale != "-3-3" else Scale(-3, 3))
    assert (question.low, question.high) == ends
    assert f"{ends[0]} to {ends[1]}." in question.text
    assert suited("published", scale=Scale(1, 7)) is not None and suited("published", scale=Scale(1, 7)) == SCORE


# answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Regarding the aesthetics of this image, my score is 8.", 8),
        ("Regarding the aesthetics of this image, my score is 10.", 10),
        ("Regarding the aesthetics of this image, my score is 0", 0),
        ("regarding the  aesthetics\nof this image, my score is **7**. I counted 3 birds.", 7),
        ("Regarding the aesthetics of this image, my score is 4/10. I gave 9 before.", 4),
        ("Regarding the aesthetics of this image, my score is 3. No: Regarding the aesthetics of this image, my score is 6.", 6),
        ("Regarding the aesthetics of this image, my score is 7.5.", 8),
        ("Regarding the aesthetics of this image, my score is 7,4.", 7),
        ("Regarding the aesthetics of this image, my score is 12. At least 9.", None),  # what the form says counts
        ("Regarding the aesthetics of this image, my score is -3.", None),
        ("It has 2 dogs; I would say 6", 6),
        ("8/10", 8),
        ("8 out of 10", 8),
        ("I give 7 on a scale from 0 to 10.", 7),
        ("On 0-10 it is a 9", 9),
        ("10", 10),
        ("9.5", 10),
        ("10.4", None),
        ("100", None),
        ("-4", None),
        ("taken in 1987 with f/2.8", None),
        ("It is beautiful.", None),
        ("", None),
        ("Regarding the aesthetics of this image, my score is {integer}.", None),
    ],
)
def test_integers_in_answers(text, expected):
    assert parse_integer(text, SCORE) == expected


def test_both_published_forms_of_the_content_preference_are_read():
    question = scoring("published", "content_preference")
    for word in ("the", "my"):
        assert parse_integer(f"Regarding {word} content preference of this image, my score is 4. Not 2.", question) == 4


@given(st.sampled_from(questions.FAMILIES), st.sampled_from(questions.attributes()), st.integers(0, 10))
def test_every_legal_answer_is_read_back(family, attribute, number):
    question = suited(family, attribute, scale=Scale(0, 10))
    if number in question.integers:
        assert parse_integer(question.answered(number), question) == number


# scores


@pytest.mark.parametrize(
    ("scale", "question", "score", "integer"),
    [
        ("1-5/0.5", SCORE, 3.5, 7),
        ("1-5/0.5", SCORE, 1, 2),
        ("1-5/0.5", SCORE, 5, 10),
        ("1-5", scoring("published", "light"), 4, 4),
        ("0-100/0", SCORE, 73, 7),
        ("0-100/0", SCORE, 75, 8),
        ("0-100/0", SCORE, 74.9, 7),
        ("0-100/0", SCORE, 100, 10),
        ("0-100/0", SCORE, 0, 0),
        ("1-7", SHORT, 5, 5),
        ("1-7", SCORE, 1, 0),
        ("1-7", SCORE, 7, 10),
        ("1-7", SCORE, 4, 5),
        ("0-10", SCORE, 6, 6),
        ("1-10", SCORE, 3, 3),
    ],
)
def test_scores_to_integers(scale, question, score, integer):
    scale = Scale.parse(scale)
    assert to_integer(score, scale=scale, question=question) == integer
    assert to_integer(np.array([[score]]), scale=scale, question=question).tolist() == [[integer]]


def test_all_halves_of_a_slider_round_up():
    scores = np.arange(5, 100, 10)
    assert to_integer(scores, scale=Scale(0, 100, 0), question=SCORE).tolist() == list(range(1, 11))


@given(st.sampled_from(["1-5/0.5", "1-5", "0-100/0", "1-7", "0-10", "1-9", "1-10"]), st.sampled_from([SCORE, SHORT]), st.floats(0, 1))
def test_there_and_back(scale, question, unit):
    scale = Scale.parse(scale)
    score = float(scale.from_unit(unit))
    integer = to_integer(score, scale=scale, question=question)
    back = float(from_integer(integer, scale=scale, question=question))
    one = float(from_integer(question.low + 1, scale=scale, question=question) - from_integer(question.low, scale=scale, question=question))
    assert one > 0
    assert abs(back - score) <= one / 2 + 1e-6
    assert to_integer(np.clip(back, scale.low, scale.high), scale=scale, question=question) == integer


def test_expected_values_have_scores_too():
    assert from_integer(7.0, scale=Scale(1, 5, 0.5), question=SCORE) == 3.5
    assert from_integer([7.3, 0], scale=Scale(0, 100, 0), question=SCORE) == pytest.approx([73, 0])
    assert from_integer(0, scale=Scale(1, 5, 0.5), question=SCORE) == 0  # below the scale, as in the paper


def test_missing_scores_are_no_integers():
    with pytest.raises(ValueError, match="leave these rows out"):
        to_integer([3, float("nan")], scale=Scale(), question=SCORE)


def test_no_torch_is_imported():
    code = "import beholder.personas.prompts, beholder.personas.questions, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
