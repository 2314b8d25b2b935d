"""Instruction tuning of LLaVA-1.5 as AesExpert (Huang et al. 2024, arXiv 2404.09624, section 4) does it. Importing this imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beholder.critique.tuning.options import TuningOptions

if TYPE_CHECKING:
    from beholder.critique.tuning.training import TunedResult, tune

__all__ = ["TunedResult", "TuningOptions", "tune"]


def __getattr__(name: str) -> Any:
    if name in ("tune", "TunedResult"):
        from beholder.critique.tuning import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
