"""What a prepared image is like, in 27 figures of texture and layout.

Speckle is fine, much the same everywhere and as strong as the grey level lets it be; photographs have sharp edges
beside smooth surfaces, drawings have few grey levels, and a lesion lies in the middle of its region. The figures were
chosen out of some fifty where they parted ultrasound (the phantom, and BUSI) from photographs, drawings and noise at
48, 64 and 224 px.
"""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

TEXTURE_FEATURES = (
    "grey levels in use",
    "share of the three most frequent grey levels",
    "dark share",
    "skewness of grey levels",
    "kurtosis of grey levels",
    *(f"contrast in octave {octave}" for octave in range(4)),
    "typical detail, to all contrast",
    "typical detail, to grey level",
    "detail with grey level",
    "skewness of detail",
    "kurtosis of detail",
    "density of peaks",
    "unevenness of steps",
    "lateral to axial steps",
    "share of flat pixels",
    "common direction of neighbouring steps",
    *(f"cosine {down} down, {across} across" for down in range(3) for across in range(3) if down + across),
)
"""What `texture` measures, in this order."""
_DARK = 8
_SIGMAS_PX = (0.7, 1.4, 2.8, 5.6)
_LAYOUT_SIDE_PX = 32


def texture(image: "NDArray[np.uint8]") -> "NDArray[np.float64]":
    """The features of `TEXTURE_FEATURES`, float64, of uint8 [S, S].

    Logarithms where shares and ratios would be skewed; small constants keep all of them finite.
    """
    grey = image.astype(np.float32)
    deviation = float(grey.std())
    smoothed = [grey, *(np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), dtype=np.float32) for sigma in _SIGMAS_PX)]
    figures = (
        *_of_levels(image, deviation),
        *_of_octaves(smoothed, deviation),
        *_of_detail(smoothed, deviation),
        *_of_steps(grey),
        *_of_layout(grey),
    )
    return np.array(figures, dtype=np.float64)


def _of_levels(image: "NDArray[np.uint8]", deviation: float) -> tuple[float, ...]:
    """Figures of the histogram."""
    shares = np.bincount(image.ravel(), minlength=256) / image.size
    levels = np.arange(256)
    standard = (levels - float(shares @ levels)) / (deviation + 1)
    return (
        math.log(np.count_nonzero(shares)),
        math.log(float(np.sort(shares)[-3:].sum()) + 1e-3),
        math.log(float(shares[: _DARK + 1].sum()) + 0.01),
        math.asinh(float(shares @ standard**3)),
        math.log1p(float(shares @ standard**4)),
    )


def _of_octaves(smoothed: "list[Floats]", deviation: float) -> tuple[float, ...]:
    """How much of the contrast is of which size."""
    bands = (finer - coarser for finer, coarser in pairwise(smoothed))
    return tuple(math.log(math.sqrt(_mean_square(band)) + 0.05) - math.log(deviation + 1) for band in bands)


def _of_detail(smoothed: "list[Floats]", deviation: float) -> tuple[float, ...]:
    """Figures of what is finer than some pixels: how strong it is where, and what shape it has."""
    grey, fine, middle, coarse, _ = smoothed
    detail = grey - middle
    # Running sums leave tiny negative numbers.
    strength = np.sqrt(np.maximum(cv2.blur(detail * detail, (7, 7)), 0))
    even = detail / (strength + 1)
    square = even * even
    variance = float(square.mean())
    peaks = (fine == cv2.dilate(fine, np.ones((3, 3), np.uint8))) & (fine - middle > 0.3)
    # Both maps are smooth: a quarter of their pixels says the same.
    strength, level = strength[::2, ::2], coarse[::2, ::2]
    return (
        math.log(float(np.median(strength)) + 0.05) - math.log(deviation + 1),
        math.log(float(np.median((strength + 0.2) / (level + 8)))),
        _correlation(level, np.log(strength + 0.5)),
        float((square * even).mean()) / (variance**1.5 + 1e-6),
        math.log1p(_mean_square(square) / (variance**2 + 1e-6)),
        math.log(float(peaks.mean()) + 1e-3),
    )


def _of_steps(grey: "Floats") -> tuple[float, ...]:
    """Figures of differences between neighbours; the last by the structure tensor (Bigün and Granlund 1987)."""
    across = grey[1:, 1:] - grey[1:, :-1]
    down = grey[1:, 1:] - grey[:-1, 1:]
    flat = np.abs(across) + np.abs(down) <= 1
    lateral, axial = across * across, down * down
    energy = lateral + axial
    length = float(np.sqrt(energy).mean())
    near_lateral, near_axial, near_both = (cv2.blur(part, (9, 9)) for part in (lateral, axial, across * down))
    directed = np.sqrt((near_lateral - near_axial) ** 2 + 4 * near_both * near_both)
    return (
        math.log(float(energy.mean()) / (length**2 + 0.05) + 0.1),
        math.log((float(lateral.mean()) + 0.05) / (float(axial.mean()) + 0.05)),
        math.log(float(flat.mean()) + 0.002),
        float((directed / (np.maximum(near_lateral + near_axial, 0) + 1)).mean()),
    )


def _of_layout(grey: "Floats") -> tuple[float, ...]:
    """Where it is light and dark: the lowest frequencies of the cosine transform, whatever the contrast."""
    small = cv2.resize(grey, (_LAYOUT_SIDE_PX, _LAYOUT_SIDE_PX), interpolation=cv2.INTER_AREA)
    waves = cv2.dct((small - small.mean()) / (small.std() + 2))[:3, :3].ravel()[1:] / 10
    return tuple(float(wave) for wave in waves)


def _mean_square(values: "Floats") -> float:
    return float((values * values).mean())


def _correlation(x: "Floats", y: "Floats") -> float:
    """Pearson's; near 0 where one of the two hardly varies."""
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum()) / (math.sqrt(float((x * x).sum()) * float((y * y).sum())) + 0.01 * x.size)
