"""What a machine or a person drew into a picture: callipers, letters, coloured lines.

Marks inside the region of interest can tell a network the class (who measures a lesion has thought about it), so they
are counted, and painted over when asked. Marks outside are cut away with everything else there.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOUR_SPREAD = 40
"""Grey levels between the largest and the smallest of red, green and blue from which on a pixel counts as coloured."""
_BRIGHT = 200
_CONTRAST = 110
_STROKE_FRAC = 0.02
_INPAINT_RADIUS_PX = 3


def overlay_mask(grey: "NDArray[np.uint8]", coloured: "NDArray[np.bool_] | None" = None) -> "NDArray[np.bool_]":
    """Pixels that were drawn and not measured, bool [H, W].

    Bright strokes, thin in both directions, in groups as large as a letter or a calliper cross; and every coloured
    pixel. A bright layer of tissue is thin too, but long and flat. Faint dotted lines between callipers are missed.
    On 36 BUSI images that were looked at, half of them flagged, it was right on all (`benchmarks/README.md`).

    Args:
        grey: uint8 [H, W].
        coloured: bool [H, W], which pixels of the stored picture are not grey.
    """
    stroke = max(7, round(_STROKE_FRAC * max(grey.shape)) | 1)
    thin = _top_hat(grey, (stroke, stroke)) > _CONTRAST
    upright = _top_hat(grey, (stroke, 1)) > _CONTRAST
    bright = np.asarray(thin & (grey > _BRIGHT), dtype=np.uint8)
    count, group, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    width, height = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    upright_pixels = np.bincount(group[upright & (bright > 0)], minlength=count)
    drawn = (height >= 0.6 * stroke) & (np.maximum(width, height) <= 6 * stroke) & (upright_pixels >= 0.4 * stroke)
    drawn[0] = False  # the background
    # Only where there is a group at all: an index of every pixel would take eight times the picture's memory.
    flat = np.zeros(grey.size, np.bool_)
    inside = np.flatnonzero(bright)
    flat[inside] = drawn[group.ravel()[inside]]
    mask = flat.reshape(grey.shape)
    return mask if coloured is None else mask | coloured


def inpaint(grey: "NDArray[np.uint8]", mask: "NDArray[np.bool_]") -> "NDArray[np.uint8]":
    """The picture with the mask and the pixels next to it painted over from around (Telea 2004).

    Source: Telea, "An image inpainting technique based on the fast marching method", 2004,
    doi:10.1080/10867651.2004.10487596.
    """
    if not mask.any():
        return grey
    # One pixel more: strokes have soft edges, which are dimmer than what is looked for.
    wider = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(grey, wider, _INPAINT_RADIUS_PX, cv2.INPAINT_TELEA), dtype=np.uint8)


def _top_hat(grey: "NDArray[np.uint8]", size: tuple[int, int]) -> "NDArray[np.uint8]":
    """How much brighter a pixel is than the brightest surrounding that is `size` pixels (width, height) wide."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, size)
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel), dtype=np.uint8)
