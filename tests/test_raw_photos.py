"""HEIC and RAW: missing packages, and previews or developed pictures of RAW files."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import image_files
from beholder.photos import read_photo
from image_files import difference, pixels, reason

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
GOOD = image_files.good_files()


def test_missing_packages_are_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    assert "pillow-heif" in reason(heic) and "pip install 'beholder[photo]'" in reason(heic)
    raw = image_files.dng(image_files.picture(), preview=GOOD["baseline.jpg"])
    (tmp_path / "a.nef").write_bytes(GOOD["plain.tif"])
    for photo in (raw, tmp_path / "a.nef"):
        assert "rawpy" in reason(photo) and "pip install 'beholder[photo]'" in reason(photo)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_raw_uses_the_preview(orientation):
    pytest.importorskip("rawpy")
    upright = image_files.picture(320, 240)
    stored, exif = image_files.turned(upright, orientation)
    previews = [image_files.encoded(stored, "JPEG", quality=92), image_files.encoded(stored, "JPEG", quality=92, exif=exif)]
    if orientation in (6, 8):  # an upright preview of a turned sensor shows by its shape
        previews.append(image_files.encoded(upright, "JPEG", quality=92))
    for preview in previews:
        image = read_photo(image_files.dng(stored, preview=preview, orientation=orientation))
        assert difference(image, upright) < 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("preview", ["none", "small", "broken"])
def test_raw_is_developed_without_a_good_preview(orientation, preview):
    pytest.importorskip("rawpy")
    upright = image_files.picture(320, 240)
    stored, _ = image_files.turned(upright, orientation)
    small = image_files.encoded(stored.resize((32, 24)), "JPEG")
    data = image_files.dng(stored, preview={"none": None, "small": small, "broken": small}[preview], orientation=orientation)
    if preview == "broken":
        data = data[: -len(small) // 2]
    image = read_photo(data, min_side=100)
    assert image.size == (160, 120)  # half size is enough
    expected = upright.resize(image.size)
    for band in range(2):  # linear light and another white balance, but the same picture
        assert np.corrcoef(pixels(image)[..., band].ravel(), pixels(expected)[..., band].ravel())[0, 1] > 0.8
    assert read_photo(data, min_side=200).size == (320, 240)


def test_raw_by_its_content_or_its_suffix(tmp_path):
    pytest.importorskip("rawpy")
    picture = image_files.picture(320, 240)
    data = image_files.dng(picture, preview=None)
    for name in ("a.dng", "a.DNG", "a.tif", "a"):
        (tmp_path / name).write_bytes(data)
        assert read_photo(tmp_path / name).size == (320, 240)
    (tmp_path / "b.dng").write_bytes(GOOD["baseline.jpg"])
    assert difference(read_photo(tmp_path / "b.dng"), read_photo(GOOD["baseline.jpg"])) == 0
    (tmp_path / "c.nef").write_bytes(GOOD["plain.tif"])  # rather refused than its thumbnail shown as the photograph
    assert "cannot be decoded" in reason(tmp_path / "c.nef")
    assert "too large" in reason(data, max_pixels=1000)


class FakeRaw:
    """Stands for rawpy's open file: a given preview, a given sensor, and a record of how it was developed."""

    def __init__(self, *, preview, size, flip=0):
        width, height = size
        self.sizes = types.SimpleNamespace(width=width, height=height, raw_width=width + 8, raw_height=height + 8, flip=flip)
        self.preview, self.developed = preview, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def extract_thumb(self):
        if isinstance(self.preview, Exception):
            raise self.preview
        return types.SimpleNamespace(format=2 if isinstance(self.preview, np.ndarray) else 1, data=self.preview)

    def postprocess(self, **options):
        self.developed.append(options)
        step = 2 if options["half_size"] else 1
        return np.zeros((self.sizes.height // step, self.sizes.width // step, 3), np.uint8)


def fake_rawpy(monkeypatch, raw):
    def imread(file):
        if isinstance(raw, Exception):
            raise raw
        assert file.tell() == 0
        return raw

    module = types.SimpleNamespace(imread=imread, ThumbFormat=types.SimpleNamespace(JPEG=1, BITMAP=2))
    monkeypatch.setitem(sys.modules, "rawpy", module)


RAW_FILE = b"FUJIFILMCCD-RAW 0201" + bytes(100)


def test_raw_bitmap_preview_and_square_turns(monkeypatch):
    upright = image_files.picture(300, 200)
    stored, _ = image_files.turned(upright, 6)
    raw = FakeRaw(preview=np.asarray(stored), size=(200, 300), flip=6)
    fake_rawpy(monkeypatch, raw)
    assert read_photo(RAW_FILE).tobytes() == upright.tobytes()
    assert not raw.developed


@pytest.mark.parametrize(
    ("min_side", "half", "size"),
    [(None, True, (3000, 2000)), (448, True, (750, 500)), (2000, True, (3000, 2000)), (2001, False, (6000, 4000))],
)
def test_raw_is_developed_as_large_as_needed(monkeypatch, min_side, half, size):
    raw = FakeRaw(preview=RuntimeError("no thumbnail"), size=(6000, 4000))
    fake_rawpy(monkeypatch, raw)
    assert read_photo(RAW_FILE, min_side=min_side).size == size
    assert [options["half_size"] for options in raw.developed] == [half]


def test_raw_errors_are_reasons(monkeypatch):
    fake_rawpy(monkeypatch, RuntimeError(b"Unsupported file format or not RAW file"))
    assert "(Unsupported file format or not RAW file)" in reason(RAW_FILE)
