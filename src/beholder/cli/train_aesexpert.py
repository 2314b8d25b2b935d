"""beholder train aesexpert --data FILE|DIR --images DIR --model NAME --out DIR"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from beholder.cli import options
from beholder.cli.output import lines_of_progress, note, print_json, progress_bar

REFUSED, INTERRUPTED = 2, 130


def train_aesexpert(
    scorer: Annotated[str, typer.Argument(metavar="aesexpert[x=1]", help="Options stand in brackets: aesexpert\\[method=lora,epochs=2].")] = "aesexpert",
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="Instructions (LLaVA's JSON or JSON Lines), or the folder of a built dataset.", show_default=False)] = None,
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Where their images are.", show_default="images beside the data, or its folder")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="llava-hf/llava-1.5-7b-hf, a folder of that kind, or tiny-random to try things out.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the tuned model goes.", show_default=False)] = None,
    as_json: options.AsJson = False,
) -> None:
    """Tune a LLaVA-1.5 on instructions about images, as AesExpert was: the vision tower stays as it is, projector and language model are trained.

    Checkpoints are kept in OUT/checkpoints: after an interruption the same command goes on from there. On several GPUs: torchrun --nproc-per-node 8
    -m beholder train "aesexpert\\[fsdp=default]" ...
    """
    from beholder.errors import BeholderError

    first = int(os.environ.get("RANK", "0")) == 0
    try:
        if first:
            _tune(scorer, data, images=images, model=model, out=out, as_json=as_json)
        else:
            with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sys.stdout, before = nowhere, sys.stdout
                try:
                    _tune(scorer, data, images=images, model=model, out=out, as_json=as_json)
                finally:
                    sys.stdout = before
    except BeholderError as error:
        if first or type(error).__name__ == "TuningFailed":
            raise
        raise typer.Exit(REFUSED) from None  # the first process says why
    except KeyboardInterrupt:
        if first:
            raise
        raise typer.Exit(INTERRUPTED) from None
    finally:
        _leave_the_others()


def _tune(scorer: str, data: Path | None, *, images: Path | None, model: str | None, out: Path | None, as_json: bool) -> None:
    from beholder.critique.aesmmit.instructions import read_instructions
    from beholder.critique.tuning import TuningOptions
    from beholder.errors import BeholderError, MissingExtra
    from beholder.options import from_texts, parse_brackets

    name, texts = parse_brackets(scorer, of="the training")
    for option, value in (("--data", data), ("--model", model), ("--out", out)):
        if value is None:
            raise BeholderError(f"{option} is missing: write  beholder train {name} --data FILE --images DIR --model NAME --out DIR")
    chosen = from_texts(TuningOptions, texts, of=name)
    items = read_instructions(data)
    here = data if data.is_dir() else data.parent
    folder = images if images is not None else here / "images" if (here / "images").is_dir() else here
    if not folder.is_dir():
        raise BeholderError(f"the folder of images {folder} is not there: name it with --images")
    try:
        from beholder.critique.tuning import tune
    except ImportError as error:
        raise MissingExtra(str(error.name or "transformers").partition(".")[0], extra="local", purpose="tuning a model") from error
    command = ["beholder", "train", scorer, "--data", str(data), *(["--images", str(images)] if images else []), "--model", model, "--out", str(out)]
    with progress_bar("tuning") as bar:
        progress = bar or lines_of_progress()
        result = tune(items, images=folder, model=model, out=out, options=chosen, progress=progress, command=shlex.join(command))
    if as_json:
        print_json(result.to_json())
        return
    if result.before:
        print(f"it is finished already: {out} holds {Path(model).name}, tuned on {result.items} items in {result.steps} steps")
    else:
        trained = sum(result.trained.values())
        more = f", from step {result.resumed} on after an interruption" if result.resumed else ""
        print(
            f"{Path(model).name}: {trained:,} weights learned from {result.items} items about {result.images} images in {result.steps} steps{more}; "
            f"the loss fell from {result.start_loss:.3f} to {result.end_loss:.3f}"
            if result.end_loss < result.start_loss
            else f"{Path(model).name}: {trained:,} weights were trained on {result.items} items in {result.steps} steps{more}, but the loss did not "
            f"fall ({result.start_loss:.3f} to {result.end_loss:.3f})"
        )
    if result.cut:
        note(f"{result.cut} items were longer than max_length = {chosen.max_length} tokens and lost their end")
    print(f"use it:  beholder ask IMAGE \"...\" --model {shlex.quote(str(out))}")


def _leave_the_others() -> None:
    """Where several processes worked together, they part before they end."""
    if "torch" in sys.modules and "WORLD_SIZE" in os.environ:
        import torch

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
