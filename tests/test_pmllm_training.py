"""Training of P-MLLM: gradients equal the plain path, nothing frozen moves, a kill changes nothing, and a planted taste is found."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from beholder.errors import BeholderError
from beholder.personas.questions import scoring
from beholder.scorers.pmllm.batches import Batches, PrefixStore
from beholder.scorers.pmllm.config import PromptConfig
from beholder.scorers.pmllm.example_table import Example, Examples
from beholder.scorers.pmllm.loss import Step, contrast
from beholder.scorers.pmllm.prompts import Prompter
from beholder.scorers.pmllm.recipes import MINI, PAPER, Training
from beholder.scorers.pmllm.training import LOG, PLOT, STATE, parts_of, train
from tiny_llama import examples, features, llama, pmllm, small_training, tokenizer

PROMPT = PromptConfig(persona="short", question="short", asked=None, low=1, high=5)
QUESTION = scoring("short").on(1, 5)
PROFILES = ["age 30", "likes red; openness 7", "", "gender female; age 30"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The processes that are started have one as well: the last bits of sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def setting(*, double=True, mask_from="content", training=None, tokens=None, made_of=None, guide=None, share=0.0, **config):
    """(step, batches) of 4 raters on 6 images, some answers missing."""
    language_model = llama(dtype="float64" if double else "float32", tokens=tokens)
    model = pmllm(language_model, double=double, mask_from=mask_from, **config)
    training = training or Training()
    prompter = Prompter(language_model, config=PROMPT, mask_from=mask_from)
    answers = np.random.default_rng(1).integers(1, 6, (4, 6))
    answers[1, 2] = answers[3, 0] = answers[3, 1] = -1
    image_tokens = features(6)
    expects = bool(training.expectation or training.contrast)
    batches = Batches(
        made_of or examples(PROFILES, answers, question=QUESTION),
        prompter=prompter,
        prefixes=PrefixStore(model, prompter),
        features=lambda which: image_tokens[which],
        expects=expects,
        guide=guide,
        share=share,
    )
    return Step(model, readout=prompter.readout(QUESTION) if expects else None, config=training), batches


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def plain_loss(step, batches, rows):
    """Mean cross-entropy of the answers' tokens, each example a whole conversation of its own, by `model.forward`."""
    model, prompter, made = step.model, batches.prompter, batches.examples
    losses = []
    for row in rows:
        before = prompter.prefix(made.profile_of(row))
        asked, answer = prompter.asking(made.question_text(row)), prompter.answering(made[row].answer)
        tokens = torch.tensor([before + asked + answer])
        mask = torch.arange(tokens.shape[1])[None] >= len(before)
        images = model.image_tokens(torch.from_numpy(batches.features(made.image[[row]])))
        logits = model(tokens, images=images, mask=mask)
        losses.append(F.cross_entropy(logits[0, -len(answer) - 1 : -1], tokens[0, -len(answer) :], reduction="none"))
    return torch.cat(losses).mean()


VARIANTS = [
    {},
    {"gate": "scalar", "scalar_gate": "tanh"},
    {"gate_bias": -1.0, "gate_input": "normed", "output": "lowrank"},
    {"output": "frozen", "rope_queries": True, "layers": 3},
    {"mask_from": "header"},
]


@pytest.mark.parametrize("rows", [[0, 3, 6, 7, 11, 12, 15, 17], [0, 1, 2, 3, 4, 11], [0, 1, 6, 7, 11, 12, 17, 18]], ids=["ragged", "uneven", "even"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(f"{k}={v}" for k, v in variant.items()) or "default")
def test_gradients_through_kept_profiles_are_those_of_the_plain_path(variant, rows):
    step, batches = setting(**variant)
    rows = np.array(rows)
    loss, parts = step(batches(rows))
    loss.backward()
    quick = gradients(step.model)
    step.model.zero_grad()
    wanted = plain_loss(step, batches, rows)
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-9)
    assert parts["answers"].item() == loss.item()
    for name, gradient in gradients(step.model).items():
        assert gradient.abs().max() > 1e-6, name
        assert torch.allclose(quick[name], gradient, rtol=0, atol=1e-9), name
    assert all(parameter.grad is None for parameter in step.model.language.parameters())


def test_gradients_of_the_expected_score_are_those_of_the_plain_path():
    training = Training(answers=0.5, expectation=2.0, contrast=3.0)
    step, batches = setting(training=training)
    rows = np.array([0, 1, 2, 6, 7, 8, 11, 12, 13, 17, 18, 19])
    rows = rows[rows < len(batches.examples)]
    step(batches(rows))[0].backward()
    quick = gradients(step.model)
    step.model.zero_grad()

    model, prompter, made = step.model, batches.prompter, batches.examples
    expected = []
    for row in rows:
        before, asked = prompter.prefix(made.profile_of(row)), prompter.asking(made.question_text(row))
        tokens = torch.tensor([before + asked + prompter.language_model.encode("Score: ")])
        images = model.image_tokens(torch.from_numpy(batches.features(made.image[[row]])))
        logits = model(tokens, images=images, mask=torch.arange(tokens.shape[1])[None] >= len(before))[0, -1]
        digits = [prompter.language_model.encode(str(integer))[0] for integer in range(1, 6)]
        expected.append(logits[digits].softmax(0) @ torch.arange(1.0, 6).double())
    error = torch.stack(expected) - torch.from_numpy(made.integer[rows].astype(float))
    raters, images = torch.from_numpy(made.rater[rows]).long(), torch.from_numpy(made.image[rows]).long()
    rest = error
    for _ in range(3):
        for index in (images, raters):
            rest = rest - torch.stack([rest[index == one].mean() for one in index])
    loss = 0.5 * plain_loss(step, batches, rows) + 2 * error.square().mean() + 3 * rest.square().mean()
    loss.backward()
    for name, gradient in gradients(model).items():
        assert torch.allclose(quick[name], gradient, rtol=0, atol=1e-9), name


def test_contrast_takes_off_images_and_raters():
    rater, image = (torch.from_numpy(x.ravel()) for x in np.meshgrid(np.arange(4), np.arange(5)))
    shared = torch.randn(5, dtype=torch.float64)[image] + torch.randn(4, dtype=torch.float64)[rater]
    assert float(contrast(shared, rater=rater, image=image + 70)) == pytest.approx(0, abs=1e-12)
    personal = torch.where((rater % 2 == 0) == (image == 0), 1.0, -1.0).double()
    left = personal.view(5, 4)
    left = left - left.mean(1, keepdim=True)
    left = left - left.mean(0, keepdim=True)
    assert float(contrast(shared + personal, rater=rater, image=image)) == pytest.approx(float(left.square().mean()))


def test_a_batch_is_what_its_examples_say():
    question = "What do you like?"
    rows = [
        Example("piaa", 1, 4, QUESTION, QUESTION.answered(5), 5, "ratings"),
        Example("subjective", 1, 2, question, "Colors.", None, "model x"),
        Example("caption", -1, 4, "Describe this image.", "A small image.", None, "column"),
    ]
    made = Examples.of(rows, profiles=PROFILES)
    step, batches = setting(made_of=made, training=Training(expectation=1.0))
    batch = batches(np.array([2, 0, 1]))
    language_model = batches.prompter.language_model
    for i, row in enumerate((2, 0, 1)):
        learned = language_model.tokenizer.decode(batch.tokens[i, 1:][batch.answer[i, :-1]])
        assert learned == made[row].answer + "<|im_end|>\n"
    assert batch.place.tolist() == [-1, batches.prompter.readout(QUESTION).place, -1]
    assert batch.target[1] == 5 and torch.isnan(batch.target[[0, 2]]).all()
    assert batch.image.tolist() == [1, 1, 0] and torch.equal(batch.features, torch.from_numpy(features(6)[[2, 4]]))
    assert batch.rater.tolist() == [-1, 1, 1] and batch.picture.tolist() == [4, 4, 2]
    assert batch.prefix.lengths.tolist() == [len(batches.prompter.prefix(text)) for text in ("", PROFILES[1], PROFILES[1])]
    loss, parts = step(batch)
    assert set(parts) == {"answers", "expectation"} and torch.isfinite(loss)
    only_text = step(batches(np.array([1])))[1]
    assert set(only_text) == {"answers"}


def test_a_guide_stands_for_the_ratings_by_its_share():
    guide = np.arange(24.0).reshape(4, 6) / 6
    made = examples(PROFILES, [[2, 4, -1, -1, -1, -1]] + [[-1] * 6] * 3, question=QUESTION)
    _, batches = setting(made_of=made, training=Training(expectation=1.0), guide=guide, share=0.25)
    assert batches(np.array([0, 1])).target.tolist() == pytest.approx([0.75 * 2 + 0.25 * 0, 0.75 * 4 + 0.25 / 6])


def test_a_part_of_the_image_tokens_is_left_out_and_drawn_anew_each_step():
    _, batches = setting()
    whole = features(6)
    rows = np.arange(6)  # the six images of one rater
    assert torch.equal(batches(rows, draw=(1,)).features, torch.from_numpy(whole))
    batches.dropout = 0.4
    seen = [batches(rows, draw=draw).features.numpy() for draw in ((0, 1), (0, 1), (0, 2))]
    assert np.array_equal(seen[0], seen[1]) and not np.array_equal(seen[0], seen[2])
    places = []
    for image in range(6):
        places.append([int(np.flatnonzero((whole[image] == token).all(-1))[0]) for token in seen[0][image]])
        assert len(places[-1]) == 3 and places[-1] == sorted(set(places[-1]))  # 3 of 5, in their order
    assert len(set(map(tuple, places))) > 1


def test_expected_scores_need_integers_of_one_token():
    question = scoring("short").on(0, 10)
    made = examples(PROFILES, [[3, 10]], question=question)
    with pytest.raises(BeholderError, match="cannot be trained on 0 to 10: an integer there is more than one token of tiny"):
        setting(made_of=made, training=Training(expectation=1.0))
    setting(made_of=made)  # the answer's tokens alone can
    setting(made_of=made, training=Training(expectation=1.0), tokens=tokenizer(ten=True))


def test_profiles_are_computed_once_and_let_go_beyond_the_memory(monkeypatch):
    _, batches = setting()
    store, calls = batches.prefixes, []
    compute = store.model.prefixes
    monkeypatch.setattr(store.model, "prefixes", lambda texts: calls.append(len(texts)) or compute(texts))
    wanted = store([*PROFILES, PROFILES[0]])
    again = store([*PROFILES, PROFILES[0]])
    assert calls == [4] and len(wanted) == 5
    assert all(torch.equal(a, b) for a, b in zip(wanted.keys, again.keys, strict=True))
    assert torch.equal(wanted.keys[0][0, :, : wanted.lengths[0]], wanted.keys[0][4, :, : wanted.lengths[0]])
    store.memory = 1
    store([PROFILES[1]])
    store([PROFILES[1]])
    assert calls == [4]  # the last one used stays
    found = store(PROFILES)
    assert calls == [4, 3]
    assert all(torch.allclose(a[:4], b, atol=1e-12) for a, b in zip(wanted.values, found.values, strict=True))


# --- steps


@functools.cache
def uninterrupted():
    """(trained tensors, log without seconds) of the whole training."""
    model, log = small_training(None)
    return model.trained_state(), timeless(log)


def timeless(log):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in log]


def same_as_uninterrupted(model, log, folder):
    state, wanted = uninterrupted()
    assert timeless(log) == wanted
    assert timeless(json.loads(line) for line in (folder / LOG).read_text().splitlines()) == wanted
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.trained_state().items())


@pytest.mark.parametrize("variant", [{}, {"gate": "scalar"}, {"output": "lowrank"}], ids=["embedding", "scalar", "lowrank"])
def test_training_moves_what_is_trained_and_nothing_else(variant):
    model = pmllm(wake=0, **variant)
    frozen = {name: tensor.clone() for name, tensor in model.language.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in model.trained_state().items()}
    small_training(None, model=model, expectation=1.0, contrast=1.0, sampling="crossed")
    after = model.language.state_dict()
    assert set(after) == set(frozen) and len(frozen) > 20
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    assert all(not torch.equal(model.trained_state()[name], tensor) for name, tensor in before.items())


def test_the_loss_falls_and_all_of_it_is_kept(tmp_path):
    seen = []
    model, log = small_training(tmp_path, steps=40, log_every=10, progress=lambda *report: seen.append(report))
    losses = [row["loss"] for row in log]
    assert [row["step"] for row in log] == [10, 20, 30, 40] and losses[-1] < 0.6 * losses[0]
    assert [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()] == log
    assert all(row["answers"] == pytest.approx(row["loss"]) for row in log)
    assert [(done, of) for done, of, _ in seen] == [(10, 40), (20, 40), (30, 40), (40, 40)] and "loss" in seen[0][2]
    assert (tmp_path / PLOT).stat().st_size > 1000
    kept = torch.load(tmp_path / STATE, weights_only=True)
    assert set(kept["model"]) == set(model.trained_state())
    assert all(torch.equal(kept["model"][name], tensor) for name, tensor in model.trained_state().items())
    assert not any("layers" in name for name in kept["model"])  # nothing of the language model
    again, same = small_training(tmp_path, steps=40, log_every=10)  # nothing is left to do
    assert same == log and all(torch.equal(kept["model"][name], tensor) for name, tensor in again.trained_state().items())


@pytest.mark.parametrize("place", [1, 5, 6, 9])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(tmp_path, place):
    def interrupt(done, total, text):
        if done == place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_training(tmp_path, progress=interrupt)
    steps = []
    model, log = small_training(tmp_path, progress=lambda done, *_: steps.append(done))
    assert steps[0] == (place - 1) // 3 * 3 + 1  # on from the last checkpoint: every third step
    same_as_uninterrupted(model, log, tmp_path)


def test_image_tokens_that_are_left_out_are_the_same_after_an_interruption(tmp_path):
    def interrupt(done, total, text):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_training(tmp_path, dropout=0.4, progress=interrupt)
    model, log = small_training(tmp_path, dropout=0.4)
    whole, wanted = small_training(None, dropout=0.4)
    assert timeless(log) == timeless(wanted) != uninterrupted()[1]
    assert all(torch.equal(tensor, whole.trained_state()[name]) for name, tensor in model.trained_state().items())


KILLED = """
import os, signal
from pathlib import Path
from tiny_llama import small_training
synced, calls = os.fsync, []
def fsync(file):
    calls.append(file)
    if len(calls) == 2:  # in the middle of the second checkpoint
        os.ftruncate(file, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    synced(file)
os.fsync = fsync
small_training(Path(FOLDER))
"""


def environment(**more):
    here = str(Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1", **more}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_training_killed_while_it_writes_a_checkpoint_goes_on_as_if_nothing_had_been(tmp_path):
    died = subprocess.run([sys.executable, "-c", KILLED.replace("FOLDER", repr(str(tmp_path)))], env=environment(), capture_output=True, text=True, timeout=300)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert int(torch.load(tmp_path / STATE, weights_only=True)["done"]) == 3
    assert len((tmp_path / LOG).read_text().splitlines()) == 6  # three more than the checkpoint knows
    steps = []
    model, log = small_training(tmp_path, progress=lambda done, *_: steps.append(done))
    assert steps[0] == 4
    same_as_uninterrupted(model, log, tmp_path)


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    small_training(tmp_path, steps=3)
    whole = (tmp_path / STATE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"nonsense" * 100, whole[:-50] + b"\0" * 50):
        (tmp_path / STATE).write_bytes(damaged)
        with pytest.raises(BeholderError, match=r"^the checkpoint .*state\.pt is damaged \(\w+\): remove it to begin anew$"):
            small_training(tmp_path, steps=3)
    torch.save([1, 2], tmp_path / STATE)
    with pytest.raises(BeholderError, match="another training"):
        small_training(tmp_path, steps=3)
    (tmp_path / STATE).unlink()
    assert len(small_training(tmp_path, steps=3)[1]) == 3


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    small_training(tmp_path, steps=3)
    kept = (tmp_path / STATE).read_bytes()
    with pytest.raises(BeholderError, match=r"is the checkpoint of another training \(other data, model or options\)"):
        small_training(tmp_path, steps=3, learning_rate=1e-3)
    assert (tmp_path / STATE).read_bytes() == kept


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BeholderError, match=r"cannot be written: .*; choose another --out"):
        small_training(tmp_path / "file" / "out")


def test_a_loss_that_is_no_number_stops_the_training():
    model = pmllm(wake=0)
    model.projector[0].weight.data[0, 0] = torch.nan
    with pytest.raises(BeholderError, match=r"the loss is no number any more at step 1: lower learning_rate \(now 0\.003\)"):
        small_training(None, model=model)


def test_kept_profiles_computed_one_by_one_are_the_same_in_any_company():
    _, batches = setting(double=False)
    model, prompter = batches.prefixes.model, batches.prompter
    whole = PrefixStore(model, prompter, together=1)(PROFILES)
    for place, text in enumerate(PROFILES):
        alone = PrefixStore(model, prompter, together=1)([text])
        assert all(torch.equal(a[place, :, : alone.tokens], b[0]) for a, b in zip(whole.keys, alone.keys, strict=True))


def test_another_seed_trains_on_other_batches():
    one, other = (small_training(None, steps=3, seed=seed)[1] for seed in (0, 1))
    assert one[0]["loss"] != other[0]["loss"]


# --- the same step in parts


def test_the_gradient_of_a_step_in_parts_is_that_of_the_whole():
    step, batches = setting()
    rows = np.array([0, 2, 3, 6, 7, 11, 12, 16])
    found = {}
    for parts, processes in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 3)):
        training, total, step.config = Training(batch_size=8, accumulate=parts), {}, Training()
        for process in range(processes):
            accelerator = SimpleNamespace(num_processes=processes, process_index=process)
            step.model.zero_grad()
            made = parts_of(rows, batches, config=training, accelerator=accelerator, step=0)
            assert len(made) == parts
            for batch in made:
                (step(batch)[0] * batch.weight).backward()
            for name, gradient in gradients(step.model).items():
                total[name] = total.get(name, 0) + gradient / processes  # processes average their gradients
        found[parts, processes] = total
    for name, gradient in found[1, 1].items():
        for other in found.values():
            assert torch.allclose(gradient, other[name], rtol=0, atol=1e-9), name


def test_more_processes_than_examples_leave_some_without_weight():
    _, batches = setting()
    weights = []
    for process in range(3):
        accelerator = SimpleNamespace(num_processes=3, process_index=process)
        made = parts_of(np.array([4, 9]), batches, config=Training(), accelerator=accelerator, step=0)
        weights += [sum(batch.weight for batch in made)]
        assert all(len(batch.tokens) == 1 for batch in made)
    assert weights == [1.5, 1.5, 0.0]


TOGETHER = """
import os, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from tiny_llama import small_training
folder = Path(sys.argv[1])
model, log = small_training(folder, steps=5, save_every=2)
assert torch.distributed.get_world_size() == 2
torch.save(model.trained_state(), folder / ("rank %s.pt" % os.environ["RANK"]))
torch.distributed.destroy_process_group()
"""


def test_two_processes_train_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(tmp_path)],
            env=environment(**common, RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in running:
            errors = process.communicate(timeout=300)[1]
            assert process.returncode == 0, errors
    finally:
        for process in running:
            process.kill()
    alone, log = small_training(None, steps=5)
    one, two = (torch.load(tmp_path / f"rank {rank}.pt", weights_only=True) for rank in range(2))
    untrained = pmllm(wake=0).trained_state()
    for name, tensor in alone.trained_state().items():
        assert torch.equal(one[name], two[name])
        moved = (tensor - untrained[name]).abs().max()
        assert (one[name] - tensor).abs().max() < 0.02 * moved, name
    assert torch.load(tmp_path / STATE, weights_only=True)["done"] == 5
    assert len((tmp_path / LOG).read_text().splitlines()) == len(log)  # one process writes


# --- settings


def test_learning_rate_rises_then_follows_a_cosine():
    paper = Training()
    assert (paper.batch_size, paper.epochs, paper.learning_rate, paper.final_learning_rate) == (24, 2.0, 1e-4, 1e-5)
    assert (paper.weight_decay, paper.warmup) == (0.05, 1000)
    assert paper.rate(0, steps=33000) == pytest.approx(1e-7)
    assert paper.rate(499, steps=33000) == pytest.approx(0.5e-4)
    assert paper.rate(999, steps=33000) == pytest.approx(1e-4) == paper.rate(1000, steps=33000)
    assert paper.rate(17000, steps=33000) == pytest.approx(0.5 * (1e-4 + 1e-5))
    assert paper.rate(33000, steps=33000) == pytest.approx(1e-5)
    assert paper.rate(32999, steps=33000) == pytest.approx(1e-5, rel=1e-4)
    assert paper.rate(19, steps=200) == pytest.approx(1e-4)  # a tenth of the steps at most
    assert paper.rate(0, steps=1) == pytest.approx(1e-4)
    rates = [paper.rate(step, steps=2000) for step in range(2000)]
    assert rates[:200] == sorted(rates[:200]) and rates[200:] == sorted(rates[200:], reverse=True)


def test_the_learning_rate_of_the_log_is_that_of_the_step():
    _, log = uninterrupted()
    training = Training(learning_rate=3e-3, warmup=2)
    assert [row["learning_rate"] for row in log] == [training.rate(step, steps=10) for step in range(10)]


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"batch_size": 0}, {"accumulate": 0}, {"log_every": 0}, {"raters_per_batch": 0}):
        with pytest.raises(BeholderError, match="must be at least 1"):
            Training(**wrong)
    with pytest.raises(BeholderError, match="in 5 equal parts: choose a divisor"):
        Training(batch_size=24, accumulate=5)
    for wrong in ({"learning_rate": 0.0}, {"steps": 0}, {"epochs": 0}):
        with pytest.raises(BeholderError, match="must be above 0"):
            Training(**wrong)


def test_a_recipe_is_changed_in_the_part_that_has_the_field():
    changed = MINI.changed(layers=5, persona="published", steps=7, tasks=("caption",), gate=None)
    assert (changed.fusion.layers, changed.prompt.persona, changed.training.steps, changed.tasks) == (5, "published", 7, ("caption",))
    assert changed.fusion.gate == MINI.fusion.gate and changed.training.learning_rate == MINI.training.learning_rate
    assert (PAPER.fusion.layers, PAPER.fusion.gate, PAPER.training.sampling) == (3, "embedding", "shuffle")


def test_epochs_are_passes_over_the_examples():
    step, batches = setting(double=False)
    training = Training(batch_size=7, epochs=2.0, log_every=1)
    log = train(step, batches, config=training)
    assert len(log) == 2 * 3  # 21 examples


# --- a planted taste


def world(n, *, seed):
    """Image tokens with a red-blue direction and one that everybody likes; (features, red, good)."""
    random = np.random.default_rng(seed)
    red, good = random.standard_normal((2, n))
    found = 0.5 * features(n, seed=seed)
    found[:, :, 0] += red[:, None]
    found[:, :, 1] += good[:, None]
    return found.astype(np.float32), red, good


def test_a_planted_taste_that_depends_on_the_profile_is_found():
    """Half of the raters like red, half blue, and their profiles say so. All three blocks fused, embedding gates, answers and expected scores trained."""
    language_model = llama()
    model = pmllm(language_model, wake=0, layers=3)
    seen, red, good = world(240, seed=1)
    sign = np.array([1, -1] * 4)
    answers = np.clip(np.floor(3.5 + sign[:, None] * red + 0.4 * good), 1, 5).astype(int)
    prompter = Prompter(language_model, config=PROMPT)
    training = Training(
        batch_size=32, steps=200, learning_rate=3e-3, final_learning_rate=3e-4, warmup=5, sampling="crossed", raters_per_batch=4, expectation=1.0
    )
    readout = prompter.readout(QUESTION)
    batches = Batches(
        examples(["likes red", "likes blue"] * 4, answers, question=QUESTION),
        prompter=prompter,
        prefixes=PrefixStore(model, prompter),
        features=lambda which: seen[which],
        expects=True,
    )
    train(Step(model, readout=readout, config=training), batches, config=training)

    new, red, good = world(60, seed=2)
    with torch.no_grad():
        images = model.image_tokens(torch.from_numpy(new))
        expected = {}
        for profile in ("likes red", "likes blue"):
            hidden = model.after_prefix(torch.tensor([readout.tokens] * 60), prefix=model.prefixes([prompter.prefix(profile)]), images=images)
            expected[profile] = (readout.probabilities(model.logits(hidden[:, readout.places])) @ torch.arange(1.0, 6)).numpy()

    def correlation(a, b):
        return float(np.corrcoef(a, b)[0, 1])

    of_red, of_blue = expected["likes red"], expected["likes blue"]
    personal = correlation(of_red - of_blue, red)
    print(f"personal {personal:.2f}, red {correlation(of_red, red):.2f}, blue {correlation(of_blue, red):.2f}, shared {correlation(of_red + of_blue, good):.2f}")
    assert personal > 0.8
    assert correlation(of_red, red) > 0.5 and correlation(of_blue, red) < -0.5
    assert correlation(of_red + of_blue, good) > 0.5
