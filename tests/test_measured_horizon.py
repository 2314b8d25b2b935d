"""The horizon: planted angles and heights are found, and where none is there nothing is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from beholder.critique.measured import statistics
from measured_scenes import SHIPPED, TEXTURES, disc, landscape, shipped, uniform


def test_planted_tilts_and_heights_are_found():
    random = np.random.default_rng(0)
    off = []
    for seed in range(16):
        tilt, height = random.uniform(-15, 15), random.uniform(0.35, 0.65)
        found = statistics.locate(landscape(tilt, height, seed=seed, trees=3))
        if not math.isnan(found.horizon_tilt):
            off.append((found.horizon_tilt - tilt, found.horizon_height - height))
    off = np.abs(off)
    assert len(off) >= 13
    assert np.median(off[:, 0]) < 0.1 and off[:, 0].max() < 0.5
    assert off[:, 1].max() < 0.01


def test_clockwise_is_positive_and_height_counts_from_below():
    found = statistics.measure(np.asarray(Image.fromarray(landscape(0, 0.3)).rotate(-5, fillcolor=(150, 180, 225)))[30:-30, 30:-30])  # clockwise
    assert found["horizon tilt"] == pytest.approx(5, abs=0.3)
    assert found["horizon height"] < 0.4
    level = statistics.measure(landscape(0, 0.7))
    assert level["horizon tilt"] == pytest.approx(0, abs=0.1) and level["horizon height"] == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("angle", [-10, -3, 6])
def test_turning_a_picture_turns_its_horizon(angle):
    scene = Image.fromarray(landscape(1.5, 0.5, size=(480, 400)))
    turned = scene.rotate(-angle, Image.Resampling.BICUBIC).crop((60, 60, 420, 340))
    before, after = (statistics.measure(np.asarray(picture))["horizon tilt"] for picture in (scene, turned))
    assert after - before == pytest.approx(angle, abs=0.3)


def test_a_mirror_image_tilts_the_other_way():
    scene = landscape(4, 0.5)
    plain, mirrored = statistics.locate(scene), statistics.locate(np.ascontiguousarray(scene[:, ::-1]))
    assert mirrored.horizon_tilt == pytest.approx(-plain.horizon_tilt, abs=0.15)
    assert mirrored.horizon_height == pytest.approx(plain.horizon_height, abs=0.005)


@pytest.mark.parametrize("name", [*SHIPPED, *TEXTURES])
def test_nothing_is_said_of_portraits_still_lifes_and_textures(name):
    picture = Image.fromarray(shipped(name))
    for angle in (0, 90, 7):
        turned = np.asarray(picture.rotate(angle))
        turned = turned[len(turned) // 8 : -len(turned) // 8, turned.shape[1] // 8 : -turned.shape[1] // 8]
        assert math.isnan(statistics.measure(np.ascontiguousarray(turned))["horizon tilt"])


def test_nothing_is_said_where_no_single_line_stands_out():
    stripes = np.repeat(np.where(np.arange(360) // 20 % 2, 200, 90).astype(np.uint8), 480).reshape(360, 480)
    ramp = np.repeat(np.linspace(220, 40, 360).astype(np.uint8), 480).reshape(360, 480)
    noise = np.random.default_rng(0).integers(0, 256, (360, 480)).astype(np.uint8)
    for flat in (stripes, ramp, noise):
        assert math.isnan(statistics.measure(np.stack([flat] * 3, axis=2))["horizon tilt"])
    for picture in (uniform(120), disc(0.5, 0.5), landscape(35, 0.5), landscape(0, 0.5)[::-1].copy(), landscape(0, 0.5).transpose(1, 0, 2).copy()):
        found = statistics.locate(picture)
        assert math.isnan(found.horizon_tilt) and math.isnan(found.horizon_height) and found.horizon_strength == 0


def test_a_jagged_ridge_is_no_horizon():
    ridge = landscape(0, 0.5, trees=0)
    for x in range(480):
        top = 180 - int(60 * abs(math.sin(x / 35)))
        ridge[top:180, x] = (60, 70, 50)
    assert math.isnan(statistics.measure(ridge)["horizon tilt"])
