"""What is measured of an image: known answers, invariances, files of every kind, the cache, the reference photographs."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from PIL import Image

from beholder.critique.base import SECTIONS
from beholder.critique.measured import statistics
from beholder.critique.measured.colour import harmony
from beholder.critique.measured.statistics import ATTRIBUTES, locate, measure, measure_all, percentile, reference
from beholder.errors import BeholderError, UnreadableImage
from image_files import STORED, picture
from measured_scenes import SHIPPED, TEXTURES, disc, landscape, shipped, uniform

COLOURLESS = ("hue focus", "hue harmony")
OF_A_SUBJECT = ("thirds", "centring", "balance", "subject isolation")


def same(first: dict[str, float], second: dict[str, float]) -> bool:
    return list(first) == list(second) and np.array_equal(list(first.values()), list(second.values()), equal_nan=True)


def test_every_attribute_is_described():
    for name, attribute in ATTRIBUTES.items():
        assert attribute.name == name and attribute.section in SECTIONS
        assert attribute.how.endswith(".") and ". " not in attribute.how.replace("et al. ", "")
    assert list(measure(uniform(9))) == list(ATTRIBUTES)


@pytest.mark.parametrize(("value", "lightness"), [(0, 0), (255, 100), (119, 50.03)])
def test_uniform_images_have_lightness_and_nothing_else(value, lightness):
    found = measure(uniform(value))
    assert found["brightness"] == pytest.approx(lightness, abs=0.1)
    assert found["shadows"] == (value == 0) and found["highlights"] == (value == 255)
    for name in ("contrast", "tonal range", "colourfulness", "saturation", "warmth", "noise"):
        assert found[name] == pytest.approx(0, abs=1e-4), name
    assert found["simplicity"] == 1
    for name in ("sharpness", "blur", "symmetry", "horizon tilt", "horizon height", *COLOURLESS, *OF_A_SUBJECT):
        assert math.isnan(found[name]), name


def test_a_checkerboard():
    board = (np.indices((240, 240)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = measure(np.stack([board] * 3, axis=2))
    assert found["brightness"] == pytest.approx(50) and found["contrast"] == pytest.approx(50)
    assert found["shadows"] == found["highlights"] == 0.5
    assert found["tonal range"] == pytest.approx(100, abs=0.01)
    coarse = np.kron((np.indices((6, 6)).sum(axis=0) % 2 * 255), np.ones((40, 40))).astype(np.uint8)
    assert found["sharpness"] > measure(np.stack([coarse] * 3, axis=2))["sharpness"] + 0.5
    assert math.isnan(found["thirds"])  # nothing stands out


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 500), (500, 1), (2, 2), (3, 3), (4, 7), (8, 8), (47, 49), (5, 900)])
def test_images_of_any_size_are_measured_without_a_warning(shape):
    random = np.random.default_rng(0)
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        for image in (random.integers(0, 256, (*shape, 3)).astype(np.uint8), np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8)):
            found = measure(image)
            assert 0 <= found["brightness"] <= 100 + 1e-4 and not any(math.isinf(value) for value in found.values())
            place = locate(image)
            assert math.isnan(place.x) or 0 < place.x < 1
    assert math.isnan(found["thirds"])


def test_colours():
    def plain(*colour):
        return measure(np.full((60, 80, 3), colour, dtype=np.uint8))

    assert plain(255, 120, 20)["warmth"] > 40 and plain(30, 90, 255)["warmth"] < -40
    assert plain(255, 0, 0)["saturation"] == 1 and plain(0, 128, 0)["saturation"] == 1 and plain(200, 100, 100)["saturation"] == pytest.approx(0.5)
    assert plain(255, 0, 0)["hue focus"] == pytest.approx(1) and plain(255, 0, 0)["hue harmony"] == pytest.approx(1)
    opposite = np.zeros((60, 80, 3), dtype=np.uint8)
    opposite[:, :40], opposite[:, 40:] = (255, 0, 0), (0, 255, 255)
    found = measure(opposite)
    assert found["hue focus"] == pytest.approx(0, abs=0.02) and found["hue harmony"] == pytest.approx(1)


def test_harmony_of_one_two_three_and_all_hues():
    def at(*hues):
        return np.bincount(hues, minlength=360) / len(hues)

    assert harmony(at(200)) == 1 and harmony(at(10, 190)) == 1 and harmony(at(10, 100)) == 1
    assert harmony(at(0, 120, 240)) < 0.3
    assert harmony(np.full(360, 1 / 360)) == pytest.approx(0, abs=1e-9)


def test_what_an_edit_does():
    plain = shipped("coffee").astype(np.float64)

    def as_image(values):
        return values.clip(0, 255).astype(np.uint8)

    before = measure(as_image(plain))
    mean = plain.mean()
    blurred = np.asarray(Image.fromarray(as_image(plain)).resize((120, 80), Image.Resampling.BOX).resize((480, 320), Image.Resampling.BICUBIC))
    edits = {
        "brightness": plain * 1.3,
        "contrast": mean + 1.3 * (plain - mean),
        "colourfulness": plain.mean(axis=2, keepdims=True) + 1.5 * (plain - plain.mean(axis=2, keepdims=True)),
        "saturation": plain.mean(axis=2, keepdims=True) + 1.5 * (plain - plain.mean(axis=2, keepdims=True)),
        "warmth": plain * [1.1, 1.0, 0.8],
        "noise": plain + np.random.default_rng(0).normal(0, 12, (*plain.shape[:2], 1)),
        "highlights": plain * 2,
        "blur": blurred,
    }
    for name, edited in edits.items():
        assert measure(as_image(np.asarray(edited, dtype=np.float64)))[name] > before[name] * 1.05, name
    assert measure(blurred)["sharpness"] < before["sharpness"] - 0.3
    assert measure(as_image(plain * 0.2))["shadows"] > before["shadows"]


@pytest.mark.parametrize(("x", "y"), [(1 / 3, 1 / 3), (0.5, 0.5), (0.75, 0.6), (2 / 3, 2 / 3), (0.2, 0.5)])
@pytest.mark.parametrize("colour", [(220, 40, 30), (250, 250, 250), (20, 60, 160)])
def test_a_planted_disc_is_where_it_was_put(x, y, colour):
    image = disc(x, y, colour=colour)
    place, found = locate(image), measure(image)
    assert place.x == pytest.approx(x, abs=0.04) and place.y == pytest.approx(y, abs=0.04)
    left, top, right, bottom = place.box
    assert left < x < right and top < y < bottom and (right - left) * (bottom - top) < 0.15
    near = min(math.hypot(x - u, y - v) for u in (1 / 3, 2 / 3) for v in (1 / 3, 2 / 3)) / math.sqrt(2)
    assert found["thirds"] == pytest.approx(1 - 3 * near, abs=0.1)
    assert found["centring"] == pytest.approx(1 - 2 * math.hypot(x - 0.5, y - 0.5) / math.sqrt(2), abs=0.08)


def test_a_planted_object_is_found_in_photographs():
    hits = 0
    for name in ("grass", "gravel", "brick", "chelsea", "camera", "coffee"):
        for x, y in ((0.35, 0.4), (0.65, 0.6)):
            image = shipped(name).copy()
            rows, width = image.shape[:2]
            v, u = np.mgrid[0:rows, 0:width]
            image[(u - x * width) ** 2 + (v - y * rows) ** 2 < (0.09 * width) ** 2] = (30, 60, 230)
            place = locate(image)
            hits += math.hypot(place.x - x, place.y - y) < 0.1
    assert hits >= 10  # of 12


@pytest.mark.parametrize("name", TEXTURES)
def test_nothing_stands_out_of_a_texture(name):
    found = measure(shipped(name))
    assert all(math.isnan(found[attribute]) for attribute in OF_A_SUBJECT)


def test_balance_symmetry_and_isolation():
    assert measure(disc(0.5, 0.5))["balance"] > 0.8 > 0.4 > measure(disc(0.2, 0.5))["balance"]
    half = shipped("astronaut")[:, :240]
    assert measure(np.ascontiguousarray(np.concatenate([half, half[:, ::-1]], axis=1)))["symmetry"] == pytest.approx(1, abs=1e-6)
    negative = np.concatenate([half, 255 - half[:, ::-1]], axis=1)
    assert measure(np.ascontiguousarray(negative))["symmetry"] < -0.3
    crisp = disc(0.5, 0.5, radius=0.15)
    soft = np.asarray(Image.fromarray(crisp).resize((60, 45), Image.Resampling.BOX).resize((480, 360), Image.Resampling.BICUBIC)).copy()
    region = np.hypot(*np.meshgrid((np.arange(480) - 240) / 80, (np.arange(360) - 180) / 80)) < 1
    stripes = np.where(np.arange(480) // 2 % 2, 40, 0)[None, :, None]
    soft[region] = (soft + stripes).clip(0, 255).astype(np.uint8)[region]
    assert measure(soft)["subject isolation"] > measure(crisp)["subject isolation"] + 1


def test_a_mirror_image_measures_the_same():
    for scene in (shipped("chelsea"), landscape(3, 0.45)):
        plain, mirrored = measure(scene), measure(np.ascontiguousarray(scene[:, ::-1]))
        for name in set(ATTRIBUTES) - {"horizon tilt"}:
            close = pytest.approx(plain[name], abs=0.03 * max(1, abs(plain[name])), nan_ok=True)
            assert mirrored[name] == close, name


@pytest.mark.parametrize("name", SHIPPED)
def test_size_hardly_matters_where_it_should_not(name):
    image = shipped(name)
    half = np.asarray(Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2), Image.Resampling.BOX))
    twice = np.asarray(Image.fromarray(image).resize((image.shape[1] * 2, image.shape[0] * 2), Image.Resampling.BICUBIC))
    plain, small, large = measure(image), measure(half), measure(twice)
    tolerance = {"brightness": 0.5, "contrast": 1.5, "warmth": 0.5, "colourfulness": 2, "saturation": 0.02, "hue focus": 0.03, "symmetry": 0.05}
    for attribute, most in tolerance.items():
        assert small[attribute] == pytest.approx(plain[attribute], abs=most, nan_ok=True), attribute
        assert large[attribute] == pytest.approx(plain[attribute], abs=most, nan_ok=True), attribute
    assert large["sharpness"] == pytest.approx(plain["sharpness"], abs=0.5)  # both are measured at the same size
    assert large["blur"] == pytest.approx(plain["blur"], abs=0.08)


def test_files_are_measured_as_people_see_them(tmp_path):
    upright = picture(96, 64)
    expected = measure(np.asarray(upright))
    for orientation, turn in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        (upright if turn is None else upright.transpose(turn)).save(tmp_path / f"{orientation}.png", exif=exif)
        assert same(measure(tmp_path / f"{orientation}.png"), expected), orientation
    clear = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert measure(tmp_path / "clear.png")["brightness"] == pytest.approx(100, abs=0.01)
    upright.convert("L").save(tmp_path / "grey.png")
    grey = measure(tmp_path / "grey.png")
    assert grey["saturation"] == 0 and math.isnan(grey["hue focus"]) and grey["warmth"] == pytest.approx(0, abs=1e-4)
    wide = Image.fromarray(landscape(0, 0.5)).resize((3000, 300))
    wide.save(tmp_path / "wide.jpg", quality=95)
    panorama = measure(tmp_path / "wide.jpg")
    assert panorama["brightness"] == pytest.approx(measure(landscape(0, 0.5))["brightness"], abs=1)


def test_many_images_are_measured_as_one_and_kept(tmp_path, monkeypatch):
    paths = [tmp_path / f"{seed}.png" for seed in range(4)]
    for seed, path in enumerate(paths):
        Image.fromarray(landscape(seed, 0.5, size=(120, 90), seed=seed)).save(path)
    single = [measure(np.asarray(Image.open(path))) for path in paths]
    told = []
    plain = measure_all(paths, progress=lambda *state: told.append(state))
    assert told[0][:2] == (0, 4) and told[-1][:2] == (4, 4)
    for i, row in enumerate(single):
        assert same({name: values[i] for name, values in plain.items()}, row)
    monkeypatch.setattr(statistics, "_look", None)  # measuring again would fail
    renamed = tmp_path / "another name.png"
    renamed.write_bytes(paths[1].read_bytes())
    kept = measure_all([*paths, renamed])
    for name, values in plain.items():
        assert np.array_equal(kept[name][:4], values, equal_nan=True)
        assert np.array_equal(kept[name][4], values[1], equal_nan=True)
    monkeypatch.setattr(statistics, "VERSION", "another")
    with pytest.raises(TypeError):
        measure_all(paths)


def test_a_damaged_cache_is_made_again(tmp_path, own_folders):
    path = tmp_path / "a.png"
    Image.fromarray(landscape(0, 0.5, size=(120, 90))).save(path)
    plain = measure_all([path])
    file = own_folders / "cache" / "measured" / statistics.FILE
    for ending in ("-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    file.write_bytes(b"no database" * 500)
    with pytest.warns(UserWarning, match="damaged"):
        again = measure_all([path])
    assert all(np.array_equal(again[name], plain[name], equal_nan=True) for name in plain)
    statistics._Kept()._table.write("UPDATE measured SET numbers = ?", [(b"short",)])
    once_more = measure_all([path])
    assert all(np.array_equal(once_more[name], plain[name], equal_nan=True) for name in plain)


def test_what_was_measured_before_a_bad_file_is_kept(tmp_path, monkeypatch):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(uniform(90)).save(good)
    bad.write_bytes(b"nothing like an image, but long enough to look at it")
    with pytest.raises(UnreadableImage):
        measure_all([good, bad])
    monkeypatch.setattr(statistics, "measure", None)
    assert measure_all([good])["contrast"][0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(array):
    with pytest.raises(BeholderError, match="is no image"):
        measure(array)


def test_the_reference_belongs_to_these_measures():
    known = reference()
    assert known["version"] == statistics.VERSION and known["side"] == statistics.SIDE
    assert list(known["attributes"]) == list(ATTRIBUTES) and known["images"] == 657
    for name, row in known["attributes"].items():
        assert len(row["quantiles"]) == 101 and np.all(np.diff(row["quantiles"]) >= 0), name
        assert row["sd"] > 0 and row["quantiles"][0] <= row["mean"] <= row["quantiles"][-1] and 0 <= row["nan"] <= 1, name


def test_percentiles():
    quantiles = reference()["attributes"]["brightness"]["quantiles"]
    assert percentile("brightness", quantiles[30]) == pytest.approx(30)
    assert percentile("brightness", (quantiles[30] + quantiles[31]) / 2) == pytest.approx(30.5)
    assert percentile("brightness", -1) == 0 and percentile("brightness", 101) == 100
    assert math.isnan(percentile("brightness", math.nan))
    none = reference()["attributes"]["highlights"]["quantiles"].count(0.0)
    assert none > 5 and percentile("highlights", 0.0) == pytest.approx((none - 1) / 2)  # those with equally much count half
    values = [percentile("brightness", value) for value in np.linspace(0, 100, 300)]
    assert np.all(np.diff(values) >= 0)
    with pytest.raises(KeyError):
        percentile("beauty", 0.5)


def test_what_was_measured_in_a_file_is_kept_with_its_places(tmp_path, monkeypatch):
    path = tmp_path / "scene.png"
    Image.fromarray(landscape(3, 0.45)).save(path)
    values, where = statistics.measure_and_locate(path)
    plain_values, plain_where = statistics.measure_and_locate(np.asarray(Image.open(path)))
    assert values == pytest.approx(plain_values, nan_ok=True) and where == plain_where
    assert where.horizon_tilt == values["horizon tilt"] == pytest.approx(3, abs=0.5)
    monkeypatch.setattr(statistics, "_look", None)  # nothing is computed again, whatever the file is called
    again = path.rename(tmp_path / "other.png")
    assert statistics.measure_and_locate(again) == (values, where)
    assert statistics.measure_all([again])["brightness"][0] == values["brightness"]
