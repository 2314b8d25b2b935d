"""The model that is tuned: what is trained, what stays frozen, and how it is written down."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path

import torch
import transformers
from safetensors import safe_open

from beholder.backbones.vision_tower import quiet_transformers
from beholder.backbones.vlm.base import is_out_of_memory
from beholder.critique.tuning.conversation import Conversations
from beholder.critique.tuning.options import TuningOptions
from beholder.errors import BeholderError, MissingExtra

GROUPS = {"vision tower": "vision_tower", "projector": "multi_modal_projector", "language model": "language_model", "head": "lm_head"}
ADAPTED = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
ADAPTER = "adapter"  # subfolder of the tuned model


def load(folder: Path, *, name: str, dtype: torch.dtype) -> torch.nn.Module:
    """All weights on the CPU. Raises BeholderError if some are missing, or the memory does not suffice."""
    try:
        with quiet_transformers():
            model, found = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, local_files_only=True, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # from a damaged file to a full memory
        advice = "take a smaller model" if is_out_of_memory(error) else "download it again"
        reason = " ".join(str(error).split())[:200]
        raise BeholderError(f"{name} cannot be loaded ({reason}): {advice}") from error
    if found["missing_keys"]:
        raise BeholderError(f"the weights of {name} lack {min(found['missing_keys'])}: download the model again")
    model.config.use_cache = False
    return model


def stored_dtype(folder: Path) -> torch.dtype:
    """The type in which the weights are stored, by the first of them."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  not a dictionary
                kind = getattr(torch, {"F16": "float16", "BF16": "bfloat16", "F64": "float64"}.get(file.get_slice(name).get_dtype(), "float32"))
                return kind
    return torch.float32


def prepare(model: torch.nn.Module, *, options: TuningOptions) -> torch.nn.Module:
    """The model with only that trainable which is trained; with LoRA inside of adapters. The vision tower stays in evaluation mode whatever happens."""
    tower = model.model.vision_tower
    model.requires_grad_(True)
    tower.requires_grad_(False)
    tower.eval()
    tower.train = lambda mode=True: tower
    if options.method == "full":
        # Checkpoints with the names that weights have in memory: the Trainer does not translate those of the published layout when it reads them
        model.save_pretrained = functools.partial(model.save_pretrained, save_original_format=False)
        return model
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("peft", extra="local", purpose="tuning with method=lora") from error
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=ADAPTED,
        modules_to_save=["multi_modal_projector"],
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)
        made = peft.get_peft_model(model, config)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # steps of the optimizer are smaller than what bfloat16 resolves
    return made


def trained_counts(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Part of the model -> (weights that are trained, all weights)."""
    counts = dict.fromkeys(GROUPS, (0, 0))
    for name, parameter in model.named_parameters():
        part = next(group for group, mark in GROUPS.items() if mark in name)
        size = getattr(parameter, "ds_numel", parameter.numel())
        trained, whole = counts[part]
        counts[part] = trained + size * parameter.requires_grad, whole + size
    return {part: count for part, count in counts.items() if count[1]}


def write_model(trainer: transformers.Trainer, out: Path, *, base: Path, name: str, options: TuningOptions, chat: Conversations) -> None:
    """Write the tuned model in the type of the base; call it in all processes. Files come into place together, the configuration last."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.args.should_save:
        return
    dtype, made = stored_dtype(base), trainer.accelerator.unwrap_model(trainer.model_wrapped)
    partial = out / f".partial-{os.getpid()}"
    for left in out.glob(".partial-*"):  # of a process that was killed here
        shutil.rmtree(left, ignore_errors=True)
    if options.method == "lora":
        made.save_pretrained(partial / ADAPTER, state_dict=state)
        model = _merged(base, partial / ADAPTER, name=name)
        state = model.state_dict()
        _name_base(partial / ADAPTER, name)
    else:
        model = made
    state = {key: value.to("cpu", dtype) if value.is_floating_point() else value.cpu() for key, value in state.items()}
    model.config.dtype, model.config.use_cache = dtype, True
    with quiet_transformers():
        model.save_pretrained(partial, state_dict=state, save_original_format=True)
    write_processing(partial, chat)
    _into_place(partial, out)


def write_processing(folder: Path, chat: Conversations) -> None:
    """Tokenizer, chat template and preprocessing, for every reader of transformers' folders."""
    tokenizer = chat.tokenizer
    tokenizer.chat_template = chat._template
    tokenizer.save_pretrained(folder)
    chat.processor.save_pretrained(folder)
    own = {
        "processor_class": "LlavaProcessor",
        "patch_size": chat._size("vision_config", "patch_size"),
        "vision_feature_select_strategy": chat.config.get("vision_feature_select_strategy", "default"),
        "num_additional_image_tokens": chat._prefix,
        "image_token": chat.placeholder,
    }
    (folder / "processor_config.json").write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")


def _merged(base: Path, adapter: Path, *, name: str) -> torch.nn.Module:
    """The base with its adapter added, computed in float32."""
    import peft

    return peft.PeftModel.from_pretrained(load(base, name=name, dtype=torch.float32), str(adapter)).merge_and_unload()


def _name_base(adapter: Path, name: str) -> None:
    """peft notes where the base lies on this machine: its name says as much to others."""
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": name}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (adapter / "README.md").unlink(missing_ok=True)  # peft's form for a model card; ours lies beside the model


def _into_place(partial: Path, out: Path) -> None:
    for path in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
        if path.is_dir():
            shutil.rmtree(out / path.name, ignore_errors=True)
        os.replace(path, out / path.name)
    partial.rmdir()
