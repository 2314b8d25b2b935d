"""Sampled answers: what is sent to servers, what is kept, and draws on this machine that depend on nothing but request and seed."""

from __future__ import annotations

import collections
import hashlib
import json

import pytest
import torch

import tiny_chat_models
from beholder.backbones.chat import ChatRequest, NoAnswer, Sampling, open_chat_model
from beholder.backbones.sampling import SeededDraws
from beholder.errors import BeholderError
from chat_server import completion, serving
from command_line import refused
from tiny_llama import llama

WARM = Sampling(0.7, top_p=0.9, seed=11)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_chat_models.save_llama(folder / "llama")
    tiny_chat_models.save_llava(folder / "llava")
    return folder


def asked(server, **options):
    return open_chat_model(server.name(), **({"backoff": 0.01} | options))


def drawn(request, number):
    return f"{request['body'].get('seed')}/{request['body'].get('temperature')}"


@pytest.mark.parametrize(
    "numbers", [{"temperature": 0.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"seed": -1}, {"seed": 2**31}]
)
def test_odd_numbers_are_refused(numbers):
    refused(lambda: Sampling(**({"temperature": 0.7} | numbers)), next(iter(numbers)))


# servers


def test_temperature_top_p_and_seed_arrive():
    with serving(drawn) as server:
        asked(server).ask([ChatRequest("a", sampling=WARM)])
        asked(server).ask([ChatRequest("a")])
    sampled, greedy = (request["body"] for request in server.requests)
    assert (sampled["temperature"], sampled["top_p"], sampled["seed"]) == (0.7, 0.9, 11)
    assert greedy["temperature"] == 0 and "top_p" not in greedy and "seed" not in greedy


def test_the_key_of_a_greedy_request_is_what_it_was_before_there_was_sampling():
    model = open_chat_model("http://127.0.0.1:9/v1#m", keep=False)
    parts = ["http://127.0.0.1:9/v1#m", "768px", "s", "t", None, 256]
    before = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    assert model._key(ChatRequest("t", system="s"), None, max_tokens=256) == before


def test_each_seed_temperature_and_share_is_a_request_of_its_own():
    ways = [None, WARM, Sampling(0.7, 0.9, 12), Sampling(0.7, 0.8, 11), Sampling(0.8, 0.9, 11), WARM]
    with serving(drawn) as server:
        model = asked(server)
        replies = model.ask([ChatRequest("a", sampling=way) for way in ways])
        again = asked(server).ask([ChatRequest("a", sampling=WARM)])
    assert len(server.requests) == 5
    assert replies[5].cached and replies[5].text == replies[1].text == again[0].text == "11/0.7"


MISTRAL = {"object": "error", "detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ([(400, "Unsupported value: 'temperature' does not support 0.7 with this model.")], {"top_p", "seed"}),
        ([(400, "`temperature` and `top_p` cannot both be specified for this model")], {"temperature", "seed"}),
        ([(422, MISTRAL)], {"temperature", "top_p"}),
        ([(400, "Unknown name \"seed\": Cannot find field."), (400, "'top_p' is not supported")], {"temperature"}),
    ],
)
def test_fields_that_a_server_does_not_take_are_left_out_from_then_on(answers, left):
    with serving(lambda request, number: answers[number - 1] if number <= len(answers) else "fine") as server:
        model = asked(server)
        assert model.ask([ChatRequest("a", sampling=WARM)])[0].text == "fine"
        model.ask([ChatRequest("b", sampling=WARM)])
    assert len(server.requests) == len(answers) + 2
    for request in server.requests[len(answers) :]:
        assert {"temperature", "top_p", "seed"} & set(request["body"]) == left
    assert model.unsent == {"temperature", "top_p", "seed"} - left and model.usage.retries == 0


def test_a_complaint_about_something_else_is_not_about_the_seed():
    with serving(lambda request, number: (400, "poppy seed is no known word")) as server:
        refused(lambda: asked(server).ask([ChatRequest("a", sampling=WARM)]), "poppy seed")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((500, "oops"), "failed"),
        ((503, "loading"), "unreachable"),
        ((429, "busy", {"Retry-After": "40000"}), "unreachable"),
        ((400, "This model's maximum context length is 4096 tokens"), "too long"),
        ((200, b"<html>"), "broken"),
        ((401, "who are you?"), None),
        ((404, "no such model"), None),
        ((400, "bad request"), None),
    ],
)
def test_what_kind_of_failure_it_was(answer, kind):
    with serving(lambda request, number: answer) as server, pytest.raises(BeholderError) as caught:
        asked(server, retries=1).ask([ChatRequest("a")])
    assert getattr(caught.value, "kind", None) == kind and isinstance(caught.value, NoAnswer) is (kind is not None)


def test_nobody_there_is_unreachable():
    with serving(drawn) as server:
        pass
    with pytest.raises(NoAnswer) as caught:
        asked(server).ask([ChatRequest("a")])
    assert caught.value.kind == "unreachable"


# this machine


def test_draws_have_the_probabilities_of_the_model():
    logits = torch.tensor([[2.0, 1.0, 0.0, -3.0]])
    counts = collections.Counter()
    for seed in range(3000):
        counts[int(SeededDraws([Sampling(2.0, seed=seed)])(None, logits).argmax())] += 1
    for word, probability in enumerate((logits[0] / 2).softmax(0).tolist()):
        assert counts[word] / 3000 == pytest.approx(probability, abs=0.03)


def test_only_the_fewest_words_that_are_probable_enough_are_drawn():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    words = {
        top_p: {int(SeededDraws([Sampling(1.0, top_p=top_p, seed=seed)])(None, logits).argmax()) for seed in range(200)} for top_p in (0.4, 0.6, 0.9)
    }
    assert words == {0.4: {0}, 0.6: {0, 1}, 0.9: {0, 1, 2}}


def test_rows_without_sampling_stay_as_they_are():
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    made = SeededDraws([None, WARM])(None, logits)
    assert torch.equal(made[0], logits[0]) and made[1].isfinite().sum() == 1


def test_sampled_answers_depend_on_request_and_seed_only():
    model = llama()
    prompts = [("", "How is it?"), ("likes red", "Rate this image, please."), ("", "How is it?"), ("", "How is it?"), ("age 30", "A")]
    ways = [Sampling(1.0, seed=1), Sampling(1.0, 0.9, 2), Sampling(1.0, seed=3), None, Sampling(1.0, seed=1)]
    together = model.answer(prompts, max_new_tokens=12, batch_size=5, sampling=ways)
    torch.manual_seed(5)  # torch's own generator plays no part
    alone = [model.answer([prompt], max_new_tokens=12, sampling=[way])[0] for prompt, way in zip(prompts, ways, strict=True)]
    assert together == alone == model.answer(prompts[::-1], max_new_tokens=12, batch_size=2, sampling=ways[::-1])[::-1]
    assert len(set(together)) == 5
    assert together[3] == model.answer(prompts[3:4], max_new_tokens=12)[0]


@pytest.mark.parametrize("name", ["llama", "llava"])
def test_chat_models_on_this_machine_sample(folder, name):
    model = open_chat_model(str(folder / name), keep=False)
    requests = [ChatRequest("how nice?", sampling=Sampling(1.0, seed=seed)) for seed in range(4)] + [ChatRequest("how nice?")]
    texts = [reply.text for reply in model.ask(requests, max_tokens=10)]
    assert len(set(texts)) == 5
    other = open_chat_model(str(folder / name), keep=False)
    assert [other.ask([request], max_tokens=10)[0].text for request in requests] == texts


@pytest.mark.parametrize("name", ["llama", "llava"])
def test_too_long_a_question_is_said_to_be_that(folder, name):
    with pytest.raises(NoAnswer) as caught:
        open_chat_model(str(folder / name), keep=False).ask([ChatRequest("x" * 2000)], max_tokens=100)
    assert caught.value.kind == "too long"


def test_a_refusing_server_is_still_heard():
    with serving(lambda request, number: completion(None, refusal="no")) as server:
        assert asked(server).ask([ChatRequest("a", sampling=WARM)])[0].refused
