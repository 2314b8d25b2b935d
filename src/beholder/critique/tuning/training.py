"""Tuning LLaVA-1.5 on instruction data, by transformers' Trainer: one step after the other, interrupted or not, on one device or several.

Source: AesExpert (arXiv 2404.09624, sections 4 and 5.1), with the settings of LLaVA-1.5's own fine-tuning, which it kept: the vision tower is frozen,
the projector and the whole language model are trained, the loss is that of the answers' tokens. LoRA, and all about interruptions, is ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from beholder.backbones.vision_tower import _read_json, quiet_transformers
from beholder.backbones.vlm.base import is_out_of_memory
from beholder.backbones.weights import resolve
from beholder.critique.aesmmit.instructions import Instruction
from beholder.critique.tuning import card, data, runs, tiny
from beholder.critique.tuning import model as parts
from beholder.critique.tuning.collate import Collator
from beholder.critique.tuning.conversation import Conversations, check_base
from beholder.critique.tuning.options import TuningOptions
from beholder.critique.tuning.watch import TuningFailed, Watch, stoppable
from beholder.errors import BeholderError


@dataclass(frozen=True)
class TunedResult:
    """What a run has done.

    Args:
        out: folder of the tuned model.
        model: the base, as it was named.
        items, images: that were learned from.
        steps: of the optimizer.
        start_loss, end_loss: mean cross-entropy of an answer's token, in nats: of the first and of the last step.
        trained: part of the model -> weights that were trained.
        left_out: sentences that name the items that were not learned from.
        cut: items that lost their end to `max_length`.
        resumed: step from which an interrupted run went on; 0 for none.
        before: True if it was finished already, and nothing was done.
    """

    out: Path
    model: str
    items: int
    images: int
    steps: int
    start_loss: float
    end_loss: float
    trained: dict[str, int]
    left_out: tuple[str, ...] = ()
    cut: int = 0
    resumed: int = 0
    before: bool = False

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"out": str(self.out), "left_out": list(self.left_out)}


def tune(
    items: Sequence[Instruction],
    *,
    images: Path,
    model: str,
    out: Path,
    options: TuningOptions | None = None,
    progress: data.Progress | None = None,
    command: str = "",
) -> TunedResult:
    """Tune a model and write it to a folder, with its card (README.md) and loss.csv. Started again after an interruption, it goes on.

    Args:
        items: instruction data; those that cannot be used are left out and named (`SkippedInput`).
        images: the folder that their paths start from.
        model: a LLaVA-1.5 of transformers: a folder, a hub repository, or "tiny-random".
        out: of the tuned model; checkpoints lie in its subfolder "checkpoints" until it is finished.
        progress: called with (done, total, what).
        command: how it was called, for the card.

    Raises:
        BeholderError: the model cannot be tuned, nothing is left to learn from, other data or options than those of the checkpoints, the memory
            does not suffice, or the loss is no number any more.
        KeyboardInterrupt: after a checkpoint was written.
    """
    options, images, out, items = options or TuningOptions(), Path(images), Path(out), data.valid(items)
    base, chat = _base(model, items, options)
    arguments = _arguments(out, options)
    runs.finished(out)
    with contextlib.nullcontext() if arguments.process_index else runs.alone(out):
        return _tuned(items, images, model=model, base=base, chat=chat, out=out, options=options, arguments=arguments, progress=progress, command=command)


def _tuned(
    items: Sequence[Instruction],
    images: Path,
    *,
    model: str,
    base: Path,
    chat: Conversations,
    out: Path,
    options: TuningOptions,
    arguments: TrainingArguments,
    progress: data.Progress | None,
    command: str,
) -> TunedResult:
    if not progress or arguments.process_index:
        progress = _silent
    with arguments.main_process_first(local=False, desc="looking at images"):
        (out / runs.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        wrong = data.check_images(items, images=images, kept=out / runs.CHECKPOINTS / "images.json", progress=progress)
    kept = data.keep(items, wrong=wrong, chat=chat, max_length=options.max_length)
    if not arguments.process_index:
        data.say_what_is_left_out(kept)
    run = runs.identity(
        model=model,
        revision=chat.revision,
        data=data.digest(kept.items),
        items=len(kept.items),
        options=options,
        processes=arguments.world_size,
    )
    known = runs.finished(out, run)
    if known is not None:
        _remove_checkpoints(out, arguments)
        return TunedResult(out=out, left_out=kept.left_out, before=True, **known["result"])
    with arguments.main_process_first(local=False, desc="the run's folder"):
        runs.begin(out, run)
        checkpoint = runs.latest(out)
    trainer = _trainer(kept, images=images, base=base, name=model, chat=chat, arguments=arguments, options=options)
    counts = parts.trained_counts(trainer.model)
    watch = Watch(trainer, out=out, progress=progress, name=model)
    trainer.add_callback(watch)
    _train(trainer, watch, checkpoint, name=model, options=options)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    result = {
        "model": model,
        "items": len(kept.items),
        "images": len({item.image for item in kept.items if item.image}),
        "steps": trainer.state.global_step,
        "start_loss": history[0]["loss"],
        "end_loss": history[-1]["loss"],
        "trained": {part: trained for part, (trained, _) in counts.items()},
        "cut": kept.cut,
    }
    _torn(model, options, lambda: _write(trainer, out, base=base, name=model, options=options, chat=chat))
    if not arguments.process_index:
        card.write_losses(out / "loss.csv", history)
        text = card.text(result, kept=kept, options=options, counts=counts, history=history, base=base, command=command, devices=arguments.world_size)
        (out / "README.md").write_text(text, encoding="utf-8")
        runs.write_json(out / runs.FINISHED, {"run": run, "result": result})
    trainer.accelerator.wait_for_everyone()
    _remove_checkpoints(out, arguments)
    resumed = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    return TunedResult(out=out, left_out=kept.left_out, resumed=resumed, **result)


def _base(name: str, items: Sequence[Instruction], options: TuningOptions) -> tuple[Path, Conversations]:
    """The folder of the model that is tuned, and how images and conversations are shown to it."""
    if name == tiny.NAME:
        folder = tiny.tiny_llava((text for item in items for turn in item.turns for text in turn), seed=0)
    else:
        folder = resolve(name).path
        check_base(_read_json(folder / "config.json") if folder.is_dir() else {}, name=name)
    return folder, Conversations(name, folder=folder, template=options.template, pad=options.pad, device="cpu", dtype="float32")


def _arguments(out: Path, options: TuningOptions) -> TrainingArguments:
    """How the Trainer is to work. Several processes (torchrun) find each other here."""
    processes, gpu = int(os.environ.get("WORLD_SIZE", "1")), options.device == "auto" and torch.cuda.is_available()
    fsdp, deepspeed = options.distributed("fsdp"), options.distributed("deepspeed")
    if deepspeed is not None and importlib.util.find_spec("deepspeed") is None:
        raise BeholderError(f"deepspeed = {options.deepspeed!r} needs deepspeed, which is not installed: run  pip install deepspeed")
    if fsdp is not None and processes == 1:
        raise BeholderError(
            f"fsdp = {options.fsdp!r} shares a model out between processes, and this is one alone: start it with  torchrun --nproc-per-node GPUS "
            "-m beholder train ..., or leave fsdp out"
        )
    bf16 = gpu and torch.cuda.is_bf16_supported() if options.precision == "auto" else options.precision == "bf16"
    made = TrainingArguments(
        output_dir=str(out / runs.CHECKPOINTS),
        num_train_epochs=1,  # the order of items holds all of them, see `data.order`
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulated(processes),
        learning_rate=options.rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type=options.schedule,
        bf16=bf16,
        use_cpu=not gpu,
        **_checkpointing(options),
        seed=options.seed,
        fsdp="full_shard" if fsdp else "",
        fsdp_config=fsdp,
        deepspeed=deepspeed,
        save_strategy="steps" if options.save_every else "no",
        save_steps=options.save_every or 1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_num_workers=(4 if gpu else 0) if options.workers is None else options.workers,
        dataloader_pin_memory=gpu,
        ddp_find_unused_parameters=False,
        ddp_timeout=7200,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
    )
    if made.n_gpu > 1:  # more of them are for torchrun
        made._n_gpu = 1
    return made


def _checkpointing(options: TuningOptions) -> dict[str, Any]:
    """transformers 5 has another word for it."""
    word = "activation" if "activation_checkpointing" in TrainingArguments.__dataclass_fields__ else "gradient"
    return {f"{word}_checkpointing": True, f"{word}_checkpointing_kwargs": {"use_reentrant": False}} if options.gradient_checkpointing else {}


class _Order(torch.utils.data.Sampler):
    def __init__(self, places: Sequence[int]) -> None:
        self.places = [int(place) for place in places]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)


class _Trainer(Trainer):
    """With our order of items."""

    places: Sequence[int]

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        return _Order(self.places)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        if load_result.missing_keys or load_result.unexpected_keys:
            name = min([*load_result.missing_keys, *load_result.unexpected_keys])
            raise TuningFailed(f"the checkpoint in {self.args.output_dir} is not of this model (see {name}): delete it, and the training begins anew")


def _trainer(kept, *, images: Path, base: Path, name: str, chat: Conversations, arguments, options: TuningOptions) -> _Trainer:
    devices, accumulate = arguments.world_size, arguments.gradient_accumulation_steps
    places = data.order(
        kept.items,
        batch=options.batch,
        step=options.batch * accumulate * devices,
        epochs=options.epochs,
        by_length=options.group_by_length,
        seed=options.seed,
    )
    steps = math.ceil(math.ceil(math.ceil(len(places) / options.batch) / devices) / accumulate)
    arguments.warmup_steps = min(math.ceil(steps * options.warmup_ratio), steps - 1)  # the first step of a warm-up changes nothing
    frozen = torch.bfloat16 if arguments.bf16 and options.method == "lora" else torch.float32
    made = parts.prepare(parts.load(base, name=name, dtype=frozen), options=options)
    pixels = chat.prepare(chat.blank).arrays["pixel_values"].shape
    collator = Collator(padding=chat.padding, image_token=chat.image_token_id, image_tokens=chat.image_tokens_each, pixels=tuple(pixels))
    examples = data.Examples(kept.items, chat=chat, images=images, max_length=options.max_length)
    trainer = _Trainer(model=made, args=arguments, train_dataset=examples, data_collator=collator)
    trainer.places = places
    trainer.remove_callback(PrinterCallback)
    return trainer


def _train(trainer: _Trainer, watch: Watch, checkpoint: Path | None, *, name: str, options: TuningOptions) -> None:
    with stoppable(watch):
        _torn(name, options, lambda: trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None))
    if trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt


def _torn(name: str, options: TuningOptions, work) -> None:
    """Do it; where the memory does not suffice, say what can be done."""
    try:
        with quiet_transformers():
            work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        helps = [] if options.batch == 1 else [f"batch={max(1, options.batch // 2)} (now {options.batch}; a step stays as large)"]
        helps += [] if options.gradient_checkpointing else ["gradient_checkpointing=true"]
        helps += [] if options.method == "lora" else ["method=lora"]
        helps += ["several GPUs with fsdp=default"] if not (options.fsdp or options.deepspeed) else ["more GPUs"]
        raise TuningFailed(f"tuning {name} does not fit into memory: try  {', '.join(helps[:-1])}{' or ' if helps[:-1] else ''}{helps[-1]}") from None


def _write(trainer: _Trainer, out: Path, **named: Any) -> None:
    parts.write_model(trainer, out, **named)
    trainer.accelerator.wait_for_everyone()


def _remove_checkpoints(out: Path, arguments: TrainingArguments) -> None:
    if not arguments.process_index:
        shutil.rmtree(out / runs.CHECKPOINTS, ignore_errors=True)


def _silent(done: int, total: int, what: str) -> None:
    pass
