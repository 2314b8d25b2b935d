"""Each measure that scikit-image or OpenCV also has, or that can be written down in another way, agrees with it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.color import rgb2gray, rgb2hsv, rgb2lab
from skimage.feature import canny
from skimage.filters import sobel_h, sobel_v
from skimage.measure import blur_effect
from skimage.restoration import estimate_sigma
from skimage.transform import hough_line, hough_line_peaks

from beholder.critique.measured import statistics
from beholder.critique.measured.colour import SECTORS, harmony, lab
from beholder.critique.measured.focus import grey
from beholder.critique.measured.horizon import horizon
from measured_scenes import SHIPPED, disc, landscape, shipped

PICTURES = {
    **{name: shipped(name) for name in SHIPPED},
    "landscape": landscape(3, 0.4),
    "disc": disc(0.3, 0.4),
    "noise": np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8),
}


@pytest.fixture(params=PICTURES)
def pixels(request):
    return PICTURES[request.param]


def test_lab_is_that_of_scikit_image_and_opencv(pixels):
    ours = lab(pixels)
    assert np.abs(ours - rgb2lab(pixels)).max() < 0.05
    assert np.abs(ours - cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)).mean() < 0.3


def test_light_and_warmth_follow_from_lab(pixels):
    found, expected = statistics.measure(pixels), rgb2lab(pixels)
    lightness = expected[..., 0]
    assert found["brightness"] == pytest.approx(lightness.mean(), abs=0.02)
    assert found["contrast"] == pytest.approx(lightness.std(), abs=0.02)
    assert found["tonal range"] == pytest.approx(np.subtract(*np.percentile(lightness, [99, 1])), abs=0.05)
    assert found["warmth"] == pytest.approx(expected[..., 2].mean(), abs=0.05)
    assert found["shadows"] == pytest.approx((lightness < 3).mean(), abs=1e-3)
    assert found["highlights"] == pytest.approx((lightness > 98).mean(), abs=1e-3)


def test_colourfulness_is_the_published_formula(pixels):
    red, green, blue = np.moveaxis(pixels.astype(np.float64), 2, 0)
    rg, yb = red - green, 0.5 * (red + green) - blue
    expected = np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert statistics.measure(pixels)["colourfulness"] == pytest.approx(expected, abs=1e-3)


def test_saturation_and_hue_follow_from_hsv(pixels):
    found, (hue, saturation, value) = statistics.measure(pixels), np.moveaxis(rgb2hsv(pixels), 2, 0)
    chroma = saturation * value
    assert found["saturation"] == pytest.approx(chroma.sum() / value.sum(), abs=1e-5)
    if chroma.mean() < 0.02:
        assert np.isnan(found["hue focus"])
    else:
        resultant = np.abs((chroma * np.exp(2j * np.pi * hue)).sum()) / chroma.sum()
        assert found["hue focus"] == pytest.approx(resultant, abs=0.005)  # ours has bins of one degree


def test_sharpness_is_the_variance_of_opencvs_laplacian(pixels):
    luma = 255 * rgb2gray(pixels)
    assert np.abs(grey(pixels) - luma).max() < 0.01
    assert statistics.measure(pixels)["sharpness"] == pytest.approx(np.log10(cv2.Laplacian(luma, cv2.CV_64F, ksize=1).var() + 0.01), abs=1e-4)


def test_blur_is_that_of_scikit_image(pixels):
    for picture in (pixels, cv2.GaussianBlur(pixels, (0, 0), 2)):
        assert statistics.measure(picture)["blur"] == pytest.approx(blur_effect(rgb2gray(picture)), abs=2e-3)


def test_noise_is_that_of_scikit_image(pixels):
    expected = estimate_sigma(255 * rgb2gray(pixels))
    assert statistics.measure(pixels)["noise"] == pytest.approx(expected, rel=0.1, abs=0.05)


@pytest.mark.parametrize("sigma", [2, 5, 10, 20])
def test_noise_finds_the_planted_amount(sigma):
    smooth = np.asarray(np.linspace(60, 190, 300)[None, :, None] + np.zeros((220, 1, 3)))
    noise = np.random.default_rng(sigma).normal(0, sigma, (220, 300, 1))
    assert statistics.measure((smooth + noise).clip(0, 255).astype(np.uint8))["noise"] == pytest.approx(sigma, rel=0.06)


def test_simplicity_counts_the_edges_of_scikit_images_sobel(pixels):
    lightness = rgb2lab(pixels)[..., 0]
    slope = np.hypot(sobel_h(lightness), sobel_v(lightness)) / 2  # L* per pixel
    assert statistics.measure(pixels)["simplicity"] == pytest.approx((slope < 5).mean(), abs=0.01)


def test_symmetry_is_the_correlation_with_the_flipped_picture(pixels):
    lightness = rgb2lab(pixels)[..., 0]
    expected = np.corrcoef(lightness.ravel(), np.fliplr(lightness).ravel())[0, 1]
    assert statistics.measure(pixels)["symmetry"] == pytest.approx(expected, abs=1e-3)


def test_harmony_is_what_trying_every_template_and_rotation_gives():
    random = np.random.default_rng(1)
    for _ in range(4):
        histogram = random.gamma(0.05, size=360)
        histogram /= histogram.sum()
        even = np.full(360, 1 / 360)
        expected = 1 - _best_distance(histogram) / _best_distance(even)
        assert harmony(histogram) == pytest.approx(max(0, expected), abs=1e-9)


def _best_distance(histogram: np.ndarray) -> float:
    hues = np.flatnonzero(histogram)
    found = []
    for sectors in SECTORS.values():
        for turn in range(360):
            away = [np.maximum(np.abs((hues + 0.5 - turn - centre + 180) % 360 - 180) - width / 2, 0) for centre, width in sectors]
            found.append(histogram[hues] @ np.minimum.reduce(away))
    return min(found)


@pytest.mark.parametrize("tilt", [-8.0, -1.5, 4.0, 12.0])
def test_the_horizon_is_where_the_hough_transform_sees_the_longest_line(tilt):
    scene = landscape(tilt, 0.5, trees=0)
    edges = canny(rgb2gray(scene), sigma=3)
    accumulator, angles, distances = hough_line(edges, theta=np.deg2rad(np.arange(65, 115.01, 0.1)))
    _, (angle,), _ = hough_line_peaks(accumulator, angles, distances, num_peaks=1)
    assert horizon(lab(scene)).tilt == pytest.approx(np.rad2deg(angle) - 90, abs=0.4)
