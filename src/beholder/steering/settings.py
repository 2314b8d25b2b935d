"""What decides a run: two runs with equal settings make the same calls, so one may go on where the other stopped."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from beholder import __version__
from beholder.steering.base import Generator, Judge, Writer

if TYPE_CHECKING:
    from beholder.steering.loop import SteerConfig


def settings_of(
    goal: str,
    *,
    writer: Writer | None,
    generator: Generator,
    judge: Judge,
    hold_out: Judge | None = None,
    config: SteerConfig,
    pick: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """For `RunFolder(settings=...)`, as JSON takes it.

    Args:
        goal: the prompt to start from.
        writer: None if the prompt stays as it is.
        pick: (images kept, images made) of a best-of-n run.
    """
    said = {"beholder": __version__, "goal": goal}
    for name, part in (("writer", writer), ("generator", generator), ("judge", judge), ("hold_out", hold_out)):
        said[name] = None if part is None else part.name
        said[f"{name}_version"] = None if part is None else part.version
    said["raters"] = list(getattr(judge, "raters", ()))
    if pick is not None:
        return said | {"pick": list(pick), "seed": config.seed}
    return said | asdict(config)
