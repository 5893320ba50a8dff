"""The study's five operations on one grey image, with albumentations; log and sigmoid contrast are our own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import albumentations as A
import cv2
import numpy as np

from eusml.config import AugmentConfig, Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

Copier = Callable[["NDArray[np.uint8]", np.random.Generator], "NDArray[np.uint8]"]
"""From an image, uint8 [S, S], and a generator for what is drawn, to its copy, uint8 [S, S]."""

_GREY = np.arange(256) / 255.0


class LogContrast(A.ImageOnlyTransform):  # type: ignore[misc]
    """O = gain · log2(1 + I) on grey levels 0-1, as `skimage.exposure.adjust_log` does ("contrast adjustment 1")."""

    def __init__(self, gain: float = 1.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.gain = gain
        self.table = _table(gain * np.log2(1.0 + _GREY))

    def apply(self, img: "NDArray[np.uint8]", **params: Any) -> "NDArray[np.uint8]":
        """Look every pixel up in a table of 256 entries."""
        return _look_up(img, self.table)


class SigmoidContrast(A.ImageOnlyTransform):  # type: ignore[misc]
    """O = 1 / (1 + exp(gain · (cutoff - I))), as `skimage.exposure.adjust_sigmoid` ("contrast adjustment 2")."""

    def __init__(self, cutoff: float = 0.5, gain: float = 10.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.cutoff = cutoff
        self.gain = gain
        self.table = _table(1.0 / (1.0 + np.exp(gain * (cutoff - _GREY))))

    def apply(self, img: "NDArray[np.uint8]", **params: Any) -> "NDArray[np.uint8]":
        """Look every pixel up in a table of 256 entries."""
        return _look_up(img, self.table)


def copier(operation: Operation, settings: AugmentConfig) -> Copier:
    """What makes a copy of an image by one operation; what is drawn comes from the generator alone.

    One for each thread: albumentations' transforms keep what they drew last.
    """
    if operation == "rotation":
        return _Turned(settings.rotation_limit_deg)
    if operation == "flip":
        across, upside_down = A.HorizontalFlip(p=1.0), A.VerticalFlip(p=1.0)
        return lambda image, rng: _applied(across if rng.random() < 0.5 else upside_down, image)
    if operation == "clahe":
        fixed = A.CLAHE(clip_limit=(settings.clahe_clip_limit,) * 2, tile_grid_size=(8, 8), p=1.0)
    elif operation == "log":
        fixed = LogContrast(settings.log_gain)
    else:
        fixed = SigmoidContrast(settings.sigmoid_cutoff, settings.sigmoid_gain)
    return lambda image, _: _applied(fixed, image)


class _Turned:
    def __init__(self, limit_deg: float) -> None:
        self.limit_deg = limit_deg
        # Reflection leaves no black corners that would tell a turned image from an upright one.
        self.rotate = A.Rotate(limit=(-limit_deg, limit_deg), border_mode=cv2.BORDER_REFLECT_101, p=1.0)

    def __call__(self, image: "NDArray[np.uint8]", rng: np.random.Generator) -> "NDArray[np.uint8]":
        angle = float(rng.uniform(-self.limit_deg, self.limit_deg))
        # Its own generator has nothing to choose from; a new transform each time would take longer than turning.
        self.rotate.limit = (angle, angle)
        return _applied(self.rotate, image)


def _applied(transform: A.BasicTransform, image: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    # albumentations takes and gives [S, S, 1]; some of its operations refuse an image without a channel axis.
    result = transform(image=image[..., None])["image"]
    return np.asarray(result, dtype=np.uint8).reshape(image.shape)


def _table(levels: "NDArray[np.float64]") -> "NDArray[np.uint8]":
    return np.clip(np.rint(levels * 255.0), 0, 255).astype(np.uint8)


def _look_up(image: "NDArray[np.uint8]", table: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8).reshape(image.shape)
