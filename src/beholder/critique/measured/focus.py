"""Measures of sharpness and noise. All depend on the size in pixels at which they are taken: `statistics.SIDE` says which."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FLAT = 0.5  # standard deviation of the grey levels (of 255) below which there is nothing that could be sharp
BLUR_LENGTH = 11  # pixels, as in Crete et al. 2007
_LUMA = np.array([0.2125, 0.7154, 0.0721], dtype=np.float32)
_DB2_HIGH = np.array([-0.48296291314469025, 0.836516303737469, -0.22414386804185735, -0.12940952255092145])  # Daubechies 1988, 4 taps
_MAD = 0.6744897501960817  # third quartile of the standard normal distribution


def grey(rgb: np.ndarray) -> np.ndarray:
    """[h, w, 3] uint8 -> [h, w] float32 luma, 0 to 255 (Rec. 709 weights)."""
    return rgb.astype(np.float32) @ _LUMA


def focus(luma: np.ndarray, salient: np.ndarray | None) -> dict[str, float]:
    """The attributes of focus; nan where the image has no structure, or is too small.

    sharpness: log10 of the variance of the Laplacian (Pech-Pacheco et al. 2000). blur: Crete et al. 2007, 0 (sharp) to 1. noise: standard
    deviation in levels of 255, from the median absolute diagonal wavelet coefficient (Donoho & Johnstone 1994); fine texture counts as noise.
    subject isolation: ours, log2 of the mean absolute Laplacian inside the salient region over that outside.

    Args:
        luma: [h, w] grey levels, 0 to 255.
        salient: [h, w] bool, the salient region; None if there is none.
    """
    nothing = float("nan")
    if luma.std(dtype=np.float64) < FLAT:
        return {"sharpness": nothing, "blur": nothing, "noise": noise(luma), "subject isolation": nothing}
    laplacian = ndimage.laplace(luma.astype(np.float64), mode="mirror")
    isolation = nothing
    if salient is not None and 0 < salient.sum() < salient.size:
        detail = np.abs(laplacian)
        isolation = float(np.log2((detail[salient].mean() + 1) / (detail[~salient].mean() + 1)))
    return {
        "sharpness": float(np.log10(laplacian.var() + 0.01)),
        "blur": blur(luma),
        "noise": noise(luma),
        "subject isolation": isolation,
    }


def blur(luma: np.ndarray) -> float:
    """How little a further blur takes away from the differences of neighbours: 0 = all, sharp; 1 = nothing, blurred. The worse of the two directions."""
    height, width = luma.shape
    if min(height, width) < 4:
        return float("nan")
    inner = (slice(2, height - 1), slice(2, width - 1))
    values = luma.astype(np.float64)
    found = []
    for axis in (0, 1):
        before = np.abs(ndimage.sobel(values, axis=axis, mode="reflect"))[inner]
        after = np.abs(ndimage.sobel(ndimage.uniform_filter1d(values, BLUR_LENGTH, axis=axis), axis=axis, mode="reflect"))[inner]
        total = before.sum()
        if total > 1e-6:
            found.append(1 - float(np.maximum(before - after, 0).sum() / total))
    return max(found, default=float("nan"))


def noise(luma: np.ndarray) -> float:
    """Standard deviation of Gaussian noise, in levels of 255; coefficients that are exactly 0 (drawn, or clipped) do not count."""
    if min(luma.shape) < 4:
        return float("nan")
    diagonal = luma.astype(np.float64)
    for axis in (0, 1):
        diagonal = ndimage.correlate1d(diagonal, _DB2_HIGH, axis=axis, mode="reflect")
    diagonal = np.abs(diagonal[::2, ::2])
    diagonal = diagonal[diagonal > 1e-4]
    return float(np.median(diagonal) / _MAD) if diagonal.size else 0.0
