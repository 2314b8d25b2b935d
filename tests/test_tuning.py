"""Instruction tuning: what is learned, what stays frozen, that an interrupted run ends as if it had not been, and what is written."""

from __future__ import annotations

import csv
import json
import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_vlms
import tuning_worlds
from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm.answers import Answerer
from beholder.critique.aesmmit.instructions import Instruction
from beholder.critique.tuning import model as parts
from beholder.critique.tuning import runs, training, tune
from beholder.critique.tuning.tiny import tiny_llava
from beholder.critique.tuning.watch import TuningFailed, Watch
from beholder.errors import BeholderError
from beholder.located import SkippedInput
from beholder.photos import read_photo
from command_line import refused
from tuning_worlds import options

TOLERANCE = 1e-5  # largest difference of gradients over their largest value


def tensors(folder):
    return load_file(Path(folder) / "model.safetensors")


def texts(items):
    return [text for item in items for turn in item.turns for text in turn]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_parts(base, tuned, *, changed):
    """Which parts of the model have any bit changed."""
    before, after = tensors(base), tensors(tuned)
    assert before.keys() == after.keys()
    found = {part for part, mark in parts.GROUPS.items() if any(mark in name and not torch.equal(before[name], after[name]) for name in before)}
    assert found == changed


def answers(folder, items, images):
    vlm = open_vlm(folder, device="cpu", dtype="float32")
    turns = [vlm.turn([vlm.prepare(read_photo(images / item.image)), item.question], reply=True) for item in items]
    found = dict(Answerer(vlm, rows=16).answers(turns))
    return [found[place].text for place in range(len(items))]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_planted_task_is_learned_and_answered_about_other_images(method, tmp_path, own_folders):
    items, others = tuning_worlds.world(tmp_path / "images", 48), tuning_worlds.world(tmp_path / "others", 16, seed=9)
    more = {"rank": 8, "alpha": 16.0, "learning_rate": 1e-2} if method == "lora" else {"learning_rate": 3e-3}
    said = []
    result = tune(
        items,
        images=tmp_path / "images",
        model="tiny-random",
        out=tmp_path / "out",
        options=options(method=method, epochs=9, batch=8, **more),
        progress=lambda *step: said.append(step),
        command="beholder train aesexpert",
    )
    assert (result.items, result.images, result.steps) == (48, 48, 54)
    ratio = result.end_loss / result.start_loss
    found = answers(tmp_path / "out", others, tmp_path / "others")
    right = sum(text == item.turns[0][1] for text, item in zip(found, others, strict=True))
    print(f"{method}: loss {result.start_loss:.2f} -> {result.end_loss:.3f}, {right} of {len(others)} right")
    assert ratio < 0.1 and right >= 15
    base = tiny_llava(texts(items))
    check_parts(base, tmp_path / "out", changed={"projector", "language model"} | ({"head"} if method == "full" else set()))
    trained, before = result.trained, tensors(base)
    assert trained["vision tower"] == 0
    assert trained["projector"] == sum(one.numel() for name, one in before.items() if "multi_modal_projector" in name)
    assert said[-1][:2] == (54, 54) and said[-1][2].startswith("loss ")
    with open(tmp_path / "out" / "loss.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 55))
    assert float(rows[0]["loss"]) == result.start_loss and float(rows[-1]["loss"]) == result.end_loss
    page = (tmp_path / "out" / "README.md").read_text()
    for words in ("knows nothing but the data below", "48 items", f"| 54 | {result.end_loss:.4f} |", "Not evaluated", "`beholder train aesexpert`"):
        assert words in page
    assert f"| projector | {trained['projector']:,} |" in page and str(tmp_path) not in page
    assert not (tmp_path / "out" / "checkpoints").exists()
    text = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json"))
    assert str(own_folders) not in text and str(tmp_path) not in text


def test_lora_keeps_its_adapter_beside_the_merged_model(tmp_path):
    import peft
    import transformers

    items = tuning_worlds.world(tmp_path / "images", 8)
    out = tmp_path / "out"
    tune(items, images=tmp_path / "images", model="tiny-random", out=out, options=options(method="lora", rank=4, learning_rate=1e-2))
    base = transformers.AutoModelForImageTextToText.from_pretrained(tiny_llava(texts(items)))
    by_hand = peft.PeftModel.from_pretrained(base, out / "adapter").eval()
    vlm = open_vlm(out, device="cpu", dtype="float32")
    batch = vlm.batch([vlm.turn([vlm.prepare(read_photo(tmp_path / "images" / "0.png")), "?"], reply=True)])
    with torch.no_grad():
        ours, theirs = vlm.forward(batch).logits, by_hand(**batch.inputs).logits
        assert float((ours - theirs).abs().max()) < 1e-4
        with by_hand.disable_adapter():
            assert float((ours - by_hand(**batch.inputs).logits).abs().max()) > 1e-2
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-random"


class Stopped(Exception):
    pass


def run_until(step, how, *, items, root, out, **given):
    """Tune until a step, at which it is interrupted."""

    def progress(done, total, what):
        if what.startswith("loss") and done == step:
            how()

    return tune(items, images=root, model="tiny-random", out=out, options=options(**given), progress=progress)


def killed():
    raise Stopped


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(method, tmp_path):
    items, root = tuning_worlds.world(tmp_path / "images", 17), tmp_path / "images"
    items += [Instruction(f"text {number}", "", (("Hello?", f"Number {number}."),)) for number in range(5)]
    given = {"epochs": 2, "method": method, "rank": 4, "dropout": 0.3, "save_every": 3}
    tune(items, images=root, model="tiny-random", out=tmp_path / "whole", options=options(**given))
    whole = tensors(tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        run_until(5, killed, items=items, root=root, out=out, **given)
    assert [path.name for path in (out / "checkpoints").glob("checkpoint-*")] == ["checkpoint-3"]
    torn = out / "checkpoints" / "checkpoint-4"  # of a process that was killed while it wrote
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    with pytest.warns(UserWarning, match="checkpoint"), pytest.raises(KeyboardInterrupt):
        run_until(8, interrupted, items=items, root=root, out=out, **given)
    assert not torn.exists()
    assert [path.name for path in (out / "checkpoints").glob("checkpoint-*")] == ["checkpoint-9"]  # the step was finished, and the one begun
    given["save_every"] = 100  # which may be another now
    steps = []
    result = tune(items, images=root, model="tiny-random", out=out, options=options(**given), progress=lambda done, total, what: steps.append((what[:4], done)))
    assert result.resumed == 9 and result.steps > 9
    assert [done for what, done in steps if what == "loss"] == list(range(10, result.steps + 1)), "no step is computed again"
    assert same(tensors(out), whole)
    assert (out / "loss.csv").read_text() == (tmp_path / "whole" / "loss.csv").read_text()


def test_a_second_interruption_stops_at_once(tmp_path):
    items, before = tuning_worlds.world(tmp_path / "images", 12), signal.getsignal(signal.SIGINT)

    def twice():
        interrupted()
        interrupted()

    with pytest.warns(UserWarning), pytest.raises(KeyboardInterrupt):
        run_until(2, twice, items=items, root=tmp_path / "images", out=tmp_path / "out")
    assert not list((tmp_path / "out" / "checkpoints").glob("checkpoint-*"))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_goes_on_with_the_same_only_and_says_that_it_is_finished(tmp_path):
    items, root, out = tuning_worlds.world(tmp_path / "images", 12), tmp_path / "images", tmp_path / "out"

    def run(some=items, model="tiny-random", **given):
        return tune(some, images=root, model=model, out=out, options=options(**given))

    with pytest.raises(Stopped):
        run_until(2, killed, items=items, root=root, out=out, save_every=1)
    refused(lambda: run(learning_rate=1e-3), "learning_rate = 0.002, not 0.001", "choose another --out")
    refused(lambda: run(items[:-1]), "other data (12 items)")
    refused(lambda: run(model=tiny_vlms.save_llava(tmp_path / "other")), "model = 'tiny-random'")
    first = run()
    assert not first.before and first.resumed == 1
    state = (out / "model.safetensors").stat().st_mtime_ns
    again = run()
    assert again.before and again.end_loss == first.end_loss and (out / "model.safetensors").stat().st_mtime_ns == state
    assert not (out / "checkpoints").exists()
    refused(lambda: run(seed=1), "finished model", "seed = 0, not 1")
    (out / runs.FINISHED).unlink()
    refused(run, "holds a model already")


def gradients(monkeypatch, items, *, root, out, **given):
    """Those of the first step, before the optimizer uses them."""
    found = {}

    def keep(self, args, state, control, model=None, **others):
        if not found:
            found.update((name, one.grad.clone()) for name, one in model.named_parameters() if one.grad is not None)

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "on_pre_optimizer_step", keep, raising=False)
        tune(items, images=root, model="tiny-random", out=out, options=options(**given))
    return found


def relative(one, other):
    assert one.keys() == other.keys()
    largest = max(float(value.abs().max()) for value in other.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / largest


def test_one_item_eight_times_is_a_batch_of_eight(tmp_path, monkeypatch):
    """The loss is the mean over all answer tokens of a step, whatever way the items are batched; checked by hand, too."""
    root = tmp_path / "images"
    items = tuning_worlds.world(root, 6, turns=2)
    items += [Instruction("text", "", (("Say much.", "One two three four five six seven eight nine ten."),)), Instruction("t", "", (("Hi", "Yo"),))]
    one = gradients(monkeypatch, items[:6], root=root, out=tmp_path / "one", batch=6)
    several = gradients(monkeypatch, items[:6], root=root, out=tmp_path / "several", batch=1, accumulate=6)
    checkpointed = gradients(monkeypatch, items[:6], root=root, out=tmp_path / "again", batch=6, gradient_checkpointing=True)
    base = tiny_llava(texts(items[:6]))
    vlm, chat = open_vlm(base, device="cpu", dtype="float32"), training._base("tiny-random", items[:6], options())[1]
    batch = vlm.batch([chat.conversation(item.turns, read_photo(root / item.image)) for item in items[:6]], answers=True)
    model = parts.prepare(parts.load(base, name="tiny", dtype=torch.float32), options=options())
    logits = model(**batch.inputs).logits[:, :-1]
    wanted = batch.labels[:, 1:]
    torch.nn.functional.cross_entropy(logits[wanted != -100], wanted[wanted != -100]).backward()
    norm = torch.nn.utils.clip_grad_norm_([one for one in model.parameters() if one.grad is not None], 1.0)
    by_hand = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    differences = {"accumulated": relative(several, one), "checkpointed": relative(checkpointed, one), "by hand": relative(one, by_hand)}
    print(f"gradient norm {float(norm):.2f}; relative differences {differences}, tolerance {TOLERANCE:.0e}")
    assert max(differences.values()) < TOLERANCE
    mixed = gradients(monkeypatch, items, root=root, out=tmp_path / "mixed", batch=2, accumulate=4)
    alone = gradients(monkeypatch, items, root=root, out=tmp_path / "alone", batch=1, accumulate=8)
    assert relative(mixed, alone) < TOLERANCE < relative(mixed, {name: one[name] if one[name].shape == value.shape else value * 0 for name, value in mixed.items()})


def test_the_vision_tower_stays_in_evaluation_mode_and_has_no_gradient(tmp_path):
    for method in ("full", "lora"):
        model = parts.load(tiny_llava(["a"]), name="tiny", dtype=torch.float32)
        made = parts.prepare(model, options=options(method=method, rank=2))
        made.train()
        tower = model.model.vision_tower
        assert made.training and not any(module.training for module in tower.modules())
        assert not any(parameter.requires_grad for parameter in tower.parameters())
        projector = [parameter for name, parameter in made.named_parameters() if "multi_modal_projector" in name and parameter.requires_grad]
        assert len(projector) == 4 and all(parameter.dtype == torch.float32 for parameter in projector)
    assert not any(parameter.requires_grad for name, parameter in made.named_parameters() if "lm_head" in name or name.endswith("embed_tokens.weight"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_is_written_in_the_type_of_its_base(dtype, tmp_path):
    import transformers

    base = Path(tiny_vlms.save_llava(tmp_path / "base"))
    transformers.LlavaForConditionalGeneration.from_pretrained(base).to(dtype).save_pretrained(base)
    (base / "README.md").write_text("---\nlicense: llama2\n---\nwords")
    items = tuning_worlds.world(tmp_path / "images", 4)
    tune(items, images=tmp_path / "images", model=str(base), out=tmp_path / "out", options=options(precision="bf16", template="own"))
    assert {one.dtype for one in tensors(tmp_path / "out").values()} == {dtype}
    check_parts(base, tmp_path / "out", changed={"projector", "language model", "head"})
    page = (tmp_path / "out" / "README.md").read_text()
    assert "license: llama2" in page and "knows nothing" not in page and str(tmp_path) not in page
    tuned = open_vlm(tmp_path / "out", device="cpu", dtype="float32")
    assert tuned.chat._template == tiny_vlms.LLAVA_TEMPLATE


def test_whoever_reads_the_folder_sees_what_was_trained(tmp_path):
    """Tokens and pixels of a conversation are those of the training, also for the processor of transformers."""
    import transformers

    items, root, out = tuning_worlds.world(tmp_path / "images", 4), tmp_path / "images", tmp_path / "out"
    tune(items, images=root, model="tiny-random", out=out, options=options())
    chat = training._base("tiny-random", items, options())[1]
    vlm, photo = open_vlm(out, device="cpu", dtype="float32"), read_photo(root / "0.png")
    trained, read = chat.conversation(items[0].turns, photo), vlm.turn([vlm.prepare(photo), items[0].question], answer=items[0].turns[0][1])
    assert trained.ids == read.ids and trained.answer_mask == read.answer_mask
    assert trained.images[0].arrays["pixel_values"].tolist() == read.images[0].arrays["pixel_values"].tolist()
    pixels = transformers.AutoImageProcessor.from_pretrained(out, backend="pil")
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    stored = json.loads((out / "processor_config.json").read_text())
    known = {name: stored[name] for name in ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")}
    processor = transformers.LlavaProcessor(pixels, tokenizer, chat_template=tokenizer.chat_template, **known)
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": items[0].question}]}]
    text = processor.apply_chat_template(message, add_generation_prompt=True)
    theirs = processor(text=[text], images=[[photo]], return_tensors="pt")
    ours = vlm.batch([vlm.turn([vlm.prepare(photo), items[0].question], reply=True)]).inputs
    assert theirs["input_ids"].tolist() == ours["input_ids"].tolist()
    assert theirs["pixel_values"].tolist() == ours["pixel_values"].tolist()


def test_bad_images_are_named_and_the_others_are_learned_from(tmp_path):
    items, root = tuning_worlds.world(tmp_path / "images", 6), tmp_path / "images"
    (root / "3.png").unlink()
    with pytest.warns(SkippedInput, match=r"1 items are left out.*3\.png"):
        result = tune(items, images=root, model="tiny-random", out=tmp_path / "out", options=options())
    assert result.items == 5 and len(result.left_out) == 1
    assert "3.png" in (tmp_path / "out" / "README.md").read_text()
    refused(lambda: tune(items[3:4], images=root, model="tiny-random", out=tmp_path / "none", options=options()), "3.png")


def test_a_process_killed_while_it_put_the_files_in_their_places_goes_on(tmp_path, monkeypatch):
    items, out = tuning_worlds.world(tmp_path / "images", 4), tmp_path / "out"

    def run(where=out):
        return tune(items, images=tmp_path / "images", model="tiny-random", out=where, options=options(save_every=1))

    run(tmp_path / "whole")
    (out / ".partial-1").mkdir(parents=True)  # of one killed even earlier
    with monkeypatch.context() as patched:
        patched.setattr(training.card, "text", lambda *given, **named: killed())
        with pytest.raises(Stopped):
            run()
    assert (out / "config.json").exists() and not (out / runs.FINISHED).exists()
    assert run().resumed == 1 and not list(out.glob(".partial-*"))
    assert same(tensors(out), tensors(tmp_path / "whole"))


def test_two_processes_do_not_tune_into_one_folder_and_other_files_are_not_replaced(tmp_path):
    items, out = tuning_worlds.world(tmp_path / "images", 4), tmp_path / "out"

    def run():
        return tune(items, images=tmp_path / "images", model="tiny-random", out=out, options=options())

    with runs.alone(out):
        refused(run, "another process", "--out")
    for name in ("README.md", "loss.csv"):
        (out / name).write_text("mine")
        refused(run, name, "choose another --out")
        assert (out / name).read_text() == "mine"
        (out / name).unlink()
    assert not run().before


@pytest.mark.parametrize(("schedule", "shares"), [("linear", [0, 1, 2 / 3, 1 / 3]), ("constant_with_warmup", [0, 1, 1, 1]), ("cosine", [0, 1, 0.75, 0.25])])
def test_learning_rates_follow_the_schedule(schedule, shares, tmp_path):
    items = tuning_worlds.world(tmp_path / "images", 4)
    tune(items, images=tmp_path / "images", model="tiny-random", out=tmp_path / "out", options=options(schedule=schedule, epochs=4))
    with open(tmp_path / "out" / "loss.csv", newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([2e-3 * share for share in shares])


def test_weight_decay_makes_weights_smaller(tmp_path):
    items = tuning_worlds.world(tmp_path / "images", 4)

    def norm(decay):
        out = tmp_path / f"{decay}"
        tune(items, images=tmp_path / "images", model="tiny-random", out=out, options=options(weight_decay=decay, epochs=4))
        return float(torch.linalg.vector_norm(next(value for name, value in tensors(out).items() if "lm_head" in name)))

    assert norm(5.0) < 0.99 * norm(0.0)


def test_halves_of_characters_are_learned_as_unknown_ones(tmp_path):
    tuning_worlds.world(tmp_path / "images", 1)
    items = [Instruction("1", "0.png", (("What \ud83d?", "Half \ude00 of it."),)), Instruction("2", "", (("\ud83d?", "\ude00" * 900),))]
    result = tune(items, images=tmp_path / "images", model="tiny-random", out=tmp_path / "out", options=options())
    assert result.items == 2


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    items = tuning_worlds.world(tmp_path / "images", 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SkippedInput)
        message = refused(
            lambda: tune(
                items,
                images=tmp_path / "images",
                model="tiny-random",
                out=tmp_path / "out",
                options=options(learning_rate=1e36, save_every=1, warmup_ratio=0),
            ),
            "no number in step",
            "lower learning_rate",
        )
    assert "step 1," not in message
    for checkpoint in (tmp_path / "out" / "checkpoints").glob("checkpoint-*"):
        logged = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
        assert all(entry["loss"] == entry["loss"] for entry in logged)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch": 8}, ["batch=4 (now 8", "gradient_checkpointing=true", "method=lora"]),
        ({"batch": 1, "gradient_checkpointing": True, "method": "lora", "rank": 2}, ["try  several GPUs with fsdp=default"]),
    ],
)
def test_full_memory_is_said_with_what_helps(given, words, tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(training.Trainer, "training_step", full)
    items = tuning_worlds.world(tmp_path / "images", 4)
    message = refused(
        lambda: tune(items, images=tmp_path / "images", model="tiny-random", out=tmp_path / "out", options=options(**given)),
        "does not fit into memory",
        *words,
    )
    assert "batch=" not in message or given["batch"] > 1


def test_what_cannot_be_tuned_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    items = tuning_worlds.world(tmp_path / "images", 2)

    def run(model, **given):
        return lambda: tune(items, images=tmp_path / "images", model=model, out=tmp_path / "out", options=options(**given))

    refused(run(tiny_vlms.save_gemma3(tmp_path / "gemma")), "'gemma3'", "llava-hf/llava-1.5-7b-hf")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"model_type": "llava", "mm_vision_tower": "x"}')
    refused(run(str(tmp_path / "old")), "original LLaVA")
    with pytest.raises(BeholderError):
        run(str(tmp_path / "gone"))()
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    refused(run("tiny-random", deepspeed="default"), "pip install deepspeed")
    refused(run("tiny-random", fsdp="default"), "torchrun --nproc-per-node")
    assert not (tmp_path / "out").exists()
    assert issubclass(TuningFailed, BeholderError)
