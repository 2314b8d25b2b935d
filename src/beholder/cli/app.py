"""The verbs put together; and what every one does with errors, warnings and interruptions."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Annotated

import typer
from typer.core import TyperGroup

from beholder import __version__
from beholder.cli import (
    aesmmit,
    ask,
    bench,
    bench_aesbench,
    critique,
    data,
    doctor,
    explain,
    personas,
    probe,
    profile,
    rank,
    raters,
    ratings,
    score,
    steer,
    study,
    suggest,
    train,
    train_aesexpert,
)
from beholder.cli.output import note
from beholder.errors import BeholderError

DONE, SKIPPED, REFUSED, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


# A verb whose options depend on what stands behind it: "train aesexpert[...]" learns from instructions, "bench aesbench" asks questions
SPECIAL = {("train", "aesexpert"), ("bench", "aesbench")}


class Verbs(TyperGroup):
    """Runs a verb; turns what goes wrong into one sentence and an exit code."""

    def resolve_command(self, ctx, args):
        verb, what = [*args[:2], "", ""][:2]
        if (verb, what.partition("[")[0].lower()) in SPECIAL:
            name = f"{verb} {what.partition('[')[0].lower()}"
            return name, self.commands[name], args[1:] if verb == "train" else args[2:]  # options of a training stand in its name
        for known_verb, meant in SPECIAL:
            if verb == known_verb and difflib.get_close_matches(what.partition("[")[0].lower(), [meant], cutoff=0.75):
                raise BeholderError(f"there is no {what!r}: did you mean  beholder {verb} {meant}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        _tolerant(sys.stdout)
        try:
            with _warnings_as_notes() as skipped:
                result = super().invoke(ctx)
                sys.stdout.flush()
        except BeholderError as error:
            _refuse(str(error))
        except BrokenPipeError:
            _close_stdout()
            raise typer.Exit(PIPE_CLOSED) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                _close_stdout()
                raise typer.Exit(PIPE_CLOSED) from None
            where = f"{error.filename}: " if error.filename else ""
            _refuse(f"{where}{error.strerror or error}: mend that, or choose another place")
        except MemoryError:
            _refuse("there is not enough memory: close other programs, or give fewer images at once")
        except KeyboardInterrupt:
            note("interrupted; what was finished is kept, so the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None
        if skipped:
            raise typer.Exit(SKIPPED)
        return result


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How much will this person like this image? Personal image aesthetics, from zero ratings on, with honest uncertainty.",
    epilog="Exit codes: 0 done, 1 done but some inputs were skipped (each is named), 2 refused.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"beholder {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    pass


app.command("rank")(rank.rank)
app.command("score")(score.score)
app.add_typer(ratings.app, name="ratings")
app.command("explain")(explain.explain)
app.command("critique")(critique.critique)
app.command("ask")(ask.ask)
app.command("suggest")(suggest.suggest)
app.add_typer(raters.app, name="raters")
app.add_typer(profile.app, name="profile")
app.add_typer(personas.app, name="personas")
app.command("steer")(steer.steer)
app.add_typer(study.app, name="study")
app.command("train")(train.train)
app.command("train aesexpert", hidden=True)(train_aesexpert.train_aesexpert)
app.add_typer(aesmmit.app, name="aesmmit")
app.command("bench")(bench.bench)
app.command("bench aesbench", hidden=True)(bench_aesbench.bench_aesbench)
app.command("probe")(probe.probe)
app.add_typer(data.app, name="data")
app.command("doctor")(doctor.doctor)


def _refuse(message: str) -> None:
    print(f"beholder: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(REFUSED)


def _tolerant(stream) -> None:
    """File names may hold what the terminal's encoding has no sign for."""
    with contextlib.suppress(AttributeError, ValueError):
        stream.reconfigure(errors="backslashreplace")


def _close_stdout() -> None:
    """Whoever read our output has gone: write no more, not even at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[list[str]]:
    """Warnings become notes of one line, each said once. Gives the list of those that say an input was skipped."""
    skipped: list[str] = []
    said: set[str] = set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        from beholder.located import SkippedInput  # not needed for --help, and it loads numpy

        text = " ".join(str(message).split())
        if issubclass(category, SkippedInput):
            skipped.append(text)
        if text not in said:
            said.add(text)
            note(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")  # about oddities of files that it reads all the same
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.showwarning = show
        yield skipped
