"""Reading one image file as people see it: whatever its format, upright, 8-bit sRGB. Also content hashes. (Finding files: `folders`.)"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import stat
import struct
from collections.abc import Iterable
from typing import BinaryIO

from PIL import Image

from beholder.errors import BeholderError, MissingExtra, UnreadableImage
from beholder.pixels import exif_orientation, reduction, to_rgb

MAX_PIXELS = 300_000_000
RAW_SIDE = 1024  # a RAW file's preview of this shorter side (pixels) is good enough if nobody asks for more

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"})
_RAW_NAMES = "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
RAW_SUFFIXES = frozenset(f".{name}" for name in _RAW_NAMES.split())
IMAGE_SUFFIXES = (
    JPEG_SUFFIXES | HEIF_SUFFIXES | RAW_SUFFIXES | {".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dib", ".avif", ".avifs"}
)

# What a file is, by its first bytes. RAW before TIFF, because many RAW formats are TIFF with a mark.
_PREFIX_BYTES = 512
_MARKS = (
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("WEBP", 8, b"WEBP"),
    ("RAW", 8, b"CR\x02"),
    ("RAW", 6, b"HEAPCCDR"),
    ("RAW", 4, b"ftypcrx "),
    *(("RAW", 0, mark) for mark in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb")),
    *(("TIFF", 0, mark) for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_PLUGINS = {
    "JPEG": ("JpegImagePlugin", "jpeg_factory"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
}
_FOREIGN = (
    (b"<!doctype html", "is a web page, not an image: download the image itself"),
    (b"<html", "is a web page, not an image: download the image itself"),
    (b"version https://git-lfs", "is only a Git LFS pointer: run  git lfs pull"),
    (b"<svg", "is a drawing (SVG): export it as PNG"),
    (b"8bps", "is a Photoshop file: export it as JPEG or PNG"),
    (b"\xff\x0a", "is JPEG XL, which is not supported: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjxl ", "is JPEG XL, which is not supported: convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjp  ", "is JPEG 2000, which is not supported: convert it to JPEG or PNG"),
    (b"%pdf", "is a PDF, not an image: export its pages as JPEG or PNG"),
    (b"pk\x03\x04", "is a ZIP archive, not an image: unpack it"),
)
_SAVE_AGAIN = "open it in an image viewer and save it as JPEG or PNG"


def read_photo(photo: str | os.PathLike | bytes | Image.Image, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image as people see it: upright, 8-bit sRGB, transparency on white, the first frame of several.

    What a file is, is read from its content, not from its name. Safe to call from many threads.

    Args:
        photo: a path; or the bytes of a file; or a Pillow image, of which the current frame is taken (and a JPEG not decoded small).
        min_side: the caller needs no more than this many pixels along the shorter side. The result then has between
            `min_side` and 2 * `min_side`, or its own size if that is smaller; the same photo always gives the same result. A large
            JPEG is much faster so. None = all pixels (RAW: the preview or half-size picture, shorter side at least 1024 if it has that).
        max_pixels: larger images (width x height, read before decoding) are refused.

    Returns:
        A Pillow image [height, width] of mode RGB, without EXIF data, that holds no file.

    Raises:
        UnreadableImage: the photo is missing, empty, cut off, too large, no image, or of a kind that needs a package that
            is not installed. `reason` says what to do.
        BeholderError: `min_side` is less than 1.
    """
    if min_side is not None and min_side < 1:
        raise BeholderError(f"min_side = {min_side} is not a number of pixels: give 1 or more, or None for all")
    size = {"min_side": min_side, "max_pixels": max_pixels}
    if isinstance(photo, Image.Image):
        name = os.fsdecode(getattr(photo, "filename", "") or "") or "the image"
    else:
        name = "the image" if isinstance(photo, bytes) else os.fsdecode(photo)
    try:
        if isinstance(photo, Image.Image):
            _check_size(photo.size, name=name, max_pixels=max_pixels)
            return to_rgb(photo, min_side=min_side)
        with io.BytesIO(photo) if isinstance(photo, bytes) else _open_file(name) as file:
            return _read(file, name=name, **size)
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plugins raise nearly every kind on broken files
        raise UnreadableImage(name, _reason(error)) from None


def content_hash(path_or_bytes: str | os.PathLike | bytes) -> str:
    """32 hexadecimal digits (BLAKE2b, 128 bits) over the bytes of a file, or over the given bytes.

    Raises:
        UnreadableImage: the file is missing or cannot be read.
    """
    if isinstance(path_or_bytes, bytes):
        return hashlib.blake2b(path_or_bytes, digest_size=16).hexdigest()
    name = os.fsdecode(path_or_bytes)
    try:
        with _open_file(name) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UnreadableImage(name, _reason(error)) from None


def same_content(paths: Iterable[str | os.PathLike]) -> list[list[str]]:
    """Groups of two or more files with equal bytes, in the given order. Unreadable files are in no group."""
    by_size: dict[int, list[str]] = {}
    for path in dict.fromkeys(os.fsdecode(path) for path in paths):
        try:
            by_size.setdefault(os.stat(path).st_size, []).append(path)
        except (OSError, ValueError):
            continue
    by_hash: dict[str, list[str]] = {}
    for path in [path for group in by_size.values() if len(group) > 1 for path in group]:  # only equal sizes are worth reading
        try:
            by_hash.setdefault(content_hash(path), []).append(path)
        except UnreadableImage:
            continue
    return [group for group in by_hash.values() if len(group) > 1]


def kind_of(prefix: bytes) -> str | None:
    """JPEG, PNG, GIF, WEBP, TIFF, BMP, AVIF, HEIF or RAW by a file's first bytes (32 are enough); None if it is none of them."""
    for kind, start, mark in _MARKS:
        if prefix.startswith(mark, start):
            return kind
    if prefix.startswith(b"BM") and prefix[15:18] == b"\0\0\0":  # two letters alone would make images of many texts
        return "BMP"
    if prefix[4:8] == b"ftyp":
        brands = {prefix[8:12]} | {prefix[start : start + 4] for start in range(16, min(int.from_bytes(prefix[:4], "big"), 64), 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if prefix[8:12] in _HEIF_BRANDS:
            return "HEIF"
    return None


def why_no_image(prefix: bytes) -> str:
    """A reason for a file that `kind_of` does not know, by its first bytes."""
    if len(prefix) < 32:
        return f"holds only {len(prefix)} bytes, too few for an image: copy it again"
    start = prefix.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, reason in _FOREIGN:
        if start.startswith(mark) or prefix.lower().startswith(mark):
            return reason
    if prefix[4:8] == b"ftyp":
        return "is a video, not an image: give photographs, or save single frames of it"
    if not prefix.strip(b"\0"):
        return "holds only zero bytes, as after an interrupted copy: copy it again"
    if not set(prefix) & set(range(9)):
        return "is text, not an image: give an image file"
    return "is no image of a known format: give JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, HEIC or RAW"


def file_prefix(path: str) -> bytes:
    """The first bytes of a file, enough for `kind_of` and `why_no_image`.

    Raises:
        UnreadableImage: the file is missing, empty, or cannot be read.
    """
    try:
        with _open_file(path) as file:
            prefix = file.read(_PREFIX_BYTES)
    except OSError as error:
        raise UnreadableImage(path, _reason(error)) from None
    if not prefix:
        raise UnreadableImage(path, "is empty (0 bytes): copy it again")
    return prefix


def _open_file(name: str) -> BinaryIO:
    """Open for reading; only ordinary files, because opening a pipe would wait for ever."""
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImage(name, "is a folder, not an image: give the images in it")
        if not stat.S_ISREG(mode):
            raise UnreadableImage(name, "is a device or pipe, not an image file: copy its content to a file")
        return open(name, "rb")
    except FileNotFoundError:
        if os.path.islink(name):
            raise UnreadableImage(name, "is a link to a file that is gone: remove it or mend it") from None
        raise UnreadableImage(name, "does not exist: check the path") from None
    except OSError as error:
        raise UnreadableImage(name, _reason(error)) from None
    except ValueError:  # a zero byte in the name
        raise UnreadableImage(name, "is not a path: check it") from None


def _read(file: BinaryIO, *, name: str, min_side: int | None, max_pixels: int) -> Image.Image:
    size = {"name": name, "min_side": min_side, "max_pixels": max_pixels}
    prefix = file.read(_PREFIX_BYTES)
    if not prefix:
        raise UnreadableImage(name, "is empty (0 bytes): copy it again")
    kind = kind_of(prefix)
    if kind is None:
        raise UnreadableImage(name, why_no_image(prefix))
    is_raw = kind == "RAW" or (kind == "TIFF" and (os.path.splitext(name)[1].lower() in RAW_SUFFIXES or _holds_raw(file)))
    return _read_raw(file, **size) if is_raw else _decoded(_opened(file, kind=kind, name=name), **size)


def _opened(file: BinaryIO, *, kind: str, name: str) -> Image.Image:
    """The image with its header read. Not `Image.open`: its pixel limit and warning are global, and it tries every format there is."""
    file.seek(0)
    if kind == "HEIF":
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            raise UnreadableImage(name, str(MissingExtra("pillow-heif", extra="photo", purpose="reading HEIC"))) from None
        return HeifImageFile(file, "")
    module_name, factory = _PLUGINS[kind]
    module = importlib.import_module(f"PIL.{module_name}")
    if not getattr(module, "SUPPORTED", True):
        raise UnreadableImage(name, f"is {kind}, which this build of Pillow cannot read: run  pip install --upgrade pillow")
    return getattr(module, factory)(file, "")


def _decoded(image: Image.Image, *, name: str, min_side: int | None, max_pixels: int, orientation: int | None = None) -> Image.Image:
    _check_size(image.size, name=name, max_pixels=max_pixels)
    if image.format in ("JPEG", "MPO") and reduction(image.size, min_side=min_side) > 1:
        image.draft(None, (min_side, min_side))  # decodes 1/2, 1/4 or 1/8 of the pixels, the shorter side at least min_side
    return to_rgb(image, min_side=min_side, orientation=orientation)


def _holds_raw(file: BinaryIO) -> bool:
    """Is this TIFF a RAW photograph, of which Pillow would show the thumbnail at best?"""
    from PIL import TiffImagePlugin

    try:
        file.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        # DNGVersion; or pixels of a sensor; or a preview with the photograph in sub-images
        return 50706 in tags or tags.get(262) in (32803, 34892) or (tags.get(254) == 1 and 330 in tags)
    except Exception:
        return False  # whatever it is, decoding says so


def _read_raw(file: BinaryIO, *, name: str, min_side: int | None, max_pixels: int) -> Image.Image:
    """The camera's own preview if it is large enough, else developed, at half size if that is enough."""
    try:
        import rawpy
    except ImportError:
        raise UnreadableImage(name, str(MissingExtra("rawpy", extra="photo", purpose="reading RAW"))) from None
    file.seek(0)
    side = min_side or RAW_SIDE
    with rawpy.imread(file) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        _check_size((raw.sizes.raw_width, raw.sizes.raw_height), name=name, max_pixels=max_pixels)
        try:
            preview = _raw_preview(raw, rawpy=rawpy, name=name, min_side=min_side, max_pixels=max_pixels)
        except Exception:  # none, of an unknown kind, or broken: the sensor's data may still be fine
            preview = None
        if preview is not None and min(preview.size) >= min(side, width, height):
            return preview
        pixels = raw.postprocess(half_size=min(width, height) // 2 >= side, use_camera_wb=True, output_bps=8)  # upright sRGB
    return to_rgb(Image.fromarray(pixels), min_side=min_side)


def _raw_preview(raw, *, rawpy, name: str, min_side: int | None, max_pixels: int) -> Image.Image:
    thumbnail = raw.extract_thumb()
    if thumbnail.format == rawpy.ThumbFormat.JPEG:
        preview = _opened(io.BytesIO(thumbnail.data), kind="JPEG", name=name)
    else:
        preview = Image.fromarray(thumbnail.data)
    # Cameras store previews turned or not, and with or without saying so: the sensor's own orientation and shape decide.
    orientation = int("12435867"[raw.sizes.flip])  # LibRaw's number -> EXIF's
    turned = (preview.width > preview.height) != (raw.sizes.width > raw.sizes.height)
    if (orientation >= 5 and turned) or (orientation < 5 and exif_orientation(preview) == 1):
        orientation = 1
    return _decoded(preview, name=name, min_side=min_side, max_pixels=max_pixels, orientation=orientation)


def _check_size(size: tuple[int, int], *, name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UnreadableImage(name, f"has no pixels ({width} x {height}): copy it again")
    if width * height > max_pixels:
        megapixels = f"{width * height / 1e6:.0f} megapixels, more than the limit of {max_pixels / 1e6:.4g}"
        raise UnreadableImage(name, f"is too large ({width} x {height} = {megapixels}): make it smaller")


def _reason(error: Exception) -> str:
    """What is wrong and what to do, from whatever a decoder raised."""
    if isinstance(error, PermissionError):
        return "cannot be opened (permission denied): give yourself the right to read it"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read from the disk ({error.strerror}): copy it again"
    if isinstance(error, MemoryError):
        return "does not fit into memory: make it smaller, or read fewer at once"
    if isinstance(error, Image.DecompressionBombError):
        return "is too large (more than Pillow's limit of pixels): make it smaller"
    message = error.args[0] if error.args else ""
    message = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    message = " ".join(message.split())[:100] or type(error).__name__
    signs = ("truncated", "unexpected end", "end of data", "end of file", "insufficient data", "incomplete")
    if isinstance(error, EOFError | struct.error) or any(sign in message.lower() for sign in signs):
        return "is cut off (truncated): copy it again from where it came"
    return f"cannot be decoded ({message}): copy it again, or {_SAVE_AGAIN}"
