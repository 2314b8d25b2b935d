"""Critiques in the words of a model: what it is asked, what is read from answers of every shape, and conversations about an image."""

from __future__ import annotations

import json
import warnings

import pytest

import image_files
import tiny_chat_models
import tiny_vlms
from beholder.backbones.chat import ChatModel, NoAnswer, open_chat_model
from beholder.critique import by_model
from beholder.critique.ask import Conversation
from beholder.critique.base import SECTIONS, PersonalView, Weighs
from beholder.critique.by_model import QUESTIONS, Refused, Unreadable, about_rater, critique
from beholder.critique.section_texts import read_sections, section_of
from beholder.errors import UnreadableImage
from beholder.profile import Profile
from beholder.rater import Rater
from chat_server import Streamed, completion, events, serving
from command_line import refused

SAID = {name: f"Something about {name}, in words." for name in SECTIONS}
REFUSAL = "I'm sorry, but I can't assist with that request."


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def photo(tmp_path):
    image_files.picture(60, 40).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def asked(server, **options):
    return open_chat_model(server.name(), **({"backoff": 0.01, "retries": 1} | options))


def wanted(request):
    """Sections that a request asks for."""
    return [name for name in SECTIONS if f'"{name}"' in request["text"]]


# reading

LINES = "\n".join(f"{name.capitalize()}: {text}" for name, text in SAID.items())
SHAPES = {
    "json": json.dumps(SAID),
    "fenced": f"```json\n{json.dumps(SAID, indent=2)}\n```",
    "prose around": f"Of course! Here is {{what}} you asked for:\n{json.dumps(SAID)}\nI hope this helps.",
    "trailing commas": json.dumps(SAID, indent=1).replace('"\n}', '",\n}'),
    "line breaks within": json.dumps(SAID).replace(", in words", ",\nin words"),
    "nested": json.dumps({"critique": {"sections": SAID}}),
    "list of objects": json.dumps([{"section": name, "text": text} for name, text in SAID.items()]),
    "list in an object": json.dumps({"answers": [{"name": name.upper(), "comment": text} for name, text in SAID.items()]}),
    "objects as values": json.dumps({name: {"text": text} for name, text in SAID.items()}),
    "lists as values": json.dumps({name: text.split(" ", 2) for name, text in SAID.items()}),
    "other spelling": json.dumps(SAID).replace('"colour":', '"Color":').replace('"light":', '"use_of_light":'),
    "one object each": "\n".join(json.dumps({name: text}) for name, text in SAID.items()),
    "lines": LINES,
    "lines with color": LINES.replace("Colour:", "Color:"),
    "headings": "# A critique\n\nSome words first.\n\n" + "\n\n".join(f"## {name.capitalize()}\n{text}" for name, text in SAID.items()),
    "bold": "\n\n".join(f"**{name.capitalize()}:** {text}" for name, text in SAID.items()),
    "bold, other colon": "\n\n".join(f"**{name.capitalize()}**: {text}" for name, text in SAID.items()),
    "numbered": "\n".join(f"{i}. **{name.capitalize()}** - {text}" for i, (name, text) in enumerate(SAID.items(), 1)),
    "bullets": "\n".join(f"- {name.upper()}: {text}" for name, text in SAID.items()),
    "bullets below": "\n".join(f"### {i}. {name.capitalize()}\n- {text}" for i, (name, text) in enumerate(SAID.items(), 1)),
    "longer headings": "\n".join(
        f"## {long}\n{text}"
        for long, text in zip(
            (
                "Overall Impression",
                "Composition and Framing",
                "Use of Color",
                "Lighting & Exposure",
                "Depth of Field",
                "Subject Matter",
                "Emotional Impact",
                "Suggestions for Improvement",
            ),
            SAID.values(),
            strict=True,
        )
    ),
    "windows line ends": LINES.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_of_every_shape(shape):
    assert read_sections(SHAPES[shape]) == SAID
    assert list(read_sections(SHAPES[shape])) == list(SECTIONS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"overall": "Fine.", "composition": "The tree", "light": "It fal', {"overall": "Fine.", "composition": "The tree"}),
        ('{"overall": "Say \\"oh\\".", "light', {"overall": 'Say "oh".'}),
        ('{"colour": {"palette": "warm", "saturation": ["high", "loud"]}}', {"colour": "palette: warm saturation: high loud"}),
        ('{"overall": "", "light": null, "focus": "  "}', {}),
        ('{"composition": "构图均衡。", "colour": "Die Farben passen."}', {"composition": "构图均衡。", "colour": "Die Farben passen."}),
        ("Composition: a tree.\nIt stands well: in the middle.\n\nLight: soft.", {"composition": "a tree. It stands well: in the middle.", "light": "soft."}),
        ("The light falls from the left - a nice touch. The subject: a dog.", {}),
        ("A quiet lake at dusk.", {}),
        ("", {}),
        ("[1, 2]", {}),
        ('{"light": "soft"', {"light": "soft"}),
        ("## Composition\nGood.\n## Camera\nOld.\n## Light\nSoft.", {"composition": "Good.", "light": "Soft."}),
        ("[" * 3000, {}),
    ],
)
def test_what_is_read_of_odd_answers(text, found):
    assert read_sections(text) == found


def test_labels():
    assert [section_of(label) for label in ("Overall composition", "mood", "Color Harmony", "camera", "1. Light")] == [
        "composition",
        "feeling",
        "colour",
        None,
        "light",
    ]
    assert section_of("light and shadow", loosely=False) is None


# asking


def test_one_request_with_the_image_asks_for_all_sections_progressively(photo):
    with serving(lambda request, number: SHAPES["fenced"]) as server:
        found = critique(photo, chat=asked(server))
        name = server.name()
    assert {name: section.text for name, section in found.sections.items()} == SAID
    assert (found.image, found.by, found.notes, found.personal) == (str(photo), name, (), None) and found.version.endswith("/critique 1")
    assert len(server.requests) == 1 and server.requests[0]["image"].size == (60, 40)
    text = server.requests[0]["text"]
    places = [text.index(QUESTIONS[name]) for name in SECTIONS]
    assert places == sorted(places) and wanted(server.requests[0]) == list(SECTIONS)
    assert "person" not in text
    assert json.loads(str(found))["sections"]["light"] == {"text": SAID["light"], "evidence": []}


def test_missing_sections_are_asked_for_once_more(photo):
    def forgets(request, number):
        return json.dumps({name: SAID[name] for name in wanted(request) if number > 1 or name not in ("focus", "feeling")})

    with serving(forgets) as server:
        found = critique(photo, chat=asked(server))
    assert [wanted(request) for request in server.requests] == [list(SECTIONS), ["focus", "feeling"]]
    assert list(found.sections) == list(SECTIONS) and found.notes == ()


def test_what_is_missing_after_that_is_named(photo):
    with serving(lambda request, number: "Overall: fine.\nLight: soft.") as server:
        found = critique(photo, chat=asked(server))
    assert list(found.sections) == ["overall", "light"] and len(server.requests) == 2
    (note,) = found.notes
    assert "said nothing of composition, colour, focus, subject, feeling, suggestion" in note


def test_prose_without_headings_stands_under_overall(photo):
    answers = {1: "A quiet lake at dusk, well seen.", 2: json.dumps({name: SAID[name] for name in SECTIONS[1:]})}
    with serving(lambda request, number: answers[number]) as server:
        found = critique(photo, chat=asked(server))
    assert found.sections["overall"].text == answers[1] and len(found.sections) == 8
    assert len(found.notes) == 1 and "gave no sections" in found.notes[0]


@pytest.mark.parametrize("answer", [REFUSAL, completion(None, refusal="No."), (400, {"error": {"message": "x", "code": "content_filter"}})])
def test_a_refusal_is_said_to_be_one(photo, answer):
    with serving(lambda request, number: answer) as server, pytest.raises(Refused, match="refused to speak about") as caught:
        critique(photo, chat=asked(server))
    assert len(server.requests) == 1 and "a.png" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_words_that_sound_like_a_refusal_in_a_critique_are_none(photo):
    text = json.dumps(SAID | {"overall": "One cannot see the face, and can't judge it."})
    with serving(lambda request, number: text) as server:
        assert len(critique(photo, chat=asked(server)).sections) == 8


def test_an_empty_answer_is_no_critique(photo):
    with serving(lambda request, number: "") as server, pytest.raises(Unreadable, match="without a word"):
        critique(photo, chat=asked(server))
    assert len(server.requests) == 1


def test_a_text_model_and_a_bad_photograph_are_refused(photo, tmp_path):
    llama = open_chat_model(tiny_chat_models.save_llama(tmp_path / "llama"))
    refused(lambda: critique(photo, chat=llama), "reads text only", "vision-language model")
    refused(lambda: Conversation(llama, photo), "reads text only", "vision-language model")
    (tmp_path / "b.jpg").write_bytes(b"x" * 99)
    with serving(lambda request, number: "fine") as server, pytest.raises(UnreadableImage):
        critique(tmp_path / "b.jpg", chat=asked(server))
    assert server.requests == []


def test_it_speaks_to_the_rater_and_says_what_was_sent(photo):
    view = PersonalView("Mia", 3.9, 3.0, 4.8, "1-5", "taste 1", weighs=(Weighs("warmth", "colour", 0.4, 91.0, 1.2, "cares for warm colours"),))
    rater = Rater(name="Mia Muster", profile=Profile(age=34, openness=8, photography_experience="expert", free={"likes": "mist"}))
    text = about_rater(rater, view=view)
    assert "age: 34" in text and "openness (1 to 10): 8" in text and "likes: mist" in text and "cares for warm colours." in text
    assert "rate this image 3.9 on a scale of 1-5 (3.0 to 4.8)" in text
    assert "Mia" not in text and about_rater(Rater()) == ""
    with serving(lambda request, number: json.dumps(SAID)) as server:
        found = critique(photo, chat=asked(server), rater_text=text, personal=view)
    assert text in server.requests[0]["text"] and 'Speak to this person as "you"' in server.requests[0]["text"]
    assert found.personal == view and found.notes == (f"what is known of the person was sent to {server.url} with the image",)


def test_a_short_context_gets_a_shorter_answer(photo):
    def short(request, number):
        return (400, "maximum context length is 1024 tokens") if request["body"]["max_tokens"] > 500 else json.dumps(SAID)

    with serving(short) as server:
        assert len(critique(photo, chat=asked(server)).sections) == 8
        server.answer = lambda request, number: (400, "maximum context length is 9 tokens")
        with pytest.raises(NoAnswer, match="9 tokens"):
            critique(photo, chat=asked(server, keep=False))
    assert [request["body"]["max_tokens"] for request in server.requests] == [900, 450, 900, 450, 225]


def test_it_may_be_read_along_and_is_kept(photo):
    pieces = []
    text = json.dumps(SAID)
    with serving(lambda request, number: Streamed(events(*[text[i : i + 40] for i in range(0, len(text), 40)]))) as server:
        along = critique(photo, chat=asked(server), stream=pieces.append)
        again = critique(photo, chat=asked(server))
    assert "".join(pieces) == text and len(pieces) > 5 and again == along and len(server.requests) == 1


def test_the_model_stops_when_nobody_reads_along_any_more(photo):
    stopped = []

    class Endless(ChatModel):
        name, version = "endless", "1"

        def __init__(self):
            super().__init__(cache=None, prices=None)

        def _answers(self, requests, *, max_tokens):
            raise AssertionError

        def _pieces(self, key, request, *, max_tokens):
            try:
                while True:
                    yield "word "
            finally:
                stopped.append(True)

    def leaves(piece):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError) as caught:
        critique(photo, chat=Endless(), stream=leaves)
    assert stopped == [True] and caught.tb is not None  # at once, not when the traceback is forgotten


def test_a_tiny_model_on_this_machine_writes_no_critique_and_that_is_said(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(by_model, "MAX_TOKENS", 12)
    chat = open_chat_model(tiny_vlms.save_llava(tmp_path / "llava"))
    try:
        found = critique(photo, chat=chat)
    except Unreadable as error:
        assert "answered nothing that can be read" in str(error)
    else:
        assert found.sections and any("said nothing of" in note for note in found.notes)


# conversations


def echo(request, number):
    return f"answer {number} to {request['body']['messages'][-1]['content']}"


def test_a_conversation_remembers(photo):
    with serving(echo) as server:
        talk = Conversation(asked(server), photo)
        assert talk.ask(" why? ").startswith("answer 1") and talk.ask("really?") == "answer 2 to really?"
    first, second = (request["body"]["messages"] for request in server.requests)
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert first[1]["content"][0]["type"] == second[1]["content"][0]["type"] == "image_url"
    assert second[1]["content"][1]["text"] == "why?" and second[2]["content"] == talk.history[0][1]
    assert len(talk.history) == 2


def test_streamed_answers_are_remembered_when_they_are_whole(photo):
    with serving(lambda request, number: Streamed(events("soft", " light"))) as server:
        talk = Conversation(asked(server), photo)
        assert list(talk.stream("how?")) == ["soft", " light"] and talk.history == [("how?", "soft light")]
        stream = talk.stream("why?")
        next(stream)
        stream.close()
        server.answer = lambda request, number: Streamed(events("half an")[:2], dies=True)
        with pytest.raises(NoAnswer, match="broke off"):
            list(talk.stream("and?"))
        assert talk.history == [("how?", "soft light")]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_oldest_is_left_out_when_it_gets_too_long_which_is_said_once(photo, streamed):
    def short(request, number):
        messages = request["body"]["messages"]
        said = messages[-1]["content"]
        return (400, "context length exceeded: maximum context") if len(messages) > 6 else f"answer to {said if len(messages) > 2 else 'q0'}"

    with serving(short) as server, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        talk = Conversation(asked(server), photo)
        for number in range(5):
            text = "".join(talk.stream(f"q{number}")) if streamed else talk.ask(f"q{number}")
            assert text == f"answer to q{number}"
    assert [question for question, _ in talk.history] == ["q2", "q3", "q4"] and talk.left_out == 2
    assert [str(one.message).count("oldest questions") for one in said] == [1]
    last = server.requests[-1]["body"]["messages"]
    assert last[1]["content"][1]["text"] == "q2" and last[1]["content"][0]["type"] == "image_url"


def test_too_long_without_a_history_is_an_error(photo):
    with serving(lambda request, number: (400, "maximum context length is 9 tokens")) as server, pytest.raises(NoAnswer, match="9 tokens"):
        Conversation(asked(server), photo).ask("why?")


def test_nothing_asked_and_nothing_answered(photo):
    with serving(lambda request, number: completion("", finish_reason="content_filter") if number == 1 else "") as server:
        talk = Conversation(asked(server), photo)
        refused(lambda: talk.ask("  "), "question is empty")
        refused(lambda: talk.ask("who is it?"), "refused to answer", "who is it?")
        refused(lambda: talk.ask("what is it?"), "answered nothing")
    assert talk.history == []


def test_a_conversation_with_a_model_on_this_machine(photo, tmp_path):
    chat = open_chat_model(tiny_vlms.save_llava(tmp_path / "llava"), keep=False)
    talk, along = Conversation(chat, photo, max_tokens=6), Conversation(chat, photo, max_tokens=6)
    for question in ("why", "how", "where to"):
        try:
            said = talk.ask(question)
        except Exception as error:  # a tiny model may have nothing to say
            assert "answered nothing" in str(error)
            continue
        assert "".join(along.stream(question)) == said
    assert talk.history == along.history
