"""P-MLLM's model: the fusion equations, what stays frozen, what sees the image, and that every short cut equals the plain path."""

import itertools
import math

import numpy as np
import pytest
import torch

from beholder.backbones.shared_prefix import Prefix
from beholder.errors import BeholderError
from beholder.scorers.pmllm.config import FusionConfig, from_dict
from beholder.scorers.pmllm.model import PMLLM
from tiny_llama import IMAGE_TOKENS, IMAGE_WIDTH, features, llama, pmllm

VARIANTS = [
    {},
    {"gate_input": "normed", "visual_norm": "ones"},
    {"gate_bias": -1.0, "gate_init": "zeros"},
    {"gate": "scalar"},
    {"gate": "scalar", "scalar_gate": "tanh", "output": "frozen"},
    {"gate": "scalar", "scalar_gate": "sigmoid", "rope_queries": True},
    {"output": "frozen"},
    {"output": "lowrank", "output_rank": 3},
    {"rope_queries": True},
]


def name_of(variant):
    return ",".join(f"{key}={value}" for key, value in variant.items()) or "default"


def conversation(*lengths, seed=0):
    """One list of random token ids for each length."""
    random = np.random.default_rng(seed)
    return [random.integers(7, 500, length).tolist() for length in lengths]


def images_of(model, n, *, seed=0):
    return model.image_tokens(torch.from_numpy(features(n, seed=seed)))


def plain_hidden(model, tokens, *, images, mask):
    """Hidden states [blocks + 1][n, s, D] of whole conversations."""
    with torch.no_grad(), model.seeing(images, mask=mask):
        return model.language.model(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states


def mask_from(start, length, *, rows=1):
    return (torch.arange(length) >= start).repeat(rows, 1)


# --- Eq. 1 to 5


def rms(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def naive_fusion(fusion, block, config, *, raw, text, embeddings, cos, sin, eps):
    """Eq. 1 to 5 head by head and position by position, for one row: raw, text [s, D], embeddings [t, D] -> [s, D]."""
    attention = block.self_attn
    s, width = raw.shape
    heads, d = 4, width // 4
    assert torch.allclose(text, rms(raw, block.input_layernorm.weight, eps), rtol=0, atol=1e-12)  # what self-attention got
    seen = rms(embeddings, fusion.visual_norm.weight, eps)
    parts = torch.zeros(s, heads, d, dtype=raw.dtype)
    for h in range(heads):
        kv = h // 2  # 4 query heads on 2 key/value heads
        wq = attention.q_proj.weight[h * d : (h + 1) * d]
        wk, wv = attention.k_proj.weight[kv * d : (kv + 1) * d], attention.v_proj.weight[kv * d : (kv + 1) * d]
        for p in range(s):
            query = wq @ text[p]
            if config.rope_queries:
                for i in range(d // 2):  # the plane of dimensions i and i + d/2, turned by the angle of the position
                    a, b = query[i].clone(), query[i + d // 2].clone()
                    query[i], query[i + d // 2] = a * cos[p, i] - b * sin[p, i], b * cos[p, i] + a * sin[p, i]
            weights = torch.stack([query @ (wk @ seen[j]) / math.sqrt(d) for j in range(len(seen))]).softmax(0)
            attended = sum(weights[j] * (wv @ seen[j]) for j in range(len(seen)))
            if config.gate == "scalar":
                number = fusion.gate[h]
                gate = {"raw": number, "tanh": number.tanh(), "sigmoid": 1 / (1 + torch.exp(-number))}[config.scalar_gate]
            else:
                read = raw[p] if config.gate_input == "raw" else text[p]
                bias = fusion.gate.bias[h] if config.gate_bias is not None else 0.0
                gate = 1 / (1 + torch.exp(-(fusion.gate.weight[h] @ read + bias)))
            parts[p, h] = attended * gate
    joined = parts.reshape(s, heads * d)
    if config.output == "frozen":
        return joined @ attention.o_proj.weight.T
    if config.output == "lowrank":
        return joined @ (attention.o_proj.weight + fusion.output[1].weight @ fusion.output[0].weight).T
    return joined @ fusion.output.weight.T


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_fusion_is_the_equations_of_the_paper_with_grouped_heads(variant):
    language_model = llama(dtype="float64")
    block = language_model.model.model.layers[1]
    seen = {}
    block.self_attn.register_forward_hook(lambda module, args, kwargs, output: seen.update(before=output[0].clone()), with_kwargs=True)
    model = pmllm(language_model, double=True, **variant)
    assert language_model.model.config.num_key_value_heads == 2
    if model.fusion[1].output is not None and variant.get("output") != "lowrank":
        model.fusion[1].output.weight.data += 0.1 * torch.randn_like(model.fusion[1].output.weight)  # no longer the block's own

    def after(module, args, kwargs, output):
        cos, sin = kwargs["position_embeddings"]
        seen.update(after=output[0].clone(), cos=cos, sin=sin, text=args[0] if args else kwargs["hidden_states"])

    block.self_attn.register_forward_hook(after, with_kwargs=True)
    block.register_forward_pre_hook(lambda module, args, kwargs: seen.update(raw=args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
    tokens, image = torch.tensor(conversation(7, 7)), torch.from_numpy(features(2)).double()
    mask = mask_from(3, 7, rows=2)
    with torch.no_grad():
        plain_hidden(model, tokens, images=model.image_tokens(image), mask=mask)
        embeddings = model.projector(image)
        for row in range(2):
            cos, sin = (seen[part][row if len(seen[part]) > 1 else 0] for part in ("cos", "sin"))
            inputs = {"raw": seen["raw"][row], "text": seen["text"][row], "embeddings": embeddings[row], "cos": cos, "sin": sin}
            wanted = naive_fusion(model.fusion[1], block, model.config, eps=language_model.model.config.rms_norm_eps, **inputs)
            added = seen["after"][row] - seen["before"][row]
            assert not added[:3].any()  # not a marked position
            assert wanted[3:].abs().max() > 1e-3
            assert torch.allclose(added[3:], wanted[3:], rtol=0, atol=1e-10)


def test_the_projector_is_linear_gelu_linear():
    model = pmllm(double=True, projector_width=24)
    first, second = model.projector[0], model.projector[2]
    assert first.weight.shape == (24, IMAGE_WIDTH) and second.weight.shape == (64, 24)
    x = torch.from_numpy(features(1)).double()
    inner = x @ first.weight.T + first.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    assert torch.allclose(model.projector(x), inner @ second.weight.T + second.bias, rtol=0, atol=1e-12)


def test_starts_are_as_the_config_says():
    model = pmllm(wake=0)
    blocks = model.language.model.layers
    assert torch.equal(model.fusion[1].visual_norm.weight, blocks[1].input_layernorm.weight)
    assert torch.equal(model.fusion[1].output.weight, blocks[1].self_attn.o_proj.weight)
    assert 0.015 < model.fusion[0].gate.weight.std() < 0.025 and model.fusion[0].gate.bias is None
    other = pmllm(wake=0, gate_init="zeros", gate_bias=-4.0, visual_norm="ones", output="lowrank")
    assert not other.fusion[0].gate.weight.any() and (other.fusion[0].gate.bias == -4).all()
    assert (other.fusion[0].visual_norm.weight == 1).all() and not other.fusion[0].output[1].weight.any()
    assert not pmllm(wake=0, gate="scalar").fusion[0].gate.any()
    assert pmllm(wake=0, output="frozen").fusion[0].output is None


# --- what is frozen, what is trained


def test_nothing_of_the_language_model_is_a_parameter_or_saved():
    model = pmllm(output="lowrank")
    of_language = {tensor.data_ptr() for tensor in model.language.state_dict().values()}
    assert not of_language & {parameter.data_ptr() for parameter in model.parameters()}
    assert not of_language & {tensor.data_ptr() for tensor in model.trained_state().values()}
    assert set(model.trained_state()) == {name for name, _ in model.named_parameters()}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in model.language.parameters())
    expected = {"projector.0.weight", "projector.0.bias", "projector.2.weight", "projector.2.bias"}
    for block in (0, 1):
        expected |= {f"fusion.{block}.{part}" for part in ("visual_norm.weight", "gate.weight", "output.0.weight", "output.1.weight")}
    assert set(model.trained_state()) == expected


def test_trained_state_round_trip_and_refusals():
    one, other = pmllm(seed=1), pmllm(seed=2)
    tokens, mask = torch.tensor(conversation(9)), mask_from(4, 9)

    def logits(model):
        with torch.no_grad():
            return model(tokens, images=images_of(model, 1), mask=mask)

    assert not torch.equal(logits(one), logits(other))
    state = {name: tensor.clone() for name, tensor in one.trained_state().items()}
    other.load_trained(state)
    assert torch.equal(logits(one), logits(other))
    with pytest.raises(ValueError, match=r"fusion\.0\.gate\.weight is missing"):
        other.load_trained({name: tensor for name, tensor in state.items() if name != "fusion.0.gate.weight"})
    with pytest.raises(ValueError, match="more is unknown"):
        other.load_trained(state | {"more": torch.zeros(1)})
    with pytest.raises(ValueError, match="has shape"):
        other.load_trained(state | {"projector.0.bias": torch.zeros(3)})


def test_more_fused_blocks_than_there_are_is_refused():
    with pytest.raises(BeholderError, match="tiny has 3 blocks, 4 cannot be fused"):
        pmllm(layers=4)


def test_a_config_that_makes_no_sense_is_refused():
    for wrong in ({"layers": 0}, {"output_rank": 0}):
        with pytest.raises(BeholderError, match="at least one block"):
            FusionConfig(**wrong)
    assert from_dict(FusionConfig, {"layers": 5}) == FusionConfig(layers=5)
    with pytest.raises(KeyError, match="later"):
        from_dict(FusionConfig, {"later": 5})


# --- the plain path


def test_profile_positions_never_depend_on_the_image_and_question_positions_do():
    model = pmllm()
    tokens = torch.tensor(conversation(20))
    both = [plain_hidden(model, tokens, images=images_of(model, 1, seed=seed), mask=mask_from(12, 20)) for seed in (1, 2)]
    assert len(both[0]) == 4
    for layer, (one, other) in enumerate(zip(*both, strict=True)):
        assert torch.equal(one[:, :12], other[:, :12])
        changed = (one[:, 12:] != other[:, 12:]).any(-1)
        assert changed.all() if layer else not changed.any()  # layer 0: token embeddings


@pytest.mark.parametrize("gate", ["embedding", "scalar"])
def test_with_gates_at_zero_it_is_the_base_model_exactly(gate, monkeypatch):
    tokens = torch.tensor(conversation(11, 11))
    base = llama()
    with torch.no_grad():
        wanted = base.model(input_ids=tokens, use_cache=False).logits
    model = pmllm(llama(), gate=gate, wake=0)
    mask = mask_from(5, 11, rows=2)
    with torch.no_grad():
        images = images_of(model, 2)
        if gate == "embedding":
            assert not torch.equal(model(tokens, images=images, mask=mask), wanted)
            for fusion in model.fusion:
                monkeypatch.setattr(fusion, "gates", lambda raw, normed: torch.zeros(*normed.shape[:2], 4))
        assert torch.equal(model(tokens, images=images, mask=mask), wanted)
        assert torch.equal(model(tokens, images=None, mask=mask), wanted)
        none = model.detach()
        assert torch.equal(none.model(input_ids=tokens, use_cache=False).logits, wanted)


def test_a_detached_language_model_sees_nothing_any_more():
    model = pmllm()
    tokens = torch.tensor(conversation(6))
    images = images_of(model, 1)
    with torch.no_grad():
        wanted = model(tokens, images=None, mask=mask_from(0, 6))
        model.detach()
        assert torch.equal(model(tokens, images=images, mask=mask_from(0, 6)), wanted)


@pytest.mark.parametrize("place", [3, 7, 9])
def test_the_mask_acts_at_its_positions_and_only_those_after_can_notice(place):
    model = pmllm()
    tokens, images = torch.tensor(conversation(10)), images_of(model, 1)
    mask = mask_from(3, 10)
    other = mask.clone()
    other[0, place] = False
    one, two = (plain_hidden(model, tokens, images=images, mask=m) for m in (mask, other))
    for layer in range(1, 4):
        assert torch.equal(one[layer][:, :place], two[layer][:, :place])
        assert not torch.equal(one[layer][:, place], two[layer][:, place])
    assert torch.equal(one[1][:, place + 1 :], two[1][:, place + 1 :])  # the first block adds position by position
    if place < 9:
        assert (one[2][:, place + 1 :] != two[2][:, place + 1 :]).any(-1).all()  # the second one attends to them


def test_rows_see_their_own_images():
    model = pmllm()
    tokens = torch.tensor(conversation(8) * 3)
    images = images_of(model, 3)
    mask = mask_from(3, 8, rows=3)
    together = plain_hidden(model, tokens, images=images, mask=mask)[-1]
    swapped = plain_hidden(model, tokens, images=images.rows(torch.tensor([2, 0, 1])), mask=mask)[-1]
    assert torch.allclose(together[[2, 0, 1]], swapped, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_seeing_ends_with_its_block_and_nests():
    model = pmllm()
    tokens, mask = torch.tensor(conversation(6)), mask_from(0, 6)
    blind = model(tokens, images=None, mask=mask)
    with model.seeing(images_of(model, 1)):
        with pytest.raises(ZeroDivisionError), model.seeing(None):
            assert torch.equal(model.language(input_ids=tokens, use_cache=False).logits, blind)
            raise ZeroDivisionError
        assert not torch.equal(model.language(input_ids=tokens, use_cache=False).logits, blind)
    assert torch.equal(model.language(input_ids=tokens, use_cache=False).logits, blind)


# --- decoding


def greedy(model, ids, start, images, *, steps):
    """The continuation by full forward passes; ends after a token that ends answers."""
    ids = list(ids)
    for _ in range(steps):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), images=images, mask=mask_from(start, len(ids)))
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] in model.language_model.stop:
            break
    return ids


def test_cached_decoding_is_the_full_forward():
    model = pmllm()
    images = images_of(model, 1)
    (ids,) = conversation(15)
    made = model.generate(torch.tensor([ids]), images=images, mask=mask_from(9, 15), max_new_tokens=12)[0].tolist()
    assert made == greedy(model, ids, 9, images, steps=12)
    assert len(made) > 17
    other = model.generate(torch.tensor([ids]), images=images_of(model, 1, seed=5), mask=mask_from(9, 15), max_new_tokens=12)[0].tolist()
    assert other != made  # or the image would not matter here


def test_decoding_rows_padded_on_the_left_is_decoding_each_alone():
    model = pmllm()
    images = images_of(model, 3)
    rows, starts = conversation(6, 13, 10), [2, 9, 10]
    width = max(map(len, rows))
    tokens = torch.full((3, width), model.language_model.padding)
    attention, mask = torch.zeros(3, width, dtype=torch.long), torch.zeros(3, width, dtype=torch.bool)
    for i, (ids, start) in enumerate(zip(rows, starts, strict=True)):
        tokens[i, width - len(ids) :] = torch.tensor(ids)
        attention[i, width - len(ids) :] = 1
        mask[i, width - len(ids) + start :] = True
    made = model.generate(tokens, images=images, mask=mask, attention_mask=attention, max_new_tokens=10)
    for i, (ids, start) in enumerate(zip(rows, starts, strict=True)):
        alone = greedy(model, ids, start, images.rows(torch.tensor([i])), steps=10)
        assert made[i, width - len(ids) :].tolist()[: len(alone)] == alone


def test_beams_are_refused():
    model = pmllm()
    for options in ({"num_beams": 2}, {"num_return_sequences": 2}):
        with pytest.raises(BeholderError, match="one answer per row"):
            model.generate(torch.tensor([[8, 9]]), images=None, mask=mask_from(0, 2), **options)


# --- profiles computed once


def by_prefix(model, texts, suffixes, images):
    """Suffixes are rows of each text in turn, all of the same number."""
    width = max(map(len, suffixes))
    tokens = torch.tensor([ids + [model.language_model.padding] * (width - len(ids)) for ids in suffixes])
    with torch.no_grad():
        return model.after_prefix(tokens, prefix=model.prefixes(texts), images=images)


def plainly(model, texts, suffixes, images):
    """The same by whole conversations, one at a time: a list of [s, D]."""
    found = []
    for i, ids in enumerate(suffixes):
        text = texts[i // (len(suffixes) // len(texts))]
        row = None if images is None else images.rows(torch.tensor([i]))
        whole = plain_hidden(model, torch.tensor([text + ids]), images=row, mask=mask_from(len(text), len(text) + len(ids)))[-1]
        found.append(whole[0, len(text) :])
    return found


@pytest.mark.parametrize("variant", [{}, {"gate": "scalar"}, {"rope_queries": True}], ids=name_of)
@pytest.mark.parametrize(
    ("texts", "suffixes"),
    [((14,), (6,)), ((14,), (6, 4, 6, 3)), ((5, 17, 9), (6, 4, 5)), ((5, 17, 1), (6, 4, 5, 6, 2, 1))],
    ids=["one", "one rater, many rows", "many raters", "many raters, many rows"],
)
def test_after_prefix_is_the_plain_path(texts, suffixes, variant):
    model = pmllm(double=True, **variant)
    texts, suffixes = conversation(*texts), conversation(*suffixes, seed=1)
    images = images_of(model, len(suffixes))
    quick, plain = by_prefix(model, texts, suffixes, images), plainly(model, texts, suffixes, images)
    blind = plainly(model, texts, suffixes, None)
    for row, (wanted, without) in enumerate(zip(plain, blind, strict=True)):
        assert torch.allclose(quick[row, : len(wanted)], wanted, rtol=0, atol=1e-9)
        assert (wanted - without).abs().max() > 1e-3


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("bfloat16", 0.15)])
def test_after_prefix_in_lower_precision(dtype, bound):
    model = pmllm(llama(dtype=dtype))
    texts, suffixes = conversation(30, 12), conversation(8, 5, 7, 8, seed=1)
    images = images_of(model, 4)
    quick, plain = by_prefix(model, texts, suffixes, images), plainly(model, texts, suffixes, images)
    exact = pmllm(llama(dtype=dtype), double=True)
    exact.language.double()
    exact.load_trained(model.trained_state())
    reference = plainly(exact, texts, suffixes, images_of(exact, 4))
    size = torch.cat(reference).std()
    off = max(float((quick[i, : len(p)].double() - p.double()).abs().max() / size) for i, p in enumerate(plain))
    rounding = max(float((p.double() - r).abs().max() / size) for p, r in zip(plain, reference, strict=True))
    mean = np.mean([float((quick[i, : len(r)].double() - r).abs().mean() / size) for i, r in enumerate(reference)])
    print(f"{dtype}: prefix and plain path differ by {off:.2g} standard deviations at most; plain path and float64 by {rounding:.2g}")
    assert off < bound and mean < bound / 5


@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_attention_in_two_parts_is_attention_in_one(double):
    """Without gradient the profile and the tokens are attended to apart; also where profiles are padded, or there is none."""
    model = pmllm(double=double)
    tokens, images = torch.tensor(conversation(*[6] * 6, seed=1)), images_of(model, 6)
    for lengths in ((14,), (5, 17, 9), (1, 30), (0, 9)):
        prefix = model.prefixes(conversation(*lengths))
        with torch.no_grad():
            apart = model.after_prefix(tokens, prefix=prefix, images=images)
        together = model.after_prefix(tokens, prefix=prefix, images=images)
        assert together.requires_grad and not apart.requires_grad
        assert torch.isfinite(apart).all()
        assert torch.allclose(apart, together, rtol=0, atol=1e-9 if double else 1e-4)


def test_one_row_many_rows_and_shuffled_rows_agree():
    texts, suffixes = conversation(14, 8, 11), conversation(*[6] * 12, seed=1)
    for double, tolerance in ((False, 2e-5), (True, 1e-12)):
        model = pmllm(double=double)
        images = images_of(model, 12)
        all_at_once = by_prefix(model, texts, suffixes, images)
        worst = 0.0
        for row in range(12):
            alone = by_prefix(model, [texts[row // 4]], [suffixes[row]], images.rows(torch.tensor([row])))
            worst = max(worst, float((alone[0] - all_at_once[row]).abs().max()))
        raters, within = [2, 0, 1], [3, 1, 0, 2]
        order = [4 * r + w for r, w in itertools.product(raters, within)]
        shuffled = by_prefix(model, [texts[r] for r in raters], [suffixes[i] for i in order], images.rows(torch.tensor(order)))
        worst = max(worst, float((shuffled - all_at_once[order]).abs().max()))
        print(f"batch 1 = batch 12 = shuffled within {worst:.2g} ({'float64' if double else 'float32'})")
        assert worst < tolerance


def test_no_image_is_the_language_model_alone():
    model = pmllm(double=True)
    texts, suffixes = conversation(9), conversation(5, seed=1)
    with torch.no_grad():
        wanted = llama(dtype="float64").model.model(input_ids=torch.tensor([texts[0] + suffixes[0]]), use_cache=False).last_hidden_state[0, 9:]
    assert torch.allclose(by_prefix(model, texts, suffixes, None)[0], wanted, rtol=0, atol=1e-9)


def test_a_mask_after_a_prefix():
    model = pmllm(double=True)
    texts, suffixes = conversation(9), conversation(5, seed=1)
    images, tokens = images_of(model, 1), torch.tensor(suffixes)
    with torch.no_grad():
        quick = model.after_prefix(tokens, prefix=model.prefixes(texts), images=images, mask=mask_from(2, 5))
    wanted = plain_hidden(model, torch.tensor([texts[0] + suffixes[0]]), images=images, mask=mask_from(11, 14))[-1]
    assert torch.allclose(quick, wanted[:, 9:], rtol=0, atol=1e-9)


def test_prefixes_stack_trim_and_repeat():
    model = pmllm(double=True)
    texts = conversation(4, 9, 6)
    together = model.prefixes(texts)
    assert len(together) == 3 and together.tokens == 9 and together.lengths.tolist() == [4, 9, 6]
    apart = Prefix.stack([model.prefixes([ids]) for ids in texts])
    for block in range(3):
        for row, ids in enumerate(texts):
            for part in ("keys", "values"):
                one, other = (getattr(prefix, part)[block][row, :, : len(ids)] for prefix in (together, apart))
                assert torch.allclose(one, other, rtol=0, atol=1e-12)
    some = together.rows(torch.tensor([0, 2, 0])).trimmed()
    assert some.tokens == 6 and some.visible.sum(1).tolist() == [4, 6, 4]
    assert model.prefixes([texts[1]]).visible is None
    suffixes, images = conversation(5, 5, 5, seed=2), images_of(model, 3)
    with torch.no_grad():
        found = model.after_prefix(torch.tensor(suffixes), prefix=some, images=images)
    for row, text in enumerate((0, 2, 0)):
        wanted = plainly(model, [texts[text]], [suffixes[row]], images.rows(torch.tensor([row])))[0]
        assert torch.allclose(found[row], wanted, rtol=0, atol=1e-9)


def test_a_prefix_has_no_gradient_and_no_trained_weight():
    model = pmllm()
    texts = conversation(7)
    one = model.prefixes(texts)
    for parameter in model.parameters():
        parameter.data.normal_()
    with model.seeing(None):
        other = model.prefixes(texts)
    assert all(torch.equal(a, b) for a, b in zip(one.keys + one.values, other.keys + other.values, strict=True))
    assert not any(tensor.requires_grad for tensor in one.keys)


def test_logits_are_those_of_the_plain_path():
    model = pmllm(double=True)
    tokens, images = torch.tensor(conversation(8)), images_of(model, 1)
    with torch.no_grad():
        wanted = model(tokens, images=images, mask=mask_from(3, 8))
        hidden = plain_hidden(model, tokens, images=images, mask=mask_from(3, 8))[-1]
        assert torch.allclose(model.logits(hidden), wanted, rtol=0, atol=1e-12)
        assert torch.allclose(model.logits(hidden[:, 2:4]), wanted[:, 2:4], rtol=0, atol=1e-12)
    assert pmllm(llama(dtype="bfloat16")).logits(hidden).dtype == torch.float32


def test_two_layers_and_a_clip_tower_end_to_end():
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    tower = CLIPVisionModel(
        CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8)
    ).eval()
    language_model = llama(num_hidden_layers=2)
    model = PMLLM(language_model, image_width=32, config=FusionConfig(layers=2))
    answers = []
    for seed in (1, 2):
        pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            seen = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
            images = model.image_tokens(seen)
        assert images.keys[0].shape == (1, 2, 16, 16)  # image, key/value heads, 4 x 4 patches, 64 / 4
        ids = language_model.encode(language_model.chat.before_user("likes red") + "Rate this image." + language_model.chat.after_user)
        start = len(language_model.encode(language_model.chat.before_user("likes red")))
        made = model.generate(torch.tensor([ids]), images=images, mask=mask_from(start, len(ids)), max_new_tokens=8)
        answers.append(made[0].tolist())
        assert len(made[0]) > len(ids)
    assert answers[0] != answers[1]


def test_image_tokens_of_many_are_those_of_each():
    model = pmllm(double=True)
    x = torch.from_numpy(features(4))
    together = model.image_tokens(x)
    assert together.keys[0].shape == (4, 2, IMAGE_TOKENS, 16)
    for i in range(4):
        alone = model.image_tokens(x[i : i + 1])
        picked = together.rows(slice(i, i + 1))
        for one, other in zip(alone.keys + alone.values, picked.keys + picked.values, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-12)
