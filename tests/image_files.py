"""Good and bad image files, made in memory, for any test: pictures, encoded files, colour profiles, a RAW photograph."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, features

# What an EXIF orientation asks a viewer to do is undone by these: storing `picture.transpose(STORED[n])` with orientation n looks upright.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(width: int = 96, height: int = 64, *, seed: int = 0) -> Image.Image:
    """A smooth RGB picture whose four quarters differ (so that any turn or flip shows), with a little grain."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    rgb = np.stack([40 + 180 * x, 220 - 180 * y, 60 + 120 * x * y], axis=-1)
    rgb += np.random.default_rng(seed).normal(0, 2, rgb.shape)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options) -> bytes:
    """The bytes of a file in this format ("JPEG", "PNG", "HEIF", ...). HEIF needs pillow-heif."""
    buffer = io.BytesIO()
    if format == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a turned camera stores it, and the EXIF data that say so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    transpose = STORED[orientation]
    return (image if transpose is None else image.transpose(transpose)), exif


def good_files(image: Image.Image | None = None) -> dict[str, bytes]:
    """File name -> bytes, the same picture in every format and coding that this Pillow can write."""
    image = image or picture()
    files = {
        "baseline.jpg": encoded(image, "JPEG", quality=92),
        "progressive.jpg": encoded(image, "JPEG", quality=92, progressive=True),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", quality=92),
        "grey.jpg": encoded(image.convert("L"), "JPEG", quality=92),
        "two.mpo": encoded(image, "MPO", quality=92, save_all=True, append_images=[image.rotate(180)]),
        "rgb.png": encoded(image, "PNG"),
        "palette.png": encoded(image.quantize(64), "PNG"),
        "animated.gif": encoded(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        "plain.tif": encoded(image, "TIFF"),
        "deflate.tif": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "plain.bmp": encoded(image, "BMP"),
    }
    if features.check("webp"):
        files["lossy.webp"] = encoded(image, "WEBP", quality=92)
        files["lossless.webp"] = encoded(image, "WEBP", lossless=True)
    if features.check("avif"):
        files["lossy.avif"] = encoded(image, "AVIF", quality=92)
    return files


def bad_files() -> dict[str, bytes]:
    """File name -> bytes that no one can read as an image."""
    jpeg, png = encoded(picture(), "JPEG"), encoded(picture(), "PNG")
    return {
        "empty.jpg": b"",
        "text.jpg": b"this is a shopping list\n" * 20,
        "page.jpg": b"<!DOCTYPE html><html>not found</html>",
        "zeros.jpg": bytes(5000),
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": png[: len(png) // 2],
        "header.jpg": jpeg[:20],
        "bomb.png": png_header(30_000, 30_000),
    }


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has this size, and nothing more: small on the disk, huge in memory."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def png_of(samples: np.ndarray, *, extra: bytes = b"", name: bytes = b"tRNS") -> bytes:
    """A 16-bit PNG, which Pillow itself writes only for grey. samples: [height, width] or [height, width, 2, 3 or 4], uint16."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, bands = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    body = (chunk(name, extra) if extra else b"") + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


# Columns (X, Y, Z) of the red, green and blue of two RGB spaces, relative to D50 as profiles store them.
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def icc_profile(columns: tuple = ADOBE_RGB, *, gamma: float = 2.2, name: str = "test space", space: bytes = b"RGB ") -> bytes:
    """A minimal version 2 display profile: three primaries and a power curve, or (space=b"GRAY") a curve alone."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: tuple) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(number(v) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {band + b"XYZ": xyz(column) for band, column in zip((b"r", b"g", b"b"), columns, strict=True)}
        tags |= {band + b"TRC": curve for band in (b"r", b"g", b"b")}
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        start = 128 + 4 + 12 * len(tags) + len(data)
        table += tag + struct.pack(">II", start, len(value))
        data += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    header += number(0.9642) + number(1.0) + number(0.8249)
    return header + bytes(128 - len(header)) + table + data


def dng(image: Image.Image, *, preview: bytes | None, orientation: int = 1) -> bytes:
    """A RAW photograph (DNG, 16-bit Bayer data of the picture as it is stored) with a JPEG preview, or with none.

    Its sensor is linear, so the developed picture is brighter than `image`; its shape and its bright and dark parts are the same.
    """
    width, height = image.size
    rgb = np.asarray(image).astype(np.float64) / 255
    mosaic = rgb[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    mosaic = (mosaic * 60000).astype("<u2").tobytes()
    identity = [(v, 10000) for v in (10000, 0, 0, 0, 10000, 0, 0, 0, 10000)]
    data = b""

    def directory(entries: list[tuple], start: int) -> bytes:
        """(tag, type, values) sorted by tag; values that do not fit into 4 bytes follow the directory."""
        codes = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "B", 10: "ii"}
        head, tail = struct.pack("<H", len(entries)), b""
        after = start + 2 + 12 * len(entries) + 4
        for tag, kind, values in sorted(entries):
            if kind == 2:
                packed, count = values, len(values)
            elif kind in (5, 10):
                packed, count = b"".join(struct.pack("<" + codes[kind], *pair) for pair in values), len(values)
            else:
                packed, count = struct.pack(f"<{len(values)}{codes[kind]}", *values), len(values)
            if len(packed) > 4:
                head += struct.pack("<HHII", tag, kind, count, after + len(tail))
                tail += packed + bytes(len(packed) % 2)
            else:
                head += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
        return head + struct.pack("<I", 0) + tail

    common = [
        (271, 2, b"Beholder\0"), (272, 2, b"Test camera\0"), (274, 3, [orientation]), (50706, 1, [1, 4, 0, 0]),
        (50707, 1, [1, 1, 0, 0]), (50708, 2, b"Beholder test camera\0"), (50721, 10, identity), (50728, 5, [(1, 1)] * 3), (50778, 3, [21]),
    ]  # fmt: skip
    data_start = 4096
    raw = [
        (254, 4, [0]), (256, 4, [width]), (257, 4, [height]), (258, 3, [16]), (259, 3, [1]), (262, 3, [32803]), (273, 4, [data_start]),
        (277, 3, [1]), (278, 4, [height]), (279, 4, [len(mosaic)]), (33421, 3, [2, 2]), (33422, 1, [0, 1, 1, 2]), (50717, 4, [60000]),
    ]  # fmt: skip
    data = mosaic
    if preview is None:
        first = directory(common + raw, 8)
    else:
        with Image.open(io.BytesIO(preview)) as small:
            preview_width, preview_height = small.size
        shown = [
            (254, 4, [1]), (256, 4, [preview_width]), (257, 4, [preview_height]), (258, 3, [8, 8, 8]), (259, 3, [7]), (262, 3, [6]),
            (273, 4, [data_start + len(mosaic)]), (277, 3, [3]), (278, 4, [preview_height]), (279, 4, [len(preview)]), (330, 4, [2048]),
        ]  # fmt: skip
        first = directory(common + shown, 8).ljust(2040, b"\0") + directory(raw, 2048)
        data += preview
    return (struct.pack("<2sHI", b"II", 42, 8) + first).ljust(data_start, b"\0") + data


def pixels(image: Image.Image) -> np.ndarray:
    """[h, w, 3] int, so that differences do not wrap."""
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def difference(left: Image.Image, right: Image.Image) -> float:
    """Mean absolute difference, in 1/255."""
    assert left.size == right.size
    return float(np.abs(pixels(left) - pixels(right)).mean())


def reason(photo, **options) -> str:
    """Why `read_photo` refuses it."""
    import pytest

    from beholder.errors import UnreadableImage
    from beholder.photos import read_photo

    with pytest.raises(UnreadableImage) as caught:
        read_photo(photo, **options)
    return caught.value.reason
