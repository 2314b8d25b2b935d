"""Chat with tiny models of every family: together as alone, in pieces as at once, with a history, sampled, and what does not fit."""

from __future__ import annotations

import functools
import subprocess
import sys
import time

import pytest
import torch

import image_files
import tiny_chat_models
import tiny_qwen
import tiny_vlms
from beholder.backbones import vlm_chat
from beholder.backbones.chat import ChatRequest, NoAnswer, Sampling, open_chat_model
from beholder.backbones.local_chat import TextChat, VisionChat
from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm_chat import VlmChat
from beholder.backbones.written_pieces import pieces_of, tokens_of
from command_line import refused

MAKERS = {
    "qwen3_vl": tiny_qwen.save_qwen3_vl,
    "qwen2_5_vl": tiny_qwen.save_qwen2_5_vl,
    "llava": tiny_vlms.save_llava,
    "gemma3": tiny_vlms.save_gemma3,
    "idefics3": tiny_vlms.save_idefics3,
    "smolvlm": tiny_vlms.save_smolvlm,
}
HISTORY = (("what is it?", "a lake"), ("and the sky?", "red"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function: name -> a model without a cache."""

    @functools.cache
    def make(name):
        where = tmp_path_factory.mktemp(name)
        if name in MAKERS:
            return open_chat_model(MAKERS[name](where), keep=False)
        saved = {"llama": tiny_chat_models.save_llama, "vision": tiny_chat_models.save_llava}[name](where)
        if name == "vision":  # for the families that VlmChat does not know
            return VisionChat("vision", where, cache=None, prices=None, image_size=768, device="auto")
        return open_chat_model(saved, keep=False)

    return make


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate([(100, 80), (64, 64), (50, 90)]):
        image_files.picture(*size, seed=number).rotate(30 * number).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(3)]


def whole(stream):
    """(pieces, the value of the generator)."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def questions(photos):
    return [
        ChatRequest("how nice is it?", image=photos[0]),
        ChatRequest("how nice is it?", image=photos[1]),
        ChatRequest("why?", image=photos[2], history=HISTORY),
        ChatRequest("why?", image=photos[2], system="you are Mara"),
        ChatRequest("why?", image=photos[2], sampling=Sampling(1.0, 0.9, 5)),
        ChatRequest("why?", image=photos[2], sampling=Sampling(1.0, 0.9, 6)),
    ]


@pytest.mark.parametrize("family", MAKERS)
def test_alone_together_and_in_pieces_the_same_answers(model, photos, family):
    chat, requests = model(family), questions(photos)
    assert isinstance(chat, VlmChat)
    together = chat.ask(requests, max_tokens=8)
    assert [chat.ask([request], max_tokens=8)[0] for request in requests[1:3]] == together[1:3]
    streamed = [whole(chat.stream(request, max_tokens=8)) for request in requests]
    assert [reply for _, reply in streamed] == together
    assert ["".join(pieces) for pieces, _ in streamed] == [reply.text for reply in together]
    assert max(len(pieces) for pieces, _ in streamed) > 3
    wanted = 4 if family in ("idefics3", "smolvlm") else len(requests)  # some of these tiny models are rather monotonous
    assert len({reply.text for reply in together}) >= wanted  # photograph, history, system text and seed all matter


@pytest.mark.parametrize("family", ["qwen3_vl", "llava", "gemma3"])
def test_the_words_are_those_of_transformers_for_the_conversation(model, photos, family):
    chat = model(family)
    vlm, request = chat._vlm, ChatRequest("why?", image=photos[0], history=HISTORY, system="you are Mara")
    reply = chat.ask([request], max_tokens=10)[0]
    messages = [{"role": "system", "content": [{"type": "text", "text": "you are Mara"}]}]
    for question, answer in HISTORY:
        messages += [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in (("user", question), ("assistant", answer))]
    messages[1]["content"].insert(0, {"type": "image"})
    messages.append({"role": "user", "content": [{"type": "text", "text": "why?"}]})
    text = vlm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    image = chat._images([photos[0]])[0]
    ids = vlm.chat.tokens(text.replace(vlm.placeholder, image.text)).ids
    asked = vlm.turn([image, "why?"], reply=True, history=HISTORY, system="you are Mara")
    assert asked.ids == ids and reply.prompt_tokens == len(ids)
    answerer = chat._answerer(vlm, 10)
    made = vlm.model.generate(**vlm.batch([asked]).inputs, max_new_tokens=10, do_sample=False, eos_token_id=list(answerer.stop), pad_token_id=0)
    assert vlm.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True).strip() == reply.text


@pytest.mark.parametrize("name", ["llama", "vision"])
def test_other_models_on_this_machine_stream_and_remember_too(model, photos, name):
    chat = model(name)
    image = None if name == "llama" else photos[0]
    requests = [ChatRequest("why so?", image=image, history=HISTORY[:n], system=system) for n in range(3) for system in ("", "be kind")]
    requests.append(ChatRequest("why so?", image=image, sampling=Sampling(1.0, seed=4)))
    replies = chat.ask(requests, max_tokens=12)
    assert len({reply.text for reply in replies}) == len(requests)
    for request, reply in zip(requests, replies, strict=True):
        pieces, streamed = whole(chat.stream(request, max_tokens=12))
        assert "".join(pieces) == reply.text and streamed == reply
    assert replies[2].prompt_tokens > replies[0].prompt_tokens


def test_the_text_of_a_language_model_is_that_of_its_template(model):
    llama = model("llama")
    llama.ask([ChatRequest("x")], max_tokens=1)
    inner = llama._model
    messages = [{"role": "system", "content": "be kind"}]
    for question, answer in HISTORY:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    text = inner.tokenizer.apply_chat_template([*messages, {"role": "user", "content": "why?"}], tokenize=False, add_generation_prompt=True)
    assert inner.prompt("be kind", "why?", HISTORY) == inner.encode(text)


@pytest.mark.parametrize("name", ["llama", "vision", "llava"])
def test_stopping_early_stops_the_model_and_keeps_nothing(model, photos, name):
    chat = model(name)
    calls = chat.usage.calls
    request = ChatRequest("how nice is it?", image=None if name == "llama" else photos[0])
    stream = chat.stream(request, max_tokens=300)
    first = next(stream)
    stream.close()
    assert first and chat.usage.calls == calls
    assert chat.ask([request], max_tokens=8)[0].text.startswith(first)


def test_a_reply_is_kept_for_those_who_ask_and_those_who_read_along(tmp_path, photos):
    where = tiny_vlms.save_llava(tmp_path / "llava")
    request = ChatRequest("why?", image=photos[0])
    _, reply = whole(open_chat_model(where).stream(request, max_tokens=6))
    later = open_chat_model(where)
    assert later.ask([request], max_tokens=6)[0].text == reply.text and later.usage.cached == 1
    assert whole(later.stream(request, max_tokens=6))[0] == [reply.text]


def test_another_template_other_weights_and_another_size_are_other_replies(tmp_path):
    versions = set()
    for number, make in enumerate((lambda to: tiny_vlms.save_llava(to), lambda to: tiny_vlms.save_llava(to, seed=1))):
        where = make(tmp_path / str(number))
        versions |= {open_chat_model(where, image_size=size).version for size in (100, 768, 2000)}
    template = tmp_path / "1" / "chat_template.jinja"
    template.write_text(template.read_text().replace("ASSISTANT", "JUDGE"))
    versions.add(open_chat_model(where).version)
    assert len(versions) == 7


def test_photographs_are_made_smaller_along_their_longer_side(tmp_path, photos, monkeypatch):
    image_files.picture(600, 300).save(tmp_path / "large.png")
    sizes = []
    chat = open_chat_model(tiny_qwen.save_qwen3_vl(tmp_path / "qwen"), image_size=200, keep=False)
    prepare = chat._vlm.prepare
    monkeypatch.setattr(chat._vlm, "prepare", lambda image: sizes.append(image.size) or prepare(image))
    chat.ask([ChatRequest("?", image=tmp_path / "large.png"), ChatRequest("?", image=photos[1])], max_tokens=2)
    assert sorted(sizes) == [(64, 64), (200, 100)]


def test_many_questions_are_prepared_little_by_little_and_a_photograph_once(model, photos, monkeypatch):
    chat, seen = model("llava"), []
    monkeypatch.setattr(vlm_chat, "AHEAD", 4)
    monkeypatch.setattr(chat._vlm, "prepare", lambda image, prepare=chat._vlm.prepare: seen.append(1) or prepare(image))
    monkeypatch.setattr(chat, "_images", None)
    requests = [ChatRequest(f"question {i}", image=photos[i % 2]) for i in range(10)]
    progress = []
    replies = chat.ask(requests, max_tokens=4, progress=lambda done, total: progress.append(done))
    assert len(replies) == 10 and len(seen) == 2 and progress == list(range(11))


def test_too_long_is_said_before_anything_is_computed(tmp_path, photos):
    where = tiny_chat_models.save_llava(tmp_path / "short", context=120)
    chat = open_chat_model(where, keep=False)
    for ask in (lambda r: chat.ask([r], max_tokens=40), lambda r: whole(chat.stream(r, max_tokens=40))):
        with pytest.raises(NoAnswer, match=r"takes \d+ tokens and its answer up to 40, more than the 120") as caught:
            ask(ChatRequest("?", image=photos[0], history=(("why " * 20, "so"),)))
        assert caught.value.kind == "too long"
        ask(ChatRequest("?", image=photos[0]))


def test_the_same_model_is_loaded_once_for_scorers_and_chat(tmp_path):
    config = {"dtype": "bfloat16"}
    assert vlm_chat._type_of(config) == "bfloat16" and vlm_chat._type_of({"text_config": {"torch_dtype": "float32"}}) == "float32"
    where = tiny_vlms.save_llava(tmp_path / "llava")
    assert open_chat_model(where)._vlm is open_vlm(where, dtype="float32")
    assert open_chat_model(where)._vlm.dtype is torch.float32


def test_a_template_that_refuses_system_messages_gets_the_text_before_the_first_question(tmp_path, photos):
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    where = tiny_chat_models.save_llava(tmp_path / "llava", template=strict + tiny_chat_models.LLAVA_TEMPLATE)
    chat = open_chat_model(where, keep=False)
    (question, answer), *_ = HISTORY
    first, second = chat.ask(
        [
            ChatRequest("why?", system="be kind", image=photos[0], history=HISTORY[:1]),
            ChatRequest("why?", image=photos[0], history=((f"be kind\n\n{question}", answer),)),
        ],
        max_tokens=10,
    )
    assert first.text == second.text and first.prompt_tokens == second.prompt_tokens and not second.cached


def test_beholder_mini_writes_numbers_only():
    refused(lambda: open_chat_model("beholder-mini"), "beholder-mini", "writes numbers, no words", "URL#model")


def test_text_models_are_still_text_models(model):
    assert isinstance(model("llama"), TextChat) and not model("llama").sees


def test_closing_early_stops_the_model_after_the_next_token():
    written = []

    def generate(*, streamer, stopping_criteria):
        streamer.put(torch.zeros((1, 3), dtype=torch.long))  # the prompt
        for number in range(3000):
            written.append(number)
            streamer.put(torch.tensor([number]))
            time.sleep(0.001)  # as if it were computed
            if bool(stopping_criteria(torch.zeros((1, 4), dtype=torch.long), None).all()):
                return

    tokens = tokens_of(generate)
    assert [next(tokens), next(tokens)] == [0, 1]
    tokens.close()
    assert 2 <= len(written) < 3000


def test_errors_of_the_model_come_out_of_the_thread():
    def generate(streamer, stopping_criteria):
        streamer.put(torch.tensor([[1, 2]]))
        streamer.put(torch.tensor([7]))
        raise ValueError("broken")

    tokens = tokens_of(generate)
    assert next(tokens) == 7
    with pytest.raises(ValueError, match="broken"):
        next(tokens)


def test_importing_it_imports_no_torch():
    code = "import sys, beholder.backbones.vlm_chat, beholder.backbones.written_pieces, beholder.critique.ask, beholder.critique.by_model\n"
    done = subprocess.run([sys.executable, "-c", code + "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'httpx')))"])
    assert done.returncode == 0


def test_half_letters_are_held_back():
    def decode(ids):
        return bytes(ids).decode("utf-8", errors="replace")

    text = "Größe 🌅"
    pieces, ids = whole(pieces_of(iter(text.encode()), decode))
    assert "".join(pieces) == text and pieces[-1] == "🌅" and bytes(ids).decode() == text
