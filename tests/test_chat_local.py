"""Chat models on this machine, on tiny random models of real classes: the same words as transformers itself, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import image_files
import tiny_chat_models
from beholder.backbones import local_chat
from beholder.backbones.chat import ChatRequest, open_chat_model
from beholder.errors import BeholderError
from beholder.photos import read_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """llava, llama: models; a.png, b.png: pictures."""
    folder = tmp_path_factory.mktemp("models")
    tiny_chat_models.save_llava(folder / "llava")
    tiny_chat_models.save_llama(folder / "llama")
    image_files.picture(100, 80).save(folder / "a.png")
    image_files.picture(100, 80, seed=3).rotate(180).save(folder / "b.png")
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """A function that copies a model into a folder of this test, without some of its files."""

    def copied(name, *without):
        shutil.copytree(folder / name, tmp_path / name)
        for file in without:
            (tmp_path / name / file).unlink()
        return tmp_path / name

    return copied


def questions(folder):
    return [
        ChatRequest("how nice?", image=folder / "a.png"),
        ChatRequest("how nice?", image=folder / "b.png"),
        ChatRequest("how nice?", system="you are Mara", image=folder / "b.png"),
        ChatRequest("no picture"),
    ]


def test_the_same_words_as_transformers(folder):
    import torch
    import transformers

    replies = open_chat_model(str(folder / "llava")).ask(questions(folder), max_tokens=12)
    assert len({reply.text for reply in replies}) == 4  # picture, system message and question all matter
    processor = transformers.AutoProcessor.from_pretrained(folder / "llava")
    model = transformers.LlavaForConditionalGeneration.from_pretrained(folder / "llava").eval()
    text = "SYSTEM: you are Mara\nUSER: <image>\nhow nice?\nASSISTANT:"
    inputs = processor(text=text, images=Image.open(folder / "b.png"), return_tensors="pt")
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    n_in = inputs["input_ids"].shape[1]
    assert replies[2].text == processor.batch_decode(made[:, n_in:], skip_special_tokens=True)[0].strip()
    assert replies[2].prompt_tokens == n_in and replies[2].completion_tokens == made.shape[1] - n_in


def test_greedy_whatever_the_checkpoint_wishes(folder, copy):
    wishful = copy("llava")
    (wishful / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 9.0, "num_beams": 3, "eos_token_id": 2}))
    first, second = (open_chat_model(str(where), keep=False).ask(questions(folder), max_tokens=8) for where in (folder / "llava", wishful))
    assert [reply.text for reply in first] == [reply.text for reply in second]


def test_alone_or_together_in_any_order_the_same_answers(folder):
    for name, requests in (("llava", questions(folder)), ("llama", [ChatRequest("q" * n, system="s" * (n % 3)) for n in (3, 40, 11, 7, 25)])):
        model = open_chat_model(str(folder / name), keep=False)
        together = [reply.text for reply in model.ask(requests, max_tokens=10)]
        assert [model.ask([request], max_tokens=10)[0].text for request in requests] == together
        assert [reply.text for reply in model.ask(requests[::-1], max_tokens=10)] == together[::-1]
        assert len(set(together)) == len(requests)


def test_replies_are_kept_by_weights_and_content(folder, copy, tmp_path, monkeypatch):
    open_chat_model(str(folder / "llava")).ask(questions(folder), max_tokens=5)
    same = open_chat_model(str(folder / "llava"))
    monkeypatch.setattr(same, "_load", lambda: pytest.fail("the weights were loaded for nothing"))
    same.ask(questions(folder), max_tokens=5)
    assert same.usage.cached == 4 and same.usage.calls == 0
    tiny_chat_models.save_llava(tmp_path / "other", seed=1)
    assert open_chat_model(str(tmp_path / "other")).version != same.version


def test_a_large_photograph_is_made_smaller_first(folder, tmp_path):
    image_files.picture(1000, 700).save(tmp_path / "large.png")
    small = read_photo(tmp_path / "large.png", min_side=100)
    small.thumbnail((100, 100), Image.Resampling.LANCZOS)
    assert small.size == (100, 70)
    small.save(tmp_path / "small.png")
    model = open_chat_model(str(folder / "llava"), image_size=100, keep=False)
    large, small = model.ask([ChatRequest("?", image=tmp_path / f"{name}.png") for name in ("large", "small")], max_tokens=10)
    assert large.text == small.text and large.text
    assert open_chat_model(str(folder / "llava"), image_size=50).version != model.version


def test_a_template_without_system_message_gets_it_before_the_question(folder, tmp_path):
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    deaf = "{% if messages[0]['role'] == 'system' %}{% set messages = messages[1:] %}{% endif %}"
    for number, start in enumerate((strict, deaf)):
        where = tiny_chat_models.save_llava(tmp_path / f"m{number}", template=start + tiny_chat_models.LLAVA_TEMPLATE)
        model = open_chat_model(where, keep=False)
        with_system, before = model.ask(
            [ChatRequest("how?", system="you are Mara", image=folder / "a.png"), ChatRequest("you are Mara\n\nhow?", image=folder / "a.png")],
            max_tokens=10,
        )
        assert with_system.text == before.text and not with_system.cached


def test_a_model_that_only_reads_is_shown_no_picture(folder):
    model = open_chat_model(str(folder / "llama"))
    with pytest.raises(BeholderError, match="reads text only"):
        model.ask([ChatRequest("?", image=folder / "a.png")])
    assert model.ask([ChatRequest("?")], max_tokens=3)[0].completion_tokens > 0


def test_a_question_longer_than_the_context(folder, tmp_path):
    where = tiny_chat_models.save_llava(tmp_path / "short", context=64)
    with pytest.raises(BeholderError, match=r"takes \d+ tokens .* more than the 64"):
        open_chat_model(where).ask([ChatRequest("x" * 60, image=folder / "a.png")], max_tokens=4)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        (["preprocessor_config.json", "processor_config.json"], "processor"),
        (["chat_template.jinja"], "chat template"),
        (["model.safetensors"], "no safetensors weights"),
    ],
)
def test_half_a_model(folder, copy, without, words):
    where = copy("llava", *[name for name in without if (folder / "llava" / name).exists()])
    with pytest.raises(BeholderError, match=words) as caught:
        open_chat_model(str(where)).ask([ChatRequest("?", image=folder / "a.png")])
    assert len(str(caught.value).splitlines()) == 1


def test_a_processor_that_needs_torchvision_says_so(folder, monkeypatch):
    import transformers

    def missing(*_, **__):
        raise ImportError("Qwen2VLVideoProcessor requires the Torchvision library\nbut it was not found: install torchvision")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", missing)
    model = local_chat.VisionChat("llava", folder / "llava", cache=None, prices=None, image_size=768, device="auto")
    with pytest.raises(BeholderError, match="install the torchvision that belongs to your torch"):
        model.ask([ChatRequest("?", image=folder / "a.png")])


def test_checkpoints_of_other_programs_are_refused(copy):
    where = copy("llava")
    config = json.loads((where / "config.json").read_text())
    for change in ({"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"]}, {"model_type": "mplug_owl2", "architectures": None}):
        (where / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(BeholderError, match="convert it to the layout of transformers"):
            open_chat_model(str(where))


def test_no_such_model_and_no_chat_model(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHOLDER_OFFLINE", "1")
    for name, words in ((str(tmp_path / "nothing"), "nothing is there"), ("owner/model", "not found"), ("", "is empty")):
        with pytest.raises(BeholderError, match=words):
            open_chat_model(name)
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(BeholderError, match="no chat model"):
        open_chat_model(str(tmp_path / "w.pth"))


def test_the_embedded_model_goes_through_the_loader_of_language_models(monkeypatch, tmp_path):
    from beholder.backbones import language_model
    from beholder.backbones.weights import Resolved

    class Fake:
        def encode(self, text):
            return text.split()

        def answer(self, prompts, *, max_new_tokens, batch_size):
            return [f"{system}+{user}/{max_new_tokens}" for system, user in prompts]

    loaded = []
    (tmp_path / "m.gguf").write_bytes(b"weights")
    monkeypatch.setattr(local_chat, "resolve", lambda name, **_: Resolved(name, Path(tmp_path / "m.gguf"), "package"))
    monkeypatch.setattr(language_model, "load_language_model", lambda name, **_: loaded.append(name) or Fake())
    model = open_chat_model("smollm2-135m-instruct")
    replies = model.ask([ChatRequest(f"two words {i}", system="sys") for i in range(10)], max_tokens=9)
    assert [reply.text for reply in replies] == [f"sys+two words {i}/9" for i in range(10)]
    assert loaded == ["smollm2-135m-instruct"] and model.usage.prompt_tokens == 40
