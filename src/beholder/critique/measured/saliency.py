"""Where the eye goes first, as far as contrast tells: a map, and the region that stands out most. It knows no objects and no faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SIDE = 96  # pixels along the longer side of the map
LEAST_CONTRAST = 1.5  # standard deviation of colour (L*a*b* units) below which nothing stands out
_CLEAR = 0.7  # share of the map in the region x its distance from the colours of the border: less than this is a texture (most of them; set by eye)
_SCALES = ((1, 4), (2, 8), (3, 14), (4, 22))  # standard deviations of centre and surround, pixels of the map
_BLUR = 0.03  # standard deviation, share of the longer side, with which each map is blurred
_CUT = 0.6  # share of the pixels that are background: what stands out is measured from their highest value
_REGION = 0.45  # a pixel belongs to the region if it has this share of the map's peak


@dataclass(frozen=True)
class Salient:
    """What stands out.

    Args:
        map: [h, w] float, at the size of the map, sum 1.
        region: [h, w] bool, same size: the connected region with most of it.
        x, y: its centre, shares of width and height from the upper left.
        box: left, top, right, bottom, in the same shares.
    """

    map: np.ndarray
    region: np.ndarray
    x: float
    y: float
    box: tuple[float, float, float, float]

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """[h, w] bool of that shape: the region."""
        rows, columns = (np.arange(n) * length // n for n, length in zip(shape, self.region.shape, strict=True))
        return self.region[np.ix_(rows, columns)]


def salient(lab_pixels: np.ndarray) -> Salient | None:
    """What stands out of [h, w, 3] L*a*b* pixels; None if nothing does: no structure, a texture, fewer than 8 pixels a side.

    The geometric mean of three maps, each scaled to 0 to 1 and blurred, with more weight in the middle: spectral residual (Hou & Zhang 2007) of the
    three channels; centre-surround difference of colour over four scales (Itti, Koch & Niebur 1998, in L*a*b*); distance of the colour from those of
    the border (background prior, Wei et al. 2012, here the mean Mahalanobis distance from the nearest two of the four sides). Their combination, and the
    limit below which nothing stands out, are ours.
    """
    height, width = lab_pixels.shape[:2]
    if min(height, width) < 8:
        return None
    small = shrunk(lab_pixels, SIDE)
    if np.sqrt(small.reshape(-1, 3).var(axis=0).sum()) < LEAST_CONTRAST:
        return None
    joint, unlike = np.ones(small.shape[:2]), _from_border(small)
    for part in (_spectral_residual(small), _centre_surround(small), unlike):
        joint *= ndimage.gaussian_filter(_scaled(part), _BLUR * max(joint.shape), mode="nearest") + 0.1
    joint = np.cbrt(joint) * _middle(*joint.shape)
    joint = np.maximum(joint - np.quantile(joint, _CUT), 0)
    if not joint.sum() > 0:
        return None
    found = _region(joint / joint.sum())
    clear = float(found.map[found.region].sum() * unlike[found.region].mean())
    return found if clear >= _CLEAR else None


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """[h, w, c] -> the same with the longer side at most `side` pixels, as means over areas."""
    height, width = pixels.shape[:2]
    ratio = min(1.0, side / max(height, width))
    rows, columns = max(1, round(height * ratio)), max(1, round(width * ratio))
    for axis, n in ((0, rows), (1, columns)):
        length = pixels.shape[axis]
        if n < length:
            starts = np.arange(n) * length // n
            counts = np.diff([*starts, length]).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            pixels = np.add.reduceat(pixels, starts, axis=axis) / counts
    return np.asarray(pixels, dtype=np.float64)


def _spectral_residual(small: np.ndarray) -> np.ndarray:
    total = np.zeros(small.shape[:2])
    for channel in np.moveaxis(small, 2, 0):
        spectrum = np.fft.fft2(channel - channel.mean())
        size = np.log(np.abs(spectrum) + 1e-6)
        residual = size - ndimage.uniform_filter(size, 3, mode="wrap")
        back = np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))
        total += channel.std() * ndimage.gaussian_filter(np.abs(back) ** 2, 2.5, mode="nearest")
    return total


def _centre_surround(small: np.ndarray) -> np.ndarray:
    total = np.zeros(small.shape[:2])
    for centre, surround in _SCALES:
        near, far = (ndimage.gaussian_filter(small, (sigma, sigma, 0), mode="nearest") for sigma in (centre, surround))
        total += _scaled(np.sqrt(((near - far) ** 2).sum(axis=2)))
    return total


def _from_border(small: np.ndarray) -> np.ndarray:
    height, width = small.shape[:2]
    edge = max(2, round(0.06 * min(height, width)))
    smooth = ndimage.gaussian_filter(small, (1, 1, 0), mode="nearest")
    distances = []
    for side in (smooth[:edge], smooth[-edge:], smooth[:, :edge], smooth[:, -edge:]):
        colours = side.reshape(-1, 3)
        offset = smooth - colours.mean(axis=0)
        inverse = np.linalg.inv(np.cov(colours.T) + 9 * np.eye(3))  # at least 3 L*a*b* units of spread in every direction
        distances.append(np.sqrt(np.einsum("hwi,ij,hwj->hw", offset, inverse, offset)))
    return np.sort(distances, axis=0)[:2].mean(axis=0)


def _middle(height: int, width: int) -> np.ndarray:
    """[h, w] weight of the place: 1 in the middle, about a half at the edges (people look, and photographers aim, at the middle: Judd et al. 2009)."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    return 0.3 + 0.7 * np.exp(-(y[:, None] ** 2 + x**2) / (2 * 0.32**2))


def _scaled(values: np.ndarray) -> np.ndarray:
    """To 0 to 1, the highest percent cut off so that one pixel does not rule."""
    low, high = np.quantile(values, [0.02, 0.99])
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _region(share: np.ndarray) -> Salient:
    labels, n = ndimage.label(share >= _REGION * share.max())
    weights = ndimage.sum_labels(share, labels, np.arange(1, n + 1))
    region = labels == 1 + int(np.argmax(weights))
    height, width = share.shape
    y, x = ndimage.center_of_mass(share * region)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return Salient(share, region, float((x + 0.5) / width), float((y + 0.5) / height), tuple(float(v) for v in box))
