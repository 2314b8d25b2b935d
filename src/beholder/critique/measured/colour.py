"""Measures of colour, and the conversion to CIE L*a*b* that all the others use."""

from __future__ import annotations

import numpy as np

GREY_CHROMA = 0.02  # mean of (max - min) / 255 below which an image has no hue worth speaking of
SECTORS = {  # of Cohen-Or et al. 2006, figure 3: (centre, width) of each sector, degrees; without N (no hue at all)
    "i": ((0, 18),),
    "V": ((0, 93.6),),
    "L": ((0, 18), (90, 79.2)),
    "I": ((0, 18), (180, 18)),
    "T": ((0, 180),),
    "Y": ((0, 93.6), (180, 18)),
    "X": ((0, 93.6), (180, 93.6)),
}

_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)  # white, and every grey, has a* = b* = 0 exactly
_CODES = np.arange(256) / 255
_LINEAR = np.where(_CODES > 0.04045, ((_CODES + 0.055) / 1.055) ** 2.4, _CODES / 12.92).astype(np.float32)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB.

    Args:
        rgb: [h, w, 3] uint8.

    Returns:
        [h, w, 3] float32: L* 0 (black) to 100 (white); a* from green to red and b* from blue to yellow, about -100 to 100.
    """
    xyz = _LINEAR[rgb] @ _TO_XYZ.T.astype(np.float32)
    curve = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    x, y, z = np.moveaxis(curve, 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)


def colour(rgb: np.ndarray, lab_pixels: np.ndarray) -> dict[str, float]:
    """The attributes of colour of [h, w, 3] uint8 pixels and the same in L*a*b*; the two of hue are nan for an image without colour.

    colourfulness: M of Hasler & Suesstrunk 2003 (equation 4), on 0 to 255. saturation: the HSV saturation of the pixels, weighted with their
    value, as that of dark pixels is noise. warmth: mean b*. hue focus: length of the mean of unit vectors in the direction of the hue, weighted
    with chroma. hue harmony: ours, from the distance F of Cohen-Or et al. 2006 (section 4) of the hues to the best of their templates, see `harmony`.
    """
    values = rgb.astype(np.float32)
    red, green, blue = np.moveaxis(values, 2, 0)
    opponent = red - green, (red + green) / 2 - blue
    spread, offset = (np.hypot(*(float(getattr(x, of)(dtype=np.float64)) for x in opponent)) for of in ("std", "mean"))
    high = values.max(axis=2)
    chroma = high - values.min(axis=2)
    total, light = float(chroma.sum(dtype=np.float64)), float(high.sum(dtype=np.float64))
    found = {
        "colourfulness": float(spread + 0.3 * offset),
        "saturation": total / light if light > 0 else 0.0,
        "warmth": float(lab_pixels[..., 2].mean(dtype=np.float64)),
        "hue focus": float("nan"),
        "hue harmony": float("nan"),
    }
    if total / chroma.size >= 255 * GREY_CHROMA:
        histogram = hue_histogram(values, high, chroma)
        angles = np.deg2rad(np.arange(360) + 0.5)
        found["hue focus"] = float(np.hypot(histogram @ np.cos(angles), histogram @ np.sin(angles)))
        found["hue harmony"] = harmony(histogram)
    return found


def hue_histogram(values: np.ndarray, high: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """[360] share of all chroma (max - min) in each degree of HSV hue, of [h, w, 3] float pixels, their maximum and their chroma."""
    red, green, blue = np.moveaxis(values, 2, 0)
    safe = np.where(chroma > 0, chroma, 1)
    sixth = np.where(high == red, ((green - blue) / safe) % 6, np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    bins = (60 * sixth).astype(np.int64) % 360
    counts = np.bincount(bins.ravel(), weights=chroma.ravel().astype(np.float64), minlength=360)
    return counts / counts.sum()


def harmony(histogram: np.ndarray) -> float:
    """1 - d / d0, at least 0, of [360] shares of colour: d is the mean distance (degrees) of the colours to the nearest sector of the template
    that fits best in its best rotation, d0 the same of colours spread evenly over the wheel.

    1: all colours lie in one template; 0: no better than all hues alike.
    """
    spectrum = np.conj(np.fft.rfft(histogram))
    distances = _template_distances()
    best = np.fft.irfft(np.fft.rfft(distances, axis=1) * spectrum, n=360, axis=1).min()
    return float(np.clip(1 - best / distances.mean(axis=1).min(), 0, 1))


def _template_distances() -> np.ndarray:
    """[7, 360] degrees from each hue to the nearest sector of each template, not rotated."""
    hues = np.arange(360) + 0.5
    rows = []
    for sectors in SECTORS.values():
        away = [np.maximum(np.abs((hues - centre + 180) % 360 - 180) - width / 2, 0) for centre, width in sectors]
        rows.append(np.min(away, axis=0))
    return np.array(rows)
