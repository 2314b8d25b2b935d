"""LoRA per rater: the image is seen, only the answer counts, the shared model stays as it was, and nobody's adapter depends on anybody else's."""

import hashlib
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from beholder.backbones.vlm import open_vlm
from beholder.errors import BeholderError, MissingExtra, UnreadableImage
from beholder.located import SkippedInput
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers.lora.model import attached
from beholder.scorers.lora.options import LoRAOptions, LoRATokenOptions
from beholder.scorers.lora.scorer import LoRAScorer, LoRATokenScorer
from tiny_qwen import save_qwen3_vl
from tiny_vlms import save_gemma3, save_llava

SIZES = [(32, 32), (64, 32), (32, 48)]  # 4, 8 and 6 image tokens
FAST = {"device": "cpu", "dtype": "float32", "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return save_qwen3_vl(tmp_path_factory.mktemp("qwen"), text={"num_hidden_layers": 3}, vision={"depth": 3})


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """36 grainy photographs of three shapes, and how bright each is (0..1)."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(5)
    bright, paths = random.uniform(0, 1, 36), []
    for i, level in enumerate(bright):
        width, height = SIZES[i % 3]
        pixels = np.clip(level + random.normal(0, 0.05, (height, width, 3)), 0, 1)
        Image.fromarray((255 * pixels).astype(np.uint8)).save(folder / f"{i}.png")
        paths.append(str(folder / f"{i}.png"))
    return paths, bright


def rater(paths, scores, *, scale=None):
    return Rater("somebody", ratings=Ratings(list(zip(paths, map(float, scores), strict=True)), scale=scale))


def tokens(model, **options):
    return LoRATokenScorer(options=LoRATokenOptions(model=model, **(FAST | {"keep": False} | options)))


def decimal(model, **options):
    return LoRAScorer(options=LoRAOptions(model=model, **(FAST | {"keep": False} | options)))


def weights(model):
    """A hash of all names and values."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode() + value.numpy().tobytes())
    return total.hexdigest()


# --- the image is seen


def test_ratings_that_depend_on_brightness_are_learned(qwen, photos):
    paths, bright = photos
    likes_light, likes_dark = rater(paths[:24], np.round(1 + 4 * bright[:24], 1)), rater(paths[:24], np.round(5 - 4 * bright[:24], 1))
    scorer = tokens(qwen, dropout=0.0)
    light, dark = (scorer.predict(paths[24:], one).score for one in (likes_light, likes_dark))
    truth = 1 + 4 * bright[24:]
    assert np.corrcoef(light, truth)[0, 1] > 0.8 and np.corrcoef(dark, truth)[0, 1] < -0.8
    assert np.mean((light - truth) ** 2) < 0.8 * np.mean((truth.mean() - truth) ** 2)  # no constant is as good


def test_the_loss_falls_further_than_with_ratings_of_other_images(qwen, photos):
    from beholder.scorers.lora.training import answer_loss

    paths, bright = photos
    scores = np.round(1 + 4 * bright)
    shuffled = np.roll(scores, 7)
    losses = []
    for given in (scores, shuffled):
        scorer = tokens(qwen, dropout=0.0)
        scorer.predict([], rater(paths[:24], given[:24]))
        with attached(scorer.model, options=scorer.options) as on:
            on.load(next(iter(scorer.adapters._latest.values())).tensors)
            batch = scorer.model.batch(scorer.form.turns(paths[:24], given[:24]), answers=True)
            total, count = answer_loss(scorer.model, batch, scorer.form.labels(batch))
        losses.append(float(total.detach()) / count)
    assert losses[0] < losses[1] - 0.1


# --- only the answer counts


def by_hand(vlm, turns, wanted):
    """Mean cross-entropy of the tokens at the places `wanted` of each turn, one turn at a time, from the logits of the whole conversation."""
    import torch

    found = []
    for turn, places in zip(turns, wanted, strict=True):
        with torch.no_grad():
            chances = vlm.forward(vlm.batch([turn])).logits[0].log_softmax(-1)
        found += [-float(chances[place - 1, turn.ids[place]]) for place in places]
    return np.mean(found), len(found)


@pytest.mark.parametrize("make, answers", [(decimal, ["1.00", "4.25", "3.50"]), (tokens, ["1", "4", "3"])])
def test_labels_are_the_answer_alone(qwen, photos, make, answers):
    from beholder.scorers.lora.training import answer_loss

    scorer, scores = make(qwen), [1.0, 4.25, 3.5 if make is decimal else 3.0]
    vlm, form = scorer.model, scorer.form
    turns = form.turns(photos[0][:3], scores)
    assert len({len(turn.ids) for turn in turns}) == 3  # so that two of them are padded
    batch = vlm.batch(turns, side="right", answers=True)
    labels = form.labels(batch)
    ends = ["<|im_end|>"] if make is decimal else [""]
    wanted = []
    for row, turn in enumerate(turns):
        places = (labels[row] != -100).nonzero()[:, 0].tolist()
        assert vlm.tokenizer.decode([turn.ids[place] for place in places]) == answers[row] + ends[0]
        assert labels[row, places].tolist() == [turn.ids[place] for place in places]
        assert places == list(range(places[0], places[0] + len(places)))
        assert vlm.tokenizer.decode(turn.ids[: places[0]]).endswith("assistant\n")
        wanted.append(places)
    loss, count = answer_loss(vlm, batch, labels)
    expected, n = by_hand(vlm, turns, wanted)
    assert count == n and float(loss) / count == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("save", [save_llava, save_gemma3])
def test_other_families_learn_the_token_of_the_integer(tmp_path, photos, save):
    scorer = tokens(save(tmp_path / "model"), epochs=1)
    batch = scorer.model.batch(scorer.form.turns(photos[0][:3], [2.0, 5.0, 3.0]), answers=True)
    labels = scorer.form.labels(batch)
    assert scorer.model.tokenizer.decode(labels[labels != -100]) == "253"
    before = weights(scorer.model.model)
    found = scorer.predict(photos[0][4:6], rater(photos[0][:4], [1, 5, 2, 4]))
    assert scorer.n_steps == 1 and ((found.score > 1) & (found.score < 5)).all() and weights(scorer.model.model) == before


def test_the_expected_integer_is_that_of_the_next_token(qwen, photos):
    import torch

    scorer, argmax = tokens(qwen), tokens(qwen, read="argmax")
    found, likeliest = (one.predict(photos[0][:5], Rater()).score for one in (scorer, argmax))
    vlm = scorer.model
    ids = [vlm.tokenizer(str(integer), add_special_tokens=False)["input_ids"][0] for integer in range(1, 6)]
    for place, path in enumerate(photos[0][:5]):
        turn = vlm.turn([vlm.prepare(Image.open(path)), scorer.form.prompt], reply=True)
        with torch.no_grad():
            chances = vlm.forward(vlm.batch([turn])).logits[0, -1, ids].double().softmax(-1).numpy()
        assert found[place] == pytest.approx(chances @ np.arange(1, 6), abs=1e-5)
        assert likeliest[place] == 1 + chances.argmax()


def test_a_model_without_tokens_for_the_integers_is_refused(qwen, monkeypatch):
    scorer = tokens(qwen)
    turn = type(scorer.model).turn
    monkeypatch.setattr(
        type(scorer.model), "turn", lambda self, parts, answer=None, reply=False: turn(self, parts, answer=answer + "0", reply=reply)
    )
    assert scorer.form.tokens  # another token after the integer does no harm
    monkeypatch.setattr(
        type(scorer.model), "turn", lambda self, parts, answer=None, reply=False: turn(self, parts, answer=answer * 2, reply=reply)
    )
    with pytest.raises(BeholderError, match="as one token each"):
        tokens(qwen).form  # noqa: B018


# --- the shared model


def test_nothing_of_an_adapter_stays_on_the_model(qwen, photos):
    paths, bright = photos
    vlm = open_vlm(qwen, device="cpu", dtype="float32")
    before, modules = weights(vlm.model), [type(module) for module in vlm.model.modules()]
    frozen = tokens(qwen).predict(paths[24:27], Rater()).score
    scorer = tokens(qwen, epochs=1)
    assert scorer.model is vlm
    changed = scorer.predict(paths[24:27], rater(paths[:8], 1 + 4 * bright[:8])).score
    assert np.abs(changed - frozen).max() > 1e-3
    assert weights(vlm.model) == before and [type(module) for module in vlm.model.modules()] == modules
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in vlm.model.parameters())
    assert np.array_equal(tokens(qwen).predict(paths[24:27], Rater()).score, frozen)


@pytest.mark.parametrize("where", ["put on", "trained", "answering"])
def test_an_interruption_leaves_nothing_on_the_model(qwen, photos, monkeypatch, where):
    paths, bright = photos
    vlm = open_vlm(qwen, device="cpu", dtype="float32")
    before, modules = weights(vlm.model), [type(module) for module in vlm.model.modules()]
    who, scorer = rater(paths[:8], 1 + 4 * bright[:8]), tokens(qwen, epochs=1)
    calls = []

    def interrupted(original, after):
        def call(*args, **options):
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt
            return original(*args, **options)

        return call

    with monkeypatch.context() as patch:
        if where == "put on":  # in the middle: four of the layers have an adapter then
            from peft.tuners.lora import LoraModel

            patch.setattr(LoraModel, "_create_and_replace", interrupted(LoraModel._create_and_replace, 4))
        else:
            patch.setattr(type(vlm), "forward", interrupted(type(vlm).forward, 1 if where == "trained" else 2))
        with pytest.raises(KeyboardInterrupt):
            scorer.predict(paths[24:27], who)
    assert weights(vlm.model) == before and [type(module) for module in vlm.model.modules()] == modules
    assert not any(parameter.requires_grad for parameter in vlm.model.parameters()) and not hasattr(vlm.decoder, "peft_config")
    assert np.array_equal(scorer.predict(paths[24:27], who).score, tokens(qwen, epochs=1).predict(paths[24:27], who).score)
    with ThreadPoolExecutor(1) as other:  # the lock was given back, too
        assert other.submit(vlm.lock.acquire, blocking=False).result()
        other.submit(vlm.lock.release).result()


def test_only_the_decoder_gets_gradients_in_float32(qwen, photos):
    from torch.nn import functional as F

    scorer = tokens(qwen, dtype="bfloat16", epochs=1)
    visual = set(map(id, scorer.model.inner.visual.modules()))
    with attached(scorer.model, options=scorer.options) as on:
        assert len(on.layers) == 3 * 7 and not visual & set(map(id, on.layers.values()))
        assert {str(parameter.dtype) for parameter in on.parameters.values()} == {"torch.float32"}
        trained = {id(parameter) for parameter in scorer.model.model.parameters() if parameter.requires_grad}
        assert trained == set(map(id, on.parameters.values()))
        batch = scorer.model.batch(scorer.form.turns(photos[0][:2], [2.0, 4.0]), answers=True)
        seen = []
        handle = scorer.model.inner.visual.register_forward_hook(lambda module, given, made: seen.append(made))
        logits = scorer.model.forward(batch).logits
        handle.remove()
        assert len(seen) == 1  # both images at once
        F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch.labels[:, 1:].flatten()).backward()
        assert all(on.parameters[name].grad.abs().max() > 0 for name in on.parameters if name.endswith("B"))
    assert all(parameter.grad is None for parameter in scorer.model.model.parameters())
    found = scorer.predict(photos[0][24:26], rater(photos[0][:4], [1, 2, 3, 4]))
    assert np.isfinite(found.score).all()


def test_raters_do_not_depend_on_each_other(qwen, photos):
    paths, bright = photos
    one, two = rater(paths[:8], 1 + 4 * bright[:8]), rater(paths[4:10], 5 - 4 * bright[4:10])
    alone = [tokens(qwen, epochs=1).predict(paths[24:28], somebody) for somebody in (one, two)]
    requests = [(paths[24:28], one), (paths[24:28], two)]
    there, back = tokens(qwen, epochs=1).predict_many(requests), tokens(qwen, epochs=1).predict_many(requests[::-1])[::-1]
    for place in range(2):
        assert np.array_equal(there[place].score, alone[place].score) and np.array_equal(back[place].score, alone[place].score)
    assert np.abs(alone[0].score - alone[1].score).max() > 1e-3


def test_random_numbers_of_others_go_on_as_before(qwen, photos):
    import torch

    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(4), np.random.rand(4)
    torch.manual_seed(3)
    np.random.seed(3)
    scores = [tokens(qwen, epochs=1, seed=seed).predict(photos[0][20:22], rater(photos[0][:4], [1, 5, 2, 4])).score for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(4), expected[0]) and np.array_equal(np.random.rand(4), expected[1])
    assert np.array_equal(scores[0], scores[1]) and not np.array_equal(scores[0], scores[2])


# --- adapters are kept


def test_the_same_ratings_train_once(qwen, photos, own_folders):
    paths, bright = photos
    somebody = rater(paths[:8], 1 + 4 * bright[:8])
    first = tokens(qwen, epochs=1, keep=True)
    steps = []
    first.progress = lambda done, total: steps.append((done, total))
    found = first.predict(paths[24:28], somebody)
    assert steps == [(1, 2), (2, 2)] and first.n_trained == 1
    assert np.array_equal(first.predict(paths[24:28], somebody).score, found.score)
    assert first.n_trained == 1 and first.n_steps == 2 and len(steps) == 2
    again = tokens(qwen, epochs=1, keep=True)  # as after an interruption
    kept = again.predict(paths[24:28], somebody)
    assert np.array_equal(kept.score, found.score) and np.array_equal(kept.low, found.low) and again.n_trained == 0
    assert "raters learned: 1, in 2 steps" in first.notes()[0] and "adapters found ready: 1" in again.notes()[0]
    files = list((own_folders / "cache" / "adapters").iterdir())
    assert len(files) == 1
    files[0].write_bytes(files[0].read_bytes()[:100])
    mended = tokens(qwen, epochs=1, keep=True)
    assert np.array_equal(mended.predict(paths[24:28], somebody).score, found.score) and mended.n_trained == 1


@pytest.mark.parametrize(
    "change",
    [{"epochs": 2}, {"rank": 4}, {"seed": 1}, {"learning_rate": 1e-3}, {"max_pixels": 1024}, {"dtype": "bfloat16"}, {"read": "argmax"}],
)
def test_what_changes_the_training_changes_the_key(qwen, photos, change):
    somebody = rater(photos[0][:4], [1, 5, 2, 4])
    plain, other = tokens(qwen), tokens(qwen, **change)
    assert plain._task([], somebody).key != other._task([], somebody).key and plain.version != other.version
    assert plain._task([], somebody).key != plain._task([], rater(photos[0][:4], [1, 5, 2, 3])).key
    assert plain._task([], somebody).key != plain._task([], rater(photos[0][1:5], [1, 5, 2, 4])).key


def test_a_folder_that_cannot_be_written_is_said_once(qwen, photos, own_folders):
    (own_folders / "cache").mkdir()
    (own_folders / "cache" / "adapters").write_text("a file")
    scorer = tokens(qwen, epochs=1, keep=True)
    with pytest.warns(UserWarning, match="adapters cannot be kept") as said:
        for start in (0, 1):
            scorer.predict(photos[0][20:21], rater(photos[0][start : start + 2], [1, 5]))
    assert len(said) == 1 and scorer.n_trained == 2


# --- few ratings, odd ratings, bad input


def test_without_ratings_the_frozen_model_answers(qwen, photos):
    scorer = tokens(qwen)
    found = scorer.predict(photos[0][:3], Rater())
    assert ((found.score > 1) & (found.score < 5)).all() and (found.low == 1).all() and (found.high == 5).all()
    assert scorer.n_trained == 0 and scorer.notes() == []
    assert len(scorer.predict([], Rater())) == 0


@pytest.mark.parametrize("scores", [[4], [3, 3, 3, 3, 3]])
def test_one_rating_and_constant_ratings(qwen, photos, scores):
    found = tokens(qwen).predict(photos[0][20:23], rater(photos[0][: len(scores)], scores))
    assert np.isfinite(found.score).all() and (found.low == 1).all() and (found.high == 5).all()


def test_answers_stay_on_the_scale_of_the_rater(qwen, photos):
    paths, bright = photos
    liked = 0.2 + 0.2 * bright[:20]
    raters = [rater(paths[:20], low + width * liked, scale=Scale(low, low + width, 0)) for low, width in ((1, 4), (0, 100))]
    to_5, to_100 = (tokens(qwen, epochs=1).predict(paths[24:30], somebody) for somebody in raters)
    for of_100, of_5 in ((to_100.score, to_5.score), (to_100.low, to_5.low), (to_100.high, to_5.high)):
        assert of_100 == pytest.approx(25 * (of_5 - 1))
    assert to_100.scale == Scale(0, 100, 0) and (to_100.low >= 0).all() and (to_100.high <= 100).all()
    assert 0 < (to_5.high - to_5.low).max() < 4  # 20 ratings are enough for an interval


def test_decimals_are_learned_and_what_is_no_number_is_said(qwen, photos):
    paths, _ = photos
    found = decimal(qwen, epochs=10, dropout=0.0, learning_rate=1e-2).predict(paths[24:28], rater(paths[:8], [4.25] * 8))
    assert found.score.tolist() == [4.25] * 4
    scorer = decimal(qwen)
    scorer.form._answerer.max_new_tokens = 1
    scorer.form._answerer.__dict__["stop"] = tuple(range(128))  # whatever it says ends the answer
    with pytest.warns(SkippedInput, match="2 of 2 answers of .* hold no number"):
        nothing = scorer.predict(paths[:2], Rater())
    assert nothing.score.tolist() == [3, 3] and nothing.low.tolist() == [1, 1] and scorer.unparsed == 2
    assert "2 images without a number" in scorer.notes()[-1]


def test_ratings_of_unreadable_images_are_left_out(qwen, photos, tmp_path):
    paths, _ = photos
    broken, gone = tmp_path / "broken.png", str(tmp_path / "gone.png")
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    scorer = tokens(qwen, epochs=1)
    for _ in range(2):  # said again where the adapter is there already
        with pytest.warns(SkippedInput, match="2 of 4 ratings are left out"):
            found = scorer.predict(paths[24:26], rater([str(broken), paths[0], gone, paths[1]], [5, 1, 4, 5]))
    assert (scorer.n_trained, scorer.n_known) == (1, 1)
    assert np.array_equal(found.score, tokens(qwen, epochs=1).predict(paths[24:26], rater(paths[:2], [1, 5])).score)
    with pytest.warns(SkippedInput, match="1 of 1 ratings are left out"):
        found = tokens(qwen).predict(paths[24:26], rater([gone], [5]))
    assert np.array_equal(found.score, tokens(qwen).predict(paths[24:26], Rater()).score)
    with pytest.raises(UnreadableImage):
        tokens(qwen).predict([gone], Rater())


def test_without_peft(qwen, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert len(tokens(qwen).predict(photos[0][:1], Rater())) == 1  # the frozen model needs none
    with pytest.raises(MissingExtra, match=r"beholder\[local\]"):
        tokens(qwen).predict(photos[0][:1], rater(photos[0][:2], [1, 5]))


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"epochs": 0}, {"batch": 0}, {"alpha": 0.0}, {"learning_rate": -1.0}, {"dropout": 1.0}])
def test_impossible_options(wrong):
    with pytest.raises(BeholderError, match=next(iter(wrong))):
        LoRAOptions(**wrong)


# --- training


def test_short_memory_changes_nothing_but_the_time(qwen, photos, monkeypatch):
    import torch

    paths, bright = photos
    somebody = rater(paths[:6], np.round(1 + 4 * bright[:6]))
    plain = decimal(qwen, epochs=2, dropout=0.0)
    plain.predict([], somebody)
    small = decimal(qwen, epochs=2, dropout=0.0)
    forward, sizes = type(small.model).forward, []

    def scarce(self, batch, **options):
        sizes.append(len(batch.turns))
        if torch.is_grad_enabled() and len(batch.turns) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch, **options)

    monkeypatch.setattr(type(small.model), "forward", scarce)
    with pytest.warns(UserWarning, match="4 images at once do not fit into memory") as said:
        small.predict([], somebody)
    assert len(said) == 1 and sizes[:3] == [4, 2, 1] and set(sizes[3:]) == {1} and small.n_steps == plain.n_steps == 4
    (one,), (other,) = plain.adapters._latest.values(), small.adapters._latest.values()
    for name, tensor in one.tensors.items():
        assert torch.allclose(tensor.float(), other.tensors[name].float(), atol=2e-4), name
    monkeypatch.setattr(type(small.model), "forward", lambda self, batch, **options: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(BeholderError, match="one image does not fit into memory"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decimal(qwen).predict([], somebody)
    assert not any("lora" in name for name in small.model.model.state_dict())  # taken off after an error, too


def test_a_loss_that_is_no_number_stops(qwen, photos, monkeypatch):
    from beholder.scorers.lora import training

    monkeypatch.setattr(training, "answer_loss", lambda vlm, batch, labels: (vlm.forward(batch).logits.sum() * float("nan"), 1))
    with pytest.raises(BeholderError, match="lower learning_rate"):
        tokens(qwen).predict(photos[0][:1], rater(photos[0][:2], [1, 5]))


def test_weights_that_are_no_numbers_are_not_kept(qwen, photos, monkeypatch):
    import torch

    original = torch.optim.AdamW.step

    def last(self, *args):
        original(self, *args)
        with torch.no_grad():
            self.param_groups[0]["params"][3].view(-1)[0] = float("nan")

    monkeypatch.setattr(torch.optim.AdamW, "step", last)
    scorer = tokens(qwen, epochs=1)
    with pytest.raises(BeholderError, match="weights of LoRA are no numbers any more after the last step: lower learning_rate"):
        scorer.predict(photos[0][:1], rater(photos[0][:2], [1, 5]))
    assert not scorer.adapters._latest


def test_too_little_memory_for_answers(qwen, photos, monkeypatch):
    import torch

    scorer = tokens(qwen)
    wanted, cls = scorer.predict(photos[0][:6], Rater()).score, type(scorer.model)
    forward = cls.forward
    for most in (1, 2, 3):

        def scarce(self, batch, most=most, **options):
            if len(batch.turns) > most:
                raise torch.OutOfMemoryError("CUDA: none left")
            return forward(self, batch, **options)

        monkeypatch.setattr(cls, "forward", scarce)
        assert np.allclose(scorer.predict(photos[0][:6], Rater()).score, wanted, atol=1e-4)
    monkeypatch.setattr(cls, "forward", lambda self, batch, **options: scarce(self, batch, most=0, **options))
    with pytest.raises(BeholderError, match="does not fit into the memory of cpu: set max_pixels=524288 or smaller"):
        scorer.predict(photos[0][:6], Rater())


@pytest.mark.parametrize("total", [1, 3, 10, 75, 400])
def test_the_learning_rate_is_the_published_one(total):
    import torch
    from transformers import get_linear_schedule_with_warmup

    from beholder.scorers.lora.training import rate

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=min(10, total // 10), num_training_steps=total)
    for step in range(total):
        assert rate(step, total) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_the_interval_is_the_quantile_for_a_new_error():
    from beholder.scorers.lora.training import half_width

    assert half_width(np.arange(9) / 10) == 0.8  # with 9 errors only the largest has a 90 % chance to be larger than a tenth
    assert half_width(np.arange(8) / 10) == 4.0 and half_width(np.zeros(0)) == 4.0
    assert half_width(np.arange(99)[::-1] / 50) == 89 / 50
    errors = np.random.default_rng(0).exponential(0.3, (400, 51))
    held = np.mean([row[50] <= half_width(row[:50]) for row in errors])
    assert 0.87 < held < 0.95


def test_importing_it_imports_no_torch():
    code = "import sys, beholder.scorers.lora.scorer as it; it.LoRAScorer.name; sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
