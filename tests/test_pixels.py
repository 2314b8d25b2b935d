"""Whatever a file's format, orientation, depth and colours: upright 8-bit sRGB on white."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, features

import image_files
from beholder.photos import read_photo
from image_files import difference, pixels

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
GOOD = image_files.good_files()


@pytest.mark.parametrize("name", GOOD)
def test_every_format_gives_the_picture(name):
    expected = image_files.picture().convert("L").convert("RGB") if name == "grey.jpg" else image_files.picture()
    assert difference(read_photo(GOOD[name]), expected) < (6 if "palette" in name or "gif" in name else 4)


def test_heic_gives_the_picture_and_its_orientation():
    pytest.importorskip("pillow_heif")
    upright = image_files.picture()
    for orientation in (1, 3, 6, 8):
        stored, exif = image_files.turned(upright, orientation)
        data = image_files.encoded(stored, "HEIF", quality=90, exif=exif.tobytes())
        assert difference(read_photo(data), upright) < 4
    assert "HEIF" not in Image.OPEN or Image.OPEN["HEIF"], "reading must not change what Pillow can open for others"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone(format, orientation):
    if format in ("WEBP", "AVIF") and not features.check(format.lower()):
        pytest.skip(f"this Pillow has no {format}")
    upright = image_files.picture()
    stored, exif = image_files.turned(upright, orientation)
    image = read_photo(image_files.encoded(stored, format, exif=exif, quality=92))
    assert image.size == upright.size
    assert difference(image, upright) < 4
    assert not image.getexif() and not image.info
    stored, exif = image_files.turned(upright, orientation)  # anew: writing AVIF changes the EXIF data it is given
    assert difference(read_photo(image_files.encoded(stored, "PNG", exif=exif), min_side=16), read_photo(upright, min_side=16)) == 0


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0"]
)
def test_broken_exif_does_not_cost_the_picture(exif):
    data = image_files.encoded(image_files.picture(), "JPEG", exif=exif, quality=92)
    assert difference(read_photo(data), image_files.picture()) < 4


def test_colour_profile_is_converted_to_srgb():
    picture = image_files.picture()
    swapped = (image_files.SRGB[1], image_files.SRGB[0], image_files.SRGB[2])  # a space whose red is sRGB's green
    red, green, blue = picture.split()
    exchanged = Image.merge("RGB", (green, red, blue))
    data = image_files.encoded(picture, "PNG", icc_profile=image_files.icc_profile(swapped))
    assert difference(read_photo(data), exchanged) < 2.5  # its curve is a plain power, sRGB's is not quite
    grey = Image.new("RGB", (8, 8), (128, 128, 128))
    for format in ("PNG", "JPEG", "TIFF", "WEBP"):
        data = image_files.encoded(grey, format, icc_profile=image_files.icc_profile(image_files.SRGB, gamma=1.0))
        assert abs(read_photo(data).getpixel((4, 4))[1] - 188) <= 1  # half of the light is 188 in sRGB
    wide = Image.new("RGB", (8, 8), (100, 200, 100))
    data = image_files.encoded(wide, "PNG", icc_profile=image_files.icc_profile(image_files.ADOBE_RGB))
    assert read_photo(data).getpixel((4, 4))[0] < 60  # that green of Adobe RGB has nearly no red in sRGB


def test_profile_of_grey_and_of_the_wrong_kind():
    grey = Image.new("L", (8, 8), 128)
    for profile in (image_files.icc_profile(space=b"GRAY", gamma=1.0), image_files.icc_profile(image_files.SRGB, gamma=1.0)):
        assert abs(read_photo(image_files.encoded(grey, "PNG", icc_profile=profile)).getpixel((4, 4))[0] - 188) <= 1
    colour = Image.new("RGB", (8, 8), (10, 200, 90))
    for profile in (image_files.icc_profile(space=b"GRAY"), b"no profile at all", image_files.icc_profile()[:200]):
        assert read_photo(image_files.encoded(colour, "PNG", icc_profile=profile)).getpixel((4, 4)) == (10, 200, 90)
    for profile in (image_files.icc_profile(image_files.SRGB, gamma=1.0), image_files.icc_profile(space=b"GRAY")):
        cmyk = image_files.encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF", icc_profile=profile)
        assert read_photo(cmyk).getpixel((4, 4)) == (0, 255, 255)


@pytest.mark.parametrize("name", ["sRGB IEC61966-2.1", "sRGB built-in"])
def test_srgb_is_left_alone_but_linear_srgb_is_not(name):
    grey = Image.new("RGB", (8, 8), (128, 128, 128))
    same = image_files.icc_profile(image_files.SRGB, gamma=2.0, name=name)
    assert read_photo(image_files.encoded(grey, "PNG", icc_profile=same)).getpixel((0, 0)) == (128, 128, 128)
    linear = image_files.icc_profile(image_files.SRGB, gamma=1.0, name="GIMP built-in Linear sRGB")
    assert read_photo(image_files.encoded(grey, "PNG", icc_profile=linear)).getpixel((0, 0))[0] > 180


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_transparency_becomes_white(mode):
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 20))
    image.paste((0, 0, 0, 128), (0, 0, 10, 20))
    image = image.convert("LA").convert("La") if mode == "La" else image.convert(mode)
    assert image.mode == mode
    result = read_photo(image)
    assert abs(result.getpixel((5, 5))[0] - 127) <= 1
    assert result.getpixel((15, 5)) == (255, 255, 255) and result.getpixel((30, 5)) == (0, 0, 0)
    assert read_photo(image, min_side=5).getpixel((3, 1)) == (255, 255, 255)


def test_transparent_colour_and_palette_become_white():
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    image.putpixel((0, 0), (200, 0, 0))
    data = image_files.encoded(image, "PNG", transparency=(10, 20, 30))
    assert read_photo(data).getpixel((4, 4)) == (255, 255, 255) and read_photo(data).getpixel((0, 0)) == (200, 0, 0)
    grey = image_files.encoded(image.convert("L"), "PNG", transparency=image.convert("L").getpixel((4, 4)))
    assert read_photo(grey).getpixel((4, 4)) == (255, 255, 255)
    palette = image.quantize(4)
    index = palette.getpixel((4, 4))
    for format, transparency in (("PNG", index), ("GIF", index), ("PNG", bytes(0 if i == index else 255 for i in range(4)))):
        result = read_photo(image_files.encoded(palette, format, transparency=transparency))
        assert result.getpixel((4, 4)) == (255, 255, 255) and result.getpixel((0, 0)) == (200, 0, 0)


def test_cmyk_colours_are_not_inverted():
    for format in ("JPEG", "TIFF"):
        cyan = read_photo(image_files.encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), format))
        assert np.abs(np.array(cyan.getpixel((8, 8))) - (0, 255, 255)).max() <= 2
        paper = read_photo(image_files.encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), format))
        assert min(paper.getpixel((8, 8))) >= 253


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    opaque = np.full_like(ramp, 65535)
    files = [image_files.png_of(np.stack(bands, -1)) for bands in ([ramp], [ramp] * 3, [ramp, opaque], [ramp, ramp, ramp, opaque])]
    files.append(image_files.png_of(ramp, name=b"tRNS", extra=b"\x01\x2c"))
    files.append(image_files.png_of(np.stack([ramp] * 3, -1), name=b"tRNS", extra=b"\x01\x2c\0\0\0\0"))
    files += [image_files.encoded(Image.fromarray(ramp.astype(kind)), "TIFF") for kind in (np.uint16, np.int32, np.float32)]
    for data in files:
        assert np.abs(pixels(read_photo(data))[..., 0] - ramp / 257).max() <= 1


def test_floats_and_wide_integers():
    ramp = np.linspace(0, 1, 64 * 48).reshape(48, 64)
    for values in (ramp, ramp * 255, ramp * 1e6, ramp * 2 - 1):
        assert np.abs(pixels(read_photo(Image.fromarray(values.astype(np.float32))))[..., 0] - ramp * 255).max() <= 1
    for top in (255, 2**30):
        assert np.abs(pixels(read_photo(Image.fromarray((ramp * top).astype(np.int32))))[..., 0] - ramp * 255).max() <= 1
    broken = np.array([[np.nan, np.inf], [0.0, 1.0]], dtype=np.float32)
    assert read_photo(Image.fromarray(broken)).getpixel((1, 1)) == (255, 255, 255)
    assert read_photo(Image.fromarray(np.full((4, 4), -3.0, dtype=np.float32))).size == (4, 4)


@pytest.mark.parametrize("mode", ["1", "L", "P", "HSV", "YCbCr", "RGBX", "LAB", "CMYK", "I;16", "I;16B"])
def test_every_mode_is_read(mode):
    if mode.startswith("I;16"):
        image = Image.frombytes(mode, (4, 4), (b"\0\xc8" if mode == "I;16" else b"\xc8\0") * 16)
        assert read_photo(image).getpixel((0, 0)) == (200, 200, 200)
        return
    image = Image.new("LAB", (4, 4), (255, 128, 128)) if mode == "LAB" else Image.new("RGB", (4, 4), "white").convert(mode)
    assert min(read_photo(image).getpixel((0, 0))) >= 253


def test_bilevel_tiff():
    image = Image.new("1", (16, 16), 1)
    image.putpixel((0, 0), 0)
    result = read_photo(image_files.encoded(image, "TIFF", compression="group4"))
    assert result.getpixel((0, 0)) == (0, 0, 0) and result.getpixel((8, 8)) == (255, 255, 255)


def test_first_frame_counts():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for format in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = image_files.encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert read_photo(data).getpixel((10, 5)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 2)])
def test_odd_sizes(size):
    for format in ("PNG", "JPEG"):
        for min_side in (None, 1, 448):
            image = read_photo(image_files.encoded(Image.new("RGB", size, "red"), format), min_side=min_side)
            assert image.size == size or (min_side == 1 and min(image.size) == 1)
