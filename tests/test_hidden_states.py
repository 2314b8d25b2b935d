"""Features from the hidden states of vision-language models: those of transformers to 1e-5, of any batch, from one forward pass that ends early."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

import tiny_qwen
from beholder.backbones import default_layers, load_encoder
from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm.hidden_states import HiddenStates
from beholder.backbones.vlm.prompts import PROMPTS
from beholder.backbones.vlm.stopping import watch
from beholder.engine.local import index
from beholder.engine.source import Features
from beholder.features import FeatureStore
from beholder.shards import FeatureSpace
from command_line import refused
from encoder_checks import check_same_in_any_batch, difference, pictures

SAVE = {"qwen3_vl": tiny_qwen.save_qwen3_vl, "qwen2_5_vl": tiny_qwen.save_qwen2_5_vl}
TOLERANCE = 1e-5  # largest difference over largest value
BLOCKS, VISION_BLOCKS = 5, 4
ALL = [f"V{i}" for i in range(VISION_BLOCKS + 1)] + [f"{kind}{i}" for kind in ("LT", "LV", "last") for i in range(BLOCKS + 1)]
EXACT = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module", params=SAVE)
def folder(request, tmp_path_factory):
    return SAVE[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    return tiny_qwen.save_qwen3_vl(tmp_path_factory.mktemp("qwen3"))


def encoded(encoder, images):
    return encoder.encode([encoder.preprocess(image) for image in images])


def plain(folder, image, *, prompt=PROMPTS["base"], dtype="float32"):
    """What transformers itself gives for one image: layer -> [1, dim]."""
    import torch
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    pixels = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")(images=image, return_tensors="pt")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    n = int(pixels["image_grid_thw"].prod()) // 4
    text = f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>{prompt}<|im_end|>\n"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    seen = ids == tiny_qwen.ENDS["image_token_id"]
    with torch.inference_mode():
        made = model(input_ids=ids, **pixels, mm_token_type_ids=seen.int(), output_hidden_states=True)
        visual = model.model.visual(pixels["pixel_values"].to(model.dtype), grid_thw=pixels["image_grid_thw"], output_hidden_states=True)
    vectors = {f"V{i}": state.float().mean(0) for i, state in enumerate(visual.hidden_states)}
    for i, state in enumerate(made.hidden_states):
        vectors |= {f"LT{i}": state[~seen].float().mean(0), f"LV{i}": state[seen].float().mean(0), f"last{i}": state[0, -1].float()}
    return {layer: vector.numpy()[None] for layer, vector in vectors.items()}


@contextlib.contextmanager
def counting(**modules):
    """name -> how often a module was called meanwhile."""
    calls = dict.fromkeys(modules, 0)

    def count(name):
        calls[name] += 1

    hooks = [module.register_forward_pre_hook(lambda *_, name=name: count(name)) for name, module in modules.items()]
    yield calls
    for hook in hooks:
        hook.remove()


def test_hidden_states_are_those_of_transformers(folder):
    """Every layer of every source, DeepStack's and the normalised last one among them."""
    encoder = HiddenStates(folder, layers=ALL, **EXACT)
    for image in pictures(3):
        expected = plain(folder, image)
        assert set(expected) == set(ALL)
        found = encoded(encoder, [image])
        worst = {layer: difference({layer: found[layer]}, {layer: expected[layer]}) for layer in ALL}
        print(f"{encoder.name}: largest relative difference {max(worst.values()):.1e}, tolerance {TOLERANCE:.0e}")
        assert max(worst.values()) <= TOLERANCE, worst
    assert difference({"a": found["LT2"]}, {"a": found["LT3"]}) > 0.01  # the layers do differ
    assert difference({"a": found["LT3"]}, {"a": found["LV3"]}) > 0.01


@pytest.mark.parametrize("batch", [2, 5])
def test_same_in_any_batch(folder, batch):
    """Alone, together with images of other sizes, in any order, and through several threads: every source."""
    encoder = HiddenStates(folder, layers=ALL, batch=batch, text="prompt", **EXACT)
    images = pictures(7, sizes=((70, 50), (40, 90), (64, 64), (130, 30)))
    together = check_same_in_any_batch(encoder, images)
    ones = encoded(HiddenStates(folder, layers=ALL, batch=1, text="prompt", **EXACT), images)
    print(f"{encoder.name}: batch 1 and batch {batch}: {difference(together, ones):.1e}, tolerance {TOLERANCE:.0e}")
    assert difference(together, ones) <= TOLERANCE
    for layer in ALL:  # and every image has its own
        if layer != "LT0" and layer != "last0":  # the words before they have seen it
            assert len(np.unique(np.round(together[layer], 4), axis=0)) == len(images), layer


def test_the_text_tokens_are_all_but_the_image_or_the_words_of_the_prompt(folder):
    """LT0 is the mean of the embeddings, which can be told by hand."""
    image = pictures(1)[0]
    vlm = open_vlm(folder, **EXACT)
    table = vlm.inner.get_input_embeddings().weight.float().numpy()
    turn = vlm.turn([vlm.prepare(image), "Is it good?"])
    everything = np.array([token for token, seen in zip(turn.ids, turn.image_mask, strict=True) if not seen])
    words = np.array(vlm.tokenizer("Is it good?")["input_ids"])
    for text, ids in (("all", everything), ("prompt", words)):
        found = encoded(HiddenStates(vlm, layer="LT0", prompt="Is it good?", text=text), [image])["LT0"][0]
        assert np.abs(found - table[ids].mean(0)).max() < 1e-5
    assert len(everything) > len(words)


def test_the_forward_pass_ends_after_the_highest_layer(qwen3):
    """On a shared model: nothing above runs, the vision encoder runs once, the LM head never; and the model stays whole."""
    vlm = open_vlm(qwen3, **EXACT)
    blocks, vision = vlm.decoder.layers, vlm.vision_blocks
    parts = {"vision": vlm.inner.visual, "first": vlm.decoder, "second": blocks[1], "third": blocks[2], "head": vlm.model.lm_head}
    image = [pictures(1)[0]]
    with counting(**parts) as calls:
        found = encoded(HiddenStates(vlm, layer="LT2+LV1+last2+V4+V1"), image)
    assert calls == {"vision": 1, "first": 1, "second": 1, "third": 0, "head": 0}
    with counting(**parts) as calls:
        encoded(HiddenStates(vlm, layer="LT5"), image)
    assert calls == {"vision": 1, "first": 1, "second": 1, "third": 1, "head": 0}
    with counting(**parts, inside=vision[1], above=vision[2]) as calls:
        only = encoded(HiddenStates(vlm, layer="V2"), image)
    assert calls == {"vision": 1, "first": 0, "second": 0, "third": 0, "head": 0, "inside": 1, "above": 0}
    assert set(found) == {"LT2", "LV1", "last2", "V4", "V1"}
    expected = plain(qwen3, image[0])
    assert difference(only, {"V2": expected["V2"]}) <= TOLERANCE
    assert difference(found, {layer: expected[layer] for layer in found}) <= TOLERANCE
    batch = vlm.batch([vlm.turn([vlm.prepare(image[0]), "x"])])
    assert vlm.forward(batch).logits.shape[-1] == 128  # no hook was left behind
    assert len(vlm.decoder.layers) == BLOCKS


def test_nobody_gets_the_model_while_hooks_are_on_it(qwen3, monkeypatch):
    vlm = open_vlm(qwen3, **EXACT)
    modules, found = [vlm.decoder.norm, *vlm.decoder.layers, *vlm.vision_blocks], []

    class Watched:
        depth = 0

        def __enter__(self):
            self.depth += 1

        def __exit__(self, *error):
            self.depth -= 1
            if not self.depth:  # it is reentrant: others get it only now
                found.append(sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules))

    monkeypatch.setattr(vlm, "lock", Watched())
    batch = vlm.batch([vlm.turn([vlm.prepare(pictures(1)[0]), "x"])])

    def see(number, state):
        raise KeyboardInterrupt

    for seen in (lambda number, state: None, see):
        with contextlib.suppress(KeyboardInterrupt):
            watch(vlm, batch, vision=[0, 2], decoder=[0, 3, 5], see_vision=seen, see_decoder=seen)
    assert set(found) == {0} and len(found) >= 2


def test_only_the_blocks_needed_are_loaded(folder):
    for layer, n in (("LT2+V4", 2), ("V1", 1), ("LT0", 1), ("last5", 5)):
        encoder = HiddenStates(folder, layer=layer, **EXACT)
        assert len(encoder.vlm.decoder.layers) == n
        assert not hasattr(encoder.vlm.model, "lm_head")
        assert encoder.revision == open_vlm(folder).revision
    image = pictures(1)
    whole = encoded(HiddenStates(open_vlm(folder, **EXACT), layer="LT2"), image)
    assert difference(encoded(HiddenStates(folder, layer="LT2", **EXACT), image), whole) <= TOLERANCE


def test_in_bfloat16_means_are_taken_in_float32(qwen3):
    image = pictures(1)[0]
    found = encoded(HiddenStates(qwen3, layers=ALL, dtype="bfloat16", device="cpu"), [image])
    expected = plain(qwen3, image, dtype="bfloat16")
    assert difference(found, expected) <= 1e-3  # a mean in bfloat16 would be off by up to 4e-3
    assert all(rows.dtype == np.float32 for rows in found.values())
    exact = encoded(HiddenStates(qwen3, layers=ALL, **EXACT), [image])
    assert 1e-3 < difference(found, exact) < 0.2


def test_the_key_tells_all_that_changes_a_feature(qwen3):
    def key(model=qwen3, **options):
        return FeatureSpace.of(HiddenStates(model, **({"layer": "LT2"} | EXACT | options))).key

    keys = [
        key(),
        key(max_pixels=4096),
        key(dtype="bfloat16"),
        key(prompt="format"),
        key(prompt="Something else?"),
        key(text="prompt"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(prompt=PROMPTS["base"]) == key(batch=7) == key(layer="V1") == key(open_vlm(qwen3, **EXACT)) == key()


def test_by_name_with_options(qwen3):
    encoder = load_encoder(f"{qwen3}[layer=LT2+V3,prompt=format,text=prompt,max-pixels=4096,dtype=float32,device=cpu,batch=3]")
    assert isinstance(encoder, HiddenStates)
    assert dict(encoder.layers) == {"LT2": 32, "V3": 24}
    assert (encoder.prompt, encoder.text, encoder.batch_size) == (PROMPTS["format"], "prompt", 3)
    assert (encoder.vlm.max_pixels, encoder.read_size) == (4096, 64)
    assert list(load_encoder(qwen3, layers=["last1"]).layers) == ["last1"]
    assert default_layers(qwen3) == ("LT15",)
    assert default_layers(f"{qwen3}[layer=LT2+V3]") == ("LT2", "V3")
    assert load_encoder(qwen3, layer="LT1", device="cpu").batch_size == 1
    assert not encoder.concurrent


def test_what_is_refused(qwen3):
    refused(lambda: HiddenStates(qwen3), "no layer 'LT15'", "V0 to V4, LT0 to LT5, LV0 to LV5, last0 to last5")
    for layer in ("V5", "LT6", "LT-1", "LT01", "middle", "lt2", "LT"):
        refused(lambda layer=layer: HiddenStates(qwen3, layer=layer), f"no layer '{layer}'", "LT0 to LT5")
    refused(lambda: HiddenStates(qwen3, layer="+"), "no layer is asked for")
    refused(lambda: HiddenStates(qwen3, layer="LT2", text="words"), "choose all or prompt")
    refused(lambda: HiddenStates(qwen3, layer="LT2", batch=0), "batch = 0")
    refused(lambda: HiddenStates(qwen3, layer="LT2", prompt=" "), "the prompt is empty")
    refused(lambda: load_encoder(f"{qwen3}[fit=pad]"), "no option 'fit'")


def test_numbers_too_large_for_the_type(tmp_path):
    folder = tiny_qwen.save_qwen3_vl(tmp_path, std=300.0)
    refused(lambda: encoded(HiddenStates(folder, layer="LT3", dtype="float16", device="cpu"), pictures(1)), "too large for float16", "dtype=float32")


@pytest.fixture
def little_memory(monkeypatch, qwen3):
    """An encoder with batch 8 whose model fails above a number of images, as torch does on a GPU and on a CPU; and the sizes it was asked for."""
    import torch

    encoder = HiddenStates(open_vlm(qwen3, **EXACT), layer="LT2+V1", batch=8)
    asked = []

    def limit(most, error):
        forward = type(encoder.vlm).forward

        def limited(vlm, batch, **options):
            asked.append(len(batch.turns))
            if len(batch.turns) > most:
                raise error
            return forward(vlm, batch, **options)

        monkeypatch.setattr(type(encoder.vlm), "forward", limited)
        return encoder, asked

    limit.gpu = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    limit.cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    return limit


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_out_of_memory_halves_the_batch_and_says_so_once(little_memory, qwen3, kind):
    encoder, asked = little_memory(2, getattr(little_memory, kind))
    images = pictures(7)
    with pytest.warns(RuntimeWarning, match="does not suffice for 8 images at a time: .* goes on with 1$") as said:
        found = encoded(encoder, images)
    assert len(said) == 1
    assert asked[:3] == [7, 3, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = encoded(encoder, images)  # it stays with what works
    assert max(asked[3:]) == 1
    assert difference(again, found) == 0
    expected = {layer: np.concatenate([plain(qwen3, image)[layer] for image in images]) for layer in found}
    assert difference(found, expected) <= TOLERANCE


def test_one_image_too_large_for_the_memory(little_memory):
    encoder, _ = little_memory(0, little_memory.cpu)
    refused(lambda: encoded(encoder, pictures(3)), "one image at a time", "max_pixels=524288")


def test_other_errors_are_not_hidden(little_memory):
    encoder, asked = little_memory(0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        encoded(encoder, pictures(3))
    assert asked == [3]


@pytest.fixture
def photos(tmp_path):
    """Six photographs of three sizes, the fifth the same as the second, and one that is none, third."""
    paths = []
    for number, picture in enumerate(pictures(6)):
        picture.save(tmp_path / f"{number}.png")
        paths.append(str(tmp_path / f"{number}.png"))
    (tmp_path / "4.png").write_bytes((tmp_path / "1.png").read_bytes())
    (tmp_path / "broken.jpg").write_bytes(b"no photograph")
    return [*paths[:2], str(tmp_path / "broken.jpg"), *paths[2:]]


def test_through_the_store_every_row_is_its_own_photograph(folder, photos, monkeypatch):
    """Also beside one that cannot be read; a second call computes nothing, and does not even load the model."""
    encoder = HiddenStates(folder, layer="LT2+V3", batch=2, **EXACT)
    with FeatureStore() as store:
        first = index(photos, encoder=encoder, store=store, workers=3)
    assert [os.path.basename(one.path) for one in first.skipped] == ["broken.jpg"]
    assert first.images == [path for path in photos if "broken" not in path]
    assert (first.n_computed, first.features.shape) == (5, (6, 32 + 24))
    for path, row in zip(first.images, first.features, strict=True):
        expected = plain(folder, Image.open(path).convert("RGB"))
        assert difference({"LT2": row[None, :32], "V3": row[None, 32:]}, {layer: expected[layer] for layer in ("LT2", "V3")}) <= TOLERANCE
    later = HiddenStates(folder, layer="V3+LT2", batch=1, **EXACT)
    monkeypatch.setattr(type(later.vlm), "_load", lambda self: pytest.fail("nothing is to be computed"))
    with FeatureStore() as store:
        again = index(photos, encoder=later, store=store)
    assert again.n_computed == 0
    assert np.array_equal(again.features, np.concatenate([first.features[:, 32:], first.features[:, :32]], axis=1))
    features = Features(later, layers=["LT2"])
    assert np.array_equal(features(again.images), first.features[:, :32])
    assert features.key.endswith("/LT2")


def test_other_pixels_are_not_taken_from_the_store(qwen3, photos):
    good = [path for path in photos if "broken" not in path]
    with FeatureStore() as store:
        index(good, encoder=HiddenStates(qwen3, layer="LT2", **EXACT), store=store)
        capped = index(good, encoder=HiddenStates(qwen3, layer="LT2", max_pixels=1024, **EXACT), store=store)
        assert capped.n_computed == 5
        assert index(good, encoder=HiddenStates(qwen3, layer="LT2", **EXACT), store=store).n_computed == 0


def test_goes_to_another_process(qwen3):
    encoder = HiddenStates(qwen3, layer="LT2", **EXACT)
    image = pictures(1)
    found = encoded(encoder, image)
    other = pickle.loads(pickle.dumps(encoder))
    assert other.vlm._model is None
    assert difference(encoded(other, image), found) == 0
