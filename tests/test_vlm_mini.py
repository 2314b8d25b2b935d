"""`beholder-mini`, the default vision-language model, with the real embedded parts: what it reads, what its tokens look at, and that it can be trained.

The language model is unpacked once for all of these tests.
"""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from PIL import Image

from beholder.backbones.efficientnet_lite import EfficientNetLite
from beholder.backbones.vlm import is_vlm, open_vlm
from beholder.backbones.vlm.answers import Answerer
from beholder.backbones.vlm.hidden_states import HiddenStates
from beholder.scorers.feature_scorer import SHIPPED
from command_line import refused
from encoder_checks import check_same_in_any_batch, pictures

TOLERANCE = 1e-5  # largest difference over largest value
PROMPT = "Assess the aesthetics of this image."


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def offline(cache, own_folders, monkeypatch):
    """One cache for all tests of this file, and no hub."""
    monkeypatch.setenv("BEHOLDER_CACHE", str(cache))
    monkeypatch.setenv("BEHOLDER_OFFLINE", "1")


@pytest.fixture
def vlm():
    return open_vlm(dtype="float32", device="cpu")  # the same object for all tests


@pytest.fixture(scope="module")
def images():
    """Smooth random pictures of unlike shapes."""
    return pictures(4, sizes=((70, 50), (400, 900), (64, 64), (640, 480)))


@pytest.fixture
def prepared(vlm, images):
    return [vlm.prepare(image) for image in images]


def relative(one, other):
    return float((one - other).abs().max() / other.abs().max())


def said(vlm, turn, mask):
    return vlm.tokenizer.decode([token for token, there in zip(turn.ids, mask, strict=True) if there])


def looked_at(vlm, images):
    """Keys and values of images in the fused blocks, from the tokens that the image encoder itself gives."""
    import torch

    encoder = EfficientNetLite(layers=["map@half"], device="cpu")
    rows = encoder.encode([encoder.preprocess(image) for image in images])["map@half"].reshape(len(images), 49, 1280)
    return vlm.inner.fused.image_tokens(torch.from_numpy(rows))


def step_by_step(vlm, turn, images):
    """[31][s, width] hidden states of one conversation, its pieces between images one after the other, each of which sees its image."""
    import torch
    from transformers import DynamicCache

    fused, kept = vlm.inner.fused, DynamicCache()
    cuts = [0, *turn.places, len(turn.ids)]
    seen = looked_at(vlm, images) if images else None
    states = []
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        if start == end:
            continue
        image = seen.rows(slice(number - 1, number)) if number else None
        with fused.seeing(image), torch.inference_mode():
            ids = torch.tensor([turn.ids[start:end]])
            made = fused.language.model(input_ids=ids, past_key_values=kept, use_cache=True, output_hidden_states=True)
        states.append([state[0] for state in made.hidden_states])
    return [torch.cat(parts) for parts in zip(*states, strict=True)]


def test_it_is_the_default_and_known_without_weights(images):
    fresh = open_vlm(dtype="float32", device="cpu", max_pixels=10_000)
    assert (fresh.name, fresh.family) == ("beholder-mini", "beholder-mini")
    assert is_vlm("beholder-mini")
    assert is_vlm("Beholder-Mini")
    assert (fresh.n_blocks, fresh.width, fresh.n_vision_blocks, len(fresh.vision_widths)) == (30, 576, 17, 18)
    assert not fresh.image_tokens
    assert len(fresh.revision) == 12
    assert fresh.revision == open_vlm().revision
    assert fresh.processing != open_vlm().processing  # other pixels
    prepared = fresh.prepare(images[1])
    assert (prepared.n_tokens, prepared.text) == (0, "")
    assert {name: (one.shape, one.dtype) for name, one in prepared.arrays.items()} == {"pixel_values": ((1, 448, 448, 3), np.uint8)}
    assert fresh.at_most(images[1]).size == (66, 150)
    again = pickle.loads(pickle.dumps(fresh))
    assert np.array_equal(again.prepare(images[1]).arrays["pixel_values"], prepared.arrays["pixel_values"])
    assert fresh._model is None


def test_a_conversation_is_that_of_the_tokenizer_without_its_system_message(vlm, prepared):
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    theirs = vlm.tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True)
    turn = vlm.turn([prepared[0], PROMPT], reply=True)
    assert system + vlm.tokenizer.decode(turn.ids) == theirs
    assert said(vlm, turn, turn.prompt_mask) == PROMPT
    assert not any(turn.image_mask)
    (place,) = turn.places
    assert vlm.tokenizer.decode(turn.ids[:place]) == "<|im_start|>user\n"
    several = vlm.turn(["Two images:", prepared[0], "one", prepared[1], "and the other"], answer="3.5")
    assert vlm.tokenizer.decode(several.ids) == (
        "<|im_start|>user\nTwo images:\none\nand the other<|im_end|>\n<|im_start|>assistant\n3.5<|im_end|>"
    )
    assert [vlm.tokenizer.decode(several.ids[place : place + 1]) for place in several.places] == ["\n", "\n"]
    assert said(vlm, several, several.prompt_mask) == "Two images:oneand the other"
    assert said(vlm, several, several.answer_mask) == "3.5<|im_end|>"


def test_all_of_a_conversation_looks_at_the_image_of_its_first_question(vlm, prepared):
    turn = vlm.turn([prepared[0], "Why?"], answer="It is dark.", history=[("How good?", "Not very.")])
    assert vlm.tokenizer.decode(turn.ids) == (
        "<|im_start|>user\nHow good?<|im_end|>\n<|im_start|>assistant\nNot very.<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nIt is dark.<|im_end|>"
    )
    assert said(vlm, turn, turn.answer_mask) == "Not very.<|im_end|>It is dark.<|im_end|>"
    (looks_at,) = vlm.batch([turn]).inputs["looks_at"].tolist()
    (place,) = turn.places
    assert vlm.tokenizer.decode(turn.ids[:place]) == "<|im_start|>user\n"
    assert looks_at == [-1] * place + [0] * (len(turn.ids) - place)


def test_its_weights_are_the_shipped_ones(vlm):
    import torch
    from safetensors.torch import load_file

    shipped = load_file(SHIPPED / "pmllm" / "model.safetensors")
    mine = vlm.inner.fused.trained_state()
    assert set(mine) == set(shipped) - {"seen"}
    assert all(torch.equal(mine[name].half(), shipped[name]) for name in mine)
    assert not any(parameter.requires_grad for parameter in vlm.model.parameters())


def test_layers_are_what_one_computes_by_hand(vlm, images, prepared):
    layers = ["V0", "V11", "V15", "V16", "V17", "LV0", *(f"{kind}{i}" for kind in ("LT", "last") for i in (0, 1, 2, 3, 15, 29, 30))]
    found = HiddenStates(vlm, layers=layers, prompt=PROMPT).encode(prepared)
    encoder = EfficientNetLite(layers=["block10@half", "block14@half", "block15@half", "pool@half", "map@half"], device="cpu")
    by_encoder = encoder.encode([encoder.preprocess(image) for image in images])
    import torch

    tokens = torch.from_numpy(by_encoder["map@half"].reshape(len(images), 49, 1280))
    by_encoder["E_I"] = vlm.inner.fused.projector(tokens).mean(1).numpy()
    worst = 0.0
    for ours, theirs in {"V11": "block10@half", "V15": "block14@half", "V16": "block15@half", "V17": "pool@half", "LV0": "E_I"}.items():
        worst = max(worst, relative(torch.from_numpy(found[ours]), torch.from_numpy(by_encoder[theirs])))
    assert found["V0"].shape == (4, 32)
    turn = vlm.turn([prepared[0], PROMPT])
    for row, image in enumerate(images):
        states = step_by_step(vlm, turn, [image])
        for layer in layers:
            if not layer.startswith(("V", "LV")):
                state = states[int(layer.removeprefix("LT").removeprefix("last"))]
                hand = state.mean(0) if layer.startswith("LT") else state[-1]
                worst = max(worst, relative(torch.from_numpy(found[layer][row]), hand))
    print(f"by hand: largest relative difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    assert worst <= TOLERANCE
    assert all(np.ptp(found[layer], axis=0).max() > 1e-2 for layer in layers if layer not in ("LT0", "last0"))  # the image matters
    words = HiddenStates(vlm, layers=["LT3"], prompt=PROMPT, text="prompt").encode(prepared[3:])["LT3"]  # of the last image above
    assert relative(torch.from_numpy(words[0]), states[3][list(turn.prompt_mask)].mean(0)) <= TOLERANCE


def test_images_do_not_change_each_other(vlm, images):
    check_same_in_any_batch(HiddenStates(vlm, layers=["V3", "V17", "LV0", "LT2", "LT15", "last4"], batch=3), images)


def test_the_pass_ends_after_the_highest_layer(vlm, prepared):
    """Even within the fused blocks; blocks above are not kept."""
    layers = ["LT2", "last1", "V5"]
    short, whole = HiddenStates(layers=layers, dtype="float32", device="cpu"), HiddenStates(vlm, layers=[*layers, "LT4"])
    assert short.vlm is not vlm
    found, reference = short.encode(prepared[:2]), whole.encode(prepared[:2])
    assert max(float(np.abs(found[layer] - reference[layer]).max()) for layer in layers) < 1e-4
    assert len(short.vlm.decoder.layers) == 2
    assert len(vlm.decoder.layers) == 30


def test_each_piece_of_text_looks_at_the_image_before_it(vlm, images, prepared):
    """Rows with none, one, two and four images in one batch, padded on either side: as if each piece had been read by itself."""
    import torch

    conversations = [
        ["No image here at all, only words."],
        [prepared[0], PROMPT],
        ["Examples first.\n", prepared[1], "Example 1: 3.50", prepared[2], "Example 2: 1.25"],
        ["Four: ", prepared[3], "a", prepared[2], prepared[1], "b", prepared[0], "And this one?"],
    ]
    numbers = [[], [0], [1, 2], [3, 2, 1, 0]]
    turns = [vlm.turn(parts, reply=True) for parts in conversations]
    by_hand = [step_by_step(vlm, turn, [images[i] for i in which])[30] for turn, which in zip(turns, numbers, strict=True)]
    for side in ("right", "left"):
        with torch.inference_mode():
            batch = vlm.batch(turns, side=side)
            state = vlm.forward(batch, logits=False).last_hidden_state
        worst = max(relative(state[row][batch.mask[row]], by_hand[row]) for row in range(4))
        print(f"several images, padded on the {side}: largest relative difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
        assert worst <= TOLERANCE
    with torch.inference_mode():  # what one looks at matters, from its place on and not before
        first, second = (vlm.turn(["Words. ", prepared[i], "Other words."]) for i in (0, 3))
        one, other = (vlm.forward(vlm.batch([turn]), logits=False).last_hidden_state[0] for turn in (first, second))
        different = (one - other).abs().amax(-1) > 1e-3
        assert not different[: first.places[0]].any()
        assert different[first.places[0] :].all()


def test_going_on_from_a_kept_beginning_is_starting_over(vlm, prepared):
    """Few-shot: the examples are read once. What is written afterwards looks at the last image, too."""
    parts = ["Ratings.\n", prepared[1], "Example 1: 3", prepared[2], "Example 2: 4"]
    turns = [vlm.turn([*parts, prepared[i], "And this? A number from 1 to 5."], reply=True) for i in (0, 3)]
    answerer = Answerer(vlm, max_new_tokens=6)
    kept = answerer.keep(turns[0])
    whole, rest = answerer.logits(turns), answerer.logits(turns, prefix=kept)
    worst = relative(rest, whole)
    print(f"after a kept beginning: largest relative difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    assert worst <= TOLERANCE
    assert relative(whole[0], whole[1]) > 1e-3
    texts = [answer.text for _, answer in sorted(answerer.answers(turns, prefix=kept))]
    assert texts == [answer.text for _, answer in sorted(answerer.answers(turns))] == [greedy(vlm, turn, steps=6) for turn in turns]


def greedy(vlm, turn, *, steps):
    """Word for word, everything read again each time."""
    from dataclasses import replace

    import torch

    ids = list(turn.ids)
    for _ in range(steps):
        now = replace(turn, ids=tuple(ids), image_mask=(False,) * len(ids), prompt_mask=(False,) * len(ids))
        with torch.inference_mode():
            ids.append(int(vlm.forward(vlm.batch([now])).logits[0, -1].argmax()))
        if ids[-1] == vlm.tokenizer.eos_token_id:
            break
    return vlm.tokenizer.decode(ids[len(turn.ids) :], skip_special_tokens=True).strip()


def test_generate_of_transformers(vlm, prepared):
    import torch

    turns = [vlm.turn([prepared[0], "Describe this image in a few words."], reply=True), vlm.turn(["Say one word."], reply=True)]
    with torch.inference_mode():
        batch = vlm.batch(turns, side="left")
        made = vlm.model.generate(**batch.inputs, max_new_tokens=6, do_sample=False)[:, batch.mask.shape[1] :]
    for row, turn in enumerate(turns):
        assert vlm.tokenizer.decode(made[row], skip_special_tokens=True).strip() == greedy(vlm, turn, steps=6)


def test_it_can_be_adapted(prepared):
    """LoRA on the decoder: gradients reach every kind of layer and come through what is seen, though the model was loaded in the inference mode."""
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    own = open_vlm(dtype="float32", device="cpu", max_pixels=900_000)
    with torch.inference_mode():
        before = own.forward(own.batch([own.turn([prepared[0], PROMPT])])).logits
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    torch.manual_seed(0)
    tuner = LoraModel(own.decoder, LoraConfig(r=2, target_modules=targets), "rater")
    trained = {name: one for name, one in own.decoder.named_parameters() if one.requires_grad}
    assert len(trained) == 30 * 7 * 2
    optimizer = torch.optim.SGD(trained.values(), lr=0.05)
    batch = own.batch(
        [own.turn([prepared[i], "Rate this image."], answer=answer) for i, answer in ((0, "4.50"), (3, "1.25"))], answers=True
    )
    losses, grads = [], {}
    for looking in (True, False, True):
        made = own.forward(
            batch if looking else own.batch([own.turn(["Rate this image."], answer=a) for a in ("4.50", "1.25")], answers=True)
        )
        loss = torch.nn.functional.cross_entropy(made.logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        grads[looking] = [one.grad.clone() for one in trained.values()]
        if looking:
            losses.append(loss.item())
            optimizer.step()
    assert losses[1] < losses[0]
    reached = {name.split(".")[-4] for name, one in trained.items() if one.grad is not None and bool(one.grad.any())}
    assert reached == set(targets)
    assert max(float((one - other).abs().max()) for one, other in zip(grads[True], grads[False], strict=True)) > 1e-6
    tuner.unload()
    with torch.inference_mode():
        assert torch.equal(own.forward(own.batch([own.turn([prepared[0], PROMPT])])).logits, before)


def test_the_type_it_computes_in(vlm, prepared):
    import torch

    rough = HiddenStates(layers=["LT15", "V17"], dtype="bfloat16", device="cpu")
    exact = HiddenStates(vlm, layers=["LT15", "V17"])
    found, reference = rough.encode(prepared[:2]), exact.encode(prepared[:2])
    assert rough.vlm.decoder.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert rough.vlm.inner.fused.projector[0].weight.dtype == torch.float32
    assert np.allclose(found["V17"], reference["V17"], atol=1e-4)  # the image encoder is the same
    difference = relative(torch.from_numpy(found["LT15"]), torch.from_numpy(reference["LT15"]))
    print(f"bfloat16 against float32: {difference:.1e} of the largest value")
    assert 0 < difference < 0.05
    assert rough.preprocessing != exact.preprocessing


@pytest.mark.parametrize("layer", ["LV1", "V18", "LT31", "last31", "V-1", "pool"])
def test_layers_it_does_not_have(layer):
    refused(lambda: HiddenStates(layers=[layer]), repr(layer), "V0 to V17", "LT0 to LT30", "LV0,", "last0 to last30")


def test_tiny_and_elongated_images(vlm):
    odd = [vlm.prepare(Image.new("RGB", size, (200, 10, 90))) for size in ((1, 1), (3000, 2), (1, 500))]
    found = HiddenStates(vlm, layers=["LT3"]).encode(odd)["LT3"]
    assert np.isfinite(found).all()


def test_weights_of_ones_own_are_the_same_model_with_another_revision(tmp_path, images):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((SHIPPED / "pmllm-s" / name).read_bytes())
    own, shipped = open_vlm(tmp_path, dtype="float32", device="cpu"), open_vlm(dtype="float32", device="cpu")
    assert is_vlm(tmp_path) and own.family == shipped.family and own.revision != shipped.revision
    layers = ["LT3", "V3"]
    ours, theirs = (HiddenStates(vlm, layers=layers).encode([vlm.prepare(images[0])]) for vlm in (own, shipped))
    assert np.abs(ours["LT3"] - theirs["LT3"]).max() > 1e-3 and np.array_equal(ours["V3"], theirs["V3"])


def test_it_knows_which_images_it_learned_from(tmp_path, images):
    from safetensors.numpy import load_file, save_file

    from beholder.scorers import provenance

    for image, name in zip(images, ("known.png", "new.png"), strict=False):
        image.save(tmp_path / name)
    paths = [str(tmp_path / name) for name in ("known.png", "new.png")]
    assert open_vlm().trained_on(paths) == 0
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_bytes((SHIPPED / "pmllm" / "config.json").read_bytes())
    tensors = load_file(SHIPPED / "pmllm" / "model.safetensors") | {"seen": provenance.fingerprints(paths[:1])}
    save_file(tensors, folder / "model.safetensors")
    assert HiddenStates(folder, layers=["LT1"]).trained_on(paths) == 1
