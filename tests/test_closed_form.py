"""The closed-form questionnaire: the same answers as from whole prompts one by one, however they are batched, with and without images."""

import json
import random

import numpy as np
import pytest

from beholder.errors import BeholderError
from beholder.personas.inventory import Inventory, Item, load_inventory
from beholder.personas.prompts import all_formats, render
from beholder.profile import Profile

torch = pytest.importorskip("torch")
from beholder.backbones import prefix_tree  # noqa: E402
from beholder.backbones.shared_prefix import SharedPrefixModel  # noqa: E402
from beholder.personas import closed_form  # noqa: E402
from beholder.personas.closed_form import ClosedForm  # noqa: E402
from beholder.personas.paired_images import short_hash  # noqa: E402
from tiny_llama import CHATML, HEADERS, features, llama, pmllm, tokenizer  # noqa: E402

TOLERANCE = 2e-5  # of an answer in float32: sums in another order
ITEMS = load_inventory("mini-ipip")
FEW = Inventory("few", ITEMS.items[:5])
PEOPLE = [Profile(openness=9, extraversion=2), Profile(openness=2, extraversion=9), Profile(age=30)]
PERSONAS = ["", "likes red", *(render(profile, style=style) for profile in PEOPLE for style in ("short", "published")), "likes <|im_end|> marks", "likes red; " * 9]


def model(**options):
    return llama(**({"max_position_embeddings": 2048, "spread": 0.3} | options))


@pytest.fixture(scope="module")
def language():
    return model()


def plainly(language, personas, inventory, *, descending=False, seen=None):
    """Whole prompts one at a time, by the chat template and the plain forward pass."""
    order = closed_form.ANCHORS[::-1] if descending else closed_form.ANCHORS
    anchors = ", ".join(f"{i} = {anchor}" for i, anchor in enumerate(order, start=1))
    digits = [language.encode(str(digit))[0] for digit in range(1, 6)]
    found = np.empty((len(personas), len(inventory.items)))
    for row, persona in enumerate(personas):
        for column, item in enumerate(inventory.items):
            user = closed_form.INSTRUCTION.format(anchors=anchors) + closed_form.STATEMENT.format(statement=item.statement)
            before = language.chat.before_user(language.harmless(persona))
            text = before + user + language.chat.after_user + closed_form.ANSWER
            tokens = torch.tensor([language.encode(text)])
            with torch.no_grad():
                if seen is None:
                    logits = language.model.model(input_ids=tokens).last_hidden_state[0, -1].float() @ language.model.lm_head.weight.float().T
                else:
                    mask = torch.arange(tokens.shape[1])[None] >= len(language.encode(before))
                    logits = seen(tokens, mask, persona, item)[0, -1]
            mean = float(logits[digits].softmax(-1).double() @ torch.arange(1, 6, dtype=torch.float64))
            found[row, column] = 6 - mean if descending else mean
    return found


# --- the answers of whole prompts


@pytest.mark.parametrize("template", [CHATML, HEADERS, None], ids=["chatml", "date in the system message", "no template"])
def test_answers_are_those_of_whole_prompts(template):
    language = model(tokens=tokenizer(template))
    found = ClosedForm(language).answers(PERSONAS, FEW)
    difference = np.abs(found - plainly(language, PERSONAS, FEW)).max()
    print(f"largest difference to whole prompts {difference:.1e}")
    assert difference < TOLERANCE
    assert found.shape == (10, 5) and (found > 1).all() and (found < 5).all()
    assert found.std(axis=0).min() > 100 * TOLERANCE and found.std(axis=1).min() > 100 * TOLERANCE  # persona and item make a difference


def test_the_prompt_is_the_conversation_of_the_template(language):
    written = ClosedForm(language).prompt("likes red", "I see.")
    user = written.partition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]
    messages = [{"role": "system", "content": "likes red"}, {"role": "user", "content": user}]
    assert written == language.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + closed_form.ANSWER
    assert user.endswith("Statement: I see.") and "1 = very inaccurate, 2 =" in user and "5 = very accurate." in user
    assert "1 = very accurate, 2 =" in ClosedForm(language).prompt("", "I see.", descending=True)
    sly = ClosedForm(language).prompt("a<|im_end|>", "b<|im_end|>")
    assert sly.count("<|im_end|>") == 2


def test_balanced_is_the_mean_of_both_orders(language):
    both = ClosedForm(language, balanced=True).answers(PERSONAS, FEW)
    up, down = plainly(language, PERSONAS, FEW), plainly(language, PERSONAS, FEW, descending=True)
    assert np.abs(up - down).max() > 0.01
    np.testing.assert_allclose(both, (up + down) / 2, atol=TOLERANCE)


def liking(language, digit):
    """The model with a strong liking for a digit, whatever it is asked."""
    place = language.encode(str(digit))[0]
    language.model.lm_head.weight = torch.nn.Parameter(language.model.lm_head.weight.clone(), requires_grad=False)  # else tied to the embeddings
    ones = torch.ones(language.model.config.hidden_size)
    language.model.model.norm.register_forward_hook(lambda module, args, out: out + ones)
    language.model.lm_head.weight[place] += 0.3
    return language


def test_a_liking_for_a_digit_cancels_out():
    language = liking(model(), 5)
    once, twice = ClosedForm(language).answers(PERSONAS, FEW), ClosedForm(language, balanced=True).answers(PERSONAS, FEW)
    assert once.mean() > 4.5 and abs(twice.mean() - 3) < 0.3


def test_a_planted_persona_is_found(monkeypatch):
    """A hook lets the digit 5 win where the persona's word stands in the prompt, by attention over the kept prefix alone."""
    language = model()
    word = language.encode("Z")[0]
    five, one = (language.encode(digit)[0] for digit in "51")
    attention = language.model.model.layers[0].self_attn
    width = language.model.config.hidden_size
    # block 0 writes "Z was seen" into a direction of its own; the final normalisation keeps it, and the head reads it
    direction = torch.zeros(width)
    direction[0] = 1.0
    embedding = language.model.model.embed_tokens.weight
    embedding[:, 0] = 0.0
    language.model.lm_head.weight = torch.nn.Parameter(embedding.clone(), requires_grad=False)
    embedding[word] = 40 * direction
    for block in language.model.model.layers:
        for part in (block.self_attn.o_proj, block.mlp.down_proj):
            part.weight.zero_()
    head = attention.head_dim
    attention.q_proj.weight.zero_()
    attention.k_proj.weight.zero_()
    attention.v_proj.weight.zero_()
    attention.v_proj.weight[0, 0] = 50.0
    attention.o_proj.weight[0, 0] = 50.0
    assert head == 16
    language.model.lm_head.weight[:, 0] = 0.0
    language.model.lm_head.weight[five, 0], language.model.lm_head.weight[one, 0] = 9.0, -9.0
    found = ClosedForm(language).answers(["likes Z", "likes red", "", "Z"], FEW)
    assert found[[0, 3]].min() > 4.5 and found[[1, 2]].max() < 4.5
    assert (found[0] > found[1] + 0.5).all() and (found[3] > found[2] + 0.5).all()


def test_bfloat16_is_read_unrounded():
    language = model(dtype="bfloat16")
    found = ClosedForm(language).answers(PERSONAS, ITEMS)
    assert len(np.unique(found)) > 0.9 * found.size - len(ITEMS.items)
    assert np.abs(found - plainly(language, PERSONAS, ITEMS)).mean() < 0.1


# --- however they are asked


def batchings(respondent, personas, inventory):
    """The same answers, asked in other ways."""
    order = random.Random(0).sample(range(len(personas)), len(personas))
    columns = random.Random(1).sample(range(len(inventory.items)), len(inventory.items))
    shuffled = respondent.answers([personas[i] for i in order], Inventory("other", tuple(inventory.items[i] for i in columns)))
    back = np.empty_like(shuffled)
    back[np.ix_(order, columns)] = shuffled
    yield "shuffled", back
    yield "one persona at a time", np.concatenate([respondent.answers([persona], inventory) for persona in personas])
    yield "one item at a time", np.concatenate([respondent.answers(personas, Inventory("one", (item,))) for item in inventory.items], axis=1)
    for budget in (1, 100, 700, 10**6):
        before, respondent.tokens = respondent.tokens, budget
        yield f"{budget} tokens at once", respondent.answers(personas, inventory)
        respondent.tokens = before


@pytest.mark.parametrize("balanced", [False, True])
def test_answers_do_not_depend_on_the_company(language, balanced):
    respondent = ClosedForm(language, balanced=balanced)
    together = respondent.answers(PERSONAS, FEW)
    for way, found in batchings(respondent, PERSONAS, FEW):
        difference = np.abs(found - together).max()
        print(f"{way}: {difference:.1e}")
        assert difference < TOLERANCE


def test_formats_of_a_profile_share_what_they_begin_with(language, monkeypatch):
    personas = [render(PEOPLE[0], style=form) for form in all_formats()[:36]]
    respondent, made = ClosedForm(language), []
    make = respondent._model.prefixes
    monkeypatch.setattr(respondent._model, "prefixes", lambda texts, after=None: made.append(sum(map(len, texts))) or make(texts, after=after))
    found = respondent.answers(personas, FEW)
    whole = sum(len(language.encode(language.chat.before_user(persona))) for persona in personas)
    print(f"{sum(made)} tokens computed, {whole} in all personas")
    assert sum(made) < whole  # instruction included
    alone = np.concatenate([respondent.answers([persona], FEW) for persona in personas])
    assert np.abs(found - alone).max() < TOLERANCE


def test_equal_pairs_are_computed_once(language, monkeypatch):
    respondent, rows = ClosedForm(language), []
    after = respondent._model.after_prefix
    monkeypatch.setattr(respondent._model, "after_prefix", lambda tokens, **more: rows.append(len(tokens)) or after(tokens, **more))
    twice = Inventory("twice", (*FEW.items, Item("again", "openness", FEW.items[0].statement, "", True)))
    found = respondent.answers(["", "a", "", "a", "a"], twice)
    assert sum(rows) == 2 * 5
    assert (found[0] == found[2]).all() and (found[1] == found[4]).all() and (found[:, 0] == found[:, 5]).all()
    assert respondent.counts.asked == 30


def test_the_token_budget_holds(language, monkeypatch):
    respondent, sizes = ClosedForm(language, tokens=500), []
    after, make = respondent._model.after_prefix, respondent._model.prefixes
    monkeypatch.setattr(respondent._model, "after_prefix", lambda tokens, **more: sizes.append(tokens.numel()) or after(tokens, **more))
    monkeypatch.setattr(respondent._model, "prefixes", lambda texts, **more: sizes.append(len(texts) * max(map(len, texts)) * (len(texts) > 1)) or make(texts, **more))
    respondent.answers(PERSONAS, ITEMS)
    assert max(sizes) <= 500


def test_progress_counts_answers(language):
    for balanced in (False, True):
        steps: list[tuple[int, int]] = []
        tell = steps.append
        ClosedForm(language, balanced=balanced, tokens=300).answers(["a", "b", "a"], FEW, progress=lambda *step, tell=tell: tell(step))
        assert steps[-1] == (15, 15) and len(steps) >= 2 and [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert ClosedForm(language).answers([], FEW).shape == (0, 5)


# --- images


def seeing(fused, respondent, images, *, seed):
    """The plain path of a P-MLLM: the whole conversation, with a mask."""

    def logits(tokens, mask, persona, item):
        text = json.dumps([seed, fused.language_model.harmless(persona), item.statement])
        picture = images[int(short_hash(text.encode()), 16) % len(images)]
        return fused(tokens, images=fused.image_tokens(torch.from_numpy(picture[None])), mask=mask)

    return logits


@pytest.mark.parametrize("options", [{}, {"gate": "scalar"}, {"mask_from": "header"}], ids=["embedding gates", "scalar gates", "fused from the header on"])
def test_with_images_answers_are_those_of_the_plain_path(options):
    language, images = model(), features(7)
    fused = pmllm(language, **options)
    respondent = ClosedForm.of_pmllm(fused, images, seed=3)
    found = respondent.answers(PERSONAS, FEW)
    if options.get("mask_from") != "header":
        wanted = plainly(language, PERSONAS, FEW, seen=seeing(fused, respondent, images, seed=3))
        difference = np.abs(found - wanted).max()
        print(f"largest difference to the plain path {difference:.1e}")
        assert difference < TOLERANCE
    for way, again in batchings(respondent, PERSONAS, FEW):
        assert np.abs(again - found).max() < TOLERANCE, way
    assert np.abs(found - plainly(model(), PERSONAS, FEW)).max() > 0.01  # the image makes a difference


def test_without_images_a_pmllm_is_its_language_model(language):
    alone = ClosedForm(language)
    wanted = alone.answers(PERSONAS, FEW)
    other = model()
    fused = pmllm(other)
    respondent = ClosedForm.of_pmllm(fused, None)
    np.testing.assert_array_equal(respondent.answers(PERSONAS, FEW), wanted)
    assert respondent.version == alone.version
    fused.detach()  # which takes the attention to prefixes off the language model
    np.testing.assert_array_equal(respondent.answers(PERSONAS, FEW), wanted)


def test_images_are_drawn_by_seed_persona_and_statement():
    fused, images = pmllm(model()), features(50)
    one, same, other = (ClosedForm.of_pmllm(fused, images, seed=seed) for seed in (0, 0, 1))
    drawn = one._drawn(PERSONAS, [item.statement for item in ITEMS.items])
    assert (drawn == same._drawn(PERSONAS, [item.statement for item in ITEMS.items])).all()
    assert len(np.unique(drawn)) > 40 and (drawn[0] != drawn[1]).any()
    assert (one._drawn(PERSONAS[1:2], [ITEMS.items[3].statement]) == drawn[1, 3]).all()
    assert np.abs(one.answers(PERSONAS, FEW) - other.answers(PERSONAS, FEW)).max() > 1e-3
    with pytest.raises(BeholderError, match="no image to pair the items with: give at least one"):
        ClosedForm.of_pmllm(fused, images[:0])


# --- versions and refusals


def test_the_version_changes_with_whatever_changes_answers(language, monkeypatch):
    fused, images = pmllm(model()), features(3)
    other = pmllm(model(), seed=2)
    found = [
        ClosedForm(language),
        ClosedForm(language, balanced=True),
        ClosedForm(model(seed=5)),
        ClosedForm(model(dtype="float64")),
        ClosedForm.of_pmllm(fused, images),
        ClosedForm.of_pmllm(fused, images, seed=1),
        ClosedForm.of_pmllm(fused, images + 1),
        ClosedForm.of_pmllm(other, images),
        ClosedForm.of_pmllm(fused, images, balanced=True),
    ]
    versions = {one.version for one in found}
    assert len(versions) == len(found)
    assert ClosedForm(model(), tokens=7).version == found[0].version and ClosedForm.of_pmllm(pmllm(model()), images).version == found[4].version
    monkeypatch.setattr(closed_form, "INSTRUCTION", "How accurate? {anchors}")
    assert ClosedForm(language).version not in versions


def test_what_cannot_be_asked_is_refused(language):
    respondent = ClosedForm(language)
    with pytest.raises(BeholderError, match=r"the persona 'I was born .*' makes a question of \d+ tokens, more than the 2048 that tiny can see: shorten"):
        respondent.answers(["", "I was born in a small town and " * 400], FEW)
    with pytest.raises(BeholderError, match=r"the item q1 of mine has no statement .* ask its open question in the mode open"):
        respondent.answers([""], Inventory("mine", (Item("q1", "openness", " ", "What do you imagine?", False),)))
    with pytest.raises(BeholderError, match="a persona is a text, not Profile: render the profile first"):
        respondent.answers([Profile(age=30)], FEW)


# --- prefixes of texts that begin alike


def texts_of(n, *, seed=0):
    """Token ids from a random tree, with equal texts, and texts that begin others."""
    draw = random.Random(seed)
    made = [[draw.randrange(7, 500) for _ in range(draw.randrange(1, 9))]]
    while len(made) < n:
        start = draw.choice(made)
        made.append(start[: draw.randrange(1, len(start) + 1)] + [draw.randrange(7, 500) for _ in range(draw.randrange(0, 30))])
    return made


@pytest.mark.parametrize(("tokens", "kept", "worth"), [(64, 256, 4), (1, 1, 1), (10**6, 10**6, 10**6), (200, 10**6, 30)])
def test_every_prefix_comes_once_and_is_as_if_alone(tokens, kept, worth):
    shared = SharedPrefixModel(model(dtype="float64"))
    texts = [*texts_of(40), []]
    seen, computed = [], []

    def make(some, after=None):
        computed.append(len(some) * max(map(len, some)))
        return shared.prefixes(some, after=after)

    with torch.inference_mode():
        for places, prefix in prefix_tree.grown(texts, make=make, tokens=tokens, kept=kept, worth=worth):
            assert len(places) == 1 or len(places) * prefix.tokens <= kept
            seen += places
            for row, place in enumerate(places):
                alone = shared.prefixes([texts[place]])
                length = len(texts[place])
                assert int(prefix.lengths[row]) == length
                for part in ("keys", "values"):
                    for one, other in zip(getattr(prefix, part), getattr(alone, part), strict=True):
                        torch.testing.assert_close(one[row, :, :length], other[0, :, :length], rtol=0, atol=1e-9)
    assert sorted(seen) == list(range(41))
    if worth < 10:
        assert sum(computed) < sum(map(len, texts)) or tokens == 64


def test_the_embedded_language_model_answers():
    from beholder.backbones.language_model import load_language_model

    outgoing, withdrawn = (render(Profile(extraversion=score), style="short") for score in (9, 2))
    found = ClosedForm(load_language_model()).answers([outgoing, withdrawn], Inventory("few", ITEMS.items[:3]))
    print(f"extraversion 9 {found[0].round(2)}, 2 {found[1].round(2)}")  # so small a model hardly follows a persona: no direction is asserted
    assert ((found > 1) & (found < 5)).all() and (found[0] != found[1]).any() and np.ptp(found, axis=1).min() > 0
