"""Qwen3-VL and Qwen2.5-VL through our adapters: the same tokens, pixels and logits as in transformers, without torchvision; and what is refused."""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_llama
import tiny_qwen
from beholder.backbones.vlm import is_vlm, open_vlm
from beholder.backbones.vlm.chat_text import ChatText
from beholder.backbones.vlm.prompts import FEW_SHOT_EXAMPLE, PROMPTS
from beholder.errors import BeholderError
from command_line import refused
from encoder_checks import pictures

SAVE = {"qwen3_vl": tiny_qwen.save_qwen3_vl, "qwen2_5_vl": tiny_qwen.save_qwen2_5_vl}
TOLERANCE = 1e-5  # largest difference over largest value


@pytest.fixture(scope="module", params=SAVE)
def folder(request, tmp_path_factory):
    return SAVE[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def vlm(folder):
    return open_vlm(folder, dtype="float32", device="cpu")


def decoded(vlm, turn, mask):
    return vlm.tokenizer.decode([token for token, there in zip(turn.ids, mask, strict=True) if there])


def test_what_is_known_without_weights(vlm, folder):
    assert (vlm.n_blocks, vlm.width, vlm.n_vision_blocks, vlm.vision_width) == (5, 32, 4, 24)
    assert vlm.family == json.loads((Path(folder) / "config.json").read_text())["model_type"]
    assert len(vlm.revision) == 12
    assert is_vlm(folder)
    assert vlm._model is None


def test_sizes_that_the_configuration_leaves_out(folder, tmp_path):
    """Some versions of transformers write only what differs from the default."""
    for file in Path(folder).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"].pop("layer_types", None)
    del config["text_config"]["num_hidden_layers"], config["vision_config"]["depth"], config["image_token_id"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    vlm = open_vlm(tmp_path)
    default = {"qwen3_vl": (32, 27), "qwen2_5_vl": (80, 32)}[vlm.family]
    assert (vlm.n_blocks, vlm.n_vision_blocks, vlm.image_token_id) == (*default, 151655)


def test_one_object_for_all_who_ask_for_the_same(folder, vlm):
    assert open_vlm(folder, dtype="float32", device="cpu") is vlm
    assert open_vlm(folder, dtype="float32", device="cpu", max_pixels=4096) is not vlm
    own = open_vlm(folder, dtype="float32", device="cpu", blocks=2)
    assert own is not vlm
    assert own is not open_vlm(folder, dtype="float32", device="cpu", blocks=2)
    assert len(own.decoder.layers) == 2
    assert not hasattr(own.model, "lm_head")
    assert own.n_blocks == 5
    assert len(vlm.decoder.layers) == 5


def test_a_folder_that_gets_another_model(tmp_path):
    before = open_vlm(tiny_qwen.save_qwen3_vl(tmp_path, seed=0))
    assert open_vlm(tmp_path) is before
    revision = before.revision
    gone = weakref.ref(before)
    after = open_vlm(tiny_qwen.save_qwen3_vl(tmp_path, seed=1))
    assert after is not before
    assert after.revision != revision
    del before
    gc.collect()
    assert gone() is None  # weights of a model that is not there any more are not held in memory
    for name in ("chat_template.jinja", "generation_config.json"):  # the latter says where an answer ends
        revision, processing = after.revision, after.processing
        (tmp_path / name).write_text(" " + (tmp_path / name).read_text())
        other = open_vlm(tmp_path)
        assert other is not after and other.revision == revision and other.processing != processing
        after = other


def test_an_image_is_expanded_as_the_processor_of_transformers_does_it(vlm):
    """The processor as a whole cannot be built without torchvision; its function can be called."""
    import transformers

    maker = {"qwen3_vl": transformers.Qwen3VLProcessor, "qwen2_5_vl": transformers.Qwen2_5_VLProcessor}[vlm.family]
    theirs = object.__new__(maker)
    theirs.image_processor, theirs.image_token = vlm.processor, "<|image_pad|>"
    for picture in pictures(3):
        prepared = vlm.prepare(picture)
        assert prepared.text == theirs.replace_image_token({"image_grid_thw": prepared.arrays["image_grid_thw"]}, 0)
        direct = vlm.processor(images=picture, return_tensors="np")
        assert np.array_equal(prepared.arrays["pixel_values"], direct["pixel_values"])


def test_a_turn_is_the_template_filled_in(vlm):
    one, other = (vlm.prepare(picture) for picture in pictures(2, sizes=((70, 50), (64, 64))))
    assert one.n_tokens != other.n_tokens
    parts = ["Look:\n", one, "Example 1", other, "And this? "]
    turn = vlm.turn(parts, reply=True)
    start, end = "<|vision_start|>", "<|vision_end|>"
    expected = f"<|im_start|>user\nLook:\n{start}{one.text}{end}Example 1{start}{other.text}{end}And this? <|im_end|>\n<|im_start|>assistant\n"
    assert vlm.tokenizer.decode(turn.ids) == expected
    assert turn.ids == tuple(vlm.tokenizer(expected)["input_ids"])
    assert decoded(vlm, turn, turn.prompt_mask) == "Look:\nExample 1And this? "
    assert decoded(vlm, turn, turn.image_mask) == one.text + other.text
    assert [turn.ids[place - 1] for place in turn.places] == [vlm.tokenizer.convert_tokens_to_ids(start)] * 2
    assert [turn.image_mask[place] for place in turn.places] == [True, True]
    assert vlm.turn(parts).ids == turn.ids[: len(vlm.turn(parts).ids)]
    assert turn.images == (one, other)
    assert turn.answer_mask == ()


def test_an_answer_follows_the_generation_prompt_and_ends(vlm):
    image = vlm.prepare(pictures(1)[0])
    asked, answered = vlm.turn([image, "How good?"], reply=True), vlm.turn([image, "How good?"], answer="3.50")
    assert answered.ids[: len(asked.ids)] == asked.ids
    assert decoded(vlm, answered, answered.answer_mask) == "3.50<|im_end|>"
    batch = vlm.batch([answered, vlm.turn([image, "?"], answer="4")], answers=True)
    for row, text in enumerate(("3.50<|im_end|>", "4<|im_end|>")):
        assert vlm.tokenizer.decode(batch.labels[row][batch.labels[row] != -100]) == text
    assert (batch.labels[~batch.mask] == -100).all()
    assert vlm.batch([answered]).labels is None


@pytest.mark.parametrize("template_writes", [":", ": "])
def test_an_answer_leaves_the_tokens_of_its_question_alone(template_writes):
    """Also where its first sign would join their last one; and a space that the template puts before an answer belongs to it."""
    from tokenizers import Regex, pre_tokenizers

    tokenizer = tiny_qwen.tokenizer()
    tokenizer.add_tokens([":3"])
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(":3|."), "isolated")
    template = (
        "{% for message in messages %}{{ message['role'] }}{{ ':' if message['role'] == 'user' else '" + template_writes + "' }}"
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    chat = ChatText(tokenizer, template, placeholder="<|image_pad|>", name="tiny")
    asked = chat.fill(["good?"], [], reply=True)
    assert asked.text == "user:good?<|im_end|>\nassistant:"
    assert asked.text[slice(*asked.words[0])] == "good?"
    said, end = chat.answered("3.5")
    assert (said, end) == (template_writes[1:] + "3.5", "<|im_end|>")
    before, (tokens, mask) = chat.tokens(asked.text), chat.with_answer(asked.text, "3.5")
    assert tokens.ids[: len(before.ids)] == before.ids
    assert tokenizer.decode([token for token, there in zip(tokens.ids, mask, strict=True) if there]) == said + end
    joined = chat.tokens(asked.text + said).ids
    assert (joined[: len(before.ids)] == before.ids) == (template_writes == ": ")  # the case is what it says


def test_words_cannot_end_their_turn_nor_stand_for_an_image(vlm):
    image = vlm.prepare(pictures(1)[0])
    turn = vlm.turn([image, "a<|im_end|>b<|image_pad|>c"], reply=True)
    assert sum(turn.image_mask) == image.n_tokens
    assert turn.ids.count(vlm.tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert decoded(vlm, turn, turn.prompt_mask).startswith("a< |")


def test_a_template_that_trims_and_puts_images_first(tmp_path):
    """Then the words are still known, and the images are where the template has put them."""
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<|image_pad|>\n{% endif %}{% endfor %}{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] | trim }}\n{% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    vlm = open_vlm(tiny_qwen.save_qwen3_vl(tmp_path, template=template))
    image = vlm.prepare(pictures(1)[0])
    turn = vlm.turn(["  user \n", image], reply=True)
    assert vlm.tokenizer.decode(turn.ids) == f"<|im_start|>user\n{image.text}\nuser\nassistant:"
    assert decoded(vlm, turn, turn.prompt_mask) == "user"
    assert turn.prompt_mask.index(True) > turn.places[0]
    answered = vlm.turn([image, "user"], answer="3")  # without an end mark of the template's own: the tokenizer's
    assert decoded(vlm, answered, answered.answer_mask) == "3<|im_end|>"


@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_are_those_of_transformers(vlm, folder, side):
    """Alone as transformers gives them, and the same in a batch of unlike lengths, with several images a turn."""
    import torch
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    images = [vlm.prepare(picture) for picture in pictures(4)]
    turns = [vlm.turn([images[0], "Hello"], reply=True), vlm.turn([images[1], "a", images[2], "some longer words"]), vlm.turn([images[3], "x"])]
    with torch.inference_mode():
        batch = vlm.batch(turns, side=side)
        together = vlm.forward(batch).logits
        worst = 0.0
        for row, turn in enumerate(turns):
            ids = torch.tensor([turn.ids])
            pixels = [torch.from_numpy(np.concatenate([image.arrays[name] for image in turn.images])) for name in ("pixel_values", "image_grid_thw")]
            types = (ids == vlm.image_token_id).int()
            made = model(input_ids=ids, pixel_values=pixels[0], image_grid_thw=pixels[1], mm_token_type_ids=types).logits[0]
            worst = max(worst, float((together[row][batch.mask[row]] - made).abs().max() / made.abs().max()))
        print(f"{vlm.name}, padded on the {side}: largest relative difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
        assert worst <= TOLERANCE
        words = vlm.batch([vlm.turn(["no image"]), vlm.turn(["none here, too"])])
        assert vlm.forward(words).logits.shape[:2] == words.mask.shape
        assert not hasattr(vlm.forward(batch, logits=False), "logits")


def test_a_batch_lies_in_the_type_of_the_model(folder):
    import torch

    vlm = open_vlm(folder, dtype="bfloat16", device="cpu")
    batch = vlm.batch([vlm.turn([vlm.prepare(pictures(1)[0]), "x"])])
    assert batch.inputs["pixel_values"].dtype == torch.bfloat16
    assert batch.inputs["input_ids"].dtype == batch.inputs["image_grid_thw"].dtype == torch.int64
    assert {parameter.dtype for parameter in vlm.model.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in vlm.model.parameters())


def test_large_images_are_made_smaller_in_their_proportions(folder):
    vlm = open_vlm(folder, max_pixels=4096)
    large, small = Image.new("RGB", (400, 100), "red"), Image.new("RGB", (64, 64), "red")
    assert vlm.at_most(small) is small
    width, height = vlm.at_most(large).size
    assert 0.9 * 4096 < width * height <= 4096
    assert width / height == pytest.approx(4, rel=0.05)
    assert vlm.prepare(large).n_tokens < open_vlm(folder).prepare(large).n_tokens
    assert len({open_vlm(folder, max_pixels=most).processing for most in (4096, 4097, 1_048_576)}) == 3
    assert vlm.at_most(Image.new("RGB", (100_000, 1))).size[1] == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 2), (5, 3)])
def test_extreme_images_are_seen(folder, size):
    vlm = open_vlm(folder, dtype="float32", device="cpu")
    image = vlm.prepare(Image.new("RGB", size, (10, 200, 30)))
    assert image.n_tokens >= 1
    assert np.isfinite(image.arrays["pixel_values"]).all()


def test_prepare_in_several_threads(folder):
    vlm = open_vlm(folder, max_pixels=9999)  # nobody has opened it so before
    images = pictures(12)
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(vlm.prepare, images))
    for image, prepared in zip(images, at_once, strict=True):
        assert np.array_equal(prepared.arrays["pixel_values"], vlm.prepare(image).arrays["pixel_values"])
        assert pickle.loads(pickle.dumps(prepared)).text == prepared.text


def test_another_template_or_other_weights_show(folder, tmp_path):
    other = open_vlm(SAVE[open_vlm(folder).family](tmp_path, seed=1, template=tiny_qwen.TEMPLATE + "\n"))
    assert other.revision != open_vlm(folder).revision
    assert other.processing != open_vlm(folder).processing


def test_what_is_refused(folder, tmp_path):
    def asked(name, template):
        vlm = open_vlm(tiny_qwen.save_qwen3_vl(tmp_path / name, template=template))
        return vlm.turn([vlm.prepare(pictures(1)[0]), "x"])

    refused(lambda: asked("without", None), "no chat template", "chat_template.jinja")
    blind = "{% for message in messages %}{% for part in message['content'] %}{{ part.text or '' }}{% endfor %}{% endfor %}"
    refused(lambda: asked("blind", blind), "does not write <|image_pad|>")
    refused(lambda: asked("shouting", tiny_qwen.TEMPLATE.replace("part['text']", "part['text'] | upper")), "does not keep the words")
    refused(lambda: asked("broken", "{{ raise_exception('no') }}"), "cannot be used", "no")
    refused(lambda: open_vlm(folder, dtype="int8"), "dtype = 'int8'", "bfloat16")
    refused(lambda: open_vlm(folder, max_pixels=0), "max_pixels = 0")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((Path(folder) / "config.json").read_text())
    refused(lambda: open_vlm(tmp_path / "bare"), "no safetensors weights")


def test_what_is_no_vlm(tmp_path):
    made = tiny_llama.llama()
    made.model.save_pretrained(tmp_path / "llama")
    assert not is_vlm(tmp_path / "llama")
    assert not is_vlm(tmp_path / "nothing")
    assert not is_vlm("efficientnet-lite0")
    assert is_vlm("beholder-mini")
    with pytest.raises(BeholderError, match="no vision-language model of a known family"):
        open_vlm(tmp_path / "llama")


def test_weights_that_lack_something(tmp_path):
    """A model is never completed with random numbers."""
    from safetensors.numpy import load_file, save_file

    tiny_qwen.save_qwen3_vl(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in tensors if "layers.1.mlp.up_proj" in name)
    save_file({name: one for name, one in tensors.items() if name != gone}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    vlm = open_vlm(tmp_path, dtype="float32", device="cpu")
    with pytest.raises(BeholderError, match=r"lack .*layers\.1\.mlp\.up_proj"):
        vlm.load()
    open_vlm(tmp_path, dtype="float32", device="cpu", blocks=1).load()  # the one below it is whole


def test_damaged_files(tmp_path):
    tiny_qwen.save_qwen3_vl(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:5000])
    refused(open_vlm(tmp_path, dtype="float32", device="cpu").load, "cannot be loaded", "download it again")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl", "text_config": {"hidden_size": "wide"}}')
    refused(lambda: open_vlm(tmp_path, dtype="float32", device="cpu").width, "config.json", "cannot be used")
    (tmp_path / "config.json").write_text("{")
    refused(lambda: open_vlm(tmp_path), "config.json cannot be read")


def test_the_published_prompts():
    assert PROMPTS["base"] == "Assess the aesthetics of this image."
    assert PROMPTS["attributes"].count(", ") == 10
    assert PROMPTS["attributes"].endswith("use them as internal criteria.")
    assert PROMPTS["describe"] != PROMPTS["attributes"]
    assert FEW_SHOT_EXAMPLE.format(number=2, score=3.456) == "Example 2: This user rated this image 3.46 out of 5."


def test_no_torch_before_it_is_needed(folder):
    code = (
        "import sys; from beholder.backbones import load_encoder, default_layers; from beholder.backbones.vlm import prompts, open_vlm, hidden_states\n"
        f"default_layers({folder!r}); open_vlm({folder!r}).n_blocks; load_encoder({folder!r}, layer='LT2', dtype='float32').layers\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_images_are_prepared_while_another_thread_holds_the_model(folder):
    vlm = open_vlm(folder, dtype="float32", device="cpu", max_pixels=5000)  # nothing of it is read yet
    with vlm.lock, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: (vlm.prepare(pictures(1)[0]), vlm.tokenizer))
        assert waiting.result(timeout=60)[0].n_tokens > 0


def test_an_old_transformers_is_refused(folder, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers, "__version__", "4.57.1")
    vlm = open_vlm(folder, dtype="float32", device="cpu", max_pixels=6000)
    refused(lambda: vlm.tokenizer, "need transformers 5 or newer, 4.57.1 is installed", "pip install -U transformers")
