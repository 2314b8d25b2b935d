"""Answers of tiny models of every family: alone, together and after a kept beginning they are the same, and the same as transformers' own."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_qwen
import tiny_vlms
from beholder.backbones.vlm import open_vlm, prompts
from beholder.backbones.vlm.answers import Answerer, _batches, parse_number
from beholder.backbones.vlm.kept_prefix import beginning
from beholder.errors import BeholderError

MAKERS = {
    "qwen3_vl": tiny_qwen.save_qwen3_vl,
    "qwen2_5_vl": tiny_qwen.save_qwen2_5_vl,
    "llava": tiny_vlms.save_llava,
    "gemma3": tiny_vlms.save_gemma3,
    "idefics3": tiny_vlms.save_idefics3,
    "smolvlm": tiny_vlms.save_smolvlm,
}
FAMILIES = list(MAKERS)


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


EXAMPLES = [picture(64, 48, 1), picture(96, 64, 2), picture(40, 96, 3)]
ASKED = [picture(64, 64, 4), picture(32, 32, 5), picture(96, 32, 6), picture(64, 64, 7)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    @functools.cache
    def make(family):
        return open_vlm(MAKERS[family](tmp_path_factory.mktemp(family)), device="cpu", dtype="float32")

    return make


@functools.cache
def conversations(vlm):
    """Few-shot ones with the same examples."""
    beginning = ["Some examples.\n"]
    for number, image in enumerate(EXAMPLES, start=1):
        beginning += [vlm.prepare(image), prompts.FEW_SHOT_EXAMPLE.format(number=number, score=1.5 * number)]
    return [vlm.turn([*beginning, vlm.prepare(image), "What is it for THIS image?"], reply=True) for image in ASKED]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_same_alone_together_and_after_a_kept_beginning(opened, family):
    vlm = opened(family)
    turns, answerer = conversations(vlm), Answerer(vlm)
    prefix = answerer.keep(turns[0])
    assert len(prefix.images) == 3 and len(prefix) > sum(image.n_tokens for image in prefix.images)
    alone = torch.cat([answerer.logits([turn]) for turn in turns])
    assert (alone - answerer.logits(turns)).abs().max() < 1e-4
    assert (alone - torch.cat([answerer.logits([turn], prefix=prefix) for turn in turns])).abs().max() < 1e-4
    same = [turn for turn in turns if len(turn.ids) == len(turns[0].ids)]
    assert len(same) >= 2
    rows = torch.tensor([len(turn.ids) == len(turns[0].ids) for turn in turns])
    assert (alone[rows] - answerer.logits(same, prefix=prefix)).abs().max() < 1e-4
    assert (alone[1:] - alone[:1]).abs().max(dim=1).values.min() > 1e-2, "the image must matter"
    whole = vlm.model(**vlm.batch(turns[:1]).inputs).logits[:, -1].float()
    assert (alone[:1] - whole).abs().max() < 1e-4, "and be what transformers computes"


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_the_same_in_every_way_and_those_of_transformers(opened, family):
    vlm = opened(family)
    turns, answerer = conversations(vlm), Answerer(vlm, max_new_tokens=12, rows=3)
    together = dict(answerer.answers(turns))
    after = dict(answerer.answers(turns, prefix=answerer.keep(turns[2])))
    assert sorted(together) == sorted(after) == [0, 1, 2, 3]
    for place, turn in enumerate(turns):
        (_, alone), *_ = answerer.answers([turn])
        for other in (together[place], after[place]):
            assert (other.text, other.new_tokens, other.prompt_tokens) == (alone.text, alone.new_tokens, len(turn.ids))
            assert other.expected == pytest.approx(alone.expected, abs=1e-4) and 1 <= other.expected <= 5
        inputs = vlm.batch([turn]).inputs
        made = vlm.model.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=list(answerer.stop), pad_token_id=0)
        assert vlm.tokenizer.decode(made[0, len(turn.ids) :], skip_special_tokens=True).strip() == alone.text
    assert len({answer.text for answer in together.values()}) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_beginning_ends_before_anything_that_depends_on_the_last_image(opened, family):
    turns = conversations(opened(family))
    starts = [beginning(turn) for turn in turns]
    assert len({start.ids for start in starts}) == 1
    assert all(start.images == turns[0].images[:3] for start in starts)
    assert len(starts[0].ids) > 0.5 * len(turns[0].ids) or family == "llava", "the examples are in it"


def test_another_conversation_is_not_continued(opened):
    vlm = opened("qwen3_vl")
    turns, answerer = conversations(vlm), Answerer(vlm)
    prefix = answerer.keep(turns[0])
    image = vlm.prepare(ASKED[0])
    for other in (
        vlm.turn([image, "How good?"], reply=True),
        vlm.turn(["Some examples.\n", image, "x", image, "y", image, "z", image, "?"], reply=True),
    ):
        with pytest.raises(ValueError, match="does not begin with"):
            list(answerer.answers([other], prefix=prefix))


def test_a_window_sees_the_same_whatever_was_kept(opened):
    """Gemma 3: conversations of other lengths after one beginning are not padded in the middle."""
    vlm = opened("gemma3")
    image, beginning_ = vlm.prepare(ASKED[0]), ["Some examples.\n", vlm.prepare(EXAMPLES[0]), "good. " * 8]
    turns = [vlm.turn([*beginning_, image, "?" * n], reply=True) for n in (3, 20, 3, 37)]
    answerer = Answerer(vlm, max_new_tokens=6)
    assert answerer._windows and not Answerer(opened("llava"))._windows
    plain, after = dict(answerer.answers(turns)), dict(answerer.answers(turns, prefix=answerer.keep(turns[0])))
    assert [plain[i].text for i in range(4)] == [after[i].text for i in range(4)]
    assert np.allclose([plain[i].expected for i in range(4)], [after[i].expected for i in range(4)], atol=1e-4)


def _writing(vlm, monkeypatch, rows):
    """Let the model write the tokens of given texts, whatever it is shown; probabilities as if it were sure of each."""
    tokens = [vlm.tokenizer(text, add_special_tokens=False)["input_ids"] + [vlm.tokenizer.eos_token_id] for text in rows]
    step = iter(range(99))

    def forward(batch, **options):
        here = next(step)
        hidden = torch.zeros((len(rows), 1, len(vlm.tokenizer)))
        for row, ids in enumerate(tokens):
            hidden[row, 0, ids[min(here, len(ids) - 1)]] = 9.0
        return type("Output", (), {"last_hidden_state": hidden})

    monkeypatch.setattr(vlm, "forward", forward)
    monkeypatch.setattr(Answerer, "_head", lambda self, hidden, tokens=None: hidden if tokens is None else hidden[:, tokens])


def test_answers_end_where_the_model_ends_them_and_expectations_are_read_at_the_number(opened, monkeypatch):
    vlm = opened("qwen3_vl")
    turns = conversations(vlm)
    texts = ["4", "I say 2, not 5", "", "none at all"]
    answerer = Answerer(vlm)
    assert vlm.tokenizer.eos_token_id in answerer.stop
    _writing(vlm, monkeypatch, [texts[place] for place in sorted(range(4), key=lambda place: -len(turns[place].ids))])
    found = dict(answerer.answers(turns))
    assert [found[place].text for place in range(4)] == texts
    assert [found[place].new_tokens for place in range(4)] == [1, 14, 0, 11]
    assert [round(found[place].expected) for place in range(4)] == [4, 2, 3, 3]
    _writing(vlm, monkeypatch, ["no 2, no 5, no"])
    short = dict(Answerer(vlm, whole=False).answers(turns[:1]))[0]
    assert (short.text, round(short.expected)) == ("no 2", 2)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4", 4),
        ("3.75", 3.75),
        ("Score: 2/5", 2),
        ("-1.5 of +3", -1.5),
        ("+4", 4),
        ("I'd say 4.", 4),
        (".5", 5),
        ("four", None),
        ("", None),
    ],
)
def test_the_first_number_of_a_text(text, number):
    assert parse_number(text) == number


class Words:
    """A tokenizer by its vocabulary, the longest token first; `space` stands for one before a word."""

    all_special_ids = (0,)

    def __init__(self, vocabulary):
        self.vocabulary = ["<unk>", *vocabulary]

    def __call__(self, text, **options):
        ids = []
        while text:
            found = next((token for token in sorted(self.vocabulary, key=len, reverse=True) if text.startswith(token)), "<unk>")
            ids.append(self.vocabulary.index(found))
            text = text[len(found) if ids[-1] else 1 :]
        return {"input_ids": ids}

    def decode(self, ids):
        return "".join(self.vocabulary[i] for i in ids)


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        ("12345", "12345"),  # the space is unknown
        ([*"12345", " "], "12345"),  # the space is a token of its own
        ([*"12345", *(f" {i}" for i in range(1, 6))], ["1", " 1", "2", " 2", "3", " 3", "4", " 4", "5", " 5"]),
        ([f" {i}" for i in range(1, 6)], [f" {i}" for i in range(1, 6)]),
        ("1234", []),  # one of them cannot be written
    ],
)
def test_tokens_that_write_an_integer(vocabulary, expected):
    tokenizer = Words(vocabulary)
    tokens, values = Answerer(SimpleNamespace(tokenizer=tokenizer, device="cpu"))._integers
    assert [tokenizer.decode([token]) for token in tokens.tolist()] == list(expected)
    assert values.tolist() == [int(token) for token in expected]


def test_too_little_memory_is_one_sentence(opened, monkeypatch):
    vlm = opened("llava")
    turns = conversations(vlm)

    def full(*args, **options):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(vlm, "forward", full)
    for ask in (lambda: list(Answerer(vlm, rows=1).answers(turns)), lambda: Answerer(vlm).keep(turns[0])):
        with pytest.raises(BeholderError, match="does not fit into the memory of cpu: set max_pixels=524288 or smaller"):
            ask()
    monkeypatch.setattr(vlm, "forward", lambda *args, **options: (_ for _ in ()).throw(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        list(Answerer(vlm).answers(turns))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_where_memory_is_short_fewer_are_answered_together(opened, monkeypatch, most):
    vlm = opened("qwen3_vl")
    turns, forward, sizes = conversations(vlm), type(vlm).forward, []
    wanted = dict(Answerer(vlm).answers(turns))

    def scarce(self, batch, **options):
        sizes.append(len(batch.turns))
        if len(batch.turns) > most:
            raise torch.OutOfMemoryError("CUDA: none left")
        return forward(self, batch, **options)

    monkeypatch.setattr(type(vlm), "forward", scarce)
    answerer = Answerer(vlm)
    with pytest.warns(RuntimeWarning) as said:
        found = dict(answerer.answers(turns))
    assert {place: answer.text for place, answer in found.items()} == {place: answer.text for place, answer in wanted.items()}
    assert "the memory does not suffice for 4 conversations at a time" in str(said[0].message) and len(said) == (2 if most == 1 else 1)
    assert len(found) == len(turns) == 4 and answerer.rows == (1 if most == 1 else 2)
    tried = sizes.count(4)
    list(answerer.answers(turns))
    assert tried == 1 and sizes.count(4) == 1  # what was found out is not tried again


def test_batches_are_bounded_by_rows_and_tokens():
    lengths = [30_000, 10, 20_000, 9_000, 10, 9_000, 10]
    assert list(_batches(lengths, rows=3, equal=False)) == [[0], [2], [3, 5, 1], [4, 6]]
    assert list(_batches(lengths, rows=2, equal=True)) == [[0], [2], [3, 5], [1, 4], [6]]
    assert list(_batches([], rows=2, equal=True)) == []
