"""What is learned from: which items, in which order, and what the model gets of them."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_vlms
import tuning_worlds
from beholder.backbones.vlm.base import IGNORED
from beholder.critique.aesmmit.instructions import Instruction, read_instructions
from beholder.critique.tuning import TuningOptions, data
from beholder.critique.tuning.conversation import SYSTEM, Conversations, check_base
from beholder.critique.tuning.tiny import make_tiny_llava, tiny_llava
from beholder.options import from_texts
from command_line import refused

TURNS = (("What is it?", "A house."), ("How good?", "Quite so."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llava(tmp_path_factory.mktemp("tiny"), ["What is it?", "A house.", "How good?", "Quite so."])


def opened(folder, *, template="v1", pad=True):
    return Conversations("tiny", folder=Path(folder), template=template, pad=pad, device="cpu", dtype="float32")


@pytest.fixture
def chat(folder):
    return opened(folder)


def said(chat, ids):
    return chat.tokenizer.decode(ids)


def test_a_conversation_is_that_of_llava_v1_and_only_answers_are_learned(chat):
    turn = chat.conversation(TURNS, Image.new("RGB", (30, 20)))
    seen = "<image>" * 16
    assert said(chat, turn.ids) == (
        f"<s>{SYSTEM} USER: {seen}\nWhat is it? ASSISTANT: A house.</s>USER: How good? ASSISTANT: Quite so.</s>"
    )
    ids, labels, cut = chat.labelled(turn, max_length=2048)
    assert ids == list(turn.ids) and not cut
    learned = [label for label in labels if label != IGNORED]
    assert said(chat, learned) == " A house.</s> Quite so.</s>"
    assert [label for label, token in zip(labels, ids, strict=True) if label not in (IGNORED, token)] == []


def test_without_an_image_it_is_the_same_but_for_the_image(chat):
    turn = chat.conversation(TURNS[:1])
    assert said(chat, turn.ids) == f"<s>{SYSTEM} USER: What is it? ASSISTANT: A house.</s>"
    assert turn.images == ()


def test_the_models_own_template_is_kept_if_wanted(tmp_path):
    own = opened(tiny_vlms.save_llava(tmp_path), template="own")
    turn = own.conversation(TURNS, Image.new("RGB", (30, 20)))
    seen = "<image>" * 16
    assert said(own, turn.ids) == f"USER: {seen}\nWhat is it? ASSISTANT: A house. USER: How good? ASSISTANT: Quite so.</s>"
    labels = [label for label in own.labelled(turn, max_length=2048)[1] if label != IGNORED]
    assert said(own, labels) == " A house. Quite so.</s>"  # this template writes no end between messages


def test_images_become_squares_with_bars_of_the_mean_colour(folder):
    """Nothing of the image is lost, as with LLaVA-1.5; without it the margins are cut off."""
    image = Image.new("RGB", (64, 32), (255, 255, 255))
    image.paste((255, 0, 0), (0, 0, 8, 32))
    padded, cropped = (opened(folder, pad=pad).prepare(image).arrays["pixel_values"][0] for pad in (True, False))
    assert padded.shape == cropped.shape == (3, 32, 32)
    assert np.abs(padded[:, :6]).max() < 0.02 > np.abs(padded[:, -6:]).max()  # the mean colour is 0 after normalisation
    assert padded[1, 16, 0] < -1 < 1 < padded[1, 16, 16]  # the red margin is there
    assert cropped[1].min() > 1  # and not here


def test_longer_conversations_lose_their_end_and_are_counted(chat, tmp_path):
    whole = chat.conversation(TURNS, Image.new("RGB", (30, 20)))
    n = len(whole.ids)
    ids, labels, cut = chat.labelled(whole, max_length=n - 3)
    assert len(ids) == len(labels) == n - 3 and cut and ids == list(whole.ids)[:-3]
    items = [Instruction("a", "a.png", TURNS), Instruction("b", "a.png", TURNS[:1]), Instruction("c", "", (("x " * 400, "y"),))]
    kept = data.keep(items, wrong={"a.png": ""}, chat=chat, max_length=n - 3)
    assert [item.id for item in kept.items] == ["a", "b"]
    assert kept.cut == 1
    assert len(kept.left_out) == 1 and "(c)" in kept.left_out[0] and "max_length" in kept.left_out[0]
    assert data.keep(items[:2], wrong={"a.png": ""}, chat=chat, max_length=n).cut == 0


def test_what_cannot_be_learned_from_is_named(chat, tmp_path):
    items = tuning_worlds.world(tmp_path, 4)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "2.png").unlink()
    items += [Instruction("empty", "0.png", (("?", " "),)), Instruction("none", "0.png", ())]
    wrong = data.check_images(items, images=tmp_path, kept=tmp_path / "kept.json")
    assert wrong["0.png"] == wrong["3.png"] == ""
    assert "truncated" in wrong["1.png"] and "not there" in wrong["2.png"]
    kept = data.keep(items, wrong=wrong, chat=chat, max_length=2048)
    assert [item.id for item in kept.items] == ["0", "3"]
    assert "1.png" in kept.left_out[0] and "2.png" in kept.left_out[0] and "2 items" in kept.left_out[0]
    assert "empty, none" in kept.left_out[1]
    refused(lambda: data.keep(items[1:3], wrong=wrong, chat=chat, max_length=2048), "2 items are left out", "1.png")
    refused(lambda: data.keep([], wrong={}, chat=chat, max_length=2048), "no items to learn from")


def test_system_messages_of_items_are_not_dropped_in_silence(chat, tmp_path):
    talk = [{"from": "system", "value": "You are a critic."}, {"from": "human", "value": "How is the light?"}, {"from": "gpt", "value": "Soft."}]
    plain = [*talk[1:]]
    (tmp_path / "a.json").write_text(json.dumps([{"id": "a", "conversations": talk}, {"id": "b", "conversations": plain}]))
    kept = data.keep(read_instructions(tmp_path / "a.json"), wrong={}, chat=chat, max_length=2048)
    assert [item.turns for item in kept.items] == [(("How is the light?", "Soft."),)] * 2
    assert len(kept.left_out) == 1 and "system messages of 1 items" in kept.left_out[0]


def test_images_are_looked_at_once(tmp_path, monkeypatch):
    items, kept = tuning_worlds.world(tmp_path, 3), tmp_path / "kept.json"
    read = []

    def reading(path, **options):
        read.append(Path(path).name)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(data, "read_photo", reading)
    first = data.check_images(items, images=tmp_path, kept=kept)
    assert sorted(read) == ["0.png", "1.png", "2.png"]
    assert data.check_images(items, images=tmp_path, kept=kept) == first and len(read) == 3
    Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    data.check_images(items, images=tmp_path, kept=kept)
    assert read[3:] == ["1.png"]
    kept.write_text("{")
    data.check_images(items, images=tmp_path, kept=kept)
    assert len(read) == 7
    assert len(json.loads(kept.read_text())) == 3


def items_of(lengths, *, text_from):
    return [Instruction(f"{i}", "" if i >= text_from else "a.png", (("?", "x" * length),)) for i, length in enumerate(lengths)]


@pytest.mark.parametrize(("n", "text_from", "epochs"), [(40, 40, 1), (45, 30, 1), (45, 30, 3), (7, 3, 2), (5, 0, 2)])
def test_every_item_comes_once_an_epoch_and_never_images_beside_text_alone(n, text_from, epochs):
    items = items_of(np.random.default_rng(0).integers(1, 90, n), text_from=text_from)
    places = data.order(items, batch=4, step=16, epochs=epochs, by_length=True, seed=3)
    for batch in itertools.batched(places, 4) if hasattr(itertools, "batched") else [places[i : i + 4] for i in range(0, len(places), 4)]:
        assert len({bool(items[place].image) for place in batch}) == 1
    counts = np.bincount(places, minlength=n)
    assert (counts[:text_from] == epochs).all()
    assert (counts >= epochs).all() and (counts - epochs).sum() < 4  # a batch of text alone may have been filled up
    if text_from in (0, n):
        assert (counts == epochs).all()
    assert places.tolist() == data.order(items, batch=4, step=16, epochs=epochs, by_length=True, seed=3).tolist()


def test_batches_are_of_about_one_length_and_the_order_is_the_seeds():
    items = items_of(np.random.default_rng(1).integers(1, 200, 256), text_from=256)
    lengths = np.array([len(item.turns[0][1]) for item in items])

    def spread(**given):
        places = data.order(items, **{"batch": 8, "step": 64, "epochs": 1, "by_length": True, "seed": 0} | given)
        return np.ptp(lengths[places].reshape(-1, 8), axis=1).mean(), places.tolist()

    grouped, one = spread()
    at_random, other = spread(by_length=False)
    print(f"mean spread within a batch: {grouped:.0f} signs, at random {at_random:.0f}")
    assert grouped < at_random / 3
    assert one != spread(seed=1)[1]
    assert sorted(one) == sorted(other)


def test_a_batch_is_that_of_the_model_that_reads_it_later(chat, tmp_path):
    from beholder.critique.tuning.collate import Collator

    items = tuning_worlds.world(tmp_path, 3, turns=2)
    items[1] = dataclasses.replace(items[1], turns=items[1].turns[:1])
    examples = data.Examples(items, chat=chat, images=tmp_path, max_length=2048)
    collator = Collator(padding=chat.padding, image_token=chat.image_token_id, image_tokens=16, pixels=(1, 3, 32, 32))
    made = collator([examples[place] for place in range(3)])
    turns = [chat.conversation(item.turns, Image.open(tmp_path / item.image)) for item in items]
    batch = chat.batch(turns, answers=True)
    for name in ("input_ids", "attention_mask", "pixel_values"):
        assert made[name].tolist() == batch.inputs[name].tolist(), name
    assert made["labels"].tolist() == batch.labels.tolist()


def test_a_batch_of_text_alone_computes_as_if_nothing_stood_behind_it(chat, folder):
    """It gets an image that nothing looks at; so the projector has a gradient, of 0, on every device."""
    import torch
    import transformers

    from beholder.critique.tuning.collate import Collator

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    collator = Collator(padding=chat.padding, image_token=chat.image_token_id, image_tokens=16, pixels=(1, 3, 32, 32))
    examples = data.Examples([Instruction("a", "", TURNS), Instruction("b", "", TURNS[:1])], chat=chat, images=folder, max_length=2048)
    made = collator([examples[0], examples[1]])
    assert made["pixel_values"].shape == (1, 3, 32, 32) and int((made["input_ids"] == chat.image_token_id).sum()) == 16
    plain = chat.batch([chat.conversation(TURNS), chat.conversation(TURNS[:1])], answers=True)
    with_image = model(**made).loss
    without = model(**plain.inputs, labels=plain.labels).loss
    assert with_image.item() == pytest.approx(without.item(), rel=1e-6)
    with_image.backward()
    gradient = model.model.multi_modal_projector.linear_1.weight.grad
    assert gradient is not None and torch.count_nonzero(gradient) == 0


def test_the_same_texts_give_the_same_tiny_model(own_folders):
    import torch
    from safetensors.torch import load_file

    one = tiny_llava(["red", "blue"])
    assert tiny_llava(["blue", "red", "red"]) == one
    again = make_tiny_llava(own_folders / "again", ["blue", "red"])
    first, second = load_file(one / "model.safetensors"), load_file(again / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first) and first.keys() == second.keys()
    assert (one / "tokenizer.json").read_text() == (again / "tokenizer.json").read_text()
    assert tiny_llava(["green"]) != one


def test_options_are_those_of_the_recipe():
    made = TuningOptions()
    assert (made.epochs, made.weight_decay, made.warmup_ratio, made.schedule, made.max_length) == (1, 0, 0.03, "cosine", 2048)
    assert made.rate == 2e-5 and TuningOptions(method="lora").rate == 2e-4
    assert [made.batch * made.accumulated(devices) * devices for devices in (1, 2, 8)] == [128] * 3
    assert from_texts(TuningOptions, {"batch": "2", "accumulate": "none"}, of="aesexpert").accumulated(1) == 64
    ready = {kind: TuningOptions(**{kind: "default"}).distributed(kind) for kind in ("fsdp", "deepspeed")}
    assert ready["fsdp"]["version"] == 2 and ready["deepspeed"]["zero_optimization"]["stage"] == 3


def test_bad_options_are_refused(tmp_path):
    refused(lambda: TuningOptions(batch=0), "batch = 0")
    refused(lambda: TuningOptions(seed=-1), "seed = -1")
    refused(lambda: TuningOptions(seed=2**32), "seed = 4294967296", "too large")
    refused(lambda: TuningOptions(learning_rate=0), "learning_rate = 0")
    refused(lambda: TuningOptions(warmup_ratio=1.0), "warmup_ratio")
    refused(lambda: TuningOptions(fsdp="default", deepspeed="default"), "fsdp and deepspeed")
    refused(lambda: TuningOptions(fsdp=str(tmp_path / "gone.json")).distributed("fsdp"), "gone.json", "fsdp=default")
    (tmp_path / "list.json").write_text("[]")
    refused(lambda: TuningOptions(deepspeed=str(tmp_path / "list.json")).distributed("deepspeed"), "no object of settings")


def test_other_models_are_refused():
    original = {"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    refused(lambda: check_base(original, name="liuhaotian/llava-v1.5-7b"), "original LLaVA", "llava-hf/llava-1.5-7b-hf")
    refused(lambda: check_base({"architectures": ["LlavaLlamaForCausalLM"]}, name="x"), "original LLaVA")
    refused(lambda: check_base({"model_type": "qwen3_vl"}, name="x"), "'qwen3_vl'", "tiny-random")
    check_base({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}, name="x")
