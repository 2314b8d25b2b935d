"""From any decoded image to upright 8-bit sRGB on white: orientation, bit depth, transparency, colour profile, size."""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Exact names, because "GIMP built-in Linear sRGB" and "sRGB-elle-V2-g10" are linear light and must be converted.
_SRGB_NAMES = {"sRGB IEC61966-2.1", "sRGB built-in", "GIMP built-in sRGB", "sRGB", "sRGB2014"}


def to_rgb(image: Image.Image, *, min_side: int | None = None, orientation: int | None = None) -> Image.Image:
    """A new upright RGB image; the given one is loaded but otherwise left as it is.

    Args:
        image: any mode, any size of at least 1 x 1.
        min_side: shrink by the largest whole factor that keeps the shorter side at least this long (pixels); None = never.
        orientation: EXIF orientation (1-8) to undo; None = the one the image carries.

    Returns:
        [height, width] RGB, 8 bit, sRGB, without EXIF or other information.

    Raises:
        Exception: whatever Pillow raises while it decodes.
    """
    given = image
    image.load()
    if orientation is None:
        orientation = exif_orientation(image)  # after loading: TIFF undoes it itself then, PNG may carry it behind the pixels
    if orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[orientation])
    profile = image.info.get("icc_profile")
    image = _reduced(_eight_bit(image), min_side=min_side)  # small first, so that the steps below cost little memory
    image = _to_srgb(_on_white(image), profile=profile)
    if image is given:
        image = image.copy()  # never the caller's own, nor one that holds a file
    image.info = {}
    return image


def exif_orientation(image: Image.Image) -> int | None:
    """1-8; None if the image does not say. Broken EXIF data count as none: the picture itself may be fine."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
        return value if value in range(1, 9) else None
    except Exception:
        return None


def reduction(size: tuple[int, int], *, min_side: int | None) -> int:
    """The largest whole factor by which an image of `size` (pixels) may shrink, 1 if it may not."""
    return max(1, min(size) // min_side) if min_side else 1


def _reduced(image: Image.Image, *, min_side: int | None) -> Image.Image:
    factor = reduction(image.size, min_side=min_side)
    return image.reduce(factor) if factor > 1 else image


def _eight_bit(image: Image.Image) -> Image.Image:
    """L, LA, RGB, RGBA or CMYK: the modes whose pixels may be averaged."""
    mode = image.mode
    if mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # as Pillow does with 16-bit RGB
    if mode in ("I", "F"):
        return Image.fromarray(_scaled(np.asarray(image)))
    if mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    if mode in ("LA", "RGBA", "CMYK"):
        return image
    if mode == "LAB":
        from PIL import ImageCms

        return _from_profile(image, ImageCms.createProfile("LAB"))
    if image.has_transparency_data:
        return _with_alpha(image)
    if mode in ("L", "RGB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    """RGBA of a palette, or of pixels of which one colour is transparent."""
    colour = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:  # a 16-bit PNG, of which Pillow keeps the high bytes
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    return image.convert("RGBA")


def _scaled(values: np.ndarray) -> np.ndarray:
    """[h, w] int32 or float32 -> uint8. No file says what white is: 1 (floats), 255 or 65535 if all fit, else the range is stretched."""
    whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    values = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    white = next((white for white in whites if high <= white), None)
    if low < 0 or white is None:
        values, white = values - low, (high - low) or 1.0
    return np.clip(values * (255.0 / white) + 0.5, 0, 255).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    opaque = image.mode.removesuffix("A")
    white = Image.new(opaque, image.size, 255 if opaque == "L" else (255, 255, 255))
    white.paste(image.convert(opaque), mask=image.getchannel("A"))
    return white


def _to_srgb(image: Image.Image, *, profile: object) -> Image.Image:
    """RGB in sRGB; a profile that is broken or belongs to another kind of pixels is ignored."""
    if profile:
        from PIL import ImageCms  # not needed by most images

        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space == "RGB " and image.mode == "L":
                image = image.convert("RGB")
            if ImageCms.getProfileDescription(source).strip() not in _SRGB_NAMES:
                return _from_profile(image, source)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_profile(image: Image.Image, profile: object) -> Image.Image:
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")  # one per call: profiles must not be shared between threads
    return ImageCms.profileToProfile(image, profile, srgb, renderingIntent=ImageCms.Intent.PERCEPTUAL, outputMode="RGB")
