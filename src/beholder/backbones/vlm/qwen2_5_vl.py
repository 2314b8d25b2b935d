"""Qwen2.5-VL: to us like Qwen3-VL, but its vision blocks see windows and it has no DeepStack."""

from __future__ import annotations

from beholder.backbones.vlm.qwen3_vl import Qwen3VL


class Qwen25VL(Qwen3VL):
    """Qwen2.5-VL of any size. Inside the vision encoder the patches of an image are sorted by windows; those of one image stay together."""

    model_types = ("qwen2_5_vl",)
