"""Names for the arrays that the phantom passes around, and OpenCV's fast elementwise functions under their types."""

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]


def fast_exp(values: Float32) -> Float32:
    """Exponential of a 2-D array, four times as fast as NumPy's; good to 6 digits."""
    return np.asarray(cv2.exp(values), dtype=np.float32)


def fast_log(values: Float32) -> Float32:
    """Natural logarithm of a 2-D array of positive numbers, four times as fast as NumPy's; good to 6 digits."""
    return np.asarray(cv2.log(values), dtype=np.float32)


def product(left: Float32, right: Float32) -> Float32:
    """Matrix product without BLAS, whose last bit would depend on the number of its threads."""
    return np.asarray(np.einsum("ij,jk->ik", left, right, optimize=False), dtype=np.float32)


def fast_polar(x: Float32, y: Float32) -> tuple[Float32, Float32]:
    """Radius, and angle from 0 to 2 pi from x towards y; the angle is off by 0.01 degrees at most."""
    radius, angle = cv2.cartToPolar(x, y)
    return np.asarray(radius, dtype=np.float32), np.asarray(angle, dtype=np.float32)
