"""Personas that answer in words, through a real HTTP server: numbers, second questions, what is missing, what is kept."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import tiny_chat_models
from beholder.backbones.chat import open_chat_model
from beholder.personas import open_ended
from beholder.personas.inventory import Inventory, Item, load_inventory
from beholder.personas.ledger import Counts, Ledger, answered
from beholder.personas.open_ended import ClosedChat, OpenEnded, parse_rating
from beholder.personas.prompts import PersonaFormat, all_formats, render
from beholder.personas.respondents import open_respondent
from beholder.profile import BIG_FIVE, Profile
from chat_server import completion, serving, slowly
from command_line import refused

TALKS = Item("E1", "extraversion", "I talk to many people at parties.", "What do you do at parties?", reverse=False)
QUIET = Item("E2", "extraversion", "I am quiet around strangers.", "What are you like around strangers?", reverse=True)
TWO = Inventory("two", (TALKS, QUIET))
SORRY = "I'm sorry, but I can't help with that request."


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def to_rater(request):
    return request["system"] == open_ended.RATER


def is_second(request):
    return "There are no right or wrong answers" in request["text"] or open_ended.NUMBER_AGAIN in request["text"]


def opened(server, **options):
    return OpenEnded(open_chat_model(server.name("speaker"), **({"backoff": 0.01} | options)), open_chat_model(server.name("rater"), backoff=0.01))


# what is asked, and what becomes of the numbers


def test_the_persona_answers_and_the_rater_reads_question_answer_and_statement_but_not_the_persona():
    with serving(lambda request, _: "4" if to_rater(request) else f"{request['system']} says hello") as server:
        answers = opened(server).answers(["Mara"], Inventory("one", (TALKS,)))
    assert answers.tolist() == [[4.0]]
    first, second = server.requests
    assert (first["body"]["model"], first["system"], first["text"]) == ("speaker", "Mara", "What do you do at parties? Answer briefly in English.")
    assert (second["body"]["model"], second["system"]) == ("rater", open_ended.RATER)
    for part in ('"What do you do at parties?"', "Mara says hello", '"I talk to many people at parties."', "from 1 (very inaccurate) to 5 (very accurate)?"):
        assert part in second["text"]


def test_answers_are_agreement_as_worded_and_only_the_inventory_turns_them_round():
    def answer(request, _):
        return ("5" if "talk to many" in request["text"] else "1") if to_rater(request) else "I talk to everybody."

    with serving(answer) as server:
        answers = opened(server).answers(["", "x"], TWO)
    assert answers.tolist() == [[5.0, 1.0], [5.0, 1.0]]
    assert TWO.trait_scores(answers)[:, BIG_FIVE.index("extraversion")].tolist() == [10.0, 10.0]


def test_items_without_statements_are_rated_by_their_trait_and_reversed_once():
    bare = Inventory("bare", tuple(replace(item, statement="") for item in TWO.items))
    with serving(lambda request, _: "5" if to_rater(request) else "I talk to everybody.") as server:
        answers = opened(server).answers(["x"], bare)
        rated = [request["text"] for request in server.requests if to_rater(request)]
    assert answers.tolist() == [[5.0, 1.0]]
    assert bare.trait_scores(answers)[0, BIG_FIVE.index("extraversion")] == 10
    assert all("trait extraversion" in text and "statement" not in text for text in rated)


def test_nobody_is_asked_without_a_system_message():
    with serving(lambda request, _: "3") as server:
        opened(server).answers([""], TWO)
    assert {request["body"]["messages"][0]["role"] for request in server.requests if not to_rater(request)} == {"user"}


ADVERBS = {1: "never", 2: "seldom", 3: "sometimes", 4: "often", 5: "always"}


def planted(items):
    """A model that follows the "Trait: N/10" of its persona, and a rater that reads its adverbs."""

    def answer(request, _):
        if to_rater(request):
            said = re.search('"""\n(.*)\n"""', request["text"])[1]
            return f"Rating: {next(number for number, adverb in ADVERBS.items() if adverb in said)}"
        item = next(item for item in items if item.question in request["text"])
        level = float(re.search(rf"{item.trait}\W* ?(?:at|:|\|)? ?([\d.]+)/10", request["system"], re.IGNORECASE)[1])
        number = round(1 + (level - 1) * 4 / 9)
        return f"I {ADVERBS[6 - number if item.reverse else number]} do."

    return answer


@pytest.mark.parametrize("with_statements", [True, False])
def test_the_traits_of_personas_that_are_followed_are_recovered(with_statements):
    inventory = load_inventory("mini-ipip")
    reader = planted(inventory.items)
    if not with_statements:  # of such items the rater says how much of the trait there is
        inventory = replace(inventory, items=tuple(replace(item, statement="") for item in inventory.items))
        by_item = reader

        def reader(request, number):
            reply = by_item(request, number)
            item = next(item for item in inventory.items if f'"{item.question}"' in request["text"] or item.question in request["text"])
            return f"Rating: {6 - int(reply[-1])}" if to_rater(request) and item.reverse else reply

    true = np.random.default_rng(0).integers(1, 11, size=(6, 5))
    personas = [render(Profile(**dict(zip(BIG_FIVE, map(int, row), strict=True)))) for row in true]
    with serving(reader) as server:
        respondent = opened(server)
        measured = inventory.trait_scores(respondent.answers(personas, inventory))
    assert np.abs(measured - true).max() <= 9 / 8  # half a step of five
    assert respondent.counts == Counts(asked=120)
    shuffled = np.roll(true, 1, axis=0)
    assert ((measured - true) ** 2).mean() < 0.2 * ((measured - shuffled) ** 2).mean()


# bad answers


def test_a_refusal_is_asked_once_more_in_other_words():
    def answer(request, _):
        return "4" if to_rater(request) else "I dance." if is_second(request) else SORRY

    with serving(answer) as server:
        respondent = opened(server)
        answers = respondent.answers(["x"], TWO)
    assert answers.tolist() == [[4.0, 4.0]]
    assert respondent.counts == Counts(asked=2, retried=2, refused=2)
    texts = [request["text"] for request in server.requests]
    assert len(texts) == len(set(texts)) == 6


@pytest.mark.parametrize(
    ("reply", "n_refused"),
    [(SORRY, 2), ("", 0), (completion("", refusal="I will not play a person."), 2), (completion("", finish_reason="content_filter"), 2)],
)
def test_who_never_answers_is_missing_counted_and_not_rated(reply, n_refused):
    with serving(lambda request, _: "4" if to_rater(request) else reply if "parties" in request["text"] else "I hide.") as server:
        respondent = opened(server)
        answers = respondent.answers(["x"], TWO)
        rated = [request for request in server.requests if to_rater(request)]
    assert np.isnan(answers[0, 0]) and answers[0, 1] == 4
    assert respondent.counts == Counts(asked=2, retried=1, refused=n_refused, missing=1)
    assert len(rated) == 1 and "What do you do at parties" not in rated[0]["text"]
    assert TWO.trait_scores(answers)[0, BIG_FIVE.index("extraversion")] == 1 + (2 - 1) * 9 / 4  # from the other item alone


@pytest.mark.parametrize("said", ["I can't help worrying about it.", "I'm not comfortable engaging with strangers.", "I won't judge anybody."])
def test_what_people_say_of_themselves_is_no_refusal(said):
    with serving(lambda request, _: "2" if to_rater(request) else said) as server:
        respondent = opened(server)
        assert respondent.answers(["x"], TWO).tolist() == [[2.0, 2.0]]
    assert respondent.counts == Counts(asked=2)


@pytest.mark.parametrize("bad", ["7", "0", "It depends.", "8/10", SORRY, ""])
def test_a_rating_that_is_none_is_asked_once_more(bad):
    with serving(lambda request, _: ("2" if is_second(request) else bad) if to_rater(request) else "I dance.") as server:
        respondent = opened(server)
        assert respondent.answers(["x"], TWO).tolist() == [[2.0, 2.0]]
        assert len(server.requests) == 6
    assert respondent.counts == Counts(asked=2, retried=2, refused=2 if bad == SORRY else 0)


@pytest.mark.parametrize("said", ["Rating: 2\nThe person can't help others.", "2. This person is not able to engage with others.", "2/5\nThey won't judge."])
def test_what_a_rater_says_of_the_person_after_the_rating_is_no_refusal(said):
    with serving(lambda request, _: said if to_rater(request) else "I dance.") as server:
        respondent = opened(server)
        assert respondent.answers(["x"], TWO).tolist() == [[2.0, 2.0]]
    assert respondent.counts == Counts(asked=2)


def test_a_rating_that_is_none_twice_is_missing():
    with serving(lambda request, _: "7" if to_rater(request) else "I dance.") as server:
        respondent = opened(server)
        assert np.isnan(respondent.answers(["x", "y"], TWO)).all()
        assert len(server.requests) == 4 + 2 + 2  # equal answers to the same question are rated once
    assert respondent.counts == Counts(asked=4, retried=4, missing=4)
    assert str(respondent.counts) == "4 answers asked for, 4 asked once more, 4 missing"


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("4", 4), ("4.", 4), ("**4**", 4), ("4.5", 4.5), ("3,5", 3.5), ("4/5", 4), ("4 out of 5", 4), ("2 (out of 5)", 2), ("Rating: 4", 4), ("**Rating:** 4/5", 4),
        ("Rating:\n\n2", 2), ("Four.", 4), ("Very inaccurate", 1), ("5 = very accurate", 5), ("Very accurate (5)", 5), ("I would give a 3.", 3),
        ("On a scale of 1 to 5: 2", 2), ("2, on a scale from 1 (very inaccurate) to 5 (very accurate)", 2), ("4\n\nThe person gives 2 reasons.", 4),
        ("1 = very inaccurate", 1), ("1. Very inaccurate.", 1), ("Rating: 4 - a warm person", 4),
        ("Rating: <4>", 4), ("1.5", 1.5), ("**1**", 1), ("**1.**", 1), ("1)", 1), ("1 out of 5", 1),
        ("Both 2 and 3 would do; my rating is 3", 3), ("The person names 12 friends.\n5", 5),
        ("", None), ("0", None), ("6", None), ("7/5", None), ("-3", None), ("5.5", None), ("4/10", None), ("Rating: 4/10", None), ("Rating: 4.5/10", None), ("80%", None), ("10", None),
        ("3 or 4", None), ("4-5", None), ("1. The person", None), ("1. Very inaccurate\n2. Moderately inaccurate\n3", None), ("1 = very inaccurate, 2 = mod", None), ("1: very", None), ("1. Very accurate", None), ("Rating: 3-4", None), ("Rating: 3 or 4", None), ("**1.** Very", None), ("from 1 to 5", None), ("five people were there", None),
        ("accurate", None), ("Rating: high", None), ("2024", None), ("1 to 5", None), ("x4", None),
    ],
)  # fmt: skip
def test_ratings_are_read_or_there_is_none(text, rating):
    assert parse_rating(text) == rating


# Likert questions as text


def test_an_endpoint_is_asked_the_closed_question_as_the_persona():
    with serving(lambda request, _: "5" if "talk to many" in request["text"] else "off" if not is_second(request) else "2") as server:
        respondent = ClosedChat(open_chat_model(server.name()))
        seen = []
        answers = respondent.answers(["Mara"], TWO, progress=lambda done, total: seen.append((done, total)))
    assert answers.tolist() == [[5.0, 2.0]]
    assert respondent.counts == Counts(asked=2, retried=1)
    assert all(request["system"] == "Mara" and "describe you?" in request["text"] for request in server.requests) and len(server.requests) == 3
    assert seen[-1] == (2, 2)


def test_a_closed_question_needs_a_statement():
    with serving(lambda request, _: "3") as server:
        respondent = ClosedChat(open_chat_model(server.name()))
        refused(lambda: respondent.answers(["x"], Inventory("mine", (TALKS, replace(QUIET, statement="")))), "E2", "mine", "statement", "mode open")
    assert server.requests == []


# one call for everything; what is kept


def test_the_questions_of_all_personas_are_under_way_together_and_progress_only_grows():
    seen = []
    with serving(slowly(lambda request, _: "3" if to_rater(request) else f"I am {request['system']}.", 0.1)) as server:
        opened(server, concurrency=6).answers(["a", "b", "c"], TWO, progress=lambda done, total: seen.append((done, total)))
        assert 3 <= server.most <= 8
    assert seen == sorted(seen) and seen[0] == (0, 6) and seen[-1] == (6, 6)


def test_a_rater_that_is_not_there_is_named_and_what_was_answered_is_kept():
    with serving(lambda request, _: "x") as gone:
        nowhere = gone.name("rater")
    with serving(lambda request, _: "4" if to_rater(request) else "I dance.") as server:
        respondent = open_respondent(server.name("speaker"), mode="open", rater=nowhere)
        refused(lambda: respondent.answers(["x", "y"], TWO), gone.url, "cannot be reached", "start the server")
        assert len(server.requests) == 1  # seen before the rest is answered for nobody
        again = open_respondent(server.name("speaker"), mode="open", rater=server.name("rater"))
        assert again.answers(["x", "y"], TWO).tolist() == [[4.0, 4.0], [4.0, 4.0]]
        assert len(server.requests) == 6 and sum(map(to_rater, server.requests)) == 2  # all say the same, so each of the two items is rated once


def test_after_an_error_nothing_is_asked_twice():
    inventory, personas = load_inventory("mini-ipip"), ["a", "b"]

    def answer(request, number):
        if number in (7, 60):
            return 403, "out of order"
        return "3" if to_rater(request) else f"I am {request['system']}: {request['text']}"

    with serving(answer) as server:
        for _ in range(2):
            refused(lambda: opened(server, concurrency=1).answers(personas, inventory), "403")
        opened(server, concurrency=1).answers(personas, inventory)
        asked = [(request["system"], request["text"]) for number, request in enumerate(server.requests, start=1) if number not in (7, 60)]
    assert len(asked) >= len(set(asked)) == 80
    assert len(asked) - len(set(asked)) <= 7  # those that other threads of the rater had under way when it failed


def test_a_killed_run_goes_on_where_it_was():
    script = """
import os, signal, sys
from beholder.personas.inventory import load_inventory
from beholder.personas.ledger import Ledger, answered
from beholder.personas.respondents import open_respondent

def stop(done, total):
    if done >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

answered(open_respondent(sys.argv[1], mode="open", concurrency=1), load_inventory(), ["a", "b", "c"], ledger=Ledger(), chunk=1, progress=stop)
"""
    with serving(lambda request, _: "3" if to_rater(request) else f"I am {request['system']}: {request['text']}") as server:
        died = subprocess.run([sys.executable, "-c", script, server.name(), "35"], check=False)
        assert died.returncode == -signal.SIGKILL and 40 < len(server.requests) < 80
        respondent = open_respondent(server.name(), mode="open", concurrency=1)
        answers = answered(respondent, load_inventory(), ["a", "b", "c"], ledger=Ledger(), chunk=1)
        asked = [(request["system"], request["text"]) for request in server.requests]
        assert len(set(asked)) == 120 and len(asked) <= 121  # the one under way when it died
        assert (answers == 3).all() and respondent.counts.asked == 40  # of the first persona the ledger knew everything
        before = len(server.requests)
        assert (answered(respondent, load_inventory(), ["c"], ledger=Ledger()) == 3).all() and len(server.requests) == before


def test_the_version_tells_models_and_ways_apart(monkeypatch):
    with serving(lambda request, _: "3") as server:
        one, other = open_chat_model(server.name("a")), open_chat_model(server.name("b"))
        made = [OpenEnded(one, one), OpenEnded(one, other), OpenEnded(other, one), OpenEnded(one, one, answer_tokens=9), ClosedChat(one), ClosedChat(other)]
        versions = {respondent.version for respondent in made}
        assert len(versions) == len(made)
        assert OpenEnded(one, one).version == OpenEnded(one, one).version
        monkeypatch.setattr(open_ended, "_READING", 1)
        assert {OpenEnded(one, one).version, ClosedChat(one).version}.isdisjoint(versions)


# by name


def test_names_give_respondents(tmp_path):
    llama = tiny_chat_models.save_llama(tmp_path / "llama")
    with serving(lambda request, _: "3") as server:
        assert isinstance(open_respondent(server.name(), mode="closed"), ClosedChat)
        mixed = open_respondent(llama, mode="open", rater=server.name(), answer_tokens=4)
        assert isinstance(mixed, OpenEnded) and mixed.rater is not mixed.model and mixed.unit == "item answers"
        answers = mixed.answers(["x"], TWO)  # a random model: whatever it says, the rater rates it 3, and nothing at all is missing
        assert set(answers[~np.isnan(answers)]) <= {3.0}
        assert np.isnan(answers).sum() == mixed.counts.missing
        alone = open_respondent(server.name(), mode="open")
        assert alone.rater is alone.model
    local = open_respondent(llama, mode="closed", device="cpu")
    closed = local.answers([""], TWO)
    assert closed.shape == (1, 2) and ((closed >= 1) & (closed <= 5)).all()


def test_a_model_of_another_architecture_answers_in_words_only(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    from tiny_llama import tokenizer

    GPT2LMHeadModel(GPT2Config(vocab_size=500, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt")
    tokenizer().save_pretrained(tmp_path / "gpt")
    gpt = str(tmp_path / "gpt")
    refused(lambda: open_respondent(gpt, mode="closed", device="cpu"), "is of type 'gpt2'", "in words with the mode open")
    with serving(lambda request, _: "2") as server:
        spoken = open_respondent(gpt, mode="open", rater=server.name(), answer_tokens=4, device="cpu", keep=False)
        answers = spoken.answers(["x", "y"], TWO)
    assert answers.shape == (2, 2) and set(answers[~np.isnan(answers)]) <= {2.0}
    assert spoken.counts.asked == 4 and np.isnan(answers).sum() == spoken.counts.missing


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("smollm2-135m-instruct", {"mode": "closed", "rater": "x"}, ("rater", "mode open")),
        ("http://127.0.0.1:9/v1#m", {"mode": "closed", "rater": "x"}, ("rater", "mode open")),
        ("http://127.0.0.1:9/v1#m", {"mode": "closed", "balanced": True}, ("balanced", "leave it out")),
        ("http://127.0.0.1:9/v1#m", {"mode": "open", "balanced": True}, ("balanced", "leave it out")),
        ("http://127.0.0.1:9/v1#m", {"mode": "ajar"}, ("ajar", "closed, open")),
        ("http://127.0.0.1:9/v1", {"mode": "open"}, ("names no model", "curl")),
        ("http://127.0.0.1:9/v1#m", {"mode": "open", "rater": "no-such-model"}, ("no-such-model", "not found")),
        ("http://127.0.0.1:9/v1#m", {"mode": "open", "answer_tokens": 0}, ("answer_tokens = 0", "1 or more")),
        ("http://127.0.0.1:9/v1#m", {"mode": "closed", "answer_tokens": 9}, ("answer_tokens", "leave it out")),
        ("no-such-model", {"mode": "open"}, ("no-such-model", "not found")),
        ("no-such-model", {"mode": "closed"}, ("no-such-model", "not found")),
        ("efficientnet-lite0", {"mode": "open"}, ("efficientnet-lite0", "name an LLM")),
        ("efficientnet-lite0", {"mode": "closed"}, ("efficientnet-lite0", "name an LLM")),
    ],
)
def test_what_does_not_belong_together_is_refused_in_one_sentence(model, options, words):
    refused(lambda: open_respondent(model, **options), *words)


def test_other_formats_of_the_persona_are_other_questions():
    profile = Profile(extraversion=9)
    texts = {render(profile, style=style) for style in (all_formats()[0], PersonaFormat.parse("00020"))}
    with serving(lambda request, _: "3" if to_rater(request) else "I dance.") as server:
        opened(server).answers(sorted(texts), TWO)
        assert {request["system"] for request in server.requests if not to_rater(request)} == texts and len(texts) == 2
