"""LLaVA, Gemma 3, Idefics3 and SmolVLM through our adapters: tokens, pixels and hidden states are those of transformers, whatever stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_vlms
from beholder.backbones.vlm import is_vlm, open_vlm
from beholder.backbones.vlm.hidden_states import HiddenStates
from command_line import refused

SAVE = {
    "llava": tiny_vlms.save_llava,
    "gemma3": tiny_vlms.save_gemma3,
    "idefics3": tiny_vlms.save_idefics3,
    "smolvlm": tiny_vlms.save_smolvlm,
}
SIZES = ((60, 40), (37, 100), (64, 64), (20, 24), (150, 30))
TOLERANCE = 1e-5  # largest difference over largest value


def picture(size, seed=0):
    """Noise of (width, height)."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


PICTURES = [picture(size, seed) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module", params=SAVE)
def folder(request, tmp_path_factory):
    return SAVE[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def vlm(folder):
    return open_vlm(folder, dtype="float32", device="cpu")


@pytest.fixture
def processor(folder, vlm):
    """The processor of transformers. That of SmolVLM wants a video processor, which wants torchvision; for images that of Idefics3 does the same."""
    import transformers

    pixels = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    if vlm.family == "llava":
        options = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        return transformers.LlavaProcessor(pixels, tokens, chat_template=tokens.chat_template, **options)
    if vlm.family == "gemma3":
        return transformers.Gemma3Processor(pixels, tokens, chat_template=tokens.chat_template, image_seq_length=4)
    return transformers.Idefics3Processor(pixels, tokens, chat_template=tokens.chat_template, image_seq_len=4)


def relative(one, other):
    return float(np.abs(one - other).max() / np.abs(other).max())


def conversation(parts):
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
    return [{"role": "user", "content": content}]


def asked(processor, parts):
    """What the processor of transformers makes of one conversation of texts and pictures."""
    text = processor.apply_chat_template(conversation(parts), add_generation_prompt=True)
    pictures = [part for part in parts if not isinstance(part, str)]
    own = processor.tokenizer.bos_token and text.startswith(processor.tokenizer.bos_token)
    return processor(text=[text], images=[pictures] if pictures else None, add_special_tokens=not own, return_tensors="pt")


@pytest.mark.parametrize(
    "parts", [[PICTURES[0], "How good?"], ["Two: ", PICTURES[1], "and", PICTURES[3], "which?"], [PICTURES[4], PICTURES[2], "x"]]
)
def test_inputs_are_those_of_the_processor(vlm, processor, parts):
    theirs = asked(processor, parts)
    turn = vlm.turn([part if isinstance(part, str) else vlm.prepare(part) for part in parts], reply=True)
    ours = vlm.batch([turn]).inputs
    assert turn.ids == tuple(theirs["input_ids"][0].tolist())
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        assert ours[name].tolist() == value.tolist(), name
    assert sum(turn.image_mask) == sum(image.n_tokens for image in turn.images) > 0
    assert [turn.ids[place] for place in turn.places] == [vlm.image_token_id] * len(turn.images)
    words = "".join(part for part in parts if isinstance(part, str))
    said = vlm.tokenizer.decode([token for token, there in zip(turn.ids, turn.prompt_mask, strict=True) if there])
    assert said == (words.replace("Two: ", "Two:") if vlm.family == "gemma3" else words)  # whose template trims


def test_an_answer_ends_with_the_mark_of_the_family(vlm):
    turn = vlm.turn([vlm.prepare(PICTURES[0]), "How good?"], answer="3.5")
    said = vlm.tokenizer.decode([token for token, there in zip(turn.ids, turn.answer_mask, strict=True) if there])
    mark = {"llava": "</s>", "gemma3": "<end_of_turn>"}.get(vlm.family, "<end_of_utterance>")
    assert said.strip().startswith("3.5")
    assert mark in said


@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_are_those_of_transformers(vlm, folder, processor, side):
    """Alone as transformers gives them, and the same in a batch of unlike lengths, with several images a turn and with none."""
    import torch
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    conversations = [
        [PICTURES[0], "Hello"],
        ["a", PICTURES[1], PICTURES[3], "b"],
        ["nothing to see, but quite some words to read here"],
        [PICTURES[4], "x"],
    ]
    turns = [vlm.turn([part if isinstance(part, str) else vlm.prepare(part) for part in parts], reply=True) for parts in conversations]
    with torch.inference_mode():
        batch = vlm.batch(turns, side=side)
        together, worst = vlm.forward(batch).logits, 0.0
        for row, parts in enumerate(conversations):
            alone = model(**asked(processor, parts)).logits[0]
            worst = max(worst, relative(together[row][batch.mask[row]].numpy(), alone.numpy()))
    print(f"{vlm.family}, padded on the {side}: largest relative difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    assert worst <= TOLERANCE


def by_hand(vlm, folder, processor, image, prompt):
    """All layers of one image, from what transformers gives back of a whole forward pass."""
    import torch
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    text = processor.apply_chat_template(conversation([image, prompt]))
    given = processor(text=[text], images=[[image]], add_special_tokens=not text.startswith("<s>"), return_tensors="pt")
    tower = model.model.vision_model if vlm.family in ("idefics3", "smolvlm") else model.model.vision_tower
    seen = {"args": None}

    def keep(module, args, kwargs):
        seen["args"] = args, kwargs

    handle = tower.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.inference_mode():
        states = model(**given, output_hidden_states=True).hidden_states
        handle.remove()
        args, kwargs = seen["args"]
        vision = tower(*args, **kwargs | {"output_hidden_states": True, "return_dict": True}).hidden_states
    first = 1 if vlm.family == "llava" else 0  # without the class token
    image_tokens = given["input_ids"][0] == vlm.image_token_id
    found = {f"V{i}": state[:, first:].flatten(0, 1).mean(0) for i, state in enumerate(vision)}
    for i, state in enumerate(states):
        found |= {f"LT{i}": state[0][~image_tokens].mean(0), f"LV{i}": state[0][image_tokens].mean(0), f"last{i}": state[0][-1]}
    return {layer: value.numpy() for layer, value in found.items()}


def test_hidden_states_are_those_of_transformers(vlm, folder, processor):
    """Every layer of the vision encoder and the decoder, of images of unlike sizes, computed together and one by one."""
    layers = [f"V{i}" for i in range(4)] + [f"{kind}{i}" for kind in ("LT", "LV", "last") for i in range(5)]
    together = HiddenStates(folder, layers=layers, dtype="float32", device="cpu", batch=5)
    alone = HiddenStates(folder, layers=layers, dtype="float32", device="cpu", batch=1)
    prepared = [together.preprocess(image) for image in PICTURES]
    ours, single = together.encode(prepared), alone.encode(prepared)
    worst, beside = 0.0, max(relative(ours[layer], single[layer]) for layer in layers)
    for row, image in enumerate(PICTURES):
        theirs = by_hand(vlm, folder, processor, image, together.prompt)
        assert set(theirs) == set(layers)
        worst = max(worst, *(relative(ours[layer][row], theirs[layer]) for layer in layers))
    print(f"{vlm.family}: by hand {worst:.1e}, alone against together {beside:.1e}, tolerance {TOLERANCE:.0e}")
    assert max(worst, beside) <= TOLERANCE
    seeing = [layer for layer in layers if layer.startswith(("V", "LV")) or layer in ("LT4", "last4")]
    assert all(np.ptp(ours[layer], axis=0).max() > 1e-3 for layer in seeing)  # the image matters


def test_the_pass_ends_after_the_highest_layer(vlm, folder):
    layers = ["LT1", "LV2", "last2", "V2"]
    short = HiddenStates(folder, layers=layers, dtype="float32", device="cpu")
    whole = HiddenStates(folder, layers=[*layers, "LT4"], dtype="float32", device="cpu")
    prepared = [short.preprocess(image) for image in PICTURES[:2]]
    found, reference = short.encode(prepared), whole.encode(prepared)
    assert max(relative(found[layer], reference[layer]) for layer in layers) <= TOLERANCE
    assert len(short.vlm.decoder.layers) == 2
    assert len(whole.vlm.decoder.layers) == 4
    calls = []
    short.vlm.decoder.norm.register_forward_hook(lambda *_: calls.append("norm"))
    short.encode(prepared)
    assert not calls


def test_vision_tokens_of_each_image(vlm):
    """The blocks take the images of a batch together; each image's own tokens are those that it has alone."""
    import torch

    prepared = [vlm.prepare(image) for image in PICTURES]
    kept = []
    handle = vlm.vision_blocks[-1].register_forward_hook(lambda module, args, out: kept.append(out[0] if isinstance(out, tuple) else out))
    try:
        with torch.inference_mode():
            batch = vlm.batch([vlm.turn([prepared[0], "a", prepared[1], "b"]), *(vlm.turn([image, "x"]) for image in prepared[2:])])
            vlm.forward(batch, logits=False)
            together = vlm.vision_tokens(kept.pop(), batch)
            for image, tokens in zip(prepared, together, strict=True):
                batch = vlm.batch([vlm.turn([image, "x"])])
                vlm.forward(batch, logits=False)
                (alone,) = vlm.vision_tokens(kept.pop(), batch)
                assert alone.shape == tokens.shape
                assert tokens.shape[1] == vlm.vision_width == 24
                assert relative(tokens.numpy(), alone.numpy()) <= TOLERANCE
                tiles = len(image.arrays["pixel_values"])
                assert len(tokens) == {"llava": 16, "gemma3": 64}.get(vlm.family, 16 * tiles)
    finally:
        handle.remove()


def test_what_is_known_without_weights(vlm, folder):
    assert is_vlm(folder)
    assert (vlm.n_blocks, vlm.width, vlm.n_vision_blocks, vlm.vision_width) == (4, 32, 3, 24)
    assert vlm.vision_widths == (24,) * 4
    assert vlm.image_tokens
    refused(lambda: HiddenStates(folder, layers=["V4"]), "V0 to V3", "LV0 to LV4")


def test_gemma_lets_the_tokens_of_an_image_see_each_other(tmp_path):
    """Without the token types, as in the published scripts, they would not, and everything after them would be another."""
    import torch

    vlm = open_vlm(tiny_vlms.save_gemma3(tmp_path), dtype="float32", device="cpu")
    batch = vlm.batch([vlm.turn([vlm.prepare(PICTURES[0]), "x"])])
    with torch.inference_mode():
        seen = vlm.forward(batch).logits[0]
        del batch.inputs["token_type_ids"]
        causal = vlm.forward(batch).logits[0]
    first = batch.turns[0].places[0]
    different = (seen - causal).abs().amax(-1) > 1e-4
    assert not different[:first].any()
    assert different[first]  # it saw nothing of its image's other tokens
    assert different[-1]


def test_gemma_cuts_nothing_out(tmp_path):
    folder = tiny_vlms.save_gemma3(tmp_path)
    file = Path(folder) / "preprocessor_config.json"
    scan = {
        "do_pan_and_scan": True,
        "pan_and_scan_min_crop_size": 8,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | scan))
    image = open_vlm(folder).prepare(PICTURES[4])
    assert image.arrays["pixel_values"].shape == (1, 3, 32, 32)
    assert image.n_tokens == 4


@pytest.mark.parametrize("save", [tiny_vlms.save_idefics3, tiny_vlms.save_smolvlm])
def test_max_pixels_bounds_the_tiles(tmp_path, save):
    folder = save(tmp_path, longest=192)
    for size in [(60, 40), (40, 60), (64, 64), (300, 20), (3, 200), (1, 1), (1000, 999)]:
        before = 37
        for most in (1_048_576, 20 * 1024, 9 * 1024, 5 * 1024, 1024, 1):
            vlm = open_vlm(folder, max_pixels=most)
            image = vlm.prepare(picture(size))
            tiles = len(image.arrays["pixel_values"])
            assert image.arrays["pixel_values"].shape[1:] == (3, 32, 32)
            assert image.n_tokens == 4 * tiles == image.text.count("<image>")
            assert tiles == 1 or (tiles - 1) * 1024 <= most
            assert tiles == 1 or "<row_1_col_1>" in image.text
            assert tiles <= before
            before = tiles
        assert tiles == 1
        assert "<row" not in image.text
    assert len(open_vlm(folder).prepare(picture((64, 64))).arrays["pixel_values"]) == 37  # six by six, and the overview
    assert len({open_vlm(folder, max_pixels=most).processing for most in (1024, 9 * 1024)}) == 2


def test_an_idefics_that_splits_nothing(tmp_path):
    image = open_vlm(tiny_vlms.save_idefics3(tmp_path, splitting=False)).prepare(PICTURES[1])
    assert image.arrays["pixel_values"].shape == (1, 3, 32, 32)
    assert image.n_tokens == 4


@pytest.mark.parametrize(
    ("options", "n_tokens"), [({"strategy": "full"}, 17), ({"layer": -1}, 16), ({"vision": "siglip", "strategy": "full"}, 16)]
)
def test_the_tokens_that_llava_shows_its_decoder(tmp_path, options, n_tokens):
    """The model itself says so: it refuses any other number of them."""
    import torch

    vlm = open_vlm(tiny_vlms.save_llava(tmp_path, **options), dtype="float32", device="cpu")
    image = vlm.prepare(PICTURES[0])
    batch = vlm.batch([vlm.turn([image, "x"])])
    with torch.inference_mode():
        assert torch.isfinite(vlm.forward(batch).logits).all()
    assert image.n_tokens == n_tokens
    state = torch.arange(n_tokens + int(options.get("layer") == -1)).float()[None, :, None]
    (tokens,) = vlm.vision_tokens(state, batch)
    assert len(tokens) == n_tokens


def test_a_llava_with_another_tower_is_refused(tmp_path):
    folder = tiny_vlms.save_llava(tmp_path)
    file = Path(folder) / "config.json"
    config = json.loads(file.read_text())
    config["vision_config"]["model_type"] = "pixtral"
    file.write_text(json.dumps(config))
    refused(lambda: open_vlm(folder), "'pixtral'", "CLIP or SigLIP")


HISTORY = [("What is it?", "A house."), ("And how good?", "Quite so.")]


def whole_conversation(parts, answer=None):
    """As transformers has it: the images in the first of all questions."""
    asked = [*((question, answer) for question, answer in HISTORY), ("".join(part for part in parts if isinstance(part, str)), answer)]
    seen, messages = [{"type": "image"} for part in parts if not isinstance(part, str)], []
    for question, said in asked:
        messages.append({"role": "user", "content": [*seen, {"type": "text", "text": question}]})
        messages += [{"role": "assistant", "content": [{"type": "text", "text": said}]}] if said is not None else []
        seen = []
    return messages


@pytest.mark.parametrize("pictures", [PICTURES[:1], PICTURES[1:3], []])
def test_a_conversation_is_tokenised_as_the_template_renders_it(vlm, processor, pictures):
    parts = [*pictures, "Which light?"]
    text = processor.apply_chat_template(whole_conversation(parts), add_generation_prompt=True)
    assert all(said in text for pair in HISTORY for said in pair)
    own = processor.tokenizer.bos_token and text.startswith(processor.tokenizer.bos_token)
    theirs = processor(text=[text], images=[pictures] if pictures else None, add_special_tokens=not own, return_tensors="pt")
    turn = vlm.turn([part if isinstance(part, str) else vlm.prepare(part) for part in parts], reply=True, history=HISTORY)
    assert turn.ids == tuple(theirs["input_ids"][0].tolist())
    assert turn.answer_mask == () and len(turn.images) == len(pictures)
    assert [turn.ids[place] for place in turn.places] == [vlm.image_token_id] * len(pictures)
    words = vlm.tokenizer.decode([token for token, there in zip(turn.ids, turn.prompt_mask, strict=True) if there])
    assert words == "What is it?And how good?Which light?"


def test_earlier_answers_count_as_answers(vlm):
    """Each with the mark that the template writes after it; LLaVA's writes none between messages, and so the last answer alone has the tokenizer's."""
    parts = [vlm.prepare(PICTURES[0]), "Which light?"]
    asked, turn = vlm.turn(parts, reply=True, history=HISTORY), vlm.turn(parts, answer="Dim.", history=HISTORY)
    assert turn.ids[: len(asked.ids)] == asked.ids
    end = {"llava": "", "gemma3": "<end_of_turn>"}.get(vlm.family, "<end_of_utterance>")
    said = vlm.tokenizer.decode([token for token, there in zip(turn.ids, turn.answer_mask, strict=True) if there])
    gap = "" if vlm.family == "gemma3" else " "
    assert said.rstrip() == f"{gap}A house.{end}{gap}Quite so.{end}{gap}Dim.{end or '</s>'}"
    batch = vlm.batch([turn], answers=True)
    assert (batch.labels[0] != -100).tolist() == list(turn.answer_mask)
    assert vlm.turn(parts, answer="Dim.").answer_mask == vlm.turn(parts, answer="Dim.", history=()).answer_mask


def test_words_of_a_history_cannot_end_their_turn_nor_stand_for_an_image(vlm):
    mark = {"llava": "</s>", "gemma3": "<end_of_turn>"}.get(vlm.family, "<end_of_utterance>")
    image = vlm.prepare(PICTURES[0])
    plain = vlm.turn([image, "x"], reply=True, history=[("a", "b")])
    odd = vlm.turn([image, "x"], reply=True, history=[(f"a{vlm.placeholder}", f"b{mark}")])
    assert sum(odd.image_mask) == image.n_tokens
    number = vlm.tokenizer.convert_tokens_to_ids(mark)
    assert odd.ids.count(number) == plain.ids.count(number)
