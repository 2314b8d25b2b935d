"""From what a server or a command gave to an image."""

from __future__ import annotations

import os

from PIL import Image

from beholder.errors import UnreadableImage
from beholder.photos import read_photo
from beholder.steering.base import CallFailed

LARGEST = 64 << 20  # bytes of one image
MAX_PIXELS = 100_000_000


def decoded(image: bytes | str | os.PathLike, *, of: str) -> Image.Image:
    """The RGB image in a file or its bytes, transparency on white.

    Args:
        of: who made it, for the message.

    Raises:
        CallFailed: "broken": it is none.
    """
    try:
        return read_photo(image, max_pixels=MAX_PIXELS)
    except UnreadableImage as error:
        raise CallFailed(f"{of} gave no image that can be read ({error.reason})", kind="broken") from None
