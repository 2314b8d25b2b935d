"""Reading one image: its size, its sources, and a clear reason for everything that cannot be read."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

import image_files
from beholder.errors import BeholderError, UnreadableImage
from beholder.photos import content_hash, kind_of, read_photo, same_content
from image_files import difference, reason

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
GOOD = image_files.good_files()


# min_side


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "MPO"])
@pytest.mark.parametrize("min_side", [1, 50, 224, 448, 449, 899, 900, 901, 5000])
def test_min_side_bounds_the_size(format, min_side):
    data = GOOD_LARGE[format]
    image = read_photo(data, min_side=min_side)
    if min_side > 900:
        assert image.size == (1350, 900)
    else:
        assert min_side <= min(image.size) <= 2 * min_side
        assert abs(image.width / image.height - 1.5) <= 2 / image.height
    assert image.tobytes() == read_photo(data, min_side=min_side).tobytes()


GOOD_LARGE = {format: image_files.encoded(image_files.picture(1350, 900), format, quality=92) for format in ("JPEG", "PNG", "TIFF", "MPO")}


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_small_result_shows_the_same_picture(format, orientation):
    stored, exif = image_files.turned(image_files.picture(1350, 900), orientation)
    image = read_photo(image_files.encoded(stored, format, exif=exif, quality=92), min_side=100)
    assert image.width > image.height
    assert difference(image, image_files.picture(1350, 900).resize(image.size, Image.Resampling.BOX)) < 2


def test_min_side_must_be_positive():
    for min_side in (0, -5):
        with pytest.raises(BeholderError, match="min_side"):
            read_photo(GOOD["rgb.png"], min_side=min_side)


# Pillow images, paths, bytes


def test_pillow_image_is_normalised_and_left_alone():
    stored, exif = image_files.turned(image_files.picture(), 6)
    stored.info.update(icc_profile=image_files.icc_profile(), note="kept")
    stored.getexif().update(exif)
    before = stored.copy()
    result = read_photo(stored)
    assert result.size == image_files.picture().size
    assert stored.size == before.size and stored.info.keys() == before.info.keys() and stored.tobytes() == before.tobytes()
    plain = image_files.picture()
    copy = read_photo(plain)
    copy.putpixel((0, 0), (1, 2, 3))
    assert plain.tobytes() == image_files.picture().tobytes()
    with Image.open(io.BytesIO(GOOD["animated.gif"])) as opened:
        opened.seek(1)
        assert difference(read_photo(opened), image_files.picture().rotate(180)) < 6
    with Image.open(io.BytesIO(GOOD["baseline.jpg"][:-500])) as cut:
        assert "cut off" in reason(cut)


def test_result_holds_no_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(GOOD["rgb.png"])
    image = read_photo(path)
    assert type(image) is Image.Image and not hasattr(image, "fp")
    path.unlink()
    assert pickle.loads(pickle.dumps(image)).tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "name", ["with blank.jpg", "smile \N{GRINNING FACE}.jpg", os.fsdecode(b"caf\xe9.jpg"), "wrong.png", "no_suffix", "JPEG.TXT"]
)
def test_names_do_not_matter(tmp_path, name):
    path = tmp_path / name
    try:
        path.write_bytes(GOOD["baseline.jpg"])
    except OSError:
        pytest.skip("this file system does not take such a name")
    expected = read_photo(GOOD["baseline.jpg"]).tobytes()
    for given_path in (path, str(path)):
        assert read_photo(given_path).tobytes() == expected
        assert content_hash(given_path) == content_hash(GOOD["baseline.jpg"])


def test_many_threads_give_the_same_pictures():
    swapped = image_files.icc_profile((image_files.SRGB[1], image_files.SRGB[0], image_files.SRGB[2]))
    files = [*GOOD.values(), image_files.encoded(image_files.picture(), "PNG", icc_profile=swapped)]
    expected = [read_photo(data, min_side=20).tobytes() for data in files]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda data: read_photo(data, min_side=20).tobytes(), files * 8))
    assert results == expected * 8


def test_importing_is_light():
    heavy = ("torch", "rawpy", "pillow_heif", "PIL.ImageCms", "PIL.TiffImagePlugin", "PIL.AvifImagePlugin")
    code = f"import sys, beholder.photos, beholder.folders; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# What cannot be read


def test_bad_files_have_reasons(tmp_path):
    expected = {
        "empty.jpg": "is empty (0 bytes): copy it again",
        "text.jpg": "is text, not an image",
        "page.jpg": "is a web page",
        "zeros.jpg": "holds only zero bytes",
        "cut.jpg": "is cut off",
        "cut.png": "is cut off",
        "header.jpg": "",
        "bomb.png": "is too large (30000 x 30000 = 900 megapixels, more than the limit of 300): make it smaller",
    }
    files = image_files.bad_files()
    assert files.keys() == expected.keys()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImage) as caught:
            read_photo(tmp_path / name)
        assert caught.value.reason.startswith(expected[name])
        assert caught.value.path == str(tmp_path / name)
        assert "\n" not in str(caught.value) and ": " in caught.value.reason and caught.value.reason[0].islower()


@pytest.mark.parametrize("name", GOOD)
def test_cut_file_is_refused_or_complete(name):
    """Wherever a file is cut: never a picture that is partly grey."""
    data = GOOD[name]
    whole = read_photo(data).tobytes()
    cuts = {1, 2, 3, 4, 7, 11, 20, 50, *range(100, len(data), max(1, len(data) // 40)), *range(len(data) - 5, len(data))}
    for cut in sorted(cuts):
        try:
            image = read_photo(data[:cut])
        except UnreadableImage:
            continue
        assert image.tobytes() == whole


@pytest.mark.parametrize("min_side", [None, 100])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_cut_jpeg_is_refused(share, progressive, min_side):
    data = image_files.encoded(image_files.picture(600, 400), "JPEG", quality=90, progressive=progressive)
    kept = int(len(data) * share)
    assert "cut off" in reason(data[:kept], min_side=min_side)
    assert reason(data[:kept] + bytes(len(data) - kept), min_side=min_side)  # an interrupted copy, filled with zeros


def test_cut_heic_is_refused():
    pytest.importorskip("pillow_heif")
    data = image_files.encoded(image_files.picture(), "HEIF", quality=90)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert reason(data[: int(len(data) * share)])


def test_bomb_is_refused_from_its_header_whatever_pillow_allows(recwarn):
    assert Image.MAX_IMAGE_PIXELS == 89_478_485 and not ImageFile.LOAD_TRUNCATED_IMAGES
    assert "too large" in reason(image_files.png_header(30_000, 30_000))
    assert "too large" in reason(image_files.png_header(2**31 - 1, 2**31 - 1))
    assert "cut off" in reason(image_files.png_header(1000, 1000), max_pixels=10**6)  # below the limit: decoded
    assert "too large" in reason(GOOD["baseline.jpg"], max_pixels=1000, min_side=8)
    assert "too large" in reason(image_files.picture(), max_pixels=1000)
    assert read_photo(GOOD["rgb.png"], max_pixels=96 * 64).size == (96, 64)
    wide = image_files.encoded(Image.new("1", (20_000, 10_000)), "PNG")  # 200 megapixels: Pillow alone would refuse
    assert read_photo(wide, min_side=100).size == (200, 100)
    assert not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_things_that_are_no_files(tmp_path):
    assert "does not exist" in reason(tmp_path / "none.jpg")
    assert "folder" in reason(tmp_path)
    (tmp_path / "x.jpg").mkdir()
    assert "folder" in reason(tmp_path / "x.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "none.jpg")
    assert "link" in reason(tmp_path / "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert reason(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "pipe" in reason(tmp_path / "pipe.jpg")
    assert "not a path" in reason("a\0b.jpg")
    assert "no pixels" in reason(Image.new("RGB", (0, 5)))
    with pytest.raises(UnreadableImage):
        content_hash(tmp_path)


@pytest.mark.parametrize(
    ("start", "words"),
    [(b"8BPS\0\x01", "Photoshop"), (b"\xff\x0a\xfa\x7f", "JPEG XL"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
     (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
     (b"%PDF-1.7", "PDF"), (b"\n<html>", "web page"), (b"PK\x03\x04", "ZIP"),
     (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
     (b"\0\0\0\x20ftypisom\0\0\0\0", "video"), (b"\x7fELF\x02\x01", "no image"), (b"BM is short for Bloemfontein,", "text")],
)  # fmt: skip
def test_other_files_are_recognised(start, words):
    assert words in reason(start + b"\x01\x02" * (words != "text") + b" some more of it" * 40)


def test_kinds():
    kinds = {"jpg": "JPEG", "mpo": "JPEG", "png": "PNG", "gif": "GIF", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP", "avif": "AVIF"}
    for name, data in GOOD.items():
        assert kind_of(data[:32]) == kinds[name.partition(".")[2]]
    assert kind_of(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic") == "HEIF"
    assert kind_of(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "AVIF"
    assert kind_of(b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom") == "RAW"
    assert kind_of(b"") is None


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(5, "Input/output error"), RecursionError("deep"), ValueError("odd\n  thing " * 50)]
)
def test_whatever_a_decoder_raises_becomes_a_reason(monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    text = reason(GOOD["rgb.png"])
    assert len(text) < 300 and "\n" not in text and ": " in text


def test_interruption_is_not_swallowed(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_photo(GOOD["rgb.png"])


def test_permission_denied_has_a_reason(tmp_path, monkeypatch):
    import builtins

    path = tmp_path / "a.jpg"
    path.write_bytes(GOOD["baseline.jpg"])
    real = builtins.open

    def refuse(name, *args, **kwargs):
        if name == str(path):
            raise PermissionError(13, "Permission denied", name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    assert "permission denied" in reason(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(GOOD)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
    early=st.booleans(),
    min_side=st.sampled_from([None, 16]),
)
def test_damaged_files_are_read_or_refused(name, flips, share, early, min_side):
    data = bytearray(GOOD[name])
    for place, value in flips:
        data[int(place * (min(200, len(data)) if early else len(data)))] = value  # half of the damage hits the header
    try:
        image = read_photo(bytes(data[: int(len(data) * share)]), min_side=min_side, max_pixels=1_000_000)
    except UnreadableImage as error:
        assert error.reason
    else:
        assert image.mode == "RGB" and 1 <= image.width * image.height <= 1_000_000


# Content


def test_content_hash(tmp_path):
    digest = content_hash(b"abc")
    assert digest == "cf4ab791c62b8d2b2109c90275287816" and len(digest) == 32
    (tmp_path / "a").write_bytes(b"abc")
    assert content_hash(tmp_path / "a") == digest
    big = os.urandom(3_000_000)
    (tmp_path / "b").write_bytes(big)
    assert content_hash(str(tmp_path / "b")) == content_hash(big)
    assert content_hash(b"") != digest
    with pytest.raises(UnreadableImage, match="does not exist"):
        content_hash(tmp_path / "none")


def test_same_content(tmp_path):
    for name, data in {"a": b"one", "b": b"two", "c": b"one", "d": b"three", "e": b"one", "f": b"three"}.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in "abcdef"]
    groups = same_content([*paths, tmp_path / "none", tmp_path, paths[0]])
    assert groups == [[str(tmp_path / name) for name in "ace"], [str(tmp_path / name) for name in "df"]]
